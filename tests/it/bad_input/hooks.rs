//! The same lies by webhook: in its body, and in the answer when the record that it points at is read.

use std::sync::PoisonError;

use crosstie_domain::{
    Clock,
    access::RowScope,
    integration::{Entity, InboundEventRecord, InboundStatus, RunStatus},
};
use crosstie_sdk::{
    Delivery, HttpResponse, Secret,
    signature::{self, Encoding, Part},
};
use crosstie_store::billing::{InvoiceColumn, invoices};
use crosstie_sync::Receipt;
use serde_json::{Value as Json, json};

use super::{SECRET, Scene, all, body, customer, forget_cursor, scene};
use crate::support::{Database, events, on_each_database};

/// A body under a right signature.
fn signed(database: &Database, body: Vec<u8>) -> Delivery {
    let written_at = database.clock.now().micros().div_euclid(1_000_000).to_string();
    let (method, url) = ("POST".to_owned(), "https://hub.example/webhooks/stripe".to_owned());
    let mut delivery = Delivery { method, url, headers: vec![], body };
    let parts = [Part::Timestamp, Part::Literal("."), Part::Body];
    let value = signature::sign(&parts, Encoding::Hex, &delivery, &written_at, &Secret::new(SECRET));
    delivery.headers.push(("stripe-signature".to_owned(), format!("t={written_at},v1={value}")));
    delivery
}

/// An event that a record changed.
fn event(id: &str, kind: &str, object: &Json) -> Json {
    json!({ "id": id, "object": "event", "created": 1, "type": kind, "data": { "object": object } })
}

impl Scene {
    /// Brings a body, which must be acknowledged: the sender can do nothing about it.
    async fn bring(&self, database: &Database, body: impl Into<Vec<u8>>) {
        let receipt = self.engine.receive("stripe", &signed(database, body.into())).await;
        assert!(matches!(receipt, Receipt::Accepted { .. }), "{receipt:?}");
    }

    async fn announce(&self, database: &Database, key: &str, record: &str) {
        let event = event(key, "customer.updated", &json!({ "id": record }));
        self.bring(database, event.to_string()).await;
    }

    async fn work(&self) {
        while self.engine.process_event().await.expect("the database answers") {}
    }

    /// What became of the event of this key.
    async fn event(&self, key: &str) -> InboundEventRecord {
        let kept = events(self.app.store()).await;
        kept.into_iter().find(|event| event.dedupe_key == key).unwrap_or_else(|| panic!("{key} is lost"))
    }
}

/// Whether a code has a row for whoever meets it.
fn has_help(code: &str) -> bool {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphql/ERRORS.md");
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().any(|line| line.starts_with(&format!("| `{code}` |")))
}

/// A record whose reading lies waits with a code and parks after three tries; that of another record is taken meanwhile,
/// and when the vendor is honest again nothing is missing and nothing waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_parks_its_event_alone_with_a_code() {
    let lies: Vec<(&str, HttpResponse)> = vec![
        ("HTML with status 200", body(200, "<html><body>Sign in</body></html>")),
        ("a truncated body", body(200, "{\"id\": \"cus_1\", \"na")),
        ("an empty body", body(200, "")),
        ("a list instead of a record", body(200, "[]")),
        ("null", body(200, "null")),
        ("bytes that are no text", HttpResponse { status: 200, headers: vec![], body: vec![0xff, 0xfe, 0x00] }),
        ("another record", HttpResponse::json(200, &customer("cus_2", "Somebody else"))),
        ("an id that changed its type", HttpResponse::json(200, &json!({ "id": 1, "name": "Acme" }))),
        ("no id", HttpResponse::json(200, &json!({ "name": "Acme" }))),
        ("a name that is none", HttpResponse::json(200, &json!({ "id": "cus_1", "name": { "first": "A" } }))),
    ];
    on_each_database(async |database| {
        for (number, (what, lie)) in lies.iter().enumerate() {
            let scene = scene(database, vec![]).await;
            let (bad, good) = (format!("evt_bad_{number}"), format!("evt_good_{number}"));
            scene.announce(database, &bad, "cus_1").await;
            for tries in 1..=3 {
                scene.liar.lock().unwrap_or_else(PoisonError::into_inner).lies.push_back(lie.clone());
                scene.work().await;
                let event = scene.event(&bad).await;
                let expected = if tries < 3 { InboundStatus::Retrying } else { InboundStatus::Parked };
                assert_eq!((event.status, event.error_code.as_deref()), (expected, Some("SHAPE")), "{what}");
                assert_eq!(event.attempts, tries, "{what}");
                database.clock.advance(60_000);
            }
            scene.announce(database, &good, "cus_2").await;
            scene.work().await;
            assert_eq!(scene.event(&good).await.status, InboundStatus::Processed, "{what}");
            assert!(!scene.names().await.contains(&"Somebody else".to_owned()), "{what}");
            let run = scene.pull(Entity::Account).await;
            assert_eq!(run.status, RunStatus::Succeeded, "{what}: {run:?}");
            let names = scene.names().await;
            assert!(["Acme", "Brandt"].iter().all(|name| names.contains(&(*name).to_owned())), "{what}: {names:?}");
            forget_cursor(database).await;
        }
        assert!(has_help("SHAPE"));
    })
    .await;
}

