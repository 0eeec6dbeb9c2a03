//! Drift: what a system says now is compared with what the hub believes that it says. What differs is counted and put
//! right.

use crosstie_app::Deleted;
use crosstie_domain::{
    Instant,
    integration::{
        AlertKey, AlertKind, DeleteEvidence, DriftReportRecord, DriftScope, Entity, RunStatus, RunTrigger,
        SyncRunRecord,
    },
};
use crosstie_sdk::{Ask, Fault, MappedRow, More, Observed, ReadEntity};
use crosstie_store::{
    StoreError,
    integration::{cursor, drawn_at_random, gone_since, identity, last_compared, latest_assertion},
};
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, reader, with_references},
    exchanges::Work,
    gone::{Missing, claim},
    heartbeat::{LEASE_MS, while_held},
    places::Places,
    window::{PAGE_ROWS, count, end},
};

const DAY_MS: i64 = 86_400_000;
/// How long it is from one full comparison to the next.
const FULL_EVERY_MS: i64 = 7 * DAY_MS;
/// The drift from which on a person is told, in a million: one record in a hundred.
const ALERT_PER_MILLION: i64 = 10_000;

/// When and how much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftOptions {
    /// The minute of the day, in UTC, at which it is compared; never by itself when left out.
    pub at_minute: Option<u32>,
    /// Records that are drawn for a comparison by sample.
    pub sample: u32,
}

impl Default for DriftOptions {
    fn default() -> Self {
        Self { at_minute: Some(120), sample: 100 }
    }
}

/// A comparison at work.
struct Comparing<'a> {
    connection: &'a Connection,
    declared: &'a ReadEntity,
    report: DriftReportRecord,
    run: SyncRunRecord,
    /// Up to when everything was read: what changed later is not expected to be known.
    watermark: Option<Instant>,
}

impl Engine {
    /// Compares one kind of record now; `None` while somebody else does.
    ///
    /// # Errors
    /// As the database; what the vendor did wrong is in the report.
    pub async fn compare(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        scope: DriftScope,
    ) -> Result<Option<DriftReportRecord>, StoreError> {
        let store = self.app.store();
        let run = self.new_run(connection.record.id, declared.entity, RunTrigger::Drift);
        let name = format!("drift:{}:{}", connection.record.id, declared.entity.as_str());
        let Some(lease) = store.lease(&name, &format!("{}:{}", self.name, run.id), LEASE_MS).await? else {
            return Ok(None);
        };
        let work = Work::of_run(run.id, run.trigger);
        let comparing = self.compare_held(connection, declared, (scope, run));
        let compared = while_held(work.on(comparing), || store.keep_lease(&lease, LEASE_MS)).await;
        store.release_lease(&lease).await?;
        self.note_contact(connection, work.contact()).await?;
        compared.map(Some)
    }

    async fn compare_held(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
        (scope, run): (DriftScope, SyncRunRecord),
    ) -> Result<DriftReportRecord, StoreError> {
        self.begin_run(&run).await?;
        let store = self.app.store();
        let report = DriftReportRecord {
            id: store.new_id(),
            connection_id: connection.record.id,
            entity: declared.entity,
            scope,
            status: RunStatus::Running,
            compared: 0,
            differing: 0,
            healed: 0,
            error_code: None,
            error_message: None,
            started_at: store.now(),
            finished_at: None,
        };
        let cursor = cursor(store, connection.record.id, declared.entity).await?;
        let watermark = cursor.and_then(|cursor| cursor.watermark);
        let mut comparing = Comparing { connection, declared, report, run, watermark };
        let compared = match scope {
            DriftScope::Sample => self.compare_sample(&mut comparing).await,
            DriftScope::Full => self.compare_all(&mut comparing).await,
        };
        let fault = match compared {
            Ok(()) => None,
            Err(ApplyError::App(crosstie_app::AppError::Store(error))) => return Err(error),
            Err(ApplyError::Vendor(fault)) => Some(fault),
        };
        self.report_drift(&mut comparing, fault.as_ref()).await?;
        Ok(comparing.report)
    }

