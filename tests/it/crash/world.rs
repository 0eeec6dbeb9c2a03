//! What is outside of the process that dies: vendors, a receiver of webhooks, and whoever asks for something again
//! until it is told that it was done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crosstie_app::App;
use crosstie_connectors::fakes::{HubspotFake, StripeFake};
use crosstie_domain::{
    Clock,
    integration::{EgressRules, Entity, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{
    Delivery, Egress, EgressAnswer, EgressError, EgressRequest, FakeVendor, HttpRequest, MemoryTransport, Method,
    Secret, Transport,
};
use crosstie_store::Store;
use crosstie_sync::{Connection, Connections, Engine, Receipt};
use serde_json::{Value as Json, json};

use super::oracle::number;
use crate::support::{Database, Pointed, Points, TestClock, connect, keyring, setup, unhurried};

const SECRET: &str = "client-secret";
const OPEN: EgressRules = EgressRules { allow_http: true, allow_private: true };

/// One world for one story, in a database that stories share: its connections have names of their own.
pub(super) struct World {
    url: String,
    pub(super) clock: Arc<TestClock>,
    number: usize,
    hubspot: Arc<Mutex<HubspotFake>>,
    stripe: Arc<Mutex<StripeFake>>,
    /// Webhooks that were not acknowledged yet, with the connection that they go to.
    mail: Mutex<Vec<(String, Delivery)>>,
    /// The bodies of all webhooks that vendors sent, with the connection.
    sent: Mutex<Vec<(String, Json)>>,
    pub(super) received: Mutex<Vec<Received>>,
    /// What whoever is outside knows and has done.
    facts: Mutex<BTreeMap<String, String>>,
}

/// A webhook as the receiver took it.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) body: Json,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(database: &Database, number: usize) -> Arc<Self> {
        let hooks = |name: &str| Some(format!("https://hub.example/webhooks/{name}-{number}"));
        let seed = u64::try_from(number).expect("few");
        let hubspot = HubspotFake::new(hooks("hubspot"), Secret::new(SECRET), seed);
        let stripe = StripeFake::new(hooks("stripe"), Secret::new(SECRET), seed);
        Arc::new(Self {
            url: database.url.clone(),
            clock: Arc::clone(&database.clock),
            number,
            hubspot: Arc::new(Mutex::new(hubspot)),
            stripe: Arc::new(Mutex::new(stripe)),
            mail: Mutex::default(),
            sent: Mutex::default(),
            received: Mutex::default(),
            facts: Mutex::default(),
        })
    }

    /// A name that nothing in another world has.
    pub(super) fn name(&self, what: &str, item: usize) -> String {
        format!("{what} {}x{item}", self.number)
    }

    pub(super) fn connection_name(&self, vendor: &str) -> String {
        format!("{vendor}-{}", self.number)
    }

    pub(super) fn hubspot(&self) -> MutexGuard<'_, HubspotFake> {
        lock(&self.hubspot)
    }

    pub(super) fn stripe(&self) -> MutexGuard<'_, StripeFake> {
        lock(&self.stripe)
    }

    /// Does something outside once, however often the process dies, and knows what came of it.
    pub(super) fn once(&self, what: &str, act: impl FnOnce() -> String) -> String {
        if let Some(known) = lock(&self.facts).get(what) {
            return known.clone();
        }
        let came = act();
        lock(&self.facts).insert(what.to_owned(), came.clone());
        came
    }

    /// What came of something that was done outside.
    pub(super) fn fact(&self, what: &str) -> String {
        lock(&self.facts).get(what).unwrap_or_else(|| panic!("{what} was not done")).clone()
    }

    /// Asks HubSpot for something as its user.
    pub(super) fn at_hubspot(&self, method: Method, path: &str, body: &Json) -> Json {
        self.clock.advance(10);
        let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
        let url = format!("https://api.hubapi.com/crm/v3/objects/{path}");
        let request = HttpRequest { method, url, headers, body: body.to_string().into_bytes() };
        let answer = self.hubspot().respond(&request, self.clock.now());
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.status);
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Asks Stripe for something as its user.
    pub(super) fn at_stripe(&self, path: &str, form: &str) -> Json {
        let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
        let (url, body) = (format!("https://api.stripe.com/v1/{path}"), form.as_bytes().to_vec());
        let method = if form.is_empty() { Method::Get } else { Method::Post };
        let request = HttpRequest { method, url, headers, body };
        let answer = self.stripe().respond(&request, self.clock.now());
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Makes a company or a deal at HubSpot; its id.
    pub(super) fn create(&self, kind: &str, properties: Json, company: Option<&str>) -> String {
        let mut body = json!({ "properties": properties });
        if let Some(company) = company {
            body["associations"] = json!([{
                "to": { "id": company },
                "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5 }],
            }]);
        }
        self.at_hubspot(Method::Post, kind, &body)["id"].as_str().expect("an id").to_owned()
    }

    /// Puts the webhooks that the vendors send now into the mail.
    fn collect(&self) {
        let sent = self.hubspot().take_deliveries().into_iter().map(|sent| (self.connection_name("hubspot"), sent));
        let sent: Vec<_> = sent.collect();
        let also: Vec<_> = self.stripe().take_deliveries();
        let also = also.into_iter().map(|sent| (self.connection_name("stripe"), sent));
        for (to, HttpRequest { url, headers, body, .. }) in sent.into_iter().chain(also) {
            lock(&self.sent).push((to.clone(), serde_json::from_slice(&body).expect("JSON")));
            lock(&self.mail).push((to, Delivery { method: "POST".to_owned(), url, headers, body }));
        }
    }

    /// The bodies of the webhooks that a vendor sent.
    pub(super) fn bodies_sent(&self, vendor: &str) -> Vec<Json> {
        let name = self.connection_name(vendor);
        lock(&self.sent).iter().filter(|(to, _)| *to == name).map(|(_, body)| body.clone()).collect()
    }

    /// How many events stood in the webhooks of a vendor.
    pub(super) fn events_sent(&self, vendor: &str) -> usize {
        self.bodies_sent(vendor).iter().map(|body| body.as_array().map_or(1, Vec::len)).sum()
    }

    /// The address of the database.
    pub(super) fn address(&self) -> &str {
        &self.url
    }

    /// Forgets the webhooks that the vendors send now: they are lost.
    pub(super) fn lose_webhooks(&self) {
        self.hubspot().take_deliveries();
        self.stripe().take_deliveries();
    }
}

