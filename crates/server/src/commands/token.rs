//! `token`: API tokens of persons and services.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::access::NewToken;
use crosstie_domain::{
    access::{Permission, Role},
    ids::TokenId,
};

use super::{CommandError, ConfigArgs};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; it is printed once and kept nowhere
    Create {
        #[command(flatten)]
        config: ConfigArgs,
        /// What the token is for
        #[arg(long)]
        label: String,
        /// The person it acts for, by e-mail address; a service when left out
        #[arg(long)]
        person: Option<String>,
        /// A role of a service token, such as `VIEWER` or `ADMIN`; may be repeated
        #[arg(long = "role", value_parser = role)]
        roles: Vec<Role>,
        /// What the token allows, such as `contracts:read`; everything its roles allow when left out
        #[arg(long = "permission", value_parser = permission)]
        permissions: Vec<Permission>,
        /// After how many days the token ends
        #[arg(long)]
        days: Option<u32>,
    },
    /// List the tokens, newest first
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// End a token at once
    Revoke {
        #[command(flatten)]
        config: ConfigArgs,
        /// The token's identifier, as `token list` prints it
        id: TokenId,
    },
}

fn role(text: &str) -> Result<Role, String> {
    let all = || Role::ALL.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(", ");
    Role::parse(text).ok_or_else(|| format!("no such role; there are {}", all()))
}

fn permission(text: &str) -> Result<Permission, String> {
    let all = || Permission::ALL.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(", ");
    Permission::parse(text).ok_or_else(|| format!("no such permission; there are {}", all()))
}

pub(super) async fn run(command: TokenCommand) -> Result<ExitCode, CommandError> {
    match command {
        TokenCommand::Create { config, label, person, roles, permissions, days } => {
            let (app, _) = open(&config.load()?).await?;
            let expires_at = days.map(|days| app.store().now().plus_ms(i64::from(days) * 86_400_000));
            let input = NewToken { label, person_email: person, roles, permissions, expires_at };
            let (id, text) = app.create_token(input).await?;
            eprintln!("Token {id}. Keep it now: it is not shown again.");
            println!("{text}");
        }
        TokenCommand::List { config } => {
            let (app, _) = open(&config.load()?).await?;
            for token in crosstie_store::access::tokens(app.store()).await? {
                let state = match (token.revoked_at, token.expires_at) {
                    (Some(at), _) => format!("revoked {at}"),
                    (None, Some(at)) => format!("until {at}"),
                    (None, None) => "without end".to_owned(),
                };
                let whose = token.person.map_or_else(|| "service".to_owned(), |person| person.to_string());
                println!("{}  {whose}  {state}  {}", token.id, token.label);
            }
        }
        TokenCommand::Revoke { config, id } => {
            let (app, _) = open(&config.load()?).await?;
            let tx = app.store().begin().await?;
            let revoked = tx.revoke_token(id).await?;
            tx.commit().await?;
            println!("{}", if revoked { "revoked" } else { "no live token has this identifier" });
            return Ok(if revoked { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}
