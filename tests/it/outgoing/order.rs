//! In which order, how often, and that nothing is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crosstie_app::App;
use crosstie_domain::{access::AuthContext, integration::DeliveryStatus};
use crosstie_sdk::HttpEgress;
use crosstie_sync::{Connections, Engine};
use futures::future::join_all;

use super::{OPEN, of, publish, scene, to};
use crate::support::{Received, Receiver, Reply, keyring, on_each_database, until};

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_a_failing_delivery_holds_up_later_ones_of_its_record_and_no_others() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        scene.subscribe(to(&receiver.url)).await;
        let (unordered, _) =
            scene.subscribe(super::CreateWebhookSubscription { ordered: false, ..to(&receiver.url) }).await;
        scene.change(&["sow_a"]).await;
        receiver.plan([Reply::status(500), Reply::status(500)]);
        scene.deliver().await;
        scene.change(&["sow_a", "sow_b", "sow_a"]).await;
        scene.deliver().await;
        let unordered = unordered.to_string();
        let told = |ordered: bool| {
            let received = receiver.received();
            let ours =
                received.iter().filter(|one| (one.json()["data"]["subscriptionId"] != unordered.as_str()) == ordered);
            ours.map(|one| (one.record(), one.sequence())).collect::<Vec<_>>()
        };
        let at = |record: &str, sequence| (record.to_owned(), sequence);
        assert_eq!(told(true), [at("sow_a", 1), at("sow_b", 3)], "what follows of the same record waits");
        let whole: BTreeSet<_> = told(false).into_iter().collect();
        assert_eq!(whole, BTreeSet::from([at("sow_a", 1), at("sow_a", 2), at("sow_b", 3), at("sow_a", 4)]));
        database.clock.advance(6_000);
        scene.deliver().await;
        let expected = [at("sow_a", 1), at("sow_b", 3), at("sow_a", 1), at("sow_a", 2), at("sow_a", 4)];
        assert_eq!(told(true), expected);
        assert!(scene.deliveries().await.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_numbers_have_no_gaps_and_each_change_is_sent_once_by_two_engines_at_once() {
    on_each_database(async |database| {
        const CHANGES: usize = 150;
        let receiver = Receiver::answering(|received| {
            // Some take longer than others.
            Reply { delay: Duration::from_millis(received.body_length() % 7), ..Reply::status(200) }
        })
        .await;
        let scene = scene(database).await;
        let (id, secret) = scene.subscribe(to(&receiver.url)).await;
        let (some, _) = scene
            .subscribe(super::CreateWebhookSubscription {
                event_types: vec!["sow_lost".to_owned()],
                ..to(&receiver.url)
            })
            .await;
        let mut running = Vec::new();
        for number in 0..2 {
            let app = App::new(database.open().await).with_egress_rules(OPEN).with_keyring(Some(keyring()));
            let egress = Arc::new(HttpEgress::new(OPEN).expect("the network can be used"));
            running.push(Engine::with_egress(app, Connections::default(), format!("hub-{number}"), egress).start());
        }
        let stores = [database.open().await, database.open().await];
        let writers = (0..6).map(async |writer: usize| {
            for number in (writer..CHANGES).step_by(6) {
                let record = format!("sow_{}", number % 11);
                until("published", async || {
                    // Two processes on SQLite wait for each other without an order: one may have to come again.
                    let tx = stores[writer % 2].begin().await.ok()?;
                    let change = super::Change {
                        entity: super::Entity::Sow,
                        id: &record,
                        event: "sow_signed",
                        actor: super::Principal::System,
                        version: 1,
                    };
                    tx.publish(&[change]).await.ok()?;
                    tx.commit().await.ok()
                })
                .await;
            }
        });
        join_all(writers).await;
        let done = async || {
            let deliveries = scene.deliveries().await;
            let all = deliveries.len() == CHANGES
                && deliveries.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered);
            // The clock stands still: what was taken by one that lost a race waits for its lease to end.
            database.clock.advance(200);
            all.then_some(deliveries)
        };
        let deliveries = until("everything is sent", done).await;
        for engine in running {
            engine.stop(Duration::from_secs(5)).await;
        }
        let mut sequences: Vec<i64> = deliveries.iter().filter_map(|delivery| delivery.sequence).collect();
        sequences.sort_unstable();
        let expected: Vec<i64> = (1..).take(CHANGES).collect();
        assert_eq!(sequences, expected, "1, 2, 3 without gaps");
        let positions: BTreeSet<_> = deliveries.iter().map(|delivery| delivery.position).collect();
        assert_eq!(positions.len(), CHANGES, "each change once");
        assert_eq!(scene.subscription(some).await.last_sequence, 0, "what it does not tell of takes no number");

        let received = receiver.received();
        assert!(received.iter().all(|one| one.is_signed_with(&secret)));
        let ids: BTreeSet<_> = received.iter().map(|one| one.id().to_owned()).collect();
        assert_eq!(ids.len(), CHANGES, "nothing is missing");
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for one in received.iter().filter(|one| seen.insert(one.id().to_owned())) {
            let before = last.insert(one.record(), one.sequence());
            assert!(before.is_none_or(|before| before < one.sequence()), "of one record in order");
        }
        let missed = scene.app.webhook_events(&AuthContext::system(), id, 140, 100).await.expect("read");
        let (last, missed) = missed.expect("it may be seen");
        let missed: Vec<_> = missed.iter().filter_map(|event| event.delivery.sequence).collect();
        assert_eq!((last, missed), (150, (141..=150).collect()), "whoever finds a gap asks for what is behind it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_a_subscription_is_paused_is_sent_when_it_is_resumed() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, _) = scene.subscribe(to(&receiver.url)).await;
        let system = AuthContext::system();
        assert!(scene.app.pause_webhook_subscription(&system, of(id)).await.expect("decided").is_ok());
        assert!(scene.app.pause_webhook_subscription(&system, of(id)).await.expect("decided").is_err());
        scene.change(&["sow_1", "sow_2"]).await;
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 0);
        assert_eq!(scene.subscription(id).await.last_sequence, 2, "they have their numbers");
        assert!(scene.app.resume_webhook_subscription(&system, of(id)).await.expect("decided").is_ok());
        scene.deliver().await;
        assert_eq!(receiver.received().iter().map(Received::sequence).collect::<Vec<_>>(), [1, 2]);
        assert!(scene.app.delete_webhook_subscription(&system, of(id)).await.expect("decided").is_ok());
        publish(scene.store(), &["sow_3"]).await;
        super::place(scene.store()).await;
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 2, "one that is deleted hears of nothing");
        scene.store().keep_house().await.expect("the house is kept");
        assert!(scene.deliveries().await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_were_taken_go_after_30_days_and_the_numbers_go_on() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, _) = scene.subscribe(to(&receiver.url)).await;
        receiver.plan([Reply::status(200), Reply::status(400)]);
        scene.change(&["sow_1", "sow_2"]).await;
        scene.deliver().await;
        database.clock.advance(29 * 86_400_000);
        scene.store().keep_house().await.expect("the house is kept");
        assert_eq!(scene.deliveries().await.len(), 2);
        database.clock.advance(86_400_001);
        scene.store().keep_house().await.expect("the house is kept");
        let left: Vec<_> = scene.deliveries().await.into_iter().map(|delivery| delivery.sequence).collect();
        assert_eq!(left, [Some(2)], "what waits stays");
        scene.change(&["sow_3"]).await;
        scene.deliver().await;
        assert_eq!(scene.subscription(id).await.last_sequence, 3);
        // What was not looked through in time is gone, and the number that is never sent tells so.
        scene.app.pause_webhook_subscription(&AuthContext::system(), of(id)).await.expect("decided").expect("paused");
        scene.change(&["sow_4", "sow_5"]).await;
        database.clock.advance(91 * 86_400_000);
        scene.change(&["sow_6"]).await;
        scene.store().keep_house().await.expect("the house is kept");
        scene.app.resume_webhook_subscription(&AuthContext::system(), of(id)).await.expect("decided").expect("resumed");
        scene.deliver().await;
        let last = receiver.received().pop().expect("the last one");
        assert_eq!((last.record(), last.sequence()), ("sow_6".to_owned(), 5));
    })
    .await;
}
