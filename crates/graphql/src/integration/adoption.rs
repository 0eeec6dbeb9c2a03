//! Orders and invoices that a billing system holds already, and deciding which of the hub's they are.

use async_graphql::{Context, ID, InputObject, MergedObject, Object, Result, SimpleObject};
use crosstie_app::{AdoptRecord, UndoAdoption};
use crosstie_domain::{
    CivilDate, Money, Refusals,
    access::{Permission, Sensitivity},
    integration::{
        Entity,
        adoption::{
            AdoptionCandidate as CandidateRecord, AdoptionEvidence, AdoptionObstacle, AdoptionRecord, DocumentState,
            obstacle,
        },
    },
    money::MoneyInput,
};
use crosstie_store::{
    Condition,
    integration::{self, AdoptionCandidateColumn, AdoptionColumn, adoption_candidates},
};

use super::ConnectedSystem;
use crate::{
    access::{access, app, app_failed, financial, requires, sensitivity, store_failed},
    contracts::{decided, read_id, read_money},
    edge::Item,
    error::ApiError,
    filter::{ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Connection, Node, Order, Paging, listed, order_fields, wanted},
    node,
    request_headers::idempotency_key,
};

/// A document and what it may be.
pub(crate) struct AdoptionCandidate(Item<CandidateRecord>);

impl From<Item<CandidateRecord>> for AdoptionCandidate {
    fn from(item: Item<CandidateRecord>) -> Self {
        Self(item)
    }
}

impl Node for AdoptionCandidate {
    type Record = CandidateRecord;
    const NAME: &'static str = "AdoptionCandidate";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// An order or invoice that a billing system holds, and a service order or milestone that it may be of. A document may
/// stand in the list with several, and so may a record; a person decides by `adoptRecord`.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl AdoptionCandidate {
    /// The billing system.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |candidate| Some(candidate.connection_id)).await
    }

    /// Service order or invoice.
    async fn entity(&self) -> Entity {
        self.0.entity
    }

    /// The document's id at the billing system.
    async fn remote_id(&self) -> &str {
        &self.0.remote_id
    }

    /// The document's number there.
    async fn number(&self) -> Option<&str> {
        self.0.number.as_deref()
    }

    /// What the document refers to, as the customer's order number.
    async fn reference(&self) -> Option<&str> {
        self.0.reference.as_deref()
    }

    /// What the document is about.
    async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    /// How far the document has come.
    async fn state(&self) -> DocumentState {
        self.0.state
    }

    /// The day that the document bears.
    async fn dated_on(&self) -> Option<CivilDate> {
        self.0.dated_on
    }

    /// What the document comes to, taxes excluded; null when it does not say.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.amount)
    }

    /// What the hub expects it to come to, taxes excluded.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn expected_amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(self.0.wanted))
    }

    /// The service order that it may be, or the milestone that it may bill.
    async fn record_id(&self) -> ID {
        ID(self.0.target_id.clone())
    }

    /// The same, when you may see it.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<node::Node>> {
        node::find(ctx, &self.0.target_id).await
    }

    /// How much speaks for it, from 40 to 100.
    async fn score(&self) -> i32 {
        self.0.score
    }

    /// What speaks for it.
    async fn evidence(&self) -> &[AdoptionEvidence] {
        &self.0.evidence
    }

    /// What keeps it from being adopted as it is; null when nothing does.
    async fn obstacle(&self) -> Option<AdoptionObstacle> {
        obstacle(self.0.state, self.0.amount, self.0.wanted)
    }
}

/// Which candidates to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct AdoptionCandidateFilter {
    /// The connection.
    connection_id: Option<IdFilter>,
    /// Service orders or invoices.
    entity: Option<ChoiceFilter<Entity>>,
    /// The document's id at the billing system.
    remote_id: Option<TextFilter>,
    /// The service order or milestone that it may be.
    record_id: Option<IdFilter>,
    /// The account that buys.
    account_id: Option<IdFilter>,
    /// All of these hold.
    and: Option<Vec<AdoptionCandidateFilter>>,
    /// At least one of these holds.
    or: Option<Vec<AdoptionCandidateFilter>>,
    /// This does not hold.
    not: Option<Box<AdoptionCandidateFilter>>,
}

