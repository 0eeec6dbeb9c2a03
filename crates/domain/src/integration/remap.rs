//! History that is mapped anew.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{
    ids::{ConnectionId, JobId},
    time::Instant,
};

/// Why history is mapped anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RemapCause {
    /// A person asked for it.
    Asked,
    /// The mapping of the connection changed.
    Mapping,
    /// Another release of the connector serves it.
    Connector,
    /// The connection is not only observed any more: what it said before counts from now on.
    Mode,
}

/// How mapping history anew stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RemapStatus {
    /// It has not begun.
    Waiting,
    /// At work; it goes on where it was when the process ends.
    Running,
    /// Everything was mapped anew.
    Done,
    /// A newer one took its place.
    Superseded,
}

/// One mapping of history anew, from the rows as they once came and without asking the vendor.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "RemapRecord")]
pub struct RemapRecord {
    /// Identifies the job.
    #[graphql(skip)]
    pub id: JobId,
    /// The connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record; every kind when null.
    pub entity: Option<Entity>,
    /// Why.
    pub cause: RemapCause,
    /// How it stands.
    pub status: RemapStatus,
    /// The kind of record that it is at.
    #[graphql(skip)]
    pub at_entity: Option<Entity>,
    /// The id at the vendor up to which it has come.
    #[graphql(skip)]
    pub at_remote_id: Option<String>,
    /// Rows that were mapped.
    pub rows_seen: i32,
    /// Rows that changed a record.
    pub rows_changed: i32,
    /// Rows that cannot be mapped any more and wait by themselves.
    pub rows_parked: i32,
    /// Rows of which nothing is kept that could be mapped: their next reading brings them.
    pub rows_skipped: i32,
    /// Who asked for it, as principals are written.
    pub actor: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}
