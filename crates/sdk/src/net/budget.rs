//! Keeps calls to the rate that the connector declares, for each of its groups of endpoints.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::RateBudget;

pub(super) struct Budgets {
    limiters: Vec<(&'static str, DefaultDirectRateLimiter)>,
}

impl Budgets {
    pub(super) fn new(declared: &[RateBudget]) -> Self {
        let limiters = declared.iter().map(|budget| (budget.bucket, RateLimiter::direct(quota(budget))));
        Self { limiters: limiters.collect() }
    }

    /// Waits until a call may leave. A call that names no budget counts against the first.
    pub(super) async fn wait(&self, bucket: Option<&'static str>) {
        let named = self.limiters.iter().find(|(name, _)| Some(*name) == bucket);
        if let Some((_, limiter)) = named.or(self.limiters.first()) {
            limiter.until_ready().await;
        }
    }
}

fn quota(budget: &RateBudget) -> Quota {
    let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(budget.per_second)).allow_burst(at_least_one(budget.burst))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn no_window_lets_more_calls_leave_than_the_budget_says() {
        for (per_second, burst, seconds) in [(9, 10, 10), (3, 2, 1), (1, 1, 60), (25, 50, 2)] {
            let budget = RateBudget { bucket: "all", per_second, burst };
            let clock = FakeRelativeClock::default();
            let limiter = RateLimiter::direct_with_clock(quota(&budget), clock.clone());
            let step = Duration::from_millis(10);
            let mut left = Vec::new();
            for tick in 0..300 * seconds {
                while limiter.check().is_ok() {
                    left.push(tick);
                }
                clock.advance(step);
            }
            let window = seconds * 100;
            let most = left.iter().map(|from| left.iter().filter(|at| (*from..from + window).contains(*at)).count());
            let most = most.max().expect("a call");
            assert!(u32::try_from(most).is_ok_and(|most| most <= budget.most_calls_in(seconds)), "{budget:?}: {most}");
        }
    }
}
