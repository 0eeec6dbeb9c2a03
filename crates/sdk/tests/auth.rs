//! The life of OAuth 2.0 tokens, in memory and in virtual time.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crosstie_sdk::{
    AuthMode, Call, ClientAuth, ClientSecrets, Credentials, Descriptor, FakeVendor, Fault, Grant, HttpRequest,
    HttpResponse, MemoryTokens, MemoryTransport, Net, NetError, NetOptions, OAuthClient, RateBudget, Refusal, Secret,
    Settings, SignIn, TokenLease, TokenSet, TokenStore, TokenStoreError, Transport, TransportError, domain::Instant,
};
use serde_json::json;
use tokio::time::{advance, sleep, timeout};

static VENDOR: Descriptor = Descriptor {
    id: "acme",
    name: "Acme",
    version: "1.0.0",
    arms: &[],
    auth: &[
        AuthMode::Bearer,
        AuthMode::OAuth2Refresh { token_path: "/token" },
        AuthMode::ClientCredentials { token_path: "/token", scopes: &["read", "write"] },
        AuthMode::AuthorizationCode { authorize_url: "/authorize", token_path: "/token", scopes: &["read"] },
        AuthMode::JwtBearer { token_path: "/token", audience: None, scopes: &[] },
    ],
    default_base_url: Some("https://acme.example/api"),
    budgets: &[RateBudget { bucket: "all", per_second: 1_000, burst: 1_000 }],
    reads: &[],
    writes: &[],
};

/// A vendor whose pages need the latest access token, and whose refresh tokens are good once.
#[derive(Default)]
struct Acme {
    /// How many tokens were given.
    given: u32,
    /// Access tokens up to this one are not accepted any more.
    taken_back: u32,
    /// Requests, by path and what they signed in with.
    seen: Vec<(String, String)>,
    /// How the token endpoint answers instead, from the front on.
    instead: Vec<HttpResponse>,
    /// No refresh token is accepted any more.
    revoked: bool,
    /// Answers bring no refresh token, and the first one stays good.
    keeps_refresh_token: bool,
    /// Its clock, ahead of ours, in seconds.
    ahead_seconds: i64,
    /// The page at which the access token stops being accepted, once.
    ends_at: Option<String>,
    forms: Vec<Vec<(String, String)>>,
}

impl Acme {
    fn asked(&self) -> usize {
        self.seen.iter().filter(|(path, _)| path == "/api/token").count()
    }

    fn token(&mut self, request: &HttpRequest) -> HttpResponse {
        let form = request.form();
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value).to_owned();
        self.forms.push(form.clone());
        if !self.instead.is_empty() {
            return self.instead.remove(0);
        }
        let expected =
            if self.keeps_refresh_token { "refresh-0".to_owned() } else { format!("refresh-{}", self.given) };
        let refused = value("grant_type") == "refresh_token" && (self.revoked || value("refresh_token") != expected);
        if refused {
            return HttpResponse::json(400, &json!({ "error": "invalid_grant" }));
        }
        self.given += 1;
        let mut answer =
            json!({ "access_token": format!("access-{}", self.given), "token_type": "bearer", "expires_in": 1800 });
        if !self.keeps_refresh_token {
            answer["refresh_token"] = format!("refresh-{}", self.given).into();
        }
        HttpResponse::json(200, &answer)
    }
}

impl FakeVendor for Acme {
    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        let signed = request.header("authorization").unwrap_or_default().to_owned();
        self.seen.push((request.path().to_owned(), signed.clone()));
        let mut answer = if request.path() == "/api/token" {
            self.token(request)
        } else if self.ends_at.as_deref() == Some(request.path()) {
            self.ends_at = None;
            HttpResponse::empty(401)
        } else if self.given > self.taken_back && signed == format!("Bearer access-{}", self.given) {
            HttpResponse::empty(200)
        } else {
            HttpResponse::empty(401)
        };
        let date = now.plus_ms(self.ahead_seconds * 1_000).timestamp();
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        answer.headers.push(("date".to_owned(), date));
        answer
    }
}

/// A vendor that takes its time to answer for tokens.
struct Slow {
    to: MemoryTransport<Acme>,
    takes: Duration,
}

#[async_trait::async_trait]
impl Transport for Slow {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let answer = self.to.send(request.clone()).await;
        if request.path() == "/api/token" {
            sleep(self.takes).await;
        }
        answer
    }

    fn now(&self) -> Option<Instant> {
        self.to.now()
    }
}

struct Bench {
    acme: Arc<Mutex<Acme>>,
    tokens: Arc<dyn TokenStore>,
    takes: Duration,
}

impl Bench {
    fn new() -> Self {
        Self::keeping(Arc::new(MemoryTokens::new(secrets())))
    }

