//! Reading an org in memory, page by page and record by record.

use std::collections::BTreeSet;

use crosstie_salesforce::Salesforce;
use crosstie_sdk::{
    Ask, Connector, Fault, HttpResponse, MappedRow, Method, More,
    domain::{
        Instant,
        integration::{Claim, Entity},
    },
};
use serde_json::{Value, json};

use crate::support::{API, BASE, Org, START_MS, at, good, ids, reader, soql};

const PAGE: u32 = 5;

/// Makes so many opportunities, `step_ms` apart in groups of `group`.
fn make(org: &Org, count: usize, group: usize, step_ms: i64) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for at in 0..count {
        if at % group == 0 {
            org.pass_ms(step_ms);
        }
        made.insert(org.create_opportunity(&format!("No. {at}")));
    }
    made
}

#[tokio::test]
async fn as_many_rows_come_out_as_went_in() {
    for count in [0, 1, 4, 5, 6, 15, 16] {
        // The last: all on one change time.
        for (group, step_ms) in [(1, 1_000), (2, 1_000), (3, 400), (5, 1_000), (7, 1_000), (100, 1_000)] {
            let org = Org::new();
            let made = make(&org, count, group, step_ms);
            let pages = org.read_all(Entity::Opportunity, org.ask(PAGE)).await;
            let read = ids(&pages);
            assert_eq!(read.len(), count, "{count} rows in groups of {group}: {read:?}");
            assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), made);
            assert!(pages.iter().all(|page| page.len() <= 5));
        }
    }
}

#[tokio::test]
async fn a_page_that_is_smaller_than_asked_for_is_gone_on_from() {
    let org = Org::new();
    org.fake().set_page_limit(3);
    let made = make(&org, 20, 4, 1_000);
    let read = ids(&org.read_all(Entity::Opportunity, org.ask(500)).await);
    assert_eq!((read.len(), read.into_iter().collect()), (20, made));
    let paths: BTreeSet<String> = org.requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, BTreeSet::from([format!("{API}/queryAll")]), "no cursor of the vendor's is followed");
}

#[tokio::test]
async fn accounts_are_read_the_same_way() {
    let org = Org::new();
    let made: BTreeSet<String> = (0..12).map(|at| org.create_account(&format!("Account {at}"))).collect();
    let read = ids(&org.read_all(Entity::Account, org.ask(PAGE)).await);
    assert_eq!((read.len(), read.into_iter().collect()), (12, made));
}

#[tokio::test]
async fn a_window_holds_both_its_ends_and_nothing_else() {
    let org = Org::new();
    let mut made = Vec::new();
    for _ in 0..5 {
        org.pass_ms(1_000);
        made.push((org.now_ms(), org.create_opportunity("one of five")));
    }
    let expected = [made[1].1.as_str(), &made[2].1, &made[3].1];
    // Bounds within a second reach back to its beginning, where the change times of the second stand.
    for (since_ms, until_ms) in [(0, 0), (250, 999)] {
        let ask = Ask { since: Some(at(made[1].0 + since_ms)), until: at(made[3].0 + until_ms), more: None, limit: 2 };
        assert_eq!(ids(&org.read_all(Entity::Opportunity, ask).await), expected);
    }
}

#[tokio::test]
async fn every_place_in_a_window_can_be_started_from_again() {
    let org = Org::new();
    let made = make(&org, 17, 6, 1_000);
    let mut ask = org.ask(PAGE);
    let mut before: Vec<String> = Vec::new();
    loop {
        let rest = ids(&org.read_all(Entity::Opportunity, ask.clone()).await);
        let all: BTreeSet<String> = before.iter().cloned().chain(rest).collect();
        assert_eq!(all, made);
        let page = org.page(Entity::Opportunity, &ask).await.expect("a page");
        before.extend(ids(&[page.rows]));
        match page.more {
            More::At(place) => ask.more = Some(place),
            More::End => break,
        }
    }
    assert_eq!(before.len(), 17, "and no row came twice");
}

