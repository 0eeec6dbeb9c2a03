//! Back-fills: readings of what a system held before, in slices that each have a place of their own.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{BackfillId, ConnectionId},
    integration::{BackfillRecord, BackfillSlice, BackfillStatus, Entity},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::marks, page, pipeline::texts,
};

/// What back-fills are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillColumn {
    /// Identifier; later ones are larger.
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
pub struct BackfillRow {
    id: String,
    connection_id: String,
    entity: String,
    run_trigger: String,
    remote_id: Option<String>,
    since: Option<i64>,
    until: i64,
    status: String,
    requested_by: String,
    created_at: i64,
    finished_at: Option<i64>,
}

impl Listed for BackfillRecord {
    type Column = BackfillColumn;
    type Row = BackfillRow;
    const SELECT: &'static str = "backfills.*";
    const FROM: &'static str = "backfills";
    const ID: &'static str = "backfills.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: BackfillColumn) -> Expression {
        match column {
            BackfillColumn::Id => Expression::Required("backfills.id"),
            BackfillColumn::Connection => Expression::Required("backfills.connection_id"),
            BackfillColumn::Entity => Expression::Required("backfills.entity"),
            BackfillColumn::Status => Expression::Required("backfills.status"),
        }
    }

    fn record(row: BackfillRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("backfills.id", &row.id)?,
            connection_id: codec::id("backfills.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "backfills.entity" })?,
            trigger: codec::word("backfills.run_trigger", row.run_trigger)?,
            remote_id: row.remote_id,
            since: codec::instant_opt("backfills.since", row.since)?,
            until: codec::instant("backfills.until", row.until)?,
            status: codec::word("backfills.status", row.status)?,
            requested_by: row.requested_by,
            created_at: codec::instant("backfills.created_at", row.created_at)?,
            finished_at: codec::instant_opt("backfills.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: BackfillColumn) -> Json {
        match column {
            BackfillColumn::Id => json!(self.id.to_string()),
            BackfillColumn::Connection => json!(self.connection_id.to_string()),
            BackfillColumn::Entity => json!(self.entity.as_str()),
            BackfillColumn::Status => json!(codec::text(&self.status)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of back-fills.
///
/// # Errors
/// As the database.
pub async fn backfills(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<BackfillColumn>,
) -> Result<PageResult<BackfillRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The back-fills with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn backfills_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[BackfillId],
) -> Result<Vec<BackfillRecord>, StoreError> {
    page::by_ids(db, scope, "backfills.id", &texts(ids)).await
}

#[derive(FromQueryResult)]
struct SliceRow {
    backfill_id: String,
    position: i32,
    since: Option<i64>,
    until: i64,
    more: Option<String>,
    status: String,
    run_id: Option<String>,
    pages: i32,
    rows_read: i32,
    rows_changed: i32,
    rows_parked: i32,
    failures: i32,
    next_attempt_at: Option<i64>,
    error_code: Option<String>,
    error_message: Option<String>,
}

impl TryFrom<SliceRow> for BackfillSlice {
    type Error = StoreError;

    fn try_from(row: SliceRow) -> Result<Self, StoreError> {
        Ok(Self {
            backfill_id: codec::id("backfill_slices.backfill_id", &row.backfill_id)?,
            position: row.position,
            since: codec::instant_opt("backfill_slices.since", row.since)?,
            until: codec::instant("backfill_slices.until", row.until)?,
            more: row.more.map(|more| codec::json("backfill_slices.more", &more)).transpose()?,
            status: codec::word("backfill_slices.status", row.status)?,
            run_id: codec::id_opt("backfill_slices.run_id", row.run_id.as_deref())?,
            pages: row.pages,
            rows_read: row.rows_read,
            rows_changed: row.rows_changed,
            rows_parked: row.rows_parked,
            failures: row.failures,
            next_attempt_at: codec::instant_opt("backfill_slices.next_attempt_at", row.next_attempt_at)?,
            error_code: row.error_code,
            error_message: row.error_message,
        })
    }
}

/// The slices of these back-fills, in their order.
///
/// # Errors
/// As the database.
pub async fn slices_of(db: &impl Reads, backfills: &[BackfillId]) -> Result<Vec<BackfillSlice>, StoreError> {
    if backfills.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM backfill_slices WHERE backfill_id IN ({}) ORDER BY backfill_id, position",
        marks(1, backfills.len())
    );
    let rows: Vec<SliceRow> = db.connection().all(&sql, texts(backfills).into_iter().map(Into::into).collect()).await?;
    rows.into_iter().map(BackfillSlice::try_from).collect()
}

/// The slices of a kind of record that are due, the first first.
///
/// # Errors
/// As the database.
pub async fn due_slices(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    now: Instant,
) -> Result<Vec<BackfillSlice>, StoreError> {
    let sql = "SELECT s.* FROM backfill_slices s JOIN backfills b ON b.id = s.backfill_id \
               WHERE b.connection_id = $1 AND b.entity = $2 AND b.finished_at IS NULL AND s.next_attempt_at <= $3 \
               ORDER BY s.backfill_id, s.position LIMIT 20";
    let values = vec![connection.to_string().into(), entity.as_str().into(), now.micros().into()];
    let rows: Vec<SliceRow> = db.connection().all(sql, values).await?;
    rows.into_iter().map(BackfillSlice::try_from).collect()
}

#[derive(FromQueryResult)]
struct Counted {
    counted: i64,
}

/// How many records the hub knows from a system that last changed there in a window. Those whose version there is no
/// moment count always.
///
/// # Errors
/// As the database.
pub async fn known_in_window(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    (since, until): (Option<Instant>, Instant),
) -> Result<i64, StoreError> {
    // Versions that are moments are written alike by one vendor, so that their texts are in the order of time.
    let sql = "SELECT COUNT(*) AS counted FROM identities WHERE connection_id = $1 AND entity = $2 \
               AND deleted_at IS NULL AND (remote_version IS NULL OR remote_version NOT LIKE '____-__-__T%' \
               OR (remote_version >= $3 AND remote_version <= $4))";
    let since = since.map(|at| at.to_string()).unwrap_or_default();
    let values = vec![connection.to_string().into(), entity.as_str().into(), since.into(), until.to_string().into()];
    let row: Option<Counted> = db.connection().one(sql, values).await?;
    Ok(row.map_or(0, |row| row.counted))
}

impl Tx {
    /// Saves a back-fill.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_backfill(&self, backfill: &BackfillRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", backfill.id.to_string().into()),
            ("connection_id", backfill.connection_id.to_string().into()),
            ("entity", backfill.entity.as_str().into()),
            ("run_trigger", codec::text(&backfill.trigger).into()),
            ("remote_id", backfill.remote_id.clone().into()),
            ("since", backfill.since.map(Instant::micros).into()),
            ("until", backfill.until.micros().into()),
            ("status", codec::text(&backfill.status).into()),
            ("requested_by", backfill.requested_by.clone().into()),
            ("created_at", backfill.created_at.micros().into()),
            ("finished_at", backfill.finished_at.map(Instant::micros).into()),
        ];
        self.connection().save("backfills", &["id"], row, "").await.map(|_| ())
    }

    /// Saves how far a slice has come, unless the back-fill was ended by a person meanwhile. Returns whether it goes on.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_slice(&self, slice: &BackfillSlice) -> Result<bool, StoreError> {
        let row = vec![
            ("backfill_id", slice.backfill_id.to_string().into()),
            ("position", slice.position.into()),
            ("since", slice.since.map(Instant::micros).into()),
            ("until", slice.until.micros().into()),
            ("more", slice.more.as_ref().map(Json::to_string).into()),
            ("status", codec::text(&slice.status).into()),
            ("run_id", slice.run_id.map(|id| id.to_string()).into()),
            ("pages", slice.pages.into()),
            ("rows_read", slice.rows_read.into()),
            ("rows_changed", slice.rows_changed.into()),
            ("rows_parked", slice.rows_parked.into()),
            ("failures", slice.failures.into()),
            ("next_attempt_at", slice.next_attempt_at.map(Instant::micros).into()),
            ("error_code", slice.error_code.clone().into()),
            ("error_message", slice.error_message.clone().into()),
        ];
        let when = format!("backfill_slices.status <> '{}'", codec::text(&BackfillStatus::Cancelled));
        Ok(self.connection().save("backfill_slices", &["backfill_id", "position"], row, &when).await? > 0)
    }

    /// Ends a back-fill whose slices have all ended: failed when one of them did. Returns whether it has ended.
    ///
    /// # Errors
    /// As the database.
    pub async fn end_backfill(&self, backfill: BackfillId) -> Result<bool, StoreError> {
        let sql =
            "SELECT COUNT(*) AS counted FROM backfill_slices WHERE backfill_id = $1 AND next_attempt_at IS NOT NULL";
        let open: Option<Counted> = self.connection().one(sql, vec![backfill.to_string().into()]).await?;
        if open.is_some_and(|open| open.counted > 0) {
            return Ok(false);
        }
        let sql = "UPDATE backfills SET finished_at = $1, status = CASE WHEN EXISTS (SELECT 1 FROM backfill_slices s \
                   WHERE s.backfill_id = backfills.id AND s.status = $2) THEN $2 ELSE $3 END \
                   WHERE id = $4 AND finished_at IS NULL";
        let values = vec![
            self.now().micros().into(),
            codec::text(&BackfillStatus::Failed).into(),
            codec::text(&BackfillStatus::Succeeded).into(),
            backfill.to_string().into(),
        ];
        Ok(self.connection().run(sql, values).await? > 0)
    }

    /// Ends the slices of a listing that had everything: the others have nothing to add.
    ///
    /// # Errors
    /// As the database.
    pub async fn end_other_slices(&self, slice: &BackfillSlice) -> Result<(), StoreError> {
        let sql = "UPDATE backfill_slices SET status = $1, next_attempt_at = NULL WHERE backfill_id = $2 \
                   AND position <> $3 AND next_attempt_at IS NOT NULL";
        let values = vec![
            codec::text(&BackfillStatus::Succeeded).into(),
            slice.backfill_id.to_string().into(),
            slice.position.into(),
        ];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// Ends a back-fill that a person does not want any more; what was read stays. Returns whether it was still open.
    ///
    /// # Errors
    /// As the database.
    pub async fn cancel_backfill(&self, backfill: BackfillId) -> Result<bool, StoreError> {
        let cancelled = codec::text(&BackfillStatus::Cancelled);
        let sql = "UPDATE backfills SET status = $1, finished_at = $2 WHERE id = $3 AND finished_at IS NULL";
        let values = vec![cancelled.clone().into(), self.now().micros().into(), backfill.to_string().into()];
        if self.connection().run(sql, values).await? == 0 {
            return Ok(false);
        }
        let sql = "UPDATE backfill_slices SET status = $1, next_attempt_at = NULL WHERE backfill_id = $2 \
                   AND next_attempt_at IS NOT NULL";
        self.connection().run(sql, vec![cancelled.into(), backfill.to_string().into()]).await?;
        Ok(true)
    }
}
