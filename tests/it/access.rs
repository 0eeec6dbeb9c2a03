//! Who gets in, and what each may ask for.

use crosstie_app::access::{NewToken, TokenError};
use crosstie_domain::access::{AuthContext, Permission, Role, RowScope};
use crosstie_sdk::Method;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::support::{
    Graph, RunningHub, codes, graph, header, on_each_database, operations,
    schema::{Field, fields, node_types},
};

fn new_token(roles: Vec<Role>, permissions: Vec<Permission>) -> NewToken {
    NewToken { label: "test".to_owned(), person_email: None, roles, permissions, expires_at: None }
}

/// Who comes with a new token.
async fn bearer(graph: &Graph, token: NewToken) -> AuthContext {
    let (_, token) = graph.app.create_token(token).await.expect("a token is made");
    graph.app.authenticate(&token).await.expect("it can be looked up").expect("it is good")
}

fn only(permissions: &[Permission]) -> AuthContext {
    AuthContext { permissions: permissions.to_vec(), ..AuthContext::system() }
}

fn all_but(hidden: &[Permission]) -> AuthContext {
    let mut auth = AuthContext::system();
    auth.permissions.retain(|permission| !hidden.contains(permission));
    auth
}

fn is_root(field: &Field) -> bool {
    matches!(field.of.as_str(), "Query" | "Mutation" | "Subscription")
}

/// Another character of a token's alphabet.
fn another(of: &str) -> char {
    if of.starts_with('a') { 'b' } else { 'a' }
}

