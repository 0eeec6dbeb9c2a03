//! How connections stand, for whoever asks what happens next and why it waits: a query for each subject, whatever the
//! number of connections.

use std::collections::HashMap;

use crosstie_domain::{
    Instant,
    ids::ConnectionId,
    integration::{BackfillStatus, EffectStatus, Entity, InboundStatus, RunTrigger, SweepStatus},
};
use sea_orm::{FromQueryResult, Value};

use crate::{Reads, StoreError, codec, db::marks, pipeline::texts};

/// A scheduled reading of one kind of record, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadingFacts {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// How many runs in a row have failed.
    pub failures: i32,
    /// When it is due.
    pub next_run_at: Instant,
    /// Whether a window is read in part.
    pub in_window: bool,
    /// Why the last run failed: a code and words.
    pub error: Option<(String, String)>,
}

/// What waits in a queue of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueFacts {
    /// The connection.
    pub connection_id: ConnectionId,
    /// How much waits.
    pub waiting: i64,
    /// How much of it was tried before.
    pub tried: i64,
    /// Since when the first waits.
    pub oldest_at: Instant,
    /// When the next is due.
    pub next_at: Instant,
    /// How often the next was tried.
    pub attempts: i32,
    /// Why the next failed before: a code.
    pub error_code: Option<String>,
}

/// Who does something now, and until when it is his without renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFacts {
    /// What is leased.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// Until when.
    pub until: Instant,
}

/// Slices of back-fills of one kind of record that are not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceFacts {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// How many slices are left.
    pub slices: i64,
    /// How many failed and are tried again.
    pub failing: i64,
    /// When the next is due.
    pub next_at: Instant,
}

/// A sweep that is under way or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFacts {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// How it stands.
    pub status: SweepStatus,
    /// Records that were missing.
    pub missing: i32,
    /// When it began.
    pub started_at: Instant,
}

/// What is left of a rate budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetFacts {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The group of endpoints.
    pub bucket: String,
    /// Calls that were left when it was last looked at.
    pub left: i64,
    /// When that was.
    pub looked_at: Instant,
    /// Nothing leaves before.
    pub closed_until: Option<Instant>,
}

/// What a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedFacts {
    /// The connection.
    pub connection_id: ConnectionId,
    /// What it is: rows, events, effects.
    pub what: &'static str,
    /// Why.
    pub code: String,
    /// How much.
    pub count: i64,
}

/// How connections stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Readings by schedule.
    pub readings: Vec<ReadingFacts>,
    /// Inbound events.
    pub events: Vec<QueueFacts>,
    /// Effects.
    pub effects: Vec<QueueFacts>,
    /// Leases, by their names.
    pub leases: HashMap<String, LeaseFacts>,
    /// Back-fills.
    pub slices: Vec<SliceFacts>,
    /// Sweeps.
    pub sweeps: Vec<SweepFacts>,
    /// Rate budgets.
    pub budgets: Vec<BudgetFacts>,
    /// What a person has to look at.
    pub parked: Vec<ParkedFacts>,
}

/// How these connections stand.
///
/// # Errors
/// As the database.
pub async fn connection_facts(db: &impl Reads, ids: &[ConnectionId]) -> Result<ConnectionFacts, StoreError> {
    if ids.is_empty() {
        return Ok(ConnectionFacts::default());
    }
    Ok(ConnectionFacts {
        readings: readings(db, ids).await?,
        events: queue(db, ids, ("inbound_events", "received_at")).await?,
        effects: queue(db, ids, ("effects", "created_at")).await?,
        leases: leases(db, ids).await?,
        slices: slices(db, ids).await?,
        sweeps: sweeps(db, ids).await?,
        budgets: budgets(db, ids).await?,
        parked: parked(db, ids).await?,
    })
}

fn keys(ids: &[ConnectionId]) -> (String, Vec<Value>) {
    (marks(1, ids.len()), texts(ids).into_iter().map(Into::into).collect())
}

fn connection(text: &str) -> Result<ConnectionId, StoreError> {
    codec::id("connections.id", text)
}

fn kind(text: &str) -> Result<Entity, StoreError> {
    Entity::parse(text).ok_or(StoreError::Corrupt { column: "entity" })
}

