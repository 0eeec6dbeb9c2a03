//! Reading again what a person names: one kind of record, one record, or a window of time. What will be done is said
//! first; the readings themselves are back-fills, which the engine works on.

use crosstie_domain::{
    Instant, Refusal, Refusals, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::{BackfillId, ConnectionId, SweepId},
    integration::{
        AlertKey, AlertKind, BackfillRecord, BackfillSlice, BackfillStatus, Entity, Freshness, RunTrigger, SweepRecord,
    },
};
use crosstie_store::{
    Reads, Tx,
    integration::{backfills_by_ids, connections_by_ids, freshness_of, identities_of, known_in_window, sweeps_by_ids},
};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    idempotency::{Request, decided},
};

/// Rows that a page holds at most, as far as can be said before.
const PAGE_ROWS: i64 = 100;
/// Slices of one window, at most.
const MOST_SLICES: i64 = 12;
/// The shortest slice, in milliseconds.
const SHORTEST_SLICE_MS: i64 = 86_400_000;

/// What to read again.
#[derive(Debug, Clone, Serialize)]
pub struct Refresh {
    /// The connection to read.
    pub connection_id: ConnectionId,
    /// One kind of record; all that are read from there when neither this nor a record is named.
    pub entity: Option<Entity>,
    /// One record, by its identifier in the hub.
    pub record_id: Option<String>,
    /// One record, by its id there; the kind of record must be named with it.
    pub remote_id: Option<String>,
    /// Only what changed there at this moment or later.
    pub since: Option<Instant>,
    /// Only what changed there up to this moment; up to now when it is left out.
    pub until: Option<Instant>,
    /// Whether to say only what would be done.
    pub dry_run: bool,
    /// The key under which it is done once.
    pub idempotency_key: Option<String>,
}

/// What a refresh does with one kind of record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshStep {
    /// The kind of record.
    pub entity: Entity,
    /// The one record that is read, by its id there.
    pub remote_id: Option<String>,
    /// Where the window begins; none for the beginning of all.
    pub since: Option<Instant>,
    /// Where it ends.
    pub until: Instant,
    /// In how many slices it is read.
    pub slices: i32,
    /// How many records the hub knows in it.
    pub known: i64,
    /// How many pages that makes, about.
    pub estimated_pages: i64,
    /// How many calls to the other system that makes, about.
    pub estimated_calls: i64,
}

/// What a refresh does, and the back-fills that do it; none when it was only asked what would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// What is read.
    pub steps: Vec<RefreshStep>,
    /// What is not touched by it, in words.
    pub untouched: Vec<String>,
    /// The back-fills that were begun.
    pub backfills: Vec<BackfillRecord>,
}

/// A slice of a back-fill that is not begun.
pub fn new_slice(backfill: &BackfillRecord, position: i32, since: Option<Instant>, until: Instant) -> BackfillSlice {
    BackfillSlice {
        backfill_id: backfill.id,
        position,
        since,
        until,
        more: None,
        status: BackfillStatus::Waiting,
        run_id: None,
        pages: 0,
        rows_read: 0,
        rows_changed: 0,
        rows_parked: 0,
        failures: 0,
        next_attempt_at: Some(backfill.created_at),
        error_code: None,
        error_message: None,
    }
}

impl App {
    /// Says what reading again would do and, unless it is only asked, begins it.
    ///
    /// # Errors
    /// As the database.
    pub async fn refresh(&self, auth: &AuthContext, input: Refresh) -> Result<Decision<Refreshed>, AppError> {
        decided(|| self.try_refresh(auth, &input)).await
    }

    async fn try_refresh(&self, auth: &AuthContext, input: &Refresh) -> Result<Decision<Refreshed>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("refresh", input.idempotency_key.as_deref().filter(|_| !input.dry_run), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let steps = match plan(&tx, auth, input).await? {
            Ok(steps) => steps,
            Err(refusals) => return Ok(Err(refusals)),
        };
        if let Some(earlier) = earlier {
            let ids: Vec<BackfillId> = earlier.split(' ').filter_map(|id| id.parse().ok()).collect();
            let backfills = backfills_by_ids(&tx, &RowScope::All, &ids).await?;
            return Ok(Ok(Refreshed { steps, untouched: untouched(), backfills }));
        }
        let mut backfills = Vec::new();
        for step in steps.iter().filter(|_| !input.dry_run) {
            backfills.push(begin(&tx, auth, input.connection_id, step).await?);
        }
        if !input.dry_run {
            let ids: Vec<String> = backfills.iter().map(|backfill| backfill.id.to_string()).collect();
            request.keep(&tx, auth, ids.join(" ")).await?;
            tx.commit().await?;
        }
        Ok(Ok(Refreshed { steps, untouched: untouched(), backfills }))
    }