impl Filter for AdoptionCandidateFilter {
    type Column = AdoptionCandidateColumn;

    fn own(&self, conditions: &mut Vec<Condition<AdoptionCandidateColumn>>) -> Result<(), ApiError> {
        self.connection_id.compare(AdoptionCandidateColumn::Connection, conditions)?;
        self.entity.compare(AdoptionCandidateColumn::Entity, conditions)?;
        self.remote_id.compare(AdoptionCandidateColumn::RemoteId, conditions)?;
        self.record_id.compare(AdoptionCandidateColumn::Target, conditions)?;
        self.account_id.compare(AdoptionCandidateColumn::Account, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What candidates are ordered by.
    AdoptionCandidateOrderField as "AdoptionCandidateOrder" of AdoptionCandidateColumn;
    /// How much speaks for it.
    Score number,
    /// The service order or milestone.
    Target text,
}

/// Queries for candidates.
#[derive(Default)]
pub(crate) struct CandidateQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl CandidateQueries {
    /// Orders and invoices that billing systems hold, and what of the hub they may be that waits to be sent or is not
    /// billed yet. It is looked for when it is asked.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn adoption_candidates(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when neither `first` nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, from 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which to list; all that you may see when it is left out.")] filter: Option<
            AdoptionCandidateFilter,
        >,
        #[graphql(desc = "The order, at most three fields.")] order_by: Option<Vec<Order<AdoptionCandidateOrderField>>>,
    ) -> Result<Option<Connection<AdoptionCandidate>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let paging = Paging { first, after, last, before };
        let wanted = wanted::<AdoptionCandidate, _, _>(&paging, filter.as_ref(), order_by)?;
        let page = adoption_candidates(found.store, found.rows, &wanted.request).await.map_err(store_failed)?;
        Ok(Some(Connection::of_page(wanted, page)))
    }
}

/// An adoption.
#[derive(Clone)]
pub(crate) struct Adoption(pub(crate) Item<AdoptionRecord>);

impl From<Item<AdoptionRecord>> for Adoption {
    fn from(item: Item<AdoptionRecord>) -> Self {
        Self(item)
    }
}

impl Node for Adoption {
    type Record = AdoptionRecord;
    const NAME: &'static str = "Adoption";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A decision that an order or invoice at billing is one of the hub's. What waited to be sent for it was settled without
/// being sent.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Adoption {
    #[graphql(flatten)]
    async fn record(&self) -> &AdoptionRecord {
        &self.0
    }

    /// Identifies the adoption.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The billing system.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |adoption| Some(adoption.connection_id)).await
    }

    /// The service order that it is, or the milestone that it bills.
    async fn record_id(&self) -> ID {
        ID(self.0.target_id.clone())
    }

    /// The service order or the invoice that it is in the hub, when you may see it.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<node::Node>> {
        node::find(ctx, &self.0.record_id).await
    }

    /// The document's amount, taxes excluded, where it was accepted though the hub expected another one.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn accepted_amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.accepted)
    }
}

/// Which adoptions to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct AdoptionFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection.
    connection_id: Option<IdFilter>,
    /// Service orders or invoices.
    entity: Option<ChoiceFilter<Entity>>,
    /// The document's id at the billing system.
    remote_id: Option<TextFilter>,
    /// The service order or milestone.
    record_id: Option<IdFilter>,
    /// When it was undone.
    undone_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<AdoptionFilter>>,
    /// At least one of these holds.
    or: Option<Vec<AdoptionFilter>>,
    /// This does not hold.
    not: Option<Box<AdoptionFilter>>,
}

impl Filter for AdoptionFilter {
    type Column = AdoptionColumn;

