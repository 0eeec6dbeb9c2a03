//! What persons corrected of what could not be applied, and correcting it.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{EditInboundEvent, EditParkedRow};
use crosstie_domain::{
    Refusal,
    access::{Permission, Sensitivity},
    integration::{CorrectionRecord, Entity, InboundStatus},
};
use crosstie_store::integration::corrections_of;

use super::{InboundEvent, ParkedRow};
use crate::{
    access::{access, app, app_failed, financial, requires, sensitivity},
    contracts::{decided, read_id},
    edge::{Item, keyed},
    request_headers::idempotency_key,
};

/// A correction.
pub(crate) struct Correction(pub(crate) CorrectionRecord);

/// What a person corrected of something that failed, beside what was there before.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Correction {
    #[graphql(flatten)]
    async fn record(&self) -> &CorrectionRecord {
        &self.0
    }

    /// Identifies the correction.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What was there before, as JSON. It may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn was(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, Some(self.0.was.as_str()))
    }

    /// What is there since, as JSON. It may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn became(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, Some(self.0.became.as_str()))
    }
}

/// What was corrected of an object, the first correction first. Its siblings' are loaded with it.
///
/// # Errors
/// `FORBIDDEN`.
pub(crate) async fn corrections<R>(
    ctx: &Context<'_>,
    item: &Item<R>,
    id: impl Fn(&R) -> String,
) -> Result<Vec<Correction>> {
    let found = access(ctx, Permission::IntegrationRead)?;
    let corrections = item.many(
        ("corrections", String::new()),
        |record| Some(id(record)),
        |ids| async move {
            let found = corrections_of(found.store, found.rows, &ids).await?;
            Ok(keyed(found, |correction| correction.subject_id.clone()))
        },
    );
    Ok(corrections.await?.into_iter().map(|item| Correction((*item).clone())).collect())
}

/// A row as it should have come.
#[derive(InputObject)]
pub(crate) struct EditParkedRowInput {
    /// The row.
    parked_row_id: ID,
    /// The whole row, as a JSON object of at most 500,000 bytes. What came is kept beside it.
    raw: String,
    /// The version that you read; when the row has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// Why, in words: at most 500 characters. It is kept with the correction.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a correction.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct EditParkedRowPayload {
    /// The row, as it waits now; null when it was refused.
    parked_row: Option<ParkedRow>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What an event should have pointed at.
#[derive(InputObject)]
pub(crate) struct EditInboundEventInput {
    /// The event; it is parked or ignored.
    inbound_event_id: ID,
    /// The kind of record that it is about.
    entity: Entity,
    /// The id of that record at the sender.
    remote_id: String,
    /// How you think that the event stands; when it stands otherwise, nothing is changed.
    expected_status: Option<InboundStatus>,
    /// Why, in words: at most 500 characters. It is kept with the correction.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a correction.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct EditInboundEventPayload {
    /// The event, as it stands now; null when it was refused.
    inbound_event: Option<InboundEvent>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Corrections of what could not be applied.
#[derive(Default)]
pub(crate) struct CorrectionMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl CorrectionMutations {
    /// Corrects a row that could not be applied. It goes on waiting until it is replayed, and what comes of it says that
    /// a person corrected it.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn edit_parked_row(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which row, and what it should have been.")] input: EditParkedRowInput,
    ) -> Result<Option<EditParkedRowPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let EditParkedRowInput { raw, expected_version, reason, client_mutation_id, .. } = input;
        let decision = match read_id(&input.parked_row_id, "parkedRowId") {
            Ok(row_id) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input = EditParkedRow { row_id, raw, expected_version, reason, idempotency_key };
                app(ctx)?.edit_parked_row(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (row, user_errors) = decided(decision);
        Ok(Some(EditParkedRowPayload { parked_row: row.map(ParkedRow), user_errors, client_mutation_id }))
    }

    /// Lets an event that is parked or ignored point at another record. It stays where it is until it is replayed.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn edit_inbound_event(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which event, and what it should point at.")] input: EditInboundEventInput,
    ) -> Result<Option<EditInboundEventPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let EditInboundEventInput { entity, remote_id, expected_status, reason, client_mutation_id, .. } = input;
        let decision = match read_id(&input.inbound_event_id, "inboundEventId") {
            Ok(event_id) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input = EditInboundEvent { event_id, entity, remote_id, expected_status, reason, idempotency_key };
                app(ctx)?.edit_inbound_event(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (event, user_errors) = decided(decision);
        Ok(Some(EditInboundEventPayload { inbound_event: event.map(InboundEvent), user_errors, client_mutation_id }))
    }
}
