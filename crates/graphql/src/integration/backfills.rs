//! Back-fills, and reading again what a person names.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{BackfillRecord, BackfillSlice, BackfillStatus, Entity},
};
use crosstie_store::{
    Condition,
    integration::{self, BackfillColumn, slices_of},
};

use super::ConnectedSystem;
use crate::{
    access::{access, sensitivity},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// A back-fill.
#[derive(Clone)]
pub(crate) struct Backfill(pub(crate) Item<BackfillRecord>);

impl From<Item<BackfillRecord>> for Backfill {
    fn from(item: Item<BackfillRecord>) -> Self {
        Self(item)
    }
}

impl Node for Backfill {
    type Record = BackfillRecord;
    const NAME: &'static str = "Backfill";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A reading of what a system held before, beside the incremental one: a first load, or what a person asked to be read
/// again. It never moves the place of the incremental reading, and never replaces a newer state.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Backfill {
    #[graphql(flatten)]
    async fn record(&self) -> &BackfillRecord {
        &self.0
    }

    /// Identifies it.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Its slices, in the order in which they are read; each goes on from its own place.
    async fn slices(&self, ctx: &Context<'_>) -> Result<Option<Vec<BackfillPart>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let slices = self.0.many(
            ("slices", String::new()),
            |backfill| Some(backfill.id),
            |ids| async move { Ok(keyed(slices_of(found.store, &ids).await?, |slice| slice.backfill_id)) },
        );
        Ok(Some(slices.await?.into_iter().map(BackfillPart).collect()))
    }

    /// The system that it is about.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |one| Some(one.connection_id)).await
    }
}

/// A slice.
pub(crate) struct BackfillPart(Item<BackfillSlice>);

/// A part of a back-fill that is read by itself, with a place of its own.
#[Object(name = "BackfillSlice", directive = sensitivity::apply(Sensitivity::Internal))]
impl BackfillPart {
    #[graphql(flatten)]
    async fn record(&self) -> &BackfillSlice {
        &self.0
    }

    /// The run that read it last.
    async fn run_id(&self) -> Option<ID> {
        self.0.run_id.map(Into::into)
    }
}

impl Choice for BackfillStatus {
    const FILTER: &'static str = "BackfillStatusFilter";
}

/// Which back-fills to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct BackfillFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection.
    connection_id: Option<IdFilter>,
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// How it stands or ended.
    status: Option<ChoiceFilter<BackfillStatus>>,
    /// All of these hold.
    and: Option<Vec<BackfillFilter>>,
    /// At least one of these holds.
    or: Option<Vec<BackfillFilter>>,
    /// This does not hold.
    not: Option<Box<BackfillFilter>>,
}

impl Filter for BackfillFilter {
    type Column = BackfillColumn;

    fn own(&self, conditions: &mut Vec<Condition<BackfillColumn>>) -> Result<(), ApiError> {
        self.id.compare(BackfillColumn::Id, conditions)?;
        self.connection_id.compare(BackfillColumn::Connection, conditions)?;
        self.entity.compare(BackfillColumn::Entity, conditions)?;
        self.status.compare(BackfillColumn::Status, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What back-fills are ordered by.
    BackfillOrderField as "BackfillOrder" of BackfillColumn;
    /// The identifier; later ones are larger.
    Id text,
    /// The kind of record, by its letters.
    Entity text,
}

listed! {
    BackfillQueries of Backfill filtered by BackfillFilter, ordered by BackfillOrderField;
    "The readings of what systems held before." backfills from integration::backfills;
    "One back-fill; null when there is none that you may see." backfill from integration::backfills_by_ids;
}
