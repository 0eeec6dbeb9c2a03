//! What was said to other systems: kept without secrets, out of the way of what is said, and for a while.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use crosstie_app::{App, SystemClock};
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    Clock, Instant,
    access::RowScope,
    integration::{ConnectionMode, ExchangeRecord},
};
use crosstie_sdk::{
    AuthMode, Call, Connector, Credentials, Descriptor, FakeVendor, Fault, HttpRequest, HttpResponse, MemoryTransport,
    Method, Net, NetOptions, Secret, Settings, SettingsError, WhoAmI,
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, Store,
    integration::{ExchangeColumn, exchanges},
};
use crosstie_sync::{ConnectionSetup, Connections, ExchangeLog, ExchangeSettings, KeptBodies};
use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{Binary, Database, HostedVendor, RunningHub, on_each_database, until};

const SECRET: &str = "whsec_of_the_exchanges";
const TOKEN: &str = "test-key";
const EVERYTHING: ExchangeSettings = ExchangeSettings { keep_days: 7, bodies: KeptBodies::All };

fn now() -> Instant {
    SystemClock::default().now()
}

async fn kept(store: &Store) -> Vec<ExchangeRecord> {
    let order = vec![(ExchangeColumn::Id, Direction::Ascending)];
    let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(10_000, None) };
    let page = exchanges(store, &RowScope::All, &request).await.expect("exchanges can be read");
    page.rows.into_iter().map(|(exchange, _)| exchange).collect()
}

/// A stand-in for Stripe, with a customer of this name.
fn stripe(customer: &str) -> StripeFake {
    let mut fake = StripeFake::new(None, Secret::new(SECRET), 1);
    let headers = vec![
        ("authorization".to_owned(), "Bearer operator".to_owned()),
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
    ];
    let (url, body) = ("https://stripe.example/v1/customers".to_owned(), format!("name={customer}").into_bytes());
    let answer = fake.respond(&HttpRequest { method: Method::Post, url, headers, body }, now());
    assert_eq!(answer.status, 200);
    fake
}

fn connector() -> &'static dyn Connector {
    crosstie_connectors::connector("stripe").expect("it ships")
}

/// A connector that may talk as fast as it likes.
struct Chatty;

static CHATTY: Descriptor = Descriptor {
    id: "chatty",
    name: "Chatty",
    version: "1.0.0",
    arms: &[],
    auth: &[AuthMode::Bearer],
    default_base_url: Some("https://stripe.example"),
    budgets: &[],
    reads: &[],
    writes: &[],
};

#[async_trait::async_trait]
impl Connector for Chatty {
    fn descriptor(&self) -> &'static Descriptor {
        &CHATTY
    }

    fn check_settings(&self, _: &Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let answer = net.send(Call::get("/v1/customers").query("limit", "1")).await?;
        Ok(WhoAmI { account: answer.status().to_string() })
    }
}

/// A connection to a stand-in in memory, with a log of what it exchanges.
async fn in_memory(
    database: &Database,
    connector: &'static dyn Connector,
    settings: ExchangeSettings,
) -> (App, Connections, Arc<Mutex<StripeFake>>) {
    let app = App::new(database.open().await);
    let vendor = Arc::new(Mutex::new(stripe("Acme")));
    let clock = Arc::clone(&database.clock);
    let transport = Arc::new(MemoryTransport::new(Arc::clone(&vendor), move || clock.now()));
    let credentials = Credentials::Bearer(Secret::new(TOKEN));
    let setup = ConnectionSetup {
        name: "books".to_owned(),
        connector,
        net: NetOptions { base_url: None, credentials, settings: Settings::default(), transport },
        webhook_secrets: vec![],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: crosstie_sync::ReadingOptions::default(),
    };
    let log = ExchangeLog::start(app.store(), settings);
    let connections = Connections::set_up_logged(&app, vec![setup], log).await.expect("the connection is good");
    (app, connections, vendor)
}

