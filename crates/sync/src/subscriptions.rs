//! Sending to subscribed systems: changes are put in line for each subscription by one process, and sent by many.

use std::time::Duration;

use crosstie_app::{
    AppError,
    subscriptions::{Attempt, Message, Prepared, secret_bytes},
};
use crosstie_sdk::{Egress, EgressRequest, standard_webhooks};
use crosstie_store::{
    StoreError,
    integration::{ClaimedDelivery, last_position, subscriptions_behind},
};
use tokio::time::Instant as Moment;
use tracing::{info, warn};

use crate::{
    Engine,
    heartbeat::{LEASE_MS, while_held},
    relay::HeldLease,
};

/// How often a result is written down again when others changed the same rows.
const WRITE_DOWN_TRIES: usize = 5;

impl Engine {
    /// Puts what changed in line for the subscriptions that tell of it, if this process holds the lease. Returns
    /// whether there may be more.
    pub(crate) async fn expand_subscriptions(&self, lease: &mut Option<HeldLease>) -> Result<bool, StoreError> {
        let store = self.app.store();
        let behind = subscriptions_behind(store, last_position(store).await?).await?;
        if behind.is_empty() {
            return Ok(false);
        }
        let Some(lease) = self.hold("webhooks", lease).await? else { return Ok(false) };
        let mut more = false;
        for id in behind {
            more |= self.app.expand_subscription(lease, id).await.map_err(|AppError::Store(error)| error)?;
        }
        Ok(more)
    }

    /// Puts what changed in line, and sends the next delivery that is due. Returns whether there was one.
    ///
    /// # Errors
    /// As the database; what the receiver did wrong is in the delivery.
    pub async fn expand_and_deliver(&self) -> Result<bool, StoreError> {
        while self.expand_subscriptions(&mut None).await? {}
        self.deliver_webhook().await
    }

    /// Takes the next due delivery and sends it. Returns whether there was one.
    pub(crate) async fn deliver_webhook(&self) -> Result<bool, StoreError> {
        let Some(egress) = &self.egress else { return Ok(false) };
        let Some(claimed) = self.app.store().claim_delivery(LEASE_MS).await? else { return Ok(false) };
        let keep = || self.app.store().keep_delivery(&claimed, LEASE_MS);
        let Some(attempt) = while_held(self.try_delivery(egress.as_ref(), &claimed), keep).await? else {
            return Ok(true);
        };
        self.note_attempt(&claimed, &attempt).await?;
        Ok(true)
    }

    /// Sends a delivery, if it is to be sent.
    async fn try_delivery(
        &self,
        egress: &dyn Egress,
        claimed: &ClaimedDelivery,
    ) -> Result<Option<Attempt>, StoreError> {
        let prepared = self.app.prepare_delivery(claimed).await.map_err(|AppError::Store(error)| error)?;
        let message = match prepared {
            Prepared::Send(message) => message,
            Prepared::Unsigned(attempt) => return Ok(Some(attempt)),
            Prepared::NotSent => return Ok(None),
        };
        let began = Moment::now();
        let mut attempt = match egress.post(self.signed(message)).await {
            Ok(answer) => {
                let (status, retry_after_ms, body) = (Some(answer.status), answer.retry_after_ms, answer.body);
                Attempt { status, retry_after_ms, body, ..Attempt::default() }
            }
            Err(error) => Attempt { failure: Some((error.code(), error.to_string())), ..Attempt::default() },
        };
        attempt.duration_ms = i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX);
        Ok(Some(attempt))
    }

    /// The request of a message: the time is that of this try, the identifier that of the first.
    fn signed(&self, message: Message) -> EgressRequest {
        let body = message.body.into_bytes();
        let keys: Vec<Vec<u8>> = message.secrets.iter().filter_map(|secret| secret_bytes(secret.expose())).collect();
        let timestamp = self.app.store().now().timestamp().as_second();
        let mut headers = standard_webhooks::headers(&keys, &message.id, timestamp, &body).to_vec();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        EgressRequest { url: message.url, headers, body }
    }

    /// Writes down how a try went. Until that is on disk the delivery counts as not made, and is sent again.
    async fn note_attempt(&self, claimed: &ClaimedDelivery, attempt: &Attempt) -> Result<(), StoreError> {
        let status = attempt.status.map_or_else(|| "none".to_owned(), |status| format!("{}xx", status / 100));
        metrics::counter!("crosstie_webhooks_tried_total", "status" => status).increment(1);
        if !attempt.status.is_some_and(|status| (200..300).contains(&status)) {
            let (id, tries) = (claimed.delivery.id, claimed.delivery.attempts + 1);
            let (status, code) = (attempt.status.unwrap_or(0), attempt.failure.as_ref().map_or("-", |(code, _)| code));
            warn!(delivery.id = %id, delivery.tries = tries, delivery.status = status, code, "a webhook was not taken");
        }
        for tries in 1.. {
            match self.app.delivery_tried(claimed, attempt).await {
                Ok(()) => break,
                Err(AppError::Store(error)) if tries == WRITE_DOWN_TRIES => return Err(error),
                Err(AppError::Store(error)) => {
                    info!(delivery.id = %claimed.delivery.id, %error, "how a webhook went is written down again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        Ok(())
    }
}
