//! Reading an account in memory, page by page, and the stand-in itself.

use std::collections::BTreeSet;

use crosstie_hubspot::Hubspot;
use crosstie_sdk::{
    Ask, Connector, Credentials, Delivery, FakeVendor, Fault, HttpResponse, MappedRow, Method, More, Secret,
    domain::{
        integration::{Claim, Entity},
        pipeline::OpportunityClaim,
    },
    signature,
};
use serde_json::{Value, json};

use crate::support::{Account, WEBHOOK_URL, at, ids, reader};

const PAGE: u32 = 5;

fn opportunity(row: &MappedRow) -> OpportunityClaim {
    match row {
        MappedRow::Good(observed) => match &observed.claim {
            Claim::Opportunity(claim) => claim.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Makes so many deals, `step_ms` apart in groups of `group`.
fn make_deals(account: &Account, count: usize, group: usize, step_ms: i64) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for at in 0..count {
        if at % group == 0 {
            account.pass_ms(step_ms);
        }
        made.insert(account.create_deal(&format!("Deal no. {at}")));
    }
    made
}

#[tokio::test]
async fn as_many_rows_come_out_as_went_in() {
    for count in [0, 1, 4, 5, 6, 15, 16] {
        for (group, step_ms) in [(1, 1), (2, 1_000), (3, 1), (5, 1), (7, 1), (100, 1)] {
            let account = Account::new();
            let made = make_deals(&account, count, group, step_ms);
            let pages = account.read_all(Entity::Opportunity, account.ask(PAGE)).await;
            let read = ids(&pages);
            assert_eq!(read.len(), count, "{count} rows in groups of {group}: {read:?}");
            assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), made);
            assert!(pages.iter().all(|page| page.len() <= 5));
            assert!(pages.iter().rev().skip(1).all(|page| !page.is_empty()));
        }
    }
}

#[tokio::test]
async fn a_vendor_that_gives_smaller_pages_than_asked_for_is_read_to_the_end() {
    let account = Account::new();
    account.fake().set_page_limit(3);
    let made = make_deals(&account, 20, 4, 1);
    let read = ids(&account.read_all(Entity::Opportunity, account.ask(500)).await);
    assert_eq!((read.len(), read.into_iter().collect()), (20, made));
}

#[tokio::test]
async fn companies_are_read_the_same_way() {
    let account = Account::new();
    let mut made = BTreeSet::new();
    for at in 0..12 {
        made.insert(account.create("companies", json!({ "properties": { "name": format!("Company {at}") } })));
    }
    let read = ids(&account.read_all(Entity::Account, account.ask(PAGE)).await);
    assert_eq!((read.len(), read.into_iter().collect()), (12, made));
}

#[tokio::test]
async fn a_window_holds_both_its_ends_and_nothing_else() {
    let account = Account::new();
    let mut made = Vec::new();
    for _ in 0..5 {
        account.pass_ms(1_000);
        made.push((account.now_ms(), account.create_deal("one of five")));
    }
    let ask = Ask { since: Some(at(made[1].0)), until: at(made[3].0), more: None, limit: 2 };
    let read = ids(&account.read_all(Entity::Opportunity, ask).await);
    assert_eq!(read, [made[1].1.as_str(), &made[2].1, &made[3].1]);
}

#[tokio::test]
async fn every_place_in_a_window_can_be_started_from_again() {
    let account = Account::new();
    let made = make_deals(&account, 17, 6, 1);
    let mut ask = account.ask(PAGE);
    let mut before: Vec<String> = Vec::new();
    loop {
        let rest = ids(&account.read_all(Entity::Opportunity, ask.clone()).await);
        let all: BTreeSet<String> = before.iter().cloned().chain(rest).collect();
        assert_eq!(all, made);
        let page = account.page(Entity::Opportunity, &ask).await.expect("a page");
        before.extend(ids(&[page.rows]));
        match page.more {
            More::At(place) => ask.more = Some(place),
            More::End => break,
        }
    }
}

