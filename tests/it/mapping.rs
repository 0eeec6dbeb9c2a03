//! Mapping as data: changed while the hub runs, looked at before, and history mapped anew without asking the vendor.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crosstie_app::{App, SaveMapping, SystemClock};
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    Clock, Instant,
    access::{AuthContext, RowScope},
    integration::{ConnectionMode, Entity, RemapStatus, RunTrigger},
    pipeline::{OpportunityRecord, OpportunityStage},
};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, NetOptions, Secret, Settings,
};
use crosstie_store::{
    Condition, Operand, Operator, count,
    integration::{latest_assertion, open_remaps, remaps},
    pipeline::OpportunityColumn,
};
use crosstie_sync::{ConnectionSetup, Connections, Engine};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value as Json, json};

use crate::support::{Binary, Crm, HostedVendor, Meanwhile, RunningHub, graph, memory, on_each_database, until};

fn now() -> Instant {
    SystemClock::default().now()
}

/// A stand-in for HubSpot that counts what it is asked.
struct Counted {
    hubspot: HostedVendor<HubspotFake>,
    calls: Arc<AtomicUsize>,
}

impl Counted {
    async fn start() -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let count = move |_: &HttpRequest| {
            counter.fetch_add(1, Ordering::SeqCst);
            Duration::ZERO
        };
        Self { hubspot: HostedVendor::start(HubspotFake::new(None, Secret::new("x"), 1), now, count).await, calls }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Makes a deal in a stage.
    fn deal(&self, name: &str, stage: &str) {
        assert_eq!(self.hubspot.vendor().respond(&new_deal(name, stage), now()).status, 201);
    }
}

/// What makes a deal in a stage.
fn new_deal(name: &str, stage: &str) -> HttpRequest {
    let body = json!({ "properties": {
        "dealname": name, "dealstage": stage, "amount": "10.00", "deal_currency_code": "USD", "pipeline": "default",
    } });
    let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
    let url = "https://api.hubapi.com/crm/v3/objects/deals".to_owned();
    HttpRequest { method: Method::Post, url, headers, body: body.to_string().into_bytes() }
}

/// The stages of the opportunities and what mapped them, by name.
async fn stages(hub: &RunningHub) -> Vec<(String, Json, String)> {
    let query = "{ opportunities(first: 100, orderBy: [{ field: NAME, direction: ASC }]) \
                 { nodes { name stage sources { mappingVersion } } } }";
    let nodes = hub.ask(query).await["opportunities"]["nodes"].take();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let read = |node: &Json| (text(&node["name"]), node["stage"].clone(), text(&node["sources"][0]["mappingVersion"]));
    nodes.as_array().expect("a list").iter().map(read).collect()
}

async fn connection_id(hub: &RunningHub) -> String {
    let found = hub.ask("{ connections(first: 1) { nodes { id } } }").await;
    found["connections"]["nodes"][0]["id"].as_str().expect("an id").to_owned()
}

