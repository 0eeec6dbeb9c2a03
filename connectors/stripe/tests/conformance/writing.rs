use crosstie_sdk::{
    Connector, Fault, FieldError, HttpRequest, HttpResponse, Method, WriteRequest, Writer, Written,
    domain::{
        billing::{InvoiceClaim, InvoiceStatus},
        integration::Claim,
    },
};
use crosstie_stripe::Stripe;
use serde_json::json;

use crate::kit::{Bench, euros, invoice, now, order, without_email};

fn writer() -> &'static dyn Writer {
    Stripe.writer().expect("a writer")
}

/// Applies until it works, as the host does.
async fn insist(bench: &Bench, request: &WriteRequest) -> Written {
    for _ in 0..5 {
        match writer().apply(&bench.net, request).await {
            Ok(written) => return written,
            Err(fault) => assert!(fault.is_temporary(), "{fault}"),
        }
    }
    panic!("never worked")
}

fn assert_one_invoice_with_one_line(bench: &Bench, written: &Written) {
    bench.with_fake(|fake| {
        assert_eq!((fake.customer_count(), fake.invoice_count()), (1, 1));
        let invoice = &fake.invoices()[0];
        assert_eq!(invoice["id"], written.remote_id.as_str());
        assert_eq!((&invoice["status"], &invoice["total"]), (&json!("open"), &json!(120_000)));
        assert_eq!(invoice["lines"]["data"].as_array().map(Vec::len), Some(1));
    });
}

#[tokio::test]
async fn an_invoice_is_drafted_filled_and_finalized() {
    let bench = Bench::new();
    let written = writer().apply(&bench.net, &invoice()).await.expect("issued");
    assert_one_invoice_with_one_line(&bench, &written);
    let Some(Claim::Invoice(claim)) = &written.claim else { panic!("a claim of an invoice") };
    let InvoiceClaim { invoice: id, status, total, issued_on, due_on, number, .. } = claim;
    assert_eq!(id.map(|id| id.to_string()).as_deref(), Some("inv_01h455vb4pex5vsknk084sn02q"));
    assert_eq!((*status, *total), (Some(InvoiceStatus::Open), Some(euros("1200"))));
    assert_eq!(issued_on.map(|on| on.to_string()).as_deref(), Some("2026-11-23"));
    assert_eq!(due_on.map(|on| on.to_string()).as_deref(), Some("2026-12-23"));
    assert!(number.is_some());
    assert_eq!(writer().find(&bench.net, &invoice()).await, Ok(Some(written)));
}

#[tokio::test]
async fn an_answer_lost_at_any_step_leads_to_one_invoice() {
    for (request, calls) in [
        (invoice(), "search, customer, list, draft, item, finalize"),
        (without_email(invoice()), "search, customer, list, draft, draft without e-mail, item, finalize"),
    ] {
        let bench = Bench::new();
        writer().apply(&bench.net, &request).await.expect("issued");
        let steps = bench.sent().len();
        assert_eq!(steps, calls.split(',').count(), "{calls}");
        for forget_keys in [false, true] {
            for step in 0..steps {
                let bench = Bench::new();
                bench.with_fake(|fake| {
                    fake.pass(step);
                    fake.lose_next_answer();
                });
                let first = writer().apply(&bench.net, &request).await;
                assert!(matches!(first, Err(Fault::Transient { .. })), "step {step}: {first:?}");
                if forget_keys {
                    bench.with_fake(|fake| fake.forget_keys());
                }
                let written = insist(&bench, &request).await;
                assert_one_invoice_with_one_line(&bench, &written);
            }
        }
    }
}

/// The invoice that comes of a request for a customer who is known to Stripe with these details.
async fn issued_for(details: &str, request: WriteRequest) -> (Bench, Written) {
    let bench = Bench::new();
    let customer = bench.at_stripe(Method::Post, "/v1/customers", details, now());
    let customer_remote_id = customer["id"].as_str().map(str::to_owned);
    let written = writer().apply(&bench.net, &WriteRequest { customer_remote_id, ..request }).await.expect("issued");
    assert_one_invoice_with_one_line(&bench, &written);
    (bench, written)
}

