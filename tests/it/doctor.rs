//! `crosstie doctor`: what it finds in a good set-up, and that each way of breaking one goes red.

use std::time::Duration;

use crosstie_app::SystemClock;
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    Clock,
    integration::{AlertKey, AlertKind},
};
use crosstie_sdk::{HttpResponse, Secret};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::Value as Json;

use crate::support::{Binary, Database, HostedVendor, MASTER_KEY, on_each_database};

fn config(database: &str, base_url: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\npublic_url = \"https://hub.example.com\"\n[database]\nurl = \"{database}\"\n\
         [secrets]\nkey_file = \"keys\"\n[[connections]]\nname = \"books\"\nconnector = \"stripe\"\n\
         base_url = \"{base_url}\"\ntoken = \"test-key\"\nwebhook_secrets = [\"s\"]\n"
    )
}

async fn stripe() -> HostedVendor<StripeFake> {
    let now = || SystemClock::default().now();
    HostedVendor::start(StripeFake::new(None, Secret::new("s"), 1), now, |_| Duration::ZERO).await
}

const SQLITE: &str = "sqlite://data/crosstie.db?mode=rwc";

/// What was found, by the name of the check.
async fn findings(binary: &Binary, configuration: &str, fails: bool) -> Json {
    let said = binary.run(&["doctor", "--json", "--config", configuration]).await;
    assert_eq!(said.code, Some(i32::from(fails)), "{}{}", said.out, said.err);
    let list: Json = serde_json::from_str(&said.out).expect("JSON");
    let named = list.as_array().expect("findings").iter();
    named
        .map(|one| (one["check"].as_str().expect("a name").to_owned(), one.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Expects that one check fails with these words, and says what to do.
async fn fails(binary: &Binary, configuration: &str, (check, words): (&str, &str)) {
    let found = findings(binary, configuration, true).await;
    let one = &found[check];
    assert_eq!(one["state"], "FAILED", "{check}: {found}");
    assert!(one["text"].as_str().expect("words").contains(words), "{check}: {one}");
    assert!(!one["advice"].as_str().expect("advice").is_empty(), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_set_up_is_found_good_and_each_broken_one_fails_with_what_to_do() {
    let stripe = stripe().await;
    let good = config(SQLITE, &stripe.url);
    let Some(binary) = Binary::find("the command line", &good) else { return };
    binary.write("keys", MASTER_KEY);
    fails(&binary, "crosstie.toml", ("database", "there is no file data/crosstie.db")).await;
    assert!(!binary.folder().join("data").exists(), "nothing is made by looking");
    binary.done(&["migrate"]).await;
    let said = binary.done(&["doctor"]).await;
    for line in [
        "ok       configuration: 1 connection(s)",
        "ok       database: reached, and up to date",
        "ok       durability: journal_mode wal, synchronous 2",
        "ok       database writes: taken",
        "ok       connection books: signs in as ",
        "ok       connection books webhooks: 1 secret(s)",
        "ok       alerts: none is open",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.lines().last().expect("a line").contains(" looked at: 0 FAILED"), "{said}");

    let write = |name: &str, from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        binary.write(name, &good.replace(from, to));
    };
    fails(&binary, "absent.toml", ("configuration", "absent.toml")).await;
    write("odd.toml", "listen", "listne");
    fails(&binary, "odd.toml", ("configuration", "listne")).await;
    write("key.toml", "\"keys\"", "\"nowhere\"");
    fails(&binary, "key.toml", ("master key", "nowhere")).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    write("postgres.toml", SQLITE, &format!("postgres://x@{closed}/x"));
    fails(&binary, "postgres.toml", ("database", "refused")).await;
    write("away.toml", &stripe.url, &format!("http://{closed}"));
    fails(&binary, "away.toml", ("connection books", "TRANSIENT")).await;
    stripe.vendor().fail_next(HttpResponse::empty(401));
    fails(&binary, "crosstie.toml", ("connection books", "NEEDS_REAUTH")).await;
    write("lacks.toml", "token = \"test-key\"\n", "");
    fails(&binary, "lacks.toml", ("connection books", "lacks its token")).await;
    write("settings.toml", "webhook_secrets = [\"s\"]\n", "settings = { speed = 9 }\n");
    let found = findings(&binary, "settings.toml", true).await;
    assert_eq!(found["connection books"]["state"], "FAILED", "{found}");
    assert_eq!(found["connection books webhooks"]["state"], "warning", "it has no secret: {found}");
    write("plain.toml", "https://hub.example.com", "http://hub.example.com");
    assert_eq!(findings(&binary, "plain.toml", false).await["public_url"]["state"], "warning");

    // A secret that another master key sealed.
    let set = format!("{}/crosstie.toml", binary.folder().display());
    let mut child = binary
        .command(&["secrets", "set", "books", "webhook_secret", "--config", &set])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    tokio::io::AsyncWriteExt::write_all(&mut input, b"hush").await.expect("written");
    drop(input);
    assert!(child.wait().await.expect("it ends").success());
    assert_eq!(findings(&binary, "crosstie.toml", false).await["secrets"]["state"], "ok");
    let other = binary.done(&["secrets", "new-key"]).await;
    binary.write("keys", other.lines().last().expect("a key"));
    fails(&binary, "crosstie.toml", ("secrets", "1 of 1 do not open")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_may_lose_what_it_acknowledged_or_takes_no_writes_fails() {
    let stripe = stripe().await;
    on_each_database(async |database: &Database| {
        let Some(binary) = Binary::find("the command line", &config(&database.url, &stripe.url)) else { return };
        binary.write("keys", MASTER_KEY);
        let raw = database.raw().await;
        let is_sqlite = database.url.starts_with("sqlite");
        // A server for tests alone may do without.
        let fsync = match is_sqlite {
            true => None,
            false => raw
                .query_one_raw(Statement::from_string(DbBackend::Postgres, "SELECT current_setting('fsync') AS value"))
                .await
                .expect("asked"),
        };
        let durable = fsync.is_none_or(|row| row.try_get::<String>("", "value").expect("a word") == "on");
        let found = findings(&binary, "crosstie.toml", !durable).await;
        let expected = if durable { "ok" } else { "FAILED" };
        assert_eq!(
            (&found["durability"]["state"], &found["database writes"]["state"]),
            (&expected.into(), &"ok".into())
        );
        if is_sqlite {
            raw.close().await.expect("it closes");
            return;
        }
        assert_eq!(found["clock of the database"]["state"], "ok", "{found}");
        assert_eq!(found["partitions"]["state"], "warning", "no hub has started yet: {found}");
        let set = async |setting: &str| {
            let sql = format!("ALTER DATABASE {} {setting}", database.name());
            raw.execute_unprepared(&sql).await.expect("it is set");
        };
        set("SET synchronous_commit = off").await;
        fails(&binary, "crosstie.toml", ("durability", "synchronous_commit off")).await;
        set("RESET synchronous_commit").await;
        set("SET default_transaction_read_only = on").await;
        fails(&binary, "crosstie.toml", ("database", "read-only")).await;
        set("RESET default_transaction_read_only").await;
        binary.done(&["token", "list"]).await;
        let found = findings(&binary, "crosstie.toml", !durable).await;
        assert_eq!(found["partitions"]["state"], "ok", "whoever opens the database makes them: {found}");
        raw.close().await.expect("it closes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_and_left_what_waits_and_what_a_person_was_told_of_is_found() {
    let stripe = stripe().await;
    let good = config(SQLITE, &stripe.url).replace("webhook_secrets", "inbound = { backlog = 2 }\nwebhook_secrets");
    let Some(binary) = Binary::find("the command line", &good) else { return };
    binary.write("keys", MASTER_KEY);
    binary.done(&["migrate"]).await;
    binary.done(&["connection", "pause", "books", "--what", "reading"]).await;
    let database = Database::at(&format!("sqlite://{}", binary.folder().join("data/crosstie.db").display()));
    let raw = database.raw().await;
    let run = async |sql: &str| raw.execute_unprepared(sql).await.expect("it is taken");
    let event = |number: i32, lease: &str| {
        format!(
            "INSERT INTO inbound_events (id, connection_id, payload_id, dedupe_key, event_type, entity, remote_id, \
             status, attempts, next_attempt_at, lease_until, fence, mapping_version, received_at) SELECT 'inb_{number}', \
             id, 'p', 'k{number}', 'x', 'account', 'cus_{number}', 'RECEIVED', 0, 1, {lease}, 0, '1', 1 FROM connections"
        )
    };
    run(&event(1, "1")).await;
    let found = findings(&binary, "crosstie.toml", false).await;
    assert_eq!(found["workers"]["state"], "warning", "{found}");
    assert!(
        found["workers"]["text"].as_str().expect("words").starts_with("no hub runs on this database now; 1 event(s)")
    );
    run(&event(2, "NULL")).await;
    fails(&binary, "crosstie.toml", ("connection books backlog", "2 of at most 2 event(s)")).await;
    run("INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, created_at) VALUES ('obx_1', 'x', 'x', 'x', '{}', 1)")
        .await;
    run("INSERT INTO outbox_unplaced (outbox_id) VALUES ('obx_1')").await;
    let store = database.open().await;
    let tx = store.begin().await.expect("a transaction begins");
    let key = AlertKey { kind: AlertKind::ItemsParked, connection: None, entity: None, subscription: None };
    tx.raise_alert(&key, 1, "Something waits.").await.expect("raised");
    tx.commit().await.expect("it commits");
    let found = findings(&binary, "crosstie.toml", true).await;
    assert_eq!(
        (&found["relay"]["state"], &found["alerts"]["state"]),
        (&"warning".into(), &"warning".into()),
        "{found}"
    );
}
