//! What is asked of a vendor's token endpoint, and what its answers mean.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest as OAuthRequest,
    HttpResponse as OAuthResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    TokenResponse, TokenUrl,
    basic::{BasicClient, BasicTokenResponse},
};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    Secret,
    assertion::{self, Claims},
    tokens::{ClientSecrets, Refusal, SignIn, TokenSet, TokenStore},
};
use crate::{
    AuthMode, Descriptor, Fault, HttpRequest, HttpResponse, Method, NetError, Transport, TransportError,
    net::{clock::ClockSkew, clock::retry_after_ms, join, transport::is_on_this_machine},
};

/// How an OAuth 2.0 client comes by access tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// With its own secret alone.
    ClientCredentials,
    /// A person allows it once, in a browser, with PKCE; then as [`Grant::RefreshToken`].
    AuthorizationCode,
    /// With a refresh token, which the vendor may exchange for another each time.
    #[default]
    RefreshToken,
    /// With an assertion that it signs with its own key (RFC 7523).
    JwtBearer,
}

impl Grant {
    /// Every grant with its name in the configuration.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::ClientCredentials, "client_credentials"),
        (Self::AuthorizationCode, "authorization_code"),
        (Self::RefreshToken, "refresh_token"),
        (Self::JwtBearer, "jwt_bearer"),
    ];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(grant, _)| *grant == self).map_or("", |(_, text)| text)
    }

    /// Whether each answer may bring a refresh token that must not be lost.
    pub fn rotates(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::RefreshToken)
    }
}

/// How a client proves to the token endpoint who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Its secret stands in the body.
    #[default]
    Body,
    /// Its secret stands in the header `Authorization`.
    Basic,
    /// It signs an assertion with its own key (`private_key_jwt`).
    PrivateKeyJwt,
}

/// An OAuth 2.0 client of a vendor.
#[derive(Clone)]
pub struct OAuthClient {
    /// How it comes by access tokens.
    pub grant: Grant,
    /// What the vendor calls it.
    pub client_id: String,
    /// How it proves who it is.
    pub client_auth: ClientAuth,
    /// What it asks for; what the connector declares when empty.
    pub scopes: Vec<String>,
    /// Where a person allows it, when not where the connector says.
    pub authorize_url: Option<String>,
    /// Where tokens are asked for, when not where the connector says.
    pub token_url: Option<String>,
    /// On whose behalf an assertion is made; the client itself when `None`.
    pub subject: Option<String>,
    /// Whom an assertion is for; the token endpoint when neither this nor the connector says.
    pub audience: Option<String>,
    /// What the vendor calls the key that assertions are signed with.
    pub key_id: Option<String>,
    /// Who keeps its tokens.
    pub tokens: Arc<dyn TokenStore>,
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OAuthClient({} as {})", self.grant.as_str(), self.client_id)
    }
}

impl OAuthClient {
    /// A client that does all as the connector declares it.
    pub fn new(grant: Grant, client_id: impl Into<String>, tokens: Arc<dyn TokenStore>) -> Self {
        Self {
            grant,
            client_id: client_id.into(),
            client_auth: ClientAuth::default(),
            scopes: Vec::new(),
            authorize_url: None,
            token_url: None,
            subject: None,
            audience: None,
            key_id: None,
            tokens,
        }
    }
}

/// Why no tokens came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AskError {
    /// A person must act.
    Refused(Refusal),
    /// It may work later. `answered` is false when the vendor may have given tokens that did not arrive.
    Later { fault: Fault, answered: bool },
}

/// That a person's authorization brought no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationRefused {
    /// The connection does not sign in by authorization.
    #[error("the connection does not sign in by authorization")]
    NotOffered,
    /// The vendor did not accept the code, or the client.
    #[error("the code was refused")]
    Refused(Refusal),
    /// It may work when a person authorizes again.
    #[error(transparent)]
    Later(Fault),
}

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The token endpoint of a vendor, for one client.
pub(super) struct Endpoint {
    client: OAuthClient,
    authorize_url: Option<Url>,
    token_url: Url,
    audience: String,
    wire: Wire,
}

