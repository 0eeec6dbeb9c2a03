//! The order in which writers reach SQLite's single writer: acknowledgments of webhooks go first.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Two locks, one behind the other. Ordinary work queues at the outer one, so at most one ordinary transaction ever
/// waits at the inner one, where acknowledgments come in directly.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteGate {
    outer: Arc<Mutex<()>>,
    inner: Arc<Mutex<()>>,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct WritePass {
    _inner: OwnedMutexGuard<()>,
}

impl WriteGate {
    /// Waits for a turn as ordinary work.
    pub(crate) async fn ordinary(&self) -> WritePass {
        let _outer = Arc::clone(&self.outer).lock_owned().await;
        self.first().await
    }

    /// Waits for a turn ahead of ordinary work.
    pub(crate) async fn first(&self) -> WritePass {
        WritePass { _inner: Arc::clone(&self.inner).lock_owned().await }
    }
}
