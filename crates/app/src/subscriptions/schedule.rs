//! When a delivery that failed is tried again, and how long a receiver that keeps failing is left alone.

use crosstie_domain::Instant;
use crosstie_store::integration::FAILURES_TO_OPEN;
use rand::Rng;

/// Waits before the tries after the first one, in milliseconds: ten tries in all, over about three days.
const WAITS_MS: [i64; 9] =
    [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000, 86_400_000, 86_400_000];
/// The longest wait that a receiver can ask for, in milliseconds: a day.
const LONGEST_ASKED_MS: i64 = 86_400_000;
/// How long a receiver is left alone at first, in milliseconds.
const ALONE_MS: i64 = 30_000;
/// How long at most.
const ALONE_AT_MOST_MS: i64 = 900_000;

/// When a delivery is tried again after so many tries, the last of which failed; `None` when that was the last. A
/// receiver that asks for more time gets it, up to a day.
pub(super) fn next_try(now: Instant, tries: i32, retry_after_ms: Option<i64>) -> Option<Instant> {
    let index = usize::try_from(tries).ok()?.checked_sub(1)?;
    let wait = vary(*WAITS_MS.get(index)?);
    Some(now.plus_ms(wait.max(retry_after_ms.unwrap_or(0).min(LONGEST_ASKED_MS))))
}

/// Until when a receiver is left alone after so many failures in a row; `None` while it is not.
pub(super) fn left_alone_until(now: Instant, failures: i32) -> Option<Instant> {
    let doubled = u32::try_from(failures.checked_sub(FAILURES_TO_OPEN)?).ok()?;
    let wait = 1_i64.checked_shl(doubled.min(30)).map_or(ALONE_AT_MOST_MS, |times| ALONE_MS.saturating_mul(times));
    Some(now.plus_ms(vary(wait.min(ALONE_AT_MOST_MS))))
}

/// Up to a fifth more or less, so that many do not come back at once.
fn vary(wait_ms: i64) -> i64 {
    wait_ms + rand::rng().random_range(-wait_ms / 5..=wait_ms / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> Instant {
        Instant::from_micros(0).expect("the epoch is an instant")
    }

    #[test]
    fn ten_tries_are_made_with_waits_within_a_fifth() {
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 86_400, 86_400];
        for (expected, tries) in seconds.into_iter().zip(1..) {
            for _ in 0..50 {
                let waited = next_try(epoch(), tries, None).expect("it is tried again").ms_since(epoch());
                assert!((waited - expected * 1_000).abs() <= expected * 200, "{tries}: {waited}");
            }
        }
        assert_eq!(next_try(epoch(), 10, None), None);
        assert_eq!(next_try(epoch(), 10, Some(1_000)), None, "nobody can ask for an eleventh");
    }

    #[test]
    fn a_receiver_that_asks_for_more_time_gets_it_up_to_a_day_and_never_less_than_the_schedule() {
        let wait = |tries, asked| next_try(epoch(), tries, Some(asked)).expect("it is tried again").ms_since(epoch());
        assert_eq!(wait(1, 42_000), 42_000);
        assert_eq!(wait(1, 1_000_000_000), 86_400_000);
        assert!(wait(3, 1) >= 1_440_000);
    }

    #[test]
    fn a_receiver_is_left_alone_longer_each_time() {
        assert_eq!(left_alone_until(epoch(), FAILURES_TO_OPEN - 1), None);
        for (more, expected) in [(0, 30), (1, 60), (4, 480), (5, 900), (500, 900)] {
            let until = left_alone_until(epoch(), FAILURES_TO_OPEN + more).expect("it is left alone");
            let waited = until.ms_since(epoch());
            assert!((waited - expected * 1_000).abs() <= expected * 200, "{more}: {waited}");
        }
    }
}
