//! Milestones and their acceptance.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::AcceptMilestone;
use crosstie_domain::{
    CivilDate, ItemCode, Money, Refusal,
    access::{Permission, Sensitivity},
    delivery::{MilestoneAcceptance, MilestoneRecord},
};
use crosstie_store::{billing::invoices_of_milestones, contracts::sows_by_ids};

use crate::{
    access::{access, app, app_failed, financial, requires, sensitivity},
    billing::Invoice,
    contracts::{Sow, decided, read_id},
    edge::{Item, keyed},
    listing::Node,
    request_headers,
};

/// A milestone.
#[derive(Clone)]
pub(crate) struct Milestone(pub(crate) Item<MilestoneRecord>);

impl From<Item<MilestoneRecord>> for Milestone {
    fn from(item: Item<MilestoneRecord>) -> Self {
        Self(item)
    }
}

impl Node for Milestone {
    type Record = MilestoneRecord;
    const NAME: &'static str = "Milestone";
    const PERMISSION: Permission = Permission::ContractsRead;
}

/// A part of a statement of work that the customer accepts and pays for by itself.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Milestone {
    #[graphql(flatten)]
    async fn record(&self) -> &MilestoneRecord {
        &self.0
    }

    /// Identifies the milestone.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What kind of service it is, for billing: the settings of the billing connection say what product, account and
    /// taxes that is there. Null when none was given.
    async fn item_code(&self) -> Option<&str> {
        self.0.item_code.as_ref().map(ItemCode::as_str)
    }

    /// Its price.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(self.0.amount))
    }

    /// The steps that its acceptance has from here, once its statement of work is signed.
    async fn available_transitions(&self) -> Vec<MilestoneAcceptance> {
        self.0.acceptance.available_transitions()
    }

    /// The statement of work that it is a line of.
    async fn sow(&self, ctx: &Context<'_>) -> Result<Option<Sow>> {
        let found = access(ctx, Permission::ContractsRead)?;
        let sow = self.0.one(
            "sow",
            |milestone| Some(milestone.sow_id),
            |ids| async move { Ok(keyed(sows_by_ids(found.store, found.rows, &ids).await?, |sow| sow.id)) },
        );
        Ok(sow.await?.map(Sow))
    }

    /// Its invoices, of every billing round, in the order of their identifiers.
    async fn invoices(&self, ctx: &Context<'_>) -> Result<Option<Vec<Invoice>>> {
        let found = access(ctx, Permission::BillingRead)?;
        let invoices = self.0.many(
            ("invoices", String::new()),
            |milestone| Some(milestone.id),
            |ids| async move {
                let records = invoices_of_milestones(found.store, found.rows, &ids).await?;
                Ok(records.into_iter().filter_map(|record| Some((record.milestone_id?, record))).collect())
            },
        );
        Ok(Some(invoices.await?.into_iter().map(Invoice).collect()))
    }
}

/// What the customer accepted.
#[derive(InputObject)]
pub(crate) struct AcceptMilestoneInput {
    /// The milestone.
    milestone_id: ID,
    /// The version that was read; when it has changed since, nothing is accepted.
    expected_version: Option<i32>,
    /// The day of the acceptance, in the customer's calendar; today in UTC when it is left out.
    accepted_on: Option<CivilDate>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of an acceptance.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct AcceptMilestonePayload {
    /// The milestone, accepted; null when it was refused.
    milestone: Option<Milestone>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of milestones.
#[derive(Default)]
pub(crate) struct MilestoneMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl MilestoneMutations {
    /// Notes that the customer has accepted a milestone, which lets it be billed.
    #[graphql(directive = requires::apply(Permission::DeliveryWrite.as_str().to_owned()))]
    async fn accept_milestone(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the customer accepted.")] input: AcceptMilestoneInput,
    ) -> Result<Option<AcceptMilestonePayload>> {
        let found = access(ctx, Permission::DeliveryWrite)?;
        let AcceptMilestoneInput { milestone_id, expected_version, accepted_on, idempotency_key, client_mutation_id } =
            input;
        let decision = match read_id(&milestone_id, "milestoneId") {
            Ok(milestone_id) => {
                let idempotency_key = request_headers::idempotency_key(ctx, idempotency_key);
                let input = AcceptMilestone { milestone_id, expected_version, accepted_on, idempotency_key };
                app(ctx)?.accept_milestone(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (milestone, user_errors) = decided(decision);
        Ok(Some(AcceptMilestonePayload { milestone: milestone.map(Milestone), user_errors, client_mutation_id }))
    }
}
