//! What the hub can do on this machine, measured; nothing here passes or fails.
//!
//! `cargo bench -p crosstie-tests` measures SQLite, and PostgreSQL as well when `CROSSTIE_BENCH_POSTGRES` names an empty
//! database. It prints webhook acknowledgments a second at 16 senders (durable commit before each answer, with
//! signature and deduplication), with group commit and with a transaction each, and the page query of 50 opportunities
//! with account, statements of work and invoices.

use std::{sync::Arc, time::Instant};

use crosstie_app::{App, SystemClock};
use crosstie_domain::{
    Clock,
    access::{AuthContext, RowScope},
    ids::ConnectionId,
    integration::{Claim, Entity},
    pipeline::{AccountClaim, OpportunityClaim, OpportunityRecord},
};
use crosstie_sdk::{Delivery, Secret, signature};
use crosstie_store::{
    Store,
    integration::{ArrivedDelivery, ArrivedEvent, InboxWriter},
};
use serde_json::json;

const SENDERS: usize = 16;
const EVENTS_EACH: usize = 1_000;
const PAGES: usize = 200;

#[tokio::main]
async fn main() {
    let folder = std::env::temp_dir().join(format!("crosstie-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let mut databases = vec![("SQLite", format!("sqlite://{}/bench.db?mode=rwc", folder.display()))];
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads where its database is")]
    match std::env::var("CROSSTIE_BENCH_POSTGRES") {
        Ok(url) => databases.push(("PostgreSQL", url)),
        Err(_) => println!("NOT RUN: PostgreSQL (CROSSTIE_BENCH_POSTGRES names no empty database)"),
    }
    for (name, url) in databases {
        crosstie_migrations::migrate(&url).await.expect("the database can be migrated");
        let store = Store::open(&url, Arc::new(SystemClock::default())).await.expect("the database can be opened");
        for (way, batch) in [("group commit", 512), ("one transaction each", 1)] {
            let rate = acknowledgments(&store, batch).await;
            println!("{name}: webhook acknowledgments, {SENDERS} senders, {way}: {rate:.0}/s");
        }
        let (milliseconds, statements) = pages(&store).await;
        println!("{name}: page of 50 opportunities with edges: {milliseconds:.2} ms, {statements} statements");
        store.close().await.expect("the database can be closed");
    }
    std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
}

/// Acknowledgments a second: each verified, deduplicated and on disk before its answer.
async fn acknowledgments(store: &Store, batch: usize) -> f64 {
    let writer = InboxWriter::start_with_batches_of(store, batch);
    let clock = SystemClock::default();
    let connection_id = ConnectionId::from_uuid(clock.new_uuid());
    let begin = Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let (writer, store) = (writer.clone(), store.clone());
        tokio::spawn(async move {
            for event in 0..EVENTS_EACH {
                let delivery = signed(&store, &format!("{batch}-{sender}-{event}"));
                let secrets = [Secret::new("whsec_bench")];
                signature::verify(&scheme(), &delivery, &secrets, store.now()).expect("the signature is right");
                writer.accept(arrived(connection_id, delivery)).await.expect("the database keeps it");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("the sender ends");
    }
    let count = u32::try_from(SENDERS * EVENTS_EACH).expect("a small number");
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn scheme() -> signature::Scheme {
    let stripe = crosstie_connectors::connector("stripe").expect("the connector ships");
    stripe.inbound().expect("it receives webhooks").scheme()
}

fn signed(store: &Store, id: &str) -> Delivery {
    let body = json!({ "id": id, "object": "event", "type": "invoice.paid", "data": { "object": { "id": "in_1" } } });
    let seconds = (store.now().micros() / 1_000_000).to_string();
    let mut delivery = Delivery {
        method: "POST".to_owned(),
        url: "http://localhost/webhooks/stripe".to_owned(),
        headers: vec![],
        body: body.to_string().into_bytes(),
    };
    let parts = [signature::Part::Timestamp, signature::Part::Literal("."), signature::Part::Body];
    let secret = Secret::new("whsec_bench");
    let signature = signature::sign(&parts, signature::Encoding::Hex, &delivery, &seconds, &secret);
    delivery.headers.push(("stripe-signature".to_owned(), format!("t={seconds},v1={signature}")));
    delivery
}

fn arrived(connection_id: ConnectionId, delivery: Delivery) -> ArrivedDelivery {
    let dedupe_key = String::from_utf8_lossy(&delivery.body).into_owned();
    let event = ArrivedEvent {
        dedupe_key,
        event_type: "invoice.paid".to_owned(),
        target: Some((Entity::Invoice, "in_1".to_owned())),
        occurred_at: None,
        problem: None,
    };
    ArrivedDelivery {
        connection_id,
        headers: "[]".to_owned(),
        body: delivery.body,
        events: vec![event],
        mapping_version: "bench".to_owned(),
    }
}

const PAGE: &str = "{ opportunities(first: 50) { nodes { id name stage amount { amount currency } account { name } \
    sows(first: 5) { nodes { title status milestones { name } serviceOrder { status invoices(first: 5) { nodes { \
    number status } } } } } } } }";

/// Milliseconds and statements of a page, after 50 opportunities were taken in.
async fn pages(store: &Store) -> (f64, u64) {
    let app = App::new(store.clone());
    fill(&app).await;
    let gateway = crosstie_graphql::gateway(app);
    let envelope = || crosstie_graphql::gateway::Envelope {
        query: PAGE.to_owned(),
        operation_name: None,
        variables: serde_json::Map::new(),
        extensions: serde_json::Map::new(),
        verb: crosstie_graphql::gateway::Verb::Post,
        request_id: None,
    };
    let outcome = gateway.execute(envelope(), AuthContext::system()).await;
    let body = String::from_utf8_lossy(&outcome.body).into_owned();
    assert!(outcome.code.is_none() && !body.contains("\"errors\""), "{body}");
    let before = store.statements();
    let begin = Instant::now();
    for _ in 0..PAGES {
        gateway.execute(envelope(), AuthContext::system()).await;
    }
    let pages = u32::try_from(PAGES).expect("a small number");
    let milliseconds = begin.elapsed().as_secs_f64() * 1_000.0 / f64::from(pages);
    (milliseconds, (store.statements() - before) / u64::from(pages))
}

async fn fill(app: &App) {
    let clock = SystemClock::default();
    let connection = ConnectionId::from_uuid(clock.new_uuid());
    let origin = crosstie_app::Origin { connection, run: None, event: None, mapping_version: "bench" };
    let fields = std::collections::BTreeMap::new();
    let tx = app.store().begin().await.expect("a transaction begins");
    for number in 0..50 {
        let account =
            Claim::Account(AccountClaim { name: Some(format!("Account {number}")), ..AccountClaim::default() });
        let remote_id = format!("account-{number}");
        let seen = |remote_id, claim| crosstie_app::Observation {
            remote_id,
            remote_version: None,
            claim,
            fields: &fields,
            raw: "{}",
        };
        app.ingest(&tx, origin, seen(&remote_id, &account)).await.expect("the account is taken in");
        let opportunity = Claim::Opportunity(OpportunityClaim {
            name: Some(format!("Opportunity {number}")),
            account: Some(remote_id.clone()),
            ..OpportunityClaim::default()
        });
        let deal = format!("deal-{number}");
        app.ingest(&tx, origin, seen(&deal, &opportunity)).await.expect("the opportunity is taken in");
    }
    tx.commit().await.expect("the transaction commits");
    let everything = crosstie_store::Condition::All(vec![]);
    let all = crosstie_store::count::<OpportunityRecord>(app.store(), &RowScope::All, &everything).await;
    assert!(all.expect("the database counts") >= 50);
}
