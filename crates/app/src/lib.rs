#![doc = include_str!("../README.md")]

pub mod access;
mod adoption;
mod authorizations;
mod billing;
mod changes;
mod conflicts;
mod connections;
mod contracts;
mod corrections;
mod deletes;
mod delivery;
mod differences;
mod effects;
pub mod erasure;
mod explain;
mod idempotency;
mod identity;
mod ingest;
mod lineage;
mod mapping;
mod pauses;
mod refresh;
mod replays;
mod schedule;
pub mod secrets;
pub mod subscriptions;
mod system_clock;

use std::sync::Arc;

use crosstie_domain::{
    Refusals,
    integration::{EgressRules, authority::FieldRules},
};
use crosstie_store::{Store, StoreError};

pub use adoption::{AdoptRecord, UndoAdoption};
pub use authorizations::{StartConnectionAuthorization, StartedAuthorization, TakenAuthorization};
pub use billing::SendOutcome;
pub use changes::ChangeFeed;
pub use conflicts::{Choice, ResolveConflict};
pub use connections::{ModeSwitch, SwitchConnectionMode};
pub use contracts::{CreateSow, NewMilestone, SignSow};
pub use corrections::{EditInboundEvent, EditParkedRow};
pub use deletes::{Deleted, Gone};
pub use delivery::AcceptMilestone;
pub use effects::{EditEffect, SettleEffect};
pub use explain::explain;
pub use identity::{LinkRecord, MergeRecords, Split, SplitRecord};
pub use ingest::{Cause, Ingested, KnownVersion, Observation, Origin, fields::Values, pipeline::shown_values};
pub use lineage::LineageVerified;
pub use mapping::{
    BadSetting, ConnectionMapping, FieldDifference, Mapped, Mapper, MappingPreview, Outbound, OutboundLine,
    PreviewMapping, RemapHistory, RevertMapping, RowDifference, RowOutcome, SaveMapping, UnaskedField, VendorSettings,
    Vendors,
};
pub use pauses::{ChangePause, PauseChange};
pub use refresh::{Refresh, RefreshStep, Refreshed, new_slice};
pub use replays::{Replay, ReplayRequest, ReplayStep};
pub use schedule::next_send;
pub use system_clock::SystemClock;

/// The use cases over one store.
#[derive(Clone)]
pub struct App {
    store: Store,
    changes: ChangeFeed,
    keyring: Option<Arc<secrets::Keyring>>,
    rules: Arc<FieldRules>,
    vendors: mapping::VendorSlot,
    egress: EgressRules,
    erased_values: erasure::ErasedValues,
}

/// What a person asked for: done, or refused with every reason why.
pub type Decision<T> = Result<T, Refusals>;

/// Why a use case could not come to a decision.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// The use cases over a store, with the usual rules of authority and without master keys: see
    /// [`App::with_keyring`].
    pub fn new(store: Store) -> Self {
        let vendors = mapping::VendorSlot::default();
        let (changes, egress) = (ChangeFeed::default(), EgressRules::default());
        let erased_values = erasure::ErasedValues::default();
        Self { store, changes, keyring: None, rules: Arc::default(), vendors, egress, erased_values }
    }

    /// The same under other rules of authority.
    #[must_use]
    pub fn with_rules(self, rules: FieldRules) -> Self {
        Self { rules: Arc::new(rules), ..self }
    }

    /// Who has the say over which field.
    pub fn rules(&self) -> &FieldRules {
        &self.rules
    }

    /// The same use cases where webhooks may be sent to other addresses than public ones over TLS.
    #[must_use]
    pub fn with_egress_rules(self, egress: EgressRules) -> Self {
        Self { egress, ..self }
    }

    /// Which addresses webhooks may be sent to.
    pub fn egress_rules(&self) -> EgressRules {
        self.egress
    }

    /// The store, for plain reads.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Tells when changes get their place in the one order that subscribers see.
    pub fn changes(&self) -> &ChangeFeed {
        &self.changes
    }
}
