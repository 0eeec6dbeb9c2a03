//! Vendors' stand-ins on loopback ports.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crosstie::config::ConnectionConfig;
use crosstie_domain::Instant;
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// A stand-in that answers over HTTP; what it was asked it does at once, and the answer may come late.
pub(crate) struct HostedVendor<F> {
    pub(crate) url: String,
    vendor: Arc<Mutex<F>>,
    _server: MockServer,
}

type Now = Box<dyn Fn() -> Instant + Send + Sync>;
/// How long the answer to a request takes.
type Delay = Box<dyn Fn(&HttpRequest) -> Duration + Send + Sync>;

struct Answers<F> {
    vendor: Arc<Mutex<F>>,
    now: Now,
    delay: Delay,
}

impl<F: FakeVendor + 'static> HostedVendor<F> {
    pub(crate) async fn start(
        vendor: F,
        now: impl Fn() -> Instant + Send + Sync + 'static,
        delay: impl Fn(&HttpRequest) -> Duration + Send + Sync + 'static,
    ) -> Self {
        let server = MockServer::builder().disable_request_recording().start().await;
        let vendor = Arc::new(Mutex::new(vendor));
        let answers = Answers { vendor: Arc::clone(&vendor), now: Box::new(now), delay: Box::new(delay) };
        Mock::given(any()).respond_with(answers).mount(&server).await;
        Self { url: server.uri(), vendor, _server: server }
    }

    /// The stand-in itself.
    pub(crate) fn vendor(&self) -> MutexGuard<'_, F> {
        self.vendor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of the hub to it.
    pub(crate) fn connection(&self, name: &str, secret: &str) -> ConnectionConfig {
        ConnectionConfig {
            name: name.to_owned(),
            connector: name.to_owned(),
            base_url: Some(self.url.clone()),
            token: Some("test-key".to_owned()),
            webhook_secrets: vec![secret.to_owned()],
            ..ConnectionConfig::default()
        }
    }
}

impl<F: FakeVendor + 'static> Respond for Answers<F> {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let methods = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
        let method = methods.into_iter().find(|method| method.as_str() == request.method.as_str());
        let Some(method) = method else { return ResponseTemplate::new(405) };
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let url = request.url.to_string();
        let request = HttpRequest { method, url, headers: headers.collect(), body: request.body.clone() };
        let answer = self.vendor.lock().unwrap_or_else(PoisonError::into_inner).respond(&request, (self.now)());
        template(&answer).set_delay((self.delay)(&request))
    }
}

fn template(answer: &HttpResponse) -> ResponseTemplate {
    let template = ResponseTemplate::new(answer.status).set_body_bytes(answer.body.clone());
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.fold(template, |template, (name, value)| template.insert_header(name, value))
}
