//! Connections that sign in by OAuth 2.0: whole hubs on one database, beside a vendor whose refresh tokens are good once.

use std::sync::Arc;

use crosstie::{
    config::{Config, ConnectionConfig, OAuthConfig},
    hub::Hub,
};
use crosstie_app::{
    App, StartConnectionAuthorization,
    secrets::{Keyring, Plain},
};
use crosstie_domain::{Instant, access::AuthContext, secrets::SecretPlace};
use crosstie_sdk::{
    ClientSecrets, Connector, FakeVendor, Fault, Grant, HttpRequest, HttpResponse, Method, Refusal, Secret, TokenSet,
    TokenStore,
};
use crosstie_store::integration::sign_ins_of;
use crosstie_sync::KeptSignIn;
use serde_json::{Value as Json, json};

use crate::support::{Database, HostedVendor, RunningHub, connection, on_each_database, until};

/// A vendor of empty lists for whoever has its latest access token. Each refresh token is good once.
#[derive(Default)]
struct Guarded {
    /// How many tokens were given.
    given: u32,
    /// How often it was asked for some, by grant.
    asked: Vec<String>,
    /// What was given is not accepted any more.
    revoked: bool,
    /// Access tokens up to this one are not accepted.
    taken_back: u32,
    /// Who asked with a client secret that is not this one is refused.
    client_secret: String,
}

impl Guarded {
    fn token(&mut self, request: &HttpRequest) -> HttpResponse {
        let form = request.form();
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value).to_owned();
        let grant = value("grant_type");
        self.asked.push(grant.clone());
        let refused = |error: &str| HttpResponse::json(400, &json!({ "error": error }));
        if value("client_secret") != self.client_secret {
            return refused("invalid_client");
        }
        match grant.as_str() {
            "refresh_token" if self.revoked || value("refresh_token") != format!("refresh-{}", self.given) => {
                return refused("invalid_grant");
            }
            "authorization_code" if value("code") != "code-1" || value("code_verifier").len() < 43 => {
                return refused("invalid_grant");
            }
            "authorization_code" => self.revoked = false,
            _ => {}
        }
        self.given += 1;
        let (access, refresh) = (format!("access-{}", self.given), format!("refresh-{}", self.given));
        let answer =
            json!({ "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": 1800 });
        HttpResponse::json(200, &answer)
    }
}

impl FakeVendor for Guarded {
    fn respond(&mut self, request: &HttpRequest, _: Instant) -> HttpResponse {
        if request.path() == "/oauth/v1/token" {
            return self.token(request);
        }
        let good = self.given > self.taken_back && !self.revoked;
        if good && request.header("authorization") == Some(&format!("Bearer access-{}", self.given)) {
            HttpResponse::json(200, &json!({ "results": [], "total": 0 }))
        } else {
            HttpResponse::empty(401)
        }
    }
}

async fn vendor() -> HostedVendor<Guarded> {
    let guarded = Guarded { client_secret: "client-secret".to_owned(), ..Guarded::default() };
    HostedVendor::start(
        guarded,
        || Instant::from_micros(0).expect("an instant"),
        |request| {
            // Time enough for everybody to come while the first one is renewing.
            std::time::Duration::from_millis(if request.path() == "/oauth/v1/token" { 300 } else { 0 })
        },
    )
    .await
}

fn client(vendor: &HostedVendor<Guarded>, grant: Grant) -> ConnectionConfig {
    let oauth = OAuthConfig {
        client_id: "client".to_owned(),
        client_secret: "client-secret".to_owned(),
        refresh_token: if grant == Grant::RefreshToken { "refresh-0".to_owned() } else { String::new() },
        grant,
        authorize_url: (grant == Grant::AuthorizationCode).then(|| format!("{}/authorize", vendor.url)),
        ..OAuthConfig::default()
    };
    ConnectionConfig {
        name: "crm".to_owned(),
        connector: "hubspot".to_owned(),
        base_url: Some(vendor.url.clone()),
        oauth: Some(oauth),
        ..ConnectionConfig::default()
    }
}

async fn hub(database: &Database, connection: &ConnectionConfig, key: &str) -> RunningHub {
    RunningHub::start_with(database, |config| {
        config.connections = vec![connection.clone()];
        config.secrets.keys = Some(key.to_owned());
    })
    .await
}

