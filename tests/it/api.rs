//! The API by its checked-in operations: who gets in, what each may see, and what it costs.

use std::{collections::BTreeMap, path::Path};

use crosstie_app::{App, access::NewToken};
use crosstie_domain::{
    access::{AuthContext, Permission, Role, RowScope},
    ids::ConnectionId,
    integration::{Entity, RunStatus, RunTrigger, SyncRunRecord},
    pipeline::AccountRecord,
};
use crosstie_graphql::gateway::{Envelope, Gateway, Verb};
use crosstie_sdk::Method;
use crosstie_store::{
    Store,
    contracts::sows_by_ids,
    integration::{ArrivedDelivery, ArrivedEvent, InboxWriter},
};
use futures::StreamExt;
use serde_json::{Map, Value as Json, json};

use crate::support::{Database, RunningHub, Sold, account, connection, header, on_each_database, sell};

/// The graph over a small organization: what is ours and what is theirs.
struct Graph {
    app: App,
    gateway: Gateway,
    billing: ConnectionId,
    accounts: [AccountRecord; 2],
    sold: [Sold; 2],
    run: String,
    event: String,
}

async fn graph(database: &Database) -> Graph {
    let app = App::new(database.open().await);
    let store = app.store();
    let billing = connection(store, "stripe").await;
    let accounts = [account(store, "Ours").await, account(store, "Theirs").await];
    let sold = [sell(store, &accounts[0], billing, "ours").await, sell(store, &accounts[1], billing, "theirs").await];
    let run = save_run(store, billing).await;
    let event = save_event(store, billing).await;
    let gateway = crosstie_graphql::gateway(app.clone());
    Graph { app, gateway, billing, accounts, sold, run, event }
}

async fn save_run(store: &Store, connection_id: ConnectionId) -> String {
    let tx = store.begin().await.expect("a transaction begins");
    let run = SyncRunRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        trigger: RunTrigger::Schedule,
        status: RunStatus::Succeeded,
        pages: 1,
        rows_read: 1,
        rows_changed: 1,
        rows_parked: 0,
        error_code: None,
        error_message: None,
        attempt: 1,
        next_attempt_at: None,
        started_at: tx.now(),
        finished_at: Some(tx.now()),
    };
    tx.save_run(&run).await.expect("the run is saved");
    tx.commit().await.expect("it commits");
    run.id.to_string()
}

async fn save_event(store: &Store, connection_id: ConnectionId) -> String {
    let event = ArrivedEvent {
        dedupe_key: "evt_1".to_owned(),
        event_type: "invoice.paid".to_owned(),
        target: Some((Entity::Invoice, "in_ours".to_owned())),
        occurred_at: None,
        problem: None,
    };
    let (headers, body, mapping_version) = ("[]".to_owned(), b"{}".to_vec(), "1.0.0".to_owned());
    let delivery = ArrivedDelivery { connection_id, headers, body, events: vec![event], mapping_version };
    InboxWriter::start(store).accept(delivery).await.expect("accepted");
    store.claim_event(1).await.expect("it can be claimed").expect("it is there").id.to_string()
}

/// The checked-in documents by the root field that each is named after.
fn operations() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphql/operations");
    let folders = std::fs::read_dir(root).expect("the folder is there").map(|entry| entry.expect("a folder").path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).expect("a folder")).map(|entry| {
        let path = entry.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        (name, std::fs::read_to_string(path).expect("it can be read"))
    });
    files.collect()
}

/// Root fields of the schema with the permission that each needs.
fn root_fields() -> BTreeMap<String, String> {
    let sdl = crosstie_graphql::sdl();
    let mut fields = BTreeMap::new();
    for root in ["Query", "Mutation", "Subscription"] {
        let begin = format!("\ntype {root} ");
        let (_, rest) = sdl.split_once(&begin).expect("the type is in the schema");
        let body = rest.split("\n}").next().expect("the type ends");
        let mut field = None;
        for line in body.lines() {
            let name =
                line.strip_prefix("  ").filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
            field = name.map(|line| line.split(['(', ':']).next().unwrap_or(line).to_owned()).or(field);
            if let Some((_, rest)) = line.split_once("@requires(permission: \"") {
                let permission = rest.split('"').next().expect("a permission");
                fields.insert(field.clone().expect("a field"), permission.to_owned());
            }
        }
    }
    fields
}

