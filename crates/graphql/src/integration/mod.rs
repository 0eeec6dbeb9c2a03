//! Connected systems, what they say, and how it reaches the hub.

mod alerts;
mod connections;
mod inbound;
mod parked;
mod runs;

use async_graphql::MergedObject;
use crosstie_domain::integration::Entity;

pub(crate) use self::{
    alerts::Alert, connections::ConnectedSystem, inbound::InboundEvent, parked::ParkedRow, runs::SyncRun,
};
use self::{
    alerts::AlertQueries, connections::ConnectionQueries, inbound::InboundEventQueries, parked::ParkedRowQueries,
    runs::SyncRunQueries,
};
use crate::filter::Choice;

impl Choice for Entity {
    const FILTER: &'static str = "EntityFilter";
}

/// Queries for connected systems, runs, inbound events, parked rows and alerts.
#[derive(MergedObject, Default)]
pub(crate) struct IntegrationQueries(
    ConnectionQueries,
    SyncRunQueries,
    InboundEventQueries,
    ParkedRowQueries,
    AlertQueries,
);
