//! Hosts a vendor's stand-in on a port. The stand-in is a pure function of state, request and time, so its state is kept
//! as the requests that changed it, and played again at the next start.

mod faults;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
    routing::get,
};
use crosstie_app::SystemClock;
use crosstie_domain::{Clock, Instant};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, ReqwestTransport, Transport};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use self::faults::{Faults, Way};
use crate::{commands::CommandError, hub::serve};

/// Where faults are asked for.
pub(crate) const FAULTS: &str = "/_faults";
/// The longest body that a stand-in takes, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// A stand-in at work.
pub(crate) struct HostedFake {
    /// Where it listens.
    pub(crate) url: String,
    stop: CancellationToken,
}

struct Hosted {
    vendor: Mutex<(Box<dyn FakeVendor>, Option<File>)>,
    faults: Faults,
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
    /// Plays what happened before, as far as a file tells of it, and starts to listen.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn start(
        listener: TcpListener,
        mut vendor: Box<dyn FakeVendor>,
        log: Option<&Path>,
    ) -> Result<Self, CommandError> {
        let log = log.map(|path| play(&mut *vendor, path)).transpose()?;
        let url = format!("http://{}", listener.local_addr()?);
        let (deliveries, queue) = mpsc::unbounded_channel();
        tokio::spawn(deliver(queue, ReqwestTransport::new()?));
        let (vendor, faults) = (Mutex::new((vendor, log)), Faults::default());
        let hosted = Arc::new(Hosted { vendor, faults, clock: SystemClock::default(), deliveries, url: url.clone() });
        let stop = CancellationToken::new();
        let faults = get(faults::list).post(faults::add).delete(faults::clear);
        let router = Router::new().route(FAULTS, faults).fallback(answer).with_state(hosted);
        serve(listener, router, stop.clone());
        Ok(Self { url, stop })
    }

    pub(crate) fn stop(self) {
        self.stop.cancel();
    }
}

/// Plays what a file tells of; more will be written behind it.
fn play(vendor: &mut dyn FakeVendor, path: &Path) -> io::Result<File> {
    let mut log = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut text = String::new();
    log.read_to_string(&mut text)?;
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
        log.write_all(b"\n")?;
    }
    Ok(log)
}

async fn answer(State(hosted): State<Arc<Hosted>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (Some(method), Ok(body)) = (method(parts.method.as_str()), to_bytes(body, LONGEST_BODY).await) else {
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
    let Some(fault) = hosted.faults.of(&request) else { return respond(hosted.done(&request)) };
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    match fault.way() {
        Way::Late => respond(hosted.done(&request)),
        Way::Refused(answer) => {
            if fault.done_before {
                hosted.done(&request);
            }
            respond(answer)
        }
        Way::BrokenOff => {
            if fault.done_before {
                hosted.done(&request);
            }
            broken_off()
        }
    }
}

impl Hosted {
    /// Lets the stand-in do what is asked.
    fn done(&self, request: &HttpRequest) -> HttpResponse {
        let now = self.clock.now();
        let (answer, deliveries) = {
            let mut vendor = self.vendor.lock().unwrap_or_else(PoisonError::into_inner);
            let (vendor, log) = &mut *vendor;
            let log = log.as_mut().filter(|_| changes(request));
            if log.is_some_and(|log| remember(log, request, now).is_err()) {
                return HttpResponse::empty(500);
            }
            (vendor.respond(request, now), vendor.take_deliveries())
        };
        for delivery in deliveries {
            // The receiver ends with the process.
            let _ = self.deliveries.send(delivery);
        }
        answer
    }
}

fn changes(request: &HttpRequest) -> bool {
    request.method != Method::Get && !request.path().ends_with("/search") && !request.path().ends_with("/read")
}

fn remember(log: &mut File, request: &HttpRequest, at: Instant) -> io::Result<()> {
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

/// An answer that ends in its middle, as when a connection is lost.
fn broken_off() -> Response {
    let begin = Ok("{");
    let end = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    Response::new(Body::from_stream(futures::stream::iter([begin, end])))
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
