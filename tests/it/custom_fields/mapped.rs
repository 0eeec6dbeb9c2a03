//! What becomes of a custom field when the mapping changes: it comes, goes and comes back.

use crosstie_app::PreviewMapping;
use crosstie_domain::{
    access::{AuthContext, RowScope},
    custom::CustomValue,
    integration::{Entity, ShapeChangeKind},
};
use crosstie_sdk::{HttpResponse, Method};
use crosstie_store::{
    Condition, Direction, PageRequest, Span,
    integration::{ShapeChangeColumn, remaps, shape_changes},
};
use serde_json::{Value as Json, json};

use super::{change, deal, map, one, region, text};
use crate::support::{Crm, on_each_database};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_field_comes_from_what_is_kept_where_it_was_asked_for_and_otherwise_by_reading_again() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        let id = crm.connection().record.id;
        // HubSpot is always asked for the pipeline of a deal, and for the region only once it is mapped.
        for name in ["Rollout", "Audit"] {
            deal(&crm, name, &json!({ "pipeline": "services", "region": "EMEA" }));
        }
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        let both = json!({ "custom_fields": { "opportunity": {
            "pipeline": { "property": "pipeline", "kind": "CHOICE", "options": { "services": "Services" } },
            "region": { "property": "region", "kind": "TEXT" },
        } } });
        let asked = crm.fake().requests();
        let look = async |document: Option<Json>| {
            let input = PreviewMapping { connection_id: id, document, entity: Some(Entity::Opportunity), after: None };
            crm.app.preview_mapping(input).await.expect("decided").expect("it is good")
        };
        let seen = look(Some(both.clone())).await;
        assert_eq!((seen.rows_seen, seen.rows_changed), (2, 2));
        for row in &seen.differences {
            let changed: Vec<_> =
                row.fields.iter().map(|field| (field.name.as_str(), &field.old, &field.new)).collect();
            let new = json!({ "kind": "CHOICE", "value": "Services" });
            assert_eq!(changed, [("custom.pipeline", &Json::Null, &new)]);
        }
        let missing = &seen.unasked[0];
        let told = (seen.unasked.len(), missing.name.as_str(), missing.property.as_str(), missing.rows);
        assert_eq!(told, (1, "region", "region", 2));
        map(&crm, both).await;
        assert!(crm.engine.remap().await.expect("the database answers"));
        let done = remaps(crm.app.store(), id, 1).await.expect("read").remove(0);
        assert_eq!((done.rows_seen, done.rows_changed, done.rows_parked), (2, 2, 0));
        assert_eq!(crm.fake().requests(), asked, "the vendor was not asked");
        let record = one(&crm, "Rollout").await;
        assert_eq!(record.custom.get("pipeline"), Some(&CustomValue::Choice("Services".to_owned())));
        assert_eq!(text(&record, "region"), None, "nobody asked for it");

        // What was read before is read again under the same version, and is taken in.
        crm.pull(Entity::Opportunity).await;
        assert_eq!(text(&one(&crm, "Rollout").await, "region"), None, "the row itself did not change");
        let refresh = crm.whole(Entity::Opportunity);
        crm.app.refresh(&AuthContext::system(), refresh).await.expect("decided").expect("it is begun");
        let declared = crm.declared(Entity::Opportunity);
        while crm.engine.work_on_backfills(crm.connection(), declared).await.expect("it works") {}
        assert_eq!(text(&one(&crm, "Rollout").await, "region").as_deref(), Some("EMEA"));
        assert!(look(None).await.unasked.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_mapped_no_more_is_shown_no_more_and_comes_back_without_asking() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        map(&crm, region("region")).await;
        deal(&crm, "Rollout", &json!({ "region": "EMEA", "area": "North" }));
        deal(&crm, "Audit", &json!({ "region": "APAC" }));
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        assert_eq!(text(&one(&crm, "Rollout").await, "region").as_deref(), Some("EMEA"));
        let asked = crm.fake().requests();
        map(&crm, json!({})).await;
        let input = PreviewMapping {
            connection_id: crm.connection().record.id,
            document: None,
            entity: Some(Entity::Opportunity),
            after: None,
        };
        let seen = crm.app.preview_mapping(input).await.expect("decided").expect("it is good");
        let field = &seen.differences[0].fields[0];
        assert_eq!((seen.rows_changed, field.name.as_str(), &field.new), (2, "custom.region", &Json::Null));
        let version = one(&crm, "Rollout").await.version;
        crm.engine.remap().await.expect("the database answers");
        let record = one(&crm, "Rollout").await;
        assert_eq!((record.custom.len(), record.version), (0, version + 1));
        // The rows that are kept hold the property still.
        map(&crm, region("region")).await;
        crm.engine.remap().await.expect("the database answers");
        assert_eq!(text(&one(&crm, "Rollout").await, "region").as_deref(), Some("EMEA"));
        assert_eq!(crm.fake().requests(), asked, "the vendor was not asked");
        // Read from another property, which the rows do not hold, the old value would be a lie.
        map(&crm, region("area")).await;
        crm.engine.remap().await.expect("the database answers");
        assert_eq!(one(&crm, "Rollout").await.custom.len(), 0);
        // The next reading of a deal that changed brings it.
        let id = deal_id(&crm, "Rollout");
        change(&crm, &id, &json!({ "amount": "10" }));
        crm.pull(Entity::Opportunity).await;
        assert_eq!(text(&one(&crm, "Rollout").await, "region").as_deref(), Some("North"));
        assert_eq!(one(&crm, "Audit").await.custom.len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_no_more_does_not_count_as_a_change_of_shape() {
    on_each_database(async |database| {
        let crm = Crm::new(database).await;
        map(&crm, region("region")).await;
        for number in 0..12 {
            deal(&crm, &format!("Deal {number:02}"), &json!({ "region": "EMEA", "description": "x" }));
        }
        crm.lose_webhooks();
        crm.pull(Entity::Opportunity).await;
        let removed = async || -> Vec<String> {
            let request = PageRequest {
                condition: Condition::All(Vec::new()),
                order: vec![(ShapeChangeColumn::Id, Direction::Ascending)],
                span: Span::First(50, None),
            };
            let rows = shape_changes(crm.app.store(), &RowScope::All, &request).await.expect("read").rows;
            let rows = rows.into_iter().map(|(row, _)| row);
            rows.filter(|row| row.kind == ShapeChangeKind::Removed).map(|row| row.path).collect()
        };
        map(&crm, json!({})).await;
        change(&crm, &deal_id(&crm, "Deal 03"), &json!({ "amount": "10" }));
        crm.pull(Entity::Opportunity).await;
        assert_eq!(removed().await, Vec::<String>::new(), "the hub itself asks for it no more");
        // What the vendor leaves out is told as ever.
        let bare = json!({ "total": 1, "results": [{
            "id": "77", "createdAt": "2026-11-23T10:00:00Z", "archived": false, "associated_company": null,
            "properties": {
                "dealname": "Bare", "createdate": "2026-11-23T10:00:00Z", "hs_object_id": "77",
                "hs_lastmodifieddate": "2026-11-23T10:00:00Z", "amount": null, "closedate": null, "dealstage": null,
                "deal_currency_code": null, "pipeline": null
            },
        }] });
        crm.fake().fail_next(HttpResponse::json(200, &bare));
        crm.fake().fail_next(HttpResponse::json(200, &json!({ "status": "COMPLETE", "results": [] })));
        crm.pull(Entity::Opportunity).await;
        assert_eq!(removed().await, ["updatedAt"]);
    })
    .await;
}

fn deal_id(crm: &Crm, name: &str) -> String {
    let all = crm.at_hubspot(Method::Get, "deals?limit=100&properties=dealname", &Json::Null);
    let found = all["results"].as_array().into_iter().flatten().find(|row| row["properties"]["dealname"] == name);
    found.and_then(|row| row["id"].as_str()).expect("it is there").to_owned()
}
