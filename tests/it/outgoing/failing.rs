//! Receivers that fail, are slow, are gone, or must not be sent to.

use std::{sync::Arc, time::Duration};

use crosstie_app::subscriptions::{Attempt, Doing};
use crosstie_domain::{
    access::AuthContext,
    integration::{
        AlertKind, DeliveryStatus, EgressRules, SubscriptionReason, SubscriptionStatus, WebhookDeliveryRecord,
    },
};
use crosstie_sdk::HttpEgress;
use crosstie_store::{Store, integration::open_alerts};
use sea_orm::ConnectionTrait;

use super::{CreateWebhookSubscription, Entity, OPEN, Scene, granted, of, scene, scene_with, to};
use crate::support::{Database, Received, Receiver, Reply, on_each_database, until};

/// What is open now.
async fn alerts(store: &Store) -> Vec<AlertKind> {
    open_alerts(store).await.expect("read").into_iter().map(|alert| alert.kind).collect()
}

/// Moves the clock to the next try of the one delivery that waits; how long that was, in milliseconds.
async fn wait(database: &Database, scene: &Scene) -> i64 {
    let waiting = scene.deliveries().await.into_iter().find_map(|delivery| delivery.next_attempt_at);
    let wait = waiting.expect("one waits").ms_since(scene.store().now());
    database.clock.advance(wait);
    wait
}

