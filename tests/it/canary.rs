//! Canaries: secrets and persons that are told from all else, in every place where one can stand, and a search for them
//! in everything that the hub gives out, writes into its log, and keeps unsealed.

use std::{
    process::Stdio,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use crosstie_app::SystemClock;
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{Clock, Instant};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, ReqwestTransport, Secret, Transport};
use sea_orm::{DatabaseConnection, FromQueryResult, Statement};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{
    Binary, HostedVendor, LISTS, MASTER_KEY, Receiver, Reply, on_each_database, schema::fields, until,
};

const TOKEN: &str = "canary/token+Qz7vKp2mXw9";
const WEBHOOK_SECRET: &str = "whsec_canaryHk4tRn8sYb3";
const CLIENT_SECRET: &str = "canary&client=Jd5gLc1fVu6";
const REFRESH_TOKEN: &str = "canary.refresh~Bw8nTq4zEr2";
/// A key that signs assertions, of this test alone; its last line is what may nowhere be found.
const PRIVATE_KEY: [&str; 3] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgoJ2R1dQpdmM5kt1N",
    "264cLePXOdK3hZBsn3CTDUDhxIihRANCAASNz0etkUJwVZnH+kTSvMPv6jtuukYx",
    "yuAzoW2L9FBcIl8BzESBGYndZZgpcLkb2kMC2XwF7UClpGaWNpG4tbZQ",
];
const CODE: &str = "canary*code-Xt6vBn2qLm8";
const SEALED: &str = "canary:sealed?Mx3kPy9hGs7";
const PERSON: &str = "canary.person@birdcage.example";
/// Parts of so many bytes give a secret away.
const PART: usize = 12;

/// A system that repeats what it was asked with, in errors, headers and bodies.
struct Parrot {
    stripe: StripeFake,
    asked: usize,
    /// What clients signed in with that nobody else knows: verifiers of codes, and assertions.
    proofs: Vec<(String, String)>,
}

impl FakeVendor for Parrot {
    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        let key = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let key = key.map(|(_, value)| value.trim_start_matches("Bearer ").to_owned()).unwrap_or_default();
        if key == "operator" {
            return self.stripe.respond(request, now);
        }
        if request.url.ends_with("/oauth/token") {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let parts = body.split('&').filter_map(|part| part.split_once('='));
            let proofs = parts.filter(|(name, _)| ["code_verifier", "assertion"].contains(name));
            self.proofs.extend(proofs.map(|(name, proof)| (name.to_owned(), proof.to_owned())));
            let message = format!("this is not right: {body}");
            return HttpResponse::json(400, &json!({ "error": "invalid_grant", "error_description": message }));
        }
        self.asked += 1;
        let status = [200, 400, 500, 429][self.asked % 4];
        let mut answer = match status {
            200 => self.stripe.respond(request, now),
            status => {
                let encoded = BASE64_STANDARD.encode(&key);
                let message = format!("No such key {key} ({encoded}, {}) of {PERSON}", hex::encode(&key));
                HttpResponse::json(
                    status,
                    &json!({ "error": { "message": message, "code": key, "type": "api_error" } }),
                )
            }
        };
        answer.headers.push(("x-echo".to_owned(), key.clone()));
        answer.headers.push(("x-request-id".to_owned(), format!("req-{key}")));
        answer
    }
}

/// Every way in which a secret can be written, and its parts.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let percent = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let mut forms = vec![hex::encode(bytes), bytes.iter().map(percent).collect()];
    for shift in 0..3 {
        let written = BASE64_STANDARD.encode([&vec![0; shift], bytes].concat());
        let from = if shift == 0 { 0 } else { shift + 1 };
        forms.push(written[from..written.trim_end_matches('=').len() - 1].to_owned());
    }
    forms.extend((0..=secret.len().saturating_sub(PART)).filter_map(|at| secret.get(at..at + PART)).map(str::to_owned));
    forms
}

/// What was found where it must not be.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    /// Looks for secrets in what the hub gave out.
    fn search(&mut self, place: &str, text: &str, secrets: &[&str]) {
        for secret in secrets {
            if let Some(form) = forms(secret).into_iter().find(|form| text.contains(form.as_str())) {
                let at = text.find(&form).unwrap_or_default();
                let near: String = text[..at].chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
                self.0.push(format!("{place}: {secret} as {form:?} after {near:?}"));
            }
        }
    }
}

fn now() -> Instant {
    SystemClock::default().now()
}

