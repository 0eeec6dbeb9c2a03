//! What comes in by webhook: how much is taken, what is turned away, and what is kept of what was refused.

use std::{sync::Arc, time::Duration};

use crosstie_app::{App, SystemClock};
use crosstie_connectors::fakes::{HubspotFake, StripeFake};
use crosstie_domain::{
    Clock,
    access::RowScope,
    integration::{Entity, InboundLimits, InboundRefusalRecord, InboundStatus, RunStatus},
};
use crosstie_sdk::{Delivery, FakeVendor, HttpRequest, Method, Secret};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, Store,
    integration::{RefusalColumn, inbound_pressure_of, inbound_refusals},
};
use crosstie_sync::{Engine, Receipt};
use serde_json::{Value as Json, json};

use crate::support::{
    Binary, Crm, Database, HostedVendor, RunningHub, engine_over, events, header, memory, on_each_database,
};

const HOUR_MS: i64 = 3_600_000;

async fn limit(engine: &Engine, app: &App, limits: InboundLimits) {
    engine.connections().limit_inbound(app, |_| limits).await.expect("it is written down");
}

/// The webhooks that HubSpot sends now, one delivery each.
fn sent(crm: &Crm) -> Vec<Delivery> {
    let deliveries = crm.fake().take_deliveries();
    let of = |HttpRequest { url, headers, body, .. }| Delivery { method: "POST".to_owned(), url, headers, body };
    deliveries.into_iter().map(of).collect()
}

/// Makes so many deals; the webhooks that tell of them.
fn deals(crm: &Crm, count: usize) -> Vec<Delivery> {
    let made = |number: usize| {
        crm.create("deals", &format!("Deal {number}"));
        sent(crm)
    };
    (0..count).flat_map(made).collect()
}

/// How many seconds later a delivery may come again; `None` when it was taken.
async fn wait_of(engine: &Engine, delivery: &Delivery) -> Option<u32> {
    match engine.receive("hubspot", delivery).await {
        Receipt::Accepted { .. } => None,
        Receipt::TurnedAway { retry_after_seconds } => Some(retry_after_seconds),
        other => panic!("{other:?}"),
    }
}

