//! Which records of other systems a record is, and the decisions about it.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::{Entity, authority::Speaker, matching::MatchEvidence};
use crate::{
    ids::{ConnectionId, IdentityEventId},
    time::Instant,
};

/// How sure it is which record of the hub a record of another system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It is this record.
    Linked,
    /// It has a record of its own, and another one may be the same.
    Candidate,
    /// It has a record of its own, and several may be the same.
    Ambiguous,
    /// A person decided that it is a record of its own.
    Split,
    /// It came here when two records were merged.
    Merged,
}

/// A record of the hub that a record of another system may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchCandidate {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// The id at the other system.
    pub remote_id: String,
    /// The record that it may be.
    pub record_id: String,
    /// How much speaks for it, up to 100.
    pub score: i32,
    /// What speaks for it.
    pub evidence: Vec<MatchEvidence>,
    /// When it was found.
    pub found_at: Instant,
}

/// What was decided about records and their links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IdentityEventKind {
    /// A record of another system was linked to another record of the hub.
    Link,
    /// Two records became one.
    Merge,
    /// A record of another system became a record of its own.
    Split,
    /// Two records that had become one are two again.
    Unmerge,
}

/// What moved with a decision, so that it can be undone without loss.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Links that moved.
    pub links: Vec<Speaker>,
    /// Records that belong to another record since: which kind, which one.
    pub children: Vec<(Entity, String)>,
}

/// A decision about records and their links. It can be undone.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "IdentityEventRecord")]
pub struct IdentityEvent {
    /// Identifies the decision.
    #[graphql(skip)]
    pub id: IdentityEventId,
    /// The kind of record.
    pub entity: Entity,
    /// What was decided.
    pub kind: IdentityEventKind,
    /// The record that things moved away from.
    #[graphql(skip)]
    pub record_id: String,
    /// The record that they moved to.
    #[graphql(skip)]
    pub other_id: String,
    /// What moved.
    #[graphql(skip)]
    pub moved: Moved,
    /// Who decided: a person, a program, or the hub itself.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub happened_at: Instant,
    /// The decision that undid it.
    #[graphql(skip)]
    pub undone_by: Option<IdentityEventId>,
}
