//! Values that are set in a customer.

use crosstie_sdk::{
    Connector, Fault, HttpResponse, MappedRow, Method, WriteRequest, Writer,
    domain::{
        integration::{Claim, Entity, Intent},
        pipeline::AccountClaim,
    },
};
use crosstie_stripe::Stripe;
use serde_json::{Value, json};

use crate::kit::{Bench, now, update};

fn writer() -> &'static dyn Writer {
    Stripe.writer().expect("a writer")
}

/// Stripe with one customer, and the id of that one.
fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let customer = bench.at_stripe(Method::Post, "/v1/customers", "name=Old&email=ap%40old.example", now());
    let id = customer["id"].as_str().expect("an id").to_owned();
    (bench, id)
}

fn renamed(customer: &str) -> WriteRequest {
    update(customer, json!({ "name": "New" }), json!({ "name": "Old" }))
}

/// The customer as the hub reads it: its version and what it says.
async fn read(bench: &Bench, customer: &str) -> (Option<String>, AccountClaim) {
    let readers = Stripe.readers();
    let reader = readers.iter().find(|reader| reader.entity() == Entity::Account).expect("customers are read");
    match reader.read_one(&bench.net, customer).await.expect("a row") {
        MappedRow::Good(observed) => match observed.claim {
            Claim::Account(claim) => (observed.key.version, claim),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn writes(bench: &Bench) -> usize {
    bench.sent().iter().filter(|request| request.method == Method::Post).count()
}

fn updates(bench: &Bench) -> usize {
    let deliveries = bench.with_fake(crosstie_sdk::FakeVendor::take_deliveries);
    deliveries.iter().filter(|delivery| delivery.json()["type"] == "customer.updated").count()
}

#[tokio::test]
async fn values_are_set_once_and_a_later_reading_has_the_version_that_was_answered() {
    let (bench, id) = bench();
    let old = json!({ "name": "Old", "billing_email": "ap@old.example" });
    let request = update(&id, json!({ "name": "New", "billing_email": "ap@new.example" }), old);
    assert_eq!(writer().find(&bench.net, &request).await, Ok(None));
    let first = writer().apply(&bench.net, &request).await.expect("set");
    let (version, claim) = read(&bench, &id).await;
    assert_eq!((&first.remote_id, &first.remote_version), (&id, &version));
    assert_eq!((claim.name.as_deref(), claim.billing_email.as_deref()), (Some("New"), Some("ap@new.example")));
    for _ in 0..9 {
        assert_eq!(writer().apply(&bench.net, &request).await.as_ref(), Ok(&first));
    }
    assert_eq!(writer().find(&bench.net, &request).await, Ok(Some(first)));
    assert_eq!((writes(&bench), updates(&bench)), (1, 1));
}

#[tokio::test]
async fn only_what_differs_is_sent_under_a_key_of_its_own() {
    let (bench, id) = bench();
    let old = json!({ "name": "Old", "billing_email": "ap@old.example" });
    let request = update(&id, json!({ "name": "Old", "billing_email": null }), old);
    writer().apply(&bench.net, &request).await.expect("set");
    let sent = bench.sent().into_iter().find(|request| request.method == Method::Post).expect("a write");
    assert_eq!(sent.path(), format!("/v1/customers/{id}"));
    assert_eq!(sent.form(), [("email".to_owned(), String::new())]);
    let key = format!("{}:billing_email", request.key.as_str());
    assert_eq!(sent.header("idempotency-key"), Some(key.as_str()));
    assert_eq!(read(&bench, &id).await.1.billing_email, None);
}

#[tokio::test]
async fn a_lost_answer_is_found_and_not_sent_again() {
    let (bench, id) = bench();
    bench.with_fake(|fake| {
        fake.pass(1);
        fake.lose_next_answer();
    });
    let lost = writer().apply(&bench.net, &renamed(&id)).await;
    assert!(matches!(lost, Err(Fault::Transient { .. })), "{lost:?}");
    let found = writer().find(&bench.net, &renamed(&id)).await.expect("an answer").expect("it happened");
    assert_eq!(found.remote_version, read(&bench, &id).await.0);
    assert_eq!(writer().apply(&bench.net, &renamed(&id)).await, Ok(found));
    assert_eq!((writes(&bench), updates(&bench)), (1, 1));
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let (bench, id) = bench();
    bench.at_stripe(Method::Post, &format!("/v1/customers/{id}"), "name=Other", now());
    assert_eq!(writer().apply(&bench.net, &renamed(&id)).await, Err(Fault::Stale));
    assert_eq!(writer().find(&bench.net, &renamed(&id)).await, Err(Fault::Stale));
    assert_eq!(writes(&bench), 0);
    assert_eq!(read(&bench, &id).await.1.name.as_deref(), Some("Other"));
}

#[tokio::test]
async fn a_customer_that_is_no_more_is_gone() {
    let (bench, id) = bench();
    bench.at_stripe(Method::Delete, &format!("/v1/customers/{id}"), "", now());
    for id in [id.as_str(), "cus_unknown", ".."] {
        assert_eq!(writer().apply(&bench.net, &renamed(id)).await, Err(Fault::Gone), "{id}");
    }
    assert_eq!(writes(&bench), 0);
}

#[tokio::test]
async fn refusals_name_their_field() {
    let (bench, id) = bench();
    let check = async |changes: Value, expected: Fault| {
        let old = json!({ "name": "Old", "billing_email": "ap@old.example" });
        assert_eq!(writer().apply(&bench.net, &update(&id, changes, old)).await, Err(expected));
    };
    check(json!({ "billing_email": "nobody" }), Fault::rejected("email", "Invalid email address: nobody")).await;
    check(json!({ "name": null }), Fault::rejected("name", "the field cannot be empty")).await;
    check(json!({ "domain": "x.example" }), Fault::rejected("domain", "the connector does not write this field")).await;
    bench.with_fake(|fake| {
        let error = json!({ "error": { "type": "invalid_request_error", "param": "name", "message": "No." } });
        fake.pass(1);
        fake.fail_next(HttpResponse::json(409, &error));
    });
    check(json!({ "name": "New" }), Fault::rejected("name", "No.")).await;
    assert_eq!(updates(&bench), 0);
}

#[tokio::test]
async fn other_kinds_of_record_are_not_written() {
    let (bench, id) = bench();
    let mut request = renamed(&id);
    if let Intent::UpdateRecord(update) = &mut request.intent {
        update.entity = Entity::Opportunity;
    }
    assert_eq!(writer().apply(&bench.net, &request).await, Err(Fault::Unsupported));
    assert_eq!(Stripe.descriptor().writable(Entity::Account), ["billing_email", "name"]);
    assert!(Stripe.descriptor().writable(Entity::Invoice).is_empty());
}