fn config(database: &str, vendor: &str) -> String {
    let own = PRIVATE_KEY.join("\\n");
    let signed_in = |name: &str, grant: &str| {
        format!(
            "[[connections]]\nname = \"{name}\"\nconnector = \"hubspot\"\nbase_url = \"{vendor}\"\n\
             webhook_secrets = [\"{CLIENT_SECRET}\"]\n[connections.oauth]\ngrant = \"{grant}\"\nclient_id = \"id\"\n\
             token_url = \"{vendor}/oauth/token\"\n"
        )
    };
    let by_code = signed_in("by-code", "authorization_code") + &format!("authorize_url = \"{vendor}/authorize\"\n");
    let by_key = signed_in("by-key", "jwt_bearer")
        + &format!("private_key = \"-----BEGIN PRIVATE KEY-----\\n{own}\\n-----END PRIVATE KEY-----\\n\"\n");
    format!(
        "listen = \"127.0.0.1:0\"\npublic_url = \"http://127.0.0.1:9\"\n[webhooks]\nallow_http = true\n\
         allow_private = true\n[database]\nurl = {database:?}\n[secrets]\nkey_file = \"keys\"\n[exchanges]\n\
         bodies = \"all\"\n[[connections]]\nname = \"books\"\nconnector = \"stripe\"\nbase_url = \"{vendor}\"\n\
         token = \"{TOKEN}\"\nwebhook_secrets = [\"{WEBHOOK_SECRET}\"]\n[[connections]]\nname = \"sealed\"\n\
         connector = \"stripe\"\nbase_url = \"{vendor}\"\nwebhook_secrets = [\"{WEBHOOK_SECRET}\"]\n\
         [[connections]]\nname = \"crm\"\nconnector = \"hubspot\"\nbase_url = \"{vendor}\"\n\
         webhook_secrets = [\"{CLIENT_SECRET}\"]\n[connections.oauth]\ngrant = \"refresh_token\"\nclient_id = \"id\"\n\
         client_secret = \"{CLIENT_SECRET}\"\nrefresh_token = \"{REFRESH_TOKEN}\"\ntoken_url = \"{vendor}/oauth/token\"\n\
         [connections.settings]\ndefault_currency = \"EUR\"\n{by_code}{by_key}"
    )
}

/// Every scalar field of the objects that lists of the root show, as far as two levels.
fn wide_queries() -> Vec<String> {
    let all = fields();
    let scalars = |of: &str| {
        let own = all.iter().filter(|field| field.of == of);
        let plain = own.filter(|field| field.to != "Node" && !all.iter().any(|other| other.of == field.to));
        plain.map(|field| field.name.clone()).collect::<Vec<_>>().join(" ")
    };
    let lists = all.iter().filter(|field| field.of == "Query" && LISTS.contains(&field.name.as_str()));
    lists
        .map(|list| format!("{{ {}(first: 50) {{ nodes {{ __typename {} }} }} }}", list.name, scalars(&list.to)))
        .collect()
}

/// Everything that the database keeps unsealed, as one text a column.
async fn kept(raw: &DatabaseConnection) -> Vec<(String, String)> {
    #[derive(FromQueryResult)]
    struct Text {
        text: Option<String>,
    }
    let mut all = Vec::new();
    for (table, column, is_bytes) in super::erasure::columns(raw).await {
        if is_bytes && table == "secrets" {
            continue;
        }
        let read = match (is_bytes, raw.get_database_backend()) {
            (true, sea_orm::DbBackend::Postgres) => format!("encode({column}, 'escape')"),
            _ => format!("CAST({column} AS TEXT)"),
        };
        let statement =
            Statement::from_string(raw.get_database_backend(), format!("SELECT {read} AS text FROM {table}"));
        let rows = Text::find_by_statement(statement).all(raw).await.expect("read");
        let texts: Vec<String> = rows.into_iter().filter_map(|row| row.text).collect();
        all.push((format!("{table}.{column}"), texts.join("\n")));
    }
    all
}

