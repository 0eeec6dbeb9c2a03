//! PostgreSQL ends without a word and comes back, several times, under load. The hub goes on by itself.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use crate::{cluster::Cluster, oracle::everything_holds, seed, story, support::Database, wait_for, world::Scene};

const RESTARTS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_database_is_restarted_under_load_goes_on_by_itself_and_loses_nothing() {
    story(async {
        let Some(cluster) = Cluster::start("restarts of PostgreSQL") else { return };
        let database = Database::at(&cluster.url);
        let Some(mut scene) = Scene::new("restarts of PostgreSQL", &cluster.url, 1).await else { return };
        scene.start(0).await;
        let mut random = StdRng::seed_from_u64(seed());
        for round in 0..RESTARTS {
            for sale in 0..3 {
                scene.sell(format!("deal-{round}-{sale}"));
            }
            sleep(Duration::from_millis(random.random_range(100..1_500))).await;
            let (before, acknowledged) = (scene.world.unavailable(), scene.world.acknowledged().len());
            cluster.stop();
            // What reached the hub just before may be acknowledged still; from here on nothing can be kept.
            scene.sell(format!("deal-{round}-meanwhile"));
            wait_for("webhooks are answered 503", async || {
                let refused = scene.world.unavailable() - before;
                if refused >= 2 { Ok(()) } else { Err(format!("{refused} of two")) }
            })
            .await;
            let late = scene.world.acknowledged().len() - acknowledged;
            println!(
                "restart {round}: {} times 503, {late} acknowledged meanwhile",
                scene.world.unavailable() - before
            );
            assert!(scene.processes[0].still_runs(), "{}", scene.processes[0].log());
            cluster.go_on();
            scene.processes[0].ready(&scene.world.http).await;
        }
        assert!(scene.processes[0].still_runs(), "{}", scene.processes[0].log());
        everything_holds(&mut scene, &database).await;
        scene.processes[0].kill().await;
    })
    .await;
}