/// What carries requests for tokens.
#[derive(Clone)]
struct Wire {
    transport: Arc<dyn Transport>,
    skew: Arc<ClockSkew>,
}

/// How long a token is trusted whose life the vendor does not tell.
const UNTOLD_LIFE: Duration = Duration::from_secs(900);
/// How long before its end a token is renewed at the earliest.
const EARLY: Duration = Duration::from_secs(60);
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a connector declares of a grant.
#[derive(Default)]
struct Declared {
    authorize_url: Option<&'static str>,
    token_path: Option<&'static str>,
    audience: Option<&'static str>,
    scopes: &'static [&'static str],
}

fn declared(descriptor: &Descriptor, grant: Grant) -> Option<Declared> {
    descriptor.auth.iter().find_map(|mode| match (*mode, grant) {
        (AuthMode::OAuth2Refresh { token_path }, Grant::RefreshToken) => {
            Some(Declared { token_path: Some(token_path), ..Declared::default() })
        }
        (AuthMode::ClientCredentials { token_path, scopes }, Grant::ClientCredentials) => {
            Some(Declared { token_path: Some(token_path), scopes, ..Declared::default() })
        }
        (AuthMode::AuthorizationCode { authorize_url, token_path, scopes }, Grant::AuthorizationCode) => {
            let (authorize_url, token_path) = (Some(authorize_url), Some(token_path));
            Some(Declared { authorize_url, token_path, scopes, ..Declared::default() })
        }
        (AuthMode::JwtBearer { token_path, audience, scopes }, Grant::JwtBearer) => {
            Some(Declared { token_path: Some(token_path), audience, scopes, ..Declared::default() })
        }
        _ => None,
    })
}

impl Endpoint {
    pub(super) fn new(
        mut client: OAuthClient,
        descriptor: &Descriptor,
        base: &Url,
        transport: Arc<dyn Transport>,
        skew: Arc<ClockSkew>,
    ) -> Result<Self, NetError> {
        let wrong = |why: &str| NetError::Credentials(why.to_owned());
        let declared = declared(descriptor, client.grant);
        if declared.is_none() && client.token_url.is_none() {
            let grant = client.grant.as_str();
            return Err(wrong(&format!("this vendor offers no OAuth 2.0 by {grant}; oauth.token_url says who does")));
        }
        let declared = declared.unwrap_or_default();
        let token_url = match (&client.token_url, declared.token_path) {
            (Some(url), _) => elsewhere("oauth.token_url", url)?,
            (None, Some(path)) => join(base, path).map_err(|fault| NetError::BaseUrl(fault.to_string()))?,
            (None, None) => return Err(wrong("oauth.token_url is missing")),
        };
        let authorize_url = match (&client.authorize_url, declared.authorize_url) {
            (Some(url), _) => Some(elsewhere("oauth.authorize_url", url)?),
            (None, Some(path)) if path.starts_with('/') => {
                Some(join(base, path).map_err(|fault| NetError::BaseUrl(fault.to_string()))?)
            }
            (None, Some(url)) => Some(elsewhere("oauth.authorize_url", url)?),
            (None, None) => None,
        };
        if client.grant == Grant::AuthorizationCode && authorize_url.is_none() {
            return Err(wrong("oauth.authorize_url is missing"));
        }
        if client.scopes.is_empty() {
            client.scopes = declared.scopes.iter().map(|scope| (*scope).to_owned()).collect();
        }
        let audience = client.audience.clone().or(declared.audience.map(str::to_owned));
        let audience = audience.unwrap_or_else(|| token_url.to_string());
        Ok(Self { client, authorize_url, token_url, audience, wire: Wire { transport, skew } })
    }

