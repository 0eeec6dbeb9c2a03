//! Fields of the customer's own: read as their kind, shown with where they came from, and gone when nobody maps them.

mod mapped;

use crosstie_app::{Ingested, SaveMapping, erasure::ErasePerson};
use crosstie_domain::{
    Clock,
    access::{AuthContext, RowScope},
    custom::CustomValue,
    ids::AccountId,
    integration::{
        Arm, Claim, Entity,
        authority::{Authority, FieldRules, OnConflict},
    },
    pipeline::{AccountClaim, OpportunityRecord},
};
use crosstie_sdk::Method;
use crosstie_store::{integration::latest_assertion, pipeline::accounts_by_ids};
use serde_json::{Value as Json, json};

use crate::support::{Binary, Crm, Database, Graph, Said, System, id_of, on_each_database};

/// Every kind of field, by the properties that HubSpot's stand-in is given.
fn every_kind() -> Json {
    json!({ "custom_fields": { "opportunity": {
        "deliveryModel": { "property": "delivery_model", "kind": "TEXT", "label": "Delivery model" },
        "arr": { "property": "arr", "kind": "NUMBER" },
        "strategic": { "property": "is_strategic", "kind": "BOOLEAN" },
        "kickoffOn": { "property": "kickoff", "kind": "DATE" },
        "reviewedAt": { "property": "reviewed", "kind": "INSTANT" },
        "contractType": {
            "property": "contract_type", "kind": "CHOICE", "options": { "tm": "Time and material" },
        },
    } } })
}

fn region(property: &str) -> Json {
    let field = json!({ "property": property, "kind": "TEXT", "label": "Region" });
    json!({ "custom_fields": { "account": { "region": field }, "opportunity": { "region": field } } })
}

/// Saves a mapping, which the engine takes up at once; nothing is mapped anew yet.
async fn map(crm: &Crm, document: Json) {
    let connection_id = crm.connection().record.id;
    let mapping = crm.app.connection_mapping(connection_id).await.expect("read").expect("it is known");
    let input =
        SaveMapping { connection_id, document, expected_version: mapping.version, reason: None, idempotency_key: None };
    crm.app.save_mapping(&AuthContext::system(), input).await.expect("decided").expect("it is good");
    crm.engine.take_up_mappings().await.expect("the database answers");
}

/// Makes a deal with these properties; its id.
fn deal(crm: &Crm, name: &str, properties: &Json) -> String {
    let id = crm.create("deals", name);
    change(crm, &id, properties);
    id
}

fn change(crm: &Crm, id: &str, properties: &Json) {
    crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": properties }));
}

async fn one(crm: &Crm, name: &str) -> OpportunityRecord {
    let found = crm.opportunities().await.into_iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("{name} is not known"))
}

