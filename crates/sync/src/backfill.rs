//! Back-fills: slices of what a system held before, each read with a place of its own beside the incremental reading.
//! They never move its watermark, and what they bring never replaces a newer state.

use std::{mem, sync::Arc};

use crosstie_domain::{
    Instant,
    access::RowScope,
    integration::{BackfillRecord, BackfillSlice, BackfillStatus, DeleteEvidence, Entity, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{Ask, Fault, MappedRow, More, Order, ReadEntity};
use crosstie_store::{
    StoreError, Tx,
    integration::{Cursor, Lease, backfills_by_ids, due_slices},
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, ReadRow, reader, references_first, with_references},
    exchanges::Work,
    gone::{Missing, claim, without_ghosts},
    heartbeat::{LEASE_MS, while_held},
    places::Places,
    schedule::next_try,
    window::{ListedPage, PAGE_ROWS, count, end},
};

/// Pages of a first load after which the rest is left to a back-fill, so that what changes now is not kept waiting.
const FIRST_LOAD_PAGES: i32 = 4;
/// Pages of a slice that are asked for while others are written, and pages that are written in one commit, at most.
const PAGES_AHEAD: usize = 6;
/// Tries of a slice, in a row, after which a fault that does not pass by itself ends it.
const SLICE_TRIES: i32 = 5;

/// A slice at work.
struct Slicing<'a> {
    connection: &'a Arc<Connection>,
    declared: &'static ReadEntity,
    backfill: &'a BackfillRecord,
    work: Arc<Work>,
    lease: Lease,
    slice: BackfillSlice,
    run: SyncRunRecord,
}

/// A page of a slice as it was listed, and whether the whole list was read with it.
struct SlicePage {
    page: ListedPage,
    had_all: bool,
}

/// What is kept in one commit: how many pages, and where the slice goes on.
struct KeptPages {
    pages: i32,
    rows_read: i32,
    more: More,
    had_all: bool,
}

impl KeptPages {
    /// Of a slice that is about one record.
    const OF_ONE_RECORD: Self = Self { pages: 1, rows_read: 1, more: More::End, had_all: false };
}

impl Engine {
    /// Reads the next slice of this kind of record that is due, to its end or its first fault. Returns whether there was
    /// one.
    ///
    /// # Errors
    /// As the database; what the vendor did wrong is in the slice.
    pub async fn work_on_backfills(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        declared: &'static ReadEntity,
    ) -> Result<bool, StoreError> {
        let store = self.app.store();
        let due = due_slices(store, (connection.record.id, declared.entity), store.now()).await?;
        for slice in due {
            let name = format!("slice:{}:{}", slice.backfill_id, slice.position);
            let found = backfills_by_ids(store, &RowScope::All, &[slice.backfill_id]).await?;
            let Some(backfill) = found.into_iter().next() else { continue };
            let run = self.new_run(connection.record.id, declared.entity, backfill.trigger);
            let Some(lease) = store.lease(&name, &format!("{}:{}", self.name, run.id), LEASE_MS).await? else {
                continue;
            };
            let held = lease.clone();
            let work = Work::of_run(run.id, run.trigger);
            let slicing =
                Slicing { connection, declared, backfill: &backfill, work: Arc::clone(&work), lease, slice, run };
            let done = while_held(work.on(self.read_slice(slicing)), || store.keep_lease(&held, LEASE_MS)).await;
            store.release_lease(&held).await?;
            self.note_contact(connection, work.contact()).await?;
            done?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn read_slice(self: &Arc<Self>, mut slicing: Slicing<'_>) -> Result<(), StoreError> {
        self.begin_run(&slicing.run).await?;
        slicing.slice.run_id = Some(slicing.run.id);
        let read = match &slicing.backfill.remote_id {
            Some(remote_id) => self.read_one_record(&mut slicing, remote_id).await,
            None => self.read_pages(&mut slicing).await,
        };
        match read {
            Ok(()) => {}
            Err(ApplyError::App(crosstie_app::AppError::Store(error @ StoreError::Unavailable(_)))) => {
                return Err(error);
            }
            Err(error) => return self.slice_failed(slicing, &error.to_fault()).await,
        }
        let BackfillSlice { position, rows_read, rows_changed, .. } = slicing.slice;
        info!(
            connection.name = %slicing.connection.record.name, backfill.id = %slicing.backfill.id,
            backfill.slice = position, backfill.rows = rows_read, backfill.changed = rows_changed,
            "a slice of a back-fill ended"
        );
        Ok(())
    }

    /// Reads the pages of a slice, and applies them. While some are written the next ones are asked for, so that the
    /// system and the database never wait for each other; what came meanwhile is written in one commit.
    async fn read_pages(self: &Arc<Self>, slicing: &mut Slicing<'_>) -> Result<(), ApplyError> {
        let BackfillSlice { since, until, more, .. } = slicing.slice.clone();
        let ask = Ask { since, until, more, limit: PAGE_ROWS };
        let (ready, mut listed) = mpsc::channel(PAGES_AHEAD);
        let (engine, work) = (Arc::clone(self), Arc::clone(&slicing.work));
        let (connection, declared) = (Arc::clone(slicing.connection), slicing.declared);
        // A task of its own reads and maps on another core. Nobody waits for what it asks when this one ends.
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            work.on(engine.list_ahead((&connection, declared), ask, ready)).await
        }));
        let mut pages = Vec::with_capacity(PAGES_AHEAD);
        while listed.recv_many(&mut pages, PAGES_AHEAD).await > 0 {
            if !self.keep_pages(slicing, mem::take(&mut pages)).await? {
                return Ok(());
            }
        }
        reading.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Lists the pages of a slice from a place on, as far ahead as there is room for them.
    async fn list_ahead(
        &self,
        (connection, declared): (&Connection, &ReadEntity),
        mut ask: Ask,
        ready: mpsc::Sender<SlicePage>,
    ) -> Result<(), ApplyError> {
        let (mut places, slice_since) = (Places::default(), ask.since);
        loop {
            ask.since = lower_bound(declared.order, slice_since, self.app.store().now());
            let mut page = self.listed_page(connection, declared, &ask).await?;
            places.follow(ask.more.as_ref(), &page.more)?;
            ask.more = match &page.more {
                More::At(place) => Some(place.clone()),
                More::End => None,
            };
            let reader = reader(connection, declared.entity).ok_or(Fault::Unsupported)?;
            page.rows = without_ghosts(&self.app, connection, reader, page.rows).await?;
            page.rows.iter().for_each(MappedRow::write_down);
            let is_last = ask.more.is_none();
            let had_all = is_last && ask.since.is_none() && matches!(declared.order, Order::Feed { .. });
            if ready.send(SlicePage { page, had_all }).await.is_err() || is_last {
                return Ok(());
            }
        }
    }

