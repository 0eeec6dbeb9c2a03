//! A Salesforce org in memory, with a clock that the test sets.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicI64, Ordering},
};

use crosstie_salesforce::{Salesforce, SalesforceFake};
use crosstie_sdk::{
    AnyReader, Ask, Connector, Credentials, FakeVendor, Fault, HttpRequest, HttpResponse, MappedPage, MappedRow,
    MemoryTransport, Method, More, Net, NetOptions, Observed, Secret, Settings, Transport, TransportError,
    domain::{Instant, integration::Entity},
};
use serde_json::{Value, json};

pub(crate) const BASE: &str = "https://acme.my.salesforce.com";
pub(crate) const API: &str = "/services/data/v64.0";
pub(crate) const START_MS: i64 = 1_790_000_000_000;

pub(crate) fn at(ms: i64) -> Instant {
    Instant::from_micros(ms * 1_000).expect("a moment")
}

/// What another client does right before a request of a method arrives.
type Meanwhile = (Method, Box<dyn FnOnce(&mut SalesforceFake, Instant) + Send>);

/// The org, its clock, and what was asked of it.
pub(crate) struct Org {
    pub(crate) net: Net,
    connect: Box<dyn Fn() -> Net>,
    fake: Arc<Mutex<SalesforceFake>>,
    now_ms: Arc<AtomicI64>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    meanwhile: Arc<Mutex<Vec<Meanwhile>>>,
}

struct Recording {
    inner: MemoryTransport<SalesforceFake>,
    fake: Arc<Mutex<SalesforceFake>>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    meanwhile: Arc<Mutex<Vec<Meanwhile>>>,
}

#[async_trait::async_trait]
impl Transport for Recording {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.requests.lock().expect("no test panics in between").push(request.clone());
        let due = {
            let mut waiting = self.meanwhile.lock().expect("no test panics in between");
            waiting.iter().position(|(method, _)| *method == request.method).map(|place| waiting.remove(place))
        };
        if let Some((_, act)) = due {
            let now = self.inner.now().expect("a clock");
            act(&mut self.fake.lock().expect("no test panics in between"), now);
        }
        self.inner.send(request).await
    }

    fn now(&self) -> Option<Instant> {
        self.inner.now()
    }
}

impl Org {
    /// An org with one currency, of which the connection knows.
    pub(crate) fn new() -> Self {
        Self::with_settings(json!({ "currency": "EUR" }))
    }

    /// An org with several currencies.
    pub(crate) fn with_currencies() -> Self {
        let org = Self::with_settings(Value::Null);
        org.fake().set_currencies(&["EUR", "JPY", "KWD"]);
        org
    }

    pub(crate) fn with_settings(settings: Value) -> Self {
        Self::set_up(Credentials::Bearer(Secret::new("session")), settings)
    }

    pub(crate) fn set_up(credentials: Credentials, settings: Value) -> Self {
        let fake = Arc::new(Mutex::new(SalesforceFake::new()));
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let meanwhile = Arc::new(Mutex::new(Vec::new()));
        let clock = Arc::clone(&now_ms);
        let transport: Arc<dyn Transport> = Arc::new(Recording {
            inner: MemoryTransport::new(Arc::clone(&fake), move || at(clock.load(Ordering::SeqCst))),
            fake: Arc::clone(&fake),
            requests: Arc::clone(&requests),
            meanwhile: Arc::clone(&meanwhile),
        });
        let connect: Box<dyn Fn() -> Net> = Box::new(move || {
            let (credentials, settings) = (credentials.clone(), Settings::new(settings.clone()));
            let base_url = Some(BASE.to_owned());
            let options = NetOptions { base_url, credentials, settings, transport: Arc::clone(&transport) };
            Net::new(Salesforce.descriptor(), options).expect("a usable connection")
        });
        Self { net: connect(), connect, fake, now_ms, requests, meanwhile }
    }

    pub(crate) fn fake(&self) -> MutexGuard<'_, SalesforceFake> {
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

