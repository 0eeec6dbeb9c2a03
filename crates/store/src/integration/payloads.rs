//! What webhooks brought, byte by byte, and inbound events that are taken up again.

use crosstie_domain::{
    access::RowScope,
    ids::InboundEventId,
    integration::{Entity, InboundEventRecord, InboundPayload, InboundStatus},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks, pipeline::texts};

/// The states from which an event can be taken up again.
const REPLAYABLE: [InboundStatus; 4] =
    [InboundStatus::Parked, InboundStatus::Retrying, InboundStatus::Processed, InboundStatus::Ignored];

#[derive(FromQueryResult)]
struct PayloadRow {
    id: String,
    received_at: i64,
    headers: String,
    body: Vec<u8>,
}

/// What the webhooks with these identifiers brought, as far as it is kept. Their events were found under the scope.
///
/// # Errors
/// As the database.
pub async fn inbound_payloads(
    db: &impl Reads,
    _found_under: &RowScope,
    ids: &[String],
) -> Result<Vec<InboundPayload>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM inbound_payloads WHERE id IN ({})", marks(1, ids.len()));
    let rows: Vec<PayloadRow> = db.connection().all(&sql, ids.iter().map(|id| id.clone().into()).collect()).await?;
    let read = |row: PayloadRow| {
        Ok(InboundPayload {
            id: row.id,
            headers: codec::json("inbound_payloads.headers", &row.headers)?,
            body: row.body,
            received_at: codec::instant("inbound_payloads.received_at", row.received_at)?,
        })
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromQueryResult)]
struct IdRow {
    id: String,
}

fn replayable() -> String {
    REPLAYABLE.map(|status| format!("'{}'", codec::text(&status))).join(", ")
}

impl Tx {
    /// Puts events back into line, with all their tries. Left alone are those that somebody works on, that wait already,
    /// that are duplicates, or that point at no record. Returns those that are in line.
    ///
    /// # Errors
    /// As the database.
    pub async fn events_again(&self, ids: &[InboundEventId]) -> Result<Vec<InboundEventId>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE inbound_events SET status = $1, next_attempt_at = $2, attempts = 0, error_code = NULL, \
             error_message = NULL, processed_at = NULL WHERE id IN ({}) AND status IN ({}) AND lease_until IS NULL \
             AND entity IS NOT NULL AND remote_id IS NOT NULL RETURNING id",
            marks(3, ids.len()),
            replayable()
        );
        let mut values = vec![codec::text(&InboundStatus::Received).into(), self.now().micros().into()];
        values.extend(texts(ids).into_iter().map(Into::into));
        let rows: Vec<IdRow> = self.connection().all(&sql, values).await?;
        rows.iter().map(|row| codec::id("inbound_events.id", &row.id)).collect()
    }

    /// Lets an event that is parked or ignored point at a record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it does not stand so any more.
    pub async fn point_event_at(
        &self,
        event: &InboundEventRecord,
        (entity, remote_id): (Entity, &str),
    ) -> Result<(), StoreError> {
        let sql = "UPDATE inbound_events SET entity = $1, remote_id = $2 WHERE id = $3 AND status = $4 \
                   AND lease_until IS NULL";
        let values = vec![
            entity.as_str().into(),
            remote_id.into(),
            event.id.to_string().into(),
            codec::text(&event.status).into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// Notes that the events in a delivery that could not be read were taken in by themselves.
    ///
    /// # Errors
    /// As the database.
    pub async fn event_was_read(&self, event: InboundEventId) -> Result<(), StoreError> {
        let sql = "UPDATE inbound_events SET status = $1, processed_at = $2, error_code = NULL, error_message = NULL \
                   WHERE id = $3 AND status = $4";
        let values = vec![
            codec::text(&InboundStatus::Processed).into(),
            self.now().micros().into(),
            event.to_string().into(),
            codec::text(&InboundStatus::Parked).into(),
        ];
        self.connection().run(sql, values).await.map(|_| ())
    }
}