    /// Applies pages, and reads what they refer to. Returns whether somebody still wants the slice.
    async fn keep_pages(&self, slicing: &mut Slicing<'_>, pages: Vec<SlicePage>) -> Result<bool, ApplyError> {
        let mut kept = KeptPages { pages: 0, rows_read: 0, more: More::End, had_all: false };
        let mut listed = Vec::with_capacity(pages.len());
        for SlicePage { page, had_all } in pages {
            kept.pages += 1;
            kept.rows_read += page.rows_read;
            (kept.more, kept.had_all) = (page.more, had_all);
            listed.push((page.asked_at, page.rows));
        }
        let rows = references_first(&self.app, slicing.connection, slicing.declared.entity, listed).await?;
        let kept = self.keep_slice(slicing, &rows, kept).await;
        // They are thousands of small pieces, and nobody waits for the end of them.
        tokio::spawn(async move { drop(rows) });
        kept
    }

    async fn read_one_record(&self, slicing: &mut Slicing<'_>, remote_id: &str) -> Result<(), ApplyError> {
        let entity = slicing.declared.entity;
        let reader = reader(slicing.connection, entity).ok_or(Fault::Unsupported)?;
        self.unless_paused(slicing.connection).await?;
        let mut asked_at = self.app.store().now();
        let mut row = reader.read_one(&slicing.connection.net, remote_id).await;
        if row == Err(Fault::Gone) {
            // One answer that there is no such record is not enough.
            asked_at = self.app.store().now();
            row = reader.read_one(&slicing.connection.net, remote_id).await;
        }
        let row = match row {
            Ok(row) => row,
            Err(Fault::Gone | Fault::Merged { .. }) => {
                return self.record_is_missing(slicing, (remote_id, asked_at), row.err()).await;
            }
            Err(fault) => return Err(fault.into()),
        };
        let rows = with_references(&self.app, slicing.connection, (entity, asked_at), vec![row]).await?;
        self.keep_slice(slicing, &rows, KeptPages::OF_ONE_RECORD).await.map(|_| ())
    }

    async fn record_is_missing(
        &self,
        slicing: &mut Slicing<'_>,
        (remote_id, asked_at): (&str, Instant),
        fault: Option<Fault>,
    ) -> Result<(), ApplyError> {
        let into = match fault {
            Some(Fault::Merged { into }) => Some(into),
            _ => None,
        };
        let evidence = if into.is_some() { DeleteEvidence::Merged } else { DeleteEvidence::NotFound };
        let missing = Missing {
            entity: slicing.declared.entity,
            remote_id,
            evidence,
            merged_into: into.as_deref(),
            sweep: None,
            asked_at,
        };
        let tx = self.app.store().begin().await?;
        claim(&self.app, &tx, (slicing.connection, Because::Again(slicing.run.id)), missing).await?;
        tx.commit().await?;
        self.keep_slice(slicing, &[], KeptPages::OF_ONE_RECORD).await.map(|_| ())
    }

