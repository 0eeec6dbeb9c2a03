//! How far a system was read: page and cursor go together, wherever the reading is cut short and whatever changes
//! meanwhile. All that a watermark covers is in the hub, and in the end all that the vendor has, each once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crosstie_app::App;
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    Clock, Instant,
    access::RowScope,
    integration::{Entity, RunStatus, RunTrigger},
};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, Secret, Transport, TransportError};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, Store,
    integration::{cursor, identities_of},
    pipeline::{OpportunityColumn, opportunities},
};
use proptest::{collection::vec, option, prelude::Just, prop_oneof, strategy::Strategy};
use serde_json::{Value as Json, json};

use super::hold;
use crate::support::{
    Database, Fate, Pointed, Points, TestClock, engine_with, on_each_quick_database, setup, unhurried,
};

/// How long ago a change may have happened that is seen only now: less than the windows overlap.
const LATE_MS: i64 = 200_000;

#[derive(Debug, Clone)]
enum Change {
    /// So many deals in one moment.
    Create(usize),
    Rename(usize),
    /// A deal that was made a while ago and is seen only now.
    CreateLate,
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    /// A reading that may die at a point, and before whose request of a number something changes.
    Read(Fate, Option<(usize, Change)>),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = || {
        prop_oneof![
            3 => (1_usize..4).prop_map(Change::Create),
            3 => (0_usize..12).prop_map(Change::Rename),
            1 => Just(Change::CreateLate),
        ]
    };
    let fate = prop_oneof![1 => Just(Fate::Lives), 2 => (0_usize..40).prop_map(Fate::DiesAt)];
    let step = prop_oneof![
        4 => change().prop_map(Step::Change),
        4 => (fate, option::of((0_usize..6, change()))).prop_map(|(fate, change)| Step::Read(fate, change)),
        2 => prop_oneof![Just(1_i64), Just(1_000), Just(900_000)].prop_map(Step::Pass),
    ];
    vec(step, 1..14)
}

/// The vendor, and what it has: names by id, with the moment of the last change, and whether it was seen late.
struct Vendor {
    fake: Mutex<HubspotFake>,
    deals: Mutex<Vec<Deal>>,
    clock: Arc<TestClock>,
    named: AtomicUsize,
}

#[derive(Debug, Clone)]
struct Deal {
    id: String,
    names: Vec<String>,
    changed_at: Instant,
    is_late: bool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vendor {
    fn ask(&self, method: Method, path: &str, name: &str, at: Instant) -> Json {
        let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
        let url = format!("https://api.hubapi.com/crm/v3/objects/deals{path}");
        let body = json!({ "properties": { "dealname": name } }).to_string().into_bytes();
        let answer = lock(&self.fake).respond(&HttpRequest { method, url, headers, body }, at);
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    fn new_name(&self) -> String {
        format!("Deal {}", self.named.fetch_add(1, Ordering::Relaxed))
    }

    fn create(&self, at: Instant, is_late: bool) {
        let name = self.new_name();
        let id = self.ask(Method::Post, "", &name, at)["id"].as_str().expect("an id").to_owned();
        lock(&self.deals).push(Deal { id, names: vec![name], changed_at: at, is_late });
    }

    fn change(&self, change: &Change) {
        let now = self.clock.now();
        match change {
            Change::Create(count) => (0..*count).for_each(|_| self.create(now, false)),
            Change::CreateLate => self.create(now.plus_ms(-LATE_MS), true),
            Change::Rename(number) => {
                let name = self.new_name();
                let mut deals = lock(&self.deals);
                let count = deals.len();
                if count == 0 {
                    return;
                }
                let deal = &mut deals[number % count];
                self.ask(Method::Patch, &format!("/{}", deal.id), &name, now);
                deal.names.push(name);
                (deal.changed_at, deal.is_late) = (now, false);
            }
        }
    }
}

/// The way to the vendor, where something changes before a request.
struct Changing {
    vendor: Arc<Vendor>,
    way: MemoryTransport<Forward>,
    change: Mutex<Option<(usize, Change)>>,
}

/// The stand-in behind the vendor.
struct Forward(Arc<Vendor>);

impl FakeVendor for Forward {
    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        lock(&self.0.fake).respond(request, now)
    }
}

#[async_trait::async_trait]
impl Transport for Changing {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let due = {
            let mut change = lock(&self.change);
            match change.as_mut() {
                Some((0, _)) => change.take(),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            }
        };
        if let Some((_, change)) = due {
            self.vendor.clock.advance(1);
            self.vendor.change(&change);
        }
        self.way.send(request).await
    }

    fn now(&self) -> Option<Instant> {
        self.way.now()
    }
}

struct Scene<'a> {
    database: &'a Database,
    store: &'a Store,
    vendor: Arc<Vendor>,
    /// The name of the connection: every sequence has one of its own.
    name: String,
    lives: usize,
}

