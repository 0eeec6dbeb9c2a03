//! Connected systems, what they say, and how it reaches the hub.

mod alerts;
mod authority;
mod conflicts;
mod connections;
mod exchanges;
mod inbound;
pub(crate) mod links;
mod mappings;
mod modes;
mod parked;
pub(crate) mod provenance;
mod runs;
mod sign_ins;
mod subscriptions;

use async_graphql::MergedObject;
use crosstie_domain::integration::Entity;

pub(crate) use self::{
    alerts::Alert,
    authority::FieldAuthority,
    conflicts::Conflict,
    connections::ConnectedSystem,
    exchanges::Exchange,
    inbound::InboundEvent,
    parked::ParkedRow,
    runs::SyncRun,
    subscriptions::{WebhookDelivery, WebhookSubscription},
};
use self::{
    alerts::AlertQueries,
    authority::AuthorityQueries,
    conflicts::{ConflictMutations, ConflictQueries},
    connections::ConnectionQueries,
    exchanges::ExchangeQueries,
    inbound::InboundEventQueries,
    links::{LinkMutations, LinkQueries},
    mappings::{MappingMutations, MappingQueries},
    modes::ModeMutations,
    parked::ParkedRowQueries,
    runs::SyncRunQueries,
    sign_ins::{ConnectionSignIn, SignInMutations},
    subscriptions::{
        WebhookDeliveryQueries, WebhookEventQueries, WebhookSubscriptionMutations, WebhookSubscriptionQueries,
    },
};
use crate::filter::Choice;

impl Choice for Entity {
    const FILTER: &'static str = "EntityFilter";
}

/// Queries for connected systems, what came from them, and what is decided about it.
#[derive(MergedObject, Default)]
pub(crate) struct IntegrationQueries(
    ConnectionQueries,
    ExchangeQueries,
    SyncRunQueries,
    InboundEventQueries,
    ParkedRowQueries,
    AlertQueries,
    AuthorityQueries,
    ConflictQueries,
    LinkQueries,
    MappingQueries,
    WebhookSubscriptionQueries,
    WebhookDeliveryQueries,
    WebhookEventQueries,
);

/// Mutations for what comes from connected systems.
#[derive(MergedObject, Default)]
pub(crate) struct IntegrationMutations(
    ConflictMutations,
    LinkMutations,
    SignInMutations,
    ModeMutations,
    MappingMutations,
    WebhookSubscriptionMutations,
);
