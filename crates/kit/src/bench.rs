//! A vendor in memory, its clock, and a way to it on which anything may happen.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use crosstie_sdk::{
    AnyReader, Ask, FakeVendor, Fault, HttpRequest, HttpResponse, MappedPage, MappedRow, MemoryTransport, More, Net,
    NetOptions, Observed, Settings, Transport, TransportError,
    domain::{Instant, integration::Entity},
};
use serde_json::Value;
use tokio::task::yield_now;

use crate::Subject;

/// When the vendor's clock begins, in milliseconds.
const BEGIN_MS: i64 = 1_790_000_000_000;
/// Pages after which a window counts as endless.
const ENDLESS: usize = 1_000;

/// What becomes of an answer on its way.
type Meddle = Box<dyn FnMut(&HttpRequest, HttpResponse) -> Result<HttpResponse, TransportError> + Send>;

/// A vendor with a connection to it.
pub(crate) struct Bench<V> {
    pub(crate) net: Net,
    vendor: Arc<Mutex<V>>,
    now_ms: Arc<AtomicI64>,
    way: Arc<Way<V>>,
}

struct Way<V> {
    inner: MemoryTransport<V>,
    meddle: Mutex<Option<Meddle>>,
    requests: AtomicUsize,
}

#[async_trait::async_trait]
impl<V: FakeVendor + 'static> Transport for Way<V> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        // Others who ask at this moment have their turn.
        yield_now().await;
        let answer = self.inner.send(request.clone()).await?;
        let mut meddle = self.meddle.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *meddle {
            Some(meddle) => meddle(&request, answer),
            None => Ok(answer),
        }
    }

    fn now(&self) -> Option<Instant> {
        self.inner.now()
    }
}

/// When the vendor's clock begins.
pub(crate) fn begin() -> Instant {
    moment(BEGIN_MS)
}

fn moment(ms: i64) -> Instant {
    Instant::from_micros(ms * 1_000).expect("a moment of this century")
}

fn net<V: FakeVendor + 'static>(subject: &Subject<V>, way: &Arc<Way<V>>) -> Result<Net, String> {
    let transport: Arc<dyn Transport> = way.clone();
    let options = NetOptions {
        base_url: subject.base_url.map(str::to_owned),
        credentials: subject.credentials.clone(),
        settings: Settings::new(subject.settings.clone()),
        transport,
    };
    Net::new(subject.connector.descriptor(), options).map_err(|error| format!("no connection: {error}"))
}

impl<V: FakeVendor + 'static> Bench<V> {
    /// A new vendor.
    pub(crate) fn new(subject: &Subject<V>) -> Result<Self, String> {
        let vendor = Arc::new(Mutex::new((subject.vendor)()));
        let now_ms = Arc::new(AtomicI64::new(BEGIN_MS));
        let clock = Arc::clone(&now_ms);
        let inner = MemoryTransport::new(Arc::clone(&vendor), move || moment(clock.load(Ordering::SeqCst)));
        let way = Arc::new(Way { inner, meddle: Mutex::default(), requests: AtomicUsize::new(0) });
        Ok(Self { net: net(subject, &way)?, vendor, now_ms, way })
    }

    /// Another process connects to the same vendor.
    pub(crate) fn reconnect(&mut self, subject: &Subject<V>) -> Result<(), String> {
        self.net = net(subject, &self.way)?;
        Ok(())
    }

    pub(crate) fn now(&self) -> Instant {
        moment(self.now_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn vendor(&self) -> MutexGuard<'_, V> {
        self.vendor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets this happen to every answer from now on.
    pub(crate) fn meddle(
        &self,
        meddle: impl FnMut(&HttpRequest, HttpResponse) -> Result<HttpResponse, TransportError> + Send + 'static,
    ) {
        *self.way.meddle.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(meddle));
    }

    /// Answers come as they are again.
    pub(crate) fn meddle_no_more(&self) {
        *self.way.meddle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Requests that arrived so far.
    pub(crate) fn requests(&self) -> usize {
        self.way.requests.load(Ordering::SeqCst)
    }

    /// What is asked for the first page of all records up to now.
    pub(crate) fn all(&self, limit: u32) -> Ask {
        Ask { since: None, until: self.now(), more: None, limit }
    }

    /// Reads a window from a place to its end, page by page, each with the place that leads to it.
    pub(crate) async fn read(
        &self,
        reader: &dyn AnyReader,
        mut ask: Ask,
    ) -> Result<Vec<(Option<Value>, MappedPage)>, String> {
        let mut pages = Vec::new();
        while pages.len() < ENDLESS {
            let page = reader.read_page(&self.net, &ask).await.map_err(|fault| fault_of("a page", &fault))?;
            let more = page.more.clone();
            pages.push((ask.more.take(), page));
            match more {
                // The host keeps a place as JSON.
                More::At(place) => ask.more = serde_json::from_str(&place.to_string()).ok(),
                More::End => return Ok(pages),
            }
        }
        Err("the window does not end".to_owned())
    }

    /// The rows of a window that say what a record is.
    pub(crate) async fn rows(&self, reader: &dyn AnyReader, ask: Ask) -> Result<Vec<Observed>, String> {
        let pages = self.read(reader, ask).await?;
        Ok(good(pages.iter().flat_map(|(_, page)| &page.rows)))
    }
}

/// What a fault was met by.
pub(crate) fn fault_of(what: &str, fault: &Fault) -> String {
    format!("{what} ends in {} ({fault})", fault.code())
}

/// The rows that say what a record is.
pub(crate) fn good<'a>(rows: impl Iterator<Item = &'a MappedRow>) -> Vec<Observed> {
    let good = rows.filter_map(|row| match row {
        MappedRow::Good(seen) => Some((**seen).clone()),
        MappedRow::Bad { .. } | MappedRow::Gone { .. } => None,
    });
    good.collect()
}

/// Their ids, each once, in order.
pub(crate) fn ids(rows: &[Observed]) -> Vec<String> {
    let mut ids: Vec<String> = rows.iter().map(|seen| seen.key.remote_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The reader of a kind of record.
pub(crate) fn reader<V>(subject: &Subject<V>, entity: Entity) -> Result<&'static dyn AnyReader, String> {
    let connector = subject.connector;
    let reader = connector.readers().iter().copied().find(|reader| reader.entity() == entity);
    reader.ok_or_else(|| format!("nothing reads the kind {}", entity.as_str()))
}
