//! The effect ledger as people see it, and what they do about effects that wait for them.

use crosstie_domain::{
    access::RowScope,
    ids::OutboxId,
    integration::{EffectKey, EffectRecord, EffectStatus, Intent},
};
use sea_orm::FromQueryResult;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::ClaimedEffect;
use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::marks, page, pipeline::texts,
};

/// What effects are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum EffectColumn {
    /// Identifier; effects that were asked for later have larger ones.
    Id,
    /// Key.
    Key,
    /// Connection.
    Connection,
    /// What is asked.
    Intent,
    /// The record that it is for.
    Record,
    /// How far it has come.
    Status,
    /// Why it waits.
    Code,
    /// When it was asked for.
    CreatedAt,
    /// When it is tried next.
    NextAttemptAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct EffectRow {
    outbox_id: String,
    effect_key: String,
    connection_id: String,
    record_id: String,
    status: String,
    attempts: i32,
    next_attempt_at: Option<i64>,
    first_sent_at: Option<i64>,
    remote_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    version: i32,
    created_at: i64,
    finished_at: Option<i64>,
    payload: Option<String>,
}

impl Listed for EffectRecord {
    type Column = EffectColumn;
    type Row = EffectRow;
    const SELECT: &'static str = "effects.*, COALESCE(effects.corrected, outbox.payload) AS payload";
    // What was asked goes after its time, once it is done.
    const FROM: &'static str = "effects LEFT JOIN outbox ON outbox.id = effects.outbox_id";
    const ID: &'static str = "effects.outbox_id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: EffectColumn) -> Expression {
        match column {
            EffectColumn::Id => Expression::Required("effects.outbox_id"),
            EffectColumn::Key => Expression::Required("effects.effect_key"),
            EffectColumn::Connection => Expression::Required("effects.connection_id"),
            // As [`EffectKey::intent`].
            EffectColumn::Intent => Expression::Required(
                "CASE WHEN effects.effect_key LIKE 'order:%' THEN 'place_order' \
                 WHEN effects.effect_key LIKE 'invoice:%' THEN 'issue_invoice' ELSE 'update_record' END",
            ),
            EffectColumn::Record => Expression::Required("effects.record_id"),
            EffectColumn::Status => Expression::Required("effects.status"),
            EffectColumn::Code => Expression::Optional("effects.error_code"),
            EffectColumn::CreatedAt => Expression::Required("effects.created_at"),
            EffectColumn::NextAttemptAt => Expression::Optional("effects.next_attempt_at"),
        }
    }

    fn record(row: EffectRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("effects.outbox_id", &row.outbox_id)?,
            connection_id: codec::id("effects.connection_id", &row.connection_id)?,
            intent: EffectKey::from_stored(row.effect_key.clone()).intent(),
            key: row.effect_key,
            payload: row.payload.map(|payload| codec::json("outbox.payload", &payload)).transpose()?,
            record_id: row.record_id,
            status: codec::word("effects.status", row.status)?,
            attempts: row.attempts,
            next_attempt_at: codec::instant_opt("effects.next_attempt_at", row.next_attempt_at)?,
            first_sent_at: codec::instant_opt("effects.first_sent_at", row.first_sent_at)?,
            remote_id: row.remote_id,
            error_code: row.error_code,
            error_message: row.error_message,
            version: row.version,
            created_at: codec::instant("effects.created_at", row.created_at)?,
            finished_at: codec::instant_opt("effects.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: EffectColumn) -> Json {
        match column {
            EffectColumn::Id => json!(self.id.to_string()),
            EffectColumn::Key => json!(self.key),
            EffectColumn::Connection => json!(self.connection_id.to_string()),
            EffectColumn::Intent => json!(self.intent.as_str()),
            EffectColumn::Record => json!(self.record_id),
            EffectColumn::Status => json!(self.status.as_str()),
            EffectColumn::Code => json!(self.error_code),
            EffectColumn::CreatedAt => json!(self.created_at.micros()),
            EffectColumn::NextAttemptAt => json!(self.next_attempt_at.map(crosstie_domain::Instant::micros)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of effects.
///
/// # Errors
/// As the database.
pub async fn effects(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<EffectColumn>,
) -> Result<PageResult<EffectRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The effects with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn effects_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[OutboxId],
) -> Result<Vec<EffectRecord>, StoreError> {
    page::by_ids(db, scope, "effects.outbox_id", &texts(ids)).await
}

#[derive(FromQueryResult)]
struct AgainRow {
    outbox_id: String,
}

#[derive(FromQueryResult)]
struct FenceRow {
    fence: i64,
}

impl Tx {
    /// Makes effects due again, under their old keys and with all their tries, and lets them stand so: `SENT` where
    /// something may have happened, so that it is asked about first. Left alone are effects that somebody works on,
    /// that are done, or that a person must settle. Returns those that are due.
    ///
    /// # Errors
    /// As the database.
    pub async fn effects_again(&self, ids: &[OutboxId], as_status: EffectStatus) -> Result<Vec<OutboxId>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let left_alone = [EffectStatus::Done, EffectStatus::Uncertain].map(|status| format!("'{}'", status.as_str()));
        // One that was sent and has failed since is asked about first, whatever is said here.
        let sql = format!(
            "UPDATE effects SET status = CASE WHEN status = '{}' THEN status ELSE $1 END, next_attempt_at = $2, \
             attempts = 0, error_code = NULL, error_message = NULL, finished_at = NULL, version = version + 1 \
             WHERE outbox_id IN ({}) AND status NOT IN ({}) AND lease_until IS NULL RETURNING outbox_id",
            EffectStatus::Sent.as_str(),
            marks(3, ids.len()),
            left_alone.join(", "),
        );
        let mut values = vec![as_status.as_str().into(), self.now().micros().into()];
        values.extend(texts(ids).into_iter().map(Into::into));
        let rows: Vec<AgainRow> = self.connection().all(&sql, values).await?;
        rows.iter().map(|row| codec::id("effects.outbox_id", &row.outbox_id)).collect()
    }

    /// Notes what a person found out: an effect that nobody knew the outcome of is done, under this id at the other
    /// system, or was never done and is sent again. Returns it as a worker would have it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not at the version that was read.
    pub async fn settle_effect(
        &self,
        effect: &EffectRecord,
        intent: &Intent,
        remote_id: Option<&str>,
    ) -> Result<ClaimedEffect, StoreError> {
        let now = self.now();
        let status = if remote_id.is_some() { EffectStatus::Done } else { EffectStatus::Waiting };
        let again = remote_id.is_none();
        let sql = "UPDATE effects SET status = $1, remote_id = $2, next_attempt_at = $3, finished_at = $4, \
                   attempts = CASE WHEN $3 IS NULL THEN attempts ELSE 0 END, error_code = NULL, error_message = NULL, \
                   version = version + 1, fence = fence + 1 WHERE outbox_id = $5 AND version = $6 AND status = $7 \
                   RETURNING fence";
        let values = vec![
            status.as_str().into(),
            remote_id.map(str::to_owned).into(),
            again.then(|| now.micros()).into(),
            (!again).then(|| now.micros()).into(),
            effect.id.to_string().into(),
            effect.version.into(),
            effect.status.as_str().into(),
        ];
        let row: Option<FenceRow> = self.connection().one(sql, values).await?;
        let Some(FenceRow { fence }) = row else { return Err(StoreError::Conflict) };
        Ok(ClaimedEffect {
            key: EffectKey::from_stored(effect.key.clone()),
            connection_id: effect.connection_id,
            record_id: effect.record_id.clone(),
            intent: intent.clone(),
            outcome_unknown: false,
            attempts: effect.attempts,
            first_sent_at: effect.first_sent_at,
            fence,
        })
    }

    /// Keeps a corrected intent of an effect beside what was decided.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not at the version that was read.
    pub async fn correct_effect(&self, effect: &EffectRecord, intent: &Intent) -> Result<(), StoreError> {
        let sql = "UPDATE effects SET corrected = $1, version = version + 1 \
                   WHERE outbox_id = $2 AND version = $3 AND status = $4";
        let values = vec![
            codec::text(intent).into(),
            effect.id.to_string().into(),
            effect.version.into(),
            effect.status.as_str().into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