/// Runs a mutation of the connection whose input is written out; its payload.
async fn decide(hub: &RunningHub, mutation: &str, input: &str, selection: &str) -> Json {
    let id = connection_id(hub).await;
    let query = format!(
        "mutation {{ {mutation}(input: {{ connectionId: \"{id}\", {input} }}) {{ {selection} userErrors \
         {{ field code message }} }} }}"
    );
    hub.ask(&query).await[mutation].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_looked_at_and_then_taken_up_by_a_hub_at_work_for_all_that_came_before() {
    on_each_database(async |database| {
        let crm = Counted::start().await;
        for number in 0..7 {
            crm.deal(&format!("Deal {number}"), if number < 5 { "legal_review" } else { "closedwon" });
        }
        let hub = RunningHub::start(database, vec![crm.hubspot.connection("hubspot", "secret")]).await;
        until("the deals are read", async || (stages(&hub).await.len() == 7).then_some(())).await;
        let before = stages(&hub).await;
        assert_eq!(before.iter().filter(|(_, stage, _)| stage.is_null()).count(), 5, "{before:?}");
        let connector_version = before[0].2.clone();

        let mapping = "mapping: { stages: { legal_review: \"COMMITTED\" } }";
        let selection = "preview { rowsSeen rowsChanged rowsParked rowsSkipped endCursor \
                         differences { entity outcome fields { name old new } } }";
        let looked = decide(&hub, "previewMapping", mapping, selection).await;
        assert_eq!(looked["userErrors"], json!([]), "{looked}");
        let preview = &looked["preview"];
        assert_eq!((&preview["rowsSeen"], &preview["rowsChanged"]), (&json!(7), &json!(5)), "{looked}");
        let field = json!([{ "name": "stage", "old": null, "new": "\"COMMITTED\"" }]);
        let difference = json!({ "entity": "OPPORTUNITY", "outcome": "CHANGES", "fields": field });
        assert_eq!(preview["differences"], json!(vec![difference; 5]), "{looked}");
        assert_eq!((&preview["endCursor"], stages(&hub).await), (&Json::Null, before), "a look changes nothing");

        let save = format!("{mapping}, expectedVersion: 0, reason: \"legal asked\"");
        let saved = decide(&hub, "saveMapping", &save, "mapping { version effective }").await;
        assert_eq!((&saved["userErrors"], &saved["mapping"]["version"]), (&json!([]), &json!(1)), "{saved}");
        let all = until("history is mapped anew", async || {
            let stages = stages(&hub).await;
            stages.iter().all(|(_, stage, _)| !stage.is_null()).then_some(stages)
        })
        .await;
        for (name, stage, version) in &all {
            let (expected, label) = match name.as_str() {
                "Deal 5" | "Deal 6" => ("WON", connector_version.clone()),
                _ => ("COMMITTED", format!("{connector_version}+1")),
            };
            assert_eq!((stage, version), (&json!(expected), &label), "{name}");
        }
        let id = connection_id(&hub).await;
        let query = format!(
            "{{ connectionMapping(connectionId: \"{id}\") {{ version versions {{ version reason actor }} remaps \
             {{ cause status rowsSeen rowsChanged rowsParked rowsSkipped }} }} }}"
        );
        let shown = until("the job ends", async || {
            let shown = hub.ask(&query).await["connectionMapping"].take();
            (shown["remaps"][0]["status"] == "DONE").then_some(shown)
        })
        .await;
        let job = json!({ "cause": "MAPPING", "status": "DONE", "rowsSeen": 7, "rowsChanged": 5, "rowsParked": 0,
                          "rowsSkipped": 0 });
        assert_eq!(shown["remaps"], json!([job]));
        assert_eq!((&shown["versions"][0]["reason"], &shown["version"]), (&json!("legal asked"), &json!(1)));
        // Back again, and once more by hand.
        let reverted = decide(&hub, "revertMapping", "toVersion: 0, expectedVersion: 1", "mapping { version }").await;
        assert_eq!(reverted["mapping"]["version"], 2, "{reverted}");
        until("the stages are as they were", async || {
            let stages = stages(&hub).await;
            (stages.iter().filter(|(_, stage, _)| stage.is_null()).count() == 5).then_some(())
        })
        .await;
        let stale = decide(&hub, "saveMapping", &save, "mapping { version }").await;
        assert_eq!((&stale["userErrors"][0]["code"], &stale["mapping"]), (&json!("CONFLICT"), &Json::Null));
        hub.stop().await;
    })
    .await;
}

/// A HubSpot in memory that counts what it is asked.
struct Counting {
    hubspot: HubspotFake,
    calls: usize,
}

impl FakeVendor for Counting {
    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        self.calls += 1;
        self.hubspot.respond(request, now)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_mapped_anew_after_a_mapping_fix_without_calling_the_vendor() {
    on_each_database(async |database| {
        let vendor = Counting { hubspot: HubspotFake::new(None, Secret::new("x"), 1), calls: 0 };
        let vendor = Arc::new(Mutex::new(vendor));
        let calls = || vendor.lock().expect("nobody panicked").calls;
        for number in 0..150 {
            let request = new_deal(&format!("Deal {number:03}"), "legal_review");
            vendor.lock().expect("nobody panicked").hubspot.respond(&request, database.clock.now());
        }
        database.clock.advance(10_000);
        let clock = Arc::clone(&database.clock);
        let transport = Arc::new(MemoryTransport::new(Arc::clone(&vendor), move || clock.now()));
        let app = App::new(database.open().await);
        let setup = ConnectionSetup {
            name: "hubspot".to_owned(),
            connector: crosstie_connectors::connector("hubspot").expect("it ships"),
            net: NetOptions {
                base_url: None,
                credentials: Credentials::Bearer(Secret::new("test-key")),
                settings: Settings::default(),
                transport,
            },
            webhook_secrets: vec![],
            arms: vec![],
            mode: ConnectionMode::TwoWay,
            reading: crosstie_sync::ReadingOptions::default(),
        };
        let connections = Connections::set_up(&app, vec![setup]).await.expect("the connection is good");
        let engine = Engine::new(app.clone(), connections, "test".to_owned());
        let connection = engine.connections().named("hubspot").expect("it is configured");
        let declared = connection.reads().find(|read| read.entity == Entity::Opportunity).expect("deals are read");
        let pull = async || {
            let run = engine.pull(connection, declared, RunTrigger::Manual).await;
            run.expect("the database answers").expect("nobody else reads")
        };
        assert_eq!(pull().await.rows_changed, 150);
        database.clock.advance(10_000);
        let asked = calls();

        let input = SaveMapping {
            connection_id: connection.record.id,
            document: json!({ "stages": { "legal_review": "COMMITTED" } }),
            expected_version: 0,
            reason: None,
            idempotency_key: None,
        };
        let saved = app.save_mapping(&AuthContext::system(), input).await.expect("decided");
        assert_eq!(saved.expect("it is good").version, 1);
        // A process that dies in the middle of it leaves the rest to the next one.
        let job = open_remaps(app.store()).await.expect("read").remove(0);
        let lease = app.store().lease("remap", "who died", 1).await.expect("asked").expect("taken");
        let half = app.remap_some(&lease, &job, 60).await.expect("mapped");
        let half = app.remap_some(&lease, &half, 60).await.expect("mapped");
        assert_eq!((half.rows_seen, half.rows_changed, half.status), (60, 60, RemapStatus::Running));
        database.clock.advance(10_000);
        engine.remap().await.expect("the database answers");
        let done = remaps(app.store(), connection.record.id, 1).await.expect("read").remove(0);
        assert_eq!((done.rows_seen, done.rows_changed, done.rows_skipped), (150, 150, 0));
        assert_eq!(done.status, RemapStatus::Done);
        assert_eq!(calls(), asked, "the vendor was not asked");

        // Lineage tells what was said by the old mapping and by the new one, and by which evidence.
        let raw = database.raw().await;
        let sql = "SELECT a.mapping_version, a.remote_version, e.raw FROM assertions a JOIN evidence e \
                   ON e.assertion_id = a.id WHERE a.remote_id = (SELECT MIN(remote_id) FROM assertions) \
                   ORDER BY a.observed_at, a.id";
        let rows = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.expect("read");
        let text = |index: usize, column: &str| rows[index].try_get::<String>("", column).expect("a text");
        let old = text(0, "mapping_version");
        assert_eq!((rows.len(), text(1, "mapping_version")), (2, format!("{old}+1")));
        assert_eq!(text(0, "remote_version"), text(1, "remote_version"));
        assert_eq!(text(0, "raw"), text(1, "raw"));
        raw.close().await.expect("it closes");

        // What is read from then on is mapped the same way, and is nothing new.
        engine.take_up_mappings().await.expect("the database answers");
        assert_eq!(pull().await.rows_changed, 0);
        let again = new_deal("Deal 150", "legal_review");
        vendor.lock().expect("nobody panicked").hubspot.respond(&again, database.clock.now());
        database.clock.advance(10_000);
        assert_eq!(pull().await.rows_changed, 1);
        let condition = Condition::Is(OpportunityColumn::Stage, Operator::Eq, Operand::Text("COMMITTED".to_owned()));
        let found = count::<OpportunityRecord>(app.store(), &RowScope::All, &condition).await.expect("counted");
        assert_eq!(found, 151);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mapped_while_the_mapping_changed_is_mapped_again_by_the_new_one() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let way = Meanwhile::over(memory(&database.clock, &crm.hubspot));
        let slow = way.engine(&crm.app).await;
        let deal = json!({ "properties": { "dealname": "Rollout", "dealstage": "legal_review" } });
        let made = crm.at_hubspot(Method::Post, "deals", &deal);
        crm.lose_webhooks();
        database.clock.advance(5_000);
        let connection = slow.connections().named("hubspot").expect("it is configured");
        let (app, connection_id) = (crm.app.clone(), connection.record.id);
        way.happens("deals/search", async move {
            let document = json!({ "stages": { "legal_review": "COMMITTED" } });
            let input =
                SaveMapping { connection_id, document, expected_version: 0, reason: None, idempotency_key: None };
            app.save_mapping(&AuthContext::system(), input).await.expect("decided").expect("it is good");
        });
        let run = slow.pull(connection, crm.declared(Entity::Opportunity), RunTrigger::Manual).await;
        assert_eq!(run.expect("the database answers").expect("nobody else reads").rows_changed, 1);
        assert!(way.has_happened());
        let deal = crm.opportunities().await.remove(0);
        assert_eq!(deal.stage, Some(OpportunityStage::Committed));
        let remote_id = made["id"].as_str().expect("an id");
        let said = latest_assertion(crm.app.store(), connection_id, &deal.id.to_string(), remote_id).await;
        let said = said.expect("read").expect("it is kept");
        assert!(said.mapping_version.ends_with("+1"), "{}", said.mapping_version);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_the_connector_does_not_understand_is_refused_and_names_the_key() {
    on_each_database(async |database| {
        let crm = Counted::start().await;
        let hub = RunningHub::start(database, vec![crm.hubspot.connection("hubspot", "secret")]).await;
        for (mapping, key) in [
            ("{ stagse: { a: \"WON\" } }", "stagse"),
            ("{ stages: { a: \"SOLD\" } }", "SOLD"),
            ("{ default_currency: \"XX\" }", "XX"),
            ("[1]", "object"),
        ] {
            for (mutation, more) in [("previewMapping", ""), ("saveMapping", ", expectedVersion: 0")] {
                let refused = decide(&hub, mutation, &format!("mapping: {mapping}{more}"), "").await;
                let error = &refused["userErrors"][0];
                assert_eq!((&error["code"], &error["field"][1]), (&json!("INVALID"), &json!("mapping")));
                assert!(error["message"].as_str().is_some_and(|message| message.contains(key)), "{refused}");
            }
        }
        let id = connection_id(&hub).await;
        let shown = hub.ask(&format!("{{ connectionMapping(connectionId: \"{id}\") {{ version schema }} }}")).await;
        let mapping = &shown["connectionMapping"];
        assert_eq!(mapping["version"], 0);
        let properties = mapping["schema"]["properties"].as_object().expect("properties");
        assert!(properties.contains_key("stages") && properties.contains_key("default_currency"), "{shown}");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_configured_has_nothing_to_map() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let id = json!(graph.billing);
        for (mutation, input) in [
            ("previewMapping", json!({ "connectionId": id, "mapping": {} })),
            ("saveMapping", json!({ "connectionId": id, "mapping": {}, "expectedVersion": 0 })),
            ("revertMapping", json!({ "connectionId": id, "toVersion": 0, "expectedVersion": 0 })),
            ("remapHistory", json!({ "connectionId": id })),
            ("remapHistory", json!({ "connectionId": id, "dryRun": true })),
        ] {
            let refused = graph.decide(AuthContext::system(), mutation, "", input).await;
            assert_eq!(refused["codes"], json!(["NOT_FOUND"]), "{mutation}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_looked_at_saved_and_put_back_on_the_command_line() {
    let crm = Counted::start().await;
    for name in ["A", "B"] {
        crm.deal(name, "legal_review");
    }
    let config = format!(
        "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"crm\"\n\
         connector = \"hubspot\"\nbase_url = \"{}\"\ntoken = \"test-key\"\nwebhook_secrets = [\"x\"]\n",
        crm.hubspot.url
    );
    let Some(binary) = Binary::find("the command line", &config) else { return };
    binary.done(&["migrate"]).await;
    binary.done(&["sync", "run", "crm", "--entity", "opportunity"]).await;
    let asked = crm.calls();
    binary.write("mapping.json", r#"{ "stages": { "legal_review": "COMMITTED" } }"#);
    let said = binary.done(&["mapping", "preview", "crm", "mapping.json"]).await;
    let summary = "2 row(s): 2 would change, 0 would park, 0 would be mapped, 0 without evidence";
    assert!(said.contains("stage: null -> \"COMMITTED\"") && said.ends_with(summary), "{said}");
    let save = ["mapping", "save", "crm", "mapping.json", "--expected-version", "0", "--reason", "legal asked"];
    assert_eq!(binary.done(&save).await, "crm: mapping version 1");
    assert!(binary.refused(&save).await.contains("version 1 now"));
    assert!(binary.done(&["mapping", "show", "crm"]).await.contains("legal_review"));
    assert!(binary.done(&["mapping", "show", "crm", "--schema"]).await.contains("default_currency"));
    let said = binary.done(&["mapping", "remap", "crm", "--dry-run"]).await;
    assert!(said.ends_with("2 row(s): 2 would change, 0 would park, 0 would be mapped, 0 without evidence"), "{said}");
    let said = binary.done(&["mapping", "remap", "crm", "--entity", "opportunity"]).await;
    assert!(said.contains("DONE: ") && said.ends_with(", 0 parked, 0 without evidence"), "{said}");
    let said = binary.done(&["mapping", "remap", "crm", "--dry-run"]).await;
    assert_eq!(said, "2 row(s): 0 would change, 0 would park, 0 would be mapped, 0 without evidence");
    let revert = ["mapping", "revert", "crm", "--to", "0", "--expected-version", "1"];
    assert_eq!(binary.done(&revert).await, "crm: mapping version 2, as version 0 was");
    let history = binary.done(&["mapping", "history", "crm"]).await;
    assert!(history.lines().count() == 2 && history.contains("legal asked"), "{history}");
    assert_eq!(crm.calls(), asked, "the vendor was not asked");
    binary.write("wrong.json", r#"{ "stagse": {} }"#);
    assert!(binary.refused(&["mapping", "preview", "crm", "wrong.json"]).await.contains("stagse"));
    binary.refused(&["mapping", "show", "nobody"]).await;
}

#[test]
fn every_connector_says_of_each_of_its_settings_what_it_is() {
    for connector in crosstie_connectors::connectors() {
        let odd = Settings::new(json!({ "__": 1 }));
        let refused = connector.check_settings(&odd).expect_err("no setting is called so").to_string();
        let named: BTreeSet<&str> = refused.split('`').skip(1).step_by(2).filter(|name| *name != "__").collect();
        let schema = connector.settings_schema();
        let described = schema["properties"].as_object().expect("properties");
        let described: BTreeSet<&str> = described.keys().map(String::as_str).collect();
        assert_eq!(described, named, "{}", connector.descriptor().id);
    }
}
