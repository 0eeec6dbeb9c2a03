//! Subscriptions by which other systems hear of changes: who may make which, and what becomes of them.

mod deliver;
mod excerpt;
mod expand;
mod schedule;
mod secret;
mod wanted;

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{AuthContext, Permission},
    ids::{AccountId, WebhookDeliveryId, WebhookSubscriptionId},
    integration::{
        AlertKey, AlertKind, Entity, SubscriptionReason, SubscriptionStatus, WebhookDeliveryRecord,
        WebhookSubscriptionRecord,
    },
};
use crosstie_store::{
    Tx,
    integration::{
        count_webhook_subscriptions, last_position, webhook_deliveries_by_ids, webhook_subscriptions_by_ids,
    },
};
use serde::Serialize;

pub use self::{
    deliver::{Attempt, Message, Prepared},
    expand::ToldEvent,
    secret::secret_bytes,
    wanted::UpdateWebhookSubscription,
};
use crate::{
    App, AppError, Decision,
    idempotency::{Request, decided, stale},
    secrets::Plain,
};

/// Subscriptions that a hub has, at most.
const MOST_SUBSCRIPTIONS: i64 = 200;
/// How long two secrets can sign side by side, in hours: a week.
const LONGEST_OVERLAP_HOURS: i32 = 168;
/// Deliveries that are sent again by one request, at most.
const MOST_AGAIN: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;

/// A subscription to be made.
#[derive(Debug, Clone, Serialize)]
pub struct CreateWebhookSubscription {
    /// Where changes are sent.
    pub url: String,
    /// What it is for: at most 200 characters.
    pub description: String,
    /// The kinds of record; all that the asker may see when empty.
    pub entities: Vec<Entity>,
    /// The events; all when empty.
    pub event_types: Vec<String>,
    /// The accounts; all that the owner may see when empty.
    pub accounts: Vec<AccountId>,
    /// Whether changes of one record are sent strictly one after the other.
    pub ordered: bool,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// Which subscription something is done with.
#[derive(Debug, Clone, Serialize)]
pub struct OfSubscription {
    /// The subscription.
    pub id: WebhookSubscriptionId,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A subscription with the secret that its deliveries are signed with from now on.
#[derive(Debug, Clone)]
pub struct WithSecret {
    /// The subscription.
    pub subscription: WebhookSubscriptionRecord,
    /// The secret, as it is shown once; `None` when the same request was answered before.
    pub secret: Option<Plain>,
}

/// Whether something is done, or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Doing {
    /// It is done.
    Really,
    /// It is counted.
    DryRun,
}

/// A subscription that somebody wants to change.
enum Found {
    /// The same request changed it before.
    Before(WebhookSubscriptionRecord),
    /// It is locked for this change.
    Now(WebhookSubscriptionRecord),
}

impl App {
    /// Makes a subscription. It hears of what changes from now on.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn create_webhook_subscription(
        &self,
        auth: &AuthContext,
        input: CreateWebhookSubscription,
    ) -> Result<Decision<WithSecret>, AppError> {
        decided(|| self.try_create_subscription(auth, &input)).await
    }

    async fn try_create_subscription(
        &self,
        auth: &AuthContext,
        input: &CreateWebhookSubscription,
    ) -> Result<Decision<WithSecret>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("createWebhookSubscription", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return again(&tx, auth, &earlier).await.map(without_secret),
            Ok(None) => {}
        }
        if count_webhook_subscriptions(&tx).await? >= MOST_SUBSCRIPTIONS {
            let message = format!("There are {MOST_SUBSCRIPTIONS} subscriptions already; delete one that is not used.");
            return Ok(Err(vec![Refusal::new("", UserErrorCode::LimitExceeded, message)]));
        }
        let seen = Entity::ALL.into_iter().map(|(entity, _)| entity);
        let seen = seen.filter(|entity| auth.may(entity.read_permission())).collect();
        let now = tx.now();
        let mut subscription = WebhookSubscriptionRecord {
            id: tx.new_id(),
            url: String::new(),
            description: String::new(),
            entities: vec![],
            event_types: vec![],
            accounts: None,
            ordered: input.ordered,
            owner: auth.principal,
            status: SubscriptionStatus::Active,
            status_reason: None,
            position: last_position(&tx).await?,
            last_sequence: 0,
            failures_in_a_row: 0,
            left_alone_until: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let wanted = UpdateWebhookSubscription {
            url: Some(input.url.clone()),
            description: Some(input.description.clone()),
            entities: Some(if input.entities.is_empty() { seen } else { input.entities.clone() }),
            event_types: Some(input.event_types.clone()),
            accounts: Some(input.accounts.clone()),
            ordered: None,
        };
        let refusals = self.ask_for(&tx, auth, &mut subscription, &wanted).await?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        tx.save_subscription(&subscription).await?;
        let secret = match self.make_secret(&tx, &subscription, now).await? {
            Ok(secret) => secret,
            Err(refusals) => return Ok(Err(refusals)),
        };
        tx.subscription_history(&subscription, auth.principal, "webhook_subscription_created").await?;
        request.keep(&tx, auth, subscription.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(WithSecret { subscription, secret: Some(secret) }))
    }

