//! Orders and invoices against the stand-in: one key, one effect.

use crosstie_sdk::{
    Connector, Fault, WriteRequest, Writer, Written,
    domain::{
        Currency, Money,
        billing::InvoiceStatus,
        integration::{Claim, Customer, EffectKey, Intent, IssueInvoice, OrderLine, PlaceOrder},
    },
};
use crosstie_tryton::Tryton;
use serde_json::{Value, json};

use crate::bench::{Bench, at};

fn writer() -> &'static dyn Writer {
    <Tryton as Connector>::writer(&Tryton).expect("it writes")
}

fn customer() -> Customer {
    Customer {
        account: "acc_01h455vb4pex5vsknk084sn02q".parse().expect("an id"),
        name: "Lakeside Robotics".to_owned(),
        email: Some("ap@lakeside-robotics.example".to_owned()),
    }
}

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub(crate) fn order(customer_remote_id: Option<&str>) -> WriteRequest {
    let order = "ord_01h455vb4pex5vsknk084sn02q".parse().expect("an id");
    let line = |milestone: &str, description: &str, minor| OrderLine {
        milestone: milestone.parse().expect("an id"),
        description: description.to_owned(),
        item_code: None,
        amount: usd(minor),
    };
    let intent = PlaceOrder {
        order,
        sow: "sow_01h455vb4pex5vsknk084sn02q".parse().expect("an id"),
        customer: customer(),
        title: "Plant roll-out".to_owned(),
        po_number: Some("PO-77".to_owned()),
        total: usd(300_050),
        lines: vec![
            line("ms_01h455vb4pex5vsknk084sn02q", "Discovery", 100_000),
            line("ms_01h455vb4pex5vsknk084sn02r", "Roll-out", 200_050),
        ],
    };
    WriteRequest {
        intent: Intent::PlaceOrder(intent),
        key: EffectKey::place_order(order),
        customer_remote_id: customer_remote_id.map(str::to_owned),
        order_remote_id: None,
    }
}

pub(crate) fn invoice(order_remote_id: Option<&str>) -> WriteRequest {
    let milestone = "ms_01h455vb4pex5vsknk084sn02q".parse().expect("an id");
    let intent = IssueInvoice {
        invoice: "inv_01h455vb4pex5vsknk084sn02q".parse().expect("an id"),
        order: "ord_01h455vb4pex5vsknk084sn02q".parse().expect("an id"),
        milestone,
        customer: customer(),
        title: "Plant roll-out".to_owned(),
        description: "Discovery".to_owned(),
        item_code: None,
        amount: usd(100_000),
    };
    WriteRequest {
        intent: Intent::IssueInvoice(intent),
        key: EffectKey::issue_invoice(milestone, 1),
        customer_remote_id: Some("1".to_owned()),
        order_remote_id: order_remote_id.map(str::to_owned),
    }
}

async fn apply(bench: &Bench, request: &WriteRequest) -> Result<Written, Fault> {
    writer().apply(&bench.net, request).await
}

#[tokio::test]
async fn an_order_becomes_one_processed_sale_however_often_it_is_placed() {
    let bench = Bench::new();
    assert_eq!(writer().find(&bench.net, &order(Some("1"))).await, Ok(None));
    let first = apply(&bench, &order(Some("1"))).await.expect("it is placed");
    let again = apply(&bench, &order(Some("1"))).await.expect("it stays placed");
    assert_eq!(first, again);
    assert_eq!(writer().find(&bench.net, &order(Some("1"))).await, Ok(Some(first)));
    let sales = bench.fake().records("sale.sale");
    let [sale] = sales.as_slice() else { panic!("{} sales", sales.len()) };
    for (field, expected) in [
        ("state", json!("processing")),
        ("reference", json!(order(None).key.as_str())),
        ("party", json!(1)),
        ("payment_term", json!(3)),
        ("invoice_method", json!("manual")),
        ("description", json!("Plant roll-out")),
        ("comment", json!("Purchase order PO-77")),
    ] {
        assert_eq!(sale[field], expected, "{field}");
    }
    let lines = bench.fake().records("sale.line");
    let prices: Vec<&Value> = lines.iter().map(|line| &line["unit_price"]["decimal"]).collect();
    assert_eq!(prices, ["1000.00", "2000.50"]);
    assert_eq!(lines[0]["unit"], 4, "the unit of the product");
}

#[tokio::test]
async fn a_new_customer_is_made_once_and_carries_the_accounts_id() {
    let bench = Bench::new();
    let first = apply(&bench, &order(None)).await.expect("it is placed");
    assert_eq!(first.customer_remote_id.as_deref(), Some("2"));
    let mut other = order(None);
    other.key = EffectKey::from_stored("order:another".to_owned());
    assert_eq!(apply(&bench, &other).await.expect("it is placed").customer_remote_id.as_deref(), Some("2"));
    let parties = bench.fake().records("party.party");
    assert_eq!(parties.len(), 2);
    assert_eq!(parties[1]["code"], customer().account.to_string());
}

