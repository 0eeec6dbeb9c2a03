//! The stand-in: a pure function of state, request and time.

use std::collections::BTreeMap;

use crosstie_sdk::{
    Delivery, FakeVendor, HttpRequest, HttpResponse, Method, Secret,
    domain::Instant,
    signature::{Encoding, sign},
};
use serde_json::{Map, Value, json};

use crate::webhook::{HEADER, SIGNED};

/// Rows that a page holds at most.
const PAGE: usize = 100;

/// A vendor in memory, without any records at first.
pub struct TemplateFake {
    webhook_url: Option<String>,
    webhook_secret: Secret,
    /// By list and id.
    records: BTreeMap<(String, String), Map<String, Value>>,
    events: usize,
    deliveries: Vec<HttpRequest>,
}

impl TemplateFake {
    /// Webhooks go to the address, when there is one, signed with the secret.
    pub fn new(webhook_url: Option<String>, webhook_secret: Secret) -> Self {
        Self { webhook_url, webhook_secret, records: BTreeMap::new(), events: 0, deliveries: Vec::new() }
    }

    fn create(&mut self, list: &str, values: Map<String, Value>, now: Instant) -> HttpResponse {
        let id = format!("{}{}", &list[..1], self.records.len() + 1);
        let mut record = values;
        record.insert("id".to_owned(), json!(id));
        record.insert("deleted".to_owned(), json!(false));
        self.records.insert((list.to_owned(), id.clone()), record);
        self.touch((list, &id), "created", now)
    }

    fn change(&mut self, list: &str, id: &str, values: Map<String, Value>, now: Instant) -> HttpResponse {
        let key = (list.to_owned(), id.to_owned());
        let Some(record) = self.records.get_mut(&key).filter(|record| record["deleted"] == false) else {
            return HttpResponse::empty(404);
        };
        record.extend(values.into_iter().filter(|(name, _)| name != "id" && name != "deleted"));
        self.touch((list, id), "changed", now)
    }

    fn delete(&mut self, list: &str, id: &str, now: Instant) -> HttpResponse {
        let Some(record) = self.records.get_mut(&(list.to_owned(), id.to_owned())) else {
            return HttpResponse::empty(404);
        };
        record.insert("deleted".to_owned(), json!(true));
        self.touch((list, id), "deleted", now)
    }

    /// Stamps a record and tells of it; the record as it is.
    fn touch(&mut self, (list, id): (&str, &str), what: &str, now: Instant) -> HttpResponse {
        let Some(record) = self.records.get_mut(&(list.to_owned(), id.to_owned())) else {
            return HttpResponse::empty(404);
        };
        record.insert("changed_at".to_owned(), json!(now.micros() / 1_000));
        let answer = HttpResponse::json(200, record);
        self.events += 1;
        let kind = format!("{}.{what}", list.trim_end_matches('s'));
        let event = json!({ "id": format!("evt_{}", self.events), "kind": kind, "record": id });
        if let Some(url) = self.webhook_url.clone() {
            let body = event.to_string().into_bytes();
            let seconds = (now.micros() / 1_000_000).to_string();
            let delivery =
                Delivery { method: "POST".to_owned(), url: url.clone(), headers: vec![], body: body.clone() };
            let signature = sign(SIGNED, Encoding::Hex, &delivery, &seconds, &self.webhook_secret);
            let headers = vec![(HEADER.to_owned(), format!("t={seconds},v1={signature}"))];
            self.deliveries.push(HttpRequest { method: Method::Post, url, headers, body });
        }
        answer
    }

    fn list(&self, list: &str, query: &[(String, String)]) -> HttpResponse {
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let number = |name: &str| asked(name).and_then(|text| text.parse::<i64>().ok());
        let (since, until) = (number("since").unwrap_or(i64::MIN), number("until").unwrap_or(i64::MAX));
        let after = number("after").zip(asked("after_id"));
        let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE).min(PAGE);
        let mut found: Vec<(i64, &str, &Map<String, Value>)> = Vec::new();
        for ((of, id), record) in &self.records {
            let changed_at = record["changed_at"].as_i64().unwrap_or_default();
            let is_behind = after.is_none_or(|after| (changed_at, id.as_str()) > after);
            if of == list && (since..=until).contains(&changed_at) && is_behind {
                found.push((changed_at, id, record));
            }
        }
        found.sort_unstable_by_key(|(changed_at, id, _)| (*changed_at, *id));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let next = last.map(|(changed_at, id, _)| json!({ "changed_at": changed_at, "id": id }));
        let rows: Vec<_> = found.into_iter().map(|(_, _, record)| record).collect();
        HttpResponse::json(200, &json!({ "rows": rows, "next": next }))
    }
}

impl FakeVendor for TemplateFake {
    fn settings(&self) -> Value {
        json!({ "currency": "EUR" })
    }

    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        if !request.header("authorization").is_some_and(|value| value.starts_with("Bearer ")) {
            return HttpResponse::empty(401);
        }
        let path = request.path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let values = || request.json().as_object().cloned().unwrap_or_default();
        match (request.method, parts.as_slice()) {
            (Method::Get, ["v1", "me"]) => HttpResponse::json(200, &json!({ "organization": "Example Services" })),
            (Method::Get, ["v1", list @ ("accounts" | "deals")]) => self.list(list, &request.query()),
            (Method::Post, ["v1", list @ ("accounts" | "deals")]) => self.create(list, values(), now),
            (Method::Get, ["v1", list, id]) => match self.records.get(&((*list).to_owned(), (*id).to_owned())) {
                Some(record) => HttpResponse::json(200, record),
                None => HttpResponse::empty(404),
            },
            (Method::Patch, ["v1", list, id]) => self.change(list, id, values(), now),
            (Method::Delete, ["v1", list, id]) => self.delete(list, id, now),
            _ => HttpResponse::empty(404),
        }
    }

    fn take_deliveries(&mut self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.deliveries)
    }
}
