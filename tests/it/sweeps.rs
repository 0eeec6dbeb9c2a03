//! Sweeps, comparisons and shapes: what is found by looking at everything.

use crosstie_domain::{
    access::{AuthContext, RowScope},
    integration::{
        DeleteEvidence, DriftScope, Entity, RunStatus, ShapeChangeKind, ShapeChangeRecord, SweepRecord, SweepStatus,
    },
};
use crosstie_sdk::{HttpResponse, Method};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{
        DeleteClaimColumn, ParkedColumn, ShapeChangeColumn, cursor, delete_claims, open_alerts, parked_rows,
        shape_changes,
    },
};
use serde_json::json;

use crate::support::{Crm, Database, on_each_database};

fn all<C>(by: C) -> PageRequest<C> {
    let order = vec![(by, Direction::Ascending)];
    PageRequest { condition: Condition::All(vec![]), order, span: Span::First(1_000, None) }
}

async fn deals(database: &Database, count: usize) -> (Crm, Vec<String>) {
    let crm = Crm::new(database).await;
    let ids = (0..count).map(|number| crm.create("deals", &format!("Deal {number:03}"))).collect();
    crm.lose_webhooks();
    crm.pull(Entity::Opportunity).await;
    database.clock.advance(1_000);
    (crm, ids)
}

