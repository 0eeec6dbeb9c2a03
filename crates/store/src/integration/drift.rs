//! Drift: how far what a system says differs from what the hub believes that it says.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, DriftReportId},
    integration::{DriftReportRecord, DriftScope, Entity},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What reports are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftColumn {
    /// Identifier; later reports have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// How much was compared.
    Scope,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct DriftRow {
    id: String,
    connection_id: String,
    entity: String,
    scope: String,
    status: String,
    compared: i32,
    differing: i32,
    healed: i32,
    error_code: Option<String>,
    error_message: Option<String>,
    started_at: i64,
    finished_at: Option<i64>,
}

impl Listed for DriftReportRecord {
    type Column = DriftColumn;
    type Row = DriftRow;
    const SELECT: &'static str = "drift_reports.*";
    const FROM: &'static str = "drift_reports";
    const ID: &'static str = "drift_reports.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: DriftColumn) -> Expression {
        match column {
            DriftColumn::Id => Expression::Required("drift_reports.id"),
            DriftColumn::Connection => Expression::Required("drift_reports.connection_id"),
            DriftColumn::Entity => Expression::Required("drift_reports.entity"),
            DriftColumn::Scope => Expression::Required("drift_reports.scope"),
        }
    }

    fn record(row: DriftRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("drift_reports.id", &row.id)?,
            connection_id: codec::id("drift_reports.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "drift_reports.entity" })?,
            scope: codec::word("drift_reports.scope", row.scope)?,
            status: codec::word("drift_reports.status", row.status)?,
            compared: row.compared,
            differing: row.differing,
            healed: row.healed,
            error_code: row.error_code,
            error_message: row.error_message,
            started_at: codec::instant("drift_reports.started_at", row.started_at)?,
            finished_at: codec::instant_opt("drift_reports.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: DriftColumn) -> Json {
        match column {
            DriftColumn::Id => json!(self.id.to_string()),
            DriftColumn::Connection => json!(self.connection_id.to_string()),
            DriftColumn::Entity => json!(self.entity.as_str()),
            DriftColumn::Scope => json!(codec::text(&self.scope)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of reports.
///
/// # Errors
/// As the database.
pub async fn drift_reports(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<DriftColumn>,
) -> Result<PageResult<DriftReportRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The reports with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn drift_reports_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[DriftReportId],
) -> Result<Vec<DriftReportRecord>, StoreError> {
    page::by_ids(db, scope, "drift_reports.id", &texts(ids)).await
}

/// When a kind of record was last compared in this scope, or in any.
///
/// # Errors
/// As the database.
pub async fn last_compared(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    scope: Option<DriftScope>,
) -> Result<Option<Instant>, StoreError> {
    let sql = "SELECT * FROM drift_reports WHERE connection_id = $1 AND entity = $2 AND ($3 = '' OR scope = $3) \
               ORDER BY id DESC LIMIT 1";
    let scope = scope.map(|scope| codec::text(&scope)).unwrap_or_default();
    let values = vec![connection.to_string().into(), entity.as_str().into(), scope.into()];
    let row: Option<DriftRow> = db.connection().one(sql, values).await?;
    row.map(|row| codec::instant("drift_reports.started_at", row.started_at)).transpose()
}

#[derive(FromQueryResult)]
struct RemoteId {
    remote_id: String,
}

/// So many of the records that a system has, by their ids there, drawn at random.
///
/// # Errors
/// As the database.
pub async fn drawn_at_random(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    count: u32,
) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT remote_id FROM identities WHERE connection_id = $1 AND entity = $2 AND deleted_at IS NULL \
         ORDER BY random() LIMIT {count}"
    );
    let values = vec![connection.to_string().into(), entity.as_str().into()];
    let rows: Vec<RemoteId> = db.connection().all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| row.remote_id).collect())
}

impl Tx {
    /// Saves a report.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_drift_report(&self, report: &DriftReportRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", report.id.to_string().into()),
            ("connection_id", report.connection_id.to_string().into()),
            ("entity", report.entity.as_str().into()),
            ("scope", codec::text(&report.scope).into()),
            ("status", codec::text(&report.status).into()),
            ("compared", report.compared.into()),
            ("differing", report.differing.into()),
            ("healed", report.healed.into()),
            ("error_code", report.error_code.clone().into()),
            ("error_message", report.error_message.clone().into()),
            ("started_at", report.started_at.micros().into()),
            ("finished_at", report.finished_at.map(Instant::micros).into()),
        ];
        self.connection().save("drift_reports", &["id"], row, "").await.map(|_| ())
    }
}