/// The receiver of the hub's webhooks, which takes all of them.
struct Receiver(Arc<World>);

#[async_trait::async_trait]
impl Egress for Receiver {
    async fn post(&self, request: EgressRequest) -> Result<EgressAnswer, EgressError> {
        let id = request.headers.iter().find(|(name, _)| name == "webhook-id").expect("an identifier").1.clone();
        let body = serde_json::from_slice(&request.body).expect("JSON");
        lock(&self.0.received).push(Received { id, body });
        Ok(EgressAnswer { status: 200, retry_after_ms: None, body: vec![] })
    }
}

/// One life of the process.
pub(super) struct Hub {
    pub(super) world: Arc<World>,
    pub(super) app: App,
    pub(super) engine: Arc<Engine>,
}

impl Hub {
    /// Starts it as `serve` does, but for the loops: a story says what happens when.
    pub(super) async fn start(world: &Arc<World>, points: &Arc<Points>, name: &str) -> Self {
        let watch = Arc::clone(points);
        let store = Store::open_watched(&world.url, world.clock.clone(), watch).await.expect("the database opens");
        let app = App::new(store).with_egress_rules(OPEN).with_keyring(Some(keyring()));
        let (clock, other) = (Arc::clone(&world.clock), Arc::clone(&world.clock));
        let hubspot = MemoryTransport::new(Arc::clone(&world.hubspot), move || clock.now());
        let stripe = MemoryTransport::new(Arc::clone(&world.stripe), move || other.now());
        let points = || Arc::clone(points);
        let hubspot: Arc<dyn Transport> = Arc::new(Pointed { way: hubspot, points: points() });
        let stripe: Arc<dyn Transport> = Arc::new(Pointed { way: stripe, points: points() });
        let ways = [("hubspot", hubspot), ("stripe", stripe)];
        let setups =
            ways.into_iter().map(|(vendor, way)| setup(&world.connection_name(vendor), unhurried(vendor), way));
        let setups = setups.collect();
        let connections = Connections::set_up(&app, setups).await.expect("the connections are good");
        let pushed = ["account.name".to_owned()];
        let pushes = |name: &str| if name.starts_with("stripe") { pushed.as_slice() } else { &[] };
        connections.keep_true(&app, pushes).await.expect("it can be written");
        let way_out = Arc::new(Pointed { way: Receiver(Arc::clone(world)), points: points() });
        let engine = Engine::with_egress(app.clone(), connections, format!("{name}-{}", world.number), way_out);
        Self { world: Arc::clone(world), app, engine }
    }

