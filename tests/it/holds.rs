//! What holds connections up: persons who pause them, and systems that do not answer.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crosstie_app::{App, ChangePause};
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    access::AuthContext,
    ids::ConnectionId,
    integration::{
        AlertKind, BreakerRecord, BreakerState, ConnectionMode, Entity, InboundStatus, PauseScope, RunStatus,
        RunTrigger,
    },
};
use crosstie_sdk::{
    Credentials, Delivery, FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, NetOptions, Secret,
    Settings, Transport, TransportError,
};
use crosstie_store::{
    Store, StoreError,
    integration::{breakers_of, freshness_of, open_alerts},
};
use crosstie_sync::{ConnectionSetup, Connections, Engine, ReadingOptions, Receipt};
use serde_json::{Value as Json, json};

use crate::support::{Binary, Crm, Database, Graph, events, graph, memory, on_each_database, runs, until};

const LEASE_MS: i64 = 3_000;

/// Pauses or resumes through the graph; the payload.
async fn change(graph: &Graph, way: &str, input: Json) -> Json {
    let mut whole = json!({ "connectionId": graph.billing });
    for (name, value) in input.as_object().expect("fields") {
        whole[name] = value.clone();
    }
    let selection = "changed done lasting { what pausedBy reason } connection { pauses { what pausedBy reason \
                     resumedBy resumeReason } }";
    graph.decide(AuthContext::system(), way, selection, whole).await
}

/// Pauses or resumes by the use case.
async fn pause(app: &App, connection_id: ConnectionId, (what, goes_on): (PauseScope, bool)) {
    let input = ChangePause { connection_id, what, dry_run: false, reason: None, idempotency_key: None };
    let auth = AuthContext::system();
    let done = match goes_on {
        false => app.pause_connection(&auth, input).await,
        true => app.resume_connection(&auth, input).await,
    };
    assert!(done.expect("decided").expect("done").done);
}

