//! Values that the hub sets in records of the systems around it.

use std::time::Duration;

use crosstie_app::SystemClock;
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    Clock, Instant,
    integration::{EffectKey, EffectStatus, Entity, Intent, UpdateRecord},
};
use crosstie_sdk::{FakeVendor, HttpRequest, Method, Secret};
use crosstie_store::EffectRequest;
use serde_json::{Value as Json, json};

use crate::support::{Database, HostedVendor, RunningHub, effects, on_each_database, until};

const COMPANIES: &str = "/crm/v3/objects/companies";

fn now() -> Instant {
    SystemClock::default().now()
}

/// A whole hub and a HubSpot.
struct Scene {
    hub: RunningHub,
    hubspot: HostedVendor<HubspotFake>,
}

async fn scene(database: &Database) -> Scene {
    let fake = HubspotFake::new(None, Secret::new("client-secret"), 1);
    let hubspot = HostedVendor::start(fake, now, |_| Duration::ZERO).await;
    let hub = RunningHub::start(database, vec![hubspot.connection("hubspot", "client-secret")]).await;
    Scene { hub, hubspot }
}

impl Scene {
    /// Asks HubSpot as another client of it.
    fn at_hubspot(&self, method: Method, path: &str, body: &Json) -> Json {
        let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
        let url = format!("https://api.hubapi.com{path}");
        let request = HttpRequest { method, url, headers, body: body.to_string().into_bytes() };
        let answer = self.hubspot.vendor().respond(&request, now());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Decides that companies there shall have another name: id, name, and the name that is expected there.
    async fn push(&self, names: &[(&str, &str, &str)]) -> Vec<EffectKey> {
        let connection_id = self.hub.hub.engine.connections().named("hubspot").expect("it is configured").record.id;
        let mut keys = Vec::new();
        for (remote_id, name, expected) in names {
            let key = EffectKey::push(SystemClock::default().new_uuid());
            let record_id = "acc_01h455vb4pex5vsknk084sn02q".to_owned();
            let intent = Intent::UpdateRecord(UpdateRecord {
                entity: Entity::Account,
                record_id: record_id.clone(),
                remote_id: (*remote_id).to_owned(),
                order_key: record_id.clone(),
                changes: [("name".to_owned(), json!(name))].into(),
                expected: [("name".to_owned(), json!(expected))].into(),
            });
            let tx = self.hub.hub.app.store().begin().await.expect("a transaction begins");
            let request = EffectRequest {
                key: &key,
                entity: Entity::Account,
                record_id: &record_id,
                connection_id,
                intent: &intent,
            };
            tx.request_effect(request).await.expect("it is asked for");
            tx.commit().await.expect("it commits");
            keys.push(key);
        }
        keys
    }

    /// How a push ended, with its code when it was refused.
    async fn end_of(&self, key: &EffectKey) -> (EffectStatus, Option<String>) {
        until("the end of a push", async || {
            let all = effects(self.hub.hub.app.store()).await;
            let effect = all.into_iter().find(|effect| effect.key == key.as_str()).expect("it is in the ledger");
            let ended = matches!(effect.status, EffectStatus::Done | EffectStatus::Rejected);
            ended.then_some((effect.status, effect.error_code))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_pushed_in_the_order_of_their_decisions_and_one_that_does_not_fit_holds_up_none() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let made = scene.at_hubspot(Method::Post, COMPANIES, &json!({ "properties": { "name": "Old" } }));
        let id = made["id"].as_str().expect("an id");
        let keys = scene
            .push(&[(id, "New", "Old"), (id, "Unheard", "Old"), ("1", "Nobody", "Old"), (id, "Newest", "New")])
            .await;
        let mut ends = Vec::new();
        for key in &keys {
            ends.push(scene.end_of(key).await);
        }
        let rejected = |code: &str| (EffectStatus::Rejected, Some(code.to_owned()));
        let done = (EffectStatus::Done, None);
        assert_eq!(ends, [done.clone(), rejected("STALE"), rejected("GONE"), done]);
        let held = scene.at_hubspot(Method::Get, &format!("{COMPANIES}/{id}?properties=name"), &Json::Null);
        assert_eq!(held["properties"]["name"], "Newest");
        scene.hub.stop().await;
    })
    .await;
}
