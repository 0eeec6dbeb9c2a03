//! How a connection signs in: with a key that does not expire, or by OAuth 2.0.
//!
//! Of OAuth 2.0 three parts are apart: what is asked of the vendor's token endpoint ([`endpoint`]), who keeps tokens
//! ([`tokens`]), and when a token is renewed and by whom ([`renewal`]).

mod assertion;
mod endpoint;
mod renewal;
mod tokens;

use std::{fmt, sync::Arc};

use url::Url;

pub(super) use self::renewal::Authorization;
use self::{endpoint::Endpoint, renewal::Renewal};
pub use self::{
    endpoint::{AuthorizationRefused, ClientAuth, Grant, OAuthClient},
    tokens::{
        ClientSecrets, KeptTokens, MemoryTokens, Refusal, SignIn, TokenLease, TokenSet, TokenStore, TokenStoreError,
    },
};
use super::{NetError, Transport, clock::ClockSkew};
use crate::{Descriptor, Fault};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives it out: for signing, signing in and keeping it sealed alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How a connection signs in.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// `Authorization: Bearer` with a key that does not expire.
    Bearer(Secret),
    /// OAuth 2.0; the host keeps the access token alive.
    OAuth2(Box<OAuthClient>),
}

impl Credentials {
    /// The secrets among them that are known before they are used.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Bearer(token) => vec![token],
            Self::OAuth2(_) => vec![],
        }
    }

    /// OAuth 2.0 with a refresh token, and tokens that are kept for as long as the process lives.
    pub fn refresh_token(client_id: impl Into<String>, client_secret: Secret, refresh_token: Secret) -> Self {
        let secrets =
            ClientSecrets { client_secret: Some(client_secret), refresh_token: Some(refresh_token), private_key: None };
        Self::OAuth2(Box::new(OAuthClient::new(Grant::RefreshToken, client_id, Arc::new(MemoryTokens::new(secrets)))))
    }
}

/// Gives each call its `Authorization` header.
pub(super) enum Authenticator {
    Fixed(String),
    Renewed(Arc<Renewal>),
}

impl Authenticator {
    pub(super) fn new(
        credentials: Credentials,
        descriptor: &Descriptor,
        base: &Url,
        transport: Arc<dyn Transport>,
        skew: Arc<ClockSkew>,
    ) -> Result<Self, NetError> {
        match credentials {
            Credentials::Bearer(token) if token.expose().is_empty() => {
                Err(NetError::Credentials("no token".to_owned()))
            }
            Credentials::Bearer(token) => Ok(Self::Fixed(format!("Bearer {}", token.expose()))),
            Credentials::OAuth2(client) => {
                let tokens = Arc::clone(&client.tokens);
                let endpoint = Endpoint::new(*client, descriptor, base, transport, skew)?;
                Ok(Self::Renewed(Arc::new(Renewal::new(endpoint, tokens))))
            }
        }
    }

    /// Whether a refused token can be renewed.
    pub(super) fn renewable(&self) -> bool {
        matches!(self, Self::Renewed(_))
    }

    /// The value of the `Authorization` header; renews the token first when it is about to end.
    pub(super) async fn header(&self) -> Result<Authorization, Fault> {
        match self {
            Self::Fixed(value) => Ok(Authorization::fixed(value)),
            Self::Renewed(renewal) => renewal.header().await,
        }
    }

    /// Drops a token that was refused, unless it was renewed in the meantime.
    pub(super) async fn forget(&self, authorization: &Authorization) {
        if let Self::Renewed(renewal) = self {
            renewal.forget(authorization).await;
        }
    }

    /// What renews the token; `None` for a key that does not expire.
    pub(super) fn renewal(&self) -> Option<&Arc<Renewal>> {
        match self {
            Self::Fixed(_) => None,
            Self::Renewed(renewal) => Some(renewal),
        }
    }
}
