//! What is sent of a delivery, and what follows from how a try went.

use crosstie_domain::{
    access::{Principal, RowScope},
    integration::{
        AlertKey, AlertKind, SubscriptionReason, SubscriptionStatus, WebhookDeliveryRecord, WebhookSubscriptionRecord,
    },
};
use crosstie_store::{
    StoreError, Tx,
    integration::{Answered, ClaimedDelivery, DeliveryOutcome},
};

use super::{
    count_exhausted,
    excerpt::excerpt,
    expand::{rows_of, stop, visible},
    may_subscribe,
    schedule::left_alone_until,
};
use crate::{
    App, AppError,
    access::rights,
    schedule::next_send,
    secrets::{Plain, SecretsError},
};

/// A message as it is signed and sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// The header `webhook-id`: the same at every try.
    pub id: String,
    /// Where it goes.
    pub url: String,
    /// The body.
    pub body: String,
    /// The secrets that sign it, the newest first.
    pub secrets: Vec<Plain>,
}

/// What is to be done with a delivery that was taken.
#[derive(Debug)]
pub enum Prepared {
    /// It is sent.
    Send(Message),
    /// It cannot be signed: a try that failed.
    Unsigned(Attempt),
    /// It is not sent, and that is written down.
    NotSent,
}

/// How a try went.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    /// Status of the answer; `None` when there is none.
    pub status: Option<u16>,
    /// How long the receiver asks to be left alone, in milliseconds.
    pub retry_after_ms: Option<i64>,
    /// The beginning of the answer's body.
    pub body: Vec<u8>,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
    /// Why there is no answer: a stable code, and words.
    pub failure: Option<(&'static str, String)>,
}

impl Attempt {
    fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    fn is_gone(&self) -> bool {
        self.status == Some(410)
    }

    /// Why it is no success.
    fn problem(&self) -> Option<(&'static str, String)> {
        let status = self.status.unwrap_or_default();
        match status {
            200..300 => None,
            0 => Some(self.failure.clone().unwrap_or(("NOT_SENT", "It was not sent.".to_owned()))),
            300..400 => Some(("REDIRECTED", format!("The receiver answered {status}; redirects are not followed."))),
            410 => Some(("ENDPOINT_GONE", "The receiver answered 410: it is gone for good.".to_owned())),
            _ => Some(("NOT_ACCEPTED", format!("The receiver answered {status}."))),
        }
    }

    fn answered(&self) -> Answered {
        let (error_code, error_message) = self.problem().unzip();
        let excerpt = if self.is_success() { None } else { excerpt(&self.body) };
        let error_message = error_message.map(|message| message.replace('\0', "\u{fffd}"));
        let status = self.status.map(i32::from);
        Answered { status, excerpt, duration_ms: self.duration_ms, error_code, error_message }
    }
}

impl App {
    /// What is sent of a delivery that was taken: nothing when the owner of its subscription may not see the record
    /// any more, or has no rights left.
    ///
    /// # Errors
    /// As the database.
    pub async fn prepare_delivery(&self, claimed: &ClaimedDelivery) -> Result<Prepared, AppError> {
        let ClaimedDelivery { delivery, subscription, .. } = claimed;
        let store = self.store();
        let Some(owner) = rights(store, subscription.owner, store.now()).await?.filter(may_subscribe) else {
            let tx = store.begin().await?;
            if let Some(mut subscription) = tx.lock_subscription(subscription.id).await? {
                stop(&tx, &mut subscription).await?;
            }
            tx.give_delivery_back(claimed).await?;
            tx.commit().await?;
            return Ok(Prepared::NotSent);
        };
        let rows = rows_of(subscription, &owner);
        let shown = match (&delivery.entity, &delivery.record_id) {
            (Some(entity), Some(id)) => {
                owner.may(entity.read_permission())
                    && (rows == RowScope::All || visible(store, &rows, &[(*entity, id)]).await?.contains(id))
            }
            _ => true,
        };
        if !shown {
            let tx = store.begin().await?;
            let message = Some("The owner of the subscription may not see the record any more.".to_owned());
            let answered = Answered { error_code: Some("WITHHELD"), error_message: message, ..Answered::default() };
            unless_taken(tx.delivery_ended(claimed, &DeliveryOutcome::Withheld, answered).await)?;
            tx.commit().await?;
            return Ok(Prepared::NotSent);
        }
        let secrets = match self.signing_secrets(store, subscription.id).await {
            Ok(secrets) => secrets,
            Err(SecretsError::Store(error)) => return Err(error.into()),
            Err(error) => {
                let failure = Some(("SECRET_CLOSED", error.to_string()));
                return Ok(Prepared::Unsigned(Attempt { failure, ..Attempt::default() }));
            }
        };
        let (id, url, body) = (delivery.id.to_string(), subscription.url.clone(), delivery.body());
        Ok(Prepared::Send(Message { id, url, body, secrets }))
    }

