//! Synchronization runs.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{Entity, RunStatus, SyncRunRecord},
};
use crosstie_store::{
    Condition,
    integration::{self, RunColumn},
};

use super::ConnectedSystem;
use crate::{
    access::sensitivity,
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// A synchronization run.
#[derive(Clone)]
pub(crate) struct SyncRun(pub(crate) Item<SyncRunRecord>);

impl From<Item<SyncRunRecord>> for SyncRun {
    fn from(item: Item<SyncRunRecord>) -> Self {
        Self(item)
    }
}

impl Node for SyncRun {
    type Record = SyncRunRecord;
    const NAME: &'static str = "SyncRun";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One run that read one kind of record from one system.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SyncRun {
    #[graphql(flatten)]
    async fn record(&self) -> &SyncRunRecord {
        &self.0
    }

    /// Identifies the run.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The system that was read.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |run| Some(run.connection_id)).await
    }
}

impl Choice for RunStatus {
    const FILTER: &'static str = "RunStatusFilter";
}

/// Which synchronization runs to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct SyncRunFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that was read.
    connection_id: Option<IdFilter>,
    /// The kind of record that was read.
    entity: Option<ChoiceFilter<Entity>>,
    /// How it stands or ended.
    status: Option<ChoiceFilter<RunStatus>>,
    /// When it began.
    started_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<SyncRunFilter>>,
    /// At least one of these holds.
    or: Option<Vec<SyncRunFilter>>,
    /// This does not hold.
    not: Option<Box<SyncRunFilter>>,
}

impl Filter for SyncRunFilter {
    type Column = RunColumn;

    fn own(&self, conditions: &mut Vec<Condition<RunColumn>>) -> Result<(), ApiError> {
        self.id.compare(RunColumn::Id, conditions)?;
        self.connection_id.compare(RunColumn::Connection, conditions)?;
        self.entity.compare(RunColumn::Entity, conditions)?;
        self.status.compare(RunColumn::Status, conditions)?;
        self.started_at.compare(RunColumn::StartedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What synchronization runs are ordered by.
    SyncRunOrderField as "SyncRunOrder" of RunColumn;
    /// The identifier; runs that began later have larger ones.
    Id text,
    /// How it stands or ended, by the letters of the status.
    Status text,
    /// When it began.
    StartedAt number,
}

listed! {
    SyncRunQueries of SyncRun filtered by SyncRunFilter, ordered by SyncRunOrderField;
    "The synchronization runs." sync_runs from integration::sync_runs;
    "One synchronization run; null when there is none that you may see." sync_run from integration::sync_runs_by_ids;
}
