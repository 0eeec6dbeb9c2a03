//! `person`: the people of the organization.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_domain::{
    access::{Role, RowScope},
    ids::AccountId,
};

use super::{CommandError, ConfigArgs};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum PersonCommand {
    /// Add a person, or change the one with this e-mail address
    Save {
        #[command(flatten)]
        config: ConfigArgs,
        /// Full name
        #[arg(long)]
        name: String,
        /// E-mail address
        #[arg(long)]
        email: String,
        /// What the person does, such as `SALES`; may be repeated
        #[arg(long = "role", value_parser = role)]
        roles: Vec<Role>,
        /// An account that the person may see; may be repeated; every account when left out
        #[arg(long = "account")]
        accounts: Vec<AccountId>,
    },
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "no such role".to_owned())
}

pub(super) async fn run(command: PersonCommand) -> Result<ExitCode, CommandError> {
    let PersonCommand::Save { config, name, email, roles, accounts } = command;
    let (app, _) = open(&config.load()?).await?;
    let rows = if accounts.is_empty() { RowScope::All } else { RowScope::Accounts(accounts) };
    let person = app.save_person(&name, &email, roles, rows).await?;
    println!("{}  {}", person.id, person.email);
    Ok(ExitCode::SUCCESS)
}
