//! Sweeps: complete listings, and what was missing in them.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_domain::{
    Refusal,
    access::{Permission, Sensitivity},
    integration::{Entity, SweepRecord, SweepStatus},
};
use crosstie_store::{
    Condition,
    integration::{self, SweepColumn},
};

use super::ConnectedSystem;
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::{decided, read_id},
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// A sweep.
#[derive(Clone)]
pub(crate) struct Sweep(pub(crate) Item<SweepRecord>);

impl From<Item<SweepRecord>> for Sweep {
    fn from(item: Item<SweepRecord>) -> Self {
        Self(item)
    }
}

impl Node for Sweep {
    type Record = SweepRecord;
    const NAME: &'static str = "Sweep";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One complete listing of a kind of record, which shows what is missing. It removes by itself 2 % of what was known, or
/// five records; for more a person must confirm it.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Sweep {
    #[graphql(flatten)]
    async fn record(&self) -> &SweepRecord {
        &self.0
    }

    /// Identifies it.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The system that it is about.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |one| Some(one.connection_id)).await
    }
}

impl Choice for SweepStatus {
    const FILTER: &'static str = "SweepStatusFilter";
}

/// Which sweeps to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct SweepFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection.
    connection_id: Option<IdFilter>,
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// How it stands or ended.
    status: Option<ChoiceFilter<SweepStatus>>,
    /// All of these hold.
    and: Option<Vec<SweepFilter>>,
    /// At least one of these holds.
    or: Option<Vec<SweepFilter>>,
    /// This does not hold.
    not: Option<Box<SweepFilter>>,
}

impl Filter for SweepFilter {
    type Column = SweepColumn;

    fn own(&self, conditions: &mut Vec<Condition<SweepColumn>>) -> Result<(), ApiError> {
        self.id.compare(SweepColumn::Id, conditions)?;
        self.connection_id.compare(SweepColumn::Connection, conditions)?;
        self.entity.compare(SweepColumn::Entity, conditions)?;
        self.status.compare(SweepColumn::Status, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What sweeps are ordered by.
    SweepOrderField as "SweepOrder" of SweepColumn;
    /// The identifier; later ones are larger.
    Id text,
    /// The kind of record, by its letters.
    Entity text,
}

listed! {
    SweepQueries of Sweep filtered by SweepFilter, ordered by SweepOrderField;
    "The sweeps: complete listings that show what is missing." sweeps from integration::sweeps;
    "One sweep; null when there is none that you may see." sweep from integration::sweeps_by_ids;
}

/// Which sweep may go on.
#[derive(InputObject)]
pub(crate) struct ConfirmSweepInput {
    /// The sweep, which stopped because more was missing than it removes by itself.
    sweep_id: ID,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a confirmation.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ConfirmSweepPayload {
    /// The sweep; null when it was refused.
    sweep: Option<Sweep>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of sweeps.
#[derive(Default)]
pub(crate) struct SweepMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SweepMutations {
    /// Lets a sweep go on that stopped because it would remove too much. Each record that was missing is still read by
    /// its id before it counts as gone.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn confirm_sweep(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which sweep.")] input: ConfirmSweepInput,
    ) -> Result<Option<ConfirmSweepPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let decision = match read_id(&input.sweep_id, "sweepId") {
            Ok(id) => app(ctx)?.confirm_sweep(found.auth, id).await.map_err(app_failed)?,
            Err(refusal) => Err(vec![refusal]),
        };
        let (sweep, user_errors) = decided(decision);
        let client_mutation_id = input.client_mutation_id;
        Ok(Some(ConfirmSweepPayload { sweep: sweep.map(Sweep), user_errors, client_mutation_id }))
    }
}
