//! Sweeps: a complete listing shows what is missing. Only what was neither listed nor found by its id is claimed to be
//! gone, and a sweep that would remove too much stops until a person confirms it.

use crosstie_app::Deleted;
use crosstie_domain::integration::{
    AlertKey, AlertKind, DeleteEvidence, RunTrigger, SweepRecord, SweepStatus, SyncRunRecord,
};
use crosstie_sdk::{Ask, Fault, MappedRow, More, ReadEntity};
use crosstie_store::{
    StoreError, Tx,
    integration::{Lease, ParkedRow, count_missing, cursor, latest_sweep, missing_after},
};
use serde_json::json;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, ReadRow, reader},
    exchanges::Work,
    gone::{Missing, claim},
    heartbeat::{LEASE_MS, while_held},
    places::Places,
    window::{PAGE_ROWS, count, end},
};

/// The code of a sweep that waits for a person among the parked rows.
pub(crate) const SWEEP_BRAKE: &str = "SWEEP_BRAKE";
/// How long it is from a sweep that failed to the next, in milliseconds.
const AFTER_FAILURE_MS: i64 = 3_600_000;
/// Missing records that are looked at in one step.
const STEP: u32 = 100;

/// A sweep at work.
struct Sweeping<'a> {
    connection: &'a Connection,
    declared: &'a ReadEntity,
    lease: Lease,
    sweep: SweepRecord,
    run: SyncRunRecord,
}

impl Engine {
    /// Sweeps a kind of record, or goes on with a sweep that was interrupted or confirmed; `None` while somebody else
    /// does.
    ///
    /// # Errors
    /// As the database; what the vendor did wrong is in the sweep.
    pub async fn sweep(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
    ) -> Result<Option<SweepRecord>, StoreError> {
        let store = self.app.store();
        let run = self.new_run(connection.record.id, declared.entity, RunTrigger::Sweep);
        let name = format!("sweep:{}:{}", connection.record.id, declared.entity.as_str());
        let Some(lease) = store.lease(&name, &format!("{}:{}", self.name, run.id), LEASE_MS).await? else {
            return Ok(None);
        };
        let held = lease.clone();
        let work = Work::of_run(run.id, run.trigger);
        let sweeping = self.sweep_held(connection, declared, (lease, run));
        let swept = while_held(work.on(sweeping), || store.keep_lease(&held, LEASE_MS)).await;
        store.release_lease(&held).await?;
        self.note_contact(connection, work.contact()).await?;
        swept.map(Some)
    }

    async fn sweep_held(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        (lease, run): (Lease, SyncRunRecord),
    ) -> Result<SweepRecord, StoreError> {
        self.begin_run(&run).await?;
        let sweep = self.open_sweep(connection, declared).await?;
        let mut sweeping = Sweeping { connection, declared, lease, sweep, run };
        match self.go_on(&mut sweeping).await {
            Ok(()) => {}
            Err(ApplyError::App(crosstie_app::AppError::Store(error))) => return Err(error),
            Err(ApplyError::Vendor(fault)) => self.sweep_failed(&mut sweeping, &fault).await?,
        }
        Ok(sweeping.sweep)
    }

    /// The sweep that was interrupted, or a new one. One that waits for a person gives way to it.
    async fn open_sweep(&self, connection: &Connection, declared: &ReadEntity) -> Result<SweepRecord, StoreError> {
        let (id, entity) = (connection.record.id, declared.entity);
        let tx = self.app.store().begin().await?;
        match latest_sweep(&tx, id, entity).await? {
            Some(open) if matches!(open.status, SweepStatus::Listing | SweepStatus::Removing) => return Ok(open),
            Some(mut braked) if braked.status == SweepStatus::Braked => {
                braked.status = SweepStatus::Failed;
                braked.error_message = Some("Another sweep was begun before this one was confirmed.".to_owned());
                release_brake(&tx, &braked).await?;
                tx.save_sweep(&braked).await?;
                tx.forget_seen(braked.id).await?;
            }
            _ => {}
        }
        let now = tx.now();
        let sweep = SweepRecord {
            id: tx.new_id(),
            connection_id: id,
            entity,
            status: SweepStatus::Listing,
            window_until: now,
            more: None,
            pages: 0,
            rows_seen: 0,
            known: 0,
            missing: 0,
            deleted: 0,
            confirmed_by: None,
            error_code: None,
            error_message: None,
            started_at: now,
            finished_at: None,
        };
        tx.save_sweep(&sweep).await?;
        tx.commit().await?;
        Ok(sweep)
    }

