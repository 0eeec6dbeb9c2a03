//! A worker keeps what it took for as long as it lives, and not much longer: leases are short and are renewed.

use std::time::Duration;

use crosstie_store::StoreError;
use tracing::warn;

use crate::inbox::describe;

/// How long a lease lasts without a heartbeat, in milliseconds: after a kill somebody else takes over by then.
pub(crate) const LEASE_MS: i64 = 3_000;
const BEAT: Duration = Duration::from_secs(1);

/// Does the work while `keep` renews the lease. When the lease is lost the work goes on to its end: its result is
/// fenced off in the database, and at the vendor the effect key holds.
pub(crate) async fn while_held<T, K>(work: impl Future<Output = T>, keep: impl Fn() -> K) -> T
where
    K: Future<Output = Result<bool, StoreError>>,
{
    let mut work = std::pin::pin!(work);
    loop {
        // The work goes on while the lease is renewed: it may hold the very lock that renewing waits for.
        let kept = tokio::select! {
            done = &mut work => return done,
            kept = async { tokio::time::sleep(BEAT).await; keep().await } => kept,
        };
        match kept {
            Ok(true) => {}
            Ok(false) => warn!("a lease was lost while its work went on"),
            Err(error) => warn!(error = %describe(&error), "a lease could not be renewed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    use tokio::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_for_as_long_as_the_work_goes_on_also_after_it_could_not_be() {
        let renewals = AtomicI64::new(0);
        let keep = async || match renewals.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StoreError::Closed),
            1 => Ok(false),
            _ => Ok(true),
        };
        while_held(tokio::time::sleep(BEAT * 6 - BEAT / 2), keep).await;
        assert_eq!(renewals.load(Ordering::SeqCst), 5, "once in each beat");
        assert!(BEAT.as_millis() * 2 < u128::try_from(LEASE_MS).expect("it is positive"), "one beat may be missed");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_holds_what_renewing_waits_for_ends_all_the_same() {
        let gate = Arc::new(Mutex::new(0));
        let work = async {
            let mut renewals = gate.lock().await;
            tokio::time::sleep(BEAT * 3).await;
            *renewals += 100;
        };
        let keep = || async {
            *gate.lock().await += 1;
            Ok(true)
        };
        while_held(work, keep).await;
        assert_eq!(*gate.lock().await, 100, "the lease was asked for during the work and not in its way");
    }
}
