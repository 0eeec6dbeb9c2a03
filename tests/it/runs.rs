//! Scheduled reading when the vendor fails, is slow, or says what cannot be understood.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crosstie_app::App;
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    Clock, Instant,
    access::{AuthContext, RowScope},
    integration::{ConnectionMode, Entity, ParkedRowRecord, RunStatus, RunTrigger, SweepStatus, SyncRunRecord},
    pipeline::OpportunityRecord,
};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, NetOptions, ReqwestTransport, Secret,
    Settings, Transport, TransportError,
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{Cursor, ParkedColumn, RunColumn, cursor, latest_sweep, parked_rows, slices_of, sync_runs},
    pipeline::{OpportunityColumn, opportunities},
};
use crosstie_sync::{ConnectionSetup, Connections, Engine, ReadingOptions};
use sea_orm::ConnectionTrait;
use serde_json::{Value as Json, json};

use crate::support::{Crm, Database, HostedVendor, Meanwhile, on_each_database, take_over};

/// An engine over one HubSpot; nothing runs by itself.
struct Scene {
    app: App,
    engine: Arc<Engine>,
}

fn memory(database: &Database, hubspot: &Arc<Mutex<HubspotFake>>) -> MemoryTransport<HubspotFake> {
    let clock = Arc::clone(&database.clock);
    MemoryTransport::new(Arc::clone(hubspot), move || clock.now())
}

async fn scene(database: &Database, base_url: Option<String>, transport: Arc<dyn Transport>) -> Scene {
    let app = App::new(database.open().await);
    let credentials = Credentials::Bearer(Secret::new("test-key"));
    let setup = ConnectionSetup {
        name: "hubspot".to_owned(),
        connector: crosstie_connectors::connector("hubspot").expect("it ships"),
        net: NetOptions { base_url, credentials, settings: Settings::default(), transport },
        webhook_secrets: vec![],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: ReadingOptions::default(),
    };
    let connections = Connections::set_up(&app, vec![setup]).await.expect("the connection is good");
    let engine = Engine::new(app.clone(), connections, "test".to_owned());
    Scene { app, engine }
}

impl Scene {
    /// Reads all deals that changed.
    async fn pull(&self) -> SyncRunRecord {
        let connection = self.engine.connections().named("hubspot").expect("it is configured");
        let mut reads = connection.connector.descriptor().reads.iter();
        let declared = reads.find(|declared| declared.entity == Entity::Opportunity).expect("deals are read");
        let run = self.engine.pull(connection, declared, RunTrigger::Manual).await;
        run.expect("the database answers").expect("nobody else reads")
    }

    async fn opportunities(&self) -> Vec<OpportunityRecord> {
        let request = PageRequest {
            condition: Condition::All(vec![]),
            order: vec![(OpportunityColumn::Name, Direction::Ascending)],
            span: Span::First(100, None),
        };
        let page = opportunities(self.app.store(), &RowScope::All, &request).await.expect("they can be read");
        page.rows.into_iter().map(|(row, _)| row).collect()
    }

    /// Kind, id and code of the rows that wait.
    async fn parked(&self) -> Vec<(Entity, String, String)> {
        self.parked_rows().await.into_iter().map(|row| (row.entity, row.remote_id, row.code)).collect()
    }

    async fn parked_rows(&self) -> Vec<ParkedRowRecord> {
        let request = PageRequest {
            condition: Condition::All(vec![]),
            order: vec![(ParkedColumn::Id, Direction::Ascending)],
            span: Span::First(10, None),
        };
        let page = parked_rows(self.app.store(), &RowScope::All, &request).await.expect("they can be read");
        page.rows.into_iter().map(|(row, _)| row).collect()
    }

    /// Status and code of every run, the first first.
    async fn history(&self) -> Vec<(RunStatus, Option<String>, i32)> {
        let request = PageRequest {
            condition: Condition::All(vec![]),
            order: vec![(RunColumn::Id, Direction::Ascending)],
            span: Span::First(100, None),
        };
        let page = sync_runs(self.app.store(), &RowScope::All, &request).await.expect("they can be read");
        page.rows.into_iter().map(|(run, _)| (run.status, run.error_code, run.attempt)).collect()
    }
}

