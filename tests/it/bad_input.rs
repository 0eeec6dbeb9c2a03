//! Every way in which a vendor can lie: none stops the others, none is lost, and each has a code.

mod hooks;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crosstie_app::App;
use crosstie_domain::{
    Clock,
    access::RowScope,
    integration::{ConnectionMode, Entity, RunStatus, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{
    Credentials, FakeVendor, HttpRequest, HttpResponse, MemoryTransport, Method, NetOptions, Secret, Settings,
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    billing::{InvoiceColumn, invoices},
    integration::{ParkedColumn, parked_rows},
    pipeline::{AccountColumn, accounts},
};
use crosstie_sync::{ConnectionSetup, Connections, Engine, ReadingOptions};
use serde_json::{Value as Json, json};

use crate::support::{Crm, Database, on_each_database};

/// What the vendor signs its webhooks with.
const SECRET: &str = "whsec_test";

/// A vendor that answers each list with the next of these, and then as an honest one would.
struct Liar {
    lies: VecDeque<HttpResponse>,
    customers: Vec<Json>,
}

impl FakeVendor for Liar {
    fn respond(&mut self, request: &HttpRequest, _now: crosstie_domain::Instant) -> HttpResponse {
        if let Some(lie) = self.lies.pop_front() {
            return lie;
        }
        let path = request.path().to_owned();
        match path.strip_prefix("/v1/customers/") {
            Some(id) => match self.customers.iter().find(|customer| customer["id"] == id) {
                Some(customer) => HttpResponse::json(200, customer),
                None => HttpResponse::empty(404),
            },
            None if path == "/v1/customers" => {
                HttpResponse::json(200, &json!({ "data": self.customers, "has_more": false }))
            }
            None => HttpResponse::json(200, &json!({ "data": [], "has_more": false })),
        }
    }
}

struct Scene {
    app: App,
    engine: Arc<Engine>,
    liar: Arc<Mutex<Liar>>,
}

fn customer(id: &str, name: &str) -> Json {
    json!({ "id": id, "object": "customer", "created": 1, "name": name, "email": null, "metadata": {} })
}

fn page(rows: &[Json], has_more: bool) -> HttpResponse {
    HttpResponse::json(200, &json!({ "object": "list", "data": rows, "has_more": has_more }))
}

fn body(status: u16, body: &str) -> HttpResponse {
    HttpResponse { status, headers: vec![], body: body.as_bytes().to_vec() }
}

async fn scene(database: &Database, lies: Vec<HttpResponse>) -> Scene {
    let customers = vec![customer("cus_1", "Acme"), customer("cus_2", "Brandt")];
    let liar = Arc::new(Mutex::new(Liar { lies: lies.into(), customers }));
    let app = App::new(database.open().await);
    let clock = Arc::clone(&database.clock);
    let setup = ConnectionSetup {
        name: "stripe".to_owned(),
        connector: crosstie_connectors::connector("stripe").expect("it ships"),
        net: NetOptions {
            base_url: None,
            credentials: Credentials::Bearer(Secret::new("test-key")),
            settings: Settings::default(),
            transport: Arc::new(MemoryTransport::new(Arc::clone(&liar), move || clock.now())),
        },
        webhook_secrets: vec![Secret::new(SECRET)],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: ReadingOptions::default(),
    };
    let connections = Connections::set_up(&app, vec![setup]).await.expect("the connection is good");
    let engine = Engine::new(app.clone(), connections, "test".to_owned());
    Scene { app, engine, liar }
}

fn all<C>(by: C) -> PageRequest<C> {
    let order = vec![(by, Direction::Ascending)];
    PageRequest { condition: Condition::All(vec![]), order, span: Span::First(10_000, None) }
}

impl Scene {
    async fn pull(&self, entity: Entity) -> SyncRunRecord {
        let connection = self.engine.connections().named("stripe").expect("it is configured");
        let mut reads = connection.connector.descriptor().reads.iter();
        let declared = reads.find(|declared| declared.entity == entity).expect("it is read");
        let run = self.engine.pull(connection, declared, RunTrigger::Manual).await;
        run.expect("the database answers").expect("nobody else reads")
    }

    async fn names(&self) -> Vec<String> {
        let page = accounts(self.app.store(), &RowScope::All, &all(AccountColumn::Name)).await.expect("read");
        page.rows.into_iter().map(|(row, _)| row.name).collect()
    }

    async fn parked(&self) -> Vec<String> {
        let page = parked_rows(self.app.store(), &RowScope::All, &all(ParkedColumn::Id)).await.expect("read");
        page.rows.into_iter().map(|(row, _)| row.code).collect()
    }
}

/// Lists that cannot be read to their end: the run fails with a code, keeps what it understood, and the next one is
/// whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lies_fails_its_run_with_a_code_and_loses_nothing() {
    let acme = || customer("cus_1", "Acme");
    let lies: Vec<(&str, Vec<HttpResponse>, &str)> = vec![
        ("a repeated cursor", vec![page(&[acme()], true), page(&[acme()], true)], "CURSOR_LOOP"),
        ("HTML with status 200", vec![body(200, "<html><body>Sign in</body></html>")], "SHAPE"),
        ("a truncated body", vec![body(200, "{\"data\": [{\"id\": \"cus_1\", \"na")], "SHAPE"),
        ("an empty body", vec![body(200, "")], "SHAPE"),
        ("an empty page in the middle", vec![page(&[acme()], true), page(&[], true)], "SHAPE"),
        ("a list that is none", vec![body(200, "{\"data\": 7, \"has_more\": -1}")], "SHAPE"),
        ("a page without ids that goes on", vec![page(&[json!({ "name": "No one" })], true)], "SHAPE"),
    ];
    on_each_database(async |database| {
        for (what, answers, code) in lies.clone() {
            let scene = scene(database, answers).await;
            let run = scene.pull(Entity::Account).await;
            assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some(code)), "{what}");
            scene.liar.lock().unwrap_or_else(PoisonError::into_inner).lies.clear();
            database.clock.advance(10_000_000);
            let run = scene.pull(Entity::Account).await;
            assert_eq!(run.status, RunStatus::Succeeded, "{what}: {run:?}");
            let names = scene.names().await;
            assert!(["Acme", "Brandt"].iter().all(|name| names.contains(&(*name).to_owned())), "{what}: {names:?}");
            forget_cursor(database).await;
        }
    })
    .await;
}

