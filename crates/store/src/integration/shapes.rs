//! The shapes of what systems send, and how they changed.

use std::collections::BTreeMap;

use crosstie_domain::{
    access::RowScope,
    ids::{ConnectionId, ShapeChangeId},
    integration::{Entity, ShapeChangeRecord},
};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What is known of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownField {
    /// The types that it was seen with, in their order.
    pub types: Vec<String>,
    /// Whether every row had it so far.
    pub always: bool,
}

/// The shape of one kind of record as it was seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownShape {
    /// How many rows it was learned from.
    pub rows_seen: i64,
    /// The fields by their paths.
    pub fields: BTreeMap<String, KnownField>,
}

#[derive(FromQueryResult)]
struct ShapeRow {
    rows_seen: i64,
    paths: String,
}

/// The shape of a kind of record as it was seen so far.
///
/// # Errors
/// As the database.
pub async fn known_shape(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
) -> Result<KnownShape, StoreError> {
    let sql = "SELECT rows_seen, paths FROM shapes WHERE connection_id = $1 AND entity = $2";
    let values = vec![connection.to_string().into(), entity.as_str().into()];
    let Some(row) = db.connection().one::<ShapeRow>(sql, values).await? else { return Ok(KnownShape::default()) };
    Ok(KnownShape { rows_seen: row.rows_seen, fields: codec::json("shapes.paths", &row.paths)? })
}

/// What changes of shape are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeChangeColumn {
    /// Identifier; later changes have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// What changed.
    Kind,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ShapeChangeRow {
    id: String,
    connection_id: String,
    entity: String,
    kind: String,
    path: String,
    before: Option<String>,
    after: Option<String>,
    seen_at: i64,
}

impl Listed for ShapeChangeRecord {
    type Column = ShapeChangeColumn;
    type Row = ShapeChangeRow;
    const SELECT: &'static str = "shape_changes.*";
    const FROM: &'static str = "shape_changes";
    const ID: &'static str = "shape_changes.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ShapeChangeColumn) -> Expression {
        match column {
            ShapeChangeColumn::Id => Expression::Required("shape_changes.id"),
            ShapeChangeColumn::Connection => Expression::Required("shape_changes.connection_id"),
            ShapeChangeColumn::Entity => Expression::Required("shape_changes.entity"),
            ShapeChangeColumn::Kind => Expression::Required("shape_changes.kind"),
        }
    }

    fn record(row: ShapeChangeRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("shape_changes.id", &row.id)?,
            connection_id: codec::id("shape_changes.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "shape_changes.entity" })?,
            kind: codec::word("shape_changes.kind", row.kind)?,
            path: row.path,
            before: row.before,
            after: row.after,
            seen_at: codec::instant("shape_changes.seen_at", row.seen_at)?,
        })
    }

    fn key(&self, column: ShapeChangeColumn) -> Json {
        match column {
            ShapeChangeColumn::Id => json!(self.id.to_string()),
            ShapeChangeColumn::Connection => json!(self.connection_id.to_string()),
            ShapeChangeColumn::Entity => json!(self.entity.as_str()),
            ShapeChangeColumn::Kind => json!(codec::text(&self.kind)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of changes of shape.
///
/// # Errors
/// As the database.
pub async fn shape_changes(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ShapeChangeColumn>,
) -> Result<PageResult<ShapeChangeRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The changes of shape with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn shape_changes_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ShapeChangeId],
) -> Result<Vec<ShapeChangeRecord>, StoreError> {
    page::by_ids(db, scope, "shape_changes.id", &texts(ids)).await
}

impl Tx {
    /// Saves the shape of a kind of record as it is known now.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_shape(
        &self,
        (connection, entity): (ConnectionId, Entity),
        shape: &KnownShape,
    ) -> Result<(), StoreError> {
        let row = vec![
            ("connection_id", connection.to_string().into()),
            ("entity", entity.as_str().into()),
            ("rows_seen", shape.rows_seen.into()),
            ("paths", codec::json_text(&shape.fields).into()),
        ];
        self.connection().save("shapes", &["connection_id", "entity"], row, "").await.map(|_| ())
    }

    /// Appends a change of shape.
    ///
    /// # Errors
    /// As the database.
    pub async fn append_shape_change(&self, change: &ShapeChangeRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", change.id.to_string().into()),
            ("connection_id", change.connection_id.to_string().into()),
            ("entity", change.entity.as_str().into()),
            ("kind", codec::text(&change.kind).into()),
            ("path", change.path.replace('\0', "\u{fffd}").into()),
            ("before", change.before.clone().into()),
            ("after", change.after.clone().into()),
            ("seen_at", change.seen_at.micros().into()),
        ];
        self.connection().insert("shape_changes", vec![row], "").await.map(|_| ())
    }
}
