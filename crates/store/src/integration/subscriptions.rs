//! Subscriptions by which other systems hear of changes: what each asks for, how far it was looked through, and what
//! its deliveries are signed with. Whoever sees all rows sees every subscription; others see their own.

use crosstie_domain::{
    Instant,
    access::{AuthContext, Principal, RowScope},
    ids::{AccountId, DomainEventId, WebhookSubscriptionId},
    integration::{AlertKey, AlertKind, SubscriptionReason, SubscriptionStatus, WebhookSubscriptionRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Condition, Expression, Listed, Operand, Operator, PageRequest, PageResult, Reads, Span, StoreError, Tx, codec,
    page, pipeline::texts,
};

/// What subscriptions are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionColumn {
    /// Identifier; subscriptions that were made later have larger ones.
    Id,
    /// Who made it.
    Owner,
    /// Whether changes are sent.
    Status,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct SubscriptionRow {
    id: String,
    url: String,
    description: String,
    entities: String,
    event_types: String,
    accounts: String,
    ordered: i32,
    owner: String,
    status: String,
    status_reason: Option<String>,
    position: i64,
    last_sequence: i64,
    failures: i32,
    open_until: Option<i64>,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for WebhookSubscriptionRecord {
    type Column = SubscriptionColumn;
    type Row = SubscriptionRow;
    const SELECT: &'static str = "webhook_subscriptions.*";
    const FROM: &'static str = "webhook_subscriptions";
    const ID: &'static str = "webhook_subscriptions.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: SubscriptionColumn) -> Expression {
        match column {
            SubscriptionColumn::Id => Expression::Required("webhook_subscriptions.id"),
            SubscriptionColumn::Owner => Expression::Required("webhook_subscriptions.owner"),
            SubscriptionColumn::Status => Expression::Required("webhook_subscriptions.status"),
        }
    }

    fn record(row: SubscriptionRow) -> Result<Self, StoreError> {
        let reason = |word| codec::word::<SubscriptionReason>("webhook_subscriptions.status_reason", word);
        let owner =
            Principal::parse(&row.owner).ok_or(StoreError::Corrupt { column: "webhook_subscriptions.owner" })?;
        Ok(Self {
            id: codec::id("webhook_subscriptions.id", &row.id)?,
            url: row.url,
            description: row.description,
            entities: codec::json("webhook_subscriptions.entities", &row.entities)?,
            event_types: codec::json("webhook_subscriptions.event_types", &row.event_types)?,
            accounts: codec::json::<Option<Vec<AccountId>>>("webhook_subscriptions.accounts", &row.accounts)?,
            ordered: row.ordered != 0,
            owner,
            status: codec::word("webhook_subscriptions.status", row.status)?,
            status_reason: row.status_reason.map(reason).transpose()?,
            position: row.position,
            last_sequence: row.last_sequence,
            failures_in_a_row: row.failures,
            left_alone_until: codec::instant_opt("webhook_subscriptions.open_until", row.open_until)?,
            version: row.version,
            created_at: codec::instant("webhook_subscriptions.created_at", row.created_at)?,
            updated_at: codec::instant("webhook_subscriptions.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: SubscriptionColumn) -> Json {
        match column {
            SubscriptionColumn::Id => json!(self.id.to_string()),
            SubscriptionColumn::Owner => json!(self.owner.to_string()),
            SubscriptionColumn::Status => json!(codec::text(&self.status)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// The condition that shows a principal the subscriptions that it may see.
pub(super) fn seen_by<C>(auth: &AuthContext, owner: C) -> Condition<C> {
    match auth.rows {
        RowScope::All => Condition::All(vec![]),
        RowScope::Accounts(_) => Condition::Is(owner, Operator::Eq, Operand::Text(auth.principal.to_string())),
    }
}

/// A page of the subscriptions that a principal may see.
///
/// # Errors
/// As the database.
pub async fn webhook_subscriptions(
    db: &impl Reads,
    auth: &AuthContext,
    request: &PageRequest<SubscriptionColumn>,
) -> Result<PageResult<WebhookSubscriptionRecord>, StoreError> {
    let condition = Condition::All(vec![seen_by(auth, SubscriptionColumn::Owner), request.condition.clone()]);
    page::page(db, &RowScope::All, &PageRequest { condition, ..request.clone() }).await
}

/// How many subscriptions there are.
///
/// # Errors
/// As the database.
pub async fn count_webhook_subscriptions(db: &impl Reads) -> Result<i64, StoreError> {
    page::count::<WebhookSubscriptionRecord>(db, &RowScope::All, &Condition::All(vec![])).await
}

/// The subscriptions with these identifiers that a principal may see, in any order.
///
/// # Errors
/// As the database.
pub async fn webhook_subscriptions_by_ids(
    db: &impl Reads,
    auth: &AuthContext,
    ids: &[WebhookSubscriptionId],
) -> Result<Vec<WebhookSubscriptionRecord>, StoreError> {
    let found: Vec<WebhookSubscriptionRecord> =
        page::by_ids(db, &RowScope::All, "webhook_subscriptions.id", &texts(ids)).await?;
    let sees_all = auth.rows == RowScope::All;
    Ok(found.into_iter().filter(|subscription| sees_all || subscription.owner == auth.principal).collect())
}

/// The active and paused subscriptions that were not looked through up to a position, but for those whose owner lost
/// his or her rights.
///
/// # Errors
/// As the database.
pub async fn subscriptions_behind(db: &impl Reads, position: i64) -> Result<Vec<WebhookSubscriptionId>, StoreError> {
    #[derive(FromQueryResult)]
    struct IdRow {
        id: String,
    }
    let sql = "SELECT id FROM webhook_subscriptions WHERE position < $1 \
               AND (status = $2 OR (status = $3 AND status_reason = $4)) ORDER BY id";
    let values = vec![
        position.into(),
        codec::text(&SubscriptionStatus::Active).into(),
        codec::text(&SubscriptionStatus::Paused).into(),
        codec::text(&SubscriptionReason::PausedByOperator).into(),
    ];
    let rows: Vec<IdRow> = db.connection().all(sql, values).await?;
    rows.iter().map(|row| codec::id("webhook_subscriptions.id", &row.id)).collect()
}

#[derive(FromQueryResult)]
struct NumberRow {
    number: i32,
}

/// The numbers of the secrets that sign at this moment, the newest first. The secrets themselves are kept sealed.
///
/// # Errors
/// As the database.
pub async fn live_secrets(
    db: &impl Reads,
    subscription: WebhookSubscriptionId,
    now: Instant,
) -> Result<Vec<i32>, StoreError> {
    let sql = "SELECT number FROM webhook_secrets \
               WHERE subscription_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY number DESC";
    let values = vec![subscription.to_string().into(), now.micros().into()];
    let rows: Vec<NumberRow> = db.connection().all(sql, values).await?;
    Ok(rows.into_iter().map(|row| row.number).collect())
}

impl Tx {
    /// A subscription, which nobody else changes before this transaction ends.
    ///
    /// # Errors
    /// As the database.
    pub async fn lock_subscription(
        &self,
        id: WebhookSubscriptionId,
    ) -> Result<Option<WebhookSubscriptionRecord>, StoreError> {
        let lock = if self.connection().is_postgres() { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT * FROM webhook_subscriptions WHERE id = $1{lock}");
        let row: Option<SubscriptionRow> = self.connection().one(&sql, vec![id.to_string().into()]).await?;
        row.map(WebhookSubscriptionRecord::record).transpose()
    }

    /// Saves a subscription, new or locked in this transaction.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_subscription(&self, subscription: &WebhookSubscriptionRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", subscription.id.to_string().into()),
            ("url", subscription.url.clone().into()),
            ("description", subscription.description.clone().into()),
            ("entities", codec::json_text(&subscription.entities).into()),
            ("event_types", codec::json_text(&subscription.event_types).into()),
            ("accounts", codec::json_text(&subscription.accounts).into()),
            ("ordered", i32::from(subscription.ordered).into()),
            ("owner", subscription.owner.to_string().into()),
            ("status", codec::text(&subscription.status).into()),
            ("status_reason", subscription.status_reason.as_ref().map(codec::text).into()),
            ("position", subscription.position.into()),
            ("last_sequence", subscription.last_sequence.into()),
            ("failures", subscription.failures_in_a_row.into()),
            ("open_until", subscription.left_alone_until.map(Instant::micros).into()),
            ("version", subscription.version.into()),
            ("created_at", subscription.created_at.micros().into()),
            ("updated_at", subscription.updated_at.micros().into()),
        ];
        self.connection().save("webhook_subscriptions", &["id"], row, "").await.map(|_| ())
    }

    /// Deletes a subscription, and tells the numbers of the secrets that go with it. Its deliveries go with the next
    /// housekeeping; none is sent from now on.
    ///
    /// # Errors
    /// As the database.
    pub async fn delete_subscription(&self, id: WebhookSubscriptionId) -> Result<Vec<i32>, StoreError> {
        let (db, id) = (self.connection(), id.to_string());
        let sql = "DELETE FROM webhook_secrets WHERE subscription_id = $1 RETURNING number";
        let gone: Vec<NumberRow> = db.all(sql, vec![id.clone().into()]).await?;
        db.run("DELETE FROM webhook_subscriptions WHERE id = $1", vec![id.into()]).await?;
        Ok(gone.into_iter().map(|row| row.number).collect())
    }

    /// Keeps that a subscription has another secret; those before it end at the moment that is given. Returns the
    /// numbers of those that have ended by now.
    ///
    /// # Errors
    /// As the database.
    pub async fn add_secret(
        &self,
        subscription: WebhookSubscriptionId,
        number: i32,
        others_end_at: Instant,
    ) -> Result<Vec<i32>, StoreError> {
        let (db, now, id) = (self.connection(), self.now().micros(), subscription.to_string());
        let sql = "UPDATE webhook_secrets SET expires_at = $2 WHERE subscription_id = $1 \
                   AND (expires_at IS NULL OR expires_at > $2)";
        db.run(sql, vec![id.clone().into(), others_end_at.micros().into()]).await?;
        let sql = "DELETE FROM webhook_secrets WHERE subscription_id = $1 AND expires_at <= $2 RETURNING number";
        let ended: Vec<NumberRow> = db.all(sql, vec![id.clone().into(), now.into()]).await?;
        let row = vec![("subscription_id", id.into()), ("number", number.into()), ("created_at", now.into())];
        db.insert("webhook_secrets", vec![row], "").await?;
        Ok(ended.into_iter().map(|row| row.number).collect())
    }

    /// Writes into the history what somebody did with a subscription. Subscribers hear of records alone, not of this.
    ///
    /// # Errors
    /// As the database.
    pub async fn subscription_history(
        &self,
        subscription: &WebhookSubscriptionRecord,
        actor: Principal,
        event: &str,
    ) -> Result<(), StoreError> {
        let id: DomainEventId = self.new_id();
        let data = json!({ "version": subscription.version, "url": subscription.url });
        let row = vec![
            ("id", id.to_string().into()),
            ("occurred_at", self.now().micros().into()),
            ("aggregatetype", "webhook_subscription".into()),
            ("aggregateid", subscription.id.to_string().into()),
            ("type", event.into()),
            ("actor", actor.to_string().into()),
            ("data", data.to_string().into()),
        ];
        self.connection().insert("domain_events", vec![row], "").await.map(|_| ())
    }

    /// Closes what was said of a subscription's receiver.
    ///
    /// # Errors
    /// As the database.
    pub async fn close_subscription_alerts(
        &self,
        subscription: WebhookSubscriptionId,
        kinds: &[AlertKind],
    ) -> Result<(), StoreError> {
        for kind in kinds {
            self.close_alert(&AlertKey::subscription(*kind, subscription)).await?;
        }
        Ok(())
    }
}

/// The first so many subscriptions that a principal may see, the first made first.
pub fn first_subscriptions(count: u32) -> PageRequest<SubscriptionColumn> {
    PageRequest { condition: Condition::All(vec![]), order: vec![], span: Span::First(count, None) }
}
