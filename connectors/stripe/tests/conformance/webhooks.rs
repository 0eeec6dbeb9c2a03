use crosstie_sdk::{
    Connector, Delivery, Inbound, Malformed, Nudge, Secret,
    domain::{Instant, integration::Entity},
    signature::{Encoding, Part, Refused, sign, verify},
};
use crosstie_stripe::Stripe;

use crate::kit::{Bench, invoice, now};

/// Signed by the vendor's own library.
const BODY: &str = r#"{"id":"evt_test_1","object":"event","type":"invoice.paid","created":1700000000}"#;
const SIGNED: &str = "t=1700000000,v1=25e07c50f1489fd5cddb00d2b2bb9034df52cc6b68f73a81150650dd2d394aa2";

fn inbound() -> &'static dyn Inbound {
    Stripe.inbound().expect("webhooks")
}

fn delivery(signature: &str, body: &str) -> Delivery {
    Delivery {
        method: "POST".to_owned(),
        url: "https://hub.example/hooks/billing".to_owned(),
        headers: vec![("stripe-signature".to_owned(), signature.to_owned())],
        body: body.as_bytes().to_vec(),
    }
}

fn check(delivery: &Delivery, secrets: &[&str], at_seconds: i64) -> Result<(), Refused> {
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
    let at = Instant::from_micros(at_seconds * 1_000_000).expect("an instant");
    verify(&inbound().scheme(), delivery, &secrets, at).map(|_| ())
}

fn split(body: &str) -> Result<Vec<Nudge>, Malformed> {
    let secret = Secret::new("whsec_x");
    let signature = sign_v1(body, "1700000000", &secret);
    let delivery = delivery(&format!("t=1700000000,v1={signature}"), body);
    let at = Instant::from_micros(1_700_000_000_000_000).expect("an instant");
    inbound().split(verify(&inbound().scheme(), &delivery, &[secret], at).expect("a good signature"))
}

fn sign_v1(body: &str, at: &str, secret: &Secret) -> String {
    let parts = [Part::Timestamp, Part::Literal("."), Part::Body];
    sign(&parts, Encoding::Hex, &delivery("", body), at, secret)
}

#[test]
fn takes_what_the_vendor_signed_and_nothing_else() {
    let good = delivery(SIGNED, BODY);
    assert_eq!(check(&good, &["whsec_test_secret"], 1_700_000_000), Ok(()));
    assert_eq!(check(&good, &["whsec_other"], 1_700_000_000), Err(Refused::Wrong));
    assert_eq!(check(&good, &[], 1_700_000_000), Err(Refused::NoSecret));
    assert_eq!(check(&good, &["whsec_test_secret"], 1_700_000_300), Ok(()));
    assert_eq!(check(&good, &["whsec_test_secret"], 1_700_000_301), Err(Refused::Stale));
    assert_eq!(check(&good, &["whsec_test_secret"], 1_699_999_699), Err(Refused::Stale));
    let tampered = delivery(SIGNED, &BODY.replace("paid", "void"));
    assert_eq!(check(&tampered, &["whsec_test_secret"], 1_700_000_000), Err(Refused::Wrong));
    let moved = delivery(&SIGNED.replace("t=1700000000", "t=1700000001"), BODY);
    assert_eq!(check(&moved, &["whsec_test_secret"], 1_700_000_001), Err(Refused::Wrong));
    let older_scheme = delivery(&SIGNED.replace("v1=", "v0="), BODY);
    assert_eq!(check(&older_scheme, &["whsec_test_secret"], 1_700_000_000), Err(Refused::Unsigned));
    let unsigned = Delivery { headers: Vec::new(), ..delivery("", BODY) };
    assert_eq!(check(&unsigned, &["whsec_test_secret"], 1_700_000_000), Err(Refused::Unsigned));
}

#[test]
fn any_of_several_signatures_under_any_live_secret_is_enough() {
    let wrong = "00".repeat(32);
    let (at, right) = SIGNED.split_once(',').expect("two parts");
    let rolled = delivery(&format!("{at},v1={wrong},{right},v0={wrong}"), BODY);
    assert_eq!(check(&rolled, &["whsec_new", "whsec_test_secret"], 1_700_000_000), Ok(()));
    assert_eq!(check(&rolled, &["whsec_test_secret", "whsec_new"], 1_700_000_000), Ok(()));
    assert_eq!(check(&rolled, &["whsec_new", "whsec_newer"], 1_700_000_000), Err(Refused::Wrong));
}

#[test]
fn an_event_points_at_what_changed() {
    let target = |kind: &str, object: &str| {
        let body = format!(r#"{{"id":"evt_1","type":"{kind}","created":1700000000,"data":{{"object":{object}}}}}"#);
        let nudges = split(&body).expect("an event");
        assert_eq!(nudges.len(), 1);
        nudges[0].target.clone()
    };
    let invoice = Some((Entity::Invoice, "in_1".to_owned()));
    let account = Some((Entity::Account, "cus_1".to_owned()));
    assert_eq!(target("invoice.paid", r#"{"id":"in_1"}"#), invoice);
    assert_eq!(target("invoice.voided", r#"{"id":"in_1"}"#), invoice);
    assert_eq!(target("invoice.upcoming", r#"{"object":"invoice"}"#), None);
    assert_eq!(target("customer.deleted", r#"{"id":"cus_1"}"#), account);
    assert_eq!(target("customer.subscription.created", r#"{"id":"sub_1"}"#), None);
    assert_eq!(target("invoiceitem.created", r#"{"id":"ii_1"}"#), None);
    assert_eq!(target("plan.created", r#"{"id":"p_1"}"#), None);
}

#[test]
fn a_body_that_is_no_event_is_malformed() {
    for body in ["", "[]", "{}", r#"{"id":"","type":"invoice.paid","data":{"object":{}}}"#] {
        assert!(split(body).is_err(), "{body:?}");
    }
    assert_eq!(inbound().acknowledgment().status, 200);
}

#[test]
fn an_indented_event_of_an_older_version_is_understood() {
    let nudges = split(include_str!("../../fixtures/webhook_customer_created.json")).expect("an event");
    let expected = Nudge {
        dedupe_key: "evt_birch_1".to_owned(),
        event_type: "customer.created".to_owned(),
        target: Some((Entity::Account, "cus_birch".to_owned())),
        occurred_at: Instant::from_micros(1_795_420_157_000_000),
    };
    assert_eq!(nudges, [expected]);
}

#[tokio::test]
async fn the_stand_in_signs_what_it_sends_in_the_order_of_events() {
    use crosstie_sdk::{FakeVendor, Method};
    let bench = Bench::new();
    let written = Stripe.writer().expect("a writer").apply(&bench.net, &invoice()).await.expect("issued");
    let pay = format!("/v1/invoices/{}/pay", written.remote_id);
    bench.at_stripe(Method::Post, &pay, "paid_out_of_band=true", now());
    let sent = bench.with_fake(|fake| fake.take_deliveries());
    let mut kinds = Vec::new();
    for request in sent {
        let delivery =
            Delivery { method: "POST".to_owned(), url: request.url, headers: request.headers, body: request.body };
        let secrets = [Secret::new("whsec_bench")];
        let verified = verify(&inbound().scheme(), &delivery, &secrets, now()).expect("signed");
        kinds.extend(inbound().split(verified).expect("an event").into_iter().map(|nudge| nudge.event_type));
    }
    assert_eq!(kinds, ["customer.created", "invoice.created", "invoice.finalized", "invoice.paid"]);
    assert!(bench.with_fake(|fake| fake.take_deliveries()).is_empty(), "once each");
}