    async fn compare_sample(&self, comparing: &mut Comparing<'_>) -> Result<(), ApplyError> {
        let (connection, entity) = (comparing.connection, comparing.declared.entity);
        let reader = reader(connection, entity).ok_or(Fault::Unsupported)?;
        let sample = connection.reading.drift.sample;
        for remote_id in drawn_at_random(self.app.store(), (connection.record.id, entity), sample).await? {
            self.unless_paused(connection).await?;
            let mut asked_at = self.app.store().now();
            let mut row = reader.read_one(&connection.net, &remote_id).await;
            if row == Err(Fault::Gone) {
                // One answer that there is no such record is not enough.
                asked_at = self.app.store().now();
                row = reader.read_one(&connection.net, &remote_id).await;
            }
            match row {
                Ok(row) => self.compare_rows(comparing, (vec![row], asked_at)).await?,
                Err(Fault::Gone) => self.found_missing(comparing, &remote_id, asked_at).await?,
                // Its own events tell of a merge.
                Err(Fault::Merged { .. }) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    async fn compare_all(&self, comparing: &mut Comparing<'_>) -> Result<(), ApplyError> {
        let (connection, until) = (comparing.connection, comparing.report.started_at);
        let reader = reader(connection, comparing.declared.entity).ok_or(Fault::Unsupported)?;
        let (mut more, mut places) = (None, Places::default());
        loop {
            let ask = Ask { since: None, until, more: more.take(), limit: PAGE_ROWS };
            self.unless_paused(connection).await?;
            let asked_at = self.app.store().now();
            let page = reader.read_page(&connection.net, &ask).await?;
            places.follow(ask.more.as_ref(), &page.more)?;
            self.compare_rows(comparing, (page.rows, asked_at)).await?;
            match page.more {
                More::At(place) => more = Some(place),
                More::End => return Ok(()),
            }
        }
    }

    /// Compares rows, and applies them again: what differs is put right by that.
    async fn compare_rows(
        &self,
        comparing: &mut Comparing<'_>,
        (rows, asked_at): (Vec<MappedRow>, Instant),
    ) -> Result<(), ApplyError> {
        let (connection, entity) = (comparing.connection, comparing.declared.entity);
        let mut differing = Vec::new();
        let mut compared = 0;
        for row in rows {
            match &row {
                MappedRow::Good(seen) if self.is_in_flight(comparing, seen) => continue,
                MappedRow::Good(seen) => {
                    compared += 1;
                    if self.differs(connection, entity, seen).await? {
                        differing.push(row);
                    }
                }
                MappedRow::Bad { .. } => {}
                MappedRow::Gone { remote_id, .. } => {
                    if self.is_believed(connection, entity, remote_id).await? {
                        compared += 1;
                        differing.push(row);
                    }
                }
            }
        }
        let found = i32::try_from(differing.len()).unwrap_or(i32::MAX);
        let rows = with_references(&self.app, connection, (entity, asked_at), differing).await?;
        let (mut report, mut run) = (comparing.report.clone(), comparing.run.clone());
        self.keep_rows((connection, Because::Again(run.id)), &rows, async |tx, applied| {
            report.compared += compared;
            report.differing += found;
            let asked_for = rows.iter().filter(|row| !row.is_reference).count();
            report.healed += i32::try_from(asked_for).unwrap_or(0).saturating_sub(applied.parked).min(found);
            count(&mut run, (1, compared), applied);
            tx.save_drift_report(&report).await?;
            Ok(tx.save_run(&run).await?)
        })
        .await?;
        (comparing.report, comparing.run) = (report, run);
        Ok(())
    }

    /// Whether a row changed after everything was read: nobody expects that it is known.
    fn is_in_flight(&self, comparing: &Comparing<'_>, seen: &Observed) -> bool {
        let changed_at = seen.key.version.as_deref().and_then(|version| version.parse::<Instant>().ok());
        changed_at.zip(comparing.watermark).is_some_and(|(changed_at, watermark)| changed_at > watermark)
    }

    /// Whether the hub believes that the system says something else of a record, or knows nothing of it.
    async fn differs(&self, connection: &Connection, entity: Entity, seen: &Observed) -> Result<bool, ApplyError> {
        let (store, id, remote_id) = (self.app.store(), connection.record.id, seen.key.remote_id.as_str());
        let Some(known) = identity(store, id, entity, remote_id).await? else { return Ok(true) };
        if gone_since(store, id, entity, remote_id).await?.is_some() {
            return Ok(true);
        }
        let believed = latest_assertion(store, id, &known.record_id, remote_id).await?;
        let Some(believed) = believed else { return Ok(true) };
        let same = believed.fields.len() == seen.fields.len()
            && seen
                .fields
                .iter()
                .all(|(name, field)| believed.fields.get(name).is_some_and(|old| old.value == field.value));
        Ok(!same)
    }

    async fn is_believed(&self, connection: &Connection, entity: Entity, remote_id: &str) -> Result<bool, ApplyError> {
        let (store, id) = (self.app.store(), connection.record.id);
        Ok(identity(store, id, entity, remote_id).await?.is_some()
            && gone_since(store, id, entity, remote_id).await?.is_none())
    }

    async fn found_missing(
        &self,
        comparing: &mut Comparing<'_>,
        remote_id: &str,
        asked_at: Instant,
    ) -> Result<(), ApplyError> {
        let missing = Missing {
            entity: comparing.declared.entity,
            remote_id,
            evidence: DeleteEvidence::NotFound,
            merged_into: None,
            sweep: None,
            asked_at,
        };
        let because = Because::Again(comparing.run.id);
        let tx = self.app.store().begin().await?;
        let deleted = claim(&self.app, &tx, (comparing.connection, because), missing).await?;
        comparing.report.compared += 1;
        comparing.report.differing += 1;
        comparing.report.healed += i32::from(matches!(deleted, Deleted::Claimed { .. }));
        tx.save_drift_report(&comparing.report).await?;
        Ok(tx.commit().await?)
    }

    async fn report_drift(&self, comparing: &mut Comparing<'_>, fault: Option<&Fault>) -> Result<(), StoreError> {
        let (name, entity) = (&comparing.connection.record.name, comparing.declared.entity);
        let (report, run) = (&mut comparing.report, &mut comparing.run);
        let tx = self.app.store().begin().await?;
        end(run, tx.now(), fault);
        self.without_erased(&tx, run).await?;
        report.status = run.status;
        report.error_code = run.error_code.clone();
        report.error_message = run.error_message.clone();
        report.finished_at = run.finished_at;
        tx.save_drift_report(report).await?;
        tx.save_run(run).await?;
        let drift = DriftReportRecord::per_million(report.differing, report.compared);
        let key = AlertKey::entity(AlertKind::DriftFound, comparing.connection.record.id, entity);
        match drift {
            Some(drift) if drift >= ALERT_PER_MILLION => {
                let (differing, compared) = (report.differing, report.compared);
                let message = format!(
                    "{differing} of {compared} records of the kind {} at {name} differed from what \
                                       the hub believed. They were put right: find out why.",
                    entity.as_str()
                );
                tx.raise_alert(&key, i64::from(differing), &message).await?;
            }
            Some(_) if fault.is_none() => {
                tx.close_alert(&key).await?;
            }
            _ => {}
        }
        tx.commit().await?;
        let labels = [("connection", name.clone()), ("entity", entity.as_str().to_owned())];
        if let Some(drift) = drift.and_then(|drift| i32::try_from(drift).ok()) {
            metrics::gauge!("crosstie_drift_per_million", &labels).set(drift);
        }
        match fault {
            Some(fault) => warn!(connection.name = %name, drift.entity = entity.as_str(), drift.code = fault.code(),
                "a comparison ended early"),
            None => info!(connection.name = %name, drift.entity = entity.as_str(), drift.compared = report.compared,
                drift.differing = report.differing, "a comparison ended"),
        }
        Ok(())
    }

    /// How much of a kind of record is to be compared now, if anything: a sample each night, and everything each week.
    pub(crate) async fn comparison_due(
        &self,
        connection: &Connection,
        declared: &ReadEntity,
    ) -> Result<Option<DriftScope>, StoreError> {
        let Some(at_minute) = connection.reading.drift.at_minute else { return Ok(None) };
        let (store, key) = (self.app.store(), (connection.record.id, declared.entity));
        let now = store.now();
        let due_at = last_time_of_day(now, at_minute);
        let begun = connection.record.created_at;
        let last = last_compared(store, key, None).await?.unwrap_or(begun);
        if last >= due_at {
            return Ok(None);
        }
        let last_full = last_compared(store, key, Some(DriftScope::Full)).await?.unwrap_or(begun);
        Ok(Some(if now.ms_since(last_full) >= FULL_EVERY_MS { DriftScope::Full } else { DriftScope::Sample }))
    }
}

/// When a minute of the day last was, in UTC.
fn last_time_of_day(now: Instant, minute: u32) -> Instant {
    let into_day_ms = now.micros().div_euclid(1_000).rem_euclid(DAY_MS);
    let since_ms = (into_day_ms - i64::from(minute) * 60_000).rem_euclid(DAY_MS);
    now.plus_ms(-since_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_was_today_or_yesterday() {
        let check = |now: &str, minute: u32, expected: &str| {
            let at: Instant = now.parse().expect("an instant");
            assert_eq!(last_time_of_day(at, minute), expected.parse().expect("an instant"), "{now}");
        };
        check("2026-11-23T10:00:00Z", 120, "2026-11-23T02:00:00Z");
        check("2026-11-23T01:59:59Z", 120, "2026-11-22T02:00:00Z");
        check("2026-11-23T02:00:00Z", 120, "2026-11-23T02:00:00Z");
        check("2026-11-23T10:00:00Z", 1_439, "2026-11-22T23:59:00Z");
    }
}
