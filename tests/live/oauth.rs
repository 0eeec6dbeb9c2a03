//! An authorization server that others wrote gives tokens to whole hubs: by each grant, to two hubs at once, and across
//! a kill.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use crosstie::{
    config::{ConnectionConfig, OAuthConfig},
    hub::Hub,
};
use crosstie_app::secrets::Keyring;
use crosstie_domain::{Instant, secrets::SecretPlace};
use crosstie_sdk::{ClientAuth, Fault, Grant, HttpRequest, HttpResponse, Method, ReqwestTransport, Transport};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    sync::{Mutex, MutexGuard},
};

use crate::{
    server,
    support::{Binary, Database, RunningHub, on_each_database, until},
    text,
};

/// The tests count what the one server was asked, so one of them runs at a time.
static SERVER: Mutex<()> = Mutex::const_new(());

struct Oidc {
    url: String,
    http: ReqwestTransport,
    _alone: MutexGuard<'static, ()>,
}

impl Oidc {
    async fn find() -> Option<Self> {
        let [url] = server(["OIDC_URL"])?;
        let http = ReqwestTransport::new().expect("the network can be used");
        let oidc = Self { url, http, _alone: SERVER.lock().await };
        oidc.post("/control/life?seconds=3600").await;
        Some(oidc)
    }

    async fn send(&self, method: Method, url: &str, headers: Vec<(String, String)>, body: &str) -> HttpResponse {
        let request = HttpRequest { method, url: url.to_owned(), headers, body: body.into() };
        self.http.send(request).await.expect("it answers")
    }

