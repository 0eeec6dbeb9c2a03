//! What failed, or was done with, is taken up again: each item once, with a result, whoever dies in between; and what a
//! person corrected says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crosstie_domain::{
    access::AuthContext,
    ids::ConnectionId,
    integration::{Entity, InboundEventRecord, InboundStatus},
};
use crosstie_sdk::{HttpResponse, Method};
use crosstie_store::integration::{ArrivedDelivery, ArrivedEvent, InboxWriter, ParkedRow, open_replays};
use crosstie_sync::Engine;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value as Json, json};

use crate::support::{Crm, Database, Graph, Meanwhile, engine_over, events, memory, on_each_database, take_over};

/// A hub beside one HubSpot, and the graph over it; nothing runs by itself.
struct Scene {
    crm: Crm,
    graph: Graph,
}

async fn scene(database: &Database) -> Scene {
    let crm = Crm::new(database).await;
    let graph = Graph::over(crm.app.clone()).await;
    Scene { crm, graph }
}

impl Scene {
    fn hubspot(&self) -> ConnectionId {
        self.crm.connection().record.id
    }

    /// Keeps a delivery of these events.
    async fn arrive(&self, events: Vec<ArrivedEvent>, body: &[u8]) {
        let connection_id = self.hubspot();
        let (headers, mapping_version) = (json!([["content-type", "application/json"]]).to_string(), "1".to_owned());
        let delivery = ArrivedDelivery { connection_id, headers, body: body.to_vec(), events, mapping_version };
        InboxWriter::start(self.crm.app.store()).accept(delivery).await.expect("it is kept");
    }

    /// An event that came as it is here.
    async fn arrived(&self, event: ArrivedEvent, body: &[u8]) -> InboundEventRecord {
        let key = event.dedupe_key.clone();
        self.arrive(vec![event], body).await;
        let mut found = events(self.crm.app.store()).await.into_iter().filter(|event| event.dedupe_key == key);
        found.next_back().expect("it is there")
    }

    /// An event about a deal that was parked as it came.
    async fn parked(&self, key: &str, deal: &str) -> InboundEventRecord {
        let target = Some((Entity::Opportunity, deal.to_owned()));
        self.arrived(event(key, target, Some("UNMAPPABLE")), b"{}").await
    }

    async fn event(&self, id: &InboundEventRecord) -> InboundEventRecord {
        events(self.crm.app.store()).await.into_iter().find(|event| event.id == id.id).expect("it is there")
    }

    async fn decide(&self, mutation: &str, selection: &str, input: Json) -> Json {
        self.graph.decide(AuthContext::system(), mutation, selection, input).await
    }

    /// Takes events of HubSpot up again that fit a filter.
    async fn replay_events(&self, mut filter: Json, dry_run: bool) -> Json {
        filter["connectionId"] = json!({ "eq": self.hubspot() });
        let input = json!({ "filter": filter, "dryRun": dry_run });
        self.decide("replayInboundEvents", "steps { standing items replayed } job { id status items }", input).await
    }

    async fn replay_rows(&self) -> Json {
        let input = json!({ "filter": { "connectionId": { "eq": self.hubspot() } } });
        let done = self.decide("replayParkedRows", "steps { standing items } job { id }", input).await;
        self.work(&self.crm.engine).await;
        self.results(&done["job"]).await["results"]["nodes"].clone()
    }

    async fn work(&self, engine: &Arc<Engine>) {
        while engine.work_on_replays().await.expect("the database answers") {}
        while engine.process_event().await.expect("the database answers") {}
        while engine.work_on_replays().await.expect("the database answers") {}
    }

    async fn results(&self, job: &Json) -> Json {
        let query = "query($id: ID!) { replayJob(id: $id) { status items finishedAt counts { outcome items } \
                     results(first: 100) { nodes { itemId outcome code } pageInfo { hasNextPage } } } }";
        self.graph.data(AuthContext::system(), query, json!({ "id": job["id"] })).await["replayJob"].clone()
    }

