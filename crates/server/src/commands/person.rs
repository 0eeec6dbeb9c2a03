//! `person`: the people of the organization.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::access::PersonError;
use crosstie_domain::{
    access::{Role, RowScope},
    ids::AccountId,
};

use super::{CommandError, ConfigArgs, or_none, role};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum PersonCommand {
    /// Say what the hub keeps of a person and, with --yes, erase it; a running hub does it
    Erase(super::erasure::EraseArgs),
    /// Add a person, or change the one with this e-mail address; what is left out stays as it is
    Save {
        #[command(flatten)]
        config: ConfigArgs,
        /// E-mail address
        #[arg(long)]
        email: String,
        /// Full name; a new person needs one
        #[arg(long)]
        name: Option<String>,
        /// What the person does, such as `SALES`; may be repeated; a new person needs at least one
        #[arg(long = "role", value_parser = role)]
        roles: Vec<Role>,
        /// An account that the person may see; may be repeated; a new person needs this or `--all-accounts`
        #[arg(long = "account")]
        accounts: Vec<AccountId>,
        /// The person may see every account
        #[arg(long, conflicts_with = "accounts")]
        all_accounts: bool,
    },
}

pub(super) async fn run(command: PersonCommand) -> Result<ExitCode, CommandError> {
    let (config, email, name, roles, accounts, all_accounts) = match command {
        PersonCommand::Erase(args) => return super::erasure::erase(args).await,
        PersonCommand::Save { config, email, name, roles, accounts, all_accounts } => {
            (config, email, name, roles, accounts, all_accounts)
        }
    };
    let (app, _) = open(&config.load()?).await?;
    let roles = (!roles.is_empty()).then_some(roles);
    let rows = match (all_accounts, accounts.is_empty()) {
        (true, _) => Some(RowScope::All),
        (false, false) => Some(RowScope::Accounts(accounts)),
        (false, true) => None,
    };
    let person = app.save_person(name.as_deref(), &email, roles, rows).await.map_err(named)?;
    let roles: Vec<_> = person.roles.iter().map(|role| role.as_str()).collect();
    let accounts = match &person.rows {
        RowScope::All => "all".to_owned(),
        RowScope::Accounts(accounts) => {
            let accounts: Vec<_> = accounts.iter().map(ToString::to_string).collect();
            or_none(&accounts, "none")
        }
    };
    println!(
        "{}  {}  {}  roles {}  accounts {accounts}",
        person.id,
        person.email,
        person.name,
        or_none(&roles, "none")
    );
    Ok(ExitCode::SUCCESS)
}

/// The error with the argument that it is about.
fn named(error: PersonError) -> CommandError {
    let argument = match error {
        PersonError::Name => "--name",
        PersonError::Email(_) => "--email",
        PersonError::NoRole => "--role",
        PersonError::NoSuchAccount(_) => "--account",
        error @ PersonError::Incomplete { .. } => return error.into(),
        PersonError::App(error) => return error.into(),
    };
    format!("{argument}: {error}").into()
}
