//! Pauses of connections: who ordered them, when and why, and who ended them.

use crosstie_domain::{
    access::Principal,
    ids::{ConnectionId, DomainEventId},
    integration::{PauseRecord, PauseScope},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks, pipeline::texts};

#[derive(FromQueryResult)]
struct PauseRow {
    connection_id: String,
    what: String,
    paused_by: String,
    reason: Option<String>,
    paused_at: i64,
    resumed_by: Option<String>,
    resume_reason: Option<String>,
    resumed_at: Option<i64>,
}

impl TryFrom<PauseRow> for PauseRecord {
    type Error = StoreError;

    fn try_from(row: PauseRow) -> Result<Self, StoreError> {
        Ok(Self {
            connection_id: codec::id("connection_pauses.connection_id", &row.connection_id)?,
            what: codec::word("connection_pauses.what", row.what)?,
            paused_by: row.paused_by,
            reason: row.reason,
            paused_at: codec::instant("connection_pauses.paused_at", row.paused_at)?,
            resumed_by: row.resumed_by,
            resume_reason: row.resume_reason,
            resumed_at: codec::instant_opt("connection_pauses.resumed_at", row.resumed_at)?,
        })
    }
}

/// The pauses of these connections that last.
///
/// # Errors
/// As the database.
pub async fn open_pauses(db: &impl Reads, connections: &[ConnectionId]) -> Result<Vec<PauseRecord>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM connection_pauses WHERE resumed_at IS NULL AND connection_id IN ({}) ORDER BY id",
        marks(1, connections.len())
    );
    let values = texts(connections).into_iter().map(Into::into).collect();
    db.connection().all::<PauseRow>(&sql, values).await?.into_iter().map(PauseRecord::try_from).collect()
}

/// The newest pauses of each of these connections, at most so many of each, the newest first.
///
/// # Errors
/// As the database.
pub async fn pauses_of(
    db: &impl Reads,
    connections: &[ConnectionId],
    limit: i64,
) -> Result<Vec<PauseRecord>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM (SELECT connection_pauses.*, ROW_NUMBER() OVER (PARTITION BY connection_id ORDER BY id DESC) \
         AS place FROM connection_pauses WHERE connection_id IN ({})) AS numbered WHERE place <= $1 ORDER BY id DESC",
        marks(2, connections.len())
    );
    let mut values: Vec<sea_orm::Value> = vec![limit.into()];
    values.extend(texts(connections).into_iter().map(Into::into));
    db.connection().all::<PauseRow>(&sql, values).await?.into_iter().map(PauseRecord::try_from).collect()
}

/// Whether a part of a connection is paused.
///
/// # Errors
/// As the database.
pub async fn is_paused(db: &impl Reads, connection: ConnectionId, what: PauseScope) -> Result<bool, StoreError> {
    Ok(open_pauses(db, &[connection]).await?.iter().any(|pause| pause.what == what))
}

impl Tx {
    /// Pauses one part of a connection. A write that is about to be sent waits for this transaction, or this one for it.
    /// Returns whether it was not paused before.
    ///
    /// # Errors
    /// As the database.
    pub async fn pause_connection(
        &self,
        connection: ConnectionId,
        part: PauseScope,
        (actor, reason): (Principal, Option<&str>),
    ) -> Result<bool, StoreError> {
        let now = self.now().micros();
        let sql = "UPDATE connections SET updated_at = $1 WHERE id = $2";
        self.connection().run(sql, vec![now.into(), connection.to_string().into()]).await?;
        let id: DomainEventId = self.new_id();
        let row = vec![
            ("id", id.to_string().into()),
            ("connection_id", connection.to_string().into()),
            ("what", part.as_str().into()),
            ("paused_by", actor.to_string().into()),
            ("reason", reason.map(str::to_owned).into()),
            ("paused_at", now.into()),
        ];
        let ignore = " ON CONFLICT (connection_id, what) WHERE resumed_at IS NULL DO NOTHING";
        Ok(self.connection().insert("connection_pauses", vec![row], ignore).await? > 0)
    }

    /// Ends the pause of one part of a connection. Returns whether it was paused.
    ///
    /// # Errors
    /// As the database.
    pub async fn resume_connection(
        &self,
        connection: ConnectionId,
        part: PauseScope,
        (actor, reason): (Principal, Option<&str>),
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE connection_pauses SET resumed_by = $1, resume_reason = $2, resumed_at = $3 \
                   WHERE connection_id = $4 AND what = $5 AND resumed_at IS NULL";
        let values = vec![
            actor.to_string().into(),
            reason.map(str::to_owned).into(),
            self.now().micros().into(),
            connection.to_string().into(),
            part.as_str().into(),
        ];
        Ok(self.connection().run(sql, values).await? > 0)
    }
}
