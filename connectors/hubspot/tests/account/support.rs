//! A HubSpot account in memory, with a clock that the test sets.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicI64, Ordering},
};

use crosstie_hubspot::{Hubspot, HubspotFake};
use crosstie_sdk::{
    AnyReader, Ask, Connector, Credentials, FakeVendor, Fault, HttpRequest, HttpResponse, MappedPage, MappedRow,
    MemoryTransport, Method, More, Net, NetOptions, Secret, Settings, Transport, TransportError,
    domain::{Instant, integration::Entity},
};
use serde_json::{Value, json};

pub(crate) const WEBHOOK_URL: &str = "https://hub.example/webhooks/crm";
pub(crate) const START_MS: i64 = 1_790_000_000_000;

pub(crate) fn at(ms: i64) -> Instant {
    Instant::from_micros(ms * 1_000).expect("a moment")
}

/// The account, its clock, and what was asked of it.
pub(crate) struct Account {
    pub(crate) net: Net,
    connect: Box<dyn Fn() -> Net>,
    fake: Arc<Mutex<HubspotFake>>,
    now_ms: Arc<AtomicI64>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

struct Recording {
    inner: MemoryTransport<HubspotFake>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

#[async_trait::async_trait]
impl Transport for Recording {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.requests.lock().expect("no test panics in between").push(request.clone());
        self.inner.send(request).await
    }
}

impl Account {
    pub(crate) fn new() -> Self {
        Self::with(Credentials::Bearer(Secret::new("pat-test")))
    }

    pub(crate) fn with(credentials: Credentials) -> Self {
        Self::set_up(credentials, Settings::default())
    }

    pub(crate) fn with_settings(settings: Value) -> Self {
        Self::set_up(Credentials::Bearer(Secret::new("pat-test")), Settings::new(settings))
    }

    fn set_up(credentials: Credentials, settings: Settings) -> Self {
        let fake = HubspotFake::new(Some(WEBHOOK_URL.to_owned()), Secret::new("client-secret"), 4_711);
        let fake = Arc::new(Mutex::new(fake));
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let clock = Arc::clone(&now_ms);
        let inner = MemoryTransport::new(Arc::clone(&fake), move || at(clock.load(Ordering::SeqCst)));
        let transport: Arc<dyn Transport> = Arc::new(Recording { inner, requests: Arc::clone(&requests) });
        let connect: Box<dyn Fn() -> Net> = Box::new(move || {
            let (credentials, settings) = (credentials.clone(), settings.clone());
            let options = NetOptions { base_url: None, credentials, settings, transport: Arc::clone(&transport) };
            Net::new(Hubspot.descriptor(), options).expect("a usable connection")
        });
        Self { net: connect(), connect, fake, now_ms, requests }
    }

    pub(crate) fn fake(&self) -> MutexGuard<'_, HubspotFake> {
        self.fake.lock().expect("no test panics in between")
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    pub(crate) fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().expect("no test panics in between").clone()
    }

    /// A request as another client of the account sends it.
    pub(crate) fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = HttpRequest {
            method,
            url: format!("https://api.hubapi.com{path}"),
            headers: vec![("authorization".to_owned(), "Bearer pat-other".to_owned())],
            body: body.to_string().into_bytes(),
        };
        let answer = self.fake().respond(&request, at(self.now_ms()));
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Creates an object and gives its id.
    pub(crate) fn create(&self, kind: &str, body: Value) -> String {
        let (status, row) = self.call(Method::Post, &format!("/crm/v3/objects/{kind}"), body);
        assert_eq!(status, 201, "{row}");
        row["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn create_deal(&self, name: &str) -> String {
        self.create("deals", json!({ "properties": { "dealname": name } }))
    }

    pub(crate) fn ask(&self, limit: u32) -> Ask {
        Ask { since: None, until: at(self.now_ms()), more: None, limit }
    }

    /// One page, through a handle of its own: a test does not wait for the rate budget.
    pub(crate) async fn page(&self, entity: Entity, ask: &Ask) -> Result<MappedPage, Fault> {
        reader(entity).read_page(&(self.connect)(), ask).await
    }

    /// All pages of a window. The place goes through text between two pages, as it does in the hub.
    pub(crate) async fn read_all(&self, entity: Entity, mut ask: Ask) -> Vec<Vec<MappedRow>> {
        let mut pages = Vec::new();
        loop {
            let page = self.page(entity, &ask).await.expect("a page");
            pages.push(page.rows);
            assert!(pages.len() < 100, "the window does not end");
            match page.more {
                More::End => return pages,
                More::At(place) => ask.more = Some(place.to_string().parse().expect("JSON")),
            }
        }
    }
}

pub(crate) fn reader(entity: Entity) -> &'static dyn AnyReader {
    static CONNECTOR: Hubspot = Hubspot;
    *CONNECTOR.readers().iter().find(|reader| reader.entity() == entity).expect("a reader")
}

/// The ids of all rows, in the order in which they came.
pub(crate) fn ids(pages: &[Vec<MappedRow>]) -> Vec<String> {
    let rows = pages.iter().flatten();
    rows.map(|row| match row {
        MappedRow::Good(observed) => observed.key.remote_id.clone(),
        other => panic!("{other:?}"),
    })
    .collect()
}