    /// Ends a back-fill; what it read so far stays.
    ///
    /// # Errors
    /// As the database.
    pub async fn cancel_backfill(&self, id: BackfillId) -> Result<Decision<BackfillRecord>, AppError> {
        let tx = self.store().begin().await?;
        let ended = tx.cancel_backfill(id).await?;
        let Some(backfill) = backfills_by_ids(&tx, &RowScope::All, &[id]).await?.pop() else {
            return Ok(Err(no_such("backfillId", "back-fill")));
        };
        if !ended {
            let message = "It has ended already.";
            return Ok(Err(vec![Refusal::new("backfillId", UserErrorCode::InvalidTransition, message)]));
        }
        tx.commit().await?;
        Ok(Ok(backfill))
    }

    /// Lets a sweep go on that stopped because it would remove too much.
    ///
    /// # Errors
    /// As the database.
    pub async fn confirm_sweep(&self, auth: &AuthContext, id: SweepId) -> Result<Decision<SweepRecord>, AppError> {
        let tx = self.store().begin().await?;
        let confirmed = tx.confirm_sweep(id, &auth.principal.to_string()).await?;
        let Some(sweep) = sweeps_by_ids(&tx, &RowScope::All, &[id]).await?.pop() else {
            return Ok(Err(no_such("sweepId", "sweep")));
        };
        if !confirmed {
            let message = "It does not wait for a confirmation.";
            return Ok(Err(vec![Refusal::new("sweepId", UserErrorCode::InvalidTransition, message)]));
        }
        tx.unpark_row(sweep.connection_id, sweep.entity, &sweep.id.to_string()).await?;
        tx.close_alert(&AlertKey::entity(AlertKind::DeletesHeld, sweep.connection_id, sweep.entity)).await?;
        tx.commit().await?;
        Ok(Ok(sweep))
    }
}

fn no_such(field: &str, what: &str) -> Refusals {
    vec![Refusal::new(field, UserErrorCode::NotFound, format!("There is no such {what}."))]
}

