//! `token`: API tokens of persons and services.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::access::{NewToken, TokenError};
use crosstie_domain::{
    Instant,
    access::{Permission, PersonRecord, Role, TokenRecord},
    ids::TokenId,
};
use crosstie_store::access::{persons, tokens};

use super::{CommandError, ConfigArgs, no_such, or_none, role};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; it is printed once and kept nowhere
    Create {
        #[command(flatten)]
        config: ConfigArgs,
        /// What the token is for, in 1 to 100 characters
        #[arg(long)]
        label: String,
        /// The person it acts for, by e-mail address; a service when left out
        #[arg(long)]
        person: Option<String>,
        /// A role of a service token, such as `VIEWER` or `ADMIN`; may be repeated
        #[arg(long = "role", value_parser = role, conflicts_with = "person")]
        roles: Vec<Role>,
        /// What the token allows, such as `contracts:read`; everything its roles allow when left out
        #[arg(long = "permission", value_parser = permission)]
        permissions: Vec<Permission>,
        /// After how many days the token ends, at most 3650; never when left out
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
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

fn permission(text: &str) -> Result<Permission, String> {
    Permission::parse(text).ok_or_else(|| no_such("permission", &Permission::ALL))
}

pub(super) async fn run(command: TokenCommand) -> Result<ExitCode, CommandError> {
    match command {
        TokenCommand::Create { config, label, person, roles, permissions, days } => {
            let (app, _) = open(&config.load()?).await?;
            let expires_at = days.map(|days| app.store().now().plus_ms(i64::from(days) * 86_400_000));
            let input = NewToken { label, person_email: person, roles, permissions, expires_at };
            let (id, text) = app.create_token(input).await.map_err(named)?;
            eprintln!("Token {id}. Keep it now: it is not shown again.");
            println!("{text}");
        }
        TokenCommand::List { config } => {
            let (app, _) = open(&config.load()?).await?;
            let persons = persons(app.store()).await?;
            for token in tokens(app.store()).await? {
                let person = token.person.and_then(|id| persons.iter().find(|person| person.id == id));
                println!("{}", line(&token, person, app.store().now()));
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

/// The error with the argument that it is about.
fn named(error: TokenError) -> CommandError {
    let argument = match error {
        TokenError::Label => "--label",
        TokenError::NoSuchPerson(_) => "--person",
        TokenError::NoRole | TokenError::RolesOfPerson => "--role",
        TokenError::BeyondRoles(_) => "--permission",
        TokenError::App(error) => return error.into(),
    };
    format!("{argument}: {error}").into()
}

/// A token as it is listed; a personal one with the roles that its person has now.
fn line(token: &TokenRecord, person: Option<&PersonRecord>, now: Instant) -> String {
    let whose = match (token.person, person) {
        (None, _) => "service".to_owned(),
        (Some(_), Some(person)) => person.email.clone(),
        (Some(id), None) => id.to_string(),
    };
    let roles: Vec<_> = person.map_or(&token.roles, |person| &person.roles).iter().map(|role| role.as_str()).collect();
    let permissions: Vec<_> = token.permissions.iter().map(|permission| permission.as_str()).collect();
    let state = match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if at <= now => format!("ended {at}"),
        (None, Some(at)) => format!("until {at}"),
        (None, None) => "without end".to_owned(),
    };
    format!(
        "{}  {whose}  roles {}  permissions {}  {state}  {}",
        token.id,
        or_none(&roles, "none"),
        or_none(&permissions, "all of the roles"),
        token.label
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_token_says_what_it_allows_and_whether_it_ended() {
        let at = |micros| Instant::from_micros(micros).expect("an instant");
        let token = TokenRecord {
            id: "tok_00000000000000000000000001".parse().expect("an identifier"),
            lookup: String::new(),
            secret_sha256: String::new(),
            label: "reports".to_owned(),
            person: None,
            roles: vec![Role::Finance, Role::Viewer],
            permissions: vec![Permission::BillingRead],
            expires_at: Some(at(1_000_000)),
            revoked_at: None,
            created_at: at(0),
        };
        let now = at(1_000_000);
        let said = line(&token, None, now);
        assert!(said.contains("service  roles FINANCE,VIEWER  permissions billing:read"), "{said}");
        assert!(said.ends_with("ended 1970-01-01T00:00:01Z  reports"), "{said}");
        assert!(line(&token, None, at(0)).contains("  until 1970"));
        let (revoked_at, permissions) = (Some(at(0)), vec![]);
        let said = line(&TokenRecord { revoked_at, permissions, ..token }, None, now);
        assert!(said.contains("permissions all of the roles  revoked 1970"), "{said}");
    }
}
