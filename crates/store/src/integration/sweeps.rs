//! Sweeps: complete listings, and what was missing in them.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, SweepId},
    integration::{Entity, SweepRecord, SweepStatus},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What sweeps are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepColumn {
    /// Identifier; later sweeps have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// Status.
    Status,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct SweepRow {
    id: String,
    connection_id: String,
    entity: String,
    status: String,
    window_until: i64,
    more: Option<String>,
    pages: i32,
    rows_seen: i32,
    known: i32,
    missing: i32,
    deleted: i32,
    confirmed_by: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    started_at: i64,
    finished_at: Option<i64>,
}

impl Listed for SweepRecord {
    type Column = SweepColumn;
    type Row = SweepRow;
    const SELECT: &'static str = "sweeps.*";
    const FROM: &'static str = "sweeps";
    const ID: &'static str = "sweeps.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: SweepColumn) -> Expression {
        match column {
            SweepColumn::Id => Expression::Required("sweeps.id"),
            SweepColumn::Connection => Expression::Required("sweeps.connection_id"),
            SweepColumn::Entity => Expression::Required("sweeps.entity"),
            SweepColumn::Status => Expression::Required("sweeps.status"),
        }
    }

    fn record(row: SweepRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("sweeps.id", &row.id)?,
            connection_id: codec::id("sweeps.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "sweeps.entity" })?,
            status: codec::word("sweeps.status", row.status)?,
            window_until: codec::instant("sweeps.window_until", row.window_until)?,
            more: row.more.map(|more| codec::json("sweeps.more", &more)).transpose()?,
            pages: row.pages,
            rows_seen: row.rows_seen,
            known: row.known,
            missing: row.missing,
            deleted: row.deleted,
            confirmed_by: row.confirmed_by,
            error_code: row.error_code,
            error_message: row.error_message,
            started_at: codec::instant("sweeps.started_at", row.started_at)?,
            finished_at: codec::instant_opt("sweeps.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: SweepColumn) -> Json {
        match column {
            SweepColumn::Id => json!(self.id.to_string()),
            SweepColumn::Connection => json!(self.connection_id.to_string()),
            SweepColumn::Entity => json!(self.entity.as_str()),
            SweepColumn::Status => json!(codec::text(&self.status)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of sweeps.
///
/// # Errors
/// As the database.
pub async fn sweeps(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<SweepColumn>,
) -> Result<PageResult<SweepRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The sweeps with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn sweeps_by_ids(db: &impl Reads, scope: &RowScope, ids: &[SweepId]) -> Result<Vec<SweepRecord>, StoreError> {
    page::by_ids(db, scope, "sweeps.id", &texts(ids)).await
}

/// The latest sweep of a kind of record.
///
/// # Errors
/// As the database.
pub async fn latest_sweep(
    db: &impl Reads,
    connection: ConnectionId,
    entity: Entity,
) -> Result<Option<SweepRecord>, StoreError> {
    let sql = "SELECT * FROM sweeps WHERE connection_id = $1 AND entity = $2 ORDER BY id DESC LIMIT 1";
    let values = vec![connection.to_string().into(), entity.as_str().into()];
    db.connection().one::<SweepRow>(sql, values).await?.map(SweepRecord::record).transpose()
}

#[derive(FromQueryResult)]
struct Counted {
    known: i64,
    missing: i64,
}

#[derive(FromQueryResult)]
struct RemoteId {
    remote_id: String,
}

/// What the hub knows and a sweep did not list. What was seen after the sweep began is there, whatever it listed.
const MISSING: &str = "connection_id = $1 AND entity = $2 AND deleted_at IS NULL AND last_seen_at < $3 \
                       AND NOT EXISTS (SELECT 1 FROM sweep_seen s WHERE s.sweep_id = $4 \
                       AND s.remote_id = identities.remote_id)";

/// How many records the hub knows there, and how many of them a sweep did not list.
///
/// # Errors
/// As the database.
pub async fn count_missing(db: &impl Reads, sweep: &SweepRecord) -> Result<(i32, i32), StoreError> {
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM identities WHERE connection_id = $1 AND entity = $2 AND deleted_at IS NULL) \
         AS known, (SELECT COUNT(*) FROM identities WHERE {MISSING}) AS missing"
    );
    let counted: Option<Counted> = db.connection().one(&sql, missing_values(sweep)).await?;
    let small = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    Ok(counted.map_or((0, 0), |counted| (small(counted.known), small(counted.missing))))
}

/// The first so many, after an id, of those that a sweep did not list.
///
/// # Errors
/// As the database.
pub async fn missing_after(
    db: &impl Reads,
    sweep: &SweepRecord,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let sql =
        format!("SELECT remote_id FROM identities WHERE {MISSING} AND remote_id > $5 ORDER BY remote_id LIMIT {limit}");
    let mut values = missing_values(sweep);
    values.push(after.into());
    let rows: Vec<RemoteId> = db.connection().all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| row.remote_id).collect())
}

fn missing_values(sweep: &SweepRecord) -> Vec<sea_orm::Value> {
    vec![
        sweep.connection_id.to_string().into(),
        sweep.entity.as_str().into(),
        sweep.started_at.micros().into(),
        sweep.id.to_string().into(),
    ]
}

impl Tx {
    /// Saves a sweep.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_sweep(&self, sweep: &SweepRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", sweep.id.to_string().into()),
            ("connection_id", sweep.connection_id.to_string().into()),
            ("entity", sweep.entity.as_str().into()),
            ("status", codec::text(&sweep.status).into()),
            ("window_until", sweep.window_until.micros().into()),
            ("more", sweep.more.as_ref().map(Json::to_string).into()),
            ("pages", sweep.pages.into()),
            ("rows_seen", sweep.rows_seen.into()),
            ("known", sweep.known.into()),
            ("missing", sweep.missing.into()),
            ("deleted", sweep.deleted.into()),
            ("confirmed_by", sweep.confirmed_by.clone().into()),
            ("error_code", sweep.error_code.clone().into()),
            ("error_message", sweep.error_message.clone().into()),
            ("started_at", sweep.started_at.micros().into()),
            ("finished_at", sweep.finished_at.map(Instant::micros).into()),
        ];
        self.connection().save("sweeps", &["id"], row, "").await.map(|_| ())
    }

    /// Notes which records a sweep listed.
    ///
    /// # Errors
    /// As the database.
    pub async fn sweep_saw(&self, sweep: SweepId, remote_ids: &[String]) -> Result<(), StoreError> {
        let rows =
            remote_ids.iter().map(|id| vec![("sweep_id", sweep.to_string().into()), ("remote_id", id.clone().into())]);
        let again = " ON CONFLICT (sweep_id, remote_id) DO NOTHING";
        self.connection().insert("sweep_seen", rows.collect(), again).await.map(|_| ())
    }

    /// Forgets what a sweep listed, which nobody needs once it has ended.
    ///
    /// # Errors
    /// As the database.
    pub async fn forget_seen(&self, sweep: SweepId) -> Result<(), StoreError> {
        let sql = "DELETE FROM sweep_seen WHERE sweep_id = $1";
        self.connection().run(sql, vec![sweep.to_string().into()]).await.map(|_| ())
    }

    /// Lets a sweep that stopped at its brake go on. Returns whether one of this identifier was stopped.
    ///
    /// # Errors
    /// As the database.
    pub async fn confirm_sweep(&self, sweep: SweepId, by: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE sweeps SET status = $1, confirmed_by = $2, error_code = NULL, error_message = NULL, \
                   finished_at = NULL WHERE id = $3 AND status = $4";
        let values = vec![
            codec::text(&SweepStatus::Removing).into(),
            by.into(),
            sweep.to_string().into(),
            codec::text(&SweepStatus::Braked).into(),
        ];
        Ok(self.connection().run(sql, values).await? > 0)
    }
}
