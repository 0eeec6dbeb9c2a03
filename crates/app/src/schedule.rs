//! When what was sent to another system and failed is sent again: the same for effects and for webhooks.

use crosstie_domain::Instant;
use rand::Rng;

/// Waits before the tries after the first one, in milliseconds: ten tries in all, over about three days.
const WAITS_MS: [i64; 9] =
    [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000, 86_400_000, 86_400_000];
/// The longest wait that a receiver can ask for, in milliseconds: a day.
const LONGEST_ASKED_MS: i64 = 86_400_000;

/// When something is sent again after so many tries, the last of which failed; `None` when that was the last. Who asks
/// for more time gets it, up to a day.
pub fn next_send(now: Instant, tries: i32, retry_after_ms: Option<i64>) -> Option<Instant> {
    let index = usize::try_from(tries).ok()?.checked_sub(1)?;
    let wait = vary(*WAITS_MS.get(index)?);
    Some(now.plus_ms(wait.max(retry_after_ms.unwrap_or(0).min(LONGEST_ASKED_MS))))
}

/// Up to a fifth more or less, so that many do not come back at once.
pub(crate) fn vary(wait_ms: i64) -> i64 {
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
                let waited = next_send(epoch(), tries, None).expect("it is tried again").ms_since(epoch());
                assert!((waited - expected * 1_000).abs() <= expected * 200, "{tries}: {waited}");
            }
        }
        assert_eq!(next_send(epoch(), 10, None), None);
        assert_eq!(next_send(epoch(), 10, Some(1_000)), None, "nobody can ask for an eleventh");
    }

    #[test]
    fn who_asks_for_more_time_gets_it_up_to_a_day_and_never_less_than_the_schedule() {
        let wait = |tries, asked| next_send(epoch(), tries, Some(asked)).expect("it is tried again").ms_since(epoch());
        assert_eq!(wait(1, 42_000), 42_000);
        assert_eq!(wait(1, 1_000_000_000), 86_400_000);
        assert!(wait(3, 1) >= 1_440_000);
    }
}
