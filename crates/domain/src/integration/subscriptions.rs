//! Subscriptions by which other systems hear of changes, and the deliveries to them.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{
    access::Principal,
    ids::{AccountId, WebhookDeliveryId, WebhookSubscriptionId},
    time::Instant,
};

/// Whether a subscribed system hears of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubscriptionStatus {
    /// Changes are sent.
    Active,
    /// Nothing is sent until it is resumed; what changes meanwhile is sent then.
    Paused,
    /// The receiver said that it is gone for good; resume it once the receiver is back.
    Disabled,
}

/// Why a subscription is not active. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubscriptionReason {
    /// A person paused it.
    PausedByOperator,
    /// Whoever made it may not see the border to other systems any more, or is gone.
    OwnerRevoked,
    /// The receiver answered 410.
    EndpointGone,
}

/// A subscription by which another system hears of changes.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "WebhookSubscriptionRecord")]
pub struct WebhookSubscriptionRecord {
    /// Identifies the subscription.
    #[graphql(skip)]
    pub id: WebhookSubscriptionId,
    /// Where changes are sent.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// The kinds of record whose changes are sent: at least one.
    pub entities: Vec<Entity>,
    /// The events that are sent, such as `sow_signed`; all when empty.
    pub event_types: Vec<String>,
    /// The accounts whose records are sent; all that its owner may see when none are named.
    #[graphql(skip)]
    pub accounts: Option<Vec<AccountId>>,
    /// Whether changes of one record are sent strictly one after the other.
    pub ordered: bool,
    /// Who made it: what is sent is what this principal may see.
    #[graphql(skip)]
    pub owner: Principal,
    /// Whether changes are sent.
    pub status: SubscriptionStatus,
    /// Why they are not.
    pub status_reason: Option<SubscriptionReason>,
    /// The place in the order of all changes up to which it was looked through.
    #[graphql(skip)]
    pub position: i64,
    /// The last sequence number that was given: they run 1, 2, 3 without gaps.
    pub last_sequence: i64,
    /// How many tries in a row have failed, of whatever delivery.
    pub failures_in_a_row: i32,
    /// Until when it is left alone after too many failures; then one delivery tries whether it is back.
    pub left_alone_until: Option<Instant>,
    /// Raised by every change of what it asks for, and by pausing and resuming.
    pub version: i32,
    /// When it was made.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeliveryStatus {
    /// It waits for its turn, or for its next try.
    Waiting,
    /// The receiver took it.
    Delivered,
    /// It was given up after the last try; it can be sent again.
    Exhausted,
    /// The owner of the subscription may not see the record any more, so it is not sent.
    Withheld,
}

/// What a delivery tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeliveryKind {
    /// A change of a record.
    Change,
    /// Nothing: somebody tries whether the receiver is there.
    Test,
}

/// One delivery to a subscribed system: a change, and how it goes with sending it.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "WebhookDeliveryRecord")]
pub struct WebhookDeliveryRecord {
    /// Identifies the delivery; it is the header `webhook-id`, the same at every try.
    #[graphql(skip)]
    pub id: WebhookDeliveryId,
    /// The subscription.
    #[graphql(skip)]
    pub subscription_id: WebhookSubscriptionId,
    /// What it tells.
    pub kind: DeliveryKind,
    /// Its place among the changes of this subscription; a test has none.
    pub sequence: Option<i64>,
    /// The place of the change in the order that all subscribers see; a test has none.
    #[graphql(skip)]
    pub position: Option<i64>,
    /// The kind of record that changed.
    pub entity: Option<Entity>,
    /// The record that changed.
    #[graphql(skip)]
    pub record_id: Option<String>,
    /// What happened, such as `sow_signed`.
    pub event: String,
    /// The version of the record after the change, where the change has one.
    pub record_version: Option<i32>,
    /// When it happened.
    pub occurred_at: Instant,
    /// How it stands.
    pub status: DeliveryStatus,
    /// How often it was tried since it was last asked for.
    pub attempts: i32,
    /// When the next try is due.
    pub next_attempt_at: Option<Instant>,
    /// Status of the receiver's last answer.
    pub response_status: Option<i32>,
    /// The beginning of the receiver's last answer that was no success, with what looks like a secret left out.
    pub response_excerpt: Option<String>,
    /// How long the last try took, in milliseconds.
    pub duration_ms: Option<i32>,
    /// Why the last try failed: a stable code.
    pub error_code: Option<String>,
    /// Why the last try failed, in words.
    pub error_message: Option<String>,
    /// When it was put in line.
    pub created_at: Instant,
    /// When it was done with.
    pub finished_at: Option<Instant>,
}

