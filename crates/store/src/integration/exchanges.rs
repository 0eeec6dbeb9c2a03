//! Exchanges with other systems: written in batches, read by those who look for what went wrong, gone after some days.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, ExchangeId},
    integration::{ExchangeHeader, ExchangeRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, Store, StoreError, codec, page, pipeline::texts};

/// Rows that go in one transaction.
const BATCH: i64 = 500;

/// What exchanges are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeColumn {
    /// Identifier; exchanges that began later have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Run that asked.
    Run,
    /// Inbound event that led to it.
    Event,
    /// Key of the effect that it was part of.
    Effect,
    /// Status of the answer.
    Status,
    /// What went wrong.
    Fault,
    /// When it began.
    StartedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ExchangeRow {
    id: String,
    connection_id: String,
    run_id: Option<String>,
    inbound_event_id: Option<String>,
    effect_key: Option<String>,
    method: String,
    address: String,
    status: Option<i32>,
    fault_code: Option<String>,
    attempt: i32,
    started_at: i64,
    duration_ms: i64,
    request_bytes: i64,
    request_sha256: Option<String>,
    request_headers: String,
    request_body: Option<String>,
    answer_bytes: Option<i64>,
    answer_sha256: Option<String>,
    answer_headers: String,
    answer_body: Option<String>,
}

