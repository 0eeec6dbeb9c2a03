//! What item codes stand for: the product and the taxes on the line of an invoice.

use crosstie_sdk::{
    Connector, Fault, Method, Settings, WriteRequest, Writer,
    domain::{
        ItemCode,
        integration::{Claim, IntentKind},
    },
};
use crosstie_stripe::Stripe;
use serde_json::{Value, json};

use crate::kit::{Bench, coded, euros, invoice, now, order, selling};

fn writer() -> &'static dyn Writer {
    Stripe.writer().expect("a writer")
}

fn settings() -> Value {
    json!({ "items": { "codes": { "IMPLEMENTATION": {
        "product": "prod_impl", "tax_behavior": "exclusive", "tax_rates": ["txr_vat"],
    } } } })
}

/// What was sent that changes something.
fn writes(bench: &Bench) -> usize {
    bench.sent().iter().filter(|request| request.method == Method::Post).count()
}

async fn refused(bench: &Bench, request: &WriteRequest) -> Fault {
    writer().apply(&bench.net, request).await.expect_err("it is refused")
}

#[tokio::test]
async fn the_line_carries_product_and_tax_and_the_invoice_tells_both_apart() {
    let bench = selling(settings());
    let request = coded(invoice(), "IMPLEMENTATION");
    let written = writer().apply(&bench.net, &request).await.expect("issued");
    assert_eq!(writer().apply(&bench.net, &request).await, Ok(written.clone()));
    let made = bench.with_fake(|fake| fake.invoices().to_vec());
    let [issued] = made.as_slice() else { panic!("{} invoices", made.len()) };
    let lines = issued["lines"]["data"].as_array().expect("lines");
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["price"]["product"], &lines[0]["amount"]), (&json!("prod_impl"), &json!(120_000)));
    assert_eq!(
        (&lines[0]["price"]["tax_behavior"], &lines[0]["description"]),
        (&json!("exclusive"), &json!("Discovery"))
    );
    assert_eq!(lines[0]["tax_rates"][0]["id"], "txr_vat");
    assert_eq!(
        (&issued["subtotal"], &issued["tax"], &issued["total"]),
        (&json!(120_000), &json!(22_800), &json!(142_800))
    );
    let Some(Claim::Invoice(claim)) = written.claim else { panic!("a claim of an invoice") };
    assert_eq!((claim.net, claim.total), (Some(euros("1200")), Some(euros("1428"))));
}

#[tokio::test]
async fn a_code_without_an_entry_is_refused_before_anything_is_sent() {
    let bench = selling(settings());
    for (request, path) in
        [(coded(invoice(), "TRAINING"), "settings.items.codes.TRAINING"), (invoice(), "settings.items.default")]
    {
        let Fault::ItemNotMapped { path: named, .. } = refused(&bench, &request).await else { panic!("not mapped") };
        assert_eq!(named, path);
    }
    assert_eq!(bench.sent().len(), 0);
    // An order is a product of its own here: it carries no lines that could stand for something.
    let mut order = order();
    if let crosstie_sdk::domain::integration::Intent::PlaceOrder(intent) = &mut order.intent {
        intent.lines[0].item_code = "TRAINING".parse().ok();
    }
    assert!(writer().apply(&bench.net, &order).await.is_ok());
}

#[tokio::test]
async fn what_stripe_does_not_know_or_has_archived_is_refused_by_the_setting_that_names_it_and_mended() {
    let entry = |more: Value| {
        let mut entry = json!({ "product": "prod_impl", "tax_rates": ["txr_vat"] });
        for (key, value) in more.as_object().expect("an object") {
            entry[key] = value.clone();
        }
        json!({ "items": { "codes": { "IMPLEMENTATION": entry } } })
    };
    for (more, key, word) in [
        (json!({ "product": "prod_none" }), "product", "no product"),
        (json!({ "product": "prod_old" }), "product", "archived"),
        (json!({ "tax_rates": ["txr_vat", "txr_none"] }), "tax_rates.1", "no tax rate"),
        (json!({ "tax_rates": ["txr_old"] }), "tax_rates.0", "archived"),
        (json!({ "tax_rates": ["txr_inside"] }), "tax_rates.0", "part of the price"),
        (json!({ "tax_code": "txcd_9" }), "tax_code", "txcd_1"),
    ] {
        let bench = selling(entry(more));
        let request = coded(invoice(), "IMPLEMENTATION");
        let Fault::Rejected { errors } = refused(&bench, &request).await else { panic!("rejected") };
        assert_eq!(errors[0].field, format!("settings.items.codes.IMPLEMENTATION.{key}"));
        assert!(errors[0].message.contains(word), "{errors:?}");
        assert_eq!(writes(&bench), 0, "{key}");
        bench.net.change_settings(Settings::new(entry(json!({ "tax_code": "txcd_1" }))));
        writer().apply(&bench.net, &request).await.expect("mended");
        bench.with_fake(|fake| assert_eq!((fake.customer_count(), fake.invoice_count()), (1, 1)));
    }
}

