//! What was said to another system, and what it answered.

use async_graphql::SimpleObject;

use crate::{
    ids::{ConnectionId, ExchangeId, InboundEventId, SyncRunId},
    time::Instant,
};

/// One exchange with another system: a request and its answer, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ExchangeRecord")]
pub struct ExchangeRecord {
    /// Identifies the exchange.
    #[graphql(skip)]
    pub id: ExchangeId,
    /// The system that was asked.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The run that asked, if one did.
    #[graphql(skip)]
    pub run_id: Option<SyncRunId>,
    /// The inbound event that led to it, if one did.
    #[graphql(skip)]
    pub inbound_event_id: Option<InboundEventId>,
    /// The key of the effect that it was part of, if it was part of one.
    pub effect_key: Option<String>,
    /// Method, as HTTP names it.
    pub method: String,
    /// The whole address; secrets in it are replaced.
    pub address: String,
    /// Status of the answer; null when none came whole.
    pub status: Option<i32>,
    /// What went wrong: a stable code; null when nothing did.
    pub fault_code: Option<String>,
    /// Which try of one call it was: 2 after the credential was renewed.
    pub attempt: i32,
    /// When the request left.
    pub started_at: Instant,
    /// How long the answer took, in milliseconds.
    pub duration_ms: i64,
    /// Size of the request's body in bytes.
    pub request_bytes: i64,
    /// Hash (SHA-256) of the request's whole body, in hexadecimal; null when it has none.
    pub request_sha256: Option<String>,
    /// Headers of the request.
    #[graphql(skip)]
    pub request_headers: Vec<ExchangeHeader>,
    /// Body of the request, when it was kept.
    #[graphql(skip)]
    pub request_body: Option<String>,
    /// Size of the answer's body in bytes; null when no answer came whole.
    pub answer_bytes: Option<i64>,
    /// Hash (SHA-256) of the answer's whole body, in hexadecimal; null when it has none.
    pub answer_sha256: Option<String>,
    /// Headers of the answer.
    #[graphql(skip)]
    pub answer_headers: Vec<ExchangeHeader>,
    /// Body of the answer, when it was kept.
    #[graphql(skip)]
    pub answer_body: Option<String>,
}

/// A header of a request or an answer, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value; a secret is replaced.
    pub value: String,
}