impl WebhookDeliveryRecord {
    /// The type of the message in its envelope: the kind of record and what happened to it, with a full stop between.
    ///
    /// A `sow_signed` of a statement of work is `sow.signed`.
    pub fn message_type(&self) -> String {
        match self.entity {
            None => "webhook.test".to_owned(),
            Some(entity) => {
                let event = self.event.as_str();
                let prefix = format!("{}_", entity.as_str());
                format!("{}.{}", entity.as_str(), event.strip_prefix(&prefix).unwrap_or(event))
            }
        }
    }

    /// The body that is signed and sent: the same bytes at every try. It names what changed and holds none of it; the
    /// receiver reads the graph with a token of its own.
    pub fn body(&self) -> String {
        let data = match self.kind {
            DeliveryKind::Test => serde_json::json!({ "subscriptionId": self.subscription_id }),
            DeliveryKind::Change => serde_json::json!({
                "subscriptionId": self.subscription_id,
                "sequence": self.sequence,
                "eventId": self.position.map(|position| position.to_string()),
                "entity": self.entity,
                "recordId": self.record_id,
                "version": self.record_version,
                "eventType": self.event,
                "occurredAt": self.occurred_at.to_string(),
            }),
        };
        let occurred_at = self.occurred_at.to_string();
        serde_json::json!({ "type": self.message_type(), "timestamp": occurred_at, "data": data }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(entity: Option<Entity>, event: &str) -> WebhookDeliveryRecord {
        let at: Instant = "2026-11-23T10:00:00Z".parse().expect("an instant");
        WebhookDeliveryRecord {
            id: "whd_00000000000000000000000001".parse().expect("an identifier"),
            subscription_id: "whs_00000000000000000000000001".parse().expect("an identifier"),
            kind: if entity.is_some() { DeliveryKind::Change } else { DeliveryKind::Test },
            sequence: entity.map(|_| 7),
            position: entity.map(|_| 19),
            entity,
            record_id: entity.map(|_| "sow_1".to_owned()),
            event: event.to_owned(),
            record_version: entity.map(|_| 2),
            occurred_at: at,
            status: DeliveryStatus::Waiting,
            attempts: 0,
            next_attempt_at: Some(at),
            response_status: None,
            response_excerpt: None,
            duration_ms: None,
            error_code: None,
            error_message: None,
            created_at: at,
            finished_at: None,
        }
    }

    #[test]
    fn the_type_of_a_message_is_the_record_and_what_happened_to_it() {
        for (entity, event, expected) in [
            (Some(Entity::Sow), "sow_signed", "sow.signed"),
            (Some(Entity::ServiceOrder), "service_order_acknowledged", "service_order.acknowledged"),
            (Some(Entity::ServiceOrder), "place_order_requested", "service_order.place_order_requested"),
            (None, "webhook_test", "webhook.test"),
        ] {
            assert_eq!(delivery(entity, event).message_type(), expected);
        }
    }

    #[test]
    fn a_body_names_what_changed_and_holds_none_of_it() {
        let body: serde_json::Value =
            serde_json::from_str(&delivery(Some(Entity::Sow), "sow_signed").body()).expect("JSON");
        let expected = serde_json::json!({
            "type": "sow.signed",
            "timestamp": "2026-11-23T10:00:00Z",
            "data": {
                "subscriptionId": "whs_00000000000000000000000001", "sequence": 7, "eventId": "19", "entity": "sow",
                "recordId": "sow_1", "version": 2, "eventType": "sow_signed", "occurredAt": "2026-11-23T10:00:00Z",
            },
        });
        assert_eq!(body, expected);
    }
}
