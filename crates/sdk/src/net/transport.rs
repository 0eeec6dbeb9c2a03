//! What carries requests: the real network, or a stand-in in memory.

use std::time::Duration;

use crosstie_domain::Instant;
use futures::StreamExt;
use url::{Host, Url};

use super::call::{HttpRequest, HttpResponse, Method};
use crate::Fault;

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 10 * 1024 * 1024;

/// Carries one request and brings the answer.
#[async_trait::async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request.
    ///
    /// # Errors
    /// Whether the request can have had an effect.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;

    /// The time where answers arrive. Without it the clocks of vendors are not measured.
    fn now(&self) -> Option<Instant> {
        None
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request never left.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request left; its answer did not come whole.
    #[error("answer lost: {0}")]
    AnswerLost(String),
}

impl TransportError {
    pub(super) fn into_fault(self, repeatable: bool) -> Fault {
        match self {
            Self::AnswerLost(why) if !repeatable => Fault::Unknown { why },
            Self::NotSent(why) | Self::AnswerLost(why) => Fault::Transient { why },
        }
    }
}

/// The real network. Follows no redirects, waits at most 30 seconds, reads at most 10 MiB. It keeps to the proxy that
/// the environment names (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`), but for what is on this machine.
#[derive(Debug, Clone)]
pub struct ReqwestTransport {
    client: reqwest::Client,
    /// For hosts on this machine, which a proxy elsewhere would take for its own.
    direct: reqwest::Client,
}

impl ReqwestTransport {
    /// A transport with its own pool of connections.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new() -> Result<Self, TransportError> {
        Self::with_timeout(Duration::from_secs(30))
    }

    /// The same with another limit for the whole of a request.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn with_timeout(timeout: Duration) -> Result<Self, TransportError> {
        let client = || {
            #[expect(clippy::disallowed_methods, reason = "the one home of HTTP clients")]
            let builder = reqwest::Client::builder();
            builder
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(10).min(timeout))
                .timeout(timeout)
                .user_agent(concat!("crosstie/", env!("CARGO_PKG_VERSION")))
        };
        let built = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| TransportError::NotSent(describe(&error)))
        };
        Ok(Self { client: built(client())?, direct: built(client().no_proxy())? })
    }

    fn client_for(&self, url: &str) -> &reqwest::Client {
        if is_on_this_machine(url) { &self.direct } else { &self.client }
    }
}

/// Whether an address leads to the loopback interface: 127.0.0.0/8, `::1` or `localhost`.
pub(super) fn is_on_this_machine(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        None => false,
    }
}

#[async_trait::async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client_for(&request.url).request(method, &request.url).body(request.body);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let response = builder.send().await.map_err(|error| {
            let why = describe(&error);
            if error.is_connect() || error.is_builder() {
                TransportError::NotSent(why)
            } else {
                TransportError::AnswerLost(why)
            }
        })?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| TransportError::AnswerLost(describe(&error)))?;
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(TransportError::AnswerLost(format!("longer than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body })
    }

    fn now(&self) -> Option<Instant> {
        #[expect(clippy::disallowed_methods, reason = "the network has the clock of the machine, whatever a test says")]
        Some(Instant::new(jiff::Timestamp::now()))
    }
}

/// The error and its causes, without the address, which can hold personal data in its query.
pub(super) fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::is_on_this_machine;

    #[test]
    fn loopback_is_told_from_the_rest_of_the_network() {
        for url in [
            "http://127.0.0.1:8080/x?y",
            "https://127.9.8.7",
            "http://[::1]:80/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost:3000",
            "HTTP://LocalHost./",
        ] {
            assert!(is_on_this_machine(url), "{url}");
        }
        for url in [
            "https://api.example/127.0.0.1",
            "https://localhost.example/",
            "http://user@10.0.0.1",
            "http://128.0.0.1",
            "http://0.0.0.0/",
            "http://[::2]/",
            "not an address",
        ] {
            assert!(!is_on_this_machine(url), "{url}");
        }
    }
}
