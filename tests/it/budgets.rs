//! Rate budgets that two hubs on one database share.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crosstie_app::App;
use crosstie_domain::{Instant, integration::ConnectionMode};
use crosstie_sdk::{
    AuthMode, Call, Connector, Credentials, Descriptor, FakeVendor, Fault, HttpRequest, HttpResponse, MemoryTransport,
    Net, NetOptions, RateBudget, Secret, Settings, SettingsError, WhoAmI,
};
use crosstie_sync::{ConnectionSetup, Connections, ReadingOptions};
use tokio::time::Instant as Moment;

use crate::support::{Database, on_each_database};

static BUDGET: RateBudget = RateBudget { bucket: "all", per_second: 40, burst: 20 };

static COUNTED: Descriptor = Descriptor {
    id: "counted",
    name: "Counted",
    version: "1.0.0",
    arms: &[],
    auth: &[AuthMode::Bearer],
    default_base_url: Some("https://counted.example"),
    budgets: &[BUDGET],
    reads: &[],
    writes: &[],
};

/// A connector of which only the calls matter.
struct Counted;

#[async_trait::async_trait]
impl Connector for Counted {
    fn descriptor(&self) -> &'static Descriptor {
        &COUNTED
    }

    fn check_settings(&self, _: &Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let answer = net.send(Call::get("/me")).await?;
        Ok(WhoAmI { account: answer.status().to_string() })
    }
}

/// A vendor that counts.
#[derive(Default)]
struct Counter {
    asked: Vec<Moment>,
    next: Option<HttpResponse>,
}

impl FakeVendor for Counter {
    fn respond(&mut self, _: &HttpRequest, _: Instant) -> HttpResponse {
        self.asked.push(Moment::now());
        self.next.take().unwrap_or_else(|| HttpResponse::empty(200))
    }
}

/// One hub of several on this database, with a connection of this name.
async fn hub(database: &Database, name: &str, vendor: &Arc<Mutex<Counter>>) -> (App, Connections) {
    let app = App::new(database.open().await);
    let clock = Arc::clone(&database.clock);
    let transport = Arc::new(MemoryTransport::new(Arc::clone(vendor), move || crosstie_domain::Clock::now(&*clock)));
    let credentials = Credentials::Bearer(Secret::new("test-key"));
    let setup = ConnectionSetup {
        name: name.to_owned(),
        connector: &Counted,
        net: NetOptions { base_url: None, credentials, settings: Settings::default(), transport },
        webhook_secrets: vec![],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: ReadingOptions::default(),
    };
    let connections = Connections::set_up(&app, vec![setup]).await;
    (app, connections.expect("the connection is good"))
}

async fn probe(connections: &Connections) -> Result<WhoAmI, Fault> {
    let connection = connections.all().pop().expect("one is configured");
    connection.connector.probe(&connection.net).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_on_one_database_together_never_exceed_the_budget() {
    on_each_database(async |database| {
        let vendor = Arc::new(Mutex::new(Counter::default()));
        let hubs = [hub(database, "counted", &vendor).await, hub(database, "counted", &vendor).await];
        let mut callers = Vec::new();
        for caller in 0..8 {
            let connections = hubs[caller % 2].1.clone();
            callers.push(tokio::spawn(async move {
                for _ in 0..15 {
                    probe(&connections).await.expect("it is answered");
                }
            }));
        }
        for caller in callers {
            caller.await.expect("it ends");
        }
        let asked = vendor.lock().expect("nobody panicked").asked.clone();
        assert_eq!(asked.len(), 120);
        let window = Duration::from_secs(1);
        let within = |from: &Moment| asked.iter().filter(|at| *at >= from && **at < *from + window).count();
        let most = asked.iter().map(within).max().expect("it was asked");
        assert!(u32::try_from(most).is_ok_and(|most| most <= BUDGET.most_calls_in(1)), "{most} in a second");
        for (app, _) in hubs {
            app.store().close().await.expect("it closes");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_says_stop_to_one_hub_is_left_alone_by_all_and_only_there() {
    on_each_database(async |database| {
        let vendor = Arc::new(Mutex::new(Counter::default()));
        let (one, other) = (hub(database, "counted", &vendor).await, hub(database, "counted", &vendor).await);
        let elsewhere = hub(database, "elsewhere", &vendor).await;
        let mut stop = HttpResponse::empty(429);
        stop.headers.push(("retry-after".to_owned(), "3600".to_owned()));
        vendor.lock().expect("nobody panicked").next = Some(stop);
        let throttled = Err(Fault::Throttled { retry_after_ms: Some(3_600_000) });
        for connections in [&one.1, &one.1, &other.1] {
            let told = probe(connections).await;
            assert_eq!(told, throttled);
        }
        assert_eq!(vendor.lock().expect("nobody panicked").asked.len(), 1, "the others did not ask");
        probe(&elsewhere.1).await.expect("another connection has a budget of its own");
        database.clock.advance(3_600_000);
        probe(&other.1).await.expect("the time is over");
        for (app, _) in [one, other, elsewhere] {
            app.store().close().await.expect("it closes");
        }
    })
    .await;
}