    /// Writes down how a try went, with what follows for the delivery and for its receiver. A result of a worker that
    /// was too slow, and whose delivery somebody else has taken, is not kept.
    ///
    /// # Errors
    /// As the database.
    pub async fn delivery_tried(&self, claimed: &ClaimedDelivery, attempt: &Attempt) -> Result<(), AppError> {
        let tx = self.store().begin().await?;
        let Some(mut subscription) = tx.lock_subscription(claimed.subscription.id).await? else {
            // It was deleted meanwhile, and the delivery goes with it.
            return Ok(());
        };
        let outcome = outcome(&tx, &claimed.delivery, attempt);
        let mut answered = attempt.answered();
        let erased = self.erased(&tx).await?;
        answered.excerpt = answered.excerpt.map(|text| erased.masked(text));
        answered.error_message = answered.error_message.map(|text| erased.masked(text));
        if !unless_taken(tx.delivery_ended(claimed, &outcome, answered).await)? {
            return Ok(());
        }
        if outcome == DeliveryOutcome::Exhausted {
            count_exhausted(&tx, &subscription).await?;
        }
        // What another receiver answered, before the address was changed, says nothing of this one.
        if subscription.url == claimed.subscription.url {
            take_note(&tx, &mut subscription, attempt).await?;
        }
        Ok(tx.commit().await?)
    }
}

fn outcome(tx: &Tx, delivery: &WebhookDeliveryRecord, attempt: &Attempt) -> DeliveryOutcome {
    if attempt.is_success() {
        return DeliveryOutcome::Delivered;
    }
    let again = next_send(tx.now(), delivery.attempts + 1, attempt.retry_after_ms);
    match again {
        Some(at) => DeliveryOutcome::Retry(at),
        // Whoever resumes the subscription sends it once more.
        None if attempt.is_gone() => DeliveryOutcome::Retry(tx.now()),
        None => DeliveryOutcome::Exhausted,
    }
}

/// What a try says of the receiver: it is back, it failed once more, or it is gone for good.
async fn take_note(tx: &Tx, subscription: &mut WebhookSubscriptionRecord, attempt: &Attempt) -> Result<(), AppError> {
    if attempt.is_success() {
        if subscription.failures_in_a_row == 0 {
            return Ok(());
        }
        (subscription.failures_in_a_row, subscription.left_alone_until) = (0, None);
        tx.close_subscription_alerts(subscription.id, &[AlertKind::BreakerOpen]).await?;
        return Ok(tx.save_subscription(subscription).await?);
    }
    subscription.failures_in_a_row = subscription.failures_in_a_row.saturating_add(1);
    subscription.left_alone_until = left_alone_until(tx.now(), subscription.failures_in_a_row);
    if attempt.is_gone() && subscription.status == SubscriptionStatus::Active {
        subscription.status = SubscriptionStatus::Disabled;
        subscription.status_reason = Some(SubscriptionReason::EndpointGone);
        subscription.version += 1;
        subscription.updated_at = tx.now();
        announce_stop(tx, subscription, "its receiver answered 410; resume it once the receiver is back").await?;
        tx.subscription_history(subscription, Principal::System, "webhook_subscription_disabled").await?;
    } else if subscription.left_alone_until.is_some() {
        let (id, failures) = (subscription.id, subscription.failures_in_a_row);
        let message = format!("The receiver of the subscription {id} failed {failures} times in a row.");
        let key = AlertKey::subscription(AlertKind::BreakerOpen, id);
        tx.raise_alert(&key, i64::from(failures), &message).await?;
    }
    Ok(tx.save_subscription(subscription).await?)
}

/// Tells that a subscription stopped by itself.
pub(super) async fn announce_stop(
    tx: &Tx,
    subscription: &WebhookSubscriptionRecord,
    why: &str,
) -> Result<(), AppError> {
    let key = AlertKey::subscription(AlertKind::SubscriptionDisabled, subscription.id);
    tx.raise_alert(&key, 1, &format!("The subscription {} stopped: {why}.", subscription.id)).await?;
    Ok(())
}

/// Whether the result was kept; it is not when somebody else has taken the delivery.
fn unless_taken(kept: Result<(), StoreError>) -> Result<bool, StoreError> {
    match kept {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}
