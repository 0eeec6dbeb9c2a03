//! Two processes work on one PostgreSQL. One of them stands still for longer than its leases last, and then goes on as
//! if nothing had been: the other one has taken over, nothing happens twice, and what comes late changes nothing.

use std::{sync::Arc, time::Duration};

use crosstie_sdk::{FakeVendor, HttpRequest};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tokio::time::sleep;

use crate::{
    oracle::{everything_holds, number},
    seed, story,
    support::{Database, on_each_database},
    vendors::{At, Held, HeldVendor},
    wait_for,
    world::Scene,
};

/// Longer than any lease that is not renewed.
const LONG: Duration = Duration::from_secs(4);

/// Two processes on a PostgreSQL: of SQLite there is one.
async fn on_postgres(told: impl AsyncFn(&Database, Scene)) {
    story(on_each_database(async |database| {
        if database.url.starts_with("sqlite") {
            return;
        }
        if let Some(scene) = Scene::new("frozen processes", &database.url, 2).await {
            told(database, scene).await;
        }
    }))
    .await;
}

async fn end(mut scene: Scene, database: &Database) {
    everything_holds(&mut scene, database).await;
    for process in &mut scene.processes {
        assert!(process.still_runs(), "{}", process.log());
        process.kill().await;
    }
}

/// Holds the next such request of either process; which of them makes it first, and the hold.
async fn first_of<F: FakeVendor + 'static>(
    vendor: &HeldVendor<F>,
    at: At,
    which: impl Fn(&HttpRequest) -> bool + Clone + Send + Sync + 'static,
) -> (usize, Held) {
    let (one, other) = (vendor.hold(0, at, which.clone()), vendor.hold(1, at, which));
    // The one that is dropped lets its request pass.
    tokio::select! {
        () = one.reached() => (0, one),
        () = other.reached() => (1, other),
    }
}

/// All that is written down of an effect.
async fn effect(raw: &DatabaseConnection, key: &str) -> String {
    let sql = format!("SELECT row_to_json(effects)::text FROM effects WHERE effect_key = '{key}'");
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.expect("it can be read");
    row.expect("it is there").try_get_by_index(0).expect("a text")
}

