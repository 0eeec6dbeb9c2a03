//! Leases and locks, runs and parked rows, and what the house lets go of.

use std::sync::atomic::{AtomicBool, Ordering};

use crosstie_domain::{
    access::{Principal, RowScope},
    ids::ConnectionId,
    integration::{ConnectionMode, Entity, PauseScope, RunStatus, RunTrigger, SyncRunRecord},
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, Store, StoreError, Tx,
    integration::{
        EventOutcome, InboxWriter, ParkedColumn, ParkedRow, RunColumn, changes_after, first_position, last_position,
        parked_rows, parked_rows_by_ids, sync_runs,
    },
};
use sea_orm::{ConnectionTrait, Statement, TransactionTrait};

use super::{ask, claim, claim_effect, delivery, done, end, place_order, publish, sending};
use crate::support::{Database, account, connection, on_each_database, sell};

const DAY_MS: i64 = 86_400_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_its_owners_until_somebody_takes_it_over_or_it_is_given_back() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let holds = async |lease| {
            let tx = store.begin().await.expect("a transaction begins");
            tx.holds_lease(lease).await.expect("it is asked")
        };
        let first = store.lease("pull", "o'hara", 1_000).await.expect("asked").expect("taken");
        assert!(holds(&first).await);
        database.clock.advance(900);
        assert!(store.keep_lease(&first, 1_000).await.expect("it can be kept"));
        database.clock.advance(900);
        assert!(other.lease("pull", "b", 1_000).await.expect("asked").is_none(), "it was kept");
        database.clock.advance(200);
        assert!(holds(&first).await, "it ran out, but nobody took it");

        let second = other.lease("pull", "b", 1_000).await.expect("asked").expect("taken over");
        assert!(second.fence > first.fence);
        assert!(!holds(&first).await);
        assert!(!store.keep_lease(&first, 1_000).await.expect("it is asked"));
        store.release_lease(&first).await.expect("nothing to give back");
        assert!(holds(&second).await, "only its owner gives it back");

        other.release_lease(&second).await.expect("given back");
        assert!(!holds(&second).await);
        assert!(!other.keep_lease(&second, 1_000).await.expect("it is asked"));
        let third = store.lease("pull", "b", 1_000).await.expect("asked").expect("free at once");
        assert!(third.fence > second.fence, "also for the same owner");
    })
    .await;
}

/// Fails when the work ends before the transaction that it has to wait for.
async fn comes_after<T>(store: &Store, work: impl Future<Output = T>, tx: Tx) -> T {
    let committing = AtomicBool::new(false);
    let waiting = async {
        let done = work.await;
        assert!(committing.load(Ordering::SeqCst), "it did not wait");
        done
    };
    let holding = async {
        for _ in 0..200 {
            store.ping().await.expect("the database answers");
        }
        committing.store(true, Ordering::SeqCst);
        tx.commit().await.expect("it commits");
    };
    tokio::join!(waiting, holding).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_the_transaction_that_found_the_lease_held() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let lease = store.lease("pull", "a", 1_000).await.expect("asked").expect("taken");
        let tx = store.begin().await.expect("a transaction begins");
        assert!(tx.holds_lease(&lease).await.expect("it is asked"));
        database.clock.advance(1_000);
        let taken = comes_after(&store, other.lease("pull", "b", 1_000), tx).await;
        assert!(taken.expect("asked").expect("taken over").fence > lease.fence);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_locks_an_order_or_a_remote_record_comes_one_after_the_other() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let acme = account(&store, "Acme").await;
        let billing = connection(&store, "stripe").await;
        let order = sell(&store, &acme, billing, "Rollout").await.order;
        let lock = async |store: &Store, order: bool, of| {
            let tx = store.begin().await.expect("a transaction begins");
            match order {
                true => tx.lock_service_order(of).await.expect("locked"),
                false => tx.lock_identity(billing, Entity::Invoice, "in_1").await.expect("locked"),
            }
            tx
        };
        for kind in [true, false] {
            let tx = lock(&store, kind, order).await;
            comes_after(&store, lock(&other, kind, order), tx).await.commit().await.expect("it commits");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_or_a_pause_and_the_write_that_is_about_to_be_sent_wait_for_each_other() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let (billing, acme) = (connection(&store, "stripe").await, account(&store, "Acme").await);
        ask(&store, billing, &place_order(&acme)).await.expect("asked");
        let taken = claim_effect(&store).await.expect("it is due");
        let by = || (Principal::System, None);
        let (sends, reads) = (ConnectionMode::TwoWay, ConnectionMode::Pull);
        let hold = async |switches: bool| {
            let tx = other.begin().await.expect("a transaction begins");
            match switches {
                true => tx.switch_connection_mode(billing, (sends, reads), by()).await.expect("switched"),
                false => assert!(tx.pause_connection(billing, PauseScope::Sending, by()).await.expect("paused")),
            }
            tx
        };
        for switches in [true, false] {
            let tx = store.begin().await.expect("a transaction begins");
            tx.effect_sending(&taken).await.expect("it may begin");
            let held = comes_after(&store, hold(switches), tx).await;
            let late = comes_after(&store, sending(&store, &taken), held).await;
            assert!(matches!(late, Err(StoreError::Conflict)), "it must not begin any more: {late:?}");
            if switches {
                let tx = store.begin().await.expect("a transaction begins");
                tx.switch_connection_mode(billing, (reads, sends), by()).await.expect("switched back");
                tx.commit().await.expect("it commits");
            }
        }
    })
    .await;
}

