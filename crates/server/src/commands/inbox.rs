//! `inbox`: what came from other systems, and what a person does about what could not be applied.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use crosstie_app::{App, EditInboundEvent, EditParkedRow, ReplayRequest};
use crosstie_domain::{
    access::{AuthContext, RowScope},
    ids::{InboundEventId, ParkedId},
    integration::{Entity, InboundEventRecord, InboundStatus, ParkedRowRecord},
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{
        InboundColumn, ParkedColumn, RefusalColumn, inbound_events, inbound_events_by_ids, inbound_payloads,
        inbound_refusals, parked_rows, parked_rows_by_ids,
    },
};
use crosstie_sync::Connections;

use super::{
    CommandError, ConfigArgs, entity, or_none, refused,
    replay::{Columns, Filters, How, is, print_corrections, tell},
    word,
};
use crate::hub::open;

const STATUSES: [InboundStatus; 6] = [
    InboundStatus::Received,
    InboundStatus::Processed,
    InboundStatus::Duplicate,
    InboundStatus::Ignored,
    InboundStatus::Retrying,
    InboundStatus::Parked,
];

#[derive(Debug, Subcommand)]
pub(super) enum InboxCommand {
    /// List the newest events that webhooks brought
    List {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        filters: Filters,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// List rows that could not be applied and wait by themselves
    Parked {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        filters: Filters,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// List webhooks that were not believed: the first few of each connection in each hour
    Refusals {
        #[command(flatten)]
        config: ConfigArgs,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show an event with what it came in, or a parked row with what it holds
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Its identifier: `inb_…` or `prk_…`
        id: String,
    },
    /// Take events up again, or map parked rows again
    Replay(ReplayArgs),
    /// Correct what could not be applied: a parked row, or what an event points at; to be applied it is replayed
    Edit(EditArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Events (`inb_…`) or parked rows (`prk_…`)
    ids: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    /// The filters are about parked rows, and not about events
    #[arg(long)]
    parked: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct EditArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A parked row (`prk_…`) or an event (`inb_…`)
    id: String,
    /// Of a row: a file that holds it as it should have come, as JSON
    #[arg(long)]
    raw: Option<PathBuf>,
    /// Of a row: the version that you read, as `inbox show` prints it
    #[arg(long)]
    expected_version: Option<i32>,
    /// Of an event: the kind of record that it is about
    #[arg(long, value_parser = entity, requires = "remote")]
    entity: Option<Entity>,
    /// Of an event: the id of that record at the sender
    #[arg(long, requires = "entity")]
    remote: Option<String>,
    /// Why, in words; it is kept with the correction
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(command: InboxCommand) -> Result<ExitCode, CommandError> {
    match command {
        InboxCommand::Refusals { config, limit } => refusals(&config, limit).await,
        InboxCommand::List { config, filters, limit } => list(&config, &filters, limit).await,
        InboxCommand::Parked { config, filters, limit } => parked(&config, &filters, limit).await,
        InboxCommand::Show { config, id } => show(&config, &id).await,
        InboxCommand::Replay(args) => replay(args).await,
        InboxCommand::Edit(args) => edit(args).await,
    }
}

fn events(
    (app, connections): (&App, &Connections),
    filters: &Filters,
) -> Result<Condition<InboundColumn>, CommandError> {
    let columns = Columns {
        status: Some(InboundColumn::Status),
        connection: InboundColumn::Connection,
        code: InboundColumn::Code,
        moment: InboundColumn::ReceivedAt,
    };
    let statuses = STATUSES.map(|status| word(&status));
    let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
    let mut all = filters.conditions((app.store(), connections), (columns, &statuses))?;
    all.extend(filters.entity().map(|entity| is(InboundColumn::Entity, entity.as_str())));
    Ok(Condition::All(all))
}

fn rows((app, connections): (&App, &Connections), filters: &Filters) -> Result<Condition<ParkedColumn>, CommandError> {
    let columns = Columns {
        status: None,
        connection: ParkedColumn::Connection,
        code: ParkedColumn::Code,
        moment: ParkedColumn::LastSeenAt,
    };
    let mut all = filters.conditions((app.store(), connections), (columns, &[]))?;
    all.extend(filters.entity().map(|entity| is(ParkedColumn::Entity, entity.as_str())));
    Ok(Condition::All(all))
}

async fn list(config: &ConfigArgs, filters: &Filters, limit: u32) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: events((&app, &connections), filters)?,
        order: vec![(InboundColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (event, _) in inbound_events(app.store(), &RowScope::All, &request).await?.rows {
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
        "{}  {}  {}  {target}  {}  attempts {}  {code}",
        event.id,
        event.received_at,
        word(&event.status),
        event.event_type,
        event.attempts
    )
}

async fn parked(config: &ConfigArgs, filters: &Filters, limit: u32) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: rows((&app, &connections), filters)?,
        order: vec![(ParkedColumn::LastSeenAt, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (row, _) in parked_rows(app.store(), &RowScope::All, &request).await?.rows {
        println!("{}", parked_line(&row, &connections));
    }
    Ok(ExitCode::SUCCESS)
}

fn parked_line(row: &ParkedRowRecord, connections: &Connections) -> String {
    // A connection that left the configuration keeps its rows.
    let connection = connections.get(row.connection_id).map(|connection| connection.record.name.clone());
    let connection = connection.unwrap_or_else(|| row.connection_id.to_string());
    let ParkedRowRecord { id, remote_id, code, message, .. } = row;
    let entity = row.entity.as_str();
    format!(
        "{}  {id}  {connection}  {entity} {remote_id}  attempts {}  {code}  {message}",
        row.last_seen_at, row.attempts
    )
}

async fn show(config: &ConfigArgs, id: &str) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let store = app.store();
    if let Ok(row) = id.parse::<ParkedId>() {
        let row = parked_rows_by_ids(store, &RowScope::All, &[row]).await?.pop().ok_or("no such parked row")?;
        println!("{}", parked_line(&row, &connections));
        println!("version {}, mapped by {}", row.version, row.mapping_version);
        println!("{}", row.raw);
        print_corrections(store, id).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let event: InboundEventId = id.parse().map_err(|_| "not an identifier of an event or a parked row")?;
    let event = inbound_events_by_ids(store, &RowScope::All, &[event]).await?.pop().ok_or("no such event")?;
    println!("{}", line(&event));
    println!("key {}", event.dedupe_key);
    if let Some(message) = &event.error_message {
        println!("{message}");
    }
    match inbound_payloads(store, &RowScope::All, std::slice::from_ref(&event.payload_id)).await?.pop() {
        Some(payload) => {
            for (name, value) in &payload.headers {
                println!("{name}: {value}");
            }
            println!("\n{}", String::from_utf8_lossy(&payload.body));
        }
        None => println!("what it came in is not kept any more"),
    }
    print_corrections(store, id).await?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(args: ReplayArgs) -> Result<ExitCode, CommandError> {
    let ReplayArgs { config, ids, filters, parked, how } = args;
    let (app, connections) = open(&config.load()?).await?;
    if ids.is_empty() && filters.is_empty() && !how.all {
        return Err("name identifiers or filters, or `--all`".into());
    }
    let are_rows = ids.iter().filter(|id| id.parse::<ParkedId>().is_ok()).count();
    if ids.iter().any(|id| id.parse::<ParkedId>().is_err() && id.parse::<InboundEventId>().is_err()) {
        return Err("not an identifier of an event or a parked row".into());
    }
    if are_rows > 0 && are_rows < ids.len() {
        return Err("events and parked rows are replayed one kind after the other".into());
    }
    let here = (&app, &connections);
    let system = AuthContext::system();
    let decision = if parked || are_rows > 0 {
        let condition = named(ParkedColumn::Id, &ids, rows(here, &filters)?);
        app.replay_parked_rows(&system, request(condition, &how)).await?
    } else {
        let condition = named(InboundColumn::Id, &ids, events(here, &filters)?);
        app.replay_inbound_events(&system, request(condition, &how)).await?
    };
    tell(&app, decision, &how).await
}

/// Those with these identifiers, if any are named, for which a condition holds.
pub(super) fn named<C: Copy>(id: C, ids: &[String], condition: Condition<C>) -> Condition<C> {
    let one_of = (!ids.is_empty()).then(|| Condition::Any(ids.iter().map(|text| is(id, text.as_str())).collect()));
    Condition::All(one_of.into_iter().chain([condition]).collect())
}

pub(super) fn request<C>(condition: Condition<C>, how: &How) -> ReplayRequest<C> {
    ReplayRequest { condition, dry_run: how.dry_run, reason: how.reason.clone(), idempotency_key: None }
}

async fn edit(args: EditArgs) -> Result<ExitCode, CommandError> {
    let EditArgs { config, id, raw, expected_version, entity, remote, reason } = args;
    let (app, connections) = open(&config.load()?).await?;
    let system = AuthContext::system();
    if let Ok(row_id) = id.parse::<ParkedId>() {
        let file = raw.ok_or("name the file that holds the row, with `--raw`")?;
        let raw = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let raw = raw.trim().to_owned();
        let input = EditParkedRow { row_id, raw, expected_version, reason, idempotency_key: None };
        let row = app.edit_parked_row(&system, input).await?.map_err(|refusals| refused(&refusals))?;
        println!("{}", parked_line(&row, &connections));
        println!("version {}; `inbox replay {id}` maps it again", row.version);
        return Ok(ExitCode::SUCCESS);
    }
    let event_id: InboundEventId = id.parse().map_err(|_| "not an identifier of an event or a parked row")?;
    let (Some(entity), Some(remote_id)) = (entity, remote) else {
        return Err("name what the event should point at, with `--entity` and `--remote`".into());
    };
    let input = EditInboundEvent { event_id, entity, remote_id, expected_status: None, reason, idempotency_key: None };
    let event = app.edit_inbound_event(&system, input).await?.map_err(|refusals| refused(&refusals))?;
    println!("{}", line(&event));
    println!("`inbox replay {id}` takes it up again");
    Ok(ExitCode::SUCCESS)
}

async fn refusals(config: &ConfigArgs, limit: u32) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(RefusalColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    let page = inbound_refusals(app.store(), &RowScope::All, &request).await?;
    for (refusal, _) in page.rows {
        let known = refusal.connection_id.and_then(|id| connections.get(id));
        let name = known.map_or("nobody", |connection| connection.record.name.as_str());
        println!(
            "{}  {name}  {}  asked for {:?}  {} byte(s) {}  headers {}",
            refusal.refused_at,
            refusal.code,
            refusal.asked_for,
            refusal.body_bytes,
            refusal.body_sha256.get(..16).unwrap_or_default(),
            or_none(&refusal.header_names, "none"),
        );
        for header in &refusal.safe_headers {
            println!("  {}: {}", header.name, header.value);
        }
        if let Some(excerpt) = &refusal.body_excerpt {
            println!("  {excerpt}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