async fn only(scene: &Scene) -> WebhookDeliveryRecord {
    let mut deliveries = scene.deliveries().await;
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_a_delivery_is_tried_ten_times_over_three_days_under_one_identifier_and_then_kept() {
    on_each_database(async |database| {
        let receiver = Receiver::answering(|_| Reply { body: "down whsec_abc".to_owned(), ..Reply::status(503) }).await;
        let scene = scene(database).await;
        let (id, secret) = scene.subscribe(to(&receiver.url)).await;
        scene.change(&["sow_1"]).await;
        for seconds in [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 86_400, 86_400] {
            scene.deliver().await;
            let tried = receiver.received().len();
            database.clock.advance(seconds * 800 - 1);
            scene.deliver().await;
            assert_eq!(receiver.received().len(), tried, "not before {seconds} s less a fifth");
            let left = wait(database, &scene).await;
            assert!(left <= seconds * 400 + 1, "at most {seconds} s and a fifth: {left} more");
        }
        scene.deliver().await;
        database.clock.advance(30 * 86_400_000);
        scene.deliver().await;
        let received = receiver.received();
        assert_eq!(received.len(), 10);
        assert!(received.iter().all(|one| one.id() == received[0].id() && one.is_signed_with(&secret)));
        let times: Vec<_> = received.iter().map(|one| one.header("webhook-timestamp").to_owned()).collect();
        assert!(times.windows(2).all(|two| two[0] < two[1]), "each try has its own time: {times:?}");
        let given_up = only(&scene).await;
        assert_eq!((given_up.status, given_up.attempts), (DeliveryStatus::Exhausted, 10));
        assert_eq!((given_up.error_code.as_deref(), given_up.response_status), (Some("NOT_ACCEPTED"), Some(503)));
        assert_eq!(given_up.response_excerpt.as_deref(), Some("down [redacted]"));
        assert!(alerts(scene.store()).await.contains(&AlertKind::DeliveryExhausted));

        receiver.plan([Reply::status(200)]);
        let again = scene.app.replay_webhook_deliveries(&AuthContext::system(), of(id), (1, 1), Doing::Really).await;
        assert_eq!(granted(again.expect("decided")), 1);
        scene.deliver().await;
        assert_eq!(only(&scene).await.status, DeliveryStatus::Delivered);
        assert_eq!(alerts(scene.store()).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_time_gets_it_and_one_that_redirects_is_not_followed() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        scene.subscribe(to(&receiver.url)).await;
        scene.change(&["sow_1"]).await;
        let location = format!("{}?elsewhere", receiver.url);
        receiver.plan([
            Reply { headers: vec![("retry-after", "3600".to_owned())], ..Reply::status(429) },
            Reply { headers: vec![("retry-after", "900000".to_owned())], ..Reply::status(503) },
            Reply { headers: vec![("location", location)], ..Reply::status(307) },
        ]);
        scene.deliver().await;
        assert_eq!(wait(database, &scene).await, 3_600_000);
        scene.deliver().await;
        assert_eq!(wait(database, &scene).await, 86_400_000, "a day at most");
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 3, "a redirect is not followed");
        assert_eq!(only(&scene).await.error_code.as_deref(), Some("REDIRECTED"));
        wait(database, &scene).await;
        scene.deliver().await;
        let done = only(&scene).await;
        assert_eq!((done.status, done.attempts, done.error_code), (DeliveryStatus::Delivered, 4, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_410_disables_a_subscription_until_it_is_resumed_and_nothing_is_lost() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, _) =
            scene.subscribe(CreateWebhookSubscription { entities: vec![Entity::Sow], ..to(&receiver.url) }).await;
        receiver.plan([Reply::status(410)]);
        scene.change(&["sow_1", "sow_2"]).await;
        scene.deliver().await;
        let stopped = scene.subscription(id).await;
        let why = Some(SubscriptionReason::EndpointGone);
        assert_eq!((stopped.status, stopped.status_reason), (SubscriptionStatus::Disabled, why));
        assert_eq!(alerts(scene.store()).await, [AlertKind::SubscriptionDisabled]);
        scene.change(&["sow_3"]).await;
        database.clock.advance(86_400_000);
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 1);

        granted(scene.app.resume_webhook_subscription(&AuthContext::system(), of(id)).await.expect("decided"));
        scene.deliver().await;
        let mut records: Vec<_> = receiver.received()[1..].iter().map(Received::record).collect();
        records.sort();
        assert_eq!(records, ["sow_1", "sow_2", "sow_3"]);
        let sequences = scene.deliveries().await.into_iter().filter_map(|delivery| delivery.sequence);
        assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(alerts(scene.store()).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_a_receiver_that_keeps_failing_is_left_alone_and_then_tried_with_one_delivery() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, _) = scene.subscribe(to(&receiver.url)).await;
        receiver.plan((0..6).map(|_| Reply::status(500)));
        let records: Vec<String> = (0..20).map(|number| format!("sow_{number}")).collect();
        scene.change(&records.iter().map(String::as_str).collect::<Vec<_>>()).await;
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 5, "then it is left alone");
        let alone = scene.subscription(id).await;
        assert_eq!(alone.failures_in_a_row, 5);
        let until = alone.left_alone_until.expect("it is left alone");
        assert!((24_000..=36_000).contains(&until.ms_since(scene.store().now())));
        assert_eq!(alerts(scene.store()).await, [AlertKind::BreakerOpen]);
        // Another process knows it from the database.
        let other = super::scene(database).await;
        other.deliver().await;
        assert_eq!(receiver.received().len(), 5);

        database.clock.advance(36_000);
        let both = tokio::join!(scene.engine.expand_and_deliver(), other.engine.expand_and_deliver());
        assert!(both.0.is_ok() && both.1.is_ok());
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 6, "one delivery tries whether it is back");
        let alone = scene.subscription(id).await.left_alone_until.expect("it failed again");
        assert!(alone.ms_since(scene.store().now()) >= 48_000, "and it is left alone for longer");
        database.clock.advance(100_000);
        scene.deliver().await;
        let back = scene.subscription(id).await;
        assert_eq!((back.failures_in_a_row, back.left_alone_until), (0, None));
        database.clock.advance(400_000);
        scene.deliver().await;
        assert!(scene.deliveries().await.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered));
        assert_eq!(alerts(scene.store()).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_answer_in_time_is_tried_again() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let egress = HttpEgress::with_timeout(OPEN, Duration::from_millis(200)).expect("the network can be used");
        let scene = scene_with(database, Arc::new(egress)).await;
        scene.subscribe(to(&receiver.url)).await;
        receiver.plan([Reply { delay: Duration::from_secs(30), ..Reply::status(200) }]);
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        let waits = only(&scene).await;
        assert_eq!((waits.error_code.as_deref(), waits.response_status), (Some("NO_ANSWER"), None));
        wait(database, &scene).await;
        scene.deliver().await;
        let received = receiver.received();
        assert_eq!((received.len(), received[0].id()), (2, received[1].id()));

        let (id, _) = scene.subscribe(to("http://127.0.0.1:9/hooks")).await;
        scene.change(&["sow_2"]).await;
        scene.deliver().await;
        let unreachable = scene.deliveries().await.into_iter().find(|delivery| delivery.subscription_id == id);
        assert_eq!(unreachable.expect("it is there").error_code.as_deref(), Some("NOT_SENT"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_addresses_that_are_not_public_also_when_a_name_leads_there_later() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let rules = EgressRules { allow_http: true, allow_private: false };
        let strict = HttpEgress::new(rules).expect("the network can be used");
        let scene = scene_with(database, Arc::new(strict)).await;
        let app = scene.app.clone().with_egress_rules(EgressRules::default());
        for url in [
            receiver.url.as_str(),
            "https://127.0.0.1/",
            "https://localhost/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://2130706433/",
            "https://ann:secret@receiver.example.com/",
            "http://receiver.example.com/",
            "not an address",
        ] {
            let refused = app.create_webhook_subscription(&AuthContext::system(), to(url)).await.expect("decided");
            let refusals = refused.expect_err(url);
            assert_eq!(refusals[0].field, ["input", "url"], "{url}");
        }
        // As if it had been allowed before, once by number and once by a name.
        let (by_number, _) = scene.subscribe(to(&receiver.url)).await;
        let (by_name, _) = scene.subscribe(to("https://receiver.example.com/hooks")).await;
        let name = receiver.url.replace("127.0.0.1", "localhost");
        let change = format!("UPDATE webhook_subscriptions SET url = '{name}' WHERE id = '{by_name}'");
        database.raw().await.execute_unprepared(&change).await.expect("changed");
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 0);
        let deliveries = scene.deliveries().await;
        for id in [by_number, by_name] {
            let refused = deliveries.iter().find(|delivery| delivery.subscription_id == id).expect("it is there");
            assert_eq!(refused.error_code.as_deref(), Some("EGRESS_REFUSED"), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_comes_to_that_lost_its_delivery_meanwhile_changes_nothing() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, _) = scene.subscribe(to(&receiver.url)).await;
        scene.change(&["sow_1"]).await;
        receiver.plan([Reply::status(500)]);
        scene.deliver().await;
        wait(database, &scene).await;
        let late = scene.store().claim_delivery(3_000).await.expect("asked").expect("it is due");
        database.clock.advance(3_000);
        scene.deliver().await;
        let (done, stands) = (only(&scene).await, scene.subscription(id).await);
        assert_eq!((done.status, done.attempts), (DeliveryStatus::Delivered, 2), "another one sent it");
        assert!(!scene.store().keep_delivery(&late, 3_000).await.expect("asked"));
        let attempt = Attempt { status: Some(500), ..Attempt::default() };
        scene.app.delivery_tried(&late, &attempt).await.expect("the database answers");
        assert_eq!((only(&scene).await, scene.subscription(id).await), (done, stands));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_what_was_sent_and_not_written_down_is_sent_again_under_the_same_identifier() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        scene.subscribe(to(&receiver.url)).await;
        scene.change(&["sow_1"]).await;
        receiver.plan([Reply { delay: Duration::from_secs(30), ..Reply::status(200) }]);
        // The worker dies while the receiver still thinks.
        tokio::select! {
            _ = scene.engine.expand_and_deliver() => panic!("it ended"),
            () = until("it is received", async || (!receiver.received().is_empty()).then_some(())) => {}
        }
        let other = super::scene(database).await;
        other.deliver().await;
        assert_eq!(receiver.received().len(), 1, "it is the dead worker's for as long as its lease lasts");
        database.clock.advance(5_000);
        other.deliver().await;
        let received = receiver.received();
        assert_eq!((received.len(), received[0].id()), (2, received[1].id()));
        assert_eq!(received[0].json(), received[1].json(), "the same bytes");
        let done = only(&scene).await;
        assert_eq!((done.status, done.attempts), (DeliveryStatus::Delivered, 1), "one try was written down");
    })
    .await;
}
