//! Events that other systems sent.

use async_graphql::{Context, ID, InputObject, Object, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use crosstie_domain::{
    Instant,
    access::{Permission, Sensitivity},
    integration::{Entity, InboundEventRecord, InboundPayload as Payload, InboundStatus},
};
use crosstie_store::{
    Condition,
    integration::{self, InboundColumn, inbound_payloads},
};

use super::{
    ConnectedSystem,
    corrections::{Correction, corrections},
    exchanges::Header,
};
use crate::{
    access::{access, financial, sensitivity},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// An inbound event.
#[derive(Clone)]
pub(crate) struct InboundEvent(pub(crate) Item<InboundEventRecord>);

impl From<Item<InboundEventRecord>> for InboundEvent {
    fn from(item: Item<InboundEventRecord>) -> Self {
        Self(item)
    }
}

impl Node for InboundEvent {
    type Record = InboundEventRecord;
    const NAME: &'static str = "InboundEvent";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One event that another system sent by webhook.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl InboundEvent {
    #[graphql(flatten)]
    async fn record(&self) -> &InboundEventRecord {
        &self.0
    }

    /// Identifies the event.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The delivery that brought it, as it came; null when it is not kept any more.
    async fn payload(&self, ctx: &Context<'_>) -> Result<Option<InboundPayload>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let payload = self.0.one(
            "payload",
            |event| Some(event.payload_id.clone()),
            |ids| async move {
                Ok(keyed(inbound_payloads(found.store, found.rows, &ids).await?, |payload| payload.id.clone()))
            },
        );
        Ok(payload.await?.map(InboundPayload))
    }

    /// What persons corrected of it, the first correction first.
    async fn corrections(&self, ctx: &Context<'_>) -> Result<Option<Vec<Correction>>> {
        corrections(ctx, &self.0, |event| event.id.to_string()).await.map(Some)
    }

    /// The system that sent it.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |event| Some(event.connection_id)).await
    }
}

/// A delivery as it came.
pub(crate) struct InboundPayload(Item<Payload>);

/// What a webhook brought, as it came. It may hold several events.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl InboundPayload {
    /// Its headers in their order; those that sign somebody in are not kept.
    async fn headers(&self) -> Vec<Header> {
        self.0.headers.iter().map(|(name, value)| Header { name: name.clone(), value: value.clone() }).collect()
    }

    /// Its body, when that is text; it may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn body(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, std::str::from_utf8(&self.0.body).ok())
    }

    /// Its body byte by byte, in base64; it may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn body_base64(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        financial(ctx, Some(BASE64_STANDARD.encode(&self.0.body)))
    }

    /// How long the body is, in bytes.
    async fn bytes(&self) -> i32 {
        i32::try_from(self.0.body.len()).unwrap_or(i32::MAX)
    }

    /// When it was stored here.
    async fn received_at(&self) -> Instant {
        self.0.received_at
    }
}

impl Choice for InboundStatus {
    const FILTER: &'static str = "InboundStatusFilter";
}

/// Which inbound events to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct InboundEventFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that it came through.
    connection_id: Option<IdFilter>,
    /// How it stands.
    status: Option<ChoiceFilter<InboundStatus>>,
    /// What the sender calls this kind of event.
    event_type: Option<TextFilter>,
    /// The kind of record that it is about.
    entity: Option<ChoiceFilter<Entity>>,
    /// The id of that record at the sender.
    remote_id: Option<TextFilter>,
    /// Why it waits.
    error_code: Option<TextFilter>,
    /// When it was stored here.
    received_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<InboundEventFilter>>,
    /// At least one of these holds.
    or: Option<Vec<InboundEventFilter>>,
    /// This does not hold.
    not: Option<Box<InboundEventFilter>>,
}

impl Filter for InboundEventFilter {
    type Column = InboundColumn;

    fn own(&self, conditions: &mut Vec<Condition<InboundColumn>>) -> Result<(), ApiError> {
        self.id.compare(InboundColumn::Id, conditions)?;
        self.connection_id.compare(InboundColumn::Connection, conditions)?;
        self.status.compare(InboundColumn::Status, conditions)?;
        self.event_type.compare(InboundColumn::EventType, conditions)?;
        self.entity.compare(InboundColumn::Entity, conditions)?;
        self.remote_id.compare(InboundColumn::RemoteId, conditions)?;
        self.error_code.compare(InboundColumn::Code, conditions)?;
        self.received_at.compare(InboundColumn::ReceivedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What inbound events are ordered by.
    InboundEventOrderField as "InboundEventOrder" of InboundColumn;
    /// The identifier; events that came later have larger ones.
    Id text,
    /// How it stands, by the letters of the status.
    Status text,
    /// When it was stored here.
    ReceivedAt number,
}

listed! {
    InboundEventQueries of InboundEvent filtered by InboundEventFilter, ordered by InboundEventOrderField;
    "The events that other systems sent." inbound_events from integration::inbound_events;
    "One inbound event; null when there is none that you may see." inbound_event from integration::inbound_events_by_ids;
}
