//! Vendors' stand-ins as the processes reach them. Each process has an address of its own, so that it is known who asks;
//! requests can be held before they are carried out, and answers before they are sent.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::PATIENCE;

pub(crate) fn now() -> Instant {
    SystemClock::default().now()
}

/// Where a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// It has come, and nothing was done yet.
    Request,
    /// It is carried out, and its answer is not sent yet.
    Answer,
}

/// A stand-in at work.
pub(crate) struct HeldVendor<F> {
    /// Where each process reaches it.
    pub(crate) urls: Vec<String>,
    shared: Arc<Shared<F>>,
    servers: Vec<JoinHandle<()>>,
}

type Delay = Box<dyn Fn(&HttpRequest) -> Duration + Send + Sync>;
type Which = Box<dyn Fn(&HttpRequest) -> bool + Send + Sync>;

struct Shared<F> {
    vendor: Mutex<F>,
    delay: Delay,
    holds: Mutex<Vec<Arc<Hold>>>,
    on_write: Notify,
    on_page: Notify,
}

struct Hold {
    process: usize,
    at: At,
    which: Which,
    request: Mutex<Option<HttpRequest>>,
    reached: Semaphore,
    released: Semaphore,
}

/// A request that is held, or will be; it goes on when this is released or dropped.
pub(crate) struct Held(Arc<Hold>);

impl Held {
    /// Waits until the request is there.
    pub(crate) async fn reached(&self) {
        let reached = timeout(PATIENCE, self.0.reached.acquire()).await;
        drop(reached.expect("the request comes").expect("it is not closed"));
    }

    /// The request, once it is there.
    pub(crate) fn request(&self) -> Option<HttpRequest> {
        lock(&self.0.request).clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.released.add_permits(1);
    }
}

/// The way in of one process.
struct Door<F> {
    process: usize,
    shared: Arc<Shared<F>>,
}

impl<F> Clone for Door<F> {
    fn clone(&self) -> Self {
        Self { process: self.process, shared: Arc::clone(&self.shared) }
    }
}

impl<F: FakeVendor + 'static> HeldVendor<F> {
    /// A stand-in for so many processes, whose answers may come late.
    pub(crate) async fn start(
        vendor: F,
        processes: usize,
        delay: impl Fn(&HttpRequest) -> Duration + Send + Sync + 'static,
    ) -> Self {
        let (vendor, delay) = (Mutex::new(vendor), Box::new(delay));
        let (on_write, on_page) = (Notify::new(), Notify::new());
        let shared = Arc::new(Shared { vendor, delay, holds: Mutex::default(), on_write, on_page });
        let (mut urls, mut servers) = (Vec::new(), Vec::new());
        for process in 0..processes {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            urls.push(format!("http://{}", listener.local_addr().expect("an address")));
            let door = Door { process, shared: Arc::clone(&shared) };
            let router = Router::new().fallback(answer::<F>).with_state(door);
            servers.push(tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") }));
        }
        Self { urls, shared, servers }
    }

    /// The stand-in itself.
    pub(crate) fn vendor(&self) -> MutexGuard<'_, F> {
        lock(&self.shared.vendor)
    }

    /// Holds the next request of a process for which this holds.
    pub(crate) fn hold(
        &self,
        process: usize,
        at: At,
        which: impl Fn(&HttpRequest) -> bool + Send + Sync + 'static,
    ) -> Held {
        let (reached, released) = (Semaphore::new(0), Semaphore::new(0));
        let (which, request) = (Box::new(which), Mutex::default());
        let hold = Arc::new(Hold { process, at, which, request, reached, released });
        lock(&self.shared.holds).push(Arc::clone(&hold));
        Held(hold)
    }

    /// Waits for the next write, between its effect and its answer.
    pub(crate) async fn written(&self) {
        self.shared.on_write.notified().await;
    }

    /// Waits for the next page of a reading, between request and answer.
    pub(crate) async fn paged(&self) {
        self.shared.on_page.notified().await;
    }
}

impl<F> Drop for HeldVendor<F> {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a request changes something.
pub(crate) fn writes(request: &HttpRequest) -> bool {
    request.method != Method::Get && !reads_page(request) && !request.path().ends_with("/read")
}

fn reads_page(request: &HttpRequest) -> bool {
    let path = request.path();
    (path.ends_with("/search") && path.contains("/objects/"))
        || (request.method == Method::Get && matches!(path, "/v1/customers" | "/v1/invoices" | "/v1/events"))
}

async fn answer<F: FakeVendor + 'static>(State(door): State<Door<F>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let methods = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
    let method = methods.into_iter().find(|method| method.as_str() == parts.method.as_str()).expect("a method of ours");
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let (headers, url) = (headers.collect(), format!("https://vendor.example{}", parts.uri));
    let Ok(body) = to_bytes(body, 1024 * 1024).await else { return respond(HttpResponse::empty(400)) };
    let request = HttpRequest { method, url, headers, body: body.to_vec() };
    // What a vendor was asked it does, also when whoever asked is killed meanwhile.
    let answer = tokio::spawn(async move { door.carry_out(&request).await }).await;
    respond(answer.expect("the stand-in answers"))
}

impl<F: FakeVendor> Door<F> {
    async fn carry_out(&self, request: &HttpRequest) -> HttpResponse {
        self.wait(At::Request, request).await;
        let answer = lock(&self.shared.vendor).respond(request, now());
        if writes(request) {
            self.shared.on_write.notify_waiters();
        } else if reads_page(request) {
            self.shared.on_page.notify_waiters();
        }
        sleep((self.shared.delay)(request)).await;
        self.wait(At::Answer, request).await;
        answer
    }

    async fn wait(&self, at: At, request: &HttpRequest) {
        let hold = {
            let mut holds = lock(&self.shared.holds);
            let ours = |hold: &Arc<Hold>| hold.process == self.process && hold.at == at && (hold.which)(request);
            holds.iter().position(ours).map(|index| holds.remove(index))
        };
        if let Some(hold) = hold {
            *lock(&hold.request) = Some(request.clone());
            hold.reached.add_permits(1);
            drop(hold.released.acquire().await);
        }
    }
}

fn respond(answer: HttpResponse) -> Response {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(answer.body)).expect("an answer")
}
