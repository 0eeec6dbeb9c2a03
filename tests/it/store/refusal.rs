//! What senders of webhooks hear when the database cannot keep their deliveries.

use std::time::{Duration, Instant};

use crosstie_domain::integration::InboundStatus;
use crosstie_store::{
    Store, StoreError,
    integration::{ArrivedDelivery, InboxWriter},
};
use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::{delivery, events};
use crate::support::{Database, connection, on_each_database, until};

/// Another connection that holds what deliveries are written to.
async fn locked(database: &Database, store: &Store) -> DatabaseConnection {
    let other = database.raw().await;
    let lock = if store.is_sqlite() {
        "BEGIN EXCLUSIVE"
    } else {
        "BEGIN; LOCK TABLE inbound_payloads, inbox_keys, inbound_events IN ACCESS EXCLUSIVE MODE"
    };
    other.execute_unprepared(lock).await.expect("the database can be locked");
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_refuses_deliveries_within_two_seconds_and_takes_them_once_it_is_free() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        inbox.accept(delivery(from, &[("before", "1")])).await.expect("accepted");

        let other = locked(database, &store).await;
        let keys: Vec<String> = (0..16).map(|number| format!("locked-{number}")).collect();
        let sent = keys.iter().map(async |key| {
            let begin = Instant::now();
            let answer = inbox.accept(delivery(from, &[(key.as_str(), "1")])).await;
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
            begin.elapsed()
        });
        let slowest = futures::future::join_all(sent).await.into_iter().max().expect("sixteen");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        other.execute_unprepared("ROLLBACK").await.expect("the lock is given back");

        until("a delivery after the lock", async || inbox.accept(delivery(from, &[("after", "1")])).await.ok()).await;
        // What was refused comes again and counts once, whether it was kept after all or not.
        for key in &keys {
            until(key, async || inbox.accept(delivery(from, &[(key.as_str(), "1")])).await.ok()).await;
        }
        let fresh = events(&store).await.into_iter().filter(|event| event.status == InboundStatus::Received);
        assert_eq!(fresh.count(), keys.len() + 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_too_many_wait_is_refused_at_once() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        let other = locked(database, &store).await;
        let sent = (0..6_000).map(async |number| {
            let begin = Instant::now();
            let answer = inbox.accept(delivery(from, &[(format!("k{number}").as_str(), "1")])).await;
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
            begin.elapsed()
        });
        let waited = futures::future::join_all(sent).await;
        let at_once = waited.iter().filter(|waited| **waited < Duration::from_millis(500)).count();
        assert!(at_once >= 3_000, "{at_once} were refused at once");
        other.execute_unprepared("ROLLBACK").await.expect("the lock is given back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_the_database_refuses_spoils_no_other() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        if store.is_sqlite() {
            let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON inbound_payloads WHEN NEW.headers LIKE '%\"bad\"%' \
                          BEGIN SELECT RAISE(ABORT, 'refused'); END";
            database.raw().await.execute_unprepared(refuse).await.expect("a trigger is made");
        }
        let inbox = InboxWriter::start(&store);
        // PostgreSQL keeps no NUL in text.
        let bad = |delivery| ArrivedDelivery { headers: "[\"bad\",\"\0\"]".to_owned(), ..delivery };
        let sent = (0..40).map(async |number| {
            let good = delivery(from, &[(format!("k{number}").as_str(), "1")]);
            inbox.accept(if number == 7 || number == 30 { bad(good) } else { good }).await
        });
        let answers = futures::future::join_all(sent).await;
        for (number, answer) in answers.iter().enumerate() {
            match number {
                7 | 30 => assert!(matches!(answer, Err(StoreError::Statement(_))), "{number}: {answer:?}"),
                _ => assert!(answer.is_ok(), "{number}: {answer:?}"),
            }
        }
        assert_eq!(events(&store).await.len(), 38);
    })
    .await;
}
