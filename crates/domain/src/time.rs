//! The two kinds of time, never mixed: instants on the UTC line, and civil dates without a zone.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

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

async_graphql::scalar!(
    Instant,
    "DateTime",
    "A moment in UTC, written as RFC 3339 with a `Z`, to the microsecond.",
    "https://scalars.graphql.org/andimarek/date-time"
);

impl Instant {
    /// An instant, cut to whole microseconds.
    pub fn new(at: Timestamp) -> Self {
        Self(Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at))
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
        Self::from_micros(micros).unwrap_or(self)
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

async_graphql::scalar!(
    CivilDate,
    "Date",
    "A calendar day without time or zone, `YYYY-MM-DD`.",
    "https://scalars.graphql.org/andimarek/local-date"
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
