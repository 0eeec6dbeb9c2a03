//! Keeps calls to the rate that the connector declares, for each of its groups of endpoints: each process paces itself,
//! and all that share a connection lease what they use from one quota. Who matters more goes first.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crosstie_domain::{
    Instant,
    integration::{QuotaAsk, QuotaGrant, QuotaTerms},
};
use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::{sync::Notify, time};

use super::{HttpResponse, clock::retry_after_ms};
use crate::{Fault, RateBudget};

/// How much a call matters beside others to the same vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// History is read; it leaves the last part of a budget to the others.
    BackFill,
    /// What changed is read by schedule.
    Incremental,
    /// Another system or the business waits: a webhook, an effect.
    Event,
    /// A person waits.
    Interactive,
}

tokio::task_local! {
    static PRIORITY: Priority;
}

impl Priority {
    const COUNT: usize = 4;

    /// Does work whose calls matter so much. Calls outside of any such work are interactive.
    pub async fn of<T>(self, work: impl Future<Output = T>) -> T {
        PRIORITY.scope(self, work).await
    }

    fn now() -> Self {
        PRIORITY.try_with(|priority| *priority).unwrap_or(Self::Interactive)
    }

    fn index(self) -> usize {
        match self {
            Self::BackFill => 0,
            Self::Incremental => 1,
            Self::Event => 2,
            Self::Interactive => 3,
        }
    }

    /// How long a call waits for its turn before it makes room for others.
    fn patience(self) -> Duration {
        match self {
            Self::BackFill | Self::Incremental => Duration::from_secs(60),
            // A worker that waits for one vendor does nothing for the others.
            Self::Event => Duration::from_secs(5),
            Self::Interactive => Duration::from_secs(20),
        }
    }

    /// What of a budget is left to those who matter more.
    fn reserve(self, terms: QuotaTerms) -> u32 {
        match self {
            Self::BackFill => terms.capacity().div_ceil(4),
            Self::Incremental => terms.capacity() / 8,
            Self::Event | Self::Interactive => 0,
        }
    }
}

/// The quotas of a connection, as all its processes share them.
#[async_trait::async_trait]
pub trait Quotas: Send + Sync {
    /// Leases calls of a budget.
    ///
    /// # Errors
    /// Why it cannot be known now what is left.
    async fn lease(&self, budget: &RateBudget, ask: QuotaAsk) -> Result<QuotaGrant, Fault>;

    /// Takes in what the vendor said: at most so many calls are left, and none for so many milliseconds.
    async fn shrink(&self, budget: &RateBudget, remaining: Option<u32>, closed_ms: Option<i64>);
}

/// The time by which a process paces itself: the runtime's, which tests may stop.
#[derive(Debug, Clone)]
struct Time(time::Instant);

impl Clock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

type Pace = RateLimiter<NotKeyed, InMemoryState, Time, NoOpMiddleware<Nanos>>;

pub(super) struct Budgets {
    buckets: Vec<Bucket>,
    shared: Option<Arc<dyn Quotas>>,
}

struct Bucket {
    budget: RateBudget,
    time: Time,
    pace: Pace,
    line: Mutex<Line>,
    /// Held by the one that leases: the others use what it brings.
    leasing: tokio::sync::Mutex<()>,
    moved: Notify,
}

/// Who waits, and what was leased and not used yet.
struct Line {
    waiting: [u32; Priority::COUNT],
    /// What back-fills leased; they touch nothing that others did.
    patient: Lot,
    others: Lot,
}

/// Leased calls.
#[derive(Clone, Copy)]
struct Lot {
    calls: u32,
    until: time::Instant,
    chunk: u32,
}

impl Line {
    fn lot(&mut self, priority: Priority) -> &mut Lot {
        if priority == Priority::BackFill { &mut self.patient } else { &mut self.others }
    }

    fn is_after_others(&self, priority: Priority) -> bool {
        self.waiting[priority.index() + 1..].iter().any(|waiting| *waiting > 0)
    }
}

impl Lot {
    fn holds(&self, cost: u32, now: time::Instant) -> bool {
        self.calls >= cost && self.until >= now
    }
}

