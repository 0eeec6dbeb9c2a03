//! Back-fills and refreshes: slices beside the incremental reading, which goes on from where it was.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crosstie_app::{App, Refresh};
use crosstie_domain::{
    access::{AuthContext, RowScope},
    integration::{BackfillRecord, BackfillStatus, Entity, RunTrigger},
};
use crosstie_sdk::{HttpRequest, HttpResponse, MemoryTransport, Method, Transport, TransportError};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{BackfillColumn, backfills, cursor, freshness_of, slices_of},
};
use crosstie_sync::Engine;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::json;

use crate::support::{Crm, engine_over, memory, on_each_database, runs, until};

async fn ask(app: &App, refresh: Refresh) -> crosstie_app::Refreshed {
    app.refresh(&AuthContext::system(), refresh).await.expect("the database answers").expect("it is done")
}

async fn all_backfills(app: &App) -> Vec<BackfillRecord> {
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(BackfillColumn::Id, Direction::Ascending)],
        span: Span::First(100, None),
    };
    let page = backfills(app.store(), &RowScope::All, &request).await.expect("read");
    page.rows.into_iter().map(|(row, _)| row).collect()
}

async fn work(crm: &Crm, engine: &Arc<Engine>) -> usize {
    let connection = engine.connections().named("hubspot").expect("it is configured");
    let mut worked = 0;
    while engine.work_on_backfills(connection, crm.declared(Entity::Opportunity)).await.expect("it works") {
        worked += 1;
    }
    worked
}

/// A hub that knows three deals, one of which says something else at HubSpot than what the hub heard.
async fn drifted(database: &crate::support::Database) -> (Crm, String) {
    let crm = Crm::new(database).await;
    let ids = ["Rollout", "Audit", "Support"].map(|name| crm.create("deals", name));
    crm.lose_webhooks();
    crm.pull(Entity::Opportunity).await;
    let rename = json!({ "properties": { "dealname": "Renamed" } });
    crm.at_hubspot(Method::Patch, &format!("deals/{}", ids[0]), &rename);
    crm.lose_webhooks();
    let [id, ..] = ids;
    (crm, id)
}

