//! Stand-ins for vendors: a pure function of state, request and time, driven in memory by tests and hosted on a
//! loopback port by the demo.

use std::sync::{Arc, Mutex, PoisonError};

use crosstie_domain::Instant;
use serde_json::{Value, json};

use crate::{HttpRequest, HttpResponse, Transport, TransportError};

/// A vendor's stand-in. It owns its state; it has no clock, no socket and no randomness of its own.
pub trait FakeVendor: Send {
    /// Answers a request, as the vendor would at that time.
    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse;

    /// Webhook deliveries that the last requests set off, signed and addressed, in the order in which they happened.
    fn take_deliveries(&mut self) -> Vec<HttpRequest> {
        Vec::new()
    }

    /// Settings with which a connection reads it as it stands without any records; an object.
    fn settings(&self) -> Value {
        json!({})
    }
}

/// Carries requests to a stand-in in memory. The time is whatever the test says it is.
pub struct MemoryTransport<F> {
    vendor: Arc<Mutex<F>>,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl<F: FakeVendor> MemoryTransport<F> {
    /// A transport to a stand-in that the test keeps a handle of.
    pub fn new(vendor: Arc<Mutex<F>>, now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self { vendor, now: Arc::new(now) }
    }
}

#[async_trait::async_trait]
impl<F: FakeVendor> Transport for MemoryTransport<F> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let now = (self.now)();
        Ok(self.vendor.lock().unwrap_or_else(PoisonError::into_inner).respond(&request, now))
    }

    fn now(&self) -> Option<Instant> {
        Some((self.now)())
    }
}
