//! Orders that billing refuses, and connections that are no longer there.

use crosstie_app::SendOutcome;
use crosstie_domain::{
    Clock, Money,
    access::{AuthContext, Principal},
    billing::OrderClaim,
    integration::{Arm, Claim, EffectStatus},
};
use crosstie_store::integration::{ClaimedEffect, EffectOutcome};
use crosstie_sync::Connections;
use serde_json::{Value as Json, json};

use crate::support::{Graph, Said, System, effects, graph, on_each_database, usd};

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
async fn what_an_order_comes_to_is_the_hubs_word_and_what_billing_holds_instead_is_shown() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let (_, id) = signed(&graph).await;
        let told = async |auth: AuthContext| {
            let query = "query($id: ID!) { serviceOrder(id: $id) { total { amount currency } sources { remoteId } \
                         provenance(field: \"total\") { field value decision source { value } authority { policy } \
                         overruled { value overruledBecause remoteId sourcePath connection { name } } } } }";
            graph.run(auth, query, json!({ "id": id })).await
        };
        let system = AuthContext::system;
        let alone = told(system()).await["data"]["serviceOrder"].take();
        let found = &alone["provenance"];
        assert_eq!((&found["decision"], &found["authority"]["policy"]), (&json!("HUB"), &json!("LOCAL")), "{alone}");
        assert_eq!((&alone["sources"], &found["overruled"]), (&json!([]), &json!([])));

        let mut books = System::new(database, "books", &[Arm::Billing]).await;
        books.connection = graph.billing;
        let say = async |total: Money| {
            database.clock.advance(1_000);
            let claim = OrderClaim { order: id.parse().ok(), total: Some(total), ..OrderClaim::default() };
            let (asked_at, fields) = (database.clock.now(), json!({ "order": id, "total": total }));
            let claim = Claim::ServiceOrder(claim);
            books.say(Said { remote_id: "S-1", version: None, asked_at, claim, fields }).await;
        };
        let minor = |text: &Json| text.as_str().and_then(|text| text.replace('.', "").parse::<i64>().ok());
        let ours = minor(&alone["total"]["amount"]).expect("an amount");
        say(usd(ours)).await;
        let same = told(system()).await["data"]["serviceOrder"].take();
        assert_eq!((&same["sources"], &same["provenance"]["overruled"]), (&json!([{ "remoteId": "S-1" }]), &json!([])));
        say(usd(ours - 1)).await;
        let other = told(system()).await["data"]["serviceOrder"].take();
        assert_eq!((&other["total"], &other["provenance"]["value"]), (&alone["total"], &found["value"]));
        let expected = json!([{
            "value": json!(usd(ours - 1)).to_string(), "overruledBecause": "NO_AUTHORITY", "remoteId": "S-1",
            "sourcePath": "properties.total", "connection": { "name": "stripe" },
        }]);
        assert_eq!(other["provenance"]["overruled"], expected, "{other}");

        // An amount is for those who may see amounts.
        let mut blind = AuthContext::system();
        blind.roles.clear();
        let hidden = told(blind).await;
        let found = &hidden["data"]["serviceOrder"]["provenance"];
        assert_eq!((&found["value"], &found["overruled"][0]["value"]), (&Json::Null, &Json::Null), "{hidden}");
        let query = "query($id: ID!) { serviceOrder(id: $id) { provenance(field: \"status\") { field } } }";
        let refused = graph.run(AuthContext::system(), query, json!({ "id": id })).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{refused}");
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
