//! Signing in by each grant.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use crosstie_salesforce::Salesforce;
use crosstie_sdk::{
    ClientAuth, ClientSecrets, Connector, Credentials, Fault, Grant, HttpRequest, HttpResponse, MemoryTokens,
    OAuthClient, Secret, domain::integration::Entity,
};
use serde_json::{Value, json};

use crate::support::{API, BASE, Org, START_MS};

const KEY: &str = include_str!("../../../../crates/sdk/tests/keys/rsa.pem");

fn org(grant: Grant, secrets: ClientSecrets, change: impl FnOnce(&mut OAuthClient)) -> Org {
    let mut client = OAuthClient::new(grant, "consumer-key", Arc::new(MemoryTokens::new(secrets)));
    change(&mut client);
    Org::set_up(Credentials::OAuth2(Box::new(client)), json!({ "currency": "EUR" }))
}

fn secret() -> ClientSecrets {
    ClientSecrets { client_secret: Some(Secret::new("consumer-secret")), refresh_token: None, private_key: None }
}

/// The requests, and what was asked of the token endpoint first.
async fn first_form(org: &Org) -> (HttpRequest, Vec<(String, String)>) {
    let who = Salesforce.probe(&org.net).await.expect("signed in");
    assert!(who.account.starts_with("Acme Services"));
    let requests = org.requests();
    let paths: Vec<&str> = requests.iter().map(|request| request.path()).collect();
    assert_eq!(paths, ["/services/oauth2/token", &format!("{API}/query")]);
    assert_eq!(requests[1].header("authorization"), Some("Bearer 00D!fake-token-1"));
    assert!(requests.iter().all(|request| request.url.starts_with(BASE)));
    (requests[0].clone(), requests[0].form())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn the_clients_own_secret_signs_in_by_header_and_by_body() {
    let by_header = org(Grant::ClientCredentials, secret(), |client| client.client_auth = ClientAuth::Basic);
    let (request, form) = first_form(&by_header).await;
    assert_eq!(form, [pair("grant_type", "client_credentials")]);
    assert_eq!(request.header("authorization"), Some("Basic Y29uc3VtZXIta2V5OmNvbnN1bWVyLXNlY3JldA=="));

    let by_body = org(Grant::ClientCredentials, secret(), |_| {});
    let (request, form) = first_form(&by_body).await;
    assert!(form.contains(&pair("client_id", "consumer-key")));
    assert!(form.contains(&pair("client_secret", "consumer-secret")));
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn an_assertion_signs_in_and_nothing_else_stands_beside_it() {
    let secrets = ClientSecrets { client_secret: None, refresh_token: None, private_key: Some(Secret::new(KEY)) };
    let org = org(Grant::JwtBearer, secrets, |client| client.subject = Some("hub@acme.example".to_owned()));
    let (request, form) = first_form(&org).await;
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names.as_slice(), request.header("authorization")), (&["grant_type", "assertion"][..], None));
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let part = |index: usize| -> Value {
        let part = form[1].1.split('.').nth(index).expect("a part");
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    };
    let claims = part(1);
    assert_eq!(part(0)["alg"], "RS256");
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("consumer-key"), &json!("hub@acme.example")));
    assert_eq!(claims["aud"], "https://login.salesforce.com");
    let good_for = claims["exp"].as_i64().expect("a time") - START_MS / 1_000;
    assert!((1..=300).contains(&good_for), "{good_for}");
}

#[tokio::test]
async fn a_sandbox_has_another_audience() {
    let secrets = ClientSecrets { client_secret: None, refresh_token: None, private_key: Some(Secret::new(KEY)) };
    let org = org(Grant::JwtBearer, secrets, |client| {
        client.subject = Some("hub@acme.example.dev".to_owned());
        client.audience = Some("https://test.salesforce.com".to_owned());
    });
    let (_, form) = first_form(&org).await;
    let claims = form[1].1.split('.').nth(1).expect("claims");
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    assert_eq!(claims["aud"], "https://test.salesforce.com");
}

#[tokio::test]
async fn a_refresh_token_signs_in_and_one_that_was_revoked_needs_a_person() {
    let with = |token: &str| {
        let credentials =
            Credentials::refresh_token("consumer-key", Secret::new("consumer-secret"), Secret::new(token));
        Org::set_up(credentials, json!({ "currency": "EUR" }))
    };
    let (_, form) = first_form(&with("refresh")).await;
    assert!(form.contains(&pair("grant_type", "refresh_token")) && form.contains(&pair("refresh_token", "refresh")));
    assert_eq!(Salesforce.probe(&with("revoked").net).await, Err(Fault::NeedsReauth));
}

#[tokio::test]
async fn a_person_allows_it_in_a_browser() {
    let org = org(Grant::AuthorizationCode, secret(), |_| {});
    assert_eq!(Salesforce.probe(&org.net).await, Err(Fault::NeedsReauth), "nobody allowed it yet");
    let redirect = "https://hub.example/oauth/callback";
    let page = org.net.authorization_page(redirect).expect("a page");
    assert_eq!((page.host_str(), page.path()), (Some("acme.my.salesforce.com"), "/services/oauth2/authorize"));
    assert!(page.query().is_some_and(|query| query.contains("scope=api+refresh_token")), "{page}");
    let done = org.net.finish_authorization(Secret::new("code"), Secret::new("verifier"), redirect).await;
    assert_eq!(done, Ok(()));
    assert!(Salesforce.probe(&org.net).await.is_ok());
    let form = org.requests()[0].form();
    for expected in [pair("code", "code"), pair("code_verifier", "verifier"), pair("redirect_uri", redirect)] {
        assert!(form.contains(&expected), "{form:?}");
    }
}

#[tokio::test]
async fn a_session_that_ends_between_two_pages_is_renewed_and_the_page_is_read() {
    let org = org(Grant::ClientCredentials, secret(), |_| {});
    for name in ["One", "Two", "Three"] {
        org.create_account(name);
    }
    Salesforce.probe(&org.net).await.expect("signed in");
    let ended = json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }]);
    org.fake().fail_next(HttpResponse::json(401, &ended));
    let reader = Salesforce.readers()[0];
    let page = reader.read_page(&org.net, &org.ask(500)).await.expect("a page");
    assert_eq!((reader.entity(), page.rows.len()), (Entity::Account, 3));
    let tokens: Vec<String> = org
        .requests()
        .iter()
        .filter(|request| request.path() != "/services/oauth2/token")
        .map(|request| request.header("authorization").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(tokens, ["Bearer 00D!fake-token-1", "Bearer 00D!fake-token-1", "Bearer 00D!fake-token-2"]);
}