fn untouched() -> Vec<String> {
    [
        "The schedule and the place of the incremental reading.",
        "Every record of which a newer state is known.",
        "Records of other connections, and other kinds of record than these, apart from accounts that are referred to.",
        "Anything at the other system: it is only read.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What will be read, or why that cannot be.
async fn plan(db: &Tx, auth: &AuthContext, input: &Refresh) -> Result<Decision<Vec<RefreshStep>>, AppError> {
    if connections_by_ids(db, &auth.rows, &[input.connection_id]).await?.is_empty() {
        return Ok(Err(no_such("connectionId", "connection")));
    }
    let now = db.now();
    let until = input.until.map_or(now, |until| until.min(now));
    if input.since.is_some_and(|since| since >= until) {
        let message = "The window must begin before it ends, and before now.";
        return Ok(Err(vec![Refusal::new("since", UserErrorCode::Invalid, message)]));
    }
    let reads = freshness_of(db, now, &[input.connection_id]).await?;
    let is_read = |entity: Entity| reads.iter().any(|one: &Freshness| one.entity == entity);
    if let Some(entity) = input.entity.filter(|entity| !is_read(*entity)) {
        let message = format!("Nothing of the kind {} is read from this connection.", entity.as_str());
        return Ok(Err(vec![Refusal::new("entity", UserErrorCode::Invalid, message)]));
    }
    let windowed = input.since.is_some() || input.until.is_some();
    let records = match (&input.record_id, &input.remote_id) {
        (Some(_), Some(_)) => {
            let message = "Name the record either by its identifier here or by its id there.";
            return Ok(Err(vec![Refusal::new("remoteId", UserErrorCode::Invalid, message)]));
        }
        (None, None) => None,
        _ if windowed => {
            let message = "A window of time does not go with one record.";
            return Ok(Err(vec![Refusal::new("since", UserErrorCode::Invalid, message)]));
        }
        (Some(record), None) => {
            let known = identities_of(db, &auth.rows, std::slice::from_ref(record)).await?;
            let here = known.into_iter().filter(|identity| identity.connection_id == input.connection_id);
            let here: Vec<_> = here
                .filter(|identity| is_read(identity.entity))
                .map(|identity| (identity.entity, identity.remote_id))
                .collect();
            if here.is_empty() {
                return Ok(Err(no_such("recordId", "record at this connection")));
            }
            Some(here)
        }
        (None, Some(remote_id)) => {
            let Some(entity) = input.entity else {
                let message = "Name the kind of record with the record's id.";
                return Ok(Err(vec![Refusal::new("entity", UserErrorCode::Required, message)]));
            };
            if remote_id.is_empty() || remote_id.len() > 255 || remote_id.contains('\0') {
                let message = "An id has 1 to 255 bytes, none of them NUL.";
                return Ok(Err(vec![Refusal::new("remoteId", UserErrorCode::Invalid, message)]));
            }
            Some(vec![(entity, remote_id.clone())])
        }
    };
    if let Some(records) = records {
        let one = |(entity, remote_id): (Entity, String)| RefreshStep {
            entity,
            remote_id: Some(remote_id),
            since: None,
            until,
            slices: 1,
            known: 1,
            estimated_pages: 0,
            estimated_calls: 1,
        };
        return Ok(Ok(records.into_iter().map(one).collect()));
    }
    let mut steps = Vec::new();
    for one in reads.iter().filter(|one| input.entity.is_none_or(|entity| entity == one.entity)) {
        steps.push(window(db, input, (one.entity, until)).await?);
    }
    Ok(Ok(steps))
}

async fn window(db: &impl Reads, input: &Refresh, (entity, until): (Entity, Instant)) -> Result<RefreshStep, AppError> {
    let known = known_in_window(db, (input.connection_id, entity), (input.since, until)).await?;
    let slices = bounds(input.since, until).len();
    let pages = (known + PAGE_ROWS - 1) / PAGE_ROWS;
    let estimated_pages = pages.max(i64::try_from(slices).unwrap_or(1));
    Ok(RefreshStep {
        entity,
        remote_id: None,
        since: input.since,
        until,
        slices: i32::try_from(slices).unwrap_or(i32::MAX),
        known,
        estimated_pages,
        // A page takes a call for its rows and, with many vendors, another for what they refer to.
        estimated_calls: estimated_pages * 2,
    })
}

/// The slices of a window, the latest first: what is recent is wanted first.
fn bounds(since: Option<Instant>, until: Instant) -> Vec<(Option<Instant>, Instant)> {
    let Some(since) = since else { return vec![(None, until)] };
    let length = until.ms_since(since);
    let count = (length / SHORTEST_SLICE_MS).clamp(1, MOST_SLICES);
    let edge = |number: i64| if number == count { until } else { since.plus_ms(length * number / count) };
    (0..count).rev().map(|number| (Some(edge(number)), edge(number + 1))).collect()
}

async fn begin(
    tx: &Tx,
    auth: &AuthContext,
    connection_id: ConnectionId,
    step: &RefreshStep,
) -> Result<BackfillRecord, AppError> {
    let backfill = BackfillRecord {
        id: tx.new_id(),
        connection_id,
        entity: step.entity,
        trigger: RunTrigger::Refresh,
        remote_id: step.remote_id.clone(),
        since: step.since,
        until: step.until,
        status: BackfillStatus::Waiting,
        requested_by: auth.principal.to_string(),
        created_at: tx.now(),
        finished_at: None,
    };
    tx.save_backfill(&backfill).await?;
    for (position, (since, until)) in (0..).zip(bounds(step.since, step.until)) {
        tx.save_slice(&new_slice(&backfill, position, since, until)).await?;
    }
    Ok(backfill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_a_window_without_a_gap_and_the_latest_is_first() {
        let at = |days: i64| -> Instant {
            "2026-01-01T00:00:00Z".parse::<Instant>().expect("an instant").plus_ms(days * 86_400_000)
        };
        for (days, expected) in [(1, 1), (2, 2), (7, 7), (400, 12)] {
            let slices = bounds(Some(at(0)), at(days));
            assert_eq!(slices.len(), expected, "{days} days");
            assert_eq!((slices[0].1, slices.last().expect("one").0), (at(days), Some(at(0))));
            assert!(slices.windows(2).all(|pair| pair[0].0 == Some(pair[1].1)), "{slices:?}");
        }
        assert_eq!(bounds(None, at(5)), [(None, at(5))]);
    }
}
