//! How a connection signs in by OAuth 2.0, kept in the database: one process at a time asks for tokens, what it gets is
//! sealed on disk before it is used, and a person is told once when nothing more comes.

mod callback;
mod codes;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crosstie_app::{
    App,
    secrets::{Plain, SecretsError},
};
use crosstie_domain::{
    Instant,
    access::RowScope,
    integration::{AlertKey, AlertKind, ConnectionRecord, SignInRecord, SignInState},
    secrets::{SecretOwner, SecretPlace},
};
use crosstie_sdk::{
    ClientSecrets, KeptTokens, OAuthClient, Refusal, Secret, SignIn, TokenLease, TokenSet, TokenStore, TokenStoreError,
};
use crosstie_store::{
    Reads, StoreError, Tx,
    integration::{Lease, connection_by_name, sign_ins_of},
    secrets::secrets_of,
};
use rand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time;
use tracing::{info, warn};

use self::codes::SignInCode;
pub use self::{callback::Callback, codes::AuthorizationOutcome};
use crate::inbox::describe;

/// How long the right to ask for tokens lasts without a heartbeat: after a kill another process asks by then.
const LEASE_MS: i64 = 5_000;
/// Under which name tokens are kept among the secrets of a connection.
const TOKENS: &str = "oauth_tokens";

/// A secret of a client that may be kept sealed, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ClientSecret,
    RefreshToken,
    PrivateKey,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [
        (Self::ClientSecret, "client_secret"),
        (Self::RefreshToken, "refresh_token"),
        (Self::PrivateKey, "private_key"),
    ];

    fn of(self, secrets: &mut ClientSecrets) -> &mut Option<Secret> {
        match self {
            Self::ClientSecret => &mut secrets.client_secret,
            Self::RefreshToken => &mut secrets.refresh_token,
            Self::PrivateKey => &mut secrets.private_key,
        }
    }
}

/// How one connection signs in.
pub struct KeptSignIn {
    app: App,
    connection: String,
    /// This process, as the holder of a lease.
    owner: String,
    given: ClientSecrets,
    /// The names of secrets that come from the environment, before which nothing goes.
    fixed: Vec<&'static str>,
    /// Tokens of a hub without a master key, which hold none that must outlive it.
    memory: Mutex<Option<InMemory>>,
}

#[derive(Clone)]
struct InMemory {
    tokens: TokenSet,
    generation: i64,
    renew_at: time::Instant,
}

impl KeptSignIn {
    /// The sign-in of the connection of this name. `given` is what the configuration gives; what is sealed goes before
    /// it, but for the names in `fixed`, which the environment gave.
    pub fn new(app: App, connection: &str, given: ClientSecrets, fixed: Vec<&'static str>) -> Self {
        let owner = format!("sign-in-{:016x}", rand::rng().random::<u64>());
        Self { app, connection: connection.to_owned(), owner, given, fixed, memory: Mutex::default() }
    }