impl Scene<'_> {
    /// Reads in a life of its own; whether it lived and the run went well.
    async fn read(&mut self, fate: Fate, change: Option<(usize, Change)>) -> bool {
        self.lives += 1;
        let points = Points::new(fate);
        let clock = Arc::clone(&self.database.clock);
        let way = MemoryTransport::new(Arc::new(Mutex::new(Forward(Arc::clone(&self.vendor)))), move || clock.now());
        let way = Changing { vendor: Arc::clone(&self.vendor), way, change: Mutex::new(change) };
        let transport: Arc<dyn Transport> = Arc::new(Pointed { way, points: Arc::clone(&points) });
        let (url, clock, watch) = (self.database.url.clone(), self.database.clock.clone(), Arc::clone(&points));
        let (name, life) = (self.name.clone(), format!("{}-{}", self.name, self.lives));
        let ended = points.live(move || async move {
            let store = Store::open_watched(&url, clock, watch).await.expect("the database opens");
            let app = App::new(store.clone());
            let engine = engine_with(&app, &life, setup(&name, unhurried("hubspot"), transport)).await;
            let connection = engine.connections().named(&name).expect("it is configured");
            let mut reads = connection.connector.descriptor().reads.iter();
            let declared = reads.find(|declared| declared.entity == Entity::Opportunity).expect("it is read");
            let run = engine.pull(connection, declared, RunTrigger::Manual).await.expect("the database answers");
            store.close().await.expect("it closes");
            run.is_some_and(|run| run.status == RunStatus::Succeeded)
        });
        let ended = ended.await.unwrap_or(false);
        // The lease of a dead reading ends.
        self.database.clock.advance(5_000);
        ended
    }

    /// The deals that the hub knows: name by id at the vendor.
    async fn known(&self) -> BTreeMap<String, String> {
        let order = vec![(OpportunityColumn::Id, Direction::Ascending)];
        let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(100_000, None) };
        let page = opportunities(self.store, &RowScope::All, &request).await.expect("read");
        let names: BTreeMap<String, String> =
            page.rows.into_iter().map(|(row, _)| (row.id.to_string(), row.name)).collect();
        let ids: Vec<String> = names.keys().cloned().collect();
        let Some(connection) = self.connection().await else { return BTreeMap::new() };
        let mut known = BTreeMap::new();
        for ids in ids.chunks(5_000) {
            let linked = identities_of(self.store, &RowScope::All, ids).await.expect("read");
            for link in linked.into_iter().filter(|link| link.connection_id == connection) {
                let twice = known.insert(link.remote_id.clone(), names[&link.record_id].clone());
                assert_eq!(twice, None, "{} is one record", link.remote_id);
            }
        }
        known
    }

    async fn connection(&self) -> Option<crosstie_domain::ids::ConnectionId> {
        let found = crosstie_store::integration::connection_by_name(self.store, &RowScope::All, &self.name).await;
        found.expect("read").map(|connection| connection.id)
    }

    /// What the hub knows the vendor had, and what a watermark covers the hub knows as the vendor has it.
    async fn check(&self) {
        let (known, deals) = (self.known().await, lock(&self.vendor.deals).clone());
        for (id, name) in &known {
            let deal = deals.iter().find(|deal| deal.id == *id).expect("the vendor has it");
            assert!(deal.names.contains(name), "{id} was never called {name}");
        }
        let Some(connection) = self.connection().await else { return };
        let read = cursor(self.store, connection, Entity::Opportunity).await.expect("read");
        let Some(watermark) = read.and_then(|read| read.watermark) else { return };
        for deal in deals.iter().filter(|deal| deal.changed_at <= watermark && !deal.is_late) {
            assert_eq!(known.get(&deal.id), deal.names.last(), "{deal:?} is covered by {watermark}");
        }
    }

    /// In the end everything is there: a window that was cut short is read to its end, and then the next one.
    async fn finish(&mut self) {
        for _ in 0..2 {
            self.database.clock.advance(1_000);
            assert!(self.read(Fate::Lives, None).await, "an undisturbed reading goes well");
            self.check().await;
        }
        let deals = lock(&self.vendor.deals).clone();
        let expected: BTreeMap<_, _> =
            deals.into_iter().map(|deal| (deal.id, deal.names.last().expect("a name").clone())).collect();
        assert_eq!(self.known().await, expected, "as many as there are, each once and as it is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_is_cut_short_anywhere_goes_on_without_loss() {
    on_each_quick_database(async |database| {
        let store = database.open().await;
        let sequences = AtomicUsize::new(0);
        hold("the cursor", 24, &steps(), async |steps| {
            let mut fake = HubspotFake::new(None, Secret::new("client-secret"), 1);
            fake.set_page_limit(2);
            let clock = Arc::clone(&database.clock);
            let (fake, deals, named) = (Mutex::new(fake), Mutex::default(), AtomicUsize::new(0));
            let vendor = Arc::new(Vendor { fake, deals, clock, named });
            let name = format!("hubspot-{}", sequences.fetch_add(1, Ordering::Relaxed));
            let mut scene = Scene { database, store: &store, vendor, name, lives: 0 };
            for step in steps {
                match step {
                    Step::Change(change) => {
                        database.clock.advance(1);
                        scene.vendor.change(&change);
                    }
                    Step::Read(fate, change) => {
                        scene.read(fate, change).await;
                    }
                    Step::Pass(ms) => database.clock.advance(ms),
                }
                scene.check().await;
            }
            scene.finish().await;
        });
    })
    .await;
}
