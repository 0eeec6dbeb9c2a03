//! `doctor`: whether a hub can work as it is set up, one line for each thing that was looked at. Nothing is changed, but
//! that a connection may renew its token to sign in, and that an empty database gets the table in which migrations are
//! counted.

mod connections;
mod database;

use std::process::ExitCode;

use clap::Args;
use crosstie_app::{App, SystemClock};
use crosstie_store::Store;
use serde::Serialize;

use super::{CommandError, ConfigArgs};
use crate::{config::Config, credentials};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum State {
    /// As it should be.
    #[serde(rename = "ok")]
    Ok,
    /// The hub works, and somebody should look at it.
    #[serde(rename = "warning")]
    Warning,
    /// The hub does not work, or not as it promises.
    #[serde(rename = "FAILED")]
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: String,
    state: State,
    text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &str, state: State, (text, advice): (String, Option<&str>)) {
        let advice = advice.map(str::to_owned);
        self.0.push(Finding { check: check.to_owned(), state, text, advice });
    }

    fn ok(&mut self, check: &str, text: impl Into<String>) {
        self.add(check, State::Ok, (text.into(), None));
    }

    fn warning(&mut self, check: &str, text: impl Into<String>, advice: &str) {
        self.add(check, State::Warning, (text.into(), Some(advice)));
    }

    fn failed(&mut self, check: &str, text: impl Into<String>, advice: &str) {
        self.add(check, State::Failed, (text.into(), Some(advice)));
    }

    fn count(&self, state: State) -> usize {
        self.0.iter().filter(|finding| finding.state == state).count()
    }
}

pub(super) async fn run(args: DoctorArgs) -> Result<ExitCode, CommandError> {
    let mut findings = Findings::default();
    look(&args.config, &mut findings).await;
    let (failed, warnings) = (findings.count(State::Failed), findings.count(State::Warning));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings.0)?);
    } else {
        for Finding { check, state, text, advice } in &findings.0 {
            let state = super::word(state);
            println!("{state:<8} {check}: {text}");
            if let Some(advice) = advice {
                println!("         {advice}");
            }
        }
        println!("{} looked at: {failed} FAILED, {warnings} warning(s)", findings.0.len());
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Looks at everything that can be looked at: what needs something that failed is left out.
async fn look(args: &ConfigArgs, findings: &mut Findings) {
    let config = match args.load() {
        Ok(config) => config,
        Err(error) => {
            let text = chain(&*error);
            return findings.failed("configuration", text, "Correct the key that is named.");
        }
    };
    findings.ok("configuration", format!("{} connection(s)", config.connections.len()));
    public_url(&config, findings);
    let keyring = match credentials::keyring(&config.secrets) {
        Ok(keyring) => keyring,
        Err(error) => {
            findings.failed("master key", error.to_string(), "Give the hub its master keys.");
            None
        }
    };
    if !database::reached(&config, findings).await {
        return;
    }
    let store = match Store::open(&config.database.url, std::sync::Arc::new(SystemClock::default())).await {
        Ok(store) => store,
        Err(error) => return findings.failed("database", chain(&error), "See that the database runs."),
    };
    database::durability(&store, &config, findings).await;
    let has_key = keyring.is_some();
    let app = App::new(store).with_keyring(keyring);
    database::secrets(&app, has_key, findings).await;
    database::work(&app, findings).await;
    connections::look(&app, &config, findings).await;
    connections::alerts(&app, findings).await;
    // A database that cannot be closed in order is closed by the end of the process.
    let _ = app.store().close().await;
}

fn public_url(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "public_url";
    let here = ["127.0.0.1", "localhost", "[::1]"];
    match config.public_url.as_deref() {
        None if config.connections.is_empty() => findings.ok(CHECK, "not given, and no connection needs it"),
        None => {
            let text = format!("not given: senders are taken to know the hub as http://{}", config.listen);
            findings.warning(CHECK, text, "Give the address under which other systems reach the hub.");
        }
        Some(url) if url.starts_with("http://") && !here.iter().any(|host| url.contains(host)) => {
            findings.warning(CHECK, format!("{url} is not encrypted"), "Put TLS in front, and give the https address.");
        }
        Some(url) => findings.ok(CHECK, url),
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
