//! Scheduled reading: window after window, page after page, each page in one commit with its cursor.

use crosstie_domain::{
    Instant,
    integration::{Entity, RunStatus, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{AnyReader, Ask, Fault, More, ReadEntity};
use crosstie_store::{
    StoreError,
    integration::{Cursor, cursor},
};
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, apply, with_references},
    inbox::describe,
    schedule::next_try,
};

/// Rows that a page is asked for.
const PAGE_ROWS: u32 = 100;
/// How long a run may hold a kind of record between two pages, in milliseconds.
const LEASE_MS: i64 = 60_000;

/// How a run ended.
pub type RunSummary = SyncRunRecord;

impl Engine {
    /// When a kind of record is due next.
    pub(crate) async fn due_at(&self, connection: &Connection, entity: Entity) -> Result<Instant, StoreError> {
        let cursor = cursor(self.app.store(), connection.record.id, entity).await?;
        Ok(cursor.map_or_else(|| self.app.store().now(), |cursor| cursor.next_run_at))
    }

    /// Reads a kind of record up to now; `None` while another process does.
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
        let lease = format!("pull:{}:{}", connection.record.id, declared.entity.as_str());
        if self.app.store().lease(&lease, &self.name, LEASE_MS).await?.is_none() {
            return Ok(None);
        }
        let mut cursor = self.open_window(connection, declared.entity).await?;
        let mut run = self.begin_run(&cursor, trigger).await?;
        loop {
            let page = self.pull_page(connection, declared, (reader, &lease), (&mut cursor, &mut run)).await;
            match page {
                Ok(true) => {}
                Ok(false) => return Ok(Some(run)),
                Err(ApplyError::App(crosstie_app::AppError::Store(error @ StoreError::Unavailable(_)))) => {
                    return Err(error);
                }
                Err(error) => {
                    self.fail_run(&mut cursor, &mut run, &error).await?;
                    return Ok(Some(run));
                }
            }
        }
    }

    /// The cursor with an open window: the one that was being read, or a new one up to now.
    async fn open_window(&self, connection: &Connection, entity: Entity) -> Result<Cursor, StoreError> {
        let now = self.app.store().now();
        let found = cursor(self.app.store(), connection.record.id, entity).await?;
        let mut cursor = found.unwrap_or(Cursor {
            connection_id: connection.record.id,
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
        Ok(cursor)
    }

    async fn begin_run(&self, cursor: &Cursor, trigger: RunTrigger) -> Result<SyncRunRecord, StoreError> {
        let tx = self.app.store().begin().await?;
        let run = SyncRunRecord {
            id: tx.new_id(),
            connection_id: cursor.connection_id,
            entity: cursor.entity,
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
            started_at: tx.now(),
            finished_at: None,
        };
        tx.save_run(&run).await?;
        tx.commit().await?;
        Ok(run)
    }

    /// Reads and applies one page. Returns whether the window goes on.
    async fn pull_page(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        (reader, lease): (&dyn AnyReader, &str),
        (cursor, run): (&mut Cursor, &mut SyncRunRecord),
    ) -> Result<bool, ApplyError> {
        let until = cursor.window_until.unwrap_or_else(|| self.app.store().now());
        let since = cursor.watermark.map(|watermark| watermark.plus_ms(-declared.order.overlap_ms()));
        let ask = Ask { since, until, more: cursor.more.clone(), limit: PAGE_ROWS };
        let page = reader.read_page(&connection.net, &ask).await?;
        let rows_read = i32::try_from(page.rows.len()).unwrap_or(i32::MAX);
        let rows: Vec<_> = with_references(&self.app, connection, page.rows)
            .await?
            .into_iter()
            .map(|(entity, row)| match row {
                row @ crosstie_sdk::MappedRow::Bad { .. } => (declared.entity, row),
                good => (entity, good),
            })
            .collect();
        if self.app.store().lease(lease, &self.name, LEASE_MS).await?.is_none() {
            return Err(Fault::Transient { why: "another process reads this now".to_owned() }.into());
        }
        let tx = self.app.store().begin().await?;
        let applied = apply(&self.app, &tx, connection, Because::Run(run.id), &rows).await?;
        run.pages += 1;
        run.rows_read += rows_read;
        run.rows_changed += applied.changed;
        run.rows_parked += applied.parked;
        let goes_on = match page.more {
            More::At(place) => {
                if cursor.more.as_ref() == Some(&place) {
                    let why = "the vendor's page led back to itself".to_owned();
                    return Err(Fault::Shape { path: "more".to_owned(), why }.into());
                }
                cursor.more = Some(place);
                true
            }
            More::End => {
                cursor.more = None;
                cursor.watermark = Some(until);
                cursor.window_until = None;
                cursor.failures = 0;
                cursor.next_run_at = tx.now().plus_ms(i64::from(declared.poll_seconds) * 1_000);
                run.status = RunStatus::Succeeded;
                run.finished_at = Some(tx.now());
                false
            }
        };
        tx.save_cursor(cursor).await?;
        tx.save_run(run).await?;
        tx.commit().await?;
        let labels = [("connection", connection.record.name.clone()), ("entity", cursor.entity.as_str().to_owned())];
        metrics::counter!("crosstie_rows_read_total", &labels).increment(u64::try_from(rows_read).unwrap_or(0));
        if !goes_on && (run.rows_changed > 0 || run.rows_parked > 0) {
            info!(
                connection.name = %connection.record.name, run.entity = cursor.entity.as_str(), run.rows = run.rows_read,
                run.changed = run.rows_changed, run.parked = run.rows_parked, "a synchronization run ended"
            );
        }
        Ok(goes_on)
    }

    async fn fail_run(
        &self,
        cursor: &mut Cursor,
        run: &mut SyncRunRecord,
        error: &ApplyError,
    ) -> Result<(), StoreError> {
        let fault = match error {
            ApplyError::Vendor(fault) => fault.clone(),
            ApplyError::App(error) => Fault::Transient { why: describe(error) },
        };
        let stored = crosstie_store::integration::cursor(self.app.store(), cursor.connection_id, cursor.entity).await?;
        let tx = self.app.store().begin().await?;
        // What this page changed in memory was not kept: go on from what is on disk.
        let failures = cursor.failures + 1;
        if let Some(stored) = stored {
            *cursor = stored;
        }
        if matches!(fault, Fault::CursorGone) {
            cursor.more = None;
        }
        cursor.failures = failures;
        cursor.next_run_at = next_try(tx.now(), failures - 1, &fault);
        run.status = RunStatus::Failed;
        run.error_code = Some(fault.code().to_owned());
        run.error_message = Some(fault.to_string().replace('\0', "\u{fffd}"));
        run.next_attempt_at = Some(cursor.next_run_at);
        run.finished_at = Some(tx.now());
        tx.save_cursor(cursor).await?;
        tx.save_run(run).await?;
        tx.commit().await?;
        warn!(run.id = %run.id, run.code = fault.code(), "a synchronization run failed");
        metrics::counter!("crosstie_runs_failed_total", "code" => fault.code()).increment(1);
        Ok(())
    }
}
