//! Webhooks that writes set off.

use crosstie_sdk::{
    Delivery, HttpRequest, Method,
    domain::Instant,
    signature::{self, Encoding},
};
use serde_json::{Value, json};

use super::{HubspotFake, Kind, epoch_ms, next};
use crate::webhook::{SIGNATURE_HEADER, SIGNED, TIMESTAMP_HEADER};

impl HubspotFake {
    /// Queues the delivery that a write sets off: one event, or one for each property that was changed.
    pub(super) fn announce(
        &mut self,
        kind: Kind,
        what: &str,
        id: i64,
        changes: &[(String, Option<String>)],
        now: Instant,
    ) {
        let mut events: Vec<Value> = Vec::new();
        for (name, value) in changes {
            let mut event = self.event(kind, what, id, now);
            event["propertyName"] = json!(name);
            event["propertyValue"] = json!(value.clone().unwrap_or_default());
            events.push(event);
        }
        if events.is_empty() {
            events.push(self.event(kind, what, id, now));
        }
        self.deliver(&events, now);
    }

    /// What all events say.
    pub(super) fn event(&mut self, kind: Kind, what: &str, id: i64, now: Instant) -> Value {
        let subject = if kind == Kind::Deal { "deal" } else { "company" };
        json!({
            "eventId": next(&mut self.last_event_id, now),
            "subscriptionId": 1,
            "portalId": self.portal,
            "appId": 1,
            "occurredAt": epoch_ms(now),
            "subscriptionType": format!("{subject}.{what}"),
            "attemptNumber": 0,
            "objectId": id,
            "changeSource": "INTEGRATION",
        })
    }

    /// Queues one delivery, signed.
    pub(super) fn deliver(&mut self, events: &[Value], now: Instant) {
        let Some(url) = self.webhook_url.clone() else { return };
        let body = json!(events).to_string().into_bytes();
        let unsigned = Delivery { method: "POST".to_owned(), url: url.clone(), headers: Vec::new(), body };
        let written_at = epoch_ms(now).to_string();
        let value = signature::sign(SIGNED, Encoding::Base64, &unsigned, &written_at, &self.client_secret);
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            (SIGNATURE_HEADER.to_owned(), value),
            (TIMESTAMP_HEADER.to_owned(), written_at),
        ];
        self.deliveries.push(HttpRequest { method: Method::Post, url, headers, body: unsigned.body });
    }
}