    /// Where a person allows it, but for what is new each time; `None` when no person does.
    pub(super) fn authorization_page(&self, redirect_url: &str) -> Option<Url> {
        let mut url = self.authorize_url.clone().filter(|_| self.client.grant == Grant::AuthorizationCode)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client.client_id)
            .append_pair("redirect_uri", redirect_url);
        if !self.client.scopes.is_empty() {
            url.query_pairs_mut().append_pair("scope", &self.client.scopes.join(" "));
        }
        Some(url)
    }

    /// Asks for tokens with what the connection has.
    pub(super) async fn ask(&self, sign_in: &SignIn) -> Result<TokenSet, AskError> {
        let secrets = &sign_in.secrets;
        let presented = sign_in.tokens.as_ref().and_then(|kept| kept.refresh.clone());
        let presented = presented.or_else(|| secrets.refresh_token.clone());
        let answer = match self.client.grant {
            Grant::ClientCredentials => {
                let client = self.oauth_client(secrets);
                let request = client.exchange_client_credentials().add_scopes(self.scopes());
                let request = with_extra(request, &self.client_assertion(secrets)?, |request, name, value| {
                    request.add_extra_param(name, value)
                });
                request.request_async(&self.wire.carrier()).await
            }
            Grant::RefreshToken | Grant::AuthorizationCode => {
                let refresh = presented.as_ref().ok_or(AskError::Refused(Refusal::NotAuthorized))?;
                let refresh = RefreshToken::new(refresh.expose().to_owned());
                let client = self.oauth_client(secrets);
                let request = client.exchange_refresh_token(&refresh);
                let request = with_extra(request, &self.client_assertion(secrets)?, |request, name, value| {
                    request.add_extra_param(name, value)
                });
                request.request_async(&self.wire.carrier()).await
            }
            Grant::JwtBearer => return self.ask_with_assertion(secrets).await,
        };
        self.tokens(answer.map_err(why)?, presented)
    }

    /// Asks for tokens with the code that a person's authorization gave.
    pub(super) async fn exchange(
        &self,
        secrets: &ClientSecrets,
        (code, verifier): (&Secret, &Secret),
        redirect_url: &str,
    ) -> Result<TokenSet, AskError> {
        let redirect = RedirectUrl::new(redirect_url.to_owned()).map_err(|_| no_tokens())?;
        let client = self.oauth_client(secrets);
        let request = client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
            .set_redirect_uri(Cow::Owned(redirect));
        let request = with_extra(request, &self.client_assertion(secrets)?, |request, name, value| {
            request.add_extra_param(name, value)
        });
        let answer = request.request_async(&self.wire.carrier()).await;
        self.tokens(answer.map_err(why)?, None)
    }

    fn oauth_client(&self, secrets: &ClientSecrets) -> Client {
        let client = BasicClient::new(ClientId::new(self.client.client_id.clone()))
            .set_auth_type(match self.client.client_auth {
                ClientAuth::Basic => AuthType::BasicAuth,
                ClientAuth::Body | ClientAuth::PrivateKeyJwt => AuthType::RequestBody,
            })
            .set_token_uri(TokenUrl::from_url(self.token_url.clone()));
        match &secrets.client_secret {
            Some(secret) if self.client.client_auth != ClientAuth::PrivateKeyJwt => {
                client.set_client_secret(ClientSecret::new(secret.expose().to_owned()))
            }
            _ => client,
        }
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.client.scopes.clone().into_iter().map(Scope::new)
    }

    fn claims(&self, issuer: &str, subject: &str) -> Claims {
        Claims {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audience: self.audience.clone(),
            key_id: self.client.key_id.clone(),
            scope: None,
        }
    }

    /// What proves with the client's key who it is; nothing for a client that proves it otherwise.
    fn client_assertion(&self, secrets: &ClientSecrets) -> Result<Vec<(&'static str, Secret)>, AskError> {
        if self.client.client_auth != ClientAuth::PrivateKeyJwt {
            return Ok(Vec::new());
        }
        let id = &self.client.client_id;
        let assertion = self.sign(secrets, &self.claims(id, id))?;
        Ok(vec![("client_assertion_type", Secret::new(CLIENT_ASSERTION)), ("client_assertion", assertion)])
    }

    fn sign(&self, secrets: &ClientSecrets, claims: &Claims) -> Result<Secret, AskError> {
        let key = secrets.private_key.as_ref().ok_or(AskError::Refused(Refusal::PrivateKey))?;
        let bug = || Fault::Bug { why: "the transport has no clock to date assertions by".to_owned() };
        let now = self.wire.transport.now().ok_or_else(|| AskError::Later { fault: bug(), answered: true })?;
        // Dated by the vendor's clock, as far as it was measured.
        let now = now.plus_ms(self.wire.skew.latest_ms().unwrap_or_default());
        assertion::sign(claims, key, now).map_err(AskError::Refused)
    }

    /// An assertion is judged by the vendor's clock. When that shows only in the refusal, it is dated anew, once.
    async fn ask_with_assertion(&self, secrets: &ClientSecrets) -> Result<TokenSet, AskError> {
        let skew_ms = self.wire.skew.latest_ms().unwrap_or_default();
        let first = self.ask_with_one_assertion(secrets).await;
        let moved = (self.wire.skew.latest_ms().unwrap_or_default() - skew_ms).abs() > 1_000;
        match first {
            Err(AskError::Refused(_)) if moved => self.ask_with_one_assertion(secrets).await,
            first => first,
        }
    }

    async fn ask_with_one_assertion(&self, secrets: &ClientSecrets) -> Result<TokenSet, AskError> {
        let client = &self.client;
        let mut claims = self.claims(&client.client_id, client.subject.as_ref().unwrap_or(&client.client_id));
        let scope = client.scopes.join(" ");
        if !scope.is_empty() {
            claims.scope = Some(scope.clone());
        }
        let assertion = self.sign(secrets, &claims)?;
        let mut form = vec![("grant_type", JWT_BEARER.to_owned()), ("assertion", assertion.expose().to_owned())];
        if !scope.is_empty() {
            form.push(("scope", scope));
        }
        // Some vendors know the client by the assertion alone; those that gave it a secret want to see it.
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        match (&secrets.client_secret, client.client_auth) {
            (Some(secret), ClientAuth::Basic) => headers.push(("authorization".to_owned(), basic(client, secret))),
            (Some(secret), _) => {
                form.push(("client_id", client.client_id.clone()));
                form.push(("client_secret", secret.expose().to_owned()));
            }
            (None, _) => {}
        }
        let body = serde_urlencoded::to_string(&form).expect("pairs of texts can be written as a form").into_bytes();
        let request = HttpRequest { method: Method::Post, url: self.token_url.to_string(), headers, body };
        let answer = self.wire.send(request).await?;
        let answer: BasicTokenResponse = serde_json::from_slice(&answer.body).map_err(|_| no_tokens())?;
        self.tokens(answer, None)
    }

    /// The tokens of an answer. One without a refresh token leaves the one that was presented in force.
    fn tokens(&self, answer: BasicTokenResponse, presented: Option<Secret>) -> Result<TokenSet, AskError> {
        let life = answer.expires_in().unwrap_or(UNTOLD_LIFE);
        let access = answer.access_token().secret();
        if access.is_empty() || access.contains(|c: char| c.is_control() || !c.is_ascii()) {
            return Err(no_tokens());
        }
        let rotated = answer.refresh_token().map(|token| Secret::new(token.secret()));
        let refresh = rotated.or(presented).filter(|_| self.client.grant.rotates());
        Ok(TokenSet { access: Secret::new(access), refresh, good_for: life.saturating_sub(EARLY.min(life / 5)) })
    }
}

