//! Deliveries to subscribed systems.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, RowScope, Sensitivity},
    integration::{DeliveryKind, DeliveryStatus, WebhookDeliveryRecord},
};
use crosstie_store::{
    Condition,
    integration::{DeliveryColumn, webhook_deliveries, webhook_deliveries_by_ids, webhook_subscriptions_by_ids},
};

use super::WebhookSubscription;
use crate::{
    access::{access, requires, sensitivity, store_failed},
    edge::{Item, keyed, level},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Connection, Node, Order, Paging, order_fields, wanted},
};

/// A delivery.
#[derive(Clone)]
pub(crate) struct WebhookDelivery(pub(crate) Item<WebhookDeliveryRecord>);

impl From<Item<WebhookDeliveryRecord>> for WebhookDelivery {
    fn from(item: Item<WebhookDeliveryRecord>) -> Self {
        Self(item)
    }
}

impl Node for WebhookDelivery {
    type Record = WebhookDeliveryRecord;
    const NAME: &'static str = "WebhookDelivery";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One delivery to a subscribed system: a change, and how it goes with sending it.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl WebhookDelivery {
    #[graphql(flatten)]
    async fn record(&self) -> &WebhookDeliveryRecord {
        &self.0
    }

    /// Identifies the delivery; it is the header `webhook-id`, the same at every try.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The identifier of the record that changed; null for a test.
    async fn record_id(&self) -> Option<ID> {
        self.0.record_id.clone().map(ID)
    }

    /// The place of the change in the order that all subscribers see, as in `entityChanged`; null for a test.
    async fn event_id(&self) -> Option<String> {
        self.0.position.map(|position| position.to_string())
    }

    /// The subscription.
    async fn subscription(&self, ctx: &Context<'_>) -> Result<Option<WebhookSubscription>> {
        let found = access(ctx, WebhookSubscription::PERMISSION)?;
        let subscription = self.0.one(
            "subscription",
            |delivery| Some(delivery.subscription_id),
            |ids| async move {
                let records = webhook_subscriptions_by_ids(found.store, found.auth, &ids).await?;
                Ok(keyed(records, |subscription| subscription.id))
            },
        );
        Ok(subscription.await?.map(WebhookSubscription))
    }
}

impl Choice for DeliveryStatus {
    const FILTER: &'static str = "DeliveryStatusFilter";
}

impl Choice for DeliveryKind {
    const FILTER: &'static str = "DeliveryKindFilter";
}

/// Which deliveries to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct WebhookDeliveryFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The subscription.
    subscription_id: Option<IdFilter>,
    /// The record that changed.
    record_id: Option<IdFilter>,
    /// How it stands.
    status: Option<ChoiceFilter<DeliveryStatus>>,
    /// All of these hold.
    and: Option<Vec<WebhookDeliveryFilter>>,
    /// At least one of these holds.
    or: Option<Vec<WebhookDeliveryFilter>>,
    /// This does not hold.
    not: Option<Box<WebhookDeliveryFilter>>,
}

impl Filter for WebhookDeliveryFilter {
    type Column = DeliveryColumn;

    fn own(&self, conditions: &mut Vec<Condition<DeliveryColumn>>) -> Result<(), ApiError> {
        self.id.compare(DeliveryColumn::Id, conditions)?;
        self.subscription_id.compare(DeliveryColumn::Subscription, conditions)?;
        self.record_id.compare(DeliveryColumn::Record, conditions)?;
        self.status.compare(DeliveryColumn::Status, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What deliveries are ordered by.
    WebhookDeliveryOrderField as "WebhookDeliveryOrder" of DeliveryColumn;
    /// The identifier; deliveries that were put in line later have larger ones.
    Id text,
    /// How it stands, by the letters of the status.
    Status text,
    /// Its place among the changes of its subscription.
    Sequence number,
}

/// Queries for deliveries, of the subscriptions that the asker may see.
#[derive(Default)]
pub(crate) struct WebhookDeliveryQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl WebhookDeliveryQueries {
    /// The deliveries to subscribed systems.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn webhook_deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when neither `first` nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, from 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which to list; all that you may see when it is left out.")] filter: Option<
            WebhookDeliveryFilter,
        >,
        #[graphql(desc = "The order, at most three fields; the identifier decides ties.")] order_by: Option<
            Vec<Order<WebhookDeliveryOrderField>>,
        >,
    ) -> Result<Option<Connection<WebhookDelivery>>> {
        let found = access(ctx, WebhookDelivery::PERMISSION)?;
        let paging = Paging { first, after, last, before };
        let wanted = wanted::<WebhookDelivery, _, _>(&paging, filter.as_ref(), order_by)?;
        let page = webhook_deliveries(found.store, found.auth, &wanted.request).await.map_err(store_failed)?;
        let connection = Connection::of_page(wanted, page);
        Ok(Some(if *found.rows == RowScope::All { connection } else { connection.uncounted() }))
    }

    /// One delivery; null when there is none that you may see.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn webhook_delivery(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its identifier.")] id: ID,
    ) -> Result<Option<WebhookDelivery>> {
        let found = access(ctx, WebhookDelivery::PERMISSION)?;
        let Ok(id) = id.parse() else { return Ok(None) };
        let records = webhook_deliveries_by_ids(found.store, found.auth, &[id]).await.map_err(store_failed)?;
        Ok(level(records).next().map(WebhookDelivery::from))
    }
}
