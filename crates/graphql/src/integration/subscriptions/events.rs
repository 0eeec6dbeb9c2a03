//! The changes of a subscription in their order, for a receiver that missed some.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use crosstie_app::subscriptions::ToldEvent;
use crosstie_domain::{
    Instant,
    access::{Permission, Sensitivity},
    integration::Entity,
};

use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    error::ApiError,
    listing::bad_input,
};

/// Events in one answer when the asker names no number.
const DEFAULT_EVENTS: i32 = 100;
/// Events in one answer, at most.
const MOST_EVENTS: i32 = 500;

/// A range of the changes that a subscription tells of.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct WebhookEventRange {
    /// The events, in the order of their numbers. Those that the receiver took are kept for 30 days.
    events: Vec<WebhookEvent>,
    /// The last number that was given: there is more while it is above that of the last event here.
    last_sequence: i64,
}

/// A change that a subscription tells of, as it is sent.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct WebhookEvent {
    /// The header `webhook-id` of its delivery.
    webhook_id: ID,
    /// Its number among the changes of this subscription: 1, 2, 3, without gaps.
    sequence: i64,
    /// Whether it is kept back because the owner of the subscription may not see the record any more. Then what
    /// follows is null.
    withheld: bool,
    /// The type in the envelope, such as `sow.signed`.
    #[graphql(name = "type")]
    message_type: Option<String>,
    /// The place of the change in the order that all subscribers see, as in `entityChanged`.
    event_id: Option<String>,
    /// What happened, such as `sow_signed`.
    event: Option<String>,
    /// The kind of record.
    entity: Option<Entity>,
    /// The identifier of the record.
    record_id: Option<ID>,
    /// The version of the record after the change, where the change has one.
    version: Option<i32>,
    /// When it happened.
    occurred_at: Option<Instant>,
}

impl From<ToldEvent> for WebhookEvent {
    fn from(ToldEvent { delivery, shown }: ToldEvent) -> Self {
        Self {
            webhook_id: delivery.id.into(),
            sequence: delivery.sequence.unwrap_or_default(),
            withheld: !shown,
            message_type: shown.then(|| delivery.message_type()),
            event_id: delivery.position.filter(|_| shown).map(|position| position.to_string()),
            entity: delivery.entity.filter(|_| shown),
            version: delivery.record_version.filter(|_| shown),
            occurred_at: shown.then_some(delivery.occurred_at),
            record_id: delivery.record_id.filter(|_| shown).map(ID),
            event: Some(delivery.event).filter(|_| shown),
        }
    }
}

/// Queries for ranges of events.
#[derive(Default)]
pub(crate) struct WebhookEventQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl WebhookEventQueries {
    /// The changes that a subscription tells of after a number, sent or not: what a receiver asks for that found a gap
    /// in the numbers. Null when there is no such subscription that you may see.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn webhook_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The subscription.")] subscription_id: ID,
        #[graphql(desc = "The last number that the receiver has; 0 for all that is kept.")] after: i64,
        #[graphql(desc = "The first so many, from 1 to 500; 100 when it is left out.")] first: Option<i32>,
    ) -> Result<Option<WebhookEventRange>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let first = first.unwrap_or(DEFAULT_EVENTS);
        if !(1..=MOST_EVENTS).contains(&first) {
            let error: ApiError = bad_input("first", format!("`first` is a number from 1 to {MOST_EVENTS}."));
            return Err(error.into_graphql());
        }
        let Ok(id) = subscription_id.parse() else { return Ok(None) };
        let told = app(ctx)?.webhook_events(found.auth, id, after, first.into()).await.map_err(app_failed)?;
        Ok(told.map(|(last_sequence, events)| WebhookEventRange {
            events: events.into_iter().map(WebhookEvent::from).collect(),
            last_sequence,
        }))
    }
}
