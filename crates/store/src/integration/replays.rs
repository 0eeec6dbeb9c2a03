//! Replays: the jobs, and the result of each of their items.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, JobId, ReplayItemId},
    integration::{
        EffectStatus, InboundStatus, ReplayItemRecord, ReplayJobRecord, ReplayKind, ReplayOutcome, ReplayStatus,
    },
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::marks, page, pipeline::texts,
};

/// What replays are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayColumn {
    /// Identifier; later ones are larger.
    Id,
    /// What it takes up again.
    Kind,
    /// How it stands.
    Status,
    /// When it was asked for.
    CreatedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ReplayJobRow {
    id: String,
    kind: String,
    status: String,
    filter: String,
    items: i32,
    actor: String,
    reason: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl Listed for ReplayJobRecord {
    type Column = ReplayColumn;
    type Row = ReplayJobRow;
    const SELECT: &'static str = "replay_jobs.*";
    const FROM: &'static str = "replay_jobs";
    const ID: &'static str = "replay_jobs.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ReplayColumn) -> Expression {
        match column {
            ReplayColumn::Id => Expression::Required("replay_jobs.id"),
            ReplayColumn::Kind => Expression::Required("replay_jobs.kind"),
            ReplayColumn::Status => Expression::Required("replay_jobs.status"),
            ReplayColumn::CreatedAt => Expression::Required("replay_jobs.created_at"),
        }
    }

    fn record(row: ReplayJobRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("replay_jobs.id", &row.id)?,
            kind: codec::word("replay_jobs.kind", row.kind)?,
            status: codec::word("replay_jobs.status", row.status)?,
            filter: row.filter,
            items: row.items,
            actor: row.actor,
            reason: row.reason,
            created_at: codec::instant("replay_jobs.created_at", row.created_at)?,
            finished_at: codec::instant_opt("replay_jobs.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: ReplayColumn) -> Json {
        match column {
            ReplayColumn::Id => json!(self.id.to_string()),
            ReplayColumn::Kind => json!(self.kind.as_str()),
            ReplayColumn::Status => json!(codec::text(&self.status)),
            ReplayColumn::CreatedAt => json!(self.created_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ReplayItemRow {
    id: String,
    job_id: String,
    subject_id: String,
    connection_id: String,
    outcome: String,
    code: Option<String>,
    message: Option<String>,
    finished_at: Option<i64>,
}

/// What results of replays are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayItemColumn {
    /// Identifier, in the order in which they are taken up.
    Id,
}

impl Listed for ReplayItemRecord {
    type Column = ReplayItemColumn;
    type Row = ReplayItemRow;
    const SELECT: &'static str = "replay_items.*";
    const FROM: &'static str = "replay_items";
    const ID: &'static str = "replay_items.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(_: ReplayItemColumn) -> Expression {
        Expression::Required("replay_items.id")
    }

    fn record(row: ReplayItemRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("replay_items.id", &row.id)?,
            job_id: codec::id("replay_items.job_id", &row.job_id)?,
            subject_id: row.subject_id,
            connection_id: codec::id("replay_items.connection_id", &row.connection_id)?,
            outcome: codec::word("replay_items.outcome", row.outcome)?,
            code: row.code,
            message: row.message,
            finished_at: codec::instant_opt("replay_items.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, _: ReplayItemColumn) -> Json {
        json!(self.id.to_string())
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of replays.
///
/// # Errors
/// As the database.
pub async fn replay_jobs(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ReplayColumn>,
) -> Result<PageResult<ReplayJobRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The replays with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn replay_jobs_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[JobId],
) -> Result<Vec<ReplayJobRecord>, StoreError> {
    page::by_ids(db, scope, "replay_jobs.id", &texts(ids)).await
}

/// The results of these replays, of each at most so many after one.
///
/// # Errors
/// As the database.
pub async fn replay_results(
    db: &impl Reads,
    scope: &RowScope,
    jobs: &[JobId],
    span: (u32, Option<&str>),
) -> Result<Vec<ReplayItemRecord>, StoreError> {
    page::children(db, scope, "replay_items.job_id", &texts(jobs), span).await
}

/// How many items of these replays have come to what. The jobs were found under the scope.
///
/// # Errors
/// As the database.
pub async fn replay_counts(
    db: &impl Reads,
    _found_under: &RowScope,
    jobs: &[JobId],
) -> Result<Vec<(JobId, ReplayOutcome, i64)>, StoreError> {
    #[derive(FromQueryResult)]
    struct Counted {
        job_id: String,
        outcome: String,
        items: i64,
    }
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT job_id, outcome, COUNT(*) AS items FROM replay_items WHERE job_id IN ({}) GROUP BY job_id, outcome",
        marks(1, jobs.len())
    );
    let rows: Vec<Counted> = db.connection().all(&sql, texts(jobs).into_iter().map(Into::into).collect()).await?;
    let read = |row: Counted| {
        let outcome = codec::word("replay_items.outcome", row.outcome)?;
        Ok((codec::id("replay_items.job_id", &row.job_id)?, outcome, row.items))
    };
    rows.into_iter().map(read).collect()
}

/// The replays that are not done, the first first.
///
/// # Errors
/// As the database.
pub async fn open_replays(db: &impl Reads) -> Result<Vec<ReplayJobRecord>, StoreError> {
    let sql = "SELECT * FROM replay_jobs WHERE finished_at IS NULL ORDER BY id LIMIT 100";
    let rows: Vec<ReplayJobRow> = db.connection().all(sql, vec![]).await?;
    rows.into_iter().map(ReplayJobRecord::record).collect()
}

/// The next items of a replay whose turn has not come, at most so many.
///
/// # Errors
/// As the database.
pub async fn next_replay_items(db: &impl Reads, job: JobId, limit: i64) -> Result<Vec<ReplayItemRecord>, StoreError> {
    let sql = "SELECT * FROM replay_items WHERE job_id = $1 AND outcome = $2 ORDER BY id LIMIT $3";
    let values = vec![job.to_string().into(), ReplayOutcome::Waiting.as_str().into(), limit.into()];
    let rows: Vec<ReplayItemRow> = db.connection().all(sql, values).await?;
    rows.into_iter().map(ReplayItemRecord::record).collect()
}

#[derive(FromQueryResult)]
struct OutcomeRow {
    outcome: String,
}

impl Tx {
    /// Writes a replay down, with its items in their order.
    ///
    /// # Errors
    /// As the database.
    pub async fn begin_replay(
        &self,
        job: &ReplayJobRecord,
        items: &[(String, ConnectionId)],
    ) -> Result<(), StoreError> {
        let row = vec![
            ("id", job.id.to_string().into()),
            ("kind", job.kind.as_str().into()),
            ("status", codec::text(&job.status).into()),
            ("filter", job.filter.clone().into()),
            ("items", job.items.into()),
            ("actor", job.actor.clone().into()),
            ("reason", job.reason.clone().into()),
            ("created_at", job.created_at.micros().into()),
            ("finished_at", job.finished_at.map(Instant::micros).into()),
        ];
        self.connection().insert("replay_jobs", vec![row], "").await?;
        let rows = items.iter().map(|(subject, connection)| {
            let id: ReplayItemId = self.new_id();
            vec![
                ("id", id.to_string().into()),
                ("job_id", job.id.to_string().into()),
                ("subject_id", subject.clone().into()),
                ("connection_id", connection.to_string().into()),
                ("outcome", ReplayOutcome::Waiting.as_str().into()),
            ]
        });
        self.connection().insert("replay_items", rows.collect(), "").await.map(|_| ())
    }

    /// Notes what came of items; of those that have their result nothing is changed.
    ///
    /// # Errors
    /// As the database.
    pub async fn replay_items_came_to(
        &self,
        items: &[ReplayItemId],
        outcome: ReplayOutcome,
        (code, message): (Option<&str>, Option<&str>),
    ) -> Result<(), StoreError> {
        if items.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE replay_items SET outcome = $1, code = $2, message = $3, finished_at = $4 \
             WHERE finished_at IS NULL AND id IN ({})",
            marks(5, items.len())
        );
        let mut values = vec![
            outcome.as_str().into(),
            code.map(str::to_owned).into(),
            message.map(|text| text.replace('\0', "\u{fffd}")).into(),
            outcome.is_final().then(|| self.now().micros()).into(),
        ];
        values.extend(texts(items).into_iter().map(Into::into));
        self.connection().run(&sql, values).await.map(|_| ())
    }

    /// Notes what came of items that are in line again and whose first try has ended. Returns the outcomes.
    ///
    /// # Errors
    /// As the database.
    pub async fn follow_replay(&self, job: JobId, kind: ReplayKind) -> Result<Vec<ReplayOutcome>, StoreError> {
        let (table, key, done, given_up) = match kind {
            ReplayKind::InboundEvents => (
                "inbound_events",
                "id",
                vec![codec::text(&InboundStatus::Processed), codec::text(&InboundStatus::Ignored)],
                vec![codec::text(&InboundStatus::Parked)],
            ),
            ReplayKind::OutboundEffects => (
                "effects",
                "outbox_id",
                vec![codec::text(&EffectStatus::Done)],
                EffectStatus::FOR_A_PERSON.map(|status| codec::text(&status)).to_vec(),
            ),
            // Each has its result as soon as its turn came.
            ReplayKind::ParkedRows => return Ok(Vec::new()),
        };
        let quoted = |words: &[String]| words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
        let of = |column: &str| format!("(SELECT s.{column} FROM {table} s WHERE s.{key} = replay_items.subject_id)");
        let sql = format!(
            "UPDATE replay_items SET outcome = CASE WHEN {status} IN ({done}) THEN $1 ELSE $2 END, code = {code}, \
             message = {message}, finished_at = $3 WHERE job_id = $4 AND outcome = $5 AND EXISTS (SELECT 1 \
             FROM {table} s WHERE s.{key} = replay_items.subject_id \
             AND (s.status IN ({done}, {given_up}) OR s.error_code IS NOT NULL)) RETURNING outcome",
            status = of("status"),
            code = of("error_code"),
            message = of("error_message"),
            done = quoted(&done),
            given_up = quoted(&given_up),
        );
        let values = vec![
            ReplayOutcome::Succeeded.as_str().into(),
            ReplayOutcome::Failed.as_str().into(),
            self.now().micros().into(),
            job.to_string().into(),
            ReplayOutcome::UnderWay.as_str().into(),
        ];
        let rows: Vec<OutcomeRow> = self.connection().all(&sql, values).await?;
        rows.into_iter().map(|row| codec::word("replay_items.outcome", row.outcome)).collect()
    }

    /// Notes that a replay has begun, or is done when every item has its result. Returns whether it is done.
    ///
    /// # Errors
    /// As the database.
    pub async fn replay_goes_on(&self, job: JobId) -> Result<bool, StoreError> {
        let sql = "UPDATE replay_jobs SET status = $1 WHERE id = $2 AND status = $3";
        let (running, waiting) = (codec::text(&ReplayStatus::Running), codec::text(&ReplayStatus::Waiting));
        self.connection().run(sql, vec![running.into(), job.to_string().into(), waiting.into()]).await?;
        let sql = "UPDATE replay_jobs SET status = $1, finished_at = $2 WHERE id = $3 AND finished_at IS NULL \
                   AND NOT EXISTS (SELECT 1 FROM replay_items i WHERE i.job_id = replay_jobs.id \
                   AND i.outcome IN ($4, $5))";
        let values = vec![
            codec::text(&ReplayStatus::Done).into(),
            self.now().micros().into(),
            job.to_string().into(),
            ReplayOutcome::Waiting.as_str().into(),
            ReplayOutcome::UnderWay.as_str().into(),
        ];
        Ok(self.connection().run(sql, values).await? > 0)
    }
}
