//! Orders that billing refuses, and connections that are no longer there.

use crosstie_app::SendOutcome;
use crosstie_domain::{
    access::{AuthContext, Principal},
    integration::EffectStatus,
};
use crosstie_store::integration::{ClaimedEffect, EffectOutcome};
use crosstie_sync::Connections;
use serde_json::{Value as Json, json};

use crate::support::{Graph, effects, graph, on_each_database};

const LEASE_MS: i64 = 3_000;

/// A signed statement of work: its first milestone, and its order.
async fn signed(graph: &Graph) -> (Json, String) {
    let draft = graph.draft(&graph.sold[0]);
    let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id milestones { id } }", draft).await;
    let input = json!({ "sowId": drafted["sow"]["id"] });
    let signed = graph.decide(AuthContext::system(), "signSow", "sow { serviceOrder { id } }", input).await;
    assert_eq!(signed["codes"], json!([]));
    let order = signed["sow"]["serviceOrder"]["id"].as_str().expect("an order").to_owned();
    (drafted["sow"]["milestones"][0]["id"].clone(), order)
}

async fn order(graph: &Graph, id: &str) -> Json {
    let query = "query($id: ID!) { serviceOrder(id: $id) { status rejection billingReference } }";
    graph.data(AuthContext::system(), query, json!({ "id": id })).await["serviceOrder"].clone()
}

/// Takes the effect that is due and ends it so. Returns it as it was taken.
async fn end_effect(graph: &Graph, outcome: &SendOutcome) -> ClaimedEffect {
    let store = graph.app.store();
    let effect = store.claim_effect(LEASE_MS).await.expect("asked").expect("one is due");
    let tx = store.begin().await.expect("a transaction begins");
    graph.app.effect_ended(&tx, &effect, outcome).await.expect("it is taken in");
    tx.commit().await.expect("it commits");
    effect
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_is_not_billed_and_can_be_sent_again_under_its_key() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let (milestone, id) = signed(&graph).await;
        let (code, message) = ("REJECTED".to_owned(), "no such currency".to_owned());
        let refused = SendOutcome::NotDone(EffectOutcome::Rejected { code, message });
        assert!(!end_effect(&graph, &refused).await.outcome_unknown, "nothing was sent before");
        assert_eq!(order(&graph, &id).await["status"], "REJECTED");
        let key = format!("order:{id}");
        let listed =
            async || effects(graph.app.store()).await.into_iter().find(|effect| effect.key == key).expect("listed");
        assert_eq!(listed().await.status, EffectStatus::Rejected);

        let accept = || json!({ "milestoneId": milestone });
        let accepted = graph.decide(AuthContext::system(), "acceptMilestone", "milestone { id }", accept()).await;
        assert_eq!(accepted["codes"], json!(["INVALID_TRANSITION"]));
        let store = graph.app.store();
        assert!(store.claim_effect(LEASE_MS).await.expect("asked").is_none(), "nothing is sent by itself");

        let again = async || {
            let effect = [listed().await];
            let tx = store.begin().await.expect("a transaction begins");
            let asked = (&effect[..], EffectStatus::Sent);
            let due = graph.app.send_again(&tx, asked, Principal::System).await.expect("decided");
            tx.commit().await.expect("it commits");
            due.len()
        };
        assert_eq!(again().await, 1);
        assert_eq!(listed().await.status, EffectStatus::Sent, "it is asked about first");
        let waiting = order(&graph, &id).await;
        assert_eq!((&waiting["status"], &waiting["rejection"]), (&json!("PENDING"), &Json::Null));
        let asked_at = store.now();
        let done = SendOutcome::Done {
            remote_id: "prod_9".to_owned(),
            remote_version: None,
            customer_remote_id: None,
            asked_at,
        };
        assert!(end_effect(&graph, &done).await.outcome_unknown, "part of it may have happened");
        let acked = order(&graph, &id).await;
        assert_eq!((&acked["status"], &acked["billingReference"]), (&json!("ACKED"), &json!("prod_9")));
        let accepted = graph.decide(AuthContext::system(), "acceptMilestone", "milestone { id }", accept()).await;
        assert_eq!(accepted["codes"], json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_try_counts_also_one_that_sent_nothing() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        signed(&graph).await;
        for attempts in 0..3 {
            let at = graph.app.store().now();
            let (code, message) = ("TRANSIENT".to_owned(), String::new());
            let retry = EffectOutcome::Retry { at, outcome_unknown: false, code, message };
            let taken = end_effect(&graph, &SendOutcome::NotDone(retry)).await;
            assert_eq!((taken.attempts, taken.outcome_unknown), (attempts, false));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_sold_through_a_connection_that_is_not_configured_any_more() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        Connections::default().retire_others(&graph.app).await.expect("the database answers");
        let draft = graph.draft(&graph.sold[0]);
        let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id }", draft).await;
        assert_eq!((&drafted["sow"], &drafted["codes"]), (&Json::Null, &json!(["NOT_FOUND"])));
    })
    .await;
}
