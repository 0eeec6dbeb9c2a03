//! What a hub answers beside the graph, and the headers that its answers have.

use std::time::Duration;

use crosstie::config::ConnectionConfig;
use crosstie_app::{SystemClock, access::NewToken};
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    Clock,
    access::{Permission, Role},
};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, Secret, signature::sha256_base64};
use serde_json::{Value as Json, json};

use crate::support::{HostedVendor, RunningHub, header, on_each_database, wire};

const SECRET: &str = "whsec_test";
const APP: &str = "https://app.example.com";

fn text(answer: &HttpResponse) -> &str {
    std::str::from_utf8(&answer.body).expect("text")
}

async fn get(hub: &RunningHub, path: &str) -> HttpResponse {
    hub.send(Method::Get, path, &[], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_over_the_hub_needs_no_token() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        for (path, said) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
            let answer = get(&hub, path).await;
            assert_eq!((answer.status, text(&answer)), (200, said), "{path}");
            assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        }
        assert_eq!(get(&hub, "/nowhere").await.status, 404);
        hub.stop().await;
    })
    .await;
}

/// The value of a series, with these labels in this order; 0 while there is none.
fn value(metrics: &str, series: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_the_webhooks_that_were_believed_and_those_that_were_not() {
    on_each_database(async |database| {
        let fake = StripeFake::new(Some("http://hub.example/webhooks/metered".to_owned()), Secret::new(SECRET), 1);
        let stripe = HostedVendor::start(fake, || SystemClock::default().now(), |_| Duration::ZERO).await;
        let metered = ConnectionConfig { name: "metered".to_owned(), ..stripe.connection("stripe", SECRET) };
        let hub = RunningHub::start(database, vec![metered]).await;
        let accepted = r#"crosstie_inbound_accepted_total{connection="metered"}"#;
        let refused = r#"crosstie_inbound_refused_total{connection="metered",code="UNSIGNED"}"#;
        let before = get(&hub, "/metrics").await;
        assert_eq!(before.status, 200);
        assert!(header(&before, "content-type").is_some_and(|value| value.starts_with("text/plain")));

        let headers = vec![
            ("authorization".to_owned(), "Bearer operator".to_owned()),
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ];
        let url = "https://stripe.example/v1/customers".to_owned();
        let create = HttpRequest { method: Method::Post, url, headers, body: b"name=Acme".to_vec() };
        let delivery = {
            let mut vendor = stripe.vendor();
            assert_eq!(vendor.respond(&create, SystemClock::default().now()).status, 200);
            vendor.take_deliveries().pop().expect("a new customer is announced")
        };
        let headers: Vec<_> = delivery.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let path = "/webhooks/metered";
        assert_eq!(hub.send(Method::Post, path, &headers, delivery.body.clone()).await.status, 200);
        assert_eq!(hub.send(Method::Post, path, &[], delivery.body.clone()).await.status, 401);
        let after = get(&hub, "/metrics").await;
        for series in [accepted, refused] {
            assert_eq!(value(text(&after), series), value(text(&before), series) + 1, "{series}: {}", text(&after));
        }
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_with_a_listener_of_their_own_are_not_on_the_main_one() {
    on_each_database(async |database| {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.expect("a port is free").to_string();
        let hub = RunningHub::start_with(database, |config| config.metrics_listen = Some(address.clone())).await;
        assert_eq!(get(&hub, "/metrics").await.status, 404);
        assert_eq!(wire::send(&address, "GET /metrics", &[], "").await.status, 200);
        assert_eq!(wire::send(&address, "GET /graphql", &[], "").await.status, 404);
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_trying_queries_loads_nothing_that_could_have_been_exchanged() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        let answer = get(&hub, "/graphiql").await;
        assert_eq!(answer.status, 200);
        assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"));
        let page = text(&answer);
        let loads: Vec<&str> =
            page.split('<').filter(|tag| tag.contains("src=\"http") || tag.contains("href=\"http")).collect();
        assert!(loads.len() >= 3, "{page}");
        for tag in loads {
            let pinned = tag.contains("integrity=\"sha384-") && tag.contains("crossorigin=\"anonymous\"");
            assert!(pinned && tag.contains('@'), "of one version, with the hash of what it must be: {tag}");
        }
        let policy = header(&answer, "content-security-policy").expect("a policy");
        let script = page.rsplit_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
        let (script, _) = script.expect("a script of its own");
        assert!(policy.contains(&format!("'sha256-{}'", sha256_base64(script.as_bytes()))), "{policy}");
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).expect("a rule for scripts");
        assert!(policy.starts_with("default-src 'none'") && !scripts.contains("unsafe"), "{policy}");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_the_one_that_is_checked_in_and_is_for_those_who_may_read_it() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        let read = async |token: &str| {
            let token = format!("Bearer {token}");
            hub.send(Method::Get, "/schema.graphql", &[("authorization", token.as_str())], "").await
        };
        let answer = read(&hub.token).await;
        assert_eq!(answer.status, 200);
        assert!(text(&answer) == include_str!("../../graphql/schema.graphql"), "`crosstie schema` prints another");
        let (label, permissions) = ("narrow".to_owned(), vec![Permission::PipelineRead]);
        let narrow = NewToken { label, person_email: None, roles: vec![Role::Admin], permissions, expires_at: None };
        let (_, narrow) = hub.hub.app.create_token(narrow).await.expect("a token is made");
        assert_eq!(read(&narrow).await.status, 403);
        let answer = hub.ask_as(&narrow, "{ __schema { queryType { name } } }").await;
        let answer: Json = serde_json::from_slice(&answer.body).expect("the answer is JSON");
        assert_eq!(answer["errors"][0]["extensions"]["requiredScope"], "schema:read", "{answer}");
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_origins_that_are_configured_may_read_answers_and_no_others() {
    on_each_database(async |database| {
        let hub = RunningHub::start_with(database, |config| config.cors_origins = vec![APP.to_owned()]).await;
        let preflight = async |origin: &str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization,content-type,idempotency-key,last-event-id"),
            ];
            wire::send(&hub.url, "OPTIONS /graphql", &headers, "").await
        };
        let allowed = preflight(APP).await;
        assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some(APP)));
        let list = |name: &str| allowed.header(name).unwrap_or_default().to_lowercase();
        for name in ["authorization", "content-type", "idempotency-key", "last-event-id", "graphql-require-preflight"] {
            let names = list("access-control-allow-headers");
            assert!(names.split(',').any(|one| one.trim() == name), "{name}: {names}");
        }
        assert!(list("access-control-allow-methods").contains("post"));
        assert_eq!(allowed.header("access-control-allow-credentials"), None, "there are no cookies");
        for origin in ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
        {
            let foreign = preflight(origin).await;
            assert_eq!(foreign.header("access-control-allow-origin"), None, "{origin}");
        }

        let token = format!("Bearer {}", hub.token);
        let body = json!({ "query": "{ viewer { principal } }" }).to_string();
        for (authorization, status) in [(token.as_str(), 200), ("Bearer x", 401)] {
            for (origin, told) in [(APP, Some(APP)), ("https://evil.example", None)] {
                let headers =
                    [("origin", origin), ("authorization", authorization), ("content-type", "application/json")];
                let answer = wire::send(&hub.url, "POST /graphql", &headers, &body).await;
                assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, told), "{origin}");
            }
        }
        hub.stop().await;

        let closed = RunningHub::start(database, vec![]).await;
        let answer = wire::send(&closed.url, "POST /graphql", &[("origin", APP)], &body).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "nobody by default");
        closed.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_name_that_its_errors_repeat() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        let token = format!("Bearer {}", hub.token);
        let ask = async |id: Option<&str>, authorization: &str, query: &str| {
            let mut headers = vec![("authorization", authorization), ("content-type", "application/json")];
            headers.extend(id.map(|id| ("x-request-id", id)));
            let answer = hub.send(Method::Post, "/graphql", &headers, json!({ "query": query }).to_string()).await;
            let named = header(&answer, "x-request-id").expect("a name").to_owned();
            let body: Json = serde_json::from_slice(&answer.body).expect("the answer is JSON");
            (named, body)
        };
        let (good, odd) = ("{ viewer { principal } }", "{ nothing }");
        for (authorization, query) in [(token.as_str(), odd), (token.as_str(), "{"), ("Bearer x", good)] {
            let (named, body) = ask(Some("page-7:a.b"), authorization, query).await;
            assert_eq!(named, "page-7:a.b", "as it was sent");
            assert_eq!(body["errors"][0]["extensions"]["requestId"], "page-7:a.b", "{body}");
            let (named, body) = ask(None, authorization, query).await;
            assert_eq!(body["errors"][0]["extensions"]["requestId"], json!(named), "{body}");
        }
        let long = "x".repeat(65);
        let mut seen = std::collections::BTreeSet::new();
        for unsafe_name in [long.as_str(), "a b", "<script>", "a,b", ""] {
            let (named, _) = ask(Some(unsafe_name), &token, good).await;
            assert!(named != unsafe_name && named.len() <= 64, "{unsafe_name:?} became {named:?}");
            assert!(seen.insert(named), "a name of its own");
        }
        hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_database_is_away_is_alive_and_not_ready() {
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![]).await;
        hub.hub.app.store().close().await.expect("it closes");
        let ready = get(&hub, "/readyz").await;
        assert_eq!((ready.status, text(&ready)), (503, "the database does not answer\n"));
        assert_eq!(get(&hub, "/healthz").await.status, 200);
        let refused = hub.ask_as(&hub.token, "{ viewer { principal } }").await;
        let body: Json = serde_json::from_slice(&refused.body).expect("the answer is JSON");
        let extensions = &body["errors"][0]["extensions"];
        assert_eq!((refused.status, &extensions["code"]), (503, &json!("SERVICE_UNAVAILABLE")), "{body}");
        assert_eq!((&extensions["retryable"], extensions["requestId"].is_string()), (&json!(true), true));
        hub.stop().await;
    })
    .await;
}
