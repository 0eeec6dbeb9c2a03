//! A system that does not answer is left alone by all, for longer each time, until one try shows that it is back.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crosstie_app::App;
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    access::AuthContext,
    ids::{ConnectionId, kind},
    integration::{
        AlertKind, BackfillRecord, BackfillSlice, BackfillStatus, BreakerRecord, BreakerState, ConnectionMode,
        EffectKey, Entity, InboundStatus, Intent, PauseScope, RunStatus, RunTrigger, UpdateRecord,
    },
};
use crosstie_sdk::{
    Credentials, Delivery, FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, NetOptions, Secret,
    Settings, Transport, TransportError,
};
use crosstie_store::{
    EffectRequest, Store,
    integration::{
        ArrivedDelivery, ArrivedEvent, ClaimedEffect, Cursor, EffectOutcome, EventOutcome, InboxWriter, breakers_of,
        cursor, due_slices, open_alerts,
    },
};
use crosstie_sync::{ConnectionSetup, Connections, Engine, ReadingOptions, Receipt};
use serde_json::json;

use super::{LEASE_MS, pause};
use crate::support::{Database, events, graph, memory, on_each_database, runs, unhurried, until};

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
            connector: unhurried("hubspot"),
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

/// Lets a system not answer until it is left alone.
async fn open_breaker(store: &Store, connection: ConnectionId) {
    let tx = store.begin().await.expect("a transaction begins");
    let mut breaker = tx.breaker(connection).await.expect("read");
    for _ in 0..5 {
        breaker.failed("TRANSIENT", tx.now(), |ms| ms);
    }
    tx.save_breaker(&breaker).await.expect("saved");
    tx.commit().await.expect("it commits");
}

/// Asks a system to be written, for a record of this name.
async fn ask(store: &Store, connection_id: ConnectionId, record: &str) {
    let tx = store.begin().await.expect("a transaction begins");
    let key = EffectKey::push(tx.new_id::<kind::Outbox>().uuid());
    let (entity, record_id) = (Entity::Account, record.to_owned());
    let (changes, expected) = ([("name".to_owned(), json!("New"))].into(), [].into());
    let (remote_id, order_key) = ("1".to_owned(), record_id.clone());
    let update = UpdateRecord { entity, record_id, remote_id, order_key, changes, expected };
    let intent = Intent::UpdateRecord(update);
    let request = EffectRequest { key: &key, entity, record_id: record, connection_id, intent: &intent };
    tx.request_effect(request).await.expect("it is asked for");
    tx.commit().await.expect("it commits");
}

