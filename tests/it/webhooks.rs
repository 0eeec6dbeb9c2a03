//! Webhooks through a whole hub: what is believed, what is kept, and what the sender hears.

use std::time::Duration;

use crosstie_app::SystemClock;
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{Clock, Instant};
use crosstie_sdk::{
    Delivery, FakeVendor, HttpRequest, HttpResponse, Method, Secret,
    signature::{self, Encoding, Part},
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use serde_json::{Value as Json, json};

use crate::support::{Database, HostedVendor, RunningHub, header, on_each_database, until};

const SECRET: &str = "whsec_test";
const PATH: &str = "/webhooks/stripe";

struct Scene {
    hub: RunningHub,
    stripe: HostedVendor<StripeFake>,
}

fn now() -> Instant {
    SystemClock::default().now()
}

async fn scene(database: &Database) -> Scene {
    let hooks = Some("http://hub.example/webhooks/stripe".to_owned());
    let fake = StripeFake::new(hooks, Secret::new(SECRET), 1);
    let stripe = HostedVendor::start(fake, now, |_| Duration::ZERO).await;
    let hub = RunningHub::start(database, vec![stripe.connection("stripe", SECRET)]).await;
    Scene { hub, stripe }
}

impl Scene {
    /// What an operator does at Stripe at that moment; the object that came of it.
    fn operate(&self, path: &str, form: &str, at: Instant) -> Json {
        let headers = vec![
            ("authorization".to_owned(), "Bearer operator".to_owned()),
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ];
        let url = format!("https://stripe.example/v1/{path}");
        let request = HttpRequest { method: Method::Post, url, headers, body: form.into() };
        let answer = self.stripe.vendor().respond(&request, at);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// The delivery that a new customer sets off, signed at that moment.
    fn delivery(&self, at: Instant) -> HttpRequest {
        self.operate("customers", "name=Acme", at);
        self.stripe.vendor().take_deliveries().pop().expect("a new customer is announced")
    }

    async fn deliver(&self, path: &str, delivery: &HttpRequest) -> HttpResponse {
        let headers: Vec<_> = delivery.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.hub.send(Method::Post, path, &headers, delivery.body.clone()).await
    }

    async fn events(&self) -> Vec<Json> {
        let query = "{ inboundEvents(first: 100, orderBy: [{field: ID, direction: ASC}]) \
                     { nodes { dedupeKey status errorCode eventType } } }";
        self.hub.ask(query).await["inboundEvents"]["nodes"].as_array().cloned().unwrap_or_default()
    }
}

/// A body of our own under a right signature.
fn signed(body: Vec<u8>) -> HttpRequest {
    let written_at = now().micros().div_euclid(1_000_000).to_string();
    let (method, url) = ("POST".to_owned(), String::new());
    let delivery = Delivery { method, url: url.clone(), headers: vec![], body };
    let parts = [Part::Timestamp, Part::Literal("."), Part::Body];
    let value = signature::sign(&parts, Encoding::Hex, &delivery, &written_at, &Secret::new(SECRET));
    let headers = vec![("stripe-signature".to_owned(), format!("t={written_at},v1={value}"))];
    HttpRequest { method: Method::Post, url, headers, body: delivery.body }
}

fn key_of(delivery: &HttpRequest) -> Json {
    delivery.json()["id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_durable_before_2xx_a_good_delivery_is_in_the_database_when_it_is_acknowledged() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let delivery = scene.delivery(now());
        let answer = scene.deliver(PATH, &delivery).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        let events = scene.events().await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["dedupeKey"], key_of(&delivery));
        assert_ne!(events[0]["status"], "DUPLICATE");

        assert_eq!(scene.deliver(PATH, &delivery).await.status, 200, "a duplicate is acknowledged, too");
        let events = scene.events().await;
        assert_eq!(events.len(), 2);
        assert_eq!((&events[1]["dedupeKey"], &events[1]["status"]), (&key_of(&delivery), &"DUPLICATE".into()));
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_fail_closed_what_is_not_believed_is_refused_with_one_answer_and_not_kept() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let good = scene.delivery(now());
        let change = |change: &dyn Fn(&mut HttpRequest)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed
        };
        let swap = |delivery: &mut HttpRequest| {
            for (name, value) in &mut delivery.headers {
                if name == "stripe-signature" {
                    *value = value.replace("v1=", "v1=00");
                }
            }
        };
        let late = |delivery: &mut HttpRequest| {
            for (name, value) in &mut delivery.headers {
                if name == "stripe-signature" {
                    let (_, signature) = value.split_once(',').expect("two pairs");
                    *value = format!("t={},{signature}", now().micros() / 1_000_000 + 1);
                }
            }
        };
        let attempts = [
            ("an unknown connection", "/webhooks/nobody", good.clone()),
            ("a connection whose name is odd", "/webhooks/%00", good.clone()),
            ("no signature", PATH, change(&|delivery| delivery.headers.retain(|(name, _)| name != "stripe-signature"))),
            ("a wrong signature", PATH, change(&swap)),
            ("another time than was signed", PATH, change(&late)),
            ("a body that was changed", PATH, change(&|delivery| delivery.body.push(b' '))),
            ("a body that was cut", PATH, change(&|delivery| delivery.body.truncate(20))),
            ("one that is too old", PATH, scene.delivery(now().plus_ms(-301_000))),
            ("one from the future", PATH, scene.delivery(now().plus_ms(302_000))),
        ];
        for (what, path, delivery) in &attempts {
            let answer = scene.deliver(path, delivery).await;
            let mut headers: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
            headers.retain(|name| !matches!(*name, "date" | "x-request-id"));
            headers.sort_unstable();
            assert_eq!((answer.status, answer.body.as_slice()), (401, &b""[..]), "{what}");
            let always =
                ["access-control-expose-headers", "cache-control", "content-length", "vary", "x-content-type-options"];
            assert_eq!(headers, always, "{what}");
        }
        assert_eq!(scene.events().await, Vec::<Json>::new());
        assert_eq!(scene.deliver(PATH, &good).await.status, 200);
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_mebibyte_is_taken_and_one_byte_more_is_not() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let mut body = br#"{"id":"evt_big","object":"event","type":"charge.odd","data":{"object":{}}}"#.to_vec();
        body.resize(1024 * 1024, b' ');
        assert_eq!(scene.deliver(PATH, &signed(body.clone())).await.status, 200);
        for length in [1024 * 1024 + 1, 6 * 1024 * 1024] {
            body.resize(length, b' ');
            let answer = scene.deliver(PATH, &signed(body.clone())).await;
            assert_eq!((answer.status, answer.body.len()), (413, 0), "{length}");
        }
        let events = scene.events().await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["status"], "IGNORED");
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_body_that_cannot_be_read_is_kept_and_parked() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        for body in [&b"{\"id\": \"evt_1\", "[..], b"\xff\xfe\x00", b"[]", b""] {
            assert_eq!(scene.deliver(PATH, &signed(body.to_vec())).await.status, 200, "{body:?}");
        }
        let events = scene.events().await;
        assert_eq!(events.len(), 4);
        for event in &events {
            assert_eq!((&event["status"], &event["errorCode"]), (&"PARKED".into(), &"MALFORMED_PAYLOAD".into()));
        }
        scene.hub.stop().await;
    })
    .await;
}

