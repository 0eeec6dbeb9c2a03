use std::collections::BTreeSet;

use crosstie_sdk::{
    AnyReader, Ask, Connector, Fault, HttpResponse, MappedRow, Method, More, Settings,
    domain::{Instant, integration::Entity},
};
use crosstie_stripe::Stripe;
use serde_json::json;

use crate::kit::{Bench, now};

const PAGE: u32 = 3;

fn reader(entity: Entity) -> &'static dyn AnyReader {
    *Stripe.readers().iter().find(|reader| reader.entity() == entity).expect("a reader")
}

/// Reads a window to its end: the id of every row, in order.
async fn read(bench: &Bench, entity: Entity, since: Option<Instant>) -> Vec<String> {
    let mut ask = Ask { since, until: now(), more: None, limit: PAGE };
    let mut ids = Vec::new();
    loop {
        let page = reader(entity).read_page(&bench.net, &ask).await.expect("a page");
        ids.extend(page.rows.into_iter().map(|row| match row {
            MappedRow::Good(observed) => observed.key.remote_id,
            MappedRow::Bad { remote_id, code, .. } => format!("{code} {}", remote_id.unwrap_or_default()),
            MappedRow::Gone { remote_id, .. } => format!("gone {remote_id}"),
        }));
        match page.more {
            More::At(place) => ask.more = Some(place),
            More::End => return ids,
        }
    }
}

fn new_customer(bench: &Bench, at: Instant) -> String {
    let customer = bench.at_stripe(Method::Post, "/v1/customers", "name=Acme", at);
    customer["id"].as_str().expect("an id").to_owned()
}

