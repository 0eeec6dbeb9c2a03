//! Records that a system has no more: what says so becomes a claim, and one that comes back is read by its id before it
//! is believed.

use std::collections::HashMap;

use crosstie_app::{App, Deleted, Gone};
use crosstie_domain::{
    Instant,
    ids::SweepId,
    integration::{DeleteEvidence, Entity},
};
use crosstie_sdk::{AnyReader, Fault, MappedRow};
use crosstie_store::{
    Tx,
    integration::{ClaimedEvent, EventOutcome, event_history, gone_among},
};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, ReadRow, Source, apply, is_usable_id, with_references},
    schedule::next_try,
};

/// Which of these rows the hub believes to be gone, by their ids, and since when.
pub(crate) async fn believed_gone(
    tx: &Tx,
    connection: &Connection,
    rows: &[ReadRow],
) -> Result<HashMap<(Entity, String), Instant>, ApplyError> {
    let mut by_entity: HashMap<Entity, Vec<&str>> = HashMap::new();
    for row in rows {
        if let MappedRow::Good(seen) = &row.row
            && is_usable_id(&seen.key.remote_id)
        {
            by_entity.entry(row.entity).or_default().push(&seen.key.remote_id);
        }
    }
    let mut gone = HashMap::new();
    for (entity, ids) in by_entity {
        let found = gone_among(tx, connection.record.id, entity, &ids).await?;
        gone.extend(found.into_iter().map(|(id, at)| ((entity, id), at)));
    }
    Ok(gone)
}

/// Reads those rows of a list by their ids that the hub believes to be gone: a list can lag behind. What is gone indeed
/// is left out.
pub(crate) async fn without_ghosts(
    app: &App,
    connection: &Connection,
    reader: &dyn AnyReader,
    rows: Vec<MappedRow>,
) -> Result<Vec<MappedRow>, ApplyError> {
    let ids: Vec<&str> = rows
        .iter()
        .filter_map(|row| match row {
            MappedRow::Good(seen) => Some(seen.key.remote_id.as_str()),
            MappedRow::Bad { .. } | MappedRow::Gone { .. } => None,
        })
        .filter(|id| is_usable_id(id))
        .collect();
    let gone = gone_among(app.store(), connection.record.id, reader.entity(), &ids).await?;
    if gone.is_empty() {
        return Ok(rows);
    }
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let back = match &row {
            MappedRow::Good(seen) => gone.contains_key(&seen.key.remote_id),
            MappedRow::Bad { .. } | MappedRow::Gone { .. } => false,
        };
        if !back {
            kept.push(row);
            continue;
        }
        match reader.read_one(&connection.net, row.remote_id().unwrap_or_default()).await {
            Ok(now) => kept.push(now),
            Err(Fault::Gone | Fault::Merged { .. }) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(kept)
}

/// A record that a system does not have, and what says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missing<'a> {
    pub(crate) entity: Entity,
    pub(crate) remote_id: &'a str,
    pub(crate) evidence: DeleteEvidence,
    pub(crate) merged_into: Option<&'a str>,
    pub(crate) sweep: Option<SweepId>,
    pub(crate) asked_at: Instant,
}

/// Claims that a record is gone. Nothing of it waits among the parked rows any more.
pub(crate) async fn claim(
    app: &App,
    tx: &Tx,
    (connection, because): (&Connection, Because),
    missing: Missing<'_>,
) -> Result<Deleted, ApplyError> {
    let Missing { entity, remote_id, evidence, merged_into, sweep, asked_at } = missing;
    let gone = Gone { entity, remote_id, evidence, merged_into, sweep, asked_at };
    let label = connection.mapping_label();
    let source = Source::of(tx, connection, because).await?;
    let deleted = app.claim_deleted(tx, source.origin(&label), gone).await?;
    if deleted != Deleted::AskAgain {
        tx.unpark_row(connection.record.id, entity, remote_id).await?;
    }
    if let Deleted::Claimed { .. } = deleted {
        let (name, entity) = (connection.record.name.clone(), entity.as_str());
        metrics::counter!("crosstie_deletes_claimed_total", "connection" => name, "entity" => entity).increment(1);
    }
    Ok(deleted)
}

impl Engine {
    /// What becomes of an event whose record is not there: a deletion that the event announces is believed, and without
    /// that a second reading must find nothing either.
    pub(crate) async fn event_gone(
        &self,
        connection: &Connection,
        event: &ClaimedEvent,
        asked_at: Instant,
    ) -> Result<Option<EventOutcome>, ApplyError> {
        let history = event_history(self.app.store(), event.id).await?;
        let (event_type, last_code) = history.unwrap_or_default();
        let announced = connection.connector.inbound().is_some_and(|inbound| inbound.says_deleted(&event_type));
        let evidence = match last_code.as_deref() {
            _ if announced => DeleteEvidence::Announced,
            Some(code) if code == Fault::Gone.code() => DeleteEvidence::NotFound,
            _ => {
                let (code, message) = (Fault::Gone.code().to_owned(), Fault::Gone.to_string());
                let at = next_try(self.app.store().now(), event.attempts, &Fault::Gone);
                return Ok(Some(EventOutcome::Retry { at, code, message }));
            }
        };
        let (entity, remote_id) = (event.entity, event.remote_id.as_str());
        let missing = Missing { entity, remote_id, evidence, merged_into: None, sweep: None, asked_at };
        self.event_missing(connection, event, missing, &[]).await
    }

    /// What becomes of an event whose record was merged into another one, which is read first.
    pub(crate) async fn event_merged(
        &self,
        connection: &Connection,
        event: &ClaimedEvent,
        (asked_at, into): (Instant, &str),
    ) -> Result<Option<EventOutcome>, ApplyError> {
        let reader = crate::apply::reader(connection, event.entity).ok_or(Fault::Unsupported)?;
        let read_at = self.app.store().now();
        let row = reader.read_one(&connection.net, into).await?;
        let rows = with_references(&self.app, connection, (event.entity, read_at), vec![row]).await?;
        let missing = Missing {
            entity: event.entity,
            remote_id: &event.remote_id,
            evidence: DeleteEvidence::Merged,
            merged_into: Some(into),
            sweep: None,
            asked_at,
        };
        self.event_missing(connection, event, missing, &rows).await
    }

    async fn event_missing(
        &self,
        connection: &Connection,
        event: &ClaimedEvent,
        missing: Missing<'_>,
        rows: &[ReadRow],
    ) -> Result<Option<EventOutcome>, ApplyError> {
        let because = Because::Event(event.id);
        let tx = self.app.store().begin().await?;
        apply(&self.app, &tx, connection, because, rows).await?;
        if claim(&self.app, &tx, (connection, because), missing).await? == Deleted::AskAgain {
            return Err(Fault::Stale.into());
        }
        tx.event_ended(event, &EventOutcome::Processed).await?;
        tx.commit().await?;
        Ok(None)
    }
}
