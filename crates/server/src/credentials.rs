//! The secrets of connections: which there are, and where each comes from. The environment goes before what the database
//! keeps, and that before the file.

use crosstie_app::{
    App,
    secrets::{Keyring, KeyringError, SecretsError},
};
use crosstie_domain::secrets::{SecretOwner, SecretPlace};
use crosstie_store::secrets::secrets_of;

use crate::config::{Config, ConfigError, ConnectionConfig, SecretsConfig};

/// The kinds of secret that a connection can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// A key that does not expire.
    Token,
    /// The secret of an OAuth 2.0 client.
    ClientSecret,
    /// What an OAuth 2.0 client asks for access tokens with.
    RefreshToken,
    /// What webhooks are signed with; one on each line while one is being replaced.
    WebhookSecret,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Token, Self::ClientSecret, Self::RefreshToken, Self::WebhookSecret];

    /// The name of the kind, by which it is kept and which commands take.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ClientSecret => "client_secret",
            Self::RefreshToken => "refresh_token",
            Self::WebhookSecret => "webhook_secret",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The end of the environment variable.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Token => "TOKEN",
            Self::ClientSecret => "CLIENT_SECRET",
            Self::RefreshToken => "REFRESH_TOKEN",
            Self::WebhookSecret => "WEBHOOK_SECRETS",
        }
    }

    /// The key in the file, below the connection.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ClientSecret => "oauth.client_secret",
            Self::RefreshToken => "oauth.refresh_token",
            Self::WebhookSecret => "webhook_secrets",
        }
    }
}

impl ConnectionConfig {
    /// Gives the connection a secret. A token is not for one that signs in by OAuth 2.0, and the other way round; those
    /// are passed over.
    pub(crate) fn give(&mut self, kind: SecretKind, text: &str) {
        match (kind, &mut self.oauth) {
            (SecretKind::Token, _) => self.token = Some(text.to_owned()),
            (SecretKind::ClientSecret, Some(oauth)) => oauth.client_secret = text.to_owned(),
            (SecretKind::RefreshToken, Some(oauth)) => oauth.refresh_token = text.to_owned(),
            (SecretKind::WebhookSecret, _) => {
                self.webhook_secrets = text.lines().map(|line| line.trim().to_owned()).collect();
            }
            (SecretKind::ClientSecret | SecretKind::RefreshToken, None) => {}
        }
    }

    /// Whether what it is given goes together.
    pub(crate) fn check_credentials(&self) -> Result<(), (&'static str, &'static str)> {
        let empty = |text: &String| text.trim().is_empty();
        match (&self.token, &self.oauth) {
            (Some(_), Some(_)) => return Err(("oauth", "a token is given as well: leave one out")),
            (Some(token), None) if empty(token) => return Err(("token", "empty")),
            (None, Some(oauth)) if empty(&oauth.client_id) => return Err(("oauth.client_id", "empty")),
            _ => {}
        }
        if self.webhook_secrets.iter().any(empty) { Err(("webhook_secrets", "an empty secret")) } else { Ok(()) }
    }

    /// What it lacks for signing in.
    pub(crate) fn missing_secret(&self) -> Option<SecretKind> {
        let Some(oauth) = &self.oauth else { return self.token.is_none().then_some(SecretKind::Token) };
        let needed =
            [(SecretKind::ClientSecret, &oauth.client_secret), (SecretKind::RefreshToken, &oauth.refresh_token)];
        needed.into_iter().find(|(_, text)| text.trim().is_empty()).map(|(kind, _)| kind)
    }
}

/// The master keys that the configuration names; none when it names none.
///
/// # Errors
/// [`ConfigError`], naming the key.
pub(crate) fn keyring(config: &SecretsConfig) -> Result<Option<Keyring>, ConfigError> {
    let named = |error: KeyringError, key: &str| ConfigError::Key { key: key.to_owned(), why: error.to_string() };
    if let Some(keys) = &config.keys {
        return Keyring::parse(keys).map(Some).map_err(|error| named(error, "CROSSTIE_SECRETS_KEY"));
    }
    let Some(file) = &config.key_file else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Key {
        key: "secrets.key_file".to_owned(),
        why: format!("cannot read {}: {error}", file.display()),
    })?;
    Keyring::parse(&text).map(Some).map_err(|error| named(error, "secrets.key_file"))
}

/// Gives the connections what the database keeps for them, and checks that none lacks anything.
///
/// # Errors
/// [`SecretsError`] of one that cannot be opened, [`ConfigError`] of one that is missing.
pub(crate) async fn complete(app: &App, config: &Config) -> Result<Config, CredentialsError> {
    let mut config = config.clone();
    for connection in &mut config.connections {
        for sealed in secrets_of(app.store(), SecretOwner::Connection, &connection.name).await? {
            let Some(kind) = SecretKind::parse(&sealed.place.name) else { continue };
            if connection.from_environment.contains(&kind) {
                continue;
            }
            if let Some(plain) = app.open_secret(app.store(), &sealed.place).await? {
                connection.give(kind, plain.expose());
            }
        }
    }
    config.check_complete()?;
    Ok(config)
}

/// Why connections cannot be given their secrets.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// One is missing, or does not go with the rest.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// One cannot be opened.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

impl From<crosstie_store::StoreError> for CredentialsError {
    fn from(error: crosstie_store::StoreError) -> Self {
        Self::Secrets(error.into())
    }
}

/// Where a secret of a connection is kept.
pub(crate) fn place(connection: &str, kind: SecretKind) -> SecretPlace {
    SecretPlace::connection(connection, kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_read_back() {
        for kind in SecretKind::ALL {
            assert_eq!(SecretKind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_named_and_not_shown() {
        let missing = SecretsConfig { key_file: Some("/nowhere/keys".into()), keys: None };
        let error = keyring(&missing).expect_err("no such file").to_string();
        assert!(error.contains("`secrets.key_file`: cannot read /nowhere/keys"), "{error}");
        let wrong = SecretsConfig { key_file: None, keys: Some("hush".to_owned()) };
        let error = keyring(&wrong).expect_err("no key").to_string();
        assert!(error.contains("`CROSSTIE_SECRETS_KEY`: key 1 is not") && !error.contains("hush"), "{error}");
        assert!(!format!("{wrong:?}").contains("hush"), "{wrong:?}");
        let none = SecretsConfig::default();
        assert!(keyring(&none).expect("none is needed").is_none());
    }
}
