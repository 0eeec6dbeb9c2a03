//! What every connector is held to.

use std::collections::BTreeMap;

use crosstie_kit::{Effect, Kind, Subject, check, requests};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, Method, Secret,
    domain::{Instant, integration::Entity},
};
use crosstie_tryton::{Tryton, TrytonFake};
use serde_json::{Value, json};

fn add(fake: &mut TrytonFake, model: &str, values: Value, now: Instant) -> String {
    fake.add(model, values, now).to_string()
}

fn change(fake: &mut TrytonFake, (model, id): (&str, &str), values: Value, now: Instant) {
    fake.change(model, id.parse().expect("a number"), values, now);
}

fn decimal(text: &str) -> Value {
    json!({ "__class__": "Decimal", "decimal": text })
}

fn date() -> Value {
    json!({ "__class__": "date", "year": 2026, "month": 11, "day": 23 })
}

fn delete(fake: &mut TrytonFake, model: &str, id: &str, now: Instant) {
    let headers = vec![("authorization".to_owned(), "Bearer key".to_owned())];
    let url = format!("http://tryton.example/books/rest/model/{model}/{id}");
    let answer = fake.respond(&HttpRequest { method: Method::Delete, url, headers, body: vec![] }, now);
    assert!((200..300).contains(&answer.status), "{model} {id}: {}", answer.status);
}

fn name(text: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".to_owned(), json!(text))])
}

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_it_declares() {
    let subject = Subject {
        connector: &Tryton,
        settings: json!({ "company": 1, "employee": 1, "product": 1, "payment_term": 3 }),
        base_url: Some("http://tryton.example/books"),
        credentials: Credentials::Bearer(Secret::new("key")),
        vendor: TrytonFake::new,
        kinds: vec![
            Kind {
                entity: Entity::Account,
                create: |fake, number, now| {
                    let party = json!({ "name": format!("Party {number}"), "addresses": [["create", [{}]]] });
                    add(fake, "party.party", party, now)
                },
                change: |fake, id, number, now| {
                    change(fake, ("party.party", id), json!({ "name": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, "party.party", id, now)),
            },
            Kind {
                entity: Entity::Opportunity,
                create: |fake, number, now| {
                    let lead = json!({ "company": 1, "description": format!("Deal {number}"), "state": "lead",
                        "amount": decimal("1200.50"), "currency": 1 });
                    add(fake, "sale.opportunity", lead, now)
                },
                change: |fake, id, number, now| {
                    change(fake, ("sale.opportunity", id), json!({ "description": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| {
                    change(fake, ("sale.opportunity", id), json!({ "state": "cancelled" }), now);
                    delete(fake, "sale.opportunity", id, now);
                }),
            },
            Kind {
                entity: Entity::ServiceOrder,
                create: |fake, number, now| {
                    let party = fake.add("party.party", json!({ "name": "Acme" }), now);
                    let sale = json!({ "company": 1, "party": party, "currency": 1, "state": "draft",
                        "reference": format!("PO {number}"), "description": "Data platform",
                        "untaxed_amount": decimal("900.10"), "sale_date": date() });
                    add(fake, "sale.sale", sale, now)
                },
                change: |fake, id, number, now| {
                    change(fake, ("sale.sale", id), json!({ "description": format!("Renamed {number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, "sale.sale", id, now)),
            },
            Kind {
                entity: Entity::Invoice,
                create: |fake, number, now| {
                    let party = fake.add("party.party", json!({ "name": "Acme" }), now);
                    let invoice = json!({ "company": 1, "type": "out", "party": party, "currency": 1, "state": "draft",
                        "number": format!("{number}"), "untaxed_amount": decimal("1200.50"),
                        "total_amount": decimal("1428.60"), "amount_to_pay": decimal("1428.60"),
                        "invoice_date": date() });
                    add(fake, "account.invoice", invoice, now)
                },
                change: |fake, id, number, now| {
                    change(fake, ("account.invoice", id), json!({ "number": format!("R{number}") }), now);
                },
                delete: Some(|fake, id, now| delete(fake, "account.invoice", id, now)),
            },
        ],
        effects: vec![
            Effect {
                entity: Entity::ServiceOrder,
                request: |_, _| requests::order(),
                count: |fake, _| fake.records("sale.sale").len(),
            },
            Effect {
                entity: Entity::Invoice,
                request: |_, _| requests::invoice(),
                count: |fake, _| fake.records("account.invoice").len(),
            },
            Effect {
                entity: Entity::Account,
                request: |fake, now| {
                    let id = add(fake, "party.party", json!({ "name": "Old" }), now);
                    requests::update(Entity::Account, &id, name("New"), name("Old"))
                },
                count: |fake, _| fake.records("party.party").iter().filter(|party| party["name"] == "New").count(),
            },
        ],
        bypasses: &[],
    };
    check(&subject).await.expect_all_passed();
}