fn text(record: &OpportunityRecord, field: &str) -> Option<String> {
    match record.custom.get(field)? {
        CustomValue::Text(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

const SHOWN: &str = "customFields { name label kind textValue numberValue booleanValue dateValue instantValue }";

/// What the graph shows of the opportunity of a name.
async fn shown(graph: &Graph, name: &str, selection: &str) -> Json {
    let query = format!(
        "query($name: String!) {{ opportunities(filter: {{ name: {{ eq: $name }} }}) {{ nodes {{ id {selection} }} }} }}"
    );
    let mut data = graph.data(AuthContext::system(), &query, json!({ "name": name })).await;
    data["opportunities"]["nodes"][0].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_by_reading_and_by_webhook_and_are_shown_as_their_kind() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let graph = Graph::over(crm.app.clone()).await;
        map(&crm, every_kind()).await;
        let properties = json!({
            "delivery_model": " Fixed price ", "arr": "12000.50", "is_strategic": "true", "kickoff": "2026-03-01",
            "reviewed": "2026-02-28T10:00:00.123Z", "contract_type": "tm", "not_mapped": "x",
        });
        let id = deal(&crm, "Rollout", &properties);
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        let node = shown(&graph, "Rollout", SHOWN).await;
        let field = |name: &str, label: &str, kind: &str, value: (&str, Json)| {
            let mut field = json!({
                "name": name, "label": label, "kind": kind, "textValue": null, "numberValue": null,
                "booleanValue": null, "dateValue": null, "instantValue": null,
            });
            field[value.0] = value.1;
            field
        };
        let expected = json!([
            field("arr", "arr", "NUMBER", ("numberValue", json!("12000.5"))),
            field("contractType", "contractType", "CHOICE", ("textValue", json!("Time and material"))),
            field("deliveryModel", "Delivery model", "TEXT", ("textValue", json!("Fixed price"))),
            field("kickoffOn", "kickoffOn", "DATE", ("dateValue", json!("2026-03-01"))),
            field("reviewedAt", "reviewedAt", "INSTANT", ("instantValue", json!("2026-02-28T10:00:00.123Z"))),
            field("strategic", "strategic", "BOOLEAN", ("booleanValue", json!(true))),
        ]);
        assert_eq!(node["customFields"], expected);
        let some = "customFields(names: [\"arr\", \"nothing\"]) { name }";
        assert_eq!(shown(&graph, "Rollout", some).await["customFields"], json!([{ "name": "arr" }]));

        // One is changed, one is emptied, one becomes something that its kind does not take.
        let version = one(&crm, "Rollout").await.version;
        database.clock.advance(1_000);
        graph.place_changes().await;
        let last = crosstie_store::integration::last_position(crm.app.store()).await.expect("read");
        change(&crm, &id, &json!({ "delivery_model": "Retainer", "contract_type": "", "arr": "a lot" }));
        database.clock.advance(1_000);
        assert_eq!(crm.deliver().await, 1);
        crm.work().await;
        let record = one(&crm, "Rollout").await;
        assert_eq!((text(&record, "deliveryModel").as_deref(), record.version), (Some("Retainer"), version + 1));
        let names: Vec<&str> = record.custom.keys().map(String::as_str).collect();
        assert_eq!(names, ["deliveryModel", "kickoffOn", "reviewedAt", "strategic"]);
        assert_eq!(graph.place_changes().await, 1, "the change is told");
        let heard = "subscription($after: String) { entityChanged(after: $after) { event } }";
        let heard = graph.first(AuthContext::system(), heard, json!({ "after": last.to_string() })).await;
        assert_eq!(heard["data"]["entityChanged"]["event"], "opportunity_changed", "{heard}");

        // The row is not parked: the field says what is wrong with it, and where it stood.
        let id = crm.connection().record.id;
        let (ours, theirs) = (record.id.to_string(), id_there(&graph, "Rollout").await);
        let said = latest_assertion(crm.app.store(), id, &ours, &theirs).await.expect("read").expect("it spoke");
        let arr = &said.fields["custom.arr"];
        assert_eq!((&arr.value, arr.source_path.as_str()), (&Json::Null, "properties.arr"));
        assert!(arr.problem.as_deref().is_some_and(|problem| problem.contains("decimal number")), "{arr:?}");
        let parked =
            graph.data(AuthContext::system(), "{ parkedRows(first: 9) { nodes { connection { name } } } }", json!({}));
        let parked = parked.await.to_string();
        assert!(!parked.contains("\"hubspot\""), "{parked}");
        let told = "provenance(field: \"custom.deliveryModel\") { field value decision source { sourcePath value } \
                    authority { field policy arms } }";
        let told = shown(&graph, "Rollout", told).await["provenance"].take();
        let value = json!({ "kind": "TEXT", "value": "Retainer" }).to_string();
        let authority = json!({ "field": "custom.*", "policy": "AUTHORITATIVE", "arms": ["CRM"] });
        let source = json!({ "sourcePath": "properties.delivery_model", "value": value });
        let expected = json!({
            "field": "custom.deliveryModel", "value": value, "decision": "ONLY_VOICE", "source": source,
            "authority": authority,
        });
        assert_eq!(told, expected);
    })
    .await;
}

/// The id of an opportunity at its only system.
async fn id_there(graph: &Graph, name: &str) -> String {
    let node = shown(graph, name, "externalRefs { remoteId }").await;
    node["externalRefs"][0]["remoteId"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn which_fields_there_are_is_told_and_wrong_settings_are_refused_by_their_path() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let graph = Graph::over(crm.app.clone()).await;
        map(&crm, every_kind()).await;
        let id = crm.connection().record.id;
        let list = "query($entity: Entity, $connectionId: ID) { customFieldDefinitions(entity: $entity, \
                    connectionId: $connectionId) { entity name label kind property connection { name } } }";
        let ask = async |variables: Json| {
            graph.data(AuthContext::system(), list, variables).await["customFieldDefinitions"].take()
        };
        let all = ask(json!({})).await;
        assert_eq!(all.as_array().map(Vec::len), Some(6), "{all}");
        let first = json!({
            "entity": "OPPORTUNITY", "name": "deliveryModel", "label": "Delivery model", "kind": "TEXT",
            "property": "delivery_model", "connection": { "name": "hubspot" },
        });
        assert!(all.as_array().is_some_and(|all| all.contains(&first)), "{all}");
        assert_eq!(ask(json!({ "entity": "OPPORTUNITY", "connectionId": id })).await, all);
        assert_eq!(ask(json!({ "entity": "ACCOUNT" })).await, json!([]));
        assert_eq!(ask(json!({ "connectionId": graph.billing })).await, json!([]));

        let good = json!({ "property": "region", "kind": "TEXT" });
        let field = |name: &str, field: &Json| json!({ "custom_fields": { "opportunity": { name: field } } });
        let many: serde_json::Map<String, Json> = (0..51).map(|place| (format!("f{place}"), good.clone())).collect();
        for (mapping, path, code) in [
            (field("Region", &good), &["custom_fields", "opportunity", "Region"][..], "INVALID"),
            (field("closeOn", &good), &["custom_fields", "opportunity", "closeOn"], "INVALID"),
            (
                field("region", &json!({ "property": "region", "kind": "MONEY" })),
                &["custom_fields", "opportunity", "region", "kind"],
                "INVALID",
            ),
            (
                field("region", &json!({ "kind": "TEXT" })),
                &["custom_fields", "opportunity", "region", "property"],
                "REQUIRED",
            ),
            (
                field("region", &json!({ "property": "a,b", "kind": "TEXT" })),
                &["custom_fields", "opportunity", "region", "property"],
                "INVALID",
            ),
            (json!({ "custom_fields": { "opportunity": many } }), &["custom_fields", "opportunity"], "LIMIT_EXCEEDED"),
            (json!({ "custom_fields": { "invoice": {} } }), &["custom_fields", "invoice"], "INVALID"),
        ] {
            let path: Vec<&str> = ["input", "mapping"].into_iter().chain(path.iter().copied()).collect();
            for mutation in ["previewMapping", "saveMapping"] {
                let kind = format!("{}{}Input!", mutation[..1].to_uppercase(), &mutation[1..]);
                let query = format!(
                    "mutation($input: {kind}) {{ {mutation}(input: $input) {{ userErrors {{ field code message }} }} }}"
                );
                let mut input = json!({ "connectionId": id, "mapping": mapping });
                if mutation == "saveMapping" {
                    input["expectedVersion"] = json!(1);
                }
                let refused = graph.data(AuthContext::system(), &query, json!({ "input": input })).await;
                let error = &refused[mutation]["userErrors"][0];
                assert_eq!((&error["field"], &error["code"]), (&json!(path), &json!(code)), "{mapping}: {refused}");
            }
        }
        let many: Vec<String> = (0..101).map(|place| format!("f{place}")).collect();
        let query =
            "query($names: [String!]) { opportunities(first: 1) { nodes { customFields(names: $names) { name } } } }";
        let refused = graph.run(AuthContext::system(), query, json!({ "names": many })).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{refused}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_takes_no_more_statements_for_the_custom_fields_of_its_rows() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let graph = Graph::over(crm.app.clone()).await;
        map(&crm, every_kind()).await;
        for number in 0..20 {
            deal(&crm, &format!("Deal {number:02}"), &json!({ "delivery_model": "Retainer", "arr": "1" }));
        }
        crm.pull(Entity::Opportunity).await;
        let store = graph.app.store();
        let cost = async |selection: &str| {
            let before = store.statements();
            let query = format!(
                "{{ opportunities(first: 20, filter: {{ name: {{ contains: \"Deal\" }} }}) {{ nodes {{ name {selection} }} }} }}"
            );
            let data = graph.data(AuthContext::system(), &query, json!({})).await;
            (store.statements() - before, data["opportunities"]["nodes"].clone())
        };
        let (bare, _) = cost("").await;
        let (with, nodes) = cost(SHOWN).await;
        assert_eq!(with, bare, "they stand in the rows");
        let nodes = nodes.as_array().expect("nodes");
        assert!(nodes.len() == 20 && nodes.iter().all(|node| node["customFields"].as_array().is_some_and(|all| all.len() == 2)));
    })
    .await;
}