async fn frozen_while_it_sends(at: At) {
    on_postgres(async |database, mut scene| {
        let (world, raw) = (Arc::clone(&scene.world), database.raw().await);
        scene.start(0).await;
        scene.start(1).await;
        type Which = fn(&HttpRequest) -> bool;
        let writes: [(&str, Which); 4] = [
            ("makes a customer", |request| request.path() == "/v1/customers"),
            ("places an order", |request| request.path() == "/v1/products"),
            ("issues an invoice", |request| request.path().ends_with("/finalize")),
            ("sets a name", |request| request.path().starts_with("/v1/customers/cus_")),
        ];
        for (index, (what, which)) in writes.into_iter().enumerate() {
            let post = move |request: &HttpRequest| crate::vendors::writes(request) && which(request);
            let held = first_of(&world.stripe, at, post);
            scene.sell(format!("deal-{index}"));
            let (frozen, held) = held.await;
            scene.processes[frozen].signal("STOP");
            let request = held.request().expect("it is there");
            println!("process {frozen} is frozen while it {what}, held at its {at:?}");
            let waiting = match at {
                At::Request => Some(held),
                // The answer is on its way, and nobody reads it.
                At::Answer => None,
            };
            let taken = "SELECT COUNT(*) FROM effects WHERE fence > 1";
            let before = number(&raw, taken).await;
            let other = 1 - frozen;
            wait_for("the other one has taken over and is done", async || {
                let done = number(&raw, &format!("{taken} AND finished_at IS NOT NULL")).await;
                if done > before { Ok(()) } else { Err(scene.processes[other].log()) }
            })
            .await;
            let sql = "SELECT effect_key FROM effects WHERE fence > 1 ORDER BY finished_at DESC LIMIT 1";
            let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.expect("read");
            let key: String = row.expect("it is there").try_get_by_index(0).expect("a key");
            let told = effect(&raw, &key).await;
            let log = scene.processes[frozen].log().matches("came too late").count();
            // Only now the vendor carries out what it was asked first, and the frozen one reads what came of it.
            drop(waiting);
            scene.processes[frozen].signal("CONT");
            wait_for("the frozen one hears that it is late", async || {
                let log_now = scene.processes[frozen].log();
                if log_now.matches("came too late").count() > log { Ok(()) } else { Err(log_now) }
            })
            .await;
            assert_eq!(effect(&raw, &key).await, told, "{what}: {}", request.path());
        }
        raw.close().await.expect("it closes");
        end(scene, database).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_a_process_that_is_frozen_when_the_vendor_has_its_request_does_nothing_twice() {
    frozen_while_it_sends(At::Request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_a_process_that_is_frozen_before_it_reads_the_answer_does_nothing_twice() {
    frozen_while_it_sends(At::Answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_frozen_while_it_reads_moves_no_place_when_it_goes_on() {
    on_postgres(async |database, mut scene| {
        let (world, raw) = (Arc::clone(&scene.world), database.raw().await);
        let page = |request: &HttpRequest| request.path().ends_with("/deals/search");
        let held = world.hubspot.hold(0, At::Answer, page);
        scene.processes[0].start();
        held.reached().await;
        scene.processes[0].signal("STOP");
        drop(held);
        scene.start(1).await;
        let place = "SELECT COALESCE(MAX(watermark), 0) FROM cursors WHERE entity = 'opportunity'";
        wait_for("the other one reads everything", async || match number(&raw, place).await {
            0 => Err(scene.processes[1].log()),
            _ => Ok(()),
        })
        .await;
        let read = number(&raw, place).await;
        scene.processes[0].signal("CONT");
        let late = "SELECT COUNT(*) FROM sync_runs WHERE error_message LIKE '%another process reads this now%'";
        wait_for("the frozen one hears that it is late", async || match number(&raw, late).await {
            0 => Err(scene.processes[0].log()),
            _ => Ok(()),
        })
        .await;
        let failures = "SELECT COALESCE(SUM(failures), 0)::bigint FROM cursors WHERE entity = 'opportunity'";
        assert!(number(&raw, place).await >= read);
        assert_eq!(number(&raw, failures).await, 0, "the place is that of the other one");
        raw.close().await.expect("it closes");
        end(scene, database).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_frozen_inside_a_transaction_does_not_keep_the_others_waiting() {
    on_postgres(async |database, mut scene| {
        let (raw, lock) = (database.raw().await, database.raw().await);
        scene.start(0).await;
        let silent = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                      AND state = 'idle in transaction' AND pid <> pg_backend_pid()";
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock'";
        let run = async |sql: &str| lock.execute_unprepared(sql).await.expect("it runs");
        // The relay waits for a row in the midst of its transaction, is frozen there, and then has the row.
        wait_for("there is a relay", async || {
            match number(&raw, "SELECT COUNT(*) FROM leases WHERE name = 'relay'").await {
                0 => Err(scene.processes[0].log()),
                _ => Ok(()),
            }
        })
        .await;
        wait_for("it is frozen inside a transaction", async || {
            run("BEGIN").await;
            run("UPDATE leases SET until = until WHERE name = 'relay'").await;
            let met = wait_for("somebody waits", async || match number(&raw, waiting).await {
                0 => Err("nobody does".to_owned()),
                _ => Ok(()),
            });
            met.await;
            scene.processes[0].signal("STOP");
            run("ROLLBACK").await;
            sleep(Duration::from_millis(200)).await;
            if number(&raw, silent).await > 0 {
                return Ok(());
            }
            scene.processes[0].signal("CONT");
            Err("it was frozen elsewhere".to_owned())
        })
        .await;
        scene.start(1).await;
        let placed = "SELECT COUNT(*) FROM outbox_positions";
        let before = number(&raw, placed).await;
        scene.sell("deal-meanwhile".to_owned());
        wait_for("the other one gives changes their places", async || {
            if number(&raw, placed).await > before { Ok(()) } else { Err(scene.processes[1].log()) }
        })
        .await;
        scene.processes[0].signal("CONT");
        raw.close().await.expect("it closes");
        lock.close().await.expect("it closes");
        end(scene, database).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_frozen_in_turn_at_random_lose_nothing_and_do_nothing_twice() {
    on_postgres(async |database, mut scene| {
        scene.start(0).await;
        scene.start(1).await;
        let mut random = StdRng::seed_from_u64(seed());
        for round in 0..6 {
            for sale in 0..2 {
                scene.sell(format!("deal-{round}-{sale}"));
            }
            sleep(Duration::from_millis(random.random_range(50..1_500))).await;
            let frozen = round % 2;
            scene.processes[frozen].signal("STOP");
            sleep(LONG).await;
            scene.processes[frozen].signal("CONT");
        }
        end(scene, database).await;
    })
    .await;
}
