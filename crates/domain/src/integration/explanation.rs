//! What a connection does next, when, and why it waits.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{ids::ConnectionId, time::Instant};

/// What a step of a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepKind {
    /// One kind of record is read by schedule.
    Reading,
    /// What was there before is read in slices, or what a person asked for is read again.
    Backfill,
    /// A complete listing finds what is gone.
    Sweep,
    /// What webhooks point at is read.
    Webhooks,
    /// What the hub asks of the system is sent.
    Sending,
    /// How many calls the system allows.
    RateBudget,
    /// What a person has to look at.
    Parked,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepState {
    /// There is nothing to do.
    Idle,
    /// A process does it now.
    Running,
    /// It is done as soon as a process looks.
    Due,
    /// It is done at its time.
    Scheduled,
    /// It would be done, and waits for something.
    Waiting,
}

/// Why a step waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WaitCode {
    /// The connection is not configured any more.
    NotConfigured,
    /// A person paused it.
    Paused,
    /// The system does not accept the credential; a person must act.
    NeedsReauth,
    /// The system does not answer and is left alone.
    BreakerOpen,
    /// The connection is in a mode that sends nothing.
    Mode,
    /// The last try failed.
    Retry,
    /// The rate budget is used up.
    RateLimited,
    /// It stopped until a person confirms it.
    NeedsConfirmation,
    /// Rows, events or orders cannot be used as they are.
    NeedsRepair,
}

/// One reason why a step waits.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject, Serialize)]
#[graphql(name = "WaitReasonRecord")]
pub struct WaitReason {
    /// What it is.
    pub code: WaitCode,
    /// Until when, when that is known.
    pub until: Option<Instant>,
    /// The same in words.
    pub text: String,
}

/// One thing that a connection does, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject, Serialize)]
#[graphql(name = "PlannedStepRecord")]
pub struct PlannedStep {
    /// The connection.
    #[graphql(skip)]
    #[serde(skip)]
    pub connection_id: ConnectionId,
    /// What it is about.
    pub kind: StepKind,
    /// The kind of record, where it is about one.
    pub entity: Option<Entity>,
    /// How it stands.
    pub state: StepState,
    /// When it is done next, as far as is known; null when it waits for a person, or nothing is to be done.
    pub next_at: Option<Instant>,
    /// How it stands, in words.
    pub text: String,
    /// Why it waits; empty when it does not.
    #[graphql(skip)]
    pub reasons: Vec<WaitReason>,
}
