//! Values that are set in accounts and opportunities.

use crosstie_salesforce::Salesforce;
use crosstie_sdk::{
    Connector, Fault, HttpResponse, Method, WriteRequest, WriteSafety, Writer, Written,
    domain::{
        Currency, Money,
        integration::{Claim, EffectKey, Entity, Intent, UpdateRecord},
    },
};
use serde_json::{Value, json};

use crate::support::{API, Org, at, call};

fn writer() -> &'static dyn Writer {
    static CONNECTOR: Salesforce = Salesforce;
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

fn account(org: &Org) -> String {
    org.create("Account", json!({ "Name": "Old", "Website": "https://www.old.example" }))
}

fn renamed(account: &str) -> WriteRequest {
    update(Entity::Account, account, json!({ "name": "New" }), json!({ "name": "Old" }))
}

async fn apply(org: &Org, request: &WriteRequest) -> Result<Written, Fault> {
    org.pass_ms(1_000);
    writer().apply(&org.net, request).await
}

/// The bodies that were sent as changes, to the letter.
fn patches(org: &Org) -> Vec<String> {
    let requests = org.requests();
    let patches = requests.iter().filter(|request| request.method == Method::Patch);
    patches.map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
}

#[tokio::test]
async fn values_are_set_once_and_a_later_reading_has_the_version_that_was_answered() {
    let org = Org::new();
    let id = account(&org);
    let old = json!({ "name": "Old", "domain": "old.example" });
    let request = update(Entity::Account, &id, json!({ "name": "New", "domain": "new.example" }), old);
    assert_eq!(writer().find(&org.net, &request).await, Ok(None));
    let before = org.seen(Entity::Account, &id).await.key.version;
    let first = apply(&org, &request).await.expect("set");
    let after = org.seen(Entity::Account, &id).await;
    assert_eq!((&first.remote_id, &first.remote_version), (&id, &after.key.version));
    assert!(first.remote_version.is_some() && before != after.key.version);
    let Claim::Account(claim) = after.claim else { panic!("not an account") };
    assert_eq!((claim.name.as_deref(), claim.domain.as_deref()), (Some("New"), Some("new.example")));
    for _ in 0..2 {
        assert_eq!(apply(&org, &request).await.as_ref(), Ok(&first));
    }
    assert_eq!(writer().find(&org.net, &request).await, Ok(Some(first)));
    assert_eq!(patches(&org), [r#"{"Name":"New","Website":"new.example"}"#]);
}

#[tokio::test]
async fn a_write_goes_out_on_condition_that_nothing_changed() {
    let org = Org::new();
    let id = account(&org);
    apply(&org, &renamed(&id)).await.expect("set");
    let requests = org.requests();
    let patch = requests.iter().find(|request| request.method == Method::Patch).expect("a write");
    assert_eq!(patch.path(), format!("{API}/sobjects/Account/{id}"));
    assert_eq!(patch.header("if-unmodified-since"), Some("Mon, 21 Sep 2026 14:13:20 GMT"));
    assert_eq!(patch.header("content-type"), Some("application/json"));
    let methods: Vec<Method> = requests.iter().map(|request| request.method).collect();
    assert_eq!(methods, [Method::Get, Method::Patch, Method::Get], "read, written, and read for the version");
}

/// What is sent for an opportunity with these fields.
async fn sent_for(org: &Org, fields: Value, changes: Value, expected: Value) -> Vec<String> {
    let mut own = json!({ "Name": "Old", "StageName": "Prospecting", "CloseDate": "2026-12-31" });
    own.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let id = org.create("Opportunity", own);
    let before = patches(org).len();
    let request = update(Entity::Opportunity, &id, changes.clone(), expected);
    let written = apply(org, &request).await.expect("set");
    let after = org.seen(Entity::Opportunity, &id).await;
    assert_eq!(written.remote_version, after.key.version);
    assert!(written.remote_version.is_some());
    for (field, value) in changes.as_object().expect("an object") {
        assert_eq!(&after.fields[field].value, value, "{field}");
    }
    patches(org).split_off(before)
}

#[tokio::test]
async fn an_opportunity_is_given_only_what_differs_and_amounts_to_the_digit() {
    let euros = |minor| json!(Money::new(minor, Currency::EUR));
    let old = json!({ "name": "Old", "amount": euros(1_000), "close_on": "2026-12-31" });
    let fields = json!({ "Amount": 10 });
    for (changes, sent) in [
        (
            json!({ "name": "New", "amount": euros(4_800_050), "close_on": "2027-01-15" }),
            r#"{"Amount":48000.50,"CloseDate":"2027-01-15","Name":"New"}"#,
        ),
        (json!({ "name": "New", "close_on": "2026-12-31" }), r#"{"Name":"New"}"#),
        (json!({ "amount": null }), r#"{"Amount":null}"#),
        (json!({ "amount": euros(999_999_999_999_999_999) }), r#"{"Amount":9999999999999999.99}"#),
    ] {
        // An org of its own for each: a connection's calls are paced.
        assert_eq!(sent_for(&Org::new(), fields.clone(), changes, old.clone()).await, [sent]);
    }
}

#[tokio::test]
async fn an_amount_takes_its_currency_along_where_the_org_has_several() {
    let money = |minor, code: &str| json!(Money::new(minor, code.parse().expect("a currency")));
    for (fields, amount, sent) in [
        (json!({}), money(700, "EUR"), r#"{"Amount":7.00}"#),
        (json!({}), money(500, "JPY"), r#"{"Amount":500,"CurrencyIsoCode":"JPY"}"#),
        (json!({ "CurrencyIsoCode": "KWD" }), money(1_234, "KWD"), r#"{"Amount":1.234}"#),
        (json!({ "CurrencyIsoCode": "KWD" }), money(700, "EUR"), r#"{"Amount":7.00,"CurrencyIsoCode":"EUR"}"#),
    ] {
        let org = Org::with_currencies();
        assert_eq!(sent_for(&org, fields, json!({ "amount": amount }), json!({})).await, [sent]);
    }
    let org = Org::new();
    let id = org.create_opportunity("Old");
    let change = json!({ "amount": money(500, "JPY") });
    let refused = apply(&org, &update(Entity::Opportunity, &id, change, json!({}))).await;
    assert_eq!(refused, Err(Fault::rejected("amount", "the org keeps amounts in EUR alone")));
    assert!(patches(&org).is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_found_and_not_sent_again() {
    let org = Org::new();
    let id = account(&org);
    org.fake().pass(1);
    org.fake().lose_next_answer();
    let lost = apply(&org, &renamed(&id)).await;
    assert!(matches!(lost, Err(Fault::Transient { .. })), "{lost:?}");
    let found = writer().find(&org.net, &renamed(&id)).await.expect("an answer").expect("it happened");
    assert_eq!(found.remote_version, org.seen(Entity::Account, &id).await.key.version);
    assert_eq!(apply(&org, &renamed(&id)).await, Ok(found));
    assert_eq!(patches(&org).len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_write_is_found_too() {
    for lost_at in [0, 1, 2] {
        let org = Org::new();
        let id = account(&org);
        org.fake().pass(lost_at);
        org.fake().lose_next_answer();
        let lost = apply(&org, &renamed(&id)).await;
        assert!(matches!(lost, Err(Fault::Transient { .. })), "{lost:?}");
        let written = apply(&org, &renamed(&id)).await.expect("set");
        assert_eq!(written.remote_version, org.seen(Entity::Account, &id).await.key.version);
        assert_eq!(patches(&org).len(), 1, "lost at call {lost_at}");
    }
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let org = Org::new();
    let id = account(&org);
    org.set("Account", &id, json!({ "Name": "Other" }));
    assert_eq!(apply(&org, &renamed(&id)).await, Err(Fault::Stale));
    assert_eq!(writer().find(&org.net, &renamed(&id)).await, Err(Fault::Stale));
    org.set("Account", &id, json!({ "Name": "Old", "Website": "other.example" }));
    apply(&org, &renamed(&id)).await.expect("another field does not matter");
    assert_eq!(patches(&org).len(), 1);
}

/// Changes an account right before the next request of a method arrives, a second later.
fn meanwhile(org: &Org, method: Method, id: &str, fields: Value) {
    let id = id.to_owned();
    org.before_next(method, move |fake, now| {
        let later = now.plus_ms(1_000);
        let (status, _) = call(fake, later, (Method::Patch, &format!("/sobjects/Account/{id}"), fields));
        assert_eq!(status, 204);
    });
}

#[tokio::test]
async fn a_change_between_reading_and_writing_is_seen() {
    let org = Org::new();
    let id = account(&org);
    meanwhile(&org, Method::Patch, &id, json!({ "Name": "Other" }));
    assert_eq!(apply(&org, &renamed(&id)).await, Err(Fault::Stale));
    assert_eq!(org.seen(Entity::Account, &id).await.fields["name"].value, "Other");

    let org = Org::new();
    let id = account(&org);
    meanwhile(&org, Method::Patch, &id, json!({ "Website": "other.example" }));
    let written = apply(&org, &renamed(&id)).await.expect("set at the second try");
    let after = org.seen(Entity::Account, &id).await;
    assert_eq!((&after.fields["name"].value, &after.fields["domain"].value), (&json!("New"), &json!("other.example")));
    assert_eq!(written.remote_version, after.key.version);
    assert_eq!(patches(&org).len(), 2, "one refused, one done");

    let org = Org::new();
    let id = account(&org);
    for _ in 0..3 {
        org.fake().pass(1);
        org.fake().fail_next(HttpResponse::empty(412));
    }
    let tired = Err(Fault::Transient { why: "the record changes again and again".to_owned() });
    assert_eq!(apply(&org, &renamed(&id)).await, tired);
    assert_eq!(patches(&org).len(), 3);
}

#[tokio::test]
async fn a_change_right_after_the_write_is_not_taken_for_its_echo() {
    for (fields, name) in [(json!({ "Website": "other.example" }), "New"), (json!({ "Name": "Other" }), "Other")] {
        let org = Org::new();
        let id = account(&org);
        let (own, changed) = (id.clone(), fields.clone());
        org.before_next(Method::Patch, move |_, _| {});
        // The first GET compares; the second one, after the write, reads the version.
        org.before_next(Method::Get, |_, _| {});
        org.before_next(Method::Get, move |fake, now| {
            call(fake, now.plus_ms(1_000), (Method::Patch, &format!("/sobjects/Account/{own}"), changed));
        });
        let written = apply(&org, &renamed(&id)).await.expect("set");
        assert_eq!((written.remote_id.as_str(), &written.remote_version), (id.as_str(), &None), "{fields}");
        assert_eq!(org.seen(Entity::Account, &id).await.fields["name"].value, name);
    }
}

#[tokio::test]
async fn a_record_that_is_no_more_is_gone() {
    let org = Org::new();
    let id = account(&org);
    org.delete("Account", &id);
    for id in [id.as_str(), "1", "", "../Opportunity/006"] {
        assert_eq!(apply(&org, &renamed(id)).await, Err(Fault::Gone), "{id}");
    }
    let id = account(&org);
    let own = id.clone();
    org.before_next(Method::Patch, move |fake, now| {
        call(fake, now, (Method::Delete, &format!("/sobjects/Account/{own}"), Value::Null));
    });
    assert_eq!(apply(&org, &renamed(&id)).await, Err(Fault::Gone), "deleted in between");
    let (loser, master) = (account(&org), account(&org));
    assert!(org.fake().merge(&loser, &master, at(org.now_ms())));
    assert_eq!(apply(&org, &renamed(&loser)).await, Err(Fault::Merged { into: master }));
}

#[tokio::test]
async fn refusals_name_their_field() {
    for (answer, expected) in [
        (
            json!([{ "message": "Too long.", "errorCode": "STRING_TOO_LONG", "fields": ["Name"] }]),
            Fault::rejected("Name", "STRING_TOO_LONG: Too long."),
        ),
        (
            json!([{ "message": "Locked.", "errorCode": "UNABLE_TO_LOCK_ROW", "fields": [] }]),
            Fault::Transient { why: "UNABLE_TO_LOCK_ROW".to_owned() },
        ),
        (json!([{ "message": "entity is deleted", "errorCode": "ENTITY_IS_DELETED", "fields": [] }]), Fault::Gone),
        (
            json!([{ "message": "No.", "errorCode": "INSUFFICIENT_ACCESS_OR_READONLY", "fields": [] }]),
            Fault::MissingScope { why: "INSUFFICIENT_ACCESS_OR_READONLY: No.".to_owned() },
        ),
    ] {
        let org = Org::new();
        let id = account(&org);
        org.fake().pass(1);
        org.fake().fail_next(HttpResponse::json(400, &answer));
        assert_eq!(apply(&org, &renamed(&id)).await, Err(expected));
        assert_eq!(org.seen(Entity::Account, &id).await.fields["name"].value, "Old");
    }
    let org = Org::new();
    let id = org.create_opportunity("Old");
    for (changes, field, why) in [
        (json!({ "name": null }), "name", "the field cannot be empty"),
        (json!({ "close_on": null }), "close_on", "the field cannot be empty"),
        (json!({ "stage": "WON" }), "stage", "the connector does not write this field"),
    ] {
        let wanted = update(Entity::Opportunity, &id, changes, json!({ "name": "Old", "close_on": "2026-12-31" }));
        assert_eq!(apply(&org, &wanted).await, Err(Fault::rejected(field, why)));
    }
    assert!(patches(&org).is_empty());
}

#[tokio::test]
async fn a_currency_that_the_org_does_not_have_is_refused_by_its_field() {
    let org = Org::with_currencies();
    let id = org.create_opportunity("Old");
    let change = json!({ "amount": Money::new(700, Currency::USD) });
    let refused = apply(&org, &update(Entity::Opportunity, &id, change, json!({}))).await;
    let Err(Fault::Rejected { errors }) = refused else { panic!("{refused:?}") };
    assert_eq!(errors[0].field, "CurrencyIsoCode");
    assert!(org.seen(Entity::Opportunity, &id).await.fields["amount"].value.is_null(), "nothing was set");
}

#[tokio::test]
async fn a_limit_that_is_used_up_stops_a_write_before_it_happens() {
    let org = Org::new();
    let id = account(&org);
    let limit = json!([{ "message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED" }]);
    org.fake().pass(1);
    org.fake().fail_next(HttpResponse::json(403, &limit));
    assert_eq!(apply(&org, &renamed(&id)).await, Err(Fault::Throttled { retry_after_ms: None }));
    assert!(apply(&org, &renamed(&id)).await.is_ok());
}

#[test]
fn the_readme_names_every_field_that_is_written_and_its_safety() {
    let readme = include_str!("../../README.md");
    let written = readme.split("## What is written").nth(1).expect("a section");
    for write in Salesforce.descriptor().writes {
        assert_eq!(write.safety, WriteSafety::SetValues);
        let row = written.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{}`", write.remote)));
        let row = row.unwrap_or_else(|| panic!("no row of {}", write.remote));
        assert!(row.contains("`SetValues`"));
        for field in Salesforce.descriptor().writable(write.entity) {
            assert!(row.contains(&format!("`{field}`")), "{field}");
        }
    }
}
