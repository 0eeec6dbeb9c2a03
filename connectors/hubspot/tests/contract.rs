//! What every connector is held to.

use std::collections::BTreeMap;

use crosstie_hubspot::{Hubspot, HubspotFake};
use crosstie_kit::{Effect, Kind, Subject, WEBHOOK_SECRET, check, requests};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, Method, Secret,
    domain::{Instant, integration::Entity},
};
use serde_json::{Value, json};

/// Asks the account directly, as one of its users would.
fn ask(fake: &mut HubspotFake, (method, path): (Method, &str), body: &Value, now: Instant) -> Value {
    let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
    let url = format!("https://api.hubapi.com/crm/v3/objects/{path}");
    let answer = fake.respond(&HttpRequest { method, url, headers, body: body.to_string().into_bytes() }, now);
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.status);
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn create(fake: &mut HubspotFake, kind: &str, properties: Value, now: Instant) -> String {
    let made = ask(fake, (Method::Post, kind), &json!({ "properties": properties }), now);
    made["id"].as_str().expect("an id").to_owned()
}

fn set(fake: &mut HubspotFake, record: &str, properties: Value, now: Instant) {
    ask(fake, (Method::Patch, record), &json!({ "properties": properties }), now);
}

fn delete(fake: &mut HubspotFake, record: &str, now: Instant) {
    ask(fake, (Method::Delete, record), &Value::Null, now);
}

/// How many records have this value.
fn named(fake: &mut HubspotFake, kind: &str, (property, value): (&str, &str), now: Instant) -> usize {
    let query = json!({ "limit": 100, "properties": [property] });
    let found = ask(fake, (Method::Post, &format!("{kind}/search")), &query, now);
    let rows = found["results"].as_array().expect("rows");
    rows.iter().filter(|row| row["properties"][property] == value).count()
}

fn name(text: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".to_owned(), json!(text))])
}

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_it_declares() {
    let subject = Subject {
        connector: &Hubspot,
        settings: json!({}),
        base_url: None,
        credentials: Credentials::Bearer(Secret::new("pat-test")),
        vendor: || HubspotFake::new(Some("https://hub.example/hooks".to_owned()), Secret::new(WEBHOOK_SECRET), 4_711),
        kinds: vec![
            Kind {
                entity: Entity::Account,
                create: |fake, number, now| {
                    let domain = format!("c{number}.example");
                    create(fake, "companies", json!({ "name": format!("Company {number}"), "domain": domain }), now)
                },
                change: |fake, id, number, now| {
                    set(fake, &format!("companies/{id}"), json!({ "name": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, &format!("companies/{id}"), now)),
            },
            Kind {
                entity: Entity::Opportunity,
                create: |fake, number, now| {
                    let stage = ["appointmentscheduled", "closedwon"][usize::try_from(number % 2).unwrap_or(0)];
                    let deal = json!({ "dealname": format!("Deal {number}"), "dealstage": stage,
                        "amount": format!("{number}.5"), "deal_currency_code": "EUR", "closedate": "2026-12-31" });
                    create(fake, "deals", deal, now)
                },
                change: |fake, id, number, now| {
                    set(fake, &format!("deals/{id}"), json!({ "dealname": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, &format!("deals/{id}"), now)),
            },
        ],
        effects: vec![
            Effect {
                entity: Entity::Account,
                request: |fake, now| {
                    let id = create(fake, "companies", json!({ "name": "Old", "domain": "old.example" }), now);
                    requests::update(Entity::Account, &id, name("New"), name("Old"))
                },
                count: |fake, now| named(fake, "companies", ("name", "New"), now),
            },
            Effect {
                entity: Entity::Opportunity,
                request: |fake, now| {
                    let id = create(fake, "deals", json!({ "dealname": "Old" }), now);
                    requests::update(Entity::Opportunity, &id, name("New"), name("Old"))
                },
                count: |fake, now| named(fake, "deals", ("dealname", "New"), now),
            },
        ],
        bypasses: &[],
    };
    check(&subject).await.expect_all_passed();
}
