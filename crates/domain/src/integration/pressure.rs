//! What comes in by webhook: how much of it a connection takes, and what was refused.

use async_graphql::SimpleObject;
use serde::Deserialize;

use super::{ExchangeHeader, QuotaTerms};
use crate::{
    ids::{ConnectionId, InboundRefusalId},
    time::Instant,
};

/// How much one connection takes in by webhook. What is over is turned away, and found by scheduled reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InboundLimits {
    /// Deliveries a second that each process takes, on average.
    pub per_second: u32,
    /// Deliveries that each process takes at once, after a pause.
    pub burst: u32,
    /// Events that may wait to be read, of all processes together.
    pub backlog: u32,
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self { per_second: 100, burst: 2_000, backlog: 50_000 }
    }
}

impl InboundLimits {
    /// The terms of the bucket that deliveries are taken from. Of a budget's burst one half is handed out at once, and
    /// here all of it is.
    pub fn terms(self) -> QuotaTerms {
        QuotaTerms { per_second: self.per_second.max(1), burst: self.burst.max(1).saturating_mul(2) }
    }
}

/// How much of what a system sends is taken, and how much was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundPressure {
    /// The connection.
    pub connection_id: ConnectionId,
    /// How much it takes.
    pub limits: InboundLimits,
    /// Events that wait to be read.
    pub backlog: i64,
    /// Deliveries that were turned away, ever.
    pub turned_away: i64,
    /// When one was last.
    pub turned_away_at: Option<Instant>,
}

/// A webhook delivery that was not believed. The first few of each connection in each hour are kept, and the first few
/// of those that no connection is meant by.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "InboundRefusalRecord")]
pub struct InboundRefusalRecord {
    /// Identifies the refusal.
    #[graphql(skip)]
    pub id: InboundRefusalId,
    /// The connection that it was meant for.
    #[graphql(skip)]
    pub connection_id: Option<ConnectionId>,
    /// The name of the connection, as it stood in the address; its beginning alone.
    pub asked_for: String,
    /// Why it was refused: a stable code.
    pub code: String,
    /// The names of its headers, in their order, at most 50.
    pub header_names: Vec<String>,
    /// Those headers that can hold no secret.
    #[graphql(skip)]
    pub safe_headers: Vec<ExchangeHeader>,
    /// Size of its body in bytes.
    pub body_bytes: i64,
    /// Hash (SHA-256) of its whole body, in hexadecimal.
    pub body_sha256: String,
    /// The beginning of its body without secrets, at most 300 bytes; null when it has none.
    #[graphql(skip)]
    pub body_excerpt: Option<String>,
    /// When it was refused.
    pub refused_at: Instant,
}