/// Rows that cannot be taken park alone, each with its code; the others land.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_lies_parks_alone_with_a_code() {
    let long_id = "x".repeat(300);
    let rows: Vec<(&str, Json, &str)> = vec![
        ("an id that changed its type", json!({ "id": 7, "name": "Seven" }), "UNREADABLE_ROW"),
        ("no id", json!({ "name": "No one" }), "UNREADABLE_ROW"),
        ("a row that is none", json!("cus_3"), "UNREADABLE_ROW"),
        ("a name that changed its type", json!({ "id": "cus_4", "name": { "first": "A" } }), "UNREADABLE_ROW"),
        ("a NUL in the id", customer("cus\u{0}5", "Nul"), "BAD_ID"),
        ("an id without end", customer(&long_id, "Long"), "BAD_ID"),
        ("an empty id", customer("", "Empty"), "BAD_ID"),
    ];
    on_each_database(async |database| {
        for (what, row, code) in rows.clone() {
            // The database is shared by the cases: each parks one row more.
            let rows = [row, customer("cus_1", "Acme"), customer("cus_2", "Brandt")];
            let scene = scene(database, vec![page(&rows, false)]).await;
            let before = scene.parked().await.len();
            let run = scene.pull(Entity::Account).await;
            assert_eq!((run.status, run.rows_parked), (RunStatus::Succeeded, 1), "{what}");
            let parked = scene.parked().await;
            assert_eq!((parked.len(), parked.last().map(String::as_str)), (before + 1, Some(code)), "{what}");
            assert_eq!(scene.names().await, ["Acme", "Brandt"], "{what}");
            forget_cursor(database).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_say_no_id_park_each_by_itself() {
    on_each_database(async |database| {
        let nameless = |name: &str| json!({ "id": null, "name": name });
        let rows = [nameless("One"), nameless("Two"), json!({ "name": "Three" }), customer("cus_1", "Acme")];
        let scene = scene(database, vec![page(&rows, false)]).await;
        let run = scene.pull(Entity::Account).await;
        assert_eq!((run.status, run.rows_parked), (RunStatus::Succeeded, 3));
        assert_eq!(scene.parked().await, ["UNREADABLE_ROW"; 3], "none takes the place of another");
        assert_eq!(scene.names().await, ["Acme"]);
    })
    .await;
}

/// Lets the next case begin with a first load.
async fn forget_cursor(database: &Database) {
    use sea_orm::ConnectionTrait;
    let raw = database.raw().await;
    raw.execute_unprepared("DELETE FROM cursors").await.expect("forgotten");
    raw.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_pages_that_can_be_understood_are_read_whole() {
    on_each_database(async |database| {
        let many: Vec<Json> = (0..1_000).map(|number| customer(&format!("cus_m{number}"), "Many")).collect();
        let long = "y".repeat(1_000_000);
        let scene = scene(
            database,
            vec![
                // A page that shrinks, and ids twice in one page and again in the next.
                page(&[customer("cus_1", "Acme"), customer("cus_1", "Acme")], true),
                page(&[customer("cus_2", "Brandt"), customer("cus_1", "Acme"), customer("cus_3", "Nul\u{0}")], true),
                page(&[customer("cus_4", &long)], true),
                // Ten times as many as were asked for.
                page(&many, false),
            ],
        )
        .await;
        let run = scene.pull(Entity::Account).await;
        assert_eq!((run.status, run.rows_read, run.rows_parked), (RunStatus::Succeeded, 1_006, 0), "{run:?}");
        let names = scene.names().await;
        assert_eq!(names.len(), 1_004, "each id once");
        assert!(names.contains(&"Nul\u{fffd}".to_owned()) && names.contains(&long));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_that_is_a_float_parks_and_is_never_rounded() {
    on_each_database(async |database| {
        let invoice = |id: &str, total: Json| {
            json!({ "id": id, "created": 1, "currency": "usd", "status": "open", "total": total, "amount_paid": 0,
                "lines": { "data": [], "has_more": false }, "metadata": {} })
        };
        let rows = [invoice("in_1", json!(19.99)), invoice("in_2", json!(1999)), invoice("in_3", json!("1999"))];
        let scene = scene(database, vec![page(&rows, false)]).await;
        let run = scene.pull(Entity::Invoice).await;
        assert_eq!((run.status, run.rows_parked), (RunStatus::Succeeded, 2));
        assert_eq!(scene.parked().await, ["UNREADABLE_ROW", "UNREADABLE_ROW"]);
        let page = invoices(scene.app.store(), &RowScope::All, &all(InvoiceColumn::Id)).await.expect("read");
        let totals: Vec<_> = page.rows.into_iter().map(|(row, _)| row.total.minor).collect();
        assert_eq!(totals, [1_999]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_time_in_the_future_or_without_a_zone_does_not_shut_out_what_comes_later() {
    on_each_database(async |database| {
        for (odd, expected) in [("2999-01-01T00:00:00Z", "future"), ("2026-11-23T10:00:00", "no zone")] {
            let crm = Crm::new(database).await;
            let id = crm.create("deals", "Rollout");
            crm.lose_webhooks();
            let lie = json!({ "id": id, "properties": { "dealname": expected, "hs_lastmodifieddate": odd } });
            let listed = json!({ "total": 1, "results": [lie] });
            crm.fake().fail_next(HttpResponse::json(200, &listed));
            crm.fake().fail_next(HttpResponse::json(200, &json!({ "status": "COMPLETE", "results": [] })));
            let run = crm.pull(Entity::Opportunity).await;
            assert_eq!((run.status, run.rows_changed), (RunStatus::Succeeded, 1), "{expected}");
            database.clock.advance(1_000);
            let name = format!("after {expected}");
            crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": name } }));
            crm.lose_webhooks();
            crm.pull(Entity::Opportunity).await;
            let names: Vec<_> = crm.opportunities().await.into_iter().map(|row| row.name).collect();
            assert!(names.contains(&name), "{names:?}");
        }
    })
    .await;
}
