//! How the shapes of what systems send changed.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{Entity, ShapeChangeKind, ShapeChangeRecord},
};
use crosstie_store::{
    Condition,
    integration::{self, ShapeChangeColumn},
};

use super::ConnectedSystem;
use crate::{
    access::sensitivity,
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// A change.
#[derive(Clone)]
pub(crate) struct ShapeChange(pub(crate) Item<ShapeChangeRecord>);

impl From<Item<ShapeChangeRecord>> for ShapeChange {
    fn from(item: Item<ShapeChangeRecord>) -> Self {
        Self(item)
    }
}

impl Node for ShapeChange {
    type Record = ShapeChangeRecord;
    const NAME: &'static str = "ShapeChange";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A change of the shape of what a system sends: a field that is new, gone, or of another type. It is told once.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ShapeChange {
    #[graphql(flatten)]
    async fn record(&self) -> &ShapeChangeRecord {
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

impl Choice for ShapeChangeKind {
    const FILTER: &'static str = "ShapeChangeKindFilter";
}

/// Which changes to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ShapeChangeFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection.
    connection_id: Option<IdFilter>,
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// What changed.
    kind: Option<ChoiceFilter<ShapeChangeKind>>,
    /// All of these hold.
    and: Option<Vec<ShapeChangeFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ShapeChangeFilter>>,
    /// This does not hold.
    not: Option<Box<ShapeChangeFilter>>,
}

impl Filter for ShapeChangeFilter {
    type Column = ShapeChangeColumn;

    fn own(&self, conditions: &mut Vec<Condition<ShapeChangeColumn>>) -> Result<(), ApiError> {
        self.id.compare(ShapeChangeColumn::Id, conditions)?;
        self.connection_id.compare(ShapeChangeColumn::Connection, conditions)?;
        self.entity.compare(ShapeChangeColumn::Entity, conditions)?;
        self.kind.compare(ShapeChangeColumn::Kind, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What changes are ordered by.
    ShapeChangeOrderField as "ShapeChangeOrder" of ShapeChangeColumn;
    /// The identifier; later ones are larger.
    Id text,
    /// The kind of record, by its letters.
    Entity text,
}

listed! {
    ShapeChangeQueries of ShapeChange filtered by ShapeChangeFilter, ordered by ShapeChangeOrderField;
    "How the shapes of what systems send changed." shape_changes from integration::shape_changes;
    "One change of shape; null when there is none that you may see." shape_change from integration::shape_changes_by_ids;
}
