//! Breakers: whoever fails again and again is left alone, longer each time, until one try shows that it is back.

use async_graphql::Enum;
use serde::{Deserialize, Serialize};

use crate::{ids::ConnectionId, time::Instant};

/// Failures in a row after which a system is left alone.
pub const FAILURES_TO_OPEN: i32 = 5;
/// How long it is left alone at first, in milliseconds.
const ALONE_MS: i64 = 30_000;
/// How long at most, in milliseconds.
const ALONE_AT_MOST_MS: i64 = 900_000;

/// How long a system is left alone after so many failures in a row, in milliseconds; `None` while it is not.
///
/// ```
/// use crosstie_domain::integration::left_alone_ms;
///
/// assert_eq!(left_alone_ms(4), None);
/// assert_eq!(left_alone_ms(5), Some(30_000));
/// assert_eq!(left_alone_ms(6), Some(60_000));
/// assert_eq!(left_alone_ms(500), Some(900_000));
/// ```
pub fn left_alone_ms(failures: i32) -> Option<i64> {
    let doubled = u32::try_from(failures.checked_sub(FAILURES_TO_OPEN)?).ok()?;
    let wait = 1_i64.checked_shl(doubled.min(30)).map_or(ALONE_AT_MOST_MS, |times| ALONE_MS.saturating_mul(times));
    Some(wait.min(ALONE_AT_MOST_MS))
}

/// How the breaker of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BreakerState {
    /// The system is asked as usual.
    Closed,
    /// The system did not answer several times in a row: nobody asks it for a while.
    Open,
    /// That while is over: one piece of work tries whether it is back, and the others wait for it.
    HalfOpen,
}

/// What is known of whether a connected system answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRecord {
    /// The connection.
    pub connection_id: ConnectionId,
    /// How often in a row it did not answer.
    pub failures: i32,
    /// When it was first left alone; none while it is asked as usual.
    pub opened_at: Option<Instant>,
    /// Until when nobody asks it; none while it is asked as usual.
    pub open_until: Option<Instant>,
    /// Until when the others wait for whoever tries whether it is back.
    pub trial_until: Option<Instant>,
    /// What was seen last: a stable code.
    pub error_code: Option<String>,
    /// When any of this last changed.
    pub changed_at: Instant,
}

impl BreakerRecord {
    /// A system that never failed.
    pub fn new(connection_id: ConnectionId, now: Instant) -> Self {
        let (opened_at, open_until, trial_until) = (None, None, None);
        Self { connection_id, failures: 0, opened_at, open_until, trial_until, error_code: None, changed_at: now }
    }

    /// How it stands at a moment.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if until > now => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// The system did not answer; it is then left alone for `left_alone_ms` and so much more or less. Returns whether
    /// that is news: what was under way when it opened counts no more.
    pub fn failed(&mut self, code: &str, now: Instant, vary: impl FnOnce(i64) -> i64) -> bool {
        if self.state(now) == BreakerState::Open {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.trial_until = None;
        self.error_code = Some(code.to_owned());
        self.changed_at = now;
        if let Some(wait) = left_alone_ms(self.failures) {
            self.opened_at = self.opened_at.or(Some(now));
            self.open_until = Some(now.plus_ms(vary(wait)));
        }
        true
    }

    /// The system answered. Returns whether it was left alone until then.
    pub fn answered(&mut self, now: Instant) -> bool {
        let was_open = self.open_until.is_some();
        *self = Self::new(self.connection_id, now);
        was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000).expect("an instant")
    }

    fn breaker() -> BreakerRecord {
        BreakerRecord::new("con_00000000000000000000000001".parse().expect("an id"), at(0))
    }

    #[test]
    fn opens_after_a_run_of_failures_and_longer_after_each_try_that_fails() {
        let mut breaker = breaker();
        for _ in 1..FAILURES_TO_OPEN {
            assert!(breaker.failed("TRANSIENT", at(0), |ms| ms));
            assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        }
        breaker.failed("TRANSIENT", at(0), |ms| ms);
        assert_eq!(breaker.state(at(29)), BreakerState::Open);
        assert!(!breaker.failed("TRANSIENT", at(29), |ms| ms), "what was under way does not make it longer");
        assert_eq!(breaker.state(at(30)), BreakerState::HalfOpen);
        breaker.failed("TRANSIENT", at(30), |ms| ms);
        assert_eq!((breaker.state(at(89)), breaker.state(at(90))), (BreakerState::Open, BreakerState::HalfOpen));
        assert_eq!(breaker.opened_at, Some(at(0)));
        assert!(breaker.answered(at(90)));
        assert_eq!((breaker.state(at(90)), breaker.failures), (BreakerState::Closed, 0));
    }

    #[test]
    fn an_answer_in_between_begins_the_run_anew() {
        let mut breaker = breaker();
        for _ in 0..3 {
            for _ in 1..FAILURES_TO_OPEN {
                breaker.failed("TRANSIENT", at(0), |ms| ms);
            }
            assert!(!breaker.answered(at(0)), "it was never left alone");
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    }
}
