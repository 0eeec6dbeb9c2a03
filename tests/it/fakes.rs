//! Stand-ins of vendors that the binary hosts, for whoever builds against them.

use std::process::Stdio;

use crosstie_connectors::connectors;
use crosstie_sdk::{HttpRequest, HttpResponse, Method, ReqwestTransport, Transport, TransportError};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::support::{Binary, Receiver, until};

/// A stand-in that the binary hosts; it ends with the test.
struct Hosted {
    url: String,
    /// The part of a hub's configuration that it printed.
    connection: String,
    http: ReqwestTransport,
    process: Child,
}

impl Hosted {
    async fn start(binary: &Binary, arguments: &[&str]) -> Self {
        let mut command = binary.command(&["fake"]);
        let mut process = command.args(arguments).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut said = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with("curl ")) {
            lines.push(said.next_line().await.expect("it can be read").expect("it says how to use it"));
        }
        let (_, url) = lines[0].split_once(" (stand-in): ").expect("where it listens");
        let connection = lines.iter().skip_while(|line| *line != "[[connections]]").take_while(|line| !line.is_empty());
        let connection: Vec<&str> = connection.map(String::as_str).collect();
        let http = ReqwestTransport::new().expect("the network can be used");
        Self { url: url.to_owned(), connection: connection.join("\n"), http, process }
    }

    async fn ask(&self, method: Method, path: &str, body: &Json) -> Result<HttpResponse, TransportError> {
        let headers = [("authorization", "Bearer user"), ("content-type", "application/json")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let url = format!("{}{path}", self.url);
        self.http.send(HttpRequest { method, url, headers, body: body.to_string().into_bytes() }).await
    }

    async fn create_deal(&self, name: &str) -> Result<HttpResponse, TransportError> {
        self.ask(Method::Post, DEALS, &json!({ "properties": { "dealname": name } })).await
    }

    async fn deals(&self) -> Vec<String> {
        let query = json!({ "limit": 100, "properties": ["dealname"] });
        let answer = self.ask(Method::Post, &format!("{DEALS}/search"), &query).await.expect("it answers");
        let body: Json = serde_json::from_slice(&answer.body).expect("JSON");
        let rows = body["results"].as_array().expect("rows");
        rows.iter().map(|row| row["properties"]["dealname"].as_str().expect("a name").to_owned()).collect()
    }

    /// Asks for a fault; the status, and what it says.
    async fn fault(&self, method: Method, fault: &Json) -> (u16, Json) {
        let answer = self.ask(method, "/_faults", fault).await.expect("it answers");
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    async fn stop(mut self) {
        let pid = self.process.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("it is told").success());
        assert_eq!(self.process.wait().await.expect("it ends").code(), Some(0), "in order");
    }
}

const DEALS: &str = "/crm/v3/objects/deals";

