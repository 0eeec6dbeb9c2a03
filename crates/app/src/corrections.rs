//! What a person corrects of what could not be applied: it is kept beside the original, and lineage tells of it.

use crosstie_domain::{
    Refusal, Refusals, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::{InboundEventId, ParkedId},
    integration::{Entity, InboundEventRecord, InboundStatus, ParkedRowRecord},
};
use crosstie_store::{
    StoreError,
    integration::{inbound_events_by_ids, parked_rows_by_ids},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    App, AppError, Decision,
    connections::check_reason,
    idempotency::{Request, decided, stale},
};

/// The longest row that is kept, in bytes.
const LONGEST_ROW: usize = 500_000;
/// The longest id of a vendor that the hub takes, in bytes.
const LONGEST_ID: usize = 255;

/// A row as it should have come.
#[derive(Debug, Clone, Serialize)]
pub struct EditParkedRow {
    /// The row.
    pub row_id: ParkedId,
    /// The whole row, as JSON.
    pub raw: String,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What an event should have pointed at.
#[derive(Debug, Clone, Serialize)]
pub struct EditInboundEvent {
    /// The event.
    pub event_id: InboundEventId,
    /// The kind of record.
    pub entity: Entity,
    /// Its id at the sender.
    pub remote_id: String,
    /// How the asker thinks that the event stands.
    pub expected_status: Option<InboundStatus>,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

impl App {
    /// Corrects a row that could not be applied. It goes on waiting; to be applied it is replayed.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn edit_parked_row(
        &self,
        auth: &AuthContext,
        input: EditParkedRow,
    ) -> Result<Decision<ParkedRowRecord>, AppError> {
        decided(|| self.try_edit_parked_row(auth, &input)).await
    }

    async fn try_edit_parked_row(
        &self,
        auth: &AuthContext,
        input: &EditParkedRow,
    ) -> Result<Decision<ParkedRowRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("editParkedRow", input.idempotency_key.as_deref(), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let Some(row) = parked_rows_by_ids(&tx, &auth.rows, &[input.row_id]).await?.pop() else {
            let message = "There is no such row, or none that you may see; it may have been applied meanwhile.";
            return Ok(Err(vec![Refusal::new("parkedRowId", UserErrorCode::NotFound, message)]));
        };
        if earlier.is_some() {
            return Ok(Ok(row));
        }
        if input.expected_version.is_some_and(|expected| expected != row.version) {
            return Ok(Err(vec![stale(row.version)]));
        }
        if let Err(refusals) = check_row(&input.raw) {
            return Ok(Err(refusals));
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let by = (auth.principal, input.reason.as_deref());
        let correction = tx.append_correction(&row.id.to_string(), (&row.raw, &input.raw), by).await?;
        tx.correct_row(&row, (&input.raw, correction)).await?;
        request.keep(&tx, auth, row.id.to_string()).await?;
        let row = parked_rows_by_ids(&tx, &RowScope::All, &[row.id]).await?.pop().ok_or(StoreError::Conflict)?;
        tx.commit().await?;
        Ok(Ok(row))
    }

    /// Lets an event that is parked or ignored point at another record. It stays where it is; to be worked on it is
    /// replayed.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn edit_inbound_event(
        &self,
        auth: &AuthContext,
        input: EditInboundEvent,
    ) -> Result<Decision<InboundEventRecord>, AppError> {
        decided(|| self.try_edit_inbound_event(auth, &input)).await
    }

    async fn try_edit_inbound_event(
        &self,
        auth: &AuthContext,
        input: &EditInboundEvent,
    ) -> Result<Decision<InboundEventRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("editInboundEvent", input.idempotency_key.as_deref(), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let Some(event) = inbound_events_by_ids(&tx, &auth.rows, &[input.event_id]).await?.pop() else {
            let message = "There is no such event, or none that you may see.";
            return Ok(Err(vec![Refusal::new("inboundEventId", UserErrorCode::NotFound, message)]));
        };
        if earlier.is_some() {
            return Ok(Ok(event));
        }
        if let Some(refusal) = self.check_target(&event, input) {
            return Ok(Err(vec![refusal]));
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let was = json!({ "entity": event.entity, "remoteId": event.remote_id });
        let became = json!({ "entity": input.entity, "remoteId": input.remote_id });
        let by = (auth.principal, input.reason.as_deref());
        tx.append_correction(&event.id.to_string(), (&was.to_string(), &became.to_string()), by).await?;
        tx.point_event_at(&event, (input.entity, &input.remote_id)).await?;
        request.keep(&tx, auth, event.id.to_string()).await?;
        let event = inbound_events_by_ids(&tx, &RowScope::All, &[event.id]).await?.pop().ok_or(StoreError::Conflict)?;
        tx.commit().await?;
        Ok(Ok(event))
    }

    /// Why an event cannot point where it is to.
    fn check_target(&self, event: &InboundEventRecord, input: &EditInboundEvent) -> Option<Refusal> {
        if input.expected_status.is_some_and(|expected| expected != event.status) {
            let message = "The event does not stand so any more. Read it again, decide again.";
            return Some(Refusal::new("expectedStatus", UserErrorCode::Conflict, message));
        }
        if !matches!(event.status, InboundStatus::Parked | InboundStatus::Ignored) {
            let message = "Only an event that is parked or ignored can be corrected.";
            return Some(Refusal::new("inboundEventId", UserErrorCode::InvalidTransition, message));
        }
        if !(1..=LONGEST_ID).contains(&input.remote_id.len()) || input.remote_id.contains('\0') {
            let message = format!("An id at another system has 1 to {LONGEST_ID} bytes, none of them NUL.");
            return Some(Refusal::new("remoteId", UserErrorCode::Invalid, message));
        }
        let read = self.vendors().and_then(|vendors| vendors.settings(event.connection_id));
        if !read.is_some_and(|vendor| vendor.entities.contains(&input.entity)) {
            let message = format!("Nothing of the kind {} is read from this connection.", input.entity.as_str());
            return Some(Refusal::new("entity", UserErrorCode::Invalid, message));
        }
        None
    }
}

fn check_row(raw: &str) -> Result<(), Refusals> {
    let refuse = |code, message: String| Err(vec![Refusal::new("raw", code, message)]);
    if raw.len() > LONGEST_ROW {
        return refuse(UserErrorCode::TooLong, format!("A row has at most {LONGEST_ROW} bytes."));
    }
    match serde_json::from_str::<Value>(raw) {
        Err(error) => refuse(UserErrorCode::Invalid, format!("This is no JSON: {error}.")),
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => refuse(UserErrorCode::Invalid, "A row is a JSON object.".to_owned()),
    }
}
