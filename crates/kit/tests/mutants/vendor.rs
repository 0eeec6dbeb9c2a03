//! A vendor that keeps accounts, as small as one can be.

use std::collections::BTreeMap;

use crosstie_kit::WEBHOOK_SECRET;
use crosstie_sdk::{
    Delivery, FakeVendor, HttpRequest, HttpResponse, Method, Secret,
    domain::Instant,
    signature::{Encoding, Part, sign},
};
use serde_json::{Value, json};

struct Account {
    name: String,
    changed_ms: i64,
    deleted: bool,
}

pub(crate) struct LedgerVendor {
    accounts: BTreeMap<String, Account>,
    /// Their ids and keys.
    orders: Vec<(String, String)>,
    deliveries: Vec<HttpRequest>,
    signed: &'static [Part],
}

pub(crate) const SIGNED: &[Part] = &[Part::Timestamp, Part::Literal("."), Part::Body];
/// What a vendor signs that leaves the body out.
pub(crate) const SIGNED_LAX: &[Part] = &[Part::Timestamp];

impl LedgerVendor {
    pub(crate) fn new() -> Self {
        Self { accounts: BTreeMap::new(), orders: Vec::new(), deliveries: Vec::new(), signed: SIGNED }
    }

    pub(crate) fn lax() -> Self {
        Self { signed: SIGNED_LAX, ..Self::new() }
    }

    pub(crate) fn create(&mut self, name: &str, now: Instant) -> String {
        let id = format!("a{:04}", self.accounts.len() + 1);
        self.accounts
            .insert(id.clone(), Account { name: name.to_owned(), changed_ms: now.micros() / 1_000, deleted: false });
        self.tell("account.created", &id, now);
        id
    }

    pub(crate) fn rename(&mut self, id: &str, name: &str, now: Instant) {
        let account = self.accounts.get_mut(id).expect("it is there");
        (account.name, account.changed_ms) = (name.to_owned(), now.micros() / 1_000);
        self.tell("account.changed", id, now);
    }

    pub(crate) fn delete(&mut self, id: &str, now: Instant) {
        let account = self.accounts.get_mut(id).expect("it is there");
        (account.deleted, account.changed_ms) = (true, now.micros() / 1_000);
    }

    pub(crate) fn orders(&self) -> usize {
        self.orders.len()
    }

    /// Orders have ids of the vendor's own, or those that they are given.
    fn answer_orders(&mut self, request: &HttpRequest) -> HttpResponse {
        let shown = |(id, key): &(String, String)| json!({ "id": id, "key": key });
        if request.method == Method::Get {
            let asked = request.query();
            let rows: Vec<Value> =
                self.orders.iter().filter(|(_, key)| asked.iter().any(|(_, value)| value == key)).map(shown).collect();
            return HttpResponse::json(200, &json!({ "rows": rows }));
        }
        let id = request.path().strip_prefix("/orders/").map(str::to_owned);
        let id = id.unwrap_or_else(|| format!("o{}", self.orders.len() + 1));
        let key = request.json()["key"].as_str().unwrap_or_default().to_owned();
        if !self.orders.iter().any(|(other, _)| *other == id) {
            self.orders.push((id.clone(), key.clone()));
        }
        HttpResponse::json(200, &shown(&(id, key)))
    }

    fn tell(&mut self, kind: &str, id: &str, now: Instant) {
        let (method, url) = (Method::Post, "https://hub.example/hooks".to_owned());
        let event = json!({ "event": format!("{kind}-{id}-{}", now.micros()), "kind": kind, "account": id,
            "at": now.micros() });
        let body = event.to_string().into_bytes();
        let seconds = (now.micros() / 1_000_000).to_string();
        let delivery = Delivery { method: "POST".to_owned(), url: url.clone(), headers: vec![], body: body.clone() };
        let signature = sign(self.signed, Encoding::Hex, &delivery, &seconds, &Secret::new(WEBHOOK_SECRET));
        let headers = vec![("Ledger-Signature".to_owned(), format!("t={seconds},v1={signature}"))];
        self.deliveries.push(HttpRequest { method, url, headers, body });
    }

    fn row(&self, id: &str) -> Option<Value> {
        let account = self.accounts.get(id)?;
        let Account { name, changed_ms, deleted } = account;
        Some(json!({ "id": id, "changed": changed_ms, "deleted": deleted, "owner": { "name": name } }))
    }
}

impl FakeVendor for LedgerVendor {
    fn respond(&mut self, request: &HttpRequest, _now: Instant) -> HttpResponse {
        let path = request.path().to_owned();
        if path.starts_with("/orders") {
            return self.answer_orders(request);
        }
        if path == "/me" {
            return HttpResponse::json(200, &json!({ "book": "main" }));
        }
        if let Some(id) = path.strip_prefix("/accounts/") {
            return self.row(id).map_or(HttpResponse::empty(404), |row| HttpResponse::json(200, &row));
        }
        let asked = request.query();
        let asked = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let number = |name: &str| asked(name).and_then(|text| text.parse::<i64>().ok());
        let (since, until) = (number("since").unwrap_or(i64::MIN), number("until").unwrap_or(i64::MAX));
        let after = (number("after").unwrap_or(i64::MIN), asked("after_id").unwrap_or_default());
        let mut found: Vec<(i64, &String)> = self.accounts.iter().map(|(id, one)| (one.changed_ms, id)).collect();
        found.sort_unstable();
        let found = found
            .into_iter()
            .filter(|(at, id)| (since..=until).contains(at) && (*at, id.as_str()) > (after.0, after.1.as_str()));
        let (skip, limit) = (number("skip").unwrap_or(0), number("limit").unwrap_or(100));
        let (skip, limit) = (usize::try_from(skip).unwrap_or(0), usize::try_from(limit).unwrap_or(0));
        let rows: Vec<Value> = found.skip(skip).take(limit).filter_map(|(_, id)| self.row(id)).collect();
        HttpResponse::json(200, &json!({ "rows": rows }))
    }

    fn take_deliveries(&mut self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.deliveries)
    }
}
