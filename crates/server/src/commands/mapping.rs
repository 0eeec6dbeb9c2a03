//! `mapping`: what connections are told of their vendors' data.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use crosstie_app::{
    App, MappingPreview, Outbound, OutboundLine, PreviewMapping, RemapHistory, RevertMapping, RowOutcome, SaveMapping,
    UnaskedField,
};
use crosstie_domain::{ItemCode, access::AuthContext, ids::ConnectionId, integration::Entity};
use crosstie_store::integration::remap;
use crosstie_sync::Engine;
use serde_json::Value;

use super::{CommandError, ConfigArgs, entity, refused, word};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum MappingCommand {
    /// Print the settings in force as JSON
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// Print what the connector understands instead, as a JSON schema
        #[arg(long)]
        schema: bool,
    },
    /// Say what a mapping would change, without asking the vendor and without changing anything
    Preview {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// A file with the mapping as JSON: what is merged into the configured settings
        file: PathBuf,
        /// Only this kind of record, such as `opportunity`
        #[arg(long, value_parser = entity)]
        entity: Option<Entity>,
    },
    /// Save a mapping; a hub at work takes it up within seconds and maps history anew
    Save {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// A file with the mapping as JSON: what is merged into the configured settings
        file: PathBuf,
        /// The version that was read; 0 for none
        #[arg(long)]
        expected_version: i32,
        /// Why; it is kept with the version
        #[arg(long)]
        reason: Option<String>,
    },
    /// Put an earlier version back into force, as a new version
    Revert {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// The version whose document counts again; 0 for the configuration alone
        #[arg(long)]
        to: i32,
        /// The version that was read
        #[arg(long)]
        expected_version: i32,
        /// Why; it is kept with the version
        #[arg(long)]
        reason: Option<String>,
    },
    /// List the versions of a mapping, the newest first
    History {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
    },
    /// Map history anew by the mapping in force, without asking the vendor
    Remap {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// Only this kind of record, such as `opportunity`
        #[arg(long, value_parser = entity)]
        entity: Option<Entity>,
        /// Only say what it would change
        #[arg(long)]
        dry_run: bool,
        /// Why; it is kept with the job
        #[arg(long)]
        reason: Option<String>,
    },
}

