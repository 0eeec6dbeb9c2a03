//! What is outside the processes: vendors, their couriers, a receiver of webhooks, and a client.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crosstie_connectors::fakes::{HubspotFake, StripeFake};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, ReqwestTransport, Secret, Transport};
use serde_json::{Value as Json, json};
use tokio::{sync::Notify, task::JoinSet, time::sleep};

use crate::{
    process::{Process, free_port},
    sales::Sold,
    support::{Binary, MASTER_KEY, Receiver, Reply},
    vendors::{HeldVendor, writes},
    wait_for,
};

const HUBSPOT_SECRET: &str = "hubspot-client-secret";
const STRIPE_SECRET: &str = "whsec_stripe";
/// Rows that HubSpot gives at once, so that readings have several pages.
const PAGE_ROWS: usize = 7;

/// What is outside the processes.
pub(crate) struct World {
    pub(crate) hubspot: HeldVendor<HubspotFake>,
    pub(crate) stripe: HeldVendor<StripeFake>,
    /// Who hears of every change by webhook.
    pub(crate) receiver: Receiver,
    /// What its webhooks are signed with.
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) http: ReqwestTransport,
    urls: Vec<String>,
    turn: AtomicUsize,
    acknowledged: Mutex<Vec<(&'static str, Json)>>,
    /// Webhooks of vendors that were not acknowledged yet.
    under_way: AtomicUsize,
    unavailable: AtomicUsize,
    on_acknowledged: Notify,
}

/// A world with processes in it, couriers on their way, and sales.
pub(crate) struct Scene {
    pub(crate) world: Arc<World>,
    pub(crate) processes: Vec<Process>,
    sales: JoinSet<Sold>,
    sold: Vec<Sold>,
    couriers: JoinSet<()>,
}

impl Scene {
    /// A world over this database for so many processes, which are not started; `None` without a binary.
    pub(crate) async fn new(what: &str, database_url: &str, processes: usize) -> Option<Self> {
        let urls: Vec<String> = (0..processes).map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
        let hooks = |name: &str| Some(format!("{}/webhooks/{name}", urls[0]));
        let mut fake = HubspotFake::new(hooks("hubspot"), Secret::new(HUBSPOT_SECRET), 1);
        fake.set_page_limit(PAGE_ROWS);
        let hubspot = HeldVendor::start(fake, processes, |_| Duration::from_millis(10)).await;
        let count = AtomicU64::new(0);
        let late = move |request: &HttpRequest| match writes(request) {
            true => Duration::from_millis(30 + count.fetch_add(37, Ordering::Relaxed) % 51),
            false => Duration::ZERO,
        };
        let fake = StripeFake::new(hooks("stripe"), Secret::new(STRIPE_SECRET), 1);
        let stripe = HeldVendor::start(fake, processes, late).await;
        // Each webhook takes a while, so that kills fall between its arrival and its answer.
        let receiver = Receiver::answering(|_| Reply { delay: Duration::from_millis(5), ..Reply::status(204) }).await;

        let mut binaries = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            let vendors = [&hubspot.urls[index], &stripe.urls[index]];
            let text = configuration(database_url, (url, &urls[0]), vendors);
            let binary = Binary::named("CROSSTIE_CHAOS_BIN", what, &text)?;
            binary.write("keys", MASTER_KEY);
            binaries.push(Process::new(binary, url.clone()));
        }
        let first = &binaries[0].binary;
        first.done(&["migrate"]).await;
        let token = first.done(&["token", "create", "--label", "test", "--role", "ADMIN"]).await;
        let secret = first.done(&["webhook", "create", "--url", &receiver.url]).await;
        let http = ReqwestTransport::with_timeout(Duration::from_secs(5)).expect("the network can be used");
        let world = Arc::new(World {
            hubspot,
            stripe,
            receiver,
            secret,
            token,
            http,
            urls,
            turn: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
            under_way: AtomicUsize::new(0),
            unavailable: AtomicUsize::new(0),
            on_acknowledged: Notify::new(),
        });
        let mut couriers = JoinSet::new();
        let of = Arc::clone(&world);
        couriers.spawn_local(async move { of.carry("hubspot", &of.hubspot).await });
        let of = Arc::clone(&world);
        couriers.spawn_local(async move { of.carry("stripe", &of.stripe).await });
        Some(Self { world, processes: binaries, sales: JoinSet::new(), sold: vec![], couriers })
    }

    /// Starts a process and waits until it takes work.
    pub(crate) async fn start(&mut self, process: usize) {
        self.processes[process].start();
        self.processes[process].ready(&self.world.http).await;
    }

    /// Begins a sale, which goes on beside everything else.
    pub(crate) fn sell(&mut self, name: String) {
        let of = Arc::clone(&self.world);
        self.sales.spawn_local(async move { of.sell(name).await });
    }

    /// All that was sold; waits for what is not yet.
    pub(crate) async fn sold(&mut self) -> Vec<Sold> {
        self.sold.extend(std::mem::take(&mut self.sales).join_all().await);
        self.sold.clone()
    }

    /// Fails when a courier met an answer that no vendor should see.
    pub(crate) fn no_webhook_was_refused(&mut self) {
        if let Some(Err(error)) = self.couriers.try_join_next() {
            panic!("a webhook was refused: {error}");
        }
    }
}