#[tokio::test]
async fn rows_that_change_while_paging_are_left_to_the_next_window_and_none_is_lost() {
    let account = Account::new();
    let made: Vec<String> = make_deals(&account, 15, 4, 1).into_iter().collect();
    let mut ask = account.ask(PAGE);
    let first = account.page(Entity::Opportunity, &ask).await.expect("a page");
    let mut read: BTreeSet<String> = ids(&[first.rows]).into_iter().collect();
    account.pass_ms(10);
    for id in [&made[0], &made[4], &made[7], &made[14]] {
        let (status, _) = account.call(
            Method::Patch,
            &format!("/crm/v3/objects/deals/{id}"),
            json!({ "properties": { "amount": "1" } }),
        );
        assert_eq!(status, 200);
    }
    let More::At(place) = first.more else { panic!("the window goes on") };
    let (since, until) = (ask.until, at(account.now_ms()));
    ask.more = Some(place);
    read.extend(ids(&account.read_all(Entity::Opportunity, ask).await));
    let next = Ask { since: Some(since), until, more: None, limit: PAGE };
    read.extend(ids(&account.read_all(Entity::Opportunity, next).await));
    assert_eq!(read, made.into_iter().collect());
}

#[tokio::test]
async fn a_place_that_is_not_ours_starts_the_window_again() {
    let account = Account::new();
    let ask = Ask { more: Some(json!({ "after": "100" })), ..account.ask(PAGE) };
    assert_eq!(account.page(Entity::Opportunity, &ask).await.map(|_| ()), Err(Fault::CursorGone));
}

#[tokio::test]
async fn a_search_that_ignores_the_order_is_not_believed() {
    let account = Account::new();
    let row = |id: &str, changed: &str| json!({ "id": id, "properties": { "hs_lastmodifieddate": changed } });
    let rows = [row("1", "2026-01-02T00:00:00Z"), row("2", "2026-01-01T00:00:00Z")];
    account.fake().fail_next(HttpResponse::json(200, &json!({ "results": rows })));
    let fault = account.page(Entity::Account, &account.ask(2)).await.map(|_| ()).expect_err("a fault");
    assert_eq!(fault.code(), "SHAPE");
}

#[tokio::test]
async fn a_search_looks_as_the_vendors_client_library_sends_it() {
    let account = Account::new();
    let since = at(1_700_000_000_000);
    let ask = Ask { since: Some(since), ..account.ask(100) };
    account.page(Entity::Opportunity, &ask).await.expect("a page");
    let request = account.requests().pop().expect("a request");
    assert_eq!((request.method, request.path()), (Method::Post, "/crm/v3/objects/deals/search"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), Some("Bearer pat-test"));
    let body = request.json();
    // As recorded, with the window's end and our own properties beside it; no `after` on any page.
    let recorded = json!({ "propertyName": "hs_lastmodifieddate", "value": "1700000000000", "operator": "GTE" });
    assert_eq!(body["filterGroups"][0]["filters"][0], recorded);
    assert_eq!(body["sorts"], json!(["hs_lastmodifieddate"]));
    assert_eq!(body["limit"], json!(100));
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["filterGroups", "limit", "properties", "sorts"]);
    assert!(body["properties"].as_array().expect("properties").contains(&json!("dealname")));
    assert_eq!(account.fake().searches(), 1);
}

#[tokio::test]
async fn a_deal_names_its_primary_company_whichever_way_it_is_read() {
    let account = Account::new();
    let first = account.create("companies", json!({ "properties": { "name": "First" } }));
    let second = account.create("companies", json!({ "properties": { "name": "Second" } }));
    let link = |company: &str, kind: i64| {
        json!({
            "to": { "id": company },
            "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": kind }],
        })
    };
    for (links, expected) in [
        (vec![], None),
        (vec![link(&second, 341)], Some(&second)),
        (vec![link(&second, 341), link(&first, 341)], Some(&first)),
        (vec![link(&first, 341), link(&second, 5)], Some(&second)),
    ] {
        account.pass_ms(1_000);
        let now = at(account.now_ms());
        let deal = account.create("deals", json!({ "properties": { "dealname": "D" }, "associations": links }));
        let ask = Ask { since: Some(now), until: now, more: None, limit: 10 };
        let page = account.page(Entity::Opportunity, &ask).await.expect("a page");
        assert_eq!(opportunity(&page.rows[0]).account.as_ref(), expected);
        let one = reader(Entity::Opportunity).read_one(&account.net, &deal).await.expect("the deal");
        assert_eq!(opportunity(&one), opportunity(&page.rows[0]));
    }
}

