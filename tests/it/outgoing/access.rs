//! Who may subscribe, and what each subscription may tell.

use crosstie_app::access::NewToken;
use crosstie_domain::{
    access::{AuthContext, Permission, Role, RowScope},
    ids::AccountId,
    integration::{AlertKind, DeliveryStatus, SubscriptionReason, SubscriptionStatus},
};
use crosstie_store::integration::open_alerts;
use serde_json::{Value as Json, json};

use super::{Scene, of, scene, to};
use crate::support::{Graph, Receiver, Reply, graph, on_each_database};

const ANN: &str = "ann@example.com";

/// Saves Ann, who keeps connections and sees these accounts, and signs her in.
async fn ann(scene: &Scene, roles: Vec<Role>, rows: RowScope) -> AuthContext {
    scene.app.save_person("Ann", ANN, roles, rows).await.expect("saved");
    let (label, person_email) = ("hers".to_owned(), Some(ANN.to_owned()));
    let token = NewToken { label, person_email, roles: vec![], permissions: vec![], expires_at: None };
    let (_, token) = scene.app.create_token(token).await.expect("a token is made");
    scene.app.authenticate(&token).await.expect("it can be looked up").expect("it is good")
}

/// An organization in the database of a scene, whose own subscriptions are out of the way.
async fn organization(scene: &Scene) -> Graph {
    let graph = Graph::over(scene.app.clone()).await;
    for id in graph.subscriptions() {
        let id = id.parse().expect("an identifier");
        let deleted = scene.app.delete_webhook_subscription(&AuthContext::system(), of(id)).await.expect("decided");
        deleted.expect("deleted");
    }
    super::place(scene.store()).await;
    graph
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_tells_what_its_owner_may_see_at_the_time() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let graph = organization(&scene).await;
        let [ours, theirs] = &graph.sold;
        let only = |account: AccountId| RowScope::Accounts(vec![account]);
        let engineer = || vec![Role::IntegrationEngineer];
        let hers = ann(&scene, engineer(), only(graph.accounts[0].id)).await;
        let made = scene.app.create_webhook_subscription(&hers, to(&receiver.url)).await.expect("decided");
        let id = made.expect("made").subscription.id;
        let (first, second) = (ours.sow.to_string(), theirs.sow.to_string());
        scene.change(&[&first, &second, &first]).await;
        scene.deliver().await;
        let told: Vec<_> = receiver.received().iter().map(|one| (one.record(), one.sequence())).collect();
        assert_eq!(told, [(first.clone(), 1), (first.clone(), 2)], "only what she sees, under numbers without gaps");

        // What waits when she loses sight of it is not sent, and not told to whoever asks for the range.
        receiver.plan([Reply::status(500)]);
        scene.change(&[&first]).await;
        scene.deliver().await;
        ann(&scene, engineer(), only(graph.accounts[1].id)).await;
        database.clock.advance(10_000);
        scene.deliver().await;
        scene.change(&[&first, &second]).await;
        scene.deliver().await;
        let told: Vec<_> = receiver.received()[3..].iter().map(|one| (one.record(), one.sequence())).collect();
        assert_eq!(told, [(second.clone(), 4)]);
        assert_eq!(scene.deliveries().await[2].status, DeliveryStatus::Withheld);
        let query = "query($id: ID!) { webhookEvents(subscriptionId: $id, after: 2) \
                     { lastSequence events { sequence withheld recordId } } }";
        let range = graph.data(AuthContext::system(), query, json!({ "id": id })).await["webhookEvents"].clone();
        let expected = json!({ "lastSequence": 4, "events": [
            { "sequence": 3, "withheld": true, "recordId": null },
            { "sequence": 4, "withheld": false, "recordId": second },
        ] });
        assert_eq!(range, expected);

        // Without her rights it stops, and says why.
        scene.change(&[&second]).await;
        ann(&scene, vec![Role::Viewer], RowScope::All).await;
        scene.deliver().await;
        let stopped = scene.subscription(id).await;
        let why = Some(SubscriptionReason::OwnerRevoked);
        assert_eq!((stopped.status, stopped.status_reason), (SubscriptionStatus::Paused, why));
        let open = open_alerts(scene.store()).await.expect("read");
        let open = open.iter().find(|alert| alert.subscription_id == Some(id)).expect("there is an alert");
        assert_eq!(open.kind, AlertKind::SubscriptionDisabled);
        assert_eq!(receiver.received().len(), 4);
        // Whoever resumes it becomes its owner.
        scene.app.resume_webhook_subscription(&AuthContext::system(), of(id)).await.expect("decided").expect("resumed");
        scene.deliver().await;
        assert_eq!(receiver.received()[4].record(), second);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_token_was_revoked_hears_of_nothing_more_not_even_of_what_waits() {
    on_each_database(async |database| {
        let receiver = Receiver::start().await;
        let scene = scene(database).await;
        let roles = vec![Role::IntegrationEngineer];
        let token =
            NewToken { label: "service".to_owned(), person_email: None, roles, permissions: vec![], expires_at: None };
        let (token_id, token) = scene.app.create_token(token).await.expect("a token is made");
        let auth = scene.app.authenticate(&token).await.expect("looked up").expect("it is good");
        let made = scene.app.create_webhook_subscription(&auth, to(&receiver.url)).await.expect("decided");
        let id = made.expect("made").subscription.id;
        receiver.plan([Reply::status(500)]);
        scene.change(&["sow_1"]).await;
        scene.deliver().await;
        let tx = scene.store().begin().await.expect("a transaction begins");
        assert!(tx.revoke_token(token_id).await.expect("revoked"));
        tx.commit().await.expect("it commits");
        database.clock.advance(10_000);
        scene.deliver().await;
        assert_eq!(receiver.received().len(), 1);
        assert_eq!(scene.subscription(id).await.status_reason, Some(SubscriptionReason::OwnerRevoked));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_for_more_than_he_or_she_may_see_nor_sees_the_subscriptions_of_others() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let graph = graph(database).await;
        let rows = RowScope::Accounts(vec![graph.accounts[0].id]);
        let hers = ann(&scene, vec![Role::IntegrationEngineer], rows).await;
        let ask = async |auth: &AuthContext, input: Json| {
            let selection = "secret subscription { id entities accountIds owner version } ";
            graph.decide(auth.clone(), "createWebhookSubscription", selection, input).await
        };
        let url = "https://receiver.example.com/hooks";
        let [ours, theirs] = graph.accounts.each_ref().map(|account| account.id);
        let refused = ask(&hers, json!({ "url": url, "accountIds": [theirs] })).await;
        assert_eq!((&refused["codes"], &refused["secret"]), (&json!(["NOT_FOUND"]), &Json::Null));
        let mut narrowed = hers.clone();
        narrowed.permissions.retain(|permission| *permission != Permission::BillingRead);
        let refused = ask(&narrowed, json!({ "url": url, "entities": ["INVOICE"] })).await;
        assert_eq!(refused["codes"], json!(["NOT_FOUND"]));
        for (input, code) in [
            (json!({ "url": "http://127.0.0.1/" }), "INVALID"),
            (json!({ "url": url, "eventTypes": ["Sow Signed"] }), "INVALID"),
            (json!({ "url": url, "description": "x".repeat(201) }), "TOO_LONG"),
            (json!({ "url": url, "accountIds": vec![ours; 101] }), "LIMIT_EXCEEDED"),
        ] {
            assert_eq!(ask(&hers, input.clone()).await["codes"], json!([code]), "{input}");
        }

        let input = json!({ "url": url, "accountIds": [ours], "idempotencyKey": "k" });
        let made = ask(&narrowed, input.clone()).await;
        assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
        let entities = made["subscription"]["entities"].as_array().expect("kinds");
        assert!(entities.contains(&json!("SOW")) && !entities.contains(&json!("INVOICE")), "{made}");
        assert_eq!(made["subscription"]["accountIds"], json!([ours]));
        let again = ask(&narrowed, input).await;
        assert_eq!((&again["subscription"]["id"], &again["secret"]), (&made["subscription"]["id"], &Json::Null));

        let list = "{ webhookSubscriptions { totalCount nodes { id } } webhookDeliveries { nodes { id } } }";
        let own = graph.data(hers.clone(), list, json!({})).await;
        let mine = json!({ "totalCount": null, "nodes": [{ "id": made["subscription"]["id"] }] });
        assert_eq!((&own["webhookSubscriptions"], &own["webhookDeliveries"]["nodes"]), (&mine, &json!([])));
        let all = graph.data(AuthContext::system(), list, json!({})).await;
        assert_eq!(all["webhookSubscriptions"]["totalCount"], 3);
        let other = graph.id_of("WebhookSubscription");
        let query = "query($id: ID!, $delivery: ID!) { webhookSubscription(id: $id) { id } node(id: $id) { id } \
                     webhookDelivery(id: $delivery) { id } webhookEvents(subscriptionId: $id, after: 0) { lastSequence } }";
        let variables = json!({ "id": other, "delivery": graph.id_of("WebhookDelivery") });
        let hidden = graph.data(hers.clone(), query, variables).await;
        assert!(hidden.as_object().expect("fields").values().all(Json::is_null), "{hidden}");
        let pause = json!({ "subscriptionId": other });
        let refused = graph.decide(hers.clone(), "pauseWebhookSubscription", "subscription { id }", pause).await;
        assert_eq!(refused["codes"], json!(["NOT_FOUND"]));
        let stale = json!({ "subscriptionId": made["subscription"]["id"], "expectedVersion": 7, "url": url });
        let refused = graph.decide(hers.clone(), "updateWebhookSubscription", "subscription { id }", stale).await;
        assert_eq!(refused["codes"], json!(["CONFLICT"]));
        let change = json!({
            "subscriptionId": made["subscription"]["id"], "expectedVersion": 1, "eventTypes": ["sow_signed"],
            "entities": ["SOW"], "accountIds": [], "ordered": false, "description": "signatures",
        });
        let selection = "subscription { url entities eventTypes accountIds ordered description version }";
        let changed = graph.decide(hers, "updateWebhookSubscription", selection, change).await;
        let expected = json!({
            "url": url, "entities": ["SOW"], "eventTypes": ["sow_signed"], "accountIds": null, "ordered": false,
            "description": "signatures", "version": 2,
        });
        assert_eq!(changed["subscription"], expected, "{changed}");
    })
    .await;
}
