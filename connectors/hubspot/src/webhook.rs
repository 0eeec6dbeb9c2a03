//! Webhooks: signature version 3, and the events in a delivery.

use crosstie_sdk::{
    Inbound, Malformed, Nudge, Verified,
    domain::{Instant, integration::Entity},
    signature::{Encoding, Layout, Part, Scheme, TimestampAt},
};
use serde_json::Value;

use crate::wire::{Event, id_text};

/// HubSpot sends up to 100 events at once.
const MAX_EVENTS: usize = 500;

pub(crate) const SIGNATURE_HEADER: &str = "x-hubspot-signature-v3";
pub(crate) const TIMESTAMP_HEADER: &str = "x-hubspot-request-timestamp";
pub(crate) const SIGNED: &[Part] = &[Part::Method, Part::Url, Part::Body, Part::Timestamp];

/// Receives HubSpot's webhooks.
pub(crate) struct Webhook;

impl Inbound for Webhook {
    fn scheme(&self) -> Scheme {
        Scheme::HmacSha256 {
            header: SIGNATURE_HEADER,
            layout: Layout::Whole,
            timestamp: TimestampAt::HeaderMillis(TIMESTAMP_HEADER),
            signed: SIGNED,
            encoding: Encoding::Base64,
            tolerance_ms: 300_000,
        }
    }

    fn says_deleted(&self, event_type: &str) -> bool {
        event_type.split_once('.').is_some_and(|(_, what)| matches!(what, "deletion" | "privacyDeletion"))
    }

    fn split(&self, delivery: Verified<'_>) -> Result<Vec<Nudge>, Malformed> {
        let events: Vec<Event> = serde_json::from_slice(delivery.body())
            .map_err(|error| Malformed(format!("no array of events: {error}")))?;
        if events.len() > MAX_EVENTS {
            return Err(Malformed(format!("{} events at once", events.len())));
        }
        Ok(events.into_iter().flat_map(nudges).collect())
    }
}

/// One nudge for each record that an event is about: a merge is about the records that it ended, too.
fn nudges(event: Event) -> Vec<Nudge> {
    let event_type = event.subscription_type.clone().unwrap_or_default();
    let entity = entity_of(&event_type, event.object_type_id.as_deref());
    let subject = event.object_id.as_ref().or(event.from_object_id.as_ref()).and_then(id_text);
    let merged = event.merged_object_ids.iter().flatten().filter_map(id_text);
    let mut remote_ids: Vec<Option<String>> = vec![subject];
    for id in merged.map(Some) {
        if !remote_ids.contains(&id) {
            remote_ids.push(id);
        }
    }
    let occurred_at = event.occurred_at.and_then(|ms| Instant::from_micros(ms.checked_mul(1_000)?));
    let nudge = |remote_id: Option<String>| Nudge {
        dedupe_key: dedupe_key(&event, remote_id.as_deref()),
        event_type: event_type.clone(),
        target: entity.zip(remote_id),
        occurred_at,
    };
    remote_ids.into_iter().map(nudge).collect()
}

/// The same for every attempt to send an event. HubSpot does not promise that event ids are unique.
fn dedupe_key(event: &Event, remote_id: Option<&str>) -> String {
    let text = |value: &Option<Value>| value.as_ref().and_then(id_text).unwrap_or_default();
    let mut parts = vec![
        text(&event.event_id),
        event.subscription_type.clone().unwrap_or_default(),
        remote_id.unwrap_or_default().to_owned(),
        event.occurred_at.map(|ms| ms.to_string()).unwrap_or_default(),
    ];
    parts.extend(event.property_name.clone());
    parts.extend(event.to_object_id.as_ref().and_then(id_text));
    parts.join(":")
}

/// `deal.creation` names its kind in the type, `object.creation` in `objectTypeId`.
fn entity_of(event_type: &str, object_type_id: Option<&str>) -> Option<Entity> {
    match (event_type.split_once('.')?.0, object_type_id) {
        ("deal", _) | ("object", Some("0-3")) => Some(Entity::Opportunity),
        ("company", _) | ("object", Some("0-2")) => Some(Entity::Account),
        _ => None,
    }
}
