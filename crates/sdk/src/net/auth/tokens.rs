//! Who keeps tokens. The host keeps them where all its processes see them; what is here keeps them in memory.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time;

use super::Secret;

/// What an OAuth 2.0 client signs in with, as far as it is kept secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSecrets {
    /// The client's secret; a public client has none.
    pub client_secret: Option<Secret>,
    /// The refresh token that a person put in; what came later is among the tokens.
    pub refresh_token: Option<Secret>,
    /// The key that assertions are signed with, as PEM.
    pub private_key: Option<Secret>,
}

/// Tokens as the vendor gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSet {
    /// The access token.
    pub access: Secret,
    /// What the next one is asked for with, where the grant has that.
    pub refresh: Option<Secret>,
    /// After how long the access token is renewed, a little before its end.
    pub good_for: Duration,
}

/// Tokens as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTokens {
    /// The access token.
    pub access: Secret,
    /// What the next one is asked for with.
    pub refresh: Option<Secret>,
    /// How long the access token is good for from now; nothing when it must be renewed.
    pub good_for: Duration,
    /// Rises with each renewal.
    pub generation: i64,
}

/// How a connection stands with the vendor's token endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignIn {
    /// What the client signs in with now.
    pub secrets: ClientSecrets,
    /// The latest tokens.
    pub tokens: Option<KeptTokens>,
    /// A person must act first: the endpoint is not asked until something changes.
    pub needs_person: bool,
}

/// The right to ask for tokens, which one process has at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLease {
    /// Rises with each new holder.
    pub fence: i64,
    /// A holder before this one asked and never said what came of it: a new refresh token may be lost.
    pub interrupted: bool,
}

/// Why the vendor gives no token and a person must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// What was presented is not accepted any more: revoked, expired or used before.
    Grant,
    /// The client is not known, its secret is wrong, or it may not ask in this way.
    Client,
    /// It may not have the scopes that it asks for.
    Scope,
    /// Nobody has authorized the connection yet.
    NotAuthorized,
    /// The private key cannot be read.
    PrivateKey,
}

/// Tokens cannot be kept or read now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenStoreError(pub String);

/// Keeps tokens. What is saved is on disk when the call returns, so that a rotated refresh token outlives a kill.
#[async_trait::async_trait]
pub trait TokenStore: Send + Sync {
    /// How the connection stands now.
    async fn load(&self) -> Result<SignIn, TokenStoreError>;

    /// Takes the right to ask for tokens; `None` while another process has it.
    async fn lease(&self) -> Result<Option<TokenLease>, TokenStoreError>;

    /// Keeps the right for a while longer. Whether it is still the caller's.
    async fn keep(&self, lease: &TokenLease) -> Result<bool, TokenStoreError>;

    /// Keeps new tokens; their generation, or `None` when the right is another's by now and nothing was kept.
    async fn save(&self, lease: &TokenLease, tokens: &TokenSet) -> Result<Option<i64>, TokenStoreError>;

    /// Keeps that a person must act, and tells one, once.
    async fn refuse(&self, lease: &TokenLease, refusal: Refusal) -> Result<(), TokenStoreError>;

    /// Gives the right back. `answered` is false when the vendor was asked and its answer did not come: it may have
    /// given new tokens that nobody has.
    async fn release(&self, lease: &TokenLease, answered: bool) -> Result<(), TokenStoreError>;
}

/// Tokens that are kept for as long as the process lives.
#[derive(Debug)]
pub struct MemoryTokens {
    kept: Mutex<InMemory>,
}

#[derive(Debug)]
struct InMemory {
    sign_in: SignIn,
    renew_at: time::Instant,
    fence: i64,
    leased: bool,
}

impl MemoryTokens {
    /// Nothing but what the client signs in with.
    pub fn new(secrets: ClientSecrets) -> Self {
        let sign_in = SignIn { secrets, tokens: None, needs_person: false };
        Self { kept: Mutex::new(InMemory { sign_in, renew_at: time::Instant::now(), fence: 0, leased: false }) }
    }

    fn kept(&self) -> MutexGuard<'_, InMemory> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl TokenStore for MemoryTokens {
    async fn load(&self) -> Result<SignIn, TokenStoreError> {
        let kept = self.kept();
        let good_for = kept.renew_at.saturating_duration_since(time::Instant::now());
        let tokens = kept.sign_in.tokens.clone().map(|tokens| KeptTokens { good_for, ..tokens });
        Ok(SignIn { tokens, ..kept.sign_in.clone() })
    }

    async fn lease(&self) -> Result<Option<TokenLease>, TokenStoreError> {
        let mut kept = self.kept();
        if kept.leased {
            return Ok(None);
        }
        kept.leased = true;
        kept.fence += 1;
        Ok(Some(TokenLease { fence: kept.fence, interrupted: false }))
    }

    async fn keep(&self, _: &TokenLease) -> Result<bool, TokenStoreError> {
        Ok(true)
    }

    async fn save(&self, _: &TokenLease, tokens: &TokenSet) -> Result<Option<i64>, TokenStoreError> {
        let mut kept = self.kept();
        let generation = kept.sign_in.tokens.as_ref().map_or(0, |tokens| tokens.generation) + 1;
        let TokenSet { access, refresh, good_for } = tokens.clone();
        kept.sign_in.tokens = Some(KeptTokens { access, refresh, good_for, generation });
        kept.sign_in.needs_person = false;
        kept.renew_at = time::Instant::now() + good_for;
        Ok(Some(generation))
    }

    async fn refuse(&self, _: &TokenLease, _: Refusal) -> Result<(), TokenStoreError> {
        self.kept().sign_in.needs_person = true;
        Ok(())
    }

    async fn release(&self, _: &TokenLease, _: bool) -> Result<(), TokenStoreError> {
        self.kept().leased = false;
        Ok(())
    }
}