pub(super) async fn run(command: MappingCommand) -> Result<ExitCode, CommandError> {
    match command {
        MappingCommand::Show { config, connection, schema } => {
            let Opened { app, id, .. } = find(&config, &connection).await?;
            let mapping = app.connection_mapping(id).await?.ok_or("no such connection is known")?;
            let shown = if schema { mapping.schema } else { mapping.effective };
            println!("{}", serde_json::to_string_pretty(&shown.unwrap_or_default())?);
        }
        MappingCommand::Preview { config, connection, file, entity } => {
            let document = read(&file)?;
            let Opened { app, id, .. } = find(&config, &connection).await?;
            preview(&app, (id, &connection), (Some(document), entity)).await?;
        }
        MappingCommand::Save { config, connection, file, expected_version, reason } => {
            let document = read(&file)?;
            let Opened { app, id: connection_id, .. } = find(&config, &connection).await?;
            let input = SaveMapping { connection_id, document, expected_version, reason, idempotency_key: None };
            let saved = app.save_mapping(&AuthContext::system(), input).await?;
            let saved = saved.map_err(|refusals| refused(&refusals))?;
            println!("{connection}: mapping version {}", saved.version);
            tell_what_is_missing(&app, (connection_id, &connection)).await?;
        }
        MappingCommand::Revert { config, connection, to, expected_version, reason } => {
            let Opened { app, id: connection_id, .. } = find(&config, &connection).await?;
            let input =
                RevertMapping { connection_id, to_version: to, expected_version, reason, idempotency_key: None };
            let saved = app.revert_mapping(&AuthContext::system(), input).await?;
            let saved = saved.map_err(|refusals| refused(&refusals))?;
            println!("{connection}: mapping version {}, as version {to} was", saved.version);
            tell_what_is_missing(&app, (connection_id, &connection)).await?;
        }
        MappingCommand::History { config, connection } => {
            let Opened { app, id, .. } = find(&config, &connection).await?;
            let mapping = app.connection_mapping(id).await?.ok_or("no such connection is known")?;
            for version in mapping.versions {
                let reason = version.reason.as_deref().unwrap_or("-");
                println!(
                    "{}  version {}  {}  {reason}  {}",
                    version.created_at, version.version, version.actor, version.document
                );
            }
        }
        MappingCommand::Remap { config, connection, entity, dry_run, reason } => {
            let opened = find(&config, &connection).await?;
            if dry_run {
                preview(&opened.app, (opened.id, &connection), (None, entity)).await?;
            } else {
                remap_now(opened, entity, reason).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The hub's database with its connections, and one of these.
struct Opened {
    app: App,
    engine: std::sync::Arc<Engine>,
    id: ConnectionId,
}

async fn find(config: &ConfigArgs, name: &str) -> Result<Opened, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let id = connections.named(name).ok_or("no such connection is configured")?.record.id;
    let engine = Engine::new(app.clone(), connections, super::sync::process_name());
    Ok(Opened { app, engine, id })
}

fn read(file: &PathBuf) -> Result<Value, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", file.display()))?)
}

/// Looks at everything, look by look.
async fn preview(
    app: &App,
    (connection_id, connection): (ConnectionId, &str),
    (document, entity): (Option<Value>, Option<Entity>),
) -> Result<(), CommandError> {
    let mut sum = MappingPreview::default();
    let mut outgoing = BTreeMap::new();
    let mut after = None;
    loop {
        let input = PreviewMapping { connection_id, document: document.clone(), entity, after };
        let found = app.preview_mapping(input).await?.map_err(|refusals| refused(&refusals))?;
        for row in &found.differences {
            let (entity, id) = (row.entity.as_str(), &row.remote_id);
            match row.outcome {
                RowOutcome::Changes => {
                    for field in &row.fields {
                        println!("{entity} {id}  {}: {} -> {}", field.name, field.old, field.new);
                    }
                }
                RowOutcome::Parks => println!("{entity} {id}  parks: {}", row.why.as_deref().unwrap_or("-")),
                RowOutcome::Unparks => println!("{entity} {id}  can be mapped"),
            }
        }
        sum.rows_seen += found.rows_seen;
        sum.rows_changed += found.rows_changed;
        sum.rows_parked += found.rows_parked;
        sum.rows_unparked += found.rows_unparked;
        sum.rows_skipped += found.rows_skipped;
        sum.lines_seen += found.lines_seen;
        sum.lines_changed += found.lines_changed;
        sum.lines_refused += found.lines_refused;
        for line in found.lines {
            show_line(&line);
            *outgoing.entry((line.item_code, said(&line.then))).or_insert(0_u32) += 1;
        }
        for field in found.unasked {
            match sum.unasked.iter_mut().find(|known| (known.entity, &known.name) == (field.entity, &field.name)) {
                Some(known) => known.rows += field.rows,
                None => sum.unasked.push(field),
            }
        }
        after = found.end;
        if after.is_none() {
            break;
        }
    }
    for field in &sum.unasked {
        println!("{}", missing(field, connection));
    }
    println!(
        "{} row(s): {} would change, {} would park, {} would be mapped, {} without evidence",
        sum.rows_seen, sum.rows_changed, sum.rows_parked, sum.rows_unparked, sum.rows_skipped
    );
    for ((code, said), count) in &outgoing {
        println!("item code {}: {count} line(s) to be billed -> {said}", shown(code.as_ref()));
    }
    if sum.lines_seen > 0 {
        println!(
            "{} line(s) to be billed: {} would change, {} would be refused; the vendor was not asked",
            sum.lines_seen, sum.lines_changed, sum.lines_refused
        );
    }
    Ok(())
}

/// A line that is refused, or goes out with something else than now.
fn show_line(line: &OutboundLine) {
    let is_refused = matches!(line.then, Outbound::Refused { .. });
    if !is_refused && line.now == line.then {
        return;
    }
    let (milestone, code) = (line.milestone_id, shown(line.item_code.as_ref()));
    let waits = line.effect_key.as_deref().unwrap_or("not asked for yet");
    if is_refused {
        println!("{milestone}  {code}  {waits}  refused: {}", said(&line.then));
    } else {
        println!("{milestone}  {code}  {waits}  {} -> {}", said(&line.now), said(&line.then));
    }
}

fn shown(code: Option<&ItemCode>) -> &str {
    code.map_or("(none)", ItemCode::as_str)
}

/// What a line goes out with, in one line of text.
fn said(outbound: &Outbound) -> String {
    match outbound {
        Outbound::Refused { code, why } => format!("{code}: {why}"),
        Outbound::Codes(codes) if codes.is_empty() => "text and amount alone".to_owned(),
        Outbound::Codes(codes) => {
            codes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        }
    }
}

async fn remap_now(opened: Opened, entity: Option<Entity>, reason: Option<String>) -> Result<(), CommandError> {
    let Opened { app, engine, id: connection_id } = opened;
    let input = RemapHistory { connection_id, entity, reason, idempotency_key: None };
    let job = app.remap_history(&AuthContext::system(), input).await?.map_err(|refusals| refused(&refusals))?;
    // What a hub at work has taken is done there.
    engine.remap().await?;
    let job = remap(app.store(), job.id).await?.unwrap_or(job);
    println!(
        "{}  {}: {} row(s), {} changed, {} parked, {} without evidence",
        job.id,
        word(&job.status),
        job.rows_seen,
        job.rows_changed,
        job.rows_parked,
        job.rows_skipped
    );
    Ok(())
}

/// Of a mapping that was saved: the custom fields that mapping history anew does not bring.
async fn tell_what_is_missing(app: &App, (connection_id, name): (ConnectionId, &str)) -> Result<(), CommandError> {
    let Some(known) = app.connection_mapping(connection_id).await? else { return Ok(()) };
    let custom = known.effective.and_then(|settings| settings.get("custom_fields").cloned()).unwrap_or_default();
    let kinds = custom.as_object().into_iter().flatten().filter_map(|(kind, _)| Entity::parse(kind));
    for entity in kinds {
        // One look is enough to know whether rows lack a property.
        let input = PreviewMapping { connection_id, document: None, entity: Some(entity), after: None };
        let found = app.preview_mapping(input).await?.map_err(|refusals| refused(&refusals))?;
        for field in &found.unasked {
            println!("{}", missing(field, name));
        }
    }
    Ok(())
}

fn missing(field: &UnaskedField, connection: &str) -> String {
    let UnaskedField { entity, name, property, rows } = field;
    let entity = entity.as_str();
    format!(
        "{entity} custom.{name}: {rows} row(s) do not hold {property:?}, which was not asked for when they were read; to \
         read them again: crosstie refresh start {connection} --entity {entity} --yes"
    )
}