    /// Changes what a subscription asks for, from the next change on.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn update_webhook_subscription(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
        wanted: UpdateWebhookSubscription,
    ) -> Result<Decision<WebhookSubscriptionRecord>, AppError> {
        decided(async || {
            let tx = self.store().begin().await?;
            let request =
                Request::new("updateWebhookSubscription", of.idempotency_key.as_deref(), &(of.clone(), &wanted));
            let mut subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription)) => return Ok(Ok(subscription)),
                Ok(Found::Now(subscription)) => subscription,
            };
            let refusals = self.ask_for(&tx, auth, &mut subscription, &wanted).await?;
            if !refusals.is_empty() {
                return Ok(Err(refusals));
            }
            if subscription.left_alone_until.is_none() {
                tx.close_subscription_alerts(subscription.id, &[AlertKind::BreakerOpen]).await?;
            }
            keep(tx, auth, request, subscription, "webhook_subscription_updated").await
        })
        .await
    }

    /// Stops sending to a subscription until it is resumed; what changes meanwhile waits.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn pause_webhook_subscription(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
    ) -> Result<Decision<WebhookSubscriptionRecord>, AppError> {
        decided(async || {
            let tx = self.store().begin().await?;
            let request = Request::new("pauseWebhookSubscription", of.idempotency_key.as_deref(), &of);
            let mut subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription)) => return Ok(Ok(subscription)),
                Ok(Found::Now(subscription)) => subscription,
            };
            if subscription.status != SubscriptionStatus::Active {
                return Ok(Err(vec![wrong_state("It is not active.")]));
            }
            subscription.status = SubscriptionStatus::Paused;
            subscription.status_reason = Some(SubscriptionReason::PausedByOperator);
            keep(tx, auth, request, subscription, "webhook_subscription_paused").await
        })
        .await
    }

    /// Sends to a subscription again, beginning with what waits. A receiver that was left alone is tried at once. From
    /// now on it is the asker's, when its owner lost his or her rights.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn resume_webhook_subscription(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
    ) -> Result<Decision<WebhookSubscriptionRecord>, AppError> {
        decided(async || {
            let tx = self.store().begin().await?;
            let request = Request::new("resumeWebhookSubscription", of.idempotency_key.as_deref(), &of);
            let mut subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription)) => return Ok(Ok(subscription)),
                Ok(Found::Now(subscription)) => subscription,
            };
            if subscription.status == SubscriptionStatus::Active && subscription.left_alone_until.is_none() {
                return Ok(Err(vec![wrong_state("It is active already.")]));
            }
            if subscription.status_reason == Some(SubscriptionReason::OwnerRevoked) {
                subscription.owner = auth.principal;
            }
            (subscription.status, subscription.status_reason) = (SubscriptionStatus::Active, None);
            (subscription.failures_in_a_row, subscription.left_alone_until) = (0, None);
            let kinds = [AlertKind::SubscriptionDisabled, AlertKind::BreakerOpen];
            tx.close_subscription_alerts(subscription.id, &kinds).await?;
            keep(tx, auth, request, subscription, "webhook_subscription_resumed").await
        })
        .await
    }

    /// Makes a new secret. The one before signs beside it for so many hours, 0 to 168.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn rotate_webhook_secret(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
        overlap_hours: i32,
    ) -> Result<Decision<WithSecret>, AppError> {
        if !(0..=LONGEST_OVERLAP_HOURS).contains(&overlap_hours) {
            let message = format!("Two secrets sign side by side for 0 to {LONGEST_OVERLAP_HOURS} hours.");
            return Ok(Err(vec![Refusal::new("overlapHours", UserErrorCode::Invalid, message)]));
        }
        decided(async || {
            let tx = self.store().begin().await?;
            let request =
                Request::new("rotateWebhookSecret", of.idempotency_key.as_deref(), &(of.clone(), overlap_hours));
            let subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription)) => return Ok(Ok(WithSecret { subscription, secret: None })),
                Ok(Found::Now(subscription)) => subscription,
            };
            let until = tx.now().plus_ms(i64::from(overlap_hours) * HOUR_MS);
            let secret = match self.make_secret(&tx, &subscription, until).await? {
                Ok(secret) => secret,
                Err(refusals) => return Ok(Err(refusals)),
            };
            let subscription = keep(tx, auth, request, subscription, "webhook_secret_rotated").await?;
            Ok(subscription.map(|subscription| WithSecret { subscription, secret: Some(secret) }))
        })
        .await
    }

    /// Deletes a subscription, with what waits for it.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn delete_webhook_subscription(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
    ) -> Result<Decision<WebhookSubscriptionId>, AppError> {
        decided(async || {
            let tx = self.store().begin().await?;
            let request = Request::new("deleteWebhookSubscription", of.idempotency_key.as_deref(), &of);
            // Once it is gone it cannot be found again.
            if let Ok(Some(_)) = request.earlier(&tx, auth).await? {
                return Ok(Ok(of.id));
            }
            let subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription) | Found::Now(subscription)) => subscription,
            };
            let kinds = [AlertKind::SubscriptionDisabled, AlertKind::BreakerOpen, AlertKind::DeliveryExhausted];
            tx.close_subscription_alerts(subscription.id, &kinds).await?;
            secret::delete_with_secrets(&tx, subscription.id).await?;
            tx.subscription_history(&subscription, auth.principal, "webhook_subscription_deleted").await?;
            request.keep(&tx, auth, subscription.id.to_string()).await?;
            tx.commit().await?;
            Ok(Ok(subscription.id))
        })
        .await
    }

    /// Puts a delivery in line that tells of no change, to try whether the receiver takes it.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn send_test_webhook(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
    ) -> Result<Decision<WebhookDeliveryRecord>, AppError> {
        decided(async || {
            let tx = self.store().begin().await?;
            let request = Request::new("sendTestWebhook", of.idempotency_key.as_deref(), &of);
            let earlier = match request.earlier(&tx, auth).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(earlier) => earlier.and_then(|id| id.parse::<WebhookDeliveryId>().ok()),
            };
            if let Some(id) = earlier {
                let found = webhook_deliveries_by_ids(&tx, auth, &[id]).await?.pop();
                let gone = || vec![Refusal::new("", UserErrorCode::NotFound, "The test is not kept any more.")];
                return Ok(found.ok_or_else(gone));
            }
            let subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription) | Found::Now(subscription)) => subscription,
            };
            if subscription.status != SubscriptionStatus::Active {
                return Ok(Err(vec![wrong_state("It is not active: resume it first.")]));
            }
            let delivery = tx.queue_test(subscription.id).await?;
            request.keep(&tx, auth, delivery.id.to_string()).await?;
            tx.commit().await?;
            Ok(Ok(delivery))
        })
        .await
    }

    /// Sends what was sent or given up between two numbers again, both included, at most 10,000. Each goes out under
    /// the identifier that it had. Returns how many there are.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn replay_webhook_deliveries(
        &self,
        auth: &AuthContext,
        of: OfSubscription,
        (from, to): (i64, i64),
        doing: Doing,
    ) -> Result<Decision<i64>, AppError> {
        decided(async || {
            let tx = self.store().begin().await?;
            let input = (of.clone(), from, to, doing);
            let request = Request::new("replayWebhookDeliveries", of.idempotency_key.as_deref(), &input);
            match request.earlier(&tx, auth).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Some(earlier)) => return Ok(Ok(earlier.parse().unwrap_or(0))),
                Ok(None) => {}
            }
            let subscription = match find(&tx, auth, &request, &of).await? {
                Err(refusals) => return Ok(Err(refusals)),
                Ok(Found::Before(subscription) | Found::Now(subscription)) => subscription,
            };
            if from < 1 || to < from {
                let message = "The first number is at least 1, and the last is not below it.";
                return Ok(Err(vec![Refusal::new("toSequence", UserErrorCode::Invalid, message)]));
            }
            let count = tx.count_finished(subscription.id, (from, to)).await?;
            if count > MOST_AGAIN {
                let message = format!("These are {count} deliveries; at most {MOST_AGAIN} are sent again at once.");
                return Ok(Err(vec![Refusal::new("toSequence", UserErrorCode::LimitExceeded, message)]));
            }
            if doing == Doing::DryRun {
                return Ok(Ok(count));
            }
            tx.queue_again(subscription.id, (from, to)).await?;
            count_exhausted(&tx, &subscription).await?;
            tx.subscription_history(&subscription, auth.principal, "webhook_deliveries_replayed").await?;
            request.keep(&tx, auth, count.to_string()).await?;
            tx.commit().await?;
            Ok(Ok(count))
        })
        .await
    }
}

