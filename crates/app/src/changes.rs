//! Tells subscribers in this process that changes got their place.

use tokio::sync::watch;

/// The last position that was given to a change.
#[derive(Debug, Clone)]
pub struct ChangeFeed {
    last: watch::Sender<i64>,
}

impl Default for ChangeFeed {
    fn default() -> Self {
        Self { last: watch::Sender::new(0) }
    }
}

impl ChangeFeed {
    /// The last position as it grows.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.last.subscribe()
    }

    /// Tells that positions up to this one are given.
    pub fn advance(&self, position: i64) {
        self.last.send_if_modified(|last| {
            let grows = position > *last;
            *last = (*last).max(position);
            grows
        });
    }
}
