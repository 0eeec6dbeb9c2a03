//! What whoever runs a hub does on the command line, by the binary itself on a new SQLite database.

use std::{process::Stdio, time::Duration};

use crosstie_app::SystemClock;
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{Clock, Instant};
use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, ReqwestTransport, Secret, Transport};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{Binary, HostedVendor};

const SECRET: &str = "whsec_test";

fn now() -> Instant {
    SystemClock::default().now()
}

/// A configuration with one connection, to billing at this address.
fn config(base_url: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\n\
         name = \"books\"\nconnector = \"stripe\"\nbase_url = \"{base_url}\"\ntoken = \"test-key\"\n\
         webhook_secrets = [\"{SECRET}\"]\n"
    )
}

/// An address where nobody listens.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// The binary on a database that is up to date, and the billing system that it is connected to.
async fn scene() -> Option<(Binary, HostedVendor<StripeFake>)> {
    let fake = StripeFake::new(Some("http://hub.example/webhooks/books".to_owned()), Secret::new(SECRET), 1);
    let stripe = HostedVendor::start(fake, now, |_| Duration::ZERO).await;
    let binary = Binary::find("the command line", &config(&stripe.url))?;
    binary.done(&["migrate"]).await;
    Some((binary, stripe))
}

/// Makes a customer at billing; the webhook that it sets off.
fn create_customer(stripe: &HostedVendor<StripeFake>, name: &str) -> HttpRequest {
    let headers = vec![
        ("authorization".to_owned(), "Bearer operator".to_owned()),
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
    ];
    let (url, body) = ("https://stripe.example/v1/customers".to_owned(), format!("name={name}").into_bytes());
    let mut vendor = stripe.vendor();
    let answer = vendor.respond(&HttpRequest { method: Method::Post, url, headers, body }, now());
    assert_eq!(answer.status, 200);
    vendor.take_deliveries().pop().expect("a new customer is announced")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_brought_up_to_date_once_and_nothing_runs_before() {
    let Some(binary) = Binary::find("the command line", &config(&closed())) else { return };
    for command in [&["serve"][..], &["token", "list"], &["sync", "run"]] {
        let said = binary.refused(command).await;
        assert!(said.contains("migration") && said.contains("`crosstie migrate`"), "{command:?}: {said}");
    }
    let said = binary.done(&["migrate"]).await;
    assert!(!said.starts_with('0') && said.ends_with("the database is up to date"), "{said}");
    assert_eq!(binary.done(&["migrate"]).await, "0 migration(s) applied; the database is up to date");
    assert_eq!(binary.done(&["token", "list"]).await, "");
    assert!(binary.folder().join("data/crosstie.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_printed_as_it_is_checked_in() {
    let Some(binary) = Binary::find("the command line", "") else { return };
    let said = binary.run(&["schema"]).await;
    assert_eq!(said.code, Some(0));
    assert!(said.out == include_str!("../../graphql/schema.graphql"), "it prints another than the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_wrong_in_the_configuration_is_named() {
    let good = config(&closed());
    let Some(binary) = Binary::find("the command line", &good) else { return };
    let wrong = [
        ("listen", good.replace("127.0.0.1:0", "somewhere")),
        ("listne", good.replace("listen", "listne")),
        ("database.url", good.replace("sqlite:", "mysql:")),
        ("connections[0].connector", good.replace("\"stripe\"", "\"strype\"")),
        ("speed", format!("{good}[connections.settings]\nspeed = 9\n")),
    ];
    for (key, text) in wrong {
        binary.write("wrong.toml", &text);
        for command in ["migrate", "serve"] {
            // Settings are the connector's own, which only a hub that is about to work asks.
            if (key, command) != ("speed", "migrate") {
                let said = binary.refused(&[command, "--config", "wrong.toml"]).await;
                assert!(said.contains(key), "{command} {key}: {said}");
            }
            if command == "migrate" {
                binary.done(&["migrate"]).await;
            }
        }
    }
    let said = binary.refused(&["serve", "--config", "absent.toml"]).await;
    assert!(said.contains("absent.toml"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_listed_and_revoked() {
    let Some((binary, _stripe)) = scene().await else { return };
    let create = ["token", "create", "--label", "reports", "--role", "FINANCE", "--permission", "billing:read"];
    let made = binary.run(&create).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let token = made.out.trim().to_owned();
    assert!(token.starts_with("xt_service_") && !made.err.contains(&token), "the token alone is what it prints");
    let whole = binary.done(&["token", "create", "--label", "admin", "--role", "ADMIN", "--days", "30"]).await;
    let list = binary.done(&["token", "list"]).await;
    let secret = |token: &str| token.split('_').nth(3).expect("a secret").to_owned();
    assert!(!list.contains(&secret(&token)) && !list.contains(&secret(&whole)), "{list}");
    let line = |list: &str, label: &str| {
        list.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("{label}: {list}")).to_owned()
    };
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(line(&list, "admin").contains("until "), "{list}");
    let id = line(&list, "reports").split_whitespace().next().expect("an identifier").to_owned();
    assert!(made.err.contains(&id), "its identifier is told when it is made: {}", made.err);

    assert_eq!(binary.done(&["token", "revoke", &id]).await, "revoked");
    let list = binary.done(&["token", "list"]).await;
    assert!(line(&list, "reports").contains("revoked "), "{list}");
    assert!(!line(&list, "admin").contains("revoked"), "{list}");
    binary.refused(&["token", "revoke", &id]).await;
    let said = binary.refused(&["token", "create", "--label", "x", "--role", "KING"]).await;
    assert!(said.contains("SERVICES_LEADER"), "it says which roles there are: {said}");
    binary.refused(&["token", "create", "--label", "x"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_saved_and_changed_and_gets_tokens() {
    let Some((binary, _stripe)) = scene().await else { return };
    let save = ["person", "save", "--name", "Ann", "--email", "Ann@Example.com", "--role", "SALES", "--all-accounts"];
    let said = binary.done(&save).await;
    let id = said.split_whitespace().next().expect("an identifier").to_owned();
    assert!(said.contains("ann@example.com"), "{said}");
    let again = binary.done(&["person", "save", "--email", "ann@example.com", "--role", "VIEWER"]).await;
    assert!(again.starts_with(&id), "the same person: {again}");
    let token = binary.done(&["token", "create", "--label", "hers", "--person", "ann@example.com"]).await;
    assert!(token.starts_with("xt_user_"), "{token}");
    let list = binary.done(&["token", "list"]).await;
    assert!(list.contains("ann@example.com") && list.contains("VIEWER"), "{list}");
    let said = binary.refused(&["token", "create", "--label", "his", "--person", "bob@example.com"]).await;
    assert!(said.contains("bob@example.com"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_listed_and_tested() {
    let Some((binary, stripe)) = scene().await else { return };
    let list = binary.done(&["connection", "list"]).await;
    assert!(list.lines().count() == 1 && list.contains("  books  stripe "), "{list}");
    assert!(list.contains("reads account,invoice") && list.contains("writes product,invoice"), "{list}");
    for command in [&["connection", "test"][..], &["connection", "test", "books"]] {
        let said = binary.done(command).await;
        assert!(said.starts_with("books: ok, "), "{said}");
    }
    binary.refused(&["connection", "test", "nobody"]).await;

    stripe.vendor().fail_next(HttpResponse::empty(401));
    let said = binary.refused(&["connection", "test"]).await;
    assert!(said.contains("books: NEEDS_REAUTH"), "{said}");
    binary.write("closed.toml", &config(&closed()));
    let said = binary.refused(&["connection", "test", "--config", "closed.toml"]).await;
    assert!(said.contains("books: TRANSIENT"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_is_read_by_hand_and_a_reading_that_fails_is_told() {
    let Some((binary, stripe)) = scene().await else { return };
    for name in ["Acme", "Borealis"] {
        create_customer(&stripe, name);
    }
    let said = binary.done(&["sync", "run", "books", "--entity", "account"]).await;
    assert_eq!(said, "books account: 2 row(s) read, 2 changed, 0 parked");
    let said = binary.done(&["sync", "run"]).await;
    assert!(said.contains("books account: ") && said.contains("books invoice: 0 row(s) read"), "{said}");
    assert!(said.contains(" 0 changed"), "nothing is new: {said}");

    stripe.vendor().fail_next(HttpResponse::empty(401));
    let said = binary.refused(&["sync", "run", "--entity", "invoice"]).await;
    assert!(said.contains("books invoice: NEEDS_REAUTH"), "{said}");
    binary.write("closed.toml", &config(&closed()));
    let said = binary.refused(&["sync", "run", "--config", "closed.toml"]).await;
    assert!(said.contains("books account: TRANSIENT") && said.contains("books invoice: TRANSIENT"), "{said}");
    for command in [&["sync", "run", "nobody"][..], &["sync", "run", "--entity", "milestone"]] {
        binary.refused(command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_serves_until_it_is_told_to_stop_and_what_it_took_in_is_listed() {
    let Some((binary, stripe)) = scene().await else { return };
    assert_eq!(binary.done(&["inbox", "list"]).await, "");
    let log = std::fs::File::create(binary.folder().join("serve.log")).expect("a log file");
    let mut hub = binary.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
    let mut said = BufReader::new(hub.stdout.take().expect("it is piped")).lines();
    let line = said.next_line().await.expect("it can be read").expect("it says where it listens");
    let url = line.strip_prefix("GraphQL: ").and_then(|url| url.strip_suffix("/graphql")).expect("an address");

    let http = ReqwestTransport::new().expect("the network can be used");
    let delivery = create_customer(&stripe, "Acme");
    let there = HttpRequest { url: format!("{url}/webhooks/books"), ..delivery.clone() };
    assert_eq!(http.send(there).await.expect("the hub answers").status, 200);
    let pid = hub.id().expect("it runs").to_string();
    let told = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("it is told");
    assert!(told.success());
    let status = hub.wait().await.expect("it ends");
    assert_eq!(status.code(), Some(0), "in order");

    let list = binary.done(&["inbox", "list", "--limit", "10"]).await;
    assert!(list.lines().count() == 1 && list.contains("customer.created"), "{list}");
    assert!(list.contains("account "), "it says what it is about: {list}");
    assert_eq!(binary.done(&["outbox", "list"]).await, "", "nothing was asked of billing");
}
