//! Writing what the hub shows into the systems that hold something else, and knowing the echo of it again.

use std::collections::BTreeMap;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ConnectionId,
    integration::{
        EffectKey, Entity, Intent, UNREAD, UpdateRecord,
        authority::{Pushed, Speaker},
        erasure::marks_in,
    },
};
use crosstie_store::{
    EffectRequest, Tx,
    integration::{ClaimedEffect, Fields, Identity, Pushes, fields_of, identity, pushes_of},
};
use serde_json::Value;

use super::fields::Ranks;
use crate::AppError;

/// Which fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which<'a> {
    /// Those that a connection is configured to be kept true in.
    Configured,
    /// These, and one that a person decided, wherever it can be written.
    AndDecided(&'a str),
}

/// Asks the systems that hold something else than the hub shows to be written, each once for all its fields.
///
/// # Errors
/// As the database.
pub(crate) async fn ask(
    tx: &Tx,
    record: (Entity, &str),
    fields: &mut Fields,
    which: Which<'_>,
) -> Result<(), AppError> {
    let speakers = fields.values().flat_map(|state| state.voices.keys());
    let mut connections: Vec<ConnectionId> = speakers.map(|speaker| speaker.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    let pushes: BTreeMap<ConnectionId, Pushes> =
        pushes_of(tx, &RowScope::All, &connections).await?.into_iter().collect();
    if pushes.is_empty() {
        return Ok(());
    }
    let live = Ranks::of(tx, connections.into_iter()).await?;
    let wanted = wanted(tx, record, fields, (which, &pushes, &live));
    request(tx, &wanted).await
}

/// A system that is to be written.
pub(super) struct Wanted {
    key: EffectKey,
    connection: ConnectionId,
    entity: Entity,
    record_id: String,
    intent: Intent,
}

/// The systems that are to be written, each once for all its fields, which note that they were asked.
pub(super) fn wanted(
    tx: &Tx,
    (entity, record_id): (Entity, &str),
    fields: &mut Fields,
    (which, pushes, live): (Which<'_>, &BTreeMap<ConnectionId, Pushes>, &Ranks),
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if pushes.is_empty() {
        return wanted;
    }
    let mut speakers: Vec<Speaker> = fields.values().flat_map(|state| state.voices.keys().cloned()).collect();
    speakers.sort();
    speakers.dedup();
    for speaker in speakers {
        let Some(allowed) = pushes.get(&speaker.connection).filter(|_| live.knows(speaker.connection)) else {
            continue;
        };
        let (mut changes, mut expected) = (BTreeMap::new(), BTreeMap::new());
        for (field, state) in fields.iter_mut() {
            let name = format!("{}.{field}", entity.as_str());
            let decided = which == Which::AndDecided(field) && allowed.writable.contains(&name);
            if !(decided || allowed.pushed.contains(&name)) {
                continue;
            }
            // A mark of what was erased is never written anywhere else.
            let is_erased = |value: &Value| !marks_in(&value.to_string()).is_empty();
            let Some(value) = state.to_push(&speaker).filter(|value| !is_erased(value)).cloned() else { continue };
            let stands = state.voices.get(&speaker).map_or(Value::Null, |voice| voice.value.clone());
            state.note_asked(&speaker);
            changes.insert(field.clone(), value);
            expected.insert(field.clone(), stands);
        }
        if changes.is_empty() {
            continue;
        }
        wanted.push(Wanted {
            key: EffectKey::push(tx.new_id::<crosstie_domain::ids::kind::Outbox>().uuid()),
            connection: speaker.connection,
            entity,
            record_id: record_id.to_owned(),
            intent: Intent::UpdateRecord(UpdateRecord {
                entity,
                record_id: record_id.to_owned(),
                remote_id: speaker.remote_id.clone(),
                order_key: record_id.to_owned(),
                changes,
                expected,
            }),
        });
    }
    wanted
}

/// Asks systems to be written.
pub(super) async fn request(tx: &Tx, wanted: &[Wanted]) -> Result<(), AppError> {
    let requests = wanted.iter().map(|Wanted { key, connection, entity, record_id, intent }| EffectRequest {
        key,
        entity: *entity,
        record_id,
        connection_id: *connection,
        intent,
    });
    Ok(tx.request_effects(&requests.collect::<Vec<_>>()).await?)
}

/// Notes what was written at a system: what it says from now on, and at which version, so that its echo is known. The
/// version orders what is read later; it is not passed over, since what somebody else changed meanwhile is in it, too.
///
/// # Errors
/// As the database.
pub(crate) async fn done(
    tx: &Tx,
    effect: &ClaimedEffect,
    (update, remote_version, asked_at): (&UpdateRecord, Option<&str>, Instant),
) -> Result<(), AppError> {
    let speaker = Speaker { connection: effect.connection_id, remote_id: update.remote_id.clone() };
    let record = here(tx, &speaker, update).await?;
    tx.lock_record(&record).await?;
    let found = fields_of(tx, &RowScope::All, std::slice::from_ref(&record)).await?.pop();
    let Some((_, mut fields)) = found else { return Ok(()) };
    for (field, value) in &update.changes {
        let Some(state) = fields.get_mut(field) else { continue };
        let pushed = Pushed {
            value: value.clone(),
            remote_version: remote_version.map(str::to_owned),
            effect_key: effect.key.as_str().to_owned(),
        };
        state.note_pushed(&speaker, pushed, tx.now());
    }
    // The agreed value may have moved on meanwhile.
    ask(tx, (update.entity, &record), &mut fields, Which::Configured).await?;
    tx.save_fields(update.entity, &record, &fields).await?;
    let link = identity(tx, speaker.connection, update.entity, &speaker.remote_id).await?;
    if let (Some(link), Some(version)) = (link, remote_version) {
        let last_seen_at = link.last_seen_at.max(asked_at);
        let unread = version.parse::<Instant>().is_ok().then(|| format!("{version}{UNREAD}"));
        let remote_version = unread.or_else(|| link.remote_version.clone());
        tx.save_identity(&Identity { remote_version, last_seen_at, ..link }).await?;
    }
    Ok(())
}

/// Notes that a system was not written: what it holds stays visible, and is written again when something is decided.
///
/// # Errors
/// As the database.
pub(crate) async fn refused(tx: &Tx, effect: &ClaimedEffect, update: &UpdateRecord) -> Result<(), AppError> {
    let speaker = Speaker { connection: effect.connection_id, remote_id: update.remote_id.clone() };
    let record = here(tx, &speaker, update).await?;
    tx.lock_record(&record).await?;
    let found = fields_of(tx, &RowScope::All, std::slice::from_ref(&record)).await?.pop();
    let Some((_, mut fields)) = found else { return Ok(()) };
    for (field, value) in &update.changes {
        if let Some(state) = fields.get_mut(field) {
            state.note_refused(&speaker, value);
        }
    }
    Ok(tx.save_fields(update.entity, &record, &fields).await?)
}

/// The record that the remote one is by now: it may have been linked to another one since.
async fn here(tx: &Tx, speaker: &Speaker, update: &UpdateRecord) -> Result<String, AppError> {
    let link = identity(tx, speaker.connection, update.entity, &speaker.remote_id).await?;
    Ok(link.map_or_else(|| update.record_id.clone(), |link| link.record_id))
}
