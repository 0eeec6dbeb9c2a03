//! A whole hub on a loopback port, and a client that comes to it over HTTP.

use std::time::Duration;

use crosstie::{
    config::{Config, ConnectionConfig},
    hub::Hub,
};
use crosstie_app::access::NewToken;
use crosstie_domain::access::Role;
use crosstie_sdk::{HttpRequest, HttpResponse, Method, ReqwestTransport, Transport};
use serde_json::{Value as Json, json};

use super::{Database, MASTER_KEY};

/// A hub at work, with a token of an administrator.
pub(crate) struct RunningHub {
    pub(crate) hub: Hub,
    pub(crate) url: String,
    pub(crate) token: String,
    http: ReqwestTransport,
}

impl RunningHub {
    /// Starts a hub with these connections.
    pub(crate) async fn start(database: &Database, connections: Vec<ConnectionConfig>) -> Self {
        Self::start_with(database, |config| config.connections = connections).await
    }

    /// Starts a hub whose configuration differs in something from the plainest.
    pub(crate) async fn start_with(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        let text = format!("listen = \"127.0.0.1:0\"\n[database]\nurl = {:?}\n", database.url);
        let mut config = Config::parse(&text, "the test", |_| None).expect("the configuration is good");
        config.secrets.keys = Some(MASTER_KEY.to_owned());
        change(&mut config);
        let hub = Hub::start(config).await.expect("the hub starts");
        let (_, token) = hub.app.create_token(admin()).await.expect("a token is made");
        let url = format!("http://{}", hub.address);
        Self { hub, url, token, http: ReqwestTransport::new().expect("the network can be used") }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> HttpResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = HttpRequest { method, url: format!("{}{path}", self.url), headers, body: body.into() };
        self.http.send(request).await.expect("the hub answers")
    }

    /// Asks with a token.
    pub(crate) async fn ask_as(&self, token: &str, query: &str) -> HttpResponse {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        self.send(Method::Post, "/graphql", &headers, json!({ "query": query }).to_string()).await
    }

    /// Asks as an administrator; the answer's data.
    pub(crate) async fn ask(&self, query: &str) -> Json {
        let answer = self.ask_as(&self.token, query).await;
        let answer: Json = serde_json::from_slice(&answer.body).expect("the answer is JSON");
        assert!(answer["errors"].is_null(), "{query}: {answer}");
        answer["data"].clone()
    }

    pub(crate) async fn stop(self) {
        self.hub.stop(Duration::from_secs(5)).await;
    }
}

fn admin() -> NewToken {
    let (label, roles) = ("test".to_owned(), vec![Role::Admin]);
    NewToken { label, person_email: None, roles, permissions: vec![], expires_at: None }
}

/// A header of an answer.
pub(crate) fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
