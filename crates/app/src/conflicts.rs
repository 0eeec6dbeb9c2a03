//! Deciding conflicts between systems.

use std::borrow::Cow;

use crosstie_domain::{
    Refusal, Refusals, UserErrorCode,
    access::{AuthContext, RowScope},
    custom::custom_name,
    ids::{ConflictId, ConnectionId},
    integration::{ConflictRecord, ConflictStatus},
};
use crosstie_store::integration::{conflicts_by_ids, fields_of};
use serde::Serialize;
use serde_json::Value;

use crate::{
    App, AppError, Decision,
    contracts::publish,
    idempotency::{Request, decided, stale},
    ingest::{pipeline::Subject, push},
};

/// What a person decides about a conflict.
#[derive(Debug, Clone, Serialize)]
pub struct ResolveConflict {
    /// The conflict.
    pub conflict_id: ConflictId,
    /// What the field is to be.
    pub choice: Choice,
    /// Why.
    pub note: Option<String>,
    /// The version that was read.
    pub expected_version: Option<i32>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What a field is to be.
#[derive(Debug, Clone, Serialize)]
pub enum Choice {
    /// What was agreed on before.
    Agreed,
    /// What this system says.
    System(ConnectionId),
    /// Something else, in the form that the field has.
    Value(Value),
}

/// The longest note, in characters.
const LONGEST_NOTE: usize = 2_000;

impl App {
    /// Decides a conflict: the record shows the value from now on, and the systems that say otherwise are told. A
    /// conflict that was decided before can be decided again, which applies the decision anew.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn resolve_conflict(
        &self,
        auth: &AuthContext,
        input: ResolveConflict,
    ) -> Result<Decision<ConflictRecord>, AppError> {
        decided(|| self.try_resolve_conflict(auth, &input)).await
    }

    async fn try_resolve_conflict(
        &self,
        auth: &AuthContext,
        input: &ResolveConflict,
    ) -> Result<Decision<ConflictRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("resolveConflict", input.idempotency_key.as_deref(), input);
        let conflict = async || Ok(conflicts_by_ids(&tx, &auth.rows, &[input.conflict_id]).await?.pop());
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(_)) => return Ok(conflict().await.map_err(AppError::Store)?.ok_or_else(no_such_conflict)),
            Ok(None) => {}
        }
        let Some(mut conflict) = conflict().await.map_err(AppError::Store)? else {
            return Ok(Err(no_such_conflict()));
        };
        if input.expected_version.is_some_and(|expected| expected != conflict.version) {
            return Ok(Err(vec![stale(conflict.version)]));
        }
        if input.note.as_ref().is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
            let message = format!("A note has at most {LONGEST_NOTE} characters.");
            return Ok(Err(vec![Refusal::new("note", UserErrorCode::TooLong, message)]));
        }
        if !matches!(conflict.status, ConflictStatus::Open | ConflictStatus::Resolved) {
            let message = "The conflict ended by itself: there is nothing to decide any more.";
            return Ok(Err(vec![Refusal::new("conflictId", UserErrorCode::InvalidTransition, message)]));
        }
        tx.lock_record(&conflict.record_id).await?;
        let record = [conflict.record_id.clone()];
        let fields = fields_of(&tx, &RowScope::All, &record).await?.pop();
        let subject = Subject::find(&tx, &RowScope::All, (conflict.entity, &conflict.record_id)).await?;
        let (Some((_, mut fields)), Some(mut subject)) = (fields, subject) else {
            let message = "One system alone knows the record by now: there is nothing to decide any more.";
            return Ok(Err(vec![Refusal::new("conflictId", UserErrorCode::InvalidTransition, message)]));
        };
        let Some(state) = fields.get_mut(&conflict.field) else { return Ok(Err(no_such_conflict())) };
        if state.held.as_ref().is_some_and(|held| held.conflict != conflict.id) {
            let message = "A newer conflict about the same field is open: decide that one.";
            return Ok(Err(vec![Refusal::new("conflictId", UserErrorCode::InvalidTransition, message)]));
        }
        let value = match &input.choice {
            Choice::Agreed => conflict.agreed.clone(),
            Choice::Value(value) => value.clone(),
            Choice::System(connection) => {
                let said = state.voices.iter().find(|(speaker, _)| speaker.connection == *connection);
                let Some((_, voice)) = said else {
                    let message = "This system does not speak of the record.";
                    return Ok(Err(vec![Refusal::new("connectionId", UserErrorCode::NotFound, message)]));
                };
                voice.value.clone()
            }
        };
        let now = tx.now();
        state.resolve(value.clone(), now);
        let field: Cow<'static, str> = conflict.field.clone().into();
        if !subject.values().contains_key(&field) && custom_name(&field).is_none() {
            return Ok(Err(no_such_conflict()));
        }
        let changed = subject.show(&[(field.clone(), value.clone())].into());
        // A custom field without a value is not among those that are shown.
        if subject.values().remove(&field).unwrap_or_default() != value {
            let message = "The field does not take this value; write it in the form that the field has.";
            return Ok(Err(vec![Refusal::new("value", UserErrorCode::Invalid, message)]));
        }
        if changed {
            subject.save(&tx, now).await?;
        }
        let record = (conflict.entity, conflict.record_id.as_str());
        push::ask(&tx, record, &mut fields, push::Which::AndDecided(&conflict.field)).await?;
        tx.save_fields(conflict.entity, &conflict.record_id, &fields).await?;
        conflict.status = ConflictStatus::Resolved;
        conflict.resolution = Some(value);
        conflict.note = input.note.clone();
        conflict.closed_by = Some(auth.principal.to_string());
        conflict.closed_at = Some(now);
        conflict.version += 1;
        tx.save_conflict(&conflict).await?;
        let event = format!("{}_conflict_resolved", conflict.entity.as_str());
        publish(&tx, auth, conflict.entity, (&conflict.record_id, subject.version()), &event).await?;
        request.keep(&tx, auth, conflict.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(conflict))
    }
}

fn no_such_conflict() -> Refusals {
    vec![Refusal::new("conflictId", UserErrorCode::NotFound, "No such conflict, or none that you may see.")]
}
