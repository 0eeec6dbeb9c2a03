//! `serve` and `migrate`.

use std::{process::ExitCode, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CommandError, ConfigArgs};
use crate::{database, hub::Hub, telemetry};

/// How long the hub may take to stop: service managers kill what takes longer than half a minute, or less.
const PATIENCE: Duration = Duration::from_secs(22);

pub(super) async fn serve(args: &ConfigArgs) -> Result<ExitCode, CommandError> {
    telemetry::start_logs("info");
    let config = args.load()?;
    let mut stop = StopSignal::listen()?;
    let hub = tokio::select! {
        hub = Hub::start(config) => hub?,
        () = stop.received() => return Ok(ExitCode::SUCCESS),
    };
    tracing::info!(address = %hub.address, "the hub listens");
    println!("GraphQL: http://{}/graphql", hub.address);
    stop.received().await;
    tracing::info!("the hub stops");
    // A second signal changes nothing: what is under way still ends in order.
    hub.stop(PATIENCE).await;
    tracing::info!("the hub has stopped");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn migrate(args: &ConfigArgs) -> Result<ExitCode, CommandError> {
    let applied = database::migrate(&args.load()?.database.url).await?;
    println!("{applied} migration(s) applied; the database is up to date");
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, or the signal by which service managers stop a process. From [`StopSignal::listen`] on neither ends the
/// process by itself.
pub(crate) struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// Begins to listen.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one that came since.
    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
