//! Credentials, and the life of OAuth 2.0 access tokens: renewed before they end or once when refused, one renewal
//! at a time.

use std::{fmt, sync::Arc, time::Duration};

use crosstie_domain::Instant;
use oauth2::{
    ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest as OAuthRequest, HttpResponse as OAuthResponse,
    RefreshToken, RequestTokenError, TokenResponse, TokenUrl, basic::BasicClient,
};
use tokio::{sync::Mutex, time};
use url::Url;

use super::{HttpRequest, HttpResponse, Method, NetError, Transport, clock::retry_after_ms};
use crate::Fault;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives it out, for signing and signing in alone.
    pub(crate) fn expose(&self) -> &str {
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
    /// OAuth 2.0 with a refresh token.
    OAuth2Refresh {
        /// The application.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// What new access tokens are asked for with.
        refresh_token: Secret,
    },
}

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

pub(super) struct Authenticator {
    mode: Mode,
}

enum Mode {
    Fixed(String),
    Refreshed(Box<Refreshed>),
}

struct Refreshed {
    client: Client,
    transport: Arc<dyn Transport>,
    /// Held while a token is renewed: whoever comes second finds it renewed.
    state: Mutex<TokenState>,
}

struct TokenState {
    refresh_token: RefreshToken,
    access: Option<(String, time::Instant)>,
    generation: u64,
}

/// A header value and which token it was made of.
pub(super) struct Authorization {
    pub(super) value: String,
    generation: u64,
}

/// How long before its end a token is renewed.
const RENEW_EARLY: Duration = Duration::from_secs(60);
/// How long a token is trusted whose life the vendor does not tell.
const UNTOLD_LIFE: Duration = Duration::from_secs(900);

impl Authenticator {
    pub(super) fn new(
        credentials: Credentials,
        token_url: Option<Url>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, NetError> {
        let mode = match (credentials, token_url) {
            (Credentials::OAuth2Refresh { client_id, client_secret, refresh_token }, Some(token_url)) => {
                let client = BasicClient::new(ClientId::new(client_id))
                    .set_client_secret(ClientSecret::new(client_secret.expose().to_owned()))
                    .set_auth_type(oauth2::AuthType::RequestBody)
                    .set_token_uri(TokenUrl::from_url(token_url));
                let refresh_token = RefreshToken::new(refresh_token.expose().to_owned());
                let state = Mutex::new(TokenState { refresh_token, access: None, generation: 0 });
                Mode::Refreshed(Box::new(Refreshed { client, transport, state }))
            }
            (Credentials::Bearer(token), _) if !token.expose().is_empty() => {
                Mode::Fixed(format!("Bearer {}", token.expose()))
            }
            _ => return Err(NetError::Credentials("no token".to_owned())),
        };
        Ok(Self { mode })
    }

    /// Whether a refused token can be renewed.
    pub(super) fn renewable(&self) -> bool {
        matches!(self.mode, Mode::Refreshed(_))
    }

    /// The value of the `Authorization` header; renews the token first when it is about to end.
    pub(super) async fn header(&self) -> Result<Authorization, Fault> {
        let refreshed = match &self.mode {
            Mode::Fixed(value) => return Ok(Authorization { value: value.clone(), generation: 0 }),
            Mode::Refreshed(refreshed) => refreshed,
        };
        let mut state = refreshed.state.lock().await;
        let now = time::Instant::now();
        let live = state.access.as_ref().filter(|(_, until)| *until > now).map(|(token, _)| token.clone());
        let token = match live {
            Some(token) => token,
            None => refreshed.renew(&mut state).await?,
        };
        Ok(Authorization { value: format!("Bearer {token}"), generation: state.generation })
    }

    /// Drops a token that was refused, unless it was renewed in the meantime.
    pub(super) async fn forget(&self, authorization: &Authorization) {
        if let Mode::Refreshed(refreshed) = &self.mode {
            let mut state = refreshed.state.lock().await;
            if state.generation == authorization.generation {
                state.access = None;
            }
        }
    }
}

impl Refreshed {
    async fn renew(&self, state: &mut TokenState) -> Result<String, Fault> {
        let carry = |request: OAuthRequest| carry(Arc::clone(&self.transport), request);
        let answer = self.client.exchange_refresh_token(&state.refresh_token).request_async(&carry).await;
        let answer = answer.map_err(|error| match error {
            RequestTokenError::Request(fault) => fault,
            RequestTokenError::ServerResponse(_) | RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                Fault::Transient { why: "the token endpoint gave no token".to_owned() }
            }
        })?;
        let life = answer.expires_in().unwrap_or(UNTOLD_LIFE);
        let token = answer.access_token().secret().clone();
        if let Some(rotated) = answer.refresh_token() {
            state.refresh_token = rotated.clone();
        }
        state.access = Some((token.clone(), time::Instant::now() + life.saturating_sub(RENEW_EARLY)));
        state.generation += 1;
        Ok(token)
    }
}

/// Carries a request for a token. A refusal is judged here by its status alone, since vendors differ in what they
/// write into its body.
async fn carry(transport: Arc<dyn Transport>, request: OAuthRequest) -> Result<OAuthResponse, Fault> {
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let sent = HttpRequest {
        method: Method::Post,
        url: request.uri().to_string(),
        headers: headers.collect(),
        body: request.body().clone(),
    };
    let answer = transport.send(sent).await.map_err(|error| Fault::Transient { why: error.to_string() })?;
    if let Some(fault) = refusal(&answer, transport.now()) {
        return Err(fault);
    }
    let mut response = OAuthResponse::new(answer.body);
    *response.status_mut() =
        oauth2::http::StatusCode::from_u16(answer.status).unwrap_or(oauth2::http::StatusCode::BAD_GATEWAY);
    if let Some((_, kind)) = answer.headers.iter().find(|(name, _)| name == "content-type")
        && let Ok(kind) = kind.parse()
    {
        response.headers_mut().insert(oauth2::http::header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

/// What it means that no token was given. Whatever a person cannot help against is temporary.
fn refusal(answer: &HttpResponse, now: Option<Instant>) -> Option<Fault> {
    match answer.status {
        429 | 503 => Some(Fault::Throttled { retry_after_ms: retry_after_ms(answer, now) }),
        status @ (300..=399 | 408 | 425 | 500..) => {
            Some(Fault::Transient { why: format!("the token endpoint answered {status}") })
        }
        400..=499 => Some(Fault::NeedsReauth),
        _ => None,
    }
}
