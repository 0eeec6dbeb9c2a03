//! What every connector is held to.

use std::collections::BTreeMap;

use crosstie_kit::{Effect, Kind, Subject, WEBHOOK_SECRET, check, requests};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, Method, Secret,
    domain::{Instant, integration::Entity},
};
use crosstie_template::{Template, TemplateFake};
use serde_json::{Value, json};

/// Asks the vendor directly, as one of its users would.
fn ask(fake: &mut TemplateFake, (method, path): (Method, &str), body: &Value, now: Instant) -> Value {
    let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
    let url = format!("https://api.template.example/v1/{path}");
    let answer = fake.respond(&HttpRequest { method, url, headers, body: body.to_string().into_bytes() }, now);
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.status);
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn create(fake: &mut TemplateFake, list: &str, values: &Value, now: Instant) -> String {
    ask(fake, (Method::Post, list), values, now)["id"].as_str().expect("an id").to_owned()
}

fn name(text: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".to_owned(), json!(text))])
}

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_it_declares() {
    let subject = Subject {
        connector: &Template,
        settings: json!({ "currency": "EUR" }),
        base_url: None,
        credentials: Credentials::Bearer(Secret::new("key")),
        vendor: || TemplateFake::new(Some("https://hub.example/hooks".to_owned()), Secret::new(WEBHOOK_SECRET)),
        kinds: vec![
            Kind {
                entity: Entity::Account,
                create: |fake, number, now| {
                    let website = format!("https://www.c{number}.example");
                    create(fake, "accounts", &json!({ "name": format!("Account {number}"), "website": website }), now)
                },
                change: |fake, id, number, now| {
                    let values = json!({ "name": format!("Renamed {number}") });
                    ask(fake, (Method::Patch, &format!("accounts/{id}")), &values, now);
                },
                delete: Some(|fake, id, now| {
                    ask(fake, (Method::Delete, &format!("accounts/{id}")), &Value::Null, now);
                }),
            },
            Kind {
                entity: Entity::Opportunity,
                create: |fake, number, now| {
                    let deal = json!({ "title": format!("Deal {number}"), "phase": "offer", "account": "a1",
                        "amount": format!("{number}.50"), "closes_on": "2026-12-31" });
                    create(fake, "deals", &deal, now)
                },
                change: |fake, id, number, now| {
                    let values = json!({ "title": format!("Renamed {number}") });
                    ask(fake, (Method::Patch, &format!("deals/{id}")), &values, now);
                },
                delete: Some(|fake, id, now| {
                    ask(fake, (Method::Delete, &format!("deals/{id}")), &Value::Null, now);
                }),
            },
        ],
        effects: vec![Effect {
            entity: Entity::Account,
            request: |fake, now| {
                let id = create(fake, "accounts", &json!({ "name": "Old" }), now);
                requests::update(Entity::Account, &id, name("New"), name("Old"))
            },
            count: |fake, now| {
                let listed = ask(fake, (Method::Get, "accounts"), &Value::Null, now);
                let rows = listed["rows"].as_array().expect("rows");
                rows.iter().filter(|row| row["name"] == "New").count()
            },
        }],
        bypasses: &[],
    };
    check(&subject).await.expect_all_passed();
}