    pub(crate) fn before_next(&self, method: Method, act: impl FnOnce(&mut SalesforceFake, Instant) + Send + 'static) {
        self.meanwhile.lock().expect("no test panics in between").push((method, Box::new(act)));
    }

    /// A request as another client of the org sends it.
    pub(crate) fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        call(&mut self.fake(), at(self.now_ms()), (method, path, body))
    }

    /// A query as another client of the org sends it.
    pub(crate) fn query(&self, resource: &str, soql: &str) -> (u16, Value) {
        let encoded: String = soql.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.call(Method::Get, &format!("/{resource}?q={encoded}"), Value::Null)
    }

    /// Creates a record and gives its id.
    pub(crate) fn create(&self, object: &str, fields: Value) -> String {
        let (status, answer) = self.call(Method::Post, &format!("/sobjects/{object}"), fields);
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn create_opportunity(&self, name: &str) -> String {
        self.create("Opportunity", opportunity(name))
    }

    pub(crate) fn create_account(&self, name: &str) -> String {
        self.create("Account", json!({ "Name": name }))
    }

    pub(crate) fn set(&self, object: &str, id: &str, fields: Value) {
        let (status, answer) = self.call(Method::Patch, &format!("/sobjects/{object}/{id}"), fields);
        assert_eq!(status, 204, "{answer}");
    }

    pub(crate) fn delete(&self, object: &str, id: &str) {
        assert_eq!(self.call(Method::Delete, &format!("/sobjects/{object}/{id}"), Value::Null).0, 204);
    }

    pub(crate) fn ask(&self, limit: u32) -> Ask {
        Ask { since: None, until: at(self.now_ms()), more: None, limit }
    }

    /// One page, through a handle of its own: a test does not wait for the rate budget.
    pub(crate) async fn page(&self, entity: Entity, ask: &Ask) -> Result<MappedPage, Fault> {
        reader(entity).read_page(&(self.connect)(), ask).await
    }

    /// The page that the next query answers with, as it came over the wire.
    pub(crate) async fn page_of(&self, entity: Entity, body: &str) -> Result<Vec<MappedRow>, Fault> {
        let headers = vec![("content-type".to_owned(), "application/json;charset=UTF-8".to_owned())];
        self.fake().fail_next(HttpResponse { status: 200, headers, body: body.as_bytes().to_vec() });
        self.page(entity, &self.ask(500)).await.map(|page| page.rows)
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

    pub(crate) async fn read_one(&self, entity: Entity, id: &str) -> Result<MappedRow, Fault> {
        reader(entity).read_one(&(self.connect)(), id).await
    }

    pub(crate) async fn seen(&self, entity: Entity, id: &str) -> Observed {
        good(self.read_one(entity, id).await.expect("a row"))
    }
}

/// A request to a stand-in.
pub(crate) fn call(
    fake: &mut SalesforceFake,
    now: Instant,
    (method, path, body): (Method, &str, Value),
) -> (u16, Value) {
    let request = HttpRequest {
        method,
        url: format!("{BASE}{API}{path}"),
        headers: vec![("authorization".to_owned(), "Bearer other".to_owned())],
        body: body.to_string().into_bytes(),
    };
    let answer = fake.respond(&request, now);
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

pub(crate) fn opportunity(name: &str) -> Value {
    json!({ "Name": name, "StageName": "Prospecting", "CloseDate": "2026-12-31" })
}

pub(crate) fn reader(entity: Entity) -> &'static dyn AnyReader {
    static CONNECTOR: Salesforce = Salesforce;
    *CONNECTOR.readers().iter().find(|reader| reader.entity() == entity).expect("a reader")
}

pub(crate) fn good(row: MappedRow) -> Observed {
    match row {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

/// The ids of all rows, in the order in which they came.
pub(crate) fn ids(pages: &[Vec<MappedRow>]) -> Vec<String> {
    pages.iter().flatten().map(|row| row.remote_id().expect("an id").to_owned()).collect()
}

/// The query of a request.
pub(crate) fn soql(request: &HttpRequest) -> String {
    let query = request.query().into_iter().find(|(name, _)| name == "q");
    query.expect("a query").1
}
