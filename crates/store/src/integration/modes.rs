//! How far connections go, and the effects that wait because a connection does not send.

use crosstie_domain::{
    Instant,
    access::Principal,
    ids::{ConnectionId, DomainEventId},
    integration::{ConnectionMode, EffectRecord, PauseScope},
};
use sea_orm::FromQueryResult;

use super::is_paused;
use crate::{Listed, Reads, StoreError, Tx, codec, db::marks};

/// A change of a connection's mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    /// How far it went before.
    pub was: ConnectionMode,
    /// How far it goes since.
    pub mode: ConnectionMode,
    /// Who changed it, as principals are written.
    pub actor: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// When.
    pub changed_at: Instant,
}

#[derive(FromQueryResult)]
struct ModeChangeRow {
    connection_id: String,
    was: String,
    mode: String,
    actor: String,
    reason: Option<String>,
    changed_at: i64,
}

/// The newest changes of each of these connections' modes, at most so many of each, the newest first.
///
/// # Errors
/// As the database.
pub async fn mode_changes(
    db: &impl Reads,
    connections: &[ConnectionId],
    limit: i64,
) -> Result<Vec<(ConnectionId, ModeChange)>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM (SELECT connection_modes.*, ROW_NUMBER() OVER (PARTITION BY connection_id ORDER BY id DESC) \
         AS place FROM connection_modes WHERE connection_id IN ({})) AS numbered WHERE place <= $1 ORDER BY id DESC",
        marks(2, connections.len())
    );
    let mut values = vec![limit.into()];
    values.extend(connections.iter().map(|id| id.to_string().into()));
    let rows: Vec<ModeChangeRow> = db.connection().all(&sql, values).await?;
    let read = |row: ModeChangeRow| {
        let change = ModeChange {
            was: codec::word("connection_modes.was", row.was)?,
            mode: codec::word("connection_modes.mode", row.mode)?,
            actor: row.actor,
            reason: row.reason,
            changed_at: codec::instant("connection_modes.changed_at", row.changed_at)?,
        };
        Ok((codec::id("connection_modes.connection_id", &row.connection_id)?, change))
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromQueryResult)]
struct ModeRow {
    mode: String,
}

/// The effects of a connection that are neither done nor refused, at most so many, in the order in which they go out.
///
/// # Errors
/// As the database.
pub async fn waiting_effects(
    db: &impl Reads,
    connection: ConnectionId,
    limit: i64,
) -> Result<Vec<EffectRecord>, StoreError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE effects.connection_id = $1 AND effects.next_attempt_at IS NOT NULL \
         ORDER BY effects.created_at, effects.outbox_id LIMIT $2",
        EffectRecord::SELECT,
        EffectRecord::FROM
    );
    let rows = db.connection().all(&sql, vec![connection.to_string().into(), limit.into()]).await?;
    rows.into_iter().map(EffectRecord::record).collect()
}

#[derive(FromQueryResult)]
struct CountRow {
    count: i64,
}

/// How many effects of a connection are neither done nor refused.
///
/// # Errors
/// As the database.
pub async fn count_waiting_effects(db: &impl Reads, connection: ConnectionId) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) AS count FROM effects WHERE connection_id = $1 AND next_attempt_at IS NOT NULL";
    let row: Option<CountRow> = db.connection().one(sql, vec![connection.to_string().into()]).await?;
    Ok(row.map_or(0, |row| row.count))
}

impl Tx {
    /// Changes how far a connection goes, and writes down who did it. A write that is about to be sent waits for this
    /// transaction, or this one for it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not in the mode that it was thought to be in.
    pub async fn switch_connection_mode(
        &self,
        connection: ConnectionId,
        (was, mode): (ConnectionMode, ConnectionMode),
        (actor, reason): (Principal, Option<&str>),
    ) -> Result<(), StoreError> {
        let now = self.now().micros();
        let id = connection.to_string();
        let sql = "UPDATE connections SET mode = $1, updated_at = $2 WHERE id = $3 AND mode = $4";
        let values = vec![mode.as_str().into(), now.into(), id.clone().into(), was.as_str().into()];
        if self.connection().run(sql, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        let change: DomainEventId = self.new_id();
        let row = vec![
            ("id", change.to_string().into()),
            ("connection_id", id.into()),
            ("was", was.as_str().into()),
            ("mode", mode.as_str().into()),
            ("actor", actor.to_string().into()),
            ("reason", reason.map(str::to_owned).into()),
            ("changed_at", now.into()),
        ];
        self.connection().insert("connection_modes", vec![row], "").await.map(|_| ())
    }

    /// Whether anything may be sent through a connection; if so, nobody changes that before the transaction ends.
    pub(crate) async fn may_send(&self, connection: ConnectionId) -> Result<bool, StoreError> {
        let lock = if self.connection().is_postgres() { " FOR SHARE" } else { "" };
        let sql = format!("SELECT mode FROM connections WHERE id = $1{lock}");
        let row: Option<ModeRow> = self.connection().one(&sql, vec![connection.to_string().into()]).await?;
        let Some(row) = row else { return Ok(true) };
        let sends = codec::word::<ConnectionMode>("connections.mode", row.mode)?.sends();
        Ok(sends && !is_paused(self, connection, PauseScope::Sending).await?)
    }
}