    pub(super) fn store(&self) -> &Store {
        self.app.store()
    }

    pub(super) fn connection(&self, vendor: &str) -> &Arc<Connection> {
        self.engine.connections().named(&self.world.connection_name(vendor)).expect("it is configured")
    }

    /// Brings the webhooks that were not acknowledged.
    pub(super) async fn deliver_mail(&self) {
        self.world.collect();
        let mail = lock(&self.world.mail).clone();
        for (to, delivery) in mail {
            if let Receipt::Accepted { .. } = self.engine.receive(&to, &delivery).await {
                lock(&self.world.mail).remove(0);
            }
        }
    }

    /// Does what is due now, in the order of the loops; whether there was anything.
    pub(super) async fn work(&self) -> bool {
        let mut worked = false;
        for _ in 0..200 {
            let event = self.engine.process_event().await.expect("the database answers");
            let effect = self.engine.process_effect().await.expect("the database answers");
            let placed = self.engine.place_changes().await.expect("the database answers");
            let sent = self.engine.expand_and_deliver().await.expect("the database answers");
            if !(event || effect || placed || sent) {
                return worked;
            }
            worked = true;
        }
        panic!("it never comes to an end");
    }

    /// Does what is due until nothing waits any more; time passes meanwhile.
    pub(super) async fn settle(&self) {
        let raw = connect(self.world.address()).await;
        for _ in 0..20 {
            self.deliver_mail().await;
            self.work().await;
            let waits = "SELECT (SELECT COUNT(*) FROM inbound_events WHERE next_attempt_at IS NOT NULL) + \
                         (SELECT COUNT(*) FROM effects WHERE next_attempt_at IS NOT NULL) + \
                         (SELECT COUNT(*) FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL) + \
                         (SELECT COUNT(*) FROM outbox_unplaced) AS total";
            if number(&raw, waits).await == 0 && lock(&self.world.mail).is_empty() {
                break;
            }
            self.world.clock.advance(20_000);
        }
        raw.close().await.expect("it closes");
    }

    /// Reads what changed.
    pub(super) async fn pull(&self, vendor: &str, entity: Entity) -> Option<SyncRunRecord> {
        let connection = self.connection(vendor);
        let declared = connection.reads().find(|declared| declared.entity == entity).expect("it is read");
        self.engine.pull(connection, declared, RunTrigger::Manual).await.expect("the database answers")
    }

    pub(super) async fn stop(self) {
        self.store().close().await.expect("it closes");
    }
}

/// The numbers of what the receiver took, each once.
pub(super) fn sequences(received: &[Received]) -> BTreeSet<i64> {
    received.iter().filter_map(|one| one.body["data"]["sequence"].as_i64()).collect()
}

/// How long one story may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