    /// The parked rows of HubSpot, as the graph shows them.
    async fn rows(&self) -> Vec<Json> {
        let query = "query($id: ID!) { parkedRows(filter: { connectionId: { eq: $id } }) \
                     { nodes { id code version corrected raw corrections { was became actor reason } } } }";
        let data = self.graph.data(AuthContext::system(), query, json!({ "id": self.hubspot() })).await;
        data["parkedRows"]["nodes"].as_array().expect("rows").clone()
    }

    async fn park(&self, remote_id: &str, raw: &str) {
        let tx = self.crm.app.store().begin().await.expect("a transaction begins");
        let row = ParkedRow {
            connection_id: self.hubspot(),
            entity: Entity::Opportunity,
            remote_id: remote_id.to_owned(),
            code: "UNREADABLE_ROW".to_owned(),
            message: "it cannot be read".to_owned(),
            raw: raw.to_owned(),
            mapping_version: self.crm.connection().connector.descriptor().version.to_owned(),
        };
        tx.park_row(&row).await.expect("parked");
        tx.commit().await.expect("it commits");
    }

    /// The names of the deals that the hub knows.
    async fn deals(&self) -> Vec<String> {
        let ours = ["ours", "theirs"];
        let all = self.crm.opportunities().await.into_iter().map(|deal| deal.name);
        all.filter(|name| !ours.contains(&name.as_str())).collect()
    }
}

fn event(key: &str, target: Option<(Entity, String)>, problem: Option<&'static str>) -> ArrivedEvent {
    let problem = problem.map(|code| (code, "as it came".to_owned()));
    ArrivedEvent {
        dedupe_key: key.to_owned(),
        event_type: "deal.changed".to_owned(),
        target,
        occurred_at: None,
        problem,
    }
}

fn counts(job: &Json) -> BTreeMap<String, i64> {
    let counts = job["counts"].as_array().expect("counts").iter();
    counts
        .map(|one| (one["outcome"].as_str().expect("a word").to_owned(), one["items"].as_i64().expect("a number")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_7_events_that_failed_are_taken_up_again_with_a_result_for_each() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let (deal, gone) = (scene.crm.create("deals", "Rollout"), scene.crm.create("deals", "Gone"));
        scene.crm.delete("deals", &gone);
        scene.crm.lose_webhooks();
        let parked = scene.parked("one", &deal).await;
        let lost = scene.parked("two", &gone).await;
        let again = scene.parked("one", &deal).await;
        assert_eq!(again.status, InboundStatus::Duplicate);
        let ignored = scene.arrived(event("three", None, None), b"[]").await;
        assert_eq!(ignored.status, InboundStatus::Ignored);
        let query = "query($id: ID!) { inboundEvent(id: $id) { errorCode payload { headers { name value } body \
                     bodyBase64 bytes } } }";
        let shown = scene.graph.data(AuthContext::system(), query, json!({ "id": ignored.id })).await;
        let headers = json!([{ "name": "content-type", "value": "application/json" }]);
        let payload = json!({ "headers": headers, "body": "[]", "bodyBase64": "W10=", "bytes": 2 });
        assert_eq!(shown["inboundEvent"]["payload"], payload);

        let looked = scene.replay_events(json!({}), true).await;
        let steps = json!([
            { "standing": "PARKED", "items": 2, "replayed": true },
            { "standing": "IGNORED", "items": 1, "replayed": true },
            { "standing": "DUPLICATE", "items": 1, "replayed": false },
        ]);
        assert_eq!((&looked["steps"], &looked["job"]), (&steps, &Json::Null));
        assert!(open_replays(scene.crm.app.store()).await.expect("read").is_empty(), "a look begins nothing");
        assert_eq!(scene.event(&parked).await, parked);

        let done = scene.replay_events(json!({ "status": { "in": ["PARKED", "IGNORED"] } }), false).await;
        assert_eq!((&done["codes"], &done["job"]["items"]), (&json!([]), &json!(3)));
        scene.work(&scene.crm.engine).await;
        let job = scene.results(&done["job"]).await;
        assert_eq!(job["status"], "DONE");
        let results: BTreeMap<String, (Json, Json)> = job["results"]["nodes"]
            .as_array()
            .expect("results")
            .iter()
            .map(|one| {
                (one["itemId"].as_str().expect("an id").to_owned(), (one["outcome"].clone(), one["code"].clone()))
            })
            .collect();
        assert_eq!(results[&parked.id.to_string()], (json!("SUCCEEDED"), Json::Null));
        assert_eq!(results[&lost.id.to_string()], (json!("FAILED"), json!("GONE")), "one answer is not enough");
        assert_eq!(results[&ignored.id.to_string()], (json!("SKIPPED"), json!("NOT_FOLLOWED")));
        assert_eq!(scene.deals().await, ["Rollout"]);
        let stood = scene.event(&parked).await;
        assert_eq!((stood.status, stood.attempts, stood.error_code), (InboundStatus::Processed, 1, None));
        assert_eq!(scene.event(&again).await.status, InboundStatus::Duplicate, "duplicates stay duplicates");
    })
    .await;
}

