//! The inbox: deliveries are on disk before they are acknowledged, many in one commit, and each key counts once.

use std::{collections::HashSet, time::Duration};

use crosstie_domain::{
    Instant,
    ids::{ConnectionId, InboundEventId},
    integration::{Entity, InboundStatus},
};
use sea_orm::{DbErr, FromQueryResult};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant as Moment, timeout_at},
};

use crate::{Reads, Store, StoreError, Tx, codec};

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
    /// When its sender is told that it was not kept.
    until: Moment,
    done: oneshot::Sender<Result<Acknowledged, StoreError>>,
}

/// Deliveries in one commit, at most.
const BATCH: usize = 512;
/// Deliveries that wait for a writer, at most: two commits' worth. Who comes then is refused at once.
const WAITING: usize = 2 * BATCH;
/// How long a delivery may take to be on disk: its sender has an answer within a second.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long a key is known. Keys of events about money are known for good.
const KEY_MS: i64 = 30 * 86_400_000;

impl InboxWriter {
    /// Starts the writers: one on SQLite, two on PostgreSQL. They end when the last handle is dropped.
    pub fn start(store: &Store) -> Self {
        Self::start_with_batches_of(store, BATCH)
    }

    /// The same with another limit; 1 commits each delivery by itself, which only a comparison wants.
    pub fn start_with_batches_of(store: &Store, batch: usize) -> Self {
        let (queue, waiting) = mpsc::channel::<Waiting>(WAITING);
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
    /// [`StoreError::Unavailable`] at once when too many wait, and after 900 milliseconds when the database did not
    /// keep it. It may still be kept a moment later; its keys count once all the same when the sender comes again.
    pub async fn accept(&self, delivery: ArrivedDelivery) -> Result<Acknowledged, StoreError> {
        let (done, answer) = oneshot::channel();
        let until = Moment::now() + PATIENCE;
        self.queue.try_send(Waiting { delivery, until, done }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => unavailable("too many deliveries wait"),
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        match timeout_at(until, answer).await {
            Ok(answer) => answer.map_err(|_| StoreError::Closed)?,
            Err(_) => Err(too_late()),
        }
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(DbErr::Custom(why.to_owned()))
}

fn too_late() -> StoreError {
    unavailable("the delivery was not on disk in time")
}

fn answer(taken: Vec<Waiting>, result: &Result<Acknowledged, StoreError>) {
    for waiting in taken {
        // A sender that went away hears nothing.
        let _ = waiting.done.send(result.clone());
    }
}

/// Writes a batch. One that the database refuses is halved until the delivery that it refuses stands alone, so that
/// this one cannot spoil others; when the database cannot be used, all hear so at once.
async fn write(store: &Store, taken: Vec<Waiting>) {
    let mut parts = vec![taken];
    while let Some(part) = parts.pop() {
        let tx = match store.begin_first().await {
            Ok(tx) => tx,
            Err(error) => return parts.into_iter().chain([part]).for_each(|part| answer(part, &Err(error.clone()))),
        };
        // Who was told that it is not kept comes again: to write it now would only keep others waiting.
        let now = Moment::now();
        let (mut part, late): (Vec<_>, Vec<_>) = part.into_iter().partition(|waiting| waiting.until > now);
        answer(late, &Err(too_late()));
        if part.is_empty() {
            continue;
        }
        let batch: Vec<&ArrivedDelivery> = part.iter().map(|waiting| &waiting.delivery).collect();
        match write_batch(store, tx, &batch).await {
            Ok(results) => {
                for (waiting, result) in part.into_iter().zip(results) {
                    // A sender that went away hears nothing; its delivery is kept all the same.
                    let _ = waiting.done.send(Ok(result));
                }
            }
            Err(StoreError::Statement(_)) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            Err(error @ StoreError::Unavailable(_)) => {
                return parts.into_iter().chain([part]).for_each(|part| answer(part, &Err(error.clone())));
            }
            Err(error) => answer(part, &Err(error)),
        }
    }
}

#[derive(FromQueryResult)]
struct KeyRow {
    event_id: String,
}

async fn write_batch(store: &Store, tx: Tx, batch: &[&ArrivedDelivery]) -> Result<Vec<Acknowledged>, StoreError> {
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
            let about_money = matches!(event.target, Some((Entity::ServiceOrder | Entity::Invoice, _)));
            let expires_at = (!about_money).then(|| now.plus_ms(KEY_MS).micros());
            tuples.push(format!("({})", crate::db::marks(values.len() + 1, 4)));
            values.extend([
                delivery.connection_id.to_string().into(),
                event.dedupe_key.clone().into(),
                id.clone().into(),
                expires_at.into(),
            ]);
        }
        let sql = format!(
            "INSERT INTO inbox_keys (connection_id, dedupe_key, event_id, expires_at) VALUES {} \
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
