//! Budgets in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use crosstie_domain::integration::Quota;
use governor::clock::FakeRelativeClock;
use proptest::prelude::*;
use tokio::runtime;

use super::*;

/// One quota for all that share it, by the time of the runtime, with some delay before each answer.
struct Common {
    began: time::Instant,
    quota: Mutex<Option<(Quota, Option<Instant>)>>,
    leases: AtomicUsize,
    delay: Duration,
}

impl Common {
    fn new(delay_ms: u64) -> Arc<Self> {
        let (began, delay) = (time::Instant::now(), Duration::from_millis(delay_ms));
        Arc::new(Self { began, quota: Mutex::default(), leases: AtomicUsize::new(0), delay })
    }

    fn now(&self) -> Instant {
        let ms = i64::try_from(self.began.elapsed().as_millis()).expect("not that long");
        Instant::from_micros(0).expect("the epoch is an instant").plus_ms(ms)
    }
}

#[async_trait::async_trait]
impl Quotas for Common {
    async fn lease(&self, budget: &RateBudget, ask: QuotaAsk) -> Result<QuotaGrant, Fault> {
        self.leases.fetch_add(1, Ordering::SeqCst);
        let (terms, now) = (QuotaTerms { per_second: budget.per_second, burst: budget.burst }, self.now());
        let grant = {
            let mut quota = self.quota.lock().expect("nobody panicked");
            let (quota, closed_until) = quota.get_or_insert((Quota::full(terms, now), None));
            match closed_until.filter(|until| *until > now) {
                Some(until) => QuotaGrant::Wait(until.ms_since(now)),
                None => quota.lease(terms, now, ask),
            }
        };
        time::sleep(self.delay).await;
        Ok(grant)
    }

    async fn shrink(&self, budget: &RateBudget, remaining: Option<u32>, closed_ms: Option<i64>) {
        let (terms, now) = (QuotaTerms { per_second: budget.per_second, burst: budget.burst }, self.now());
        let mut quota = self.quota.lock().expect("nobody panicked");
        let (quota, closed_until) = quota.get_or_insert((Quota::full(terms, now), None));
        if let Some(remaining) = remaining {
            quota.shrink(terms, now, remaining);
        }
        *closed_until = (*closed_until).max(closed_ms.map(|ms| now.plus_ms(ms)));
    }
}

fn budgets(per_second: u32, burst: u32, shared: &Arc<Common>) -> Arc<Budgets> {
    let mut budgets = Budgets::new(&[RateBudget { bucket: "all", per_second, burst }]);
    budgets.share(shared.clone());
    Arc::new(budgets)
}

