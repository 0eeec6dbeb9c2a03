//! Receives Stripe's webhooks.

use crosstie_sdk::{
    Acknowledgment, Inbound, Malformed, Nudge, Verified,
    domain::{Instant, integration::Entity},
    signature::{Encoding, Layout, Part, Scheme, TimestampAt},
};

use crate::wire::Event;

pub(crate) const SIGNED: &[Part] = &[Part::Timestamp, Part::Literal("."), Part::Body];

pub(crate) struct StripeWebhooks;

impl Inbound for StripeWebhooks {
    fn scheme(&self) -> Scheme {
        Scheme::HmacSha256 {
            header: "stripe-signature",
            // While a secret is rolled over, Stripe signs with the old and the new one.
            layout: Layout::Pairs { key: "v1" },
            timestamp: TimestampAt::PairSeconds("t"),
            signed: SIGNED,
            encoding: Encoding::Hex,
            tolerance_ms: 300_000,
        }
    }

    fn acknowledgment(&self) -> Acknowledgment {
        Acknowledgment { status: 200 }
    }

    fn says_deleted(&self, event_type: &str) -> bool {
        is_deletion(event_type)
    }

    fn split(&self, delivery: Verified<'_>) -> Result<Vec<Nudge>, Malformed> {
        let event: Event = serde_json::from_slice(delivery.body()).map_err(|error| Malformed(error.to_string()))?;
        if event.id.is_empty() {
            return Err(Malformed("an event without an id".to_owned()));
        }
        let entity = match event.kind.as_str() {
            "customer.created" | "customer.updated" | "customer.deleted" => Some(Entity::Account),
            kind if kind.starts_with("invoice.") => Some(Entity::Invoice),
            _ => None,
        };
        // An upcoming invoice has no id: it is not there yet.
        let target = entity.zip(event.object_id().map(str::to_owned));
        let occurred_at =
            event.created.and_then(|seconds| seconds.checked_mul(1_000_000)).and_then(Instant::from_micros);
        Ok(vec![Nudge { dedupe_key: event.id, event_type: event.kind, target, occurred_at }])
    }
}

/// Whether an event of this kind says that its object is gone.
pub(crate) fn is_deletion(event_type: &str) -> bool {
    event_type.ends_with(".deleted")
}
