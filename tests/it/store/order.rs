//! One at a time, whoever commits first: what gets its identifier early and is seen late.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crosstie_store::integration::{EventOutcome, InboxWriter};
use sea_orm::ConnectionTrait;

use super::{ask, claim, claim_effect, delivery, done, end, events, place_order};
use crate::support::{account, connection, on_each_database, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_seen_late_waits_for_the_later_one_of_its_record_that_was_taken() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        inbox.accept(delivery(from, &[("early", "a"), ("late", "a"), ("other", "b")])).await.expect("accepted");
        let early = events(&store).await.remove(0);
        // As if the writer of the first had not committed yet when the second was taken.
        let raw = database.raw().await;
        let hide = |due: &str| format!("UPDATE inbound_events SET next_attempt_at = {due} WHERE id = '{}'", early.id);
        raw.execute_unprepared(&hide("NULL")).await.expect("it is hidden");
        let second = claim(&store).await.expect("the second");
        raw.execute_unprepared(&hide("received_at")).await.expect("it is seen");
        assert!(second.id > early.id);
        let other = claim(&store).await.expect("that of another record");
        end(&store, &other, &EventOutcome::Processed).await.expect("it ends");
        assert!(claim(&store).await.is_none(), "one of the record is taken");

        // Whoever takes over from a dead worker goes on with what that one had.
        database.clock.advance(super::LEASE_MS);
        let again = claim(&store).await.expect("the second again");
        assert_eq!(again.id, second.id);
        end(&store, &again, &EventOutcome::Processed).await.expect("it ends");
        assert_eq!(claim(&store).await.expect("the first").id, early.id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_events_of_one_record_the_database_lets_one_be_taken() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        inbox.accept(delivery(from, &[("a1", "a"), ("a2", "a"), ("b1", "b")])).await.expect("accepted");
        claim(&store).await.expect("a1");
        let both = "UPDATE inbound_events SET lease_until = 1 WHERE dedupe_key = 'a2'";
        assert!(database.raw().await.execute_unprepared(both).await.is_err(), "an index forbids it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_and_workers_of_two_processes_never_hold_two_events_of_one_record() {
    on_each_database(async |database| {
        const EVENTS: usize = 120;
        let stores = [database.open().await, database.open().await];
        let from = connection(&stores[0], "hubspot").await;
        let inboxes = stores.each_ref().map(InboxWriter::start);
        let senders = (0..EVENTS).map(async |number| {
            let (key, record) = (format!("k{number}"), format!("r{}", number % 5));
            let event = delivery(from, &[(key.as_str(), record.as_str())]);
            // Two processes on SQLite wait for each other without an order: a sender may have to come again.
            until(&key, async || inboxes[number % 2].accept(event.clone()).await.ok()).await;
        });
        let (held, ended) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
        let workers = (0..8).map(async |number| {
            let store = &stores[number % 2];
            while ended.load(Ordering::SeqCst) < EVENTS {
                let Some(event) = claim(store).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let alone = held.lock().expect("not poisoned").insert(event.remote_id.clone());
                assert!(alone, "two hold events of {}", event.remote_id);
                tokio::task::yield_now().await;
                held.lock().expect("not poisoned").remove(&event.remote_id);
                end(store, &event, &EventOutcome::Processed).await.expect("the worker's own event ends");
                ended.fetch_add(1, Ordering::SeqCst);
            }
        });
        tokio::join!(futures::future::join_all(senders), futures::future::join_all(workers));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_is_seen_late_waits_for_the_later_one_of_its_customer_that_was_taken() {
    on_each_database(async |database| {
        let store = database.open().await;
        let billing = connection(&store, "stripe").await;
        let (acme, borealis) = (account(&store, "Acme").await, account(&store, "Borealis").await);
        let asked = [&acme, &acme, &borealis].map(place_order);
        for effect in &asked {
            ask(&store, billing, effect).await.expect("asked");
        }
        let raw = database.raw().await;
        let hide = |due: &str| {
            format!("UPDATE effects SET next_attempt_at = {due} WHERE effect_key = '{}'", asked[0].0.as_str())
        };
        raw.execute_unprepared(&hide("NULL")).await.expect("it is hidden");
        let second = claim_effect(&store).await.expect("the second");
        raw.execute_unprepared(&hide("created_at")).await.expect("it is seen");
        assert_eq!(second.key, asked[1].0);
        assert_eq!(claim_effect(&store).await.expect("that of another customer").key, asked[2].0);
        assert!(claim_effect(&store).await.is_none(), "one of the customer is taken");
        done(&store, &second).await.expect("done");
        assert_eq!(claim_effect(&store).await.expect("the first").key, asked[0].0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_comes_after_the_end_takes_nothing_again_and_holds_up_nobody() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        inbox.accept(delivery(from, &[("a1", "a"), ("a2", "a")])).await.expect("accepted");
        let first = claim(&store).await.expect("a1");
        end(&store, &first, &EventOutcome::Processed).await.expect("it ends");
        assert!(!store.keep_event(&first, super::LEASE_MS).await.expect("it is asked"), "nothing is held any more");
        let second = claim(&store).await.expect("a2 is not held up");
        assert!(second.id > first.id);

        let (billing, acme) = (connection(&store, "stripe").await, account(&store, "Acme").await);
        for _ in 0..2 {
            ask(&store, billing, &place_order(&acme)).await.expect("asked");
        }
        let first = claim_effect(&store).await.expect("the first order");
        done(&store, &first).await.expect("done");
        assert!(!store.keep_effect(&first, super::LEASE_MS).await.expect("it is asked"), "nothing is held any more");
        assert!(claim_effect(&store).await.is_some(), "the second order is not held up");
    })
    .await;
}