/// The most calls in any window of so many milliseconds.
fn most_in(left_ms: &[u128], window_ms: u128) -> usize {
    let within = |from: u128| left_ms.iter().filter(|at| (from..from + window_ms).contains(*at)).count();
    left_ms.iter().map(|from| within(*from)).max().unwrap_or(0)
}

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
                left.push(u128::from(tick));
            }
            clock.advance(step);
        }
        let most = most_in(&left, u128::from(seconds) * 100);
        assert!(u32::try_from(most).is_ok_and(|most| most <= budget.most_calls_in(seconds)), "{budget:?}: {most}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two processes, callers of every priority, pauses, slow leases: what the vendor counts stays within the budget.
    #[test]
    fn what_the_vendor_counts_never_exceeds_the_declared_budget_in_any_window(
        per_second in 2_u32..30, burst in 4_u32..40, delay_ms in 0_u64..15,
        callers in proptest::collection::vec((0_usize..2, 0_usize..4, 0_u64..300, 1_usize..15), 1..12),
    ) {
        prop_assume!(i64::from(burst / 2) * 1_000 >= 40 * i64::from(per_second));
        let budget = RateBudget { bucket: "all", per_second, burst };
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be built");
        let left = runtime.block_on(async {
            let common = Common::new(delay_ms);
            let processes = [budgets(per_second, burst, &common), budgets(per_second, burst, &common)];
            let left = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = Vec::new();
            for (process, priority, pause_ms, calls) in callers {
                let all = [Priority::BackFill, Priority::Incremental, Priority::Event, Priority::Interactive];
                let (budgets, left, began) = (Arc::clone(&processes[process]), Arc::clone(&left), common.began);
                let work = async move {
                    for _ in 0..calls {
                        if budgets.wait(None, 1).await.is_ok() {
                            left.lock().expect("nobody panicked").push(began.elapsed().as_millis());
                        }
                        time::sleep(Duration::from_millis(pause_ms)).await;
                    }
                };
                tasks.push(tokio::spawn(all[priority].of(work)));
            }
            for task in tasks {
                task.await.expect("it ends");
            }
            left.lock().expect("nobody panicked").clone()
        });
        for seconds in [1, 2, 5] {
            let most = most_in(&left, u128::from(seconds) * 1_000);
            let allowed = budget.most_calls_in(seconds);
            prop_assert!(u32::try_from(most).is_ok_and(|most| most <= allowed), "{most} of {allowed} in {seconds} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_process_leases_about_a_seconds_worth_at_once() {
    let common = Common::new(0);
    let budgets = budgets(25, 50, &common);
    for _ in 0..250 {
        Priority::Incremental.of(budgets.wait(None, 1)).await.expect("it leaves");
    }
    let leases = common.leases.load(Ordering::SeqCst);
    assert!(leases < 120, "{leases} leases for 250 calls");
    assert!(common.began.elapsed() >= Duration::from_secs(8), "{:?}", common.began.elapsed());
}

/// Lets callers of these priorities come one after the other to a budget that is used up; the order in which they leave.
async fn order_of(priorities: &[Priority]) -> Vec<Priority> {
    let common = Common::new(0);
    let budgets = budgets(5, 2, &common);
    while budgets.wait(None, 1).await.is_ok() && common.began.elapsed() < Duration::from_secs(1) {}
    let left = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for priority in priorities.iter().copied() {
        let (budgets, left) = (Arc::clone(&budgets), Arc::clone(&left));
        tasks.push(tokio::spawn(priority.of(async move {
            budgets.wait(None, 1).await.expect("it leaves");
            left.lock().expect("nobody panicked").push(priority);
        })));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.expect("it ends");
    }
    left.lock().expect("nobody panicked").clone()
}

#[tokio::test(start_paused = true)]
async fn who_matters_more_leaves_first_whoever_came_first() {
    use Priority::{BackFill, Event, Incremental, Interactive};
    let left = order_of(&[BackFill, Incremental, BackFill, Event, Interactive]).await;
    assert_eq!(left, [Interactive, Event, Incremental, BackFill, BackFill]);
}

#[tokio::test(start_paused = true)]
async fn a_back_fill_never_takes_the_last_part_of_a_budget() {
    let common = Common::new(0);
    let (backfill, other) = (budgets(2, 16, &common), budgets(2, 16, &common));
    let greedy = tokio::spawn(Priority::BackFill.of(async move { while backfill.wait(None, 1).await.is_ok() {} }));
    time::sleep(Duration::from_secs(120)).await;
    let before = time::Instant::now();
    for _ in 0..2 {
        other.wait(None, 1).await.expect("it leaves");
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "the other process need not wait");
    greedy.abort();
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_while_waiting_holds_nobody_up() {
    let common = Common::new(0);
    let budgets = budgets(1, 2, &common);
    budgets.wait(None, 1).await.expect("it leaves");
    let gone = time::timeout(Duration::from_millis(300), budgets.wait(None, 1)).await;
    assert!(gone.is_err(), "it had to wait");
    let left = Priority::BackFill.of(time::timeout(Duration::from_secs(3), budgets.wait(None, 1))).await;
    assert!(left.is_ok_and(|left| left.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_dear_call_counts_for_several() {
    let common = Common::new(0);
    let budgets = budgets(10, 20, &common);
    for _ in 0..6 {
        budgets.wait(None, 5).await.expect("it leaves");
    }
    // Ten at once, and twenty more at ten a second.
    assert!(common.began.elapsed() >= Duration::from_millis(1_900), "{:?}", common.began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_the_vendor_says_holds_all_processes_up_and_a_long_wait_is_told_at_once() {
    let common = Common::new(0);
    let (one, other) = (budgets(10, 20, &common), budgets(10, 20, &common));
    one.wait(None, 1).await.expect("it leaves");
    let mut answer = HttpResponse::empty(429);
    answer.headers.push(("retry-after".to_owned(), "3600".to_owned()));
    one.told(None, &answer, Some(common.now())).await;
    for budgets in [one, other] {
        let told = budgets.wait(None, 1).await;
        assert_eq!(told, Err(Fault::Throttled { retry_after_ms: Some(3_600_000) }));
    }
    assert_eq!(common.began.elapsed(), Duration::ZERO);
}

#[test]
fn the_words_of_vendors_about_what_is_left_are_understood() {
    let now: Instant = "2026-11-23T10:00:00Z".parse().expect("an instant");
    let in_ten_s = (now.micros() / 1_000_000 + 10).to_string();
    for (status, headers, expected) in [
        (200, &[][..], (None, None)),
        (200, &[("ratelimit-remaining", "7"), ("ratelimit-reset", "30")], (Some(7), None)),
        (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")], (Some(0), Some(30_000))),
        (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", in_ten_s.as_str())], (Some(0), Some(10_000))),
        (
            200,
            &[("x-hubspot-ratelimit-interval-milliseconds", "10000"), ("x-hubspot-ratelimit-remaining", "0")],
            (Some(0), Some(10_000)),
        ),
        (200, &[("x-ratelimit-remaining", "0")], (Some(0), None)),
        (200, &[("x-ratelimit-remaining", "many")], (None, None)),
        (429, &[("retry-after", "5"), ("x-ratelimit-remaining", "3")], (None, Some(5_000))),
        (503, &[("retry-after", "5")], (None, Some(5_000))),
        (429, &[], (None, None)),
    ] {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let response = HttpResponse { headers, ..HttpResponse::empty(status) };
        assert_eq!(word(&response, Some(now)), expected, "{status} {:?}", response.headers);
    }
}
