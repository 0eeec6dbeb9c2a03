//! `connection pause` and `connection resume`.

use std::process::ExitCode;

use crosstie_app::ChangePause;
use crosstie_domain::{access::AuthContext, integration::PauseScope};

use super::{CommandError, ConfigArgs, no_such, or_none, refused, word};
use crate::hub::open;

/// Which way it goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Pause,
    Resume,
}

/// What of a connection, as it is written on the command line.
pub(super) fn scope(text: &str) -> Result<PauseScope, String> {
    PauseScope::parse(text).ok_or_else(|| no_such("part of a connection", &PauseScope::ALL))
}

pub(super) async fn change(
    config: &ConfigArgs,
    (name, way): (&str, Way),
    (what, dry_run, reason): (PauseScope, bool, Option<String>),
) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let connection = connections.named(name).ok_or("no such connection is configured")?;
    let input = ChangePause { connection_id: connection.record.id, what, dry_run, reason, idempotency_key: None };
    let auth = AuthContext::system();
    let decision = match way {
        Way::Pause => app.pause_connection(&auth, input).await?,
        Way::Resume => app.resume_connection(&auth, input).await?,
    };
    let change = decision.map_err(|refusals| refused(&refusals))?;
    let changed: Vec<String> = change.changed.iter().map(|part| word(part).to_lowercase()).collect();
    let verb = match (way, change.done) {
        (Way::Pause, true) => "paused now",
        (Way::Pause, false) => "would be paused",
        (Way::Resume, true) => "goes on now",
        (Way::Resume, false) => "would go on",
    };
    let lasting: Vec<String> = change.lasting.iter().map(|pause| word(&pause.what).to_lowercase()).collect();
    println!("{name}: {verb}: {}; paused: {}", or_none(&changed, "nothing"), or_none(&lasting, "nothing"));
    Ok(ExitCode::SUCCESS)
}
