//! What the command line does, one file for each subject.

mod adoption;
mod alert;
mod authorize;
mod connection;
mod connector;
mod differences;
mod doctor;
mod erasure;
mod explain;
mod fake;
mod inbox;
mod mapping;
mod outbox;
mod pause;
mod person;
mod reading;
mod replay;
mod secrets;
pub(crate) mod serve;
mod sync;
mod tap;
mod token;
mod webhook;
mod why;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use crosstie_domain::{Refusal, access::Role, integration::Entity};
use serde::Serialize;

use crate::{config::Config, demo, telemetry};

/// Any error of a command; its causes are printed below it.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// One typed GraphQL graph over the systems that a professional services business runs on
#[derive(Debug, Parser)]
#[command(name = "crosstie", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a small services organization with built-in stand-ins of HubSpot and Stripe
    Demo(DemoArgs),
    /// Run the stand-in of one vendor, with faults on demand
    Fake(fake::FakeArgs),
    /// Run the hub
    Serve(ConfigArgs),
    /// Bring the database up to date
    Migrate(ConfigArgs),
    /// Print the GraphQL schema
    Schema,
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Add and change persons
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Look at erasures of persons, and lift one
    #[command(subcommand)]
    Erasure(erasure::ErasureCommand),
    /// Verify what systems said
    #[command(subcommand)]
    Lineage(erasure::LineageCommand),
    /// List and test connections to other systems
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Make a connector to a system for which there is none
    #[command(subcommand)]
    Connector(connector::ConnectorCommand),
    /// Read other systems now
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Tell why a field of a record has the value that it has
    Why(why::WhyArgs),
    /// Show what is exchanged with another system, as it happens
    Tap(tap::TapArgs),
    /// Look at what connections are told of their vendors' data, and change it
    #[command(subcommand)]
    Mapping(mapping::MappingCommand),
    /// Take orders and invoices that a billing system holds already for those of the hub
    #[command(subcommand)]
    Adoption(adoption::AdoptionCommand),
    /// Read something again, beside the schedule
    #[command(subcommand)]
    Refresh(reading::RefreshCommand),
    /// Find what is gone at other systems by complete listings
    #[command(subcommand)]
    Sweep(reading::SweepCommand),
    /// Compare what other systems say with what the hub believes
    #[command(subcommand)]
    Drift(reading::DriftCommand),
    /// Look at what came from other systems, and take it up again
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
    /// Look at what is asked of other systems, and ask again
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Look whether a hub can work as it is set up, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Look at what a person should know of
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// Keep secrets of connections sealed, and change the master key
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Let other systems hear of changes
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, default_value = "crosstie.toml")]
    config: PathBuf,
}

impl ConfigArgs {
    pub(crate) fn load(&self) -> Result<Config, CommandError> {
        Ok(Config::load(&self.config)?)
    }
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Address that the hub listens on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Folder that the demo keeps its data in
    #[arg(long, default_value = "crosstie-data")]
    data: PathBuf,
    /// Run the journey from opportunity to paid invoice, print one line a step, and stop
    #[arg(long)]
    check: bool,
}

/// Runs a command.
///
/// # Errors
/// Why it could not be done.
pub async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    match cli.command {
        Command::Demo(args) => {
            telemetry::start_logs("warn");
            demo::run(&args.listen, &args.data, args.check).await
        }
        Command::Fake(args) => {
            telemetry::start_logs("warn");
            fake::run(args).await
        }
        Command::Serve(args) => serve::serve(&args).await,
        Command::Migrate(args) => serve::migrate(&args).await,
        Command::Schema => {
            print!("{}", crosstie_graphql::sdl());
            Ok(ExitCode::SUCCESS)
        }
        Command::Token(command) => token::run(command).await,
        Command::Person(command) => person::run(command).await,
        Command::Erasure(command) => erasure::run(command).await,
        Command::Lineage(command) => erasure::lineage(command).await,
        Command::Connection(command) => connection::run(command).await,
        Command::Connector(command) => connector::run(command),
        Command::Sync(command) => sync::run(command).await,
        Command::Why(args) => why::run(&args).await,
        Command::Tap(args) => tap::run(args).await,
        Command::Mapping(command) => mapping::run(command).await,
        Command::Adoption(command) => adoption::run(command).await,
        Command::Refresh(command) => reading::refresh(command).await,
        Command::Sweep(command) => reading::sweep(command).await,
        Command::Drift(command) => reading::drift(command).await,
        Command::Inbox(command) => inbox::run(command).await,
        Command::Outbox(command) => outbox::run(command).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Alert(command) => alert::run(command).await,
        Command::Secrets(command) => secrets::run(command).await,
        Command::Webhook(command) => webhook::run(command).await,
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| no_such("role", &Role::ALL))
}

fn entity(text: &str) -> Result<Entity, String> {
    Entity::parse(text).ok_or_else(|| no_such("kind of record", &Entity::ALL))
}

/// That a word is none of those that there are.
fn no_such<T>(what: &str, all: &[(T, &str)]) -> String {
    let all: Vec<_> = all.iter().map(|(_, text)| *text).collect();
    format!("no such {what}; there are {}", all.join(", "))
}

/// A value of an enum in the API's word for it.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "-".to_owned(),
    }
}

/// Names in one column, or a word for none.
fn or_none<T: AsRef<str>>(names: &[T], none: &str) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { none.to_owned() } else { names.join(",") }
}

/// Why something was refused, in one line.
fn refused(refusals: &[Refusal]) -> String {
    let messages: Vec<&str> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    messages.join(" ")
}