async fn next_effect(store: &Store) -> Option<ClaimedEffect> {
    store.claim_effect(LEASE_MS).await.expect("asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_system_owes_that_is_back_is_asked_for_at_once_and_what_failed_otherwise_waits_on() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (store, id) = (scene.store(), scene.id("moody"));
        scene.deals(database, 0, 2).await;
        let (begun, later) = (store.now(), store.now().plus_ms(3_600_000));
        let faults = [("TRANSIENT", Entity::Opportunity, 3), ("GONE", Entity::Account, 0)];
        for (code, entity, failures) in faults {
            ask(store, id, code).await;
            let event = store.claim_event(LEASE_MS).await.expect("asked").expect("it is due");
            let effect = next_effect(store).await.expect("it is due");
            let tx = store.begin().await.expect("a transaction begins");
            let (code, message) = (code.to_owned(), String::new());
            let retry = EventOutcome::Retry { at: later, code: code.clone(), message: message.clone() };
            tx.event_ended(&event, &retry).await.expect("it is kept");
            let retry = EffectOutcome::Retry { at: later, outcome_unknown: true, code: code.clone(), message };
            tx.effect_ended(&effect, &retry).await.expect("it is kept");
            let cursor = Cursor {
                connection_id: id,
                entity,
                watermark: None,
                window_until: None,
                more: None,
                failures,
                next_run_at: later,
            };
            tx.save_cursor(&cursor).await.expect("it is saved");
            let backfill = BackfillRecord {
                id: tx.new_id(),
                connection_id: id,
                entity,
                trigger: RunTrigger::Refresh,
                remote_id: None,
                since: None,
                until: begun,
                status: BackfillStatus::Running,
                requested_by: "system".to_owned(),
                created_at: begun,
                finished_at: None,
            };
            tx.save_backfill(&backfill).await.expect("it is saved");
            let slice = crosstie_app::new_slice(&backfill, 0, None, begun);
            let slice = BackfillSlice { error_code: Some(code), next_attempt_at: Some(later), ..slice };
            tx.save_slice(&slice).await.expect("it is saved");
            tx.commit().await.expect("it commits");
        }
        open_breaker(store, id).await;
        scene.deals(database, 0, 1).await;
        database.clock.advance(30_000);
        assert!(scene.engine.process_event().await.expect("the database answers"), "what came meanwhile is the trial");
        assert_eq!(scene.state("moody").await, BreakerState::Closed);

        let now = store.now();
        let mut due = Vec::new();
        for (code, entity, _) in faults {
            let cursor = cursor(store, id, entity).await.expect("read").expect("it is there");
            let slices = due_slices(store, (id, entity), now).await.expect("read");
            due.push((code, cursor.next_run_at == now, slices.len()));
        }
        assert_eq!(due, [("TRANSIENT", true, 1), ("GONE", false, 0)]);
        let effect = next_effect(store).await.expect("it is due");
        assert_eq!((effect.record_id.as_str(), effect.outcome_unknown), ("TRANSIENT", true), "it may have happened");
        assert!(next_effect(store).await.is_none(), "the other one waits");
        scene.work().await;
        let stand: Vec<_> = scene.events("moody").await.into_iter().map(|(status, _)| status).collect();
        assert_eq!(stand, [InboundStatus::Processed, InboundStatus::Retrying, InboundStatus::Processed]);
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
        open_breaker(graph.app.store(), graph.billing).await;
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
async fn no_reading_asks_a_system_that_is_left_alone_before_its_time_has_come() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        open_breaker(scene.store(), scene.id("moody")).await;
        let running = scene.engine.start();
        let read = async |name: &str| {
            let id = scene.id(name);
            let runs = runs(scene.store()).await.into_iter().filter(|run| run.connection_id == id);
            runs.filter(|run| run.status == RunStatus::Succeeded).count()
        };
        until("the other one is read", async || (read("steady").await > 1).then_some(())).await;
        assert_eq!((scene.moody.asked(), read("moody").await), (0, 0));
        database.clock.advance(30_000);
        until("it is tried, and back", async || (read("moody").await > 1).then_some(())).await;
        assert_eq!(scene.state("moody").await, BreakerState::Closed);
        running.stop(std::time::Duration::from_secs(5)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_had_the_trial_and_asked_nothing_leaves_it_to_the_next_one() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let connection_id = scene.id("moody");
        let event = ArrivedEvent {
            dedupe_key: "odd".to_owned(),
            event_type: "invoice.changed".to_owned(),
            target: Some((Entity::Invoice, "1".to_owned())),
            occurred_at: None,
            problem: None,
        };
        let (headers, body, mapping_version) = ("[]".to_owned(), b"{}".to_vec(), "1".to_owned());
        let delivery = ArrivedDelivery { connection_id, headers, body, events: vec![event], mapping_version };
        InboxWriter::start(scene.store()).accept(delivery).await.expect("it is kept");
        scene.deals(database, 0, 1).await;
        open_breaker(scene.store(), connection_id).await;
        database.clock.advance(30_000);
        assert!(scene.engine.process_event().await.expect("the database answers"), "nobody reads invoices there");
        assert_eq!((scene.moody.asked(), scene.state("moody").await), (0, BreakerState::HalfOpen));
        assert!(scene.engine.process_event().await.expect("the database answers"), "the next one tries");
        assert_eq!((scene.moody.asked() > 0, scene.state("moody").await), (true, BreakerState::Closed));
    })
    .await;
}
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_system_that_is_left_alone_waits_and_holds_up_no_other() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let store = scene.store();
        for (name, record) in [("moody", "first"), ("moody", "second"), ("steady", "third")] {
            ask(store, scene.id(name), record).await;
            database.clock.advance(1);
        }
        open_breaker(store, scene.id("moody")).await;
        assert_eq!(next_effect(store).await.expect("it is due").record_id, "third");
        assert!(next_effect(store).await.is_none(), "the others wait");
        database.clock.advance(30_000);
        let mut taken = Vec::new();
        while let Some(effect) = next_effect(store).await {
            taken.push(effect.record_id);
        }
        taken.sort_unstable();
        assert_eq!(taken, ["first", "third"], "one tries for all, and whoever had the third one died");
    })
    .await;
}
