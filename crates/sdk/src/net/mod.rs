//! The governed HTTP handle: the only way for a connector to talk.
//!
//! It adds the credential, stays on the connection's own host, keeps to the declared rate, bounds time and size,
//! and names what went wrong by what can be done about it.

mod auth;
mod budget;
mod call;
mod clock;
mod egress;
mod exchange;
mod transport;

use std::sync::{Arc, PoisonError, RwLock};

use crosstie_domain::Instant;
use url::Url;

use self::{auth::Authenticator, budget::Budgets, call::without_query, clock::ClockSkew};
pub use self::{
    auth::{
        AuthorizationRefused, ClientAuth, ClientSecrets, Credentials, Grant, KeptTokens, MemoryTokens, OAuthClient,
        Refusal, Secret, SignIn, TokenLease, TokenSet, TokenStore, TokenStoreError,
    },
    budget::{Priority, Quotas},
    call::{Answer, Call, HttpRequest, HttpResponse, Method},
    egress::{Egress, EgressAnswer, EgressError, EgressRequest, HttpEgress},
    exchange::{Sending, fault_code},
    transport::{ReqwestTransport, Transport, TransportError},
};
use crate::{Descriptor, Fault, Redactor, Settings};

/// What a connection gives its connector to talk with.
pub struct NetOptions {
    /// Where the API is; the connector's default when `None`.
    pub base_url: Option<String>,
    /// How it signs in.
    pub credentials: Credentials,
    /// What only the connector understands.
    pub settings: Settings,
    /// What carries the requests.
    pub transport: Arc<dyn Transport>,
}

/// A connection that cannot be talked through as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The address is missing or not an http(s) address without user and query.
    #[error("base_url: {0}")]
    BaseUrl(String),
    /// The connector cannot sign in with what is configured.
    #[error("credentials: {0}")]
    Credentials(String),
}

/// The governed HTTP handle of one connection.
pub struct Net {
    base: Url,
    settings: RwLock<Arc<Settings>>,
    transport: Arc<dyn Transport>,
    auth: Authenticator,
    budgets: Budgets,
    skew: Arc<ClockSkew>,
    redactor: Redactor,
}

impl Net {
    /// A handle for a connection to the vendor that the descriptor declares.
    ///
    /// # Errors
    /// [`NetError`], naming the key that is wrong.
    pub fn new(descriptor: &Descriptor, options: NetOptions) -> Result<Self, NetError> {
        let NetOptions { base_url, credentials, settings, transport } = options;
        let text = base_url.as_deref().or(descriptor.default_base_url);
        let text = text.ok_or_else(|| NetError::BaseUrl("missing: this vendor has no common address".to_owned()))?;
        let base = base_of(text)?;
        let skew = Arc::<ClockSkew>::default();
        let redactor = Redactor::new(credentials.secrets());
        let auth = Authenticator::new(credentials, descriptor, &base, Arc::clone(&transport), Arc::clone(&skew))?;
        let settings = RwLock::new(Arc::new(settings));
        Ok(Self { base, settings, transport, auth, budgets: Budgets::new(descriptor.budgets), skew, redactor })
    }

    /// Leases calls from these quotas from now on, which other processes share.
    pub fn share_budgets(&mut self, quotas: Arc<dyn Quotas>) {
        self.budgets.share(quotas);
    }

    /// The settings of the connection, as they are in force now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other settings into force. They must have been checked by the connector.
    pub fn change_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// How far the vendor's clock is ahead of ours, in milliseconds to the whole second; negative when it is behind.
    /// It is what the latest answer told by its `Date`; `None` before the first one that did.
    ///
    /// A record that the vendor stamps now bears about our present moment plus this.
    pub fn clock_skew_ms(&self) -> Option<i64> {
        self.skew.latest_ms()
    }

    /// Where a person authorizes the connection, but for what is new each time (`state`, `code_challenge`): `None` when it
    /// does not sign in so.
    pub fn authorization_page(&self, redirect_url: &str) -> Option<Url> {
        self.auth.renewal()?.authorization_page(redirect_url)
    }

    /// Takes the tokens that a person's authorization gives, and keeps them before they are used.
    ///
    /// # Errors
    /// [`AuthorizationRefused`].
    pub async fn finish_authorization(
        &self,
        code: Secret,
        verifier: Secret,
        redirect_url: &str,
    ) -> Result<(), AuthorizationRefused> {
        let renewal = self.auth.renewal().ok_or(AuthorizationRefused::NotOffered)?;
        renewal.finish(code, verifier, redirect_url.to_owned()).await
    }

    /// Sends a call and returns the vendor's answer, which is a success or a refusal that the connector can explain.
    ///
    /// # Errors
    /// [`Fault::NeedsReauth`] (401, after one renewal of the token), [`Fault::MissingScope`] (403, unless
    /// [`Call::reads_forbidden`]),
    /// [`Fault::Gone`] (404, 410), [`Fault::Throttled`] (429, 503 with `Retry-After`, and a budget that is used up); for
    /// all other answers that say nothing of the request itself (3xx, 408, 425, 5xx) and for lost ones
    /// [`Fault::Transient`] when the request is repeatable or had no effect, otherwise [`Fault::Unknown`];
    /// [`Fault::Bug`] (an address that is not the connection's).
    pub async fn send(&self, call: Call) -> Result<Answer, Fault> {
        let url = join(&self.base, &call.path)?;
        let mut attempt = 1;
        loop {
            self.budgets.wait(call.bucket, call.cost).await?;
            let authorization = self.auth.header().await?;
            let request = call.request(&url, &authorization.value);
            let sent_at = self.transport.now();
            let sending = Sending { attempt, repeatable: call.repeatable, reads_forbidden: call.reads_forbidden };
            let sent = sending.scope(self.transport.send(request)).await;
            let mut response = sent.map_err(|error| error.into_fault(call.repeatable))?;
            let now = self.transport.now();
            if let (Some(sent_at), Some(received_at)) = (sent_at, now) {
                self.skew.measure(&response, sent_at, received_at);
            }
            self.budgets.told(call.bucket, &response, now).await;
            if response.status == 401 && attempt == 1 && self.auth.renewable() {
                attempt += 1;
                self.auth.forget(&authorization).await;
                continue;
            }
            if response.status >= 400 {
                // Some vendors repeat in their refusals what they were told, and refusals are shown.
                self.redactor.learn(&[("authorization".to_owned(), authorization.value.clone())], [b"", b""]);
                response.body = self.redactor.text(&String::from_utf8_lossy(&response.body)).into_bytes();
            }
            return match exchange::refusal(&response, sending, now, &call.name()) {
                Some(fault) => Err(fault),
                None => Ok(Answer::new(response)),
            };
        }
    }
}

/// The address as it was configured. Whatever is wrong with it, it is not shown: it can hold a password.
fn base_of(text: &str) -> Result<Url, NetError> {
    let wrong = |why: &str| NetError::BaseUrl(why.to_owned());
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("is not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not hold user, password, query or fragment"));
    }
    Ok(url)
}

/// The address of a path below the base. A path that leads to another host is a defect of the connector.
fn join(base: &Url, path: &str) -> Result<Url, Fault> {
    let absolute = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '#', '\r', '\n']);
    let prefix = base.as_str().trim_end_matches('/');
    let url = Url::parse(&format!("{prefix}{path}")).ok().filter(|url| absolute && url.origin() == base.origin());
    url.ok_or_else(|| Fault::Bug {
        why: format!("not a path below the connection's address: {:?}", without_query(path)),
    })
}