impl Wire {
    /// Carries the requests of the library. What it gives borrows nothing, so that it can be sent to another thread.
    fn carrier(&self) -> impl Fn(OAuthRequest) -> BoxFuture<'static, Result<OAuthResponse, Carried>> + use<> {
        let wire = self.clone();
        move |request| {
            let wire = wire.clone();
            Box::pin(async move { wire.carry(request).await })
        }
    }

    async fn carry(&self, request: OAuthRequest) -> Result<OAuthResponse, Carried> {
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
        let answer = self.send(sent).await.map_err(Carried)?;
        let kind = answer.header("content-type").and_then(|kind| kind.parse().ok());
        let mut response = OAuthResponse::new(answer.body);
        let status = oauth2::http::StatusCode::from_u16(answer.status);
        *response.status_mut() = status.unwrap_or(oauth2::http::StatusCode::BAD_GATEWAY);
        if let Some(kind) = kind {
            response.headers_mut().insert(oauth2::http::header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }

    /// Sends a request for tokens. A refusal is judged here.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, AskError> {
        let sent_at = self.transport.now();
        let answer = self.transport.send(request).await.map_err(|error| {
            let answered = matches!(error, TransportError::NotSent(_));
            AskError::Later { fault: Fault::Transient { why: error.to_string() }, answered }
        })?;
        let now = self.transport.now();
        if let (Some(sent_at), Some(now)) = (sent_at, now) {
            self.skew.measure(&answer, sent_at, now);
        }
        let fault = match answer.status {
            429 | 503 => Fault::Throttled { retry_after_ms: retry_after_ms(&answer, now) },
            status @ (300..=399 | 408 | 425 | 500..) => {
                let why = format!("the token endpoint answered {status}");
                // A server that failed half-way may have taken the refresh token for used.
                return Err(AskError::Later { fault: Fault::Transient { why }, answered: status < 500 });
            }
            400..=499 => return Err(refused(&answer)),
            _ => return Ok(answer),
        };
        Err(AskError::Later { fault, answered: true })
    }
}