#[tokio::test]
async fn rows_that_change_while_paging_are_left_to_the_next_window_and_none_is_lost() {
    let org = Org::new();
    let made: Vec<String> = make(&org, 15, 4, 1_000).into_iter().collect();
    let mut ask = org.ask(PAGE);
    let first = org.page(Entity::Opportunity, &ask).await.expect("a page");
    let mut read: BTreeSet<String> = ids(&[first.rows]).into_iter().collect();
    org.pass_ms(10_000);
    for id in [&made[0], &made[4], &made[7], &made[14]] {
        org.set("Opportunity", id, json!({ "Amount": 1 }));
    }
    org.delete("Opportunity", &made[9]);
    let More::At(place) = first.more else { panic!("the window goes on") };
    let (since, until) = (ask.until, at(org.now_ms()));
    ask.more = Some(place);
    read.extend(ids(&org.read_all(Entity::Opportunity, ask).await));
    let next = Ask { since: Some(since), until, more: None, limit: PAGE };
    let next = org.read_all(Entity::Opportunity, next).await;
    assert!(next.iter().flatten().any(|row| matches!(row, MappedRow::Gone { remote_id, .. } if *remote_id == made[9])));
    read.extend(ids(&next));
    assert_eq!(read, made.into_iter().collect());
}

#[tokio::test]
async fn a_place_that_is_not_ours_starts_the_window_again() {
    let org = Org::new();
    for place in [
        json!({ "after": "100" }),
        json!({ "at": "2026-01-01T00:00:00Z", "id": "' OR Id > '" }),
        json!({ "at": "soon", "id": "0065e00000RollAAAU" }),
        json!("01g5e00000fakeAAAA-2000"),
    ] {
        let ask = Ask { more: Some(place), ..org.ask(PAGE) };
        assert_eq!(org.page(Entity::Opportunity, &ask).await.map(|_| ()), Err(Fault::CursorGone));
    }
    assert!(org.requests().is_empty());
}

#[tokio::test]
async fn a_page_that_ignores_what_was_asked_is_not_believed() {
    let org = Org::new();
    let row = |id: &str, changed: &str| json!({ "Id": id, "IsDeleted": false, "SystemModstamp": changed });
    let (one, two) = ("0015e00000AAAAAAAU", "0015e00000BBBBBAAY");
    let early = "2026-01-01T00:00:00.000+0000";
    let late = "2026-01-02T00:00:00.000+0000";
    let place = json!({ "at": "2026-01-02T00:00:00Z", "id": two });
    for (more, rows) in [
        (None, vec![row(one, late), row(two, early)]),
        (Some(&place), vec![row(one, early), row(two, late)]),
        (Some(&place), vec![row(one, late), row(two, late)]),
        (None, vec![row(one, early), json!({ "Id": two, "IsDeleted": false })]),
        (None, vec![]),
    ] {
        let page = json!({ "totalSize": 9, "done": false, "records": rows });
        org.fake().fail_next(HttpResponse::json(200, &page));
        let ask = Ask { more: more.cloned(), ..org.ask(2) };
        let fault = org.page(Entity::Account, &ask).await.map(|_| ()).expect_err("a fault");
        assert_eq!(fault.code(), "SHAPE", "{page}");
    }
}

#[tokio::test]
async fn the_queries_are_exactly_these() {
    let org = Org::new();
    let first = org.create_opportunity("First");
    org.create_opportunity("Second");
    let since = Some(at(START_MS - 60_000));
    let ask = Ask { since, ..org.ask(1) };
    let page = org.page(Entity::Opportunity, &ask).await.expect("a page");
    let More::At(place) = page.more else { panic!("the window goes on") };
    org.page(Entity::Opportunity, &Ask { more: Some(place), ..ask }).await.expect("a page");
    // The second that is under way is read up to its beginning, where all of its change times stand.
    org.pass_ms(250);
    org.page(Entity::Account, &org.ask(9_999)).await.expect("a page");
    org.seen(Entity::Opportunity, &first).await;
    let fields = "Id, Name, AccountId, StageName, IsClosed, IsWon, Amount, CloseDate, IsDeleted, SystemModstamp";
    let now = "2026-09-21T14:13:20Z";
    let expected = [
        format!(
            "SELECT {fields} FROM Opportunity WHERE SystemModstamp >= 2026-09-21T14:12:20Z AND SystemModstamp <= {now} \
             ORDER BY SystemModstamp, Id LIMIT 1"
        ),
        format!(
            "SELECT {fields} FROM Opportunity WHERE SystemModstamp >= {now} AND SystemModstamp <= {now} AND \
             (SystemModstamp > {now} OR (SystemModstamp = {now} AND Id > '{first}')) \
             ORDER BY SystemModstamp, Id LIMIT 1"
        ),
        format!(
            "SELECT Id, Name, Website, IsDeleted, MasterRecordId, SystemModstamp FROM Account \
             WHERE SystemModstamp <= {now} ORDER BY SystemModstamp, Id LIMIT 2000"
        ),
        format!("SELECT {fields} FROM Opportunity WHERE Id = '{first}' LIMIT 1"),
    ];
    let requests = org.requests();
    assert_eq!(requests.iter().map(soql).collect::<Vec<_>>(), expected);
    for request in &requests {
        assert_eq!((request.method, request.path()), (Method::Get, "/services/data/v64.0/queryAll"));
        assert_eq!(request.header("authorization"), Some("Bearer session"));
        assert!(request.url.starts_with(BASE) && !request.url.contains(' '), "{}", request.url);
    }
    assert_eq!(org.fake().queries(), 4);
}