impl Graph {
    /// What a document is run with; `None` for one that nobody thought of here.
    fn variables(&self, operation: &str) -> Option<Json> {
        let sold = &self.sold[0];
        let usd = |amount: &str| json!({ "amount": amount, "currency": "USD" });
        Some(match operation {
            "account" => json!({ "id": self.accounts[0].id }),
            "opportunity" => json!({ "id": sold.opportunity }),
            "node" => json!({ "id": sold.sow }),
            "nodes" => json!({ "ids": [sold.sow, sold.opportunity] }),
            "sow" => json!({ "id": sold.sow }),
            "serviceOrder" => json!({ "id": sold.order }),
            "invoice" => json!({ "id": sold.invoice }),
            "connection" => json!({ "id": self.billing }),
            "syncRun" => json!({ "id": self.run }),
            "inboundEvent" => json!({ "id": self.event }),
            "accounts" | "opportunities" | "sows" | "serviceOrders" | "invoices" | "connections" | "syncRuns"
            | "inboundEvents" => json!({ "first": 10 }),
            "viewer" => json!({}),
            "entityChanged" => json!({ "after": "0" }),
            "createSow" => json!({ "input": {
                "opportunityId": sold.opportunity, "billingConnectionId": self.billing, "title": "More",
                "total": usd("10.00"), "milestones": [{ "name": "All", "amount": usd("10.00") }],
            } }),
            "signSow" => json!({ "input": { "sowId": sold.sow } }),
            "acceptMilestone" => json!({ "input": { "milestoneId": sold.milestone } }),
            _ => return None,
        })
    }

    async fn run(&self, auth: AuthContext, query: &str, variables: Json) -> Json {
        let outcome = self.gateway.execute(envelope(query, variables), auth).await;
        serde_json::from_slice(&outcome.body).expect("the answer is JSON")
    }

    /// Runs what must go well.
    async fn data(&self, auth: AuthContext, query: &str, variables: Json) -> Json {
        let answer = self.run(auth, query, variables).await;
        assert!(answer["errors"].is_null(), "{query}: {answer}");
        answer["data"].clone()
    }

    /// The first result of a subscription, or why it was refused.
    async fn first(&self, auth: AuthContext, query: &str, variables: Json) -> Json {
        let text = match self.gateway.subscribe(envelope(query, variables), auth).await {
            Ok(mut results) => results.next().await.expect("a result"),
            Err(outcome) => String::from_utf8(outcome.body).expect("text"),
        };
        serde_json::from_str(&text).expect("the result is JSON")
    }
}

fn envelope(query: &str, variables: Json) -> Envelope {
    let Json::Object(variables) = variables else { panic!("variables are an object") };
    let (extensions, operation_name, request_id) = (Map::new(), None, None);
    Envelope { query: query.to_owned(), operation_name, variables, extensions, verb: Verb::Post, request_id }
}

fn all_but(hidden: &[Permission]) -> AuthContext {
    let mut auth = AuthContext::system();
    auth.permissions.retain(|permission| !hidden.contains(permission));
    auth
}

