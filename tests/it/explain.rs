//! What a connection does next, when, and why it waits.

use std::time::Duration;

use crosstie_app::{ChangePause, SystemClock};
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    Clock,
    access::AuthContext,
    integration::{Entity, PauseScope, SignInRecord, SignInState},
};
use crosstie_sdk::{HttpResponse, Secret};
use crosstie_store::integration::Cursor;
use serde_json::{Value as Json, json};

use crate::support::{Binary, Graph, HostedVendor, graph, on_each_database};

/// What is told of one thing at billing.
async fn told(graph: &Graph, kind: &str) -> Json {
    let query = "query($id: ID!) { connection(id: $id) { explanation { kind entity state nextAt text reasons { code until \
                 text } } } }";
    let data = graph.data(AuthContext::system(), query, json!({ "id": graph.billing })).await;
    let steps = data["connection"]["explanation"].as_array().expect("steps").clone();
    steps.into_iter().find(|step| step["kind"] == kind).unwrap_or(Json::Null)
}

fn codes(step: &Json) -> Vec<&str> {
    let reasons = step["reasons"].as_array().expect("reasons").iter();
    reasons.map(|reason| reason["code"].as_str().expect("a code")).collect()
}

async fn order(graph: &Graph) {
    let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
    let input = json!({ "sowId": drafted["sow"]["id"] });
    graph.decide(AuthContext::system(), "signSow", "sow { id }", input).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_what_runs_next_and_every_reason_why_it_waits() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let store = graph.app.store();
        let reading = told(&graph, "READING").await;
        assert_eq!((&reading["state"], &reading["entity"]), (&json!("DUE"), &json!("INVOICE")), "{reading}");
        assert!(reading["text"].as_str().expect("words").starts_with("It was never read"), "{reading}");

        let at = store.now().plus_ms(42_000);
        let save = async |failures: i32| {
            let tx = store.begin().await.expect("a transaction begins");
            let cursor = Cursor {
                connection_id: graph.billing,
                entity: Entity::Invoice,
                watermark: Some(tx.now()),
                window_until: None,
                more: None,
                failures,
                next_run_at: at,
            };
            tx.save_cursor(&cursor).await.expect("saved");
            tx.commit().await.expect("it commits");
        };
        save(0).await;
        let reading = told(&graph, "READING").await;
        assert_eq!((&reading["state"], &reading["nextAt"]), (&json!("SCHEDULED"), &json!(at)), "{reading}");
        let text = reading["text"].as_str().expect("words");
        assert!(text.contains(", in 42 s.") && text.contains("900 s are allowed"), "{text}");

        save(3).await;
        let reading = told(&graph, "READING").await;
        assert_eq!((&reading["state"], codes(&reading)), (&json!("WAITING"), vec!["RETRY"]), "{reading}");

        let lease = store.lease(&format!("pull:{}:invoice", graph.billing), "hub-1:run_1", 3_000).await;
        let lease = lease.expect("asked").expect("taken");
        let reading = told(&graph, "READING").await;
        assert_eq!(reading["state"], "RUNNING");
        assert!(reading["text"].as_str().expect("words").starts_with("The process hub-1 reads it now."), "{reading}");
        store.release_lease(&lease).await.expect("released");

        order(&graph).await;
        let sending = told(&graph, "SENDING").await;
        assert_eq!((&sending["state"], codes(&sending)), (&json!("DUE"), vec![]), "{sending}");
        let tx = store.begin().await.expect("a transaction begins");
        let mut breaker = tx.breaker(graph.billing).await.expect("read");
        for _ in 0..5 {
            breaker.failed("TRANSIENT", tx.now(), |ms| ms);
        }
        tx.save_breaker(&breaker).await.expect("saved");
        tx.commit().await.expect("it commits");
        let until = store.now().plus_ms(30_000);
        let sending = told(&graph, "SENDING").await;
        assert_eq!((codes(&sending), &sending["nextAt"]), (vec!["BREAKER_OPEN"], &json!(until)), "{sending}");
        let webhooks = told(&graph, "WEBHOOKS").await;
        assert!(webhooks["text"].as_str().expect("words").starts_with("1 event(s) that webhooks brought wait"));

        let input = ChangePause {
            connection_id: graph.billing,
            what: PauseScope::All,
            dry_run: false,
            reason: Some("month end".to_owned()),
            idempotency_key: None,
        };
        graph.app.pause_connection(&AuthContext::system(), input).await.expect("decided").expect("done");
        let tx = store.begin().await.expect("a transaction begins");
        let mut sign_in = SignInRecord::new("stripe", tx.now());
        (sign_in.state, sign_in.may_try) = (SignInState::NeedsReauth, false);
        tx.save_sign_in(&sign_in).await.expect("saved");
        let was = crosstie_domain::integration::ConnectionMode::TwoWay;
        let now = crosstie_domain::integration::ConnectionMode::Pull;
        let by = (crosstie_domain::access::Principal::System, None);
        tx.switch_connection_mode(graph.billing, (was, now), by).await.expect("switched");
        tx.commit().await.expect("it commits");
        let sending = told(&graph, "SENDING").await;
        assert_eq!(codes(&sending), ["PAUSED", "NEEDS_REAUTH", "BREAKER_OPEN", "MODE"], "{sending}");
        assert_eq!(sending["nextAt"], Json::Null, "nobody knows when a person acts");
        let why = sending["reasons"][0]["text"].as_str().expect("words");
        assert!(why.starts_with("system paused it at ") && why.ends_with(": month end."), "{why}");

        let sweep = told(&graph, "SWEEP").await;
        assert_eq!(*codes(&sweep).last().expect("reasons"), "NEEDS_CONFIRMATION", "{sweep}");
        assert!(told(&graph, "BACKFILL").await["text"].as_str().expect("words").starts_with("1 slice(s)"));
        let parked = told(&graph, "PARKED").await;
        assert_eq!(parked["reasons"][0]["text"], "1 row(s) with UNREADABLE_ROW.", "{parked}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_it_in_sentences_and_as_data() {
    let now = || SystemClock::default().now();
    let stripe = HostedVendor::start(StripeFake::new(None, Secret::new("s"), 1), now, |_| Duration::ZERO).await;
    let config = format!(
        "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"books\"\n\
         connector = \"stripe\"\nbase_url = \"{}\"\ntoken = \"test-key\"\nmode = \"pull\"\n",
        stripe.url
    );
    let Some(binary) = Binary::find("the command line", &config) else { return };
    binary.done(&["migrate"]).await;
    let said = binary.done(&["connection", "explain", "books"]).await;
    assert!(said.starts_with("books by stripe, pull\n  reading account DUE: It was never read"), "{said}");
    assert!(said.contains("\n  sending WAITING: No effect(s) wait.\n    MODE: "), "{said}");
    stripe.vendor().fail_next(HttpResponse::empty(500));
    binary.refused(&["sync", "run", "books", "--entity", "account"]).await;
    let said = binary.done(&["connection", "explain", "books"]).await;
    assert!(said.contains("\n    RETRY: The last run failed, 1 in a row, with TRANSIENT: "), "{said}");
    binary.done(&["connection", "pause", "books", "--what", "reading", "--reason", "maintenance"]).await;
    let said = binary.done(&["connection", "explain", "books", "--json"]).await;
    let steps: Json = serde_json::from_str(&said).expect("JSON");
    assert_eq!(steps[0]["reasons"][0]["code"], "PAUSED", "{said}");
    binary.refused(&["connection", "explain", "nobody"]).await;
}
