//! History that is mapped anew: the jobs, and the kept evidence that they work on.

use std::collections::HashMap;

use crosstie_domain::{
    Instant,
    access::{Principal, RowScope},
    ids::{ConnectionId, JobId},
    integration::{Assertion, Entity, RemapCause, RemapRecord, RemapStatus},
};
use sea_orm::FromQueryResult;

use super::{Identity, assertions_of};
use crate::{Reads, StoreError, Tx, codec, db::marks};

/// A remote record with the newest evidence of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEvidence {
    /// Which record it is.
    pub identity: Identity,
    /// What was last said of it, and the row as it came; `None` when none is kept.
    pub newest: Option<(Assertion, String)>,
}

#[derive(FromQueryResult)]
struct LinkRow {
    remote_id: String,
    record_id: String,
    state: String,
    remote_version: Option<String>,
    last_seen_at: i64,
}

#[derive(FromQueryResult)]
struct RawRow {
    assertion_id: String,
    raw: String,
}

/// The remote records of a connection after one, in the order of their ids, at most so many, each with its newest
/// evidence.
///
/// # Errors
/// As the database.
pub async fn kept_evidence(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<KeptEvidence>, StoreError> {
    let sql = "SELECT remote_id, record_id, state, remote_version, last_seen_at FROM identities \
               WHERE connection_id = $1 AND entity = $2 AND remote_id > $3 ORDER BY remote_id LIMIT $4";
    let values = vec![connection.to_string().into(), entity.as_str().into(), after.unwrap_or("").into(), limit.into()];
    let links: Vec<LinkRow> = db.connection().all(sql, values).await?;
    let records: Vec<String> = links.iter().map(|link| link.record_id.clone()).collect();
    // The records were found by their identities, whatever rows anybody may see.
    let assertions = assertions_of(db, &RowScope::All, &records).await?;
    let ours = assertions.into_iter().filter(|assertion| assertion.connection_id == connection);
    let mut newest: HashMap<(String, String), Assertion> =
        ours.map(|assertion| ((assertion.record_id.clone(), assertion.remote_id.clone()), assertion)).collect();
    let mut raws = raws(db, newest.values().map(|assertion| assertion.id.to_string()).collect()).await?;
    let read = |link: LinkRow| {
        let assertion = newest.remove(&(link.record_id.clone(), link.remote_id.clone()));
        let newest = assertion.and_then(|assertion| {
            let raw = raws.remove(&assertion.id.to_string())?;
            Some((assertion, raw))
        });
        let identity = Identity {
            connection_id: connection,
            entity,
            remote_id: link.remote_id,
            record_id: link.record_id,
            state: codec::word("identities.state", link.state)?,
            remote_version: link.remote_version,
            last_seen_at: codec::instant("identities.last_seen_at", link.last_seen_at)?,
        };
        Ok(KeptEvidence { identity, newest })
    };
    links.into_iter().map(read).collect()
}

async fn raws(db: &impl Reads, assertions: Vec<String>) -> Result<HashMap<String, String>, StoreError> {
    if assertions.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!("SELECT assertion_id, raw FROM evidence WHERE assertion_id IN ({})", marks(1, assertions.len()));
    let rows: Vec<RawRow> = db.connection().all(&sql, assertions.into_iter().map(Into::into).collect()).await?;
    Ok(rows.into_iter().map(|row| (row.assertion_id, row.raw)).collect())
}

#[derive(FromQueryResult)]
struct RemapRow {
    id: String,
    connection_id: String,
    entity: Option<String>,
    cause: String,
    status: String,
    at_entity: Option<String>,
    at_remote_id: Option<String>,
    rows_seen: i64,
    rows_changed: i64,
    rows_parked: i64,
    rows_skipped: i64,
    actor: String,
    reason: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<RemapRow> for RemapRecord {
    type Error = StoreError;

    fn try_from(row: RemapRow) -> Result<Self, StoreError> {
        let entity = |column: &'static str, text: Option<String>| {
            text.map(|text| Entity::parse(&text).ok_or(StoreError::Corrupt { column })).transpose()
        };
        let count = |rows: i64| i32::try_from(rows).unwrap_or(i32::MAX);
        Ok(Self {
            id: codec::id("remaps.id", &row.id)?,
            connection_id: codec::id("remaps.connection_id", &row.connection_id)?,
            entity: entity("remaps.entity", row.entity)?,
            cause: codec::word("remaps.cause", row.cause)?,
            status: codec::word("remaps.status", row.status)?,
            at_entity: entity("remaps.at_entity", row.at_entity)?,
            at_remote_id: row.at_remote_id,
            rows_seen: count(row.rows_seen),
            rows_changed: count(row.rows_changed),
            rows_parked: count(row.rows_parked),
            rows_skipped: count(row.rows_skipped),
            actor: row.actor,
            reason: row.reason,
            created_at: codec::instant("remaps.created_at", row.created_at)?,
            finished_at: codec::instant_opt("remaps.finished_at", row.finished_at)?,
        })
    }
}

/// The newest remappings of a connection, at most so many, the newest first.
///
/// # Errors
/// As the database.
pub async fn remaps(db: &impl Reads, connection: ConnectionId, limit: i64) -> Result<Vec<RemapRecord>, StoreError> {
    let sql = "SELECT * FROM remaps WHERE connection_id = $1 ORDER BY id DESC LIMIT $2";
    let rows: Vec<RemapRow> = db.connection().all(sql, vec![connection.to_string().into(), limit.into()]).await?;
    rows.into_iter().map(RemapRecord::try_from).collect()
}

/// One remapping.
///
/// # Errors
/// As the database.
pub async fn remap(db: &impl Reads, id: JobId) -> Result<Option<RemapRecord>, StoreError> {
    let sql = "SELECT * FROM remaps WHERE id = $1";
    db.connection().one::<RemapRow>(sql, vec![id.to_string().into()]).await?.map(RemapRecord::try_from).transpose()
}

/// The remappings that are not done, the first first.
///
/// # Errors
/// As the database.
pub async fn open_remaps(db: &impl Reads) -> Result<Vec<RemapRecord>, StoreError> {
    let sql = "SELECT * FROM remaps WHERE finished_at IS NULL ORDER BY id LIMIT 100";
    let rows: Vec<RemapRow> = db.connection().all(sql, vec![]).await?;
    rows.into_iter().map(RemapRecord::try_from).collect()
}

impl Tx {
    /// Asks for a connection's history to be mapped anew. One that waits for all of it, or for the same kind of record,
    /// begins again from the start instead of standing there twice.
    ///
    /// # Errors
    /// As the database.
    pub async fn request_remap(
        &self,
        connection: ConnectionId,
        (entity, cause): (Option<Entity>, RemapCause),
        (actor, reason): (Principal, Option<&str>),
    ) -> Result<RemapRecord, StoreError> {
        // One that is under way would not come back to what it has passed.
        let sql = "UPDATE remaps SET status = $1, finished_at = $2 WHERE connection_id = $3 AND finished_at IS NULL \
                   AND (CAST($4 AS TEXT) IS NULL OR entity = $4)";
        let entity_text = entity.map(|entity| entity.as_str().to_owned());
        let now = self.now();
        let values = vec![
            codec::text(&RemapStatus::Superseded).into(),
            now.micros().into(),
            connection.to_string().into(),
            entity_text.clone().into(),
        ];
        self.connection().run(sql, values).await?;
        let record = RemapRecord {
            id: self.new_id(),
            connection_id: connection,
            entity,
            cause,
            status: RemapStatus::Waiting,
            at_entity: None,
            at_remote_id: None,
            rows_seen: 0,
            rows_changed: 0,
            rows_parked: 0,
            rows_skipped: 0,
            actor: actor.to_string(),
            reason: reason.map(str::to_owned),
            created_at: now,
            finished_at: None,
        };
        self.save_remap(&record).await?;
        Ok(record)
    }

    /// Saves how far a remapping has come; not one that another one took the place of.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has been ended meanwhile.
    pub async fn save_remap(&self, remap: &RemapRecord) -> Result<(), StoreError> {
        let entity = |entity: Option<Entity>| entity.map(|entity| entity.as_str().to_owned());
        let row = vec![
            ("id", remap.id.to_string().into()),
            ("connection_id", remap.connection_id.to_string().into()),
            ("entity", entity(remap.entity).into()),
            ("cause", codec::text(&remap.cause).into()),
            ("status", codec::text(&remap.status).into()),
            ("at_entity", entity(remap.at_entity).into()),
            ("at_remote_id", remap.at_remote_id.clone().into()),
            ("rows_seen", i64::from(remap.rows_seen).into()),
            ("rows_changed", i64::from(remap.rows_changed).into()),
            ("rows_parked", i64::from(remap.rows_parked).into()),
            ("rows_skipped", i64::from(remap.rows_skipped).into()),
            ("actor", remap.actor.clone().into()),
            ("reason", remap.reason.clone().into()),
            ("created_at", remap.created_at.micros().into()),
            ("finished_at", remap.finished_at.map(Instant::micros).into()),
        ];
        let saved = self.connection().save("remaps", &["id"], row, "remaps.finished_at IS NULL").await?;
        if saved == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