/// A place in the line.
struct Place<'a>(&'a Bucket, Priority);

impl<'a> Place<'a> {
    fn take(bucket: &'a Bucket, priority: Priority) -> Self {
        bucket.line().waiting[priority.index()] += 1;
        Self(bucket, priority)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.line().waiting[self.1.index()] -= 1;
        self.0.moved.notify_waiters();
    }
}

/// How long one waits who comes after others, unless they are done before.
const AFTER_OTHERS: Duration = Duration::from_millis(20);

impl Budgets {
    pub(super) fn new(declared: &[RateBudget]) -> Self {
        Self { buckets: declared.iter().map(|budget| Bucket::new(*budget)).collect(), shared: None }
    }

    /// From now on calls are leased from these quotas.
    pub(super) fn share(&mut self, quotas: Arc<dyn Quotas>) {
        self.shared = Some(quotas);
    }

    /// Waits until a call of this cost may leave. A call that names no budget counts against the first.
    ///
    /// # Errors
    /// [`Fault::Throttled`] when that would take longer than a call of its kind waits.
    pub(super) async fn wait(&self, bucket: Option<&'static str>, cost: u32) -> Result<(), Fault> {
        let Some(bucket) = self.named(bucket) else { return Ok(()) };
        let priority = Priority::now();
        let give_up = time::Instant::now() + priority.patience();
        let _place = Place::take(bucket, priority);
        loop {
            let Some(pause) = bucket.try_leave(self.shared.as_deref(), priority, cost.max(1)).await? else {
                return Ok(());
            };
            let until = time::Instant::now() + pause;
            if until > give_up {
                let wait_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                return Err(Fault::Throttled { retry_after_ms: Some(wait_ms) });
            }
            tokio::select! {
                () = time::sleep_until(until) => {}
                () = bucket.moved.notified() => {}
            }
        }
    }

    /// Takes in what an answer says of the budget.
    pub(super) async fn told(&self, bucket: Option<&'static str>, response: &HttpResponse, now: Option<Instant>) {
        let (Some(bucket), Some(shared)) = (self.named(bucket), &self.shared) else { return };
        let (remaining, closed_ms) = word(response, now);
        let few = remaining.filter(|remaining| *remaining < bucket.terms().capacity());
        if few.is_none() && closed_ms.is_none() {
            return;
        }
        {
            let mut line = bucket.line();
            let most = if closed_ms.is_some() { 0 } else { few.unwrap_or(u32::MAX) };
            line.patient.calls = 0;
            line.others.calls = line.others.calls.min(most);
        }
        shared.shrink(&bucket.budget, few, closed_ms).await;
    }

    fn named(&self, bucket: Option<&'static str>) -> Option<&Bucket> {
        let named = self.buckets.iter().find(|known| Some(known.budget.bucket) == bucket);
        named.or(self.buckets.first())
    }
}

impl Bucket {
    fn new(budget: RateBudget) -> Self {
        let time = Time(time::Instant::now());
        let lot = Lot { calls: 0, until: time.0, chunk: 1 };
        Self {
            budget,
            pace: RateLimiter::direct_with_clock(quota(&budget), time.clone()),
            time,
            line: Mutex::new(Line { waiting: [0; Priority::COUNT], patient: lot, others: lot }),
            leasing: tokio::sync::Mutex::default(),
            moved: Notify::new(),
        }
    }