async fn sweep(crm: &Crm) -> SweepRecord {
    let swept = crm.engine.sweep(crm.connection(), crm.declared(Entity::Opportunity)).await;
    swept.expect("the database answers").expect("nobody else sweeps")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_what_is_gone_by_a_complete_listing_and_a_reading_by_id() {
    on_each_database(async |database| {
        let (crm, ids) = deals(database, 10).await;
        crm.delete("deals", &ids[3]);
        crm.lose_webhooks();
        let before = cursor(crm.app.store(), crm.connection().record.id, Entity::Opportunity).await.expect("read");
        crm.fake().set_page_limit(4);
        let swept = sweep(&crm).await;
        assert_eq!(swept.pages, 3);
        assert_eq!((swept.status, swept.known, swept.missing, swept.deleted), (SweepStatus::Succeeded, 10, 1, 1));
        assert_eq!(crm.deleted().await, ["Deal 003"]);
        let claims = delete_claims(crm.app.store(), &RowScope::All, &all(DeleteClaimColumn::Id)).await.expect("read");
        let claim = &claims.rows[0].0;
        assert_eq!((claim.evidence, claim.sweep_id), (DeleteEvidence::Sweep, Some(swept.id)));
        let after = cursor(crm.app.store(), crm.connection().record.id, Entity::Opportunity).await.expect("read");
        assert_eq!(after, before, "the incremental reading does not notice");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_met_a_fault_removes_nothing() {
    on_each_database(async |database| {
        let (crm, ids) = deals(database, 10).await;
        crm.delete("deals", &ids[3]);
        crm.lose_webhooks();
        crm.fake().fail_next(HttpResponse::empty(500));
        let swept = sweep(&crm).await;
        assert_eq!((swept.status, swept.error_code.as_deref()), (SweepStatus::Failed, Some("TRANSIENT")));
        assert_eq!((swept.deleted, crm.deleted().await), (0, Vec::<String>::new()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_listing_left_out_and_that_is_there_stays() {
    on_each_database(async |database| {
        let (crm, _) = deals(database, 10).await;
        let mut listed =
            crm.at_hubspot(Method::Post, "deals/search", &json!({ "limit": 100, "properties": ["dealname"] }));
        listed["results"].as_array_mut().expect("rows").pop();
        crm.fake().fail_next(HttpResponse::json(200, &listed));
        let swept = sweep(&crm).await;
        assert_eq!((swept.status, swept.missing, swept.deleted), (SweepStatus::Succeeded, 1, 0));
        assert_eq!(crm.deleted().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_would_remove_too_much_stops_until_a_person_confirms_it() {
    on_each_database(async |database| {
        let (crm, ids) = deals(database, 20).await;
        for id in &ids[..6] {
            crm.delete("deals", id);
        }
        crm.lose_webhooks();
        let swept = sweep(&crm).await;
        assert_eq!((swept.status, swept.missing, swept.deleted), (SweepStatus::Braked, 6, 0));
        assert_eq!(crm.deleted().await, Vec::<String>::new());
        let parked = async || {
            let page = parked_rows(crm.app.store(), &RowScope::All, &all(ParkedColumn::Id)).await.expect("read");
            page.rows.into_iter().map(|(row, _)| row.code).collect::<Vec<_>>()
        };
        assert_eq!(parked().await, ["SWEEP_BRAKE"]);
        assert_eq!(open_alerts(crm.app.store()).await.expect("read").len(), 1);

        let confirmed = crm.app.confirm_sweep(&AuthContext::system(), swept.id).await.expect("an answer");
        assert_eq!(confirmed.expect("it is done").status, SweepStatus::Removing);
        assert_eq!(parked().await, Vec::<String>::new());
        assert_eq!(open_alerts(crm.app.store()).await.expect("read"), []);
        let swept_again = sweep(&crm).await;
        assert_eq!((swept_again.id, swept_again.status), (swept.id, SweepStatus::Succeeded));
        assert_eq!((swept_again.deleted, crm.deleted().await.len()), (6, 6));
        let twice = crm.app.confirm_sweep(&AuthContext::system(), swept.id).await.expect("an answer");
        assert!(twice.is_err(), "there is nothing to confirm any more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_counted_healed_and_told() {
    on_each_database(async |database| {
        let (crm, ids) = deals(database, 10).await;
        let compare = async |scope| {
            let report = crm.engine.compare(crm.connection(), crm.declared(Entity::Opportunity), scope).await;
            let report = report.expect("the database answers").expect("nobody else compares");
            assert_eq!(report.status, RunStatus::Succeeded);
            (report.compared, report.differing, report.healed)
        };
        assert_eq!(compare(DriftScope::Sample).await, (10, 0, 0));
        assert_eq!(compare(DriftScope::Full).await, (10, 0, 0));
        // What changed since the last reading is not expected to be known, and one answer that a record is not there is
        // not enough.
        let rename = json!({ "properties": { "dealname": "Deal of today" } });
        crm.at_hubspot(Method::Patch, &format!("deals/{}", ids[5]), &rename);
        crm.lose_webhooks();
        assert_eq!(compare(DriftScope::Full).await, (9, 0, 0));
        crm.pull(Entity::Opportunity).await;
        crm.fake().fail_next(HttpResponse::empty(404));
        assert_eq!(compare(DriftScope::Sample).await, (10, 0, 0));
        assert_eq!(crm.deleted().await, Vec::<String>::new());

        // HubSpot says something else of two than the hub heard, and the versions do not show it.
        let mut listed = crm.at_hubspot(
            Method::Post,
            "deals/search",
            &json!({ "limit": 100, "properties": ["dealname", "dealstage", "amount"], "sorts": ["hs_object_id"] }),
        );
        for place in [1, 2] {
            listed["results"][place]["properties"]["dealname"] = json!(format!("Changed {place}"));
        }
        let no_companies = json!({ "status": "COMPLETE", "results": [] });
        crm.fake().fail_next(HttpResponse::json(200, &listed));
        crm.fake().fail_next(HttpResponse::json(200, &no_companies));
        assert_eq!(compare(DriftScope::Full).await, (10, 2, 2));
        let mut names: Vec<_> = crm.opportunities().await.into_iter().map(|row| row.name).collect();
        names.sort_unstable();
        assert_eq!(names[..2], ["Changed 1", "Changed 2"]);
        assert_eq!(open_alerts(crm.app.store()).await.expect("read").len(), 1);

        // What is read by its id now is what was there: it heals back, and a record that is gone counts, too.
        crm.delete("deals", &ids[9]);
        crm.lose_webhooks();
        assert_eq!(compare(DriftScope::Sample).await, (10, 3, 3));
        assert_eq!(crm.deleted().await, ["Deal 009"]);
        assert_eq!(compare(DriftScope::Sample).await, (9, 0, 0));
        assert_eq!(open_alerts(crm.app.store()).await.expect("read"), [], "it is over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_new_gone_or_of_another_type_is_told_once() {
    on_each_database(async |database| {
        let (crm, _) = deals(database, 12).await;
        let changes = async || -> Vec<(ShapeChangeKind, String)> {
            let page = shape_changes(crm.app.store(), &RowScope::All, &all(ShapeChangeColumn::Id)).await;
            let rows = page.expect("read").rows.into_iter().map(|(row, _): (ShapeChangeRecord, _)| row);
            rows.map(|row| (row.kind, row.path)).collect()
        };
        assert_eq!(changes().await, []);
        let strange = json!({ "total": 1, "results": [{
            "id": "77", "createdAt": 5, "archived": false, "owner": { "id": 1 }, "associated_company": null,
            "properties": {
                "dealname": "Strange", "createdate": "2026-11-23T10:00:00Z", "hs_object_id": "77",
                "hs_lastmodifieddate": "2026-11-23T10:00:00Z", "amount": null, "closedate": null, "dealstage": null,
                "deal_currency_code": null, "pipeline": null
            },
        }] });
        let no_companies = json!({ "status": "COMPLETE", "results": [] });
        for _ in 0..2 {
            crm.fake().fail_next(HttpResponse::json(200, &strange));
            crm.fake().fail_next(HttpResponse::json(200, &no_companies));
            crm.pull(Entity::Opportunity).await;
        }
        let expected = [
            (ShapeChangeKind::Retyped, "createdAt".to_owned()),
            (ShapeChangeKind::New, "owner".to_owned()),
            (ShapeChangeKind::New, "owner.id".to_owned()),
            (ShapeChangeKind::Removed, "updatedAt".to_owned()),
        ];
        assert_eq!(changes().await, expected);
        assert_eq!(open_alerts(crm.app.store()).await.expect("read").len(), 1);
    })
    .await;
}
