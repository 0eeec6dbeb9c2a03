//! Connected systems, what they say, and how it reaches the hub.

mod adoption;
mod alerts;
mod authority;
mod backfills;
mod conflicts;
mod connections;
mod corrections;
mod deletes;
mod differences;
mod drift;
mod effect_mutations;
mod effects;
mod erasures;
mod exchanges;
mod explanation;
mod holds;
mod inbound;
pub(crate) mod links;
mod mappings;
mod modes;
mod outbound;
mod parked;
pub(crate) mod provenance;
mod refresh;
mod refusals;
mod replay_mutations;
mod replays;
mod runs;
mod shapes;
mod sign_ins;
mod subscriptions;
mod sweeps;

use async_graphql::MergedObject;
use crosstie_domain::integration::Entity;

use self::{
    adoption::{AdoptionMutations, AdoptionQueries},
    alerts::AlertQueries,
    authority::AuthorityQueries,
    backfills::BackfillQueries,
    conflicts::{ConflictMutations, ConflictQueries},
    connections::ConnectionQueries,
    corrections::CorrectionMutations,
    deletes::DeleteClaimQueries,
    differences::DifferenceQueries,
    drift::DriftReportQueries,
    effect_mutations::EffectMutations,
    effects::EffectQueries,
    erasures::{ErasureMutations, ErasureQueries},
    exchanges::ExchangeQueries,
    holds::PauseMutations,
    inbound::InboundEventQueries,
    links::{LinkMutations, LinkQueries},
    mappings::{MappingMutations, MappingQueries},
    modes::ModeMutations,
    parked::ParkedRowQueries,
    refresh::RefreshMutations,
    refusals::InboundRefusalQueries,
    replay_mutations::ReplayMutations,
    replays::ReplayQueries,
    runs::SyncRunQueries,
    shapes::ShapeChangeQueries,
    sign_ins::{ConnectionSignIn, SignInMutations},
    subscriptions::{
        WebhookDeliveryQueries, WebhookEventQueries, WebhookSubscriptionMutations, WebhookSubscriptionQueries,
    },
    sweeps::{SweepMutations, SweepQueries},
};
pub(crate) use self::{
    alerts::Alert,
    authority::FieldAuthority,
    conflicts::Conflict,
    connections::ConnectedSystem,
    effects::Effect,
    exchanges::Exchange,
    inbound::InboundEvent,
    parked::ParkedRow,
    refusals::InboundRefusal,
    runs::SyncRun,
    subscriptions::{WebhookDelivery, WebhookSubscription},
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
    DeleteClaimQueries,
    AdoptionQueries,
    DifferenceQueries,
    ErasureQueries,
    ReadingQueries,
    InboundRefusalQueries,
);

/// Mutations for what comes from connected systems.
#[derive(MergedObject, Default)]
pub(crate) struct IntegrationMutations(
    ConflictMutations,
    LinkMutations,
    SignInMutations,
    ModeMutations,
    MappingMutations,
    AdoptionMutations,
    WebhookSubscriptionMutations,
    PauseMutations,
    ErasureMutations,
);

/// What persons do about what failed.
#[derive(MergedObject, Default)]
pub(crate) struct FailureMutations(ReplayMutations, CorrectionMutations, EffectMutations);

/// Queries for what failed, and what persons did about it.
#[derive(MergedObject, Default)]
pub(crate) struct FailureQueries(EffectQueries, ReplayQueries);

/// Changes of how other systems are read.
#[derive(MergedObject, Default)]
pub(crate) struct ReadingMutations(RefreshMutations, SweepMutations);

/// Queries for what is known of how well other systems are read.
#[derive(MergedObject, Default)]
pub(crate) struct ReadingQueries(BackfillQueries, SweepQueries, DriftReportQueries, ShapeChangeQueries);
