//! What item codes stand for: product, account and taxes of lines.

use crosstie_sdk::{
    Connector, Fault, Settings, WriteRequest, Writer, Written,
    domain::{
        ItemCode,
        integration::{Claim, Intent, IntentKind},
    },
};
use crosstie_tryton::Tryton;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, at},
    writing::{invoice, order, usd},
};

fn writer() -> &'static dyn Writer {
    <Tryton as Connector>::writer(&Tryton).expect("it writes")
}

fn settings(entry: Value) -> Value {
    json!({ "company": 1, "product": 1, "payment_term": 3, "items": { "codes": { "IMPL": entry }, "default": {} } })
}

fn full() -> Value {
    json!({ "product": "SRV-1", "account": "4400", "taxes": ["VAT 19 %"] })
}

/// A Tryton with a second product (2), accounts (1 to 3) and taxes (1 to 4).
fn bench(entry: Value) -> Bench {
    let bench = Bench::with(settings(entry));
    let mut fake = bench.fake();
    let now = at(0);
    fake.add("product.category", json!({ "account_revenue": 77 }), now);
    fake.add("product.template", json!({ "account_category": 2 }), now);
    let product = |code: &str, active: bool, salable: bool| json!({ "template": 2, "default_uom": 9, "code": code, "active": active, "salable": salable });
    for (code, active, salable) in [("SRV-1", true, true), ("OLD", false, true), ("INNER", true, false)] {
        fake.add("product.product", product(code, active, salable), now);
    }
    let bare = fake.add("product.template", json!({}), now);
    fake.add("product.product", json!({ "template": bare, "code": "BARE" }), now);
    let revenue = fake.add("account.account.type", json!({ "revenue": true }), now);
    let other = fake.add("account.account.type", json!({ "revenue": false }), now);
    for (code, kind, closed) in [("4400", revenue, false), ("4800", revenue, true), ("1200", other, false)] {
        fake.add("account.account", json!({ "code": code, "type": kind, "closed": closed, "company": 1 }), now);
    }
    for (name, rate, active) in
        [("VAT 19 %", "0.19", true), ("Old", "0.16", false), ("Two", "0.07", true), ("Two", "0.02", true)]
    {
        let rate = json!({ "__class__": "Decimal", "decimal": rate });
        fake.add("account.tax", json!({ "name": name, "rate": rate, "active": active, "company": 1 }), now);
    }
    drop(fake);
    bench
}

fn coded(mut request: WriteRequest) -> WriteRequest {
    let code: Option<ItemCode> = "IMPL".parse().ok();
    match &mut request.intent {
        Intent::PlaceOrder(order) => order.lines[0].item_code = code,
        Intent::IssueInvoice(invoice) => invoice.item_code = code,
        Intent::UpdateRecord(_) => {}
    }
    request
}

async fn apply(bench: &Bench, request: &WriteRequest) -> Result<Written, Fault> {
    writer().apply(&bench.net, request).await
}

#[tokio::test]
async fn lines_carry_product_account_and_taxes_and_the_invoice_tells_net_and_tax_apart() {
    let bench = bench(full());
    let sale = apply(&bench, &coded(order(Some("1")))).await.expect("it is placed");
    let sold = bench.fake().records("sale.line");
    let told = |line: &Value| (line["product"].clone(), line["unit"].clone(), line["taxes"].clone());
    assert_eq!(told(&sold[0]), (json!(2), json!(9), json!([1])));
    assert_eq!(told(&sold[1]), (json!(1), json!(4), Value::Null), "a line without a code goes out by the default");

    let request = coded(invoice(Some(&sale.remote_id)));
    let first = apply(&bench, &request).await.expect("it is issued");
    assert_eq!(apply(&bench, &request).await.expect("it stays issued"), first);
    let billed = bench.fake().records("account.invoice.line");
    assert_eq!(billed.len(), 1);
    assert_eq!((told(&billed[0]), &billed[0]["account"]), ((json!(2), json!(9), json!([1])), &json!(1)));
    let Some(Claim::Invoice(claim)) = first.claim else { panic!("no word about the invoice") };
    assert_eq!((claim.net, claim.total), (Some(usd(100_000)), Some(usd(119_000))));
    assert_eq!(claim.amount_paid, Some(usd(0)), "the taxes are to be paid, too");
}

#[tokio::test]
async fn without_an_account_of_its_own_the_products_counts_before_that_of_the_connection() {
    let bench = bench(json!({ "product": 2 }));
    let mut own = settings(json!({ "product": 2 }));
    own["revenue_account"] = json!(20);
    bench.net.change_settings(Settings::new(own));
    apply(&bench, &coded(invoice(None))).await.expect("it is issued");
    assert_eq!(bench.fake().records("account.invoice.line")[0]["account"], 77);
}

#[tokio::test]
async fn a_code_without_an_entry_is_refused_before_anything_is_made() {
    let bench = bench(full());
    let strict = json!({ "company": 1, "product": 1, "items": { "codes": {} } });
    bench.net.change_settings(Settings::new(strict));
    for request in [coded(order(None)), coded(invoice(None)), order(None)] {
        let refused = apply(&bench, &request).await.expect_err("it is refused");
        assert!(matches!(refused, Fault::ItemNotMapped { .. }), "{refused}");
    }
    assert_eq!(bench.fake().records("party.party").len(), 1);
    assert!(bench.fake().records("sale.sale").is_empty());
}