#[tokio::test]
async fn a_row_that_was_kept_maps_again_without_asking() {
    let account = Account::new();
    account.create_deal("kept");
    let page = account.page(Entity::Opportunity, &account.ask(PAGE)).await.expect("a page");
    let MappedRow::Good(observed) = &page.rows[0] else { panic!("a good row") };
    let again = reader(Entity::Opportunity).map_raw(&account.net.settings(), observed.raw.clone());
    assert_eq!(again, page.rows[0]);
}

#[tokio::test]
async fn a_record_that_is_no_more_is_gone() {
    let account = Account::new();
    let id = account.create_deal("short-lived");
    assert_eq!(account.call(Method::Delete, &format!("/crm/v3/objects/deals/{id}"), Value::Null).0, 204);
    let deals = reader(Entity::Opportunity);
    for id in [id.as_str(), "1", "", "../companies/1", "abc"] {
        assert_eq!(deals.read_one(&account.net, id).await, Err(Fault::Gone), "{id}");
    }
    assert_eq!(ids(&account.read_all(Entity::Opportunity, account.ask(PAGE)).await), Vec::<String>::new());
    account.fake().fail_next(HttpResponse::json(200, &json!({ "id": "8", "properties": {} })));
    let merged = deals.read_one(&account.net, "7").await;
    assert!(matches!(&merged, Err(Fault::Merged { .. })), "merged into another: {merged:?}");
}

#[tokio::test]
async fn refusals_are_named_by_what_can_be_done() {
    let account = Account::new();
    let invalid = json!({
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": "Invalid input",
        "errors": [{ "message": "unknown property", "in": "properties" }],
    });
    let mut slow = HttpResponse::json(429, &json!({ "category": "RATE_LIMITS" }));
    slow.headers.push(("retry-after".to_owned(), "10".to_owned()));
    for (answer, expected) in [
        (HttpResponse::json(400, &invalid), Fault::rejected("properties", "unknown property")),
        (HttpResponse::empty(400), Fault::rejected("", "HTTP 400")),
        (HttpResponse::empty(401), Fault::NeedsReauth),
        (HttpResponse::empty(403), Fault::MissingScope { why: "POST /crm/v3/objects/deals/search".to_owned() }),
        (slow, Fault::Throttled { retry_after_ms: Some(10_000) }),
        (HttpResponse::empty(477), Fault::Transient { why: "the vendor answered 477".to_owned() }),
        (HttpResponse::empty(502), Fault::Transient { why: "the vendor answered 502".to_owned() }),
    ] {
        account.fake().fail_next(answer);
        let fault = account.page(Entity::Opportunity, &account.ask(PAGE)).await.map(|_| ());
        assert_eq!(fault, Err(expected));
    }
}

#[tokio::test]
async fn associations_that_cannot_be_read_fail_the_page() {
    let account = Account::new();
    account.create_deal("with a company, perhaps");
    let found = account.call(Method::Post, "/crm/v3/objects/deals/search", json!({ "limit": 1 })).1;
    account.fake().fail_next(HttpResponse::json(200, &found));
    let errors = json!({ "results": [], "errors": [{ "category": "INTERNAL", "message": "not now" }] });
    account.fake().fail_next(HttpResponse::json(207, &errors));
    let fault = account.page(Entity::Opportunity, &account.ask(PAGE)).await.map(|_| ());
    assert_eq!(fault, Err(Fault::rejected("", "INTERNAL: not now")));
}

#[tokio::test]
async fn the_probe_needs_a_credential_that_is_accepted() {
    let account = Account::new();
    assert!(Hubspot.probe(&account.net).await.is_ok());
    let request = account.requests().pop().expect("a request");
    assert_eq!(request.url, "https://api.hubapi.com/crm/v3/objects/deals?limit=1");
    account.fake().fail_next(HttpResponse::empty(401));
    assert_eq!(Hubspot.probe(&account.net).await, Err(Fault::NeedsReauth));
}

