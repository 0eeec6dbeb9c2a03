//! What a hub asks of a vendor: requests for the checks of writing.

use std::collections::BTreeMap;

use crosstie_sdk::{
    WriteRequest,
    domain::{
        Money,
        integration::{Customer, EffectKey, Entity, Intent, IssueInvoice, OrderLine, PlaceOrder, UpdateRecord},
    },
};
use serde_json::Value;

/// The part of an identifier that its kind does not say.
const ID: &str = "01h455vb4pex5vsknk084sn02q";

fn id<T: std::str::FromStr>(kind: &str) -> T {
    format!("{kind}_{ID}").parse().unwrap_or_else(|_| panic!("{kind} is a kind of identifier"))
}

fn buyer() -> Customer {
    Customer { account: id("acc"), name: "Lakeside Robotics".to_owned(), email: Some("ap@lakeside.example".to_owned()) }
}

fn euros(text: &str) -> Money {
    Money::parse(text, "EUR".parse().expect("a currency")).expect("an amount")
}

/// An order of two lines for a customer that the vendor does not know.
pub fn order() -> WriteRequest {
    let line = |description: &str, amount: &str| OrderLine {
        milestone: id("ms"),
        description: description.to_owned(),
        item_code: None,
        amount: euros(amount),
    };
    let order = PlaceOrder {
        order: id("ord"),
        sow: id("sow"),
        customer: buyer(),
        title: "Data platform".to_owned(),
        po_number: Some("PO 4711".to_owned()),
        total: euros("48000"),
        lines: vec![line("Discovery", "18000"), line("Roll-out", "30000")],
    };
    let key = EffectKey::place_order(order.order);
    WriteRequest { intent: Intent::PlaceOrder(order), key, customer_remote_id: None, order_remote_id: None }
}

/// An invoice over one milestone for a customer that the vendor does not know.
pub fn invoice() -> WriteRequest {
    let invoice = IssueInvoice {
        invoice: id("inv"),
        order: id("ord"),
        milestone: id("ms"),
        customer: buyer(),
        title: "Data platform".to_owned(),
        description: "Discovery".to_owned(),
        item_code: None,
        amount: euros("1200"),
    };
    let key = EffectKey::issue_invoice(invoice.milestone, 1);
    WriteRequest { intent: Intent::IssueInvoice(invoice), key, customer_remote_id: None, order_remote_id: None }
}

/// Values for a record at the vendor, where others are expected to stand; both by the names of fields of claims.
pub fn update(
    entity: Entity,
    remote_id: &str,
    changes: BTreeMap<String, Value>,
    expected: BTreeMap<String, Value>,
) -> WriteRequest {
    let record_id = match entity {
        Entity::Opportunity => format!("opp_{ID}"),
        _ => format!("acc_{ID}"),
    };
    let update = UpdateRecord {
        entity,
        record_id: record_id.clone(),
        remote_id: remote_id.to_owned(),
        order_key: record_id,
        changes,
        expected,
    };
    let key = EffectKey::from_stored(format!("push:{ID}"));
    WriteRequest { intent: Intent::UpdateRecord(update), key, customer_remote_id: None, order_remote_id: None }
}
