//! Webhooks: how they are signed, and what they point at.

use crosstie_sdk::{
    Inbound, Malformed, Nudge, Verified,
    domain::integration::Entity,
    signature::{Encoding, Layout, Part, Scheme, TimestampAt},
};

use crate::wire::Event;

pub(crate) const HEADER: &str = "template-signature";
pub(crate) const SIGNED: &[Part] = &[Part::Timestamp, Part::Literal("."), Part::Body];

pub(crate) struct TemplateWebhooks;

impl Inbound for TemplateWebhooks {
    fn scheme(&self) -> Scheme {
        Scheme::HmacSha256 {
            header: HEADER,
            layout: Layout::Pairs { key: "v1" },
            timestamp: TimestampAt::PairSeconds("t"),
            signed: SIGNED,
            encoding: Encoding::Hex,
            tolerance_ms: 300_000,
        }
    }

    fn says_deleted(&self, event_type: &str) -> bool {
        event_type.ends_with(".deleted")
    }

    fn split(&self, delivery: Verified<'_>) -> Result<Vec<Nudge>, Malformed> {
        let event: Event = serde_json::from_slice(delivery.body()).map_err(|error| Malformed(error.to_string()))?;
        let entity = match event.kind.split_once('.') {
            Some(("account", _)) => Some(Entity::Account),
            Some(("deal", _)) => Some(Entity::Opportunity),
            _ => None,
        };
        let target = entity.map(|entity| (entity, event.record));
        Ok(vec![Nudge { dedupe_key: event.id, event_type: event.kind, target, occurred_at: None }])
    }
}
