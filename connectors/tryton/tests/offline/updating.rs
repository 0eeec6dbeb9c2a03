//! Values that are set in a party.

use crosstie_sdk::{
    Connector, Fault, HttpResponse, MappedRow, Observed, WriteRequest, WriteSafety, Writer, Written,
    domain::integration::{Claim, EffectKey, Entity, Intent, UpdateRecord},
};
use crosstie_tryton::Tryton;
use serde_json::{Value, json};

use crate::bench::{Bench, at, reader};

const PARTY: &str = "party.party";

fn writer() -> &'static dyn Writer {
    <Tryton as Connector>::writer(&Tryton).expect("it writes")
}

fn update(remote_id: &str, changes: Value, expected: Value) -> WriteRequest {
    let map = |value: Value| value.as_object().expect("an object").clone().into_iter().collect();
    let update = UpdateRecord {
        entity: Entity::Account,
        record_id: "acc_01h455vb4pex5vsknk084sn02q".to_owned(),
        remote_id: remote_id.to_owned(),
        order_key: "acc_01h455vb4pex5vsknk084sn02q".to_owned(),
        changes: map(changes),
        expected: map(expected),
    };
    let key = EffectKey::from_stored("push:one".to_owned());
    WriteRequest { intent: Intent::UpdateRecord(update), key, customer_remote_id: None, order_remote_id: None }
}

/// Gives the party that every bench has another name.
fn renamed() -> WriteRequest {
    update("1", json!({ "name": "New" }), json!({ "name": "Lakeside Robotics" }))
}

async fn apply(bench: &Bench, request: &WriteRequest) -> Result<Written, Fault> {
    writer().apply(&bench.net, request).await
}