/// Makes a record at HubSpot; its id.
fn create(hubspot: &mut HubspotFake, objects: &str, body: &Json, at: Instant) -> String {
    let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
    let url = format!("https://api.hubapi.com/crm/v3/objects/{objects}");
    let request = HttpRequest { method: Method::Post, url, headers, body: body.to_string().into_bytes() };
    let answer = hubspot.respond(&request, at);
    assert_eq!(answer.status, 201);
    let made: Json = serde_json::from_slice(&answer.body).expect("JSON");
    made["id"].as_str().expect("an id").to_owned()
}

fn create_deal(hubspot: &mut HubspotFake, name: &str, stage: &str, at: Instant) {
    let body = json!({ "properties": {
        "dealname": name, "dealstage": stage, "amount": "10.00", "deal_currency_code": "USD", "pipeline": "default",
    } });
    create(hubspot, "deals", &body, at);
}

fn hubspot_with(database: &Database, deals: &[(&str, &str)]) -> HubspotFake {
    let mut hubspot = HubspotFake::new(None, Secret::new("x"), 1);
    for (name, stage) in deals {
        create_deal(&mut hubspot, name, stage, database.clock.now());
    }
    database.clock.advance(10_000);
    hubspot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_vendor_fails_says_why_and_when_it_is_tried_again_and_then_succeeds() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &[("Rollout", "closedwon")])));
        let scene = scene(database, None, Arc::new(memory(database, &hubspot))).await;
        let fail = |answer| hubspot.lock().unwrap_or_else(PoisonError::into_inner).fail_next(answer);
        let wait = |run: &SyncRunRecord| run.next_attempt_at.expect("it is tried again").ms_since(database.clock.now());

        fail(HttpResponse::empty(500));
        let run = scene.pull().await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("TRANSIENT")));
        assert!((800..=1_200).contains(&wait(&run)), "{}", wait(&run));

        let mut throttled = HttpResponse::empty(429);
        throttled.headers.push(("retry-after".to_owned(), "42".to_owned()));
        fail(throttled);
        let run = scene.pull().await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("THROTTLED")));
        assert_eq!(wait(&run), 42_000, "as the vendor says");

        database.clock.advance(42_000);
        fail(HttpResponse::empty(401));
        let run = scene.pull().await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("NEEDS_REAUTH")));
        assert!(scene.opportunities().await.is_empty());

        database.clock.advance(400_000);
        let run = scene.pull().await;
        assert_eq!((run.status, run.rows_changed, run.attempt), (RunStatus::Succeeded, 1, 4));
        assert_eq!(scene.opportunities().await[0].name, "Rollout");
        let failed = |code: &str, attempt| (RunStatus::Failed, Some(code.to_owned()), attempt);
        let expected = [
            failed("TRANSIENT", 1),
            failed("THROTTLED", 2),
            failed("NEEDS_REAUTH", 3),
            (RunStatus::Succeeded, None, 4),
        ];
        assert_eq!(scene.history().await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_is_too_slow_fails_the_run_and_not_the_hub() {
    on_each_database(async |database| {
        let hubspot = hubspot_with(database, &[("Rollout", "closedwon")]);
        let slow = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (clock, is_slow) = (Arc::clone(&database.clock), Arc::clone(&slow));
        let delay = move |_: &HttpRequest| {
            if is_slow.load(std::sync::atomic::Ordering::SeqCst) { Duration::from_secs(60) } else { Duration::ZERO }
        };
        let hubspot = HostedVendor::start(hubspot, move || clock.now(), delay).await;
        let transport = ReqwestTransport::with_timeout(Duration::from_millis(300)).expect("the network can be used");
        let scene = scene(database, Some(hubspot.url.clone()), Arc::new(transport)).await;
        let run = scene.pull().await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("TRANSIENT")));
        assert!(run.next_attempt_at.is_some());
        slow.store(false, std::sync::atomic::Ordering::SeqCst);
        database.clock.advance(5_000);
        let run = scene.pull().await;
        assert_eq!((run.status, run.rows_changed), (RunStatus::Succeeded, 1));
    })
    .await;
}

