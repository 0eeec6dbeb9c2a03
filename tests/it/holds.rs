//! What holds connections up: persons who pause them, and systems that do not answer.

mod breakers;

use crosstie_app::{App, ChangePause};
use crosstie_domain::{
    access::AuthContext,
    ids::ConnectionId,
    integration::{Entity, InboundStatus, PauseScope, RunStatus},
};
use crosstie_store::{StoreError, integration::freshness_of};
use serde_json::{Value as Json, json};

use crate::support::{Binary, Crm, Graph, events, graph, on_each_database};

const LEASE_MS: i64 = 3_000;

/// Pauses or resumes through the graph; the payload.
async fn change(graph: &Graph, way: &str, input: Json) -> Json {
    let mut whole = json!({ "connectionId": graph.billing });
    for (name, value) in input.as_object().expect("fields") {
        whole[name] = value.clone();
    }
    let selection = "changed done lasting { what pausedBy reason } connection { pauses { what pausedBy reason \
                     resumedBy resumeReason } }";
    graph.decide(AuthContext::system(), way, selection, whole).await
}

/// Pauses or resumes by the use case.
async fn pause(app: &App, connection_id: ConnectionId, (what, goes_on): (PauseScope, bool)) {
    let input = ChangePause { connection_id, what, dry_run: false, reason: None, idempotency_key: None };
    let auth = AuthContext::system();
    let done = match goes_on {
        false => app.pause_connection(&auth, input).await,
        true => app.resume_connection(&auth, input).await,
    };
    assert!(done.expect("decided").expect("done").done);
}