async fn readings(db: &impl Reads, ids: &[ConnectionId]) -> Result<Vec<ReadingFacts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        connection_id: String,
        entity: String,
        failures: i32,
        next_run_at: i64,
        more: Option<String>,
        error_code: Option<String>,
        error_message: Option<String>,
    }
    let (marks, mut values) = keys(ids);
    let scheduled = [RunTrigger::Schedule, RunTrigger::Manual].map(|trigger| codec::text(&trigger));
    let sql = format!(
        "SELECT c.connection_id, c.entity, c.failures, c.next_run_at, c.more, r.error_code, r.error_message \
         FROM cursors c LEFT JOIN sync_runs r ON c.failures > 0 AND r.id = (SELECT l.id FROM sync_runs l \
         WHERE l.connection_id = c.connection_id AND l.entity = c.entity AND l.error_code IS NOT NULL \
         AND l.run_trigger IN (${}, ${}) ORDER BY l.id DESC LIMIT 1) WHERE c.connection_id IN ({marks})",
        ids.len() + 1,
        ids.len() + 2
    );
    values.extend(scheduled.map(Value::from));
    let rows: Vec<Row> = db.connection().all(&sql, values).await?;
    let read = |row: Row| {
        Ok(ReadingFacts {
            connection_id: connection(&row.connection_id)?,
            entity: kind(&row.entity)?,
            failures: row.failures,
            next_run_at: codec::instant("cursors.next_run_at", row.next_run_at)?,
            in_window: row.more.is_some(),
            error: row.error_code.map(|code| (code, row.error_message.unwrap_or_default())),
        })
    };
    rows.into_iter().map(read).collect()
}

/// What waits in a table that is a queue.
async fn queue(
    db: &impl Reads,
    ids: &[ConnectionId],
    (table, began): (&str, &str),
) -> Result<Vec<QueueFacts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        connection_id: String,
        waiting: i64,
        tried: i64,
        oldest_at: i64,
        next_attempt_at: i64,
        attempts: i32,
        error_code: Option<String>,
    }
    let (marks, values) = keys(ids);
    let sql = format!(
        "SELECT * FROM (SELECT connection_id, next_attempt_at, attempts, error_code, \
         COUNT(*) OVER (PARTITION BY connection_id) AS waiting, \
         COUNT(CASE WHEN attempts > 0 THEN 1 END) OVER (PARTITION BY connection_id) AS tried, \
         MIN({began}) OVER (PARTITION BY connection_id) AS oldest_at, \
         ROW_NUMBER() OVER (PARTITION BY connection_id ORDER BY next_attempt_at, {began}) AS place \
         FROM {table} WHERE next_attempt_at IS NOT NULL AND connection_id IN ({marks})) AS numbered WHERE place = 1"
    );
    let rows: Vec<Row> = db.connection().all(&sql, values).await?;
    let read = |row: Row| {
        Ok(QueueFacts {
            connection_id: connection(&row.connection_id)?,
            waiting: row.waiting,
            tried: row.tried,
            oldest_at: codec::instant("received_at", row.oldest_at)?,
            next_at: codec::instant("next_attempt_at", row.next_attempt_at)?,
            attempts: row.attempts,
            error_code: row.error_code,
        })
    };
    rows.into_iter().map(read).collect()
}

async fn leases(db: &impl Reads, ids: &[ConnectionId]) -> Result<HashMap<String, LeaseFacts>, StoreError> {
    let entities = [Entity::Account, Entity::Opportunity, Entity::Invoice].map(Entity::as_str);
    let of = |id: &ConnectionId| entities.map(|entity| format!("pull:{id}:{entity}"));
    let names: Vec<String> = ids.iter().flat_map(of).collect();
    let sql =
        format!("SELECT name, owner, until FROM leases WHERE owner <> '' AND name IN ({})", marks(1, names.len()));
    let rows: Vec<LeaseRow> = db.connection().all(&sql, names.into_iter().map(Into::into).collect()).await?;
    let read = |row: LeaseRow| {
        let until = codec::instant("leases.until", row.until)?;
        Ok((row.name.clone(), LeaseFacts { name: row.name, owner: row.owner, until }))
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromQueryResult)]
struct LeaseRow {
    name: String,
    owner: String,
    until: i64,
}