/// A row that can be read and of which nothing can be made parks with its event, until it says what it must.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_mapped_parks_with_its_event_until_it_can() {
    on_each_database(async |database| {
        let whole = invoice(json!(1_999));
        let mut without_total = whole.clone();
        without_total["total"] = Json::Null;
        let rows = [without_total, customer("cus_2", "Brandt"), whole];
        let scene = scene(database, rows.iter().map(|row| HttpResponse::json(200, row)).collect()).await;
        scene.bring(database, event("evt_1", "invoice.paid", &json!({ "id": "in_1" })).to_string()).await;
        scene.announce(database, "evt_2", "cus_2").await;
        scene.work().await;
        let first = scene.event("evt_1").await;
        assert_eq!((first.status, first.error_code.as_deref()), (InboundStatus::Parked, Some("UNMAPPABLE")));
        assert_eq!(scene.event("evt_2").await.status, InboundStatus::Processed);
        assert_eq!(scene.parked().await, ["NO_TOTAL"]);
        database.clock.advance(60_000);
        scene.bring(database, event("evt_3", "invoice.paid", &json!({ "id": "in_1" })).to_string()).await;
        scene.work().await;
        assert_eq!(scene.event("evt_3").await.status, InboundStatus::Processed);
        assert!(scene.parked().await.is_empty(), "it is well again");
        assert!(has_help("UNMAPPABLE") && has_help("NO_TOTAL"));
    })
    .await;
}

fn invoice(total: Json) -> Json {
    json!({ "id": "in_1", "object": "invoice", "created": 1, "currency": "usd", "status": "open", "total": total,
        "amount_paid": 0, "lines": { "data": [], "has_more": false }, "metadata": {} })
}

/// Money that is a float is never rounded, by whichever way it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_whose_amount_is_a_float_parks_its_event() {
    on_each_database(async |database| {
        let scene = scene(database, vec![]).await;
        let told = json!({ "id": "in_1", "total": 1_999 });
        scene.bring(database, event("evt_in", "invoice.paid", &told).to_string()).await;
        scene.announce(database, "evt_cus", "cus_2").await;
        for _ in 0..3 {
            let lie = HttpResponse::json(200, &invoice(json!(19.99)));
            scene.liar.lock().unwrap_or_else(PoisonError::into_inner).lies.push_back(lie);
            scene.work().await;
            database.clock.advance(60_000);
        }
        let event = scene.event("evt_in").await;
        assert_eq!((event.status, event.error_code.as_deref()), (InboundStatus::Parked, Some("SHAPE")));
        assert_eq!(scene.event("evt_cus").await.status, InboundStatus::Processed);
        let page = invoices(scene.app.store(), &RowScope::All, &all(InvoiceColumn::Id)).await.expect("read");
        assert!(page.rows.is_empty(), "nothing of it is believed");
    })
    .await;
}

