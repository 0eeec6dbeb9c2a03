//! Lineage: who said what, append-only, one packed row for each version of a remote record.

use crosstie_domain::{
    access::RowScope,
    ids::ConnectionId,
    integration::{Assertion, Entity},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks};

#[derive(FromQueryResult)]
struct AssertionRow {
    id: String,
    entity: String,
    record_id: String,
    connection_id: String,
    remote_id: String,
    remote_version: Option<String>,
    run_id: Option<String>,
    inbound_event_id: Option<String>,
    exchange_id: Option<String>,
    mapping_version: String,
    observed_at: i64,
    fields: String,
}

impl TryFrom<AssertionRow> for Assertion {
    type Error = StoreError;

    fn try_from(row: AssertionRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("assertions.id", &row.id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "assertions.entity" })?,
            record_id: row.record_id,
            connection_id: codec::id("assertions.connection_id", &row.connection_id)?,
            remote_id: row.remote_id,
            remote_version: row.remote_version,
            run_id: codec::id_opt("assertions.run_id", row.run_id.as_deref())?,
            inbound_event_id: codec::id_opt("assertions.inbound_event_id", row.inbound_event_id.as_deref())?,
            exchange_id: codec::id_opt("assertions.exchange_id", row.exchange_id.as_deref())?,
            mapping_version: row.mapping_version,
            observed_at: codec::instant("assertions.observed_at", row.observed_at)?,
            fields: codec::json("assertions.fields", &row.fields)?,
        })
    }
}

/// What each system last said of these records, newest first. The records were found under the scope.
///
/// # Errors
/// As the database.
pub async fn assertions_of(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
) -> Result<Vec<Assertion>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM (SELECT assertions.*, ROW_NUMBER() OVER (PARTITION BY record_id, connection_id, remote_id \
         ORDER BY observed_at DESC, id DESC) AS place FROM assertions WHERE record_id IN ({})) AS numbered \
         WHERE place = 1 ORDER BY observed_at DESC, id DESC",
        marks(1, records.len())
    );
    let rows: Vec<AssertionRow> =
        db.connection().all(&sql, records.iter().map(|id| id.clone().into()).collect()).await?;
    rows.into_iter().map(Assertion::try_from).collect()
}

/// What was said of these records, newest first, at most so many for each. The records were found under the scope.
///
/// # Errors
/// As the database.
pub async fn assertion_history(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
    for_each: u32,
) -> Result<Vec<Assertion>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM (SELECT assertions.*, ROW_NUMBER() OVER (PARTITION BY record_id \
         ORDER BY observed_at DESC, id DESC) AS place FROM assertions WHERE record_id IN ({})) AS numbered \
         WHERE place <= {for_each} ORDER BY observed_at DESC, id DESC",
        marks(1, records.len())
    );
    let rows: Vec<AssertionRow> =
        db.connection().all(&sql, records.iter().map(|id| id.clone().into()).collect()).await?;
    rows.into_iter().map(Assertion::try_from).collect()
}

/// What a system last said of a remote record.
///
/// # Errors
/// As the database.
pub async fn latest_assertion(
    db: &impl Reads,
    connection: ConnectionId,
    record: &str,
    remote_id: &str,
) -> Result<Option<Assertion>, StoreError> {
    let sql = "SELECT * FROM assertions WHERE record_id = $1 AND connection_id = $2 AND remote_id = $3 \
               ORDER BY observed_at DESC, id DESC LIMIT 1";
    let values = vec![record.into(), connection.to_string().into(), remote_id.into()];
    db.connection().one::<AssertionRow>(sql, values).await?.map(Assertion::try_from).transpose()
}

impl Tx {
    /// Appends what a system said, with the row as it came.
    ///
    /// # Errors
    /// As the database.
    pub async fn append_assertion(&self, assertion: &Assertion, raw: &str) -> Result<(), StoreError> {
        let row = vec![
            ("id", assertion.id.to_string().into()),
            ("entity", assertion.entity.as_str().into()),
            ("record_id", assertion.record_id.clone().into()),
            ("connection_id", assertion.connection_id.to_string().into()),
            ("remote_id", assertion.remote_id.clone().into()),
            ("remote_version", assertion.remote_version.clone().into()),
            ("run_id", assertion.run_id.map(|id| id.to_string()).into()),
            ("inbound_event_id", assertion.inbound_event_id.map(|id| id.to_string()).into()),
            ("exchange_id", assertion.exchange_id.map(|id| id.to_string()).into()),
            ("mapping_version", assertion.mapping_version.clone().into()),
            ("observed_at", assertion.observed_at.micros().into()),
            ("fields", codec::text(&assertion.fields).into()),
        ];
        let evidence = vec![
            ("assertion_id", assertion.id.to_string().into()),
            ("observed_at", assertion.observed_at.micros().into()),
            ("raw", raw.replace('\0', "\u{fffd}").into()),
        ];
        self.connection().insert("assertions", vec![row], "").await?;
        self.connection().insert("evidence", vec![evidence], "").await.map(|_| ())
    }
}
