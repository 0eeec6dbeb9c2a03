//! The hub is killed again and again, some of the times right after it acknowledged a webhook or while billing writes
//! what it was asked for. In the end everything that was acknowledged has happened, and once.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crosstie_app::SystemClock;
use crosstie_connectors::fakes::{HubspotFake, StripeFake};
use crosstie_domain::{
    Clock, Instant,
    integration::{InboundEventRecord, InboundStatus, RunStatus},
};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, ReqwestTransport, Secret, Transport};
use crosstie_store::{
    Store,
    integration::{EffectStatus, effects},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value as Json, json};
use tokio::{
    process::Child,
    sync::Notify,
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};

use crate::support::{Binary, Database, HostedVendor, events, on_each_database, runs, until};

const KILLS: usize = 24;
const SEED: u64 = 20_261_123;
const HUBSPOT_SECRET: &str = "hubspot-client-secret";
const STRIPE_SECRET: &str = "whsec_stripe";

fn now() -> Instant {
    SystemClock::default().now()
}

/// What is outside the process that is killed.
struct World {
    hubspot: HostedVendor<HubspotFake>,
    stripe: HostedVendor<StripeFake>,
    hub: String,
    token: String,
    http: ReqwestTransport,
    /// Bodies of webhooks that were acknowledged.
    acknowledged: Mutex<Vec<(&'static str, Json)>>,
    on_acknowledged: Notify,
    on_write: Arc<Notify>,
}

struct Process {
    binary: Binary,
    child: Option<Child>,
}

impl Process {
    fn start(&mut self) {
        let log = self.binary.folder().join("serve.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let child = self.binary.command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("the binary starts"));
    }

    /// Ends it as the power cut does: it is told nothing.
    async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("it is killed");
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("an address").port()
}

async fn set_up(database: &Database) -> Option<(Arc<World>, Process)> {
    let hub = format!("http://127.0.0.1:{}", free_port());
    let hooks = |name: &str| Some(format!("{hub}/webhooks/{name}"));
    let fake = HubspotFake::new(hooks("hubspot"), Secret::new(HUBSPOT_SECRET), 1);
    let hubspot = HostedVendor::start(fake, now, |_| Duration::ZERO).await;
    let on_write = Arc::new(Notify::new());
    let (written, count) = (Arc::clone(&on_write), AtomicU64::new(0));
    let late = move |request: &HttpRequest| {
        if request.method != Method::Post {
            return Duration::ZERO;
        }
        written.notify_waiters();
        Duration::from_millis(30 + count.fetch_add(37, Ordering::Relaxed) % 51)
    };
    let fake = StripeFake::new(hooks("stripe"), Secret::new(STRIPE_SECRET), 1);
    let stripe = HostedVendor::start(fake, now, late).await;

    let connection = |name: &str, url: &str, secret: &str| {
        format!(
            "[[connections]]\nname = \"{name}\"\nconnector = \"{name}\"\nbase_url = \"{url}\"\ntoken = \"test-key\"\n\
             webhook_secrets = [\"{secret}\"]\n"
        )
    };
    let text = format!(
        "listen = \"{}\"\npublic_url = \"{hub}\"\n[database]\nurl = {:?}\n{}{}",
        hub.trim_start_matches("http://"),
        database.url,
        connection("hubspot", &hubspot.url, HUBSPOT_SECRET),
        connection("stripe", &stripe.url, STRIPE_SECRET),
    );
    let binary = Binary::find("the kill loop", &text)?;
    binary.done(&["migrate"]).await;
    let token = binary.done(&["token", "create", "--label", "test", "--role", "ADMIN"]).await;
    let world = World {
        hubspot,
        stripe,
        hub,
        token,
        http: ReqwestTransport::with_timeout(Duration::from_secs(5)).expect("the network can be used"),
        acknowledged: Mutex::default(),
        on_acknowledged: Notify::new(),
        on_write,
    };
    Some((Arc::new(world), Process { binary, child: None }))
}

impl World {
    async fn ready(&self) {
        let request =
            || HttpRequest { method: Method::Get, url: format!("{}/readyz", self.hub), headers: vec![], body: vec![] };
        until("the hub", async || self.http.send(request()).await.ok().filter(|answer| answer.status == 200)).await;
    }

    /// Asks until there is an answer: the hub may be dead, or die meanwhile.
    async fn ask(&self, query: &str, variables: &Json) -> Json {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.token)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let body = json!({ "query": query, "variables": variables }).to_string().into_bytes();
        let request = HttpRequest { method: Method::Post, url: format!("{}/graphql", self.hub), headers, body };
        until("an answer", async || {
            let answer = self.http.send(request.clone()).await.ok()?;
            let answer: Json = serde_json::from_slice(&answer.body).ok()?;
            answer["errors"].is_null().then(|| answer["data"].clone()).filter(Json::is_object)
        })
        .await
    }