async fn order(graph: &Graph) -> String {
    let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
    let input = json!({ "sowId": drafted["sow"]["id"] });
    let signed = graph.decide(AuthContext::system(), "signSow", "sow { serviceOrder { id } }", input).await;
    signed["sow"]["serviceOrder"]["id"].as_str().expect("an order").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_kept_with_who_and_why_and_changes_nothing_twice() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let looked = change(&graph, "pauseConnection", json!({ "what": "ALL", "dryRun": true })).await;
        assert_eq!((&looked["changed"], &looked["done"]), (&json!(["READING", "SENDING"]), &json!(false)));
        assert_eq!(looked["lasting"], json!([]), "a look pauses nothing");

        let input = json!({ "what": "SENDING", "reason": "month end", "idempotencyKey": "once" });
        for _ in 0..2 {
            let done = change(&graph, "pauseConnection", input.clone()).await;
            assert_eq!((&done["changed"], &done["done"]), (&json!(["SENDING"]), &json!(true)), "the same request");
        }
        let lasting = json!([{ "what": "SENDING", "pausedBy": "system", "reason": "month end" }]);
        let done = change(&graph, "pauseConnection", json!({ "what": "SENDING", "reason": "another" })).await;
        assert_eq!((&done["changed"], &done["lasting"]), (&json!([]), &lasting), "it is paused already");
        let done = change(&graph, "pauseConnection", json!({ "what": "ALL" })).await;
        assert_eq!(done["changed"], json!(["READING"]));

        let done = change(&graph, "resumeConnection", json!({ "what": "SENDING", "reason": "closed" })).await;
        assert_eq!(done["changed"], json!(["SENDING"]));
        let pauses = json!([
            { "what": "READING", "pausedBy": "system", "reason": null, "resumedBy": null, "resumeReason": null },
            { "what": "SENDING", "pausedBy": "system", "reason": "month end", "resumedBy": "system",
              "resumeReason": "closed" },
        ]);
        assert_eq!(done["connection"]["pauses"], pauses, "the newest first");
        let done = change(&graph, "resumeConnection", json!({ "what": "ALL" })).await;
        assert_eq!((&done["changed"], &done["lasting"]), (&json!(["READING"]), &json!([])));

        for (input, code) in [
            (json!({ "what": "ALL", "connectionId": "con_00000000000000000000000001" }), "NOT_FOUND"),
            (json!({ "what": "ALL", "connectionId": "books" }), "NOT_FOUND"),
            (json!({ "what": "ALL", "reason": "x".repeat(501) }), "TOO_LONG"),
            (json!({ "what": "ALL", "idempotencyKey": "once" }), "IDEMPOTENCY_KEY_REUSED"),
        ] {
            let refused = change(&graph, "pauseConnection", input).await;
            assert_eq!((&refused["codes"], &refused["done"]), (&json!([code]), &json!(false)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_reading_is_paused_a_system_is_asked_nothing_and_its_webhooks_wait_on_disk() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let id = crm.connection().record.id;
        crm.create("deals", "Renewal");
        let waits = async || {
            let events = events(crm.app.store()).await;
            events.iter().map(|event| (event.status, event.attempts)).collect::<Vec<_>>()
        };
        pause(&crm.app, id, (PauseScope::Reading, false)).await;
        let paused_at = crm.app.store().now();
        assert!(crm.deliver().await > 0, "they are taken in all the same");
        crm.work().await;
        assert!(waits().await.iter().all(|state| *state == (InboundStatus::Received, 0)), "{:?}", waits().await);

        let run = crm.pull(Entity::Opportunity).await;
        assert_eq!((run.status, run.error_code.as_deref(), run.rows_read), (RunStatus::Failed, Some("PAUSED"), 0));
        let fresh = freshness_of(crm.app.store(), crm.app.store().now(), &[id]).await.expect("read");
        assert!(fresh.iter().all(|one| one.paused_at == Some(paused_at)), "{fresh:?}");

        pause(&crm.app, id, (PauseScope::Reading, true)).await;
        crm.work().await;
        assert!(waits().await.iter().all(|(status, _)| *status == InboundStatus::Processed), "{:?}", waits().await);
        let run = crm.pull(Entity::Opportunity).await;
        assert_eq!((run.status, run.attempt), (RunStatus::Succeeded, 1), "a pause is no failure");
        assert_eq!(crm.opportunities().await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sending_is_paused_nothing_is_taken_to_be_sent_nor_sent_by_whoever_took_it_before() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let store = graph.app.store();
        order(&graph).await;
        let claim = async || store.claim_effect(LEASE_MS).await.expect("asked");
        let taken = claim().await.expect("it is due");
        pause(&graph.app, graph.billing, (PauseScope::Reading, false)).await;
        pause(&graph.app, graph.billing, (PauseScope::Sending, false)).await;
        let sending = graph.app.effect_sending(&taken).await;
        assert!(matches!(sending, Err(crosstie_app::AppError::Store(StoreError::Conflict))), "{sending:?}");
        database.clock.advance(LEASE_MS);
        assert!(claim().await.is_none(), "it waits");
        pause(&graph.app, graph.billing, (PauseScope::Sending, true)).await;
        let taken = claim().await.expect("its reading may stay paused");
        assert_eq!((taken.attempts, taken.outcome_unknown), (0, false), "no try was used up");
        graph.app.effect_sending(&taken).await.expect("it may begin");
    })
    .await;
}

/// What a vendor does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Up,
    Down,
    Says(u16),
}

/// The way to a vendor that is down at times, which counts what it is asked.
struct Moody {
    vendor: MemoryTransport<HubspotFake>,
    mood: Mutex<Mood>,
    asked: AtomicUsize,
}

impl Moody {
    fn over(vendor: MemoryTransport<HubspotFake>) -> Arc<Self> {
        Arc::new(Self { vendor, mood: Mutex::new(Mood::Up), asked: AtomicUsize::new(0) })
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// How often it was asked since this was last asked.
    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Transport for Moody {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        match mood {
            Mood::Up => self.vendor.send(request).await,
            Mood::Down => Err(TransportError::NotSent("connection refused".to_owned())),
            Mood::Says(status) => Ok(HttpResponse::empty(status)),
        }
    }

    fn now(&self) -> Option<crosstie_domain::Instant> {
        self.vendor.now()
    }
}

/// Two connections in one hub, of which one is moody.
struct Scene {
    app: App,
    engine: Arc<Engine>,
    moody: Arc<Moody>,
    fakes: [Arc<Mutex<HubspotFake>>; 2],
}

const NAMES: [&str; 2] = ["moody", "steady"];

impl Scene {
    async fn new(database: &Database) -> Self {
        let fakes = NAMES.map(|name| {
            let hooks = format!("https://hub.example/webhooks/{name}");
            Arc::new(Mutex::new(HubspotFake::new(Some(hooks), Secret::new(name), 1)))
        });
        let app = App::new(database.open().await);
        let moody = Moody::over(memory(&database.clock, &fakes[0]));
        let transports: [Arc<dyn Transport>; 2] = [moody.clone(), Arc::new(memory(&database.clock, &fakes[1]))];
        let setup = |(name, transport): (&str, Arc<dyn Transport>)| ConnectionSetup {
            name: name.to_owned(),
            connector: crosstie_connectors::connector("hubspot").expect("it ships"),
            net: NetOptions {
                base_url: None,
                credentials: Credentials::Bearer(Secret::new("test-key")),
                settings: Settings::default(),
                transport,
            },
            webhook_secrets: vec![Secret::new(name)],
            arms: vec![],
            mode: ConnectionMode::TwoWay,
            reading: ReadingOptions::default(),
        };
        let setups = NAMES.into_iter().zip(transports).map(setup).collect();
        let connections = Connections::set_up(&app, setups).await.expect("the connections are good");
        let engine = Engine::new(app.clone(), connections, "test".to_owned());
        Self { app, engine, moody, fakes }
    }

    fn store(&self) -> &Store {
        self.app.store()
    }

    fn id(&self, name: &str) -> ConnectionId {
        self.engine.connections().named(name).expect("it is configured").record.id
    }

    /// Makes deals at a vendor, and brings the hub the webhooks that tell of them.
    async fn deals(&self, database: &Database, at: usize, count: usize) {
        for number in 0..count {
            database.clock.advance(10);
            let sent = {
                let mut fake = self.fakes[at].lock().unwrap_or_else(PoisonError::into_inner);
                let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
                let url = "https://api.hubapi.com/crm/v3/objects/deals".to_owned();
                let body = json!({ "properties": { "dealname": format!("Deal {number}") } }).to_string().into_bytes();
                let request = HttpRequest { method: Method::Post, url, headers, body };
                assert!(fake.respond(&request, crosstie_domain::Clock::now(&*database.clock)).status < 300);
                fake.take_deliveries()
            };
            for HttpRequest { url, headers, body, .. } in sent {
                let delivery = Delivery { method: "POST".to_owned(), url, headers, body };
                let receipt = self.engine.receive(NAMES[at], &delivery).await;
                assert!(matches!(receipt, Receipt::Accepted { .. }), "{receipt:?}");
            }
        }
    }

    /// Works on all that is due.
    async fn work(&self) {
        while self.engine.process_event().await.expect("the database answers") {}
    }

    async fn breaker(&self, name: &str) -> BreakerRecord {
        let known = breakers_of(self.store(), &[self.id(name)]).await.expect("read").pop();
        known.unwrap_or_else(|| BreakerRecord::new(self.id(name), self.store().now()))
    }

    async fn state(&self, name: &str) -> BreakerState {
        self.breaker(name).await.state(self.store().now())
    }

    /// The events of a connection, by how they stand and how often they were tried.
    async fn events(&self, name: &str) -> Vec<(InboundStatus, i32)> {
        let id = self.id(name);
        let events = events(self.store()).await.into_iter().filter(|event| event.connection_id == id);
        events.map(|event| (event.status, event.attempts)).collect()
    }

    async fn open_breakers(&self) -> Vec<Option<ConnectionId>> {
        let open = open_alerts(self.store()).await.expect("read");
        open.into_iter().filter(|alert| alert.kind == AlertKind::BreakerOpen).map(|alert| alert.connection_id).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_does_not_answer_is_left_alone_longer_each_time_while_the_others_go_on() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        scene.moody.is(Mood::Down);
        scene.deals(database, 0, 9).await;
        scene.deals(database, 1, 3).await;
        scene.work().await;
        assert_eq!(scene.moody.asked(), 5, "then nobody asks any more");
        assert_eq!(scene.state("moody").await, BreakerState::Open);
        let tried = scene.events("moody").await.iter().filter(|(_, attempts)| *attempts > 0).count();
        assert_eq!(tried, 5, "those that wait used up no try");
        assert!(scene.events("steady").await.iter().all(|(status, _)| *status == InboundStatus::Processed));
        assert_eq!(scene.open_breakers().await, [Some(scene.id("moody"))]);

        let mut waits = Vec::new();
        for _ in 0..3 {
            let until = scene.breaker("moody").await.open_until.expect("it is open");
            let left_ms = until.ms_since(scene.store().now());
            database.clock.advance(left_ms - 1);
            scene.work().await;
            assert_eq!(scene.moody.asked(), 0, "not a moment before");
            database.clock.advance(1);
            assert_eq!(scene.state("moody").await, BreakerState::HalfOpen);
            scene.work().await;
            assert_eq!(scene.moody.asked(), 1, "one tries for all");
            waits.push(left_ms);
        }
        assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
        assert_eq!(scene.open_breakers().await.len(), 1, "a person is told once");

        scene.moody.is(Mood::Up);
        let until = scene.breaker("moody").await.open_until.expect("it is open");
        database.clock.advance(until.ms_since(scene.store().now()));
        scene.work().await;
        assert_eq!((scene.state("moody").await, scene.breaker("moody").await.failures), (BreakerState::Closed, 0));
        let events = scene.events("moody").await;
        assert!(events.iter().all(|(status, _)| *status == InboundStatus::Processed), "all at once: {events:?}");
        assert_eq!(scene.open_breakers().await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_processes_one_tries_whether_a_system_is_back_and_one_that_died_is_not_waited_for_for_long() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        scene.moody.is(Mood::Says(502));
        scene.deals(database, 0, 8).await;
        scene.work().await;
        assert_eq!(scene.state("moody").await, BreakerState::Open, "a vendor that answers 502 is not there");
        let until = scene.breaker("moody").await.open_until.expect("it is open");
        database.clock.advance(until.ms_since(scene.store().now()));
        let stores = [database.open().await, database.open().await];
        let mut taken = Vec::new();
        for store in &stores {
            taken.extend(store.claim_event(LEASE_MS).await.expect("asked"));
            taken.extend(store.claim_event(LEASE_MS).await.expect("asked"));
        }
        assert_eq!(taken.len(), 1, "one event of one process");
        assert!(!stores[1].take_trial(scene.id("moody")).await.expect("asked"), "nor does a reading try");
        // The process dies with it.
        database.clock.advance(60_000);
        assert!(stores[1].claim_event(LEASE_MS).await.expect("asked").is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_slows_us_down_or_refuses_one_record_is_not_down() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        for status in [429, 400, 404, 401, 403] {
            scene.moody.is(Mood::Says(status));
            scene.deals(database, 0, 7).await;
            scene.work().await;
            assert_eq!(scene.breaker("moody").await.failures, 0, "{status}");
        }
        // Failures with an answer in between are no run of them.
        for _ in 0..3 {
            scene.moody.is(Mood::Says(500));
            scene.deals(database, 0, 4).await;
            scene.work().await;
            assert_eq!(scene.state("moody").await, BreakerState::Closed);
            scene.moody.is(Mood::Up);
            scene.deals(database, 0, 1).await;
            scene.work().await;
            assert_eq!(scene.breaker("moody").await.failures, 0);
            database.clock.advance(86_400_000);
            scene.work().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_find_out_by_themselves_that_a_system_is_back_and_paused_ones_do_not_run() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        pause(&scene.app, scene.id("steady"), (PauseScope::All, false)).await;
        scene.moody.is(Mood::Down);
        let running = scene.engine.start();
        until("the breaker opens", async || {
            database.clock.advance(150_000);
            (scene.breaker("moody").await.opened_at.is_some()).then_some(())
        })
        .await;
        scene.moody.is(Mood::Up);
        let read = async |name: &str| {
            let id = scene.id(name);
            let runs = runs(scene.store()).await.into_iter().filter(|run| run.connection_id == id);
            runs.map(|run| (run.status, run.trigger)).collect::<Vec<_>>()
        };
        let succeeded = (RunStatus::Succeeded, RunTrigger::Schedule);
        until("it is back", async || {
            database.clock.advance(150_000);
            let back = scene.state("moody").await == BreakerState::Closed;
            (back && read("moody").await.contains(&succeeded)).then_some(())
        })
        .await;
        assert_eq!(read("steady").await, [], "what a person paused is not read meanwhile");
        pause(&scene.app, scene.id("steady"), (PauseScope::All, true)).await;
        until("it is read", async || read("steady").await.contains(&succeeded).then_some(())).await;
        running.stop(std::time::Duration::from_secs(5)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_graph_shows_how_a_breaker_stands() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let shown = async || {
            let query = "query($id: ID!) { connection(id: $id) { breaker { state failures errorCode openUntil } } }";
            let data = graph.data(AuthContext::system(), query, json!({ "id": graph.billing })).await;
            data["connection"]["breaker"].clone()
        };
        let closed = json!({ "state": "CLOSED", "failures": 0, "errorCode": null, "openUntil": null });
        assert_eq!(shown().await, closed);
        let tx = graph.app.store().begin().await.expect("a transaction begins");
        let mut breaker = tx.breaker(graph.billing).await.expect("read");
        for _ in 0..5 {
            breaker.failed("TRANSIENT", tx.now(), |ms| ms);
        }
        tx.save_breaker(&breaker).await.expect("saved");
        tx.commit().await.expect("it commits");
        let open = shown().await;
        assert_eq!(
            (&open["state"], &open["failures"], &open["errorCode"]),
            (&json!("OPEN"), &json!(5), &json!("TRANSIENT"))
        );
        database.clock.advance(30_000);
        assert_eq!(shown().await["state"], "HALF_OPEN");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_paused_and_resumed_on_the_command_line() {
    let config = "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"books\"\n\
                  connector = \"stripe\"\ntoken = \"test-key\"\nbase_url = \"http://127.0.0.1:9\"\n";
    let Some(binary) = Binary::find("the command line", config) else { return };
    binary.done(&["migrate"]).await;
    let said = binary.done(&["connection", "pause", "books", "--dry-run"]).await;
    assert_eq!(said, "books: would be paused: reading,sending; paused: nothing");
    let said = binary.done(&["connection", "pause", "books", "--what", "reading", "--reason", "maintenance"]).await;
    assert_eq!(said, "books: paused now: reading; paused: reading");
    assert!(binary.done(&["connection", "freshness"]).await.contains("books account: reading is PAUSED since "));
    let said = binary.refused(&["sync", "run", "books"]).await;
    assert!(said.contains("books account: PAUSED"), "{said}");
    assert_eq!(binary.done(&["connection", "resume", "books"]).await, "books: goes on now: reading; paused: nothing");
    assert!(binary.refused(&["connection", "pause", "books", "--what", "it"]).await.contains("READING, SENDING, ALL"));
    binary.refused(&["connection", "pause", "nobody"]).await;
}
