//! What a person does about what failed on the command line, by the binary itself beside a hub that runs.

use std::{process::Stdio, time::Duration};

use crosstie_app::SystemClock;
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    Clock,
    access::RowScope,
    integration::{Customer, EffectKey, Entity, Intent, PlaceOrder},
};
use crosstie_sdk::{FakeVendor, HttpRequest, Method, Secret};
use crosstie_store::{
    EffectRequest, Store,
    integration::{ArrivedDelivery, ArrivedEvent, EffectOutcome, InboxWriter, ParkedRow, connection_by_name},
};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{Binary, Database, HostedVendor, effects, events, usd};

/// The binary on a new database, the billing system that it is connected to, and another way into the database.
async fn scene() -> Option<(Binary, HostedVendor<StripeFake>, Store)> {
    let fake = StripeFake::new(None, Secret::new("whsec_test"), 1);
    let stripe = HostedVendor::start(fake, || SystemClock::default().now(), |_| Duration::ZERO).await;
    let config = format!(
        "listen = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\n\
         name = \"books\"\nconnector = \"stripe\"\nbase_url = \"{}\"\ntoken = \"test-key\"\n\
         webhook_secrets = [\"whsec_test\"]\n",
        stripe.url
    );
    let binary = Binary::find("the command line", &config)?;
    binary.done(&["migrate"]).await;
    binary.done(&["connection", "list"]).await;
    let file = binary.folder().join("data/crosstie.db");
    let database = Database::at(&format!("sqlite://{}", file.display()));
    let store = database.open().await;
    Some((binary, stripe, store))
}

/// An order that billing refused; its key.
async fn refused_order(store: &Store, outcome: EffectOutcome) -> String {
    let connection = connection_by_name(store, &RowScope::All, "books").await.expect("read").expect("it is there");
    let tx = store.begin().await.expect("a transaction begins");
    let order = PlaceOrder {
        order: tx.new_id(),
        sow: tx.new_id(),
        customer: Customer { account: tx.new_id(), name: "Acme".to_owned(), email: None },
        title: "Rollout".to_owned(),
        po_number: None,
        total: usd(100_000),
        lines: vec![],
    };
    let (key, record_id) = (EffectKey::place_order(order.order), order.order.to_string());
    let intent = Intent::PlaceOrder(order);
    let (entity, record_id, connection_id) = (Entity::ServiceOrder, record_id.as_str(), connection.id);
    let request = EffectRequest { key: &key, entity, record_id, connection_id, intent: &intent };
    tx.request_effect(request).await.expect("it is asked for");
    tx.commit().await.expect("it commits");
    let claimed = store.claim_effect(1_000).await.expect("asked").expect("it is due");
    let tx = store.begin().await.expect("a transaction begins");
    tx.effect_ended(&claimed, &outcome).await.expect("it is kept");
    tx.commit().await.expect("it commits");
    key.as_str().to_owned()
}

/// A customer at billing, as it shows one.
fn create_customer(stripe: &HostedVendor<StripeFake>) -> Json {
    let headers = vec![
        ("authorization".to_owned(), "Bearer operator".to_owned()),
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
    ];
    let (url, body) = ("https://stripe.example/v1/customers".to_owned(), b"name=Acme".to_vec());
    let request = HttpRequest { method: Method::Post, url, headers, body };
    let answer = stripe.vendor().respond(&request, SystemClock::default().now());
    serde_json::from_slice(&answer.body).expect("a customer")
}

