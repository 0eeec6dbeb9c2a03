//! The governed HTTP handle over the real transport: what each way to fail is called, and the life of tokens.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crosstie_sdk::{
    AuthMode, Call, Credentials, Delivery, Descriptor, FakeVendor, Fault, HttpRequest, HttpResponse, MemoryTransport,
    Net, NetError, NetOptions, RateBudget, ReqwestTransport, Secret, Settings, domain::Instant,
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string_contains, header, method, path},
};

static VENDOR: Descriptor = Descriptor {
    id: "acme",
    name: "Acme",
    version: "1.0.0",
    arms: &[],
    auth: &[AuthMode::Bearer, AuthMode::OAuth2Refresh { token_path: "/oauth/token" }],
    default_base_url: None,
    budgets: &[RateBudget { bucket: "all", per_second: 1_000, burst: 1_000 }],
    reads: &[],
    writes: &[],
};

fn bearer() -> Credentials {
    Credentials::Bearer(Secret::new("key-1"))
}

fn oauth() -> Credentials {
    Credentials::refresh_token("client", Secret::new("client-secret"), Secret::new("refresh-1"))
}

fn net(base_url: &str, credentials: Credentials) -> Result<Net, NetError> {
    let transport = ReqwestTransport::with_timeout(Duration::from_millis(300)).expect("TLS can be set up");
    let base_url = Some(base_url.to_owned());
    let options = NetOptions { base_url, credentials, settings: Settings::default(), transport: Arc::new(transport) };
    Net::new(&VENDOR, options)
}

async fn answer_to(template: ResponseTemplate, call: Call) -> Result<u16, Fault> {
    let server = MockServer::start().await;
    Mock::given(header("authorization", "Bearer key-1")).respond_with(template).mount(&server).await;
    let net = net(&server.uri(), bearer()).expect("the address is good");
    net.send(call).await.map(|answer| answer.status())
}

