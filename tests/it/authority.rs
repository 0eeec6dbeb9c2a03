//! Several systems that know one record: who is followed, what is held, and how one finds out why.

use crosstie_app::Ingested;
use crosstie_domain::{
    Clock, Currency, Money,
    access::{AuthContext, RowScope},
    ids::{AccountId, OpportunityId},
    integration::{
        Arm, Claim, Entity, LinkState,
        authority::{Authority, FieldRules, OnConflict},
    },
    pipeline::{AccountClaim, OpportunityClaim},
};
use crosstie_store::{
    integration::Identity,
    pipeline::{accounts_by_ids, opportunities_by_ids},
};
use serde_json::{Value as Json, json};

use crate::support::{Binary, Database, Graph, Said, System, id_of, on_each_database};

/// An account as a system speaks of it.
async fn customer(system: &System, database: &Database, of: Option<AccountId>, fields: Json) -> Ingested {
    database.clock.advance(1_000);
    let text = |name: &str| fields[name].as_str().map(str::to_owned);
    let claim =
        AccountClaim { account: of, name: text("name"), domain: text("domain"), billing_email: text("billing_email") };
    let asked_at = database.clock.now();
    let claim = Claim::Account(claim);
    system.say(Said { remote_id: "c1", version: None, asked_at, claim, fields }).await
}

/// An opportunity as a system speaks of it.
async fn deal(system: &System, database: &Database, dollars: Option<i64>) -> Ingested {
    database.clock.advance(1_000);
    let amount = dollars.map(|dollars| Money::new(dollars * 100, Currency::USD));
    let claim = OpportunityClaim { name: Some("Rollout".to_owned()), amount, ..OpportunityClaim::default() };
    let (asked_at, claim) = (database.clock.now(), Claim::Opportunity(claim));
    let fields = json!({ "name": "Rollout", "amount": null });
    system.say(Said { remote_id: "d1", version: None, asked_at, claim, fields }).await
}

/// Makes a deal of one CRM the opportunity that another one knows, before it is first read there.
async fn link(system: &System, opportunity: OpportunityId) {
    let tx = system.store().begin().await.expect("a transaction begins");
    let identity = Identity {
        connection_id: system.connection,
        entity: Entity::Opportunity,
        remote_id: "d1".to_owned(),
        record_id: opportunity.to_string(),
        state: LinkState::Linked,
        remote_version: None,
        last_seen_at: tx.now(),
    };
    tx.save_identity(&identity).await.expect("linked");
    tx.commit().await.expect("it commits");
}