    async fn go_on(&self, sweeping: &mut Sweeping<'_>) -> Result<(), ApplyError> {
        let mut places = Places::default();
        while sweeping.sweep.status == SweepStatus::Listing {
            self.list_page(sweeping, &mut places).await?;
        }
        if sweeping.sweep.status == SweepStatus::Removing {
            self.remove_missing(sweeping).await?;
        }
        Ok(())
    }

    async fn list_page(&self, sweeping: &mut Sweeping<'_>, places: &mut Places) -> Result<(), ApplyError> {
        let Sweeping { connection, declared, lease, .. } = &*sweeping;
        let (mut sweep, mut run) = (sweeping.sweep.clone(), sweeping.run.clone());
        let ask = Ask { since: None, until: sweep.window_until, more: sweep.more.take(), limit: PAGE_ROWS };
        let page = self.window_page(connection, declared, &ask).await?;
        places.follow(ask.more.as_ref(), &page.more)?;
        sweep.pages += 1;
        sweep.rows_seen = sweep.rows_seen.saturating_add(page.rows_read);
        self.keep_rows((connection, Because::Run(run.id)), &page.rows, async |tx, applied| {
            still_held(tx, lease).await?;
            count(&mut run, (1, page.rows_read), applied);
            tx.sweep_saw(sweep.id, &page.ids).await?;
            match &page.more {
                More::At(place) => sweep.more = Some(place.clone()),
                More::End => close_listing(tx, connection, (&mut sweep, &mut run)).await?,
            }
            tx.save_sweep(&sweep).await?;
            Ok(tx.save_run(&run).await?)
        })
        .await?;
        (sweeping.sweep, sweeping.run) = (sweep, run);
        Ok(())
    }

    /// Reads what was missing by its id, one record after the other, each with a commit of its own.
    async fn remove_missing(&self, sweeping: &mut Sweeping<'_>) -> Result<(), ApplyError> {
        let mut after = String::new();
        loop {
            let missing = missing_after(self.app.store(), &sweeping.sweep, &after, STEP).await?;
            let Some(last) = missing.last().cloned() else { break };
            for remote_id in &missing {
                self.unless_paused(sweeping.connection).await?;
                self.look_for(sweeping, remote_id).await?;
            }
            after = last;
        }
        let tx = self.app.store().begin().await?;
        still_held(&tx, &sweeping.lease).await?;
        sweeping.sweep.status = SweepStatus::Succeeded;
        sweeping.sweep.finished_at = Some(tx.now());
        end(&mut sweeping.run, tx.now(), None);
        tx.forget_seen(sweeping.sweep.id).await?;
        tx.save_sweep(&sweeping.sweep).await?;
        tx.save_run(&sweeping.run).await?;
        tx.commit().await?;
        let SweepRecord { missing, deleted, .. } = sweeping.sweep;
        if deleted > 0 {
            let (name, entity) = (&sweeping.connection.record.name, sweeping.declared.entity.as_str());
            info!(connection.name = %name, sweep.entity = entity, sweep.missing = missing, sweep.deleted = deleted,
                "a sweep found records that are gone");
        }
        Ok(())
    }

    async fn look_for(&self, sweeping: &mut Sweeping<'_>, remote_id: &str) -> Result<(), ApplyError> {
        let (connection, entity) = (sweeping.connection, sweeping.declared.entity);
        let reader = reader(connection, entity).ok_or(Fault::Unsupported)?;
        let because = Because::Run(sweeping.run.id);
        let asked_at = self.app.store().now();
        let (evidence, merged_into) = match reader.read_one(&connection.net, remote_id).await {
            Err(Fault::Gone) | Ok(MappedRow::Gone { .. }) => (DeleteEvidence::Sweep, None),
            Err(Fault::Merged { into }) => (DeleteEvidence::Merged, Some(into)),
            Ok(row) => {
                let row = ReadRow { entity, row, asked_at, is_reference: false };
                return self.keep_rows((connection, because), &[row], async |_, _| Ok(())).await;
            }
            Err(fault) => return Err(fault.into()),
        };
        let sweep = Some(sweeping.sweep.id);
        let missing = Missing { entity, remote_id, evidence, merged_into: merged_into.as_deref(), sweep, asked_at };
        let tx = self.app.store().begin().await?;
        still_held(&tx, &sweeping.lease).await?;
        if let Deleted::Claimed { .. } = claim(&self.app, &tx, (connection, because), missing).await? {
            sweeping.sweep.deleted += 1;
            tx.save_sweep(&sweeping.sweep).await?;
        }
        Ok(tx.commit().await?)
    }

