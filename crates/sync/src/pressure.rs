//! Explicit back-pressure: how much each connection takes in by webhook. What is over is turned away after it was
//! verified, with the time to wait, and scheduled reading finds it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crosstie_domain::{
    Instant,
    integration::{InboundLimits, Quota, QuotaAsk, QuotaGrant},
};
use crosstie_store::{StoreError, integration::inbound_backlogs};
use tokio::time::timeout;
use tracing::warn;

use crate::{Connection, Engine, inbox::describe};

/// How old a count of what waits may be, in milliseconds.
const COUNT_EVERY_MS: i64 = 1_000;
/// How long a sender waits for the count. A database that is away answers later than a sender is told so.
const COUNT_WITHIN: Duration = Duration::from_millis(50);
/// Deliveries of one connection that wait to be on disk, at most: half of the line, so that none fills it alone.
const IN_LINE: u32 = 512;
/// How long a sender is asked to wait when nothing tells, in milliseconds.
const UNTOLD_MS: i64 = 60_000;
/// The longest that a sender is asked to wait, in milliseconds.
const LONGEST_MS: i64 = 300_000;

/// Why a delivery is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// They come faster than this connection takes them.
    Rate,
    /// Too much of this connection waits to be read.
    Backlog,
    /// Too many deliveries of this connection wait to be on disk.
    Line,
}

impl Over {
    /// As it is counted.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Backlog => "backlog",
            Self::Line => "line",
        }
    }
}

/// How much of a connection comes in, as far as this process sees it.
pub(crate) struct Pressure {
    state: Mutex<State>,
}

struct State {
    limits: InboundLimits,
    /// Filled by the first delivery.
    bucket: Option<Quota>,
    backlog: Backlog,
    in_line: u32,
}

/// What waits to be read.
#[derive(Debug, Clone, Copy, Default)]
struct Backlog {
    /// As it was counted last.
    counted: i64,
    counted_at: Option<Instant>,
    /// What this process took in since.
    taken: i64,
    /// How long it took at last until one event was done, in microseconds; none while nothing moves.
    micros_each: Option<i64>,
}

impl Backlog {
    /// Takes a new count, which also tells how fast it moves.
    fn counted(&mut self, waiting: i64, now: Instant) {
        if let Some(before) = self.counted_at {
            let done = self.counted + self.taken - waiting;
            let micros = now.micros() - before.micros();
            self.micros_each = (done > 0 && micros > 0).then(|| micros / done);
        }
        *self = Self { counted: waiting, counted_at: Some(now), taken: 0, micros_each: self.micros_each };
    }

    fn waiting(&self) -> i64 {
        self.counted + self.taken
    }

    /// How long until so many events less wait, in milliseconds.
    fn ms_until_less(&self, events: i64) -> i64 {
        self.micros_each.map_or(UNTOLD_MS, |micros| micros.saturating_mul(events) / 1_000).clamp(1_000, LONGEST_MS)
    }
}

/// A delivery on its way to the disk.
pub(crate) struct InLine<'a>(&'a Pressure);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_line = state.in_line.saturating_sub(1);
    }
}

impl Default for Pressure {
    fn default() -> Self {
        let (limits, backlog) = (InboundLimits::default(), Backlog::default());
        Self { state: Mutex::new(State { limits, bucket: None, backlog, in_line: 0 }) }
    }
}

impl Pressure {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on so much is taken.
    pub(crate) fn limit(&self, limits: InboundLimits) {
        let mut state = self.state();
        (state.limits, state.bucket) = (limits, None);
    }

    /// Whether what waits has to be counted again; whoever is told so counts it, and the others go by the last count.
    fn must_count(&self, now: Instant) -> bool {
        let mut state = self.state();
        let is_old = |at: Instant| now.ms_since(at).abs() >= COUNT_EVERY_MS;
        match state.backlog.counted_at {
            Some(at) if !is_old(at) => false,
            None => true,
            Some(_) => {
                state.backlog.counted_at = Some(now);
                true
            }
        }
    }

    fn counted(&self, waiting: i64, (before, now): (Option<Instant>, Instant)) {
        let mut state = self.state();
        state.backlog.counted_at = before;
        state.backlog.counted(waiting, now);
    }

    fn counted_at(&self) -> Option<Instant> {
        self.state().backlog.counted_at
    }

    /// Lets a verified delivery in.
    ///
    /// # Errors
    /// Why it is turned away, and after how many milliseconds it may come again.
    pub(crate) fn admit(&self, now: Instant) -> Result<InLine<'_>, (Over, i64)> {
        let mut state = self.state();
        if state.in_line >= IN_LINE {
            return Err((Over::Line, 1_000));
        }
        let cap = i64::from(state.limits.backlog);
        let waiting = state.backlog.waiting();
        if waiting >= cap {
            // Some room, so that not every sender comes back for the one place that is free.
            let room = waiting - cap + 1 + cap / 10;
            return Err((Over::Backlog, state.backlog.ms_until_less(room)));
        }
        let terms = state.limits.terms();
        let bucket = state.bucket.get_or_insert_with(|| Quota::full(terms, now));
        match bucket.lease(terms, now, QuotaAsk { cost: 1, wanted: 1, reserve: 0 }) {
            QuotaGrant::Wait(ms) => Err((Over::Rate, ms)),
            QuotaGrant::Calls(_) => {
                state.in_line += 1;
                drop(state);
                Ok(InLine(self))
            }
        }
    }

    /// So many events were taken in.
    pub(crate) fn took(&self, events: usize) {
        self.state().backlog.taken += i64::try_from(events).unwrap_or(i64::MAX);
    }
}