async fn order(graph: &Graph) -> String {
    let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
    let input = json!({ "sowId": drafted["sow"]["id"] });
    let signed = graph.decide(AuthContext::system(), "signSow", "sow { serviceOrder { id } }", input).await;
    signed["sow"]["serviceOrder"]["id"].as_str().expect("an order").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_kept_with_who_and_why_and_changes_nothing_twice() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let looked = change(&graph, "pauseConnection", json!({ "what": "ALL", "dryRun": true })).await;
        assert_eq!((&looked["changed"], &looked["done"]), (&json!(["READING", "SENDING"]), &json!(false)));
        assert_eq!(looked["lasting"], json!([]), "a look pauses nothing");

        let input = json!({ "what": "SENDING", "reason": "month end", "idempotencyKey": "once" });
        for _ in 0..2 {
            let done = change(&graph, "pauseConnection", input.clone()).await;
            assert_eq!((&done["changed"], &done["done"]), (&json!(["SENDING"]), &json!(true)), "the same request");
        }
        let lasting = json!([{ "what": "SENDING", "pausedBy": "system", "reason": "month end" }]);
        let done = change(&graph, "pauseConnection", json!({ "what": "SENDING", "reason": "another" })).await;
        assert_eq!((&done["changed"], &done["lasting"]), (&json!([]), &lasting), "it is paused already");
        let done = change(&graph, "pauseConnection", json!({ "what": "ALL" })).await;
        assert_eq!(done["changed"], json!(["READING"]));

        let done = change(&graph, "resumeConnection", json!({ "what": "SENDING", "reason": "closed" })).await;
        assert_eq!(done["changed"], json!(["SENDING"]));
        let pauses = json!([
            { "what": "READING", "pausedBy": "system", "reason": null, "resumedBy": null, "resumeReason": null },
            { "what": "SENDING", "pausedBy": "system", "reason": "month end", "resumedBy": "system",
              "resumeReason": "closed" },
        ]);
        assert_eq!(done["connection"]["pauses"], pauses, "the newest first");
        let done = change(&graph, "resumeConnection", json!({ "what": "ALL" })).await;
        assert_eq!((&done["changed"], &done["lasting"]), (&json!(["READING"]), &json!([])));

        for (input, code) in [
            (json!({ "what": "ALL", "connectionId": "con_00000000000000000000000001" }), "NOT_FOUND"),
            (json!({ "what": "ALL", "connectionId": "books" }), "NOT_FOUND"),
            (json!({ "what": "ALL", "reason": "x".repeat(501) }), "TOO_LONG"),
            (json!({ "what": "ALL", "idempotencyKey": "once" }), "IDEMPOTENCY_KEY_REUSED"),
        ] {
            let refused = change(&graph, "pauseConnection", input).await;
            assert_eq!((&refused["codes"], &refused["done"]), (&json!([code]), &json!(false)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_reading_is_paused_a_system_is_asked_nothing_and_its_webhooks_wait_on_disk() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let id = crm.connection().record.id;
        crm.create("deals", "Renewal");
        let waits = async || {
            let events = events(crm.app.store()).await;
            events.iter().map(|event| (event.status, event.attempts)).collect::<Vec<_>>()
        };
        pause(&crm.app, id, (PauseScope::Reading, false)).await;
        let paused_at = crm.app.store().now();
        assert!(crm.deliver().await > 0, "they are taken in all the same");
        crm.work().await;
        assert!(waits().await.iter().all(|state| *state == (InboundStatus::Received, 0)), "{:?}", waits().await);

        let run = crm.pull(Entity::Opportunity).await;
        assert_eq!((run.status, run.error_code.as_deref(), run.rows_read), (RunStatus::Failed, Some("PAUSED"), 0));
        let fresh = freshness_of(crm.app.store(), crm.app.store().now(), &[id]).await.expect("read");
        assert!(fresh.iter().all(|one| one.paused_at == Some(paused_at)), "{fresh:?}");

        pause(&crm.app, id, (PauseScope::Reading, true)).await;
        crm.work().await;
        assert!(waits().await.iter().all(|(status, _)| *status == InboundStatus::Processed), "{:?}", waits().await);
        let run = crm.pull(Entity::Opportunity).await;
        assert_eq!((run.status, run.attempt), (RunStatus::Succeeded, 1), "a pause is no failure");
        assert_eq!(crm.opportunities().await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sending_is_paused_nothing_is_taken_to_be_sent_nor_sent_by_whoever_took_it_before() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let store = graph.app.store();
        order(&graph).await;
        let claim = async || store.claim_effect(LEASE_MS).await.expect("asked");
        let taken = claim().await.expect("it is due");
        pause(&graph.app, graph.billing, (PauseScope::Reading, false)).await;
        pause(&graph.app, graph.billing, (PauseScope::Sending, false)).await;
        let sending = graph.app.effect_sending(&taken).await;
        assert!(matches!(sending, Err(crosstie_app::AppError::Store(StoreError::Conflict))), "{sending:?}");
        database.clock.advance(LEASE_MS);
        assert!(claim().await.is_none(), "it waits");
        pause(&graph.app, graph.billing, (PauseScope::Sending, true)).await;
        let taken = claim().await.expect("its reading may stay paused");
        assert_eq!((taken.attempts, taken.outcome_unknown), (0, false), "no try was used up");
        graph.app.effect_sending(&taken).await.expect("it may begin");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_paused_and_resumed_on_the_command_line() {
    let config = "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"books\"\n\
                  connector = \"stripe\"\ntoken = \"test-key\"\nbase_url = \"http://127.0.0.1:9\"\n";
    let Some(binary) = Binary::find("the command line", config) else { return };
    binary.done(&["migrate"]).await;
    let said = binary.done(&["connection", "pause", "books", "--dry-run"]).await;
    assert_eq!(said, "books: would be paused: reading,sending; paused: nothing");
    let said = binary.done(&["connection", "pause", "books", "--what", "reading", "--reason", "maintenance"]).await;
    assert_eq!(said, "books: paused now: reading; paused: reading");
    assert!(binary.done(&["connection", "freshness"]).await.contains("books account: reading is PAUSED since "));
    let said = binary.refused(&["sync", "run", "books"]).await;
    assert!(said.contains("books account: PAUSED"), "{said}");
    assert_eq!(binary.done(&["connection", "resume", "books"]).await, "books: goes on now: reading; paused: nothing");
    assert!(binary.refused(&["connection", "pause", "books", "--what", "it"]).await.contains("READING, SENDING, ALL"));
    binary.refused(&["connection", "pause", "nobody"]).await;
}
