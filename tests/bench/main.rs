//! What the hub can do on this machine, measured; nothing here passes or fails.
//!
//! `cargo bench -p crosstie-tests` measures SQLite, and PostgreSQL as well when `CROSSTIE_BENCH_POSTGRES` names an empty
//! database. It prints webhook acknowledgments a second at 16 senders, each with signature, deduplication and a durable
//! commit before the answer, in three ways: a transaction each, which PostgreSQL writes 16 at a time and SQLite one
//! after the other; with group commit; and over 16 connections on loopback through a whole hub, with events that
//! nothing in the hub follows, so that the same work is compared; and how long an acknowledgment takes at half of that
//! rate. Then it prints the page query of 50 opportunities
//! with their accounts, statements of work, milestones, orders and invoices.
//!
//! Last it prints how fast a back-fill goes from end to end, first and unchanged, with what each record costs in
//! statements and how the memory goes; `CROSSTIE_BENCH_RECORDS` says how many records, 20,000 unless it is set. Beside
//! it a peer, `dlt`, loads the same pages, when `CROSSTIE_BENCH_DLT` names a Python that has it (`dlt.sh`).
//!
//! `CROSSTIE_BENCH_ONLY` names one of `webhooks`, `pages` and `backfill` to measure that alone.

mod backfill;
mod rows;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests in `it`, which use more of it")]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crosstie::{config::Config, hub::Hub};
use crosstie_app::{App, SystemClock};
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{Clock, access::AuthContext, ids::ConnectionId, integration::InboundLimits};
use crosstie_graphql::gateway::Envelope;
use crosstie_sdk::{Delivery, HttpRequest, Method, ReqwestTransport, Secret, Transport, signature};
use crosstie_store::{
    Store, StoreError,
    integration::{ArrivedDelivery, ArrivedEvent, InboxWriter},
};
use serde_json::{Value as Json, json};

use support::{HostedVendor, account, connection, sell, variable};

const SENDERS: usize = 16;
const EVENTS_EACH: usize = 1_000;
/// Events of each sender at half load.
const PACED_EACH: usize = 500;
/// Acknowledged and left at that: nothing is read from the vendor meanwhile.
const KIND: &str = "charge.captured";
const PAGES: u32 = 200;
const SECRET: &str = "whsec_bench";