    fn terms(&self) -> QuotaTerms {
        QuotaTerms { per_second: self.budget.per_second, burst: self.budget.burst }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call leave; how long to wait before it is tried again, when it may not yet.
    async fn try_leave(
        &self,
        shared: Option<&dyn Quotas>,
        priority: Priority,
        cost: u32,
    ) -> Result<Option<Duration>, Fault> {
        if let Some(done) = self.leave_now(shared.is_some(), priority, cost) {
            return Ok(done);
        }
        let Some(shared) = shared else { return Ok(None) };
        let _leasing = self.leasing.lock().await;
        // Meanwhile another may have leased enough for this one, too.
        if let Some(done) = self.leave_now(true, priority, cost) {
            return Ok(done);
        }
        let began = time::Instant::now();
        let chunk = {
            let mut line = self.line();
            let lot = line.lot(priority);
            // Who used up all before its end takes more the next time; what ran out unused was too much.
            lot.chunk = if lot.until >= began { lot.chunk.saturating_mul(2).min(self.terms().capacity()) } else { 1 };
            lot.chunk
        };
        let ask = QuotaAsk { cost, wanted: chunk.max(cost), reserve: priority.reserve(self.terms()) };
        match shared.lease(&self.budget, ask).await? {
            QuotaGrant::Wait(wait_ms) => {
                let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
                Ok(Some(wait.max(self.gathering(priority, chunk))))
            }
            QuotaGrant::Calls(calls) => {
                let life = Duration::from_millis(u64::try_from(self.terms().life_ms()).unwrap_or(0));
                // However long the lease took, the call that it was for may leave.
                let until = (began + life).max(time::Instant::now());
                let mut line = self.line();
                let lot = line.lot(priority);
                (lot.calls, lot.until) = (calls, until);
                drop(line);
                Ok(self.leave_now(true, priority, cost).unwrap_or(Some(Duration::ZERO)))
            }
        }
    }

    /// How long a busy process lets a budget fill that is used up, so that it need not ask for each call.
    fn gathering(&self, priority: Priority, chunk: u32) -> Duration {
        let per_second = self.budget.per_second.max(1);
        let together = if priority == Priority::Interactive { 1 } else { chunk.min(per_second / 4).max(1) };
        Duration::from_secs(1) * together / per_second
    }

    /// `Some(None)` when the call leaves, `Some(wait)` when it has to wait, `None` when calls must be leased first.
    fn leave_now(&self, leased: bool, priority: Priority, cost: u32) -> Option<Option<Duration>> {
        let mut line = self.line();
        if line.is_after_others(priority) {
            return Some(Some(AFTER_OTHERS));
        }
        let lot = line.lot(priority);
        if leased && !lot.holds(cost, time::Instant::now()) {
            return None;
        }
        let paced = at_least_one(cost.min(self.budget.burst));
        match self.pace.check_n(paced) {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(early)) => return Some(Some(early.wait_time_from(self.time.now()))),
        }
        if leased {
            lot.calls -= cost;
        }
        Some(None)
    }
}

/// How many calls an answer says are left, and for how many milliseconds there are none. Vendors name these headers
/// with a prefix of their own before `RateLimit-…`, as HubSpot does.
fn word(response: &HttpResponse, now: Option<Instant>) -> (Option<u32>, Option<i64>) {
    if matches!(response.status, 429 | 503)
        && let Some(wait_ms) = retry_after_ms(response, now)
    {
        return (None, Some(wait_ms));
    }
    let ending = |ending: &str| response.headers.iter().find(|(name, _)| name.ends_with(ending));
    let Some((name, value)) = ending("ratelimit-remaining") else { return (None, None) };
    let Ok(remaining) = value.trim().parse::<u32>() else { return (None, None) };
    let prefix = name.trim_end_matches("remaining");
    let number =
        |what: &str| response.header(&format!("{prefix}{what}")).and_then(|text| text.trim().parse::<i64>().ok());
    let reset_ms = number("reset").map(|reset| match now {
        // Some write how many seconds are left, some the moment in seconds since 1970.
        Some(now) if reset > 1_000_000_000 => reset.saturating_mul(1_000) - now.micros() / 1_000,
        _ => reset.saturating_mul(1_000),
    });
    let closed_ms = reset_ms.or(number("interval-milliseconds")).filter(|ms| remaining == 0 && *ms > 0);
    (Some(remaining), closed_ms.map(|ms| ms.min(LONGEST_WINDOW_MS)))
}

/// The longest window that vendors count calls in, in milliseconds: a day.
const LONGEST_WINDOW_MS: i64 = 86_400_000;

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

fn quota(budget: &RateBudget) -> governor::Quota {
    governor::Quota::per_second(at_least_one(budget.per_second)).allow_burst(at_least_one(budget.burst))
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
