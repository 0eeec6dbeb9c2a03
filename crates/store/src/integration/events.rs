//! Inbound events: what webhooks pointed at, taken by workers one at a time for each record.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, InboundEventId},
    integration::{Entity, InboundEventRecord, InboundStatus},
};
use sea_orm::FromQueryResult;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, Store, StoreError, Tx, codec, page, pipeline::texts};

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
    open_until: Option<i64>,
}

/// The next due event. Of a record's events only the one in front is due: that which was taken and did not end, else
/// the one that was received first. What points at a system that is not read now waits: a person paused it, or it does
/// not answer.
// The order of a line is that of its index; by the identifier alone PostgreSQL may walk all events there ever were.
const FRONT: &str = "SELECT e.id FROM inbound_events e \
    WHERE e.next_attempt_at <= $1 AND (e.lease_until IS NULL OR e.lease_until <= $1) \
    AND e.connection_id NOT IN (SELECT p.connection_id FROM connection_pauses p \
    WHERE p.what = 'READING' AND p.resumed_at IS NULL UNION ALL SELECT b.connection_id FROM connection_breakers b \
    WHERE b.open_until > $1 OR b.trial_until > $1) AND e.id = COALESCE(\
    (SELECT f.id FROM inbound_events f WHERE f.connection_id = e.connection_id AND f.entity = e.entity \
    AND f.remote_id = e.remote_id AND f.lease_until IS NOT NULL), \
    (SELECT f.id FROM inbound_events f WHERE f.connection_id = e.connection_id AND f.entity = e.entity \
    AND f.remote_id = e.remote_id AND f.next_attempt_at IS NOT NULL ORDER BY f.received_at, f.id LIMIT 1)) \
    ORDER BY e.next_attempt_at, e.id LIMIT 1";

/// How often a worker looks again at once when others were faster.
const RACES: usize = 5;

#[derive(FromQueryResult)]
struct FrontRow {
    #[expect(dead_code, reason = "only whether there is a row matters")]
    id: String,
}

impl Store {
    /// Takes the next event that is due, for so many milliseconds. Events about one record are taken one at a time,
    /// in the order of their receipt; one that is parked holds up none. An event whose commit came late, after that
    /// of a later one was taken, waits until the later one ends.
    ///
    /// # Errors
    /// As the database.
    pub async fn claim_event(&self, lease_ms: i64) -> Result<Option<ClaimedEvent>, StoreError> {
        for _ in 0..RACES {
            // Most looks find nothing: they need not wait for a turn to write.
            let now = self.now().micros();
            if self.connection().one::<FrontRow>(FRONT, vec![now.into()]).await?.is_none() {
                return Ok(None);
            }
            match self.take_event(lease_ms).await {
                // Another worker took an event of the same record, which this one could not see yet.
                Err(error) if error.is_lost_race() => {}
                taken => return taken,
            }
        }
        Ok(None)
    }

    async fn take_event(&self, lease_ms: i64) -> Result<Option<ClaimedEvent>, StoreError> {
        let tx = self.begin().await?;
        let now = tx.now();
        let skip = if tx.connection().is_postgres() { " FOR UPDATE OF e SKIP LOCKED" } else { "" };
        let sql = format!(
            "UPDATE inbound_events SET lease_until = $2, fence = fence + 1 WHERE id = ({FRONT}{skip}) \
             RETURNING id, connection_id, entity, remote_id, attempts, fence, \
             (SELECT b.open_until FROM connection_breakers b WHERE b.connection_id = inbound_events.connection_id) \
             AS open_until"
        );
        let values = vec![now.micros().into(), now.plus_ms(lease_ms).micros().into()];
        let Some(row) = tx.connection().one::<ClaimRow>(&sql, values).await? else { return Ok(None) };
        if row.open_until.is_some() && !tx.take_trial(&row.connection_id).await? {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(ClaimedEvent {
            id: codec::id("inbound_events.id", &row.id)?,
            connection_id: codec::id("inbound_events.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "inbound_events.entity" })?,
            remote_id: row.remote_id,
            attempts: row.attempts,
            fence: row.fence,
        }))
    }

    /// Keeps an event for so many milliseconds more. Returns whether it is still this worker's.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_event(&self, event: &ClaimedEvent, lease_ms: i64) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let sql = "UPDATE inbound_events SET lease_until = $1 WHERE id = $2 AND fence = $3 AND lease_until IS NOT NULL";
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum InboundColumn {
    /// Identifier; events that came later have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Status.
    Status,
    /// The sender's name for the kind of event.
    EventType,
    /// Kind of record that it points at.
    Entity,
    /// The id of that record at the sender.
    RemoteId,
    /// Why it waits.
    Code,
    /// When it was stored.
    ReceivedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct InboundRow {
    id: String,
    connection_id: String,
    payload_id: String,
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

    fn expression(column: InboundColumn) -> Expression {
        match column {
            InboundColumn::Id => Expression::Required("inbound_events.id"),
            InboundColumn::Connection => Expression::Required("inbound_events.connection_id"),
            InboundColumn::Status => Expression::Required("inbound_events.status"),
            InboundColumn::EventType => Expression::Required("inbound_events.event_type"),
            InboundColumn::Entity => Expression::Optional("inbound_events.entity"),
            InboundColumn::RemoteId => Expression::Optional("inbound_events.remote_id"),
            InboundColumn::Code => Expression::Optional("inbound_events.error_code"),
            InboundColumn::ReceivedAt => Expression::Required("inbound_events.received_at"),
        }
    }

    fn record(row: InboundRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("inbound_events.id", &row.id)?,
            connection_id: codec::id("inbound_events.connection_id", &row.connection_id)?,
            payload_id: row.payload_id,
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
            InboundColumn::Entity => json!(self.entity.map(Entity::as_str)),
            InboundColumn::RemoteId => json!(self.remote_id),
            InboundColumn::Code => json!(self.error_code),
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
