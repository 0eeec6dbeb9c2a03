//! What every connector is held to.

use std::collections::BTreeMap;

use crosstie_kit::{Effect, Kind, Subject, check, requests};
use crosstie_salesforce::{Salesforce, SalesforceFake};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, Method, Secret,
    domain::{Instant, integration::Entity},
};
use serde_json::{Value, json};

/// Asks the org directly, as one of its users would.
fn ask(fake: &mut SalesforceFake, (method, path): (Method, &str), body: &Value, now: Instant) -> Value {
    let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
    let url = format!("https://org.my.salesforce.example/services/data/v64.0/{path}");
    let answer = fake.respond(&HttpRequest { method, url, headers, body: body.to_string().into_bytes() }, now);
    assert!((200..300).contains(&answer.status), "{path}: {}", String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn create(fake: &mut SalesforceFake, object: &str, fields: &Value, now: Instant) -> String {
    let made = ask(fake, (Method::Post, &format!("sobjects/{object}")), fields, now);
    made["id"].as_str().expect("an id").to_owned()
}

fn set(fake: &mut SalesforceFake, record: &str, fields: &Value, now: Instant) {
    ask(fake, (Method::Patch, &format!("sobjects/{record}")), fields, now);
}

fn delete(fake: &mut SalesforceFake, record: &str, now: Instant) {
    ask(fake, (Method::Delete, &format!("sobjects/{record}")), &Value::Null, now);
}

fn name(text: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".to_owned(), json!(text))])
}

/// An opportunity as a person makes one.
fn deal(name: &str) -> Value {
    json!({ "Name": name, "StageName": "Prospecting", "CloseDate": "2026-12-31", "Amount": 1200.5 })
}

/// How many records have the name that the kit asks for.
fn called_new(fake: &mut SalesforceFake, object: &str, now: Instant) -> usize {
    let query = format!(
        "query?q=SELECT+Id,+Name+FROM+{object}+WHERE+SystemModstamp+%3C%3D+2999-01-01T00:00:00Z+ORDER+BY+SystemModstamp,+Id+LIMIT+50"
    );
    let found = ask(fake, (Method::Get, &query), &Value::Null, now);
    let records = found["records"].as_array().expect("records");
    records.iter().filter(|record| record["Name"] == "New").count()
}

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_it_declares() {
    let subject = Subject {
        connector: &Salesforce,
        settings: json!({ "currency": "EUR" }),
        base_url: Some("https://org.my.salesforce.example"),
        credentials: Credentials::Bearer(Secret::new("session")),
        vendor: SalesforceFake::new,
        kinds: vec![
            Kind {
                entity: Entity::Account,
                create: |fake, number, now| {
                    let website = format!("https://www.c{number}.example");
                    create(fake, "Account", &json!({ "Name": format!("Account {number}"), "Website": website }), now)
                },
                change: |fake, id, number, now| {
                    set(fake, &format!("Account/{id}"), &json!({ "Name": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, &format!("Account/{id}"), now)),
            },
            Kind {
                entity: Entity::Opportunity,
                create: |fake, number, now| create(fake, "Opportunity", &deal(&format!("Deal {number}")), now),
                change: |fake, id, number, now| {
                    set(fake, &format!("Opportunity/{id}"), &json!({ "Name": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, &format!("Opportunity/{id}"), now)),
            },
        ],
        effects: vec![
            Effect {
                entity: Entity::Account,
                request: |fake, now| {
                    let id = create(fake, "Account", &json!({ "Name": "Old" }), now);
                    requests::update(Entity::Account, &id, name("New"), name("Old"))
                },
                count: |fake, now| called_new(fake, "Account", now),
            },
            Effect {
                entity: Entity::Opportunity,
                request: |fake, now| {
                    let id = create(fake, "Opportunity", &deal("Old"), now);
                    requests::update(Entity::Opportunity, &id, name("New"), name("Old"))
                },
                count: |fake, now| called_new(fake, "Opportunity", now),
            },
        ],
        bypasses: &[],
    };
    check(&subject).await.expect_all_passed();
}