    fn own(&self, conditions: &mut Vec<Condition<AdoptionColumn>>) -> Result<(), ApiError> {
        self.id.compare(AdoptionColumn::Id, conditions)?;
        self.connection_id.compare(AdoptionColumn::Connection, conditions)?;
        self.entity.compare(AdoptionColumn::Entity, conditions)?;
        self.remote_id.compare(AdoptionColumn::RemoteId, conditions)?;
        self.record_id.compare(AdoptionColumn::Target, conditions)?;
        self.undone_at.compare(AdoptionColumn::UndoneAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What adoptions are ordered by.
    AdoptionOrderField as "AdoptionOrder" of AdoptionColumn;
    /// The identifier; later ones are larger.
    Id text,
    /// When it was undone.
    UndoneAt number,
}

listed! {
    AdoptionRecordQueries of Adoption filtered by AdoptionFilter, ordered by AdoptionOrderField;
    "Decisions that orders and invoices at billing are the hub's." adoptions from integration::adoptions;
    "One adoption; null when there is none that you may see." adoption from integration::adoptions_by_ids;
}

/// Queries for what billing systems hold already.
#[derive(MergedObject, Default)]
pub(crate) struct AdoptionQueries(CandidateQueries, AdoptionRecordQueries);

/// Which document is what.
#[derive(InputObject)]
pub(crate) struct AdoptRecordInput {
    /// The connection.
    connection_id: ID,
    /// Service order or invoice.
    entity: Entity,
    /// The document's id at the billing system.
    remote_id: String,
    /// The service order that it is, or the milestone that it bills.
    record_id: ID,
    /// The document's amount, taxes excluded, where the hub expects another one: it is accepted so, and nothing else will
    /// be billed. It must be the document's; another currency is never accepted.
    accept_amount: Option<MoneyInput>,
    /// Why, in words: at most 500 characters. It is kept with the adoption.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of an adoption.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct AdoptRecordPayload {
    /// The adoption; null when it was refused.
    adoption: Option<Adoption>,
    /// Why it was refused; empty when it was done.
    user_errors: Refusals,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// An adoption that was wrong.
#[derive(InputObject)]
pub(crate) struct UndoAdoptionInput {
    /// The adoption.
    adoption_id: ID,
    /// The version that was read; when it has changed since, nothing is undone.
    expected_version: Option<i32>,
    /// Why, in words: at most 500 characters. It is kept with the adoption.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of undoing an adoption.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct UndoAdoptionPayload {
    /// The adoption, undone; null when it was refused.
    adoption: Option<Adoption>,
    /// Why it was refused; empty when it was done.
    user_errors: Refusals,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of adoptions.
#[derive(Default)]
pub(crate) struct AdoptionMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl AdoptionMutations {
    /// Takes an order or invoice at billing for a service order or for the invoice of a milestone. The order is
    /// acknowledged, the milestone follows the invoice, and what waited to be sent for it is settled without being sent.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn adopt_record(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which document is what.")] input: AdoptRecordInput,
    ) -> Result<Option<AdoptRecordPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let AdoptRecordInput { entity, remote_id, record_id, accept_amount, reason, client_mutation_id, .. } = input;
        let accept_amount = accept_amount.map(|amount| read_money(&amount, "acceptAmount")).transpose();
        let decision = match (read_id(&input.connection_id, "connectionId"), accept_amount) {
            (Ok(connection_id), Ok(accept_amount)) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let record_id = record_id.0;
                let input =
                    AdoptRecord { connection_id, entity, remote_id, record_id, accept_amount, reason, idempotency_key };
                app(ctx)?.adopt_record(found.auth, input).await.map_err(app_failed)?
            }
            (connection_id, accept_amount) => Err(connection_id.err().into_iter().chain(accept_amount.err()).collect()),
        };
        let (adoption, user_errors) = decided(decision);
        Ok(Some(AdoptRecordPayload { adoption: adoption.map(Adoption), user_errors, client_mutation_id }))
    }

    /// Undoes an adoption without loss: the document is by itself again, and what was settled waits again. Where the
    /// connection sends, it goes out.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn undo_adoption(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to undo.")] input: UndoAdoptionInput,
    ) -> Result<Option<UndoAdoptionPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let UndoAdoptionInput { expected_version, reason, client_mutation_id, .. } = input;
        let decision = match read_id(&input.adoption_id, "adoptionId") {
            Ok(adoption_id) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input = UndoAdoption { adoption_id, expected_version, reason, idempotency_key };
                app(ctx)?.undo_adoption(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (adoption, user_errors) = decided(decision);
        Ok(Some(UndoAdoptionPayload { adoption: adoption.map(Adoption), user_errors, client_mutation_id }))
    }
}
