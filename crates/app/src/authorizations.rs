//! Authorizations: a person lets a connection sign in, in a browser, by OAuth 2.0 with PKCE.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use crosstie_domain::{
    Instant, Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::ConnectionId,
    integration::{AuthorizationRecord, ConnectionRecord},
    secrets::SecretPlace,
};
use crosstie_store::{StoreError, Tx, integration};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    App, AppError, Decision,
    idempotency::{Request, decided},
    secrets::{Plain, SecretsError},
};

/// How long a person has to finish an authorization, in milliseconds.
const GOOD_FOR_MS: i64 = 10 * 60_000;
/// Under which name what goes with an authorization is kept among the secrets of its connection.
const PENDING: &str = "authorization";

/// An authorization to be begun.
#[derive(Debug, Clone, Serialize)]
pub struct StartConnectionAuthorization {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// An authorization that was begun.
#[derive(Clone)]
pub struct StartedAuthorization {
    /// The connection.
    pub connection: ConnectionRecord,
    /// Where the person allows it. It is good once, and whoever opens it may finish it.
    pub url: String,
    /// Until when it may be finished.
    pub expires_at: Instant,
}

/// Shows no address: it holds what the authorization is known by.
impl std::fmt::Debug for StartedAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StartedAuthorization({} until {})", self.connection.name, self.expires_at)
    }
}

/// What finishes an authorization.
#[derive(Debug, Clone)]
pub struct TakenAuthorization {
    /// What proves to the token endpoint that the code is ours.
    pub verifier: Plain,
    /// Where the person was sent back to.
    pub redirect_url: String,
    /// Who began it.
    pub begun_by: String,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    verifier: String,
    url: String,
}

impl App {
    /// Begins an authorization of a connection, instead of one that was begun before.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn start_connection_authorization(
        &self,
        auth: &AuthContext,
        input: StartConnectionAuthorization,
    ) -> Result<Decision<StartedAuthorization>, AppError> {
        decided(|| self.try_start_authorization(auth, &input)).await
    }

    async fn try_start_authorization(
        &self,
        auth: &AuthContext,
        input: &StartConnectionAuthorization,
    ) -> Result<Decision<StartedAuthorization>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("startConnectionAuthorization", input.idempotency_key.as_deref(), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let refused = |code, message: &str| Ok(Err(vec![Refusal::new("connectionId", code, message)]));
        let connection = integration::connections_by_ids(&tx, &RowScope::All, &[input.connection_id]).await?.pop();
        let Some(connection) = connection.filter(|connection| connection.enabled) else {
            return refused(UserErrorCode::NotFound, "No such connection is configured.");
        };
        let sign_in = tx.sign_in(&connection.name).await?;
        let (Some(page), Some(redirect_url)) = (sign_in.authorization_page, sign_in.redirect_url) else {
            let message = "A hub must have started with this connection, and its grant must be authorization_code.";
            return refused(UserErrorCode::Invalid, message);
        };
        if self.keyring().is_err() {
            return refused(UserErrorCode::Invalid, &SecretsError::NoKey.to_string());
        }
        // The answer of an earlier request holds for as long as its authorization can be finished.
        if earlier.is_some()
            && let Some(started) = self.begun(&tx, &connection).await?
        {
            return Ok(Ok(started));
        }
        let (state, verifier) = (random(), random());
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let url = format!("{page}&state={state}&code_challenge={challenge}&code_challenge_method=S256");
        let expires_at = tx.now().plus_ms(GOOD_FOR_MS);
        let record = AuthorizationRecord {
            connection: connection.name.clone(),
            state_sha256: hex::encode(Sha256::digest(&state)),
            redirect_url,
            begun_by: auth.principal.to_string(),
            expires_at,
        };
        tx.save_authorization(&record).await?;
        let pending = Pending { verifier, url: url.clone() };
        let pending = Plain::new(serde_json::to_string(&pending).unwrap_or_default());
        self.seal_secret(&tx, &place(&connection.name), &pending).await.map_err(unsealed)?;
        if earlier.is_none() {
            request.keep(&tx, auth, connection.id.to_string()).await?;
        }
        tx.commit().await?;
        Ok(Ok(StartedAuthorization { connection, url, expires_at }))
    }

    /// The authorization of a connection that may still be finished.
    async fn begun(&self, tx: &Tx, connection: &ConnectionRecord) -> Result<Option<StartedAuthorization>, AppError> {
        let found = tx.authorization(&connection.name).await?.filter(|found| found.expires_at > tx.now());
        let Some(found) = found else { return Ok(None) };
        let pending = match self.pending(tx, &connection.name).await {
            Err(SecretsError::Store(error)) => return Err(error.into()),
            // One that cannot be opened cannot be finished either.
            Err(_) | Ok(None) => return Ok(None),
            Ok(Some(pending)) => pending,
        };
        let (connection, expires_at) = (connection.clone(), found.expires_at);
        Ok(Some(StartedAuthorization { connection, url: pending.url, expires_at }))
    }

    async fn pending(&self, tx: &Tx, connection: &str) -> Result<Option<Pending>, SecretsError> {
        let place = place(connection);
        let Some(plain) = self.open_secret(tx, &place).await? else { return Ok(None) };
        serde_json::from_str(plain.expose()).map(Some).map_err(|_| SecretsError::Damaged(place))
    }

    /// Takes the authorization of a connection that this word belongs to; from then on it is used. `None`, and nothing
    /// changes, when there is none, the word is another's, or its time is over.
    ///
    /// # Errors
    /// As the database, and of a secret that cannot be opened.
    pub async fn take_authorization(
        &self,
        connection: &str,
        state: &str,
    ) -> Result<Option<TakenAuthorization>, SecretsError> {
        let tx = self.store().begin().await?;
        let Some(found) = tx.authorization(connection).await? else { return Ok(None) };
        let given = hex::encode(Sha256::digest(state));
        let same = bool::from(given.as_bytes().ct_eq(found.state_sha256.as_bytes()));
        if !same || found.expires_at <= tx.now() {
            return Ok(None);
        }
        let Some(pending) = self.pending(&tx, connection).await? else { return Ok(None) };
        tx.delete_authorization(connection).await?;
        tx.delete_secret(&place(connection)).await?;
        tx.commit().await?;
        let (redirect_url, begun_by) = (found.redirect_url, found.begun_by);
        Ok(Some(TakenAuthorization { verifier: Plain::new(pending.verifier), redirect_url, begun_by }))
    }
}

fn place(connection: &str) -> SecretPlace {
    SecretPlace::connection(connection, PENDING)
}

/// Only the database can fail to seal once there is a master key.
fn unsealed(error: SecretsError) -> AppError {
    match error {
        SecretsError::Store(error) => error.into(),
        _ => StoreError::Corrupt { column: "secrets.ciphertext" }.into(),
    }
}

/// 256 random bits, in letters that addresses and PKCE take as they are.
fn random() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
