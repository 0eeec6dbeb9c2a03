//! What every connector is held to.

use std::collections::BTreeMap;

use crosstie_kit::{Effect, Kind, Subject, WEBHOOK_SECRET, check, requests};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, Method, Secret,
    domain::{Instant, integration::Entity},
};
use crosstie_stripe::{Stripe, StripeFake};
use serde_json::{Value, json};

/// Asks the account directly, as a person at Stripe would.
fn ask(fake: &mut StripeFake, (method, path): (Method, &str), form: &str, now: Instant) -> Value {
    let headers = vec![("authorization".to_owned(), "Bearer sk_test_2".to_owned())];
    let url = format!("https://api.stripe.com/v1/{path}");
    let answer = fake.respond(&HttpRequest { method, url, headers, body: form.as_bytes().to_vec() }, now);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn create(fake: &mut StripeFake, kind: &str, form: &str, now: Instant) -> String {
    ask(fake, (Method::Post, kind), form, now)["id"].as_str().expect("an id").to_owned()
}

/// A draft of an invoice over one line.
fn invoice(fake: &mut StripeFake, number: u32, now: Instant) -> String {
    let customer = create(fake, "customers", "name=Acme&email=ap%40acme.example", now);
    let id = create(fake, "invoices", &format!("customer={customer}"), now);
    let line = format!("customer={customer}&invoice={id}&amount={}&currency=eur", 1_000 + number);
    create(fake, "invoiceitems", &line, now);
    id
}

fn name(text: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".to_owned(), json!(text))])
}

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_it_declares() {
    let subject = Subject {
        connector: &Stripe,
        settings: json!({}),
        base_url: None,
        credentials: Credentials::Bearer(Secret::new("sk_test_1")),
        vendor: || StripeFake::new(Some("https://hub.example/hooks".to_owned()), Secret::new(WEBHOOK_SECRET), 7),
        kinds: vec![
            Kind {
                entity: Entity::Account,
                create: |fake, number, now| {
                    create(fake, "customers", &format!("name=Customer+{number}&email=c{number}%40acme.example"), now)
                },
                change: |fake, id, number, now| {
                    ask(fake, (Method::Post, &format!("customers/{id}")), &format!("name=Renamed+{number}"), now);
                },
                delete: Some(|fake, id, now| {
                    ask(fake, (Method::Delete, &format!("customers/{id}")), "", now);
                }),
            },
            Kind {
                entity: Entity::Invoice,
                create: invoice,
                change: |fake, id, _, now| {
                    ask(fake, (Method::Post, &format!("invoices/{id}/finalize")), "", now);
                },
                delete: Some(|fake, id, now| {
                    ask(fake, (Method::Delete, &format!("invoices/{id}")), "", now);
                }),
            },
        ],
        effects: vec![
            Effect {
                entity: Entity::ServiceOrder,
                request: |_, _| requests::order(),
                count: |fake, _| fake.product_count(),
            },
            Effect {
                entity: Entity::Invoice,
                request: |_, _| requests::invoice(),
                count: |fake, _| fake.invoice_count(),
            },
            Effect {
                entity: Entity::Account,
                request: |fake, now| {
                    let id = create(fake, "customers", "name=Old", now);
                    requests::update(Entity::Account, &id, name("New"), name("Old"))
                },
                count: |fake, now| {
                    let customers = ask(fake, (Method::Get, "customers"), "", now);
                    let rows = customers["data"].as_array().expect("rows");
                    rows.iter().filter(|row| row["name"] == "New").count()
                },
            },
        ],
        bypasses: &[],
    };
    check(&subject).await.expect_all_passed();
}
