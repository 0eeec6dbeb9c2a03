//! A clock that runs with the system's or stands still, and moves when a test says so.

use std::sync::atomic::{AtomicI64, Ordering};

use crosstie_app::SystemClock;
use crosstie_domain::{Clock, Instant};

pub(crate) struct TestClock {
    system: SystemClock,
    /// Where it stands; `None` while it runs.
    standing: Option<Instant>,
    moved_ms: AtomicI64,
}

impl TestClock {
    /// A clock that stands still.
    pub(crate) fn standing() -> Self {
        let at = "2026-11-23T10:00:00Z".parse().expect("an instant");
        Self { system: SystemClock::default(), standing: Some(at), moved_ms: AtomicI64::new(0) }
    }

    /// Moves it by so many milliseconds.
    pub(crate) fn advance(&self, ms: i64) {
        self.moved_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        let now = self.standing.unwrap_or_else(|| self.system.now());
        now.plus_ms(self.moved_ms.load(Ordering::SeqCst))
    }

    fn new_uuid(&self) -> uuid::Uuid {
        self.system.new_uuid()
    }
}