#[tokio::test]
async fn each_answer_is_named_by_what_can_be_done_about_it() {
    let get = || Call::get("/x");
    let post = || Call::post("/x").json(&json!({}));
    let status = ResponseTemplate::new;
    assert_eq!(answer_to(status(200), get()).await, Ok(200));
    assert_eq!(answer_to(status(422), post()).await, Ok(422), "a refusal is the connector's to explain");
    assert_eq!(answer_to(status(401), get()).await, Err(Fault::NeedsReauth));
    assert!(matches!(answer_to(status(403), get()).await, Err(Fault::MissingScope { .. })));
    assert_eq!(answer_to(status(403), get().reads_forbidden()).await, Ok(403), "the connector asked to read it");
    assert_eq!(answer_to(status(404), get()).await, Err(Fault::Gone));
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_the_request_is_no_refusal() {
    let post = || Call::post("/x").json(&json!({}));
    for code in [300, 301, 302, 304, 307, 308, 399, 408, 425, 500, 502, 503, 504, 599] {
        let answer = || ResponseTemplate::new(code).insert_header("location", "http://127.0.0.1:1/");
        let why = format!("the vendor answered {code}");
        let temporary = Err(Fault::Transient { why: why.clone() });
        assert_eq!(answer_to(answer(), Call::get("/x")).await, temporary);
        assert_eq!(answer_to(answer(), post().repeatable()).await, temporary);
        assert_eq!(answer_to(answer(), post()).await, Err(Fault::Unknown { why }));
    }
}

#[tokio::test]
async fn a_vendor_that_asks_to_slow_down_is_understood_in_every_form() {
    let date = "Mon, 23 Nov 2026 10:00:00 GMT";
    for (value, expected) in [
        ("7", Some(7_000)),
        ("0", None),
        ("9999999", Some(86_400_000)),
        ("-3", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 10:01:00 GMT", Some(60_000)),
        ("Mon, 23 Nov 2026 09:59:00 GMT", None),
        ("Thu, 23 Nov 2028 10:00:00 GMT", Some(86_400_000)),
    ] {
        for code in [429, 503] {
            let template =
                || ResponseTemplate::new(code).insert_header("date", date).insert_header("retry-after", value);
            let expected = Err(Fault::Throttled { retry_after_ms: expected });
            assert_eq!(answer_to(template(), Call::get("/x")).await, expected, "{code} {value}");
            assert_eq!(answer_to(template(), Call::post("/x")).await, expected, "{code} {value}");
        }
    }
    let silent = answer_to(ResponseTemplate::new(429), Call::get("/x")).await;
    assert_eq!(silent, Err(Fault::Throttled { retry_after_ms: None }));
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_an_unknown_outcome() {
    let slow = || ResponseTemplate::new(200).set_delay(Duration::from_secs(5));
    assert!(matches!(answer_to(slow(), Call::post("/x")).await, Err(Fault::Unknown { .. })));
    assert!(matches!(answer_to(slow(), Call::get("/x")).await, Err(Fault::Transient { .. })));
    let nobody = net("http://127.0.0.1:1", bearer()).expect("the address is good");
    let found = nobody.send(Call::post("/x")).await.map(|answer| answer.status());
    assert!(matches!(found, Err(Fault::Transient { .. })), "what never left had no effect: {found:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_json_names_its_place() {
    let server = MockServer::start().await;
    let html = ResponseTemplate::new(200).set_body_string("<html>");
    Mock::given(method("GET")).respond_with(html).mount(&server).await;
    let net = net(&server.uri(), bearer()).expect("the address is good");
    let answer = net.send(Call::get("/x")).await.expect("an answer");
    assert!(matches!(answer.json::<Value>(), Err(Fault::Shape { .. })));
}

#[tokio::test]
async fn a_path_to_another_host_never_leaves() {
    let net = net("http://127.0.0.1:1/base", bearer()).expect("the address is good");
    for path in ["//evil.example/x", "http://evil.example/", "relative", "/a\\b", "/a#b", "/a\r\nb"] {
        let found = net.send(Call::get(path)).await.map(|answer| answer.status());
        assert!(matches!(found, Err(Fault::Bug { .. })), "{path}: {found:?}");
    }
}

#[test]
fn an_address_that_cannot_be_used_is_refused_at_once() {
    for url in ["", "ftp://x", "http://user:pw@x", "http://x/?q=1", "not an address"] {
        assert!(matches!(net(url, bearer()), Err(NetError::BaseUrl(_))), "{url}");
    }
}

#[test]
fn an_address_that_is_refused_is_not_shown() {
    for (url, expected) in [
        ("https://ann:hush@acme.example/", "base_url: must not hold user, password, query or fragment"),
        ("https://acme.example/?token=hush", "base_url: must not hold user, password, query or fragment"),
        ("ftp://ann:hush@acme.example/", "base_url: is not an http or https address"),
        ("https://ann:hush@acme.example:port/", "base_url: invalid port number"),
        ("ann:hush", "base_url: is not an http or https address"),
        ("hush", "base_url: relative URL without a base"),
    ] {
        let error = net(url, bearer()).map(|_| ()).expect_err("it cannot be used");
        assert_eq!(error.to_string(), expected, "{url}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}

#[tokio::test]
async fn what_a_call_carries_is_not_shown() {
    let call = Call::post("/x").query("token", "hush").header("x-key", "hush").json(&json!({ "name": "hush" }));
    assert_eq!(format!("{call:?}"), "POST /x");
    let answer = HttpResponse::json(200, &json!({ "access_token": "hush" }));
    assert_eq!(format!("{answer:?}"), "200 with 23 bytes");
    let url = "https://hub.example/hooks?token=hush".to_owned();
    let headers = vec![("authorization".to_owned(), "hush".to_owned())];
    let delivery = Delivery { method: "POST".to_owned(), url, headers, body: b"hush".to_vec() };
    assert_eq!(format!("{delivery:?}"), "POST https://hub.example/hooks with 4 bytes");
    let forbidden = answer_to(ResponseTemplate::new(403), Call::get("/x?token=hush")).await;
    assert_eq!(forbidden, Err(Fault::MissingScope { why: "GET /x".to_owned() }));
    let nobody = net("http://127.0.0.1:1", bearer()).expect("the address is good");
    let wrong = nobody.send(Call::get("/x?token=hush#y")).await.map(|answer| answer.status()).expect_err("a defect");
    assert!(!wrong.to_string().contains("hush"), "{wrong}");
}

#[tokio::test]
async fn many_callers_renew_a_token_once() {
    let server = MockServer::start().await;
    let token = json!({ "access_token": "access-1", "token_type": "bearer", "expires_in": 1800 });
    Mock::given(path("/oauth/token"))
        .and(body_string_contains("refresh_token=refresh-1"))
        .respond_with(ResponseTemplate::new(200).set_body_json(token))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(header("authorization", "Bearer access-1"))
        .respond_with(ResponseTemplate::new(200))
        .expect(50)
        .mount(&server)
        .await;
    let net = Arc::new(net(&server.uri(), oauth()).expect("the address is good"));
    let calls = (0..50).map(|_| {
        let net = Arc::clone(&net);
        tokio::spawn(async move { net.send(Call::get("/x")).await.map(|answer| answer.status()) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.expect("the call ends"), Ok(200));
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_with_the_rotated_refresh_token() {
    let server = MockServer::start().await;
    let token = |access: &str, refresh: &str| json!({ "access_token": access, "token_type": "bearer", "expires_in": 1800, "refresh_token": refresh });
    for (old, access, new) in [("refresh-1", "access-1", "refresh-2"), ("refresh-2", "access-2", "refresh-3")] {
        Mock::given(path("/oauth/token"))
            .and(body_string_contains(format!("refresh_token={old}")))
            .respond_with(ResponseTemplate::new(200).set_body_json(token(access, new)))
            .expect(1)
            .mount(&server)
            .await;
    }
    Mock::given(header("authorization", "Bearer access-1"))
        .respond_with(ResponseTemplate::new(401))
        .mount(&server)
        .await;
    Mock::given(header("authorization", "Bearer access-2"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let net = net(&server.uri(), oauth()).expect("the address is good");
    assert_eq!(net.send(Call::get("/x")).await.map(|answer| answer.status()), Ok(200));
}

#[tokio::test]
async fn a_refused_refresh_is_judged_by_its_status() {
    let status = ResponseTemplate::new;
    let temporary = |why: &str| Fault::Transient { why: why.to_owned() };
    let throttled = |retry_after_ms| Fault::Throttled { retry_after_ms };
    let slow_down = json!({ "error": "slow_down" });
    for (template, expected) in [
        (status(400).set_body_json(json!({ "error": "invalid_grant" })), Fault::NeedsReauth),
        (status(400).set_body_json(json!({ "status": "BAD_REFRESH_TOKEN" })), Fault::NeedsReauth),
        (status(401).set_body_string("<html>"), Fault::NeedsReauth),
        (status(403), Fault::NeedsReauth),
        (status(408), temporary("the token endpoint answered 408")),
        (status(429).insert_header("retry-after", "7").set_body_json(&slow_down), throttled(Some(7_000))),
        (status(429).insert_header("retry-after", "0"), throttled(None)),
        (status(503).insert_header("retry-after", "60").set_body_string("<html>"), throttled(Some(60_000))),
        (status(503).set_body_json(&slow_down), throttled(None)),
        (status(500).set_body_json(json!({ "error": "server_error" })), temporary("the token endpoint answered 500")),
        (status(302), temporary("the token endpoint answered 302")),
        (status(200).set_body_string("<html>"), temporary("the token endpoint gave no token")),
        (status(200).set_body_json(json!({ "error": "invalid_grant" })), temporary("the token endpoint gave no token")),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/oauth/token")).respond_with(template).expect(1).mount(&server).await;
        let net = net(&server.uri(), oauth()).expect("the address is good");
        let found = net.send(Call::post("/x")).await.map(|answer| answer.status());
        assert_eq!(found, Err(expected));
    }
    let nobody = net("http://127.0.0.1:1", oauth()).expect("the address is good");
    let found = nobody.send(Call::get("/x")).await.map(|answer| answer.status());
    assert!(matches!(found, Err(Fault::Transient { .. })), "{found:?}");
}

/// Answers with the date that its clock shows, when it has one, and whatever status the path names.
struct Dated(Option<&'static str>);

impl FakeVendor for Dated {
    fn respond(&mut self, request: &HttpRequest, _: Instant) -> HttpResponse {
        let mut answer = HttpResponse::empty(request.path().trim_start_matches('/').parse().expect("a status"));
        answer.headers.extend(self.0.map(|date| ("date".to_owned(), date.to_owned())));
        answer
    }
}

#[tokio::test]
async fn the_skew_of_the_vendors_clock_is_that_of_its_latest_answer() {
    let vendor = Arc::new(Mutex::new(Dated(None)));
    let now = || "2026-11-23T10:00:00.4Z".parse().expect("an instant");
    let transport = Arc::new(MemoryTransport::new(Arc::clone(&vendor), now));
    let base_url = Some("https://acme.example".to_owned());
    let options = NetOptions { base_url, credentials: bearer(), settings: Settings::default(), transport };
    let net = Net::new(&VENDOR, options).expect("the address is good");
    assert_eq!(net.clock_skew_ms(), None);
    for (date, path, expected_ms) in [
        (None, "/200", None),
        (Some("Mon, 23 Nov 2026 10:02:00 GMT"), "/200", Some(120_000)),
        (Some("Mon, 23 Nov 2026 09:59:57 GMT"), "/500", Some(-3_000)),
        (None, "/200", Some(-3_000)),
        (Some("Mon, 23 Nov 2026 10:00:00 GMT"), "/404", Some(0)),
    ] {
        vendor.lock().expect("one thread").0 = date;
        net.send(Call::get(path)).await.map(|answer| answer.status()).ok();
        assert_eq!(net.clock_skew_ms(), expected_ms, "{date:?}");
    }
}

#[tokio::test]
async fn a_vendor_on_this_machine_has_the_same_clock() {
    let server = MockServer::start().await;
    let net = net(&server.uri(), bearer()).expect("the address is good");
    net.send(Call::get("/x")).await.map(|answer| answer.status()).expect_err("there is nothing");
    let skew_ms = net.clock_skew_ms().expect("its answers are dated");
    assert!(skew_ms.abs() <= 1_000, "{skew_ms}");
}

/// Names the stand-in for a vendor, in the run that has a proxy in its environment.
const BEHIND_A_PROXY: &str = "CROSSTIE_TEST_BEHIND_A_PROXY";

/// The environment belongs to the whole process, so this test runs itself again in another one.
#[tokio::test]
async fn a_proxy_of_the_environment_carries_all_but_what_stays_on_this_machine() {
    #[expect(clippy::disallowed_methods, reason = "what the run that started this one says")]
    if let Ok(local) = std::env::var(BEHIND_A_PROXY) {
        for address in [local.as_str(), &local.replace("127.0.0.1", "localhost"), "http://acme.example"] {
            let net = net(address, bearer()).expect("the address is good");
            assert_eq!(net.send(Call::get("/x")).await.map(|answer| answer.status()), Ok(200), "{address}");
        }
        return;
    }
    let (local, proxy) = (MockServer::start().await, MockServer::start().await);
    for (server, calls) in [(&local, 2), (&proxy, 1)] {
        let answer = ResponseTemplate::new(200);
        Mock::given(method("GET")).respond_with(answer).expect(calls).mount(server).await;
    }
    let mut again = std::process::Command::new(std::env::current_exe().expect("this test"));
    again.args(["--exact", "a_proxy_of_the_environment_carries_all_but_what_stays_on_this_machine"]);
    again.env_remove("no_proxy").env_remove("NO_PROXY").env("http_proxy", proxy.uri()).env("HTTP_PROXY", proxy.uri());
    again.env(BEHIND_A_PROXY, local.uri());
    let ended = tokio::task::spawn_blocking(move || again.output()).await.expect("it ends").expect("it starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}
