//! `refresh`, `sweep` and `drift`: reading again, finding what is gone, and comparing.

use std::{process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use crosstie_app::{Refresh, RefreshStep, SystemClock};
use crosstie_domain::{
    Clock, Instant,
    access::{AuthContext, RowScope},
    ids::{BackfillId, SweepId},
    integration::{BackfillRecord, DriftReportRecord, DriftScope, Entity, RunStatus, SweepRecord, SweepStatus},
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{BackfillColumn, SweepColumn, backfills, slices_of, sweeps},
};
use crosstie_sync::Engine;

use super::{CommandError, ConfigArgs, no_such, word};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum RefreshCommand {
    /// Say what would be read again and, with --yes, begin it; a running hub does it
    Start(StartArgs),
    /// List the newest back-fills with their slices
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// End a back-fill; what it read so far stays
    Cancel {
        #[command(flatten)]
        config: ConfigArgs,
        /// Its identifier
        id: BackfillId,
    },
}

#[derive(Debug, Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The connection to read
    connection: String,
    /// The kind of record, such as `opportunity`; all when left out
    #[arg(long, value_parser = entity)]
    entity: Option<Entity>,
    /// One record, by its identifier in the hub
    #[arg(long)]
    record: Option<String>,
    /// One record, by its id there
    #[arg(long)]
    remote: Option<String>,
    /// Only what changed there at this moment or later
    #[arg(long)]
    since: Option<Instant>,
    /// Only what changed there up to this moment
    #[arg(long)]
    until: Option<Instant>,
    /// Begin it; without this it is only said what would be done
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum SweepCommand {
    /// List everything at a system and find what is gone
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// The kind of record; all when left out
        #[arg(long, value_parser = entity)]
        entity: Option<Entity>,
    },
    /// List the newest sweeps
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Let a sweep go on that stopped because it would remove too much
    Confirm {
        #[command(flatten)]
        config: ConfigArgs,
        /// Its identifier
        id: SweepId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DriftCommand {
    /// Compare what a system says now with what the hub believes, and put right what differs
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// The kind of record; all when left out
        #[arg(long, value_parser = entity)]
        entity: Option<Entity>,
        /// Compare everything, not a sample
        #[arg(long)]
        full: bool,
    },
}

fn entity(text: &str) -> Result<Entity, String> {
    Entity::parse(text).ok_or_else(|| no_such("kind of record", &Entity::ALL))
}

async fn engine(config: &ConfigArgs) -> Result<Arc<Engine>, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    Ok(Engine::new(app, connections, format!("cli-{}", SystemClock::default().new_uuid())))
}

