//! The demo: a small services organization, its hub, and the stand-ins of its CRM and its billing system. Everything
//! that is there came through the connectors and the API.

mod client;
mod fill;
mod folder;
mod journey;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use crosstie_app::{access::NewToken, secrets::Keyring};
use crosstie_connectors::fakes::fake;
use crosstie_domain::access::Role;
use crosstie_sdk::Secret;

use self::{client::Client, folder::DataFolder};
use crate::{
    commands::{CommandError, serve::StopSignal},
    config::{Config, ConnectionConfig, Database, DriftConfig, SecretsConfig, WebhooksConfig},
    database::{migrate, sqlite_url},
    fakes::HostedFake,
    hub::{Hub, StartError, listen},
};

const HUBSPOT_SECRET: &str = "demo-hubspot-client-secret";
const STRIPE_SECRET: &str = "whsec_demo_stripe_signing_secret";
/// How long requests may take to end when the demo stops.
const PATIENCE: Duration = Duration::from_secs(2);

/// A hub with the two vendors around it.
struct Demo {
    hub: Hub,
    hubspot: HostedFake,
    stripe: HostedFake,
    token: String,
}

/// Runs the demo until it is stopped, or its journey once.
pub(crate) async fn run(address: &str, data: &Path, check: bool) -> Result<ExitCode, CommandError> {
    let mut stop = StopSignal::listen()?;
    let folder = DataFolder::open(data)?;
    let demo = start(address, &folder).await?;
    // What a signal cuts off here, the next start does.
    let ended = tokio::select! {
        ended = play(&demo, check) => ended,
        () = stop.received() => {
            println!("Stopping.");
            if check { Err("stopped before the end of the journey".into()) } else { Ok(ExitCode::SUCCESS) }
        }
    };
    demo.stop().await;
    ended
}

/// Plays the journey to its end, or fills the organization and lets it be looked at.
async fn play(demo: &Demo, check: bool) -> Result<ExitCode, CommandError> {
    let client = Client::new(demo)?;
    if !check {
        fill::fill(&client).await?;
        greet(demo);
        return std::future::pending().await;
    }
    let report = journey::run(&client).await;
    println!("{} passed, {} failed", report.passed, report.failed);
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn start(address: &str, folder: &DataFolder) -> Result<Demo, CommandError> {
    let url = sqlite_url(&folder.path.join("crosstie.db"));
    migrate(&url).await.map_err(|error| match error {
        StartError::Database(cause) => folder.unusable(cause).into(),
        error => CommandError::from(error),
    })?;
    let listener = listen("--listen", address).await?;
    let public_url = format!("http://{}", listener.local_addr()?);
    let hubspot = host("hubspot", (&public_url, HUBSPOT_SECRET), folder).await?;
    let stripe = host("stripe", (&public_url, STRIPE_SECRET), folder).await?;
    let config = Config {
        listen: address.to_owned(),
        public_url: Some(public_url),
        metrics_listen: None,
        authority: Vec::new(),
        cors_origins: vec![],
        webhooks: WebhooksConfig::default(),
        drift: DriftConfig::default(),
        database: Database { url },
        secrets: SecretsConfig { key_file: Some(key_file(folder)?), keys: None },
        exchanges: crosstie_sync::ExchangeSettings::default(),
        connections: vec![
            connection("hubspot", &hubspot, HUBSPOT_SECRET),
            connection("stripe", &stripe, STRIPE_SECRET),
        ],
    };
    let hub = Hub::start_on(config, listener).await?;
    let token = token(&hub, folder).await?;
    Ok(Demo { hub, hubspot, stripe, token })
}

/// Hosts the stand-in of a vendor that tells the hub of what happens.
async fn host(vendor: &str, (hub, secret): (&str, &str), folder: &DataFolder) -> Result<HostedFake, CommandError> {
    let webhooks = format!("{hub}/webhooks/{vendor}");
    let fake = fake(vendor, Some(webhooks), Secret::new(secret)).ok_or("the vendor has no stand-in")?;
    let listener = listen("--listen", "127.0.0.1:0").await?;
    let log = folder.path.join(format!("{vendor}-requests.jsonl"));
    Ok(HostedFake::start(listener, fake, Some(&log)).map_err(|error| folder.unusable(error))?)
}

fn connection(name: &str, fake: &HostedFake, secret: &str) -> ConnectionConfig {
    ConnectionConfig {
        name: name.to_owned(),
        connector: name.to_owned(),
        base_url: Some(fake.url.clone()),
        token: Some("demo-key".to_owned()),
        webhook_secrets: vec![secret.to_owned()],
        ..ConnectionConfig::default()
    }
}

/// The file with the demo's master key, which is made the first time.
fn key_file(folder: &DataFolder) -> Result<PathBuf, CommandError> {
    let file = folder.path.join("secrets-key");
    if !file.exists() {
        write_private(&file, &Keyring::new_key()).map_err(|error| folder.unusable(error))?;
    }
    Ok(file)
}

/// The demo's token: the one from last time if it is still good, otherwise a new one.
async fn token(hub: &Hub, folder: &DataFolder) -> Result<String, CommandError> {
    let file = folder.path.join("token");
    if let Ok(text) = std::fs::read_to_string(&file)
        && hub.app.authenticate(text.trim()).await?.is_ok()
    {
        return Ok(text.trim().to_owned());
    }
    let input = NewToken {
        label: "demo".to_owned(),
        person_email: None,
        roles: vec![Role::Admin],
        permissions: vec![],
        expires_at: None,
    };
    let (_, text) = hub.app.create_token(input).await?;
    write_private(&file, &text).map_err(|error| folder.unusable(error))?;
    Ok(text)
}

/// Writes a file that only its owner may read.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(text.as_bytes())
}

fn greet(demo: &Demo) {
    let address = demo.hub.address;
    println!("GraphQL: http://{address}/graphql");
    println!("GraphiQL: http://{address}/graphiql#token={}", demo.token);
    println!("Token: {}", demo.token);
    println!("HubSpot (stand-in): {}", demo.hubspot.url);
    println!("Stripe (stand-in): {}", demo.stripe.url);
    println!();
    println!("Three queries worth pasting:");
    println!();
    println!("{}\n", QUERIES[0]);
    println!("{}\n", QUERIES[1]);
    println!("{}\n", QUERIES[2]);
    println!("Ctrl-C stops the demo; the next start finds its data again.");
}

/// Queries worth pasting. The journey runs each of them.
pub(crate) const QUERIES: [&str; 3] = [
    "{ opportunities(first: 10, orderBy: [{field: UPDATED_AT, direction: DESC}]) { totalCount nodes { name stage \
     nativeStage amount { amount currency } account { name } sources { connection { name } observedAt \
     fields { name value sourcePath } } } } }",
    "{ sows(first: 10) { nodes { title status total { amount currency } account { name } milestones { name acceptance \
     billing amount { amount currency } } serviceOrder { status billingReference invoices(first: 10) { nodes { number \
     status } } } } } }",
    "{ syncRuns(first: 5, orderBy: [{field: STARTED_AT, direction: DESC}]) { nodes { entity status rowsRead \
     rowsChanged rowsParked errorCode connection { name } } } inboundEvents(first: 5) { nodes { eventType status \
     remoteId } } }",
];

impl Demo {
    async fn stop(self) {
        self.hub.stop(PATIENCE).await;
        self.hubspot.stop();
        self.stripe.stop();
    }
}
