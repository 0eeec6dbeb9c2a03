//! What promises rest on, held to small models: sequences of steps by several workers, some of whom forget what they
//! hold or come too late, run on the real store and on a few obviously right structs beside it.
//!
//! Whoever holds something is a hand. A worker that dies is a hand that is never heard of again; one that was thought
//! dead is a hand that comes back after somebody else took over.

mod cursor;
mod effects;
mod identity;
mod inbox;
mod leases;
mod outbox;
mod sequence;

use std::fmt::Debug;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::support::variable;

/// Where the sequences come from; `CROSSTIE_MODEL_SEED` says another one.
const SEED: u64 = 20_261_123;
/// How often a failing sequence is made smaller.
const SHRINKS: u32 = 400;

/// Runs so many sequences of steps, or `CROSSTIE_MODEL_CASES`, until one does not hold, which is then shown as small as
/// it can be made.
pub(crate) fn hold<S: Strategy>(what: &str, cases: u32, steps: &S, run: impl AsyncFn(S::Value))
where
    S::Value: Debug,
{
    let number =
        |name: &str| variable(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {text}")));
    let seed = number("CROSSTIE_MODEL_SEED").unwrap_or(SEED);
    let cases = number("CROSSTIE_MODEL_CASES").map_or(cases, |cases| u32::try_from(cases).expect("not that many"));
    println!("{what}: {cases} sequences from seed {seed}");
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        ..Config::default()
    };
    let handle = Handle::current();
    let held = block_in_place(|| {
        TestRunner::new(config).run(steps, |steps| {
            handle.block_on(run(steps));
            Ok(())
        })
    });
    if let Err(error) = held {
        panic!("{what} does not hold (seed {seed}): {error}");
    }
}

/// One of these by any number.
fn pick<T>(of: &[T], number: usize) -> Option<usize> {
    (!of.is_empty()).then(|| number % of.len())
}
