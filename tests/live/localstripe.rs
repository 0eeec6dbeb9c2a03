//! A stand-in for Stripe that others wrote signs webhooks, and the hub believes what was not changed on the way.

use crosstie::config::ConnectionConfig;
use crosstie_sdk::{HttpRequest, Method, ReqwestTransport, Transport};
use serde_json::Value as Json;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use crate::{
    list, new_tag, server,
    support::{RunningHub, on_each_database},
    text, until,
};

const SECRET: &str = "whsec_live_test";

struct LocalStripe {
    url: String,
    key: String,
    http: ReqwestTransport,
}

impl LocalStripe {
    fn find() -> Option<Self> {
        let [url, key] = server(["STRIPE_URL", "STRIPE_KEY"])?;
        Some(Self { url, key, http: ReqwestTransport::new().expect("the network can be used") })
    }

    fn connection(&self) -> ConnectionConfig {
        ConnectionConfig {
            name: "stripe".to_owned(),
            connector: "stripe".to_owned(),
            base_url: Some(self.url.clone()),
            token: Some(self.key.clone()),
            webhook_secrets: vec![SECRET.to_owned()],
            ..ConnectionConfig::default()
        }
    }

    /// Posts a form; the body of the answer.
    async fn post(&self, path: &str, form: String) -> Vec<u8> {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.key)),
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ];
        let url = format!("{}{path}", self.url);
        let request = HttpRequest { method: Method::Post, url, headers, body: form.into_bytes() };
        let answer = self.http.send(request).await.expect("localstripe answers");
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    /// Sends webhooks there too; a receiver of the same name is replaced.
    async fn register(&self, name: &str, url: &str) {
        self.post(&format!("/_config/webhooks/{name}"), format!("url={url}&secret={SECRET}")).await;
    }
}

/// A receiver that takes everything and remembers it.
async fn recorder() -> MockServer {
    let recorder = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&recorder).await;
    recorder
}

/// The status that the hub answers to a recorded delivery with this body.
async fn replay(hub: &RunningHub, delivery: &Request, body: &[u8]) -> u16 {
    let headers: Vec<(&str, &str)> = ["content-type", "stripe-signature"]
        .into_iter()
        .map(|name| (name, delivery.headers[name].to_str().expect("a header of letters")))
        .collect();
    hub.send(Method::Post, "/webhooks/stripe", &headers, body).await.status
}

async fn events(hub: &RunningHub, remote_id: &str) -> Vec<Json> {
    let query = "{ inboundEvents(first: 100) { nodes { eventType remoteId dedupeKey status errorCode } } }";
    let data = hub.ask(query).await;
    list(&data["inboundEvents"]["nodes"]).iter().filter(|event| event["remoteId"] == remote_id).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_localstripe_signed_are_accepted_and_a_changed_byte_is_refused() {
    let Some(stripe) = LocalStripe::find() else { return };
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![stripe.connection()]).await;
        // What is made after the first load can come by webhook alone until the next one is due.
        let query = "{ syncRuns(first: 10, filter: {entity: {eq: ACCOUNT}}) { nodes { status rowsRead errorCode } } }";
        let run = until("the first load", async || {
            let data = hub.ask(query).await;
            list(&data["syncRuns"]["nodes"]).iter().find(|run| run["status"] != "RUNNING").cloned()
        })
        .await;
        println!("localstripe: the first load of customers: {run}");
        assert_eq!(run["status"], "SUCCEEDED");

        let recorder = recorder().await;
        stripe.register("record", &recorder.uri()).await;
        stripe.register("hub", &format!("{}/webhooks/stripe", hub.url)).await;
        let name = new_tag();
        let made = stripe.post("/v1/customers", format!("name={name}&email=ap@customer.example")).await;
        let made: Json = serde_json::from_slice(&made).expect("the customer is JSON");
        let customer = text(&made["id"]);

        let event = until("the webhook", async || {
            events(&hub, &customer).await.into_iter().find(|event| event["status"] == "PROCESSED")
        })
        .await;
        assert_eq!(event["eventType"], "customer.created");
        let query = format!("{{ accounts(filter: {{name: {{eq: {name:?}}}}}) {{ nodes {{ id billingEmail }} }} }}");
        let accounts = hub.ask(&query).await["accounts"]["nodes"].clone();
        assert_eq!(list(&accounts).len(), 1, "{accounts}");
        assert_eq!(accounts[0]["billingEmail"], "ap@customer.example");
        println!("localstripe: {customer} came by its webhook {event}, and is {accounts}");

        let delivery = until("the recorded delivery", async || {
            let requests = recorder.received_requests().await.expect("requests are recorded");
            requests.into_iter().find(|request| String::from_utf8_lossy(&request.body).contains(&customer))
        })
        .await;
        let mut tampered = delivery.body.clone();
        let place = tampered.windows(name.len()).position(|part| part == name.as_bytes()).expect("it tells the name");
        tampered[place] = b'L';
        let before = events(&hub, &customer).await;
        let refused = replay(&hub, &delivery, &tampered).await;
        assert_eq!(refused, 401, "one byte is another");
        assert_eq!(events(&hub, &customer).await, before, "a refused delivery leaves nothing");
        let repeated = replay(&hub, &delivery, &delivery.body).await;
        assert!((200..300).contains(&repeated), "the delivery as it was sent: {repeated}");
        let after = events(&hub, &customer).await;
        println!("localstripe: one byte changed: {refused}; as it was: {repeated}; then kept: {after:?}");
        assert_eq!(after.iter().filter(|event| event["status"] != "DUPLICATE").count(), 1, "it counts once");
        assert_eq!(hub.ask(&query).await["accounts"]["nodes"], accounts);
        hub.stop().await;
    })
    .await;
}