fn binary() -> Option<Binary> {
    Binary::find("stand-ins that the binary hosts", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_reads_a_hosted_stand_in_by_the_configuration_that_it_prints() {
    let Some(binary) = binary() else { return };
    let hubspot = Hosted::start(&binary, &["hubspot"]).await;
    for name in ["Rollout", "Audit"] {
        assert_eq!(hubspot.create_deal(name).await.expect("it answers").status, 201);
    }
    let database = "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n";
    binary.write("crosstie.toml", &format!("{database}{}\n", hubspot.connection));
    binary.done(&["migrate"]).await;
    let tested = binary.done(&["connection", "test"]).await;
    assert!(tested.contains("hubspot: ok"), "{tested}");
    let read = binary.done(&["sync", "run", "hubspot", "--entity", "opportunity"]).await;
    assert!(read.contains("2 row(s) read, 2 changed"), "{read}");

    hubspot.fault(Method::Post, &json!({ "status": 401, "times": 5 })).await;
    let refused = binary.refused(&["connection", "test"]).await;
    assert!(refused.contains("NEEDS_REAUTH"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_reads_every_stand_in_and_one_that_there_is_not_is_refused_with_those_that_there_are() {
    let Some(binary) = binary() else { return };
    let names: Vec<&str> = connectors().map(|connector| connector.descriptor().id).collect();
    for name in &names {
        let hosted = Hosted::start(&binary, &[name]).await;
        assert!(hosted.connection.contains(&format!("connector = {name:?}")), "{}", hosted.connection);
        let database = format!("[database]\nurl = \"sqlite://{name}.db?mode=rwc\"\n");
        binary.write("crosstie.toml", &format!("{database}{}\n", hosted.connection));
        binary.done(&["migrate"]).await;
        let tested = binary.done(&["connection", "test"]).await;
        assert!(tested.contains(&format!("{name}: ok")), "{tested}");
        let read = binary.done(&["sync", "run", name]).await;
        assert!(read.contains("account: 0 row(s) read, 0 changed"), "{name}: {read}");
        let answer = hosted.ask(Method::Get, "/", &Json::Null).await.expect("it answers");
        assert!((400..500).contains(&answer.status), "{name} has nothing there: {}", answer.status);
        hosted.stop().await;
    }
    let refused = binary.refused(&["fake", "abacus"]).await;
    assert!(refused.contains(&names.join(", ")), "{refused}");
    let refused = binary.refused(&["fake", "tryton", "--webhooks", "http://127.0.0.1:1/hooks"]).await;
    assert!(refused.contains("tryton sends no webhooks (--webhooks)"), "{refused}");
    let refused = binary.refused(&["fake", "stripe", "--listen", "nowhere"]).await;
    assert!(refused.contains("--listen"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_is_asked_for_meets_the_next_requests_and_then_all_is_well() {
    let Some(binary) = binary() else { return };
    let hubspot = Hosted::start(&binary, &["hubspot"]).await;
    let throttled = json!({ "status": 429, "headers": { "Retry-After": "5" }, "times": 2, "path": "/deals" });
    let (status, waiting) = hubspot.fault(Method::Post, &throttled).await;
    assert_eq!((status, &waiting["faults"][0]["times"]), (201, &json!(2)));
    for _ in 0..2 {
        let answer = hubspot.create_deal("Refused").await.expect("it answers");
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("5")));
    }
    assert_eq!(hubspot.create_deal("Taken").await.expect("it answers").status, 201);
    assert_eq!(hubspot.deals().await, ["Taken"], "what was refused was not done");

    let lost = json!({ "brokenOff": true, "doneBefore": true, "method": "POST" });
    hubspot.fault(Method::Post, &lost).await;
    let answer = hubspot.create_deal("Done").await;
    assert!(answer.is_err(), "no whole answer comes");
    let mut deals = hubspot.deals().await;
    deals.sort_unstable();
    assert_eq!(deals, ["Done", "Taken"], "it was done all the same");

    let (status, refused) = hubspot.fault(Method::Post, &json!({ "status": 42 })).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("BAD_FAULT")));
    assert!(refused["error"]["message"].as_str().is_some_and(|why| why.starts_with("status ")), "{refused}");
    hubspot.fault(Method::Post, &json!({ "status": 500 })).await;
    assert_eq!(hubspot.fault(Method::Delete, &Json::Null).await.0, 204);
    assert_eq!(hubspot.fault(Method::Get, &Json::Null).await.1, json!({ "faults": [] }));
    assert_eq!(hubspot.create_deal("After").await.expect("it answers").status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_tells_of_changes_and_finds_what_it_was_told_when_it_starts_again() {
    let Some(binary) = binary() else { return };
    let receiver = Receiver::start().await;
    let arguments = ["hubspot", "--webhooks", &receiver.url, "--webhook-secret", "s3cret", "--data", "hubspot.jsonl"];
    let hubspot = Hosted::start(&binary, &arguments).await;
    assert!(hubspot.connection.contains("webhook_secrets = [\"s3cret\"]"), "{}", hubspot.connection);
    hubspot.create_deal("Kept").await.expect("it answers");
    let told = until("it tells of the deal", async || receiver.received().first().cloned()).await;
    assert_eq!(told.json()[0]["subscriptionType"], "deal.creation");
    assert!(!told.header("x-hubspot-signature-v3").is_empty());
    hubspot.stop().await;

    let again = Hosted::start(&binary, &arguments).await;
    assert_eq!(again.deals().await, ["Kept"]);
    assert_eq!(receiver.received().len(), 1, "what was told is not told again");
    let refused = binary.refused(&["fake", "hubspot", "--data", "."]).await;
    assert!(refused.contains("--data"), "{refused}");
}
