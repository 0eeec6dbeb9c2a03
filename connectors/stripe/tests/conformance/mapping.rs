use crosstie_sdk::{
    Connector, MappedRow, Observed, Settings,
    domain::{
        Money,
        billing::{InvoiceClaim, InvoiceLineClaim, InvoiceStatus},
        integration::{Claim, Entity},
        pipeline::AccountClaim,
    },
};
use crosstie_stripe::Stripe;
use serde_json::{Value, json};

use crate::kit::euros;

fn map(entity: Entity, raw: &Value) -> MappedRow {
    let readers = Stripe.readers();
    let reader = readers.iter().find(|reader| reader.entity() == entity).expect("a reader");
    reader.map_raw(&Settings::default(), raw.clone())
}

fn good(entity: Entity, raw: &Value) -> Observed {
    match map(entity, raw) {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).expect("a fixture is JSON")
}

#[test]
fn a_paid_invoice_says_all_that_billing_decides() {
    let seen = good(Entity::Invoice, &fixture(include_str!("../../fixtures/invoice_paid.json")));
    let expected = InvoiceClaim {
        invoice: Some("inv_01h455vb4pex5vsknk084sn02q".parse().expect("an id")),
        customer: Some("cus_0001".to_owned()),
        number: Some("ACME-0007".to_owned()),
        native_status: Some("paid".to_owned()),
        status: Some(InvoiceStatus::Paid),
        total: Some(euros("1428.00")),
        amount_paid: Some(euros("1428.00")),
        issued_on: Some("2026-11-23".parse().expect("a day")),
        due_on: Some("2026-12-23".parse().expect("a day")),
        net: Some(euros("1200.00")),
        reference: Some("PO-77".to_owned()),
        title: Some("Plant roll-out".to_owned()),
        lines: Some(vec![
            InvoiceLineClaim { description: "Discovery".to_owned(), amount: euros("1000") },
            InvoiceLineClaim { description: String::new(), amount: euros("200") },
        ]),
    };
    assert_eq!(seen.claim, Claim::Invoice(expected));
    assert_eq!(seen.key.remote_id, "in_0007");
    assert_eq!(seen.fields["issued_on"].source_path, "status_transitions.finalized_at");
    assert_eq!(seen.fields["total"].source_path, "total");
}

#[test]
fn one_unreadable_field_does_not_spoil_the_invoice() {
    let seen = good(Entity::Invoice, &fixture(include_str!("../../fixtures/invoice_odd.json")));
    let expected = InvoiceClaim {
        customer: Some("cus_0002".to_owned()),
        native_status: Some("escalated".to_owned()),
        amount_paid: Some(Money::new(5, "ISK".parse().expect("a currency"))),
        ..InvoiceClaim::default()
    };
    assert_eq!(seen.claim, Claim::Invoice(expected));
    for field in ["invoice", "total"] {
        assert!(seen.fields[field].problem.is_some(), "{field} is noted");
    }
    assert!(!seen.fields.contains_key("lines"), "a part of the lines is not spoken of");
}

#[test]
fn a_customer_is_an_account() {
    let raw = fixture(include_str!("../../fixtures/customer.json"));
    let name_of = |raw: &Value| match good(Entity::Account, raw).claim {
        Claim::Account(AccountClaim { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let expected = AccountClaim {
        account: "acc_01h455vb4pex5vsknk084sn02q".parse().ok(),
        name: Some("Acme Ltd".to_owned()),
        domain: None,
        billing_email: Some("ap@acme.example".to_owned()),
    };
    assert_eq!(good(Entity::Account, &raw).claim, Claim::Account(expected));
    assert_eq!(name_of(&json!({ "id": "cus_2", "name": " ", "email": "a@b.example" })).as_deref(), Some("a@b.example"));
    assert_eq!(name_of(&json!({ "id": "cus_2", "name": null })).as_deref(), Some("Customer cus_2"));
}

#[test]
fn what_is_left_of_a_deleted_customer_says_that_it_is_gone() {
    let row = map(Entity::Account, &json!({ "id": "cus_9", "object": "customer", "deleted": true }));
    assert!(matches!(row, MappedRow::Gone { remote_id, .. } if remote_id == "cus_9"));
}

#[test]
fn the_version_changes_with_what_is_mapped_and_with_nothing_else() {
    let raw = fixture(include_str!("../../fixtures/invoice_paid.json"));
    let version = |raw: &Value| good(Entity::Invoice, raw).key.version.expect("a version");
    let first = version(&raw);
    let mut other = raw.clone();
    other["footer"] = json!("Thank you");
    assert_eq!(version(&other), first);
    for (field, value) in [
        ("status", json!("void")),
        ("total", json!(1)),
        ("amount_paid", json!(0)),
        ("currency", json!("usd")),
        ("number", json!("ACME-0008")),
        ("customer", json!("cus_0002")),
        ("due_date", json!(null)),
        ("status_transitions", json!(null)),
        ("lines", json!(null)),
        ("metadata", json!({})),
        ("tax", json!(0)),
        ("description", json!("Another")),
        ("custom_fields", json!(null)),
    ] {
        let mut changed = raw.clone();
        changed[field] = value;
        assert_ne!(version(&changed), first, "{field}");
    }
}

#[test]
fn entries_of_the_metadata_are_the_customers_own_fields() {
    let settings = Settings::new(json!({ "custom_fields": { "account": {
        "region": { "property": "region", "kind": "TEXT" },
        "seats": { "property": "seat count", "kind": "NUMBER" },
        "tier": { "property": "tier", "kind": "CHOICE" },
    } } }));
    Stripe.check_settings(&settings).expect("it is good");
    let readers = Stripe.readers();
    let reader = readers.iter().find(|reader| reader.entity() == Entity::Account).expect("a reader");
    let seen = |metadata: Value| match reader.map_raw(&settings, json!({ "id": "cus_2", "metadata": metadata })) {
        MappedRow::Good(seen) => *seen,
        other => panic!("{other:?}"),
    };
    let first = seen(json!({ "region": "EMEA", "seat count": "many", "other": "x" }));
    let region = &first.fields["custom.region"];
    assert_eq!(region.value, json!({ "kind": "TEXT", "value": "EMEA" }));
    assert_eq!(region.source_path, "metadata.region");
    let seats = &first.fields["custom.seats"];
    assert!(seats.value.is_null() && seats.problem.is_some());
    let tier = &first.fields["custom.tier"];
    assert_eq!((&tier.value, &tier.problem), (&Value::Null, &None), "all of the metadata is there: it is empty");
    // Stripe has no time of last change: the version tells that an entry is another one.
    let other = seen(json!({ "region": "APAC", "seat count": "many", "other": "x" }));
    assert_ne!(first.key.version, other.key.version);
    assert_eq!(seen(json!({})).key.version.as_deref(), Some("/"), "without metadata as ever");
    assert_eq!(
        seen(json!({ "crosstie_account": "x" })).key.version.as_deref(),
        Some("/"),
        "the hub's own says nothing"
    );
    for (kind, property) in [("opportunity", "region"), ("account", "re[gion]")] {
        let field = json!({ "property": property, "kind": "TEXT" });
        let wrong = Settings::new(json!({ "custom_fields": { kind: { "region": field } } }));
        assert!(Stripe.check_settings(&wrong).is_err(), "{kind} {property}");
    }
}
