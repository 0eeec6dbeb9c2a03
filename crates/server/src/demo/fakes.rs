//! Hosts a vendor's stand-in on a loopback port. The stand-in is a pure function of state, request and time, so its
//! state is kept as the requests that changed it, and played again at the next start.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use crosstie_app::SystemClock;
use crosstie_domain::{Clock, Instant};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, ReqwestTransport, Transport};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::folder::DataFolder;
use crate::{commands::CommandError, hub::serve};

/// A stand-in at work.
pub(super) struct HostedFake {
    /// Where it listens.
    pub(super) url: String,
    stop: CancellationToken,
}

struct Hosted {
    vendor: Mutex<(Box<dyn FakeVendor>, File)>,
    clock: SystemClock,
    deliveries: mpsc::UnboundedSender<HttpRequest>,
    url: String,
}

/// A request that changed the stand-in, and when.
#[derive(Serialize, Deserialize)]
struct Played {
    at: Instant,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl HostedFake {
    /// Plays what happened before and starts to listen.
    pub(super) async fn start(
        name: &str,
        mut vendor: Box<dyn FakeVendor>,
        folder: &DataFolder,
    ) -> Result<Self, CommandError> {
        let path = folder.path.join(format!("{name}-requests.jsonl"));
        let log = OpenOptions::new().create(true).read(true).append(true).open(&path);
        let mut log = log.map_err(|error| folder.unusable(error))?;
        let mut text = String::new();
        log.read_to_string(&mut text).map_err(|error| folder.unusable(error))?;
        for line in text.lines() {
            // A line that was cut off by a kill was never answered.
            let Ok(played) = serde_json::from_str::<Played>(line) else { continue };
            let Some(method) = method(&played.method) else { continue };
            let body = played.body.into_bytes();
            let request = HttpRequest { method, url: played.url, headers: played.headers, body };
            vendor.respond(&request, played.at);
            // Told at the time.
            drop(vendor.take_deliveries());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            log.write_all(b"\n").map_err(|error| folder.unusable(error))?;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (deliveries, queue) = mpsc::unbounded_channel();
        tokio::spawn(deliver(queue, ReqwestTransport::new()?));
        let vendor = Mutex::new((vendor, log));
        let hosted = Arc::new(Hosted { vendor, clock: SystemClock::default(), deliveries, url: url.clone() });
        let stop = CancellationToken::new();
        serve(listener, Router::new().fallback(answer).with_state(hosted), stop.clone());
        Ok(Self { url, stop })
    }

    pub(super) fn stop(self) {
        self.stop.cancel();
    }
}

async fn answer(State(hosted): State<Arc<Hosted>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (Some(method), Ok(body)) = (method(parts.method.as_str()), to_bytes(body, 1024 * 1024).await) else {
        return respond(HttpResponse::empty(400));
    };
    let headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let request = HttpRequest {
        method,
        url: format!("{}{}", hosted.url, parts.uri),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    let now = hosted.clock.now();
    let (response, deliveries) = {
        let mut vendor = hosted.vendor.lock().unwrap_or_else(PoisonError::into_inner);
        if changes(&request) && remember(&mut vendor.1, &request, now).is_err() {
            return respond(HttpResponse::empty(500));
        }
        (vendor.0.respond(&request, now), vendor.0.take_deliveries())
    };
    for delivery in deliveries {
        // The receiver ends with the process.
        let _ = hosted.deliveries.send(delivery);
    }
    respond(response)
}

fn changes(request: &HttpRequest) -> bool {
    request.method != Method::Get && !request.path().ends_with("/search") && !request.path().ends_with("/read")
}

fn remember(log: &mut File, request: &HttpRequest, at: Instant) -> std::io::Result<()> {
    let played = Played {
        at,
        method: request.method.as_str().to_owned(),
        url: request.url.clone(),
        headers: request.headers.clone(),
        body: String::from_utf8_lossy(&request.body).into_owned(),
    };
    let line = serde_json::to_string(&played)?;
    log.write_all(format!("{line}\n").as_bytes())?;
    log.flush()
}

fn method(text: &str) -> Option<Method> {
    [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete].into_iter().find(|one| one.as_str() == text)
}

fn respond(answer: HttpResponse) -> Response {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(answer.body)).unwrap_or_default()
}

/// Sends webhooks one after the other, each a few times until it is taken.
async fn deliver(mut queue: mpsc::UnboundedReceiver<HttpRequest>, transport: ReqwestTransport) {
    while let Some(delivery) = queue.recv().await {
        for wait_ms in [50, 200, 1_000, 5_000] {
            match transport.send(delivery.clone()).await {
                Ok(answer) if answer.status < 500 => break,
                _ => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
            }
        }
    }
}
