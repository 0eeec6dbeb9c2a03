//! A hub at work: the store, the engine and the listeners, put together and taken apart in order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crosstie_app::{App, SystemClock, secrets::SecretsError};
use crosstie_domain::{Clock, integration::InboundLimits};
use crosstie_sdk::{Credentials, HttpEgress, NetOptions, ReqwestTransport, Secret, Settings, TransportError};
use crosstie_store::{Store, StoreError};
use crosstie_sync::{
    ConnectionSetup, Connections, DriftOptions, Engine, ExchangeLog, ReadingOptions, Running, SetupError,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, ConfigError, ConnectionConfig},
    credentials::{self, CredentialsError, OAuthSignIn},
    database, routes, telemetry,
};

/// Why the hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database lacks migrations.
    #[error("the database lacks {0} migration(s); run `crosstie migrate` first")]
    Behind(usize),
    /// The database cannot be reached or made.
    #[error("the database cannot be used (configuration key `database.url`)")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A connection cannot be used as it is configured.
    #[error("configuration key `connections`")]
    Connection(#[from] SetupError),
    /// A key has a value that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A secret that the database keeps cannot be used, or one is missing.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The network library.
    #[error("the network cannot be used")]
    Network(#[from] TransportError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address} (configuration key `{key}`)")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Database(error.into())
    }
}

/// What all routes share.
#[derive(Clone)]
pub struct Shared {
    /// The use cases.
    pub app: App,
    /// The engine.
    pub engine: Arc<Engine>,
    /// The address under which other systems reach the hub.
    pub public_url: String,
    /// Set when the hub stops: what is new is refused, and streams are completed.
    pub stopping: CancellationToken,
}

/// A hub at work.
pub struct Hub {
    /// The use cases.
    pub app: App,
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where it listens.
    pub address: SocketAddr,
    running: Running,
    stopping: CancellationToken,
    closing: CancellationToken,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Hub {
    /// Opens the database and the listeners and starts all loops.
    ///
    /// # Errors
    /// [`StartError`], naming the configuration key that is wrong.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listener = listen("listen", &config.listen).await?;
        Self::start_on(config, listener).await
    }

    /// The same on a listener that is open already.
    ///
    /// # Errors
    /// [`StartError`], naming the configuration key that is wrong.
    pub async fn start_on(config: Config, listener: TcpListener) -> Result<Self, StartError> {
        let address = local_address("listen", &listener, &config.listen)?;
        let Opened { app, connections, sign_ins } = open_all(&config).await?;
        connections.retire_others(&app).await?;
        let clock = SystemClock::default();
        let egress = HttpEgress::new(app.egress_rules()).map_err(|error| TransportError::NotSent(error.to_string()))?;
        let name = format!("hub-{}", clock.new_uuid());
        let engine = Engine::with_egress(app.clone(), connections, name, Arc::new(egress));
        let (stopping, closing) = (CancellationToken::new(), CancellationToken::new());
        let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let public_url = public_url.trim_end_matches('/').to_owned();
        note_sign_ins(&sign_ins, &engine, &public_url).await?;
        let shared = Shared { app: app.clone(), engine: Arc::clone(&engine), public_url, stopping: stopping.clone() };
        let metrics = telemetry::metrics();
        let mut servers = Vec::new();
        let own_metrics = match &config.metrics_listen {
            Some(address) => {
                let listener = listen("metrics_listen", address).await?;
                let address = local_address("metrics_listen", &listener, address)?;
                tracing::info!(%address, "metrics are served");
                servers.push(serve(listener, routes::metrics(metrics.clone()), closing.clone()));
                false
            }
            None => true,
        };
        let router = routes::router(shared, own_metrics.then_some(metrics), &config.cors_origins);
        servers.push(serve(listener, router, closing.clone()));
        let running = engine.start();
        Ok(Self { app, engine, address, running, stopping, closing, servers })
    }

    /// Stops, and takes at most so long for all of it. From here on `/readyz` says so and new requests are refused,
    /// which is heard for as long as the loops end what they are at; then the listeners close, and requests that are
    /// under way end. What does not end in time is cut off as a kill would cut it off.
    pub async fn stop(self, patience: Duration) {
        let began = tokio::time::Instant::now();
        let by = |eighths: u32| began + patience * eighths / 8;
        self.stopping.cancel();
        self.running.stop(patience * 6 / 8).await;
        self.closing.cancel();
        for mut server in self.servers {
            if tokio::time::timeout_at(by(7), &mut server).await.is_err() {
                server.abort();
            }
        }
        // What a database that does not answer cannot take is left out, and it is closed by the end of the process.
        let _ = tokio::time::timeout_at(by(8), async {
            self.engine.flush_refusals().await;
            self.engine.connections().exchanges().flush().await;
            self.app.store().close().await
        })
        .await;
    }
}

