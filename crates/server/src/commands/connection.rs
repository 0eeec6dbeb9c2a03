//! `connection`: the systems around the hub.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::SwitchConnectionMode;
use crosstie_domain::{
    access::AuthContext,
    integration::{ConnectionMode, Intent},
};

use super::{CommandError, ConfigArgs, authorize::authorize, no_such, or_none, refused, word};
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
    /// Say how far a connection goes: only look, use what is read, or send as well
    Mode {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        name: String,
        /// observe, pull or two-way
        #[arg(value_parser = mode)]
        mode: ConnectionMode,
        /// Only say what it would send
        #[arg(long)]
        dry_run: bool,
        /// Why; it is kept with the change
        #[arg(long)]
        reason: Option<String>,
    },
}

fn mode(text: &str) -> Result<ConnectionMode, String> {
    ConnectionMode::parse(text).ok_or_else(|| no_such("mode", &ConnectionMode::ALL))
}

pub(super) async fn run(command: ConnectionCommand) -> Result<ExitCode, CommandError> {
    match command {
        ConnectionCommand::List { config } => list(&config).await,
        ConnectionCommand::Authorize { config, name } => authorize(&config, &name).await,
        ConnectionCommand::Test { config, name } => test(&config, name.as_deref()).await,
        ConnectionCommand::Mode { config, name, mode, dry_run, reason } => {
            switch(&config, &name, (mode, dry_run, reason)).await
        }
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
            "{}  {}  {} {}  {}  arms {}  reads {}  writes {}",
            connection.record.id,
            connection.record.name,
            descriptor.id,
            descriptor.version,
            connection.record.mode.as_str(),
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

async fn switch(
    config: &ConfigArgs,
    name: &str,
    (mode, dry_run, reason): (ConnectionMode, bool, Option<String>),
) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let connection = connections.named(name).ok_or("no such connection is configured")?;
    let input = SwitchConnectionMode {
        connection_id: connection.record.id,
        mode,
        expected_mode: None,
        dry_run,
        reason,
        idempotency_key: None,
    };
    let decision = app.switch_connection_mode(&AuthContext::system(), input).await?;
    let switch = decision.map_err(|refusals| refused(&refusals))?;
    let verb = if switch.done { "is" } else { "would be" };
    println!("{name}: was {}, {verb} {}; {} effect(s) wait", switch.was.as_str(), mode.as_str(), switch.waiting);
    for effect in &switch.effects {
        let what = match &effect.intent {
            Intent::PlaceOrder(order) => {
                format!("place order  {}  {}  {}", order.customer.name, order.title, order.total)
            }
            Intent::IssueInvoice(invoice) => {
                format!("issue invoice  {}  {}  {}", invoice.customer.name, invoice.title, invoice.amount)
            }
            Intent::UpdateRecord(update) => {
                let fields: Vec<&str> = update.changes.keys().map(String::as_str).collect();
                format!("set {}  {} {}", fields.join(","), update.entity.as_str(), update.remote_id)
            }
        };
        println!("  {}  {what}  {}", effect.created_at, effect.key);
    }
    Ok(ExitCode::SUCCESS)
}
