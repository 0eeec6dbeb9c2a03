//! An engine over one stand-in of HubSpot, in memory; nothing runs by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crosstie_app::{App, Refresh};
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    Clock,
    access::RowScope,
    integration::{ConnectionMode, Entity, RunTrigger, SyncRunRecord},
    pipeline::{AccountRecord, OpportunityRecord},
};
use crosstie_sdk::{
    Connector, Credentials, Delivery, FakeVendor, HttpRequest, MemoryTransport, Method, NetOptions, ReadEntity, Secret,
    Settings, Transport,
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    pipeline::{AccountColumn, OpportunityColumn, accounts, opportunities},
};
use crosstie_sync::{Connection, ConnectionSetup, Connections, Engine, ReadingOptions, Receipt};
use serde_json::{Value as Json, json};

use super::{Database, TestClock, unhurried};

const HOOKS: &str = "https://hub.example/webhooks/hubspot";
const SECRET: &str = "client-secret";

pub(crate) struct Crm {
    pub(crate) app: App,
    pub(crate) engine: Arc<Engine>,
    pub(crate) hubspot: Arc<Mutex<HubspotFake>>,
    clock: Arc<TestClock>,
}

fn all<C>(by: C) -> PageRequest<C> {
    let order = vec![(by, Direction::Ascending)];
    PageRequest { condition: Condition::All(vec![]), order, span: Span::First(10_000, None) }
}

/// The stand-in, in memory.
pub(crate) fn memory(clock: &Arc<TestClock>, hubspot: &Arc<Mutex<HubspotFake>>) -> MemoryTransport<HubspotFake> {
    let clock = Arc::clone(clock);
    MemoryTransport::new(Arc::clone(hubspot), move || clock.now())
}

/// An engine of a name over these use cases, with one connection to HubSpot, which it asks as often as it likes: what
/// waits for a rate budget waits by the clock on the wall, and longer the more a machine has to do.
pub(crate) async fn engine_over(app: &App, name: &str, transport: Arc<dyn Transport>) -> Arc<Engine> {
    engine_with(app, name, setup("hubspot", unhurried("hubspot"), transport)).await
}

/// An engine of a name over these use cases, with this connection.
pub(crate) async fn engine_with(app: &App, name: &str, setup: ConnectionSetup) -> Arc<Engine> {
    let connections = Connections::set_up(app, vec![setup]).await.expect("the connection is good");
    Engine::new(app.clone(), connections, name.to_owned())
}

/// A connection of a name through this connector.
pub(crate) fn setup(name: &str, connector: &'static dyn Connector, transport: Arc<dyn Transport>) -> ConnectionSetup {
    ConnectionSetup {
        name: name.to_owned(),
        connector,
        net: NetOptions {
            base_url: None,
            credentials: Credentials::Bearer(Secret::new("test-key")),
            settings: Settings::default(),
            transport,
        },
        webhook_secrets: vec![Secret::new(SECRET)],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: ReadingOptions::default(),
    }
}

impl Crm {
    pub(crate) async fn new(database: &Database) -> Self {
        let hubspot = Arc::new(Mutex::new(HubspotFake::new(Some(HOOKS.to_owned()), Secret::new(SECRET), 1)));
        let app = App::new(database.open().await);
        let clock = Arc::clone(&database.clock);
        let engine = engine_over(&app, "test", Arc::new(memory(&clock, &hubspot))).await;
        Self { app, engine, hubspot, clock }
    }

    pub(crate) fn fake(&self) -> MutexGuard<'_, HubspotFake> {
        self.hubspot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks HubSpot for something as its user.
    pub(crate) fn at_hubspot(&self, method: Method, path: &str, body: &Json) -> Json {
        let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
        let url = format!("https://api.hubapi.com/crm/v3/objects/{path}");
        let request = HttpRequest { method, url, headers, body: body.to_string().into_bytes() };
        let answer = self.fake().respond(&request, self.clock.now());
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.status);
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Makes a deal or company, a moment after the one before; its id.
    pub(crate) fn create(&self, kind: &str, name: &str) -> String {
        self.clock.advance(10);
        let property = if kind == "deals" { "dealname" } else { "name" };
        let made = self.at_hubspot(Method::Post, kind, &json!({ "properties": { property: name } }));
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Deletes a deal or company.
    pub(crate) fn delete(&self, kind: &str, id: &str) {
        self.at_hubspot(Method::Delete, &format!("{kind}/{id}"), &Json::Null);
    }

    /// Forgets the webhooks that HubSpot would send now: they are lost.
    pub(crate) fn lose_webhooks(&self) {
        self.fake().take_deliveries();
    }

    /// Brings the hub the webhooks that HubSpot sends now; how many there were.
    pub(crate) async fn deliver(&self) -> usize {
        let deliveries = self.fake().take_deliveries();
        for sent in &deliveries {
            let HttpRequest { url, headers, body, .. } = sent.clone();
            let delivery = Delivery { method: "POST".to_owned(), url, headers, body };
            let receipt = self.engine.receive("hubspot", &delivery).await;
            assert!(matches!(receipt, Receipt::Accepted { .. }), "{receipt:?}");
        }
        deliveries.len()
    }

    /// The body of the webhook that HubSpot sends now, which does not arrive.
    pub(crate) fn lost_body(&self) -> Vec<u8> {
        self.fake().take_deliveries().pop().expect("one is sent").body
    }

    /// Works on the inbound events that are due.
    pub(crate) async fn work(&self) {
        while self.engine.process_event().await.expect("the database answers") {}
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        self.engine.connections().named("hubspot").expect("it is configured")
    }

    /// Everything of a kind of record, to be read again.
    pub(crate) fn whole(&self, entity: Entity) -> Refresh {
        Refresh {
            connection_id: self.connection().record.id,
            entity: Some(entity),
            record_id: None,
            remote_id: None,
            since: None,
            until: None,
            dry_run: false,
            idempotency_key: None,
        }
    }

    pub(crate) fn declared(&self, entity: Entity) -> &'static ReadEntity {
        let mut reads = self.connection().connector.descriptor().reads.iter();
        reads.find(|declared| declared.entity == entity).expect("it is read")
    }

    /// Reads what changed.
    pub(crate) async fn pull(&self, entity: Entity) -> SyncRunRecord {
        self.clock.advance(5_000);
        let run = self.engine.pull(self.connection(), self.declared(entity), RunTrigger::Manual).await;
        run.expect("the database answers").expect("nobody else reads")
    }

    pub(crate) async fn accounts(&self) -> Vec<AccountRecord> {
        let page = accounts(self.app.store(), &RowScope::All, &all(AccountColumn::Id)).await.expect("read");
        page.rows.into_iter().map(|(row, _)| row).collect()
    }

    pub(crate) async fn opportunities(&self) -> Vec<OpportunityRecord> {
        let page = opportunities(self.app.store(), &RowScope::All, &all(OpportunityColumn::Id)).await.expect("read");
        page.rows.into_iter().map(|(row, _)| row).collect()
    }

    /// The names of the opportunities that count as deleted.
    pub(crate) async fn deleted(&self) -> Vec<String> {
        let gone = self.opportunities().await.into_iter().filter(|row| row.deleted_at.is_some());
        gone.map(|row| row.name).collect()
    }
}
