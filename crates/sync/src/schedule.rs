//! When something that failed is tried again.

use crosstie_domain::Instant;
use crosstie_sdk::Fault;
use rand::Rng;

/// Waits between tries, in milliseconds; the last one repeats.
const WAITS_MS: [i64; 8] = [1_000, 5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000];
/// Wait for a person to renew a credential or a permission, in milliseconds.
const PERSON_MS: i64 = 300_000;

/// When it is looked again whether a person did what is waited for.
pub(crate) fn waits_for_a_person(now: Instant) -> Instant {
    now.plus_ms(PERSON_MS + rand::rng().random_range(-PERSON_MS / 5..=PERSON_MS / 5))
}

/// When a request that met this fault is tried again, after so many tries: as the vendor says, or by our own schedule
/// with up to a fifth more or less, so that many do not come back at once.
pub(crate) fn next_try(now: Instant, attempts: i32, fault: &Fault) -> Instant {
    if let Fault::Throttled { retry_after_ms: Some(wait) } = fault {
        return now.plus_ms((*wait).max(WAITS_MS[0]));
    }
    if matches!(fault, Fault::NeedsReauth | Fault::MissingScope { .. }) {
        return waits_for_a_person(now);
    }
    let wait = wait_ms(attempts);
    now.plus_ms(wait + rand::rng().random_range(-wait / 5..=wait / 5))
}

fn wait_ms(attempts: i32) -> i64 {
    let index = usize::try_from(attempts).unwrap_or(0).min(WAITS_MS.len() - 1);
    WAITS_MS[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(attempts: i32, fault: &Fault) -> i64 {
        let now = Instant::from_micros(0).expect("the epoch is an instant");
        next_try(now, attempts, fault).ms_since(now)
    }

    #[test]
    fn a_vendor_that_says_when_is_taken_at_its_word() {
        assert_eq!(wait(7, &Fault::Throttled { retry_after_ms: Some(42_000) }), 42_000);
        assert_eq!(wait(7, &Fault::Throttled { retry_after_ms: Some(1) }), 1_000, "but not in a tight circle");
    }

    #[test]
    fn waits_grow_and_stay_within_a_fifth() {
        let fault = Fault::Transient { why: String::new() };
        for (attempts, expected) in [(0, 1_000), (1, 5_000), (6, 3_600_000), (7, 7_200_000), (500, 7_200_000)] {
            let waited = wait(attempts, &fault);
            assert!((waited - expected).abs() <= expected / 5, "{attempts}: {waited}");
        }
    }
}
