//! The inbox: deliveries are on disk before they are acknowledged, many in one commit, and each key counts once.

use std::collections::HashSet;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, InboundEventId},
    integration::{Entity, InboundEventRecord, InboundStatus},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use crate::{Listed, PageRequest, PageResult, Reads, Store, StoreError, Tx, codec, page, pipeline::texts};

/// A verified delivery on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedDelivery {
    /// The connection that it came through.
    pub connection_id: ConnectionId,
    /// Its headers, as JSON.
    pub headers: String,
    /// Its body, byte by byte.
    pub body: Vec<u8>,
    /// The events in it.
    pub events: Vec<ArrivedEvent>,
    /// Version of the connector that read them.
    pub mapping_version: String,
}

/// An event of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedEvent {
    /// The sender's key.
    pub dedupe_key: String,
    /// What the sender calls it.
    pub event_type: String,
    /// The record that it is about.
    pub target: Option<(Entity, String)>,
    /// When the sender says it happened.
    pub occurred_at: Option<Instant>,
    /// A code and words, when it cannot be used as it is: then it is parked at once.
    pub problem: Option<(&'static str, String)>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Acknowledged {
    /// Events that are new.
    pub fresh: usize,
    /// Events whose key was there before.
    pub duplicates: usize,
}

/// Takes deliveries in: each waits for the commit that holds it, and a commit holds all that came while the one
/// before was written. Nothing waits for a timer.
#[derive(Clone)]
pub struct InboxWriter {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    delivery: ArrivedDelivery,
    done: oneshot::Sender<Result<Acknowledged, StoreError>>,
}

/// Deliveries in one commit, at most.
const BATCH: usize = 512;

impl InboxWriter {
    /// Starts the writers: one on SQLite, two on PostgreSQL. They end when the last handle is dropped.
    pub fn start(store: &Store) -> Self {
        Self::start_with_batches_of(store, BATCH)
    }