/// The subscription that somebody wants to change, locked, if he or she may.
async fn find(
    tx: &Tx,
    auth: &AuthContext,
    request: &Request<'_>,
    of: &OfSubscription,
) -> Result<Decision<Found>, AppError> {
    match request.earlier(tx, auth).await? {
        Err(refusals) => return Ok(Err(refusals)),
        Ok(Some(earlier)) => return Ok(again(tx, auth, &earlier).await?.map(Found::Before)),
        Ok(None) => {}
    }
    let seen = webhook_subscriptions_by_ids(tx, auth, &[of.id]).await?.pop();
    let found = match seen {
        Some(_) => tx.lock_subscription(of.id).await?,
        None => None,
    };
    let Some(subscription) = found else {
        let message = "There is no such subscription, or none that you may see.";
        return Ok(Err(vec![Refusal::new("subscriptionId", UserErrorCode::NotFound, message)]));
    };
    if of.expected_version.is_some_and(|expected| expected != subscription.version) {
        return Ok(Err(vec![stale(subscription.version)]));
    }
    Ok(Ok(Found::Now(subscription)))
}

/// Keeps a changed subscription as its next version, with history and answer.
async fn keep(
    tx: Tx,
    auth: &AuthContext,
    request: Request<'_>,
    mut subscription: WebhookSubscriptionRecord,
    event: &str,
) -> Result<Decision<WebhookSubscriptionRecord>, AppError> {
    subscription.version += 1;
    subscription.updated_at = tx.now();
    tx.save_subscription(&subscription).await?;
    tx.subscription_history(&subscription, auth.principal, event).await?;
    request.keep(&tx, auth, subscription.id.to_string()).await?;
    tx.commit().await?;
    Ok(Ok(subscription))
}

