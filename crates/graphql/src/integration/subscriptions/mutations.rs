//! Making, changing and ending subscriptions.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{
    Decision,
    subscriptions::{CreateWebhookSubscription, Doing, OfSubscription, UpdateWebhookSubscription, WithSecret},
};
use crosstie_domain::{
    Refusal, Refusals,
    access::{Permission, Sensitivity},
    ids::AccountId,
    integration::{Entity, WebhookSubscriptionRecord},
};

use super::{WebhookDelivery, WebhookSubscription};
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::{decided, read_id},
    request_headers::idempotency_key,
};

/// What another system is to hear of.
#[derive(InputObject)]
pub(crate) struct CreateWebhookSubscriptionInput {
    /// Where changes are sent: https to a public address, unless the hub's configuration allows others.
    url: String,
    /// What it is for: at most 200 characters.
    #[graphql(default)]
    description: String,
    /// The kinds of record whose changes are sent; all that you may see when it is left out.
    #[graphql(default)]
    entities: Vec<Entity>,
    /// The events that are sent, such as `sow_signed`, at most 100; all when it is left out.
    #[graphql(default)]
    event_types: Vec<String>,
    /// The accounts whose records are sent, at most 100; all that you may see when it is left out.
    #[graphql(default)]
    account_ids: Vec<ID>,
    /// Whether changes of one record are sent strictly one after the other. Without it a failing delivery holds up
    /// nothing, and the receiver puts them in order by `sequence`.
    #[graphql(default = true)]
    ordered: bool,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a wish to make a subscription.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct CreateWebhookSubscriptionPayload {
    /// The subscription; null when it was refused.
    subscription: Option<WebhookSubscription>,
    /// What its deliveries are signed with. Keep it now: it is not shown again, not even to the same request.
    secret: Option<String>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What is to be different about a subscription. What is left out stays as it is.
#[derive(InputObject)]
pub(crate) struct UpdateWebhookSubscriptionInput {
    /// The subscription.
    subscription_id: ID,
    /// The version that was read; when it has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// Where changes are sent, also those that wait already.
    url: Option<String>,
    /// What it is for: at most 200 characters.
    description: Option<String>,
    /// The kinds of record whose changes are sent: at least one.
    entities: Option<Vec<Entity>>,
    /// The events that are sent; an empty list means all.
    event_types: Option<Vec<String>>,
    /// The accounts whose records are sent; an empty list means all that its owner may see.
    account_ids: Option<Vec<ID>>,
    /// Whether changes of one record are sent strictly one after the other.
    ordered: Option<bool>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a change.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct UpdateWebhookSubscriptionPayload {
    /// The subscription; null when it was refused.
    subscription: Option<WebhookSubscription>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which subscription gets a new secret.
#[derive(InputObject)]
pub(crate) struct RotateWebhookSecretInput {
    /// The subscription.
    subscription_id: ID,
    /// The version that was read; when it has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// For how many hours the secrets before it sign as well, 0 to 168.
    #[graphql(default = 24)]
    overlap_hours: i32,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a rotation.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct RotateWebhookSecretPayload {
    /// The subscription; null when it was refused.
    subscription: Option<WebhookSubscription>,
    /// The new secret. Keep it now: it is not shown again, not even to the same request.
    secret: Option<String>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which subscription is to wait.
#[derive(InputObject)]
pub(crate) struct PauseWebhookSubscriptionInput {
    /// The subscription.
    subscription_id: ID,
    /// The version that was read; when it has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of it.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct PauseWebhookSubscriptionPayload {
    /// The subscription; null when it was refused.
    subscription: Option<WebhookSubscription>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which subscription is to go on.
#[derive(InputObject)]
pub(crate) struct ResumeWebhookSubscriptionInput {
    /// The subscription.
    subscription_id: ID,
    /// The version that was read; when it has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of it.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ResumeWebhookSubscriptionPayload {
    /// The subscription; null when it was refused.
    subscription: Option<WebhookSubscription>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which subscription is to end.
#[derive(InputObject)]
pub(crate) struct DeleteWebhookSubscriptionInput {
    /// The subscription.
    subscription_id: ID,
    /// The version that was read; when it has changed since, nothing is changed.
    expected_version: Option<i32>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of it.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct DeleteWebhookSubscriptionPayload {
    /// The identifier of the subscription that is gone, with what waited for it; null when it was refused.
    deleted_id: Option<ID>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which receiver is to be tried.
#[derive(InputObject)]
pub(crate) struct SendTestWebhookInput {
    /// The subscription.
    subscription_id: ID,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a test.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct SendTestWebhookPayload {
    /// The delivery, which tells of no change and has no number; null when it was refused.
    delivery: Option<WebhookDelivery>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which deliveries are to be sent again.
#[derive(InputObject)]
pub(crate) struct ReplayWebhookDeliveriesInput {
    /// The subscription.
    subscription_id: ID,
    /// The first number, at least 1.
    from_sequence: i64,
    /// The last number; together at most 10,000 deliveries.
    to_sequence: i64,
    /// Only counts what would be sent again.
    #[graphql(default)]
    dry_run: bool,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What is sent again.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ReplayWebhookDeliveriesPayload {
    /// How many deliveries were sent or given up between the numbers, and are sent again under the identifiers that
    /// they had; null when it was refused. Those that still wait are not counted.
    deliveries: Option<i64>,
    /// Whether they were only counted.
    dry_run: bool,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of subscriptions.
#[derive(Default)]
pub(crate) struct WebhookSubscriptionMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl WebhookSubscriptionMutations {
    /// Lets another system hear of changes from now on. The answer holds the secret that its deliveries are signed
    /// with, once.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn create_webhook_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it is to hear of.")] input: CreateWebhookSubscriptionInput,
    ) -> Result<Option<CreateWebhookSubscriptionPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match read_accounts(&input.account_ids) {
            Ok(accounts) => {
                let wanted = CreateWebhookSubscription {
                    url: input.url,
                    description: input.description,
                    entities: input.entities,
                    event_types: input.event_types,
                    accounts,
                    ordered: input.ordered,
                    idempotency_key: idempotency_key(ctx, input.idempotency_key),
                };
                app(ctx)?.create_webhook_subscription(found.auth, wanted).await.map_err(app_failed)?
            }
            Err(refusals) => Err(refusals),
        };
        let (subscription, secret, user_errors) = with_secret(decision);
        Ok(Some(CreateWebhookSubscriptionPayload { subscription, secret, user_errors, client_mutation_id }))
    }

    /// Changes what a subscription tells of, from the next change on, or where it is sent.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn update_webhook_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What is to be different.")] input: UpdateWebhookSubscriptionInput,
    ) -> Result<Option<UpdateWebhookSubscriptionPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let of = of(ctx, &input.subscription_id, input.expected_version, input.idempotency_key);
        let accounts = input.account_ids.as_deref().map(read_accounts).transpose();
        let decision = match (of, accounts) {
            (Ok(of), Ok(accounts)) => {
                let UpdateWebhookSubscriptionInput { url, description, entities, event_types, ordered, .. } = input;
                let wanted = UpdateWebhookSubscription { url, description, entities, event_types, accounts, ordered };
                app(ctx)?.update_webhook_subscription(found.auth, of, wanted).await.map_err(app_failed)?
            }
            (Err(refusals), _) | (_, Err(refusals)) => Err(refusals),
        };
        let (subscription, user_errors) = shown(decision);
        Ok(Some(UpdateWebhookSubscriptionPayload { subscription, user_errors, client_mutation_id }))
    }

    /// Makes a new secret for a subscription. During the overlap its deliveries carry a signature of each.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn rotate_webhook_secret(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of which subscription, and for how long both sign.")] input: RotateWebhookSecretInput,
    ) -> Result<Option<RotateWebhookSecretPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match of(ctx, &input.subscription_id, input.expected_version, input.idempotency_key) {
            Ok(of) => app(ctx)?.rotate_webhook_secret(found.auth, of, input.overlap_hours).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (subscription, secret, user_errors) = with_secret(decision);
        Ok(Some(RotateWebhookSecretPayload { subscription, secret, user_errors, client_mutation_id }))
    }

    /// Sends nothing to a subscribed system until it is resumed; what changes meanwhile waits.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn pause_webhook_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which subscription.")] input: PauseWebhookSubscriptionInput,
    ) -> Result<Option<PauseWebhookSubscriptionPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match of(ctx, &input.subscription_id, input.expected_version, input.idempotency_key) {
            Ok(of) => app(ctx)?.pause_webhook_subscription(found.auth, of).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (subscription, user_errors) = shown(decision);
        Ok(Some(PauseWebhookSubscriptionPayload { subscription, user_errors, client_mutation_id }))
    }

    /// Sends to a subscribed system again, beginning with what waits; one that was left alone after failures is tried
    /// at once.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn resume_webhook_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which subscription.")] input: ResumeWebhookSubscriptionInput,
    ) -> Result<Option<ResumeWebhookSubscriptionPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match of(ctx, &input.subscription_id, input.expected_version, input.idempotency_key) {
            Ok(of) => app(ctx)?.resume_webhook_subscription(found.auth, of).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (subscription, user_errors) = shown(decision);
        Ok(Some(ResumeWebhookSubscriptionPayload { subscription, user_errors, client_mutation_id }))
    }

    /// Ends a subscription, with what waits for it.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn delete_webhook_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which subscription.")] input: DeleteWebhookSubscriptionInput,
    ) -> Result<Option<DeleteWebhookSubscriptionPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match of(ctx, &input.subscription_id, input.expected_version, input.idempotency_key) {
            Ok(of) => app(ctx)?.delete_webhook_subscription(found.auth, of).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (deleted_id, user_errors) = match decision {
            Ok(id) => (Some(id.into()), Vec::new()),
            Err(refusals) => (None, refusals),
        };
        Ok(Some(DeleteWebhookSubscriptionPayload { deleted_id, user_errors, client_mutation_id }))
    }

    /// Sends something that tells of no change, to try whether the receiver takes it.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn send_test_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which subscription.")] input: SendTestWebhookInput,
    ) -> Result<Option<SendTestWebhookPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let decision = match of(ctx, &input.subscription_id, None, input.idempotency_key) {
            Ok(of) => app(ctx)?.send_test_webhook(found.auth, of).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (delivery, user_errors) = decided(decision);
        let delivery = delivery.map(WebhookDelivery);
        Ok(Some(SendTestWebhookPayload { delivery, user_errors, client_mutation_id }))
    }

    /// Sends what was sent or given up between two numbers again.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn replay_webhook_deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which deliveries.")] input: ReplayWebhookDeliveriesInput,
    ) -> Result<Option<ReplayWebhookDeliveriesPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let ReplayWebhookDeliveriesInput { from_sequence, to_sequence, dry_run, client_mutation_id, .. } = input;
        let decision = match of(ctx, &input.subscription_id, None, input.idempotency_key) {
            Ok(of) => {
                let doing = if dry_run { Doing::DryRun } else { Doing::Really };
                let range = (from_sequence, to_sequence);
                app(ctx)?.replay_webhook_deliveries(found.auth, of, range, doing).await.map_err(app_failed)?
            }
            Err(refusals) => Err(refusals),
        };
        let (deliveries, user_errors) = match decision {
            Ok(count) => (Some(count), Vec::new()),
            Err(refusals) => (None, refusals),
        };
        Ok(Some(ReplayWebhookDeliveriesPayload { deliveries, dry_run, user_errors, client_mutation_id }))
    }
}

/// Which subscription an input names.
fn of(
    ctx: &Context<'_>,
    id: &ID,
    expected_version: Option<i32>,
    own_key: Option<String>,
) -> Result<OfSubscription, Refusals> {
    let id = read_id(id, "subscriptionId").map_err(|refusal| vec![refusal])?;
    Ok(OfSubscription { id, expected_version, idempotency_key: idempotency_key(ctx, own_key) })
}

fn read_accounts(ids: &[ID]) -> Result<Vec<AccountId>, Refusals> {
    ids.iter().map(|id| read_id(id, "accountIds").map_err(|refusal| vec![refusal])).collect()
}

fn shown(decision: Decision<WebhookSubscriptionRecord>) -> (Option<WebhookSubscription>, Refusals) {
    let (subscription, refusals) = decided(decision);
    (subscription.map(WebhookSubscription), refusals)
}

fn with_secret(decision: Decision<WithSecret>) -> (Option<WebhookSubscription>, Option<String>, Refusals) {
    let secret = decision.as_ref().ok().and_then(|made| made.secret.as_ref());
    let secret = secret.map(|secret| secret.expose().to_owned());
    let (subscription, refusals) = shown(decision.map(|made| made.subscription));
    (subscription, secret, refusals)
}
