//! Deliveries to subscribed systems: the list of what each hears of, gap-free, and the queue that it is sent from.

use crosstie_domain::{
    Instant,
    access::{AuthContext, RowScope},
    ids::{WebhookDeliveryId, WebhookSubscriptionId},
    integration::{DeliveryKind, DeliveryStatus, Entity, WebhookDeliveryRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use super::subscriptions::seen_by;
use crate::{
    Condition, Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts,
};

/// What deliveries are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryColumn {
    /// Identifier; deliveries that were put in line later have larger ones.
    Id,
    /// Subscription.
    Subscription,
    /// Who made the subscription.
    Owner,
    /// How it stands.
    Status,
    /// Its place among the changes of the subscription.
    Sequence,
    /// The record that changed.
    Record,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct DeliveryRow {
    id: String,
    subscription_id: String,
    kind: String,
    sequence: Option<i64>,
    position: Option<i64>,
    entity: Option<String>,
    record_id: Option<String>,
    event: String,
    record_version: Option<i32>,
    occurred_at: i64,
    status: String,
    attempts: i32,
    next_attempt_at: Option<i64>,
    response_status: Option<i32>,
    response_excerpt: Option<String>,
    duration_ms: Option<i32>,
    error_code: Option<String>,
    error_message: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl Listed for WebhookDeliveryRecord {
    type Column = DeliveryColumn;
    type Row = DeliveryRow;
    const SELECT: &'static str = "webhook_deliveries.*";
    const FROM: &'static str = "webhook_deliveries JOIN webhook_subscriptions ON webhook_subscriptions.id = webhook_deliveries.subscription_id";
    const ID: &'static str = "webhook_deliveries.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: DeliveryColumn) -> Expression {
        match column {
            DeliveryColumn::Id => Expression::Required("webhook_deliveries.id"),
            DeliveryColumn::Subscription => Expression::Required("webhook_deliveries.subscription_id"),
            DeliveryColumn::Owner => Expression::Required("webhook_subscriptions.owner"),
            DeliveryColumn::Status => Expression::Required("webhook_deliveries.status"),
            DeliveryColumn::Sequence => Expression::Optional("webhook_deliveries.sequence"),
            DeliveryColumn::Record => Expression::Optional("webhook_deliveries.record_id"),
        }
    }

    fn record(row: DeliveryRow) -> Result<Self, StoreError> {
        let entity =
            |text: String| Entity::parse(&text).ok_or(StoreError::Corrupt { column: "webhook_deliveries.entity" });
        Ok(Self {
            id: codec::id("webhook_deliveries.id", &row.id)?,
            subscription_id: codec::id("webhook_deliveries.subscription_id", &row.subscription_id)?,
            kind: codec::word("webhook_deliveries.kind", row.kind)?,
            sequence: row.sequence,
            position: row.position,
            entity: row.entity.map(entity).transpose()?,
            record_id: row.record_id,
            event: row.event,
            record_version: row.record_version,
            occurred_at: codec::instant("webhook_deliveries.occurred_at", row.occurred_at)?,
            status: codec::word("webhook_deliveries.status", row.status)?,
            attempts: row.attempts,
            next_attempt_at: codec::instant_opt("webhook_deliveries.next_attempt_at", row.next_attempt_at)?,
            response_status: row.response_status,
            response_excerpt: row.response_excerpt,
            duration_ms: row.duration_ms,
            error_code: row.error_code,
            error_message: row.error_message,
            created_at: codec::instant("webhook_deliveries.created_at", row.created_at)?,
            finished_at: codec::instant_opt("webhook_deliveries.finished_at", row.finished_at)?,
        })
    }

    fn key(&self, column: DeliveryColumn) -> Json {
        match column {
            DeliveryColumn::Id => json!(self.id.to_string()),
            DeliveryColumn::Subscription => json!(self.subscription_id.to_string()),
            // Nothing is ordered by what is not in the record itself.
            DeliveryColumn::Owner => Json::Null,
            DeliveryColumn::Status => json!(codec::text(&self.status)),
            DeliveryColumn::Sequence => json!(self.sequence),
            DeliveryColumn::Record => json!(self.record_id),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of the deliveries of subscriptions that a principal may see.
///
/// # Errors
/// As the database.
pub async fn webhook_deliveries(
    db: &impl Reads,
    auth: &AuthContext,
    request: &PageRequest<DeliveryColumn>,
) -> Result<PageResult<WebhookDeliveryRecord>, StoreError> {
    let condition = Condition::All(vec![seen_by(auth, DeliveryColumn::Owner), request.condition.clone()]);
    page::page(db, &RowScope::All, &PageRequest { condition, ..request.clone() }).await
}

/// The deliveries with these identifiers, of subscriptions that a principal may see, in any order.
///
/// # Errors
/// As the database.
pub async fn webhook_deliveries_by_ids(
    db: &impl Reads,
    auth: &AuthContext,
    ids: &[WebhookDeliveryId],
) -> Result<Vec<WebhookDeliveryRecord>, StoreError> {
    let found: Vec<WebhookDeliveryRecord> =
        page::by_ids(db, &RowScope::All, "webhook_deliveries.id", &texts(ids)).await?;
    let mut subscriptions: Vec<WebhookSubscriptionId> = found.iter().map(|found| found.subscription_id).collect();
    subscriptions.dedup();
    let seen = super::subscriptions::webhook_subscriptions_by_ids(db, auth, &subscriptions).await?;
    let is_seen = |delivery: &WebhookDeliveryRecord| seen.iter().any(|one| one.id == delivery.subscription_id);
    Ok(found.into_iter().filter(is_seen).collect())
}

/// The deliveries of subscriptions that the caller may see: for each the first so many after an identifier, and one
/// more if there is.
///
/// # Errors
/// As the database.
pub async fn deliveries_of_subscriptions(
    db: &impl Reads,
    subscriptions: &[WebhookSubscriptionId],
    span: (u32, Option<&str>),
) -> Result<Vec<WebhookDeliveryRecord>, StoreError> {
    page::children(db, &RowScope::All, "webhook_deliveries.subscription_id", &texts(subscriptions), span).await
}

/// The changes that a subscription tells of after a place in its own order, at most so many, in that order.
///
/// # Errors
/// As the database.
pub async fn subscription_events(
    db: &impl Reads,
    subscription: WebhookSubscriptionId,
    after: i64,
    limit: i64,
) -> Result<Vec<WebhookDeliveryRecord>, StoreError> {
    let sql =
        "SELECT * FROM webhook_deliveries WHERE subscription_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
    let values = vec![subscription.to_string().into(), after.into(), limit.into()];
    let rows: Vec<DeliveryRow> = db.connection().all(sql, values).await?;
    rows.into_iter().map(WebhookDeliveryRecord::record).collect()
}

/// A change as a subscription is looked through: with its place in the one order, and the record's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedChange {
    /// Its place in the one order.
    pub position: i64,
    /// The kind of record.
    pub entity: Entity,
    /// The record.
    pub id: String,
    /// What happened.
    pub event: String,
    /// The record's version after the change, where the change has one.
    pub version: Option<i32>,
    /// When.
    pub occurred_at: Instant,
}

/// The changes after a position with the versions of their records, at most so many.
///
/// # Errors
/// As the database.
pub async fn versioned_changes_after(
    db: &impl Reads,
    position: i64,
    limit: i64,
) -> Result<Vec<VersionedChange>, StoreError> {
    #[derive(FromQueryResult)]
    struct ChangeRow {
        position: i64,
        aggregatetype: String,
        aggregateid: String,
        r#type: String,
        payload: String,
        created_at: i64,
    }
    let sql = "SELECT p.position, o.aggregatetype, o.aggregateid, o.type, o.payload, o.created_at \
               FROM outbox_positions p JOIN outbox o ON o.id = p.outbox_id \
               WHERE p.position > $1 ORDER BY p.position LIMIT $2";
    let rows: Vec<ChangeRow> = db.connection().all(sql, vec![position.into(), limit.into()]).await?;
    rows.into_iter()
        .map(|row| {
            let payload: Json = codec::json("outbox.payload", &row.payload)?;
            let version = payload["version"].as_i64().and_then(|version| i32::try_from(version).ok());
            Ok(VersionedChange {
                position: row.position,
                entity: Entity::parse(&row.aggregatetype)
                    .ok_or(StoreError::Corrupt { column: "outbox.aggregatetype" })?,
                id: row.aggregateid,
                event: row.r#type,
                version,
                occurred_at: codec::instant("outbox.created_at", row.created_at)?,
            })
        })
        .collect()
}

impl Tx {
    /// Puts deliveries of a subscription in line: changes under the numbers after the last one, in their order.
    /// Returns the last number.
    ///
    /// # Errors
    /// As the database.
    pub async fn queue_changes(
        &self,
        subscription: WebhookSubscriptionId,
        last_sequence: i64,
        changes: &[VersionedChange],
    ) -> Result<i64, StoreError> {
        let now = self.now().micros();
        let mut sequence = last_sequence;
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes {
            sequence += 1;
            let id: WebhookDeliveryId = self.new_id();
            rows.push(vec![
                ("id", id.to_string().into()),
                ("subscription_id", subscription.to_string().into()),
                ("kind", codec::text(&DeliveryKind::Change).into()),
                ("sequence", sequence.into()),
                ("position", change.position.into()),
                ("entity", change.entity.as_str().into()),
                ("record_id", change.id.clone().into()),
                ("event", change.event.clone().into()),
                ("record_version", change.version.into()),
                ("occurred_at", change.occurred_at.micros().into()),
                ("status", codec::text(&DeliveryStatus::Waiting).into()),
                ("attempts", 0.into()),
                ("next_attempt_at", now.into()),
                ("fence", 0_i64.into()),
                ("created_at", now.into()),
            ]);
        }
        self.connection().insert("webhook_deliveries", rows, "").await?;
        Ok(sequence)
    }

    /// Puts a test of a subscription in line. It has no number: it tells of no change.
    ///
    /// # Errors
    /// As the database.
    pub async fn queue_test(
        &self,
        subscription_id: WebhookSubscriptionId,
    ) -> Result<WebhookDeliveryRecord, StoreError> {
        let now = self.now();
        let delivery = WebhookDeliveryRecord {
            id: self.new_id(),
            subscription_id,
            kind: DeliveryKind::Test,
            sequence: None,
            position: None,
            entity: None,
            record_id: None,
            event: "webhook_test".to_owned(),
            record_version: None,
            occurred_at: now,
            status: DeliveryStatus::Waiting,
            attempts: 0,
            next_attempt_at: Some(now),
            response_status: None,
            response_excerpt: None,
            duration_ms: None,
            error_code: None,
            error_message: None,
            created_at: now,
            finished_at: None,
        };
        let row = vec![
            ("id", delivery.id.to_string().into()),
            ("subscription_id", subscription_id.to_string().into()),
            ("kind", codec::text(&delivery.kind).into()),
            ("event", delivery.event.clone().into()),
            ("occurred_at", now.micros().into()),
            ("status", codec::text(&delivery.status).into()),
            ("attempts", delivery.attempts.into()),
            ("next_attempt_at", now.micros().into()),
            ("fence", 0_i64.into()),
            ("created_at", now.micros().into()),
        ];
        self.connection().insert("webhook_deliveries", vec![row], "").await?;
        Ok(delivery)
    }

    /// How many deliveries between two numbers, both included, were sent or given up.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_finished(
        &self,
        subscription: WebhookSubscriptionId,
        (from, to): (i64, i64),
    ) -> Result<i64, StoreError> {
        #[derive(FromQueryResult)]
        struct Count {
            total: i64,
        }
        let sql = "SELECT COUNT(*) AS total FROM webhook_deliveries \
                   WHERE subscription_id = $1 AND sequence >= $2 AND sequence <= $3 AND status IN ($4, $5)";
        let values = vec![
            subscription.to_string().into(),
            from.into(),
            to.into(),
            codec::text(&DeliveryStatus::Delivered).into(),
            codec::text(&DeliveryStatus::Exhausted).into(),
        ];
        Ok(self.connection().one::<Count>(sql, values).await?.map_or(0, |count| count.total))
    }

    /// Puts deliveries between two numbers, both included, in line again, as if they had never been tried; those that
    /// still wait, or are withheld, stay as they are. Returns how many.
    ///
    /// # Errors
    /// As the database.
    pub async fn queue_again(
        &self,
        subscription: WebhookSubscriptionId,
        (from, to): (i64, i64),
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE webhook_deliveries SET status = $4, attempts = 0, next_attempt_at = $5, lease_until = NULL, \
                   finished_at = NULL, error_code = NULL, error_message = NULL \
                   WHERE subscription_id = $1 AND sequence >= $2 AND sequence <= $3 AND status IN ($6, $7)";
        let values = vec![
            subscription.to_string().into(),
            from.into(),
            to.into(),
            codec::text(&DeliveryStatus::Waiting).into(),
            self.now().micros().into(),
            codec::text(&DeliveryStatus::Delivered).into(),
            codec::text(&DeliveryStatus::Exhausted).into(),
        ];
        self.connection().run(sql, values).await
    }
}
