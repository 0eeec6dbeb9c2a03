//! What tests of several subjects share.

mod binary;
mod clock;
mod crm;
mod databases;
mod graph;
mod hub;
mod kept;
mod meanwhile;
mod notary;
mod organization;
mod points;
mod readings;
mod receiver;
pub(crate) mod schema;
mod system;
mod unhurried;
mod vendor;
pub(crate) mod wire;

use std::time::Duration;

use crosstie_app::secrets::Keyring;
use tokio::time::{sleep, timeout};

pub(crate) use binary::Binary;
pub(crate) use clock::TestClock;
pub(crate) use crm::{Crm, engine_over, engine_with, memory, setup};
pub(crate) use databases::{Database, connect, on_each_database, on_each_quick_database};
pub(crate) use graph::{Graph, LISTS, codes, envelope, graph, operations};
pub(crate) use hub::{RunningHub, header};
pub(crate) use kept::{effects, events, runs};
pub(crate) use meanwhile::{Meanwhile, take_over};
pub(crate) use notary::{Notary, Register, Trouble, Way};
pub(crate) use organization::{Sold, account, account_record, connection, opportunity_record, sell, usd};
pub(crate) use points::{Fate, Pointed, Points};
pub(crate) use receiver::{Received, Receiver, Reply};
pub(crate) use system::{Said, System, id_of};
pub(crate) use unhurried::unhurried;
pub(crate) use vendor::HostedVendor;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A master key of hubs in tests.
pub(crate) const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The master keys of hubs in tests.
pub(crate) fn keyring() -> Keyring {
    Keyring::parse(MASTER_KEY).expect("a key")
}

/// What the environment says where a server or a binary is.
#[expect(clippy::disallowed_methods, reason = "tests are told where their servers are")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Repeats a question until the answer is there.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}
