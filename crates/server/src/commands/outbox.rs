//! `outbox`: what is asked of other systems.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_store::integration::{EffectRow, EffectStatus, effects};

use super::{CommandError, ConfigArgs, no_such, word};
use crate::hub::open;

const STATUSES: [(EffectStatus, &str); 4] = [
    (EffectStatus::Waiting, "WAITING"),
    (EffectStatus::Sent, "SENT"),
    (EffectStatus::Done, "DONE"),
    (EffectStatus::Rejected, "REJECTED"),
];

#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// List the newest effects: orders and invoices that billing was asked for
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only effects that stand so, such as `REJECTED`
        #[arg(long, value_parser = status)]
        status: Option<EffectStatus>,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Send an effect that was rejected again, after what was wrong has been put right
    Replay {
        #[command(flatten)]
        config: ConfigArgs,
        /// The effect's key, as `outbox list` prints it
        key: String,
    },
}

fn status(text: &str) -> Result<EffectStatus, String> {
    let found = STATUSES.iter().find(|(_, word)| word.eq_ignore_ascii_case(text));
    found.map(|(status, _)| *status).ok_or_else(|| no_such("status", &STATUSES))
}

pub(super) async fn run(command: OutboxCommand) -> Result<ExitCode, CommandError> {
    match command {
        OutboxCommand::List { config, status, limit } => list(&config, status, limit).await,
        OutboxCommand::Replay { config, key } => replay(&config, &key).await,
    }
}

async fn list(config: &ConfigArgs, status: Option<EffectStatus>, limit: u32) -> Result<ExitCode, CommandError> {
    let (app, _) = open(&config.load()?).await?;
    for effect in effects(app.store(), status, limit.into()).await? {
        println!("{}", line(&effect));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(effect: &EffectRow) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{}  {}  attempts {}  {}  {}",
        effect.key,
        word(&effect.status),
        effect.attempts,
        or_dash(&effect.remote_id),
        or_dash(&effect.error_code)
    )
}

async fn replay(config: &ConfigArgs, key: &str) -> Result<ExitCode, CommandError> {
    let (app, _) = open(&config.load()?).await?;
    match app.send_again(key).await? {
        Ok(()) => {
            println!("{key}: a hub that runs sends it again");
            Ok(ExitCode::SUCCESS)
        }
        Err(refusals) => {
            let reasons: Vec<_> = refusals.into_iter().map(|refusal| refusal.message).collect();
            Err(format!("{key}: {}", reasons.join(" ")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_words_that_are_kept() {
        for (kind, text) in STATUSES {
            assert_eq!(word(&kind), text);
            assert_eq!(status(&text.to_lowercase()), Ok(kind));
        }
        assert_eq!(status("gone"), Err("no such status; there are WAITING, SENT, DONE, REJECTED".to_owned()));
    }
}