#[tokio::test]
async fn a_customer_without_email_at_stripe_gets_an_open_invoice_that_nobody_is_charged_for() {
    for details in ["name=Known", "name=Known&email="] {
        for request in [invoice(), without_email(invoice())] {
            let (bench, written) = issued_for(details, request).await;
            bench.with_fake(|fake| {
                let invoice = &fake.invoices()[0];
                assert_eq!(invoice["collection_method"], "charge_automatically");
                assert_eq!((&invoice["auto_advance"], &invoice["due_date"]), (&json!(false), &json!(null)));
            });
            let Some(Claim::Invoice(claim)) = &written.claim else { panic!("a claim of an invoice") };
            assert_eq!((claim.status, claim.due_on), (Some(InvoiceStatus::Open), None));
            let pay = format!("/v1/invoices/{}/pay", written.remote_id);
            let paid = bench.at_stripe(Method::Post, &pay, "paid_out_of_band=true", now());
            assert_eq!(paid["status"], "paid");
            assert_eq!(bench.sent().len(), 5, "list, draft, draft without e-mail, item, finalize");
        }
    }
}

#[tokio::test]
async fn the_email_that_stripe_has_decides_and_not_the_one_that_the_hub_knows() {
    for request in [invoice(), without_email(invoice())] {
        let (bench, written) = issued_for("name=Known&email=ap%40acme.example", request).await;
        bench.with_fake(|fake| assert_eq!(fake.invoices()[0]["collection_method"], "send_invoice"));
        let Some(Claim::Invoice(claim)) = &written.claim else { panic!("a claim of an invoice") };
        assert_eq!(claim.due_on.map(|on| on.to_string()).as_deref(), Some("2026-12-23"));
        assert_eq!(bench.sent().len(), 4, "list, draft, item, finalize");
    }
}

#[tokio::test]
async fn a_missing_email_is_told_by_the_parameter_or_the_words_and_never_by_another_refusal() {
    for (status, error, taken) in [
        (400, json!({ "param": "customer_email", "message": "No." }), true),
        (400, json!({ "code": "email_invalid" }), true),
        (400, json!({ "message": "Missing email." }), true),
        (400, json!({ "param": "customer", "message": "No such customer." }), false),
        (402, json!({ "message": "Missing email." }), false),
    ] {
        let bench = Bench::new();
        bench.with_fake(|fake| {
            fake.pass(3);
            fake.fail_next(HttpResponse::json(status, &json!({ "error": error })));
        });
        let written = writer().apply(&bench.net, &invoice()).await;
        assert_eq!(written.is_ok(), taken, "{status} {error}");
        assert_eq!(bench.with_fake(|fake| fake.invoice_count()), usize::from(taken));
    }
}

