//! Faults on demand: whoever builds against a stand-in asks for one over HTTP and sees what becomes of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use crosstie_sdk::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Hosted;

/// Faults that may wait, at most.
const WAITING: usize = 1_000;
/// The longest that an answer is held back, in milliseconds.
const LONGEST_DELAY_MS: u64 = 600_000;

/// A fault that waits for its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Fault {
    /// Requests that meet it.
    times: u32,
    /// Only requests whose address holds this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Only requests of this method.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// What is answered in the place of the stand-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    #[serde(skip_serializing_if = "Value::is_null")]
    body: Value,
    /// The answer ends in its middle.
    broken_off: bool,
    /// What is asked is done all the same, and its answer lost.
    pub(super) done_before: bool,
    /// The answer comes so much later, in milliseconds.
    pub(super) delay_ms: u64,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            times: 1,
            path: None,
            method: None,
            status: None,
            headers: BTreeMap::new(),
            body: Value::Null,
            broken_off: false,
            done_before: false,
            delay_ms: 0,
        }
    }
}

/// How a request with a fault is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Way {
    /// As ever, but late.
    Late,
    /// With something else.
    Refused(HttpResponse),
    /// With the beginning of an answer.
    BrokenOff,
}

impl Fault {
    /// What is wrong with it: the member, and why.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let are_headers =
            |(name, value): (&String, &String)| is_token(name) && !name.contains(':') && !value.contains(['\r', '\n']);
        match self {
            Self { times: 0, .. } => Some(("times", "is at least 1")),
            Self { status: Some(status), .. } if !(200..600).contains(status) => Some(("status", "is from 200 to 599")),
            Self { status: Some(_), broken_off: true, .. } => Some(("brokenOff", "goes with no status")),
            Self { delay_ms, .. } if *delay_ms > LONGEST_DELAY_MS => Some(("delayMs", "is at most 600000")),
            Self { method: Some(method), .. } if super::method(method).is_none() => {
                Some(("method", "is one of GET, POST, PUT, PATCH and DELETE"))
            }
            Self { headers, .. } if !headers.iter().all(are_headers) => {
                Some(("headers", "are names with their values"))
            }
            Self { status: None, broken_off: false, delay_ms: 0, .. } => {
                Some(("status", "is missing, and so are brokenOff and delayMs: nothing would happen"))
            }
            Self { status: None, broken_off: false, done_before: true, .. } => {
                Some(("doneBefore", "goes with a status, or with brokenOff"))
            }
            _ => None,
        }
    }

    fn meets(&self, request: &HttpRequest) -> bool {
        self.path.as_ref().is_none_or(|path| request.url.contains(path.as_str()))
            && self.method.as_ref().is_none_or(|method| request.method.as_str() == method)
    }

    pub(super) fn way(&self) -> Way {
        let Some(status) = self.status else {
            return if self.broken_off { Way::BrokenOff } else { Way::Late };
        };
        let mut answer = match &self.body {
            Value::Null => HttpResponse::empty(status),
            Value::String(text) => HttpResponse { body: text.clone().into_bytes(), ..HttpResponse::empty(status) },
            json => HttpResponse::json(status, json),
        };
        answer.headers.retain(|(name, _)| !self.headers.keys().any(|other| other.eq_ignore_ascii_case(name)));
        answer.headers.extend(self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        Way::Refused(answer)
    }
}