#[tokio::test]
async fn an_answer_lost_at_any_step_leads_to_one_invoice_with_one_taxed_line() {
    let request = coded(invoice(), "IMPLEMENTATION");
    let calls = {
        let bench = selling(settings());
        writer().apply(&bench.net, &request).await.expect("issued");
        bench.sent().len()
    };
    assert_eq!(calls, 8, "search, product, tax rate, customer, list, draft, item, finalize");
    for lost in 0..calls {
        let bench = selling(settings());
        bench.with_fake(|fake| {
            fake.pass(lost);
            fake.lose_next_answer();
        });
        let mut written = None;
        for _ in 0..5 {
            if let Ok(done) = writer().apply(&bench.net, &request).await {
                written = Some(done);
                break;
            }
        }
        assert!(written.is_some(), "{lost}");
        bench.with_fake(|fake| {
            assert_eq!((fake.customer_count(), fake.invoice_count()), (1, 1), "{lost}");
            assert_eq!(fake.invoices()[0]["total"], 142_800, "{lost}");
        });
    }
}

#[tokio::test]
async fn a_draft_of_another_mapping_is_not_issued_until_its_line_is_gone() {
    let bench = selling(settings());
    let request = coded(invoice(), "IMPLEMENTATION");
    bench.with_fake(|fake| {
        fake.pass(7);
        fake.fail_next(crosstie_sdk::HttpResponse::empty(503));
    });
    assert!(writer().apply(&bench.net, &request).await.is_err(), "it is not finalized");
    let mended = json!({ "items": { "codes": { "IMPLEMENTATION": { "product": "prod_new" } } } });
    bench.net.change_settings(Settings::new(mended));
    let Fault::Rejected { errors } = refused(&bench, &request).await else { panic!("rejected") };
    assert_eq!(errors[0].field, "lines");
    let item = bench.with_fake(|fake| fake.invoices()[0]["lines"]["data"][0]["invoice_item"].clone());
    let item = format!("/v1/invoiceitems/{}", item.as_str().expect("an id"));
    bench.at_stripe(Method::Delete, &item, "", now());
    writer().apply(&bench.net, &request).await.expect("issued");
    bench.with_fake(|fake| {
        assert_eq!((fake.invoice_count(), &fake.invoices()[0]["total"]), (1, &json!(120_000)));
        assert_eq!(fake.invoices()[0]["lines"]["data"][0]["price"]["product"], "prod_new");
    });
}

#[tokio::test]
async fn with_automatic_tax_stripe_is_asked_to_work_the_taxes_out() {
    let bench = selling(json!({ "automatic_tax": true, "items": { "default": { "product": "prod_impl" } } }));
    writer().apply(&bench.net, &invoice()).await.expect("issued");
    bench.with_fake(|fake| assert_eq!(fake.invoices()[0]["automatic_tax"]["enabled"], true));
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_the_keys_that_lead_to_them() {
    let check = |settings: Value| Stripe.check_settings(&Settings::new(settings));
    for (entry, more, key) in [
        (json!({ "tax_code": "txcd_1" }), json!({}), "tax_code"),
        (json!({ "tax_behavior": "exclusive" }), json!({}), "tax_behavior"),
        (json!({ "product": "prod_1", "tax_behavior": "inclusive" }), json!({}), "tax_behavior"),
        (json!({ "product": "prod_1", "tax_behavior": "often" }), json!({}), "tax_behavior"),
        (json!({ "product": "" }), json!({}), "product"),
        (json!({ "tax_rates": ["txr 1"] }), json!({}), "tax_rates"),
        (json!({ "tax_rates": ["a", "b", "c", "d", "e", "f"] }), json!({}), "tax_rates"),
        (json!({ "tax_rates": ["txr_1"] }), json!(true), "tax_rates"),
    ] {
        let mut settings = json!({ "items": { "codes": { "GO.LIVE": entry } } });
        if more == true {
            settings["automatic_tax"] = more;
        }
        let error = check(settings.clone()).expect_err("refused");
        assert_eq!(error.path, ["items", "codes", "GO.LIVE", key], "{settings}: {error}");
    }
    for good in [json!({}), settings(), json!({ "items": { "default": {}, "unknown_codes": "DEFAULT" } })] {
        assert_eq!(check(good), Ok(()));
    }
}

#[test]
fn what_a_line_goes_out_with_is_told_without_asking_stripe() {
    let code: ItemCode = "IMPLEMENTATION".parse().expect("a code");
    let settings = Settings::new(settings());
    let told = writer().line_codes(&settings, IntentKind::IssueInvoice, Some(&code)).expect("mapped");
    let expected = [("product", "prod_impl"), ("tax_behavior", "exclusive"), ("tax_rates", "txr_vat")];
    let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(told, expected);
    assert!(writer().line_codes(&settings, IntentKind::IssueInvoice, None).is_err());
    assert_eq!(writer().line_codes(&settings, IntentKind::PlaceOrder, None), Ok([].into()));
}
