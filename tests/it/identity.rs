//! Which records of other systems a record is: matched, linked, merged, and taken apart again without loss.

use crosstie_app::Ingested;
use crosstie_domain::{
    Clock,
    access::AuthContext,
    ids::{AccountId, OpportunityId},
    integration::{Arm, Claim},
    pipeline::{AccountClaim, OpportunityClaim},
};
use serde_json::{Value as Json, json};

use crate::support::{Database, Graph, Said, System, id_of, on_each_database};

/// A customer as a system speaks of it: its id there, its name, its domain and its e-mail address.
async fn customer(system: &System, database: &Database, said: [&str; 4]) -> Ingested {
    database.clock.advance(1_000);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let [remote_id, name, domain, email] = said;
    let claim = AccountClaim { account: None, name: text(name), domain: text(domain), billing_email: text(email) };
    let fields = json!({ "name": name, "domain": claim.domain, "billing_email": claim.billing_email });
    let (asked_at, claim) = (database.clock.now(), Claim::Account(claim));
    system.say(Said { remote_id, version: None, asked_at, claim, fields }).await
}

/// An opportunity of a customer, as a system speaks of it.
async fn deal(system: &System, database: &Database, remote_id: &str, customer: &str) -> Ingested {
    database.clock.advance(1_000);
    let (name, account) = (Some(format!("Deal {remote_id}")), Some(customer.to_owned()));
    let claim = OpportunityClaim { name, account, ..OpportunityClaim::default() };
    let fields = json!({ "name": remote_id, "account": customer });
    let (asked_at, claim) = (database.clock.now(), Claim::Opportunity(claim));
    system.say(Said { remote_id, version: None, asked_at, claim, fields }).await
}

struct Scene {
    graph: Graph,
    crm: System,
    books: System,
}

impl Scene {
    async fn new(database: &Database) -> Self {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let books = System::new(database, "books", &[Arm::Billing, Arm::Crm]).await;
        Self { graph: Graph::over(crm.app.clone()).await, crm, books }
    }

    async fn ask(&self, query: &str, variables: Json) -> Json {
        self.graph.data(AuthContext::system(), query, variables).await
    }

    async fn account(&self, id: &AccountId) -> Json {
        let query = "query($id: ID!) { account(id: $id) { name domain billingEmail mergedInto { id } \
                     externalRefs { connection { name } remoteId state } opportunities { nodes { name } } } }";
        self.ask(query, json!({ "id": id })).await["account"].clone()
    }

    async fn decide(&self, mutation: &str, input: Json) -> Json {
        let selection = "decision { kind fromId intoId movedLinks movedRecords } subject { id }";
        self.graph.decide(AuthContext::system(), mutation, selection, input).await
    }

