//! Webhooks: how a delivery is verified, and what it points at.

use std::fmt;

use crosstie_domain::{Instant, integration::Entity};

use crate::signature::Scheme;

/// A webhook request as it came over the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `POST`.
    pub method: String,
    /// The whole address as the sender knows it: the hub's public address and the path, with its query.
    pub url: String,
    /// Headers in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, byte by byte.
    pub body: Vec<u8>,
}

/// Shows no query, no header and only the size of the body: they hold secrets and personal data.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.url.split('?').next().unwrap_or_default();
        write!(f, "{} {address} with {} bytes", self.method, self.body.len())
    }
}

impl Delivery {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A delivery whose signature was found good, now or when it came. Only the host makes one.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a>(&'a Delivery);

impl<'a> Verified<'a> {
    pub(crate) fn new(delivery: &'a Delivery) -> Self {
        Self(delivery)
    }

    /// A delivery that was verified when it came, and that the hub kept since. Only the host has such.
    pub fn kept(delivery: &'a Delivery) -> Self {
        Self(delivery)
    }

    /// The body, byte by byte.
    pub fn body(&self) -> &'a [u8] {
        &self.0.body
    }

    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.0.header(name)
    }
}

/// A hint that a record changed. The host reads the record itself before it believes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nudge {
    /// The same key is the same event, however often it is sent.
    pub dedupe_key: String,
    /// What the sender calls this kind of event.
    pub event_type: String,
    /// What changed, when the hub follows records of that kind.
    pub target: Option<(Entity, String)>,
    /// When the sender says it happened.
    pub occurred_at: Option<Instant>,
}

/// A verified body that is not what the vendor documents. It is kept and parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// What the sender expects to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgment {
    /// The status of the answer; its body is empty.
    pub status: u16,
}

/// Receives webhooks.
pub trait Inbound: Send + Sync {
    /// How deliveries are signed. There is no default: a connector must say.
    fn scheme(&self) -> Scheme;

    /// What the sender expects to hear.
    fn acknowledgment(&self) -> Acknowledgment {
        Acknowledgment { status: 202 }
    }

    /// Whether an event of this kind says that its record is gone. What cannot be read then needs no second reading.
    fn says_deleted(&self, _event_type: &str) -> bool {
        false
    }

    /// The events in a delivery. Pure.
    ///
    /// # Errors
    /// When the body is not what the vendor documents.
    fn split(&self, delivery: Verified<'_>) -> Result<Vec<Nudge>, Malformed>;
}
