//! Keeps calls to the rate that the connector declares, for each of its groups of endpoints.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::RateBudget;

pub(super) struct Budgets {
    limiters: Vec<(&'static str, DefaultDirectRateLimiter)>,
}

impl Budgets {
    pub(super) fn new(declared: &[RateBudget]) -> Self {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let limiters = declared.iter().map(|budget| {
            let quota = Quota::per_second(at_least_one(budget.per_second)).allow_burst(at_least_one(budget.burst));
            (budget.bucket, RateLimiter::direct(quota))
        });
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
