//! A stand-in with a connection to it, which keeps what was sent.

use std::sync::{Arc, Mutex};

use crosstie_sdk::{
    Connector, Credentials, FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, Net, NetOptions, Secret,
    Settings, Transport, TransportError, WriteRequest,
    domain::{
        Instant, Money,
        integration::{Customer, EffectKey, Entity, Intent, IssueInvoice, OrderLine, PlaceOrder, UpdateRecord},
    },
};
use crosstie_stripe::{Stripe, StripeFake};
use serde_json::Value;

const UUID_TEXT: &str = "01h455vb4pex5vsknk084sn02q";

pub(crate) struct Bench {
    pub(crate) fake: Arc<Mutex<StripeFake>>,
    pub(crate) sent: Arc<Mutex<Vec<HttpRequest>>>,
    pub(crate) net: Net,
}

struct Recording {
    inner: MemoryTransport<StripeFake>,
    sent: Arc<Mutex<Vec<HttpRequest>>>,
}

#[async_trait::async_trait]
impl Transport for Recording {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.sent.lock().expect("one thread").push(request.clone());
        self.inner.send(request).await
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Value::Null)
    }

    /// With settings of the test's own.
    pub(crate) fn with(settings: Value) -> Self {
        let hook = Some("https://hub.example/hooks/billing".to_owned());
        let fake = Arc::new(Mutex::new(StripeFake::new(hook, Secret::new("whsec_bench"), 7)));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let inner = MemoryTransport::new(Arc::clone(&fake), now);
        let transport = Arc::new(Recording { inner, sent: Arc::clone(&sent) });
        let credentials = Credentials::Bearer(Secret::new("sk_test_1"));
        let options = NetOptions { base_url: None, credentials, settings: Settings::new(settings), transport };
        let net = Net::new(Stripe.descriptor(), options).expect("a connection");
        Self { fake, sent, net }
    }

    /// Asks the stand-in directly, as a person at Stripe would.
    pub(crate) fn at_stripe(&self, method: Method, path: &str, form: &str, at: Instant) -> serde_json::Value {
        let request = HttpRequest {
            method,
            url: format!("https://api.stripe.com{path}"),
            headers: vec![("authorization".to_owned(), "Bearer sk_test_2".to_owned())],
            body: form.as_bytes().to_vec(),
        };
        let answer = self.fake.lock().expect("one thread").respond(&request, at);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    pub(crate) fn sent(&self) -> Vec<HttpRequest> {
        self.sent.lock().expect("one thread").clone()
    }

    pub(crate) fn with_fake<T>(&self, act: impl FnOnce(&mut StripeFake) -> T) -> T {
        act(&mut self.fake.lock().expect("one thread"))
    }
}

/// A Stripe that sells: products in use and archived, tax rates in use, archived and part of the price.
pub(crate) fn selling(settings: Value) -> Bench {
    let bench = Bench::with(settings);
    let rate = "display_name=VAT&percentage=19&id=";
    for (path, form) in [
        ("products", "name=Implementation&tax_code=txcd_1&id=prod_impl".to_owned()),
        ("products", "name=New&id=prod_new".to_owned()),
        ("products", "name=Old&id=prod_old".to_owned()),
        ("products/prod_old", "active=false".to_owned()),
        ("tax_rates", format!("{rate}txr_vat")),
        ("tax_rates", format!("{rate}txr_old")),
        ("tax_rates/txr_old", "active=false".to_owned()),
        ("tax_rates", format!("{rate}txr_inside&inclusive=true")),
    ] {
        bench.at_stripe(Method::Post, &format!("/v1/{path}"), &form, now());
    }
    bench
}

/// An invoice whose line has an item code.
pub(crate) fn coded(mut request: WriteRequest, code: &str) -> WriteRequest {
    if let Intent::IssueInvoice(invoice) = &mut request.intent {
        invoice.item_code = Some(code.parse().expect("a code"));
    }
    request
}

pub(crate) fn now() -> Instant {
    "2026-11-23T10:00:00Z".parse().expect("an instant")
}

fn id<T: std::str::FromStr>(prefix: &str) -> T {
    format!("{prefix}_{UUID_TEXT}").parse().unwrap_or_else(|_| panic!("an id"))
}

fn buyer() -> Customer {
    Customer { account: id("acc"), name: "Acme Ltd".to_owned(), email: Some("ap@acme.example".to_owned()) }
}

pub(crate) fn euros(text: &str) -> Money {
    Money::parse(text, "EUR".parse().expect("a currency")).expect("an amount")
}

pub(crate) fn order() -> WriteRequest {
    let order = PlaceOrder {
        order: id("ord"),
        sow: id("sow"),
        customer: buyer(),
        title: "Data platform".to_owned(),
        po_number: Some("PO 4711/ä".to_owned()),
        total: euros("48000"),
        lines: vec![OrderLine {
            milestone: id("ms"),
            description: "Discovery".to_owned(),
            item_code: None,
            amount: euros("48000"),
        }],
    };
    let key = EffectKey::place_order(order.order);
    WriteRequest { intent: Intent::PlaceOrder(order), key, customer_remote_id: None, order_remote_id: None }
}

pub(crate) fn invoice() -> WriteRequest {
    let invoice = IssueInvoice {
        invoice: id("inv"),
        order: id("ord"),
        milestone: id("ms"),
        customer: buyer(),
        title: "Data platform".to_owned(),
        description: "Discovery".to_owned(),
        item_code: None,
        amount: euros("1200"),
    };
    let key = EffectKey::issue_invoice(invoice.milestone, 1);
    WriteRequest { intent: Intent::IssueInvoice(invoice), key, customer_remote_id: None, order_remote_id: None }
}

/// Sets values of a customer at Stripe, where these are expected.
pub(crate) fn update(customer: &str, changes: Value, expected: Value) -> WriteRequest {
    let map = |value: Value| value.as_object().expect("an object").clone().into_iter().collect();
    let update = UpdateRecord {
        entity: Entity::Account,
        record_id: buyer().account.to_string(),
        remote_id: customer.to_owned(),
        order_key: buyer().account.to_string(),
        changes: map(changes),
        expected: map(expected),
    };
    let key = EffectKey::from_stored(format!("push:{UUID_TEXT}"));
    WriteRequest { intent: Intent::UpdateRecord(update), key, customer_remote_id: None, order_remote_id: None }
}

/// The same for a customer of whom the hub knows no e-mail address.
pub(crate) fn without_email(mut request: WriteRequest) -> WriteRequest {
    match &mut request.intent {
        Intent::PlaceOrder(order) => order.customer.email = None,
        Intent::IssueInvoice(invoice) => invoice.customer.email = None,
        Intent::UpdateRecord(_) => {}
    }
    request
}