#[tokio::test]
async fn a_refresh_token_signs_in_too() {
    let account =
        Account::with(Credentials::refresh_token("app", Secret::new("client-secret"), Secret::new("refresh")));
    assert!(Hubspot.probe(&account.net).await.is_ok());
    let paths: Vec<String> = account.requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["/oauth/v1/token", "/crm/v3/objects/deals"]);
}

#[tokio::test]
async fn a_refresh_token_that_is_refused_needs_a_person_in_either_shape() {
    for body in [json!({ "status": "BAD_REFRESH_TOKEN" }), json!({ "error": "invalid_grant" })] {
        let account =
            Account::with(Credentials::refresh_token("app", Secret::new("client-secret"), Secret::new("revoked")));
        account.fake().fail_next(HttpResponse::json(400, &body));
        assert_eq!(Hubspot.probe(&account.net).await, Err(Fault::NeedsReauth), "{body}");
    }
}

#[test]
fn no_window_holds_more_calls_than_the_vendor_allows() {
    let most = |bucket: &str, seconds| {
        let budget = Hubspot.descriptor().budgets.iter().find(|budget| budget.bucket == bucket);
        budget.expect("a budget").most_calls_in(seconds)
    };
    assert!(most("crm", 10) <= 100);
    assert!(most("search", 1) <= 5);
}

#[test]
fn each_write_sets_off_one_delivery_that_the_connector_accepts() {
    let account = Account::new();
    let company = account.create("companies", json!({ "properties": { "name": "C" } }));
    let deal = account.create_deal("D");
    let path = format!("/crm/v3/objects/deals/{deal}");
    account.call(Method::Patch, &path, json!({ "properties": { "amount": "5", "dealstage": "closedwon" } }));
    account.call(Method::Delete, &path, Value::Null);
    let deliveries = account.fake().take_deliveries();
    assert!(account.fake().take_deliveries().is_empty());
    let inbound = Hubspot;
    let inbound = inbound.inbound().expect("webhooks are received");
    let mut seen = Vec::new();
    let mut keys = BTreeSet::new();
    for request in deliveries {
        assert_eq!((request.method, request.url.as_str()), (Method::Post, WEBHOOK_URL));
        let delivery = Delivery {
            method: request.method.as_str().to_owned(),
            url: request.url,
            headers: request.headers,
            body: request.body,
        };
        let secrets = [Secret::new("client-secret")];
        let verified = signature::verify(&inbound.scheme(), &delivery, &secrets, at(account.now_ms()));
        let nudges = inbound.split(verified.expect("a good signature")).expect("events");
        seen.push(nudges.iter().map(|nudge| (nudge.event_type.clone(), nudge.target.clone())).collect::<Vec<_>>());
        keys.extend(nudges.into_iter().map(|nudge| nudge.dedupe_key));
    }
    let event = |kind: &str, entity, id: &str| (kind.to_owned(), Some((entity, id.to_owned())));
    let change = event("deal.propertyChange", Entity::Opportunity, &deal);
    let expected = vec![
        vec![event("company.creation", Entity::Account, &company)],
        vec![event("deal.creation", Entity::Opportunity, &deal)],
        vec![change.clone(), change],
        vec![event("deal.deletion", Entity::Opportunity, &deal)],
    ];
    assert_eq!(seen, expected);
    assert_eq!(keys.len(), 5);
}

#[test]
fn an_account_that_starts_again_uses_no_id_twice() {
    let before = Account::new();
    let old = before.create_deal("before");
    let after = Account::new();
    after.pass_ms(5);
    let new = after.create_deal("after");
    assert!(new.parse::<i64>().expect("a number") > old.parse::<i64>().expect("a number"));
    assert_eq!(after.call(Method::Get, &format!("/crm/v3/objects/deals/{old}"), Value::Null).0, 404);
}