    /// Applies rows in one commit with how far the slice has come. Returns whether somebody still wants it.
    async fn keep_slice(
        &self,
        slicing: &mut Slicing<'_>,
        rows: &[ReadRow],
        kept: KeptPages,
    ) -> Result<bool, ApplyError> {
        let (mut slice, mut run) = (slicing.slice.clone(), slicing.run.clone());
        let because = match slicing.backfill.trigger {
            RunTrigger::Refresh => Because::Again(run.id),
            _ => Because::Run(run.id),
        };
        let lease = &slicing.lease;
        let mut goes_on = true;
        self.keep_rows((slicing.connection, because), rows, async |tx, applied| {
            if !tx.holds_lease(lease).await? {
                return Err(Fault::Transient { why: "another process does this now".to_owned() }.into());
            }
            count(&mut run, (kept.pages, kept.rows_read), applied);
            slice.pages += kept.pages;
            slice.rows_read += kept.rows_read;
            slice.rows_changed += applied.changed;
            slice.rows_parked += applied.parked;
            slice.failures = 0;
            (slice.error_code, slice.error_message) = (None, None);
            match kept.more {
                More::At(place) => {
                    slice.status = BackfillStatus::Running;
                    slice.more = Some(place);
                }
                More::End => {
                    slice.status = BackfillStatus::Succeeded;
                    (slice.more, slice.next_attempt_at) = (None, None);
                    end(&mut run, tx.now(), None);
                }
            }
            goes_on = tx.save_slice(&slice).await?;
            if !goes_on {
                end(&mut run, tx.now(), None);
            }
            if kept.had_all {
                tx.end_other_slices(&slice).await?;
            }
            if slice.status == BackfillStatus::Succeeded {
                tx.end_backfill(slice.backfill_id).await?;
            }
            Ok(tx.save_run(&run).await?)
        })
        .await?;
        // What was known before fills nothing.
        if slice.rows_changed > slice.rows_read / 2 {
            self.note_growth(slicing.slice.pages..=slice.pages);
        }
        (slicing.slice, slicing.run) = (slice, run);
        Ok(goes_on)
    }

    async fn slice_failed(&self, slicing: Slicing<'_>, fault: &Fault) -> Result<(), StoreError> {
        let Slicing { connection, mut slice, mut run, lease, .. } = slicing;
        let tx = self.app.store().begin().await?;
        end(&mut run, tx.now(), Some(fault));
        self.without_erased(&tx, &mut run).await?;
        if matches!(fault, Fault::CursorGone | Fault::CursorLoop) {
            slice.more = None;
        }
        let paused = *fault == Fault::Paused;
        slice.failures += i32::from(!paused);
        slice.error_code = run.error_code.clone();
        slice.error_message = run.error_message.clone();
        let passes = fault.is_temporary() || matches!(fault, Fault::NeedsReauth | Fault::MissingScope { .. });
        if passes || slice.failures < SLICE_TRIES {
            slice.status = BackfillStatus::Waiting;
            slice.next_attempt_at = Some(if paused { tx.now() } else { next_try(tx.now(), slice.failures - 1, fault) });
        } else {
            slice.status = BackfillStatus::Failed;
            slice.next_attempt_at = None;
        }
        if tx.holds_lease(&lease).await? {
            tx.save_slice(&slice).await?;
            tx.end_backfill(slice.backfill_id).await?;
        }
        tx.save_run(&run).await?;
        tx.commit().await?;
        warn!(
            connection.name = %connection.record.name, backfill.id = %slice.backfill_id, backfill.slice = slice.position,
            backfill.code = fault.code(), "a slice of a back-fill failed"
        );
        Ok(())
    }
}

/// Where a slice begins: what a feed does not keep any more is listed from the beginning of all.
fn lower_bound(order: Order, since: Option<Instant>, now: Instant) -> Option<Instant> {
    let since = since?;
    match order {
        Order::Feed { retention_seconds, .. } if now.ms_since(since) / 1_000 >= retention_seconds => None,
        _ => Some(since),
    }
}

/// Whether a first load has become so long that the rest is left to a back-fill.
pub(crate) fn is_long_first_load(cursor: &Cursor, run: &SyncRunRecord) -> bool {
    cursor.watermark.is_none() && run.pages >= FIRST_LOAD_PAGES
}

/// Leaves the rest of a first load to a back-fill of one slice, which goes on from this place.
pub(crate) async fn hand_over(
    tx: &Tx,
    connection: &Connection,
    (entity, until, place): (Entity, Instant, Value),
) -> Result<(), StoreError> {
    let backfill = BackfillRecord {
        id: tx.new_id(),
        connection_id: connection.record.id,
        entity,
        trigger: RunTrigger::Backfill,
        remote_id: None,
        since: None,
        until,
        status: BackfillStatus::Running,
        requested_by: "first load".to_owned(),
        created_at: tx.now(),
        finished_at: None,
    };
    tx.save_backfill(&backfill).await?;
    tx.save_slice(&BackfillSlice { more: Some(place), ..crosstie_app::new_slice(&backfill, 0, None, until) }).await?;
    Ok(())
}
