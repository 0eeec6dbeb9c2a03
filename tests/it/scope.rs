//! What a person who is limited to one account sees, hears and may do.

use crosstie_app::access::NewToken;
use crosstie_domain::access::{AuthContext, Role, RowScope};
use crosstie_store::{
    billing::{invoices_by_ids, service_orders_by_ids},
    contracts::sows_by_ids,
    delivery::milestones_by_ids,
};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use crate::support::{Graph, envelope, graph, on_each_database};

/// An administrator of our account alone.
async fn ann(graph: &Graph) -> AuthContext {
    let scope = RowScope::Accounts(vec![graph.accounts[0].id]);
    let person = graph.app.save_person("Ann", "ann@example.com", vec![Role::Admin], scope).await;
    let email = Some(person.expect("saved").email);
    let (label, roles, permissions) = ("ann".to_owned(), vec![], vec![]);
    let input = NewToken { label, person_email: email, roles, permissions, expires_at: None };
    let (_, token) = graph.app.create_token(input).await.expect("a token is made");
    graph.app.authenticate(&token).await.expect("it can be looked up").expect("it is good")
}

/// Makes every link of our records that an edge follows lead to theirs, and theirs to ours.
async fn cross(graph: &Graph) {
    let all = &RowScope::All;
    let [ours, theirs] = &graph.sold;
    let store = graph.app.store();
    let spare = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(theirs)).await;
    let spare = spare["sow"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let tx = store.begin().await.expect("a transaction begins");
    for (here, there) in [(ours, theirs), (theirs, ours)] {
        let mut sow = sows_by_ids(&tx, all, &[here.sow]).await.expect("read").remove(0);
        (sow.opportunity_id, sow.version) = (there.opportunity, 2);
        tx.save_sow(&sow).await.expect("saved");
        let mut milestone = milestones_by_ids(&tx, all, &[here.milestone]).await.expect("read").remove(0);
        (milestone.sow_id, milestone.position, milestone.version) = (there.sow, 2, 2);
        tx.save_milestone(&milestone).await.expect("saved");
        let mut invoice = invoices_by_ids(&tx, all, &[here.invoice]).await.expect("read").remove(0);
        (invoice.service_order_id, invoice.milestone_id) = (Some(there.order), Some(there.milestone));
        (invoice.billing_round, invoice.version) = (2, 2);
        tx.save_invoice(&invoice).await.expect("saved");
    }
    // A statement of work has one order, so one of the two steps aside.
    for (order, sow, version) in [(theirs.order, spare, 2), (ours.order, theirs.sow, 2), (theirs.order, ours.sow, 3)] {
        let mut order = service_orders_by_ids(&tx, all, &[order]).await.expect("read").remove(0);
        (order.sow_id, order.version) = (sow, version);
        tx.save_service_order(&order).await.expect("saved");
    }
    tx.commit().await.expect("it commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_their_counts_show_the_account_alone() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let ann = ann(&graph).await;
        for (list, node_type) in [
            ("accounts", "Account"),
            ("opportunities", "Opportunity"),
            ("sows", "Sow"),
            ("serviceOrders", "ServiceOrder"),
            ("invoices", "Invoice"),
        ] {
            let query = format!("{{ {list}(first: 100) {{ totalCount nodes {{ id }} edges {{ node {{ id }} }} }} }}");
            let data = graph.data(ann.clone(), &query, json!({})).await;
            let own = json!({ "id": graph.id_of(node_type) });
            assert_eq!(data[list], json!({ "totalCount": 1, "nodes": [own], "edges": [{ "node": own }] }), "{list}");
            let all = graph.data(AuthContext::system(), &query, json!({})).await;
            assert_eq!(all[list]["totalCount"], 2, "{list}: {all}");
            assert_eq!(all[list]["nodes"].as_array().map(Vec::len), Some(2), "{list}: {all}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_of_other_accounts_find_nothing() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let ann = ann(&graph).await;
        let theirs = &graph.sold[1];
        let fields = [
            ("account", graph.accounts[1].id.to_string()),
            ("opportunity", theirs.opportunity.to_string()),
            ("sow", theirs.sow.to_string()),
            ("serviceOrder", theirs.order.to_string()),
            ("invoice", theirs.invoice.to_string()),
        ];
        for (field, id) in &fields {
            let query = format!("query($id: ID!) {{ {field}(id: $id) {{ id }} }}");
            let hidden = graph.data(ann.clone(), &query, json!({ "id": id })).await;
            assert_eq!(hidden, json!({ *field: null }), "as if there were none");
            let shown = graph.data(AuthContext::system(), &query, json!({ "id": id })).await;
            assert_eq!(shown, json!({ *field: { "id": id } }));
        }
        let mut ids: Vec<String> = fields.into_iter().map(|(_, id)| id).collect();
        ids.push(theirs.milestone.to_string());
        let query = "query($ids: [ID!]!, $id: ID!) { nodes(ids: $ids) { id } node(id: $id) { id } }";
        for id in &ids {
            let variables = json!({ "ids": ids, "id": id });
            let hidden = graph.data(ann.clone(), query, variables.clone()).await;
            assert_eq!(hidden, json!({ "nodes": vec![Json::Null; ids.len()], "node": null }), "{id}");
            let shown = graph.data(AuthContext::system(), query, variables).await;
            assert_eq!(shown["node"], json!({ "id": id }));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_do_not_lead_over_the_border_of_the_account() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let ann = ann(&graph).await;
        cross(&graph).await;
        let [ours, theirs] = &graph.sold;
        let query = "query($opportunity: ID!, $sow: ID!, $milestone: ID!, $order: ID!, $invoice: ID!) {
            opportunity(id: $opportunity) { sows(first: 10) { nodes { id } } }
            sow(id: $sow) { opportunity { id } milestones { id } serviceOrder { id } }
            node(id: $milestone) { ... on Milestone { sow { id } invoices { id } } }
            serviceOrder(id: $order) { sow { id } invoices(first: 10) { nodes { id } } }
            invoice(id: $invoice) { serviceOrder { id } milestone { id } }
        }";
        let variables = json!({
            "opportunity": ours.opportunity, "sow": ours.sow, "milestone": ours.milestone, "order": ours.order,
            "invoice": ours.invoice,
        });
        let expected = |one: &dyn Fn(&str) -> Json, many: &dyn Fn(&str) -> Json| {
            let (opportunity, sow, order) =
                (theirs.opportunity.to_string(), theirs.sow.to_string(), theirs.order.to_string());
            let (milestone, invoice) = (theirs.milestone.to_string(), theirs.invoice.to_string());
            json!({
                "opportunity": { "sows": { "nodes": many(&sow) } },
                "sow": { "opportunity": one(&opportunity), "milestones": many(&milestone), "serviceOrder": one(&order) },
                "node": { "sow": one(&sow), "invoices": many(&invoice) },
                "serviceOrder": { "sow": one(&sow), "invoices": { "nodes": many(&invoice) } },
                "invoice": { "serviceOrder": one(&order), "milestone": one(&milestone) },
            })
        };
        let data = graph.data(AuthContext::system(), query, variables.clone()).await;
        assert_eq!(data, expected(&|id| json!({ "id": id }), &|id| json!([{ "id": id }])), "the edges are there");
        let data = graph.data(ann, query, variables).await;
        assert_eq!(data, expected(&|_| Json::Null, &|_| json!([])));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_about_records_of_other_accounts_are_refused_as_if_there_were_none() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let ann = ann(&graph).await;
        let system = AuthContext::system;
        let snapshot = async || {
            let query = "{ sows(first: 100) { totalCount nodes { id status version milestones { id acceptance version } \
                         serviceOrder { id } } } }";
            graph.data(system(), query, json!({})).await
        };
        // Whether somebody else may do the same is tried afterwards, so nothing but the border is in the way.
        let refused = async |mutation: &str, selection: &str, input: &Json| {
            graph.place_changes().await;
            let before = snapshot().await;
            let payload = graph.decide(ann.clone(), mutation, selection, input.clone()).await;
            assert_eq!(payload["codes"], json!(["NOT_FOUND"]), "{mutation}: {payload}");
            assert_eq!((snapshot().await, graph.place_changes().await), (before, 0), "{mutation} changed something");
            let payload = graph.decide(system(), mutation, selection, input.clone()).await;
            assert_eq!(payload["codes"], json!([]), "{mutation}: {payload}");
            payload
        };
        let made = refused("createSow", "sow { id milestones { id } }", &graph.draft(&graph.sold[1])).await;
        refused("signSow", "sow { id }", &json!({ "sowId": made["sow"]["id"] })).await;
        let input = json!({ "milestoneId": made["sow"]["milestones"][0]["id"] });
        refused("acceptMilestone", "milestone { id }", &input).await;

        let made = graph.decide(ann.clone(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
        assert_eq!(made["codes"], json!([]), "her own she may draft: {made}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_other_accounts_are_not_heard() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let ann = ann(&graph).await;
        let [ours, theirs] = &graph.sold;
        let draft = async |sold| {
            let made = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(sold)).await;
            graph.place_changes().await;
            made["sow"]["id"].clone()
        };
        let query = "subscription { entityChanged(types: [SOW], after: \"0\") { eventId recordId node { id } } }";
        let (hidden, heard) = (draft(theirs).await, draft(ours).await);
        let subscribed =
            async |auth| graph.gateway.subscribe(envelope(query, json!({})), auth).await.expect("a stream");
        let (mut hers, mut all) = (subscribed(ann).await, subscribed(AuthContext::system()).await);
        // Only reading ahead would show whether something was left out; so what comes next is known each time.
        let expect = async |results: &mut (dyn futures::Stream<Item = _> + Send + Unpin), place: &str, id: &Json| {
            let result: crosstie_graphql::gateway::Streamed = results.next().await.expect("a result");
            let result: Json = serde_json::from_str(&result.text).expect("the result is JSON");
            let change = json!({ "eventId": place, "recordId": id, "node": { "id": id } });
            assert_eq!(result, json!({ "data": { "entityChanged": change } }));
        };
        expect(&mut all, "3", &hidden).await;
        expect(&mut all, "4", &heard).await;
        expect(&mut hers, "4", &heard).await;
        let (hidden, heard) = (draft(theirs).await, draft(ours).await);
        expect(&mut all, "5", &hidden).await;
        expect(&mut hers, "6", &heard).await;
    })
    .await;
}
