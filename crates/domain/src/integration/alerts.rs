//! Alerts: what at the border to other systems does not mend itself, or takes too long to.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{
    ids::{AlertId, ConnectionId, WebhookSubscriptionId},
    time::Instant,
};

/// What an alert is about. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertKind {
    /// A connected system does not accept the credential any more; somebody must renew it.
    ConnectionNeedsReauth,
    /// Rows, inbound events or effects wait for a person.
    ItemsParked,
    /// What is read is older than its objective allows.
    FreshnessLate,
    /// A destination failed so often that it is left alone for a while.
    BreakerOpen,
    /// A delivery to a subscribed system was given up after its last try.
    DeliveryExhausted,
    /// A subscribed system hears of nothing any more until somebody acts.
    SubscriptionDisabled,
    /// Records here and in a connected system differ where they should not.
    DriftFound,
    /// The shape of what a connected system answers has changed.
    ShapeChanged,
    /// A sweep would have deleted more than it may without a person.
    DeletesHeld,
}

impl AlertKind {
    /// Every kind with its written form.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::ConnectionNeedsReauth, "CONNECTION_NEEDS_REAUTH"),
        (Self::ItemsParked, "ITEMS_PARKED"),
        (Self::FreshnessLate, "FRESHNESS_LATE"),
        (Self::BreakerOpen, "BREAKER_OPEN"),
        (Self::DeliveryExhausted, "DELIVERY_EXHAUSTED"),
        (Self::SubscriptionDisabled, "SUBSCRIPTION_DISABLED"),
        (Self::DriftFound, "DRIFT_FOUND"),
        (Self::ShapeChanged, "SHAPE_CHANGED"),
        (Self::DeletesHeld, "DELETES_HELD"),
    ];

    /// The written form, as kept in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| written.eq_ignore_ascii_case(text)).map(|(kind, _)| *kind)
    }
}

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertState {
    /// It is so.
    Open,
    /// It was so, and is not any more.
    Closed,
}

/// Names what can be wrong: of each at most one alert is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlertKey {
    /// What it is about.
    pub kind: AlertKind,
    /// The connection that it concerns.
    pub connection: Option<ConnectionId>,
    /// The kind of record that it concerns.
    pub entity: Option<Entity>,
    /// The subscription that it concerns.
    pub subscription: Option<WebhookSubscriptionId>,
}

impl AlertKey {
    /// Something about a connection as a whole.
    pub fn connection(kind: AlertKind, connection: ConnectionId) -> Self {
        Self { kind, connection: Some(connection), entity: None, subscription: None }
    }

    /// Something about one kind of record of a connection.
    pub fn entity(kind: AlertKind, connection: ConnectionId, entity: Entity) -> Self {
        Self { kind, connection: Some(connection), entity: Some(entity), subscription: None }
    }

    /// Something about the subscription of another system.
    pub fn subscription(kind: AlertKind, subscription: WebhookSubscriptionId) -> Self {
        Self { kind, connection: None, entity: None, subscription: Some(subscription) }
    }
}

/// Something at the border to other systems that a person should know of. It is announced when it opens and when it
/// closes, and counts on silently in between.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "AlertRecord")]
pub struct AlertRecord {
    /// Identifies the alert.
    #[graphql(skip)]
    pub id: AlertId,
    /// What it is about.
    pub kind: AlertKind,
    /// The connection that it concerns.
    #[graphql(skip)]
    pub connection_id: Option<ConnectionId>,
    /// The kind of record that it concerns; null when it is not about one kind alone.
    pub entity: Option<Entity>,
    /// The subscription that it concerns.
    #[graphql(skip)]
    pub subscription_id: Option<WebhookSubscriptionId>,
    /// How it stands.
    pub state: AlertState,
    /// How many there are of what it is about, such as rows that wait; 1 where it cannot be counted.
    pub count: i32,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// Raised when it is announced: 1 when it opened, 2 when it closed.
    pub version: i32,
    /// When it opened.
    pub opened_at: Instant,
    /// When its count or message last changed.
    pub updated_at: Instant,
    /// When it closed.
    pub closed_at: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_read_back_and_are_those_that_are_kept() {
        for (kind, text) in AlertKind::ALL {
            assert_eq!(AlertKind::parse(&text.to_lowercase()), Some(kind));
            assert_eq!(kind.as_str(), text);
            assert_eq!(serde_json::to_value(kind).expect("it is written"), text);
        }
    }
}
