//! Replays, with a result for each item.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{ReplayItemRecord, ReplayJobRecord, ReplayKind, ReplayOutcome, ReplayStatus},
};
use crosstie_store::{
    Condition,
    integration::{self, ReplayColumn, replay_counts, replay_results},
};

use super::ConnectedSystem;
use crate::{
    access::{access, sensitivity},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined},
    listing::{Connection, Node, Part, listed, order_fields},
};

/// A replay.
#[derive(Clone)]
pub(crate) struct ReplayJob(pub(crate) Item<ReplayJobRecord>);

impl From<Item<ReplayJobRecord>> for ReplayJob {
    fn from(item: Item<ReplayJobRecord>) -> Self {
        Self(item)
    }
}

impl Node for ReplayJob {
    type Record = ReplayJobRecord;
    const NAME: &'static str = "ReplayJob";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// How many items of a replay came to the same.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ReplayCount {
    /// What came of them.
    outcome: ReplayOutcome,
    /// How many there are.
    items: i64,
}

/// A replay: what failed, or was done with, is taken up again, each item once.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ReplayJob {
    #[graphql(flatten)]
    async fn record(&self) -> &ReplayJobRecord {
        &self.0
    }

    /// Identifies the job.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// How many of its items have come to what.
    async fn counts(&self, ctx: &Context<'_>) -> Result<Option<Vec<ReplayCount>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let counts = self.0.many(
            ("counts", String::new()),
            |job| Some(job.id),
            |ids| async move {
                let counts = replay_counts(found.store, found.rows, &ids).await?;
                Ok(counts.into_iter().map(|(job, outcome, items)| (job, (outcome, items))).collect())
            },
        );
        let mut counts: Vec<(ReplayOutcome, i64)> = counts.await?.into_iter().map(|item| *item).collect();
        counts.sort_unstable();
        Ok(Some(counts.into_iter().map(|(outcome, items)| ReplayCount { outcome, items }).collect()))
    }

    /// The result of each item, in the order in which they are taken up.
    async fn results(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<ReplayResult>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let part = &Part::of::<ReplayResult>(first, after)?;
        let children = self.0.many(
            ("results", part.key()),
            |job| Some(job.id),
            |ids| async move {
                Ok(keyed(replay_results(found.store, found.rows, &ids, part.span()).await?, |item| item.job_id))
            },
        );
        Ok(Some(Connection::of_children(part, children.await?)))
    }
}

/// What came of an item.
#[derive(Clone)]
pub(crate) struct ReplayResult(Item<ReplayItemRecord>);

impl From<Item<ReplayItemRecord>> for ReplayResult {
    fn from(item: Item<ReplayItemRecord>) -> Self {
        Self(item)
    }
}

impl Node for ReplayResult {
    type Record = ReplayItemRecord;
    const NAME: &'static str = "ReplayResult";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// What came of one item of a replay.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ReplayResult {
    #[graphql(flatten)]
    async fn record(&self) -> &ReplayItemRecord {
        &self.0
    }

    /// Identifies the result.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The inbound event, parked row or effect that was taken up again; a row that was applied is not there any more.
    async fn item_id(&self) -> ID {
        self.0.subject_id.clone().into()
    }

    /// The system that it belongs to.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |item| Some(item.connection_id)).await
    }
}

impl Choice for ReplayKind {
    const FILTER: &'static str = "ReplayKindFilter";
}

impl Choice for ReplayStatus {
    const FILTER: &'static str = "ReplayStatusFilter";
}

/// Which replays to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ReplayJobFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// What it takes up again.
    kind: Option<ChoiceFilter<ReplayKind>>,
    /// How it stands.
    status: Option<ChoiceFilter<ReplayStatus>>,
    /// When it was asked for.
    created_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<ReplayJobFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ReplayJobFilter>>,
    /// This does not hold.
    not: Option<Box<ReplayJobFilter>>,
}

impl Filter for ReplayJobFilter {
    type Column = ReplayColumn;

    fn own(&self, conditions: &mut Vec<Condition<ReplayColumn>>) -> Result<(), ApiError> {
        self.id.compare(ReplayColumn::Id, conditions)?;
        self.kind.compare(ReplayColumn::Kind, conditions)?;
        self.status.compare(ReplayColumn::Status, conditions)?;
        self.created_at.compare(ReplayColumn::CreatedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What replays are ordered by.
    ReplayJobOrderField as "ReplayJobOrder" of ReplayColumn;
    /// The identifier; later ones are larger.
    Id text,
    /// When it was asked for.
    CreatedAt number,
}

listed! {
    ReplayQueries of ReplayJob filtered by ReplayJobFilter, ordered by ReplayJobOrderField;
    "What was taken up again, and what came of it." replay_jobs from integration::replay_jobs;
    "One replay; null when there is none that you may see." replay_job from integration::replay_jobs_by_ids;
}