#[test]
fn a_canary_is_found_in_every_form() {
    for text in [
        format!("x{TOKEN}x"),
        BASE64_STANDARD.encode(format!("ab{TOKEN}cd")),
        BASE64_STANDARD.encode(format!("a{TOKEN}cd")),
        hex::encode(TOKEN),
        TOKEN.replace('/', "%2F").replace('+', "%2B"),
        format!("…{}…", &TOKEN[5..19]),
    ] {
        let mut found = Found::default();
        found.search("here", &text, &[TOKEN]);
        assert_eq!(found.0.len(), 1, "{text}");
    }
    let mut found = Found::default();
    found.search("here", "the token is [redacted]", &[TOKEN]);
    assert!(found.0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_person_comes_out_of_a_hub() {
    on_each_database(async |database| {
        let parrot = Parrot { stripe: StripeFake::new(None, Secret::new(WEBHOOK_SECRET), 1), asked: 0, proofs: vec![] };
        let vendor = HostedVendor::start(parrot, now, |_| std::time::Duration::ZERO).await;
        let create = HttpRequest {
            method: Method::Post,
            url: "https://stripe.example/v1/customers".to_owned(),
            headers: vec![
                ("authorization".to_owned(), "Bearer operator".to_owned()),
                ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ],
            body: format!("name=Bird&email={PERSON}").into_bytes(),
        };
        assert_eq!(vendor.vendor().respond(&create, now()).status, 200);
        let Some(binary) = Binary::find("canaries", &config(&database.url, &vendor.url)) else { return };
        binary.write("keys", MASTER_KEY);
        let mut found = Found::default();
        let mut secrets =
            vec![TOKEN.to_owned(), WEBHOOK_SECRET.to_owned(), CLIENT_SECRET.to_owned(), REFRESH_TOKEN.to_owned()];
        secrets.extend([SEALED.to_owned(), MASTER_KEY.to_owned(), CODE.to_owned()]);
        secrets.extend(PRIVATE_KEY.map(str::to_owned));
        let mut set = binary.command(&["secrets", "set", "sealed", "token"]);
        let mut set = set.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        let mut input = set.stdin.take().expect("it has an input");
        tokio::io::AsyncWriteExt::write_all(&mut input, SEALED.as_bytes()).await.expect("told");
        drop(input);
        assert!(set.wait().await.expect("it ends").success());
        let api_token = binary.done(&["token", "create", "--label", "first", "--role", "ADMIN"]).await;
        let api_token = api_token.split_whitespace().find(|word| word.starts_with("xt_")).expect("a token").to_owned();

        // A receiver that repeats what it was told, and the secret that it knows as well.
        let told = Arc::new(OnceLock::<String>::new());
        let knows = Arc::clone(&told);
        let receiver = Receiver::answering(move |heard| {
            let secret = knows.get().cloned().unwrap_or_default();
            let body = format!("not signed with {secret}: {}", heard.header("webhook-signature"));
            Reply { status: 500, headers: vec![("x-echo", secret)], body, ..Reply::default() }
        })
        .await;
        let own_secret = binary.done(&["webhook", "create", "--url", &receiver.url]).await;
        assert!(own_secret.starts_with("whsec_"), "{own_secret}");
        told.set(own_secret.clone()).expect("once");
        secrets.push(own_secret.trim_start_matches("whsec_").to_owned());

        let log = std::fs::File::create(binary.folder().join("serve.log")).expect("a log file");
        let mut hub = binary.command(&["serve"]);
        let mut hub = hub.env("CROSSTIE_LOG", "trace").stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut said = BufReader::new(hub.stdout.take().expect("it is piped")).lines();
        let line = said.next_line().await.expect("it can be read").expect("it says where it listens");
        let url =
            line.strip_prefix("GraphQL: ").and_then(|url| url.strip_suffix("/graphql")).expect("an address").to_owned();
        secrets.push(api_token.rsplit('_').nth(1).expect("a secret part").to_owned());
        let known: Vec<&str> = secrets.iter().map(String::as_str).collect();

        let http = ReqwestTransport::new().expect("the network can be used");
        let send = async |method, path: &str, headers: &[(&str, &str)], body: String| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let request = HttpRequest { method, url: format!("{url}{path}"), headers, body: body.into_bytes() };
            let answer = http.send(request).await.expect("the hub answers");
            (answer.status, format!("{:?}\n{}", answer.headers, String::from_utf8_lossy(&answer.body)))
        };
        let bearer = format!("Bearer {api_token}");
        let json = ("content-type", "application/json");
        let ask = async |query: String| {
            send(Method::Post, "/graphql", &[("authorization", &bearer), json], json!({ "query": query }).to_string())
                .await
        };
        until("everything was tried", async || {
            let (_, answer) =
                ask("{ syncRuns(first: 50) { nodes { status } } accounts(first: 1) { nodes { billingEmail } } }"
                    .to_owned())
                .await;
            let signed = vendor.vendor().proofs.iter().any(|(name, _)| name == "assertion");
            let heard = !receiver.received().is_empty();
            (answer.contains("FAILED") && answer.contains(PERSON) && signed && heard).then_some(())
        })
        .await;
        // A person lets a connection sign in; its vendor does not believe the hub.
        let address = binary.done(&["connection", "authorize", "by-code"]).await;
        let state = address.split(['?', '&', ' ', '\n']).find_map(|part| part.strip_prefix("state=")).expect("a state");
        let raw = database.raw().await;
        let begun = kept(&raw).await;
        let callback = format!("/oauth/callback/by-code?code={CODE}&state={state}");
        let (status, answer) = send(Method::Get, &callback, &[], String::new()).await;
        found.search(&format!("the callback {status}"), &answer, &known);
        let proofs = vendor.vendor().proofs.clone();
        let verifier = proofs.iter().find(|(name, _)| name == "code_verifier").map(|(_, proof)| proof.as_str());
        let verifier = verifier.expect("the code was exchanged");
        for (column, text) in begun {
            found.search(&format!("{column} before the callback"), &text, &[verifier]);
        }
        let known: Vec<&str> = known.into_iter().chain(proofs.iter().map(|(_, proof)| proof.as_str())).collect();
        // Mistakes that a sender, a browser and a client of the graph make.
        let wrong = format!("{{ \"secret\": \"{TOKEN}\" }}");
        let signature = format!("t=1,v1={WEBHOOK_SECRET}");
        for (method, path, headers, body) in [
            (Method::Post, "/webhooks/books", vec![("stripe-signature", signature.as_str())], wrong.clone()),
            (Method::Post, "/webhooks/nobody", vec![("authorization", bearer.as_str())], wrong.clone()),
            (
                Method::Get,
                &*format!("/oauth/callback/crm?code={CLIENT_SECRET}&state={REFRESH_TOKEN}"),
                vec![],
                String::new(),
            ),
            (Method::Post, "/graphql", vec![("authorization", "Bearer xt_wrong"), json], wrong.clone()),
            (Method::Post, "/graphql", vec![("authorization", bearer.as_str()), json], wrong.clone()),
            (Method::Get, "/metrics", vec![], String::new()),
            (Method::Get, "/readyz", vec![], String::new()),
            (Method::Get, "/schema.graphql", vec![("authorization", bearer.as_str())], String::new()),
        ] {
            let (status, answer) = send(method, path, &headers, body).await;
            found.search(&format!("{path} {status}"), &answer, &known);
        }
        let (_, metrics) = send(Method::Get, "/metrics", &[], String::new()).await;
        found.search("metrics", &metrics, &[PERSON]);
        let queries = wide_queries();
        assert!(queries.len() > 15, "the schema was read: {queries:?}");
        for query in queries {
            let (status, answer) = ask(query.clone()).await;
            let body = answer.split_once('\n').map_or("", |(_, body)| body);
            let body: Json = serde_json::from_str(body).expect("JSON");
            assert!(body["data"].is_object(), "{status} {query}: {answer}");
            found.search(&query, &answer, &known);
        }
        for command in [
            &["connection", "list"][..],
            &["connection", "test"],
            &["sync", "run"],
            &["secrets", "list"],
            &["token", "list"],
            &["inbox", "list"],
            &["inbox", "parked"],
            &["alert", "list"],
            &["outbox", "list"],
            &["connection", "freshness"],
            &["tap", "books", "--since", "1h", "--no-follow", "--bodies"],
            &["tap", "crm", "--since", "1h", "--no-follow", "--bodies"],
            &["mapping", "show", "books"],
            &["webhook", "list"],
            &["connection", "explain", "by-code"],
            &["connection", "explain", "by-key"],
            &["doctor"],
        ] {
            let said = binary.run(command).await;
            found.search(&command.join(" "), &format!("{}{}", said.out, said.err), &known);
        }
        let pid = hub.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("it is told").success());
        hub.wait().await.expect("it ends");
        let log = std::fs::read_to_string(binary.folder().join("serve.log")).expect("there is a log");
        assert!(log.contains("TRACE") && log.len() > 10_000, "all of it was logged");
        found.search("the log", &log, &known);
        found.search("the log", &log, &[PERSON]);
        for (column, text) in kept(&raw).await {
            found.search(&column, &text, &known);
        }
        raw.close().await.expect("it closes");
        assert!(found.0.is_empty(), "{:#?}", found.0);
    })
    .await;
}
