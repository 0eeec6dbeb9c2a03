//! Who sends which delivery: each is taken by one worker at a time, a failing record holds up only itself, and a
//! receiver that fails again and again is left alone for a while.

use crosstie_domain::{
    Instant,
    ids::WebhookSubscriptionId,
    integration::{
        DeliveryStatus, FAILURES_TO_OPEN, SubscriptionStatus, WebhookDeliveryRecord, WebhookSubscriptionRecord,
    },
};
use sea_orm::FromQueryResult;

use super::deliveries::DeliveryRow;
use crate::{Listed, Reads, Store, StoreError, Tx, codec};

/// Deliveries of one subscription that are sent at a time, so that a slow receiver does not hold all workers.
const AT_A_TIME: i64 = 2;

/// A delivery that a worker has taken, with the subscription that it is of.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    /// The delivery.
    pub delivery: WebhookDeliveryRecord,
    /// Its subscription, as it stood then.
    pub subscription: WebhookSubscriptionRecord,
    /// The worker's fence: a result under an older one is not kept.
    pub fence: i64,
}

/// What the receiver's answer was, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// Status of the answer.
    pub status: Option<i32>,
    /// The beginning of its body, without secrets.
    pub excerpt: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
    /// Why it is no success: a stable code.
    pub error_code: Option<&'static str>,
    /// The same in words.
    pub error_message: Option<String>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver took it.
    Delivered,
    /// It is tried again at a moment.
    Retry(Instant),
    /// It was the last try.
    Exhausted,
    /// It must not be sent any more.
    Withheld,
}

/// The delivery of each active subscription that is due first; of a record only the first that waits is due when the
/// subscription asks for order. `$1` is now, `$2` the status of active ones.
const DUE: &str = "SELECT s.id AS subscription_id, (SELECT d.id FROM webhook_deliveries d \
    WHERE d.subscription_id = s.id AND d.next_attempt_at <= $1 AND (d.lease_until IS NULL OR d.lease_until <= $1) \
    AND (s.ordered = 0 OR d.record_id IS NULL OR NOT EXISTS (SELECT 1 FROM webhook_deliveries f \
    WHERE f.subscription_id = d.subscription_id AND f.record_id = d.record_id AND f.next_attempt_at IS NOT NULL \
    AND f.sequence < d.sequence)) ORDER BY d.next_attempt_at, d.id LIMIT 1) AS delivery_id \
    FROM webhook_subscriptions s WHERE s.status = $2 AND (s.open_until IS NULL OR s.open_until <= $1) \
    AND (SELECT COUNT(*) FROM webhook_deliveries l WHERE l.subscription_id = s.id AND l.lease_until > $1) < ";

#[derive(FromQueryResult)]
struct DueRow {
    subscription_id: String,
    delivery_id: Option<String>,
}

#[derive(FromQueryResult)]
struct FenceRow {
    fence: i64,
}

/// How many deliveries of a subscription may be under way: one while it is tried whether the receiver is back.
fn most_at_a_time() -> String {
    format!("(CASE WHEN s.failures >= {FAILURES_TO_OPEN} THEN 1 ELSE {AT_A_TIME} END)")
}