#[tokio::test]
async fn metrics_count_each_item_of_a_replay_once_by_what_came_of_it() {
    on_each_database(async |database| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        // All of this test runs in one thread: what is counted in it is counted here, and nothing else is.
        let _here = metrics::set_default_local_recorder(&recorder);
        let lines = || {
            let text = shown.render();
            let replays = text.lines().filter(|line| line.starts_with("crosstie_replay")).map(str::to_owned);
            replays.collect::<BTreeSet<_>>()
        };
        let scene = scene(database).await;
        let (deal, gone) = (scene.crm.create("deals", "Rollout"), scene.crm.create("deals", "Gone"));
        scene.crm.delete("deals", &gone);
        scene.crm.lose_webhooks();
        for (key, deal) in [("one", &deal), ("two", &gone), ("three", &deal)] {
            scene.parked(key, deal).await;
        }
        scene.arrived(event("four", None, None), b"[]").await;
        let filter = json!({ "status": { "in": ["PARKED", "IGNORED"] } });
        scene.replay_events(filter, false).await;
        assert!(scene.crm.engine.work_on_replays().await.expect("the database answers"));
        assert!(lines().contains("crosstie_replays_open 1"), "{:?}", lines());
        scene.work(&scene.crm.engine).await;
        scene.crm.engine.work_on_replays().await.expect("the database answers");
        let series = |kind: &str, outcome: &str, items: u32| {
            format!("crosstie_replay_items_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {items}")
        };
        let mut expected = BTreeSet::from([
            "crosstie_replays_open 0".to_owned(),
            series("INBOUND_EVENTS", "SUCCEEDED", 2),
            series("INBOUND_EVENTS", "FAILED", 1),
            series("INBOUND_EVENTS", "SKIPPED", 1),
        ]);
        assert_eq!(lines(), expected);

        scene.park("odd", "[]").await;
        scene.replay_rows().await;
        scene.crm.engine.work_on_replays().await.expect("the database answers");
        expected.insert(series("PARKED_ROWS", "FAILED", 1));
        assert_eq!(lines(), expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_7_what_was_done_with_is_read_anew_and_what_fails_again_says_so() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let deal = scene.crm.create("deals", "Before");
        scene.crm.deliver().await;
        scene.crm.work().await;
        let rename = json!({ "properties": { "dealname": "After" } });
        database.clock.advance(10);
        scene.crm.at_hubspot(Method::Patch, &format!("deals/{deal}"), &rename);
        scene.crm.lose_webhooks();
        database.clock.advance(10);
        let filter = json!({ "status": { "eq": "PROCESSED" }, "remoteId": { "eq": deal } });
        let done = scene.replay_events(filter.clone(), false).await;
        assert_eq!(done["codes"], json!([]));
        scene.work(&scene.crm.engine).await;
        let job = scene.results(&done["job"]).await;
        assert_eq!(counts(&job).keys().collect::<Vec<_>>(), ["SUCCEEDED"]);
        assert_eq!(scene.deals().await, ["After"]);

        scene.crm.fake().fail_next(HttpResponse::empty(500));
        let done =
            scene.replay_events(json!({ "status": { "eq": "PROCESSED" }, "remoteId": { "eq": deal } }), false).await;
        scene.work(&scene.crm.engine).await;
        let job = scene.results(&done["job"]).await;
        assert_eq!(job["results"]["nodes"][0]["outcome"], "FAILED", "{job}");
        assert_eq!(job["results"]["nodes"][0]["code"], "TRANSIENT");

        let nothing = json!({ "status": { "eq": "PARKED" }, "remoteId": { "eq": "nobody" } });
        assert_eq!(scene.replay_events(nothing, false).await["codes"], json!(["NOT_FOUND"]));
        let filter = json!({ "remoteId": { "eq": deal } });
        let input = |reason: &str| json!({ "filter": filter, "reason": reason, "idempotencyKey": "once" });
        let once = scene.decide("replayInboundEvents", "job { id }", input("why")).await;
        let twice = scene.decide("replayInboundEvents", "job { id }", input("why")).await;
        assert!(once["job"]["id"].is_string(), "{once}");
        assert_eq!(once["job"], twice["job"], "one request is one job");
        let other = scene.decide("replayInboundEvents", "job { id }", input("otherwise")).await;
        assert_eq!(other["codes"], json!(["IDEMPOTENCY_KEY_REUSED"]));
        let long = json!({ "filter": {}, "reason": "x".repeat(501) });
        assert_eq!(scene.decide("replayInboundEvents", "job { id }", long).await["codes"], json!(["TOO_LONG"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_between_its_batches_goes_on_and_takes_each_item_once() {
    on_each_database(async |database| {
        const EVENTS: usize = 230;
        let scene = scene(database).await;
        let deals: Vec<String> = (0..5).map(|number| scene.crm.create("deals", &format!("Deal {number}"))).collect();
        scene.crm.lose_webhooks();
        let all = (0..EVENTS).map(|number| {
            let target = Some((Entity::Opportunity, deals[number % deals.len()].clone()));
            event(&format!("key {number}"), target, Some("UNMAPPABLE"))
        });
        scene.arrive(all.collect(), b"{}").await;
        let done = scene.replay_events(json!({ "status": { "eq": "PARKED" } }), false).await;
        let other = engine_over(&scene.crm.app, "other", Arc::new(memory(&database.clock, &scene.crm.hubspot))).await;
        assert!(scene.crm.engine.work_on_replays().await.expect("the first batch"));
        let begun = counts(&scene.results(&done["job"]).await);
        assert_eq!((begun["UNDER_WAY"], begun["WAITING"]), (100, 130));

        // The first process dies while it has the job.
        let store = scene.crm.app.store();
        let name = format!("replay:{}", done["job"]["id"].as_str().expect("an id"));
        let held = store.lease(&name, "dead", 3_000).await.expect("asked").expect("taken");
        assert!(!other.work_on_replays().await.expect("the database answers"), "somebody has it");
        database.clock.advance(3_000);
        scene.work(&other).await;
        assert!(!store.keep_lease(&held, 3_000).await.expect("asked"), "it was taken over");
        let job = scene.results(&done["job"]).await;
        assert_eq!(job["status"], "DONE");
        assert_eq!(counts(&job), BTreeMap::from([("SUCCEEDED".to_owned(), 230)]));
        assert_eq!(job["results"]["pageInfo"]["hasNextPage"], true);
        let ours = events(store).await.into_iter().filter(|event| event.connection_id == scene.hubspot());
        let tries: Vec<_> = ours.map(|event| (event.status, event.attempts)).collect();
        assert_eq!(tries, vec![(InboundStatus::Processed, 1); EVENTS], "each was tried once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_7_a_parked_row_is_corrected_mapped_again_without_asking_and_lineage_says_so() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let deal = scene.crm.create("deals", "Rollout");
        scene.crm.lose_webhooks();
        let good = scene.crm.at_hubspot(
            Method::Get,
            &format!("deals/{deal}?properties=dealname,hs_lastmodifieddate"),
            &Json::Null,
        );
        let mut bad = good.clone();
        bad["properties"] = json!("not an object");
        scene.park(&deal, &bad.to_string()).await;
        // Whoever asks the vendor from here on fails.
        scene.crm.fake().fail_next(HttpResponse::empty(500));
        let results = scene.replay_rows().await;
        assert_eq!(
            (&results[0]["outcome"], &results[0]["code"]),
            (&json!("FAILED"), &json!("UNREADABLE_ROW")),
            "{results}"
        );
        let row = scene.rows().await.remove(0);
        assert_eq!((&row["version"], &row["corrected"]), (&json!(1), &json!(false)));

        let edit = async |raw: &str, also: Json| {
            let mut input = json!({ "parkedRowId": row["id"], "raw": raw });
            for (name, value) in also.as_object().expect("fields") {
                input[name] = value.clone();
            }
            scene.decide("editParkedRow", "parkedRow { version corrected raw }", input).await
        };
        for (raw, also, codes) in [
            ("{", json!({}), json!(["INVALID"])),
            ("[]", json!({}), json!(["INVALID"])),
            ("{}", json!({ "expectedVersion": 4 }), json!(["CONFLICT"])),
            ("{}", json!({ "reason": "x".repeat(501) }), json!(["TOO_LONG"])),
        ] {
            assert_eq!(edit(raw, also).await["codes"], codes, "{raw}");
        }
        assert_eq!(scene.rows().await, std::slice::from_ref(&row), "a refusal changes nothing");
        let mut corrected = good;
        corrected["properties"]["dealname"] = json!("Corrected");
        let edited = edit(&corrected.to_string(), json!({ "expectedVersion": 1, "reason": "a broken export" })).await;
        assert_eq!((&edited["codes"], &edited["parkedRow"]["version"]), (&json!([]), &json!(2)));
        let waits = scene.rows().await.remove(0);
        assert_eq!(waits["corrected"], true);
        assert_eq!(waits["corrections"][0]["was"], row["raw"], "the original is kept beside it");
        assert!(scene.deals().await.is_empty(), "a correction applies nothing");

        let results = scene.replay_rows().await;
        assert_eq!(results[0]["outcome"], "SUCCEEDED", "{results}");
        assert!(scene.rows().await.is_empty());
        assert_eq!(scene.deals().await, ["Corrected"]);
        let deals = scene.crm.opportunities().await;
        let id = deals.iter().find(|deal| deal.name == "Corrected").expect("it is there").id;
        let query = "query($id: ID!) { opportunity(id: $id) { provenance(field: \"name\") \
                     { source { remoteId correction { actor reason was } } } } }";
        let told = scene.graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        let source = &told["opportunity"]["provenance"]["source"];
        assert_eq!(source["correction"]["actor"], "system", "{told}");
        assert_eq!((&source["correction"]["reason"], &source["remoteId"]), (&json!("a broken export"), &json!(deal)));

        // What the vendor says later is its own again.
        database.clock.advance(10);
        let rename = json!({ "properties": { "dealname": "Said there" } });
        // The failure that was laid out is still there: nobody asked.
        let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
        let url = format!("https://api.hubapi.com/crm/v3/objects/deals/{deal}");
        let request =
            crosstie_sdk::HttpRequest { method: Method::Patch, url, headers, body: rename.to_string().into_bytes() };
        let answer = crosstie_sdk::FakeVendor::respond(&mut *scene.crm.fake(), &request, scene.crm.app.store().now());
        assert_eq!(answer.status, 500, "no replay asked the vendor");
        scene.crm.at_hubspot(Method::Patch, &format!("deals/{deal}"), &rename);
        scene.crm.deliver().await;
        scene.crm.work().await;
        let told = scene.graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        assert_eq!(scene.deals().await, ["Said there"]);
        assert_eq!(told["opportunity"]["provenance"]["source"]["correction"], Json::Null, "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_never_readable_is_read_again() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let deal = scene.crm.create("deals", "Rollout");
        scene.crm.lose_webhooks();
        scene.park(&deal, "null").await;
        scene.park("nobody", "null").await;
        let results = scene.replay_rows().await;
        let outcomes: Vec<_> =
            results.as_array().expect("two").iter().map(|one| (&one["outcome"], &one["code"])).collect();
        assert_eq!(outcomes, [(&json!("SUCCEEDED"), &Json::Null), (&json!("FAILED"), &json!("GONE"))]);
        assert_eq!(scene.deals().await, ["Rollout"]);
        assert_eq!(scene.rows().await.len(), 1, "the other waits as it did");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_comes_to_that_lost_the_job_meanwhile_is_not_kept() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let deal = scene.crm.create("deals", "Rollout");
        scene.crm.lose_webhooks();
        scene.park(&deal, "null").await;
        let way = Meanwhile::over(memory(&database.clock, &scene.crm.hubspot));
        let slow = way.engine(&scene.crm.app).await;
        let input = json!({ "filter": { "connectionId": { "eq": scene.hubspot() } } });
        let job = scene.decide("replayParkedRows", "job { id }", input).await["job"].clone();
        let (name, store) = (format!("replay:{}", job["id"].as_str().expect("an id")), database.open().await);
        let clock = Arc::clone(&database.clock);
        way.happens("deals", async move {
            take_over(&store, &clock, &name).await;
        });
        assert!(!slow.work_on_replays().await.expect("the database answers"));
        assert!(way.has_happened(), "HubSpot was asked");
        assert_eq!(counts(&scene.results(&job).await), BTreeMap::from([("WAITING".to_owned(), 1)]));
        assert!(scene.deals().await.is_empty(), "nor is what it read");
        database.clock.advance(3_000);
        scene.work(&scene.crm.engine).await;
        assert_eq!(counts(&scene.results(&job).await), BTreeMap::from([("SUCCEEDED".to_owned(), 1)]));
        assert_eq!(scene.deals().await, ["Rollout"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_7_an_event_is_pointed_at_the_record_that_it_was_about() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let deal = scene.crm.create("deals", "Rollout");
        scene.crm.lose_webhooks();
        let lame = scene.arrived(event("body:1", None, Some("MALFORMED_PAYLOAD")), b"not json").await;
        let done = scene.replay_events(json!({ "id": { "eq": lame.id } }), false).await;
        scene.work(&scene.crm.engine).await;
        let result = scene.results(&done["job"]).await["results"]["nodes"][0].clone();
        assert_eq!((&result["outcome"], &result["code"]), (&json!("FAILED"), &json!("MALFORMED_PAYLOAD")));

        let edit = async |also: Json| {
            let mut input = json!({ "inboundEventId": lame.id, "entity": "OPPORTUNITY", "remoteId": deal });
            for (name, value) in also.as_object().expect("fields") {
                input[name] = value.clone();
            }
            let selection = "inboundEvent { status entity remoteId corrections { was became reason } }";
            scene.decide("editInboundEvent", selection, input).await
        };
        for (also, codes) in [
            (json!({ "remoteId": "" }), json!(["INVALID"])),
            (json!({ "entity": "INVOICE" }), json!(["INVALID"])),
            (json!({ "expectedStatus": "IGNORED" }), json!(["CONFLICT"])),
        ] {
            assert_eq!(edit(also.clone()).await["codes"], codes, "{also}");
        }
        let edited = edit(json!({ "expectedStatus": "PARKED", "reason": "read by eye" })).await;
        assert_eq!((&edited["codes"], &edited["inboundEvent"]["status"]), (&json!([]), &json!("PARKED")));
        let correction = &edited["inboundEvent"]["corrections"][0];
        assert_eq!(
            (&correction["was"], &correction["reason"]),
            (&json!("{\"entity\":null,\"remoteId\":null}"), &json!("read by eye"))
        );

        scene.replay_events(json!({ "id": { "eq": lame.id } }), false).await;
        scene.work(&scene.crm.engine).await;
        assert_eq!(scene.event(&lame).await.status, InboundStatus::Processed);
        assert_eq!(scene.deals().await, ["Rollout"]);
        assert_eq!(edit(json!({})).await["codes"], json!(["INVALID_TRANSITION"]), "it is done with");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_can_be_read_by_now_is_taken_in_event_by_event() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        scene.crm.create("deals", "Rollout");
        let sent = scene.crm.lost_body();
        // A release before this one could not read it.
        let lame = scene.arrived(event("body:2", None, Some("MALFORMED_PAYLOAD")), &sent).await;
        let done = scene.replay_events(json!({ "id": { "eq": lame.id } }), false).await;
        scene.work(&scene.crm.engine).await;
        let result = scene.results(&done["job"]).await["results"]["nodes"][0].clone();
        assert_eq!(result["outcome"], "SUCCEEDED", "{result}");
        assert_eq!(scene.event(&lame).await.status, InboundStatus::Processed);
        assert_eq!(scene.deals().await, ["Rollout"]);
    })
    .await;
}