#[tokio::test]
async fn a_row_that_was_kept_maps_again_without_asking() {
    let org = Org::new();
    org.create(
        "Opportunity",
        json!({ "Name": "Kept", "StageName": "Prospecting", "CloseDate": "2026-12-31", "Amount": 9.5 }),
    );
    let page = org.page(Entity::Opportunity, &org.ask(PAGE)).await.expect("a page");
    let seen = good(page.rows[0].clone());
    assert!(seen.fields["amount"].problem.is_none());
    let kept: Value = seen.raw.to_string().parse().expect("JSON");
    assert_eq!(reader(Entity::Opportunity).map_raw(&org.net.settings(), kept), page.rows[0]);
}

#[tokio::test]
async fn what_is_deleted_comes_as_gone_with_the_window_and_by_its_id() {
    let org = Org::new();
    let account = org.create_account("Closing down");
    let fields =
        json!({ "Name": "Below", "StageName": "Prospecting", "CloseDate": "2026-12-31", "AccountId": account });
    let below = org.create("Opportunity", fields);
    let kept = org.create_opportunity("Kept");
    org.pass_ms(5_000);
    let since = Some(at(org.now_ms()));
    org.delete("Account", &account);
    for (entity, id) in [(Entity::Account, &account), (Entity::Opportunity, &below)] {
        let ask = Ask { since, ..org.ask(PAGE) };
        let rows = org.read_all(entity, ask).await.concat();
        assert!(matches!(&rows[..], [MappedRow::Gone { remote_id, .. }] if remote_id == id), "{rows:?}");
        let one = org.read_one(entity, id).await.expect("a row");
        assert!(matches!(&one, MappedRow::Gone { remote_id, .. } if remote_id == id), "{one:?}");
    }
    assert!(org.fake().undelete(&below, at(START_MS + 9_000)));
    assert_eq!(org.seen(Entity::Opportunity, &below).await.key.remote_id, below);
    org.fake().empty_recycle_bin();
    assert_eq!(org.read_one(Entity::Account, &account).await, Err(Fault::Gone));
    assert_eq!(org.seen(Entity::Opportunity, &kept).await.key.remote_id, kept);
}

#[tokio::test]
async fn an_id_that_is_none_is_gone_without_asking() {
    let org = Org::new();
    let deal = org.create_opportunity("An opportunity");
    for id in ["", "1", "0065e00000Roll", "0065e00000RollAAA'", "../Account/00165e0000", "0065e00000Röll1AU"] {
        assert_eq!(org.read_one(Entity::Opportunity, id).await, Err(Fault::Gone), "{id}");
    }
    assert!(org.requests().is_empty());
    assert_eq!(org.read_one(Entity::Account, &deal).await, Err(Fault::Gone), "of the other kind");
}

#[tokio::test]
async fn a_merged_account_names_the_one_that_it_became() {
    let org = Org::new();
    let (loser, master) = (org.create_account("Acme (old)"), org.create_account("Acme"));
    let fields = json!({ "Name": "D", "StageName": "Prospecting", "CloseDate": "2026-12-31", "AccountId": loser });
    let deal = org.create("Opportunity", fields);
    org.pass_ms(5_000);
    assert!(org.fake().merge(&loser, &master, at(START_MS + 5_000)));
    assert_eq!(org.read_one(Entity::Account, &loser).await, Err(Fault::Merged { into: master.clone() }));
    let rows = org.read_all(Entity::Account, Ask { since: Some(at(START_MS + 5_000)), ..org.ask(PAGE) }).await.concat();
    assert!(matches!(&rows[0], MappedRow::Gone { remote_id, .. } if *remote_id == loser), "{rows:?}");
    assert_eq!(rows[1].remote_id(), Some(master.as_str()));
    let Claim::Opportunity(claim) = org.seen(Entity::Opportunity, &deal).await.claim else { panic!("no opportunity") };
    assert_eq!(claim.account, Some(master));
}

