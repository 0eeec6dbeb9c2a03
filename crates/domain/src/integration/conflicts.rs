//! Conflicts: what systems say differently of one field, and what was decided about it.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Entity, authority::HeldReason};
use crate::{ids::ConflictId, time::Instant};

/// How a conflict stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConflictStatus {
    /// The field keeps its agreed value until a person decides.
    Open,
    /// A person decided.
    Resolved,
    /// The systems came to say the same by themselves.
    Converged,
    /// The systems are not one record any more.
    Withdrawn,
}

/// What one system said when a conflict was opened or last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictVoice {
    /// The connection and the record's id there.
    pub speaker: super::authority::Speaker,
    /// What it says.
    pub value: Value,
    /// When it was observed.
    pub observed_at: Instant,
}

/// A field of which systems say different things, so that a person has to decide.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ConflictRecord")]
pub struct ConflictRecord {
    /// Identifies the conflict.
    #[graphql(skip)]
    pub id: ConflictId,
    /// The kind of record.
    pub entity: Entity,
    /// The record.
    #[graphql(skip)]
    pub record_id: String,
    /// The field.
    pub field: String,
    /// Why it is held.
    pub reason: HeldReason,
    /// How it stands.
    pub status: ConflictStatus,
    /// The agreed value when it was opened, which the record keeps showing.
    #[graphql(skip)]
    pub agreed: Value,
    /// What the systems say.
    #[graphql(skip)]
    pub voices: Vec<ConflictVoice>,
    /// What was decided.
    #[graphql(skip)]
    pub resolution: Option<Value>,
    /// Why it was decided so.
    pub note: Option<String>,
    /// Who decided: a person or a program.
    pub closed_by: Option<String>,
    /// Raised by every change; send it back as `expectedVersion`.
    pub version: i32,
    /// When it was opened.
    pub opened_at: Instant,
    /// When it ended.
    pub closed_at: Option<Instant>,
}
