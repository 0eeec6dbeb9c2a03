//! Every change is written down twice in its own transaction: in the history of the hub, and in the outbox from which
//! subscribers and other systems hear of it.

use crosstie_domain::{
    Instant,
    access::Principal,
    ids::{DomainEventId, OutboxId},
    integration::{EffectKey, EffectStatus, Entity, Intent},
};
use serde_json::{Value, json};

use crate::{Reads, StoreError, Tx, codec, db::Columns};

/// A change that has been made to a record.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The kind of record.
    pub entity: Entity,
    /// The record.
    pub id: &'a str,
    /// What happened, in the past tense: `sow_signed`.
    pub event: &'a str,
    /// Who did it.
    pub actor: Principal,
    /// The record's version after the change.
    pub version: i32,
}

impl Tx {
    /// Writes a change down: history and outbox.
    ///
    /// # Errors
    /// As the database.
    pub async fn publish(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let now = self.now();
        let (mut history, mut outbox) = (Vec::new(), Vec::new());
        for change in changes {
            let payload = json!({ "version": change.version });
            let event: DomainEventId = self.new_id();
            history.push(vec![
                ("id", event.to_string().into()),
                ("occurred_at", now.micros().into()),
                ("aggregatetype", change.entity.as_str().into()),
                ("aggregateid", change.id.into()),
                ("type", change.event.into()),
                ("actor", change.actor.to_string().into()),
                ("data", payload.to_string().into()),
            ]);
            outbox.push(self.outbox_row(change.entity, change.id, change.event, &payload, now).1);
        }
        self.connection().insert("domain_events", history, "").await?;
        self.append_outbox(outbox).await
    }

    /// Asks another system for something: the intent goes to the outbox, and the effect ledger holds it until it is
    /// done. The same key is asked for once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key was asked for before.
    pub async fn request_effect(&self, request: EffectRequest<'_>) -> Result<(), StoreError> {
        self.request_effects(&[request]).await
    }

    /// The same for several effects of different keys, in their order.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when any of the keys was asked for before.
    pub async fn request_effects(&self, requests: &[EffectRequest<'_>]) -> Result<(), StoreError> {
        let now = self.now();
        let (mut outbox, mut effects) = (Vec::new(), Vec::new());
        for EffectRequest { key, entity, record_id, connection_id, intent } in requests {
            let payload = serde_json::to_value(intent).unwrap_or(Value::Null);
            let kind = format!("{}_requested", codec::text(&intent.kind()));
            let (outbox_id, row) = self.outbox_row(*entity, record_id, &kind, &payload, now);
            outbox.push(row);
            effects.push(vec![
                ("effect_key", key.as_str().into()),
                ("outbox_id", outbox_id.to_string().into()),
                ("connection_id", connection_id.to_string().into()),
                ("order_key", intent.order_key().into()),
                ("record_id", (*record_id).into()),
                ("status", codec::text(&EffectStatus::Waiting).into()),
                ("attempts", 0.into()),
                ("next_attempt_at", now.micros().into()),
                ("fence", 0_i64.into()),
                ("created_at", now.micros().into()),
            ]);
        }
        let wanted = u64::try_from(effects.len()).unwrap_or(u64::MAX);
        self.append_outbox(outbox).await?;
        let kept = self.connection().insert("effects", effects, " ON CONFLICT (effect_key) DO NOTHING").await?;
        if kept < wanted { Err(StoreError::Conflict) } else { Ok(()) }
    }

    fn outbox_row(&self, entity: Entity, id: &str, kind: &str, payload: &Value, now: Instant) -> (OutboxId, Columns) {
        let outbox_id: OutboxId = self.new_id();
        let row = vec![
            ("id", outbox_id.to_string().into()),
            ("aggregatetype", entity.as_str().into()),
            ("aggregateid", id.into()),
            ("type", kind.into()),
            ("payload", payload.to_string().into()),
            ("created_at", now.micros().into()),
        ];
        (outbox_id, row)
    }

    async fn append_outbox(&self, rows: Vec<Columns>) -> Result<(), StoreError> {
        let unplaced = rows.iter().map(|row| vec![("outbox_id", row[0].1.clone())]).collect();
        self.connection().insert("outbox", rows, "").await?;
        self.connection().insert("outbox_unplaced", unplaced, "").await?;
        Ok(())
    }
}

/// What is asked of another system.
#[derive(Debug, Clone, Copy)]
pub struct EffectRequest<'a> {
    /// The key under which it happens once.
    pub key: &'a EffectKey,
    /// The kind of record that it is for.
    pub entity: Entity,
    /// The record that it is for.
    pub record_id: &'a str,
    /// The system that is asked.
    pub connection_id: crosstie_domain::ids::ConnectionId,
    /// What is asked.
    pub intent: &'a Intent,
}