async fn probe(connections: &Connections) -> bool {
    let books = connections.named("books").expect("it is configured");
    books.connector.probe(&books.net).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_traced_to_the_exchange_that_brought_it() {
    on_each_database(async |database| {
        let stripe = HostedVendor::start(stripe("Acme"), now, |_| Duration::ZERO).await;
        let hub = RunningHub::start_with(database, |config| {
            config.exchanges = EVERYTHING;
            config.connections = vec![stripe.connection("stripe", SECRET)];
        })
        .await;
        let query = "{ exchanges { nodes { id method address status faultCode attempt requestHeaders { name value } \
                     answerBody answerSha256 answerBytes run { id entity } connection { name } } } }";
        let found = until("the customers are read", async || {
            let data = hub.ask(query).await;
            let nodes = data["exchanges"]["nodes"].as_array().expect("a list").clone();
            nodes.into_iter().find(|node| node["answerBody"].as_str().is_some_and(|body| body.contains("Acme")))
        })
        .await;
        assert_eq!((&found["method"], &found["status"], &found["attempt"]), (&"GET".into(), &200.into(), &1.into()));
        assert!(found["address"].as_str().is_some_and(|text| text.contains("/v1/customers?")), "{found}");
        assert_eq!((&found["connection"]["name"], &found["run"]["entity"]), (&"stripe".into(), &"ACCOUNT".into()));
        assert_eq!(found["faultCode"], Json::Null);
        let headers = found["requestHeaders"].as_array().expect("headers");
        let authorization = headers.iter().find(|header| header["name"] == "authorization").expect("it was signed in");
        assert_eq!(authorization["value"], "[redacted]");
        assert!(!found.to_string().contains(TOKEN), "{found}");

        #[derive(FromQueryResult)]
        struct Brought {
            exchange_id: Option<String>,
        }
        let raw = database.raw().await;
        let sql = "SELECT exchange_id FROM assertions WHERE entity = 'account'";
        let rows = Brought::find_by_statement(Statement::from_string(raw.get_database_backend(), sql)).all(&raw).await;
        let brought: Vec<_> = rows.expect("assertions can be read").into_iter().map(|row| row.exchange_id).collect();
        assert_eq!(brought, [found["id"].as_str().map(str::to_owned)]);
        raw.close().await.expect("it closes");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_wrong_is_named_and_its_body_is_kept_and_no_other() {
    on_each_database(async |database| {
        let (app, connections, vendor) = in_memory(database, connector(), ExchangeSettings::default()).await;
        let refuse = |status| HttpResponse::json(status, &serde_json::json!({ "error": { "message": TOKEN } }));
        for (answer, expected) in [
            (None, (Some(200), None, false)),
            (Some(refuse(401)), (Some(401), Some("NEEDS_REAUTH"), true)),
            (Some(refuse(429)), (Some(429), Some("THROTTLED"), true)),
            (Some(refuse(500)), (Some(500), Some("TRANSIENT"), true)),
            (Some(refuse(400)), (Some(400), Some("REJECTED"), true)),
        ] {
            if let Some(answer) = answer {
                vendor.lock().expect("nobody panicked").fail_next(answer);
            }
            probe(&connections).await;
            connections.exchanges().flush().await;
            let last = kept(app.store()).await.pop().expect("it is kept");
            let seen = (last.status, last.fault_code.as_deref(), last.answer_body.is_some());
            assert_eq!(seen, expected);
            assert!(last.answer_sha256.is_some() && last.answer_bytes.is_some_and(|bytes| bytes > 0));
            let body = last.answer_body.unwrap_or_else(|| "[redacted]".to_owned());
            assert!(body.contains("[redacted]") && !body.contains(TOKEN), "{body}");
        }
        app.store().close().await.expect("it closes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_go_after_the_days_that_are_configured() {
    on_each_database(async |database| {
        let settings = ExchangeSettings { keep_days: 3, bodies: KeptBodies::None };
        let (app, connections, _) = in_memory(database, connector(), settings).await;
        assert!(probe(&connections).await);
        connections.exchanges().flush().await;
        connections.exchanges().forget_old().await.expect("it is kept in order");
        assert_eq!(kept(app.store()).await.len(), 1);
        // Identifiers tell the system's time, whatever the clock of the test says.
        let behind = SystemClock::default().now().ms_since(database.clock.now()).max(0);
        database.clock.advance(behind + 5 * 86_400_000);
        connections.exchanges().forget_old().await.expect("it is kept in order");
        assert_eq!(kept(app.store()).await, vec![]);
        app.store().close().await.expect("it closes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_exchange_holds_nobody_up() {
    on_each_database(async |database| {
        let (app, connections, _) = in_memory(database, &Chatty, EVERYTHING).await;
        assert!(probe(&connections).await);
        connections.exchanges().flush().await;
        let raw = database.raw().await;
        let is_sqlite = app.store().is_sqlite();
        let stop = if is_sqlite { "BEGIN IMMEDIATE" } else { "BEGIN; LOCK TABLE exchanges" };
        raw.execute_unprepared(stop).await.expect("nobody writes now");
        // More than the log holds in memory, and each is answered.
        let many = async {
            for _ in 0..5_000 {
                assert!(probe(&connections).await);
            }
        };
        tokio::time::timeout(Duration::from_secs(20), many).await.expect("none of them waits for the log");
        raw.execute_unprepared("ROLLBACK").await.expect("it goes on");
        raw.close().await.expect("it closes");
        connections.exchanges().flush().await;
        let written = kept(app.store()).await.len();
        assert!((1_000..4_500).contains(&written), "what found no room is left out: {written}");
        app.store().close().await.expect("it closes");
    })
    .await;
}

/// The binary with one connection to billing.
async fn binary(stripe: &HostedVendor<StripeFake>) -> Option<Binary> {
    let config = format!(
        "listen = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[exchanges]\n\
         bodies = \"all\"\n[[connections]]\nname = \"books\"\nconnector = \"stripe\"\nbase_url = \"{}\"\n\
         token = \"{TOKEN}\"\nwebhook_secrets = [\"{SECRET}\"]\n",
        stripe.url
    );
    let binary = Binary::find("the tap", &config)?;
    binary.done(&["migrate"]).await;
    Some(binary)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tap_shows_what_another_process_exchanges_as_it_happens() {
    let stripe = HostedVendor::start(stripe("Acme"), now, |_| Duration::ZERO).await;
    let Some(binary) = binary(&stripe).await else { return };
    binary.done(&["sync", "run", "books", "--entity", "account"]).await;
    let mut tap = binary.command(&["tap", "books"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(tap.stdout.take().expect("it is piped")).lines();
    let first = until("the tap is open", async || {
        binary.done(&["connection", "test", "books"]).await;
        let line = tokio::time::timeout(Duration::from_secs(1), lines.next_line()).await.ok()?;
        line.expect("it can be read")
    })
    .await;
    assert!(first.contains("GET    200") && first.contains(&stripe.url) && first.contains("  xch_"), "{first}");
    assert!(!first.contains("run_"), "what was before is not shown: {first}");
    tap.kill().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tap_looks_back_and_shows_bodies_and_what_went_wrong() {
    let stripe = HostedVendor::start(stripe("Acme"), now, |_| Duration::ZERO).await;
    let Some(binary) = binary(&stripe).await else { return };
    binary.done(&["sync", "run", "books", "--entity", "account"]).await;
    stripe.vendor().fail_next(HttpResponse::json(401, &serde_json::json!({ "error": { "message": "no" } })));
    binary.refused(&["connection", "test", "books"]).await;

    let all = binary.done(&["tap", "books", "--since", "1h", "--no-follow"]).await;
    assert!(all.contains("/v1/customers?") && all.contains("  run_") && all.contains("NEEDS_REAUTH"), "{all}");
    assert!(!all.contains("Acme"), "bodies are shown when asked for: {all}");
    let wrong = binary.done(&["tap", "books", "--since", "1h", "--no-follow", "--errors"]).await;
    assert!(wrong.lines().count() == 1 && wrong.contains("GET    401"), "{wrong}");
    let bodies = binary.done(&["tap", "books", "--since", "1h", "--no-follow", "--bodies"]).await;
    assert!(bodies.contains("Acme") && bodies.contains("    > authorization: [redacted]"), "{bodies}");
    assert!(!bodies.contains(TOKEN), "{bodies}");
    assert_eq!(binary.done(&["tap", "books", "--since", "0s", "--no-follow"]).await, "");
    binary.refused(&["tap", "nobody"]).await;
    binary.refused(&["tap", "books", "--since", "soon"]).await;
}
