//! Named leases: of several owners one holds at a time, and who lost it is told so by the fence.

use crosstie_store::{Store, integration::Lease};
use futures::future::join_all;
use proptest::{collection::vec, prelude::Just, prop_oneof, strategy::Strategy};

use super::{hold, pick};
use crate::support::{Database, on_each_quick_database};

const NAMES: [&str; 2] = ["pull:a", "relay"];
const OWNERS: [&str; 3] = ["one", "two", "three"];

#[derive(Debug, Clone)]
enum Step {
    /// An owner asks for a lease of so many milliseconds.
    Take(usize, usize, i64),
    /// All owners ask at the same moment.
    TakeAtOnce(usize),
    Keep(usize, i64),
    Release(usize),
    /// A hand asks inside a transaction whether it still holds.
    Ask(usize),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ms = || prop_oneof![Just(10_i64), Just(100)];
    let step = prop_oneof![
        4 => (0..NAMES.len(), 0..OWNERS.len(), ms()).prop_map(|(name, owner, ms)| Step::Take(name, owner, ms)),
        1 => (0..NAMES.len()).prop_map(Step::TakeAtOnce),
        2 => (0_usize..8, ms()).prop_map(|(hand, ms)| Step::Keep(hand, ms)),
        1 => (0_usize..8).prop_map(Step::Release),
        3 => (0_usize..8).prop_map(Step::Ask),
        3 => prop_oneof![Just(1_i64), Just(9), Just(10), Just(100)].prop_map(Step::Pass),
    ];
    vec(step, 1..40)
}

/// One lease as it should stand.
#[derive(Debug, Default)]
struct Model {
    owner: Option<&'static str>,
    fence: i64,
    until: i64,
}

impl Model {
    fn take(&mut self, now: i64, owner: &'static str, ms: i64) -> Option<i64> {
        if self.owner != Some(owner) {
            if self.owner.is_some() && self.until > now {
                return None;
            }
            self.fence += 1;
        }
        (self.owner, self.until) = (Some(owner), now + ms);
        Some(self.fence)
    }

    fn is_held_by(&self, lease: &Lease) -> bool {
        self.owner == Some(lease.owner.as_str()) && self.fence == lease.fence
    }
}

struct Scene<'a> {
    database: &'a Database,
    stores: Vec<Store>,
    models: [Model; 2],
    hands: Vec<Lease>,
    now: i64,
}

impl Scene<'_> {
    async fn take(&mut self, name: usize, owner: usize, ms: i64) {
        let taken = self.stores[owner].lease(NAMES[name], OWNERS[owner], ms).await.expect("it is asked for");
        let fence = self.models[name].take(self.now, OWNERS[owner], ms);
        assert_eq!(taken.as_ref().map(|lease| lease.fence), fence);
        self.hands.extend(taken);
    }

    /// Whoever is first, the others see it as held.
    async fn take_at_once(&mut self, name: usize) {
        let asked = OWNERS.iter().zip(&self.stores).map(|(owner, store)| store.lease(NAMES[name], owner, 100));
        let taken: Vec<Lease> =
            join_all(asked).await.into_iter().filter_map(|taken| taken.expect("it is asked for")).collect();
        assert_eq!(taken.len(), 1, "one of them holds it");
        let winner = OWNERS.iter().find(|owner| **owner == taken[0].owner).expect("one of them");
        assert_eq!(self.models[name].take(self.now, winner, 100), Some(taken[0].fence));
        self.hands.extend(taken);
    }

    fn hand(&mut self, number: usize) -> Option<(Lease, usize)> {
        let index = pick(&self.hands, number)?;
        let lease = self.hands[index].clone();
        let name = NAMES.iter().position(|name| *name == lease.name).expect("a name");
        Some((lease, name))
    }

    async fn step(&mut self, step: Step) {
        let store = self.stores[0].clone();
        match step {
            Step::Take(name, owner, ms) => self.take(name, owner, ms).await,
            Step::TakeAtOnce(name) => self.take_at_once(name).await,
            Step::Keep(hand, ms) => {
                let Some((lease, name)) = self.hand(hand) else { return };
                let kept = store.keep_lease(&lease, ms).await.expect("it is asked");
                assert_eq!(kept, self.models[name].is_held_by(&lease));
                if kept {
                    self.models[name].until = self.now + ms;
                }
            }
            Step::Release(hand) => {
                let Some((lease, name)) = self.hand(hand) else { return };
                store.release_lease(&lease).await.expect("it is given back");
                if self.models[name].is_held_by(&lease) {
                    self.models[name].owner = None;
                }
            }
            Step::Ask(hand) => {
                let Some((lease, name)) = self.hand(hand) else { return };
                let tx = store.begin().await.expect("a transaction begins");
                let holds = tx.holds_lease(&lease).await.expect("it is asked");
                let fences = tx.fence_lease(&lease).await.expect("it is asked");
                assert_eq!((holds, fences), (self.models[name].is_held_by(&lease), holds));
            }
            Step::Pass(ms) => {
                self.database.clock.advance(ms);
                self.now += ms;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_one_owners_at_a_time_whoever_comes_late_or_not_at_all() {
    on_each_quick_database(async |database| {
        let mut stores = Vec::new();
        for _ in OWNERS {
            stores.push(database.open().await);
        }
        hold("named leases", 48, &steps(), async |steps| {
            database.empty(&["leases"]).await;
            let (models, hands) = (Default::default(), Vec::new());
            let mut scene = Scene { database, stores: stores.clone(), models, hands, now: 0 };
            for step in steps {
                scene.step(step).await;
            }
        });
    })
    .await;
}
