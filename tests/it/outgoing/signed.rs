//! What is sent, and what it is signed with.

use crosstie_app::subscriptions::Doing;
use crosstie_domain::{access::AuthContext, integration::DeliveryStatus};
use serde_json::json;

use super::{granted, of, scene, to};
use crate::support::{Receiver, RunningHub, on_each_database, until};

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_a_whole_hub_sends_what_a_library_of_others_verifies() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let hub = RunningHub::start_with(database, |config| {
            config.webhooks.allow_http = true;
            config.webhooks.allow_private = true;
        })
        .await;
        let made = hub
            .ask(&format!(
                "mutation {{ createWebhookSubscription(input: {{ url: \"{}\", entities: [SOW] }}) \
                 {{ secret subscription {{ id }} userErrors {{ code }} }} }}",
                receiver.url
            ))
            .await["createWebhookSubscription"]
            .clone();
        let secret = made["secret"].as_str().expect("a secret");
        assert!(secret.starts_with("whsec_"), "{secret}");
        super::publish(hub.hub.app.store(), &["sow_1"]).await;
        until("it is received", async || (!receiver.received().is_empty()).then_some(())).await;
        let received = receiver.received().remove(0);
        assert!(received.is_signed_now_with(secret));
        assert!(!received.is_signed_now_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert_eq!(received.header("content-type"), "application/json");
        let body = received.json();
        assert_eq!(body["type"], "sow.signed");
        assert_eq!(body["timestamp"], body["data"]["occurredAt"]);
        let data = json!({
            "subscriptionId": made["subscription"]["id"], "sequence": 1, "eventId": "1", "entity": "sow",
            "recordId": "sow_1", "version": 2, "eventType": "sow_signed", "occurredAt": body["timestamp"],
        });
        assert_eq!(body["data"], data, "it names what changed and holds none of it");
        let id = received.id();
        let query = format!("{{ webhookDelivery(id: \"{id}\") {{ status attempts responseStatus durationMs }} }}");
        let shown = until("it is written down", async || {
            let shown = hub.ask(&query).await["webhookDelivery"].clone();
            (shown["status"] == "DELIVERED").then_some(shown)
        })
        .await;
        assert_eq!((&shown["attempts"], &shown["responseStatus"]), (&json!(1), &json!(204)), "{shown}");
        let all = hub.ask("{ webhookSubscriptions { nodes { id url owner deliveries { nodes { id } } } } }").await;
        assert!(!all.to_string().contains(&secret[6..]), "the secret is shown once");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_overlap_of_two_secrets_each_verifies_and_then_the_new_one_alone() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, old) = scene.subscribe(to(&receiver.url)).await;
        let rotated = scene.app.rotate_webhook_secret(&AuthContext::system(), of(id), 2).await.expect("decided");
        let new = granted(rotated).secret.expect("it is shown").expose().to_owned();
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        let received = receiver.received().remove(0);
        assert!(received.is_signed_with(&old) && received.is_signed_with(&new));
        let signatures: Vec<_> = received.header("webhook-signature").split(' ').collect();
        assert!(signatures.len() == 2 && signatures.iter().all(|signature| signature.starts_with("v1,")));

        database.clock.advance(2 * 3_600_000);
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        let received = receiver.received().remove(1);
        assert!(!received.is_signed_with(&old) && received.is_signed_with(&new));

        let rotated = scene.app.rotate_webhook_secret(&AuthContext::system(), of(id), 0).await.expect("decided");
        let newest = granted(rotated).secret.expect("it is shown").expose().to_owned();
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        let received = receiver.received().remove(2);
        assert!(!received.is_signed_with(&new) && received.is_signed_with(&newest), "without overlap the old one ends");
        for hours in [-1, 169] {
            let refused = scene.app.rotate_webhook_secret(&AuthContext::system(), of(id), hours).await;
            assert!(refused.expect("decided").is_err(), "{hours}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_tells_of_no_change_and_takes_no_number() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, secret) = scene.subscribe(to(&receiver.url)).await;
        let test = scene.app.send_test_webhook(&AuthContext::system(), of(id)).await.expect("decided");
        let test = granted(test);
        scene.deliver().await;
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        let [first, second] = &receiver.received()[..] else { panic!("two are received") };
        assert!(first.is_signed_with(&secret));
        assert_eq!((first.id(), first.json()["type"].as_str()), (test.id.to_string().as_str(), Some("webhook.test")));
        assert_eq!(second.sequence(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_sent_again_under_the_identifiers_that_it_had() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let (id, _) = scene.subscribe(to(&receiver.url)).await;
        scene.change(&["sow_1", "sow_2", "sow_1", "sow_3"]).await;
        scene.deliver().await;
        let again = async |range, doing| {
            granted(
                scene
                    .app
                    .replay_webhook_deliveries(&AuthContext::system(), of(id), range, doing)
                    .await
                    .expect("decided"),
            )
        };
        assert_eq!(again((2, 3), Doing::DryRun).await, 2);
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 4, "a dry run sends nothing");
        assert_eq!(again((2, 3), Doing::Really).await, 2);
        assert_eq!(again((2, 3), Doing::Really).await, 0, "they wait already");
        scene.deliver().await;
        let received = receiver.received();
        let key = |index: usize| (received[index].id().to_owned(), received[index].sequence());
        assert_eq!((received.len(), key(4), key(5)), (6, key(1), key(2)));
        assert!(scene.deliveries().await.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered));
        for range in [(0, 3), (3, 2)] {
            let system = AuthContext::system();
            let refused = scene.app.replay_webhook_deliveries(&system, of(id), range, Doing::Really).await;
            assert!(refused.expect("decided").is_err(), "{range:?}");
        }
    })
    .await;
}
