//! Webhooks to other systems: promise 8, outbound.

mod access;
mod failing;
mod order;
mod shipped;
mod signed;

use std::sync::Arc;

use crosstie_app::{
    App, Decision,
    subscriptions::{CreateWebhookSubscription, OfSubscription},
};
use crosstie_domain::{
    access::{AuthContext, Principal},
    ids::WebhookSubscriptionId,
    integration::{EgressRules, Entity, WebhookDeliveryRecord, WebhookSubscriptionRecord},
};
use crosstie_sdk::{Egress, HttpEgress};
use crosstie_store::{
    Change, Condition, Direction, PageRequest, Span, Store,
    integration::{DeliveryColumn, webhook_deliveries, webhook_subscriptions_by_ids},
};
use crosstie_sync::{Connections, Engine};

use crate::support::{Database, keyring};

const OPEN: EgressRules = EgressRules { allow_http: true, allow_private: true };

/// An engine that sends to this machine, and does so only when a test says so.
struct Scene {
    app: App,
    engine: Arc<Engine>,
}

async fn scene(database: &Database) -> Scene {
    scene_with(database, Arc::new(HttpEgress::new(OPEN).expect("the network can be used"))).await
}

async fn scene_with(database: &Database, egress: Arc<dyn Egress>) -> Scene {
    let app = App::new(database.open().await).with_egress_rules(OPEN).with_keyring(Some(keyring()));
    let name = format!("engine-{}", app.store().new_id::<crosstie_domain::ids::kind::Token>());
    let engine = Engine::with_egress(app.clone(), Connections::default(), name, egress);
    Scene { app, engine }
}

/// Everything, to this address.
fn to(url: &str) -> CreateWebhookSubscription {
    CreateWebhookSubscription {
        url: url.to_owned(),
        description: String::new(),
        entities: vec![],
        event_types: vec![],
        accounts: vec![],
        ordered: true,
        idempotency_key: None,
    }
}

fn of(id: WebhookSubscriptionId) -> OfSubscription {
    OfSubscription { id, expected_version: None, idempotency_key: None }
}

fn granted<T>(decision: Decision<T>) -> T {
    decision.unwrap_or_else(|refusals| panic!("refused: {refusals:?}"))
}

impl Scene {
    fn store(&self) -> &Store {
        self.app.store()
    }

    /// Makes a subscription; its identifier and its secret.
    async fn subscribe(&self, wanted: CreateWebhookSubscription) -> (WebhookSubscriptionId, String) {
        let made = self.app.create_webhook_subscription(&AuthContext::system(), wanted).await.expect("decided");
        let made = granted(made);
        (made.subscription.id, made.secret.expect("it is shown").expose().to_owned())
    }

    /// Publishes a change of each of these statements of work, one after the other.
    async fn change(&self, records: &[&str]) {
        publish(self.store(), records).await;
        place(self.store()).await;
    }

    /// Sends what is due, until nothing is.
    async fn deliver(&self) {
        while self.engine.expand_and_deliver().await.expect("the database answers") {}
    }

    async fn subscription(&self, id: WebhookSubscriptionId) -> WebhookSubscriptionRecord {
        let found = webhook_subscriptions_by_ids(self.store(), &AuthContext::system(), &[id]).await;
        found.expect("it can be read").pop().expect("it is there")
    }

    /// Every delivery, the first first.
    async fn deliveries(&self) -> Vec<WebhookDeliveryRecord> {
        let order = vec![(DeliveryColumn::Id, Direction::Ascending)];
        let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(10_000, None) };
        let page = webhook_deliveries(self.store(), &AuthContext::system(), &request).await.expect("they can be read");
        page.rows.into_iter().map(|(delivery, _)| delivery).collect()
    }
}

async fn publish(store: &Store, records: &[&str]) {
    for id in records {
        let tx = store.begin().await.expect("a transaction begins");
        let (entity, event, actor) = (Entity::Sow, "sow_signed", Principal::System);
        tx.publish(&[Change { entity, id, event, actor, version: 2 }]).await.expect("published");
        tx.commit().await.expect("it commits");
    }
}

/// Gives the changes that were made their places.
async fn place(store: &Store) {
    let lease = store.lease("relay", "test", 60_000).await.expect("asked").expect("taken");
    store.place_outbox(&lease, 10_000).await.expect("placed");
}
