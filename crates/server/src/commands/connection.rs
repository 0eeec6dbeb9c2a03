//! `connection`: the systems around the hub.

use std::process::ExitCode;

use clap::Subcommand;

use super::{CommandError, ConfigArgs, authorize::authorize, or_none, word};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List the connections that are configured
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Let a person allow the hub to sign in to a system: prints the address to open
    Authorize {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        name: String,
    },
    /// Sign in to a system and say who the hub is there
    Test {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection; all when left out
        name: Option<String>,
    },
}

pub(super) async fn run(command: ConnectionCommand) -> Result<ExitCode, CommandError> {
    match command {
        ConnectionCommand::List { config } => list(&config).await,
        ConnectionCommand::Authorize { config, name } => authorize(&config, &name).await,
        ConnectionCommand::Test { config, name } => test(&config, name.as_deref()).await,
    }
}

async fn list(config: &ConfigArgs) -> Result<ExitCode, CommandError> {
    let (_, connections) = open(&config.load()?).await?;
    for connection in connections.all() {
        let descriptor = connection.connector.descriptor();
        let arms: Vec<_> = connection.record.arms.iter().map(word).collect();
        let reads: Vec<_> = connection.reads().map(|read| read.entity.as_str()).collect();
        let writes: Vec<_> = descriptor.writes.iter().map(|write| write.remote).collect();
        println!(
            "{}  {}  {} {}  arms {}  reads {}  writes {}",
            connection.record.id,
            connection.record.name,
            descriptor.id,
            descriptor.version,
            or_none(&arms, "none"),
            or_none(&reads, "nothing"),
            or_none(&writes, "nothing"),
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(config: &ConfigArgs, name: Option<&str>) -> Result<ExitCode, CommandError> {
    let (_, connections) = open(&config.load()?).await?;
    let (mut tested, mut failed) = (0, 0);
    for connection in connections.all() {
        if name.is_some_and(|name| name != connection.record.name) {
            continue;
        }
        tested += 1;
        match connection.connector.probe(&connection.net).await {
            Ok(who) => println!("{}: ok, {}", connection.record.name, who.account),
            Err(fault) => {
                println!("{}: {} ({fault})", connection.record.name, fault.code());
                failed += 1;
            }
        }
    }
    connections.exchanges().flush().await;
    match (tested, failed) {
        (0, _) => Err("no such connection is configured".into()),
        (_, 0) => Ok(ExitCode::SUCCESS),
        _ => Err(format!("{failed} of {tested} connection(s) cannot be used").into()),
    }
}
