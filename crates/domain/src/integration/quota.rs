//! How a rate budget is shared: calls are leased in chunks from one place that all processes see.
//!
//! A budget lets `burst + per_second × s` calls leave in any window of `s` seconds. Leased calls may be used a little
//! later than they were leased, so of the burst one half is handed out at once and the other half covers that delay.

use crate::time::Instant;

const MICRO: i64 = 1_000_000;
/// The longest life of a lease, in milliseconds.
const LONGEST_LIFE_MS: i64 = 1_000;

/// How fast one group of endpoints may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaTerms {
    /// Calls a second, on average.
    pub per_second: u32,
    /// Calls at once, after a pause.
    pub burst: u32,
}

impl QuotaTerms {
    /// The most calls that are handed out at once.
    pub fn capacity(self) -> u32 {
        (self.burst / 2).max(1)
    }

    /// How long leased calls may be used, in milliseconds: what leaves late is covered by the rest of the burst.
    pub fn life_ms(self) -> i64 {
        let late = i64::from(self.burst.saturating_sub(self.capacity()));
        (late * 1_000 / i64::from(self.per_second.max(1))).clamp(20, LONGEST_LIFE_MS)
    }
}

/// What is asked of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaAsk {
    /// What the next call costs.
    pub cost: u32,
    /// How much would be taken if there is enough.
    pub wanted: u32,
    /// What must be left for those who matter more.
    pub reserve: u32,
}

/// What was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaGrant {
    /// So many calls, for the life of a lease.
    Calls(u32),
    /// Nothing before so many milliseconds have passed.
    Wait(i64),
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls left, in millionths; below zero after a call that cost more than there ever is at once.
    pub left_micro: i64,
    /// When that was so.
    pub refilled_at: Instant,
}

impl Quota {
    /// A budget of which nothing was used for long.
    pub fn full(terms: QuotaTerms, now: Instant) -> Self {
        Self { left_micro: i64::from(terms.capacity()) * MICRO, refilled_at: now }
    }

    /// Leases calls.
    ///
    /// ```
    /// use crosstie_domain::integration::{Quota, QuotaAsk, QuotaGrant, QuotaTerms};
    ///
    /// let terms = QuotaTerms { per_second: 10, burst: 8 };
    /// let now = "2026-11-23T10:00:00Z".parse().unwrap();
    /// let mut quota = Quota::full(terms, now);
    /// let ask = QuotaAsk { cost: 1, wanted: 3, reserve: 0 };
    /// assert_eq!(quota.lease(terms, now, ask), QuotaGrant::Calls(3));
    /// assert_eq!(quota.lease(terms, now, ask), QuotaGrant::Calls(1));
    /// assert_eq!(quota.lease(terms, now, ask), QuotaGrant::Wait(100));
    /// ```
    pub fn lease(&mut self, terms: QuotaTerms, now: Instant, ask: QuotaAsk) -> QuotaGrant {
        self.refill(terms, now);
        let capacity = terms.capacity();
        let reserve = i64::from(ask.reserve.min(capacity - 1)) * MICRO;
        // A call that costs more than there ever is at once leaves when all is there, and is paid for afterwards.
        let needed = (i64::from(ask.cost) * MICRO).min(i64::from(capacity) * MICRO - reserve);
        let free = self.left_micro - reserve;
        if free < needed {
            let per_ms = i64::from(terms.per_second.max(1)) * MICRO / 1_000;
            return QuotaGrant::Wait((needed - free + per_ms - 1) / per_ms);
        }
        let calls = u32::try_from(free / MICRO).unwrap_or(0).min(ask.wanted).max(ask.cost);
        self.left_micro -= i64::from(calls) * MICRO;
        QuotaGrant::Calls(calls)
    }

    /// Takes in what the vendor said: at most so many calls are left.
    pub fn shrink(&mut self, terms: QuotaTerms, now: Instant, remaining: u32) {
        self.refill(terms, now);
        self.left_micro = self.left_micro.min(i64::from(remaining) * MICRO);
    }

