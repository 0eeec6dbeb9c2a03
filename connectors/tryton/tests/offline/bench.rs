//! What the tests share: a connection to the stand-in, and loads to the end of a window.

use std::sync::{Arc, Mutex, MutexGuard};

use crosstie_sdk::{
    AnyReader, Ask, Connector, Credentials, MappedRow, MemoryTransport, More, Net, NetOptions, Secret, Settings,
    domain::{Instant, integration::Entity},
};
use crosstie_tryton::{Tryton, TrytonFake};
use serde_json::{Value, json};

/// The stand-in and a connection to it.
pub(crate) struct Bench {
    fake: Arc<Mutex<TrytonFake>>,
    /// The connection.
    pub(crate) net: Net,
}

impl Bench {
    /// With one customer (party 1, address 1).
    pub(crate) fn new() -> Self {
        Self::with(json!({ "company": 1, "employee": 1, "product": 1, "payment_term": 3 }))
    }

    /// With settings of the test's own.
    pub(crate) fn with(settings: Value) -> Self {
        let mut fake = TrytonFake::new();
        fake.add("party.party", json!({ "name": "Lakeside Robotics", "addresses": [["create", [{}]]] }), at(0));
        let fake = Arc::new(Mutex::new(fake));
        let options = NetOptions {
            base_url: Some("http://tryton.example/books".to_owned()),
            credentials: Credentials::Bearer(Secret::new("key")),
            settings: Settings::new(settings),
            transport: Arc::new(MemoryTransport::new(Arc::clone(&fake), || at(1_000_000))),
        };
        let net = Net::new(Tryton.descriptor(), options).expect("a usable connection");
        Self { fake, net }
    }

    /// The stand-in.
    pub(crate) fn fake(&self) -> MutexGuard<'_, TrytonFake> {
        self.fake.lock().expect("no test panics while it holds the stand-in")
    }
}

/// So many microseconds into the tests.
pub(crate) fn at(micros: i64) -> Instant {
    Instant::from_micros(1_790_000_000_000_000 + micros).expect("a moment")
}

/// The reader of a kind of record.
pub(crate) fn reader(entity: Entity) -> &'static dyn AnyReader {
    let readers = <Tryton as Connector>::readers(&Tryton);
    *readers.iter().find(|reader| reader.entity() == entity).expect("it is read")
}

/// Reads a window to its end and returns the ids in order, and how many pages it took.
pub(crate) async fn load(
    net: &Net,
    entity: Entity,
    since: Option<Instant>,
    until: Instant,
    limit: u32,
) -> (Vec<String>, u32) {
    let mut ask = Ask { since, until, more: None, limit };
    let mut ids = Vec::new();
    for pages in 1..1_000 {
        let page = reader(entity).read_page(net, &ask).await.expect("a page");
        ids.extend(page.rows.into_iter().map(|row| match row {
            MappedRow::Good(observed) => observed.key.remote_id,
            other => panic!("{other:?}"),
        }));
        match page.more {
            More::At(more) => ask.more = Some(more),
            More::End => return (ids, pages),
        }
    }
    panic!("the window does not end");
}
