//! Replays: what failed is taken up again, as a job with a result for each item.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{ConnectionId, JobId, ReplayItemId},
    time::Instant,
};

/// What a replay takes up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayKind {
    /// Inbound events.
    InboundEvents,
    /// Parked rows.
    ParkedRows,
    /// Effects at other systems.
    OutboundEffects,
}

impl ReplayKind {
    /// The written form, as kept in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InboundEvents => "INBOUND_EVENTS",
            Self::ParkedRows => "PARKED_ROWS",
            Self::OutboundEffects => "OUTBOUND_EFFECTS",
        }
    }
}

/// How a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayStatus {
    /// It has not begun.
    Waiting,
    /// At work; it goes on where it was when the process ends.
    Running,
    /// Every item has its result.
    Done,
}

/// What came of one item of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayOutcome {
    /// Its turn has not come.
    Waiting,
    /// It is in line again, and its first try has not ended.
    UnderWay,
    /// It went well.
    Succeeded,
    /// It failed again: `code` says why.
    Failed,
    /// It was left alone: `code` says why.
    Skipped,
}

impl ReplayOutcome {
    /// The written form, as kept in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::UnderWay => "UNDER_WAY",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::UnderWay)
    }
}

/// A replay: what failed, or was done with, is taken up again, each item once.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ReplayJobRecord")]
pub struct ReplayJobRecord {
    /// Identifies the job.
    #[graphql(skip)]
    pub id: JobId,
    /// What it takes up again.
    pub kind: ReplayKind,
    /// How it stands.
    pub status: ReplayStatus,
    /// Which items it was asked for, as JSON.
    pub filter: String,
    /// How many items it has.
    pub items: i32,
    /// Who asked for it, as principals are written.
    pub actor: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: Instant,
    /// When every item had its result.
    pub finished_at: Option<Instant>,
}

/// What came of one item of a replay.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ReplayResultRecord")]
pub struct ReplayItemRecord {
    /// Identifies the result.
    #[graphql(skip)]
    pub id: ReplayItemId,
    /// The job.
    #[graphql(skip)]
    pub job_id: JobId,
    /// The inbound event, parked row or effect.
    #[graphql(skip)]
    pub subject_id: String,
    /// The connection that it belongs to.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// What came of it.
    pub outcome: ReplayOutcome,
    /// Why it failed or was left alone: a stable code.
    pub code: Option<String>,
    /// The same in words.
    pub message: Option<String>,
    /// When it was known.
    pub finished_at: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_are_those_that_are_kept() {
        for kind in [ReplayKind::InboundEvents, ReplayKind::ParkedRows, ReplayKind::OutboundEffects] {
            assert_eq!(serde_json::to_value(kind).expect("a word"), kind.as_str());
        }
        use ReplayOutcome::{Failed, Skipped, Succeeded, UnderWay, Waiting};
        for outcome in [Waiting, UnderWay, Succeeded, Failed, Skipped] {
            assert_eq!(serde_json::to_value(outcome).expect("a word"), outcome.as_str());
        }
    }
}