async fn slices(db: &impl Reads, ids: &[ConnectionId]) -> Result<Vec<SliceFacts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        connection_id: String,
        entity: String,
        slices: i64,
        failing: i64,
        next_at: i64,
    }
    let (marks, mut values) = keys(ids);
    let sql = format!(
        "SELECT b.connection_id, b.entity, COUNT(*) AS slices, COUNT(CASE WHEN s.failures > 0 THEN 1 END) AS failing, \
         MIN(s.next_attempt_at) AS next_at FROM backfills b JOIN backfill_slices s ON s.backfill_id = b.id \
         WHERE b.finished_at IS NULL AND s.next_attempt_at IS NOT NULL AND s.status <> ${} \
         AND b.connection_id IN ({marks}) GROUP BY b.connection_id, b.entity ORDER BY b.connection_id, b.entity",
        ids.len() + 1
    );
    values.push(codec::text(&BackfillStatus::Cancelled).into());
    let rows: Vec<Row> = db.connection().all(&sql, values).await?;
    let read = |row: Row| {
        Ok(SliceFacts {
            connection_id: connection(&row.connection_id)?,
            entity: kind(&row.entity)?,
            slices: row.slices,
            failing: row.failing,
            next_at: codec::instant("backfill_slices.next_attempt_at", row.next_at)?,
        })
    };
    rows.into_iter().map(read).collect()
}

async fn sweeps(db: &impl Reads, ids: &[ConnectionId]) -> Result<Vec<SweepFacts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        connection_id: String,
        entity: String,
        status: String,
        missing: i32,
        started_at: i64,
    }
    let (marks, mut values) = keys(ids);
    let sql = format!(
        "SELECT connection_id, entity, status, missing, started_at FROM sweeps WHERE status IN (${}, ${}, ${}) \
         AND connection_id IN ({marks}) ORDER BY id",
        ids.len() + 1,
        ids.len() + 2,
        ids.len() + 3
    );
    let open = [SweepStatus::Listing, SweepStatus::Removing, SweepStatus::Braked];
    values.extend(open.map(|status| Value::from(codec::text(&status))));
    let rows: Vec<Row> = db.connection().all(&sql, values).await?;
    let read = |row: Row| {
        Ok(SweepFacts {
            connection_id: connection(&row.connection_id)?,
            entity: kind(&row.entity)?,
            status: codec::word("sweeps.status", row.status)?,
            missing: row.missing,
            started_at: codec::instant("sweeps.started_at", row.started_at)?,
        })
    };
    rows.into_iter().map(read).collect()
}

async fn budgets(db: &impl Reads, ids: &[ConnectionId]) -> Result<Vec<BudgetFacts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        connection_id: String,
        bucket: String,
        left_micro: i64,
        refilled_at: i64,
        closed_until: Option<i64>,
    }
    let (marks, values) = keys(ids);
    let sql = format!("SELECT * FROM rate_budgets WHERE connection_id IN ({marks}) ORDER BY connection_id, bucket");
    let rows: Vec<Row> = db.connection().all(&sql, values).await?;
    let read = |row: Row| {
        Ok(BudgetFacts {
            connection_id: connection(&row.connection_id)?,
            bucket: row.bucket,
            left: row.left_micro.div_euclid(1_000_000).max(0),
            looked_at: codec::instant("rate_budgets.refilled_at", row.refilled_at)?,
            closed_until: codec::instant_opt("rate_budgets.closed_until", row.closed_until)?,
        })
    };
    rows.into_iter().map(read).collect()
}

async fn parked(db: &impl Reads, ids: &[ConnectionId]) -> Result<Vec<ParkedFacts>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        connection_id: String,
        code: Option<String>,
        count: i64,
    }
    // The words stand in the text, so that the indexes of these words alone are used.
    let parked = codec::text(&InboundStatus::Parked);
    let waiting = EffectStatus::FOR_A_PERSON.map(|status| format!("'{}'", status.as_str())).join(", ");
    let sources = [
        ("row(s)", "code", "parked_rows", String::new()),
        ("inbound event(s)", "error_code", "inbound_events", format!(" AND status = '{parked}'")),
        ("effect(s)", "error_code", "effects", format!(" AND status IN ({waiting})")),
    ];
    let mut found = Vec::new();
    for (what, column, table, when) in sources {
        let (marks, values) = keys(ids);
        let sql = format!(
            "SELECT connection_id, {column} AS code, COUNT(*) AS count FROM {table} \
             WHERE connection_id IN ({marks}){when} GROUP BY connection_id, {column} ORDER BY connection_id, {column}"
        );
        let rows: Vec<Row> = db.connection().all(&sql, values).await?;
        for row in rows {
            let (connection_id, code) = (connection(&row.connection_id)?, row.code.unwrap_or_default());
            found.push(ParkedFacts { connection_id, what, code, count: row.count });
        }
    }
    Ok(found)
}
