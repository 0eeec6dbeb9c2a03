//! Connections and everything that keeps the hub true to the systems behind them.

mod alerts;
mod connections;
mod deliveries;
mod effects;
mod events;
mod exchanges;
mod fields;
mod identity;
mod inbox;
mod leases;
mod lineage;
mod links;
mod mappings;
mod modes;
mod outbox;
mod parked;
mod pushes;
mod remaps;
mod replay;
mod runs;
mod sending;
mod sign_ins;
mod subscriptions;

pub use alerts::{AlertColumn, Waiting, alerts, alerts_by_ids, open_alerts, waiting_for_a_person};
pub use connections::{ConnectionColumn, connection_by_name, connections, connections_by_ids};
pub use deliveries::{
    DeliveryColumn, VersionedChange, deliveries_of_subscriptions, subscription_events, versioned_changes_after,
    webhook_deliveries, webhook_deliveries_by_ids,
};
pub use effects::{ClaimedEffect, EffectOutcome, EffectRow, EffectStatus, effects};
pub use events::{ClaimedEvent, EventOutcome, InboundColumn, inbound_events, inbound_events_by_ids};
pub use exchanges::{ExchangeColumn, exchanges, exchanges_by_ids, exchanges_written};
pub use fields::{ConflictColumn, Fields, conflicts, conflicts_by_ids, fields_of};
pub use identity::{Identity, identities_of, identity};
pub use inbox::{Acknowledged, ArrivedDelivery, ArrivedEvent, InboxWriter};
pub use leases::Lease;
pub use lineage::{assertion_history, assertions_of, latest_assertion};
pub(crate) use links::match_name;
pub use links::{Child, accounts_alike, identity_events_of, match_candidates};
pub use mappings::{ConnectionState, KeptMapping, connection_state, connection_states, mapping_at, mappings};
pub use modes::{ModeChange, WaitingEffect, count_waiting_effects, mode_changes, waiting_effects};
pub use outbox::{PlacedChange, changes_after, first_position, last_position};
pub use parked::{ParkedColumn, ParkedRow, parked_rows, parked_rows_by_ids};
pub use pushes::{Pushes, pushes_of};
pub use remaps::{KeptEvidence, kept_evidence, open_remaps, remap, remaps};
pub use runs::{Cursor, RunColumn, cursor, sync_runs, sync_runs_by_ids};
pub use sending::{Answered, ClaimedDelivery, DeliveryOutcome, FAILURES_TO_OPEN};
pub use sign_ins::sign_ins_of;
pub use subscriptions::{
    SubscriptionColumn, count_webhook_subscriptions, first_subscriptions, live_secrets, subscriptions_behind,
    webhook_subscriptions, webhook_subscriptions_by_ids,
};