/// Who the hub is at the vendor, by a call of its connector.
async fn probe(hub: &Hub) -> Result<(), Fault> {
    let connection = Arc::clone(hub.engine.connections().named("crm").expect("it is configured"));
    let connector: &dyn Connector = connection.connector;
    connector.probe(&connection.net).await.map(|_| ())
}

async fn sign_in(hub: &RunningHub) -> Json {
    let asked = hub.ask("{ connections(first: 5) { nodes { id name signIn { state code } } } }").await;
    asked["connections"]["nodes"][0].clone()
}

async fn alerts(hub: &RunningHub) -> Vec<(String, String)> {
    let query = "{ alerts(first: 50) { nodes { kind state } } }";
    let asked = hub.ask(query).await;
    let nodes = asked["alerts"]["nodes"].as_array().expect("a list").clone();
    let word = |node: &Json, name: &str| node[name].as_str().expect("a word").to_owned();
    nodes.iter().map(|node| (word(node, "kind"), word(node, "state"))).collect()
}

fn parameter(url: &str, name: &str) -> String {
    let request = HttpRequest { method: Method::Get, url: url.to_owned(), headers: vec![], body: vec![] };
    request.query().into_iter().find(|(key, _)| key == name).expect("it is there").1
}

async fn begin(hub: &RunningHub) -> String {
    let id = sign_in(hub).await["id"].as_str().expect("an identifier").to_owned();
    let mutation = format!(
        "mutation {{ startConnectionAuthorization(input: {{ connectionId: \"{id}\" }}) {{ authorizationUrl \
         userErrors {{ message }} }} }}"
    );
    let asked = hub.ask(&mutation).await;
    let started = &asked["startConnectionAuthorization"];
    started["authorizationUrl"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned()
}

/// What the hub says to a person who comes back.
async fn come_back(hub: &RunningHub, query: &str) -> (u16, String) {
    let answer = hub.send(Method::Get, &format!("/oauth/callback/crm?{query}"), &[], "").await;
    (answer.status, String::from_utf8(answer.body).expect("text"))
}

#[tokio::test]
async fn two_processes_and_fifty_callers_refresh_once_and_the_rotated_token_outlives_them() {
    on_each_database(async |database| {
        let (vendor, key) = (vendor().await, Keyring::new_key());
        let connection = client(&vendor, Grant::RefreshToken);
        let hubs = [hub(database, &connection, &key).await, hub(database, &connection, &key).await];
        for round in 1..=3 {
            let calls = (0..50).map(|call| probe(&hubs[call % 2].hub));
            for probed in futures::future::join_all(calls).await {
                assert_eq!(probed, Ok(()), "round {round}");
            }
            assert_eq!(vendor.vendor().asked.len(), round, "one refresh for each end of the token");
            let given = vendor.vendor().given;
            vendor.vendor().taken_back = given;
        }
        let [one, other] = hubs;
        one.stop().await;
        other.stop().await;
        // What comes after them knows the refresh token that came last, and not the one in the configuration.
        let next = hub(database, &connection, &key).await;
        assert_eq!(probe(&next.hub).await, Ok(()));
        assert_eq!(sign_in(&next).await["signIn"]["state"], "WORKING");
        assert_eq!(vendor.vendor().asked.len(), 4);
        next.stop().await;
    })
    .await;
}

#[tokio::test]
async fn revoked_is_said_once_and_a_finished_authorization_is_the_recovery() {
    on_each_database(async |database| {
        let (vendor, key) = (vendor().await, Keyring::new_key());
        let hub = hub(database, &client(&vendor, Grant::AuthorizationCode), &key).await;
        let needs = ("CONNECTION_NEEDS_REAUTH".to_owned(), "OPEN".to_owned());
        until("the alert", async || alerts(&hub).await.contains(&needs).then_some(())).await;
        assert_eq!(probe(&hub.hub).await, Err(Fault::NeedsReauth), "nobody has authorized it");
        let signed = sign_in(&hub).await["signIn"].clone();
        assert_eq!(signed, json!({ "state": "NEEDS_REAUTH", "code": "NOT_AUTHORIZED" }));
        assert!(vendor.vendor().asked.is_empty(), "there is nothing to ask with");

        let url = begin(&hub).await;
        assert!(url.starts_with(&format!("{}/authorize?response_type=code&client_id=client", vendor.url)), "{url}");
        assert_eq!(parameter(&url, "code_challenge_method"), "S256");
        assert_eq!(parameter(&url, "redirect_uri"), format!("{}/oauth/callback/crm", hub.url));
        let state = parameter(&url, "state");
        let (status, page) = come_back(&hub, &format!("state={state}&code=code-1")).await;
        assert_eq!((status, page.contains("Connected")), (200, true), "{page}");
        assert_eq!(probe(&hub.hub).await, Ok(()));
        assert_eq!(sign_in(&hub).await["signIn"]["state"], "WORKING");
        let closed = [("CONNECTION_NEEDS_REAUTH".to_owned(), "CLOSED".to_owned())];
        assert_eq!(alerts(&hub).await, closed);

        vendor.vendor().revoked = true;
        let before = vendor.vendor().asked.len();
        for probed in futures::future::join_all((0..20).map(|_| probe(&hub.hub))).await {
            assert_eq!(probed, Err(Fault::NeedsReauth));
        }
        assert_eq!(vendor.vendor().asked.len(), before + 1, "asked once, and never again");
        assert_eq!(sign_in(&hub).await["signIn"]["code"], "TOKEN_REFUSED");
        let open = alerts(&hub).await.into_iter().filter(|(_, state)| state == "OPEN").count();
        assert_eq!(open, 1, "said once");

        let state = parameter(&begin(&hub).await, "state");
        assert_eq!(come_back(&hub, &format!("state={state}&code=code-1")).await.0, 200);
        assert_eq!(probe(&hub.hub).await, Ok(()));
        assert!(alerts(&hub).await.iter().all(|(_, state)| state == "CLOSED"), "{:?}", alerts(&hub).await);
        hub.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_belongs_to_no_authorization_changes_nothing_and_is_not_shown() {
    on_each_database(async |database| {
        let (vendor, key) = (vendor().await, Keyring::new_key());
        let hub = hub(database, &client(&vendor, Grant::AuthorizationCode), &key).await;
        let refused = async |query: &str, status: u16, code: &str| {
            let (found, page) = come_back(&hub, query).await;
            assert_eq!(found, status, "{query}: {page}");
            assert!(page.contains(code) && !page.contains("hush"), "{query}: {page}");
        };
        let state = parameter(&begin(&hub).await, "state");
        refused("", 400, "AUTHORIZATION_UNKNOWN").await;
        refused("state=hush&code=code-1", 400, "AUTHORIZATION_UNKNOWN").await;
        refused(&format!("state={state}&state={state}&code=code-1"), 400, "AUTHORIZATION_UNKNOWN").await;
        assert!(vendor.vendor().asked.is_empty());
        let elsewhere =
            hub.send(Method::Get, &format!("/oauth/callback/hush?state={state}&code=code-1"), &[], "").await;
        assert_eq!(elsewhere.status, 400);
        // It is good all the same, once.
        refused(&format!("state={state}&code=hush"), 502, "CODE_REFUSED").await;
        refused(&format!("state={state}&code=code-1"), 400, "AUTHORIZATION_UNKNOWN").await;
        let state = parameter(&begin(&hub).await, "state");
        refused(&format!("state={state}&error=access_denied&error_description=hush"), 403, "AUTHORIZATION_DENIED")
            .await;
        let state = parameter(&begin(&hub).await, "state");
        refused(&format!("state={state}&error=hush"), 502, "AUTHORIZATION_FAILED").await;
        // One that begins ends the one before.
        let first = parameter(&begin(&hub).await, "state");
        let second = parameter(&begin(&hub).await, "state");
        refused(&format!("state={first}&code=code-1"), 400, "AUTHORIZATION_UNKNOWN").await;
        assert_eq!(come_back(&hub, &format!("state={second}&code=code-1")).await.0, 200);
        hub.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_authorization_ends_after_ten_minutes_and_the_same_request_gets_the_same_answer() {
    on_each_database(async |database| {
        let app = App::new(database.open().await).with_keyring(Keyring::parse(&Keyring::new_key()).ok());
        let id = connection(app.store(), "crm").await;
        let kept = KeptSignIn::new(app.clone(), "crm", ClientSecrets::default(), vec![]);
        let begin = async |key: Option<&str>| {
            let input = StartConnectionAuthorization { connection_id: id, idempotency_key: key.map(str::to_owned) };
            app.start_connection_authorization(&AuthContext::system(), input).await.expect("decided")
        };
        assert!(begin(None).await.is_err(), "it does not sign in so");
        let page = ("https://acme.example/authorize?a=b".to_owned(), "https://hub.example/back".to_owned());
        kept.offers(Some(page)).await.expect("noted");
        let first = begin(Some("k")).await.expect("begun");
        let again = begin(Some("k")).await.expect("begun");
        assert_eq!((&first.url, first.expires_at), (&again.url, again.expires_at));
        assert!(!format!("{first:?}").contains("state"), "{first:?}");
        let state = parameter(&first.url, "state");
        database.clock.advance(10 * 60_000);
        assert!(app.take_authorization("crm", &state).await.expect("asked").is_none(), "it took too long");
        let late = begin(Some("k")).await.expect("begun");
        assert_ne!(first.url, late.url);
        let state = parameter(&late.url, "state");
        let taken = app.take_authorization("crm", &state).await.expect("asked").expect("in time");
        assert_eq!(taken.redirect_url, "https://hub.example/back");
        assert!(app.take_authorization("crm", &state).await.expect("asked").is_none(), "it is good once");
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_told_from_a_refused_token_and_a_stalled_process_keeps_nothing() {
    on_each_database(async |database| {
        let app = App::new(database.open().await).with_keyring(Keyring::parse(&Keyring::new_key()).ok());
        connection(app.store(), "crm").await;
        let process = || KeptSignIn::new(app.clone(), "crm", ClientSecrets::default(), vec![]);
        let tokens = |access: &str| TokenSet {
            access: Secret::new(access),
            refresh: Some(Secret::new("refresh-1")),
            good_for: std::time::Duration::from_secs(60),
        };
        // One process asks, and stalls or dies before it keeps what came.
        let (stalled, next) = (process(), process());
        let lease = stalled.lease().await.expect("asked").expect("free");
        assert!(next.lease().await.expect("asked").is_none(), "one at a time");
        database.clock.advance(60_000);
        let taken = next.lease().await.expect("asked").expect("nobody keeps it");
        assert!(taken.interrupted && taken.fence > lease.fence);
        assert_eq!(stalled.save(&lease, &tokens("late")).await.expect("asked"), None, "it is fenced off");
        stalled.refuse(&lease, Refusal::Grant).await.expect("asked");
        assert!(!next.load().await.expect("loaded").needs_person, "what it heard counts no more");
        next.refuse(&taken, Refusal::Grant).await.expect("kept");
        next.release(&taken, true).await.expect("released");
        let found = sign_ins_of(app.store(), &["crm".to_owned()]).await.expect("read").pop().expect("it is there");
        assert_eq!(found.code.as_deref(), Some("TOKEN_LOST"));
        assert!(next.load().await.expect("loaded").needs_person);

        // With an answer that came, nothing is lost, and a refusal is one.
        let lease = next.lease().await.expect("asked").expect("free");
        assert!(!lease.interrupted);
        let generation = next.save(&lease, &tokens("access-1")).await.expect("kept").expect("it holds the lease");
        next.release(&lease, true).await.expect("released");
        let loaded = process().load().await.expect("another process reads it");
        let kept = loaded.tokens.expect("tokens");
        assert_eq!((kept.access, kept.generation), (Secret::new("access-1"), generation));
        let lease = next.lease().await.expect("asked").expect("free");
        next.refuse(&lease, Refusal::Grant).await.expect("kept");
        let found = sign_ins_of(app.store(), &["crm".to_owned()]).await.expect("read").pop().expect("it is there");
        assert_eq!(found.code.as_deref(), Some("TOKEN_REFUSED"));
    })
    .await;
}

#[tokio::test]
async fn a_new_secret_is_a_reason_to_ask_again_and_a_new_refresh_token_takes_the_place_of_the_old_ones() {
    on_each_database(async |database| {
        let (vendor, key) = (vendor().await, Keyring::new_key());
        let connection = client(&vendor, Grant::RefreshToken);
        let first = hub(database, &connection, &key).await;
        assert_eq!(probe(&first.hub).await, Ok(()));
        vendor.vendor().client_secret = "another".to_owned();
        let given = vendor.vendor().given;
        vendor.vendor().taken_back = given;
        assert_eq!(probe(&first.hub).await, Err(Fault::NeedsReauth));
        assert_eq!(sign_in(&first).await["signIn"]["code"], "CLIENT_REFUSED");
        first.stop().await;

        let asked = vendor.vendor().asked.len();
        let second = hub(database, &connection, &key).await;
        assert_eq!(probe(&second.hub).await, Err(Fault::NeedsReauth));
        assert_eq!(vendor.vendor().asked.len(), asked, "a start without a change is no reason to ask");
        second.stop().await;

        let mut corrected = connection.clone();
        corrected.oauth.as_mut().expect("a client").client_secret = "another".to_owned();
        let third = hub(database, &corrected, &key).await;
        assert_eq!(probe(&third.hub).await, Ok(()));
        assert_eq!(sign_in(&third).await["signIn"], json!({ "state": "WORKING", "code": null }));
        third.stop().await;

        vendor.vendor().given = 40;
        corrected.oauth.as_mut().expect("a client").refresh_token = "refresh-40".to_owned();
        let fourth = hub(database, &corrected, &key).await;
        assert_eq!(probe(&fourth.hub).await, Ok(()));
        assert_eq!(vendor.vendor().given, 41);
        fourth.stop().await;
    })
    .await;
}

#[tokio::test]
async fn without_a_master_key_a_connection_that_gets_refresh_tokens_does_not_start_and_another_does() {
    on_each_database(async |database| {
        let vendor = vendor().await;
        let start = async |grant| {
            let text = format!("listen = \"127.0.0.1:0\"\n[database]\nurl = {:?}\n", database.url);
            let mut config = Config::parse(&text, "the test", |_| None).expect("the configuration is good");
            let mut connection = client(&vendor, grant);
            connection.oauth.as_mut().expect("a client").token_url = Some(format!("{}/oauth/v1/token", vendor.url));
            config.connections = vec![connection];
            Hub::start(config).await
        };
        for grant in [Grant::RefreshToken, Grant::AuthorizationCode] {
            let error = start(grant).await.map(|_| ()).expect_err("nothing could be kept").to_string();
            assert!(error.contains("`secrets.key_file`: missing: the connection crm gets refresh tokens"), "{error}");
        }
        let hub = start(Grant::ClientCredentials).await.expect("it keeps nothing that must outlive it");
        assert_eq!(probe(&hub).await, Ok(()));
        assert_eq!(probe(&hub).await, Ok(()));
        assert_eq!(vendor.vendor().asked, ["client_credentials"]);
        hub.stop(std::time::Duration::from_secs(5)).await;
    })
    .await;
}

#[tokio::test]
async fn tokens_are_nowhere_in_the_clear() {
    on_each_database(async |database| {
        let (vendor, key) = (vendor().await, Keyring::new_key());
        let hub = hub(database, &client(&vendor, Grant::RefreshToken), &key).await;
        assert_eq!(probe(&hub.hub).await, Ok(()));
        let kept = hub.hub.app.open_secret(hub.hub.app.store(), &SecretPlace::connection("crm", "oauth_tokens")).await;
        let kept: Plain = kept.expect("it opens").expect("it is there");
        assert!(kept.expose().contains("refresh-1"));
        let raw = database.raw().await;
        for column in ["wrapped_key", "nonce", "ciphertext"] {
            let sql = format!("SELECT {column} AS part FROM secrets");
            use sea_orm::ConnectionTrait;
            let rows = raw.query_all_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await;
            for row in rows.expect("read") {
                let part: Vec<u8> = row.try_get("", "part").expect("bytes");
                assert!(!String::from_utf8_lossy(&part).contains("refresh-1"), "{column}");
            }
        }
        raw.close().await.expect("it closes");
        hub.stop().await;
    })
    .await;
}