/// Changes one deal, and every company, on its way into what no HubSpot documents.
struct Garbling {
    inner: MemoryTransport<HubspotFake>,
}

impl Garbling {
    async fn garbled(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let is_company = request.method == Method::Get && request.url.contains("/objects/companies/");
        let mut answer = self.inner.send(request).await?;
        let mut body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        if is_company {
            body["properties"] = json!("not an object");
        }
        let rows = body.get_mut("results").and_then(Json::as_array_mut).into_iter().flatten();
        for row in rows.filter(|row| row["properties"]["dealname"] == "Broken") {
            row["properties"] = json!("not an object");
        }
        answer.body = body.to_string().into_bytes();
        Ok(answer)
    }
}

impl Transport for Garbling {
    fn send<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.garbled(request))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_mapped_waits_alone_and_the_others_land() {
    on_each_database(async |database| {
        let deals = [("Alpha", "closedwon"), ("Broken", "closedwon"), ("Gamma", "closedwon")];
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &deals)));
        let scene = scene(database, None, Arc::new(Garbling { inner: memory(database, &hubspot) })).await;
        let run = scene.pull().await;
        assert_eq!((run.status, run.rows_read, run.rows_changed, run.rows_parked), (RunStatus::Succeeded, 3, 2, 1));
        let names: Vec<_> = scene.opportunities().await.into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["Alpha", "Gamma"]);
        let parked = scene.parked_rows().await;
        assert_eq!(parked.len(), 1);
        assert_eq!(parked[0].entity, Entity::Opportunity);
        assert!(parked[0].raw.contains("not an object"), "{:?}", parked[0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_not_mapped_keeps_the_name_that_the_vendor_gives_it() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &[("Odd", "stage-77")])));
        let scene = scene(database, None, Arc::new(memory(database, &hubspot))).await;
        let run = scene.pull().await;
        assert_eq!((run.status, run.rows_parked), (RunStatus::Succeeded, 0));
        let found = scene.opportunities().await;
        assert_eq!((found[0].stage, found[0].native_stage.as_deref()), (None, Some("stage-77")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_rows_refer_to_and_that_cannot_be_mapped_parks_under_its_own_kind() {
    on_each_database(async |database| {
        let mut hubspot = HubspotFake::new(None, Secret::new("x"), 1);
        let now = database.clock.now();
        let company = create(&mut hubspot, "companies", &json!({ "properties": { "name": "Acme" } }), now);
        let kind = json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5 }]);
        let deal = json!({
            "properties": { "dealname": "Rollout", "dealstage": "closedwon", "pipeline": "default" },
            "associations": [{ "to": { "id": company }, "types": kind }],
        });
        create(&mut hubspot, "deals", &deal, now);
        database.clock.advance(10_000);
        let hubspot = Arc::new(Mutex::new(hubspot));
        let scene = scene(database, None, Arc::new(Garbling { inner: memory(database, &hubspot) })).await;
        let run = scene.pull().await;
        assert_eq!((run.status, run.rows_changed, run.rows_parked), (RunStatus::Succeeded, 1, 1));
        let found = scene.opportunities().await;
        assert_eq!((found[0].name.as_str(), found[0].account_id), ("Rollout", None));
        let parked = scene.parked().await;
        assert_eq!(parked, [(Entity::Account, company, "SHAPE".to_owned())]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_databases_do_not_like_are_taken_all_the_same() {
    on_each_database(async |database| {
        let long = "x".repeat(6_000);
        let deals = [("Null\u{0}Name", "closedwon"), (long.as_str(), "closedwon"), ("Plain", "closedwon")];
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &deals)));
        let scene = scene(database, None, Arc::new(memory(database, &hubspot))).await;
        let run = scene.pull().await;
        assert_eq!((run.status, run.rows_changed, run.rows_parked), (RunStatus::Succeeded, 3, 0));
        let names: Vec<_> = scene.opportunities().await.into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["Null\u{fffd}Name".to_owned(), "Plain".to_owned(), long]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_its_process_left_unfinished_is_ended_by_the_next_one() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &[])));
        let scene = scene(database, None, Arc::new(memory(database, &hubspot))).await;
        let done = scene.pull().await;
        let store = scene.app.store();
        let tx = store.begin().await.expect("a transaction begins");
        let dead = SyncRunRecord { id: tx.new_id(), status: RunStatus::Running, finished_at: None, ..done };
        tx.save_run(&dead).await.expect("saved");
        tx.commit().await.expect("it commits");
        scene.pull().await;
        let history = scene.history().await;
        assert_eq!(history[1], (RunStatus::Failed, Some("INTERRUPTED".to_owned()), 1));
        assert!(history.iter().all(|(status, ..)| *status != RunStatus::Running), "{history:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_record_is_read_by_one_at_a_time_and_given_back_at_once() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &[("Rollout", "closedwon")])));
        let one = scene(database, None, Arc::new(memory(database, &hubspot))).await;
        let other = scene(database, None, Arc::new(memory(database, &hubspot))).await;
        assert_eq!(one.pull().await.rows_changed, 1);
        assert_eq!(other.pull().await.status, RunStatus::Succeeded, "the place is free at once");

        let connection = one.engine.connections().named("hubspot").expect("it is configured");
        let name = format!("pull:{}:opportunity", connection.record.id);
        let store = one.app.store();
        let lease = store.lease(&name, "somebody", 3_000).await.expect("asked").expect("taken");
        let declared = connection.reads().find(|declared| declared.entity == Entity::Opportunity).expect("it is read");
        let refused = one.engine.pull(connection, declared, RunTrigger::Manual).await.expect("the database answers");
        assert_eq!(refused, None);
        store.release_lease(&lease).await.expect("given back");
        assert!(one.engine.pull(connection, declared, RunTrigger::Manual).await.expect("it answers").is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_reads_that_lost_its_lease_meanwhile_is_not_kept() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let way = Meanwhile::over(crate::support::memory(&database.clock, &crm.hubspot));
        let slow = way.engine(&crm.app).await;
        let (connection, declared) = (crm.connection(), crm.declared(Entity::Opportunity));
        let (store, id) = (crm.app.store(), connection.record.id);
        let is_taken_over = |name: String| {
            let (clock, store) = (Arc::clone(&database.clock), store.clone());
            way.happens("deals", async move {
                take_over(&store, &clock, &name).await;
            });
        };
        let kept = async || {
            assert!(way.has_happened(), "HubSpot was asked");
            let cursor = cursor(store, id, Entity::Opportunity).await.expect("read");
            (crm.opportunities().await.len(), cursor.map(|cursor| (cursor.watermark, cursor.failures)))
        };
        crm.create("deals", "Rollout");
        crm.lose_webhooks();
        database.clock.advance(5_000);
        let here = slow.connections().named("hubspot").expect("it is configured");

        is_taken_over(format!("pull:{id}:opportunity"));
        let run = slow.pull(here, declared, RunTrigger::Manual).await.expect("the database answers").expect("a run");
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("TRANSIENT")));
        assert_eq!(kept().await, (0, None));

        is_taken_over(format!("sweep:{id}:opportunity"));
        slow.sweep(here, declared).await.expect("the database answers").expect("a sweep");
        let sweep = latest_sweep(store, id, Entity::Opportunity).await.expect("read").expect("it was begun");
        assert_eq!((sweep.status, sweep.pages), (SweepStatus::Listing, 0));
        assert_eq!(kept().await, (0, None));

        let wanted = crm.whole(Entity::Opportunity);
        let begun = crm.app.refresh(&AuthContext::system(), wanted).await.expect("decided").expect("it is begun");
        let backfill = begun.backfills[0].id;
        is_taken_over(format!("slice:{backfill}:0"));
        assert!(slow.work_on_backfills(here, declared).await.expect("the database answers"));
        let slice = slices_of(store, &[backfill]).await.expect("read").remove(0);
        assert_eq!((slice.pages, slice.failures), (0, 0));
        assert_eq!(kept().await, (0, None));
        database.clock.advance(3_000);
        assert_eq!(crm.pull(Entity::Opportunity).await.rows_changed, 1, "whoever has it reads it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_vendor_does_not_know_any_more_is_left_for_the_beginning_of_the_window() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        crm.create("deals", "Rollout");
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        let (store, id) = (crm.app.store(), crm.connection().record.id);
        let before = cursor(store, id, Entity::Opportunity).await.expect("read").expect("it is kept");
        let tx = store.begin().await.expect("a transaction begins");
        let until = Some(store.now());
        let lost = Cursor { window_until: until, more: Some(json!("somewhere")), ..before.clone() };
        tx.save_cursor(&lost).await.expect("saved");
        tx.commit().await.expect("it commits");
        crm.create("deals", "Upsell");
        crm.lose_webhooks();
        assert_eq!(crm.pull(Entity::Opportunity).await.error_code.as_deref(), Some("CURSOR_GONE"));
        let after = cursor(store, id, Entity::Opportunity).await.expect("read").expect("it is kept");
        assert_eq!((after.more, after.watermark), (None, before.watermark), "nothing counts as read");
        let run = crm.pull(Entity::Opportunity).await;
        assert_eq!((run.status, crm.opportunities().await.len()), (RunStatus::Succeeded, 2));
    })
    .await;
}

