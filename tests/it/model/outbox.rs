//! The one order of changes: 1, 2, 3, whoever commits late, whichever relay dies; no reader ever passes one over.

use std::collections::BTreeMap;

use crosstie_domain::{access::Principal, integration::Entity};
use crosstie_store::{
    Change, Store, Tx,
    integration::{Lease, changes_after, first_position, last_position},
};
use proptest::{collection::vec, prelude::Just, prop_oneof, strategy::Strategy};

use super::{hold, pick};
use crate::support::{Database, on_each_quick_database};

const RELAYS: [&str; 2] = ["hub-one", "hub-two"];
const LEASE_MS: i64 = 100;

#[derive(Debug, Clone)]
enum Step {
    /// So many changes in one commit.
    Publish(usize),
    /// A change in a transaction that stays open. On SQLite none can: there it commits at once.
    Open,
    /// An open transaction ends, kept or not.
    Close(usize, bool),
    Lease(usize),
    /// A relay gives so many changes their places, with whatever lease it thinks that it holds.
    Place(usize, i64),
    /// A reader goes on from where it was.
    Read(usize, i64),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1_usize..4).prop_map(Step::Publish),
        2 => Just(Step::Open),
        2 => (0_usize..4, proptest::bool::weighted(0.8)).prop_map(|(open, kept)| Step::Close(open, kept)),
        2 => (0..RELAYS.len()).prop_map(Step::Lease),
        4 => (0_usize..6, 1_i64..4).prop_map(|(hand, limit)| Step::Place(hand, limit)),
        3 => (0_usize..2, 1_i64..5).prop_map(|(reader, limit)| Step::Read(reader, limit)),
        2 => prop_oneof![Just(LEASE_MS / 2), Just(LEASE_MS)].prop_map(Step::Pass),
    ];
    vec(step, 1..45)
}

#[derive(Default)]
struct Model {
    /// What was published and kept, by when it was published; it has no place yet.
    waiting: BTreeMap<usize, String>,
    placed: Vec<String>,
    holder: Option<&'static str>,
    fence: i64,
    until: i64,
}

impl Model {
    fn lease(&mut self, now: i64, owner: &'static str) -> Option<i64> {
        if self.holder != Some(owner) {
            if self.holder.is_some() && self.until > now {
                return None;
            }
            self.fence += 1;
        }
        (self.holder, self.until) = (Some(owner), now + LEASE_MS);
        Some(self.fence)
    }

    fn place(&mut self, lease: &Lease, limit: i64) -> usize {
        if lease.fence != self.fence {
            return 0;
        }
        let mut count = 0;
        while count < usize::try_from(limit).expect("few")
            && let Some((_, name)) = self.waiting.pop_first()
        {
            self.placed.push(name);
            count += 1;
        }
        count
    }
}

struct Scene<'a> {
    database: &'a Database,
    store: &'a Store,
    model: Model,
    open: Vec<(Tx, usize, String)>,
    hands: Vec<Lease>,
    /// How far each reader has come.
    readers: [usize; 2],
    published: usize,
    now: i64,
}

impl Scene<'_> {
    async fn publish(&mut self, tx: &Tx) -> (usize, String) {
        self.published += 1;
        let name = format!("sow_{}", self.published);
        let change =
            Change { entity: Entity::Sow, id: &name, event: "sow_signed", actor: Principal::System, version: 1 };
        tx.publish(&[change]).await.expect("published");
        (self.published, name)
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish(count) => {
                let tx = self.store.begin().await.expect("a transaction begins");
                let mut named = Vec::new();
                for _ in 0..count {
                    named.push(self.publish(&tx).await);
                }
                tx.commit().await.expect("it commits");
                self.model.waiting.extend(named);
            }
            Step::Open => {
                let tx = self.store.begin().await.expect("a transaction begins");
                let (number, name) = self.publish(&tx).await;
                if self.store.is_sqlite() || self.open.len() == 3 {
                    tx.commit().await.expect("it commits");
                    self.model.waiting.insert(number, name);
                } else {
                    self.open.push((tx, number, name));
                }
            }
            Step::Close(open, kept) => {
                let Some(index) = pick(&self.open, open) else { return };
                let (tx, number, name) = self.open.remove(index);
                if kept {
                    tx.commit().await.expect("it commits");
                    self.model.waiting.insert(number, name);
                }
            }
            Step::Lease(owner) => {
                let owner = RELAYS[owner];
                let lease = self.store.lease("relay", owner, LEASE_MS).await.expect("it is asked for");
                assert_eq!(lease.as_ref().map(|lease| lease.fence), self.model.lease(self.now, owner));
                self.hands.extend(lease);
            }
            Step::Place(hand, limit) => {
                let Some(index) = pick(&self.hands, hand) else { return };
                let placed = self.store.place_outbox(&self.hands[index], limit).await.expect("it is asked");
                assert_eq!(placed, self.model.place(&self.hands[index], limit));
            }
            Step::Read(reader, limit) => self.read(reader, limit).await,
            Step::Pass(ms) => {
                self.database.clock.advance(ms);
                self.now += ms;
            }
        }
    }

    async fn read(&mut self, reader: usize, limit: i64) {
        let after = self.readers[reader];
        let position = i64::try_from(after).expect("few");
        let changes = changes_after(self.store, position, limit).await.expect("they can be read");
        let found: Vec<&str> = changes.iter().map(|change| change.id.as_str()).collect();
        let limit = usize::try_from(limit).expect("few");
        let expected: Vec<&str> = self.model.placed.iter().skip(after).take(limit).map(String::as_str).collect();
        assert_eq!(found, expected, "after {after}");
        assert!((position + 1..).zip(&changes).all(|(place, change)| change.position == place), "no gaps");
        self.readers[reader] += found.len();
    }

    /// Everything is placed in the end, and every reader has seen all of it.
    async fn end(&mut self) {
        while !self.open.is_empty() {
            self.step(Step::Close(0, true)).await;
        }
        self.step(Step::Pass(LEASE_MS)).await;
        self.step(Step::Lease(0)).await;
        let last = self.hands.len() - 1;
        self.step(Step::Place(last, 1_000)).await;
        assert!(self.model.waiting.is_empty());
        for reader in 0..self.readers.len() {
            self.read(reader, 1_000).await;
            assert_eq!(self.readers[reader], self.model.placed.len());
        }
        let count = i64::try_from(self.model.placed.len()).expect("few");
        let ends = (first_position(self.store).await.expect("read"), last_position(self.store).await.expect("read"));
        assert_eq!(ends, (count.min(1), count));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_have_no_gaps_and_no_reader_passes_over_what_commits_late() {
    on_each_quick_database(async |database| {
        let store = database.open().await;
        hold("the outbox", 48, &steps(), async |steps| {
            database.empty(&["outbox_positions", "outbox_unplaced", "outbox", "leases"]).await;
            let (model, open, hands) = (Model::default(), Vec::new(), Vec::new());
            let mut scene =
                Scene { database, store: &store, model, open, hands, readers: [0; 2], published: 0, now: 0 };
            for step in steps {
                scene.step(step).await;
            }
            scene.end().await;
        });
    })
    .await;
}
