//! Back-fills: slices of what a system held before, each read with a place of its own beside the incremental reading.
//! They never move its watermark, and what they bring never replaces a newer state.

use crosstie_domain::{
    Instant,
    access::RowScope,
    integration::{BackfillRecord, BackfillSlice, BackfillStatus, DeleteEvidence, Entity, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{Ask, Fault, More, Order, ReadEntity};
use crosstie_store::{
    StoreError, Tx,
    integration::{Cursor, Lease, backfills_by_ids, due_slices},
};
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, reader, with_references},
    exchanges::Work,
    gone::{Missing, claim},
    heartbeat::{LEASE_MS, while_held},
    places::Places,
    schedule::next_try,
    window::{PAGE_ROWS, WindowPage, count, end},
};

/// Pages of a first load after which the rest is left to a back-fill, so that what changes now is not kept waiting.
const FIRST_LOAD_PAGES: i32 = 50;
/// Tries of a slice, in a row, after which a fault that does not pass by itself ends it.
const SLICE_TRIES: i32 = 5;

/// A slice at work.
struct Slicing<'a> {
    connection: &'a Connection,
    declared: &'a ReadEntity,
    backfill: &'a BackfillRecord,
    lease: Lease,
    slice: BackfillSlice,
    run: SyncRunRecord,
}

impl Engine {
    /// Reads the next slice of this kind of record that is due, to its end or its first fault. Returns whether there was
    /// one.
    ///
    /// # Errors
    /// As the database; what the vendor did wrong is in the slice.
    pub async fn work_on_backfills(&self, connection: &Connection, declared: &ReadEntity) -> Result<bool, StoreError> {
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
            let slicing = Slicing { connection, declared, backfill: &backfill, lease, slice, run };
            let done = while_held(work.on(self.read_slice(slicing)), || store.keep_lease(&held, LEASE_MS)).await;
            store.release_lease(&held).await?;
            self.note_contact(connection, work.contact()).await?;
            done?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn read_slice(&self, mut slicing: Slicing<'_>) -> Result<(), StoreError> {
        self.begin_run(&slicing.run).await?;
        slicing.slice.run_id = Some(slicing.run.id);
        let mut places = Places::default();
        loop {
            let step = match &slicing.backfill.remote_id {
                Some(remote_id) => self.read_one_record(&mut slicing, remote_id).await.map(|()| false),
                None => self.read_slice_page(&mut slicing, &mut places).await,
            };
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(ApplyError::App(crosstie_app::AppError::Store(error @ StoreError::Unavailable(_)))) => {
                    return Err(error);
                }
                Err(error) => return self.slice_failed(slicing, &error.to_fault()).await,
            }
        }
        let BackfillSlice { position, rows_read, rows_changed, .. } = slicing.slice;
        info!(
            connection.name = %slicing.connection.record.name, backfill.id = %slicing.backfill.id,
            backfill.slice = position, backfill.rows = rows_read, backfill.changed = rows_changed,
            "a slice of a back-fill ended"
        );
        Ok(())
    }

    /// Reads and applies one page. Returns whether the slice goes on.
    async fn read_slice_page(&self, slicing: &mut Slicing<'_>, places: &mut Places) -> Result<bool, ApplyError> {
        let (since, until) = (lower_bound(slicing, self.app.store().now()), slicing.slice.until);
        let ask = Ask { since, until, more: slicing.slice.more.clone(), limit: PAGE_ROWS };
        let page = self.window_page(slicing.connection, slicing.declared, &ask).await?;
        places.follow(ask.more.as_ref(), &page.more)?;
        let goes_on = matches!(page.more, More::At(_));
        let had_all = !goes_on && since.is_none() && matches!(slicing.declared.order, Order::Feed { .. });
        self.keep_slice(slicing, page, had_all).await.map(|kept| kept && goes_on)
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
        let page = WindowPage { rows, ids: vec![], rows_read: 1, more: More::End };
        self.keep_slice(slicing, page, false).await.map(|_| ())
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
        let page = WindowPage { rows: vec![], ids: vec![], rows_read: 1, more: More::End };
        self.keep_slice(slicing, page, false).await.map(|_| ())
    }

    /// Applies a page in one commit with how far the slice has come. Returns whether somebody still wants it.
    async fn keep_slice(&self, slicing: &mut Slicing<'_>, page: WindowPage, had_all: bool) -> Result<bool, ApplyError> {
        let (mut slice, mut run) = (slicing.slice.clone(), slicing.run.clone());
        let because = match slicing.backfill.trigger {
            RunTrigger::Refresh => Because::Again(run.id),
            _ => Because::Run(run.id),
        };
        let lease = &slicing.lease;
        let mut goes_on = true;
        self.keep_rows((slicing.connection, because), &page.rows, async |tx, applied| {
            if !tx.holds_lease(lease).await? {
                return Err(Fault::Transient { why: "another process does this now".to_owned() }.into());
            }
            count(&mut run, page.rows_read, applied);
            slice.pages += 1;
            slice.rows_read += page.rows_read;
            slice.rows_changed += applied.changed;
            slice.rows_parked += applied.parked;
            slice.failures = 0;
            (slice.error_code, slice.error_message) = (None, None);
            match page.more {
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
            if had_all {
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
            self.note_growth(slice.pages).await;
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
fn lower_bound(slicing: &Slicing<'_>, now: Instant) -> Option<Instant> {
    let since = slicing.slice.since?;
    match slicing.declared.order {
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