/// The way to a vendor whose clock is an hour behind ours, as the head of each answer says.
struct Behind {
    vendor: MemoryTransport<HubspotFake>,
}

#[async_trait::async_trait]
impl Transport for Behind {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut answer = self.vendor.send(request).await?;
        answer.headers.push(("date".to_owned(), "Mon, 23 Nov 2026 09:00:00 GMT".to_owned()));
        Ok(answer)
    }

    fn now(&self) -> Option<Instant> {
        self.vendor.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vendor_stamps_by_a_clock_that_is_behind_is_found_by_the_next_reading() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &[])));
        let scene = scene(database, None, Arc::new(Behind { vendor: memory(database, &hubspot) })).await;
        scene.pull().await;
        let an_hour_ago = database.clock.now().plus_ms(-3_600_000);
        {
            let mut vendor = hubspot.lock().unwrap_or_else(PoisonError::into_inner);
            create_deal(&mut vendor, "Rollout", "closedwon", an_hour_ago);
        }
        database.clock.advance(10_000);
        assert_eq!(scene.pull().await.rows_changed, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_row_is_mapped_anew_by_another_release_of_its_connector_and_by_no_other() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(hubspot_with(database, &[("Broken", "closedwon")])));
        let scene = scene(database, None, Arc::new(Garbling { inner: memory(database, &hubspot) })).await;
        scene.pull().await;
        let parked = scene.parked().await;
        assert_eq!(parked.len(), 1);

        // What an older release could not read is a whole row to this one.
        let url = format!("https://api.hubapi.com/crm/v3/objects/deals/{}?properties=dealname,dealstage", parked[0].1);
        let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
        let request = HttpRequest { method: Method::Get, url, headers, body: vec![] };
        let now = database.clock.now();
        let answer = hubspot.lock().unwrap_or_else(PoisonError::into_inner).respond(&request, now);
        let raw = String::from_utf8(answer.body).expect("text").replace('\'', "''");
        let rewrite = database.raw().await;
        let set = format!("UPDATE parked_rows SET raw = '{raw}'");
        rewrite.execute_unprepared(&set).await.expect("it is rewritten");
        scene.engine.retry_parked().await.expect("the database answers");
        assert_eq!(scene.parked().await.len(), 1, "this release has tried it");

        let set = "UPDATE parked_rows SET mapping_version = '0.0.1'";
        rewrite.execute_unprepared(set).await.expect("it is rewritten");
        scene.engine.retry_parked().await.expect("the database answers");
        assert_eq!(scene.parked().await, []);
        assert_eq!(scene.opportunities().await[0].name, "Broken");
    })
    .await;
}
