//! Scheduled reading: window after window, page after page, each page in one commit with its cursor.

use crosstie_app::AppError;
use crosstie_domain::{
    Instant,
    ids::SyncRunId,
    integration::{Entity, RunStatus, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{AnyReader, Ask, Fault, More, Order, ReadEntity};
use crosstie_store::{
    StoreError, Tx,
    integration::{Cursor, Lease, cursor},
};
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    alerts::{note_fault, note_success},
    apply::{Applied, ApplyError, Because, apply, apply_singly, with_references},
    backfill::{hand_over, is_long_first_load},
    exchanges::{Work, contact},
    heartbeat::{LEASE_MS, while_held},
    places::Places,
    schedule::next_try,
    window::PAGE_ROWS,
};

/// How a run ended.
pub type RunSummary = SyncRunRecord;

impl Engine {
    /// When a kind of record is due next.
    pub(crate) async fn due_at(&self, connection: &Connection, entity: Entity) -> Result<Instant, StoreError> {
        let cursor = cursor(self.app.store(), connection.record.id, entity).await?;
        Ok(cursor.map_or_else(|| self.app.store().now(), |cursor| cursor.next_run_at))
    }

    /// Reads a kind of record up to now; `None` while somebody else does.
    ///
    /// # Errors
    /// As the database; what the vendor did wrong is in the run.
    pub async fn pull(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        trigger: RunTrigger,
    ) -> Result<Option<RunSummary>, StoreError> {
        let Some(reader) = crate::apply::reader(connection, declared.entity) else { return Ok(None) };
        let store = self.app.store();
        let name = format!("pull:{}:{}", connection.record.id, declared.entity.as_str());
        let run_id = store.new_id();
        // The run is the owner: two readings in one process keep out of each other's way, too.
        let Some(lease) = store.lease(&name, &format!("{}:{run_id}", self.name), LEASE_MS).await? else {
            return Ok(None);
        };
        let reading = Reading { connection, declared, reader, run_id, lease };
        let work = Work::of_run(run_id, trigger);
        let _at_work = self.at_work.begin(connection.record.id);
        let run =
            while_held(work.on(self.read(&reading, trigger)), || store.keep_lease(&reading.lease, LEASE_MS)).await;
        store.release_lease(&reading.lease).await?;
        self.note_contact(connection, work.contact()).await?;
        run.map(Some)
    }

    async fn read(&self, reading: &Reading<'_>, trigger: RunTrigger) -> Result<SyncRunRecord, StoreError> {
        let (mut cursor, mut run) = self.begin(reading, trigger).await?;
        let mut places = Places::default();
        loop {
            match self.read_page(reading, &mut places, (&mut cursor, &mut run)).await {
                // A system that was left alone is back, which the others need not wait longer for.
                Ok(true) => self.note_contact(reading.connection, contact()).await?,
                Ok(false) => return Ok(run),
                Err(ApplyError::App(AppError::Store(error @ StoreError::Unavailable(_)))) => return Err(error),
                Err(error) => {
                    self.fail(reading, (cursor, &mut run), &error).await?;
                    return Ok(run);
                }
            }
        }
    }

    /// Begins a run, in the window that was being read or in a new one up to now. Runs that a dead process left
    /// unfinished end here.
    async fn begin(&self, reading: &Reading<'_>, trigger: RunTrigger) -> Result<(Cursor, SyncRunRecord), StoreError> {
        let (connection_id, entity) = (reading.connection.record.id, reading.declared.entity);
        let tx = self.app.store().begin().await?;
        let now = tx.now();
        let mut cursor = cursor(&tx, connection_id, entity).await?.unwrap_or(Cursor {
            connection_id,
            entity,
            watermark: None,
            window_until: None,
            more: None,
            failures: 0,
            next_run_at: now,
        });
        if cursor.window_until.is_none() || cursor.more.is_none() {
            cursor.window_until = Some(now);
            cursor.more = None;
        }
        let run = SyncRunRecord {
            id: reading.run_id,
            connection_id,
            entity,
            trigger,
            status: RunStatus::Running,
            pages: 0,
            rows_read: 0,
            rows_changed: 0,
            rows_parked: 0,
            error_code: None,
            error_message: None,
            attempt: cursor.failures + 1,
            next_attempt_at: None,
            started_at: now,
            finished_at: None,
        };
        tx.interrupt_runs(connection_id, entity, &[RunTrigger::Schedule, RunTrigger::Manual]).await?;
        tx.save_run(&run).await?;
        tx.commit().await?;
        Ok((cursor, run))
    }

    /// Reads and applies one page. Returns whether the window goes on.
    async fn read_page(
        &self,
        reading: &Reading<'_>,
        places: &mut Places,
        (cursor, run): (&mut Cursor, &mut SyncRunRecord),
    ) -> Result<bool, ApplyError> {
        let Reading { connection, declared, reader, .. } = reading;
        self.unless_paused(connection).await?;
        let asked_at = self.app.store().now();
        let until = cursor.window_until.unwrap_or(asked_at);
        let since = lower_bound(declared.order, cursor.watermark, until);
        let ask = Ask { since, until, more: cursor.more.clone(), limit: PAGE_ROWS };
        let page = reader.read_page(&connection.net, &ask).await?;
        places.follow(cursor.more.as_ref(), &page.more)?;
        let rows_read = i32::try_from(page.rows.len()).unwrap_or(i32::MAX);
        self.note_shape(connection, declared.entity, &page.rows).await?;
        let rows = with_references(&self.app, connection, (declared.entity, asked_at), page.rows).await?;

        let because = Because::Run(run.id);
        let mut next = Progress { cursor: cursor.clone(), run: run.clone() };
        next.run.pages += 1;
        next.run.rows_read += rows_read;
        let mut handed_over = None;
        let goes_on = match page.more {
            More::At(place) if is_long_first_load(cursor, &next.run) => {
                // The rest is read beside what changes from now on.
                next.end_window(until, declared, self.app.store().now());
                handed_over = Some(place);
                false
            }
            More::At(place) => {
                next.cursor.more = Some(place);
                true
            }
            More::End => {
                // What the vendor stamped while its clock was behind ours lies in the next window.
                let behind_ms = connection.net.clock_skew_ms().unwrap_or(0).min(0);
                next.end_window(until.plus_ms(behind_ms), declared, self.app.store().now());
                false
            }
        };
        let tx = self.app.store().begin().await?;
        match apply(&self.app, &tx, connection, because, &rows).await {
            Ok(applied) => {
                next.count(applied);
                self.close_page(reading, tx, (&next, handed_over)).await?;
            }
            Err(error) if error.is_poison() => {
                drop(tx);
                next.count(apply_singly(&self.app, connection, because, &rows).await?);
                self.close_page(reading, self.app.store().begin().await?, (&next, handed_over)).await?;
            }
            Err(error) => return Err(error),
        }
        if cursor.watermark.is_none() {
            self.note_growth(run.pages..=next.run.pages);
        }
        (*cursor, *run) = (next.cursor, next.run);
        self.report_page(connection, run, (rows_read, goes_on));
        Ok(goes_on)
    }

    /// Writes down how far it came, in the transaction of the page's rows, as long as nobody else reads by now.
    async fn close_page(
        &self,
        reading: &Reading<'_>,
        tx: Tx,
        (next, handed_over): (&Progress, Option<Value>),
    ) -> Result<(), ApplyError> {
        if !tx.holds_lease(&reading.lease).await? {
            return Err(Fault::Transient { why: "another process reads this now".to_owned() }.into());
        }
        if let (Some(place), Some(until)) = (handed_over, next.cursor.watermark) {
            hand_over(&tx, reading.connection, (reading.declared.entity, until, place)).await?;
        }
        tx.save_cursor(&next.cursor).await?;
        tx.save_run(&next.run).await?;
        note_success(&tx, reading.connection).await?;
        Ok(tx.commit().await?)
    }

    fn report_page(&self, connection: &Connection, run: &SyncRunRecord, (rows_read, goes_on): (i32, bool)) {
        let labels = [("connection", connection.record.name.clone()), ("entity", run.entity.as_str().to_owned())];
        metrics::counter!("crosstie_rows_read_total", &labels).increment(u64::try_from(rows_read).unwrap_or(0));
        if !goes_on && (run.rows_changed > 0 || run.rows_parked > 0) {
            info!(
                connection.name = %connection.record.name, run.entity = run.entity.as_str(), run.rows = run.rows_read,
                run.changed = run.rows_changed, run.parked = run.rows_parked, "a synchronization run ended"
            );
        }
    }

    async fn fail(
        &self,
        reading: &Reading<'_>,
        (mut cursor, run): (Cursor, &mut SyncRunRecord),
        error: &ApplyError,
    ) -> Result<(), StoreError> {
        let fault = error.to_fault();
        let tx = self.app.store().begin().await?;
        if matches!(fault, Fault::CursorGone | Fault::CursorLoop) {
            cursor.more = None;
        }
        if fault == Fault::Paused {
            cursor.next_run_at = tx.now();
        } else {
            cursor.next_run_at = next_try(tx.now(), cursor.failures, &fault);
            cursor.failures += 1;
        }
        run.status = RunStatus::Failed;
        run.error_code = Some(fault.code().to_owned());
        let message = fault.to_string().replace('\0', "\u{fffd}");
        run.error_message = Some(self.app.erased(&tx).await?.masked(message));
        run.next_attempt_at = Some(cursor.next_run_at);
        run.finished_at = Some(tx.now());
        if tx.holds_lease(&reading.lease).await? {
            tx.save_cursor(&cursor).await?;
        }
        tx.save_run(run).await?;
        note_fault(&tx, reading.connection, &fault).await?;
        tx.commit().await?;
        warn!(
            run.id = %run.id, connection.name = %reading.connection.record.name, run.entity = run.entity.as_str(),
            run.code = fault.code(), "a synchronization run failed"
        );
        metrics::counter!("crosstie_runs_failed_total", "code" => fault.code()).increment(1);
        Ok(())
    }
}

/// One reading of one kind of record, under its lease.
struct Reading<'a> {
    connection: &'a Connection,
    declared: &'a ReadEntity,
    reader: &'a dyn AnyReader,
    run_id: SyncRunId,
    lease: Lease,
}

