//! How far connections go: looking on, using what is read, sending.

use std::time::Duration;

use crosstie_app::{Cause, KnownVersion, Observation, Origin};
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    access::{AuthContext, Permission, Role, RowScope},
    billing::{InvoiceClaim, InvoiceStatus},
    ids::ConnectionId,
    integration::{Arm, Claim, ConnectionMode, Intent},
    pipeline::AccountClaim,
};
use crosstie_sdk::Secret;
use crosstie_store::{
    Store, StoreError,
    delivery::milestones_by_ids,
    integration::{ClaimedEffect, connections_by_ids},
};
use serde_json::{Value as Json, json};

use crate::support::{
    Binary, Database, Graph, HostedVendor, RunningHub, codes, connection, graph, on_each_database, usd,
};

const LEASE_MS: i64 = 3_000;

/// Switches the connection to billing; the payload.
async fn switch(graph: &Graph, input: Json) -> Json {
    let mut whole = json!({ "connectionId": graph.billing });
    for (name, value) in input.as_object().expect("fields") {
        whole[name] = value.clone();
    }
    let selection = "connection { mode modeChanges { was mode actor reason } } switch { was mode done \
                     waitingEffectCount waitingEffects { key intent recordId customer title amount { amount } } }";
    graph.decide(AuthContext::system(), "switchConnectionMode", selection, whole).await
}

/// Drafts and signs a statement of work; its order.
async fn order(graph: &Graph) -> String {
    order_through(graph, graph.billing).await
}

/// The same through another connection.
async fn order_through(graph: &Graph, billing: ConnectionId) -> String {
    let mut draft = graph.draft(&graph.sold[0]);
    draft["billingConnectionId"] = json!(billing);
    let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id }", draft).await;
    let input = json!({ "sowId": drafted["sow"]["id"] });
    let signed = graph.decide(AuthContext::system(), "signSow", "sow { serviceOrder { id } }", input).await;
    signed["sow"]["serviceOrder"]["id"].as_str().expect("an order").to_owned()
}

