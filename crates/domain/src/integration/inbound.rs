//! What comes from other systems and waits for its turn, or for a person.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{
    ids::{ConnectionId, CorrectionId, InboundEventId, ParkedId},
    time::Instant,
};

/// A row of another system that could not be applied. It waits by itself until it comes again and can be.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ParkedRowRecord")]
pub struct ParkedRowRecord {
    /// Identifies the parked row.
    #[graphql(skip)]
    pub id: ParkedId,
    /// The connection that it came through.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record that it is.
    pub entity: Entity,
    /// Its id at the other system, or a hash of the row when it has none.
    pub remote_id: String,
    /// Why it waits: a stable code.
    pub code: String,
    /// Why it waits, in words.
    pub message: String,
    /// The row as it came, or as a person corrected it.
    #[graphql(skip)]
    pub raw: String,
    /// Version of the connector that could not map it.
    pub mapping_version: String,
    /// What a person corrected of it; none of a row that is as it came.
    #[graphql(skip)]
    pub correction_id: Option<CorrectionId>,
    /// Raised when the row changes: it came as another one, or a person corrected it.
    pub version: i32,
    /// How often it came and could not be applied.
    pub attempts: i32,
    /// When it first came.
    pub first_seen_at: Instant,
    /// When it last came.
    pub last_seen_at: Instant,
}

impl ParkedRowRecord {
    /// Whether the row was seen whole: of others only the id is known, and there is nothing to map.
    pub fn was_seen_whole(&self) -> bool {
        self.raw.trim() != "null"
    }
}

/// How an inbound event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundStatus {
    /// Stored and acknowledged; it waits for its turn.
    Received,
    /// Applied, or found to say nothing new.
    Processed,
    /// An event with this key was received before.
    Duplicate,
    /// Nothing in the hub follows events of this kind.
    Ignored,
    /// It failed and is tried again at `nextAttemptAt`.
    Retrying,
    /// It cannot be applied as it is; a person or a new version must act.
    Parked,
}

/// What a webhook brought, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPayload {
    /// Identifies the delivery.
    pub id: String,
    /// Its headers in their order, names in lower case; those that sign a person in are not kept.
    pub headers: Vec<(String, String)>,
    /// Its body, byte by byte.
    pub body: Vec<u8>,
    /// When it was stored here.
    pub received_at: Instant,
}

/// One event that another system sent by webhook.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "InboundEventRecord")]
pub struct InboundEventRecord {
    /// Identifies the event.
    #[graphql(skip)]
    pub id: InboundEventId,
    /// The connection that it came through.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The delivery that it came in.
    #[graphql(skip)]
    pub payload_id: String,
    /// The sender's key: the same key is the same event.
    pub dedupe_key: String,
    /// What the sender calls this kind of event.
    pub event_type: String,
    /// The kind of record that it is about.
    pub entity: Option<Entity>,
    /// The id of that record at the sender.
    pub remote_id: Option<String>,
    /// How it stands.
    pub status: InboundStatus,
    /// How often it was tried.
    pub attempts: i32,
    /// Why it waits: a stable code.
    pub error_code: Option<String>,
    /// Why it waits, in words.
    pub error_message: Option<String>,
    /// When the next try is due.
    pub next_attempt_at: Option<Instant>,
    /// When the sender says it happened.
    pub occurred_at: Option<Instant>,
    /// When it was stored here.
    pub received_at: Instant,
    /// When it was done with.
    pub processed_at: Option<Instant>,
}