/// Opens the database, with the master keys.
///
/// # Errors
/// [`StartError`].
pub async fn open_app(config: &Config) -> Result<App, StartError> {
    let keyring = credentials::keyring(&config.secrets)?;
    let url = &config.database.url;
    let missing = database::missing(url).await?;
    if missing > 0 {
        return Err(StartError::Behind(missing));
    }
    let store = Store::open(url, Arc::new(SystemClock::default())).await?;
    // Before the first row of this month is written.
    store.keep_house().await?;
    let app = App::new(store).with_keyring(keyring).with_rules(config.rules()?);
    Ok(app.with_egress_rules(config.webhooks.into()))
}

/// Opens the database and sets up the connections, without starting anything.
///
/// # Errors
/// [`StartError`].
pub async fn open(config: &Config) -> Result<(App, Connections), StartError> {
    let Opened { app, connections, .. } = open_all(config).await?;
    Ok((app, connections))
}

/// What is there before anything starts.
struct Opened {
    app: App,
    connections: Connections,
    /// By the names of their connections.
    sign_ins: Vec<(String, OAuthSignIn)>,
}

async fn open_all(config: &Config) -> Result<Opened, StartError> {
    let app = open_app(config).await?;
    let config = credentials::complete(&app, config).await?;
    let transport = Arc::new(ReqwestTransport::new()?);
    let drift = DriftOptions { at_minute: config.drift.at_minute().unwrap_or_default(), sample: config.drift.sample };
    let (mut setups, mut sign_ins) = (Vec::new(), Vec::new());
    for connection in &config.connections {
        let sign_in = OAuthSignIn::of(&app, connection);
        setups.push(setup(connection, sign_in.as_ref(), (drift, transport.clone())));
        sign_ins.extend(sign_in.map(|sign_in| (connection.name.clone(), sign_in)));
    }
    let exchanges = ExchangeLog::start(app.store(), config.exchanges);
    let connections = Connections::set_up_logged(&app, setups, exchanges).await?;
    let pushed = |name: &str| {
        let named = config.connections.iter().find(|connection| connection.name == name);
        named.map_or(&[][..], |connection| connection.push.as_slice())
    };
    connections.keep_true(&app, pushed).await?;
    let inbound = |name: &str| {
        let named = config.connections.iter().find(|connection| connection.name == name);
        named.map_or_else(InboundLimits::default, |connection| connection.inbound)
    };
    connections.limit_inbound(&app, inbound).await?;
    Ok(Opened { app, connections, sign_ins })
}

/// Takes note of how connections sign in now, and of where a person lets them.
async fn note_sign_ins(
    sign_ins: &[(String, OAuthSignIn)],
    engine: &Engine,
    public_url: &str,
) -> Result<(), CredentialsError> {
    for (name, sign_in) in sign_ins {
        sign_in.kept.configured(&sign_in.client).await?;
        let redirect_url = format!("{public_url}/oauth/callback/{name}");
        let connection = engine.connections().named(name);
        let page = connection.and_then(|connection| connection.net.authorization_page(&redirect_url));
        sign_in.kept.offers(page.map(|page| (page.into(), redirect_url))).await.map_err(SecretsError::from)?;
    }
    Ok(())
}

pub(crate) fn setup(
    config: &ConnectionConfig,
    sign_in: Option<&OAuthSignIn>,
    (drift, transport): (DriftOptions, Arc<ReqwestTransport>),
) -> ConnectionSetup {
    let connector = crosstie_connectors::connector(&config.connector);
    let credentials = match sign_in {
        Some(sign_in) => Credentials::OAuth2(Box::new(sign_in.client.clone())),
        None => Credentials::Bearer(Secret::new(config.token.clone().unwrap_or_default())),
    };
    ConnectionSetup {
        name: config.name.clone(),
        connector: connector.expect("the configuration was checked to name connectors that exist"),
        net: NetOptions {
            base_url: config.base_url.clone(),
            credentials,
            settings: Settings::new(serde_json::Value::Object(config.settings.clone())),
            transport,
        },
        webhook_secrets: config.webhook_secrets.iter().map(Secret::new).collect(),
        arms: config.arms.clone(),
        mode: config.mode,
        reading: ReadingOptions { freshness_seconds: config.freshness.objective_seconds.map(i64::from), drift },
    }
}

/// Opens a listener.
///
/// # Errors
/// [`StartError::Listen`].
pub async fn listen(key: &'static str, address: &str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| StartError::Listen { key, address: address.to_owned(), error })
}

fn local_address(key: &'static str, listener: &TcpListener, address: &str) -> Result<SocketAddr, StartError> {
    let local = listener.local_addr();
    local.map_err(|error| StartError::Listen { key, address: address.to_owned(), error })
}

/// Serves until stopped; what is under way ends first.
pub(crate) fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "a listener ended");
        }
    })
}