    /// The names of the accounts that are listed.
    async fn listed(&self) -> Vec<String> {
        let query = "{ accounts(first: 100, orderBy: [{ field: NAME, direction: ASC }]) { nodes { name } } }";
        let found = self.ask(query, json!({})).await;
        let nodes = found["accounts"]["nodes"].as_array().expect("nodes").clone();
        nodes.iter().filter_map(|node| node["name"].as_str().map(str::to_owned)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_that_hold_the_same_account_end_up_on_one_account() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let id: AccountId = id_of(&customer(&scene.crm, database, ["c1", "Acme", "acme.example", ""]).await);
        let same = customer(&scene.books, database, ["p1", "ACME, Inc.", "", "ap@acme.example"]).await;
        assert_eq!(id_of::<AccountId>(&same), id);
        let shown = scene.account(&id).await;
        assert_eq!((&shown["name"], &shown["billingEmail"]), (&json!("Acme"), &json!("ap@acme.example")));
        let linked = json!([
            { "connection": { "name": "hubspot" }, "remoteId": "c1", "state": "LINKED" },
            { "connection": { "name": "books" }, "remoteId": "p1", "state": "LINKED" },
        ]);
        assert_eq!(shown["externalRefs"], linked);
        // A system that keeps two of the same means two.
        let second = customer(&scene.books, database, ["p2", "Acme Inc", "acme.example", ""]).await;
        assert_ne!(id_of::<AccountId>(&second), id);
        let own = scene.account(&id_of(&second)).await;
        assert_eq!(own["externalRefs"][0]["state"], "CANDIDATE");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_the_same_is_shown_and_a_person_links_it() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let id: AccountId = id_of(&customer(&scene.crm, database, ["c1", "Acme", "acme.example", ""]).await);
        let other: AccountId =
            id_of(&customer(&scene.books, database, ["p1", "Acme Holding", "acme.example", ""]).await);
        assert_ne!(other, id);
        deal(&scene.books, database, "d1", "p1").await;
        let query = "query($id: ID) { matchCandidates(recordId: $id) { connection { name } remoteId score evidence \
                     subject { id } } }";
        let found = scene.ask(query, json!({ "id": id })).await;
        let expected = json!([{
            "connection": { "name": "books" }, "remoteId": "p1", "score": 80, "evidence": ["DOMAIN"],
            "subject": { "id": id },
        }]);
        assert_eq!(found["matchCandidates"], expected);
        let input = json!({ "connectionId": scene.books.connection, "remoteId": "p1", "recordId": id });
        let linked = scene.decide("linkRecord", input.clone()).await;
        let decision = json!({
            "kind": "MERGE", "fromId": other, "intoId": id, "movedLinks": 1, "movedRecords": 1,
        });
        assert_eq!((&linked["decision"], &linked["codes"]), (&decision, &json!([])));
        assert_eq!(scene.decide("linkRecord", input).await["codes"], json!(["INVALID"]), "it is linked already");
        let shown = scene.account(&id).await;
        assert_eq!(shown["name"], "Acme", "the two of them disagree, and what was there first stays");
        assert_eq!(shown["opportunities"]["nodes"], json!([{ "name": "Deal d1" }]));
        assert_eq!(scene.account(&other).await["mergedInto"]["id"], json!(id));
        assert!(!scene.listed().await.contains(&"Acme Holding".to_owned()), "what was merged leaves the lists");
        assert_eq!(scene.ask(query, json!({})).await["matchCandidates"], json!([]));
        // What comes through it from now on goes to the account that it is.
        deal(&scene.books, database, "d2", "p1").await;
        let again = customer(&scene.books, database, ["p1", "Acme Holding", "acme.example", "ap@acme.example"]).await;
        assert_eq!(id_of::<AccountId>(&again), id);
        let shown = scene.account(&id).await;
        assert_eq!(
            (shown["opportunities"]["nodes"].as_array().map(Vec::len), &shown["billingEmail"]),
            (Some(2), &json!("ap@acme.example"))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_merge_is_undone_without_loss() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let one: AccountId = id_of(&customer(&scene.crm, database, ["c1", "Acme", "acme.example", ""]).await);
        let other: AccountId =
            id_of(&customer(&scene.books, database, ["p1", "Bolt", "bolt.example", "ap@bolt.example"]).await);
        deal(&scene.crm, database, "c-deal", "c1").await;
        deal(&scene.books, database, "p-deal", "p1").await;
        let before = (scene.account(&one).await, scene.account(&other).await);
        let merge = json!({ "recordId": other, "intoId": one, "reason": "the same, it seemed", "idempotencyKey": "m" });
        let merged = scene.decide("mergeRecords", merge.clone()).await;
        assert_eq!(merged["decision"]["movedRecords"], 1, "{merged}");
        assert_eq!(scene.decide("mergeRecords", merge).await, merged, "the same request is the same decision");
        let both = scene.account(&one).await;
        assert_eq!(both["opportunities"]["nodes"].as_array().map(Vec::len), Some(2));
        assert_eq!(both["billingEmail"], "ap@bolt.example");
        let again = scene.decide("mergeRecords", json!({ "recordId": other, "intoId": one })).await;
        assert_eq!(again["codes"], json!(["INVALID"]));
        // Meanwhile both systems speak on, and new records come.
        customer(&scene.books, database, ["p1", "Bolt AG", "bolt.example", "ap@bolt.example"]).await;
        deal(&scene.books, database, "p-later", "p1").await;
        deal(&scene.crm, database, "c-later", "c1").await;

        let split = scene.decide("splitRecord", json!({ "recordId": other, "reason": "they are two" })).await;
        assert_eq!((&split["decision"]["kind"], &split["codes"]), (&json!("UNMERGE"), &json!([])), "{split}");
        let (mut first, mut second) = (scene.account(&one).await, scene.account(&other).await);
        let names = |account: &mut Json| {
            let nodes = account["opportunities"]["nodes"].take();
            let mut names: Vec<_> = nodes
                .as_array()
                .expect("nodes")
                .iter()
                .map(|node| node["name"].as_str().expect("a name").to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&mut first), ["Deal c-deal", "Deal c-later"]);
        assert_eq!(names(&mut second), ["Deal p-deal", "Deal p-later"]);
        assert_eq!((&first["name"], &first["billingEmail"]), (&before.0["name"], &before.0["billingEmail"]));
        assert_eq!(first["externalRefs"], before.0["externalRefs"]);
        assert_eq!((&second["name"], &second["mergedInto"]), (&json!("Bolt AG"), &Json::Null));
        assert_eq!(second["billingEmail"], before.1["billingEmail"]);
        assert_eq!(second["externalRefs"][0]["state"], "SPLIT", "it is not matched again by itself");
        let query = "query($id: ID!) { identityDecisions(recordId: $id) { kind isUndone reason actor } }";
        let told = scene.ask(query, json!({ "id": other })).await;
        let expected = json!([
            { "kind": "UNMERGE", "isUndone": false, "reason": "they are two", "actor": "system" },
            { "kind": "MERGE", "isUndone": true, "reason": "the same, it seemed", "actor": "system" },
        ]);
        assert_eq!(told["identityDecisions"], expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_match_is_taken_apart_and_takes_along_what_came_through_it() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let id: AccountId = id_of(&customer(&scene.crm, database, ["c1", "Acme", "acme.example", ""]).await);
        customer(&scene.books, database, ["p1", "Acme", "acme.example", "ap@acme.example"]).await;
        deal(&scene.crm, database, "ours", "c1").await;
        let theirs: OpportunityId = id_of(&deal(&scene.books, database, "theirs", "p1").await);
        let input = json!({ "recordId": id, "connectionId": scene.books.connection, "remoteId": "p1" });
        let split = scene.decide("splitRecord", input.clone()).await;
        assert_eq!(split["decision"]["movedRecords"], 1, "{split}");
        let own = split["subject"]["id"].as_str().expect("a record of its own").to_owned();
        let shown = scene.account(&id).await;
        assert_eq!(
            (&shown["billingEmail"], &shown["opportunities"]["nodes"]),
            (&Json::Null, &json!([{ "name": "Deal ours" }]))
        );
        let query = "query($id: ID!) { opportunity(id: $id) { account { id billingEmail } } }";
        let found = scene.ask(query, json!({ "id": theirs })).await;
        assert_eq!(found["opportunity"]["account"], json!({ "id": own, "billingEmail": "ap@acme.example" }));
        assert_eq!(scene.decide("splitRecord", input).await["codes"], json!(["INVALID"]));
        // It says the same again, and stays what a person said that it is.
        let again = customer(&scene.books, database, ["p1", "Acme", "acme.example", "ap@acme.example"]).await;
        assert_eq!(id_of::<AccountId>(&again).to_string(), own);
        let nobody = json!({ "recordId": "acc_00000000000000000000000001", "intoId": id });
        assert_eq!(scene.decide("mergeRecords", nobody).await["codes"], json!(["NOT_FOUND"]));
    })
    .await;
}