/// The faults that wait, the next first.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// The fault that a request meets. One that met its last request waits no more.
    pub(super) fn of(&self, request: &HttpRequest) -> Option<Fault> {
        let mut waiting = self.waiting();
        let place = waiting.iter().position(|fault| fault.meets(request))?;
        let fault = waiting[place].clone();
        waiting[place].times -= 1;
        waiting.retain(|fault| fault.times > 0);
        Some(fault)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The faults that wait.
pub(super) async fn list(State(hosted): State<Arc<Hosted>>) -> Response {
    Json(json!({ "faults": *hosted.faults.waiting() })).into_response()
}

/// Asks for a fault.
pub(super) async fn add(State(hosted): State<Arc<Hosted>>, body: Bytes) -> Response {
    let fault: Fault = match serde_json::from_slice(&body) {
        Ok(fault) => fault,
        Err(error) => return refuse(error.to_string()),
    };
    if let Some((member, why)) = fault.problem() {
        return refuse(format!("{member} {why}"));
    }
    let mut waiting = hosted.faults.waiting();
    if waiting.len() >= WAITING {
        return refuse(format!("{WAITING} faults wait already"));
    }
    waiting.push_back(fault);
    (StatusCode::CREATED, Json(json!({ "faults": *waiting }))).into_response()
}

/// Lets go of all faults.
pub(super) async fn clear(State(hosted): State<Arc<Hosted>>) -> StatusCode {
    hosted.faults.waiting().clear();
    StatusCode::NO_CONTENT
}

fn refuse(why: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": { "code": "BAD_FAULT", "message": why } }))).into_response()
}

#[cfg(test)]
mod tests {
    use crosstie_sdk::Method;

    use super::*;

    fn fault(value: Value) -> Fault {
        serde_json::from_value(value).expect("a fault")
    }

    fn request(method: Method, url: &str) -> HttpRequest {
        HttpRequest { method, url: url.to_owned(), headers: vec![], body: vec![] }
    }

    #[test]
    fn a_fault_meets_the_requests_that_it_is_meant_for_and_no_more_of_them_than_it_says() {
        let faults = Faults::default();
        let patient = fault(json!({ "status": 429, "times": 2, "path": "/deals", "method": "POST" }));
        faults.waiting().extend([patient.clone(), fault(json!({ "status": 500 }))]);
        let (post, get) = (request(Method::Post, "http://x/deals/1"), request(Method::Get, "http://x/deals/1"));
        assert_eq!(faults.of(&post), Some(patient));
        assert_eq!(faults.of(&get), Some(fault(json!({ "status": 500 }))), "the first is not meant for it");
        assert_eq!(faults.of(&get), None);
        assert!(faults.of(&post).is_some());
        assert_eq!(faults.of(&post), None, "it met two");
    }

    #[test]
    fn what_is_answered_is_what_was_asked_for() {
        let refused = fault(json!({ "status": 429, "headers": { "Retry-After": "7" }, "body": { "a": 1 } })).way();
        let Way::Refused(answer) = refused else { panic!("{refused:?}") };
        assert_eq!((answer.status, answer.body.as_slice()), (429, br#"{"a":1}"#.as_slice()));
        assert_eq!(answer.header("retry-after"), Some("7"));
        let typed = fault(json!({ "status": 200, "headers": { "Content-Type": "text/html" }, "body": "<html>" })).way();
        let Way::Refused(answer) = typed else { panic!("{typed:?}") };
        assert_eq!((answer.header("content-type"), answer.body.as_slice()), (Some("text/html"), b"<html>".as_slice()));
        assert_eq!(fault(json!({ "delayMs": 5 })).way(), Way::Late);
        assert_eq!(fault(json!({ "brokenOff": true })).way(), Way::BrokenOff);
    }

    #[test]
    fn a_fault_with_which_nothing_would_happen_is_refused_with_the_member_that_is_wrong() {
        for (value, member) in [
            (json!({}), "status"),
            (json!({ "status": 99 }), "status"),
            (json!({ "status": 500, "times": 0 }), "times"),
            (json!({ "status": 500, "brokenOff": true }), "brokenOff"),
            (json!({ "delayMs": 600_001 }), "delayMs"),
            (json!({ "delayMs": 1, "doneBefore": true }), "doneBefore"),
            (json!({ "status": 500, "method": "FETCH" }), "method"),
            (json!({ "status": 500, "headers": { "a b": "c" } }), "headers"),
            (json!({ "status": 500, "headers": { "a": "b\r\nc: d" } }), "headers"),
        ] {
            assert_eq!(fault(value.clone()).problem().map(|(member, _)| member), Some(member), "{value}");
        }
        for good in
            [json!({ "status": 500 }), json!({ "delayMs": 1 }), json!({ "brokenOff": true, "doneBefore": true })]
        {
            assert_eq!(fault(good.clone()).problem(), None, "{good}");
        }
        assert!(serde_json::from_value::<Fault>(json!({ "stauts": 500 })).is_err(), "a member that is not known");
    }
}