impl Listed for ExchangeRecord {
    type Column = ExchangeColumn;
    type Row = ExchangeRow;
    const SELECT: &'static str = "exchanges.*";
    const FROM: &'static str = "exchanges";
    const ID: &'static str = "exchanges.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ExchangeColumn) -> Expression {
        match column {
            ExchangeColumn::Id => Expression::Required("exchanges.id"),
            ExchangeColumn::Connection => Expression::Required("exchanges.connection_id"),
            ExchangeColumn::Run => Expression::Optional("exchanges.run_id"),
            ExchangeColumn::Event => Expression::Optional("exchanges.inbound_event_id"),
            ExchangeColumn::Effect => Expression::Optional("exchanges.effect_key"),
            ExchangeColumn::Status => Expression::Optional("exchanges.status"),
            ExchangeColumn::Fault => Expression::Optional("exchanges.fault_code"),
            ExchangeColumn::StartedAt => Expression::Required("exchanges.started_at"),
        }
    }

    fn record(row: ExchangeRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("exchanges.id", &row.id)?,
            connection_id: codec::id("exchanges.connection_id", &row.connection_id)?,
            run_id: codec::id_opt("exchanges.run_id", row.run_id.as_deref())?,
            inbound_event_id: codec::id_opt("exchanges.inbound_event_id", row.inbound_event_id.as_deref())?,
            effect_key: row.effect_key,
            method: row.method,
            address: row.address,
            status: row.status,
            fault_code: row.fault_code,
            attempt: row.attempt,
            started_at: codec::instant("exchanges.started_at", row.started_at)?,
            duration_ms: row.duration_ms,
            request_bytes: row.request_bytes,
            request_sha256: row.request_sha256,
            request_headers: headers("exchanges.request_headers", &row.request_headers)?,
            request_body: row.request_body,
            answer_bytes: row.answer_bytes,
            answer_sha256: row.answer_sha256,
            answer_headers: headers("exchanges.answer_headers", &row.answer_headers)?,
            answer_body: row.answer_body,
        })
    }

    fn key(&self, column: ExchangeColumn) -> Json {
        match column {
            ExchangeColumn::Id => json!(self.id.to_string()),
            ExchangeColumn::Connection => json!(self.connection_id.to_string()),
            ExchangeColumn::Run => json!(self.run_id.map(|id| id.to_string())),
            ExchangeColumn::Event => json!(self.inbound_event_id.map(|id| id.to_string())),
            ExchangeColumn::Effect => json!(self.effect_key),
            ExchangeColumn::Status => json!(self.status),
            ExchangeColumn::Fault => json!(self.fault_code),
            ExchangeColumn::StartedAt => json!(self.started_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn headers(column: &'static str, text: &str) -> Result<Vec<ExchangeHeader>, StoreError> {
    let pairs: Vec<(String, String)> = codec::json(column, text)?;
    Ok(pairs.into_iter().map(|(name, value)| ExchangeHeader { name, value }).collect())
}

fn headers_text(headers: &[ExchangeHeader]) -> String {
    let pairs: Vec<_> = headers.iter().map(|header| (&header.name, &header.value)).collect();
    clean(&codec::json_text(&pairs))
}

/// PostgreSQL keeps no NUL in a text.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A page of exchanges.
///
/// # Errors
/// As the database.
pub async fn exchanges(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ExchangeColumn>,
) -> Result<PageResult<ExchangeRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The exchanges with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn exchanges_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ExchangeId],
) -> Result<Vec<ExchangeRecord>, StoreError> {
    page::by_ids(db, scope, "exchanges.id", &texts(ids)).await
}

/// The exchanges of a connection in the order in which they were written down, from behind a place on, at most so
/// many, each with its place: when it was written down, and its identifier.
///
/// # Errors
/// As the database.
pub async fn exchanges_written(
    db: &impl Reads,
    connection: ConnectionId,
    (behind, id): (Instant, Option<ExchangeId>),
    limit: i64,
) -> Result<Vec<(Instant, ExchangeRecord)>, StoreError> {
    #[derive(FromQueryResult)]
    struct Written {
        written_at: i64,
        #[sea_orm(nested)]
        row: ExchangeRow,
    }
    let sql = "SELECT * FROM exchanges WHERE connection_id = $1 AND (written_at, id) > ($2, $3) \
               ORDER BY written_at, id LIMIT $4";
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    let values = vec![connection.to_string().into(), behind.micros().into(), id.into(), limit.into()];
    let rows: Vec<Written> = db.connection().all(sql, values).await?;
    let placed = rows.into_iter().map(|Written { written_at, row }| {
        Ok((codec::instant("exchanges.written_at", written_at)?, ExchangeRecord::record(row)?))
    });
    placed.collect()
}

impl Store {
    /// Writes exchanges down, all in one commit.
    ///
    /// # Errors
    /// As the database, and none was kept.
    pub async fn keep_exchanges(&self, exchanges: &[ExchangeRecord]) -> Result<(), StoreError> {
        let written_at = self.now().micros();
        let rows = exchanges.iter().map(|exchange| {
            vec![
                ("id", exchange.id.to_string().into()),
                ("connection_id", exchange.connection_id.to_string().into()),
                ("run_id", exchange.run_id.map(|id| id.to_string()).into()),
                ("inbound_event_id", exchange.inbound_event_id.map(|id| id.to_string()).into()),
                ("effect_key", exchange.effect_key.clone().into()),
                ("method", exchange.method.clone().into()),
                ("address", clean(&exchange.address).into()),
                ("status", exchange.status.into()),
                ("fault_code", exchange.fault_code.clone().into()),
                ("attempt", exchange.attempt.into()),
                ("started_at", exchange.started_at.micros().into()),
                ("duration_ms", exchange.duration_ms.into()),
                ("written_at", written_at.into()),
                ("request_bytes", exchange.request_bytes.into()),
                ("request_sha256", exchange.request_sha256.clone().into()),
                ("request_headers", headers_text(&exchange.request_headers).into()),
                ("request_body", exchange.request_body.as_deref().map(clean).into()),
                ("answer_bytes", exchange.answer_bytes.into()),
                ("answer_sha256", exchange.answer_sha256.clone().into()),
                ("answer_headers", headers_text(&exchange.answer_headers).into()),
                ("answer_body", exchange.answer_body.as_deref().map(clean).into()),
            ]
        });
        let tx = self.begin().await?;
        tx.connection().insert("exchanges", rows.collect(), "").await?;
        tx.commit().await
    }

    /// Lets go of the exchanges that began before a moment, so many at a time.
    ///
    /// # Errors
    /// As the database.
    pub async fn forget_exchanges(&self, before: Instant) -> Result<u64, StoreError> {
        let sql = format!(
            "DELETE FROM exchanges WHERE id IN (SELECT id FROM exchanges WHERE id < $1 ORDER BY id LIMIT {BATCH})"
        );
        let mut gone = 0;
        loop {
            let tx = self.begin().await?;
            let now = tx.connection().run(&sql, vec![ExchangeId::first_at(before).to_string().into()]).await?;
            tx.commit().await?;
            gone += now;
            if i64::try_from(now).unwrap_or(i64::MAX) < BATCH {
                return Ok(gone);
            }
        }
    }
}
