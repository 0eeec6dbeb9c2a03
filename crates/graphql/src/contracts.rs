//! Statements of work: reading, drafting, signing.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{CreateSow, NewMilestone, SignSow};
use crosstie_domain::{
    CivilDate, ItemCode, LONGEST_ITEM_CODE, Money, Refusal, Refusals, UserErrorCode,
    access::{Permission, Sensitivity},
    contracts::{SowRecord, SowStatus},
    money::{MoneyError, MoneyInput},
};
use crosstie_store::{
    Condition,
    billing::service_orders_of,
    contracts::{self, SowColumn},
    delivery::milestones_of,
    pipeline::{accounts_by_ids, opportunities_by_ids},
};

use crate::{
    access::{access, app, app_failed, financial, requires, sensitivity},
    billing::ServiceOrder,
    delivery::Milestone,
    edge::{Item, keyed, level},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined},
    integration::ConnectedSystem,
    listing::{Node, listed, order_fields},
    pipeline::{Account, Opportunity},
    request_headers::idempotency_key,
};

/// Milestones of one statement of work, at most.
const MOST_MILESTONES: usize = 500;

/// A statement of work.
#[derive(Clone)]
pub(crate) struct Sow(pub(crate) Item<SowRecord>);

impl From<Item<SowRecord>> for Sow {
    fn from(item: Item<SowRecord>) -> Self {
        Self(item)
    }
}

impl Node for Sow {
    type Record = SowRecord;
    const NAME: &'static str = "Sow";
    const PERMISSION: Permission = Permission::ContractsRead;
}

/// A statement of work: the contract between sale and delivery.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Sow {
    #[graphql(flatten)]
    async fn record(&self) -> &SowRecord {
        &self.0
    }

    /// Identifies the statement of work.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The price of the whole.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn total(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(self.0.total))
    }

    /// The steps that its lifecycle has from here.
    async fn available_transitions(&self) -> Vec<SowStatus> {
        self.0.status.available_transitions()
    }

    /// The account that buys.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let account = self.0.one(
            "account",
            |sow| Some(sow.account_id),
            |ids| async move { Ok(keyed(accounts_by_ids(found.store, found.rows, &ids).await?, |account| account.id)) },
        );
        Ok(account.await?.map(Account))
    }

    /// The opportunity that it came from.
    async fn opportunity(&self, ctx: &Context<'_>) -> Result<Option<Opportunity>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let opportunity = self.0.one(
            "opportunity",
            |sow| Some(sow.opportunity_id),
            |ids| async move {
                Ok(keyed(opportunities_by_ids(found.store, found.rows, &ids).await?, |opportunity| opportunity.id))
            },
        );
        Ok(opportunity.await?.map(Opportunity))
    }

    /// The system that it is ordered and billed through; frozen at signature.
    async fn billing_connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |sow| Some(sow.billing_connection_id)).await
    }

    /// Its milestones, in the order of its lines.
    async fn milestones(&self, ctx: &Context<'_>) -> Result<Option<Vec<Milestone>>> {
        let found = access(ctx, Permission::ContractsRead)?;
        let milestones = self.0.many(
            ("milestones", String::new()),
            |sow| Some(sow.id),
            |ids| async move {
                Ok(keyed(milestones_of(found.store, found.rows, &ids).await?, |milestone| milestone.sow_id))
            },
        );
        Ok(Some(milestones.await?.into_iter().map(Milestone).collect()))
    }

    /// The order that tells billing of it; null until it is signed.
    async fn service_order(&self, ctx: &Context<'_>) -> Result<Option<ServiceOrder>> {
        let found = access(ctx, Permission::BillingRead)?;
        let order =
            self.0.one(
                "serviceOrder",
                |sow| Some(sow.id),
                |ids| async move {
                    Ok(keyed(service_orders_of(found.store, found.rows, &ids).await?, |order| order.sow_id))
                },
            );
        Ok(order.await?.map(ServiceOrder))
    }
}

impl Choice for SowStatus {
    const FILTER: &'static str = "SowStatusFilter";
}

/// Which statements of work to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct SowFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The account.
    account_id: Option<IdFilter>,
    /// The opportunity.
    opportunity_id: Option<IdFilter>,
    /// Where it stands.
    status: Option<ChoiceFilter<SowStatus>>,
    /// When it last changed.
    updated_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<SowFilter>>,
    /// At least one of these holds.
    or: Option<Vec<SowFilter>>,
    /// This does not hold.
    not: Option<Box<SowFilter>>,
}

