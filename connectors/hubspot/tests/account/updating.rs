//! Values that are set in companies and deals.

use crosstie_hubspot::Hubspot;
use crosstie_sdk::{
    Connector, Fault, HttpResponse, MappedRow, Method, Observed, WriteRequest, WriteSafety, Writer, Written,
    domain::{
        Currency, Money,
        integration::{Claim, EffectKey, Entity, Intent, UpdateRecord},
    },
};
use serde_json::{Value, json};

use crate::support::{Account, reader};

fn writer() -> &'static dyn Writer {
    static CONNECTOR: Hubspot = Hubspot;
    CONNECTOR.writer().expect("it writes")
}

fn update(entity: Entity, remote_id: &str, changes: Value, expected: Value) -> WriteRequest {
    let map = |value: Value| value.as_object().expect("an object").clone().into_iter().collect();
    let update = UpdateRecord {
        entity,
        record_id: "acc_01h455vb4pex5vsknk084sn02q".to_owned(),
        remote_id: remote_id.to_owned(),
        order_key: "acc_01h455vb4pex5vsknk084sn02q".to_owned(),
        changes: map(changes),
        expected: map(expected),
    };
    let key = EffectKey::from_stored("push:one".to_owned());
    WriteRequest { intent: Intent::UpdateRecord(update), key, customer_remote_id: None, order_remote_id: None }
}

fn company(account: &Account) -> String {
    account.create("companies", json!({ "properties": { "name": "Old", "domain": "old.example" } }))
}

fn renamed(company: &str) -> WriteRequest {
    update(Entity::Account, company, json!({ "name": "New" }), json!({ "name": "Old" }))
}

async fn apply(account: &Account, request: &WriteRequest) -> Result<Written, Fault> {
    account.pass_ms(1);
    writer().apply(&account.net, request).await
}

