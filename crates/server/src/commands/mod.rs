//! What the command line does, one file for each subject.

mod connection;
mod person;
pub(crate) mod serve;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{config::Config, demo, telemetry};

/// Any error of a command; its causes are printed below it.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// The hub between CRM, billing and delivery of a services organization.
#[derive(Debug, Parser)]
#[command(name = "crosstie", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a small services organization with built-in stand-ins of HubSpot and Stripe
    Demo(DemoArgs),
    /// Run the hub
    Serve(ConfigArgs),
    /// Bring the database up to date
    Migrate(ConfigArgs),
    /// Print the GraphQL schema
    Schema,
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Add persons
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// List and test connections to other systems
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Read other systems now
    #[command(subcommand)]
    Sync(connection::SyncCommand),
    /// Look at what webhooks brought
    #[command(subcommand)]
    Inbox(connection::InboxCommand),
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
        Command::Serve(args) => serve::serve(&args).await,
        Command::Migrate(args) => serve::migrate(&args).await,
        Command::Schema => {
            print!("{}", crosstie_graphql::sdl());
            Ok(ExitCode::SUCCESS)
        }
        Command::Token(command) => token::run(command).await,
        Command::Person(command) => person::run(command).await,
        Command::Connection(command) => connection::run(command).await,
        Command::Sync(command) => connection::sync(command).await,
        Command::Inbox(command) => connection::inbox(command).await,
    }
}