    fn refill(&mut self, terms: QuotaTerms, now: Instant) {
        let elapsed = now.micros().saturating_sub(self.refilled_at.micros());
        // A clock that was set back gives nothing.
        if elapsed > 0 {
            let most = i64::from(terms.capacity()) * MICRO;
            let more = elapsed.saturating_mul(i64::from(terms.per_second.max(1)));
            self.left_micro = self.left_micro.saturating_add(more).min(most);
            self.refilled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Instant {
        Instant::from_micros(ms * 1_000).expect("an instant")
    }

    const ONE: QuotaAsk = QuotaAsk { cost: 1, wanted: 1, reserve: 0 };

    proptest! {
        /// However several processes lease and use what they leased as late as they may, no window holds more calls
        /// than the budget says.
        #[test]
        fn no_window_holds_more_calls_than_the_budget_says(
            per_second in 1_u32..40, burst in 2_u32..60,
            steps in proptest::collection::vec((0_i64..400, 1_u32..30, any::<bool>()), 1..120),
        ) {
            let terms = QuotaTerms { per_second, burst };
            // With a burst of less than the shortest life covers, a delay of some milliseconds is not covered.
            prop_assume!(i64::from(burst - terms.capacity()) * 1_000 >= 20 * i64::from(per_second));
            let mut quota = Quota::full(terms, at(0));
            let (mut now, mut left) = (0, Vec::new());
            for (pause, wanted, late) in steps {
                now += pause;
                if let QuotaGrant::Calls(calls) = quota.lease(terms, at(now), QuotaAsk { wanted, ..ONE }) {
                    let leaves = if late { now + terms.life_ms() } else { now };
                    left.extend((0..calls).map(|_| leaves));
                }
            }
            left.sort_unstable();
            for (index, from) in left.iter().enumerate() {
                for seconds in [1, 2, 10] {
                    let within = left[index..].iter().take_while(|at| **at < from + seconds * 1_000).count();
                    let most = i64::from(burst) + i64::from(per_second) * seconds;
                    prop_assert!(i64::try_from(within).unwrap_or(i64::MAX) <= most, "{within} of {most} in {seconds} s");
                }
            }
        }
    }

    #[test]
    fn the_last_part_is_left_for_those_who_matter_more() {
        let terms = QuotaTerms { per_second: 10, burst: 16 };
        let mut quota = Quota::full(terms, at(0));
        let patient = QuotaAsk { cost: 1, wanted: 100, reserve: 2 };
        assert_eq!(quota.lease(terms, at(0), patient), QuotaGrant::Calls(6));
        assert_eq!(quota.lease(terms, at(0), patient), QuotaGrant::Wait(100));
        assert_eq!(quota.lease(terms, at(0), QuotaAsk { wanted: 100, ..ONE }), QuotaGrant::Calls(2));
        assert_eq!(quota.lease(terms, at(250), patient), QuotaGrant::Wait(50), "the reserve fills up first");
    }

    #[test]
    fn a_call_that_costs_more_than_there_ever_is_waits_for_all_and_is_paid_for_afterwards() {
        let terms = QuotaTerms { per_second: 10, burst: 8 };
        let mut quota = Quota::full(terms, at(0));
        let dear = QuotaAsk { cost: 6, wanted: 6, reserve: 0 };
        assert_eq!(quota.lease(terms, at(0), dear), QuotaGrant::Calls(6));
        assert_eq!(quota.lease(terms, at(0), ONE), QuotaGrant::Wait(300));
        assert_eq!(quota.lease(terms, at(300), dear), QuotaGrant::Wait(300));
    }

    #[test]
    fn what_the_vendor_says_shrinks_a_budget_and_never_widens_it() {
        let terms = QuotaTerms { per_second: 10, burst: 20 };
        let mut quota = Quota::full(terms, at(0));
        quota.shrink(terms, at(0), 99);
        assert_eq!(quota, Quota::full(terms, at(0)));
        quota.shrink(terms, at(0), 2);
        assert_eq!(quota.lease(terms, at(0), QuotaAsk { wanted: 9, ..ONE }), QuotaGrant::Calls(2));
        assert_eq!(quota.lease(terms, at(0), ONE), QuotaGrant::Wait(100));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing() {
        let terms = QuotaTerms { per_second: 1, burst: 2 };
        let mut quota = Quota::full(terms, at(10_000));
        assert_eq!(quota.lease(terms, at(10_000), ONE), QuotaGrant::Calls(1));
        assert_eq!(quota.lease(terms, at(1_000), ONE), QuotaGrant::Wait(1_000));
        assert_eq!(quota.lease(terms, at(11_000), ONE), QuotaGrant::Calls(1));
    }
}
