//! `secrets`: what the database keeps sealed, and the master keys.

use std::{io::Read, process::ExitCode};

use clap::Subcommand;
use crosstie_app::secrets::{Keyring, Plain};
use crosstie_store::secrets::{SealedSecret, secrets_after};
use zeroize::Zeroizing;

use super::{CommandError, ConfigArgs, no_such};
use crate::{
    config::SecretKind,
    credentials::{self, OAuthSignIn},
    hub::open_app,
};

/// The longest secret that is taken, in bytes.
const MOST_BYTES: u64 = 64 * 1024;
/// How many are read at a time.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum SecretsCommand {
    /// Print a new master key: for CROSSTIE_SECRETS_KEY, or as the first line of the key file
    NewKey,
    /// Keep a secret of a connection sealed in the database; it is read from standard input
    Set {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection, as it is configured
        connection: String,
        /// Which secret: `token`, `client_secret`, `refresh_token`, `private_key` or `webhook_secret`
        #[arg(value_parser = kind)]
        secret: SecretKind,
    },
    /// Forget a secret of a connection that the database keeps
    Remove {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// Which secret
        #[arg(value_parser = kind)]
        secret: SecretKind,
    },
    /// List the secrets that the database keeps, by name; a value is never shown
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Seal all secrets with the first master key, so that the others can be taken away
    Rotate {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

fn kind(text: &str) -> Result<SecretKind, String> {
    SecretKind::parse(text).ok_or_else(|| no_such("secret", &SecretKind::ALL.map(|kind| (kind, kind.as_str()))))
}

pub(super) async fn run(command: SecretsCommand) -> Result<ExitCode, CommandError> {
    match command {
        SecretsCommand::NewKey => println!("{}", *Keyring::new_key()),
        SecretsCommand::Set { config, connection, secret } => set(&config, &connection, secret).await?,
        SecretsCommand::Remove { config, connection, secret } => remove(&config, &connection, secret).await?,
        SecretsCommand::List { config } => list(&config).await?,
        SecretsCommand::Rotate { config } => rotate(&config).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(config: &ConfigArgs, connection: &str, kind: SecretKind) -> Result<(), CommandError> {
    let config = config.load()?;
    let Some(configured) = config.connections.iter().find(|known| known.name == connection) else {
        return Err(format!("no connection {connection:?} is configured").into());
    };
    let app = open_app(&config).await?;
    app.keyring()?;
    let text = read_secret()?;
    let tx = app.store().begin().await?;
    app.seal_secret(&tx, &credentials::place(connection, kind), &Plain::new(text.as_str())).await?;
    tx.commit().await?;
    let mut configured = configured.clone();
    credentials::give_sealed(&app, &mut configured).await?;
    let taken = if configured.takes_at_once(kind) { "when it next asks for tokens" } else { "at its next start" };
    if let Some(sign_in) = OAuthSignIn::of(&app, &configured).filter(|_| configured.takes_at_once(kind)) {
        sign_in.kept.configured(&sign_in.client).await?;
    }
    println!("connection {connection}: {} is kept; a hub that runs takes it {taken}", kind.as_str());
    if configured.from_environment.contains(&kind) {
        eprintln!("The environment gives one too, and goes before it.");
    }
    Ok(())
}

/// What stands on standard input, without the end of its last line.
fn read_secret() -> Result<Zeroizing<String>, CommandError> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MOST_BYTES {
        return Err(format!("a secret has at most {MOST_BYTES} bytes").into());
    }
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() { Err("nothing came on standard input".into()) } else { Ok(text) }
}

async fn remove(config: &ConfigArgs, connection: &str, kind: SecretKind) -> Result<(), CommandError> {
    let app = open_app(&config.load()?).await?;
    let tx = app.store().begin().await?;
    let removed = tx.delete_secret(&credentials::place(connection, kind)).await?;
    tx.commit().await?;
    if !removed {
        return Err(format!("connection {connection}: no {} is kept", kind.as_str()).into());
    }
    println!("connection {connection}: {} is forgotten", kind.as_str());
    Ok(())
}

async fn list(config: &ConfigArgs) -> Result<(), CommandError> {
    let app = open_app(&config.load()?).await?;
    let mut after = None;
    loop {
        let page = secrets_after(app.store(), after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.place.clone());
        for sealed in &page {
            println!("{}", line(sealed));
        }
    }
}

fn line(sealed: &SealedSecret) -> String {
    let rotated = sealed.rotated_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    format!(
        "{}  version {}  key {}  since {}  changed {}  rotated {rotated}",
        sealed.place, sealed.version, sealed.envelope.key_id, sealed.created_at, sealed.updated_at
    )
}

async fn rotate(config: &ConfigArgs) -> Result<(), CommandError> {
    let app = open_app(&config.load()?).await?;
    let rotated = app.rotate_secrets().await?;
    let (sealed, kept, key) = (rotated.sealed, rotated.kept, app.keyring()?.active_id());
    println!("{sealed} secret(s) sealed with the key {key}, {kept} had been before");
    for error in &rotated.failed {
        eprintln!("{error}");
    }
    match rotated.failed.len() {
        0 => Ok(()),
        failed => Err(format!("{failed} secret(s) could not be opened and stay as they are").into()),
    }
}
