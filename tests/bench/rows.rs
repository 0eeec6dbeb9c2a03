//! A system with as many customers as one likes, each made when it is asked for, and the connector that reads it.

use std::{fmt::Write as _, net::SocketAddr};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::get,
};
use crosstie_domain::{
    integration::{Arm, Claim, Entity},
    pipeline::AccountClaim,
};
use crosstie_sdk::{
    AnyReader, Ask, AuthMode, Bag, Call, Connector, Deletes, Descriptor, Fault, More, Net, Order, Page, RateBudget,
    ReadEntity, Reader, Row, RowKey, Settings, SettingsError, Unmappable, WhoAmI,
};
use serde_json::{Value, json};

/// Starts the system on a loopback port, with so many customers. It ends with the process.
pub(crate) async fn serve(records: u64) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let router = Router::new().route("/rows", get(page)).route("/rows/{id}", get(one)).with_state(records);
    tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    address
}

fn row(number: u64) -> String {
    let city = ["Berlin", "Lyon", "Porto", "Oslo"][usize::try_from(number % 4).expect("a small number")];
    format!(
        r#"{{"id":"cus_{number:08}","changed_at":"2026-01-01T00:00:00.000Z","name":"Customer {number}","domain":"customer{number}.example","email":"billing@customer{number}.example","phone":"+49 30 {number:08}","city":"{city}","balance":{balance},"plan":"standard","live":true,"tags":["a","b"],"address":{{"line1":"Street {number}","postal_code":"{number:05}","country":"DE"}}}}"#,
        balance = number % 10_000
    )
}

async fn page(State(records): State<u64>, Query(asked): Query<Vec<(String, u64)>>) -> impl IntoResponse {
    let asked_for = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, number)| *number);
    let (after, limit) = (asked_for("after").unwrap_or(0), asked_for("limit").unwrap_or(100));
    let until = after.saturating_add(limit).min(records);
    let mut body = String::from(r#"{"rows":["#);
    for number in after..until {
        let comma = if number > after { "," } else { "" };
        write!(body, "{comma}{}", row(number)).expect("a text can be written to");
    }
    let next = if until < records { until.to_string() } else { "null".to_owned() };
    write!(body, r#"],"next":{next}}}"#).expect("a text can be written to");
    ([(CONTENT_TYPE, "application/json")], body)
}

async fn one(Path(id): Path<String>) -> Json<Value> {
    let number = id.trim_start_matches("cus_").parse().unwrap_or(0);
    Json(serde_json::from_str(&row(number)).expect("a row is JSON"))
}

/// Reads it.
pub(crate) struct Customers;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "customers",
    name: "Customers",
    version: "1.0.0",
    arms: &[Arm::Crm],
    auth: &[AuthMode::Bearer],
    default_base_url: Some("http://127.0.0.1"),
    // It is not the vendor's limit that is measured.
    budgets: &[RateBudget { bucket: "api", per_second: 1_000_000, burst: 1_000_000 }],
    reads: &[ReadEntity {
        entity: Entity::Account,
        remote: "customer",
        order: Order::Keyset { granularity_ms: 1, overlap_seconds: 300 },
        deletes: Deletes::Never,
        poll_seconds: 3_600,
    }],
    writes: &[],
};

#[async_trait::async_trait]
impl Connector for Customers {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn check_settings(&self, _settings: &Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    async fn probe(&self, _net: &Net) -> Result<WhoAmI, Fault> {
        Ok(WhoAmI { account: "customers".to_owned() })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        &[&Customers]
    }
}

#[async_trait::async_trait]
impl Reader for Customers {
    type Wire = Value;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Value>, Fault> {
        let after = ask.more.as_ref().and_then(Value::as_u64).unwrap_or(0);
        let call = Call::get("/rows").query("after", after.to_string()).query("limit", ask.limit.to_string());
        let mut body: Value = net.send(call).await?.json()?;
        let rows = match body["rows"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        };
        let more = body["next"].as_u64().map_or(More::End, |next| More::At(json!(next)));
        Ok(Page { rows: rows.into_iter().map(Row::read).collect(), more })
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Value>, Fault> {
        Row::read_one(net.send(Call::get(format!("/rows/{remote_id}"))).await?.json()?)
    }

    fn key(&self, wire: &Value) -> RowKey {
        let text = |name: &str| wire[name].as_str().map(str::to_owned);
        RowKey { remote_id: text("id").unwrap_or_default(), version: text("changed_at") }
    }

    fn map(&self, wire: &Value, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        Ok(Claim::Account(AccountClaim {
            account: None,
            name: bag.text("name", "name", wire["name"].as_str()),
            domain: bag.text("domain", "domain", wire["domain"].as_str()),
            billing_email: bag.text("billing_email", "email", wire["email"].as_str()),
        }))
    }
}
