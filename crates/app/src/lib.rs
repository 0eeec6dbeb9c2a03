#![doc = include_str!("../README.md")]

pub mod access;
mod billing;
mod changes;
mod contracts;
mod delivery;
mod idempotency;
mod ingest;
pub mod secrets;
mod system_clock;

use std::sync::Arc;

use crosstie_domain::Refusals;
use crosstie_store::{Store, StoreError};

pub use billing::SendOutcome;
pub use changes::ChangeFeed;
pub use contracts::{CreateSow, NewMilestone, SignSow};
pub use delivery::AcceptMilestone;
pub use ingest::{Ingested, Observation, Origin};
pub use system_clock::SystemClock;

/// The use cases over one store.
#[derive(Clone)]
pub struct App {
    store: Store,
    changes: ChangeFeed,
    keyring: Option<Arc<secrets::Keyring>>,
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
    /// The use cases over a store, without master keys: see [`App::with_keyring`].
    pub fn new(store: Store) -> Self {
        Self { store, changes: ChangeFeed::default(), keyring: None }
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
