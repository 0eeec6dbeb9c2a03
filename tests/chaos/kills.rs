//! The hub is killed again and again: at random, behind an acknowledgment, between a write and its answer, during a page
//! of a reading or of a back-fill, while it starts and while it migrates.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    number,
    oracle::everything_holds,
    seed, story,
    support::{Database, on_each_database},
    world::Scene,
};

/// How long a kill waits for its moment before it comes all the same.
const MOST: Duration = Duration::from_secs(20);

/// How many migrations are killed, each at a later moment of the time that a whole one takes.
const MIGRATIONS: u32 = 12;

/// The moments in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    BehindAcknowledgment,
    DuringWrite,
    DuringPage,
    DuringStart,
    Random,
}

const MOMENTS: [Moment; 5] =
    [Moment::BehindAcknowledgment, Moment::DuringWrite, Moment::DuringPage, Moment::DuringStart, Moment::Random];

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice() {
    story(on_each_database(async |database| {
        let Some(mut scene) = Scene::new("the kill loop", &database.url, 1).await else { return };
        scene.start(0).await;
        let kills = number("CROSSTIE_CHAOS_KILLS", 20);
        let mut random = StdRng::seed_from_u64(seed());
        let mut met: BTreeMap<Moment, u64> = BTreeMap::new();
        for round in 0..kills {
            scene.sell(format!("deal-{round}"));
            let moment = MOMENTS[usize::try_from(round).expect("it fits") % MOMENTS.len()];
            if await_moment(&mut scene, moment, &mut random).await {
                *met.entry(moment).or_default() += 1;
            }
            scene.processes[0].kill().await;
            scene.start(0).await;
        }
        println!("{kills} kills fell so: {met:?}");
        for moment in MOMENTS {
            let fell = met.get(&moment).copied().unwrap_or(0);
            assert!(fell * 2 * 5 >= kills, "{fell} of {kills} kills fell {moment:?}");
        }
        everything_holds(&mut scene, database).await;
        scene.processes[0].kill().await;
    }))
    .await;
}

/// Waits for the moment to kill at; whether it came.
async fn await_moment(scene: &mut Scene, moment: Moment, random: &mut StdRng) -> bool {
    let world = std::sync::Arc::clone(&scene.world);
    match moment {
        Moment::BehindAcknowledgment => timeout(MOST, world.acknowledges()).await.is_ok(),
        Moment::DuringWrite => timeout(MOST, world.stripe.written()).await.is_ok(),
        Moment::DuringPage => {
            // A new hub reads everything at its start, later it is a back-fill that has pages.
            let connection = world.connection("hubspot").await;
            let input = json!({ "connectionId": connection, "entity": "OPPORTUNITY" });
            let paged = timeout(MOST, world.hubspot.paged());
            let (_, came) = tokio::join!(world.decide("refresh", "backfills { id }", input), paged);
            came.is_ok()
        }
        Moment::DuringStart => {
            scene.processes[0].kill().await;
            scene.processes[0].start();
            sleep(Duration::from_millis(random.random_range(0..150))).await;
            true
        }
        Moment::Random => {
            sleep(Duration::from_millis(random.random_range(20..1_500))).await;
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_that_are_killed_are_applied_whole_by_the_next_try() {
    story(on_each_database(async |database| {
        let Some(scene) = Scene::new("killed migrations", &database.url, 1).await else { return };
        let migrating = &scene.processes[0];
        let at = async |number: u32| {
            let empty = empty_beside(database, number).await;
            migrating.binary.write("crosstie.toml", &format!("[database]\nurl = {:?}\n", empty.url));
            empty
        };
        let mut databases = vec![at(0).await];
        let began = Instant::now();
        migrating.binary.done(&["migrate"]).await;
        // What a whole one takes, at its fastest: the machine may do other things beside it.
        let mut whole = began.elapsed();
        let mut killed = 0;
        for part in 1..=MIGRATIONS {
            databases.push(at(part).await);
            let began = Instant::now();
            let mut child = migrating.spawn("migrate");
            match timeout(whole * part / (MIGRATIONS + 1), child.wait()).await {
                Ok(ended) => {
                    assert!(ended.expect("it ends").success(), "{}", migrating.log());
                    whole = whole.min(began.elapsed());
                }
                Err(_) => {
                    child.kill().await.expect("it is killed");
                    killed += 1;
                    migrating.binary.done(&["migrate"]).await;
                }
            }
            let migrated = databases.last().expect("there is one");
            assert_eq!(crosstie_migrations::missing(&migrated.url).await.expect("they can be counted"), 0);
        }
        println!("{killed} of {MIGRATIONS} migrations were killed");
        assert!(killed * 3 >= MIGRATIONS, "{killed} of {MIGRATIONS} migrations were killed");
        let last = databases.last().expect("there is one");
        let again = Scene::new("a hub on what was migrated", &last.url, 1).await;
        let mut again = again.expect("there is a binary");
        again.start(0).await;
        everything_holds(&mut again, last).await;
        again.processes[0].kill().await;
        for gone in &databases {
            drop_database(database, gone).await;
        }
    }))
    .await;
}

/// A database without anything in it, on the same server or in the same folder.
async fn empty_beside(database: &Database, number: u32) -> Database {
    if database.url.starts_with("sqlite") {
        return Database::at(&database.url.replace("crosstie.db", &format!("empty-{number}.db")));
    }
    let name = format!("{}_empty_{number}", database.name());
    let raw = database.raw().await;
    sea_orm::ConnectionTrait::execute_unprepared(&raw, &format!("CREATE DATABASE {name}")).await.expect("it is made");
    raw.close().await.expect("it closes");
    let (server, _) = database.url.rsplit_once('/').expect("an address with a database");
    Database::at(&format!("{server}/{name}"))
}

async fn drop_database(database: &Database, gone: &Database) {
    if !database.url.starts_with("sqlite") {
        let raw = database.raw().await;
        let sql = format!("DROP DATABASE {} WITH (FORCE)", gone.name());
        sea_orm::ConnectionTrait::execute_unprepared(&raw, &sql).await.expect("it is dropped");
        raw.close().await.expect("it closes");
    }
}