fn new_invoice(bench: &Bench, customer: &str, at: Instant) -> String {
    let invoice = bench.at_stripe(Method::Post, "/v1/invoices", &format!("customer={customer}"), at);
    invoice["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn every_customer_is_read_once_whatever_the_number_and_though_all_share_one_second() {
    for count in [0, 1, 2, 3, 4, 9] {
        let bench = Bench::new();
        let made: BTreeSet<String> = (0..count).map(|_| new_customer(&bench, now())).collect();
        let listed = read(&bench, Entity::Account, None).await;
        assert_eq!(listed.len(), count, "the list: once each");
        assert_eq!(BTreeSet::from_iter(listed), made);
        let fed = read(&bench, Entity::Account, Some(now())).await;
        assert_eq!(fed.len(), count, "the feed: once each");
        assert_eq!(BTreeSet::from_iter(fed), made);
    }
}

#[tokio::test]
async fn every_invoice_is_read_from_the_list_and_from_the_feed() {
    for count in [0, 1, 2, 3, 4, 9] {
        let bench = Bench::new();
        let customer = new_customer(&bench, now());
        let made: BTreeSet<String> = (0..count).map(|_| new_invoice(&bench, &customer, now())).collect();
        for since in [None, Some(now())] {
            let seen = read(&bench, Entity::Invoice, since).await;
            assert_eq!(seen.len(), count);
            assert_eq!(BTreeSet::from_iter(seen), made);
        }
    }
}

#[tokio::test]
async fn the_feed_tells_what_changed_in_the_window_and_rereads_it() {
    let bench = Bench::new();
    let customer = new_customer(&bench, now().plus_ms(-3_600_000));
    let old = new_invoice(&bench, &customer, now().plus_ms(-3_600_000));
    let item = format!("customer={customer}&invoice={old}&amount=5&currency=eur");
    bench.at_stripe(Method::Post, "/v1/invoiceitems", &item, now());
    assert!(read(&bench, Entity::Invoice, Some(now().plus_ms(-1_000))).await.is_empty(), "nothing happened yet");
    bench.at_stripe(Method::Post, &format!("/v1/invoices/{old}/finalize"), "", now());
    bench.at_stripe(Method::Post, &format!("/v1/invoices/{old}/pay"), "paid_out_of_band=true", now());
    assert_eq!(read(&bench, Entity::Invoice, Some(now().plus_ms(-1_000))).await, [old.as_str()], "two events, one row");
    let MappedRow::Good(seen) = reader(Entity::Invoice).read_one(&bench.net, &old).await.expect("a row") else {
        panic!("a good row")
    };
    assert_eq!(seen.raw["status"], "paid");
    assert!(read(&bench, Entity::Account, Some(now().plus_ms(-1_000))).await.is_empty(), "customers are apart");
}

#[tokio::test]
async fn a_deleted_customer_is_told_by_the_feed() {
    let bench = Bench::new();
    let customer = new_customer(&bench, now().plus_ms(-3_600_000));
    bench.at_stripe(Method::Delete, &format!("/v1/customers/{customer}"), "", now());
    assert_eq!(read(&bench, Entity::Account, Some(now())).await, [format!("gone {customer}")]);
    assert!(read(&bench, Entity::Account, None).await.is_empty(), "the list leaves it out");
}

#[tokio::test]
async fn an_object_that_is_gone_when_it_is_reread_is_left_out() {
    let bench = Bench::new();
    let (gone, kept) = (new_customer(&bench, now()), new_customer(&bench, now()));
    let missing = json!({ "error": { "type": "invalid_request_error", "code": "resource_missing" } });
    bench.with_fake(|fake| {
        fake.pass(2);
        fake.fail_next(HttpResponse::json(404, &missing));
    });
    assert_eq!(read(&bench, Entity::Account, Some(now())).await, [kept], "{gone} is gone");
}

#[tokio::test]
async fn a_place_in_the_list_that_is_gone_is_asked_for_again_from_the_start() {
    let bench = Bench::new();
    let made: Vec<String> = (0..4).map(|_| new_customer(&bench, now())).collect();
    let mut ask = Ask { since: None, until: now(), more: None, limit: PAGE };
    let page = reader(Entity::Account).read_page(&bench.net, &ask).await.expect("a page");
    let More::At(place) = page.more else { panic!("it goes on") };
    bench.at_stripe(Method::Delete, &format!("/v1/customers/{}", made[1]), "", now());
    ask.more = Some(place);
    let again = reader(Entity::Account).read_page(&bench.net, &ask).await.map(|_| ());
    assert_eq!(again, Err(Fault::CursorGone));
}

#[tokio::test]
async fn no_such_row_is_gone() {
    let bench = Bench::new();
    for id in ["in_none", "..", "a/b"] {
        assert_eq!(reader(Entity::Invoice).read_one(&bench.net, id).await, Err(Fault::Gone), "{id}");
    }
}

#[tokio::test]
async fn a_list_is_asked_for_as_the_vendors_own_library_asks() {
    let bench = Bench::new();
    let more = Some(json!({ "after": "in_1" }));
    let since = Instant::from_micros(1_700_000_000_900_000);
    let whole = Ask { since: None, until: now(), more: more.clone(), limit: 500 };
    let part = Ask { since, until: now(), more, limit: 100 };
    for ask in [whole, part] {
        let gone = reader(Entity::Invoice).read_page(&bench.net, &ask).await.map(|_| ());
        assert_eq!(gone, Err(Fault::CursorGone));
    }
    let sent = bench.sent();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!((sent[0].method, sent[0].path()), (Method::Get, "/v1/invoices"));
    assert_eq!(sent[0].query(), [pair("limit", "100"), pair("starting_after", "in_1")]);
    assert_eq!(sent[0].header("stripe-version"), Some("2020-08-27"));
    assert_eq!(sent[0].header("authorization"), Some("Bearer sk_test_1"));
    assert_eq!(sent[1].path(), "/v1/events");
    let query = sent[1].query();
    assert!(query.contains(&pair("created[gte]", "1700000000")) && query.contains(&pair("types[]", "invoice.paid")));
    assert!(query.iter().filter(|(name, _)| name == "types[]").count() <= 20, "Stripe takes at most 20");
}

#[tokio::test]
async fn the_probe_needs_a_key_that_is_taken() {
    let bench = Bench::new();
    assert!(Stripe.probe(&bench.net).await.is_ok());
    bench.with_fake(|fake| fake.fail_next(HttpResponse::empty(401)));
    assert_eq!(Stripe.probe(&bench.net).await, Err(Fault::NeedsReauth));
    assert!(Stripe.check_settings(&Settings::default()).is_ok());
    assert!(Stripe.check_settings(&Settings::new(json!({ "acount": "x" }))).is_err(), "a misspelled setting");
}