async fn account_of(system: &System, id: AccountId) -> (String, Option<String>) {
    let account = accounts_by_ids(system.store(), &RowScope::All, &[id]).await.expect("read").remove(0);
    (account.name, account.billing_email)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_account_the_crm_is_asked_first_and_what_billing_says_otherwise_stays_visible() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        let first = json!({ "name": "ACME Inc", "billing_email": "ap@acme.example" });
        let id: AccountId = id_of(&customer(&billing, database, None, first).await);
        assert_eq!(account_of(&crm, id).await.0, "ACME Inc", "while no CRM knows it");
        customer(&crm, database, Some(id), json!({ "name": "Acme" })).await;
        assert_eq!(account_of(&crm, id).await, ("Acme".to_owned(), Some("ap@acme.example".to_owned())));
        customer(&billing, database, Some(id), json!({ "name": "ACME GmbH", "billing_email": null })).await;
        assert_eq!(account_of(&crm, id).await, ("Acme".to_owned(), None));

        let graph = Graph::over(crm.app.clone()).await;
        let query = "query($id: ID!) { account(id: $id) { provenance(field: \"name\") { value decision since \
                     authority { policy arms onConflict } \
                     source { connection { name } remoteId value saidAt heardAt sourcePath mappingVersion } \
                     overruled { connection { name } value overruledBecause } conflict { id } } } }";
        let told = graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        let told = &told["account"]["provenance"];
        assert_eq!((&told["value"], &told["decision"]), (&json!("\"Acme\""), &json!("FOLLOWED")));
        assert_eq!(told["authority"]["arms"], json!(["CRM", "BILLING"]));
        assert_eq!(told["source"]["connection"]["name"], "hubspot");
        assert_eq!(told["source"]["sourcePath"], "properties.name");
        let overruled = json!([{
            "connection": { "name": "books" }, "value": "\"ACME GmbH\"", "overruledBecause": "ANOTHER_FOLLOWED",
        }]);
        assert_eq!(told["overruled"], overruled);
        let unknown =
            graph.run(AuthContext::system(), &query.replace("\"name\"", "\"size\""), json!({ "id": id })).await;
        assert_eq!(unknown["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{unknown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_said_a_value_first_is_known_also_when_a_second_system_is_linked_before_it_speaks() {
    on_each_database(async |database| {
        let one = System::new(database, "hubspot", &[Arm::Crm]).await;
        let other = System::new(database, "tryton", &[Arm::Crm]).await;
        let id: OpportunityId = id_of(&deal(&one, database, Some(100)).await);
        link(&other, id).await;
        deal(&one, database, Some(100)).await;
        let graph = Graph::over(one.app.clone()).await;
        let query = "query($id: ID!) { opportunity(id: $id) { provenance(field: \"amount\") { decision \
                     source { connection { name } } } } }";
        let told = graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        let expected = json!({ "decision": "FOLLOWED", "source": { "connection": { "name": "hubspot" } } });
        assert_eq!(told["opportunity"]["provenance"], expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_two_crms_changed_is_held_until_a_person_decides_and_the_decision_can_be_repeated() {
    on_each_database(async |database| {
        let one = System::new(database, "hubspot", &[Arm::Crm]).await;
        let other = System::new(database, "tryton", &[Arm::Crm]).await;
        let id: OpportunityId = id_of(&deal(&one, database, Some(100)).await);
        link(&other, id).await;
        let amount = async || {
            let found = opportunities_by_ids(one.store(), &RowScope::All, &[id]).await.expect("read").remove(0);
            found.amount.map(|amount| amount.minor / 100)
        };
        deal(&other, database, Some(100)).await;
        deal(&one, database, Some(120)).await;
        assert_eq!(amount().await, Some(120), "one of them moves on from what both agreed on");
        deal(&other, database, Some(90)).await;
        assert_eq!(amount().await, Some(120), "the other did not know of that");

        let graph = Graph::over(one.app.clone()).await;
        let auth = AuthContext::system;
        let list = "query($id: ID!) { conflicts(first: 5, filter: { recordId: { eq: $id }, status: { eq: OPEN } }) \
                    { totalCount nodes { id field reason agreed version voices { connection { name } value } } } }";
        let open = graph.data(auth(), list, json!({ "id": id })).await["conflicts"].clone();
        assert_eq!((&open["totalCount"], &open["nodes"][0]["reason"]), (&json!(1), &json!("BOTH_CHANGED")));
        let said: Vec<_> = open["nodes"][0]["voices"].as_array().expect("voices").iter().collect();
        assert_eq!(said.len(), 2);
        let conflict = open["nodes"][0]["id"].clone();

        // What is said meanwhile is kept with the conflict, and changes nothing.
        deal(&other, database, Some(95)).await;
        assert_eq!(amount().await, Some(120));
        let decide = async |input: Json| {
            graph
                .decide(auth(), "resolveConflict", "conflict { status resolution version } subject { id }", input)
                .await
        };
        let stale = json!({ "conflictId": conflict, "connectionId": other.connection, "expectedVersion": 1 });
        assert_eq!(decide(stale).await["codes"], json!(["CONFLICT"]));
        let wrong = json!({ "conflictId": conflict, "value": "\"much\"" });
        assert_eq!(decide(wrong).await["codes"], json!(["INVALID"]));
        assert_eq!(amount().await, Some(120));
        let input = json!({ "conflictId": conflict, "connectionId": other.connection, "idempotencyKey": "k1" });
        let decided = decide(input.clone()).await;
        assert_eq!(decided["conflict"]["status"], "RESOLVED", "{decided}");
        assert_eq!(amount().await, Some(95));
        assert_eq!(decide(input).await, decided, "the same request is the same decision");
        let nothing = graph.data(auth(), list, json!({ "id": id })).await;
        assert_eq!(nothing["conflicts"]["totalCount"], 0);

        // The one that was overruled says the same again: the decision stands. It can be made anew.
        deal(&one, database, Some(120)).await;
        assert_eq!(amount().await, Some(95));
        let again = decide(json!({ "conflictId": conflict, "keepAgreed": true })).await;
        assert_eq!(again["conflict"]["status"], "RESOLVED", "{again}");
        assert_eq!(amount().await, Some(120));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn systems_that_come_to_say_the_same_end_their_conflict_themselves() {
    on_each_database(async |database| {
        let one = System::new(database, "hubspot", &[Arm::Crm]).await;
        let other = System::new(database, "tryton", &[Arm::Crm]).await;
        let id: OpportunityId = id_of(&deal(&one, database, Some(100)).await);
        link(&other, id).await;
        deal(&other, database, Some(80)).await;
        deal(&one, database, Some(80)).await;
        let found = opportunities_by_ids(one.store(), &RowScope::All, &[id]).await.expect("read").remove(0);
        assert_eq!(found.amount.map(|amount| amount.minor), Some(8_000));
        let graph = Graph::over(one.app.clone()).await;
        let query = "query($id: ID!) { conflicts(filter: { recordId: { eq: $id } }) { nodes { reason status } } }";
        let conflicts = graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        let expected = json!([{ "reason": "NEVER_AGREED", "status": "CONVERGED" }]);
        assert_eq!(conflicts["conflicts"]["nodes"], expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_the_configuration_decides_instead_of_the_usual_one() {
    on_each_database(async |database| {
        let mut rules = FieldRules::default();
        let order = Authority::Preferred { order: vec![Arm::Billing, Arm::Crm] };
        rules.set((Entity::Account, "billing_email"), order, Some(OnConflict::Held)).expect("a field");
        let mut crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let mut billing = System::new(database, "books", &[Arm::Billing]).await;
        crm.app = crm.app.with_rules(rules.clone());
        billing.app = billing.app.with_rules(rules);
        let first = json!({ "name": "Acme", "billing_email": "sales@acme.example" });
        let id: AccountId = id_of(&customer(&crm, database, None, first).await);
        let said = json!({ "name": "ACME", "billing_email": "ap@acme.example" });
        customer(&billing, database, Some(id), said).await;
        assert_eq!(account_of(&crm, id).await, ("Acme".to_owned(), Some("ap@acme.example".to_owned())));
        let graph = Graph::over(crm.app.clone()).await;
        let query = "{ fieldAuthorities { entity field policy arms onConflict } }";
        let told = graph.data(AuthContext::system(), query, json!({})).await;
        let rules = told["fieldAuthorities"].as_array().expect("rules");
        let rule = rules.iter().find(|rule| rule["field"] == "billing_email").expect("its rule");
        assert_eq!((&rule["arms"], &rule["onConflict"]), (&json!(["BILLING", "CRM"]), &json!("HELD")));
        let amount = rules.iter().find(|rule| rule["field"] == "amount").expect("its rule");
        assert_eq!((&amount["policy"], &amount["onConflict"]), (&json!("AUTHORITATIVE"), &json!("HELD")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_why_tells_who_said_so_and_what_was_overruled() {
    let config = "listen = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n";
    let Some(binary) = Binary::find("the command why", config) else { return };
    binary.done(&["migrate"]).await;
    let file = binary.folder().join("data/crosstie.db");
    let database = Database::at(&format!("sqlite://{}?mode=rwc", file.display()));
    let crm = System::new(&database, "hubspot", &[Arm::Crm]).await;
    let billing = System::new(&database, "stripe", &[Arm::Billing]).await;
    let id: AccountId = id_of(&customer(&crm, &database, None, json!({ "name": "Acme" })).await);
    customer(&billing, &database, Some(id), json!({ "name": "ACME Inc" })).await;
    let id = id.to_string();
    let said = binary.done(&["why", &id, "name"]).await;
    for part in [
        "name: \"Acme\"",
        "preferred crm then billing, conflicts newest",
        "said by hubspot",
        "field properties.name",
        "overruled: stripe says \"ACME Inc\" (another one is followed)",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(binary.refused(&["why", &id, "size"]).await.contains("name, domain, billing_email"));
    assert!(binary.refused(&["why", "acc_1", "name"]).await.contains("identifier"));
    let wrong = format!(
        "{config}[[authority]]\nentity = \"opportunity\"\nfield = \"amount\"\npolicy = \"shared\"\n\
                         conflicts = \"newest\"\n"
    );
    binary.write("wrong.toml", &wrong);
    let said = binary.refused(&["why", &id, "name", "--config", "wrong.toml"]).await;
    assert!(said.contains("authority[0].field") && said.contains("money"), "{said}");
}
