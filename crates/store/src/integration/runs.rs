//! Cursors and synchronization runs.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, SyncRunId},
    integration::{Entity, RunStatus, RunTrigger, SyncRunRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::marks, page, pipeline::texts,
};

/// How far one kind of record has been read from one system.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// Everything up to here has been read: proven by a window that was read to its end.
    pub watermark: Option<Instant>,
    /// Upper bound of the window that is being read.
    pub window_until: Option<Instant>,
    /// The place in that window, as the connector gave it.
    pub more: Option<Json>,
    /// How many runs in a row have failed.
    pub failures: i32,
    /// When it is due next.
    pub next_run_at: Instant,
}

#[derive(FromQueryResult)]
struct CursorRow {
    watermark: Option<i64>,
    window_until: Option<i64>,
    more: Option<String>,
    failures: i32,
    next_run_at: i64,
}

/// How far this kind of record has been read from this system.
///
/// # Errors
/// As the database.
pub async fn cursor(db: &impl Reads, connection: ConnectionId, entity: Entity) -> Result<Option<Cursor>, StoreError> {
    let sql = "SELECT * FROM cursors WHERE connection_id = $1 AND entity = $2";
    let values = vec![connection.to_string().into(), entity.as_str().into()];
    let Some(row) = db.connection().one::<CursorRow>(sql, values).await? else { return Ok(None) };
    Ok(Some(Cursor {
        connection_id: connection,
        entity,
        watermark: codec::instant_opt("cursors.watermark", row.watermark)?,
        window_until: codec::instant_opt("cursors.window_until", row.window_until)?,
        more: row.more.map(|more| codec::json("cursors.more", &more)).transpose()?,
        failures: row.failures,
        next_run_at: codec::instant("cursors.next_run_at", row.next_run_at)?,
    }))
}

/// What runs are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunColumn {
    /// Identifier; runs that began later have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// Status.
    Status,
    /// When it began.
    StartedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct RunRow {
    id: String,
    connection_id: String,
    entity: String,
    run_trigger: String,
    status: String,
    pages: i32,
    rows_read: i32,
    rows_changed: i32,
    rows_parked: i32,
    error_code: Option<String>,
    error_message: Option<String>,
    attempt: i32,
    next_attempt_at: Option<i64>,
    started_at: i64,
    finished_at: Option<i64>,
}

impl Listed for SyncRunRecord {
    type Column = RunColumn;
    type Row = RunRow;
    const SELECT: &'static str = "sync_runs.*";
    const FROM: &'static str = "sync_runs";
    const ID: &'static str = "sync_runs.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: RunColumn) -> Expression {
        match column {
            RunColumn::Id => Expression::Required("sync_runs.id"),
            RunColumn::Connection => Expression::Required("sync_runs.connection_id"),
            RunColumn::Entity => Expression::Required("sync_runs.entity"),
            RunColumn::Status => Expression::Required("sync_runs.status"),
            RunColumn::StartedAt => Expression::Required("sync_runs.started_at"),
        }
    }

    fn record(row: RunRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("sync_runs.id", &row.id)?,
            connection_id: codec::id("sync_runs.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "sync_runs.entity" })?,
            trigger: codec::word("sync_runs.run_trigger", row.run_trigger)?,
            status: codec::word("sync_runs.status", row.status)?,
            pages: row.pages,
            rows_read: row.rows_read,
            rows_changed: row.rows_changed,
            rows_parked: row.rows_parked,
            error_code: row.error_code,
            error_message: row.error_message,
            attempt: row.attempt,
            next_attempt_at: codec::instant_opt("sync_runs.next_attempt_at", row.next_attempt_at)?,
            started_at: codec::instant("sync_runs.started_at", row.started_at)?,
            finished_at: codec::instant_opt("sync_runs.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: RunColumn) -> Json {
        match column {
            RunColumn::Id => json!(self.id.to_string()),
            RunColumn::Connection => json!(self.connection_id.to_string()),
            RunColumn::Entity => json!(self.entity.as_str()),
            RunColumn::Status => json!(codec::text(&self.status)),
            RunColumn::StartedAt => json!(self.started_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of runs.
///
/// # Errors
/// As the database.
pub async fn sync_runs(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<RunColumn>,
) -> Result<PageResult<SyncRunRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The runs with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn sync_runs_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[SyncRunId],
) -> Result<Vec<SyncRunRecord>, StoreError> {
    page::by_ids(db, scope, "sync_runs.id", &texts(ids)).await
}

impl Tx {
    /// Saves how far a kind of record has been read.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_cursor(&self, cursor: &Cursor) -> Result<(), StoreError> {
        let row = vec![
            ("connection_id", cursor.connection_id.to_string().into()),
            ("entity", cursor.entity.as_str().into()),
            ("watermark", cursor.watermark.map(Instant::micros).into()),
            ("window_until", cursor.window_until.map(Instant::micros).into()),
            ("more", cursor.more.as_ref().map(Json::to_string).into()),
            ("failures", cursor.failures.into()),
            ("next_run_at", cursor.next_run_at.micros().into()),
            ("updated_at", self.now().micros().into()),
        ];
        self.connection().save("cursors", &["connection_id", "entity"], row, "").await.map(|_| ())
    }

    /// Saves a run.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_run(&self, run: &SyncRunRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", run.id.to_string().into()),
            ("connection_id", run.connection_id.to_string().into()),
            ("entity", run.entity.as_str().into()),
            ("run_trigger", codec::text(&run.trigger).into()),
            ("status", codec::text(&run.status).into()),
            ("pages", run.pages.into()),
            ("rows_read", run.rows_read.into()),
            ("rows_changed", run.rows_changed.into()),
            ("rows_parked", run.rows_parked.into()),
            ("error_code", run.error_code.clone().into()),
            ("error_message", run.error_message.clone().into()),
            ("attempt", run.attempt.into()),
            ("next_attempt_at", run.next_attempt_at.map(Instant::micros).into()),
            ("started_at", run.started_at.micros().into()),
            ("finished_at", run.finished_at.map(Instant::micros).into()),
        ];
        self.connection().save("sync_runs", &["id"], row, "").await.map(|_| ())
    }

    /// Ends the runs of a kind of record, set off by these, that nobody finished: their process died, or lost the database.
    ///
    /// # Errors
    /// As the database.
    pub async fn interrupt_runs(
        &self,
        connection: ConnectionId,
        entity: Entity,
        triggers: &[RunTrigger],
    ) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE sync_runs SET status = $1, error_code = 'INTERRUPTED', error_message = $2, finished_at = $3 \
             WHERE connection_id = $4 AND entity = $5 AND status = $6 AND run_trigger IN ({})",
            marks(7, triggers.len())
        );
        let mut values: Vec<sea_orm::Value> = vec![
            codec::text(&RunStatus::Failed).into(),
            "The process that read ended before the run did.".into(),
            self.now().micros().into(),
            connection.to_string().into(),
            entity.as_str().into(),
            codec::text(&RunStatus::Running).into(),
        ];
        values.extend(triggers.iter().map(|trigger| codec::text(trigger).into()));
        self.connection().run(&sql, values).await.map(|_| ())
    }
}