    /// Takes note of how the connection is configured now. What differs from last time is a reason to ask again after a
    /// refusal, and another refresh token to forget the tokens that came from the one before.
    ///
    /// # Errors
    /// As the database, and of a secret that cannot be opened.
    pub async fn configured(&self, client: &OAuthClient) -> Result<(), SecretsError> {
        let tx = self.app.store().begin().await?;
        let found = tx.sign_in(&self.connection).await?;
        let (secrets, tokens) = self.secrets(&tx).await?;
        let origin = secrets.refresh_token.as_ref().map(|token| self.hash(&json!([token.expose()])));
        let configuration = Some(self.hash(&described(client, &secrets)));
        let mut record = found.clone();
        if origin.is_some() && origin != found.origin_sha256 {
            // Before a hub first started, a command may have renewed what is configured now.
            if found.configuration_sha256.is_some() && tokens.is_some() {
                tx.delete_secret(&self.place(TOKENS)).await?;
            }
            record.origin_sha256 = origin;
            record.asking_fence = None;
        }
        if configuration != found.configuration_sha256 {
            record.configuration_sha256 = configuration;
            record.may_try = true;
            if found.waits_for_a_person()
                && let Some(connection) = self.record(&tx).await?
            {
                tx.read_again_now(connection.id).await?;
            }
        }
        if record != found {
            tx.save_sign_in(&record).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Takes note of where a person authorizes the connection, and is sent back to; `None` when no person does.
    ///
    /// # Errors
    /// As the database.
    pub async fn offers(&self, page: Option<(String, String)>) -> Result<(), StoreError> {
        let (authorization_page, redirect_url) = page.unzip();
        let tx = self.app.store().begin().await?;
        let found = tx.sign_in(&self.connection).await?;
        let record = SignInRecord { authorization_page, redirect_url, ..found.clone() };
        if record != found {
            tx.save_sign_in(&record).await?;
        }
        tx.commit().await
    }

    fn place(&self, name: &str) -> SecretPlace {
        SecretPlace::connection(&self.connection, name)
    }

    fn lease_name(&self) -> String {
        format!("sign-in/{}", self.connection)
    }

    fn held(&self, lease: &TokenLease) -> Lease {
        Lease { name: self.lease_name(), owner: self.owner.clone(), fence: lease.fence }
    }

    /// A hash that tells whether something changed. It is bound to the connection, and what it is made of is long and
    /// random, so that it tells nothing else.
    fn hash(&self, value: &Value) -> String {
        let mut hash = Sha256::new();
        hash.update(b"crosstie sign-in ");
        hash.update(json!([self.connection, value]).to_string());
        hex::encode(hash.finalize())
    }

    async fn record(&self, db: &impl Reads) -> Result<Option<ConnectionRecord>, StoreError> {
        connection_by_name(db, &RowScope::All, &self.connection).await
    }

    /// What the client signs in with now, and the tokens that are kept.
    async fn secrets(&self, db: &impl Reads) -> Result<(ClientSecrets, Option<KeptTokens>), SecretsError> {
        let (mut secrets, mut tokens) = (self.given.clone(), None);
        for sealed in secrets_of(db, SecretOwner::Connection, &self.connection).await? {
            let name = sealed.place.name.as_str();
            if name == TOKENS {
                let plain = self.app.open_sealed(&sealed)?;
                let now = self.app.store().now();
                tokens = Some(read_tokens(&plain, now).ok_or_else(|| SecretsError::Damaged(self.place(TOKENS)))?);
            } else if let Some((kind, _)) = Kind::ALL.iter().find(|(_, known)| *known == name)
                && !self.fixed.contains(&name)
            {
                *kind.of(&mut secrets) = Some(Secret::new(self.app.open_sealed(&sealed)?.expose()));
            }
        }
        let in_memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_memory = in_memory.map(|kept| KeptTokens {
            access: kept.tokens.access,
            refresh: kept.tokens.refresh,
            good_for: kept.renew_at.saturating_duration_since(time::Instant::now()),
            generation: kept.generation,
        });
        Ok((secrets, tokens.or(in_memory)))
    }

    async fn keep_tokens(&self, tx: &Tx, tokens: &TokenSet, generation: i64) -> Result<(), SecretsError> {
        if self.app.keyring().is_err() && tokens.refresh.is_none() {
            let renew_at = time::Instant::now() + tokens.good_for;
            let kept = InMemory { tokens: tokens.clone(), generation, renew_at };
            *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
            return Ok(());
        }
        let text = json!({
            "access": tokens.access.expose(),
            "refresh": tokens.refresh.as_ref().map(Secret::expose),
            "generation": generation,
            "renew_at": renew_at(tx.now(), tokens.good_for).micros(),
        });
        self.app.seal_secret(tx, &self.place(TOKENS), &Plain::new(text.to_string())).await
    }

    async fn save_kept(&self, lease: &TokenLease, tokens: &TokenSet) -> Result<Option<i64>, SecretsError> {
        let tx = self.app.store().begin().await?;
        if !tx.holds_lease(&self.held(lease)).await? {
            return Ok(None);
        }
        let found = tx.sign_in(&self.connection).await?;
        let generation = found.generation + 1;
        self.keep_tokens(&tx, tokens, generation).await?;
        let (now, recovered) = (tx.now(), found.state == SignInState::NeedsReauth);
        let record = SignInRecord {
            state: SignInState::Working,
            code: None,
            may_try: true,
            generation,
            asking_fence: None,
            renew_at: Some(renew_at(now, tokens.good_for)),
            changed_at: if recovered { now } else { found.changed_at },
            renewed_at: Some(now),
            ..found
        };
        tx.save_sign_in(&record).await?;
        if recovered && let Some(connection) = self.record(&tx).await? {
            tx.close_alert(&alert(&connection)).await?;
            tx.read_again_now(connection.id).await?;
        }
        tx.commit().await?;
        if recovered {
            info!(connection.name = %self.connection, "the connection signs in again");
        }
        Ok(Some(generation))
    }

    async fn keep_refusal(&self, lease: &TokenLease, refusal: Refusal) -> Result<(), StoreError> {
        let code = SignInCode::of(refusal, lease);
        let tx = self.app.store().begin().await?;
        if !tx.holds_lease(&self.held(lease)).await? {
            return Ok(());
        }
        let found = tx.sign_in(&self.connection).await?;
        let first = found.state != SignInState::NeedsReauth;
        let record = SignInRecord {
            state: SignInState::NeedsReauth,
            code: Some(code.code().to_owned()),
            may_try: false,
            asking_fence: None,
            changed_at: if first { tx.now() } else { found.changed_at },
            ..found
        };
        tx.save_sign_in(&record).await?;
        if let Some(connection) = self.record(&tx).await? {
            tx.raise_alert(&alert(&connection), 1, &code.message(&self.connection)).await?;
        }
        tx.commit().await?;
        if first {
            warn!(connection.name = %self.connection, code = code.code(), "a person must let the connection sign in again");
        }
        Ok(())
    }

    async fn take(&self) -> Result<Option<TokenLease>, StoreError> {
        let Some(lease) = self.app.store().lease(&self.lease_name(), &self.owner, LEASE_MS).await? else {
            return Ok(None);
        };
        let tx = self.app.store().begin().await?;
        if !tx.holds_lease(&lease).await? {
            return Ok(None);
        }
        let found = tx.sign_in(&self.connection).await?;
        let interrupted = found.asking_fence.is_some();
        tx.save_sign_in(&SignInRecord { asking_fence: Some(lease.fence), ..found }).await?;
        tx.commit().await?;
        Ok(Some(TokenLease { fence: lease.fence, interrupted }))
    }

    async fn give_back(&self, lease: &TokenLease, answered: bool) -> Result<(), StoreError> {
        if answered && !lease.interrupted {
            let tx = self.app.store().begin().await?;
            let found = tx.sign_in(&self.connection).await?;
            if found.asking_fence == Some(lease.fence) {
                tx.save_sign_in(&SignInRecord { asking_fence: None, ..found }).await?;
                tx.commit().await?;
            }
        }
        self.app.store().release_lease(&self.held(lease)).await
    }
}

#[async_trait::async_trait]
impl TokenStore for KeptSignIn {
    async fn load(&self) -> Result<SignIn, TokenStoreError> {
        let store = self.app.store();
        let record = sign_ins_of(store, std::slice::from_ref(&self.connection)).await.map_err(unkept)?.pop();
        let (secrets, tokens) = self.secrets(store).await.map_err(|error| TokenStoreError(error.to_string()))?;
        Ok(SignIn { secrets, tokens, needs_person: record.is_some_and(|record| record.waits_for_a_person()) })
    }

    async fn lease(&self) -> Result<Option<TokenLease>, TokenStoreError> {
        self.take().await.map_err(unkept)
    }

    async fn keep(&self, lease: &TokenLease) -> Result<bool, TokenStoreError> {
        self.app.store().keep_lease(&self.held(lease), LEASE_MS).await.map_err(unkept)
    }

    async fn save(&self, lease: &TokenLease, tokens: &TokenSet) -> Result<Option<i64>, TokenStoreError> {
        self.save_kept(lease, tokens).await.map_err(|error| TokenStoreError(error.to_string()))
    }

    async fn refuse(&self, lease: &TokenLease, refusal: Refusal) -> Result<(), TokenStoreError> {
        self.keep_refusal(lease, refusal).await.map_err(unkept)
    }

    async fn release(&self, lease: &TokenLease, answered: bool) -> Result<(), TokenStoreError> {
        self.give_back(lease, answered).await.map_err(unkept)
    }
}

fn unkept(error: StoreError) -> TokenStoreError {
    TokenStoreError(describe(&error))
}

fn alert(connection: &ConnectionRecord) -> AlertKey {
    AlertKey::connection(AlertKind::ConnectionNeedsReauth, connection.id)
}

fn renew_at(now: Instant, good_for: Duration) -> Instant {
    now.plus_ms(i64::try_from(good_for.as_millis()).unwrap_or(i64::MAX))
}

fn read_tokens(plain: &Plain, now: Instant) -> Option<KeptTokens> {
    let value: Value = serde_json::from_str(plain.expose()).ok()?;
    let renew_at = Instant::from_micros(value["renew_at"].as_i64()?)?;
    Some(KeptTokens {
        access: Secret::new(value["access"].as_str()?),
        refresh: value["refresh"].as_str().map(Secret::new),
        good_for: Duration::from_millis(u64::try_from(renew_at.ms_since(now)).unwrap_or(0)),
        generation: value["generation"].as_i64()?,
    })
}

/// All that says how a connection signs in.
fn described(client: &OAuthClient, secrets: &ClientSecrets) -> Value {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    json!([
        client.grant.as_str(),
        client.client_id,
        format!("{:?}", client.client_auth),
        client.scopes,
        client.authorize_url,
        client.token_url,
        client.subject,
        client.audience,
        client.key_id,
        text(&secrets.client_secret),
        text(&secrets.refresh_token),
        text(&secrets.private_key),
    ])
}