impl Store {
    /// Takes a delivery that is due, for so many milliseconds.
    ///
    /// # Errors
    /// As the database.
    pub async fn claim_delivery(&self, lease_ms: i64) -> Result<Option<ClaimedDelivery>, StoreError> {
        let active = codec::text(&SubscriptionStatus::Active);
        // Most looks find nothing: they need not wait for a turn to write. Which receiver comes first is left to
        // chance, so that none waits behind another for long.
        let sql = format!("{DUE}{} ORDER BY RANDOM()", most_at_a_time());
        let due: Vec<DueRow> = self.connection().all(&sql, vec![self.now().micros().into(), active.into()]).await?;
        for row in due.into_iter().filter(|row| row.delivery_id.is_some()) {
            let id = codec::id("webhook_subscriptions.id", &row.subscription_id)?;
            if let Some(claimed) = self.claim_delivery_of(id, lease_ms).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    async fn claim_delivery_of(
        &self,
        id: WebhookSubscriptionId,
        lease_ms: i64,
    ) -> Result<Option<ClaimedDelivery>, StoreError> {
        let tx = self.begin().await?;
        // Whoever takes one of this receiver's deliveries does so alone: what is counted holds until it is taken.
        let Some(subscription) = tx.lock_subscription(id).await? else { return Ok(None) };
        let (now, db) = (tx.now(), tx.connection());
        let sql = format!("{DUE}{} AND s.id = $3", most_at_a_time());
        let active = codec::text(&SubscriptionStatus::Active);
        let values = vec![now.micros().into(), active.into(), id.to_string().into()];
        let due = db.one::<DueRow>(&sql, values).await?.and_then(|row| row.delivery_id);
        let Some(delivery) = due else { return Ok(None) };
        let sql = "UPDATE webhook_deliveries SET lease_until = $1, fence = fence + 1 WHERE id = $2 RETURNING fence";
        let values = vec![now.plus_ms(lease_ms).micros().into(), delivery.clone().into()];
        let Some(FenceRow { fence }) = db.one(sql, values).await? else { return Ok(None) };
        let sql = "SELECT * FROM webhook_deliveries WHERE id = $1";
        let Some(row) = db.one::<DeliveryRow>(sql, vec![delivery.into()]).await? else { return Ok(None) };
        tx.commit().await?;
        let delivery = WebhookDeliveryRecord::record(row)?;
        Ok(Some(ClaimedDelivery { delivery, subscription, fence }))
    }

    /// Keeps a delivery for so many milliseconds more. Returns whether it is still this worker's.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_delivery(&self, claimed: &ClaimedDelivery, lease_ms: i64) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let sql =
            "UPDATE webhook_deliveries SET lease_until = $1 WHERE id = $2 AND fence = $3 AND lease_until IS NOT NULL";
        let until = tx.now().plus_ms(lease_ms).micros();
        let values = vec![until.into(), claimed.delivery.id.to_string().into(), claimed.fence.into()];
        let kept = tx.connection().run(sql, values).await? > 0;
        tx.commit().await?;
        Ok(kept)
    }
}

impl Tx {
    /// Notes how a try ended.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has taken the delivery in the meantime.
    pub async fn delivery_ended(
        &self,
        claimed: &ClaimedDelivery,
        outcome: &DeliveryOutcome,
        answered: Answered,
    ) -> Result<(), StoreError> {
        let (status, next) = match outcome {
            DeliveryOutcome::Delivered => (DeliveryStatus::Delivered, None),
            DeliveryOutcome::Retry(at) => (DeliveryStatus::Waiting, Some(at.micros())),
            DeliveryOutcome::Exhausted => (DeliveryStatus::Exhausted, None),
            DeliveryOutcome::Withheld => (DeliveryStatus::Withheld, None),
        };
        let tries = i32::from(*outcome != DeliveryOutcome::Withheld);
        let sql = "UPDATE webhook_deliveries SET status = $1, attempts = attempts + $2, next_attempt_at = $3, \
                   lease_until = NULL, response_status = $4, response_excerpt = $5, duration_ms = $6, error_code = $7, \
                   error_message = $8, finished_at = $9 WHERE id = $10 AND fence = $11 AND lease_until IS NOT NULL";
        let values = vec![
            codec::text(&status).into(),
            tries.into(),
            next.into(),
            answered.status.into(),
            answered.excerpt.into(),
            answered.duration_ms.into(),
            answered.error_code.into(),
            answered.error_message.into(),
            next.is_none().then(|| self.now().micros()).into(),
            claimed.delivery.id.to_string().into(),
            claimed.fence.into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// Gives a delivery back as it was taken, because it was not tried.
    ///
    /// # Errors
    /// As the database.
    pub async fn give_delivery_back(&self, claimed: &ClaimedDelivery) -> Result<(), StoreError> {
        let sql = "UPDATE webhook_deliveries SET lease_until = NULL WHERE id = $1 AND fence = $2";
        let values = vec![claimed.delivery.id.to_string().into(), claimed.fence.into()];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// How many deliveries of a subscription were given up.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_exhausted(&self, subscription: WebhookSubscriptionId) -> Result<i64, StoreError> {
        #[derive(FromQueryResult)]
        struct Count {
            total: i64,
        }
        // The word stands in the text, so that the index of this word alone is used.
        let sql = format!(
            "SELECT COUNT(*) AS total FROM webhook_deliveries WHERE subscription_id = $1 AND status = '{}'",
            codec::text(&DeliveryStatus::Exhausted)
        );
        let count: Option<Count> = self.connection().one(&sql, vec![subscription.to_string().into()]).await?;
        Ok(count.map_or(0, |count| count.total))
    }
}
