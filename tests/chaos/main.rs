//! Whole processes under bad luck: killed, frozen, told to stop, without a database, without room on the disk. Each
//! story ends with the same question, which `oracle` asks. The binary is the one that `CROSSTIE_CHAOS_BIN` names; without
//! it every test prints a line that begins with `NOT RUN:`.

mod cluster;
mod disk;
mod drain;
mod frozen;
mod kills;
mod oracle;
mod process;
mod restarts;
mod sales;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests in `it`, which use more of it")]
mod support;
mod vendors;
mod world;

use std::time::Duration;

use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

/// How long anything may take before a story gives up on it: machines that build beside it are slow.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is asked again.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The seed of all moments that are left to chance: `CROSSTIE_CHAOS_SEED`, or always the same.
fn seed() -> u64 {
    let seed = number("CROSSTIE_CHAOS_SEED", 20_261_123);
    println!("the seed is {seed}; CROSSTIE_CHAOS_SEED sets another");
    seed
}

/// A number that the environment may name.
fn number(name: &str, otherwise: u64) -> u64 {
    let named = support::variable(name);
    named.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs a story whose tasks stay on one thread.
async fn story(told: impl Future<Output = ()>) {
    LocalSet::new().run_until(told).await;
}

/// Repeats a question until there is an answer; whoever asks says what is missing.
async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(missing) if Instant::now() >= end => panic!("{what}: not within {PATIENCE:?}: {missing}"),
            Err(_) => sleep(ASK_EVERY).await,
        }
    }
}
