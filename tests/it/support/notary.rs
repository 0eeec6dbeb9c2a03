//! A vendor that takes orders, as a connector serves it that makes another promise about how often.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crosstie_domain::{
    Instant,
    integration::{Arm, Entity, IntentKind},
};
use crosstie_sdk::{
    AuthMode, Call, Connector, Descriptor, FakeVendor, Fault, HttpRequest, HttpResponse, Net, RateBudget, Settings,
    SettingsError, Transport, TransportError, WhoAmI, WriteEntity, WriteRequest, WriteSafety, Writer, Written,
};
use serde_json::{Value as Json, json};

/// What the vendor holds.
#[derive(Default)]
pub(crate) struct Register {
    /// The orders that it took: key and title.
    pub(crate) orders: Vec<(String, String)>,
    /// How often it was asked whether it has one.
    pub(crate) looks: usize,
    /// What happens to the next requests.
    pub(crate) troubles: VecDeque<Trouble>,
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// It is answered so, and does nothing.
    Instead(HttpResponse),
    /// It does what it asks, and the answer is lost.
    AnswerLost,
    /// It never leaves.
    NotSent,
}

impl FakeVendor for Register {
    fn respond(&mut self, request: &HttpRequest, _now: Instant) -> HttpResponse {
        if request.path() == "/look" {
            self.looks += 1;
            let key = request.query().into_iter().find(|(name, _)| name == "key").map(|(_, key)| key);
            let found = self.orders.iter().position(|(known, _)| Some(known) == key.as_ref());
            return HttpResponse::json(200, &json!({ "id": found.map(|place| format!("no_{place}")) }));
        }
        let body = request.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        self.orders.push((text("key"), text("title")));
        HttpResponse::json(200, &json!({ "id": format!("no_{}", self.orders.len() - 1) }))
    }
}

/// The way to it.
pub(crate) struct Way(pub(crate) Arc<Mutex<Register>>);

#[async_trait::async_trait]
impl Transport for Way {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut register = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::from_micros(0).expect("the epoch is an instant");
        match register.troubles.pop_front() {
            Some(Trouble::Instead(answer)) => Ok(answer),
            Some(Trouble::NotSent) => Err(TransportError::NotSent("no route".to_owned())),
            Some(Trouble::AnswerLost) => {
                register.respond(&request, now);
                Err(TransportError::AnswerLost("the line was cut".to_owned()))
            }
            None => Ok(register.respond(&request, now)),
        }
    }
}

/// The connector, with what it promises.
pub(crate) struct Notary(Descriptor);

const fn notary(safety: &'static [WriteEntity]) -> Notary {
    Notary(Descriptor {
        id: "notary",
        name: "Notary",
        version: "1.0.0",
        arms: &[Arm::Billing],
        auth: &[AuthMode::Bearer],
        default_base_url: Some("https://notary.example"),
        budgets: &[RateBudget { bucket: "api", per_second: 1_000, burst: 1_000 }],
        reads: &[],
        writes: safety,
    })
}

const fn orders(safety: WriteSafety) -> WriteEntity {
    WriteEntity { intent: IntentKind::PlaceOrder, entity: Entity::ServiceOrder, remote: "order", fields: &[], safety }
}

impl Notary {
    /// Nothing makes an order happen once.
    pub(crate) fn once() -> &'static Self {
        static ONCE: Notary = notary(&[orders(WriteSafety::NotRepeatable)]);
        &ONCE
    }

    /// The vendor remembers keys for an hour.
    pub(crate) fn keyed() -> &'static Self {
        static KEYED: Notary = notary(&[orders(WriteSafety::NativeKey { ttl_seconds: 3_600 })]);
        &KEYED
    }

    /// Orders are found by the hub's own id.
    pub(crate) fn upserting() -> &'static Self {
        static UPSERTING: Notary = notary(&[orders(WriteSafety::UpsertBy { field: "key" })]);
        &UPSERTING
    }
}

#[async_trait::async_trait]
impl Connector for Notary {
    fn descriptor(&self) -> &'static Descriptor {
        match self.0.writes[0].safety {
            WriteSafety::NotRepeatable => &Self::once().0,
            WriteSafety::NativeKey { .. } => &Self::keyed().0,
            _ => &Self::upserting().0,
        }
    }

    fn check_settings(&self, _settings: &Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    async fn probe(&self, _net: &Net) -> Result<WhoAmI, Fault> {
        Ok(WhoAmI { account: "notary".to_owned() })
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(self)
    }
}

fn written(answer: &Json) -> Option<Written> {
    let remote_id = answer["id"].as_str()?.to_owned();
    Some(Written { remote_id, remote_version: None, customer_remote_id: None, claim: None })
}

#[async_trait::async_trait]
impl Writer for Notary {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        let body = json!({ "key": request.key.as_str(), "title": request.intent.title() });
        let answer = net.send(Call::post("/orders").json(&body)).await?;
        let answer: Json = answer.json_or(|answer| Fault::rejected("order", format!("status {}", answer.status())))?;
        written(&answer).ok_or(Fault::Gone)
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        let answer = net.send(Call::get("/look").query("key", request.key.as_str())).await?;
        Ok(written(&answer.json()?))
    }
}