fn refused() -> EffectOutcome {
    EffectOutcome::Rejected { code: "REJECTED".to_owned(), message: "no such customer".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_is_listed_shown_corrected_replayed_and_settled() {
    let Some((binary, stripe, store)) = scene().await else { return };
    let key = refused_order(&store, refused()).await;
    let (code, message) = ("OUTCOME_UNKNOWN".to_owned(), "the answer was lost".to_owned());
    let uncertain = refused_order(&store, EffectOutcome::Uncertain { code, message }).await;

    let list = binary.done(&["outbox", "list", "--status", "rejected", "--connection", "books"]).await;
    assert!(list.lines().count() == 1 && list.starts_with(&key) && list.contains("REJECTED"), "{list}");
    for (filter, lines) in [
        (&["--entity", "service_order"][..], 2),
        (&["--entity", "invoice"], 0),
        (&["--code", "outcome_unknown"], 1),
        (&["--since", "2026-11-01T00:00:00Z"], 2),
        (&["--since", "9999d"], 2),
        (&["--since", "2999-01-01T00:00:00Z"], 0),
        (&["--limit", "1"], 1),
    ] {
        let list = binary.done(&[&["outbox", "list"], filter].concat()).await;
        assert_eq!(list.lines().count(), lines, "{filter:?}: {list}");
    }
    assert!(binary.refused(&["outbox", "list", "--status", "lost"]).await.contains("EXHAUSTED"));
    assert!(binary.refused(&["outbox", "list", "--since", "yesterday"]).await.contains("12h"));
    assert!(binary.refused(&["outbox", "list", "--connection", "nobody"]).await.contains("no such connection"));
    let shown = binary.done(&["outbox", "show", &key]).await;
    for part in ["no such customer", "UpsertBy at books", "\"title\": \"Rollout\"", "version 1"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    binary.refused(&["outbox", "show", "order:none"]).await;

    assert!(binary.refused(&["outbox", "edit", &key]).await.contains("Name something"));
    let edited = binary.done(&["outbox", "edit", &key, "--title", "Corrected", "--reason", "a typo"]).await;
    assert!(edited.contains("version 2"), "{edited}");
    assert!(binary.done(&["outbox", "show", &key]).await.contains("a typo"));
    assert!(binary.refused(&["outbox", "replay"]).await.contains("--all"));
    let looked = binary.done(&["outbox", "replay", "--all", "--dry-run"]).await;
    assert!(looked.contains("again  1  REJECTED") && looked.contains("left  1  UNCERTAIN"), "{looked}");
    assert!(looked.ends_with("nothing was begun"), "{looked}");

    let log = std::fs::File::create(binary.folder().join("serve.log")).expect("a log file");
    let mut hub = binary.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
    let mut said = BufReader::new(hub.stdout.take().expect("it is piped")).lines();
    said.next_line().await.expect("it can be read").expect("it says where it listens");
    let done = binary.done(&["outbox", "replay", &key, "--wait", "--timeout", "60"]).await;
    assert!(done.contains("SUCCEEDED"), "{done}");
    assert_eq!(stripe.vendor().product_count(), 1);
    let placed = effects(&store).await.into_iter().find(|effect| effect.key == key).expect("it is there");
    assert_eq!(placed.remote_id.as_deref(), Some(placed.record_id.as_str()));

    assert!(binary.refused(&["outbox", "replay", &uncertain]).await.contains("Nothing"));
    binary.refused(&["outbox", "settle", &uncertain]).await;
    binary.refused(&["outbox", "settle", &key, "--not-happened"]).await;
    let settled =
        binary.done(&["outbox", "settle", &uncertain, "--happened", "prod_7", "--reason", "seen there"]).await;
    assert!(settled.contains("DONE") && settled.contains("prod_7"), "{settled}");
    assert_eq!(stripe.vendor().product_count(), 1);
    hub.kill().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_is_listed_shown_corrected_and_replayed() {
    let Some((binary, stripe, store)) = scene().await else { return };
    let customer = create_customer(&stripe);
    let id = customer["id"].as_str().expect("an id");
    let connection = connection_by_name(&store, &RowScope::All, "books").await.expect("read").expect("it is there").id;
    let parked = ParkedRow {
        connection_id: connection,
        entity: Entity::Account,
        remote_id: id.to_owned(),
        code: "UNREADABLE_ROW".to_owned(),
        message: "not an object".to_owned(),
        raw: "[]".to_owned(),
        mapping_version: "1".to_owned(),
    };
    let tx = store.begin().await.expect("a transaction begins");
    tx.park_row(&parked).await.expect("parked");
    tx.commit().await.expect("it commits");
    let arrived = ArrivedDelivery {
        connection_id: connection,
        headers: json!([["stripe-signature", "t=1"]]).to_string(),
        body: b"{\"id\": \"evt_1\"".to_vec(),
        events: vec![ArrivedEvent {
            dedupe_key: "body:1".to_owned(),
            event_type: "unreadable".to_owned(),
            target: None,
            occurred_at: None,
            problem: Some(("MALFORMED_PAYLOAD", "it ends too early".to_owned())),
        }],
        mapping_version: "1".to_owned(),
    };
    InboxWriter::start(&store).accept(arrived).await.expect("it is kept");
    let event = events(&store).await.pop().expect("it is there").id.to_string();

    let list = binary.done(&["inbox", "list", "--status", "PARKED", "--code", "malformed_payload"]).await;
    assert!(list.lines().count() == 1 && list.starts_with(&event), "{list}");
    assert_eq!(binary.done(&["inbox", "list", "--status", "PROCESSED"]).await, "");
    let shown = binary.done(&["inbox", "show", &event]).await;
    for part in ["it ends too early", "stripe-signature: t=1", "{\"id\": \"evt_1\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let rows = binary.done(&["inbox", "parked", "--entity", "account"]).await;
    let row = rows.split_whitespace().find(|word| word.starts_with("prk_")).expect("its identifier").to_owned();
    binary.write("row.json", &customer.to_string());
    binary.write("wrong.json", "{");
    binary.refused(&["inbox", "edit", &row]).await;
    assert!(binary.refused(&["inbox", "edit", &row, "--raw", "wrong.json"]).await.contains("no JSON"));
    let edited = binary.done(&["inbox", "edit", &row, "--raw", "row.json", "--reason", "by hand"]).await;
    assert!(edited.contains("version 2"), "{edited}");
    assert!(binary.done(&["inbox", "show", &row]).await.contains("by hand"));
    binary.refused(&["inbox", "edit", &event, "--entity", "account"]).await;
    binary.done(&["inbox", "edit", &event, "--entity", "account", "--remote", id]).await;
    assert!(binary.refused(&["inbox", "replay"]).await.contains("--all"));
    binary.refused(&["inbox", "replay", &row, &event]).await;
    assert!(
        binary.done(&["inbox", "replay", "--parked", "--all", "--dry-run"]).await.contains("again  1  UNREADABLE_ROW")
    );

    let log = std::fs::File::create(binary.folder().join("serve.log")).expect("a log file");
    let mut hub = binary.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
    let mut said = BufReader::new(hub.stdout.take().expect("it is piped")).lines();
    said.next_line().await.expect("it can be read").expect("it says where it listens");
    for failed in [&event, &row] {
        let replayed = binary.run(&["inbox", "replay", failed, "--wait", "--timeout", "60"]).await;
        // A release that maps otherwise than the one that parked the row may have been faster.
        assert!(
            replayed.out.contains("SUCCEEDED") || replayed.err.contains("Nothing"),
            "{}{}",
            replayed.out,
            replayed.err
        );
    }
    assert_eq!(binary.done(&["inbox", "parked"]).await, "");
    hub.kill().await.expect("it ends");
    drop(stripe);
}
