//! Rows that could not be applied.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{Entity, ParkedRowRecord},
};
use crosstie_store::{
    Condition,
    integration::{self, ParkedColumn},
};

use super::{
    ConnectedSystem,
    corrections::{Correction, corrections},
};
use crate::{
    access::{financial, sensitivity},
    edge::Item,
    error::ApiError,
    filter::{ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// A parked row.
#[derive(Clone)]
pub(crate) struct ParkedRow(pub(crate) Item<ParkedRowRecord>);

impl From<Item<ParkedRowRecord>> for ParkedRow {
    fn from(item: Item<ParkedRowRecord>) -> Self {
        Self(item)
    }
}

impl Node for ParkedRow {
    type Record = ParkedRowRecord;
    const NAME: &'static str = "ParkedRow";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A row of another system that could not be applied.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ParkedRow {
    #[graphql(flatten)]
    async fn record(&self) -> &ParkedRowRecord {
        &self.0
    }

    /// Identifies the parked row.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The row as it came, or as a person corrected it, as JSON. It may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn raw(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, Some(self.0.raw.as_str()))
    }

    /// Whether it is as a person corrected it, and not as it came.
    async fn corrected(&self) -> bool {
        self.0.correction_id.is_some()
    }

    /// What persons corrected of it, the first correction first.
    async fn corrections(&self, ctx: &Context<'_>) -> Result<Option<Vec<Correction>>> {
        corrections(ctx, &self.0, |row| row.id.to_string()).await.map(Some)
    }

    /// The system that it came from.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |row| Some(row.connection_id)).await
    }
}

/// Which parked rows to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ParkedRowFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that it came through.
    connection_id: Option<IdFilter>,
    /// The kind of record that it is.
    entity: Option<ChoiceFilter<Entity>>,
    /// Why it waits.
    code: Option<TextFilter>,
    /// When it last came.
    last_seen_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<ParkedRowFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ParkedRowFilter>>,
    /// This does not hold.
    not: Option<Box<ParkedRowFilter>>,
}

impl Filter for ParkedRowFilter {
    type Column = ParkedColumn;

    fn own(&self, conditions: &mut Vec<Condition<ParkedColumn>>) -> Result<(), ApiError> {
        self.id.compare(ParkedColumn::Id, conditions)?;
        self.connection_id.compare(ParkedColumn::Connection, conditions)?;
        self.entity.compare(ParkedColumn::Entity, conditions)?;
        self.code.compare(ParkedColumn::Code, conditions)?;
        self.last_seen_at.compare(ParkedColumn::LastSeenAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What parked rows are ordered by.
    ParkedRowOrderField as "ParkedRowOrder" of ParkedColumn;
    /// The identifier; rows that were parked later have larger ones.
    Id text,
    /// Why it waits, by the letters of the code.
    Code text,
    /// When it last came.
    LastSeenAt number,
}

listed! {
    ParkedRowQueries of ParkedRow filtered by ParkedRowFilter, ordered by ParkedRowOrderField;
    "The rows that could not be applied." parked_rows from integration::parked_rows;
    "One parked row; null when there is none that you may see." parked_row from integration::parked_rows_by_ids;
}