async fn names(crm: &Crm) -> Vec<String> {
    let mut names: Vec<String> = crm.opportunities().await.into_iter().map(|row| row.name).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_first_load_fills_is_counted_by_the_database_while_it_is_filled() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let raw = database.raw().await;
        if raw.get_database_backend() != DbBackend::Postgres {
            return; // SQLite plans without counting
        }
        let counted = async || -> f32 {
            let sql = "SELECT reltuples FROM pg_class WHERE oid = 'opportunities'::regclass";
            let row = raw.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
            row.expect("asked").expect("it is there").try_get("", "reltuples").expect("a number")
        };
        for number in 0..150 {
            crm.create("deals", &format!("Deal {number:03}"));
        }
        crm.lose_webhooks();
        assert!(counted().await < 1.0, "nobody has counted yet");
        crm.pull(Entity::Opportunity).await;
        until("it has counted after two pages", async || (counted().await >= 100.0).then_some(())).await;
        raw.close().await.expect("it closes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_says_first_what_it_will_do_and_then_does_it_without_moving_the_incremental() {
    on_each_database(async |database| {
        let (crm, _) = drifted(database).await;
        let id = crm.connection().record.id;
        let before = cursor(crm.app.store(), id, Entity::Opportunity).await.expect("read");
        let plan = ask(&crm.app, Refresh { dry_run: true, ..crm.whole(Entity::Opportunity) }).await;
        assert_eq!(plan.backfills, []);
        let step = &plan.steps[0];
        assert_eq!((plan.steps.len(), step.entity, step.known, step.estimated_pages), (1, Entity::Opportunity, 3, 1));
        assert!(!plan.untouched.is_empty());
        assert_eq!(work(&crm, &crm.engine).await, 0, "nothing was begun");

        let begun = ask(&crm.app, crm.whole(Entity::Opportunity)).await;
        assert_eq!(begun.backfills.len(), 1);
        assert_eq!(work(&crm, &crm.engine).await, 1);
        assert_eq!(names(&crm).await, ["Audit", "Renamed", "Support"]);
        let done = all_backfills(&crm.app).await.remove(0);
        assert_eq!((done.status, done.finished_at.is_some()), (BackfillStatus::Succeeded, true));
        let slice = slices_of(crm.app.store(), &[done.id]).await.expect("read").remove(0);
        assert_eq!((slice.rows_read, slice.rows_changed), (3, 1));
        let run = runs(crm.app.store()).await.pop().expect("a run");
        assert_eq!((run.trigger, Some(run.id)), (RunTrigger::Refresh, slice.run_id));
        assert_eq!(cursor(crm.app.store(), id, Entity::Opportunity).await.expect("read"), before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_and_one_window_can_be_read_again_and_nonsense_is_refused() {
    on_each_database(async |database| {
        let (crm, remote_id) = drifted(database).await;
        let record = crm.opportunities().await.into_iter().find(|row| row.name == "Rollout").expect("it is known");
        let base = crm.whole(Entity::Opportunity);
        let one = Refresh { entity: None, record_id: Some(record.id.to_string()), ..base.clone() };
        let begun = ask(&crm.app, one).await;
        assert_eq!(begun.backfills[0].remote_id.as_deref(), Some(remote_id.as_str()));
        work(&crm, &crm.engine).await;
        assert_eq!(names(&crm).await, ["Audit", "Renamed", "Support"]);

        let now = crm.app.store().now();
        let window = Refresh { since: Some(now.plus_ms(-3 * 86_400_000)), ..base.clone() };
        let begun = ask(&crm.app, window).await;
        assert_eq!(begun.steps[0].slices, 3);
        assert_eq!(work(&crm, &crm.engine).await, 3);
        assert!(all_backfills(&crm.app).await.iter().all(|row| row.status == BackfillStatus::Succeeded));

        for (refresh, field) in [
            (Refresh { entity: Some(Entity::Invoice), ..base.clone() }, "entity"),
            (Refresh { since: Some(now.plus_ms(1)), ..base.clone() }, "since"),
            (Refresh { record_id: Some("opp_nothing".to_owned()), ..base.clone() }, "recordId"),
            (Refresh { entity: None, remote_id: Some("1".to_owned()), ..base.clone() }, "entity"),
        ] {
            let refused = crm.app.refresh(&AuthContext::system(), refresh).await.expect("an answer");
            assert_eq!(refused.expect_err("it is refused")[0].field, ["input", field]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_one_key_a_refresh_begins_once() {
    on_each_database(async |database| {
        let (crm, _) = drifted(database).await;
        let refresh = Refresh { idempotency_key: Some("k".to_owned()), ..crm.whole(Entity::Opportunity) };
        let first = ask(&crm.app, refresh.clone()).await;
        let again = ask(&crm.app, refresh).await;
        assert_eq!(first.backfills, again.backfills);
        assert_eq!(all_backfills(&crm.app).await.len(), 1);
    })
    .await;
}

/// Lets so many searches through and then answers with a fault, or not at all, as if the process had been killed while it
/// waited.
struct Frozen {
    inner: MemoryTransport<crosstie_connectors::fakes::HubspotFake>,
    left: Arc<AtomicUsize>,
    fault: Option<HttpResponse>,
}

impl Frozen {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        if request.url.ends_with("/search")
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
        {
            match &self.fault {
                Some(fault) => return Ok(fault.clone()),
                None => std::future::pending().await,
            }
        }
        self.inner.send(request).await
    }
}

impl Transport for Frozen {
    fn send<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.answer(request))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_at_any_page_goes_on_from_there_and_reads_everything() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let count = 25;
        for number in 0..count {
            crm.create("deals", &format!("Deal {number:02}"));
        }
        crm.lose_webhooks();
        crm.fake().set_page_limit(5);
        let begun = ask(&crm.app, crm.whole(Entity::Opportunity)).await;
        let id = begun.backfills[0].id;
        let pages = async || slices_of(crm.app.store(), &[id]).await.expect("read")[0].pages;
        let mut killed = 0;
        loop {
            let (before, left) = (pages().await, Arc::new(AtomicUsize::new(2)));
            let inner = memory(&database.clock, &crm.hubspot);
            let transport = Frozen { inner, left: Arc::clone(&left), fault: None };
            let engine = engine_over(&crm.app, &format!("process {killed}"), Arc::new(transport)).await;
            let declared = crm.declared(Entity::Opportunity);
            let task = tokio::spawn(async move {
                let connection = engine.connections().named("hubspot").expect("it is configured");
                engine.work_on_backfills(connection, declared).await
            });
            until("it is stuck or done", async || {
                (task.is_finished() || left.load(Ordering::SeqCst) == 0).then_some(())
            })
            .await;
            // What was answered is written down before it is killed.
            until("its pages are kept", async || (task.is_finished() || pages().await > before).then_some(())).await;
            if task.is_finished() {
                break;
            }
            task.abort();
            assert!(task.await.is_err(), "it was killed");
            killed += 1;
            database.clock.advance(5_000);
            assert!(killed < 50, "it gets further each time");
        }
        assert!(killed > 3, "{killed}");
        assert_eq!(work(&crm, &crm.engine).await, 0);
        assert_eq!(names(&crm).await.len(), count);
        assert_eq!(all_backfills(&crm.app).await[0].status, BackfillStatus::Succeeded);
        let slice = slices_of(crm.app.store(), &[id]).await.expect("read").remove(0);
        assert_eq!(slice.rows_changed, i32::try_from(count).expect("few"), "every record once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_listed_before_a_fault_is_kept_and_no_row_is_read_twice() {
    for pages in 0..5 {
        on_each_database(async |database| {
            let crm = Crm::new(database).await;
            for number in 0..25 {
                crm.create("deals", &format!("Deal {number:02}"));
            }
            crm.lose_webhooks();
            crm.fake().set_page_limit(5);
            let id = ask(&crm.app, crm.whole(Entity::Opportunity)).await.backfills[0].id;
            let inner = memory(&database.clock, &crm.hubspot);
            // HubSpot is asked twice for a page: for what comes after a moment, and for the rest of that moment.
            let left = Arc::new(AtomicUsize::new(pages * 2));
            let transport = Frozen { inner, left, fault: Some(HttpResponse::empty(500)) };
            let engine = engine_over(&crm.app, "unlucky", Arc::new(transport)).await;
            assert_eq!(work(&crm, &engine).await, 1);
            let slice = async || slices_of(crm.app.store(), &[id]).await.expect("read").remove(0);
            let (kept, rows) = (slice().await, i32::try_from(pages * 5).expect("few"));
            assert_eq!((kept.status, kept.error_code.as_deref()), (BackfillStatus::Waiting, Some("TRANSIENT")));
            assert_eq!((kept.rows_read, kept.rows_changed), (rows, rows), "after {pages} pages");
            assert_eq!(names(&crm).await.len(), pages * 5);
            database.clock.advance(2_000);
            assert_eq!(work(&crm, &crm.engine).await, 1);
            let whole = slice().await;
            assert_eq!((whole.status, whole.rows_read), (BackfillStatus::Succeeded, 25));
            assert_eq!(names(&crm).await.len(), 25);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_cancelled_stops_and_one_that_fails_is_tried_again() {
    on_each_database(async |database| {
        let (crm, _) = drifted(database).await;
        let begun = ask(&crm.app, crm.whole(Entity::Opportunity)).await;
        let ended = crm.app.cancel_backfill(begun.backfills[0].id).await.expect("an answer").expect("it is done");
        assert_eq!(ended.status, BackfillStatus::Cancelled);
        assert_eq!(work(&crm, &crm.engine).await, 0);
        assert_eq!(names(&crm).await, ["Audit", "Rollout", "Support"]);

        ask(&crm.app, crm.whole(Entity::Opportunity)).await;
        crm.fake().fail_next(HttpResponse::empty(500));
        assert_eq!(work(&crm, &crm.engine).await, 1);
        let waiting = all_backfills(&crm.app).await.remove(1);
        let slice = slices_of(crm.app.store(), &[waiting.id]).await.expect("read").remove(0);
        assert_eq!((slice.status, slice.error_code.as_deref()), (BackfillStatus::Waiting, Some("TRANSIENT")));
        database.clock.advance(2_000);
        assert_eq!(work(&crm, &crm.engine).await, 1);
        assert_eq!(names(&crm).await, ["Audit", "Renamed", "Support"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backfill_brings_never_replaces_a_newer_state() {
    on_each_database(async |database| {
        let (crm, id) = drifted(database).await;
        let old = crm.at_hubspot(Method::Post, "deals/search", &json!({ "limit": 100, "properties": ["dealname"] }));
        database.clock.advance(1_000);
        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": "Newest" } }));
        crm.deliver().await;
        crm.work().await;
        ask(&crm.app, crm.whole(Entity::Opportunity)).await;
        // The list is that of a moment ago.
        crm.fake().fail_next(HttpResponse::json(200, &old));
        work(&crm, &crm.engine).await;
        assert_eq!(names(&crm).await, ["Audit", "Newest", "Support"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_first_load_is_left_to_a_backfill_and_what_changes_now_is_not_kept_waiting() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        for number in 0..110 {
            crm.create("deals", &format!("Deal {number:03}"));
        }
        crm.lose_webhooks();
        crm.fake().set_page_limit(2);
        let run = crm.pull(Entity::Opportunity).await;
        let read = usize::try_from(run.rows_read).expect("a count");
        assert!(read < 110, "{read}");
        let id = crm.connection().record.id;
        let fresh = async || {
            let found = freshness_of(crm.app.store(), crm.app.store().now(), &[id]).await.expect("read");
            found.into_iter().find(|one| one.entity == Entity::Opportunity).expect("deals are read").watermark
        };
        assert_eq!(fresh().await, None, "while what was there before is read, nothing is proven");
        crm.create("deals", "Brand new");
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        assert!(names(&crm).await.contains(&"Brand new".to_owned()), "it did not wait");
        let backfill = all_backfills(&crm.app).await.remove(0);
        assert_eq!(backfill.trigger, RunTrigger::Backfill);
        assert_eq!(work(&crm, &crm.engine).await, 1);
        assert_eq!(names(&crm).await.len(), 111);
        assert!(fresh().await.is_some());
    })
    .await;
}