async fn claim(store: &Store) -> Option<ClaimedEffect> {
    store.claim_effect(LEASE_MS).await.expect("asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_connection_that_does_not_send_waits_and_goes_out_in_order_when_it_does() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let store = graph.app.store();
        let done = switch(&graph, json!({ "mode": "PULL", "reason": "the books are closed" })).await;
        assert_eq!((&done["codes"], &done["switch"]["done"]), (&json!([]), &json!(true)));
        let first = order(&graph).await;
        database.clock.advance(1);
        let second = order(&graph).await;
        assert!(claim(store).await.is_none(), "nothing is sent");

        let looked = switch(&graph, json!({ "mode": "TWO_WAY", "dryRun": true })).await;
        assert_eq!((&looked["connection"]["mode"], &looked["switch"]["done"]), (&json!("PULL"), &json!(false)));
        assert_eq!(looked["switch"]["waitingEffectCount"], 2);
        let waiting = looked["switch"]["waitingEffects"].as_array().expect("effects");
        let keys: Vec<_> = waiting.iter().map(|effect| effect["key"].clone()).collect();
        assert_eq!(keys, [json!(format!("order:{first}")), json!(format!("order:{second}"))]);
        let expected = json!({ "key": keys[0], "intent": "PLACE_ORDER", "recordId": first, "customer": "Ours",
                               "title": "More", "amount": { "amount": "10.00" } });
        assert_eq!(waiting[0], expected);
        assert!(claim(store).await.is_none(), "a look sends nothing");
        let engineer = AuthContext { roles: vec![Role::IntegrationEngineer], ..AuthContext::system() };
        let query = "mutation($input: SwitchConnectionModeInput!) { switchConnectionMode(input: $input) { switch { \
                     waitingEffects { title amount { amount } } } } }";
        let input = json!({ "connectionId": graph.billing, "mode": "TWO_WAY", "dryRun": true });
        let answer = graph.run(engineer, query, json!({ "input": input })).await;
        let seen = &answer["data"]["switchConnectionMode"]["switch"]["waitingEffects"][0];
        assert_eq!(*seen, json!({ "title": "More", "amount": null }), "an engineer sees no money");
        assert_eq!(codes(&answer).into_iter().collect::<Vec<_>>(), ["FORBIDDEN"]);

        // Another connection sends meanwhile.
        let elsewhere = order_through(&graph, connection(store, "other").await).await;
        let taken = claim(store).await.expect("it is due");
        assert_eq!(taken.record_id, elsewhere);

        let done = switch(&graph, json!({ "mode": "TWO_WAY", "expectedMode": "PULL" })).await;
        let changes = json!([
            { "was": "PULL", "mode": "TWO_WAY", "actor": "system", "reason": null },
            { "was": "TWO_WAY", "mode": "PULL", "actor": "system", "reason": "the books are closed" },
        ]);
        assert_eq!((&done["codes"], &done["connection"]["modeChanges"]), (&json!([]), &changes));
        let taken = claim(store).await.expect("it is due");
        assert_eq!((&taken.record_id, matches!(taken.intent, Intent::PlaceOrder(_))), (&first, true));
        assert!(claim(store).await.is_none(), "one after the other");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_about_to_begin_does_not_begin_after_the_switch() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        order(&graph).await;
        let taken = claim(graph.app.store()).await.expect("it is due");
        switch(&graph, json!({ "mode": "OBSERVE" })).await;
        let sending = graph.app.effect_sending(&taken).await;
        assert!(matches!(sending, Err(crosstie_app::AppError::Store(StoreError::Conflict))), "{sending:?}");
        database.clock.advance(LEASE_MS);
        assert!(claim(graph.app.store()).await.is_none(), "it waits");
        switch(&graph, json!({ "mode": "TWO_WAY" })).await;
        let taken = claim(graph.app.store()).await.expect("it is due");
        assert!(!taken.outcome_unknown, "nothing was sent before");
        graph.app.effect_sending(&taken).await.expect("it may begin");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_from_another_mode_than_the_asker_thinks_is_refused_and_so_is_who_may_not() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let refused = switch(&graph, json!({ "mode": "PULL", "expectedMode": "OBSERVE" })).await;
        assert_eq!((&refused["codes"], &refused["switch"]), (&json!(["CONFLICT"]), &Json::Null));
        let long = "x".repeat(501);
        assert_eq!(switch(&graph, json!({ "mode": "PULL", "reason": long })).await["codes"], json!(["TOO_LONG"]));
        let nobody = json!({ "connectionId": graph.sold[0].sow, "mode": "PULL" });
        let refused = graph.decide(AuthContext::system(), "switchConnectionMode", "switch { done }", nobody).await;
        assert_eq!(refused["codes"], json!(["NOT_FOUND"]));
        let mut reader = AuthContext::system();
        reader.permissions.retain(|permission| *permission != Permission::IntegrationWrite);
        let query = "mutation($input: SwitchConnectionModeInput!) { switchConnectionMode(input: $input) \
                     { connection { mode } } }";
        let input = json!({ "input": { "connectionId": graph.billing, "mode": "PULL" } });
        assert_eq!(graph.run(reader, query, input).await["errors"][0]["extensions"]["code"], "FORBIDDEN");
        let input = json!({ "mode": "PULL", "idempotencyKey": "once" });
        assert_eq!(switch(&graph, input.clone()).await["switch"]["was"], "TWO_WAY");
        switch(&graph, json!({ "mode": "OBSERVE" })).await;
        let again = switch(&graph, input).await;
        assert_eq!((&again["switch"]["was"], &again["connection"]["mode"]), (&json!("TWO_WAY"), &json!("OBSERVE")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_hub_is_decided_by_a_system_that_is_only_observed() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let sold = &graph.sold[0];
        let say_by = async |connection, mode, remote_id: &str, claim: Claim, fields: Json| {
            let fields = serde_json::from_value(fields).expect("fields");
            let tx = graph.app.store().begin().await.expect("a transaction begins");
            let arms = if connection == graph.billing { &[Arm::Billing] } else { &[Arm::Crm] };
            let origin = Origin {
                connection,
                run: None,
                event: None,
                arms,
                mode,
                cause: Cause::Reading,
                mapping_version: "1.0.0",
            };
            let asked_at = tx.now();
            let seen = Observation {
                remote_id,
                remote_version: None,
                asked_at,
                exchange: None,
                known_version: KnownVersion::TakenAgain,
                claim: &claim,
                fields: &fields,
                raw: "{}",
            };
            graph.app.ingest(&tx, origin, seen).await.expect("it is taken in");
            tx.commit().await.expect("it commits");
        };
        let say = async |mode, remote_id: &str, claim: Claim, fields: Json| {
            say_by(graph.billing, mode, remote_id, claim, fields).await;
        };
        let paid = || {
            Claim::Invoice(InvoiceClaim {
                invoice: Some(sold.invoice),
                native_status: Some("paid".to_owned()),
                status: Some(InvoiceStatus::Paid),
                total: Some(usd(100_000)),
                ..InvoiceClaim::default()
            })
        };
        let paid_fields = json!({ "native_status": { "v": "paid", "p": "status" } });
        let shown = async || {
            let query = "query($id: ID!) { invoice(id: $id) { status milestone { billing } } }";
            graph.data(AuthContext::system(), query, json!({ "id": sold.invoice })).await["invoice"].clone()
        };
        say(ConnectionMode::Observe, "in_1", paid(), paid_fields.clone()).await;
        assert_eq!(shown().await, json!({ "status": "PAID", "milestone": { "billing": "INVOICED" } }));
        database.clock.advance(1);
        say(ConnectionMode::Pull, "in_1", paid(), paid_fields).await;
        assert_eq!(shown().await, json!({ "status": "PAID", "milestone": { "billing": "PAID" } }));
        let milestones = milestones_by_ids(graph.app.store(), &RowScope::All, &[sold.milestone]).await.expect("read");
        assert_eq!(milestones[0].version, 2, "it followed once");

        // An account that another system knows as well keeps what that one says.
        let ours = graph.accounts[0].id;
        let named = |name: &str| {
            Claim::Account(AccountClaim { account: Some(ours), name: Some(name.to_owned()), ..AccountClaim::default() })
        };
        let name = |name: &str| json!({ "name": { "v": name, "p": "name" } });
        let [other, crm] = [connection(graph.app.store(), "other").await, connection(graph.app.store(), "crm").await];
        let tx = graph.app.store().begin().await.expect("a transaction begins");
        let known = crosstie_store::integration::Identity {
            connection_id: other,
            entity: crosstie_domain::integration::Entity::Account,
            remote_id: "c1".to_owned(),
            record_id: ours.to_string(),
            state: crosstie_domain::integration::LinkState::Linked,
            remote_version: None,
            last_seen_at: tx.now(),
        };
        tx.save_identity(&known).await.expect("linked");
        let mut record = connections_by_ids(&tx, &RowScope::All, &[crm]).await.expect("read").remove(0);
        record.arms = vec![Arm::Crm];
        tx.save_connection(&record).await.expect("saved");
        tx.commit().await.expect("it commits");
        let shown = async || {
            let query = "query($id: ID!) { account(id: $id) { name } }";
            graph.data(AuthContext::system(), query, json!({ "id": ours })).await["account"]["name"].clone()
        };
        say_by(crm, ConnectionMode::Observe, "cus_1", named("OURS Ltd"), name("OURS Ltd")).await;
        assert_eq!(shown().await, "Ours");
        database.clock.advance(1);
        say_by(crm, ConnectionMode::Pull, "cus_1", named("OURS Ltd"), name("OURS Ltd")).await;
        assert_eq!(shown().await, "OURS Ltd", "what it says counts from now on, also what it said before");

        switch(&graph, json!({ "mode": "OBSERVE" })).await;
        let drafted = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
        assert_eq!((&drafted["sow"], &drafted["codes"]), (&Json::Null, &json!(["INVALID"])));
        switch(&graph, json!({ "mode": "PULL" })).await;
        order(&graph).await;
    })
    .await;
}

/// A stand-in for Stripe that answers at once.
async fn stripe() -> HostedVendor<StripeFake> {
    let now = || crosstie_domain::Clock::now(&crosstie_app::SystemClock::default());
    HostedVendor::start(StripeFake::new(None, Secret::new("whsec_test"), 1), now, |_| Duration::ZERO).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_of_the_configuration_is_the_first_one_and_later_it_is_what_it_was_switched_to() {
    on_each_database(async |database: &Database| {
        let stripe = stripe().await;
        let mut configured = stripe.connection("stripe", "whsec_test");
        configured.mode = ConnectionMode::Observe;
        let start = async || RunningHub::start(database, vec![configured.clone()]).await;
        let connections = "{ connections(first: 1) { nodes { id mode } } }";
        let hub = start().await;
        let found = hub.ask(connections).await["connections"]["nodes"][0].clone();
        assert_eq!(found["mode"], "OBSERVE");
        let id = found["id"].as_str().expect("an id");
        let switch = format!(
            "mutation {{ switchConnectionMode(input: {{ connectionId: \"{id}\", mode: PULL }}) {{ switch {{ done }} \
             userErrors {{ code }} }} }}"
        );
        assert_eq!(hub.ask(&switch).await["switchConnectionMode"]["switch"]["done"], true);
        hub.stop().await;
        let hub = start().await;
        assert_eq!(hub.ask(connections).await["connections"]["nodes"][0]["mode"], "PULL");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_is_switched_on_the_command_line() {
    let stripe = stripe().await;
    let config = format!(
        "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"books\"\n\
         connector = \"stripe\"\nmode = \"observe\"\nbase_url = \"{}\"\ntoken = \"test-key\"\n\
         webhook_secrets = [\"whsec_test\"]\n",
        stripe.url
    );
    let Some(binary) = Binary::find("the command line", &config) else { return };
    binary.done(&["migrate"]).await;
    let said = binary.done(&["connection", "mode", "books", "two-way", "--dry-run"]).await;
    let expected = "books: was observe, would be two-way; 0 effect(s) wait\n  a switch to two-way would: send 0, push 0, \
                    follow 0, hold as a conflict 0, leave 0";
    assert_eq!(said, expected);
    let said = binary.done(&["connection", "mode", "books", "two-way", "--reason", "compared"]).await;
    assert_eq!(said, "books: was observe, is two-way; 0 effect(s) wait");
    assert!(binary.done(&["connection", "list"]).await.contains("  two-way  arms billing"));
    assert!(binary.refused(&["connection", "mode", "books", "one-way"]).await.contains("observe, pull, two-way"));
    binary.refused(&["connection", "mode", "nobody", "pull"]).await;
    binary.write("wrong.toml", &config.replace("\"observe\"", "\"watch\""));
    assert!(binary.refused(&["connection", "list", "--config", "wrong.toml"]).await.contains("mode"));
}