#[test]
fn the_stand_in_refuses_what_the_vendor_refuses() {
    let account = Account::new();
    let refusal = |method, path: &str, body: Value| {
        let (status, body) = account.call(method, path, body);
        (status, body["category"].as_str().unwrap_or_default().to_owned())
    };
    let invalid = (400, "VALIDATION_ERROR".to_owned());
    let search = "/crm/v3/objects/deals/search";
    assert_eq!(refusal(Method::Get, "/crm/v3/objects/deals/1", Value::Null), (404, "OBJECT_NOT_FOUND".to_owned()));
    assert_eq!(refusal(Method::Post, "/crm/v3/objects/deals", json!({ "properties": { "amount": 5 } })), invalid);
    assert_eq!(refusal(Method::Post, search, json!({ "limit": 201 })), invalid);
    assert_eq!(refusal(Method::Post, search, json!({ "limit": 200, "after": "9900" })), invalid);
    assert_eq!(refusal(Method::Post, search, json!({ "sorts": ["a", "b"] })), invalid);
    let filter = json!({ "propertyName": "amount", "operator": "GTE", "value": 5 });
    assert_eq!(refusal(Method::Post, search, json!({ "filterGroups": [{ "filters": [filter] }] })), invalid);
}

#[test]
fn the_stand_in_lists_page_by_page() {
    let account = Account::new();
    let made = make_deals(&account, 5, 1, 1);
    let mut listed = BTreeSet::new();
    let mut path = "/crm/v3/objects/deals?limit=2&properties=dealname".to_owned();
    loop {
        let (status, page) = account.call(Method::Get, &path, Value::Null);
        assert_eq!(status, 200);
        for row in page["results"].as_array().expect("rows") {
            assert!(row["properties"]["dealname"].is_string());
            listed.insert(row["id"].as_str().expect("an id").to_owned());
        }
        match page.pointer("/paging/next/after").and_then(Value::as_str) {
            Some(after) => path = format!("/crm/v3/objects/deals?limit=2&properties=dealname&after={after}"),
            None => break,
        }
    }
    assert_eq!(listed, made);
}

#[tokio::test]
async fn mapped_properties_are_asked_for_in_pages_and_one_by_one_and_others_do_not_come() {
    let account = Account::with_settings(json!({ "custom_fields": {
        "opportunity": {
            "region": { "property": "region", "kind": "TEXT" },
            "area": { "property": "region", "kind": "CHOICE" },
            "rawAmount": { "property": "amount", "kind": "NUMBER" },
        },
        "account": { "tier": { "property": "tier", "kind": "TEXT" } },
    } }));
    let properties = json!({ "dealname": "Rollout", "region": "EMEA", "tier": "gold", "amount": "10" });
    let id = account.create("deals", json!({ "properties": properties }));
    account.create("companies", json!({ "properties": { "name": "Acme", "region": "EMEA", "tier": "gold" } }));
    account.pass_ms(1);
    let rows = account.read_all(Entity::Opportunity, account.ask(PAGE)).await.concat();
    let one = reader(Entity::Opportunity).read_one(&account.net, &id).await.expect("it is there");
    for row in rows.iter().chain([&one]) {
        let MappedRow::Good(seen) = row else { panic!("{row:?}") };
        let value = |name: &str| seen.fields[&format!("custom.{name}")].value["value"].clone();
        assert_eq!((value("region"), value("area"), value("rawAmount")), (json!("EMEA"), json!("EMEA"), json!("10")));
        assert!(seen.raw["properties"].get("tier").is_none(), "nobody asked for it");
    }
    let companies = account.read_all(Entity::Account, account.ask(PAGE)).await.concat();
    let MappedRow::Good(seen) = &companies[0] else { panic!("{companies:?}") };
    assert_eq!(seen.fields["custom.tier"].value["value"], "gold");
    assert!(seen.raw["properties"].get("region").is_none());
    let searched = account.requests().into_iter().find(|request| request.url.ends_with("/deals/search"));
    let body: Value = serde_json::from_slice(&searched.expect("a search").body).expect("JSON");
    let asked: Vec<&str> = body["properties"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(asked.iter().filter(|name| **name == "region").count(), 1, "each once: {asked:?}");
    assert_eq!(asked.iter().filter(|name| **name == "amount").count(), 1, "each once: {asked:?}");
}
