//! A system that other people run and that receives webhooks: a web server on a loopback port.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value as Json;
use standardwebhooks::Webhook;
use tokio::{net::TcpListener, task::JoinHandle};

/// A webhook as it was received.
#[derive(Clone)]
pub(crate) struct Received {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn body_length(&self) -> u64 {
        self.body.len().try_into().expect("it fits")
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn sequence(&self) -> i64 {
        self.json()["data"]["sequence"].as_i64().expect("a number")
    }

    pub(crate) fn record(&self) -> String {
        self.json()["data"]["recordId"].as_str().expect("a record").to_owned()
    }

    /// Whether a library that others wrote takes the signature, its time included.
    pub(crate) fn is_signed_now_with(&self, secret: &str) -> bool {
        Webhook::new(secret).expect("a secret").verify(&self.body, &self.headers).is_ok()
    }

    /// Whether one of the signatures is what that library makes with this secret, whatever the time.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let timestamp = self.header("webhook-timestamp").parse().expect("seconds");
        let expected = Webhook::new(secret).expect("a secret").sign(self.id(), timestamp, &self.body).expect("signed");
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

/// What the receiver answers.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// How long it thinks.
    pub(crate) delay: Duration,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

type Answer = dyn Fn(&Received) -> Reply + Send + Sync;

#[derive(Default)]
struct Shelf {
    received: Vec<Received>,
    planned: VecDeque<Reply>,
}

/// A receiver at work.
pub(crate) struct Receiver {
    pub(crate) url: String,
    shelf: Arc<Mutex<Shelf>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    shelf: Arc<Mutex<Shelf>>,
    answer: Arc<Answer>,
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// A receiver that takes everything, but for what is planned otherwise.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| Reply::status(204)).await
    }

    /// A receiver that answers so when nothing is planned.
    pub(crate) async fn answering(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let shared = Shared { shelf: Arc::clone(&shelf), answer: Arc::new(answer) };
        let router = Router::new().route("/hooks", post(receive)).with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/hooks", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, shelf, server }
    }

    /// What it answers next, before anything else.
    pub(crate) fn plan(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.shelf).planned.extend(replies);
    }

    /// All that it received, the first first.
    pub(crate) fn received(&self) -> Vec<Received> {
        lock(&self.shelf).received.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let received = Received { headers, body: body.to_vec() };
    let planned = {
        let mut shelf = lock(&shared.shelf);
        shelf.received.push(received.clone());
        shelf.planned.pop_front()
    };
    let reply = planned.unwrap_or_else(|| (shared.answer)(&received));
    tokio::time::sleep(reply.delay).await;
    let mut response = (StatusCode::from_u16(reply.status).expect("a status"), reply.body).into_response();
    for (name, value) in reply.headers {
        let value = HeaderValue::from_str(&value).expect("a value");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}