impl Engine {
    /// Counts what of a connection waits to be read, at most once a second. When it cannot be counted the last count
    /// stands: whether the database takes anything is then found out by writing.
    pub(crate) async fn look_at_backlog(&self, connection: &Connection, now: Instant) {
        let before = connection.pressure.counted_at();
        if !connection.pressure.must_count(now) {
            return;
        }
        let id = connection.record.id;
        let Ok(counted) = timeout(COUNT_WITHIN, inbound_backlogs(self.app.store(), &[id])).await else {
            return warn!("what waits to be read cannot be counted in time");
        };
        match counted {
            Ok(backlogs) => connection.pressure.counted(backlogs.get(&id).copied().unwrap_or(0), (before, now)),
            Err(error) => warn!(error = %describe(&error), "what waits to be read cannot be counted"),
        }
    }

    /// Shows what waits to be read to whoever watches.
    pub(crate) async fn show_backlogs(&self) -> Result<(), StoreError> {
        let ids: Vec<_> = self.connections.all().iter().map(|connection| connection.record.id).collect();
        let backlogs = inbound_backlogs(self.app.store(), &ids).await?;
        for connection in self.connections.all() {
            let waiting = backlogs.get(&connection.record.id).and_then(|waiting| u32::try_from(*waiting).ok());
            let name = connection.record.name.clone();
            metrics::gauge!("crosstie_inbound_backlog", "connection" => name).set(waiting.unwrap_or(0));
        }
        Ok(())
    }
}

/// Whole seconds that a sender is told to wait, at least one.
pub(crate) fn whole_seconds(ms: i64) -> u32 {
    u32::try_from(ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Instant {
        Instant::from_micros(ms * 1_000).expect("an instant")
    }

    fn limited(per_second: u32, burst: u32, backlog: u32) -> Pressure {
        let pressure = Pressure::default();
        pressure.limit(InboundLimits { per_second, burst, backlog });
        pressure
    }

    fn over(pressure: &Pressure, now: Instant) -> Option<(Over, i64)> {
        pressure.admit(now).err()
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_so_many_a_second() {
        let pressure = limited(2, 3, 100);
        for _ in 0..3 {
            assert_eq!(over(&pressure, at(0)), None);
        }
        assert_eq!(over(&pressure, at(0)), Some((Over::Rate, 500)), "that long until the next");
        assert_eq!(over(&pressure, at(499)), Some((Over::Rate, 1)));
        assert_eq!(over(&pressure, at(500)), None);
        assert_eq!((whole_seconds(1), whole_seconds(1_000), whole_seconds(1_001)), (1, 1, 2));
    }

    #[test]
    fn over_the_backlog_the_wait_is_told_by_how_fast_it_moves() {
        let pressure = limited(1_000, 1_000, 100);
        pressure.counted(100, (None, at(0)));
        assert_eq!(over(&pressure, at(0)), Some((Over::Backlog, UNTOLD_MS)), "nothing moved yet");
        pressure.counted(100, (Some(at(0)), at(10_000)));
        assert_eq!(over(&pressure, at(10_000)), Some((Over::Backlog, UNTOLD_MS)), "nothing moves");
        pressure.counted(150, (None, at(10_000)));
        pressure.counted(110, (Some(at(10_000)), at(20_000)));
        assert_eq!(over(&pressure, at(20_000)), Some((Over::Backlog, 5_250)), "21 events less at four a second");
        pressure.counted(99, (Some(at(20_000)), at(30_000)));
        assert_eq!(over(&pressure, at(30_000)), None);
        pressure.took(1);
        assert!(over(&pressure, at(30_000)).is_some(), "what was taken since counts, too");
    }

    #[test]
    fn what_waits_is_counted_once_a_second() {
        let pressure = limited(1, 1, 1);
        assert!(pressure.must_count(at(0)));
        pressure.counted(0, (None, at(0)));
        assert!(!pressure.must_count(at(999)));
        assert!(pressure.must_count(at(1_000)));
        assert!(!pressure.must_count(at(1_000)), "one counts for all");
        assert!(pressure.must_count(at(-5_000)), "also after the clock was set back");
    }

    #[test]
    fn no_connection_fills_the_line_alone() {
        let pressure = limited(1_000_000, 1_000_000, 1_000_000);
        let mut line: Vec<_> =
            (0..IN_LINE).map(|_| pressure.admit(at(0)).map_err(|(over, _)| over).expect("there is room")).collect();
        assert_eq!(over(&pressure, at(0)), Some((Over::Line, 1_000)));
        line.pop();
        assert_eq!(over(&pressure, at(0)), None);
    }
}
