//! A stand-in for Stripe: customers, products, invoices with their items, the feed of events, idempotency keys and
//! signed webhooks. It behaves as the documentation says as far as the connector can tell.

mod items;
mod request;
mod store;

use std::collections::{BTreeMap, VecDeque};

use crosstie_sdk::{Delivery, FakeVendor, HttpRequest, HttpResponse, Method, Secret, domain::Instant, signature};
use serde_json::{Value, json};

use self::{
    request::{Asked, refuse},
    store::Store,
};
use crate::{API_VERSION, webhook::SIGNED};

/// A stand-in for Stripe.
pub struct StripeFake {
    webhook_url: Option<String>,
    webhook_secret: Secret,
    store: Store,
    keys: BTreeMap<String, (String, HttpResponse)>,
    troubles: VecDeque<Trouble>,
    deliveries: Vec<HttpRequest>,
}

enum Trouble {
    None,
    Instead(HttpResponse),
    LoseAnswer,
}

impl StripeFake {
    /// A Stripe account without any records. Webhooks go to the address, signed with the secret; none are sent
    /// without an address. The seed goes into every id: with another seed, a new stand-in never gives an id again
    /// that an earlier one gave.
    pub fn new(webhook_url: Option<String>, webhook_secret: Secret, id_seed: u64) -> Self {
        Self {
            webhook_url,
            webhook_secret,
            store: Store::new(id_seed),
            keys: BTreeMap::new(),
            troubles: VecDeque::new(),
            deliveries: Vec::new(),
        }
    }

    /// How many invoices there are, void ones excepted.
    pub fn invoice_count(&self) -> usize {
        self.store.invoices.iter().filter(|invoice| invoice["status"] != "void").count()
    }

    /// How many products there are.
    pub fn product_count(&self) -> usize {
        self.store.products.len()
    }

    /// How many customers there are, deleted ones excepted.
    pub fn customer_count(&self) -> usize {
        self.store.customers.iter().filter(|customer| customer["deleted"] != true).count()
    }

    /// The invoices as Stripe shows them, the oldest first.
    pub fn invoices(&self) -> &[Value] {
        &self.store.invoices
    }

    /// Answers a coming request with this instead, without any effect; several queue up.
    pub fn fail_next(&mut self, answer: HttpResponse) {
        self.troubles.push_back(Trouble::Instead(answer));
    }

    /// Does what a coming request asks and then loses the answer: the caller sees status 500. Queues up with
    /// [`StripeFake::fail_next`].
    pub fn lose_next_answer(&mut self) {
        self.troubles.push_back(Trouble::LoseAnswer);
    }

    /// Answers so many coming requests as usual, before whatever is queued up next.
    pub fn pass(&mut self, requests: usize) {
        self.troubles.extend(std::iter::repeat_with(|| Trouble::None).take(requests));
    }

    /// Forgets all idempotency keys, as Stripe does after a day.
    pub fn forget_keys(&mut self) {
        self.keys.clear();
    }

    fn answer(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        let signed_in = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if signed_in.is_none_or(|token| token.trim().is_empty()) {
            return refuse(401, "invalid_request_error", None, None, "You did not provide an API key.");
        }
        let key = request.header("idempotency-key").filter(|_| request.method == Method::Post);
        let asked = format!("{} {}", request.path(), String::from_utf8_lossy(&request.body));
        if let Some((first, answer)) = key.and_then(|key| self.keys.get(key)) {
            if *first != asked {
                let why =
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.";
                return refuse(400, "idempotency_error", None, None, why);
            }
            let mut answer = answer.clone();
            answer.headers.push(("idempotent-replayed".to_owned(), "true".to_owned()));
            return answer;
        }
        let answer = self.store.answer(&Asked::new(request, now));
        // A request that fails its checks has not begun, so its key stays free.
        if let Some(key) = key
            && answer.status == 200
        {
            self.keys.insert(key.to_owned(), (asked, answer.clone()));
        }
        self.announce(now);
        answer
    }

    fn announce(&mut self, now: Instant) {
        for event in self.store.take_new_events() {
            let Some(url) = &self.webhook_url else { continue };
            let mut delivery = Delivery {
                method: "POST".to_owned(),
                url: url.clone(),
                headers: vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())],
                body: serde_json::to_vec_pretty(&event).expect("events are plain data"),
            };
            let sent_at = now.micros().div_euclid(1_000_000).to_string();
            let encoding = signature::Encoding::Hex;
            let signed = signature::sign(SIGNED, encoding, &delivery, &sent_at, &self.webhook_secret);
            delivery.headers.push(("stripe-signature".to_owned(), format!("t={sent_at},v1={signed}")));
            let Delivery { url, headers, body, .. } = delivery;
            self.deliveries.push(HttpRequest { method: Method::Post, url, headers, body });
        }
    }
}

impl FakeVendor for StripeFake {
    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        match self.troubles.pop_front() {
            Some(Trouble::Instead(answer)) => answer,
            Some(Trouble::LoseAnswer) => {
                self.answer(request, now);
                refuse(500, "api_error", None, None, "The answer was lost.")
            }
            Some(Trouble::None) | None => self.answer(request, now),
        }
    }

    fn take_deliveries(&mut self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.deliveries)
    }
}

/// An event in the shape of the feed and of webhooks.
fn event(id: String, kind: &str, object: &Value, now: i64) -> Value {
    json!({
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": now,
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 0,
        "request": { "id": null, "idempotency_key": null },
        "type": kind,
    })
}