async fn read(account: &Account, entity: Entity, id: &str) -> Observed {
    match reader(entity).read_one(&account.net, id).await.expect("a row") {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

/// The bodies that were sent as changes.
fn patches(account: &Account) -> Vec<Value> {
    let requests = account.requests();
    requests.iter().filter(|request| request.method == Method::Patch).map(|request| request.json()).collect()
}

#[tokio::test]
async fn values_are_set_once_and_a_later_reading_has_the_version_that_was_answered() {
    let account = Account::new();
    let id = company(&account);
    let old = json!({ "name": "Old", "domain": "old.example" });
    let request = update(Entity::Account, &id, json!({ "name": "New", "domain": "new.example" }), old);
    assert_eq!(writer().find(&account.net, &request).await, Ok(None));
    let before = read(&account, Entity::Account, &id).await.key.version;
    let first = apply(&account, &request).await.expect("set");
    let after = read(&account, Entity::Account, &id).await;
    assert_eq!((&first.remote_id, &first.remote_version), (&id, &after.key.version));
    assert_ne!(before, after.key.version);
    let Claim::Account(claim) = after.claim else { panic!("not an account") };
    assert_eq!((claim.name.as_deref(), claim.domain.as_deref()), (Some("New"), Some("new.example")));
    for _ in 0..9 {
        assert_eq!(apply(&account, &request).await.as_ref(), Ok(&first));
    }
    assert_eq!(writer().find(&account.net, &request).await, Ok(Some(first)));
    assert_eq!(patches(&account), [json!({ "properties": { "name": "New", "domain": "new.example" } })]);
}

/// The properties that are sent for a deal with these settings and properties.
async fn sent_for(settings: Value, properties: Value, changes: Value, expected: Value) -> Vec<Value> {
    let account = Account::with_settings(settings);
    let id = account.create("deals", json!({ "properties": properties }));
    let request = update(Entity::Opportunity, &id, changes.clone(), expected);
    let written = apply(&account, &request).await.expect("set");
    let after = read(&account, Entity::Opportunity, &id).await;
    assert_eq!(written.remote_version, after.key.version);
    for (field, value) in changes.as_object().expect("an object") {
        assert_eq!(&after.fields[field].value, value, "{field}");
    }
    patches(&account).into_iter().map(|body| body["properties"].clone()).collect()
}

#[tokio::test]
async fn a_deal_is_given_only_what_differs_and_an_amount_only_with_its_currency() {
    let euros = |minor| json!(Money::new(minor, Currency::EUR));
    let deal = json!({ "dealname": "Old", "amount": "10.00", "deal_currency_code": "EUR",
        "closedate": "2026-12-31T23:30:00.000Z", "dealstage": "closedwon" });
    let old = json!({ "name": "Old", "amount": euros(1_000), "close_on": "2026-12-31" });
    let none = json!({});
    let changes = json!({ "name": "New", "amount": euros(4_800_050), "close_on": "2027-01-15" });
    let all = json!({ "dealname": "New", "amount": "48000.50", "closedate": "2027-01-15T00:00:00.000Z" });
    let sent = sent_for(none.clone(), deal.clone(), changes, old.clone()).await;
    assert_eq!(sent, [all]);
    for (changes, properties) in [
        (json!({ "name": "New", "close_on": "2026-12-31" }), json!({ "dealname": "New" })),
        (json!({ "close_on": null }), json!({ "closedate": "" })),
        (json!({ "amount": null }), json!({ "amount": "" })),
        (json!({ "amount": Money::new(500, Currency::JPY) }), json!({ "amount": "500", "deal_currency_code": "JPY" })),
    ] {
        assert_eq!(sent_for(none.clone(), deal.clone(), changes, old.clone()).await, [properties]);
    }
    let (bare, change) = (json!({ "dealname": "Old" }), json!({ "amount": euros(700) }));
    let by_default = sent_for(json!({ "default_currency": "EUR" }), bare.clone(), change.clone(), none.clone()).await;
    assert_eq!(by_default, [json!({ "amount": "7.00" })]);
    let named = sent_for(none.clone(), bare, change, none).await;
    assert_eq!(named, [json!({ "amount": "7.00", "deal_currency_code": "EUR" })]);
}

#[tokio::test]
async fn a_lost_answer_is_found_and_not_sent_again() {
    let account = Account::new();
    let id = company(&account);
    account.fake().pass(1);
    account.fake().lose_next_answer();
    let lost = apply(&account, &renamed(&id)).await;
    assert!(matches!(lost, Err(Fault::Transient { .. })), "{lost:?}");
    let found = writer().find(&account.net, &renamed(&id)).await.expect("an answer").expect("it happened");
    assert_eq!(found.remote_version, read(&account, Entity::Account, &id).await.key.version);
    assert_eq!(apply(&account, &renamed(&id)).await, Ok(found));
    assert_eq!(patches(&account).len(), 1);
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let account = Account::new();
    let id = company(&account);
    let path = format!("/crm/v3/objects/companies/{id}");
    account.call(Method::Patch, &path, json!({ "properties": { "name": "Other" } }));
    assert_eq!(apply(&account, &renamed(&id)).await, Err(Fault::Stale));
    assert_eq!(writer().find(&account.net, &renamed(&id)).await, Err(Fault::Stale));
    account.call(Method::Patch, &path, json!({ "properties": { "name": "Old", "domain": "other.example" } }));
    apply(&account, &renamed(&id)).await.expect("another field does not matter");
    assert_eq!(patches(&account).len(), 1);
}

#[tokio::test]
async fn an_object_that_is_no_more_is_gone() {
    let account = Account::new();
    let id = company(&account);
    account.call(Method::Delete, &format!("/crm/v3/objects/companies/{id}"), Value::Null);
    for id in [id.as_str(), "1", "", "../deals/1"] {
        assert_eq!(apply(&account, &renamed(id)).await, Err(Fault::Gone), "{id}");
    }
    let id = company(&account);
    account.fake().pass(1);
    account.fake().fail_next(HttpResponse::empty(404));
    assert_eq!(apply(&account, &renamed(&id)).await, Err(Fault::Gone), "archived in between");
}

#[tokio::test]
async fn refusals_name_their_property() {
    let account = Account::new();
    let id = account.create_deal("Old");
    let path = format!("/crm/v3/objects/deals/{id}");
    let (status, body) = account.call(Method::Patch, &path, json!({ "properties": { "amount": "a lot" } }));
    assert_eq!((status, &body["errors"][0]["context"]["propertyName"]), (400, &json!(["amount"])));

    let wanted = |changes| update(Entity::Opportunity, &id, changes, json!({ "name": "Old" }));
    for (status, property) in [(400, "dealname"), (409, "deal_currency_code")] {
        let error = json!({ "message": "No.", "code": "INVALID_OPTION", "context": { "propertyName": [property] } });
        let refusal = json!({ "status": "error", "category": "VALIDATION_ERROR", "errors": [error] });
        account.fake().pass(1);
        account.fake().fail_next(HttpResponse::json(status, &refusal));
        let refused = apply(&account, &wanted(json!({ "name": "New" }))).await;
        assert_eq!(refused, Err(Fault::rejected(property, "No.")));
    }
    for (changes, field, why) in [
        (json!({ "name": null }), "name", "the field cannot be empty"),
        (json!({ "stage": "WON" }), "stage", "the connector does not write this field"),
    ] {
        assert_eq!(apply(&account, &wanted(changes)).await, Err(Fault::rejected(field, why)));
    }
    assert_eq!(read(&account, Entity::Opportunity, &id).await.fields["name"].value, "Old");
}

#[tokio::test]
async fn an_amount_that_cannot_be_read_is_not_overwritten() {
    let account = Account::new();
    let id = account.create("deals", json!({ "properties": { "dealname": "D", "amount": "10.00" } }));
    let change = json!({ "amount": Money::new(700, Currency::EUR) });
    let refused = apply(&account, &update(Entity::Opportunity, &id, change, json!({}))).await;
    assert!(matches!(&refused, Err(Fault::Rejected { errors }) if errors[0].field == "amount"), "{refused:?}");
    assert_eq!(patches(&account), Vec::<Value>::new());
}

#[test]
fn the_readme_names_every_field_that_is_written_and_its_safety() {
    let readme = include_str!("../../README.md");
    let written = readme.split("## What is written").nth(1).expect("a section");
    for write in Hubspot.descriptor().writes {
        assert_eq!(write.safety, WriteSafety::SetValues);
        let row = written.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{}`", write.remote)));
        let row = row.unwrap_or_else(|| panic!("no row of {}", write.remote));
        assert!(row.contains("`SetValues`"));
        for field in Hubspot.descriptor().writable(write.entity) {
            assert!(row.contains(&format!("`{field}`")), "{field}");
        }
    }
}
