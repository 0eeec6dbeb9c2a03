//! `serve` and `migrate`.

use std::{process::ExitCode, time::Duration};

use super::{CommandError, ConfigArgs};
use crate::{hub::Hub, telemetry};

/// How long requests may take to end when the hub stops.
const PATIENCE: Duration = Duration::from_secs(25);

pub(super) async fn serve(args: &ConfigArgs) -> Result<ExitCode, CommandError> {
    telemetry::start_logs("info");
    let hub = Hub::start(args.load()?).await?;
    tracing::info!(address = %hub.address, "the hub listens");
    println!("GraphQL: http://{}/graphql", hub.address);
    stop_signal().await?;
    tracing::info!("the hub stops");
    hub.stop(PATIENCE).await;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn migrate(args: &ConfigArgs) -> Result<ExitCode, CommandError> {
    let config = args.load()?;
    let missing = crosstie_migrations::missing(&config.database.url).await?;
    crosstie_migrations::migrate(&config.database.url).await?;
    println!("{missing} migration(s) applied; the database is up to date");
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or the signal by which service managers stop a process.
pub(crate) async fn stop_signal() -> Result<(), CommandError> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