pub(super) async fn refresh(command: RefreshCommand) -> Result<ExitCode, CommandError> {
    match command {
        RefreshCommand::Start(args) => start(args).await,
        RefreshCommand::List { config, limit } => list_backfills(&config, limit).await,
        RefreshCommand::Cancel { config, id } => {
            let (app, _) = open(&config.load()?).await?;
            let ended = app.cancel_backfill(id).await?.map_err(refused)?;
            println!("{}: {}", ended.id, word(&ended.status));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn start(args: StartArgs) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&args.config.load()?).await?;
    let connection = connections.named(&args.connection).ok_or("no such connection is configured")?;
    let wanted = Refresh {
        connection_id: connection.record.id,
        entity: args.entity,
        record_id: args.record,
        remote_id: args.remote,
        since: args.since,
        until: args.until,
        dry_run: !args.yes,
        idempotency_key: None,
    };
    let done = app.refresh(&AuthContext::system(), wanted).await?.map_err(refused)?;
    for step in &done.steps {
        println!("{} {}", connection.record.name, said(step));
    }
    for line in &done.untouched {
        println!("untouched: {line}");
    }
    for backfill in &done.backfills {
        println!("begun: {}", backfill.id);
    }
    if done.backfills.is_empty() {
        println!("nothing was begun; add --yes to begin it");
    }
    Ok(ExitCode::SUCCESS)
}

fn said(step: &RefreshStep) -> String {
    let what = match (&step.remote_id, step.since) {
        (Some(id), _) => format!("record {id}"),
        (None, Some(since)) => format!("from {since} to {}", step.until),
        (None, None) => format!("everything up to {}", step.until),
    };
    format!(
        "{}: {what}, in {} slice(s), {} known, about {} page(s) and {} call(s)",
        step.entity.as_str(),
        step.slices,
        step.known,
        step.estimated_pages,
        step.estimated_calls
    )
}

async fn list_backfills(config: &ConfigArgs, limit: u32) -> Result<ExitCode, CommandError> {
    let (app, _) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(BackfillColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (backfill, _) in backfills(app.store(), &RowScope::All, &request).await?.rows {
        let BackfillRecord { id, entity, trigger, status, created_at, .. } = &backfill;
        println!("{id}  {created_at}  {} {}  {}", entity.as_str(), word(trigger), word(status));
        for slice in slices_of(app.store(), &[backfill.id]).await? {
            let since = slice.since.map_or_else(|| "the beginning".to_owned(), |at| at.to_string());
            println!(
                "    {}  {since} to {}  {}  {} page(s), {} row(s), {} changed, {} parked  {}",
                slice.position,
                slice.until,
                word(&slice.status),
                slice.pages,
                slice.rows_read,
                slice.rows_changed,
                slice.rows_parked,
                slice.error_code.as_deref().unwrap_or("-")
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn sweep(command: SweepCommand) -> Result<ExitCode, CommandError> {
    match command {
        SweepCommand::Run { config, connection, entity } => run_sweeps(&config, &connection, entity).await,
        SweepCommand::List { config, limit } => {
            let (app, _) = open(&config.load()?).await?;
            let request = PageRequest {
                condition: Condition::All(vec![]),
                order: vec![(SweepColumn::Id, Direction::Descending)],
                span: Span::First(limit, None),
            };
            for (sweep, _) in sweeps(app.store(), &RowScope::All, &request).await?.rows {
                println!("{}  {}  {} {}", sweep.id, sweep.started_at, sweep.entity.as_str(), swept(&sweep));
            }
            Ok(ExitCode::SUCCESS)
        }
        SweepCommand::Confirm { config, id } => {
            let (app, _) = open(&config.load()?).await?;
            let sweep = app.confirm_sweep(&AuthContext::system(), id).await?.map_err(refused)?;
            println!("{}: {} missing record(s) are looked for when it goes on", sweep.id, sweep.missing);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run_sweeps(config: &ConfigArgs, name: &str, entity: Option<Entity>) -> Result<ExitCode, CommandError> {
    let engine = engine(config).await?;
    let connection = engine.connections().named(name).ok_or("no such connection is configured")?;
    let (mut swept_now, mut failed) = (0, 0);
    for declared in connection.reads().filter(|declared| entity.is_none_or(|entity| entity == declared.entity)) {
        swept_now += 1;
        let label = format!("{name} {}", declared.entity.as_str());
        match engine.sweep(connection, declared).await? {
            None => println!("{label}: not swept, another process does"),
            Some(sweep) => {
                failed += i32::from(sweep.status != SweepStatus::Succeeded);
                println!("{label}: {} {}", sweep.id, swept(&sweep));
            }
        }
    }
    match (swept_now, failed) {
        (0, _) => Err("no such kind of record is read from it".into()),
        (_, 0) => Ok(ExitCode::SUCCESS),
        _ => Err(format!("{failed} of {swept_now} sweep(s) did not end").into()),
    }
}

fn swept(sweep: &SweepRecord) -> String {
    let reason = sweep.error_code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
    format!(
        "{}: {} row(s) listed, {} of {} known record(s) missing, {} gone{reason}",
        word(&sweep.status),
        sweep.rows_seen,
        sweep.missing,
        sweep.known,
        sweep.deleted
    )
}

pub(super) async fn drift(command: DriftCommand) -> Result<ExitCode, CommandError> {
    let DriftCommand::Run { config, connection: name, entity, full } = command;
    let engine = engine(&config).await?;
    let connection = engine.connections().named(&name).ok_or("no such connection is configured")?;
    let scope = if full { DriftScope::Full } else { DriftScope::Sample };
    let (mut compared, mut failed) = (0, 0);
    for declared in connection.reads().filter(|declared| entity.is_none_or(|entity| entity == declared.entity)) {
        compared += 1;
        let label = format!("{name} {}", declared.entity.as_str());
        match engine.compare(connection, declared, scope).await? {
            None => println!("{label}: not compared, another process does"),
            Some(report) => {
                failed += i32::from(report.status != RunStatus::Succeeded);
                println!("{label}: {}", drifted(&report));
            }
        }
    }
    match (compared, failed) {
        (0, _) => Err("no such kind of record is read from it".into()),
        (_, 0) => Ok(ExitCode::SUCCESS),
        _ => Err(format!("{failed} of {compared} comparison(s) did not end").into()),
    }
}

fn drifted(report: &DriftReportRecord) -> String {
    let drift = DriftReportRecord::per_million(report.differing, report.compared);
    let drift = drift.map_or_else(|| "-".to_owned(), |drift| drift.to_string());
    let reason = report.error_code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
    format!(
        "{} record(s) compared, {} differed, {} put right, drift {drift} in a million{reason}",
        report.compared, report.differing, report.healed
    )
}

fn refused(refusals: Vec<crosstie_domain::Refusal>) -> CommandError {
    refusals.into_iter().map(|refusal| refusal.message).collect::<Vec<_>>().join(" ").into()
}