fn run(store: &Store, connection_id: ConnectionId, status: RunStatus) -> SyncRunRecord {
    let now = store.now();
    SyncRunRecord {
        id: store.new_id(),
        connection_id,
        entity: Entity::Opportunity,
        trigger: RunTrigger::Schedule,
        status,
        pages: 1,
        rows_read: 1,
        rows_changed: 0,
        rows_parked: 0,
        error_code: None,
        error_message: None,
        attempt: 1,
        next_attempt_at: None,
        started_at: now,
        finished_at: (status != RunStatus::Running).then_some(now),
    }
}

async fn save_run(store: &Store, run: &SyncRunRecord) {
    let tx = store.begin().await.expect("a transaction begins");
    tx.save_run(run).await.expect("the run is saved");
    tx.commit().await.expect("it commits");
}

async fn runs(store: &Store) -> Vec<SyncRunRecord> {
    let order = vec![(RunColumn::Id, Direction::Ascending)];
    let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(100, None) };
    let page = sync_runs(store, &RowScope::All, &request).await.expect("runs can be read");
    page.rows.into_iter().map(|(run, _)| run).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_nobody_finished_are_ended_for_their_kind_of_record_alone() {
    on_each_database(async |database| {
        let store = database.open().await;
        let (one, two) = (connection(&store, "one").await, connection(&store, "two").await);
        let (left, over) = (run(&store, one, RunStatus::Running), run(&store, one, RunStatus::Succeeded));
        let elsewhere = run(&store, two, RunStatus::Running);
        let accounts = SyncRunRecord { entity: Entity::Account, ..run(&store, one, RunStatus::Running) };
        for run in [&left, &over, &elsewhere, &accounts] {
            save_run(&store, run).await;
        }
        database.clock.advance(5_000);
        let tx = store.begin().await.expect("a transaction begins");
        tx.interrupt_runs(one, Entity::Opportunity, &[RunTrigger::Schedule]).await.expect("they are ended");
        tx.commit().await.expect("it commits");
        let found = runs(&store).await;
        assert_eq!(found[1..], [over, elsewhere, accounts]);
        assert_eq!((found[0].status, found[0].error_code.as_deref()), (RunStatus::Failed, Some("INTERRUPTED")));
        assert_eq!(found[0].finished_at, Some(store.now()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_rows_are_listed_with_how_often_they_came() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let park = async |remote_id: &str, code: &str| {
            let parked = ParkedRow {
                connection_id: from,
                entity: Entity::Opportunity,
                remote_id: remote_id.to_owned(),
                code: code.to_owned(),
                message: "It has no name.".to_owned(),
                raw: "{}".to_owned(),
                mapping_version: "1.0.0".to_owned(),
            };
            let tx = store.begin().await.expect("a transaction begins");
            tx.park_row(&parked).await.expect("it is parked");
            tx.commit().await.expect("it commits");
        };
        for remote_id in ["1", "2", "3"] {
            park(remote_id, "SHAPE").await;
        }
        database.clock.advance(1_000);
        park("1", "MISSING").await;

        let order = vec![(ParkedColumn::LastSeenAt, Direction::Descending)];
        let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(2, None) };
        let first = parked_rows(&store, &RowScope::All, &request).await.expect("they are read");
        let keys = first.rows.last().map(|(_, keys)| keys.clone());
        let rest = PageRequest { span: Span::First(2, keys), ..request.clone() };
        let rest = parked_rows(&store, &RowScope::All, &rest).await.expect("they are read");
        assert!(first.has_next && !rest.has_next);
        let rows: Vec<_> = first.rows.into_iter().chain(rest.rows).map(|(row, _)| row).collect();
        let found: Vec<_> = rows.iter().map(|row| (&*row.remote_id, &*row.code, row.attempts)).collect();
        assert_eq!(found, [("1", "MISSING", 2), ("2", "SHAPE", 1), ("3", "SHAPE", 1)]);
        assert!(rows[0].first_seen_at < rows[0].last_seen_at);

        let by_ids = parked_rows_by_ids(&store, &RowScope::All, &[rows[0].id]).await.expect("it is read");
        assert_eq!(by_ids, rows[..1]);
        let hidden = parked_rows(&store, &RowScope::Accounts(vec![]), &request).await.expect("it is read");
        assert!(hidden.rows.is_empty(), "parked rows belong to no account");
    })
    .await;
}

async fn count(database: &Database, table: &str) -> i64 {
    let raw = database.raw().await;
    let sql = Statement::from_string(raw.get_database_backend(), format!("SELECT COUNT(*) AS total FROM {table}"));
    let row = raw.query_one_raw(sql).await.expect("it is counted").expect("a row");
    row.try_get("", "total").expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_3_once_per_key_keys_stay_thirty_days_and_those_about_money_for_good() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "stripe").await;
        let inbox = InboxWriter::start(&store);
        for part in 0..11 {
            let keys: Vec<String> = (0..100).map(|number| format!("ignored-{part}-{number}")).collect();
            let mut ignored = delivery(from, &keys.iter().map(|key| (key.as_str(), "1")).collect::<Vec<_>>());
            ignored.events.iter_mut().for_each(|event| event.target = None);
            inbox.accept(ignored).await.expect("accepted");
        }
        let mut given = delivery(from, &[("deal", "1"), ("invoice", "2"), ("waiting", "3")]);
        given.events[1].target = Some((Entity::Invoice, "2".to_owned()));
        inbox.accept(given.clone()).await.expect("accepted");
        for _ in 0..2 {
            let event = claim(&store).await.expect("an event");
            end(&store, &event, &EventOutcome::Processed).await.expect("it ends");
        }
        database.clock.advance(30 * DAY_MS - 1);
        store.keep_house().await.expect("the house is kept");
        assert_eq!(count(database, "inbox_keys").await, 1_103);
        database.clock.advance(1);
        store.keep_house().await.expect("the house is kept");
        assert_eq!(count(database, "inbox_keys").await, 2);
        let again = inbox.accept(given).await.expect("accepted");
        assert_eq!((again.fresh, again.duplicates), (1, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_runs_go_after_ninety_days_once_they_are_finished() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        for (key, record) in [("processed", "1"), ("parked", "2"), ("waiting", "3")] {
            inbox.accept(delivery(from, &[(key, record)])).await.expect("accepted");
        }
        let processed = claim(&store).await.expect("an event");
        end(&store, &processed, &EventOutcome::Processed).await.expect("it ends");
        let parked = claim(&store).await.expect("an event");
        let outcome = EventOutcome::Parked { code: "SHAPE".to_owned(), message: "odd".to_owned() };
        end(&store, &parked, &outcome).await.expect("it is parked");
        inbox.accept(delivery(from, &[("processed", "1")])).await.expect("a duplicate is accepted");
        let unfinished = run(&store, from, RunStatus::Running);
        for run in [&unfinished, &run(&store, from, RunStatus::Succeeded), &run(&store, from, RunStatus::Failed)] {
            save_run(&store, run).await;
        }

        database.clock.advance(90 * DAY_MS);
        store.keep_house().await.expect("the house is kept");
        assert_eq!((count(database, "inbound_payloads").await, runs(&store).await.len()), (4, 3));
        database.clock.advance(1);
        inbox.accept(delivery(from, &[("new", "4")])).await.expect("accepted");
        store.keep_house().await.expect("the house is kept");
        assert_eq!(count(database, "inbound_payloads").await, 3, "parked, waiting and new");
        assert_eq!(runs(&store).await, [unfinished]);
        assert_eq!(count(database, "inbound_events").await, 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_after_ninety_days_and_intents_once_they_are_carried_out() {
    on_each_database(async |database| {
        let store = database.open().await;
        let billing = connection(&store, "stripe").await;
        let lease = store.lease("relay", "a", DAY_MS).await.expect("asked").expect("taken");
        let asked = [&account(&store, "Acme").await, &account(&store, "Borealis").await].map(place_order);
        publish(&store, "sow_1").await;
        for effect in &asked {
            ask(&store, billing, effect).await.expect("asked");
        }
        let first = claim_effect(&store).await.expect("an effect");
        done(&store, &first).await.expect("done");
        publish(&store, "sow_2").await;
        assert_eq!(store.place_outbox(&lease, 100).await.expect("placed"), 4);
        publish(&store, "sow_unplaced").await;

        database.clock.advance(90 * DAY_MS + 1);
        store.keep_house().await.expect("the house is kept");
        let placed = (first_position(&store).await, last_position(&store).await);
        assert_eq!((placed.0.expect("read"), placed.1.expect("read")), (4, 4), "the last one stays");
        publish(&store, "sow_3").await;
        assert_eq!(store.place_outbox(&lease, 100).await.expect("placed"), 2);
        store.keep_house().await.expect("the house is kept");
        let left = changes_after(&store, 0, 10).await.expect("changes can be read");
        let left: Vec<_> = left.iter().map(|change| (change.position, change.id.as_str())).collect();
        assert_eq!(left, [(6, "sow_3")]);
        assert_eq!(first_position(&store).await.expect("read"), 6);
        let second = claim_effect(&store).await.expect("the effect that was not carried out");
        assert_eq!((&second.key, &second.intent), (&asked[1].0, &asked[1].1));
        assert_eq!(count(database, "domain_events").await, 4, "the history stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_its_month_had_a_place_moves_over_and_is_kept() {
    on_each_database(async |database| {
        let store = database.open().await;
        publish(&store, "sow_1").await;
        assert_eq!(count(database, "domain_events").await, 1);
        for _ in 0..2 {
            store.keep_house().await.expect("the house is kept");
            assert_eq!(count(database, "domain_events").await, 1);
        }
        if !store.is_sqlite() {
            assert_eq!(count(database, "domain_events_rest").await, 0);
        }
        publish(&store, "sow_2").await;
        assert_eq!(count(database, "domain_events").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_the_coming_months_waits_for_nobody_who_stands_still_in_the_midst_of_making_them() {
    on_each_database(async |database| {
        let (store, raw) = (database.open().await, database.raw().await);
        store.keep_house().await.expect("the months are made");
        if store.is_sqlite() {
            return;
        }
        let frozen = raw.begin().await.expect("a transaction begins");
        frozen.execute_unprepared("SELECT pg_advisory_xact_lock(7236451)").await.expect("the lock is taken");
        store.keep_house().await.expect("the house is kept beside it");
        frozen.rollback().await.expect("it goes on");
        raw.close().await.expect("it closes");
    })
    .await;
}
