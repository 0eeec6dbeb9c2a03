//! Requests as the stand-in reads them, and answers in Stripe's shape.

use crosstie_sdk::{HttpRequest, HttpResponse, Method, domain::Instant};
use serde_json::{Map, Value, json};

/// What was asked: the parameters stand in the query of a read and in the form of a write.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: Vec<String>,
    pub(super) now: i64,
    parameters: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn new(request: &HttpRequest, now: Instant) -> Self {
        let parameters = if request.method == Method::Get { request.query() } else { request.form() };
        let path = request.path().trim_start_matches('/').split('/').map(str::to_owned).collect();
        Self { method: request.method, path, now: now.micros().div_euclid(1_000_000), parameters }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn metadata(&self) -> Map<String, Value> {
        let pairs = self.parameters.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((name.to_owned(), json!(value)))
        });
        pairs.collect()
    }

    /// A page of rows that are given with the newest first.
    pub(super) fn page<'a>(&self, rows: impl Iterator<Item = &'a Value>) -> HttpResponse {
        let mut rows: Vec<&Value> = rows.collect();
        if let Some(after) = self.text("starting_after") {
            let Some(at) = rows.iter().position(|row| row["id"] == after) else {
                let why = format!("No such object: '{after}'");
                return refuse(400, "invalid_request_error", Some("resource_missing"), Some("starting_after"), &why);
            };
            rows.drain(..=at);
        }
        let limit = match self.text("limit").map(str::parse::<usize>) {
            None => 10,
            Some(Ok(limit)) if (1..=100).contains(&limit) => limit,
            Some(_) => {
                let why = "This value must be between 1 and 100.";
                return refuse(400, "invalid_request_error", None, Some("limit"), why);
            }
        };
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let url = format!("/{}", self.path.join("/"));
        found(&json!({ "object": "list", "url": url, "has_more": has_more, "data": rows }))
    }
}

pub(super) fn found(body: &Value) -> HttpResponse {
    HttpResponse::json(200, body)
}

pub(super) fn missing(what: &str, id: &str) -> HttpResponse {
    let why = format!("No such {what}: '{id}'");
    refuse(404, "invalid_request_error", Some("resource_missing"), Some("id"), &why)
}

pub(super) fn invalid(param: &str, why: &str) -> HttpResponse {
    refuse(400, "invalid_request_error", None, Some(param), why)
}

pub(super) fn refuse(status: u16, kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> HttpResponse {
    let mut error = json!({ "type": kind, "message": message });
    if let Some(code) = code {
        error["code"] = json!(code);
    }
    if let Some(param) = param {
        error["param"] = json!(param);
    }
    HttpResponse::json(status, &json!({ "error": error }))
}
