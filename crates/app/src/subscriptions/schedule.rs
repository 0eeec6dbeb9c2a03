//! How long a receiver that keeps failing is left alone.

use crosstie_domain::{Instant, integration::left_alone_ms};

use crate::schedule::vary;

/// Until when a receiver is left alone after so many failures in a row; `None` while it is not.
pub(super) fn left_alone_until(now: Instant, failures: i32) -> Option<Instant> {
    left_alone_ms(failures).map(|wait| now.plus_ms(vary(wait)))
}

#[cfg(test)]
mod tests {
    use crosstie_domain::integration::FAILURES_TO_OPEN;

    use super::*;

    #[test]
    fn a_receiver_is_left_alone_longer_each_time() {
        let epoch = Instant::from_micros(0).expect("the epoch is an instant");
        assert_eq!(left_alone_until(epoch, FAILURES_TO_OPEN - 1), None);
        for (more, expected) in [(0, 30), (1, 60), (4, 480), (5, 900), (500, 900)] {
            let until = left_alone_until(epoch, FAILURES_TO_OPEN + more).expect("it is left alone");
            let waited = until.ms_since(epoch);
            assert!((waited - expected * 1_000).abs() <= expected * 200, "{more}: {waited}");
        }
    }
}