#[tokio::test]
async fn the_draft_without_email_has_a_key_and_parameters_of_its_own() {
    let bench = Bench::new();
    writer().apply(&bench.net, &without_email(invoice())).await.expect("issued");
    let sent = bench.sent();
    let drafts: Vec<_> = sent.iter().filter(|request| request.method == Method::Post).skip(1).take(2).collect();
    let value = |at: usize, name: &str| {
        let form: &HttpRequest = drafts[at];
        form.form().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let ms = "invoice:ms_01h455vb4pex5vsknk084sn02q:1";
    assert_eq!(drafts[0].header("idempotency-key"), Some(format!("{ms}:draft").as_str()));
    assert_eq!(drafts[1].header("idempotency-key"), Some(format!("{ms}:draft-without-email").as_str()));
    assert_eq!(value(1, "collection_method").as_deref(), Some("charge_automatically"));
    assert_eq!(value(1, "auto_advance").as_deref(), Some("false"));
    assert_eq!((value(0, "days_until_due").as_deref(), value(1, "days_until_due")), (Some("30"), None));
    assert_eq!(value(1, "metadata[crosstie_effect]").as_deref(), Some(ms));
}

#[tokio::test]
async fn the_stand_in_refuses_a_draft_that_cannot_be_mailed_or_cannot_be_due() {
    let bench = Bench::new();
    let customer = bench.at_stripe(Method::Post, "/v1/customers", "name=Known", now());
    let refusal = async |pairs: &[(&str, &str)]| {
        let mut form: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        form.push(("customer".to_owned(), customer["id"].as_str().expect("an id").to_owned()));
        let answer = bench.net.send(crosstie_sdk::Call::post("/v1/invoices").form(&form)).await.expect("an answer");
        let body: serde_json::Value = answer.json().expect("JSON");
        (answer.status(), body["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let missing = "Missing email. In order to create invoices that are sent to the customer, the customer must have a \
                   valid email.";
    let by_mail = refusal(&[("collection_method", "send_invoice"), ("days_until_due", "30")]).await;
    assert_eq!(by_mail, (400, missing.to_owned()));
    let due = refusal(&[("collection_method", "charge_automatically"), ("days_until_due", "30")]).await;
    assert_eq!(due.0, 400);
    assert_eq!(bench.with_fake(|fake| fake.invoice_count()), 0);
}

#[tokio::test]
async fn ten_repeats_make_one_invoice_and_one_order_also_after_the_keys_are_forgotten() {
    let bench = Bench::new();
    let (first_invoice, first_order) = (insist(&bench, &invoice()).await, insist(&bench, &order()).await);
    for _ in 0..9 {
        assert_eq!(insist(&bench, &invoice()).await, first_invoice);
        assert_eq!(insist(&bench, &order()).await, first_order);
        bench.with_fake(|fake| fake.forget_keys());
    }
    assert_one_invoice_with_one_line(&bench, &first_invoice);
    assert_eq!(bench.with_fake(|fake| fake.product_count()), 1);
}

#[tokio::test]
async fn a_draft_alone_is_not_found_and_is_taken_up_again() {
    let bench = Bench::new();
    bench.with_fake(|fake| {
        fake.pass(4);
        fake.fail_next(HttpResponse::empty(500));
    });
    assert!(writer().apply(&bench.net, &invoice()).await.is_err());
    assert_eq!(bench.with_fake(|fake| fake.invoice_count()), 1, "a draft");
    assert_eq!(writer().find(&bench.net, &invoice()).await, Ok(None));
    bench.with_fake(|fake| fake.forget_keys());
    let written = insist(&bench, &invoice()).await;
    assert_one_invoice_with_one_line(&bench, &written);
}

#[tokio::test]
async fn a_draft_that_somebody_changed_is_not_issued() {
    for (step, item) in [(4, "amount=1&currency=eur"), (4, "amount=120000&currency=usd"), (5, "amount=1&currency=eur")]
    {
        let bench = Bench::new();
        bench.with_fake(|fake| {
            fake.pass(step);
            fake.fail_next(HttpResponse::empty(500));
        });
        assert!(writer().apply(&bench.net, &invoice()).await.is_err(), "a draft, without or with its item");
        let draft = bench.with_fake(|fake| fake.invoices()[0].clone());
        let (id, customer) = (draft["id"].as_str().expect("an id"), draft["customer"].as_str().expect("an id"));
        let form = format!("customer={customer}&invoice={id}&{item}");
        bench.at_stripe(Method::Post, "/v1/invoiceitems", &form, now());
        let refused = writer().apply(&bench.net, &invoice()).await;
        assert_eq!(refused, Err(Fault::rejected("lines", "the draft was changed at Stripe")), "{step} {item}");
        assert_eq!(bench.with_fake(|fake| fake.invoices()[0]["status"].clone()), "draft");
    }
}

#[tokio::test]
async fn an_invoice_that_is_finalized_by_hand_at_the_last_moment_is_taken_as_it_is() {
    let bench = Bench::new();
    bench.with_fake(|fake| {
        fake.pass(5);
        fake.fail_next(HttpResponse::empty(500));
    });
    assert!(writer().apply(&bench.net, &invoice()).await.is_err(), "all but final");
    let draft = bench.with_fake(|fake| fake.invoices()[0].clone());
    let finalize = format!("/v1/invoices/{}/finalize", draft["id"].as_str().expect("an id"));
    bench.at_stripe(Method::Post, &finalize, "", now());
    bench.with_fake(|fake| {
        fake.pass(1);
        fake.fail_next(HttpResponse::json(200, &json!({ "data": [draft], "has_more": false })));
    });
    let written = writer().apply(&bench.net, &invoice()).await.expect("issued");
    assert_one_invoice_with_one_line(&bench, &written);
    let last: Vec<_> = bench.sent().iter().rev().take(2).map(|request| request.method).collect();
    assert_eq!(last, [Method::Get, Method::Post], "it was refused and looked");
}

#[tokio::test]
async fn a_refusal_to_finalize_that_left_a_draft_is_a_refusal() {
    let bench = Bench::new();
    let no = json!({ "error": { "type": "invalid_request_error", "param": "invoice", "message": "No." } });
    bench.with_fake(|fake| {
        fake.pass(5);
        fake.fail_next(HttpResponse::json(400, &no));
    });
    assert_eq!(writer().apply(&bench.net, &invoice()).await, Err(Fault::rejected("invoice", "No.")));
}

#[tokio::test]
async fn an_order_becomes_a_product_under_its_own_id() {
    let bench = Bench::new();
    assert_eq!(writer().find(&bench.net, &order()).await, Ok(None));
    for step in [3, 0] {
        bench.with_fake(|fake| {
            fake.pass(step);
            fake.lose_next_answer();
        });
        assert!(writer().apply(&bench.net, &order()).await.is_err());
        bench.with_fake(|fake| fake.forget_keys());
    }
    let written = insist(&bench, &order()).await;
    assert_eq!(written.remote_id, "ord_01h455vb4pex5vsknk084sn02q");
    assert!(written.customer_remote_id.is_some());
    bench.with_fake(|fake| assert_eq!((fake.product_count(), fake.customer_count()), (1, 1)));
    let found = writer().find(&bench.net, &order()).await.expect("asked").expect("found");
    assert_eq!(found.remote_id, written.remote_id);
}

#[tokio::test]
async fn a_product_that_appears_at_the_last_moment_is_taken_when_it_is_ours() {
    let bench = Bench::new();
    let first = insist(&bench, &order()).await;
    bench.with_fake(|fake| {
        fake.forget_keys();
        fake.pass(1);
        fake.fail_next(HttpResponse::empty(404));
    });
    assert_eq!(insist(&bench, &order()).await, first);
    let last = bench.sent().last().map(|request| request.path().to_owned());
    assert_eq!(last.as_deref(), Some("/v1/products/ord_01h455vb4pex5vsknk084sn02q"), "it looked who has the id");
}

#[tokio::test]
async fn a_foreign_product_with_the_id_of_the_order_is_refused() {
    let bench = Bench::new();
    let form = "id=ord_01h455vb4pex5vsknk084sn02q&name=Something+else";
    bench.at_stripe(Method::Post, "/v1/products", form, now());
    let refused = writer().apply(&bench.net, &order()).await;
    assert!(matches!(refused, Err(Fault::Rejected { .. })), "{refused:?}");
}

#[tokio::test]
async fn refusals_say_what_can_be_done() {
    let body = |kind: &str, code: &str| json!({ "error": { "type": kind, "code": code, "param": "amount", "message": "No." } });
    let rejected =
        || Fault::Rejected { errors: vec![FieldError { field: "amount".to_owned(), message: "No.".to_owned() }] };
    let busy = |why: &str| Fault::Transient { why: why.to_owned() };
    let cases = [
        (400, body("invalid_request_error", "parameter_invalid_integer"), rejected()),
        (400, body("idempotency_error", ""), rejected()),
        (409, body("invalid_request_error", "lock_timeout"), busy("lock_timeout")),
        (409, body("invalid_request_error", "idempotency_key_in_use"), busy("idempotency_key_in_use")),
        (409, body("invalid_request_error", "other"), rejected()),
    ];
    for (status, body, expected) in cases {
        let bench = Bench::new();
        bench.with_fake(|fake| {
            fake.pass(4);
            fake.fail_next(HttpResponse::json(status, &body));
        });
        assert_eq!(writer().apply(&bench.net, &invoice()).await, Err(expected), "{status} {body}");
    }
}

#[tokio::test]
async fn a_customer_that_was_just_made_under_another_name_is_waited_for() {
    let bench = Bench::new();
    let error = json!({ "error": { "type": "idempotency_error", "message": "No." } });
    bench.with_fake(|fake| {
        fake.pass(1);
        fake.fail_next(HttpResponse::json(400, &error));
    });
    let waits = writer().apply(&bench.net, &order()).await;
    assert!(matches!(waits, Err(Fault::Transient { .. })), "{waits:?}");
}

#[tokio::test]
async fn a_known_customer_is_not_made_again() {
    let bench = Bench::new();
    let customer = bench.at_stripe(Method::Post, "/v1/customers", "name=Known", now());
    let known = customer["id"].as_str().map(str::to_owned);
    let request = WriteRequest { customer_remote_id: known.clone(), ..invoice() };
    let written = writer().apply(&bench.net, &request).await.expect("issued");
    assert_eq!(written.customer_remote_id, known);
    assert_eq!(bench.with_fake(|fake| fake.customer_count()), 1);
}

#[tokio::test]
async fn the_stand_in_refuses_another_body_under_a_used_key() {
    let bench = Bench::new();
    let ask = |name: &str| {
        let pair = [("name".to_owned(), name.to_owned())];
        crosstie_sdk::Call::post("/v1/customers").header("idempotency-key", "k").form(&pair)
    };
    let first = bench.net.send(ask("A")).await.expect("an answer");
    let again = bench.net.send(ask("A")).await.expect("an answer");
    let other = bench.net.send(ask("B")).await.expect("an answer");
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(other.status(), 400);
    assert_eq!(bench.with_fake(|fake| fake.customer_count()), 1);
}

#[tokio::test]
async fn writes_are_sent_as_the_vendors_own_library_sends_them() {
    let bench = Bench::new();
    writer().apply(&bench.net, &invoice()).await.expect("issued");
    let sent = bench.sent();
    let posts: Vec<_> = sent.iter().filter(|request| request.method == Method::Post).collect();
    for post in &posts {
        assert_eq!(post.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(post.header("accept"), Some("application/json"));
        assert_eq!(post.header("stripe-version"), Some("2020-08-27"));
        assert!(post.header("idempotency-key").is_some(), "{post:?}");
    }
    let keys: Vec<_> = posts.iter().skip(1).filter_map(|post| post.header("idempotency-key")).collect();
    let ms = "invoice:ms_01h455vb4pex5vsknk084sn02q:1";
    assert_eq!(keys, [format!("{ms}:draft"), format!("{ms}:item"), format!("{ms}:finalize")]);
    let has = |at: usize, name: &str, value: &str| {
        assert!(posts[at].form().contains(&(name.to_owned(), value.to_owned())), "{name}={value}");
    };
    has(0, "metadata[crosstie_account]", "acc_01h455vb4pex5vsknk084sn02q");
    has(1, "collection_method", "send_invoice");
    has(1, "days_until_due", "30");
    has(1, "metadata[crosstie_effect]", ms);
    has(2, "amount", "120000");
    has(2, "currency", "eur");
    has(3, "auto_advance", "false");
    assert!(posts[1].form().iter().all(|(name, _)| name != "currency"), "this version refuses it on invoices");
}
