//! The governed HTTP handle over the real transport: what each way to fail is called, and the life of tokens.

use std::{sync::Arc, time::Duration};

use crosstie_sdk::{
    AuthMode, Call, Credentials, Descriptor, Fault, Net, NetError, NetOptions, RateBudget, ReqwestTransport, Secret,
    Settings,
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
    Credentials::OAuth2Refresh {
        client_id: "client".to_owned(),
        client_secret: Secret::new("client-secret"),
        refresh_token: Secret::new("refresh-1"),
    }
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
    assert_eq!(answer_to(status(404), get()).await, Err(Fault::Gone));
    assert!(matches!(answer_to(status(500), get()).await, Err(Fault::Transient { .. })));
    assert!(matches!(answer_to(status(500), post()).await, Err(Fault::Unknown { .. })));
    assert!(matches!(answer_to(status(500), post().repeatable()).await, Err(Fault::Transient { .. })));
    assert_eq!(answer_to(status(302).insert_header("location", "http://127.0.0.1:1/"), get()).await, Ok(302));
}

#[tokio::test]
async fn a_vendor_that_asks_to_slow_down_is_understood_in_every_form() {
    for (value, expected) in [
        (Some("7"), Some(7_000)),
        (Some("0"), Some(0)),
        (Some("9999999"), Some(86_400_000)),
        (Some("-3"), Some(0)),
        (Some("soon"), None),
        (None, None),
    ] {
        let template = value
            .iter()
            .fold(ResponseTemplate::new(429), |template, value| template.insert_header("retry-after", *value));
        let found = answer_to(template, Call::get("/x")).await;
        assert_eq!(found, Err(Fault::Throttled { retry_after_ms: expected }), "{value:?}");
    }
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
async fn a_revoked_refresh_token_needs_a_person_and_a_broken_token_endpoint_does_not() {
    for (template, temporary) in [
        (ResponseTemplate::new(400).set_body_json(json!({ "error": "invalid_grant" })), false),
        (ResponseTemplate::new(200).set_body_string("<html>"), true),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/oauth/token")).respond_with(template).mount(&server).await;
        let net = net(&server.uri(), oauth()).expect("the address is good");
        let fault = net.send(Call::get("/x")).await.map(|answer| answer.status()).expect_err("no token, no call");
        assert_eq!(fault.is_temporary(), temporary, "{fault:?}");
        assert_eq!(fault == Fault::NeedsReauth, !temporary, "{fault:?}");
    }
}