#[tokio::main]
async fn main() {
    let folder = std::env::temp_dir().join(format!("crosstie-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let mut databases = vec![("SQLite", format!("sqlite://{}/bench.db?mode=rwc", folder.display()))];
    match variable("CROSSTIE_BENCH_POSTGRES") {
        Some(url) => databases.push(("PostgreSQL", url)),
        None => println!("NOT RUN: PostgreSQL (CROSSTIE_BENCH_POSTGRES names no empty database)"),
    }
    for (name, url) in databases {
        crosstie_migrations::migrate(&url).await.expect("the database can be migrated");
        let store = Store::open(&url, Arc::new(SystemClock::default())).await.expect("the database can be opened");
        store.keep_house().await.expect("there is a place for what is written");
        let is_wanted = |what: &str| variable("CROSSTIE_BENCH_ONLY").is_none_or(|only| only == what);
        if is_wanted("webhooks") {
            webhooks(name, &url, &store).await;
        }
        if is_wanted("pages") {
            let (milliseconds, statements) = pages(&store).await;
            println!("{name}: page of 50 opportunities with edges: {milliseconds:.2} ms, {statements} statements");
        }
        store.close().await.expect("the database can be closed");
        if is_wanted("backfill") {
            backfill::measure(name, &url, &folder).await;
        }
    }
    std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
}

async fn webhooks(name: &str, url: &str, store: &Store) {
    let acknowledged = |way: &str, rate: f64| {
        println!("{name}: webhook acknowledgments, {SENDERS} senders, {way}: {rate:.0}/s");
    };
    // A writer for each sender, so that none waits for another's transaction.
    let alone = (0..SENDERS).map(|_| InboxWriter::start_with_batches_of(store, 1)).collect();
    acknowledged("one transaction each", in_process(store, alone, "alone").await);
    let together = vec![InboxWriter::start(store); SENDERS];
    acknowledged("group commit", in_process(store, together, "together").await);
    let (rate, [middle, slow]) = over_http(url).await;
    acknowledged("group commit, over HTTP", rate);
    println!(
        "{name}: webhook acknowledgments at half of that: {:.1} ms in the middle, {:.1} ms at the 99th percentile",
        middle.as_secs_f64() * 1_000.0,
        slow.as_secs_f64() * 1_000.0
    );
}

/// Acknowledgments a second; each sender has one of the writers.
async fn in_process(store: &Store, writers: Vec<InboxWriter>, way: &'static str) -> f64 {
    let connection_id = ConnectionId::from_uuid(SystemClock::default().new_uuid());
    let begin = Instant::now();
    let senders = writers.into_iter().enumerate().map(|(sender, writer)| {
        let store = store.clone();
        tokio::spawn(async move {
            for event in 0..EVENTS_EACH {
                let delivery = signed(&format!("{way}-{sender}-{event}"), KIND);
                let secrets = [Secret::new(SECRET)];
                signature::verify(&scheme(), &delivery, &secrets, store.now()).expect("the signature is right");
                let arrived = arrived(connection_id, delivery);
                // Who is refused because the database is slow comes again.
                while let Err(error) = writer.accept(arrived.clone()).await {
                    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
                }
            }
        })
    });
    ended(senders.collect()).await;
    rate(begin)
}

/// Acknowledgments a second of a whole hub, and how long they take at half of that; each sender has a connection of its
/// own.
async fn over_http(database: &str) -> (f64, [Duration; 2]) {
    let now = || SystemClock::default().now();
    let fake = StripeFake::new(None, Secret::new(SECRET), 1);
    let stripe = HostedVendor::start(fake, now, |_| Duration::ZERO).await;
    let text = format!("listen = \"127.0.0.1:0\"\n[database]\nurl = {database:?}\n");
    let mut config = Config::parse(&text, "the benchmark", |_| None).expect("the configuration is good");
    let mut connection = stripe.connection("stripe", SECRET);
    // What a connection takes in is limited by default to less than a hub can.
    connection.inbound = InboundLimits { per_second: 1_000_000, burst: 1_000_000, backlog: 100_000_000 };
    config.connections = vec![connection];
    let hub = Hub::start(config).await.expect("the hub starts");
    let url = format!("http://{}/webhooks/stripe", hub.address);
    let begin = Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let sender = Sender::new(&url, format!("http-{sender}"));
        tokio::spawn(async move {
            for event in 0..EVENTS_EACH {
                sender.send(event).await;
            }
        })
    });
    ended(senders.collect()).await;
    let rate = rate(begin);
    let waited = at_half_load(&url, rate / 2.0).await;
    hub.stop(Duration::from_secs(10)).await;
    (rate, waited)
}

