//! The way out to receivers of webhooks, whose addresses people of other organizations choose. What a name resolves to
//! is looked at when the connection is opened, so an address cannot be changed between look and use; redirects are
//! not followed; no proxy is asked, since it would resolve names by itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crosstie_domain::integration::{EgressRefusal, EgressRules};
use futures::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{HttpResponse, clock::retry_after_ms};

/// How long a receiver has to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long opening a connection may take of that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of an answer, in bytes.
const MOST_READ: usize = 64 * 1024;

/// Sends webhooks.
#[async_trait::async_trait]
pub trait Egress: Send + Sync {
    /// Sends one by POST. Every answer is an answer, whatever its status.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn post(&self, request: EgressRequest) -> Result<EgressAnswer, EgressError>;
}

/// A webhook to be sent.
#[derive(Clone)]
pub struct EgressRequest {
    /// Where it goes.
    pub url: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressAnswer {
    /// Status.
    pub status: u16,
    /// How long it asks to be left alone, in milliseconds, at most a day.
    pub retry_after_ms: Option<i64>,
    /// The first 64 KiB of its body, or what came of it.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The address is none that may be sent to.
    #[error("nothing is sent to this address: {0}")]
    Refused(#[from] EgressRefusal),
    /// The receiver could not be reached.
    #[error("the receiver could not be reached: {0}")]
    NotSent(String),
    /// It was sent, and no answer came in time.
    #[error("no answer came: {0}")]
    AnswerLost(String),
}

impl EgressError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "EGRESS_REFUSED",
            Self::NotSent(_) => "NOT_SENT",
            Self::AnswerLost(_) => "NO_ANSWER",
        }
    }
}

/// The real way out.
#[derive(Debug, Clone)]
pub struct HttpEgress {
    client: reqwest::Client,
    rules: EgressRules,
}

impl HttpEgress {
    /// A way out by these rules.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(rules: EgressRules) -> Result<Self, EgressError> {
        Self::with_timeout(rules, TIMEOUT)
    }

    /// The same with another limit for the whole of a request.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn with_timeout(rules: EgressRules, timeout: Duration) -> Result<Self, EgressError> {
        #[expect(clippy::disallowed_methods, reason = "the sdk is the one home of HTTP clients")]
        let builder = reqwest::Client::builder();
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(CheckedNames { rules }))
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            .user_agent(concat!("crosstie/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| EgressError::NotSent(super::transport::describe(&error)))?;
        Ok(Self { client, rules })
    }
}

#[async_trait::async_trait]
impl Egress for HttpEgress {
    async fn post(&self, request: EgressRequest) -> Result<EgressAnswer, EgressError> {
        // Addresses that are written as numbers never come to the resolver.
        self.rules.check(&request.url)?;
        let mut builder = self.client.post(&request.url).body(request.body);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let response = builder.send().await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        // The status says it all: a body that breaks off, or never ends, changes nothing.
        while let Some(Ok(chunk)) = chunks.next().await {
            body.extend_from_slice(&chunk[..chunk.len().min(MOST_READ - body.len())]);
            if body.len() >= MOST_READ {
                break;
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a date in an answer is held against the clock of the machine")]
        let now = Some(crosstie_domain::Instant::new(jiff::Timestamp::now()));
        let answer = HttpResponse { status, headers, body };
        Ok(EgressAnswer { status, retry_after_ms: retry_after_ms(&answer, now), body: answer.body })
    }
}

fn failed(error: &reqwest::Error) -> EgressError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<EgressRefusal>() {
            return EgressError::Refused(*refusal);
        }
        cause = error.source();
    }
    let why = super::transport::describe(error);
    if error.is_connect() || error.is_builder() { EgressError::NotSent(why) } else { EgressError::AnswerLost(why) }
}

/// Resolves names as the system does, and gives out addresses only when each of them may be connected to: a name that
/// leads to a public address and to a private one is up to something.
#[derive(Debug)]
struct CheckedNames {
    rules: EgressRules,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(checked(rules, found)?)
        })
    }
}

fn checked(rules: EgressRules, found: Vec<SocketAddr>) -> Result<Addrs, EgressRefusal> {
    if found.iter().all(|address| rules.allows(address.ip())) {
        Ok(Box::new(found.into_iter()))
    } else {
        Err(EgressRefusal::NotPublic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_one_private_address_among_public_ones_is_refused() {
        let strict = EgressRules::default();
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let [public, private] = ["93.184.216.34:0", "10.0.0.7:0"].map(address);
        assert_eq!(checked(strict, vec![public]).map(Iterator::count), Ok(1));
        assert_eq!(checked(strict, vec![public, private]).map(Iterator::count), Err(EgressRefusal::NotPublic));
        let open = EgressRules { allow_private: true, ..strict };
        assert_eq!(checked(open, vec![public, private]).map(Iterator::count), Ok(2));
    }

    #[tokio::test]
    async fn the_address_is_looked_at_when_it_is_connected_to() {
        // A name that no rule for written addresses knows, and that leads to this machine: as after a rebinding.
        let rules = EgressRules { allow_http: true, allow_private: false };
        let resolver = CheckedNames { rules };
        let error = resolver.resolve("localhost".parse().expect("a name")).await.map(Iterator::count);
        let error = error.expect_err("it leads to this machine");
        assert_eq!(error.downcast_ref::<EgressRefusal>(), Some(&EgressRefusal::NotPublic));

        let client = HttpEgress::new(rules).expect("the network can be used").client;
        let refused = client.post("http://localhost:9/").send().await.expect_err("it is not connected to");
        assert_eq!(failed(&refused), EgressError::Refused(EgressRefusal::NotPublic), "{refused:?}");
    }
}