/// Texts of a megabyte, NULs, moments that nobody can mean: what can be understood is taken.
#[tokio::test(flavor = "multi_thread")]
async fn odd_records_that_can_be_understood_are_taken() {
    on_each_database(async |database| {
        let long = "y".repeat(1_000_000);
        let rows = [
            customer("cus_1", &long),
            customer("cus_2", "Nul\u{0}"),
            json!({ "id": "cus_3", "object": "customer", "created": 99_999_999_999_i64, "name": "Future", "metadata": {} }),
        ];
        let scene = scene(database, rows.iter().map(|row| HttpResponse::json(200, row)).collect()).await;
        for number in 1..=3 {
            scene.announce(database, &format!("evt_{number}"), &format!("cus_{number}")).await;
            scene.work().await;
            assert_eq!(scene.event(&format!("evt_{number}")).await.status, InboundStatus::Processed, "{number}");
        }
        let names = scene.names().await;
        assert!([long, "Nul\u{fffd}".to_owned(), "Future".to_owned()].iter().all(|name| names.contains(name)));
    })
    .await;
}

/// A body that is signed and is not what the vendor documents is acknowledged, kept and parked; its neighbors go on, and
/// what comes twice counts once.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_lies_parks_alone_with_a_code() {
    let good = |id: &str| json!({ "id": id });
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("a truncated body", b"{\"id\": \"evt_1\", \"ty".to_vec()),
        ("HTML", b"<html></html>".to_vec()),
        ("an empty body", vec![]),
        ("bytes that are no text", vec![0xff, 0x00, 0xfe]),
        ("null", b"null".to_vec()),
        ("no key", event("", "customer.updated", &good("cus_1")).to_string().into_bytes()),
        ("a key that is a number", b"{\"id\":1,\"type\":\"customer.updated\",\"data\":{\"object\":{}}}".to_vec()),
        ("a time without a zone", {
            let mut odd = event("evt_zone", "customer.updated", &good("cus_1"));
            odd["created"] = json!("2026-11-23T10:00:00");
            odd.to_string().into_bytes()
        }),
        (
            "a NUL in the id of the record",
            event("evt_nul", "customer.updated", &good("cus\u{0}1")).to_string().into_bytes(),
        ),
        (
            "an id without end",
            event("evt_long", "customer.updated", &good(&"x".repeat(1_000_000))).to_string().into_bytes(),
        ),
        ("too deep", [b"[".repeat(100_000), b"]".repeat(100_000)].concat()),
    ];
    on_each_database(async |database| {
        let scene = scene(database, vec![]).await;
        for (number, (what, body)) in bodies.iter().enumerate() {
            scene.bring(database, body.clone()).await;
            scene.bring(database, body.clone()).await;
            scene.announce(database, &format!("evt_good_{number}"), "cus_2").await;
            scene.work().await;
            let kept = events(scene.app.store()).await;
            let [.., bad, twice, other] = kept.as_slice() else { panic!("{what}: three were kept") };
            assert_eq!(
                (bad.status, bad.error_code.as_deref()),
                (InboundStatus::Parked, Some("MALFORMED_PAYLOAD")),
                "{what}"
            );
            assert_eq!((twice.status, &twice.dedupe_key), (InboundStatus::Duplicate, &bad.dedupe_key), "{what}");
            assert_eq!(other.status, InboundStatus::Processed, "{what}");
        }
        assert!(has_help("MALFORMED_PAYLOAD"));
    })
    .await;
}

/// Times and keys that are odd and say nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn odd_bodies_that_can_be_understood_are_worked_on() {
    on_each_database(async |database| {
        let scene = scene(database, vec![]).await;
        let at = |created: Json, key: &str| {
            let mut event = event(key, "customer.updated", &json!({ "id": "cus_1" }));
            event["created"] = created;
            event.to_string()
        };
        let long_key = "k".repeat(1_000_000);
        for body in [
            at(json!(32_503_680_000_i64), "evt_future"),
            at(json!(i64::MAX), "evt_beyond"),
            at(json!(-1), "evt_before"),
            at(Json::Null, "evt_timeless"),
            at(json!(1), "evt\u{0}nul"),
            at(json!(1), &long_key),
            at(json!(1), "evt_future"),
        ] {
            scene.bring(database, body).await;
            scene.work().await;
        }
        let kept = events(scene.app.store()).await;
        let (twice, fresh): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|event| event.status == InboundStatus::Duplicate);
        assert_eq!((twice.len(), fresh.len()), (1, 6));
        assert!(fresh.iter().all(|event| event.status == InboundStatus::Processed), "{fresh:?}");
        assert_eq!(scene.names().await, ["Acme"]);
    })
    .await;
}
