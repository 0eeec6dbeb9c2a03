//! Connections and everything that keeps the hub true to the systems behind them.

mod adoptions;
mod alerts;
mod backfills;
mod breakers;
mod connections;
mod corrections;
mod deletes;
mod deliveries;
mod differences;
mod documents;
mod drift;
mod effects;
mod erasures;
mod events;
mod exchanges;
mod facts;
mod fields;
mod freshness;
mod identity;
mod inbox;
mod leases;
mod ledger;
mod lineage;
mod links;
mod mappings;
mod modes;
mod outbox;
mod parked;
mod pauses;
mod payloads;
mod personal;
mod pressure;
mod pushes;
mod quotas;
mod refusals;
mod remaps;
mod replays;
mod runs;
mod sending;
mod shapes;
mod sign_ins;
mod subscriptions;
mod sweeps;

pub use adoptions::{AdoptionColumn, Settled, adoption_was_undone, adoptions, adoptions_by_ids};
pub use alerts::{AlertColumn, Waiting, alerts, alerts_by_ids, open_alerts, waiting_for_a_person};
pub use backfills::{BackfillColumn, backfills, backfills_by_ids, due_slices, known_in_window, slices_of};
pub use breakers::breakers_of;
pub use connections::{ConnectionColumn, connection_by_name, connections, connections_by_ids};
pub use corrections::{corrections_by_ids, corrections_of};
pub use deletes::{
    DeleteClaimColumn, delete_claims, delete_claims_by_ids, event_history, gone_among, gone_since, holders_of,
};
pub use deliveries::{
    DeliveryColumn, VersionedChange, deliveries_of_subscriptions, subscription_events, versioned_changes_after,
    webhook_deliveries, webhook_deliveries_by_ids,
};
pub use differences::{DifferenceColumn, connection_differences};
pub use documents::{AdoptionCandidateColumn, adoption_candidates, remote_document, remote_documents};
pub use drift::{DriftColumn, drawn_at_random, drift_reports, drift_reports_by_ids, last_compared};
pub use effects::{ClaimedEffect, EffectOutcome, effects_by_keys};
pub use erasures::{
    ErasureColumn, ErasureKey, erased_by, erased_values, erasure_key, erasures, erasures_by_ids, open_erasures,
};
pub use events::{ClaimedEvent, EventOutcome, InboundColumn, inbound_events, inbound_events_by_ids};
pub use exchanges::{ExchangeColumn, exchanges, exchanges_by_ids, exchanges_written};
pub use facts::{ConnectionFacts, QueueFacts, ReadingFacts, connection_facts};
pub use fields::{ConflictColumn, Fields, conflicts, conflicts_by_ids, fields_of};
pub use freshness::freshness_of;
pub use identity::{Identity, identities_at, identities_of, identity};
pub use inbox::{Acknowledged, ArrivedDelivery, ArrivedEvent, InboxWriter};
pub use leases::Lease;
pub use ledger::{EffectColumn, effects, effects_by_ids};
pub use lineage::{
    SealedAssertion, assertion_history, assertions_of, latest_assertion, latest_assertions, sealed_after, sealed_by_ids,
};
pub(crate) use links::match_name;
pub use links::{Child, MatchKey, accounts_alike, identity_events_of, match_candidates};
pub use mappings::{ConnectionState, KeptMapping, connection_state, connection_states, mapping_at, mappings};
pub use modes::{ModeChange, count_waiting_effects, mode_changes, waiting_effects};
pub use outbox::{PlacedChange, changes_after, first_position, last_position};
pub use parked::{ParkedColumn, ParkedRow, parked_rows, parked_rows_by_ids};
pub use pauses::{is_paused, open_pauses, pauses_of};
pub use payloads::inbound_payloads;
pub use personal::{IMPERSONAL_COLUMNS, Looked, PERSONAL_TABLES, PersonalRow, PersonalTable, look_for_personal};
pub use pressure::{inbound_backlogs, inbound_pressure_of};
pub use pushes::{Pushes, pushes_of};
pub use refusals::{REFUSALS_AN_HOUR, RefusalColumn, inbound_refusals, inbound_refusals_by_ids};
pub use remaps::{KeptEvidence, kept_evidence, open_remaps, remap, remaps};
pub use replays::{
    ReplayColumn, ReplayItemColumn, next_replay_items, open_replays, replay_counts, replay_jobs, replay_jobs_by_ids,
    replay_results,
};
pub use runs::{Cursor, RunColumn, cursor, sync_runs, sync_runs_by_ids};
pub use sending::{Answered, ClaimedDelivery, DeliveryOutcome};
pub use shapes::{KnownField, KnownShape, ShapeChangeColumn, known_shape, shape_changes, shape_changes_by_ids};
pub use sign_ins::sign_ins_of;
pub use subscriptions::{
    SubscriptionColumn, count_webhook_subscriptions, first_subscriptions, live_secrets, subscriptions_behind,
    webhook_subscriptions, webhook_subscriptions_by_ids,
};
pub use sweeps::{SweepColumn, count_missing, latest_sweep, missing_after, sweeps, sweeps_by_ids};
