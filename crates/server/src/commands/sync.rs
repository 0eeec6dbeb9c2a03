//! `sync`: reading other systems by hand.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::SystemClock;
use crosstie_domain::{
    Clock,
    integration::{Entity, RunStatus, RunTrigger},
};
use crosstie_sync::Engine;

use super::{CommandError, ConfigArgs, entity};
use crate::hub::open;

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

/// The name of a command's process in leases.
pub(super) fn process_name() -> String {
    format!("cli-{}", SystemClock::default().new_uuid())
}

pub(super) async fn run(command: SyncCommand) -> Result<ExitCode, CommandError> {
    let SyncCommand::Run { config, connection, entity } = command;
    let (app, connections) = open(&config.load()?).await?;
    let engine = Engine::new(app, connections, process_name());
    let (mut runs, mut failed, mut busy) = (0, 0, 0);
    for target in engine.connections().all() {
        if connection.as_ref().is_some_and(|name| *name != target.record.name) {
            continue;
        }
        for declared in target.reads() {
            if entity.is_some_and(|entity| entity != declared.entity) {
                continue;
            }
            runs += 1;
            let label = format!("{} {}", target.record.name, declared.entity.as_str());
            match engine.pull(target, declared, RunTrigger::Manual).await? {
                None => {
                    println!("{label}: not read, another process reads it now");
                    busy += 1;
                }
                Some(run) if run.status == RunStatus::Succeeded => println!(
                    "{label}: {} row(s) read, {} changed, {} parked",
                    run.rows_read, run.rows_changed, run.rows_parked
                ),
                Some(run) => {
                    let reason = run.error_message.unwrap_or_default();
                    println!("{label}: {} ({reason})", run.error_code.unwrap_or_default());
                    failed += 1;
                }
            }
        }
    }
    engine.connections().exchanges().flush().await;
    match (runs, failed, busy) {
        (0, ..) => Err("no such connection or kind of record is configured".into()),
        (_, 0, 0) => Ok(ExitCode::SUCCESS),
        (_, 0, _) => Err(format!("{busy} of {runs} run(s) did not begin, because another process reads").into()),
        _ => Err(format!("{failed} of {runs} run(s) failed").into()),
    }
}