    fn keeping(tokens: Arc<dyn TokenStore>) -> Self {
        Self { acme: Arc::default(), tokens, takes: Duration::from_millis(200) }
    }

    fn acme(&self) -> MutexGuard<'_, Acme> {
        self.acme.lock().expect("no test panics with it")
    }

    fn client(&self, grant: Grant) -> OAuthClient {
        OAuthClient::new(grant, "client", Arc::clone(&self.tokens))
    }

    fn try_net(&self, client: OAuthClient) -> Result<Net, NetError> {
        let now = || "2026-11-23T10:00:00Z".parse().expect("an instant");
        let to = MemoryTransport::new(Arc::clone(&self.acme), now);
        Net::new(
            &VENDOR,
            NetOptions {
                base_url: None,
                credentials: Credentials::OAuth2(Box::new(client)),
                settings: Settings::default(),
                transport: Arc::new(Slow { to, takes: self.takes }),
            },
        )
    }

    fn net(&self, grant: Grant) -> Arc<Net> {
        Arc::new(self.try_net(self.client(grant)).expect("the client is good"))
    }
}

fn secrets() -> ClientSecrets {
    ClientSecrets {
        client_secret: Some(Secret::new("client-secret")),
        refresh_token: Some(Secret::new("refresh-0")),
        private_key: Some(Secret::new(include_str!("keys/rsa.pem"))),
    }
}

