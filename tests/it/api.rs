//! The API by its checked-in operations and over HTTP: what it answers, what happens once, and what it costs.

use crosstie_app::App;
use crosstie_domain::{
    access::AuthContext,
    integration::{
        Entity, LinkState,
        adoption::{DocumentState, RemoteDocument},
    },
};
use crosstie_sdk::Method;
use crosstie_store::integration::Identity;
use serde_json::{Value as Json, json};

use crate::support::{Graph, RunningHub, account, codes, envelope, graph, on_each_database, operations, sell, usd};

/// What drafts a statement of work, with all that tells one draft from another.
const CREATE: &str = "mutation($input: CreateSowInput!) { createSow(input: $input) { \
                      sow { id version createdAt milestones { id } } userErrors { code message } } }";

/// Lets billing hold an order of ours over ten dollars that it was not sent.
async fn hold_at_billing(graph: &Graph, title: &str) {
    let tx = graph.app.store().begin().await.expect("a transaction begins");
    let document = RemoteDocument {
        id: tx.new_id(),
        connection_id: graph.billing,
        entity: Entity::ServiceOrder,
        remote_id: "prod_held".to_owned(),
        customer: Some("cus_held".to_owned()),
        hub_id: None,
        number: None,
        reference: None,
        title: Some(title.to_owned()),
        state: DocumentState::Issued,
        amount: Some(usd(1_000)),
        dated_on: None,
    };
    tx.save_documents(&[&document]).await.expect("the document is saved");
    let account = graph.accounts[0].id.to_string();
    for (entity, remote_id, record_id) in
        [(Entity::ServiceOrder, "prod_held", document.id.to_string()), (Entity::Account, "cus_held", account)]
    {
        let link = Identity {
            connection_id: graph.billing,
            entity,
            remote_id: remote_id.to_owned(),
            record_id,
            state: LinkState::Linked,
            remote_version: None,
            last_seen_at: tx.now(),
        };
        tx.save_identity(&link).await.expect("the link is saved");
    }
    tx.commit().await.expect("it commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_checked_in_documents_run_without_errors() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let mut documents = operations();
        let mut take = |name: &str| documents.remove(name).unwrap_or_else(|| panic!("{name} has a document"));
        let (create, sign, accept) = (take("createSow"), take("signSow"), take("acceptMilestone"));
        let changed = take("entityChanged");
        let auth = AuthContext::system;

        let made = graph.data(auth(), &create, graph.variables("createSow").expect("variables")).await;
        let made = &made["createSow"];
        assert_eq!(made["userErrors"], json!([]));
        let signed = graph.data(auth(), &sign, json!({ "input": { "sowId": made["sow"]["id"] } })).await;
        assert_eq!(signed["signSow"]["userErrors"], json!([]));
        assert_eq!(signed["signSow"]["sow"]["serviceOrder"]["status"], "PENDING");
        let input = json!({ "input": { "milestoneId": made["sow"]["milestones"][0]["id"] } });
        let accepted = graph.data(auth(), &accept, input).await;
        assert_eq!(accepted["acceptMilestone"]["userErrors"], json!([]));
        assert_eq!(accepted["acceptMilestone"]["milestone"]["acceptance"], "ACCEPTED");

        graph.place_changes().await;
        let first = graph.first(auth(), &changed, graph.variables("entityChanged").expect("variables")).await;
        assert!(first["errors"].is_null(), "{first}");
        assert_eq!(first["data"]["entityChanged"]["eventId"], "1");

        hold_at_billing(&graph, "More").await;
        for (name, document) in &documents {
            let variables = graph.variables(name).unwrap_or_else(|| panic!("{name} has no variables here"));
            let data = graph.data(auth(), document, variables).await;
            assert!(!data[name].is_null(), "{name} found something: {data}");
            if let Some(nodes) = data[name].get("nodes") {
                assert!(nodes.as_array().is_some_and(|nodes| !nodes.is_empty()), "{name}: {data}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_answer_and_with_another_input_none() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let document = operations().remove("createSow").expect("it has a document");
        let mut variables = graph.variables("createSow").expect("variables");
        variables["input"]["idempotencyKey"] = json!("k-1");
        let run =
            async |auth, variables: &Json| graph.data(auth, &document, variables.clone()).await["createSow"].clone();
        let first = run(AuthContext::system(), &variables).await;
        assert_eq!(first["userErrors"], json!([]));
        assert_eq!(run(AuthContext::system(), &variables).await, first);

        let mut other = variables.clone();
        other["input"]["title"] = json!("Something else");
        let refused = run(AuthContext::system(), &other).await;
        assert_eq!(refused["userErrors"][0]["code"], "IDEMPOTENCY_KEY_REUSED");
        assert!(refused["sow"].is_null());

        database.clock.advance(24 * 3_600_000 + 1);
        let later = run(AuthContext::system(), &variables).await;
        assert_ne!(later["sow"]["id"], first["sow"]["id"], "keys are kept for a day");
    })
    .await;
}

/// A hub with a small organization in it.
async fn hub(database: &crate::support::Database) -> (RunningHub, Graph) {
    let hub = RunningHub::start(database, vec![]).await;
    let graph = Graph::over(hub.hub.app.clone()).await;
    (hub, graph)
}

/// Posts a document with headers of its own; the status and the answer.
async fn post(hub: &RunningHub, headers: &[(&str, &str)], query: &str, variables: &Json) -> (u16, Json) {
    let token = format!("Bearer {}", hub.token);
    let always = [
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/graphql-response+json"),
    ];
    let headers: Vec<_> = always.iter().chain(headers).copied().collect();
    let body = json!({ "query": query, "variables": variables }).to_string();
    let answer = hub.send(Method::Post, "/graphql", &headers, body).await;
    (answer.status, serde_json::from_slice(&answer.body).expect("the answer is JSON"))
}

/// How many statements of work there are.
async fn count(graph: &Graph) -> i64 {
    let data = graph.data(AuthContext::system(), "{ sows(first: 1) { totalCount } }", json!({})).await;
    data["sows"]["totalCount"].as_i64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_header_is_the_key_of_the_one_mutation_in_the_document() {
    on_each_database(async |database| {
        let (hub, graph) = hub(database).await;
        let key = [("idempotency-key", "header-1")];
        let variables = json!({ "input": graph.draft(&graph.sold[0]) });
        let (_, first) = post(&hub, &key, CREATE, &variables).await;
        assert!(first["data"]["createSow"]["sow"]["id"].is_string(), "{first}");
        assert_eq!(post(&hub, &key, CREATE, &variables).await, (200, first.clone()), "the same answer");
        let mut named = variables.clone();
        named["input"]["idempotencyKey"] = json!("header-1");
        assert_eq!(post(&hub, &[], CREATE, &named).await, (200, first.clone()), "it is the key of the input");
        named["input"]["idempotencyKey"] = json!("its own");
        let (_, other) = post(&hub, &key, CREATE, &named).await;
        assert_ne!(
            other["data"]["createSow"]["sow"]["id"], first["data"]["createSow"]["sow"]["id"],
            "the input's wins"
        );

        let before = count(&graph).await;
        let two = "mutation($input: CreateSowInput!) { a: createSow(input: $input) { sow { id } } \
                   b: createSow(input: $input) { sow { id } } }";
        let (status, refused) = post(&hub, &[("idempotency-key", "header-2")], two, &variables).await;
        assert_eq!((status, codes(&refused).into_iter().collect()), (400, vec!["BAD_REQUEST".to_owned()]), "{refused}");
        assert!(refused.get("data").is_none(), "{refused}");
        assert_eq!(count(&graph).await, before);
        let (status, made) = post(&hub, &[], two, &variables).await;
        assert_eq!(status, 200, "without the header both are done: {made}");
        assert_eq!(count(&graph).await, before + 2);
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_equal_requests_at_once_in_two_processes_one_is_done_and_all_hear_of_it() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let other = crosstie_graphql::gateway(App::new(database.open().await));
        for round in 0..5 {
            let before = count(&graph).await;
            let mut input = graph.draft(&graph.sold[0]);
            input["idempotencyKey"] = json!(format!("raced-{round}"));
            let requests = (0..8).map(|number| {
                let gateway = if number % 2 == 0 { graph.gateway.clone() } else { other.clone() };
                let request = envelope(CREATE, json!({ "input": input }));
                tokio::spawn(async move { gateway.execute(request, AuthContext::system()).await })
            });
            let answers = futures::future::join_all(requests.collect::<Vec<_>>()).await;
            let answers: Vec<Json> = answers
                .into_iter()
                .map(|answer| serde_json::from_slice(&answer.expect("it ends").body).expect("the answer is JSON"))
                .collect();
            assert!(answers[0]["data"]["createSow"]["sow"]["id"].is_string(), "{}", answers[0]);
            for answer in &answers {
                assert_eq!(answer, &answers[0], "round {round}");
            }
            assert_eq!(count(&graph).await, before + 1, "round {round}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_says_at_which_version_the_record_stands() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let made = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
        let sign = "mutation($input: SignSowInput!) { signSow(input: $input) { sow { version } \
                    userErrors { code field currentVersion } } }";
        let accept = "mutation($input: AcceptMilestoneInput!) { acceptMilestone(input: $input) { \
                      milestone { version } userErrors { code field currentVersion } } }";
        let stale =
            |at: i32| json!([{ "code": "CONFLICT", "field": ["input", "expectedVersion"], "currentVersion": at }]);
        let run =
            async |query: &str, input: Json| graph.data(AuthContext::system(), query, json!({ "input": input })).await;
        let sow = made["sow"]["id"].clone();
        let data = run(sign, json!({ "sowId": sow, "expectedVersion": 7 })).await;
        assert_eq!(data["signSow"], json!({ "sow": null, "userErrors": stale(1) }));
        let data = run(sign, json!({ "sowId": sow, "expectedVersion": 1 })).await;
        assert_eq!(data["signSow"], json!({ "sow": { "version": 2 }, "userErrors": [] }));
        let data = run(sign, json!({ "sowId": sow, "expectedVersion": 1 })).await;
        assert_eq!(data["signSow"]["userErrors"], stale(2), "the version is looked at before the lifecycle");
        let input = json!({ "milestoneId": graph.sold[0].milestone, "expectedVersion": 9 });
        assert_eq!(run(accept, input).await["acceptMilestone"]["userErrors"], stale(1));
        let data = run(sign, json!({ "sowId": sow })).await;
        let error = &data["signSow"]["userErrors"][0];
        assert_eq!((&error["code"], &error["currentVersion"]), (&json!("INVALID_TRANSITION"), &Json::Null));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_scalar_does_not_take_refuses_the_whole_request_before_anything_happened() {
    on_each_database(async |database| {
        let (hub, graph) = hub(database).await;
        let made = graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
        let (draft, sow) = (graph.draft(&graph.sold[0]), made["sow"]["id"].clone());
        let two = "mutation($a: CreateSowInput!, $b: SignSowInput!) { createSow(input: $a) { sow { id } } \
                   signSow(input: $b) { sow { id } } }";
        let before = count(&graph).await;
        let with = |part: &str, value: Json| {
            let mut draft = draft.clone();
            *draft.pointer_mut(part).expect("it is in the input") = value;
            json!({ "a": draft, "b": { "sowId": sow } })
        };
        let attempts = [
            json!({ "a": draft, "b": { "sowId": sow, "signedOn": "2026-02-30" } }),
            json!({ "a": draft, "b": { "sowId": sow, "signedOn": 20_260_228 } }),
            with("/total/amount", json!(10)),
            with("/total/currency", json!("ZZZ")),
        ];
        for variables in &attempts {
            let (status, answer) = post(&hub, &[], two, variables).await;
            assert_eq!((status, answer.get("data")), (400, None), "{variables}: {answer}");
            assert_eq!(count(&graph).await, before, "{variables}: {answer}");
        }
        let written = format!(
            "mutation($a: CreateSowInput!) {{ createSow(input: $a) {{ sow {{ id }} }} \
             signSow(input: {{ sowId: {sow}, signedOn: \"2026-02-30\" }}) {{ sow {{ id }} }} }}"
        );
        let (status, answer) = post(&hub, &[], &written, &json!({ "a": draft })).await;
        assert_eq!((status, answer.get("data")), (400, None), "{answer}");
        assert_eq!(count(&graph).await, before, "{answer}");
        let good = json!({ "a": draft, "b": { "sowId": sow, "signedOn": "2026-02-28" } });
        let (status, answer) = post(&hub, &[], two, &good).await;
        assert_eq!((status, &answer["data"]["signSow"]["sow"]["id"]), (200, &sow), "{answer}");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_its_scalar_does_not_take_is_told_from_a_document_that_does_not_fit_the_schema() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let query = "query($at: DateTime, $on: Date) { accounts(filter: { updatedAt: { gte: $at } }) { totalCount } \
                     invoices(filter: { dueOn: { lt: $on } }) { totalCount } }";
        graph.data(AuthContext::system(), query, json!({ "at": "2026-11-23T10:00:00Z", "on": "2026-11-23" })).await;
        for variables in [json!({ "at": "today" }), json!({ "on": "2026-02-30" })] {
            let answer = graph.run(AuthContext::system(), query, variables).await;
            assert_eq!(codes(&answer).into_iter().collect::<Vec<_>>(), ["BAD_USER_INPUT"], "{answer}");
        }
        let answer = graph.run(AuthContext::system(), "{ accounts { nothing } }", json!({})).await;
        assert_eq!(codes(&answer).into_iter().collect::<Vec<_>>(), ["GRAPHQL_VALIDATION_FAILED"], "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_too_many_nodes_is_refused_and_says_which_limit_it_passed() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        // With the one that was sold there are 37, and 37³ is over 50,000.
        for _ in 0..36 {
            graph.decide(AuthContext::system(), "createSow", "sow { id }", graph.draft(&graph.sold[0])).await;
        }
        let mut selection = "id".to_owned();
        let mut answers = Vec::new();
        for _ in 0..3 {
            selection = format!("sows(first: 40) {{ nodes {{ opportunity {{ {selection} }} }} }}");
            let query = format!("query($id: ID!) {{ opportunity(id: $id) {{ {selection} }} }}");
            answers.push(graph.run(AuthContext::system(), &query, json!({ "id": graph.sold[0].opportunity })).await);
        }
        let [few, more, refused] = &answers[..] else { panic!("three answers") };
        assert!(few["errors"].is_null() && more["errors"].is_null(), "{} {}", few["errors"], more["errors"]);
        assert_eq!((items(few), items(more)), (37, 37 + 37 * 37));
        let errors = refused["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 1, "one limit, one error: {errors:?}");
        let extensions = &errors[0]["extensions"];
        assert_eq!(
            (&extensions["code"], &extensions["rule"], &extensions["limit"]),
            (&json!("QUERY_TOO_COMPLEX"), &json!("nodes"), &json!(50_000))
        );
        let sent = items(&refused["data"]);
        assert!(sent <= 50_000, "{sent} nodes were sent");
    })
    .await;
}

/// How many items the lists of an answer have.
fn items(answer: &Json) -> usize {
    match answer {
        Json::Array(list) => list.len() + list.iter().map(items).sum::<usize>(),
        Json::Object(fields) => fields.values().map(items).sum(),
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_takes_the_same_number_of_statements_whatever_its_rows() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let query = "query($first: Int!) { opportunities(first: $first) { nodes { name account { name } \
                     sows(first: 5) { nodes { title milestones { name invoices { number } } \
                     serviceOrder { status invoices(first: 5) { nodes { number } } } } } } } }";
        let store = graph.app.store();
        let cost = async |first: usize| {
            let before = store.statements();
            let data = graph.data(AuthContext::system(), query, json!({ "first": first })).await;
            let nodes = data["opportunities"]["nodes"].as_array().expect("nodes").clone();
            assert_eq!(nodes.len(), first);
            for node in &nodes {
                let sow = &node["sows"]["nodes"][0];
                assert!(sow["milestones"][0]["invoices"][0]["number"].is_string(), "{node}");
                assert!(sow["serviceOrder"]["invoices"]["nodes"][0]["number"].is_string(), "{node}");
            }
            store.statements() - before
        };
        let few = cost(2).await;
        for number in 0..48 {
            let owner = account(store, &format!("A{number}")).await;
            sell(store, &owner, graph.billing, &format!("s{number}")).await;
        }
        assert_eq!(cost(50).await, few);
        assert!(few <= 7, "one statement for each level: {few}");
    })
    .await;
}