/// How long acknowledgments take while so many are asked for a second, from the moment at which each was due: in the
/// middle, and at the 99th percentile.
async fn at_half_load(url: &str, per_second: f64) -> [Duration; 2] {
    let every = Duration::from_secs_f64(number(SENDERS) / per_second);
    let senders = (0..SENDERS).map(|number| {
        let sender = Sender::new(url, format!("paced-{number}"));
        tokio::spawn(async move {
            let begin = Instant::now();
            let mut waited = Vec::new();
            for (event, place) in (0..PACED_EACH).zip(1_u32..) {
                let due = begin + every * place;
                tokio::time::sleep_until(due.into()).await;
                sender.send(event).await;
                waited.push(due.elapsed());
            }
            waited
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut waited = Vec::new();
    for sender in senders {
        waited.append(&mut sender.await.expect("the sender ends"));
    }
    waited.sort_unstable();
    [waited[waited.len() / 2], waited[waited.len() * 99 / 100]]
}

/// One that sends webhooks over a connection of its own.
struct Sender {
    http: ReqwestTransport,
    url: String,
    name: String,
}

impl Sender {
    fn new(url: &str, name: String) -> Self {
        Self { http: ReqwestTransport::new().expect("the network can be used"), url: url.to_owned(), name }
    }

    /// Sends an event until it is acknowledged.
    async fn send(&self, event: usize) {
        let Delivery { headers, body, .. } = signed(&format!("{}-{event}", self.name), KIND);
        let request = HttpRequest { method: Method::Post, url: self.url.clone(), headers, body };
        loop {
            match self.http.send(request.clone()).await.expect("the hub answers").status {
                200 => return,
                503 => {}
                status => panic!("a webhook was answered {status}"),
            }
        }
    }
}

async fn ended(senders: Vec<tokio::task::JoinHandle<()>>) {
    for sender in senders {
        sender.await.expect("the sender ends");
    }
}

fn rate(begin: Instant) -> f64 {
    number(SENDERS * EVENTS_EACH) / begin.elapsed().as_secs_f64()
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a small number"))
}

fn scheme() -> signature::Scheme {
    let stripe = crosstie_connectors::connector("stripe").expect("the connector ships");
    stripe.inbound().expect("it receives webhooks").scheme()
}

fn signed(id: &str, kind: &str) -> Delivery {
    let body = json!({ "id": id, "object": "event", "type": kind, "data": { "object": { "id": "ch_1" } } });
    let seconds = (SystemClock::default().now().micros() / 1_000_000).to_string();
    let (method, url) = ("POST".to_owned(), "http://localhost/webhooks/stripe".to_owned());
    let mut delivery = Delivery { method, url, headers: vec![], body: body.to_string().into_bytes() };
    let parts = [signature::Part::Timestamp, signature::Part::Literal("."), signature::Part::Body];
    let signature = signature::sign(&parts, signature::Encoding::Hex, &delivery, &seconds, &Secret::new(SECRET));
    delivery.headers.push(("stripe-signature".to_owned(), format!("t={seconds},v1={signature}")));
    delivery
}

fn arrived(connection_id: ConnectionId, delivery: Delivery) -> ArrivedDelivery {
    let dedupe_key = String::from_utf8_lossy(&delivery.body).into_owned();
    let event =
        ArrivedEvent { dedupe_key, event_type: KIND.to_owned(), target: None, occurred_at: None, problem: None };
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

/// Milliseconds and statements of a page, after 50 opportunities were sold.
async fn pages(store: &Store) -> (f64, u64) {
    let billing = connection(store, "billing").await;
    for number in 0..50 {
        let owner = account(store, &format!("Account {number}")).await;
        sell(store, &owner, billing, &format!("sale-{number}")).await;
    }
    let gateway = crosstie_graphql::gateway(App::new(store.clone()));
    let page = async || gateway.execute(Envelope::new(PAGE), AuthContext::system()).await;
    check(&page().await.body);
    let before = store.statements();
    let begin = Instant::now();
    for _ in 0..PAGES {
        page().await;
    }
    let milliseconds = begin.elapsed().as_secs_f64() * 1_000.0 / f64::from(PAGES);
    (milliseconds, (store.statements() - before) / u64::from(PAGES))
}

/// The page has every edge that it asks for.
fn check(body: &[u8]) {
    let answer: Json = serde_json::from_slice(body).expect("the answer is JSON");
    let nodes = answer["data"]["opportunities"]["nodes"].as_array().expect("a page").clone();
    assert!(answer["errors"].is_null() && nodes.len() == 50, "{answer}");
    for node in &nodes {
        let sow = &node["sows"]["nodes"][0];
        assert!(node["account"]["name"].is_string() && sow["milestones"][0]["name"].is_string(), "{node}");
        assert!(sow["serviceOrder"]["invoices"]["nodes"][0]["number"].is_string(), "{node}");
    }
}