async fn get(net: &Net, path: &str) -> Result<u16, Fault> {
    net.send(Call::get(path)).await.map(|answer| answer.status())
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_in_mid_page_is_renewed_once_and_the_same_page_resumes() {
    let bench = Bench::new();
    let net = bench.net(Grant::RefreshToken);
    for page in ["/1", "/2", "/3"] {
        bench.acme().ends_at = (page == "/2").then(|| "/api/2".to_owned());
        assert_eq!(get(&net, page).await, Ok(200), "{page}");
    }
    let seen: Vec<String> = bench.acme().seen.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(seen, ["/api/token", "/api/1", "/api/2", "/api/token", "/api/2", "/api/3"]);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_at_once_renew_once_at_the_start_and_when_refused() {
    let bench = Bench::new();
    let net = bench.net(Grant::RefreshToken);
    for round in 1..=2 {
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let net = Arc::clone(&net);
                tokio::spawn(async move { get(&net, "/x").await })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.expect("the call ends"), Ok(200));
        }
        assert_eq!(bench.acme().asked(), round, "round {round}");
        // The vendor takes it back before its time.
        let given = bench.acme().given;
        bench.acme().taken_back = given;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_a_little_before_its_end() {
    let bench = Bench::new();
    let net = bench.net(Grant::RefreshToken);
    for (after_seconds, asked) in [(0, 1), (1_700, 1), (60, 2)] {
        advance(Duration::from_secs(after_seconds)).await;
        assert_eq!(get(&net, "/x").await, Ok(200));
        assert_eq!(bench.acme().asked(), asked, "{after_seconds} seconds later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_fails_is_temporary_and_left_alone_for_a_while() {
    let bench = Bench::new();
    let net = bench.net(Grant::RefreshToken);
    let failure = || HttpResponse::empty(500);
    let wait = |seconds: &str| HttpResponse {
        headers: vec![("retry-after".to_owned(), seconds.to_owned())],
        ..HttpResponse::empty(503)
    };
    bench.acme().instead = vec![failure(), failure(), wait("7")];
    let temporary = Err(Fault::Transient { why: "the token endpoint answered 500".to_owned() });
    for (after_ms, expected, asked) in [
        (0, temporary.clone(), 1),
        (100, temporary.clone(), 1),
        (1_000, temporary.clone(), 2),
        (4_000, temporary, 2),
        (1_000, Err(Fault::Throttled { retry_after_ms: Some(7_000) }), 3),
        (6_000, Err(Fault::Throttled { retry_after_ms: Some(1_000) }), 3),
        (1_000, Ok(200), 4),
    ] {
        advance(Duration::from_millis(after_ms)).await;
        // What the vendor takes to answer is not counted.
        let found = match get(&net, "/x").await {
            Err(Fault::Throttled { retry_after_ms: Some(ms) }) => {
                Err(Fault::Throttled { retry_after_ms: Some((ms + 500) / 1_000 * 1_000) })
            }
            found => found,
        };
        assert_eq!((found, bench.acme().asked()), (expected, asked), "{after_ms} ms later");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_for_a_slow_endpoint_loses_no_token() {
    let bench = Bench { takes: Duration::from_secs(20), ..Bench::new() };
    let net = bench.net(Grant::RefreshToken);
    timeout(Duration::from_secs(5), get(&net, "/x")).await.expect_err("it takes longer");
    assert_eq!(get(&net, "/x").await, Ok(200));
    assert_eq!(bench.acme().asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_refresh_token_leaves_the_one_in_force() {
    let bench = Bench::new();
    bench.acme().keeps_refresh_token = true;
    let net = bench.net(Grant::RefreshToken);
    for asked in 1..=3 {
        assert_eq!(get(&net, "/x").await, Ok(200));
        assert_eq!(bench.acme().asked(), asked);
        advance(Duration::from_secs(1_800)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_assertion_is_dated_by_the_vendors_clock() {
    let bench = Bench::new();
    bench.acme().ahead_seconds = -600;
    bench.acme().instead = vec![HttpResponse::json(400, &json!({ "error": "invalid_grant" }))];
    let net = bench.net(Grant::JwtBearer);
    assert_eq!(get(&net, "/x").await, Ok(200), "refused once for its date, it is dated anew");
    assert_eq!(bench.acme().asked(), 2);
    let written: Vec<i64> = bench.acme().forms.iter().map(|form| issued_at(form)).collect();
    let moved = written[0] - written[1];
    assert!((599..=601).contains(&moved), "by what its Date shows, to the second: {moved}");
}

fn issued_at(form: &[(String, String)]) -> i64 {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let value = |name: &str| form.iter().find(|(key, _)| key == name).expect("it is there").1.clone();
    assert_eq!(value("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let assertion = value("assertion");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).expect("claims")).expect("base64");
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["aud"], "https://acme.example/api/token");
    claims["iat"].as_i64().expect("a time")
}

/// Keeps tokens in memory, counts what a person is told, and refuses to keep when told so.
struct Watched {
    kept: MemoryTokens,
    told: Mutex<Vec<Refusal>>,
    saves: Mutex<Vec<Result<(), ()>>>,
}

impl Watched {
    fn new() -> Arc<Self> {
        Arc::new(Self { kept: MemoryTokens::new(secrets()), told: Mutex::default(), saves: Mutex::default() })
    }
}

#[async_trait::async_trait]
impl TokenStore for Watched {
    async fn load(&self) -> Result<SignIn, TokenStoreError> {
        self.kept.load().await
    }

    async fn lease(&self) -> Result<Option<TokenLease>, TokenStoreError> {
        self.kept.lease().await
    }

    async fn keep(&self, lease: &TokenLease) -> Result<bool, TokenStoreError> {
        self.kept.keep(lease).await
    }

    async fn save(&self, lease: &TokenLease, tokens: &TokenSet) -> Result<Option<i64>, TokenStoreError> {
        if self.saves.lock().expect("one at a time").pop().is_some_and(|done| done.is_err()) {
            return Err(TokenStoreError("the database is not available".to_owned()));
        }
        self.kept.save(lease, tokens).await
    }

    async fn refuse(&self, lease: &TokenLease, refusal: Refusal) -> Result<(), TokenStoreError> {
        self.told.lock().expect("one at a time").push(refusal);
        self.kept.refuse(lease, refusal).await
    }

    async fn release(&self, lease: &TokenLease, answered: bool) -> Result<(), TokenStoreError> {
        self.kept.release(lease, answered).await
    }
}

#[tokio::test(start_paused = true)]
async fn revoked_means_stop_and_say_so_once() {
    let watched = Watched::new();
    let bench = Bench::keeping(watched.clone());
    let net = bench.net(Grant::AuthorizationCode);
    bench.acme().revoked = true;
    for _ in 0..10 {
        assert_eq!(get(&net, "/x").await, Err(Fault::NeedsReauth));
        advance(Duration::from_secs(3_600)).await;
    }
    assert_eq!(bench.acme().asked(), 1, "the endpoint is left alone until a person acts");
    assert_eq!(*watched.told.lock().expect("nobody else"), [Refusal::Grant]);

    bench.acme().revoked = false;
    let (code, verifier) = (Secret::new("code-1"), Secret::new("verifier-1"));
    net.finish_authorization(code, verifier, "https://hub.example/oauth/callback/acme").await.expect("tokens come");
    assert_eq!(get(&net, "/x").await, Ok(200), "a finished authorization is such an act");
    assert_eq!(bench.acme().asked(), 2);
    let form = bench.acme().forms.pop().expect("a form");
    for (name, value) in [
        ("grant_type", "authorization_code"),
        ("code", "code-1"),
        ("code_verifier", "verifier-1"),
        ("redirect_uri", "https://hub.example/oauth/callback/acme"),
    ] {
        assert!(form.contains(&(name.to_owned(), value.to_owned())), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_before_it_is_used() {
    let watched = Watched::new();
    let bench = Bench::keeping(watched.clone());
    let net = bench.net(Grant::RefreshToken);
    // A moment without a database is waited for: the vendor gives these tokens once.
    *watched.saves.lock().expect("nobody else") = vec![Ok(()), Err(()), Err(())];
    assert_eq!(get(&net, "/x").await, Ok(200));
    assert_eq!(bench.acme().asked(), 1);
    advance(Duration::from_secs(1_800)).await;
    // A long one ends in a fault, and the page is never asked for with a token that is kept nowhere.
    *watched.saves.lock().expect("nobody else") = vec![Err(()); 100];
    let before = bench.acme().seen.len();
    let found = get(&net, "/x").await;
    assert!(matches!(&found, Err(Fault::Transient { why }) if why.contains("tokens cannot be kept")), "{found:?}");
    assert_eq!(bench.acme().seen.len(), before + 1, "the token endpoint alone was asked");
}

#[tokio::test(start_paused = true)]
async fn two_processes_renew_once_between_them() {
    let bench = Bench::new();
    let nets = [bench.net(Grant::RefreshToken), bench.net(Grant::RefreshToken)];
    for asked in 1..=3 {
        let calls: Vec<_> = (0..50)
            .map(|call| {
                let net = Arc::clone(&nets[call % 2]);
                tokio::spawn(async move { get(&net, "/x").await })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.expect("the call ends"), Ok(200));
        }
        assert_eq!(bench.acme().asked(), asked);
        advance(Duration::from_secs(1_800)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_proves_who_it_is_in_the_way_it_is_told_to() {
    let check = async |auth, expected: &[&str], basic: bool| {
        let bench = Bench::new();
        let client = OAuthClient { client_auth: auth, ..bench.client(Grant::ClientCredentials) };
        let net = bench.try_net(client).expect("the client is good");
        assert_eq!(get(&net, "/x").await, Ok(200));
        let names: Vec<String> = bench.acme().forms[0].iter().map(|(name, _)| name.clone()).collect();
        for name in expected {
            assert!(names.iter().any(|found| found == name), "{auth:?}: {names:?}");
        }
        assert_eq!(names.iter().any(|name| name == "client_secret"), expected.contains(&"client_secret"));
        assert_eq!(bench.acme().seen[0].1.starts_with("Basic "), basic);
        assert!(bench.acme().forms[0].contains(&("scope".to_owned(), "read write".to_owned())));
    };
    check(ClientAuth::Body, &["client_id", "client_secret"], false).await;
    check(ClientAuth::Basic, &[], true).await;
    check(ClientAuth::PrivateKeyJwt, &["client_id", "client_assertion", "client_assertion_type"], false).await;
}

#[test]
fn addresses_of_their_own_are_encrypted_or_on_this_machine() {
    let check = |url: &str, expected: &str| {
        let bench = Bench::new();
        for authorize in [true, false] {
            let mut client = bench.client(Grant::AuthorizationCode);
            let at = if authorize { &mut client.authorize_url } else { &mut client.token_url };
            *at = Some(url.to_owned());
            match bench.try_net(client).map(|_| ()) {
                Ok(()) => assert_eq!(expected, "", "{url}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!expected.is_empty() && said.contains(expected) && !said.contains("hush"), "{said}");
                }
            }
        }
    };
    check("https://login.acme.example/token", "");
    check("http://127.0.0.1:9/token", "");
    check("http://login.acme.example/token", "is not an https address");
    check("http://127.0.0.1.acme.example/token", "is not an https address");
    check("https://ann:hush@acme.example/token", "must not hold user");
    check("https://acme.example/token#hush", "must not hold user");
    check("hush", "is not an address");
}

#[test]
fn a_page_for_a_person_says_who_asks_for_what_and_no_secret() {
    let bench = Bench::new();
    let page = |grant| bench.net(grant).authorization_page("https://hub.example/oauth/callback/acme");
    let url = page(Grant::AuthorizationCode).expect("a person authorizes it");
    assert_eq!(
        url.as_str(),
        "https://acme.example/api/authorize?response_type=code&client_id=client\
         &redirect_uri=https%3A%2F%2Fhub.example%2Foauth%2Fcallback%2Facme&scope=read"
    );
    assert_eq!(page(Grant::ClientCredentials), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_shows_a_secret() {
    let bench = Bench::new();
    let net = bench.net(Grant::RefreshToken);
    assert_eq!(get(&net, "/x").await, Ok(200));
    let sign_in = bench.tokens.load().await.expect("loaded");
    let credentials = Credentials::refresh_token("client", Secret::new("hush-1"), Secret::new("hush-2"));
    let client = bench.client(Grant::RefreshToken);
    let shown = format!("{sign_in:?} {credentials:?} {client:?} {:?} {:?}", secrets(), MemoryTokens::new(secrets()));
    for secret in ["hush", "client-secret", "refresh-0", "refresh-1", "access-1", "PRIVATE KEY"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}
