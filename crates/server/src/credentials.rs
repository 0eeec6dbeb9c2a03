//! The secrets of connections: which there are, and where each comes from. The environment goes before what the database
//! keeps, and that before the file.

use std::sync::Arc;

use crosstie_app::{
    App,
    secrets::{Keyring, KeyringError, SecretsError},
};
use crosstie_domain::secrets::{SecretOwner, SecretPlace};
use crosstie_sdk::{ClientAuth, ClientSecrets, Grant, OAuthClient, Secret};
use crosstie_store::secrets::secrets_of;
use crosstie_sync::KeptSignIn;

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
    /// What an OAuth 2.0 client signs assertions with, as PEM.
    PrivateKey,
    /// What webhooks are signed with; one on each line while one is being replaced.
    WebhookSecret,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Token, Self::ClientSecret, Self::RefreshToken, Self::PrivateKey, Self::WebhookSecret];

    /// The name of the kind, by which it is kept and which commands take.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ClientSecret => "client_secret",
            Self::RefreshToken => "refresh_token",
            Self::PrivateKey => "private_key",
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
            Self::PrivateKey => "PRIVATE_KEY",
            Self::WebhookSecret => "WEBHOOK_SECRETS",
        }
    }

    /// The key in the file, below the connection.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ClientSecret => "oauth.client_secret",
            Self::RefreshToken => "oauth.refresh_token",
            Self::PrivateKey => "oauth.private_key",
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
            (SecretKind::PrivateKey, Some(oauth)) => oauth.private_key = text.to_owned(),
            (SecretKind::ClientSecret | SecretKind::RefreshToken | SecretKind::PrivateKey, None) => {}
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
        let own = match oauth.client_auth {
            ClientAuth::PrivateKeyJwt => (SecretKind::PrivateKey, &oauth.private_key),
            ClientAuth::Body | ClientAuth::Basic => (SecretKind::ClientSecret, &oauth.client_secret),
        };
        let needed = match oauth.grant {
            Grant::ClientCredentials => vec![own],
            Grant::RefreshToken => vec![own, (SecretKind::RefreshToken, &oauth.refresh_token)],
            Grant::JwtBearer => vec![(SecretKind::PrivateKey, &oauth.private_key)],
            // A client without a secret is a public one: then the verifier alone protects the code.
            Grant::AuthorizationCode if own.0 == SecretKind::ClientSecret => vec![],
            Grant::AuthorizationCode => vec![own],
        };
        needed.into_iter().find(|(_, text)| text.trim().is_empty()).map(|(kind, _)| kind)
    }

    /// Whether a new secret of this kind is taken by a hub that runs, whenever it asks for tokens.
    pub(crate) fn takes_at_once(&self, kind: SecretKind) -> bool {
        let of_the_client =
            matches!(kind, SecretKind::ClientSecret | SecretKind::RefreshToken | SecretKind::PrivateKey);
        of_the_client && self.oauth.is_some()
    }
}

/// How a connection signs in that does so by OAuth 2.0: its client, and who keeps its tokens.
pub(crate) struct OAuthSignIn {
    pub(crate) client: OAuthClient,
    pub(crate) kept: Arc<KeptSignIn>,
}

impl OAuthSignIn {
    /// That of a connection with its secrets; `None` when it does not sign in by OAuth 2.0.
    pub(crate) fn of(app: &App, connection: &ConnectionConfig) -> Option<Self> {
        let oauth = connection.oauth.as_ref()?;
        let secret = |text: &String| (!text.trim().is_empty()).then(|| Secret::new(text));
        let given = ClientSecrets {
            client_secret: secret(&oauth.client_secret),
            refresh_token: secret(&oauth.refresh_token),
            private_key: secret(&oauth.private_key),
        };
        let fixed = connection.from_environment.iter().map(|kind| kind.as_str()).collect();
        let kept = Arc::new(KeptSignIn::new(app.clone(), &connection.name, given, fixed));
        let client = OAuthClient {
            client_auth: oauth.client_auth,
            scopes: oauth.scopes.clone(),
            authorize_url: oauth.authorize_url.clone(),
            token_url: oauth.token_url.clone(),
            subject: oauth.subject.clone(),
            audience: oauth.audience.clone(),
            key_id: oauth.key_id.clone(),
            ..OAuthClient::new(oauth.grant, &oauth.client_id, kept.clone())
        };
        Some(Self { client, kept })
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
        give_sealed(app, connection).await?;
        let rotates = connection.oauth.as_ref().is_some_and(|oauth| oauth.grant.rotates());
        if rotates && app.keyring().is_err() {
            let why = format!(
                "missing: the connection {} gets refresh tokens, which are kept sealed; give a file here or \
                 CROSSTIE_SECRETS_KEY, and `crosstie secrets new-key` prints a key",
                connection.name
            );
            return Err(ConfigError::Key { key: "secrets.key_file".to_owned(), why }.into());
        }
    }
    config.check_complete()?;
    Ok(config)
}

/// Gives a connection what the database keeps for it.
///
/// # Errors
/// [`SecretsError`] of one that cannot be opened.
pub(crate) async fn give_sealed(app: &App, connection: &mut ConnectionConfig) -> Result<(), SecretsError> {
    for sealed in secrets_of(app.store(), SecretOwner::Connection, &connection.name).await? {
        let Some(kind) = SecretKind::parse(&sealed.place.name) else { continue };
        if !connection.from_environment.contains(&kind) {
            connection.give(kind, app.open_sealed(&sealed)?.expose());
        }
    }
    Ok(())
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
