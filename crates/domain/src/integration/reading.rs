//! How well the hub knows what another system holds: freshness, deletes, back-fills, drift and shapes.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::{Entity, RunTrigger};
use crate::{
    ids::{BackfillId, ConnectionId, DeleteClaimId, DriftReportId, InboundEventId, ShapeChangeId, SweepId, SyncRunId},
    time::Instant,
};

/// Up to when one kind of record of one system has been read, and how late that may be.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "FreshnessRecord")]
pub struct Freshness {
    /// The connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record.
    #[graphql(skip)]
    pub entity: Entity,
    /// Everything up to here has been read, which a window that was read to its end has proven; null until the first
    /// load is complete.
    pub watermark: Option<Instant>,
    /// How long ago that is, in seconds; null until the first load is complete.
    pub age_seconds: Option<i64>,
    /// How old it may be, in seconds.
    pub objective_seconds: i64,
    /// Whether it is older than that; a first load is late when it takes longer than that.
    pub late: bool,
    /// Since when nothing is read because a person paused it; null while it is read.
    pub paused_at: Option<Instant>,
}

/// What says that a record of another system is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeleteEvidence {
    /// The system said so, by webhook, feed or row, and reading the record by its id does not contradict it.
    Announced,
    /// There was no such record in two readings by its id, one after the other.
    NotFound,
    /// It was missing in a complete listing, and there was no such record when it was read by its id.
    Sweep,
    /// The system answers with another record, which it was merged into.
    Merged,
}

/// A claim that a record of another system is gone, with what says so.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "DeleteClaimRecord")]
pub struct DeleteClaimRecord {
    /// Identifies the claim.
    #[graphql(skip)]
    pub id: DeleteClaimId,
    /// The connection that says so.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// Its id at the other system.
    pub remote_id: String,
    /// The record in the hub.
    #[graphql(skip)]
    pub record_id: String,
    /// What says so.
    pub evidence: DeleteEvidence,
    /// The inbound event that led to it.
    #[graphql(skip)]
    pub inbound_event_id: Option<InboundEventId>,
    /// The run that found it.
    #[graphql(skip)]
    pub run_id: Option<SyncRunId>,
    /// The sweep that missed it.
    #[graphql(skip)]
    pub sweep_id: Option<SweepId>,
    /// The id of the record that it was merged into, at the other system.
    pub merged_into: Option<String>,
    /// When it was claimed.
    pub claimed_at: Instant,
    /// When the record came back; null while the claim stands.
    pub withdrawn_at: Option<Instant>,
}

/// How a sweep stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SweepStatus {
    /// Everything that the system has is being listed.
    Listing,
    /// The listing is complete; what was missing in it is read by its id.
    Removing,
    /// More is missing than a sweep removes by itself: nothing was removed, and a person must confirm it.
    Braked,
    /// Ended.
    Succeeded,
    /// The listing was not complete; nothing was removed.
    Failed,
}

