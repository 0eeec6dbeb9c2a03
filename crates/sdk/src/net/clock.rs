//! What a vendor's answers tell about time: how long to wait, and how far its clock is from ours.

use std::sync::{Mutex, PoisonError};

use crosstie_domain::Instant;
use jiff::{civil::DateTime, fmt::rfc2822, tz::TimeZone};

use super::call::HttpResponse;

/// The longest wait that a vendor can ask for, in milliseconds: a day.
const LONGEST_WAIT_MS: i64 = 86_400_000;
/// `Date` is cut to whole seconds, so on average it is half a second old when it is written.
const HALF_A_SECOND_MS: i64 = 500;

/// How long an answer asks to wait, at most a day; `None` when it names no time to come, so that the host's own
/// schedule counts. A date is held against the `Date` of the same answer, which the same clock wrote, or else
/// against ours.
pub(super) fn retry_after_ms(response: &HttpResponse, now: Option<Instant>) -> Option<i64> {
    let text = response.header("retry-after")?.trim();
    let wait_ms = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse::<i64>().unwrap_or(LONGEST_WAIT_MS).saturating_mul(1_000)
    } else {
        let written_at = response.header("date").and_then(http_date).or(now)?;
        http_date(text)?.ms_since(written_at)
    };
    (wait_ms > 0).then(|| wait_ms.min(LONGEST_WAIT_MS))
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7): the form in use and the two old ones.
fn http_date(text: &str) -> Option<Instant> {
    let text = text.trim();
    let current = || Some(rfc2822::parse(text).ok()?.timestamp());
    let old = || {
        let formats = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
        let at = formats.iter().find_map(|format| DateTime::strptime(format, text).ok())?;
        Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    current().or_else(old).map(Instant::new)
}

/// How far the vendor's clock is from ours, as of its latest answer that told.
#[derive(Default)]
pub(super) struct ClockSkew(Mutex<Option<i64>>);

impl ClockSkew {
    /// Measures by the `Date` of an answer to a request that was under way between two moments of ours. An answer
    /// from a cache tells of another time and is passed over.
    pub(super) fn measure(&self, response: &HttpResponse, sent_at: Instant, received_at: Instant) {
        let from_cache = response.header("age").is_some();
        let Some(written_at) = response.header("date").and_then(http_date).filter(|_| !from_cache) else { return };
        let ours = sent_at.plus_ms(received_at.ms_since(sent_at) / 2);
        let apart_ms = written_at.plus_ms(HALF_A_SECOND_MS).ms_since(ours);
        let whole_seconds = (apart_ms + HALF_A_SECOND_MS).div_euclid(1_000);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(whole_seconds * 1_000);
    }

    /// The latest measurement.
    pub(super) fn latest_ms(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Mon, 23 Nov 2026 10:00:00 GMT";

    fn at(text: &str) -> Instant {
        text.parse().expect("an instant")
    }

    fn answer(headers: &[(&str, &str)]) -> HttpResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpResponse { headers, ..HttpResponse::empty(429) }
    }

    #[test]
    fn a_date_is_read_in_each_form_that_http_knows() {
        let expected = Some(at("1994-11-06T08:49:37Z"));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http_date(text), expected, "{text}");
        }
        for text in ["", "soon", "Sun, 06 Nov 1994", "Mon, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_wait_is_positive_and_at_most_a_day_or_not_told() {
        let ours = Some(at("2026-11-23T09:00:00Z"));
        for (text, expected) in [
            ("7", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("0", None),
            ("-3", None),
            ("1.5", None),
            ("86401", Some(86_400_000)),
            ("99999999999999999999999999", Some(86_400_000)),
            ("", None),
            ("soon", None),
            ("Mon, 23 Nov 2026 10:00:09 GMT", Some(9_000)),
            ("Mon, 23 Nov 2026 10:00:00 GMT", None),
            ("Mon, 23 Nov 2026 09:59:00 GMT", None),
            ("Wed, 23 Nov 2050 09:59:00 GMT", Some(86_400_000)),
            ("Monday, 23-Nov-26 10:00:09 GMT", Some(9_000)),
        ] {
            assert_eq!(retry_after_ms(&answer(&[("date", DATE), ("retry-after", text)]), ours), expected, "{text}");
        }
        assert_eq!(retry_after_ms(&answer(&[]), ours), None);
    }

    #[test]
    fn a_date_to_wait_for_is_held_against_our_clock_when_the_answer_has_no_date() {
        let until = answer(&[("retry-after", DATE)]);
        assert_eq!(retry_after_ms(&until, Some(at("2026-11-23T09:59:30Z"))), Some(30_000));
        assert_eq!(retry_after_ms(&until, Some(at("2026-11-23T10:00:30Z"))), None);
        assert_eq!(retry_after_ms(&until, None), None);
    }

    #[test]
    fn the_skew_is_measured_in_whole_seconds_from_the_middle_of_the_request() {
        for (sent_at, received_at, expected_ms) in [
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.9Z", 0),
            ("2026-11-23T09:59:58Z", "2026-11-23T10:00:02.8Z", 0),
            ("2026-11-23T10:00:07.2Z", "2026-11-23T10:00:07.8Z", -7_000),
            ("2026-11-23T09:58:00.2Z", "2026-11-23T09:58:00.8Z", 120_000),
        ] {
            let skew = ClockSkew::default();
            skew.measure(&answer(&[("date", DATE)]), at(sent_at), at(received_at));
            assert_eq!(skew.latest_ms(), Some(expected_ms), "{sent_at} to {received_at}");
        }
    }

    #[test]
    fn an_answer_without_a_date_or_from_a_cache_measures_nothing() {
        let now = at("2026-11-23T10:00:00Z");
        for headers in [&[][..], &[("date", "soon")], &[("date", DATE), ("age", "40")]] {
            let skew = ClockSkew::default();
            skew.measure(&answer(headers), now, now);
            assert_eq!(skew.latest_ms(), None, "{headers:?}");
        }
    }
}