/// The alert of deliveries that were given up, by how many there are now.
async fn count_exhausted(tx: &Tx, subscription: &WebhookSubscriptionRecord) -> Result<(), AppError> {
    let key = AlertKey::subscription(AlertKind::DeliveryExhausted, subscription.id);
    match tx.count_exhausted(subscription.id).await? {
        0 => tx.close_alert(&key).await?,
        count => {
            let message = format!(
                "Deliveries to the subscription {} were given up. When its receiver is back, send them again.",
                subscription.id
            );
            tx.raise_alert(&key, count, &message).await?
        }
    };
    Ok(())
}

async fn again(tx: &Tx, auth: &AuthContext, id: &str) -> Result<Decision<WebhookSubscriptionRecord>, AppError> {
    let found = match id.parse() {
        Ok(id) => webhook_subscriptions_by_ids(tx, auth, &[id]).await?.pop(),
        Err(_) => None,
    };
    Ok(found.ok_or_else(|| vec![Refusal::new("", UserErrorCode::NotFound, "The subscription is gone.")]))
}

fn without_secret(earlier: Decision<WebhookSubscriptionRecord>) -> Decision<WithSecret> {
    earlier.map(|subscription| WithSecret { subscription, secret: None })
}

fn wrong_state(message: &str) -> Refusal {
    Refusal::new("subscriptionId", UserErrorCode::InvalidTransition, message)
}

/// Whether somebody may still have a subscription: it takes the right to make one.
pub(crate) fn may_subscribe(auth: &AuthContext) -> bool {
    auth.may(Permission::IntegrationWrite)
}