    async fn post(&self, path: &str) -> Json {
        let answer = self.send(Method::Post, &format!("{}{path}", self.url), vec![], "").await;
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// How often it was asked, by grant and outcome.
    async fn counts(&self) -> BTreeMap<String, u64> {
        let answer = self.send(Method::Get, &format!("{}/control/counts", self.url), vec![], "").await;
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    async fn count(&self, what: &str) -> u64 {
        self.counts().await.get(what).copied().unwrap_or_default()
    }

    fn connection(&self, grant: Grant, client_id: &str) -> ConnectionConfig {
        ConnectionConfig {
            name: "crm".to_owned(),
            connector: "hubspot".to_owned(),
            base_url: Some(format!("{}/api", self.url)),
            oauth: Some(OAuthConfig {
                grant,
                client_id: client_id.to_owned(),
                client_secret: "live-client-secret".to_owned(),
                scopes: vec!["crm".to_owned()],
                token_url: Some(format!("{}/token", self.url)),
                ..OAuthConfig::default()
            }),
            ..ConnectionConfig::default()
        }
    }

    fn for_a_person(&self) -> ConnectionConfig {
        let mut connection = self.connection(Grant::AuthorizationCode, "web");
        let oauth = connection.oauth.as_mut().expect("a client");
        oauth.authorize_url = Some(format!("{}/auth?prompt=consent", self.url));
        oauth.scopes = vec!["openid".to_owned(), "offline_access".to_owned(), "crm".to_owned()];
        connection
    }

    /// Opens an address as a browser does and fills in what is asked, until the server sends back to the hub. The address
    /// there.
    async fn browse(&self, start: &str) -> String {
        let mut jar: BTreeMap<String, String> = BTreeMap::new();
        let mut next = (Method::Get, start.to_owned(), String::new());
        for _ in 0..12 {
            let (method, url, body) = &next;
            let cookies: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut headers = vec![("cookie".to_owned(), cookies.join("; "))];
            if *method == Method::Post {
                headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
            }
            let answer = self.send(*method, url, headers, body).await;
            for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
                let pair = cookie.split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').expect("a cookie has a value");
                jar.insert(name.to_owned(), value.to_owned());
            }
            let page = String::from_utf8_lossy(&answer.body).into_owned();
            next = match answer.header("location") {
                Some(location) if location.contains("/oauth/callback/") => return location.to_owned(),
                Some(location) if location.starts_with('/') => {
                    (Method::Get, format!("{}{location}", self.url), String::new())
                }
                Some(location) => (Method::Get, location.to_owned(), String::new()),
                None => {
                    let action = between(&page, "action=\"", "\"").unwrap_or_else(|| panic!("a form: {page}"));
                    let prompt = between(&page, "name=\"prompt\" value=\"", "\"").expect("what it asks");
                    let action = if action.starts_with('/') { format!("{}{action}", self.url) } else { action };
                    (Method::Post, action, format!("prompt={prompt}&login=ann&password=any"))
                }
            };
        }
        panic!("the server did not send back to the hub");
    }
}

fn between(text: &str, before: &str, behind: &str) -> Option<String> {
    Some(text.split_once(before)?.1.split_once(behind)?.0.to_owned())
}

async fn hub(database: &Database, connection: &ConnectionConfig, key: &str) -> RunningHub {
    RunningHub::start_with(database, |config| {
        config.connections = vec![connection.clone()];
        config.secrets.keys = Some(key.to_owned());
    })
    .await
}

async fn probe(hub: &Hub) -> Result<(), Fault> {
    let connection = Arc::clone(hub.engine.connections().named("crm").expect("it is configured"));
    connection.connector.probe(&connection.net).await.map(|_| ())
}

async fn sign_in(hub: &RunningHub) -> Json {
    let asked = hub.ask("{ connections(first: 5) { nodes { id signIn { state code } } } }").await;
    asked["connections"]["nodes"][0].clone()
}

/// Lets a person authorize the connection, by the API of the hub and the pages of the server.
async fn authorize(oidc: &Oidc, hub: &RunningHub) {
    let id = text(&sign_in(hub).await["id"]);
    let mutation = format!(
        "mutation {{ startConnectionAuthorization(input: {{ connectionId: \"{id}\" }}) {{ authorizationUrl }} }}"
    );
    let asked = hub.ask(&mutation).await;
    let back = oidc.browse(&text(&asked["startConnectionAuthorization"]["authorizationUrl"])).await;
    let path = back.strip_prefix(&hub.url).expect("it sends back to the hub");
    let answer = hub.send(Method::Get, path, &[], "").await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

#[tokio::test]
async fn a_client_gets_tokens_with_its_secret_with_its_key_and_with_an_assertion() {
    let Some(oidc) = Oidc::find().await else { return };
    on_each_database(async |database| {
        let key = include_str!("../../crates/sdk/tests/keys/rsa.pem").to_owned();
        let machine = oidc.connection(Grant::ClientCredentials, "machine");
        let mut signer = oidc.connection(Grant::ClientCredentials, "signer");
        let oauth = signer.oauth.as_mut().expect("a client");
        *oauth = OAuthConfig {
            client_auth: ClientAuth::PrivateKeyJwt,
            private_key: key.clone(),
            key_id: Some("key-1".to_owned()),
            audience: Some(oidc.url.clone()),
            ..oauth.clone()
        };
        let mut robot = oidc.connection(Grant::JwtBearer, "robot");
        let oauth = robot.oauth.as_mut().expect("a client");
        *oauth = OAuthConfig {
            private_key: key,
            key_id: Some("key-1".to_owned()),
            subject: Some("hub@example.com".to_owned()),
            ..oauth.clone()
        };
        for (connection, grant) in [
            (machine, "client_credentials"),
            (signer, "client_credentials"),
            (robot, "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ] {
            let before = oidc.count(&format!("{grant} ok")).await;
            let hub = hub(database, &connection, &Keyring::new_key()).await;
            for _ in 0..3 {
                assert_eq!(probe(&hub.hub).await, Ok(()), "{grant}");
            }
            assert_eq!(oidc.count(&format!("{grant} ok")).await, before + 1, "one token serves all calls");
            hub.stop().await;
            let tx = database.open().await.begin().await.expect("it begins");
            tx.delete_secret(&SecretPlace::connection("crm", "oauth_tokens")).await.expect("forgotten");
            tx.commit().await.expect("it commits");
        }
    })
    .await;
}

#[tokio::test]
async fn two_hubs_and_fifty_callers_refresh_once_for_each_end_of_a_token() {
    let Some(oidc) = Oidc::find().await else { return };
    on_each_database(async |database| {
        let (connection, key) = (oidc.for_a_person(), Keyring::new_key());
        let hubs = [hub(database, &connection, &key).await, hub(database, &connection, &key).await];
        let refused = oidc.count("refresh_token refused").await;
        for round in 0..3 {
            let before = oidc.count("refresh_token ok").await;
            // The first token of a round ends soon; the one that takes its place outlives the round, however slow that is.
            oidc.post("/control/life?seconds=5").await;
            // The hub that was asked and the one that a person comes back to need not be the same.
            authorize(&oidc, &hubs[1]).await;
            oidc.post("/control/life?seconds=3600").await;
            let asked = hubs[0].ask("{ connections(first: 5) { nodes { signIn { renewAt } } } }").await;
            let end: Instant =
                text(&asked["connections"]["nodes"][0]["signIn"]["renewAt"]).parse().expect("an instant");
            until("the end of the token", async || (hubs[0].hub.app.store().now() > end).then_some(())).await;
            let calls = (0..50).map(|call| probe(&hubs[call % 2].hub));
            for probed in futures::future::join_all(calls).await {
                assert_eq!(probed, Ok(()), "round {round}");
            }
            assert_eq!(oidc.count("refresh_token ok").await, before + 1, "round {round}");
        }
        assert_eq!(oidc.count("refresh_token refused").await, refused, "no refresh token was used twice");
        let [one, other] = hubs;
        one.stop().await;
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn revoked_is_said_once_and_an_authorization_recovers() {
    let Some(oidc) = Oidc::find().await else { return };
    on_each_database(async |database| {
        let hub = hub(database, &oidc.for_a_person(), &Keyring::new_key()).await;
        authorize(&oidc, &hub).await;
        assert_eq!(probe(&hub.hub).await, Ok(()));
        oidc.post("/control/revoke").await;
        let refused = oidc.count("refresh_token refused").await;
        for _ in 0..3 {
            for probed in futures::future::join_all((0..20).map(|_| probe(&hub.hub))).await {
                assert_eq!(probed, Err(Fault::NeedsReauth));
            }
        }
        assert_eq!(oidc.count("refresh_token refused").await, refused + 1, "it was asked once");
        assert_eq!(sign_in(&hub).await["signIn"]["code"], "TOKEN_REFUSED");
        let alerts = |hub: RunningHub| async move {
            let asked = hub.ask("{ alerts(first: 50) { nodes { kind state } } }").await;
            let states = asked["alerts"]["nodes"].as_array().expect("a list").clone();
            let states: Vec<String> = states.iter().map(|alert| text(&alert["state"])).collect();
            (hub, states)
        };
        let (hub, states) = alerts(hub).await;
        assert_eq!(states.iter().filter(|state| *state == "OPEN").count(), 1, "{states:?}");
        authorize(&oidc, &hub).await;
        assert_eq!(probe(&hub.hub).await, Ok(()));
        assert_eq!(sign_in(&hub).await["signIn"]["state"], "WORKING");
        let (hub, states) = alerts(hub).await;
        assert!(states.iter().all(|state| state == "CLOSED"), "{states:?}");
        hub.stop().await;
    })
    .await;
}

/// Starts the binary; the process and the address of its graph.
async fn serve(binary: &Binary) -> (Child, String) {
    let mut child = binary.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it prints")).lines();
    let line = lines.next_line().await.expect("it can be read").expect("it says where it is");
    (child, line.trim_start_matches("GraphQL: ").trim_end_matches("/graphql").to_owned())
}

#[tokio::test]
async fn a_rotated_token_outlives_a_kill() {
    let Some(oidc) = Oidc::find().await else { return };
    on_each_database(async |database| {
        oidc.post("/control/life?seconds=4").await;
        let url = &oidc.url;
        let config = format!(
            "listen = \"127.0.0.1:0\"\n[database]\nurl = {:?}\n[secrets]\nkey_file = \"keys\"\n[[connections]]\n\
             name = \"crm\"\nconnector = \"hubspot\"\nbase_url = \"{url}/api\"\n[connections.oauth]\n\
             grant = \"authorization_code\"\nclient_id = \"web\"\nclient_secret = \"live-client-secret\"\n\
             scopes = [\"openid\", \"offline_access\", \"crm\"]\nauthorize_url = \"{url}/auth?prompt=consent\"\n\
             token_url = \"{url}/token\"\n",
            database.url
        );
        let Some(binary) = Binary::find("a kill between refreshes", &config) else { return };
        binary.write("keys", &Keyring::new_key());
        let (mut child, address) = serve(&binary).await;
        let page = binary.done(&["connection", "authorize", "crm"]).await;
        let back = oidc.browse(page.lines().last().expect("an address")).await;
        assert!(back.starts_with(&address), "{back}");
        assert_eq!(oidc.send(Method::Get, &back, vec![], "").await.status, 200);
        let refused = oidc.count("refresh_token refused").await;
        for round in 0..3 {
            let before = oidc.count("refresh_token ok").await;
            // A command is another process on the same database: it needs a new token by now and then.
            until("a refresh", async || {
                binary.done(&["connection", "test", "crm"]).await;
                (oidc.count("refresh_token ok").await > before).then_some(())
            })
            .await;
            child.kill().await.expect("it is killed");
            child = serve(&binary).await.0;
            let tested = binary.done(&["connection", "test", "crm"]).await;
            assert!(tested.contains("crm: ok"), "round {round}: {tested}");
        }
        assert_eq!(oidc.count("refresh_token refused").await, refused, "no refresh token was used twice");
        child.kill().await.expect("it is killed");
    })
    .await;
}
