//! The binary as it is shipped: its commands, and a kill while a receiver still thinks.

use std::{process::Stdio, time::Duration};

use crosstie_store::integration::{first_subscriptions, webhook_subscriptions};

use super::publish;
use crate::support::{Binary, Database, MASTER_KEY, Receiver, Reply, on_each_database, until};

async fn binary(database: &Database) -> Option<Binary> {
    let open = "[webhooks]\nallow_http = true\nallow_private = true\n";
    let text = format!("listen = \"127.0.0.1:0\"\n[database]\nurl = {:?}\n{open}", database.url);
    let text = format!("{text}[secrets]\nkey_file = \"keys\"\n");
    let binary = Binary::find("subscriptions by the command line", &text)?;
    binary.write("keys", MASTER_KEY);
    Some(binary)
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_made_listed_paused_and_deleted_by_the_command_line() {
    on_each_database(async |database| {
        let Some(binary) = binary(database).await else { return };
        let create = ["webhook", "create", "--url", "https://receiver.example.com/", "--entity", "invoice"];
        let made = binary.run(&create).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        let secret = made.out.trim();
        assert!(secret.starts_with("whsec_") && !made.err.contains(secret), "{}", made.err);
        let line = binary.done(&["webhook", "list"]).await;
        assert!(line.contains("ACTIVE  https://receiver.example.com/  kinds invoice  events all"), "{line}");
        assert!(!line.contains(&secret[6..]));
        let id = line.split_whitespace().next().expect("an identifier");
        assert!(binary.done(&["webhook", "pause", id]).await.contains("PAUSED PAUSED_BY_OPERATOR"));
        assert!(binary.refused(&["webhook", "pause", id]).await.contains("not active"));
        assert!(binary.done(&["webhook", "resume", id]).await.contains("ACTIVE"));
        let rotated = binary.run(&["webhook", "rotate", id, "--overlap-hours", "1"]).await;
        assert!(rotated.out.starts_with("whsec_") && rotated.out.trim() != secret);
        assert!(binary.done(&["webhook", "test", id]).await.starts_with("whd_"));
        let deliveries = binary.done(&["webhook", "deliveries", id, "--status", "waiting"]).await;
        assert!(deliveries.contains("webhook.test") && deliveries.contains("WAITING"), "{deliveries}");
        let again = ["webhook", "replay", id, "--from", "1", "--to", "5", "--dry-run"];
        assert_eq!(binary.done(&again).await, "0 deliveries would be sent again");
        assert!(binary.done(&["webhook", "delete", id]).await.ends_with("is deleted"));
        assert_eq!(binary.done(&["webhook", "list"]).await, "");
        for wrong in ["ftp://receiver.example.com/", "https://ann:x@receiver.example.com/"] {
            assert!(binary.refused(&["webhook", "create", "--url", wrong]).await.contains("Nothing can be sent"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_outbound_a_hub_that_is_killed_while_it_sends_sends_again_under_the_same_identifier() {
    on_each_database(async |database| {
        let Some(binary) = binary(database).await else { return };
        let receiver = Receiver::start().await;
        receiver.plan([Reply { delay: Duration::from_secs(60), ..Reply::status(200) }]);
        let secret = binary.done(&["webhook", "create", "--url", &receiver.url]).await;
        let serve = || {
            let log = binary.folder().join("serve.log");
            let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
            binary.command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts")
        };
        let mut first = serve();
        let store =
            crosstie_store::Store::open(&database.url, std::sync::Arc::new(crosstie_app::SystemClock::default()));
        let store = store.await.expect("the database opens");
        publish(&store, &["sow_1"]).await;
        until("it is received", async || (!receiver.received().is_empty()).then_some(())).await;
        first.kill().await.expect("it is killed");
        let mut second = serve();
        until("it is received again", async || (receiver.received().len() > 1).then_some(())).await;
        let received = receiver.received();
        assert_eq!(received[0].id(), received[1].id());
        assert!(received.iter().all(|one| one.is_signed_now_with(&secret)));
        until("it is written down", async || {
            let listed = binary.done(&["webhook", "deliveries", "--status", "DELIVERED"]).await;
            listed.contains(received[0].id()).then_some(())
        })
        .await;
        let auth = crosstie_domain::access::AuthContext::system();
        let kept = webhook_subscriptions(&store, &auth, &first_subscriptions(10)).await.expect("read");
        assert_eq!(kept.rows[0].0.last_sequence, 1);
        second.kill().await.expect("it is killed");
    })
    .await;
}
