//! Windows read to their end against the stand-in.

use std::collections::BTreeSet;

use crosstie_sdk::{
    Ask, Connector, Fault, More,
    domain::{Instant, integration::Entity},
};
use crosstie_tryton::Tryton;
use serde_json::{Value, json};

use crate::bench::{Bench, at, load, reader};

const PAGE: u32 = 4;

fn lead(number: usize) -> Value {
    json!({ "description": format!("Lead {number}"), "party": 1, "currency": 1 })
}

/// A stand-in with so many leads, each made at its own moment or all at one.
fn leads(count: usize, moment: impl Fn(i64) -> Instant) -> Bench {
    let bench = Bench::new();
    for number in 0..count {
        let at = moment(i64::try_from(number).expect("a small number"));
        bench.fake().add("sale.opportunity", lead(number), at);
    }
    bench
}

#[tokio::test]
async fn as_many_come_out_as_are_in() {
    for count in [0, 1, 3, 4, 5, 12] {
        for (name, bench) in [("each", leads(count, at)), ("one", leads(count, |_| at(0)))] {
            for since in [None, Some(at(0))] {
                let (ids, _) = load(&bench.net, Entity::Opportunity, since, at(1_000), PAGE).await;
                let distinct: BTreeSet<_> = ids.iter().collect();
                assert_eq!((ids.len(), distinct.len()), (count, count), "{name} moment, since {since:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_window_has_what_was_made_in_it_and_what_was_changed_in_it() {
    let bench = leads(10, at);
    bench.fake().change("sale.opportunity", 2, json!({ "state": "opportunity" }), at(500));
    bench.fake().change("sale.opportunity", 9, json!({ "state": "lost" }), at(500));
    let (ids, _) = load(&bench.net, Entity::Opportunity, Some(at(7)), at(600), 2).await;
    assert_eq!(ids, ["8", "9", "10", "2", "9"]);
    let (ids, _) = load(&bench.net, Entity::Opportunity, Some(at(501)), at(600), 2).await;
    assert!(ids.is_empty());
}

#[tokio::test]
async fn both_ends_of_a_window_belong_to_it() {
    let bench = leads(5, at);
    let (ids, _) = load(&bench.net, Entity::Opportunity, Some(at(1)), at(3), PAGE).await;
    assert_eq!(ids, ["2", "3", "4"]);
}

#[tokio::test]
async fn rows_that_come_and_go_between_pages_do_not_shift_the_others() {
    let bench = leads(6, |_| at(0));
    let mut ask = Ask { since: None, until: at(10), more: None, limit: 3 };
    let first = reader(Entity::Opportunity).read_page(&bench.net, &ask).await.expect("a page");
    bench.fake().change("sale.opportunity", 1, json!({ "company": 2 }), at(5));
    bench.fake().add("sale.opportunity", lead(7), at(5));
    let More::At(more) = first.more else { panic!("the window goes on") };
    ask.more = Some(more);
    let second = reader(Entity::Opportunity).read_page(&bench.net, &ask).await.expect("a page");
    assert_eq!((first.rows.len(), second.rows.len()), (3, 3));
}

#[tokio::test]
async fn invoices_from_suppliers_are_not_read() {
    let bench = Bench::new();
    bench.fake().add("account.invoice", json!({ "type": "in", "party": 1, "currency": 1 }), at(1));
    bench.fake().add("account.invoice", json!({ "type": "out", "party": 1, "currency": 1 }), at(2));
    assert_eq!(load(&bench.net, Entity::Invoice, None, at(9), PAGE).await.0, ["2"]);
    let invoices = reader(Entity::Invoice);
    assert_eq!(invoices.read_one(&bench.net, "1").await, Err(Fault::Gone));
    assert!(invoices.read_one(&bench.net, "2").await.is_ok());
}

#[tokio::test]
async fn an_id_that_tryton_cannot_have_is_of_no_record() {
    let bench = Bench::new();
    for id in ["", "0", "-1", "1/post", "../1", "abc", "99"] {
        assert_eq!(reader(Entity::Account).read_one(&bench.net, id).await, Err(Fault::Gone), "{id}");
    }
}

#[tokio::test]
async fn a_place_that_is_not_known_asks_for_a_new_start() {
    let bench = Bench::new();
    let ask = Ask { since: None, until: at(9), more: Some(json!({ "page": 2 })), limit: PAGE };
    let error = reader(Entity::Account).read_page(&bench.net, &ask).await.expect_err("an unknown place");
    assert_eq!(error, Fault::CursorGone);
}

#[tokio::test]
async fn the_probe_names_the_company() {
    let bench = Bench::new();
    assert_eq!(Tryton.probe(&bench.net).await.expect("an answer").account, "Example Services");
    let elsewhere = Bench::with(json!({ "company": 9 }));
    assert!(matches!(Tryton.probe(&elsewhere.net).await, Err(Fault::Rejected { .. })));
}

#[tokio::test]
async fn fields_of_the_customers_own_are_asked_for_in_pages_and_one_by_one() {
    let bench = Bench::with(json!({ "company": 1, "custom_fields": { "opportunity": {
        "region": { "property": "region", "kind": "TEXT" },
        "currencyId": { "property": "currency", "kind": "TEXT" },
    } } }));
    let mut made = lead(1);
    made["region"] = json!("EMEA");
    made["company"] = json!(1);
    bench.fake().add("sale.opportunity", made, at(0));
    let ask = Ask { since: None, until: at(1_000), more: None, limit: PAGE };
    let page = reader(Entity::Opportunity).read_page(&bench.net, &ask).await.expect("a page");
    let one = reader(Entity::Opportunity).read_one(&bench.net, "1").await.expect("it is there");
    for row in page.rows.iter().chain([&one]) {
        let crosstie_sdk::MappedRow::Good(seen) = row else { panic!("{row:?}") };
        assert_eq!(seen.fields["custom.region"].value["value"], "EMEA");
        assert!(seen.raw["currency"]["code"].is_string(), "it is reached into as ever: {}", seen.raw);
    }
}
