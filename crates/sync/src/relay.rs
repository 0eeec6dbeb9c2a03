//! The relay: one process at a time gives changes their gap-free positions; every process tells its own subscribers.

use crosstie_store::{
    StoreError,
    integration::{Lease, last_position},
};

use crate::Engine;

/// How long a relay holds its lease, in milliseconds.
const LEASE_MS: i64 = 3_000;
/// Changes that get their position in one commit.
const BATCH: i64 = 500;

impl Engine {
    /// Places what waits, if this process holds the lease, and tells subscribers how far the order has come. Returns
    /// whether there may be more.
    pub(crate) async fn relay(&self, lease: &mut Option<HeldLease>) -> Result<bool, StoreError> {
        let store = self.app.store();
        let placed = match self.hold("relay", lease).await? {
            Some(lease) => store.place_outbox(lease, BATCH).await?,
            None => 0,
        };
        // Also when nothing was placed just now: another process may have, or a look after a placement may have failed.
        self.app.changes().advance(last_position(store).await?);
        Ok(placed > 0)
    }

    /// Gives what waits its place in the one order, unless another process does. Returns whether there may be more.
    ///
    /// # Errors
    /// As the database.
    pub async fn place_changes(&self) -> Result<bool, StoreError> {
        self.relay(&mut None).await
    }

    /// A lease of this process, taken or renewed when it is time to.
    pub(crate) async fn hold<'a>(
        &self,
        name: &str,
        held: &'a mut Option<HeldLease>,
    ) -> Result<Option<&'a Lease>, StoreError> {
        let now = self.app.store().now();
        if held.as_ref().is_none_or(|held| now.ms_since(held.renewed_at) > LEASE_MS / 3) {
            let taken = self.app.store().lease(name, &self.name, LEASE_MS).await?;
            *held = taken.map(|lease| HeldLease { lease, renewed_at: now });
        }
        Ok(held.as_ref().map(|held| &held.lease))
    }
}

/// A lease that this process holds.
pub(crate) struct HeldLease {
    lease: Lease,
    renewed_at: crosstie_domain::Instant,
}
