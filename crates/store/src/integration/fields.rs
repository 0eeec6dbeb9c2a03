//! Fields that several systems speak of, and the conflicts about them.

use std::collections::BTreeMap;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ConflictId,
    integration::{ConflictRecord, Entity, authority::FieldState},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts, texts::Texts,
};

/// The shared fields of one record, by their names.
pub type Fields = BTreeMap<String, FieldState>;

#[derive(FromQueryResult)]
struct FieldsRow {
    record_id: String,
    fields: String,
}

/// What is agreed on of these records, and what each system says of them. A record that one system alone knows has
/// none. The records were found under the scope.
///
/// # Errors
/// As the database.
pub async fn fields_of(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
) -> Result<Vec<(String, Fields)>, StoreError> {
    let sql =
        |records: Texts| format!("SELECT record_id, fields FROM record_fields WHERE {}", records.among("record_id"));
    let rows: Vec<FieldsRow> = db.connection().all_among(&[], records, sql).await?;
    rows.into_iter().map(|row| Ok((row.record_id, codec::json("record_fields.fields", &row.fields)?))).collect()
}

/// What conflicts are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictColumn {
    /// Identifier; conflicts that were opened later have larger ones.
    Id,
    /// Kind of record.
    Entity,
    /// Record.
    Record,
    /// Field.
    Field,
    /// How it stands.
    Status,
    /// When it was opened.
    OpenedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ConflictRow {
    id: String,
    entity: String,
    record_id: String,
    field: String,
    reason: String,
    status: String,
    agreed: String,
    voices: String,
    resolution: Option<String>,
    note: Option<String>,
    closed_by: Option<String>,
    version: i32,
    opened_at: i64,
    closed_at: Option<i64>,
}

impl Listed for ConflictRecord {
    type Column = ConflictColumn;
    type Row = ConflictRow;
    const SELECT: &'static str = "conflicts.*";
    const FROM: &'static str = "conflicts";
    const ID: &'static str = "conflicts.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ConflictColumn) -> Expression {
        match column {
            ConflictColumn::Id => Expression::Required("conflicts.id"),
            ConflictColumn::Entity => Expression::Required("conflicts.entity"),
            ConflictColumn::Record => Expression::Required("conflicts.record_id"),
            ConflictColumn::Field => Expression::Required("conflicts.field"),
            ConflictColumn::Status => Expression::Required("conflicts.status"),
            ConflictColumn::OpenedAt => Expression::Required("conflicts.opened_at"),
        }
    }

    fn record(row: ConflictRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("conflicts.id", &row.id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "conflicts.entity" })?,
            record_id: row.record_id,
            field: row.field,
            reason: codec::word("conflicts.reason", row.reason)?,
            status: codec::word("conflicts.status", row.status)?,
            agreed: codec::json("conflicts.agreed", &row.agreed)?,
            voices: codec::json("conflicts.voices", &row.voices)?,
            resolution: row.resolution.map(|text| codec::json("conflicts.resolution", &text)).transpose()?,
            note: row.note,
            closed_by: row.closed_by,
            version: row.version,
            opened_at: codec::instant("conflicts.opened_at", row.opened_at)?,
            closed_at: codec::instant_opt("conflicts.closed_at", row.closed_at)?,
        })
    }

    fn key(&self, column: ConflictColumn) -> Json {
        match column {
            ConflictColumn::Id => json!(self.id.to_string()),
            ConflictColumn::Entity => json!(self.entity.as_str()),
            ConflictColumn::Record => json!(self.record_id),
            ConflictColumn::Field => json!(self.field),
            ConflictColumn::Status => json!(codec::text(&self.status)),
            ConflictColumn::OpenedAt => json!(self.opened_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of conflicts.
///
/// # Errors
/// As the database.
pub async fn conflicts(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ConflictColumn>,
) -> Result<PageResult<ConflictRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The conflicts with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn conflicts_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ConflictId],
) -> Result<Vec<ConflictRecord>, StoreError> {
    page::by_ids(db, scope, "conflicts.id", &texts(ids)).await
}

impl Tx {
    /// Keeps others from deciding about a record's fields and links until the end of the transaction. SQLite has one
    /// writer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody else holds it for more than 5 seconds.
    pub async fn lock_record(&self, record: &str) -> Result<(), StoreError> {
        self.lock_records(&[record.to_owned()]).await
    }

    /// The same for several records. Who needs more than one takes all of them at once, after remote records: two who
    /// decide about the same ones never wait for each other.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody else holds one for more than 5 seconds.
    pub async fn lock_records(&self, records: &[String]) -> Result<(), StoreError> {
        self.connection().hold(records, 1).await
    }

    /// Saves what is agreed on of a record, and what each system says of it.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_fields(&self, entity: Entity, record: &str, fields: &Fields) -> Result<(), StoreError> {
        self.save_fields_of(&[(entity, record, fields)]).await
    }

    /// The same for several records, each of them once.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_fields_of(&self, records: &[(Entity, &str, &Fields)]) -> Result<(), StoreError> {
        let now = self.now();
        let row = |(entity, record, fields): &(Entity, &str, &Fields)| {
            vec![
                ("record_id", (*record).into()),
                ("entity", entity.as_str().into()),
                ("fields", codec::json_text(fields).replace("\\u0000", "\\ufffd").into()),
                ("updated_at", now.micros().into()),
            ]
        };
        let rows = records.iter().map(row).collect();
        self.connection().save_all("record_fields", &["record_id"], rows, "").await.map(|_| ())
    }

    /// Forgets what was agreed on of a record that one system alone knows again.
    ///
    /// # Errors
    /// As the database.
    pub async fn drop_fields(&self, record: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM record_fields WHERE record_id = $1";
        self.connection().run(sql, vec![record.into()]).await.map(|_| ())
    }

    /// Saves a conflict: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_conflict(&self, conflict: &ConflictRecord) -> Result<(), StoreError> {
        self.save_conflicts(&[(conflict, 1)]).await
    }

    /// The same for several conflicts, each so many versions on from the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed any of them.
    pub async fn save_conflicts(&self, conflicts: &[(&ConflictRecord, i32)]) -> Result<(), StoreError> {
        let json = |value: &Json| codec::json_text(value);
        let row = |conflict: &ConflictRecord| {
            vec![
                ("id", conflict.id.to_string().into()),
                ("entity", conflict.entity.as_str().into()),
                ("record_id", conflict.record_id.clone().into()),
                ("field", conflict.field.clone().into()),
                ("reason", codec::text(&conflict.reason).into()),
                ("status", codec::text(&conflict.status).into()),
                ("agreed", json(&conflict.agreed).into()),
                ("voices", codec::json_text(&conflict.voices).into()),
                ("resolution", conflict.resolution.as_ref().map(json).into()),
                ("note", conflict.note.clone().into()),
                ("closed_by", conflict.closed_by.clone().into()),
                ("version", conflict.version.into()),
                ("opened_at", conflict.opened_at.micros().into()),
                ("closed_at", conflict.closed_at.map(Instant::micros).into()),
            ]
        };
        self.save_versions("conflicts", conflicts.iter().map(|(conflict, steps)| (row(conflict), *steps))).await
    }
}