    /// A listing that met a fault proves nothing. Looking for what was missing goes on another time.
    async fn sweep_failed(&self, sweeping: &mut Sweeping<'_>, fault: &Fault) -> Result<(), StoreError> {
        let tx = self.app.store().begin().await?;
        end(&mut sweeping.run, tx.now(), Some(fault));
        self.without_erased(&tx, &mut sweeping.run).await?;
        // What a person paused goes on from where it is.
        if *fault != Fault::Paused {
            sweeping.sweep.error_code = sweeping.run.error_code.clone();
            sweeping.sweep.error_message = sweeping.run.error_message.clone();
            sweeping.sweep.finished_at = Some(tx.now());
        }
        if sweeping.sweep.status == SweepStatus::Listing && *fault != Fault::Paused {
            sweeping.sweep.status = SweepStatus::Failed;
            tx.forget_seen(sweeping.sweep.id).await?;
        }
        if tx.holds_lease(&sweeping.lease).await? {
            tx.save_sweep(&sweeping.sweep).await?;
        }
        tx.save_run(&sweeping.run).await?;
        tx.commit().await?;
        warn!(
            connection.name = %sweeping.connection.record.name, sweep.entity = sweeping.declared.entity.as_str(),
            sweep.code = fault.code(), "a sweep ended early and removed nothing more"
        );
        Ok(())
    }

    /// Whether a kind of record is to be swept now: as often as its vendor makes necessary, and never before the first
    /// load.
    pub(crate) async fn sweep_is_due(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
    ) -> Result<bool, StoreError> {
        let Some(every) = declared.deletes.sweep_every_ms() else { return Ok(false) };
        let (store, id) = (self.app.store(), connection.record.id);
        let due_at = match latest_sweep(store, id, declared.entity).await? {
            Some(sweep) => match (sweep.status, sweep.finished_at) {
                (SweepStatus::Braked, _) => return Ok(false),
                (SweepStatus::Listing, _) | (SweepStatus::Removing, None) => return Ok(true),
                (SweepStatus::Removing | SweepStatus::Failed, Some(at)) => at.plus_ms(AFTER_FAILURE_MS),
                _ => sweep.started_at.plus_ms(every),
            },
            None if cursor(store, id, declared.entity).await?.is_none_or(|cursor| cursor.watermark.is_none()) => {
                return Ok(false);
            }
            None => connection.record.created_at.plus_ms(every),
        };
        Ok(due_at <= store.now())
    }
}

async fn still_held(tx: &Tx, lease: &Lease) -> Result<(), ApplyError> {
    if tx.holds_lease(lease).await? {
        return Ok(());
    }
    Err(Fault::Transient { why: "another process does this now".to_owned() }.into())
}

/// The listing is complete: what was not listed is looked for, unless it is too much.
async fn close_listing(
    tx: &Tx,
    connection: &Connection,
    (sweep, run): (&mut SweepRecord, &mut SyncRunRecord),
) -> Result<(), ApplyError> {
    (sweep.known, sweep.missing) = count_missing(tx, sweep).await?;
    sweep.more = None;
    if sweep.missing <= SweepRecord::most_removed(sweep.known) {
        sweep.status = SweepStatus::Removing;
        return Ok(());
    }
    let message = format!(
        "{} of {} records that the hub knows were not listed, more than a sweep removes by itself ({}). Nothing was \
         removed.",
        sweep.missing,
        sweep.known,
        SweepRecord::most_removed(sweep.known)
    );
    sweep.status = SweepStatus::Braked;
    sweep.error_code = Some(SWEEP_BRAKE.to_owned());
    sweep.error_message = Some(message.clone());
    sweep.finished_at = Some(tx.now());
    end(run, tx.now(), None);
    tx.park_row(&ParkedRow {
        connection_id: sweep.connection_id,
        entity: sweep.entity,
        remote_id: sweep.id.to_string(),
        code: SWEEP_BRAKE.to_owned(),
        message: message.clone(),
        raw: json!({ "sweep": sweep.id, "known": sweep.known, "missing": sweep.missing }).to_string(),
        mapping_version: connection.connector.descriptor().version.to_owned(),
    })
    .await?;
    let key = AlertKey::entity(AlertKind::DeletesHeld, sweep.connection_id, sweep.entity);
    tx.raise_alert(&key, i64::from(sweep.missing), &message).await?;
    Ok(())
}

/// Nothing of a sweep that stopped waits for a person any more.
async fn release_brake(tx: &Tx, sweep: &SweepRecord) -> Result<(), StoreError> {
    tx.unpark_row(sweep.connection_id, sweep.entity, &sweep.id.to_string()).await?;
    let key = AlertKey::entity(AlertKind::DeletesHeld, sweep.connection_id, sweep.entity);
    tx.close_alert(&key).await.map(|_| ())
}
