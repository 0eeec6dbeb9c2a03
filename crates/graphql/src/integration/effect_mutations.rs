//! What persons do about effects that wait for them.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{EditEffect, SettleEffect};
use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{Permission, Sensitivity},
};

use super::Effect;
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::{decided, read_id},
    request_headers::idempotency_key,
};

/// What is to be different about an effect. What is left out stays as it was decided; amounts always do.
#[derive(InputObject)]
pub(crate) struct EditOutboundEffectInput {
    /// The effect; it is `REJECTED` or `EXHAUSTED`.
    effect_id: ID,
    /// Name of the customer.
    customer_name: Option<String>,
    /// The customer's e-mail address for invoices.
    customer_email: Option<String>,
    /// Title of the statement of work.
    title: Option<String>,
    /// What was delivered, of an invoice.
    description: Option<String>,
    /// The customer's purchase order number, of an order.
    po_number: Option<String>,
    /// The version that you read; when the effect has changed since, nothing is changed.
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
pub(crate) struct EditOutboundEffectPayload {
    /// The effect, as it waits now; null when it was refused.
    effect: Option<Effect>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What a person found out about an effect.
#[derive(InputObject)]
pub(crate) struct SettleOutboundEffectInput {
    /// The effect; it is `UNCERTAIN` or `EXHAUSTED`.
    effect_id: ID,
    /// Whether it happened at the other system. When it did not, it is sent again.
    happened: bool,
    /// The id that it has there; necessary when it happened.
    remote_id: Option<String>,
    /// The version that you read; when the effect has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// How that is known, in words: at most 500 characters. It is kept with the effect.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of it.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct SettleOutboundEffectPayload {
    /// The effect, as it stands now; null when it was refused.
    effect: Option<Effect>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What persons do about effects that wait for them.
#[derive(Default)]
pub(crate) struct EffectMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl EffectMutations {
    /// Corrects the texts of an effect that did not happen, without changing what was decided. It goes on waiting until
    /// it is replayed.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn edit_outbound_effect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which effect, and what is to be different.")] input: EditOutboundEffectInput,
    ) -> Result<Option<EditOutboundEffectPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match read_id(&input.effect_id, "effectId") {
            Ok(effect_id) => {
                let input = EditEffect {
                    effect_id,
                    customer_name: input.customer_name,
                    customer_email: input.customer_email,
                    title: input.title,
                    description: input.description,
                    po_number: input.po_number,
                    expected_version: input.expected_version,
                    reason: input.reason,
                    idempotency_key: idempotency_key(ctx, input.idempotency_key),
                };
                app(ctx)?.edit_effect(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (effect, user_errors) = decided(decision);
        Ok(Some(EditOutboundEffectPayload { effect: effect.map(Effect), user_errors, client_mutation_id }))
    }

    /// Says how an effect ended that nobody knows the outcome of: it happened, or it did not and is sent again.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn settle_outbound_effect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which effect, and how it ended.")] input: SettleOutboundEffectInput,
    ) -> Result<Option<SettleOutboundEffectPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let SettleOutboundEffectInput { happened, remote_id, expected_version, reason, client_mutation_id, .. } = input;
        let wanted = match (read_id(&input.effect_id, "effectId"), happened, remote_id) {
            (Err(refusal), _, _) => Err(refusal),
            (Ok(_), true, None) => {
                let message = "Name the id that it has at the other system.";
                Err(Refusal::new("remoteId", UserErrorCode::Required, message))
            }
            (Ok(_), false, Some(_)) => {
                let message = "What did not happen has no id at the other system.";
                Err(Refusal::new("remoteId", UserErrorCode::Invalid, message))
            }
            (Ok(effect_id), _, happened_as) => Ok((effect_id, happened_as)),
        };
        let decision = match wanted {
            Ok((effect_id, happened_as)) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input = SettleEffect { effect_id, happened_as, expected_version, reason, idempotency_key };
                app(ctx)?.settle_effect(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (effect, user_errors) = decided(decision);
        Ok(Some(SettleOutboundEffectPayload { effect: effect.map(Effect), user_errors, client_mutation_id }))
    }
}