/// How far a run has come, once its page is on disk.
struct Progress {
    cursor: Cursor,
    run: SyncRunRecord,
}

impl Progress {
    fn count(&mut self, applied: Applied) {
        self.run.rows_changed += applied.changed;
        self.run.rows_parked += applied.parked;
    }

    fn end_window(&mut self, watermark: Instant, declared: &ReadEntity, now: Instant) {
        self.cursor.more = None;
        self.cursor.watermark = Some(watermark);
        self.cursor.window_until = None;
        self.cursor.failures = 0;
        self.cursor.next_run_at = now.plus_ms(i64::from(declared.poll_seconds) * 1_000);
        self.run.status = RunStatus::Succeeded;
        self.run.finished_at = Some(now);
    }
}

/// Where a window begins: a little before the last one ended; at the beginning of all when there was none, or when it
/// ended so long ago that the vendor does not keep the events since.
fn lower_bound(order: Order, watermark: Option<Instant>, until: Instant) -> Option<Instant> {
    let since = watermark?.plus_ms(-order.overlap_ms());
    match order {
        Order::Feed { retention_seconds, .. } if until.ms_since(since) / 1_000 >= retention_seconds => None,
        _ => Some(since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_longer_than_a_feed_is_kept_everything_is_listed_again() {
        let order = Order::Feed { overlap_seconds: 600, retention_seconds: 86_400 };
        let until: Instant = "2026-11-23T10:00:00Z".parse().expect("an instant");
        let ago = |hours: i64| Some(until.plus_ms(-hours * 3_600_000));
        assert_eq!(lower_bound(order, None, until), None);
        assert_eq!(lower_bound(order, ago(1), until), ago(1).map(|at| at.plus_ms(-600_000)));
        assert_eq!(lower_bound(order, ago(24), until), None);
        let order = Order::Keyset { granularity_ms: 1, overlap_seconds: 600 };
        assert_eq!(lower_bound(order, ago(500), until), ago(500).map(|at| at.plus_ms(-600_000)));
    }
}
