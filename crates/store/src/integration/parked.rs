//! Rows of other systems that could not be applied: each waits by itself, with its reason.

use std::collections::HashSet;

use crosstie_domain::{
    access::RowScope,
    ids::{ConnectionId, CorrectionId, ParkedId, kind},
    integration::{Entity, ParkedRowRecord},
};
use sea_orm::FromQueryResult;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::Columns, page, pipeline::texts,
    texts::Texts,
};

/// What parked rows are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ParkedColumn {
    /// Identifier; rows that were parked later have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// Why it waits.
    Code,
    /// When it last came.
    LastSeenAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ParkedListRow {
    id: String,
    connection_id: String,
    entity: String,
    remote_id: String,
    code: String,
    message: String,
    raw: String,
    mapping_version: String,
    correction_id: Option<String>,
    version: i32,
    attempts: i32,
    first_seen_at: i64,
    last_seen_at: i64,
}

impl Listed for ParkedRowRecord {
    type Column = ParkedColumn;
    type Row = ParkedListRow;
    const SELECT: &'static str = "parked_rows.*";
    const FROM: &'static str = "parked_rows";
    const ID: &'static str = "parked_rows.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ParkedColumn) -> Expression {
        match column {
            ParkedColumn::Id => Expression::Required("parked_rows.id"),
            ParkedColumn::Connection => Expression::Required("parked_rows.connection_id"),
            ParkedColumn::Entity => Expression::Required("parked_rows.entity"),
            ParkedColumn::Code => Expression::Required("parked_rows.code"),
            ParkedColumn::LastSeenAt => Expression::Required("parked_rows.last_seen_at"),
        }
    }

    fn record(row: ParkedListRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("parked_rows.id", &row.id)?,
            connection_id: codec::id("parked_rows.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "parked_rows.entity" })?,
            remote_id: row.remote_id,
            code: row.code,
            message: row.message,
            raw: row.raw,
            mapping_version: row.mapping_version,
            correction_id: codec::id_opt("parked_rows.correction_id", row.correction_id.as_deref())?,
            version: row.version,
            attempts: row.attempts,
            first_seen_at: codec::instant("parked_rows.first_seen_at", row.first_seen_at)?,
            last_seen_at: codec::instant("parked_rows.last_seen_at", row.last_seen_at)?,
        })
    }

    fn key(&self, column: ParkedColumn) -> Json {
        match column {
            ParkedColumn::Id => json!(self.id.to_string()),
            ParkedColumn::Connection => json!(self.connection_id.to_string()),
            ParkedColumn::Entity => json!(self.entity.as_str()),
            ParkedColumn::Code => json!(self.code),
            ParkedColumn::LastSeenAt => json!(self.last_seen_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of parked rows.
///
/// # Errors
/// As the database.
pub async fn parked_rows(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ParkedColumn>,
) -> Result<PageResult<ParkedRowRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The parked rows with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn parked_rows_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ParkedId],
) -> Result<Vec<ParkedRowRecord>, StoreError> {
    page::by_ids(db, scope, "parked_rows.id", &texts(ids)).await
}

/// A row of a vendor that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRow {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// Its id at the vendor, or a hash of it when it has none.
    pub remote_id: String,
    /// A stable code.
    pub code: String,
    /// What is wrong, in words.
    pub message: String,
    /// The row as it came.
    pub raw: String,
    /// Version of the connector that could not map it.
    pub mapping_version: String,
}

impl Tx {
    /// Parks a row, or notes that it failed again.
    ///
    /// # Errors
    /// As the database.
    pub async fn park_row(&self, parked: &ParkedRow) -> Result<(), StoreError> {
        self.park_rows(std::slice::from_ref(parked)).await
    }

    /// The same for several rows, in their order.
    ///
    /// # Errors
    /// As the database.
    pub async fn park_rows(&self, parked: &[ParkedRow]) -> Result<(), StoreError> {
        let again = " ON CONFLICT (connection_id, entity, remote_id) DO UPDATE SET code = excluded.code, \
                   message = excluded.message, raw = excluded.raw, mapping_version = excluded.mapping_version, \
                   attempts = parked_rows.attempts + 1, last_seen_at = excluded.last_seen_at, \
                   version = parked_rows.version + CASE WHEN parked_rows.raw = excluded.raw THEN 0 ELSE 1 END, \
                   correction_id = CASE WHEN parked_rows.raw = excluded.raw THEN parked_rows.correction_id END";
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        let now = self.now();
        // One statement changes a row once: what failed twice is noted in another one.
        let mut rounds: Vec<(HashSet<_>, Vec<Columns>)> = Vec::new();
        for row in parked {
            let key = (row.connection_id, row.entity, clean(&row.remote_id));
            let columns = vec![
                ("id", self.new_id::<kind::Parked>().to_string().into()),
                ("connection_id", row.connection_id.to_string().into()),
                ("entity", row.entity.as_str().into()),
                ("remote_id", key.2.clone().into()),
                ("code", row.code.clone().into()),
                ("message", clean(&row.message).into()),
                ("raw", clean(&row.raw).into()),
                ("mapping_version", row.mapping_version.clone().into()),
                ("attempts", 1.into()),
                ("first_seen_at", now.micros().into()),
                ("last_seen_at", now.micros().into()),
            ];
            match rounds.iter_mut().find(|(keys, _)| !keys.contains(&key)) {
                Some((keys, rows)) => {
                    keys.insert(key);
                    rows.push(columns);
                }
                None => rounds.push((HashSet::from([key]), vec![columns])),
            }
        }
        for (_, rows) in rounds {
            self.connection().insert("parked_rows", rows, again).await?;
        }
        Ok(())
    }

    /// Replaces a row that waits by what a person corrected.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not at the version that was read.
    pub async fn correct_row(
        &self,
        row: &ParkedRowRecord,
        (raw, correction): (&str, CorrectionId),
    ) -> Result<(), StoreError> {
        let sql = "UPDATE parked_rows SET raw = $1, correction_id = $2, version = version + 1 \
                   WHERE id = $3 AND version = $4";
        let values = vec![raw.into(), correction.to_string().into(), row.id.to_string().into(), row.version.into()];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// Forgets that a row waited, because it could be applied. Returns whether it did wait.
    ///
    /// # Errors
    /// As the database.
    pub async fn unpark_row(
        &self,
        connection: ConnectionId,
        entity: Entity,
        remote_id: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.unpark_rows((connection, entity), &[remote_id]).await? > 0)
    }

    /// The same for several rows of one kind. Returns how many did wait.
    ///
    /// # Errors
    /// As the database.
    pub async fn unpark_rows(
        &self,
        (connection, entity): (ConnectionId, Entity),
        remote_ids: &[&str],
    ) -> Result<u64, StoreError> {
        let sql = |ids: Texts| {
            let among = ids.among("remote_id");
            format!("DELETE FROM parked_rows WHERE connection_id = $1 AND entity = $2 AND {among}")
        };
        let first = [connection.to_string().into(), entity.as_str().into()];
        self.connection().run_among(&first, remote_ids, sql).await
    }
}