/// An [`AskError`] on its way through the library.
#[derive(Debug, thiserror::Error)]
#[error("no tokens")]
struct Carried(AskError);

fn with_extra<R>(request: R, pairs: &[(&'static str, Secret)], add: impl Fn(R, &'static str, String) -> R) -> R {
    pairs.iter().fold(request, |request, (name, value)| add(request, name, value.expose().to_owned()))
}

fn why<T: oauth2::ErrorResponse + 'static>(error: RequestTokenError<Carried, T>) -> AskError {
    match error {
        RequestTokenError::Request(Carried(error)) => error,
        RequestTokenError::ServerResponse(_) | RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            no_tokens()
        }
    }
}

fn no_tokens() -> AskError {
    let why = "the token endpoint gave no token".to_owned();
    AskError::Later { fault: Fault::Transient { why }, answered: false }
}

/// What a refusal says. Its status alone says that it is one, since vendors differ in what they write into its body.
fn refused(answer: &HttpResponse) -> AskError {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    AskError::Refused(match body["error"].as_str() {
        Some("invalid_client" | "unauthorized_client" | "unsupported_grant_type") => Refusal::Client,
        Some("invalid_scope" | "invalid_target") => Refusal::Scope,
        _ => Refusal::Grant,
    })
}

fn basic(client: &OAuthClient, secret: &Secret) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(&client.client_id), encoded(secret.expose()));
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// An address apart from the connection's own: what goes there holds secrets, so it is encrypted or stays on this
/// machine. What is wrong with it is said without showing it.
fn elsewhere(key: &str, text: &str) -> Result<Url, NetError> {
    let wrong = |why: &str| Err(NetError::Credentials(format!("{key} {why}")));
    let Ok(url) = Url::parse(text) else { return wrong("is not an address") };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_on_this_machine(text)) {
        return wrong("is not an https address; http is for this machine alone");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return wrong("must not hold user, password or fragment");
    }
    Ok(url)
}