    /// Decides until the decision is not that somebody else was faster.
    async fn decide(&self, mutation: &str, selection: &str, input: Json) -> Json {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!(
            "mutation($input: {kind}!) {{ {mutation}(input: $input) {{ {selection} userErrors {{ code message }} }} }}"
        );
        let variables = json!({ "input": input });
        let payload = until(mutation, async || {
            let payload = self.ask(&query, &variables).await[mutation].clone();
            (payload["userErrors"][0]["code"] != "CONFLICT").then_some(payload)
        })
        .await;
        assert_eq!(payload["userErrors"], json!([]), "{mutation}");
        payload
    }

    fn hubspot(&self, path: &str, body: &Json) -> String {
        let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
        let (url, body) = (format!("https://hubspot.example{path}"), body.to_string().into_bytes());
        let request = HttpRequest { method: Method::Post, url, headers, body };
        let answer = self.hubspot.vendor().respond(&request, now());
        assert_eq!(answer.status, 201);
        let created: Json = serde_json::from_slice(&answer.body).expect("JSON");
        created["id"].as_str().expect("an id").to_owned()
    }

    /// Brings one deal from HubSpot to an accepted milestone; the order and the milestone.
    async fn sell(&self, name: String) -> (String, String) {
        let company = self.hubspot("/crm/v3/objects/companies", &json!({ "properties": { "name": name } }));
        let deal = json!({
            "properties": {
                "dealname": name, "dealstage": "closedwon", "amount": "300.00", "deal_currency_code": "USD",
                "pipeline": "default",
            },
            "associations": [{
                "to": { "id": company },
                "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5 }],
            }],
        });
        self.hubspot("/crm/v3/objects/deals", &deal);
        let query = "query($name: String!) { opportunities(first: 1, filter: { name: { eq: $name } }) \
                     { nodes { id account { id } } } connections(first: 9) { nodes { id name } } }";
        let found = until("the opportunity", async || {
            let found = self.ask(query, &json!({ "name": name })).await;
            found["opportunities"]["nodes"][0]["account"]["id"].is_string().then_some(found)
        })
        .await;
        let connections = found["connections"]["nodes"].as_array().expect("connections").clone();
        let billing = connections.iter().find(|one| one["name"] == "stripe").expect("it is configured")["id"].clone();
        let usd = |amount: &str| json!({ "amount": amount, "currency": "USD" });
        let input = json!({
            "opportunityId": found["opportunities"]["nodes"][0]["id"], "billingConnectionId": billing, "title": name,
            "total": usd("300.00"), "idempotencyKey": format!("create-{name}"),
            "milestones": [{ "name": "One", "amount": usd("100.00") }, { "name": "Two", "amount": usd("200.00") }],
        });
        let sow = self.decide("createSow", "sow { id milestones { id } }", input).await["sow"].clone();
        let input = json!({ "sowId": sow["id"], "idempotencyKey": format!("sign-{name}") });
        let signed = self.decide("signSow", "sow { serviceOrder { id } }", input).await;
        let milestone = sow["milestones"][0]["id"].clone();
        let input = json!({ "milestoneId": milestone, "idempotencyKey": format!("accept-{name}") });
        self.decide("acceptMilestone", "milestone { id }", input).await;
        let text = |value: &Json| value.as_str().expect("an id").to_owned();
        (text(&signed["sow"]["serviceOrder"]["id"]), text(&milestone))
    }

