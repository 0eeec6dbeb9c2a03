//! Subscriptions by which other systems hear of changes.

mod deliveries;
mod events;
mod mutations;

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, RowScope, Sensitivity},
    integration::{SubscriptionStatus, WebhookSubscriptionRecord},
};
use crosstie_store::{
    Condition,
    integration::{
        SubscriptionColumn, deliveries_of_subscriptions, webhook_subscriptions, webhook_subscriptions_by_ids,
    },
};

pub(crate) use self::{
    deliveries::{WebhookDelivery, WebhookDeliveryQueries},
    events::WebhookEventQueries,
    mutations::WebhookSubscriptionMutations,
};
use crate::{
    access::{access, requires, sensitivity, store_failed},
    edge::{Item, keyed, level},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Connection, Node, Order, Paging, Part, order_fields, wanted},
};

/// A subscription.
#[derive(Clone)]
pub(crate) struct WebhookSubscription(pub(crate) Item<WebhookSubscriptionRecord>);

impl From<Item<WebhookSubscriptionRecord>> for WebhookSubscription {
    fn from(item: Item<WebhookSubscriptionRecord>) -> Self {
        Self(item)
    }
}

impl Node for WebhookSubscription {
    type Record = WebhookSubscriptionRecord;
    const NAME: &'static str = "WebhookSubscription";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A subscription by which another system hears of changes.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl WebhookSubscription {
    #[graphql(flatten)]
    async fn record(&self) -> &WebhookSubscriptionRecord {
        &self.0
    }

    /// Identifies the subscription.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The accounts whose records are sent; null when it is all that its owner may see.
    async fn account_ids(&self) -> Option<Vec<ID>> {
        self.0.accounts.as_ref().map(|accounts| accounts.iter().map(|id| ID::from(*id)).collect())
    }

    /// The identifier of the person or of the token that made it: what is sent is what this principal may see.
    async fn owner(&self) -> String {
        self.0.owner.to_string()
    }

    /// Its deliveries, the first first. Those that the receiver took are kept for 30 days.
    async fn deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<WebhookDelivery>>> {
        let found = access(ctx, WebhookDelivery::PERMISSION)?;
        let part = &Part::of::<WebhookDelivery>(first, after)?;
        let children = self.0.many(
            ("deliveries", part.key()),
            |subscription| Some(subscription.id),
            |ids| async move {
                let records = deliveries_of_subscriptions(found.store, &ids, part.span()).await?;
                Ok(keyed(records, |delivery| delivery.subscription_id))
            },
        );
        Ok(Some(Connection::of_children(part, children.await?)))
    }
}

impl Choice for SubscriptionStatus {
    const FILTER: &'static str = "SubscriptionStatusFilter";
}

/// Which subscriptions to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct WebhookSubscriptionFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// Whether changes are sent.
    status: Option<ChoiceFilter<SubscriptionStatus>>,
    /// All of these hold.
    and: Option<Vec<WebhookSubscriptionFilter>>,
    /// At least one of these holds.
    or: Option<Vec<WebhookSubscriptionFilter>>,
    /// This does not hold.
    not: Option<Box<WebhookSubscriptionFilter>>,
}

impl Filter for WebhookSubscriptionFilter {
    type Column = SubscriptionColumn;

    fn own(&self, conditions: &mut Vec<Condition<SubscriptionColumn>>) -> Result<(), ApiError> {
        self.id.compare(SubscriptionColumn::Id, conditions)?;
        self.status.compare(SubscriptionColumn::Status, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What subscriptions are ordered by.
    WebhookSubscriptionOrderField as "WebhookSubscriptionOrder" of SubscriptionColumn;
    /// The identifier; subscriptions that were made later have larger ones.
    Id text,
    /// Whether changes are sent, by the letters of the status.
    Status text,
}

/// Queries for subscriptions. They show whoever sees all accounts every subscription, and others their own.
#[derive(Default)]
pub(crate) struct WebhookSubscriptionQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl WebhookSubscriptionQueries {
    /// The subscriptions of other systems: all of them if you see all accounts, otherwise those that you made.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn webhook_subscriptions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when neither `first` nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, from 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which to list; all that you may see when it is left out.")] filter: Option<
            WebhookSubscriptionFilter,
        >,
        #[graphql(desc = "The order, at most three fields; the identifier decides ties.")] order_by: Option<
            Vec<Order<WebhookSubscriptionOrderField>>,
        >,
    ) -> Result<Option<Connection<WebhookSubscription>>> {
        let found = access(ctx, WebhookSubscription::PERMISSION)?;
        let paging = Paging { first, after, last, before };
        let wanted = wanted::<WebhookSubscription, _, _>(&paging, filter.as_ref(), order_by)?;
        let page = webhook_subscriptions(found.store, found.auth, &wanted.request).await.map_err(store_failed)?;
        let connection = Connection::of_page(wanted, page);
        Ok(Some(if *found.rows == RowScope::All { connection } else { connection.uncounted() }))
    }

    /// One subscription; null when there is none that you may see.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn webhook_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its identifier.")] id: ID,
    ) -> Result<Option<WebhookSubscription>> {
        let found = access(ctx, WebhookSubscription::PERMISSION)?;
        let Ok(id) = id.parse() else { return Ok(None) };
        let records = webhook_subscriptions_by_ids(found.store, found.auth, &[id]).await.map_err(store_failed)?;
        Ok(level(records).next().map(WebhookSubscription::from))
    }
}