/// Makes the database refuse every write until [`Self::release`]: SQLite is locked, PostgreSQL is read-only.
struct NoWrites(DatabaseConnection);

impl NoWrites {
    async fn on(database: &Database) -> Self {
        let raw = database.raw().await;
        let statements = match raw.get_database_backend() {
            DbBackend::Sqlite => "BEGIN EXCLUSIVE".to_owned(),
            // Sessions keep what they began with, so those of the hub have to begin again.
            _ => format!(
                "ALTER DATABASE {} SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid) FROM \
                 pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
                database.name()
            ),
        };
        raw.execute_unprepared(&statements).await.expect("the database is shut for writes");
        Self(raw)
    }

    async fn release(self, database: &Database) {
        let statements = match self.0.get_database_backend() {
            DbBackend::Sqlite => "ROLLBACK".to_owned(),
            _ => format!(
                "ALTER DATABASE {} RESET default_transaction_read_only; SELECT pg_terminate_backend(pid) FROM \
                 pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
                database.name()
            ),
        };
        self.0.execute_unprepared(&statements).await.expect("the database is open for writes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_durable_before_2xx_while_the_database_takes_no_writes_nothing_is_acknowledged() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let delivery = scene.delivery(now());
        let shut = NoWrites::on(database).await;
        let answer = scene.deliver(PATH, &delivery).await;
        assert_eq!((answer.status, answer.body.len()), (503, 0));
        assert_eq!(header(&answer, "retry-after"), Some("5"));
        shut.release(database).await;
        assert_eq!(scene.events().await, Vec::<Json>::new());
        assert_eq!(scene.deliver(PATH, &delivery).await.status, 200, "the sender comes again");
        assert_eq!(scene.events().await.len(), 1);
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_5_nudge_then_read_an_event_that_lies_about_money_changes_nothing() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let customer = scene.operate("customers", "name=Acme", now())["id"].clone();
        let of_customer = format!("customer={}", customer.as_str().expect("an id"));
        let invoice = scene.operate("invoices", &of_customer, now())["id"].clone();
        let id = invoice.as_str().expect("an id");
        scene.operate("invoiceitems", &format!("{of_customer}&invoice={id}&amount=30000&currency=usd"), now());
        scene.operate(&format!("invoices/{id}/finalize"), "", now());
        // What the deliveries above say is left out: the one below is all that the hub hears.
        scene.stripe.vendor().take_deliveries();
        let paid = json!({
            "id": "evt_lie", "object": "event", "type": "invoice.paid", "created": now().micros() / 1_000_000,
            "data": { "object": {
                "id": id, "object": "invoice", "customer": customer, "currency": "usd", "status": "paid", "total": 1,
                "amount_paid": 1, "amount_due": 1, "amount_remaining": 0,
            } },
        });
        assert_eq!(scene.deliver(PATH, &signed(paid.to_string().into())).await.status, 200);
        until("the event is done with", async || {
            scene.events().await.iter().any(|event| event["status"] == "PROCESSED").then_some(())
        })
        .await;
        let invoices = scene.hub.ask("{ invoices(first: 5) { nodes { status total { amount } } } }").await;
        let as_read = json!([{ "status": "OPEN", "total": { "amount": "300.00" } }]);
        assert_eq!(invoices["invoices"]["nodes"], as_read);
        scene.hub.stop().await;
    })
    .await;
}