    /// The same with another limit; 1 commits each delivery by itself, which only a comparison wants.
    pub fn start_with_batches_of(store: &Store, batch: usize) -> Self {
        let (queue, waiting) = mpsc::channel::<Waiting>(BATCH * 4);
        let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(waiting));
        let writers = if store.is_sqlite() { 1 } else { 2 };
        for _ in 0..writers {
            let (store, waiting) = (store.clone(), std::sync::Arc::clone(&waiting));
            tokio::spawn(async move {
                loop {
                    let mut taken = Vec::new();
                    if waiting.lock().await.recv_many(&mut taken, batch).await == 0 {
                        return;
                    }
                    write(&store, taken).await;
                }
            });
        }
        Self { queue }
    }

    /// Takes a delivery in. When this returns, it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], and nothing was kept.
    pub async fn accept(&self, delivery: ArrivedDelivery) -> Result<Acknowledged, StoreError> {
        let (done, answer) = oneshot::channel();
        self.queue.send(Waiting { delivery, done }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// Writes a batch. If it cannot be written as one, each delivery is tried by itself, so that one cannot spoil others.
async fn write(store: &Store, taken: Vec<Waiting>) {
    let batch: Vec<&ArrivedDelivery> = taken.iter().map(|waiting| &waiting.delivery).collect();
    match write_batch(store, &batch).await {
        Ok(results) => {
            for (waiting, result) in taken.into_iter().zip(results) {
                // A sender that went away hears nothing; its delivery is kept all the same.
                let _ = waiting.done.send(Ok(result));
            }
        }
        Err(_) => {
            for waiting in taken {
                let result = write_batch(store, &[&waiting.delivery]).await.map(|results| results[0]);
                let _ = waiting.done.send(result);
            }
        }
    }
}

#[derive(FromQueryResult)]
struct KeyRow {
    event_id: String,
}

async fn write_batch(store: &Store, batch: &[&ArrivedDelivery]) -> Result<Vec<Acknowledged>, StoreError> {
    let tx = store.begin_first().await?;
    let now = tx.now();
    let mut payloads = Vec::new();
    let mut events = Vec::new();
    for (index, delivery) in batch.iter().enumerate() {
        let payload_id = store.clock().new_uuid().to_string();
        payloads.push(vec![
            ("id", payload_id.clone().into()),
            ("received_at", now.micros().into()),
            ("headers", delivery.headers.clone().into()),
            ("body", delivery.body.clone().into()),
        ]);
        for event in &delivery.events {
            let id: InboundEventId = tx.new_id();
            events.push((index, id.to_string(), payload_id.clone(), *delivery, event));
        }
    }
    let db = tx.connection();
    db.insert("inbound_payloads", payloads, "").await?;
    // Two writers must take the same keys in the same order, or they wait for each other.
    let mut by_key: Vec<_> = events.iter().collect();
    by_key.sort_by(|a, b| (a.3.connection_id, &a.4.dedupe_key).cmp(&(b.3.connection_id, &b.4.dedupe_key)));
    let mut fresh: HashSet<String> = HashSet::new();
    for chunk in by_key.chunks(5_000) {
        let mut tuples = Vec::new();
        let mut values = Vec::new();
        for (_, id, _, delivery, event) in chunk {
            tuples.push(format!("({})", crate::db::marks(values.len() + 1, 3)));
            values.extend([
                delivery.connection_id.to_string().into(),
                event.dedupe_key.clone().into(),
                id.clone().into(),
            ]);
        }
        let sql = format!(
            "INSERT INTO inbox_keys (connection_id, dedupe_key, event_id) VALUES {} \
             ON CONFLICT (connection_id, dedupe_key) DO NOTHING RETURNING event_id",
            tuples.join(", ")
        );
        fresh.extend(db.all::<KeyRow>(&sql, values).await?.into_iter().map(|row| row.event_id));
    }
    let mut results = vec![Acknowledged::default(); batch.len()];
    let mut rows = Vec::new();
    for (index, id, payload_id, delivery, event) in &events {
        let status = if !fresh.contains(id) {
            results[*index].duplicates += 1;
            InboundStatus::Duplicate
        } else {
            results[*index].fresh += 1;
            match (&event.problem, &event.target) {
                (Some(_), _) => InboundStatus::Parked,
                (None, None) => InboundStatus::Ignored,
                (None, Some(_)) => InboundStatus::Received,
            }
        };
        let due = (status == InboundStatus::Received).then(|| now.micros());
        rows.push(vec![
            ("id", id.clone().into()),
            ("connection_id", delivery.connection_id.to_string().into()),
            ("payload_id", payload_id.clone().into()),
            ("dedupe_key", event.dedupe_key.clone().into()),
            ("event_type", event.event_type.clone().into()),
            ("entity", event.target.as_ref().map(|(entity, _)| entity.as_str().to_owned()).into()),
            ("remote_id", event.target.as_ref().map(|(_, remote_id)| remote_id.clone()).into()),
            ("status", codec::text(&status).into()),
            ("attempts", 0.into()),
            ("error_code", event.problem.as_ref().map(|(code, _)| (*code).to_owned()).into()),
            ("error_message", event.problem.as_ref().map(|(_, why)| why.clone()).into()),
            ("next_attempt_at", due.into()),
            ("fence", 0_i64.into()),
            ("mapping_version", delivery.mapping_version.clone().into()),
            ("occurred_at", event.occurred_at.map(Instant::micros).into()),
            ("received_at", now.micros().into()),
        ]);
    }
    db.insert("inbound_events", rows, "").await?;
    tx.commit().await?;
    Ok(results)
}

/// An event that a worker has taken.
#[derive(Debug, Clone)]
pub struct ClaimedEvent {
    /// The event.
    pub id: InboundEventId,
    /// The connection that it came through.
    pub connection_id: ConnectionId,
    /// The record that it is about.
    pub entity: Entity,
    /// Its id at the sender.
    pub remote_id: String,
    /// How often it was tried before.
    pub attempts: i32,
    /// The worker's fence.
    pub fence: i64,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventOutcome {
    /// Applied, or nothing new.
    Processed,
    /// To be tried again.
    Retry {
        /// When.
        at: Instant,
        /// A stable code.
        code: String,
        /// Why.
        message: String,
    },
    /// It waits for a person or a new version.
    Parked {
        /// A stable code.
        code: String,
        /// Why.
        message: String,
    },
}

#[derive(FromQueryResult)]
struct ClaimRow {
    id: String,
    connection_id: String,
    entity: String,
    remote_id: String,
    attempts: i32,
    fence: i64,
}

impl Store {
    /// Takes the next event that is due, for so many milliseconds. Events about one record are taken one at a time,
    /// in the order of their receipt; one that is parked holds up none.
    ///
    /// # Errors
    /// As the database.
    pub async fn claim_event(&self, lease_ms: i64) -> Result<Option<ClaimedEvent>, StoreError> {
        let due = "SELECT id FROM inbound_events WHERE next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1) LIMIT 1";
        #[derive(FromQueryResult)]
        struct Due {
            #[expect(dead_code, reason = "only whether there is a row matters")]
            id: String,
        }
        if self.connection().one::<Due>(due, vec![self.now().micros().into()]).await?.is_none() {
            return Ok(None);
        }
        let tx = self.begin().await?;
        let now = tx.now();
        let skip = if tx.connection().is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "SELECT id, connection_id, entity, remote_id, attempts, fence FROM inbound_events e \
             WHERE next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1) \
             AND NOT EXISTS (SELECT 1 FROM inbound_events f WHERE f.connection_id = e.connection_id \
             AND f.entity = e.entity AND f.remote_id = e.remote_id AND f.id < e.id AND f.next_attempt_at IS NOT NULL) \
             ORDER BY next_attempt_at, id LIMIT 1{skip}"
        );
        let Some(row) = tx.connection().one::<ClaimRow>(&sql, vec![now.micros().into()]).await? else {
            return Ok(None);
        };
        let fence = row.fence + 1;
        let sql = "UPDATE inbound_events SET lease_until = $1, fence = $2 WHERE id = $3";
        let values = vec![now.plus_ms(lease_ms).micros().into(), fence.into(), row.id.clone().into()];
        tx.connection().run(sql, values).await?;
        tx.commit().await?;
        Ok(Some(ClaimedEvent {
            id: codec::id("inbound_events.id", &row.id)?,
            connection_id: codec::id("inbound_events.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "inbound_events.entity" })?,
            remote_id: row.remote_id,
            attempts: row.attempts,
            fence,
        }))
    }
}

impl Store {
    /// Keeps an event for so many milliseconds more. Returns whether it is still this worker's.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_event(&self, event: &ClaimedEvent, lease_ms: i64) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let sql = "UPDATE inbound_events SET lease_until = $1 WHERE id = $2 AND fence = $3";
        let until = tx.now().plus_ms(lease_ms).micros();
        let kept =
            tx.connection().run(sql, vec![until.into(), event.id.to_string().into(), event.fence.into()]).await?;
        tx.commit().await?;
        Ok(kept > 0)
    }
}

impl Tx {
    /// Notes how a try ended.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has taken the event in the meantime.
    pub async fn event_ended(&self, event: &ClaimedEvent, outcome: &EventOutcome) -> Result<(), StoreError> {
        let now = self.now();
        let (status, next, code, message) = match outcome {
            EventOutcome::Processed => (InboundStatus::Processed, None, None, None),
            EventOutcome::Retry { at, code, message } => {
                (InboundStatus::Retrying, Some(at.micros()), Some(code.clone()), Some(message.clone()))
            }
            EventOutcome::Parked { code, message } => {
                (InboundStatus::Parked, None, Some(code.clone()), Some(message.clone()))
            }
        };
        let sql = "UPDATE inbound_events SET status = $1, attempts = attempts + 1, next_attempt_at = $2, \
                   error_code = $3, error_message = $4, lease_until = NULL, processed_at = $5 \
                   WHERE id = $6 AND fence = $7";
        let values = vec![
            codec::text(&status).into(),
            next.into(),
            code.into(),
            message.into(),
            (status == InboundStatus::Processed).then(|| now.micros()).into(),
            event.id.to_string().into(),
            event.fence.into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}

/// What inbound events are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundColumn {
    /// Identifier; events that came later have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Status.
    Status,
    /// The sender's name for the kind of event.
    EventType,
    /// When it was stored.
    ReceivedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct InboundRow {
    id: String,
    connection_id: String,
    dedupe_key: String,
    event_type: String,
    entity: Option<String>,
    remote_id: Option<String>,
    status: String,
    attempts: i32,
    error_code: Option<String>,
    error_message: Option<String>,
    next_attempt_at: Option<i64>,
    occurred_at: Option<i64>,
    received_at: i64,
    processed_at: Option<i64>,
}

impl Listed for InboundEventRecord {
    type Column = InboundColumn;
    type Row = InboundRow;
    const SELECT: &'static str = "inbound_events.*";
    const FROM: &'static str = "inbound_events";
    const ID: &'static str = "inbound_events.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: InboundColumn) -> &'static str {
        match column {
            InboundColumn::Id => "inbound_events.id",
            InboundColumn::Connection => "inbound_events.connection_id",
            InboundColumn::Status => "inbound_events.status",
            InboundColumn::EventType => "inbound_events.event_type",
            InboundColumn::ReceivedAt => "inbound_events.received_at",
        }
    }

    fn record(row: InboundRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("inbound_events.id", &row.id)?,
            connection_id: codec::id("inbound_events.connection_id", &row.connection_id)?,
            dedupe_key: row.dedupe_key,
            event_type: row.event_type,
            entity: row.entity.as_deref().and_then(Entity::parse),
            remote_id: row.remote_id,
            status: codec::word("inbound_events.status", row.status)?,
            attempts: row.attempts,
            error_code: row.error_code,
            error_message: row.error_message,
            next_attempt_at: codec::instant_opt("inbound_events.next_attempt_at", row.next_attempt_at)?,
            occurred_at: codec::instant_opt("inbound_events.occurred_at", row.occurred_at)?,
            received_at: codec::instant("inbound_events.received_at", row.received_at)?,
            processed_at: codec::instant_opt("inbound_events.processed_at", row.processed_at)?,
        })
    }

    fn key(&self, column: InboundColumn) -> Json {
        match column {
            InboundColumn::Id => json!(self.id.to_string()),
            InboundColumn::Connection => json!(self.connection_id.to_string()),
            InboundColumn::Status => json!(codec::text(&self.status)),
            InboundColumn::EventType => json!(self.event_type),
            InboundColumn::ReceivedAt => json!(self.received_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of inbound events.
///
/// # Errors
/// As the database.
pub async fn inbound_events(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<InboundColumn>,
) -> Result<PageResult<InboundEventRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The inbound events with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn inbound_events_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[InboundEventId],
) -> Result<Vec<InboundEventRecord>, StoreError> {
    page::by_ids(db, scope, "inbound_events.id", &texts(ids)).await
}
