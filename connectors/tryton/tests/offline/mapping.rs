//! Records as Tryton writes them, and what the hub makes of them.

use crosstie_sdk::{
    Connector, MappedRow, Observed, Settings,
    domain::{
        Currency, Money,
        billing::{InvoiceClaim, InvoiceLineClaim, InvoiceStatus, OrderClaim},
        integration::{Claim, Entity, adoption::DocumentState},
        pipeline::{AccountClaim, OpportunityClaim, OpportunityStage},
    },
};
use crosstie_tryton::Tryton;
use serde_json::{Value, json};

use crate::bench::reader;

fn observe(entity: Entity, settings: Value, fixture: &str) -> Observed {
    let raw = serde_json::from_str(fixture).expect("a fixture");
    match reader(entity).map_raw(&Settings::new(settings), raw) {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_party_becomes_an_account() {
    let observed = observe(Entity::Account, json!({"company": 1}), include_str!("../../fixtures/account.json"));
    let expected = AccountClaim {
        account: None,
        name: Some("Lakeside Robotics".to_owned()),
        domain: Some("lakeside-robotics.example".to_owned()),
        billing_email: Some("ap@lakeside-robotics.example".to_owned()),
    };
    assert_eq!(observed.claim, Claim::Account(expected));
    assert_eq!(observed.key.remote_id, "41");
    assert_eq!(observed.key.version.as_deref(), Some("2026-03-02T08:15:00.12045Z"));
    assert_eq!(observed.fields["domain"].source_path, "website");
}

#[test]
fn an_opportunity_that_was_never_changed_has_its_making_as_version() {
    let observed = observe(Entity::Opportunity, json!({"company": 1}), include_str!("../../fixtures/opportunity.json"));
    let expected = OpportunityClaim {
        name: Some("Plant roll-out".to_owned()),
        account: Some("41".to_owned()),
        native_stage: Some("opportunity".to_owned()),
        stage: Some(OpportunityStage::Scoping),
        amount: Some(Money::new(12_500_050, Currency::EUR)),
        close_on: Some("2026-06-30".parse().expect("a day")),
    };
    assert_eq!(observed.claim, Claim::Opportunity(expected));
    assert_eq!(observed.key.version.as_deref(), Some("2026-04-09T16:40:31.000007Z"));
}

#[test]
fn what_cannot_be_read_is_left_out_and_the_rest_goes_on() {
    let fixture = include_str!("../../fixtures/opportunity-strange.json");
    let observed = observe(Entity::Opportunity, json!({"company": 1}), fixture);
    let expected = OpportunityClaim {
        name: Some("8".to_owned()),
        native_stage: Some("parked".to_owned()),
        ..OpportunityClaim::default()
    };
    assert_eq!(observed.claim, Claim::Opportunity(expected));
    assert_eq!(observed.fields["name"].source_path, "number");
    for (field, unreadable) in [("amount", true), ("close_on", true), ("account", false), ("stage", false)] {
        assert_eq!(observed.fields[field].problem.is_some(), unreadable, "{field}");
    }
}

#[test]
fn a_state_of_the_customers_own_is_mapped_by_the_settings() {
    let settings = json!({"company": 1, "stages": {"parked": "PROPOSED"}});
    let observed = observe(Entity::Opportunity, settings, include_str!("../../fixtures/opportunity-strange.json"));
    let Claim::Opportunity(claim) = observed.claim else { panic!("not an opportunity") };
    assert_eq!(claim.stage, Some(OpportunityStage::Proposed));
}

#[test]
fn a_posted_invoice_says_what_was_paid_and_which_invoice_of_the_hub_it_is() {
    let observed = observe(Entity::Invoice, json!({"company": 1}), include_str!("../../fixtures/invoice.json"));
    let usd = |minor| Some(Money::new(minor, Currency::USD));
    let expected = InvoiceClaim {
        invoice: Some("inv_01h455vb4pex5vsknk084sn02q".parse().expect("an id")),
        customer: Some("41".to_owned()),
        number: Some("2026-0019".to_owned()),
        native_status: Some("posted".to_owned()),
        status: Some(InvoiceStatus::Open),
        total: usd(121_000),
        amount_paid: usd(50_000),
        issued_on: Some("2026-05-04".parse().expect("a day")),
        due_on: Some("2026-07-03".parse().expect("a day")),
        net: usd(100_000),
        reference: Some("PO-77".to_owned()),
        title: Some("Plant roll-out".to_owned()),
        lines: Some(vec![InvoiceLineClaim {
            description: "Discovery".to_owned(),
            amount: Money::new(100_000, Currency::USD),
        }]),
    };
    assert_eq!(observed.claim, Claim::Invoice(expected));
}

#[test]
fn each_invoice_state_has_its_status_and_only_a_posted_one_speaks_of_payment() {
    let check = |state: &str, status, speaks_of_payment| {
        let mut raw: Value = serde_json::from_str(include_str!("../../fixtures/invoice.json")).expect("a fixture");
        raw["state"] = state.into();
        let observed = observe(Entity::Invoice, json!({"company": 1}), &raw.to_string());
        let Claim::Invoice(claim) = observed.claim else { panic!("not an invoice") };
        assert_eq!(claim.status, status, "{state}");
        assert_eq!(claim.native_status.as_deref(), Some(state));
        assert_eq!(claim.amount_paid.is_some(), speaks_of_payment, "{state}");
    };
    check("draft", Some(InvoiceStatus::Draft), false);
    check("validated", Some(InvoiceStatus::Draft), false);
    check("posted", Some(InvoiceStatus::Open), true);
    check("paid", Some(InvoiceStatus::Paid), true);
    check("cancelled", Some(InvoiceStatus::Void), false);
    check("disputed", None, false);
}

#[test]
fn a_sale_says_what_was_ordered_and_which_order_of_the_hub_it_is() {
    let fixture = include_str!("../../fixtures/sale.json");
    let observed = observe(Entity::ServiceOrder, json!({"company": 1}), fixture);
    let expected = OrderClaim {
        order: None,
        customer: Some("41".to_owned()),
        number: Some("S-2026-7".to_owned()),
        reference: Some("PO-77".to_owned()),
        title: Some("Plant roll-out".to_owned()),
        native_status: Some("processing".to_owned()),
        state: Some(DocumentState::Issued),
        total: Some(Money::new(300_050, Currency::USD)),
        ordered_on: Some("2026-05-02".parse().expect("a day")),
    };
    assert_eq!(observed.claim, Claim::ServiceOrder(expected));
    let mut raw: Value = serde_json::from_str(fixture).expect("a fixture");
    for (state, expected) in [
        ("draft", Some(DocumentState::Draft)),
        ("quotation", Some(DocumentState::Draft)),
        ("confirmed", Some(DocumentState::Issued)),
        ("done", Some(DocumentState::Issued)),
        ("cancelled", Some(DocumentState::Canceled)),
        ("lost", None),
    ] {
        raw["state"] = state.into();
        raw["reference"] = "order:ord_01h455vb4pex5vsknk084sn02q".into();
        let observed = observe(Entity::ServiceOrder, json!({"company": 1}), &raw.to_string());
        let Claim::ServiceOrder(claim) = observed.claim else { panic!("not an order") };
        assert_eq!(claim.state, expected, "{state}");
        assert_eq!(claim.order.map(|id| id.to_string()).as_deref(), Some("ord_01h455vb4pex5vsknk084sn02q"));
    }
}

#[test]
fn a_row_without_an_id_is_set_aside_alone() {
    let row = reader(Entity::Account).map_raw(&Settings::new(json!({"company": 1})), json!({"name": "Nobody"}));
    assert!(matches!(row, MappedRow::Bad { code, .. } if code == "UNREADABLE_ROW"));
}

#[test]
fn settings_need_a_company_and_nothing_unknown() {
    let check = |settings: Value| Tryton.check_settings(&Settings::new(settings));
    assert_eq!(check(json!({"company": 1})), Ok(()));
    assert_eq!(check(json!({"company": 1, "taxes": [2], "stages": {"lead": "SCOPING"}})), Ok(()));
    for wrong in [json!({}), json!({"company": "Acme"}), json!({"company": 1, "compny": 1})] {
        assert!(check(wrong).is_err());
    }
}

#[test]
fn fields_of_the_customers_own_are_read_in_trytons_classes() {
    let settings = json!({ "company": 1, "custom_fields": { "account": {
        "region": { "property": "region", "kind": "TEXT" },
        "arr": { "property": "arr", "kind": "NUMBER" },
        "since": { "property": "customer_since", "kind": "DATE" },
        "reviewedAt": { "property": "reviewed_at", "kind": "INSTANT" },
        "strategic": { "property": "strategic", "kind": "BOOLEAN" },
        "odd": { "property": "odd", "kind": "DATE" },
        "notAsked": { "property": "not_asked", "kind": "TEXT" },
        "label": { "property": "name", "kind": "TEXT" },
    } } });
    Tryton.check_settings(&Settings::new(settings.clone())).expect("it is good");
    let mut raw: Value = serde_json::from_str(include_str!("../../fixtures/account.json")).expect("a fixture");
    let own = json!({
        "region": null, "arr": { "__class__": "Decimal", "decimal": "12000.50" }, "strategic": true,
        "customer_since": { "__class__": "date", "year": 2026, "month": 2, "day": 28 },
        "reviewed_at": { "__class__": "datetime", "year": 2026, "month": 2, "day": 28, "hour": 10, "minute": 0,
            "second": 0, "microsecond": 0 },
        "odd": { "__class__": "date", "year": 2026, "month": 2, "day": 30 },
    });
    for (name, value) in own.as_object().expect("fields") {
        raw[name] = value.clone();
    }
    let seen = observe(Entity::Account, settings, &raw.to_string());
    let value = |name: &str| seen.fields[&format!("custom.{name}")].value["value"].clone();
    assert_eq!((value("arr"), value("since")), (json!("12000.5"), json!("2026-02-28")));
    assert_eq!((value("reviewedAt"), value("strategic")), (json!("2026-02-28T10:00:00Z"), json!(true)));
    assert_eq!((value("region"), value("label")), (Value::Null, json!("Lakeside Robotics")));
    assert!(seen.fields["custom.odd"].problem.is_some(), "there is no such day, and the party goes on");
    assert_eq!(seen.fields["custom.region"].problem, None);
    assert!(!seen.fields.contains_key("custom.notAsked"));
    let dotted = json!({ "property": "currency.code", "kind": "TEXT" });
    let dotted = Settings::new(json!({ "company": 1, "custom_fields": { "account": { "currency": dotted } } }));
    assert!(Tryton.check_settings(&dotted).is_err());
}