fn configuration(database: &str, (url, public_url): (&str, &str), [hubspot, stripe]: [&String; 2]) -> String {
    let connection = |name: &str, url: &str, secret: &str, push: &str| {
        format!(
            "[[connections]]\nname = \"{name}\"\nconnector = \"{name}\"\nbase_url = \"{url}\"\ntoken = \"test-key\"\n\
             webhook_secrets = [\"{secret}\"]\npush = [{push}]\n"
        )
    };
    format!(
        "listen = \"{}\"\npublic_url = \"{public_url}\"\n[database]\nurl = {database:?}\n[secrets]\nkey_file = \"keys\"\n\
         [webhooks]\nallow_http = true\nallow_private = true\n{}{}",
        url.trim_start_matches("http://"),
        connection("hubspot", hubspot, HUBSPOT_SECRET, ""),
        connection("stripe", stripe, STRIPE_SECRET, "\"account.name\""),
    )
}

impl World {
    /// The address of one of the processes, another one each time.
    fn some_url(&self) -> &str {
        &self.urls[self.turn.fetch_add(1, Ordering::Relaxed) % self.urls.len()]
    }

    /// Asks until there is an answer: the hub may be dead, or die meanwhile.
    pub(crate) async fn ask(&self, query: &str, variables: &Json) -> Json {
        let body = json!({ "query": query, "variables": variables }).to_string().into_bytes();
        wait_for("an answer", async || {
            let answer = self.post(self.some_url(), body.clone()).await?;
            let answer: Json = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            let data = answer["errors"].is_null().then(|| answer["data"].clone()).filter(Json::is_object);
            data.ok_or_else(|| format!("{query}: {answer}"))
        })
        .await
    }

    /// Sends one request to the graph at this address.
    pub(crate) async fn post(&self, url: &str, body: Vec<u8>) -> Result<HttpResponse, String> {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.token)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let request = HttpRequest { method: Method::Post, url: format!("{url}/graphql"), headers, body };
        self.http.send(request).await.map_err(|error| error.to_string())
    }

    /// Decides until the decision is not that somebody else was faster.
    pub(crate) async fn decide(&self, mutation: &str, selection: &str, input: Json) -> Json {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!(
            "mutation($input: {kind}!) {{ {mutation}(input: $input) {{ {selection} userErrors {{ code message }} }} }}"
        );
        let variables = json!({ "input": input });
        let payload = wait_for(mutation, async || {
            let payload = self.ask(&query, &variables).await[mutation].clone();
            if payload["userErrors"][0]["code"] == "CONFLICT" { Err(payload.to_string()) } else { Ok(payload) }
        })
        .await;
        assert_eq!(payload["userErrors"], json!([]), "{mutation}");
        payload
    }

    /// The identifier of a connection.
    pub(crate) async fn connection(&self, name: &str) -> String {
        let found = self.ask("{ connections(first: 9) { nodes { id name } } }", &json!({})).await;
        let nodes = found["connections"]["nodes"].as_array().expect("connections").clone();
        let named = nodes.iter().find(|one| one["name"] == name).expect("it is configured");
        named["id"].as_str().expect("an identifier").to_owned()
    }

    /// Carries a vendor's webhooks to the hub, each until it is acknowledged, and writes down which were.
    async fn carry<F: FakeVendor + 'static>(&self, name: &'static str, vendor: &HeldVendor<F>) {
        loop {
            let deliveries = {
                let mut vendor = vendor.vendor();
                let deliveries = vendor.take_deliveries();
                self.under_way.fetch_add(deliveries.len(), Ordering::SeqCst);
                deliveries
            };
            for delivery in deliveries {
                let entry = (name, delivery.json());
                self.bring(delivery).await;
                self.acknowledged().push(entry);
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                self.on_acknowledged.notify_waiters();
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Brings one webhook until it is acknowledged. Its signature is good for as long as a test lasts.
    async fn bring(&self, delivery: HttpRequest) {
        loop {
            let url = delivery.url.replacen(&self.urls[0], self.some_url(), 1);
            match self.http.send(HttpRequest { url, ..delivery.clone() }).await {
                Ok(answer) if (200..300).contains(&answer.status) => return,
                Ok(HttpResponse { status: 503, .. }) => {
                    self.unavailable.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(20)).await;
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
                Ok(answer) => panic!("a webhook was answered {}", answer.status),
            }
        }
    }

    /// Waits until a webhook is acknowledged.
    pub(crate) async fn acknowledges(&self) {
        self.on_acknowledged.notified().await;
    }

    /// The vendor and the body of each webhook that was acknowledged.
    pub(crate) fn acknowledged(&self) -> MutexGuard<'_, Vec<(&'static str, Json)>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many webhooks wait for their acknowledgment.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// How often a webhook was answered 503.
    pub(crate) fn unavailable(&self) -> usize {
        self.unavailable.load(Ordering::SeqCst)
    }
}
