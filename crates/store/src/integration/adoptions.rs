//! Decisions that a document at billing is what the hub keeps, and the effects that they settle.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{AccountId, AdoptionId, ConnectionId},
    integration::{EffectKey, EffectStatus, Entity, adoption::AdoptionRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What adoptions are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionColumn {
    /// Identifier; later adoptions have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// The document's id at billing.
    RemoteId,
    /// The service order or milestone.
    Target,
    /// When it was undone; empty while it stands.
    UndoneAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct AdoptionRow {
    id: String,
    connection_id: String,
    entity: String,
    remote_id: String,
    target_id: String,
    record_id: String,
    from_id: String,
    effect_key: Option<String>,
    was_rejected: i32,
    score: i32,
    evidence: String,
    accepted_minor: Option<i64>,
    accepted_currency: Option<String>,
    actor: String,
    reason: Option<String>,
    adopted_at: i64,
    undone_at: Option<i64>,
    undone_by: Option<String>,
    undo_reason: Option<String>,
    version: i32,
}

impl Listed for AdoptionRecord {
    type Column = AdoptionColumn;
    type Row = AdoptionRow;
    const SELECT: &'static str = "adoptions.*";
    const FROM: &'static str = "adoptions";
    const ID: &'static str = "adoptions.id";
    const ACCOUNT: Option<&'static str> = Some("adoptions.account_id");

    fn expression(column: AdoptionColumn) -> Expression {
        match column {
            AdoptionColumn::Id => Expression::Required("adoptions.id"),
            AdoptionColumn::Connection => Expression::Required("adoptions.connection_id"),
            AdoptionColumn::Entity => Expression::Required("adoptions.entity"),
            AdoptionColumn::RemoteId => Expression::Required("adoptions.remote_id"),
            AdoptionColumn::Target => Expression::Required("adoptions.target_id"),
            AdoptionColumn::UndoneAt => Expression::Optional("adoptions.undone_at"),
        }
    }

    fn record(row: AdoptionRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("adoptions.id", &row.id)?,
            connection_id: codec::id("adoptions.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "adoptions.entity" })?,
            remote_id: row.remote_id,
            target_id: row.target_id,
            record_id: row.record_id,
            from_id: row.from_id,
            effect_key: row.effect_key,
            was_rejected: row.was_rejected != 0,
            score: row.score,
            evidence: codec::json("adoptions.evidence", &row.evidence)?,
            accepted: codec::money_opt("adoptions.accepted", row.accepted_minor, row.accepted_currency.as_deref())?,
            actor: row.actor,
            reason: row.reason,
            adopted_at: codec::instant("adoptions.adopted_at", row.adopted_at)?,
            undone_at: codec::instant_opt("adoptions.undone_at", row.undone_at)?,
            undone_by: row.undone_by,
            undo_reason: row.undo_reason,
            version: row.version,
        })
    }

    fn key(&self, column: AdoptionColumn) -> Json {
        match column {
            AdoptionColumn::Id => json!(self.id.to_string()),
            AdoptionColumn::Connection => json!(self.connection_id.to_string()),
            AdoptionColumn::Entity => json!(self.entity.as_str()),
            AdoptionColumn::RemoteId => json!(self.remote_id),
            AdoptionColumn::Target => json!(self.target_id),
            AdoptionColumn::UndoneAt => json!(self.undone_at.map(Instant::micros)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of adoptions.
///
/// # Errors
/// As the database.
pub async fn adoptions(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<AdoptionColumn>,
) -> Result<PageResult<AdoptionRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The adoptions with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn adoptions_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[AdoptionId],
) -> Result<Vec<AdoptionRecord>, StoreError> {
    page::by_ids(db, scope, "adoptions.id", &texts(ids)).await
}

#[derive(FromQueryResult)]
struct CountRow {
    count: i64,
}

/// Whether a document at billing was taken for a target once, and that was undone.
///
/// # Errors
/// As the database.
pub async fn adoption_was_undone(
    db: &impl Reads,
    (connection, entity, remote_id): (ConnectionId, Entity, &str),
    target: &str,
) -> Result<bool, StoreError> {
    let sql = "SELECT COUNT(*) AS count FROM adoptions WHERE connection_id = $1 AND entity = $2 AND remote_id = $3 \
               AND target_id = $4 AND undone_at IS NOT NULL";
    let values = vec![connection.to_string().into(), entity.as_str().into(), remote_id.into(), target.into()];
    Ok(db.connection().one::<CountRow>(sql, values).await?.is_some_and(|row| row.count > 0))
}

/// What came of settling an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It counts as done, and was not sent.
    Settled {
        /// Whether billing had refused it before.
        was_rejected: bool,
    },
    /// Nothing was asked under this key.
    Absent,
    /// It was sent, or is done: nobody but the one who sends knows what comes of it.
    Sent,
}

#[derive(FromQueryResult)]
struct StatusRow {
    status: String,
}

impl Tx {
    /// Saves an adoption of a document of an account: a new one at version 1, or the next version of one that nobody
    /// else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_adoption(&self, adoption: &AdoptionRecord, account: AccountId) -> Result<(), StoreError> {
        let row = vec![
            ("id", adoption.id.to_string().into()),
            ("connection_id", adoption.connection_id.to_string().into()),
            ("entity", adoption.entity.as_str().into()),
            ("remote_id", adoption.remote_id.clone().into()),
            ("account_id", account.to_string().into()),
            ("target_id", adoption.target_id.clone().into()),
            ("record_id", adoption.record_id.clone().into()),
            ("from_id", adoption.from_id.clone().into()),
            ("effect_key", adoption.effect_key.clone().into()),
            ("was_rejected", i32::from(adoption.was_rejected).into()),
            ("score", adoption.score.into()),
            ("evidence", codec::json_text(&adoption.evidence).into()),
            ("accepted_minor", adoption.accepted.map(|money| money.minor).into()),
            ("accepted_currency", adoption.accepted.map(|money| money.currency.to_string()).into()),
            ("actor", adoption.actor.clone().into()),
            ("reason", adoption.reason.clone().into()),
            ("adopted_at", adoption.adopted_at.micros().into()),
            ("undone_at", adoption.undone_at.map(Instant::micros).into()),
            ("undone_by", adoption.undone_by.clone().into()),
            ("undo_reason", adoption.undo_reason.clone().into()),
            ("version", adoption.version.into()),
        ];
        self.save_versioned("adoptions", row).await
    }

    /// Lets an effect count as done that was never sent, because what it asks for is there already. A worker that has
    /// taken it finds that it is not its own any more.
    ///
    /// # Errors
    /// As the database.
    pub async fn adopt_effect(&self, key: &EffectKey, remote_id: &str) -> Result<Settled, StoreError> {
        let lock = if self.connection().is_postgres() { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT status FROM effects WHERE effect_key = $1{lock}");
        let Some(row) = self.connection().one::<StatusRow>(&sql, vec![key.as_str().into()]).await? else {
            return Ok(Settled::Absent);
        };
        let status: EffectStatus = codec::word("effects.status", row.status)?;
        if !matches!(status, EffectStatus::Waiting | EffectStatus::Rejected) {
            return Ok(Settled::Sent);
        }
        let sql = "UPDATE effects SET status = $1, next_attempt_at = NULL, lease_until = NULL, fence = fence + 1, \
                   version = version + 1, remote_id = $2, error_code = NULL, error_message = NULL, finished_at = $3 WHERE effect_key = $4";
        let values = vec![
            codec::text(&EffectStatus::Done).into(),
            remote_id.into(),
            self.now().micros().into(),
            key.as_str().into(),
        ];
        self.connection().run(sql, values).await?;
        Ok(Settled::Settled { was_rejected: status == EffectStatus::Rejected })
    }

    /// Lets an effect that was settled stand again as it stood before: it waits to be sent, or for a person to have it
    /// sent again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it does not count as done any more.
    pub async fn release_effect(&self, key: &str, was_rejected: bool) -> Result<(), StoreError> {
        let now = self.now().micros();
        let (status, due, code, finished) = match was_rejected {
            true => (EffectStatus::Rejected, None, Some("REJECTED".to_owned()), Some(now)),
            false => (EffectStatus::Waiting, Some(now), None, None),
        };
        let sql = "UPDATE effects SET status = $1, next_attempt_at = $2, fence = fence + 1, version = version + 1, remote_id = NULL, \
                   error_code = $3, finished_at = $4 WHERE effect_key = $5 AND status = $6";
        let values = vec![
            codec::text(&status).into(),
            due.into(),
            code.into(),
            finished.into(),
            key.into(),
            codec::text(&EffectStatus::Done).into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
