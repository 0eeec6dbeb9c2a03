//! `connection`, `sync` and `inbox`: the systems around the hub.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::SystemClock;
use crosstie_domain::{
    Clock,
    access::RowScope,
    integration::{Entity, InboundEventRecord, RunStatus, RunTrigger},
};
use crosstie_store::{Condition, Direction, PageRequest, Span, integration::InboundColumn};
use crosstie_sync::Engine;

use super::{CommandError, ConfigArgs};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List the connections that are configured
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Sign in to a system and say who the hub is there
    Test {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection; all when left out
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SyncCommand {
    /// Read a system up to now
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection; all when left out
        connection: Option<String>,
        /// The kind of record, such as `opportunity`; all when left out
        #[arg(long, value_parser = entity)]
        entity: Option<Entity>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum InboxCommand {
    /// List the newest events that webhooks brought
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

fn entity(text: &str) -> Result<Entity, String> {
    let all = || Entity::ALL.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(", ");
    Entity::parse(text).ok_or_else(|| format!("no such kind of record; there are {}", all()))
}

pub(super) async fn run(command: ConnectionCommand) -> Result<ExitCode, CommandError> {
    match command {
        ConnectionCommand::List { config } => {
            let (_, connections) = open(&config.load()?).await?;
            for connection in connections.all() {
                let descriptor = connection.connector.descriptor();
                let reads: Vec<_> = descriptor.reads.iter().map(|read| read.entity.as_str()).collect();
                let writes: Vec<_> = descriptor.writes.iter().map(|write| write.remote).collect();
                println!(
                    "{}  {}  {} {}  reads {}  writes {}",
                    connection.record.id,
                    connection.record.name,
                    descriptor.id,
                    descriptor.version,
                    or_nothing(&reads),
                    or_nothing(&writes),
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        ConnectionCommand::Test { config, name } => {
            let (_, connections) = open(&config.load()?).await?;
            let mut code = ExitCode::SUCCESS;
            let mut tested = 0;
            for connection in connections.all() {
                if name.as_ref().is_some_and(|name| *name != connection.record.name) {
                    continue;
                }
                tested += 1;
                match connection.connector.probe(&connection.net).await {
                    Ok(who) => println!("{}: ok, {}", connection.record.name, who.account),
                    Err(fault) => {
                        println!("{}: {} ({fault})", connection.record.name, fault.code());
                        code = ExitCode::FAILURE;
                    }
                }
            }
            if tested == 0 {
                return Err("no such connection is configured".into());
            }
            Ok(code)
        }
    }
}

fn or_nothing(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(",") }
}

pub(super) async fn sync(command: SyncCommand) -> Result<ExitCode, CommandError> {
    let SyncCommand::Run { config, connection, entity } = command;
    let (app, connections) = open(&config.load()?).await?;
    let engine = Engine::new(app, connections, format!("cli-{}", SystemClock::default().new_uuid()));
    let mut code = ExitCode::SUCCESS;
    let mut runs = 0;
    for target in engine.connections().all() {
        if connection.as_ref().is_some_and(|name| *name != target.record.name) {
            continue;
        }
        for declared in target.connector.descriptor().reads {
            if entity.is_some_and(|entity| entity != declared.entity) {
                continue;
            }
            runs += 1;
            let label = format!("{} {}", target.record.name, declared.entity.as_str());
            match engine.pull(target, declared, RunTrigger::Manual).await? {
                None => println!("{label}: another process reads it now"),
                Some(run) if run.status == RunStatus::Succeeded => println!(
                    "{label}: {} row(s) read, {} changed, {} parked",
                    run.rows_read, run.rows_changed, run.rows_parked
                ),
                Some(run) => {
                    let reason = run.error_message.unwrap_or_default();
                    println!("{label}: {} ({reason})", run.error_code.unwrap_or_default());
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    if runs == 0 { Err("no such connection or kind of record is configured".into()) } else { Ok(code) }
}

pub(super) async fn inbox(command: InboxCommand) -> Result<ExitCode, CommandError> {
    let InboxCommand::List { config, limit } = command;
    let (app, _) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(InboundColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    let page = crosstie_store::integration::inbound_events(app.store(), &RowScope::All, &request).await?;
    for (event, _) in page.rows {
        println!("{}", line(&event));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(event: &InboundEventRecord) -> String {
    let target = match (&event.entity, &event.remote_id) {
        (Some(entity), Some(id)) => format!("{} {id}", entity.as_str()),
        _ => "-".to_owned(),
    };
    let code = event.error_code.as_deref().unwrap_or("-");
    format!(
        "{}  {}  {:?}  {target}  {}  attempts {}  {code}",
        event.id, event.received_at, event.status, event.event_type, event.attempts
    )
}
