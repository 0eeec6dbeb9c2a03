//! The two kinds of time, never mixed: instants on the UTC line, and civil dates without a zone.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::scalar::text_scalar;

/// A moment on the UTC time line, to the microsecond (what both databases keep exactly).
///
/// ```
/// use crosstie_domain::Instant;
///
/// let at: Instant = "2026-11-23T10:00:00.123456789Z".parse().unwrap();
/// assert_eq!(at.to_string(), "2026-11-23T10:00:00.123456Z");
/// assert_eq!(Instant::from_micros(at.micros()), Some(at));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Instant(Timestamp);

text_scalar!(
    Instant as "DateTime": "A moment in UTC, written as RFC 3339 with a `Z`, to the microsecond.",
    specified by "https://scalars.graphql.org/andimarek/date-time"
);

impl Instant {
    /// An instant, cut to whole microseconds.
    pub fn new(at: Timestamp) -> Self {
        // Of the very last second the library reads no microseconds.
        let cut = Timestamp::from_microsecond(at.as_microsecond()).or_else(|_| Timestamp::from_second(at.as_second()));
        Self(cut.unwrap_or(at))
    }

    /// From microseconds since 1970-01-01T00:00:00Z; `None` outside the years -9999 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        Timestamp::from_microsecond(micros).ok().map(Self)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// The same moment as a library type.
    pub fn timestamp(self) -> Timestamp {
        self.0
    }

    /// This moment moved by so many milliseconds, held at the ends of the time line.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        let micros = self.micros().saturating_add(ms.saturating_mul(1_000));
        let end = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self::from_micros(micros).unwrap_or_else(|| Self::new(end))
    }

    /// Milliseconds from `earlier` to this moment; negative when it lies after.
    pub fn ms_since(self, earlier: Self) -> i64 {
        self.micros().saturating_sub(earlier.micros()) / 1_000
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Instant {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self::new)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self::new)
    }
}

/// Where the present moment and new identifiers come from. Injected, so that tests decide both.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Instant;

    /// A UUID that was never given before; those given later sort later (version 7).
    fn new_uuid(&self) -> uuid::Uuid;
}

/// A calendar day without a zone: milestones, bookings and timesheets happen on a day, wherever that is.
///
/// ```
/// use crosstie_domain::CivilDate;
///
/// let on: CivilDate = "2026-11-23".parse().unwrap();
/// assert_eq!(CivilDate::from_days(on.days()), Some(on));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CivilDate(Date);

text_scalar!(
    CivilDate as "Date": "A calendar day without time or zone, `YYYY-MM-DD`.",
    specified by "https://scalars.graphql.org/andimarek/local-date"
);

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

impl CivilDate {
    /// A day of the calendar.
    pub fn new(date: Date) -> Self {
        Self(date)
    }

    /// From days since 1970-01-01; `None` outside the years -9999 to 9999.
    pub fn from_days(days: i32) -> Option<Self> {
        EPOCH.checked_add(jiff::Span::new().try_days(days).ok()?).ok().map(Self)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        let span = self.0.since((jiff::Unit::Day, EPOCH));
        span.map(|span| span.get_days()).expect("two civil dates are less than 2^31 days apart")
    }

    /// The day that it is in UTC at a moment.
    pub fn today_utc(at: Instant) -> Self {
        Self(at.0.to_zoned(jiff::tz::TimeZone::UTC).date())
    }

    /// The same day as a library type.
    pub fn date(self) -> Date {
        self.0
    }
}

impl fmt::Display for CivilDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CivilDate {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_moved_too_far_stays_at_the_end_of_the_time_line() {
        let now: Instant = "2026-11-23T10:00:00Z".parse().unwrap();
        let (first, last) = (Instant::new(Timestamp::MIN), Instant::new(Timestamp::MAX));
        for (from, ms, expected) in [
            (now, 1_500, "2026-11-23T10:00:01.5Z".parse().unwrap()),
            (now, -1_500, "2026-11-23T09:59:58.5Z".parse().unwrap()),
            (now, i64::MAX, last),
            (now, i64::MIN, first),
            (now, 400_000 * 365 * 86_400_000, last),
            (last, 1, last),
            (first, -1, first),
        ] {
            assert_eq!(from.plus_ms(ms), expected, "{from} {ms}");
            assert_eq!(Instant::from_micros(expected.micros()), Some(expected), "what is kept reads back");
        }
    }
}
