//! `connection`: the systems around the hub.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::SwitchConnectionMode;
use crosstie_domain::{
    access::AuthContext,
    integration::{ConnectionMode, Intent, PauseScope},
};

use super::{
    CommandError, ConfigArgs,
    authorize::authorize,
    differences,
    explain::explain,
    no_such, or_none,
    pause::{Way, change, scope},
    refused, word,
};
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
    /// Say up to when each kind of record was read whole, and how old that may be
    Freshness {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection; all when left out
        name: Option<String>,
    },
    /// Say what a connection does next and when, and why it waits
    Explain {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign in to a system and say who the hub is there
    Test {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection; all when left out
        name: Option<String>,
    },
    /// Let a connection wait: nothing is read by schedule, nothing is sent; webhooks are taken in all the same
    Pause {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        name: String,
        /// reading, sending or all
        #[arg(long, default_value = "all", value_parser = scope)]
        what: PauseScope,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
        /// Why; it is kept with the pause
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a connection go on that was paused
    Resume {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        name: String,
        /// reading, sending or all
        #[arg(long, default_value = "all", value_parser = scope)]
        what: PauseScope,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
        /// Why; it is kept with the pause
        #[arg(long)]
        reason: Option<String>,
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
    /// List what the hub and a system hold differently, and what a switch to two-way would do about it
    Differences {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        name: String,
    },
}

fn mode(text: &str) -> Result<ConnectionMode, String> {
    ConnectionMode::parse(text).ok_or_else(|| no_such("mode", &ConnectionMode::ALL))
}

pub(super) async fn run(command: ConnectionCommand) -> Result<ExitCode, CommandError> {
    match command {
        ConnectionCommand::List { config } => list(&config).await,
        ConnectionCommand::Authorize { config, name } => authorize(&config, &name).await,
        ConnectionCommand::Freshness { config, name } => fresh(&config, name.as_deref()).await,
        ConnectionCommand::Explain { config, name, json } => explain(&config, &name, json).await,
        ConnectionCommand::Test { config, name } => test(&config, name.as_deref()).await,
        ConnectionCommand::Pause { config, name, what, dry_run, reason } => {
            change(&config, (&name, Way::Pause), (what, dry_run, reason)).await
        }
        ConnectionCommand::Resume { config, name, what, dry_run, reason } => {
            change(&config, (&name, Way::Resume), (what, dry_run, reason)).await
        }
        ConnectionCommand::Mode { config, name, mode, dry_run, reason } => {
            switch(&config, &name, (mode, dry_run, reason)).await
        }
        ConnectionCommand::Differences { config, name } => {
            let (app, connections) = open(&config.load()?).await?;
            let connection = connections.named(&name).ok_or("no such connection is configured")?;
            differences::differences(&app, connection.record.id).await
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

async fn fresh(config: &ConfigArgs, name: Option<&str>) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let (mut shown, mut late) = (0, 0);
    for one in crosstie_sync::freshness(&app, &connections).await? {
        let Some(connection) = connections
            .get(one.connection_id)
            .filter(|connection| name.is_none_or(|name| name == connection.record.name))
        else {
            continue;
        };
        shown += 1;
        late += i32::from(one.late);
        let proven = match (one.watermark, one.age_seconds) {
            (Some(at), Some(age)) => format!("read up to {at}, {age} s ago"),
            _ => "not read whole yet".to_owned(),
        };
        println!(
            "{} {}: {proven}, objective {} s{}",
            connection.record.name,
            one.entity.as_str(),
            one.objective_seconds,
            if one.late { ", LATE" } else { "" }
        );
        if let Some(at) = one.paused_at {
            println!("{} {}: reading is PAUSED since {at}", connection.record.name, one.entity.as_str());
        }
    }
    match (shown, late) {
        (0, _) => Err("no such connection is configured".into()),
        (_, 0) => Ok(ExitCode::SUCCESS),
        _ => Err(format!("{late} of {shown} kind(s) of record are late").into()),
    }
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
        let what = match &effect.payload {
            Some(Intent::PlaceOrder(order)) => {
                format!("place order  {}  {}  {}", order.customer.name, order.title, order.total)
            }
            Some(Intent::IssueInvoice(invoice)) => {
                format!("issue invoice  {}  {}  {}", invoice.customer.name, invoice.title, invoice.amount)
            }
            Some(Intent::UpdateRecord(update)) => {
                let fields: Vec<&str> = update.changes.keys().map(String::as_str).collect();
                format!("set {}  {} {}", fields.join(","), update.entity.as_str(), update.remote_id)
            }
            None => word(&effect.intent),
        };
        println!("  {}  {what}  {}", effect.created_at, effect.key);
    }
    if let Some(summary) = &switch.differences {
        println!("  {}", differences::counts(summary));
    }
    Ok(ExitCode::SUCCESS)
}