fn viewer() -> AuthContext {
    let (roles, permissions) = (vec![Role::Viewer], Role::Viewer.permissions().to_vec());
    AuthContext { roles, permissions, ..AuthContext::system() }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_there_is_no_answer() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        let app = &hub.hub.app;
        let token = async |expires_at| {
            let (label, roles) = ("test".to_owned(), vec![Role::Admin]);
            let input = NewToken { label, person_email: None, roles, permissions: vec![], expires_at };
            app.create_token(input).await.expect("a token is made")
        };
        let (_, expired) = token(Some(app.store().now().plus_ms(-1))).await;
        let (id, revoked) = token(None).await;
        let query = "{ viewer { principal } }";
        assert_eq!(hub.ask_as(&revoked, query).await.status, 200, "it is good until it is revoked");
        let tx = app.store().begin().await.expect("a transaction begins");
        assert!(tx.revoke_token(id).await.expect("revoked"));
        tx.commit().await.expect("it commits");
        let mut wrong = hub.token.clone();
        let last = if wrong.pop() == Some('0') { '1' } else { '0' };
        wrong.push(last);

        let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
        let attempts = [
            ("MISSING", vec![]),
            ("MISSING", vec![("authorization", "Basic eDp5".to_owned())]),
            ("INVALID", bearer("x")),
            ("INVALID", bearer(&wrong)),
            ("INVALID", bearer(&revoked)),
            ("EXPIRED", bearer(&expired)),
        ];
        for (reason, headers) in attempts {
            let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            headers.push(("content-type", "application/json"));
            for (method, path) in
                [(Method::Post, "/graphql"), (Method::Get, "/graphql"), (Method::Get, "/schema.graphql")]
            {
                let answer = hub.send(method, path, &headers, json!({ "query": query }).to_string()).await;
                assert_eq!(answer.status, 401, "{reason} {path}");
                assert_eq!(header(&answer, "www-authenticate"), Some("Bearer realm=\"crosstie\""));
                let body: Json = serde_json::from_slice(&answer.body).expect("the answer is JSON");
                assert_eq!(body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
                assert_eq!(body["errors"][0]["extensions"]["reason"], reason);
                assert!(body["data"].is_null());
            }
        }
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_root_field_is_refused_without_its_permission() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let (documents, fields) = (operations(), root_fields());
        assert!(fields.len() >= 22, "the schema was read: {fields:?}");
        for (field, needed) in &fields {
            let document = documents.get(field).unwrap_or_else(|| panic!("{field} has no document"));
            let variables = graph.variables(field).unwrap_or_else(|| panic!("{field} has no variables here"));
            let hidden = match (needed.as_str(), Permission::parse(needed)) {
                (_, Some(permission)) => vec![permission],
                // Whoever has a token may ask who that is.
                ("authenticated", None) => continue,
                ("*:read", None) => Permission::ALL.map(|(permission, _)| permission).to_vec(),
                other => panic!("{field} needs {other:?}, which this test does not know"),
            };
            let auth = all_but(&hidden);
            let answer = match field.as_str() {
                "entityChanged" => graph.first(auth, document, variables).await,
                _ => graph.run(auth, document, variables).await,
            };
            assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{field}: {answer}");
            assert!(answer["data"][field].is_null(), "{field}: {answer}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_limited_to_one_account_sees_nothing_of_the_others() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let (ours, theirs) = (&graph.sold[0], &graph.sold[1]);
        // Their statement of work hangs below our opportunity, so that an edge leads over the border.
        let store = graph.app.store();
        let mut crossing = sows_by_ids(store, &RowScope::All, &[theirs.sow]).await.expect("read").remove(0);
        (crossing.opportunity_id, crossing.version) = (ours.opportunity, 2);
        let tx = store.begin().await.expect("a transaction begins");
        tx.save_sow(&crossing).await.expect("saved");
        tx.commit().await.expect("it commits");

        let scope = RowScope::Accounts(vec![graph.accounts[0].id]);
        let person = graph.app.save_person("Ann", "ann@example.com", vec![Role::Admin], scope).await;
        let email = Some(person.expect("saved").email);
        let (label, roles, permissions) = ("ann".to_owned(), vec![], vec![]);
        let input = NewToken { label, person_email: email, roles, permissions, expires_at: None };
        let (_, token) = graph.app.create_token(input).await.expect("a token is made");
        let auth = graph.app.authenticate(&token).await.expect("it can be looked up").expect("it is good");

        for list in ["accounts", "opportunities", "sows", "serviceOrders", "invoices"] {
            let query = format!("{{ {list}(first: 100) {{ totalCount nodes {{ id }} edges {{ node {{ id }} }} }} }}");
            let data = graph.data(auth.clone(), &query, json!({})).await;
            assert_eq!(data[list]["totalCount"], 1, "{list}: {data}");
            assert_eq!(data[list]["nodes"].as_array().map(Vec::len), Some(1), "{list}: {data}");
            let all = graph.data(AuthContext::system(), &query, json!({})).await;
            assert_eq!(all[list]["totalCount"], 2, "{list}: {all}");
        }
        let ids = [
            graph.accounts[1].id.to_string(),
            theirs.opportunity.to_string(),
            theirs.sow.to_string(),
            theirs.milestone.to_string(),
            theirs.order.to_string(),
            theirs.invoice.to_string(),
        ];
        let query = "query($ids: [ID!]!, $id: ID!) { nodes(ids: $ids) { id } node(id: $id) { id } }";
        for id in &ids {
            let data = graph.data(auth.clone(), query, json!({ "ids": ids, "id": id })).await;
            assert_eq!(data, json!({ "nodes": vec![Json::Null; ids.len()], "node": null }), "{id}");
        }
        let query = "query($id: ID!) { opportunity(id: $id) { sows(first: 10) { nodes { id } } } }";
        let variables = json!({ "id": ours.opportunity });
        let data = graph.data(auth, query, variables.clone()).await;
        assert_eq!(data["opportunity"]["sows"]["nodes"], json!([{ "id": ours.sow }]));
        let data = graph.data(AuthContext::system(), query, variables).await;
        assert_eq!(data["opportunity"]["sows"]["nodes"].as_array().map(Vec::len), Some(2), "the edge is there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_null_for_money_with_its_path_and_everything_beside_it() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let query = "query($id: ID!) { sow(id: $id) { title total { amount } status } \
                     sows(first: 2) { nodes { id total { amount } } } }";
        let variables = json!({ "id": graph.sold[0].sow });
        let answer = graph.run(viewer(), query, variables.clone()).await;
        assert_eq!(answer["data"]["sow"], json!({ "title": "ours", "total": null, "status": "ACTIVE" }));
        let nodes = answer["data"]["sows"]["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|node| node["id"].is_string() && node["total"].is_null()), "{answer}");
        let errors = answer["errors"].as_array().expect("errors");
        let codes: Vec<_> = errors.iter().map(|error| error["extensions"]["code"].clone()).collect();
        assert_eq!(codes, vec![json!("FORBIDDEN"); 3], "{answer}");
        let paths: Vec<_> = errors.iter().map(|error| error["path"].clone()).collect();
        for path in
            [json!(["sow", "total"]), json!(["sows", "nodes", 0, "total"]), json!(["sows", "nodes", 1, "total"])]
        {
            assert!(paths.contains(&path), "{path}: {answer}");
        }
        let shown = graph.data(AuthContext::system(), query, variables).await;
        assert_eq!(shown["sow"]["total"]["amount"], "1000.00");
    })
    .await;
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

        let store = graph.app.store();
        let lease = store.lease("relay", "test", 60_000).await.expect("asked").expect("taken");
        store.place_outbox(&lease, 100).await.expect("placed");
        let first = graph.first(auth(), &changed, graph.variables("entityChanged").expect("variables")).await;
        assert!(first["errors"].is_null(), "{first}");
        assert_eq!(first["data"]["entityChanged"]["eventId"], "1");

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
