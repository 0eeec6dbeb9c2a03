//! `erasure` and `person erase`: persons of whom nothing is kept any more; and `lineage`: whether what was said stands.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use crosstie_app::erasure::{ErasePerson, LiftErasure};
use crosstie_domain::{
    access::{AuthContext, RowScope},
    ids::{AccountId, ErasureId, PersonId},
    integration::erasure::ErasureRecord,
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{ErasureColumn, erasures, erasures_by_ids},
};

use super::{CommandError, ConfigArgs, refused, word};
use crate::hub::open_app;

#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// An e-mail address; may be repeated
    #[arg(long = "email")]
    emails: Vec<String>,
    /// A name of two words or more; may be repeated; it is erased also where somebody else has it
    #[arg(long = "name")]
    names: Vec<String>,
    /// A person of the hub, whose name and e-mail address are added
    #[arg(long)]
    person: Option<PersonId>,
    /// An account that is a person, whose name and e-mail address are added
    #[arg(long)]
    record: Option<AccountId>,
    /// Why; it is kept
    #[arg(long)]
    reason: String,
    /// Say only what would be touched; it goes before --yes
    #[arg(long)]
    dry_run: bool,
    /// Begin it; without this it is only said what would be touched
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ErasureCommand {
    /// List the newest erasures
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show an erasure with the tables that it touched
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Its identifier
        id: ErasureId,
    },
    /// Let what was erased be taken in again; what is gone stays gone
    Lift {
        #[command(flatten)]
        config: ConfigArgs,
        /// Its identifier
        id: ErasureId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum LineageCommand {
    /// Verify that what systems said stands as it was written down, but for what was erased
    Verify {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

pub(super) async fn erase(args: EraseArgs) -> Result<ExitCode, CommandError> {
    let app = open_app(&args.config.load()?).await?;
    let wanted = ErasePerson {
        emails: args.emails,
        names: args.names,
        person_id: args.person,
        record_id: args.record,
        reason: args.reason,
        dry_run: true,
        idempotency_key: None,
    };
    let auth = AuthContext::system();
    let asked = app.erase_person(&auth, wanted.clone()).await?.map_err(|refusals| refused(&refusals))?;
    for place in &asked.places {
        println!("{}: {} row(s)", place.table, place.rows);
    }
    if args.dry_run || !args.yes {
        println!("nothing was erased; add --yes to begin it");
        return Ok(ExitCode::SUCCESS);
    }
    let begun = app.erase_person(&auth, ErasePerson { dry_run: false, ..wanted }).await?;
    if let Some(erasure) = begun.map_err(|refusals| refused(&refusals))?.erasure {
        println!("begun: {}; a running hub does it", erasure.id);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: ErasureCommand) -> Result<ExitCode, CommandError> {
    match command {
        ErasureCommand::List { config, limit } => {
            let app = open_app(&config.load()?).await?;
            let order = vec![(ErasureColumn::Id, Direction::Descending)];
            let span = Span::First(limit, None);
            let request = PageRequest { condition: Condition::All(vec![]), order, span };
            for (erasure, _) in erasures(app.store(), &RowScope::All, &request).await?.rows {
                println!("{}", line(&erasure));
            }
        }
        ErasureCommand::Show { config, id } => {
            let app = open_app(&config.load()?).await?;
            let found = erasures_by_ids(app.store(), &RowScope::All, &[id]).await?.pop();
            let erasure = found.ok_or("there is no such erasure")?;
            println!("{}", line(&erasure));
            println!("because: {}", erasure.reason);
            for place in &erasure.places {
                println!("{}: {} row(s)", place.table, place.rows);
            }
        }
        ErasureCommand::Lift { config, id } => {
            let app = open_app(&config.load()?).await?;
            let wanted = LiftErasure { erasure_id: id, idempotency_key: None };
            let lifted = app.lift_erasure(&AuthContext::system(), wanted).await?;
            println!("{}", line(&lifted.map_err(|refusals| refused(&refusals))?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn lineage(command: LineageCommand) -> Result<ExitCode, CommandError> {
    let LineageCommand::Verify { config } = command;
    let told = open_app(&config.load()?).await?.verify_lineage().await?;
    println!("{} verified, {} of them with something erased", told.verified, told.erased);
    if told.unsealed > 0 {
        println!("{} from before there were seals: nothing can be said of them", told.unsealed);
    }
    for id in &told.broken {
        println!("changed: {id}");
    }
    Ok(if told.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(erasure: &ErasureRecord) -> String {
    let mut line = format!(
        "{}  {}  by {} at {}  {} e-mail address(es), {} name(s)  pass {}, {} row(s) erased of {} looked at",
        erasure.id,
        word(&erasure.status),
        erasure.requested_by,
        erasure.created_at,
        erasure.emails,
        erasure.names,
        erasure.pass,
        erasure.rows_erased,
        erasure.rows_seen
    );
    if let (Some(at), Some(by)) = (erasure.lifted_at, &erasure.lifted_by) {
        line.push_str(&format!("  lifted by {by} at {at}"));
    }
    line
}