impl Filter for SowFilter {
    type Column = SowColumn;

    fn own(&self, conditions: &mut Vec<Condition<SowColumn>>) -> Result<(), ApiError> {
        self.id.compare(SowColumn::Id, conditions)?;
        self.account_id.compare(SowColumn::Account, conditions)?;
        self.opportunity_id.compare(SowColumn::Opportunity, conditions)?;
        self.status.compare(SowColumn::Status, conditions)?;
        self.updated_at.compare(SowColumn::UpdatedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What statements of work are ordered by.
    SowOrderField as "SowOrder" of SowColumn;
    /// The identifier; statements of work that came later have larger ones.
    Id text,
    /// Where it stands, by the letters of the status.
    Status text,
    /// When it last changed.
    UpdatedAt number,
}

listed! {
    SowQueries of Sow filtered by SowFilter, ordered by SowOrderField;
    "The statements of work that you may see." sows from contracts::sows;
    "One statement of work; null when there is none that you may see." sow from contracts::sows_by_ids;
}

/// What to draft.
#[derive(InputObject)]
pub(crate) struct CreateSowInput {
    /// The opportunity that it comes from; its account buys.
    opportunity_id: ID,
    /// The connected billing system that it is to be ordered and billed through.
    billing_connection_id: ID,
    /// What it is called.
    title: String,
    /// The price of the whole.
    total: MoneyInput,
    /// The customer's purchase order number.
    po_number: Option<String>,
    /// Its milestones, in the order of its lines, at most 500.
    #[graphql(default)]
    milestones: Vec<NewMilestoneInput>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// A milestone of a draft.
#[derive(InputObject)]
pub(crate) struct NewMilestoneInput {
    /// What is delivered.
    name: String,
    /// What kind of service it is, for billing, such as `IMPLEMENTATION`: 1 to 40 letters, digits, `_`, `-` and `.`.
    item_code: Option<String>,
    /// Its price.
    amount: MoneyInput,
    /// The day on which it is planned, in the customer's calendar.
    planned_on: Option<CivilDate>,
}

/// What became of a draft.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct CreateSowPayload {
    /// The statement of work; null when it was refused.
    sow: Option<Sow>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What to sign.
#[derive(InputObject)]
pub(crate) struct SignSowInput {
    /// The statement of work.
    sow_id: ID,
    /// The version that was read; when it has changed since, nothing is signed.
    expected_version: Option<i32>,
    /// The day of the signature, in the customer's calendar; today in UTC when it is left out.
    signed_on: Option<CivilDate>,
    /// The customer's purchase order number, when it came with the signature.
    po_number: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a signature.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct SignSowPayload {
    /// The statement of work, signed; null when it was refused.
    sow: Option<Sow>,
    /// What has to be done first. Filled once estimates and capacity are kept here; null until then.
    blocked: Option<SowBlocked>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What keeps a statement of work from its signature.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct SowBlocked {
    /// What has to be done first.
    missing: Vec<SowRequirement>,
}

/// What a statement of work needs before its signature. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum SowRequirement {
    /// The estimate is approved.
    EstimateApproved,
    /// It was checked that there are people for it.
    CapacityChecked,
    /// The promised date is not before the day by which it is done with a probability of 80 percent.
    DateAfterP80,
}

/// Changes of statements of work.
#[derive(Default)]
pub(crate) struct SowMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SowMutations {
    /// Drafts a statement of work.
    #[graphql(directive = requires::apply(Permission::ContractsWrite.as_str().to_owned()))]
    async fn create_sow(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to draft.")] input: CreateSowInput,
    ) -> Result<Option<CreateSowPayload>> {
        let found = access(ctx, Permission::ContractsWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let key = idempotency_key(ctx, input.idempotency_key.clone());
        let decision = match (CreateSowInput { idempotency_key: key, ..input }).read() {
            Ok(input) => app(ctx)?.create_sow(found.auth, input).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (sow, user_errors) = decided(decision);
        Ok(Some(CreateSowPayload { sow: sow.map(Sow), user_errors, client_mutation_id }))
    }

    /// Signs a statement of work, which orders it at billing.
    #[graphql(directive = requires::apply(Permission::ContractsWrite.as_str().to_owned()))]
    async fn sign_sow(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to sign.")] input: SignSowInput,
    ) -> Result<Option<SignSowPayload>> {
        let found = access(ctx, Permission::ContractsWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let decision = match read_id(&input.sow_id, "sowId") {
            Ok(sow_id) => {
                let SignSowInput { expected_version, signed_on, po_number, idempotency_key: own, .. } = input;
                let idempotency_key = idempotency_key(ctx, own);
                let input = SignSow { sow_id, expected_version, signed_on, po_number, idempotency_key };
                app(ctx)?.sign_sow(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (sow, user_errors) = decided(decision);
        Ok(Some(SignSowPayload { sow: sow.map(Sow), blocked: None, user_errors, client_mutation_id }))
    }
}

/// A decision as payloads show it.
pub(crate) fn decided<R>(decision: crosstie_app::Decision<R>) -> (Option<Item<R>>, Refusals) {
    match decision {
        Ok(record) => (level(vec![record]).next(), Vec::new()),
        Err(refusals) => (None, refusals),
    }
}

/// Reads an identifier of an input; one that cannot exist is refused like one that does not.
///
/// # Errors
/// `NOT_FOUND`.
pub(crate) fn read_id<T: std::str::FromStr>(id: &ID, field: &str) -> Result<T, Refusal> {
    id.parse()
        .map_err(|_| Refusal::new(field, UserErrorCode::NotFound, "There is no such record, or none that you may see."))
}

/// Reads an item code of an input.
///
/// # Errors
/// `TOO_LONG`, `INVALID`.
fn read_item_code(code: Option<String>, field: &str) -> Result<Option<ItemCode>, Refusal> {
    let Some(code) = code else { return Ok(None) };
    let is_long = code.chars().count() > LONGEST_ITEM_CODE;
    let reason = if is_long { UserErrorCode::TooLong } else { UserErrorCode::Invalid };
    let message = format!("An item code has 1 to {LONGEST_ITEM_CODE} letters, digits, `_`, `-` and `.`.");
    ItemCode::try_from(code).map(Some).map_err(|_| Refusal::new(field, reason, message))
}

/// Reads an amount of an input.
///
/// # Errors
/// `INVALID`, `TOO_LARGE`.
pub(crate) fn read_money(money: &MoneyInput, field: &str) -> Result<Money, Refusal> {
    Money::try_from(money).map_err(|error| {
        let code = if error == MoneyError::OutOfRange { UserErrorCode::TooLarge } else { UserErrorCode::Invalid };
        Refusal::new(&format!("{field}.amount"), code, format!("The amount cannot be used: {error}."))
    })
}

impl CreateSowInput {
    fn read(self) -> Result<CreateSow, Refusals> {
        if self.milestones.len() > MOST_MILESTONES {
            let message = format!("A statement of work has at most {MOST_MILESTONES} milestones.");
            return Err(vec![Refusal::new("milestones", UserErrorCode::LimitExceeded, message)]);
        }
        let mut refusals = Vec::new();
        let opportunity_id = read_id(&self.opportunity_id, "opportunityId").map_err(|refusal| refusals.push(refusal));
        let billing = read_id(&self.billing_connection_id, "billingConnectionId");
        let billing_connection_id = billing.map_err(|refusal| refusals.push(refusal));
        let total = read_money(&self.total, "total").map_err(|refusal| refusals.push(refusal));
        let mut milestones = Vec::with_capacity(self.milestones.len());
        for (index, milestone) in self.milestones.into_iter().enumerate() {
            let NewMilestoneInput { name, item_code, amount, planned_on } = milestone;
            let item_code = read_item_code(item_code, &format!("milestones.{index}.itemCode"));
            let amount = read_money(&amount, &format!("milestones.{index}.amount"));
            match (item_code, amount) {
                (Ok(item_code), Ok(amount)) => {
                    milestones.push(NewMilestone { name, item_code, amount, planned_on });
                }
                (item_code, amount) => refusals.extend([item_code.err(), amount.err()].into_iter().flatten()),
            }
        }
        match (opportunity_id, billing_connection_id, total) {
            (Ok(opportunity_id), Ok(billing_connection_id), Ok(total)) if refusals.is_empty() => Ok(CreateSow {
                opportunity_id,
                billing_connection_id,
                title: self.title,
                total,
                po_number: self.po_number,
                milestones,
                idempotency_key: self.idempotency_key,
            }),
            _ => Err(refusals),
        }
    }
}
