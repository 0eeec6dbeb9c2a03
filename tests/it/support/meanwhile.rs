//! A way to a system on which something happens elsewhere before a request arrives.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use crosstie_app::App;
use crosstie_domain::Instant;
use crosstie_sdk::{HttpRequest, HttpResponse, Transport, TransportError};
use crosstie_store::Store;
use crosstie_sync::Engine;

use super::{TestClock, engine_over};

/// What happens, and in the address of which request these letters stand.
type Happening = (String, Pin<Box<dyn Future<Output = ()> + Send>>);

pub(crate) struct Meanwhile<T> {
    way: T,
    next: Mutex<Option<Happening>>,
}

impl<T: Transport + 'static> Meanwhile<T> {
    pub(crate) fn over(way: T) -> Arc<Self> {
        Arc::new(Self { way, next: Mutex::default() })
    }

    /// The engine of a process that asks HubSpot by this way.
    pub(crate) async fn engine(self: &Arc<Self>, app: &App) -> Arc<Engine> {
        engine_over(app, "slow", self.clone()).await
    }

    /// Lets this happen while the next request whose address holds these letters is on its way to the system.
    pub(crate) fn happens(&self, address: &str, what: impl Future<Output = ()> + Send + 'static) {
        let happening: Happening = (address.to_owned(), Box::pin(what));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(happening);
    }

    /// Whether it has happened.
    pub(crate) fn has_happened(&self) -> bool {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

#[async_trait::async_trait]
impl<T: Transport> Transport for Meanwhile<T> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let happening = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.take_if(|(letters, _)| request.url.contains(letters.as_str()))
        };
        if let Some((_, what)) = happening {
            what.await;
        }
        self.way.send(request).await
    }

    fn now(&self) -> Option<Instant> {
        self.way.now()
    }
}

/// Takes over what another process has leased, which stands still for longer than its lease.
pub(crate) async fn take_over(store: &Store, clock: &TestClock, name: &str) {
    loop {
        clock.advance(3_000);
        if store.lease(name, "another", 3_000).await.expect("asked").is_some() {
            return;
        }
    }
}