async fn count(store: &Store) -> usize {
    events(store).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_6_over_its_rate_a_connection_is_told_how_long_to_wait_and_reading_finds_what_was_turned_away() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        limit(&crm.engine, &crm.app, InboundLimits { per_second: 1, burst: 2, backlog: 100 }).await;
        let deliveries = deals(&crm, 6);
        assert!(deliveries.len() >= 6, "one delivery or more for each deal");
        let mut waits = Vec::new();
        for delivery in &deliveries {
            waits.push(wait_of(&crm.engine, delivery).await);
        }
        let taken = waits.iter().filter(|wait| wait.is_none()).count();
        assert_eq!((waits[0], waits[1], taken), (None, None, 2), "{waits:?}");
        let stored = count(crm.app.store()).await;
        let wait = waits[2].expect("it was turned away");
        assert_eq!(wait, 1);
        database.clock.advance(i64::from(wait) * 1_000);
        assert_eq!(wait_of(&crm.engine, &deliveries[2]).await, None, "who waits as told is taken");
        assert!(count(crm.app.store()).await > stored);
        crm.work().await;
        assert!(crm.opportunities().await.len() < 6, "some were turned away for good");

        assert_eq!(crm.pull(Entity::Opportunity).await.status, RunStatus::Succeeded);
        assert_eq!(crm.opportunities().await.len(), 6, "scheduled reading heals that");
        crm.engine.flush_refusals().await;
        let id = crm.connection().record.id;
        let pressure = inbound_pressure_of(crm.app.store(), &[id]).await.expect("read").remove(0);
        let turned_away = i64::try_from(deliveries.len() - 2).expect("few");
        assert_eq!((pressure.turned_away, pressure.limits.burst), (turned_away, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_6_over_its_backlog_nothing_more_is_stored_in_any_process_until_there_is_room() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let limits = InboundLimits { per_second: 1_000, burst: 1_000, backlog: 3 };
        limit(&crm.engine, &crm.app, limits).await;
        // Another process on the same database.
        let app = App::new(database.open().await);
        let other = engine_over(&app, "other", Arc::new(memory(&database.clock, &crm.hubspot))).await;
        limit(&other, &app, limits).await;
        let deliveries = deals(&crm, 5);
        for delivery in &deliveries[..3] {
            assert_eq!(wait_of(&crm.engine, delivery).await, None);
        }
        let stored = count(crm.app.store()).await;
        assert!(stored >= 3);
        for engine in [&crm.engine, &other] {
            assert_eq!(wait_of(engine, &deliveries[3]).await, Some(60), "nobody knows how long: nothing moves");
        }
        assert_eq!(count(crm.app.store()).await, stored, "nothing of it was stored");

        crm.work().await;
        database.clock.advance(1_000);
        for engine in [&crm.engine, &other] {
            assert_eq!(wait_of(engine, &deliveries[3]).await, None, "there is room again");
        }
        let stored = events(crm.app.store()).await;
        assert!(stored.iter().any(|event| event.status == InboundStatus::Duplicate), "it came to both of them");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_6_a_flood_of_strangers_or_of_one_connection_turns_no_other_away() {
    on_each_database(async |database| {
        let now = || SystemClock::default().now();
        let hooks = |name: &str| Some(format!("http://hub.example/webhooks/{name}"));
        let books = HostedVendor::start(StripeFake::new(hooks("stripe"), Secret::new("s"), 1), now, |_| Duration::ZERO);
        let crm = HostedVendor::start(HubspotFake::new(hooks("hubspot"), Secret::new("h"), 1), now, |_| Duration::ZERO);
        let (books, crm) = (books.await, crm.await);
        let mut stripe = books.connection("stripe", "s");
        stripe.inbound = InboundLimits { per_second: 1, burst: 3, backlog: 1_000 };
        let hub = RunningHub::start_with(database, |config| {
            config.connections = vec![stripe, crm.connection("hubspot", "h")];
            config.public_url = Some("http://hub.example".to_owned());
        })
        .await;
        let make = |vendor: &dyn Fn(HttpRequest) -> Vec<HttpRequest>, url: &str, form: bool| {
            let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
            let headers = vec![
                ("authorization".to_owned(), "Bearer user".to_owned()),
                ("content-type".to_owned(), kind.to_owned()),
            ];
            let body = if form { b"name=Acme".to_vec() } else { br#"{"properties":{"name":"Acme"}}"#.to_vec() };
            vendor(HttpRequest { method: Method::Post, url: url.to_owned(), headers, body }).remove(0)
        };
        let at_books = |request: HttpRequest| {
            let mut vendor = books.vendor();
            vendor.respond(&request, now());
            vendor.take_deliveries()
        };
        let at_crm = |request: HttpRequest| {
            let mut vendor = crm.vendor();
            vendor.respond(&request, now());
            vendor.take_deliveries()
        };
        let deliver = async |path: &str, delivery: &HttpRequest| {
            let headers: Vec<_> =
                delivery.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            hub.send(Method::Post, path, &headers, delivery.body.clone()).await
        };
        let good = make(&at_books, "https://stripe.example/v1/customers", true);
        let mut forged = good.clone();
        forged.body.push(b' ');
        for _ in 0..20 {
            assert_eq!(deliver("/webhooks/stripe", &forged).await.status, 401, "strangers use up nothing");
        }
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(deliver("/webhooks/stripe", &good).await);
        }
        assert!(answers[..3].iter().all(|answer| answer.status == 200), "the burst is taken");
        let away: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
        assert!(!away.is_empty(), "and then it is too much");
        for answer in &away {
            assert_eq!((answer.status, answer.body.len(), header(answer, "retry-after")), (503, 0, Some("1")));
        }
        assert_eq!(deliver("/webhooks/stripe", &forged).await.status, 401, "who is not believed hears nothing of that");
        let other = make(&at_crm, "https://api.hubapi.com/crm/v3/objects/companies", false);
        assert_eq!(deliver("/webhooks/hubspot", &other).await.status, 202, "another connection is taken");

        hub.hub.engine.flush_refusals().await;
        let query = "{ connections(orderBy: [{field: NAME, direction: ASC}]) { nodes { name inbound { perSecond burst \
                     mostWaiting turnedAway } } } }";
        let shown = hub.ask(query).await["connections"]["nodes"].clone();
        let away = away.len();
        let expected = json!([
            { "name": "hubspot",
              "inbound": { "perSecond": 100, "burst": 2_000, "mostWaiting": 50_000, "turnedAway": 0 } },
            { "name": "stripe", "inbound": { "perSecond": 1, "burst": 3, "mostWaiting": 1_000, "turnedAway": away } },
        ]);
        assert_eq!(shown, expected);
        hub.stop().await;
    })
    .await;
}

/// Every refusal that is kept, the first first.
async fn refusals(store: &Store) -> Vec<InboundRefusalRecord> {
    let order = vec![(RefusalColumn::Id, Direction::Ascending)];
    let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(1_000, None) };
    let page = inbound_refusals(store, &RowScope::All, &request).await.expect("read");
    page.rows.into_iter().map(|(refusal, _)| refusal).collect()
}

fn forged(body: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> Delivery {
    Delivery {
        method: "POST".to_owned(),
        url: "https://hub.example/webhooks/hubspot".to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_the_first_refused_of_each_connection_and_of_none_are_kept_in_each_hour_and_no_more() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let app = App::new(database.open().await);
        let other = engine_over(&app, "other", Arc::new(memory(&database.clock, &crm.hubspot))).await;
        let refuse = async |engine: &Engine, name: &str, number: usize| {
            database.clock.advance(1);
            let receipt = engine.receive(name, &forged(format!("{{\"n\":{number}}}"), &[])).await;
            assert_eq!(receipt, Receipt::Refused);
        };
        for number in 0..40 {
            refuse(&crm.engine, "hubspot", number).await;
            refuse(&other, "hubspot", number).await;
            refuse(&crm.engine, &format!("nobody-{number}"), number).await;
            crm.engine.flush_refusals().await;
            other.flush_refusals().await;
        }
        let kept = refusals(crm.app.store()).await;
        let known = kept.iter().filter(|refusal| refusal.connection_id == Some(crm.connection().record.id)).count();
        let unknown = kept.iter().filter(|refusal| refusal.connection_id.is_none()).count();
        assert_eq!((known, unknown, kept.len()), (5, 5, 10), "however many processes and names there are");
        assert!(events(crm.app.store()).await.is_empty(), "nothing of it is processed");

        database.clock.advance(HOUR_MS);
        refuse(&crm.engine, "hubspot", 0).await;
        crm.engine.flush_refusals().await;
        assert_eq!(refusals(crm.app.store()).await.len(), 11, "the next hour has its own");
        database.clock.advance(7 * 24 * HOUR_MS + 1);
        crm.app.store().keep_house().await.expect("the house is kept");
        assert_eq!(refusals(crm.app.store()).await, [], "they go after a week");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_what_is_kept_of_a_refused_delivery_tells_why_without_secrets_and_is_small() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let canary = "hubspot-canary-0123456789";
        let body = format!(
            "{{\"client_secret\":\"{canary}\",\"echo\":\"client-secret test-key\",\"nul\":\"\0\",\"name\":\"{}\"}}",
            "ü".repeat(200_000)
        );
        let headers = [
            ("content-type", "application/json"),
            ("user-agent", "HubSpot Connect test-key"),
            ("authorization", "Bearer canary-0123456789"),
            ("x-hubspot-signature-v3", "c2lnbmF0dXJlLWNhbmFyeQ=="),
            ("x-hubspot-request-timestamp", "1"),
            ("x-odd", "canary"),
        ];
        let receipt = crm.engine.receive("hubspot", &forged(body.clone(), &headers)).await;
        assert_eq!(receipt, Receipt::Refused);
        let long = "n".repeat(5_000);
        let many: Vec<(&str, &str)> = (0..500).map(|_| (long.as_str(), long.as_str())).collect();
        assert_eq!(crm.engine.receive(&long, &forged("", &many)).await, Receipt::Refused);
        crm.engine.flush_refusals().await;
        let kept = refusals(crm.app.store()).await;
        let [told, odd] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!(told.code, "WRONG_SIGNATURE");
        assert_eq!(told.header_names, headers.map(|(name, _)| name));
        let safe: Vec<_> =
            told.safe_headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
        let expected = [
            ("content-type", "application/json"),
            ("user-agent", "HubSpot Connect [redacted]"),
            ("x-hubspot-request-timestamp", "1"),
        ];
        assert_eq!(safe, expected);
        assert_eq!(usize::try_from(told.body_bytes).expect("a size"), body.len());
        assert_eq!(told.body_sha256.len(), 64);
        let excerpt = told.body_excerpt.as_deref().expect("it has a body");
        assert!(excerpt.len() <= 300 && excerpt.contains("\"name\":\"ü"), "{excerpt}");
        for secret in [canary, "client-secret", "test-key", "\0"] {
            assert!(!format!("{told:?}").contains(secret), "{told:?}");
        }
        let size = odd.header_names.iter().map(String::len).sum::<usize>() + odd.asked_for.len();
        assert!(size <= 51 * 64 && odd.safe_headers.is_empty() && odd.body_excerpt.is_none(), "{odd:?}");
        assert_eq!((odd.code.as_str(), odd.connection_id), ("UNSIGNED", None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_who_looks_for_what_was_refused_finds_it_in_the_graph_and_on_the_command_line() {
    let stripe = HostedVendor::start(
        StripeFake::new(None, Secret::new("s"), 1),
        || SystemClock::default().now(),
        |_| Duration::ZERO,
    )
    .await;
    let config = format!(
        "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"stripe\"\n\
         connector = \"stripe\"\nbase_url = \"{}\"\ntoken = \"test-key\"\nwebhook_secrets = [\"s\"]\n",
        stripe.url
    );
    let Some(binary) = Binary::find("the command line", &config) else { return };
    binary.done(&["migrate"]).await;
    assert_eq!(binary.done(&["inbox", "refusals"]).await, "");
    let database = Database::at(&format!("sqlite://{}", binary.folder().join("data/crosstie.db").display()));
    let hub = RunningHub::start(&database, vec![stripe.connection("stripe", "s")]).await;
    let headers = [("content-type", "text/plain")];
    assert_eq!(hub.send(Method::Post, "/webhooks/stripe", &headers, b"hello".to_vec()).await.status, 401);
    assert_eq!(hub.send(Method::Post, "/webhooks/strype", &headers, b"hello".to_vec()).await.status, 401);
    hub.hub.engine.flush_refusals().await;
    let query = "{ inboundRefusals(orderBy: [{field: ID, direction: ASC}]) { totalCount nodes { id code askedFor \
                 bodyBytes bodyExcerpt connection { name } safeHeaders { name value } } } }";
    let shown = hub.ask(query).await["inboundRefusals"].clone();
    assert_eq!(shown["totalCount"], 2, "{shown}");
    let first: &Json = &shown["nodes"][0];
    assert_eq!((&first["code"], &first["connection"]["name"]), (&json!("UNSIGNED"), &json!("stripe")));
    assert_eq!((&first["bodyBytes"], &first["bodyExcerpt"]), (&json!(5), &json!("hello")));
    let second: &Json = &shown["nodes"][1];
    assert_eq!((&second["connection"], &second["askedFor"]), (&Json::Null, &json!("strype")));
    hub.stop().await;
    let said = binary.done(&["inbox", "refusals", "--limit", "1"]).await;
    assert!(said.contains("  nobody  UNSIGNED  asked for \"strype\"  5 byte(s) "), "{said}");
    assert!(said.contains("\n  content-type: text/plain") && said.ends_with("\n  hello"), "{said}");
}