#[tokio::test]
async fn an_invoice_is_posted_once_and_bills_the_line_of_the_order() {
    let bench = Bench::new();
    let sale = apply(&bench, &order(Some("1"))).await.expect("it is placed");
    let request = invoice(Some(&sale.remote_id));
    let first = apply(&bench, &request).await.expect("it is issued");
    assert_eq!(apply(&bench, &request).await.expect("it stays issued"), first);
    let Some(Claim::Invoice(claim)) = first.claim else { panic!("no word about the invoice") };
    assert_eq!(claim.status, Some(InvoiceStatus::Open));
    assert_eq!((claim.total, claim.amount_paid), (Some(usd(100_000)), Some(usd(0))));
    assert_eq!(claim.invoice.map(|id| id.to_string()).as_deref(), Some("inv_01h455vb4pex5vsknk084sn02q"));
    let lines = bench.fake().records("account.invoice.line");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["origin"], "sale.line,1");
    assert_eq!(lines[0]["account"], 20, "the account of the product's category");
    let invoices = bench.fake().records("account.invoice");
    assert_eq!(invoices.len(), 1);
    assert_eq!((&invoices[0]["account"], &invoices[0]["journal"]), (&json!(10), &json!(1)));
}

/// An answer is lost at each POST of the way in turn; the host asks, finds nothing finished, and applies again.
#[tokio::test]
async fn a_lost_answer_at_any_step_leaves_one_effect() {
    for lost in 1..=8 {
        let bench = Bench::new();
        bench.fake().lose_answers(lost);
        let mut tries = 0;
        let written = loop {
            tries += 1;
            match apply(&bench, &order(None)).await {
                Ok(written) => break written,
                Err(Fault::Unknown { .. }) => {
                    if let Some(found) = writer().find(&bench.net, &order(None)).await.expect("an answer") {
                        break found;
                    }
                }
                Err(fault) => panic!("{fault}"),
            }
            assert!(tries < 20, "it does not come to its end");
        };
        assert_eq!(written.remote_id, "1");
        assert_eq!(bench.fake().records("sale.sale").len(), 1, "{lost} answers lost");
        assert_eq!(bench.fake().records("party.party").len(), 2, "{lost} answers lost");
        assert_eq!(bench.fake().records("sale.sale")[0]["state"], "processing");
    }
}

#[tokio::test]
async fn of_several_drafts_the_oldest_is_kept() {
    let bench = Bench::new();
    let reference = order(None).key.as_str().to_owned();
    for _ in 0..3 {
        bench.fake().add("sale.sale", json!({ "reference": reference, "party": 1, "currency": 1 }), at(0));
    }
    assert_eq!(apply(&bench, &order(Some("1"))).await.expect("it is placed").remote_id, "1");
    assert_eq!(bench.fake().records("sale.sale").len(), 1);
}

#[tokio::test]
async fn a_sale_that_was_moved_on_wins_over_an_older_draft() {
    let bench = Bench::new();
    let reference = order(None).key.as_str().to_owned();
    let sale = |state: &str| json!({ "reference": reference, "party": 1, "currency": 1, "state": state });
    for state in ["draft", "confirmed"] {
        bench.fake().add("sale.sale", sale(state), at(0));
    }
    assert_eq!(apply(&bench, &order(Some("1"))).await.expect("it is placed").remote_id, "2");
    assert_eq!(bench.fake().records("sale.sale").len(), 1);
}

#[tokio::test]
async fn what_a_person_cancelled_is_not_made_again() {
    let bench = Bench::new();
    let reference = invoice(None).key.as_str().to_owned();
    let cancelled = json!({ "reference": reference, "type": "out", "party": 1, "currency": 1, "state": "cancelled" });
    bench.fake().add("account.invoice", cancelled, at(0));
    assert!(matches!(apply(&bench, &invoice(None)).await, Err(Fault::Rejected { .. })));
    assert_eq!(bench.fake().records("account.invoice").len(), 1);
}

#[tokio::test]
async fn a_currency_or_customer_that_tryton_does_not_have_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    let mut yen = invoice(None);
    if let Intent::IssueInvoice(intent) = &mut yen.intent {
        intent.amount = Money::new(5_000, Currency::JPY);
    }
    assert!(matches!(apply(&bench, &yen).await, Err(Fault::Rejected { .. })));
    assert!(matches!(apply(&bench, &order(Some("404"))).await, Err(Fault::Rejected { .. })));
    assert!(bench.fake().records("sale.sale").is_empty());
    assert!(bench.fake().records("account.invoice").is_empty());
}
