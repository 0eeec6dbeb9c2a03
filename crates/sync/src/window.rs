//! Pages of windows that are not those of the incremental reading: slices of back-fills, sweeps, comparisons. They are
//! applied in the same way, and give way to the incremental reading.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crosstie_domain::{
    Instant,
    ids::ConnectionId,
    integration::{Entity, RunStatus, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{Ask, Fault, MappedRow, More, ReadEntity};
use crosstie_store::{StoreError, Tx};
use tokio::time::sleep;
use tracing::warn;

use crate::{
    Connection, Engine,
    apply::{Applied, ApplyError, Because, ReadRow, apply, apply_singly, is_usable_id, reader, with_references},
};

/// Rows that a page is asked for.
pub(crate) const PAGE_ROWS: u32 = 100;
/// How long a page waits at most while the incremental reading is due.
const GIVE_WAY: Duration = Duration::from_millis(100);
const GIVE_WAY_TIMES: u32 = 20;

/// Which connections this process reads incrementally at this moment.
#[derive(Debug, Default)]
pub(crate) struct AtWork {
    readings: Mutex<HashMap<ConnectionId, u32>>,
}

/// One incremental reading at work; over when it is dropped.
pub(crate) struct Working<'a> {
    at_work: &'a AtWork,
    connection: ConnectionId,
}

impl AtWork {
    /// An incremental reading of a connection begins.
    pub(crate) fn begin(&self, connection: ConnectionId) -> Working<'_> {
        *self.readings().entry(connection).or_default() += 1;
        Working { at_work: self, connection }
    }

    fn is_reading(&self, connection: ConnectionId) -> bool {
        self.readings().contains_key(&connection)
    }

    fn readings(&self) -> MutexGuard<'_, HashMap<ConnectionId, u32>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut readings = self.at_work.readings();
        let left = readings.get(&self.connection).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            readings.remove(&self.connection);
        } else {
            readings.insert(self.connection, left);
        }
    }
}

/// A page as it was listed.
pub(crate) struct ListedPage {
    /// When the vendor was asked.
    pub(crate) asked_at: Instant,
    pub(crate) rows: Vec<MappedRow>,
    pub(crate) rows_read: i32,
    pub(crate) more: More,
}

/// A page, ready to be applied.
pub(crate) struct WindowPage {
    pub(crate) rows: Vec<ReadRow>,
    /// The ids of the rows that came, whether they can be mapped or not.
    pub(crate) ids: Vec<String>,
    pub(crate) rows_read: i32,
    pub(crate) more: More,
}

impl Engine {
    /// Reads one page of a window, and the records that its rows refer to.
    pub(crate) async fn window_page(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        ask: &Ask,
    ) -> Result<WindowPage, ApplyError> {
        let ListedPage { asked_at, rows, rows_read, more } = self.listed_page(connection, declared, ask).await?;
        let listed = rows.iter().filter(|row| !matches!(row, MappedRow::Gone { .. }));
        let ids = listed.filter_map(|row| row.remote_id()).filter(|id| is_usable_id(id)).map(str::to_owned).collect();
        let rows = with_references(&self.app, connection, (declared.entity, asked_at), rows).await?;
        Ok(WindowPage { rows, ids, rows_read, more })
    }

    /// Reads one page of a window, and nothing else.
    pub(crate) async fn listed_page(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        ask: &Ask,
    ) -> Result<ListedPage, ApplyError> {
        self.unless_paused(connection).await?;
        self.give_way(connection).await;
        let reader = reader(connection, declared.entity).ok_or(Fault::Unsupported)?;
        let asked_at = self.app.store().now();
        let page = reader.read_page(&connection.net, ask).await?;
        let rows_read = i32::try_from(page.rows.len()).unwrap_or(i32::MAX);
        Ok(ListedPage { asked_at, rows: page.rows, rows_read, more: page.more })
    }

    /// Lets the incremental reading of a connection go first, for a while.
    async fn give_way(&self, connection: &Connection) {
        for _ in 0..GIVE_WAY_TIMES {
            if !self.at_work.is_reading(connection.record.id) {
                return;
            }
            sleep(GIVE_WAY).await;
        }
    }

    /// Applies rows in one commit with what `close` writes down.
    pub(crate) async fn keep_rows(
        &self,
        (connection, because): (&Connection, Because),
        rows: &[ReadRow],
        close: impl AsyncFnOnce(&Tx, Applied) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let tx = self.app.store().begin().await?;
        match apply(&self.app, &tx, connection, because, rows).await {
            Ok(applied) => {
                close(&tx, applied).await?;
                Ok(tx.commit().await?)
            }
            Err(error) if error.is_poison() => {
                drop(tx);
                let applied = apply_singly(&self.app, connection, because, rows).await?;
                let tx = self.app.store().begin().await?;
                close(&tx, applied).await?;
                Ok(tx.commit().await?)
            }
            Err(error) => Err(error),
        }
    }

    /// A run of this kind, begun now.
    pub(crate) fn new_run(&self, connection: ConnectionId, entity: Entity, trigger: RunTrigger) -> SyncRunRecord {
        let store = self.app.store();
        SyncRunRecord {
            id: store.new_id(),
            connection_id: connection,
            entity,
            trigger,
            status: RunStatus::Running,
            pages: 0,
            rows_read: 0,
            rows_changed: 0,
            rows_parked: 0,
            error_code: None,
            error_message: None,
            attempt: 1,
            next_attempt_at: None,
            started_at: store.now(),
            finished_at: None,
        }
    }

    /// Lets the database count anew while a first load fills it, which had come to so many pages and now to so many
    /// more. Nobody waits for that, and what fails there harms nothing.
    pub(crate) fn note_growth(&self, pages: RangeInclusive<i32>) {
        if !pages.skip(1).any(has_grown) {
            return;
        }
        let store = self.app.store().clone();
        tokio::spawn(async move {
            if let Err(error) = store.count_anew().await {
                warn!(%error, "the database does not count its tables; it may be slow until it does");
            }
        });
    }

    /// Writes down that a run begins, and ends those of its kind that a dead process left.
    pub(crate) async fn begin_run(&self, run: &SyncRunRecord) -> Result<(), StoreError> {
        let tx = self.app.store().begin().await?;
        tx.interrupt_runs(run.connection_id, run.entity, &[run.trigger]).await?;
        tx.save_run(run).await?;
        tx.commit().await
    }
}

/// Whether what a reading brought has grown fourfold since the database last counted: after 2 pages, 8, 32 and so on.
fn has_grown(pages: i32) -> bool {
    pages > 0 && pages.count_ones() == 1 && pages.trailing_zeros() % 2 == 1
}

/// Counts pages that were applied, with so many rows.
pub(crate) fn count(run: &mut SyncRunRecord, (pages, rows_read): (i32, i32), applied: Applied) {
    run.pages += pages;
    run.rows_read += rows_read;
    run.rows_changed += applied.changed;
    run.rows_parked += applied.parked;
}

/// Ends a run with how it went.
pub(crate) fn end(run: &mut SyncRunRecord, now: Instant, fault: Option<&Fault>) {
    run.status = if fault.is_some() { RunStatus::Failed } else { RunStatus::Succeeded };
    run.error_code = fault.map(|fault| fault.code().to_owned());
    run.error_message = fault.map(|fault| fault.to_string().replace('\0', "\u{fffd}"));
    run.finished_at = Some(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_counts_anew_each_time_that_there_is_four_times_as_much() {
        let counted: Vec<i32> = (-1..3_000).filter(|pages| has_grown(*pages)).collect();
        assert_eq!(counted, [2, 8, 32, 128, 512, 2_048]);
    }
}
