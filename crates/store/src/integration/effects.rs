//! The effect ledger: what was asked of other systems, and how far each has come. A key is there once.

use std::collections::HashMap;

use crosstie_domain::{
    Instant,
    ids::ConnectionId,
    integration::{EffectKey, EffectStatus, Intent},
};
use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError, Tx, codec, texts::Texts};

/// An effect that a worker has taken.
#[derive(Debug, Clone)]
pub struct ClaimedEffect {
    /// Its key.
    pub key: EffectKey,
    /// The system that is asked.
    pub connection_id: ConnectionId,
    /// The record that it is for.
    pub record_id: String,
    /// What is asked.
    pub intent: Intent,
    /// Whether an earlier try was sent and its answer is not known.
    pub outcome_unknown: bool,
    /// How often it was tried before, with whatever outcome: the waits between tries grow by it.
    pub attempts: i32,
    /// When it was first sent.
    pub first_sent_at: Option<Instant>,
    /// The worker's fence: a result under an older one is not kept.
    pub fence: i64,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectOutcome {
    /// Done; the other system calls it so.
    Done {
        /// The id at the other system.
        remote_id: String,
    },
    /// Refused for good.
    Rejected {
        /// A stable code.
        code: String,
        /// Why, for operators.
        message: String,
    },
    /// To be tried again.
    Retry {
        /// When.
        at: Instant,
        /// Whether it may have happened.
        outcome_unknown: bool,
        /// A stable code.
        code: String,
        /// Why, for operators.
        message: String,
    },
    /// The connection waits for a person: it is looked at again, and the try does not count.
    Held {
        /// When.
        at: Instant,
        /// Whether it may have happened.
        outcome_unknown: bool,
        /// A stable code.
        code: String,
        /// Why, for operators.
        message: String,
    },
    /// It was the last try.
    Exhausted {
        /// A stable code.
        code: String,
        /// Why, for operators.
        message: String,
    },
    /// It may have happened and must not be sent twice.
    Uncertain {
        /// A stable code.
        code: String,
        /// Why, for operators.
        message: String,
    },
}

#[derive(FromQueryResult)]
struct StandingRow {
    effect_key: String,
    status: String,
}

/// How far effects with these keys have come, as far as they were asked for.
///
/// # Errors
/// As the database.
pub async fn effects_by_keys(db: &impl Reads, keys: &[EffectKey]) -> Result<HashMap<String, EffectStatus>, StoreError> {
    let sql = |keys: Texts| format!("SELECT effect_key, status FROM effects WHERE {}", keys.among("effect_key"));
    let keys: Vec<&str> = keys.iter().map(EffectKey::as_str).collect();
    let rows: Vec<StandingRow> = db.connection().all_among(&[], &keys, sql).await?;
    rows.into_iter().map(|row| Ok((row.effect_key, codec::word("effects.status", row.status)?))).collect()
}

#[derive(FromQueryResult)]
struct ClaimRow {
    effect_key: String,
    connection_id: String,
    record_id: String,
    status: String,
    attempts: i32,
    first_sent_at: Option<i64>,
    fence: i64,
    payload: String,
    open_until: Option<i64>,
}

/// The next due effect. Of a customer's effects at one system only the one in front is due: that which was taken and
/// did not end, else the one that was asked for first. What is asked of a connection that does not send waits, and of one
/// that a person paused, and of one whose system does not answer.
// The order of a line is that of its index; by the identifier alone PostgreSQL may walk all effects there ever were.
const FRONT: &str = "SELECT e.effect_key FROM effects e \
    WHERE e.next_attempt_at <= $1 AND (e.lease_until IS NULL OR e.lease_until <= $1) \
    AND e.connection_id NOT IN (SELECT c.id FROM connections c WHERE c.mode <> 'two-way' \
    UNION ALL SELECT p.connection_id FROM connection_pauses p WHERE p.what = 'SENDING' AND p.resumed_at IS NULL \
    UNION ALL SELECT b.connection_id FROM connection_breakers b WHERE b.open_until > $1 OR b.trial_until > $1) \
    AND e.outbox_id = COALESCE(\
    (SELECT f.outbox_id FROM effects f WHERE f.connection_id = e.connection_id AND f.order_key = e.order_key \
    AND f.lease_until IS NOT NULL), \
    (SELECT f.outbox_id FROM effects f WHERE f.connection_id = e.connection_id AND f.order_key = e.order_key \
    AND f.next_attempt_at IS NOT NULL ORDER BY f.created_at, f.outbox_id LIMIT 1)) \
    ORDER BY e.next_attempt_at, e.outbox_id LIMIT 1";

/// How often a worker looks again at once when others were faster.
const RACES: usize = 5;

#[derive(FromQueryResult)]
struct FrontRow {
    #[expect(dead_code, reason = "only whether there is a row matters")]
    effect_key: String,
}

impl Store {
    /// Takes the next effect that is due, for so many milliseconds. Effects of one customer at one system are taken
    /// one at a time, in the order in which they were asked for. An effect whose commit came late, after that of a
    /// later one was taken, waits until the later one ends.
    ///
    /// # Errors
    /// As the database.
    pub async fn claim_effect(&self, lease_ms: i64) -> Result<Option<ClaimedEffect>, StoreError> {
        for _ in 0..RACES {
            // Most looks find nothing: they need not wait for a turn to write.
            let now = self.now().micros();
            if self.connection().one::<FrontRow>(FRONT, vec![now.into()]).await?.is_none() {
                return Ok(None);
            }
            match self.take_effect(lease_ms).await {
                // Another worker took an effect of the same customer, which this one could not see yet.
                Err(error) if error.is_lost_race() => {}
                taken => return taken,
            }
        }
        Ok(None)
    }

