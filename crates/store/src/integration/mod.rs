//! Connections and everything that keeps the hub true to the systems behind them.

mod connections;
mod effects;
mod identity;
mod inbox;
mod leases;
mod lineage;
mod outbox;
mod runs;

pub use connections::{ConnectionColumn, connection_by_name, connections, connections_by_ids};
pub use effects::{ClaimedEffect, EffectOutcome, EffectRow, EffectStatus, effects};
pub use identity::{Identity, identities_of, identity};
pub use inbox::{
    Acknowledged, ArrivedDelivery, ArrivedEvent, ClaimedEvent, EventOutcome, InboundColumn, InboxWriter,
    inbound_events, inbound_events_by_ids,
};
pub use leases::Lease;
pub use lineage::{assertions_of, latest_assertion};
pub use outbox::{PlacedChange, changes_after, last_position};
pub use runs::{Cursor, ParkedRow, RunColumn, cursor, parked_rows, sync_runs, sync_runs_by_ids};
