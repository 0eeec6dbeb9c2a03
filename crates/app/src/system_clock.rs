//! The one home of the present moment and of randomness.

use std::sync::Mutex;

use crosstie_domain::{Clock, Instant};
use uuid::{ContextV7, Timestamp, Uuid};

/// The system's clock; identifiers of one process always rise.
#[derive(Debug, Default)]
pub struct SystemClock {
    context: Mutex<ContextV7>,
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        #[expect(clippy::disallowed_methods, reason = "the one home of the present moment")]
        Instant::new(jiff::Timestamp::now())
    }

    fn new_uuid(&self) -> Uuid {
        let context = self.context.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        #[expect(clippy::disallowed_methods, reason = "the one home of identifiers")]
        Uuid::new_v7(Timestamp::now(&*context))
    }
}
