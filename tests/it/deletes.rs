//! Records that another system has no more: what must be seen before that is believed, and how they come back.

use std::sync::Arc;

use crosstie_app::{Cause, Deleted, Gone, Origin};
use crosstie_domain::{
    Clock,
    access::{Principal, RowScope},
    ids::AccountId,
    integration::{
        Arm, Claim, ConnectionMode, DeleteClaimRecord, DeleteEvidence, Entity, InboundStatus, RunStatus, RunTrigger,
    },
    pipeline::AccountClaim,
};
use crosstie_sdk::{HttpResponse, Method};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{DeleteClaimColumn, delete_claims, identities_of},
};
use serde_json::json;

use crate::support::{Crm, Database, Meanwhile, Said, System, events, id_of, memory, on_each_database};

async fn claims(crm: &Crm) -> Vec<DeleteClaimRecord> {
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(DeleteClaimColumn::Id, Direction::Ascending)],
        span: Span::First(100, None),
    };
    let page = delete_claims(crm.app.store(), &RowScope::All, &request).await.expect("read");
    page.rows.into_iter().map(|(row, _)| row).collect()
}

/// A hub that knows two deals.
async fn two_deals(database: &Database) -> (Crm, [String; 2]) {
    let crm = Crm::new(database).await;
    let ids = ["Rollout", "Audit"].map(|name| crm.create("deals", name));
    crm.lose_webhooks();
    crm.pull(Entity::Opportunity).await;
    assert_eq!(crm.opportunities().await.len(), 2);
    (crm, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_announced_is_a_claim_with_evidence_and_the_record_stays() {
    on_each_database(async |database| {
        let (crm, [id, _]) = two_deals(database).await;
        let before = crm.opportunities().await;
        crm.delete("deals", &id);
        database.clock.advance(1_000);
        assert_eq!(crm.deliver().await, 1);
        crm.work().await;
        let found = crm.opportunities().await;
        assert_eq!(found.len(), 2, "nothing is removed");
        assert_eq!((found[0].deleted_at.is_some(), found[0].version), (true, before[0].version + 1));
        assert_eq!(found[1], before[1]);
        let claims = claims(&crm).await;
        assert_eq!(claims.len(), 1);
        assert_eq!((claims[0].remote_id.as_str(), claims[0].evidence), (id.as_str(), DeleteEvidence::Announced));
        assert_eq!(claims[0].inbound_event_id, events(crm.app.store()).await.last().map(|event| event.id));
        assert_eq!(crm.pull(Entity::Opportunity).await.rows_changed, 0);
        assert_eq!(crm.deleted().await, ["Rollout"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_found_counts_as_deleted_after_a_second_reading_alone() {
    on_each_database(async |database| {
        let (crm, [id, _]) = two_deals(database).await;
        let rename = json!({ "properties": { "dealname": "Renamed" } });
        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &rename);
        crm.deliver().await;
        crm.fake().fail_next(HttpResponse::empty(404));
        crm.work().await;
        let event = events(crm.app.store()).await.pop().expect("an event");
        assert_eq!((event.status, event.error_code.as_deref()), (InboundStatus::Retrying, Some("GONE")));
        assert_eq!(crm.deleted().await, Vec::<String>::new(), "one answer is not enough");
        database.clock.advance(2_000);
        crm.work().await;
        assert_eq!(crm.opportunities().await[0].name, "Renamed", "it was there after all");

        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": "Again" } }));
        crm.deliver().await;
        for _ in 0..2 {
            crm.fake().fail_next(HttpResponse::empty(404));
            database.clock.advance(2_000);
            crm.work().await;
        }
        assert_eq!(crm.deleted().await, ["Renamed"]);
        assert_eq!(claims(&crm).await[0].evidence, DeleteEvidence::NotFound);
        let event = events(crm.app.store()).await.pop().expect("an event");
        assert_eq!(event.status, InboundStatus::Processed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_back_live_withdraws_the_claim() {
    on_each_database(async |database| {
        let (crm, [id, _]) = two_deals(database).await;
        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": "Rollout" } }));
        crm.deliver().await;
        for _ in 0..2 {
            crm.fake().fail_next(HttpResponse::empty(404));
            database.clock.advance(2_000);
            crm.work().await;
        }
        assert_eq!(crm.deleted().await, ["Rollout"]);
        // A list that lags behind shows it while it is gone: its id decides.
        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": "Back" } }));
        crm.lose_webhooks();
        let run = crm.pull(Entity::Opportunity).await;
        assert_eq!(run.rows_changed, 1);
        assert_eq!(crm.deleted().await, Vec::<String>::new());
        assert_eq!(crm.opportunities().await[0].name, "Back");
        assert!(claims(&crm).await[0].withdrawn_at.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_before_a_record_was_deleted_does_not_bring_it_back() {
    on_each_database(async |database| {
        let (crm, [id, _]) = two_deals(database).await;
        let (crm, clock) = (Arc::new(crm), Arc::clone(&database.clock));
        let way = Meanwhile::over(memory(&clock, &crm.hubspot));
        let slow = way.engine(&crm.app).await;
        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": "Relaunch" } }));
        let company = crm.create("companies", "Acme");
        let types = json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5 }]);
        let new = json!({
            "properties": { "dealname": "Upsell" }, "associations": [{ "to": { "id": company }, "types": types }],
        });
        crm.at_hubspot(Method::Post, "deals", &new);
        crm.lose_webhooks();
        clock.advance(5_000);
        // The page is read, and so is the company that it names; the deletion is heard of in between.
        let there = Arc::clone(&crm);
        way.happens("objects/companies/", async move {
            there.delete("deals", &id);
            clock.advance(1_000);
            there.deliver().await;
            there.work().await;
            assert_eq!(there.deleted().await, ["Rollout"]);
        });
        let connection = slow.connections().named("hubspot").expect("it is configured");
        let run = slow.pull(connection, crm.declared(Entity::Opportunity), RunTrigger::Manual).await;
        assert_eq!(run.expect("the database answers").expect("nobody else reads").status, RunStatus::Succeeded);
        assert!(way.has_happened());
        assert_eq!((crm.opportunities().await.len(), crm.deleted().await), (3, vec!["Rollout".to_owned()]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_behind_does_not_bring_a_deleted_record_back() {
    on_each_database(async |database| {
        let (crm, [id, _]) = two_deals(database).await;
        crm.at_hubspot(Method::Patch, &format!("deals/{id}"), &json!({ "properties": { "dealname": "Rollout" } }));
        crm.deliver().await;
        for _ in 0..2 {
            crm.fake().fail_next(HttpResponse::empty(404));
            database.clock.advance(2_000);
            crm.work().await;
        }
        // The list still has the record; reading it by its id finds nothing.
        let listed = crm.at_hubspot(Method::Post, "deals/search", &json!({ "limit": 100 }));
        assert_eq!(listed["total"], 2);
        crm.fake().fail_next(HttpResponse::json(200, &listed));
        let no_companies = json!({ "status": "COMPLETE", "results": [] });
        crm.fake().fail_next(HttpResponse::json(200, &no_companies));
        crm.fake().fail_next(HttpResponse::empty(404));
        crm.pull(Entity::Opportunity).await;
        assert_eq!(crm.deleted().await, ["Rollout"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_merged_into_another_leads_to_that_one() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let [kept, ended] = ["Acme", "Acme Ltd"].map(|name| crm.create("companies", name));
        crm.lose_webhooks();
        crm.pull(Entity::Account).await;
        let merge = json!({ "primaryObjectId": kept, "objectIdToMerge": ended });
        crm.at_hubspot(Method::Post, "companies/merge", &merge);
        database.clock.advance(1_000);
        crm.deliver().await;
        crm.work().await;
        let found = crm.accounts().await;
        assert_eq!(found.len(), 2, "nothing is removed");
        assert_eq!((found[0].deleted_at, found[1].deleted_at.is_some()), (None, true));
        let claims = claims(&crm).await;
        assert_eq!(claims.len(), 1);
        assert_eq!((claims[0].evidence, claims[0].merged_into.as_deref()), (DeleteEvidence::Merged, Some(&*kept)));
        let links = identities_of(crm.app.store(), &RowScope::All, &[found[0].id.to_string()]).await.expect("read");
        let mut ids: Vec<&str> = links.iter().map(|link| link.remote_id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [kept.as_str(), ended.as_str()]);
    })
    .await;
}

/// An account that a system speaks of.
async fn account(system: &System, database: &Database, account: Option<AccountId>) -> AccountId {
    let name = Some("Acme".to_owned());
    let claim = Claim::Account(AccountClaim { account, name, ..AccountClaim::default() });
    let (asked_at, fields) = (database.clock.now(), json!({ "name": "Acme" }));
    id_of(&system.say(Said { remote_id: "1", version: None, asked_at, claim, fields }).await)
}

/// What comes of it that a system says it has the account no more.
async fn lost(system: &System, database: &Database, mode: ConnectionMode) -> Deleted {
    database.clock.advance(1_000);
    let origin = Origin {
        connection: system.connection,
        run: None,
        event: None,
        arms: &system.arms,
        mode,
        cause: Cause::Reading,
        mapping_version: "1.0.0",
    };
    let asked_at = database.clock.now();
    let (entity, remote_id, evidence) = (Entity::Account, "1", DeleteEvidence::NotFound);
    let gone = |asked_at| Gone { entity, remote_id, evidence, merged_into: None, sweep: None, asked_at };
    let tx = system.store().begin().await.expect("a transaction begins");
    let early = system.app.claim_deleted(&tx, origin, gone(asked_at.plus_ms(-60_000))).await;
    assert_eq!(early.expect("the database answers"), Deleted::AskAgain, "it was seen since that was asked");
    let deleted = system.app.claim_deleted(&tx, origin, gone(asked_at)).await.expect("the database takes it");
    tx.commit().await.expect("it commits");
    deleted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_only_observed_neither_removes_a_record_of_others_nor_keeps_it() {
    on_each_database(async |database| {
        for observed_first in [true, false] {
            let name = |name: &str| format!("{name}-{observed_first}");
            let crm = System::new(database, &name("crm"), &[Arm::Crm]).await;
            let seen = System::new(database, &name("seen"), &[Arm::Crm]).await;
            let id = account(&crm, database, None).await;
            assert_eq!(account(&seen, database, Some(id)).await, id);
            let tx = seen.store().begin().await.expect("a transaction begins");
            let modes = (ConnectionMode::TwoWay, ConnectionMode::Observe);
            tx.switch_connection_mode(seen.connection, modes, (Principal::System, None)).await.expect("switched");
            tx.commit().await.expect("it commits");
            if observed_first {
                let still_there = Deleted::Claimed { everywhere: false };
                assert_eq!(lost(&seen, database, ConnectionMode::Observe).await, still_there);
            }
            let everywhere = Deleted::Claimed { everywhere: true };
            assert_eq!(lost(&crm, database, ConnectionMode::TwoWay).await, everywhere, "{observed_first}");
        }
    })
    .await;
}