    async fn take_effect(&self, lease_ms: i64) -> Result<Option<ClaimedEffect>, StoreError> {
        let tx = self.begin().await?;
        let now = tx.now();
        let skip = if tx.connection().is_postgres() { " FOR UPDATE OF e SKIP LOCKED" } else { "" };
        let sql = format!(
            "UPDATE effects SET lease_until = $2, fence = fence + 1 WHERE effect_key = ({FRONT}{skip}) \
             RETURNING effect_key, connection_id, record_id, status, attempts, first_sent_at, fence, \
             COALESCE(corrected, (SELECT o.payload FROM outbox o WHERE o.id = effects.outbox_id)) AS payload, \
             (SELECT b.open_until FROM connection_breakers b WHERE b.connection_id = effects.connection_id) AS open_until"
        );
        let values = vec![now.micros().into(), now.plus_ms(lease_ms).micros().into()];
        let Some(row) = tx.connection().one::<ClaimRow>(&sql, values).await? else { return Ok(None) };
        let status: EffectStatus = codec::word("effects.status", row.status)?;
        if row.open_until.is_some() && !tx.take_trial(&row.connection_id).await? {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(ClaimedEffect {
            key: EffectKey::from_stored(row.effect_key),
            connection_id: codec::id("effects.connection_id", &row.connection_id)?,
            record_id: row.record_id,
            intent: codec::json("outbox.payload", &row.payload)?,
            outcome_unknown: status == EffectStatus::Sent,
            attempts: row.attempts,
            first_sent_at: codec::instant_opt("effects.first_sent_at", row.first_sent_at)?,
            fence: row.fence,
        }))
    }

    /// Keeps an effect for so many milliseconds more. Returns whether it is still this worker's.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_effect(&self, effect: &ClaimedEffect, lease_ms: i64) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let sql =
            "UPDATE effects SET lease_until = $1 WHERE effect_key = $2 AND fence = $3 AND lease_until IS NOT NULL";
        let until = tx.now().plus_ms(lease_ms).micros();
        let values = vec![until.into(), effect.key.as_str().into(), effect.fence.into()];
        let kept = tx.connection().run(sql, values).await? > 0;
        tx.commit().await?;
        Ok(kept)
    }
}

impl Tx {
    /// Notes that an effect is about to be sent. From now on, whoever takes it up must ask whether it happened.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has taken it in the meantime, or the connection does not send any
    /// more.
    pub async fn effect_sending(&self, effect: &ClaimedEffect) -> Result<(), StoreError> {
        if !self.may_send(effect.connection_id).await? {
            return Err(StoreError::Conflict);
        }
        let sql = "UPDATE effects SET status = $1, first_sent_at = COALESCE(first_sent_at, $2) \
                   WHERE effect_key = $3 AND fence = $4";
        let values = vec![
            codec::text(&EffectStatus::Sent).into(),
            self.now().micros().into(),
            effect.key.as_str().into(),
            effect.fence.into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// Notes how a try ended.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has taken the effect in the meantime.
    pub async fn effect_ended(&self, effect: &ClaimedEffect, outcome: &EffectOutcome) -> Result<(), StoreError> {
        let now = self.now();
        let (status, next, remote_id, code, message) = match outcome {
            EffectOutcome::Done { remote_id } => (EffectStatus::Done, None, Some(remote_id), None, None),
            EffectOutcome::Rejected { code, message } => {
                (EffectStatus::Rejected, None, None, Some(code), Some(message))
            }
            EffectOutcome::Exhausted { code, message } => {
                (EffectStatus::Exhausted, None, None, Some(code), Some(message))
            }
            EffectOutcome::Uncertain { code, message } => {
                (EffectStatus::Uncertain, None, None, Some(code), Some(message))
            }
            EffectOutcome::Retry { at, outcome_unknown, code, message }
            | EffectOutcome::Held { at, outcome_unknown, code, message } => {
                let status = if *outcome_unknown { EffectStatus::Sent } else { EffectStatus::Waiting };
                (status, Some(at.micros()), None, Some(code), Some(message))
            }
        };
        let finished = next.is_none().then(|| now.micros());
        let tries = i32::from(!matches!(outcome, EffectOutcome::Held { .. }));
        let sql = "UPDATE effects SET status = $1, attempts = attempts + $9, next_attempt_at = $2, remote_id = $3, \
                   error_code = $4, error_message = $5, finished_at = $6, lease_until = NULL \
                   WHERE effect_key = $7 AND fence = $8";
        let values = vec![
            codec::text(&status).into(),
            next.into(),
            remote_id.cloned().into(),
            code.cloned().into(),
            message.cloned().into(),
            finished.into(),
            effect.key.as_str().into(),
            effect.fence.into(),
            tries.into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