/// An account as a system speaks of it, with a value of a custom field; null says that it holds none there.
async fn customer(system: &System, database: &Database, of: Option<AccountId>, custom: Option<Json>) -> Ingested {
    database.clock.advance(1_000);
    let claim = AccountClaim { account: of, name: Some("Acme".to_owned()), ..AccountClaim::default() };
    let mut fields = json!({ "name": "Acme" });
    if let Some(value) = custom {
        let tagged = if value.is_null() { value } else { json!({ "kind": "TEXT", "value": value }) };
        fields["custom.region"] = tagged;
    }
    let (asked_at, claim) = (database.clock.now(), Claim::Account(claim));
    system.say(Said { remote_id: "c1", version: None, asked_at, claim, fields }).await
}

async fn region_of(system: &System, id: AccountId) -> Option<String> {
    let account = accounts_by_ids(system.store(), &RowScope::All, &[id]).await.expect("read").remove(0);
    match account.custom.get("region") {
        Some(CustomValue::Text(text)) => Some(text.clone()),
        None => None,
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_systems_that_map_one_field_disagree_until_a_person_decides() {
    on_each_database(async |database| {
        let mut rules = FieldRules::default();
        rules.set((Entity::Account, "custom.region"), Authority::Shared, Some(OnConflict::Held)).expect("a field");
        let mut one = System::new(database, "hubspot", &[Arm::Crm]).await;
        let mut other = System::new(database, "tryton", &[Arm::Crm]).await;
        one.app = one.app.with_rules(rules.clone());
        other.app = other.app.with_rules(rules);
        let id: AccountId = id_of(&customer(&one, database, None, Some(json!("EMEA"))).await);
        customer(&other, database, Some(id), Some(json!("EMEA"))).await;
        customer(&one, database, Some(id), Some(json!("DACH"))).await;
        assert_eq!(region_of(&one, id).await.as_deref(), Some("DACH"), "it moves on from what both agreed on");
        customer(&other, database, Some(id), Some(json!("Europe"))).await;
        assert_eq!(region_of(&one, id).await.as_deref(), Some("DACH"), "the other did not know of that");
        let graph = Graph::over(one.app.clone()).await;
        let list = "query($id: ID!) { conflicts(filter: { recordId: { eq: $id }, status: { eq: OPEN } }) \
                    { nodes { id field reason agreed voices { value } } } \
                    account(id: $id) { provenance(field: \"custom.region\") { conflict { id } overruled { value } } } }";
        let open = graph.data(AuthContext::system(), list, json!({ "id": id })).await;
        let conflict = &open["conflicts"]["nodes"][0];
        assert_eq!((&conflict["field"], &conflict["reason"]), (&json!("custom.region"), &json!("BOTH_CHANGED")));
        assert_eq!(open["account"]["provenance"]["conflict"]["id"], conflict["id"]);
        let decide = async |value: &str| {
            let input = json!({ "conflictId": conflict["id"], "value": value });
            graph.decide(AuthContext::system(), "resolveConflict", "conflict { status }", input).await
        };
        for wrong in ["\"Europe\"", "{\"kind\":\"NUMBER\",\"value\":\"much\"}"] {
            assert_eq!(decide(wrong).await["codes"], json!(["INVALID"]), "{wrong}");
        }
        let decided = decide("{\"kind\":\"TEXT\",\"value\":\"Europe\"}").await;
        assert_eq!(decided["conflict"]["status"], "RESOLVED", "{decided}");
        assert_eq!(region_of(&one, id).await.as_deref(), Some("Europe"));
        assert_eq!(decide("null").await["codes"], json!([]));
        assert_eq!(region_of(&one, id).await, None, "a person may say that there is none");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_account_the_crm_is_followed_and_what_it_maps_no_more_is_left_to_billing() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        let id: AccountId = id_of(&customer(&crm, database, None, Some(json!("EMEA"))).await);
        customer(&billing, database, Some(id), Some(json!("Europe"))).await;
        assert_eq!(region_of(&crm, id).await.as_deref(), Some("EMEA"));
        customer(&crm, database, Some(id), None).await;
        assert_eq!(region_of(&crm, id).await.as_deref(), Some("Europe"), "the CRM is not told of the field any more");
        customer(&crm, database, Some(id), Some(json!("EMEA"))).await;
        assert_eq!(region_of(&crm, id).await.as_deref(), Some("EMEA"));
        customer(&billing, database, Some(id), None).await;
        assert_eq!(region_of(&crm, id).await.as_deref(), Some("EMEA"));
        customer(&crm, database, Some(id), None).await;
        assert_eq!(region_of(&crm, id).await, None, "nobody speaks of it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_taken_apart_keeps_what_its_own_system_says_and_one_that_is_merged_has_both() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        let graph = Graph::over(crm.app.clone()).await;
        let id: AccountId = id_of(&customer(&crm, database, None, None).await);
        customer(&billing, database, Some(id), Some(json!("Europe"))).await;
        assert_eq!(region_of(&crm, id).await.as_deref(), Some("Europe"));
        let split = json!({ "recordId": id, "connectionId": billing.connection, "remoteId": "c1" });
        let split = graph.decide(AuthContext::system(), "splitRecord", "decision { intoId }", split).await;
        let own: AccountId = split["decision"]["intoId"].as_str().and_then(|id| id.parse().ok()).expect("an account");
        assert_eq!(region_of(&crm, own).await.as_deref(), Some("Europe"));
        assert_eq!(region_of(&crm, id).await, None, "its own system says nothing of it");
        let merge = json!({ "recordId": own, "intoId": id });
        let merged = graph.decide(AuthContext::system(), "mergeRecords", "decision { kind }", merge).await;
        assert_eq!(merged["codes"], json!([]), "{merged}");
        assert_eq!(region_of(&crm, id).await.as_deref(), Some("Europe"));
        let again =
            graph.decide(AuthContext::system(), "splitRecord", "decision { kind }", json!({ "recordId": own })).await;
        assert_eq!(again["codes"], json!([]), "{again}");
        assert_eq!(region_of(&crm, own).await.as_deref(), Some("Europe"));
        assert_eq!(region_of(&crm, id).await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_a_custom_field_is_erased_and_comes_back_by_no_way() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let sponsor = json!({ "custom_fields": { "opportunity": {
            "sponsor": { "property": "sponsor", "kind": "TEXT" },
            "notes": { "property": "notes", "kind": "TEXT" },
            "arr": { "property": "arr", "kind": "NUMBER" },
        } } });
        map(&crm, sponsor).await;
        let properties = json!({ "sponsor": "Ann Lee", "notes": "Ask Ann Lee first", "arr": "Ann Lee" });
        let id = deal(&crm, "Rollout", &properties);
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        assert_eq!(text(&one(&crm, "Rollout").await, "sponsor").as_deref(), Some("Ann Lee"));
        let version = one(&crm, "Rollout").await.version;
        let who =
            ErasePerson { names: vec!["Ann Lee".to_owned()], reason: "asked for".to_owned(), ..ErasePerson::default() };
        crm.app.erase_person(&AuthContext::system(), who).await.expect("decided").expect("it is begun");
        assert!(crm.engine.erase().await.expect("the database answers"));
        let is_clean = async |when: &str| {
            let record = one(&crm, "Rollout").await;
            let shown = serde_json::to_string(&record.custom).expect("JSON");
            assert!(!shown.contains("Ann") && shown.contains("Ask [erased:"), "{when}: {shown}");
            let (ours, connection) = (record.id.to_string(), crm.connection().record.id);
            let said = latest_assertion(crm.app.store(), connection, &ours, &id).await;
            let said = said.expect("read").expect("it spoke");
            let all = serde_json::to_string(&said.fields).expect("JSON");
            assert!(!all.contains("Ann"), "{when}: {all}");
            record
        };
        let record = is_clean("erased").await;
        assert!(record.version > version, "subscribers hear of it");
        // Every way in which the row comes again.
        change(&crm, &id, &json!({ "amount": "10" }));
        database.clock.advance(1_000);
        assert_eq!(crm.deliver().await, 1);
        crm.work().await;
        is_clean("a webhook").await;
        change(&crm, &id, &json!({ "amount": "11" }));
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        is_clean("a reading").await;
        let more = json!({ "custom_fields": { "opportunity": {
            "sponsor": { "property": "sponsor", "kind": "TEXT" },
            "notes": { "property": "notes", "kind": "TEXT" },
            "champion": { "property": "sponsor", "kind": "CHOICE" },
        } } });
        map(&crm, more).await;
        crm.engine.remap().await.expect("the database answers");
        let record = is_clean("mapped anew").await;
        assert_eq!(record.custom.get("champion"), None, "of what was erased the system is taken not to have spoken");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_what_is_missing_how_to_bring_it_and_who_said_a_value() {
    let clock = crosstie_app::SystemClock::default();
    let fake = crosstie_connectors::fakes::HubspotFake::new(None, crosstie_sdk::Secret::new("x"), 1);
    let now = move || clock.now();
    let vendor = crate::support::HostedVendor::start(fake, now, |_| std::time::Duration::ZERO).await;
    let body = json!({ "properties": { "dealname": "Rollout", "region": "EMEA" } }).to_string().into_bytes();
    let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
    let url = "https://api.hubapi.com/crm/v3/objects/deals".to_owned();
    let request = crosstie_sdk::HttpRequest { method: Method::Post, url, headers, body };
    let made =
        crosstie_sdk::FakeVendor::respond(&mut *vendor.vendor(), &request, crosstie_app::SystemClock::default().now());
    assert_eq!(made.status, 201);
    let config = format!(
        "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"crm\"\n\
         connector = \"hubspot\"\nbase_url = \"{}\"\ntoken = \"test-key\"\nwebhook_secrets = [\"x\"]\n",
        vendor.url
    );
    let Some(binary) = Binary::find("custom fields on the command line", &config) else { return };
    binary.done(&["migrate"]).await;
    binary.done(&["sync", "run", "crm", "--entity", "opportunity"]).await;
    binary.write("mapping.json", &region("region").to_string());
    let missing = "opportunity custom.region: 1 row(s) do not hold \"region\"";
    let command = "crosstie refresh start crm --entity opportunity --yes";
    let said = binary.done(&["mapping", "preview", "crm", "mapping.json"]).await;
    assert!(said.contains(missing) && said.contains(command), "{said}");
    let said = binary.done(&["mapping", "save", "crm", "mapping.json", "--expected-version", "0"]).await;
    assert!(said.starts_with("crm: mapping version 1") && said.contains(missing) && said.contains(command), "{said}");
    // What a person sets by the configuration alone is refused by its path, too.
    let wrong =
        format!("{config}[connections.settings.custom_fields.account.name]\nproperty = \"x\"\nkind = \"TEXT\"\n");
    binary.write("wrong.toml", &wrong);
    let refused = binary.refused(&["mapping", "show", "crm", "--config", "wrong.toml"]).await;
    assert!(refused.contains("custom_fields.account.name"), "{refused}");
    let more = format!(
        "{config}[connections.settings.custom_fields.opportunity.area]\nproperty = \"region\"\nkind = \"TEXT\"\n\
         [[authority]]\nentity = \"opportunity\"\nfield = \"custom.*\"\npolicy = \"shared\"\n"
    );
    binary.write("more.toml", &more);
    binary.write("empty.json", "{}");
    binary.done(&["mapping", "save", "crm", "empty.json", "--expected-version", "1", "--config", "more.toml"]).await;
    // A deal that comes now is read with what is configured.
    let body = json!({ "properties": { "dealname": "Audit", "region": "APAC" } }).to_string().into_bytes();
    let request = crosstie_sdk::HttpRequest { body, ..request };
    crosstie_sdk::FakeVendor::respond(&mut *vendor.vendor(), &request, crosstie_app::SystemClock::default().now());
    binary.done(&["sync", "run", "crm", "--entity", "opportunity", "--config", "more.toml"]).await;
    let file = binary.folder().join("data/crosstie.db");
    let database = Database::at(&format!("sqlite://{}?mode=rwc", file.display()));
    let store = database.open().await;
    let request = crosstie_store::PageRequest {
        condition: crosstie_store::Condition::All(vec![]),
        order: vec![(crosstie_store::pipeline::OpportunityColumn::Id, crosstie_store::Direction::Ascending)],
        span: crosstie_store::Span::First(10, None),
    };
    let found = crosstie_store::pipeline::opportunities(&store, &RowScope::All, &request).await.expect("read").rows;
    let audit = found.into_iter().map(|(row, _)| row).find(|row| row.name == "Audit").expect("it was read");
    assert_eq!(text(&audit, "area").as_deref(), Some("APAC"));
    let said = binary.done(&["why", &audit.id.to_string(), "custom.area", "--config", "more.toml"]).await;
    for part in
        ["custom.area: {\"kind\":\"TEXT\",\"value\":\"APAC\"}", "rule: shared", "said by crm", "properties.region"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(binary.refused(&["why", &audit.id.to_string(), "custom.Area"]).await.contains("custom.*"));
}