/// A token of these parts, with the checksum that belongs to them.
fn token_of(kind: &str, lookup: &str, secret: &str) -> String {
    let text = format!("xt_{kind}_{lookup}_{secret}");
    let checksum = hex::encode(&Sha256::digest(&text)[..4]);
    format!("{text}_{checksum}")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_there_is_no_answer() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        let app = &hub.hub.app;
        let token = async |expires_at| {
            let input = NewToken { expires_at, ..new_token(vec![Role::Admin], vec![]) };
            app.create_token(input).await.expect("a token is made")
        };
        let (_, expired) = token(Some(app.store().now().plus_ms(-1))).await;
        let (id, revoked) = token(None).await;
        let query = "{ viewer { principal } }";
        assert_eq!(hub.ask_as(&revoked, query).await.status, 200, "it is good until it is revoked");
        let tx = app.store().begin().await.expect("a transaction begins");
        assert!(tx.revoke_token(id).await.expect("revoked"));
        tx.commit().await.expect("it commits");

        let parts: Vec<&str> = hub.token.split('_').collect();
        let [_, kind, lookup, secret, checksum] = parts[..] else { panic!("a token has five parts") };
        assert_eq!(token_of(kind, lookup, secret), hub.token, "the checksum is made as it is made here");
        let mistyped = hub.token.replace(checksum, "00000000");
        let guessed = token_of(kind, lookup, &format!("{}{}", another(secret), &secret[1..]));
        let unknown = token_of(kind, &format!("{}{}", another(lookup), &lookup[1..]), secret);

        let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
        let attempts = [
            ("MISSING", vec![]),
            ("MISSING", vec![("authorization", "Basic eDp5".to_owned())]),
            ("INVALID", bearer("x")),
            ("INVALID", bearer(&mistyped)),
            ("INVALID", bearer(&guessed)),
            ("INVALID", bearer(&unknown)),
            ("INVALID", bearer(&revoked)),
            ("EXPIRED", bearer(&expired)),
        ];
        for (reason, headers) in &attempts {
            let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            headers.push(("content-type", "application/json"));
            for (method, path) in
                [(Method::Post, "/graphql"), (Method::Get, "/graphql"), (Method::Get, "/schema.graphql")]
            {
                let answer = hub.send(method, path, &headers, json!({ "query": query }).to_string()).await;
                assert_eq!(answer.status, 401, "{headers:?} {path}");
                assert_eq!(header(&answer, "www-authenticate"), Some("Bearer realm=\"crosstie\""));
                let body: Json = serde_json::from_slice(&answer.body).expect("the answer is JSON");
                assert_eq!(body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
                assert_eq!(body["errors"][0]["extensions"]["reason"], *reason, "{headers:?}");
                assert!(body["data"].is_null());
            }
        }
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_out_about_a_bearer_holds_until_the_token_ends_or_the_person_changes() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let app = &graph.app;
        let holds = async |auth: &AuthContext| app.holds(auth).await.expect("it can be looked up");
        assert!(holds(&AuthContext::system()).await);

        let until = app.store().now().plus_ms(1_000);
        let ending =
            bearer(&graph, NewToken { expires_at: Some(until), ..new_token(vec![Role::Viewer], vec![]) }).await;
        assert!(holds(&ending).await);
        database.clock.advance(1_000);
        assert!(!holds(&ending).await, "it ended");

        let revoked = bearer(&graph, new_token(vec![Role::Viewer], vec![])).await;
        assert!(holds(&revoked).await);
        let tx = app.store().begin().await.expect("a transaction begins");
        assert!(tx.revoke_token(revoked.token.expect("it came with a token")).await.expect("revoked"));
        tx.commit().await.expect("it commits");
        assert!(!holds(&revoked).await, "it was revoked");

        let ours = RowScope::Accounts(vec![graph.accounts[0].id]);
        for (role, rows) in [(Role::Viewer, RowScope::All), (Role::Admin, ours)] {
            app.save_person("Ann", "ann@example.com", vec![Role::Admin], RowScope::All).await.expect("saved");
            let email = Some("ann@example.com".to_owned());
            let ann = bearer(&graph, NewToken { person_email: email, ..new_token(vec![], vec![]) }).await;
            assert!(holds(&ann).await);
            app.save_person("Ann", "ann@example.com", vec![role], rows.clone()).await.expect("saved");
            assert!(!holds(&ann).await, "{role:?} {rows:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_root_field_is_refused_without_its_permission() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let documents = operations();
        let roots: Vec<Field> = fields().into_iter().filter(is_root).collect();
        assert!(roots.len() >= 22, "the schema was read: {roots:?}");
        for Field { name: field, permission, .. } in &roots {
            let needed = permission.as_deref().unwrap_or_else(|| panic!("{field} names no permission"));
            let document = documents.get(field).unwrap_or_else(|| panic!("{field} has no document"));
            let variables = graph.variables(field).unwrap_or_else(|| panic!("{field} has no variables here"));
            let (hidden, by_type) = match (needed, Permission::parse(needed)) {
                (_, Some(permission)) => (vec![permission], false),
                // Whoever has a token may ask who that is.
                ("authenticated", None) => continue,
                ("*:read", None) => (Permission::ALL.map(|(permission, _)| permission).to_vec(), true),
                other => panic!("{field} needs {other:?}, which this test does not know"),
            };
            let auth = all_but(&hidden);
            let answer = match field.as_str() {
                "entityChanged" => graph.first(auth, document, variables).await,
                _ => graph.run(auth, document, variables).await,
            };
            if by_type && field != "entityChanged" {
                // What is there is not told from what is not.
                let nothing = if field == "nodes" { json!([null, null]) } else { Json::Null };
                assert_eq!((&answer["data"][field], &answer["errors"]), (&nothing, &Json::Null), "{field}: {answer}");
                continue;
            }
            assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{field}: {answer}");
            assert!(answer["data"][field].is_null(), "{field}: {answer}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_allows_no_more_than_it_was_narrowed_to_and_no_more_than_its_roles_allow() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let query = "query($id: ID!) { sow(id: $id) { title account { name } serviceOrder { status } } \
                     invoices(first: 1) { nodes { number } } }";
        let variables = json!({ "id": graph.sold[0].sow });
        let narrowed = new_token(vec![Role::Admin], vec![Permission::ContractsRead, Permission::PipelineRead]);
        let auth = bearer(&graph, narrowed).await;
        let answer = graph.run(auth.clone(), query, variables.clone()).await;
        let sow = json!({ "title": "ours", "account": { "name": "Ours" }, "serviceOrder": null });
        assert_eq!(answer["data"], json!({ "sow": sow, "invoices": null }));
        let errors = answer["errors"].as_array().expect("errors");
        let mut refused: Vec<_> = errors
            .iter()
            .map(|error| (error["path"].to_string(), error["extensions"]["requiredScope"].clone()))
            .collect();
        refused.sort_by(|a, b| a.0.cmp(&b.0));
        let needed = json!("billing:read");
        let expected =
            [(r#"["invoices"]"#.to_owned(), needed.clone()), (r#"["sow","serviceOrder"]"#.to_owned(), needed)];
        assert_eq!(refused, expected);
        assert_eq!(codes(&answer).into_iter().collect::<Vec<_>>(), ["FORBIDDEN"]);
        let decided =
            graph.run(auth, &operations()["signSow"], json!({ "input": { "sowId": graph.sold[0].sow } })).await;
        assert_eq!(decided["errors"][0]["extensions"]["requiredScope"], "contracts:write", "{decided}");

        let whole = bearer(&graph, new_token(vec![Role::Admin], vec![])).await;
        let data = graph.data(whole, query, variables).await;
        assert_eq!(data["sow"]["serviceOrder"]["status"], "ACKED");

        let beyond = new_token(vec![Role::Viewer], vec![Permission::PipelineRead, Permission::BillingRead]);
        let refused = graph.app.create_token(beyond).await;
        assert!(matches!(refused, Err(TokenError::BeyondRoles(Permission::BillingRead))), "{refused:?}");
        let email = "ann@example.com";
        graph.app.save_person("Ann", email, vec![Role::Finance], RowScope::All).await.expect("saved");
        let permissions = vec![Permission::PipelineRead, Permission::BillingRead];
        let hers = NewToken { person_email: Some(email.to_owned()), ..new_token(vec![], permissions.clone()) };
        let (_, token) = graph.app.create_token(hers).await.expect("a token is made");
        let may = async || {
            graph.app.authenticate(&token).await.expect("it can be looked up").expect("it is good").permissions
        };
        assert_eq!(may().await, permissions);
        graph.app.save_person("Ann", email, vec![Role::Viewer], RowScope::All).await.expect("saved");
        assert_eq!(may().await, [Permission::PipelineRead], "a viewer has nothing to do with billing");
    })
    .await;
}

/// A document that reaches an object of a type, with `…` for its selection; the path of the object in the answer, and
/// the permission that it takes to come so far.
fn way_to(graph: &Graph, of: &str) -> (String, Vec<Json>, Permission) {
    let below_invoice = |path: &str| match path {
        "InvoiceLine" => Some(("lines { … }", json!(["node", "lines", 0]))),
        "Provenance" => Some(("provenance(field: \"total\") { … }", json!(["node", "provenance"]))),
        "ProvenanceSource" => {
            Some(("provenance(field: \"total\") { source { … } }", json!(["node", "provenance", "source"])))
        }
        "SourceClaim" => Some(("sources { … }", json!(["node", "sources", 0]))),
        "SourceField" => Some(("sources { fields { … } }", json!(["node", "sources", 0, "fields", 0]))),
        _ => None,
    };
    let (node_type, selection, path) = match (of, below_invoice(of)) {
        (_, Some((selection, path))) => ("Invoice", selection, path),
        ("InboundPayload", None) => ("InboundEvent", "payload { … }", json!(["node", "payload"])),
        ("Correction", None) => ("Effect", "corrections { … }", json!(["node", "corrections", 0])),
        _ => (of, "…", json!(["node"])),
    };
    let document = format!("{{ node(id: \"{}\") {{ ... on {node_type} {{ {selection} }} }} }}", graph.id_of(node_type));
    (document, path.as_array().expect("a path").clone(), permission_of(node_type))
}

/// The permission to read objects of a type.
fn permission_of(node_type: &str) -> Permission {
    let roots = fields().into_iter().filter(|field| field.of == "Query" && field.to == node_type);
    let written: Vec<String> = roots.filter_map(|field| field.permission).collect();
    // Milestones have no root field of their own.
    let written = written.first().map_or("contracts:read", String::as_str);
    Permission::parse(written).expect("a permission")
}

fn at<'a>(data: &'a Json, path: &[Json]) -> &'a Json {
    path.iter().fold(data, |part, step| match step {
        Json::String(name) => &part[name],
        step => &part[step.as_u64().and_then(|index| usize::try_from(index).ok()).expect("an index")],
    })
}

/// Types that only a mutation or a list of their own leads to: their own tests show that their money is held back.
const BEHIND_MUTATIONS: &[&str] =
    &["MappingFieldDifference", "AdoptionCandidate", "Adoption", "ConnectionDifference", "DifferenceTotal"];

/// Edges that have no other end in the small organization.
const LEADS_NOWHERE: &[(&str, &str)] = &[("Account", "mergedInto"), ("Opportunity", "mergedInto")];

/// Roles that see no money.
const WITHOUT_MONEY: [Role; 3] = [Role::Csm, Role::IntegrationEngineer, Role::Viewer];

#[tokio::test(flavor = "multi_thread")]
async fn a_financial_field_is_null_with_its_path_for_roles_that_see_no_money_and_filled_for_the_others() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let fields = fields().into_iter().filter(|field| field.class.as_deref() == Some("FINANCIAL"));
        let fields: Vec<Field> = fields.collect();
        assert!(fields.len() >= 8, "the schema was read: {fields:?}");
        for Field { of, name, to, .. } in &fields {
            if BEHIND_MUTATIONS.contains(&of.as_str()) {
                continue;
            }
            let (document, mut path, _) = way_to(&graph, of);
            let selection = if to == "Money" { format!("{name} {{ amount currency }}") } else { name.clone() };
            let document = document.replace('…', &format!("{selection} beside: __typename"));
            path.push(json!(name));
            for (role, _) in Role::ALL {
                // Only the role differs: what it may not ask for is another matter.
                let auth = AuthContext { roles: vec![role], ..AuthContext::system() };
                let answer = graph.run(auth, &document, json!({})).await;
                let found = at(&answer["data"], &path);
                if !WITHOUT_MONEY.contains(&role) {
                    assert!(!found.is_null() && answer["errors"].is_null(), "{of}.{name} for {role:?}: {answer}");
                    continue;
                }
                assert!(found.is_null(), "{of}.{name} for {role:?}: {answer}");
                assert_eq!(at(&answer["data"], &path[..path.len() - 1])["beside"], json!(of), "{answer}");
                assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1), "{answer}");
                let error = &answer["errors"][0];
                assert_eq!(error["path"], json!(path), "{of}.{name}");
                assert_eq!(error["extensions"]["code"], "FORBIDDEN");
                assert_eq!(error["extensions"]["requiredScope"], "sensitivity:FINANCIAL");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_null_for_the_money_in_a_list_and_everything_beside_it() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let query = "{ sows(first: 2) { nodes { id total { amount } } } }";
        let viewer = bearer(&graph, new_token(vec![Role::Viewer], vec![])).await;
        let answer = graph.run(viewer, query, json!({})).await;
        let nodes = answer["data"]["sows"]["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|node| node["id"].is_string() && node["total"].is_null()), "{answer}");
        let mut paths: Vec<_> =
            answer["errors"].as_array().into_iter().flatten().map(|error| error["path"].to_string()).collect();
        paths.sort();
        assert_eq!(paths, [r#"["sows","nodes",0,"total"]"#, r#"["sows","nodes",1,"total"]"#]);
        let shown = graph.data(AuthContext::system(), query, json!({})).await;
        assert_eq!(shown["sows"]["nodes"][1]["total"]["amount"], "1000.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_asks_for_the_permission_of_what_it_leads_to_and_for_no_other() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let nodes = node_types();
        let leads =
            |field: &Field| (nodes.contains(&field.of) || field.of == "SourceClaim") && nodes.contains(&field.to);
        let leads_nowhere = |field: &Field| LEADS_NOWHERE.contains(&(field.of.as_str(), field.name.as_str()));
        let edges: Vec<Field> = fields().into_iter().filter(|field| leads(field) && !leads_nowhere(field)).collect();
        assert!(edges.len() >= 20, "the schema was read: {edges:?}");
        let mut wrong = Vec::new();
        for Field { of, name, to, .. } in &edges {
            let (document, mut path, own) = way_to(&graph, of);
            let document = document.replace('…', &format!("{name} {{ __typename }} beside: __typename"));
            path.push(json!(name));
            let needed = permission_of(to);
            let answer = graph.run(only(&[own, needed]), &document, json!({})).await;
            if at(&answer["data"], &path).is_null() || !answer["errors"].is_null() {
                wrong.push(format!("{of}.{name} with {own:?} and {needed:?}: {answer}"));
            }
            if own == needed {
                continue;
            }
            let answer = graph.run(only(&[own]), &document, json!({})).await;
            let error = &answer["errors"][0];
            let refused = error["extensions"]["code"] == "FORBIDDEN"
                && error["extensions"]["requiredScope"] == needed.as_str()
                && error["path"] == json!(path);
            let beside = &at(&answer["data"], &path[..path.len() - 1])["beside"];
            if !refused || !at(&answer["data"], &path).is_null() || *beside != json!(of) {
                wrong.push(format!("{of}.{name} with {own:?} alone: {answer}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_of_a_type_that_one_may_not_see_is_null_among_others_that_are_there() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let sold = &graph.sold[0];
        let (sow, invoice, opportunity) =
            (sold.sow.to_string(), sold.invoice.to_string(), sold.opportunity.to_string());
        let query = "query($ids: [ID!]!, $id: ID!) { nodes(ids: $ids) { id } node(id: $id) { id } }";
        let variables = json!({ "ids": [sow, invoice, "inv_odd", opportunity, sow], "id": invoice });
        let auth = all_but(&[Permission::BillingRead]);
        let data = graph.data(auth, query, variables.clone()).await;
        let (sow, opportunity) = (json!({ "id": sow }), json!({ "id": opportunity }));
        assert_eq!(data["nodes"], json!([sow, null, null, opportunity, sow]));
        assert!(data["node"].is_null());
        let data = graph.data(AuthContext::system(), query, variables).await;
        assert_eq!(data["nodes"], json!([sow, { "id": invoice }, null, opportunity, sow]));
    })
    .await;
}