#[tokio::test]
async fn a_version_is_the_change_time_and_tells_two_changes_of_one_second_apart() {
    let org = Org::new();
    let id = org.create_account("One");
    let version = async || org.seen(Entity::Account, &id).await.key.version.expect("a version");
    let one = version().await;
    assert_eq!(version().await, one);
    org.pass_ms(300);
    org.set("Account", &id, json!({ "Name": "Two" }));
    let two = version().await;
    assert_ne!(two, one);
    for version in [one, two] {
        assert_eq!(version.parse::<Instant>().expect("a moment"), at(START_MS), "{version}");
    }
}

#[tokio::test]
async fn mapped_fields_are_asked_for_once_and_found_in_whatever_case_they_are_named() {
    let org = Org::with_settings(json!({
        "currency": "EUR",
        "billing_email": "billing_email__C",
        "custom_fields": {
            "opportunity": {
                "region": { "property": "region__c", "kind": "TEXT" },
                "area": { "property": "Region__c", "kind": "CHOICE", "options": { "EMEA": "Europe and around" } },
                "rawAmount": { "property": "amount", "kind": "NUMBER" },
                "kickoffAt": { "property": "Kickoff__c", "kind": "INSTANT" },
                "isStrategic": { "property": "Strategic__c", "kind": "BOOLEAN" },
                "reviewOn": { "property": "Review__c", "kind": "DATE" },
                "score": { "property": "Score__c", "kind": "NUMBER" },
            },
            "account": { "invoicing": { "property": "Billing_Email__c", "kind": "TEXT" } },
        },
    }));
    for field in ["Region__c", "Kickoff__c", "Strategic__c", "Review__c", "Score__c", "Secret__c"] {
        org.fake().add_field("Opportunity", field);
    }
    org.fake().add_field("Account", "Billing_Email__c");
    let id = org.create(
        "Opportunity",
        json!({
            "Name": "Rollout", "StageName": "Prospecting", "CloseDate": "2026-12-31", "Amount": 12345678.9,
            "Region__c": "EMEA", "Kickoff__c": "2026-11-20T09:00:00.000+0000", "Strategic__c": true,
            "Review__c": "2026-11-23", "Score__c": 0.125, "Secret__c": "not for the hub",
        }),
    );
    org.create("Account", json!({ "Name": "Acme", "Billing_Email__c": "bills@acme.example" }));
    let page = org.page(Entity::Opportunity, &org.ask(PAGE)).await.expect("a page");
    let one = org.read_one(Entity::Opportunity, &id).await.expect("a row");
    for row in page.rows.into_iter().chain([one]) {
        let seen = good(row);
        let value = |name: &str| seen.fields[&format!("custom.{name}")].value["value"].clone();
        assert_eq!((value("region"), value("area")), (json!("EMEA"), json!("Europe and around")));
        assert_eq!((value("rawAmount"), value("score")), (json!("12345678.9"), json!("0.125")));
        assert_eq!((value("isStrategic"), value("reviewOn")), (json!(true), json!("2026-11-23")));
        assert_eq!(value("kickoffAt"), json!("2026-11-20T09:00:00Z"));
        assert!(seen.raw.get("Secret__c").is_none(), "nobody asked for it");
    }
    let accounts = org.page(Entity::Account, &org.ask(PAGE)).await.expect("a page");
    let seen = good(accounts.rows[0].clone());
    assert_eq!(seen.fields["custom.invoicing"].value["value"], "bills@acme.example");
    let Claim::Account(claim) = seen.claim else { panic!("no account") };
    assert_eq!(claim.billing_email.as_deref(), Some("bills@acme.example"));
    for request in org.requests() {
        let asked = soql(&request).to_lowercase();
        let asked = asked.split(" from ").next().unwrap_or_default();
        for field in ["region__c", "billing_email__c", "amount"] {
            assert!(asked.matches(field).count() <= 1, "each once: {asked}");
        }
    }
}

#[tokio::test]
async fn the_probe_says_whose_org_it_is_and_how_many_calls_are_used() {
    let org = Org::new();
    let who = Salesforce.probe(&org.net).await.expect("an answer");
    assert_eq!(who.account, "Acme Services; 1 of 15000 calls a day are used");
    let request = org.requests().pop().expect("a request");
    assert_eq!(request.path(), format!("{API}/query"));
    assert_eq!(soql(&request), "SELECT Name, IsSandbox FROM Organization LIMIT 1");
    let sandbox = json!({ "done": true, "records": [{ "Name": "Acme", "IsSandbox": true }] });
    org.fake().fail_next(HttpResponse::json(200, &sandbox));
    assert_eq!(Salesforce.probe(&org.net).await.expect("an answer").account, "Acme, a sandbox");
}