/// One complete listing of a kind of record, which shows what is missing.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "SweepRecord")]
pub struct SweepRecord {
    /// Identifies the sweep.
    #[graphql(skip)]
    pub id: SweepId,
    /// The connection that is swept.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// How it stands or ended.
    pub status: SweepStatus,
    /// Upper bound of the listing.
    #[graphql(skip)]
    pub window_until: Instant,
    /// The place in the listing, as the connector gave it.
    #[graphql(skip)]
    pub more: Option<serde_json::Value>,
    /// Pages read and kept.
    pub pages: i32,
    /// Rows that were listed.
    pub rows_seen: i32,
    /// Records that the hub knew from there when the listing ended.
    pub known: i32,
    /// Those of them that were not listed.
    pub missing: i32,
    /// Those of these that are gone.
    pub deleted: i32,
    /// Who confirmed that more may be removed than a sweep removes by itself.
    pub confirmed_by: Option<String>,
    /// Why it failed: a stable code.
    pub error_code: Option<String>,
    /// Why it failed, in words.
    pub error_message: Option<String>,
    /// When it began.
    pub started_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

impl SweepRecord {
    /// How many records a sweep removes by itself: 2 % of those that were known, and never fewer than five.
    ///
    /// ```
    /// use crosstie_domain::integration::SweepRecord;
    ///
    /// assert_eq!(SweepRecord::most_removed(100), 5);
    /// assert_eq!(SweepRecord::most_removed(1_000), 20);
    /// ```
    pub fn most_removed(known: i32) -> i32 {
        (known / 50).max(5)
    }
}

/// How a back-fill, or a slice of one, stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackfillStatus {
    /// It is not begun, or it goes on later.
    Waiting,
    /// At work.
    Running,
    /// Ended, having read everything.
    Succeeded,
    /// It cannot be done: the code says why.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// A reading of what a system held before, beside the incremental one: a first load, or what a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "BackfillRecord")]
pub struct BackfillRecord {
    /// Identifies the back-fill.
    #[graphql(skip)]
    pub id: BackfillId,
    /// The connection that is read.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// What set it off.
    pub trigger: RunTrigger,
    /// The one record that is read, by its id there; null when a window is.
    pub remote_id: Option<String>,
    /// Where the window begins; null for the beginning of all.
    #[graphql(name = "sinceAt")]
    pub since: Option<Instant>,
    /// Where it ends.
    #[graphql(name = "untilAt")]
    pub until: Instant,
    /// How it stands or ended.
    pub status: BackfillStatus,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

/// A part of a back-fill that is read by itself, with a place of its own.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "BackfillSliceRecord")]
pub struct BackfillSlice {
    /// The back-fill.
    #[graphql(skip)]
    pub backfill_id: BackfillId,
    /// Its place among the slices; they are read in this order.
    pub position: i32,
    /// Where it begins; null for the beginning of all.
    #[graphql(name = "sinceAt")]
    pub since: Option<Instant>,
    /// Where it ends.
    #[graphql(name = "untilAt")]
    pub until: Instant,
    /// The place in it, as the connector gave it.
    #[graphql(skip)]
    pub more: Option<serde_json::Value>,
    /// How it stands or ended.
    pub status: BackfillStatus,
    /// The run that reads it.
    #[graphql(skip)]
    pub run_id: Option<SyncRunId>,
    /// Pages read and kept.
    pub pages: i32,
    /// Rows seen.
    pub rows_read: i32,
    /// Rows that changed something.
    pub rows_changed: i32,
    /// Rows that could not be applied and wait by themselves.
    pub rows_parked: i32,
    /// How many tries in a row have failed.
    #[graphql(skip)]
    pub failures: i32,
    /// When the next try is due; null when it has ended.
    pub next_attempt_at: Option<Instant>,
    /// Why the last try failed: a stable code.
    pub error_code: Option<String>,
    /// Why the last try failed, in words.
    pub error_message: Option<String>,
}

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DriftScope {
    /// Some records, drawn at random and read by their ids.
    Sample,
    /// Everything that the system lists.
    Full,
}

/// One comparison of what a system says with what the hub believes that it says. What differs was healed by taking in
/// what the system says now.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "DriftReportRecord")]
pub struct DriftReportRecord {
    /// Identifies the report.
    #[graphql(skip)]
    pub id: DriftReportId,
    /// The connection that was compared.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// How much was compared.
    pub scope: DriftScope,
    /// How it stands or ended.
    pub status: super::RunStatus,
    /// Records that were compared.
    pub compared: i32,
    /// Those of them of which the hub believed something else, or nothing, or that are gone.
    pub differing: i32,
    /// Those of these that were put right.
    pub healed: i32,
    /// Why it failed: a stable code.
    pub error_code: Option<String>,
    /// Why it failed, in words.
    pub error_message: Option<String>,
    /// When it began.
    pub started_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

impl DriftReportRecord {
    /// How many in a million differ: the drift. None when nothing was compared.
    ///
    /// ```
    /// # use crosstie_domain::integration::DriftReportRecord;
    /// assert_eq!(DriftReportRecord::per_million(3, 200), Some(15_000));
    /// assert_eq!(DriftReportRecord::per_million(0, 0), None);
    /// ```
    pub fn per_million(differing: i32, compared: i32) -> Option<i64> {
        (compared > 0).then(|| i64::from(differing) * 1_000_000 / i64::from(compared))
    }
}

/// How the shape of what a system sends changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ShapeChangeKind {
    /// A field that was never there before.
    New,
    /// A field that every row had is in none.
    Removed,
    /// A field has another type than before.
    Retyped,
}

/// A change of the shape of what a system sends.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ShapeChangeRecord")]
pub struct ShapeChangeRecord {
    /// Identifies the change.
    #[graphql(skip)]
    pub id: ShapeChangeId,
    /// The connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// What changed.
    pub kind: ShapeChangeKind,
    /// The field, as a path in the row; `[]` stands for the items of a list.
    pub path: String,
    /// The types that it had before; null for a new field.
    pub before: Option<String>,
    /// The types that it has now; null for a removed field.
    pub after: Option<String>,
    /// When it was first seen.
    pub seen_at: Instant,
}