async fn read(bench: &Bench, id: &str) -> Observed {
    match reader(Entity::Account).read_one(&bench.net, id).await.expect("a row") {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

async fn email(bench: &Bench, id: &str) -> Option<String> {
    match read(bench, id).await.claim {
        Claim::Account(claim) => claim.billing_email,
        other => panic!("{other:?}"),
    }
}

/// When the first party was last changed.
fn written_at(bench: &Bench) -> Value {
    bench.fake().records(PARTY)[0]["write_date"].clone()
}

/// A party with these e-mail addresses.
fn party(bench: &Bench, emails: &[&str]) -> String {
    let phone = json!({ "type": "phone", "value": "+49 30 1" });
    let emails = emails.iter().map(|email| json!({ "type": "email", "value": email }));
    let contacts: Vec<Value> = [phone].into_iter().chain(emails).collect();
    let party = json!({ "name": "Reachable", "contact_mechanisms": [["create", contacts]] });
    bench.fake().add(PARTY, party, at(0)).to_string()
}

#[tokio::test]
async fn values_are_set_once_and_a_later_reading_has_the_version_that_was_answered() {
    let bench = Bench::new();
    let before = written_at(&bench);
    assert_eq!(writer().find(&bench.net, &renamed()).await, Ok(None));
    let first = apply(&bench, &renamed()).await.expect("set");
    let after = written_at(&bench);
    assert_ne!(before, after);
    assert_eq!((first.remote_id.as_str(), &first.remote_version), ("1", &read(&bench, "1").await.key.version));
    bench.fake().refuse_next_write(HttpResponse::empty(403));
    for _ in 0..9 {
        assert_eq!(apply(&bench, &renamed()).await.as_ref(), Ok(&first), "nothing is written any more");
    }
    assert_eq!(writer().find(&bench.net, &renamed()).await, Ok(Some(first)));
    assert_eq!(bench.fake().records(PARTY)[0]["name"], "New");
}

#[tokio::test]
async fn the_first_email_address_is_changed_made_or_put_out_of_use() {
    for (emails, wanted, left) in [
        (&[][..], Some("new@x.example"), &["new@x.example"][..]),
        (&["old@x.example"], Some("new@x.example"), &["new@x.example"]),
        (&["old@x.example", "other@x.example"], Some("new@x.example"), &["new@x.example", "other@x.example"]),
        (&["old@x.example"], None, &[]),
    ] {
        let bench = Bench::new();
        let id = party(&bench, emails);
        let request = update(&id, json!({ "billing_email": wanted }), json!({ "billing_email": emails.first() }));
        let written = apply(&bench, &request).await.expect("set");
        assert_eq!(email(&bench, &id).await.as_deref(), wanted);
        assert_eq!(written.remote_version, read(&bench, &id).await.key.version);
        let contacts = bench.fake().records("party.contact_mechanism");
        let active = contacts.iter().filter(|contact| contact["type"] == "email" && contact["active"] != false);
        assert_eq!(active.map(|contact| &contact["value"]).collect::<Vec<_>>(), left);
        let phones = contacts.iter().filter(|contact| contact["type"] == "phone" && contact["active"] != false);
        assert_eq!(phones.count(), 1);
    }
}

#[tokio::test]
async fn of_several_email_addresses_none_can_be_emptied() {
    let bench = Bench::new();
    let id = party(&bench, &["old@x.example", "other@x.example"]);
    let request = update(&id, json!({ "billing_email": null }), json!({ "billing_email": "old@x.example" }));
    let why = "the party has other e-mail addresses, which would count";
    assert_eq!(apply(&bench, &request).await, Err(Fault::rejected("email", why)));
    assert_eq!(email(&bench, &id).await.as_deref(), Some("old@x.example"));
}

#[tokio::test]
async fn a_lost_answer_is_found_and_leaves_one_email_address() {
    let bench = Bench::new();
    let id = party(&bench, &[]);
    let request = update(&id, json!({ "billing_email": "new@x.example" }), json!({}));
    bench.fake().lose_answers(1);
    let lost = apply(&bench, &request).await;
    assert!(matches!(lost, Err(Fault::Unknown { .. })), "{lost:?}");
    let found = writer().find(&bench.net, &request).await.expect("an answer").expect("it happened");
    assert_eq!(apply(&bench, &request).await, Ok(found));
    assert_eq!(bench.fake().records("party.contact_mechanism").len(), 2, "a phone and an e-mail address");
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let bench = Bench::new();
    bench.fake().change(PARTY, 1, json!({ "name": "Other" }), at(500));
    let stamp = written_at(&bench);
    assert_eq!(apply(&bench, &renamed()).await, Err(Fault::Stale));
    assert_eq!(writer().find(&bench.net, &renamed()).await, Err(Fault::Stale));
    assert_eq!(written_at(&bench), stamp);
    assert_eq!(bench.fake().records(PARTY)[0]["name"], "Other");
}

#[tokio::test]
async fn a_collision_with_another_transaction_is_looked_at_again() {
    let bench = Bench::new();
    bench.fake().refuse_next_write(HttpResponse::empty(423));
    apply(&bench, &renamed()).await.expect("set at the second try");
    for _ in 0..5 {
        bench.fake().refuse_next_write(HttpResponse::empty(423));
    }
    let again = update("1", json!({ "name": "Newer" }), json!({ "name": "New" }));
    assert!(matches!(apply(&bench, &again).await, Err(Fault::Transient { .. })));
}

#[tokio::test]
async fn a_party_that_is_no_more_is_gone() {
    let bench = Bench::new();
    for id in ["99", "0", "x", ""] {
        let request = update(id, json!({ "name": "New" }), json!({}));
        assert_eq!(apply(&bench, &request).await, Err(Fault::Gone), "{id}");
    }
    bench.fake().refuse_next_write(HttpResponse::empty(404));
    assert_eq!(apply(&bench, &renamed()).await, Err(Fault::Gone), "deleted in between");
}

#[tokio::test]
async fn refusals_name_the_fields_that_were_sent() {
    let bench = Bench::new();
    let both = json!({ "name": "New", "billing_email": "new@x.example" });
    let both = update("1", both, json!({ "name": "Lakeside Robotics" }));
    for (status, request, field) in [(400, &renamed(), "name"), (409, &both, "email, name")] {
        let refusal = json!({ "status": status, "message": "No.", "description": "" });
        bench.fake().refuse_next_write(HttpResponse::json(status, &refusal));
        assert_eq!(apply(&bench, request).await, Err(Fault::rejected(field, "No.")));
    }
    for (changes, field, why) in [
        (json!({ "name": null }), "name", "the field cannot be empty"),
        (json!({ "domain": "x.example" }), "domain", "the connector does not write this field"),
    ] {
        let request = update("1", changes, json!({ "name": "Lakeside Robotics" }));
        assert_eq!(apply(&bench, &request).await, Err(Fault::rejected(field, why)));
    }
    assert_eq!(bench.fake().records(PARTY)[0]["name"], "Lakeside Robotics");
}

#[test]
fn the_readme_names_the_safety_of_every_write() {
    let readme = include_str!("../../README.md");
    let written = readme.split("## What is written").nth(1).expect("a section");
    for write in <Tryton as Connector>::descriptor(&Tryton).writes {
        let safety = match write.safety {
            WriteSafety::FindThenCreate => "`FindThenCreate`",
            WriteSafety::SetValues => "`SetValues`",
            other => panic!("{other:?} is not explained"),
        };
        let row = written.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{}`", write.remote)));
        let row = row.unwrap_or_else(|| panic!("no row of {}", write.remote));
        assert!(row.contains(safety), "{}", write.remote);
        assert!(write.fields.iter().all(|field| row.contains(&format!("`{field}`"))), "{}", write.remote);
    }
}