#[tokio::test]
async fn what_tryton_does_not_know_or_use_is_refused_by_the_setting_that_names_it_and_mended() {
    for (entry, key, word) in [
        (json!({ "product": "NONE" }), "product", "no product NONE"),
        (json!({ "product": 404 }), "product", "no product 404"),
        (json!({ "product": "OLD" }), "product", "not active"),
        (json!({ "product": "INNER" }), "product", "not sold"),
        (json!({ "product": "BARE" }), "product", "no account category"),
        (json!({ "account": "9999" }), "account", "no account"),
        (json!({ "account": "4800" }), "account", "closed"),
        (json!({ "account": "1200" }), "account", "none for revenue"),
        (json!({ "taxes": [1, "None"] }), "taxes.1", "no tax"),
        (json!({ "taxes": ["Old"] }), "taxes.0", "not active"),
        (json!({ "taxes": ["Two"] }), "taxes.0", "by its id"),
    ] {
        let bench = bench(entry.clone());
        let request = coded(invoice(None));
        let refused = apply(&bench, &request).await.expect_err("it is refused");
        let Fault::Rejected { errors } = refused else { panic!("{entry}: {refused}") };
        assert_eq!(errors[0].field, format!("settings.items.codes.IMPL.{key}"), "{entry}");
        assert!(errors[0].message.contains(word), "{errors:?}");
        assert!(bench.fake().records("account.invoice").is_empty());
        bench.net.change_settings(Settings::new(settings(full())));
        apply(&bench, &request).await.expect("mended");
        assert_eq!(bench.fake().records("account.invoice").len(), 1);
    }
}

#[tokio::test]
async fn a_draft_of_another_mapping_is_made_anew_and_what_is_finished_stands() {
    let bench = bench(json!({ "product": "SRV-1", "taxes": ["Two"] }));
    let mut old = settings(json!({ "product": "SRV-1", "account": 1, "taxes": [3] }));
    bench.net.change_settings(Settings::new(old.clone()));
    let request = coded(invoice(None));
    // The draft is made, and nothing came of it but that.
    bench.fake().lose_answers(1);
    assert!(matches!(apply(&bench, &request).await, Err(Fault::Unknown { .. })));
    assert_eq!(bench.fake().records("account.invoice")[0]["state"], "draft");
    bench.net.change_settings(Settings::new(settings(full())));
    let issued = apply(&bench, &request).await.expect("it is issued");
    let invoices = bench.fake().records("account.invoice");
    assert_eq!((invoices.len(), &invoices[0]["total_amount"]["decimal"]), (1, &json!("1190.00")));

    for gone in [json!({ "product": "NONE" }), json!(null)] {
        old["items"]["codes"]["IMPL"] = gone;
        if old["items"]["codes"]["IMPL"].is_null() {
            old["items"] = json!({ "codes": {} });
        }
        bench.net.change_settings(Settings::new(old.clone()));
        assert_eq!(apply(&bench, &request).await.expect("it stands").remote_id, issued.remote_id);
    }
    assert_eq!(bench.fake().records("account.invoice").len(), 1);
}

#[tokio::test]
async fn a_lost_answer_at_any_step_leaves_one_order_with_the_same_lines() {
    for lost in 1..=8 {
        let bench = bench(full());
        bench.fake().lose_answers(lost);
        for tries in 0.. {
            assert!(tries < 20, "it does not come to its end");
            if apply(&bench, &coded(order(None))).await.is_ok() {
                break;
            }
        }
        assert_eq!(bench.fake().records("sale.sale").len(), 1, "{lost} answers lost");
        assert_eq!(bench.fake().records("sale.sale")[0]["state"], "processing");
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_the_keys_that_lead_to_them() {
    let check = |entry: Value| <Tryton as Connector>::check_settings(&Tryton, &Settings::new(settings(entry)));
    for (entry, key) in [
        (json!({ "product": 0 }), "product"),
        (json!({ "product": "" }), "product"),
        (json!({ "account": true }), "account"),
        (json!({ "taxes": [1, 1] }), "taxes"),
        (json!({ "taxes": 1 }), "taxes"),
    ] {
        let error = check(entry.clone()).expect_err("refused");
        assert_eq!(error.path[..4], ["items", "codes", "IMPL", key], "{entry}: {error}");
    }
    assert!(check(json!({ "revenue": 1 })).is_err(), "no such setting");
    assert_eq!(check(full()), Ok(()));
}

#[test]
fn what_a_line_goes_out_with_is_told_without_asking_tryton() {
    let code: ItemCode = "IMPL".parse().expect("a code");
    let settings = Settings::new(settings(full()));
    let told = |code| writer().line_codes(&settings, IntentKind::PlaceOrder, code).expect("mapped");
    let expected = [("account", "4400"), ("product", "SRV-1"), ("taxes", "VAT 19 %")];
    assert_eq!(told(Some(&code)), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(told(None), [("product".to_owned(), "1".to_owned())].into(), "that of the connection");
}