    /// Carries a vendor's webhooks to the hub, each until it is acknowledged, and writes down which were.
    async fn carry<F: FakeVendor + 'static>(&self, name: &'static str, vendor: &HostedVendor<F>) {
        loop {
            let deliveries = vendor.vendor().take_deliveries();
            for delivery in deliveries {
                loop {
                    match self.http.send(delivery.clone()).await {
                        Ok(answer) if (200..300).contains(&answer.status) => break,
                        Ok(HttpResponse { status: 503, .. }) | Err(_) => sleep(Duration::from_millis(10)).await,
                        Ok(answer) => panic!("a webhook was answered {}", answer.status),
                    }
                }
                let entry = (name, delivery.json());
                self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                self.on_acknowledged.notify_waiters();
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice() {
    let test = on_each_database(async |database| {
        let Some((world, mut process)) = set_up(database).await else { return };
        process.start();
        world.ready().await;
        let mut couriers = JoinSet::new();
        let of = Arc::clone(&world);
        couriers.spawn_local(async move { of.carry("hubspot", &of.hubspot).await });
        let of = Arc::clone(&world);
        couriers.spawn_local(async move { of.carry("stripe", &of.stripe).await });

        let mut random = StdRng::seed_from_u64(SEED);
        let mut sales = JoinSet::new();
        let (mut after_acknowledgment, mut during_write) = (0, 0);
        for round in 0..KILLS {
            let of = Arc::clone(&world);
            sales.spawn_local(async move { of.sell(format!("deal-{round}")).await });
            let a_while = Duration::from_millis(random.random_range(20..600));
            let most = Duration::from_secs(2);
            match round % 3 {
                0 => after_acknowledgment += usize::from(timeout(most, world.on_acknowledged.notified()).await.is_ok()),
                1 => during_write += usize::from(timeout(most, world.on_write.notified()).await.is_ok()),
                _ => sleep(a_while).await,
            }
            process.kill().await;
            process.start();
            world.ready().await;
        }
        assert!(after_acknowledgment >= 4, "{after_acknowledgment} kills fell behind an acknowledgment");
        assert!(during_write >= 4, "{during_write} kills fell between a write and its answer");
        println!("{KILLS} kills: {after_acknowledgment} behind an acknowledgment, {during_write} during a write");

        let of = Arc::clone(&world);
        sales.spawn_local(async move { of.sell("deal-fresh".to_owned()).await });
        let sold: Vec<(String, String)> = sales.join_all().await;
        let store = database.open().await;
        until("everything is done", async || {
            let effects = effects(&store, None, 1_000).await.expect("effects can be read");
            let all = effects.len() == 2 * sold.len() && effects.iter().all(|one| one.status == EffectStatus::Done);
            let waits =
                |one: &InboundEventRecord| matches!(one.status, InboundStatus::Received | InboundStatus::Retrying);
            (all && !events(&store).await.iter().any(waits)).then_some(())
        })
        .await;
        check_billing(&world, &sold).await;
        check_inbox(&world, &store).await;
        check_runs(&store).await;
        if let Some(Err(error)) = couriers.try_join_next() {
            panic!("a webhook was refused: {error}");
        }
        couriers.shutdown().await;
        process.kill().await;
        store.close().await.expect("it closes");
    });
    LocalSet::new().run_until(test).await;
}

/// Every order is one product, and every accepted milestone one invoice, as the stand-in counts.
async fn check_billing(world: &World, sold: &[(String, String)]) {
    let (invoices, products) = {
        let vendor = world.stripe.vendor();
        let valid = vendor.invoices().iter().filter(|invoice| invoice["status"] != "void");
        let milestones: Vec<Json> = valid.map(|invoice| invoice["metadata"]["crosstie_milestone"].clone()).collect();
        (milestones, vendor.product_count())
    };
    assert_eq!(products, sold.len(), "one product for each signed statement of work");
    assert_eq!(invoices.len(), sold.len(), "one invoice for each accepted milestone");
    let query = "query($order: ID!, $milestone: ID!) { serviceOrder(id: $order) { status billingReference } \
                 node(id: $milestone) { ... on Milestone { billing invoices { status billingReference } } } }";
    let mut references = BTreeSet::new();
    for (order, milestone) in sold {
        assert_eq!(invoices.iter().filter(|of| **of == json!(milestone)).count(), 1, "{milestone}");
        let data = world.ask(query, &json!({ "order": order, "milestone": milestone })).await;
        assert_eq!(data["serviceOrder"]["status"], "PARTIALLY_BILLED", "{order}");
        references.insert(data["serviceOrder"]["billingReference"].as_str().expect("acknowledged").to_owned());
        let invoices = data["node"]["invoices"].as_array().expect("invoices").clone();
        assert_eq!(invoices.len(), 1, "{milestone}");
        assert_eq!((&data["node"]["billing"], &invoices[0]["status"]), (&json!("INVOICED"), &json!("OPEN")));
    }
    assert_eq!(references.len(), sold.len(), "no two orders are one product");
}

/// Every webhook that was acknowledged is in the database and was applied.
async fn check_inbox(world: &World, store: &Store) {
    let kept = events(store).await;
    let acknowledged = world.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(acknowledged.len() > KILLS);
    for (vendor, body) in &acknowledged {
        let keys: Vec<String> = match *vendor {
            "stripe" => vec![body["id"].as_str().expect("an id").to_owned()],
            _ => {
                let events = body.as_array().expect("a list of events");
                events.iter().map(|event| format!("{}:", event["eventId"])).collect()
            }
        };
        for key in keys {
            let found = kept.iter().find(|event| event.dedupe_key.starts_with(&key));
            let found = found.unwrap_or_else(|| panic!("{key} of {vendor} was acknowledged and is not there"));
            let done = matches!(found.status, InboundStatus::Processed | InboundStatus::Ignored);
            assert!(done, "{key} of {vendor} is {:?}: {:?}", found.status, found.error_message);
        }
    }
}

/// A run that a kill cut short is not at work any more: of one kind of record only the newest run may be.
async fn check_runs(store: &Store) {
    let runs = runs(store).await;
    assert!(!runs.is_empty(), "there were scheduled readings");
    let mut newest = BTreeMap::new();
    for run in &runs {
        newest.insert((run.connection_id, run.entity), run.id);
    }
    for run in runs.iter().filter(|run| run.status == RunStatus::Running) {
        assert_eq!(newest[&(run.connection_id, run.entity)], run.id, "cut short and left at work: {run:?}");
    }
}
