//! `inbox`: what came from other systems.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_domain::{
    access::RowScope,
    integration::{InboundEventRecord, ParkedRowRecord},
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{InboundColumn, ParkedColumn, inbound_events, parked_rows},
};

use super::{CommandError, ConfigArgs, word};
use crate::hub::open;

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
    /// List rows that could not be applied and wait by themselves
    Parked {
        #[command(flatten)]
        config: ConfigArgs,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

pub(super) async fn run(command: InboxCommand) -> Result<ExitCode, CommandError> {
    match command {
        InboxCommand::List { config, limit } => list(&config, limit).await?,
        InboxCommand::Parked { config, limit } => parked(&config, limit).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(config: &ConfigArgs, limit: u32) -> Result<(), CommandError> {
    let (app, _) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(InboundColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    let page = inbound_events(app.store(), &RowScope::All, &request).await?;
    for (event, _) in page.rows {
        println!("{}", line(&event));
    }
    Ok(())
}

fn line(event: &InboundEventRecord) -> String {
    let target = match (&event.entity, &event.remote_id) {
        (Some(entity), Some(id)) => format!("{} {id}", entity.as_str()),
        _ => "-".to_owned(),
    };
    let code = event.error_code.as_deref().unwrap_or("-");
    format!(
        "{}  {}  {}  {target}  {}  attempts {}  {code}",
        event.id,
        event.received_at,
        word(&event.status),
        event.event_type,
        event.attempts
    )
}

async fn parked(config: &ConfigArgs, limit: u32) -> Result<(), CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(ParkedColumn::LastSeenAt, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (row, _) in parked_rows(app.store(), &RowScope::All, &request).await?.rows {
        // A connection that left the configuration keeps its rows.
        let connection = connections.get(row.connection_id).map(|connection| connection.record.name.clone());
        println!("{}", parked_line(&row, &connection.unwrap_or_else(|| row.connection_id.to_string())));
    }
    Ok(())
}

fn parked_line(row: &ParkedRowRecord, connection: &str) -> String {
    let (entity, id, code, message) = (row.entity.as_str(), &row.remote_id, &row.code, &row.message);
    format!("{}  {connection}  {entity} {id}  attempts {}  {code}  {message}", row.last_seen_at, row.attempts)
}
