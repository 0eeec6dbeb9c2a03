//! The ledger of effects: a key is asked for once, a customer's effects are taken one at a time in the order in which
//! they were asked for, what may have happened is known to whoever comes next, and nothing is sent where nothing may.

use std::collections::BTreeSet;

use crosstie_domain::{
    access::Principal,
    ids::{AccountId, ConnectionId, Id, kind},
    integration::{ConnectionMode, Customer, EffectKey, EffectStatus, Entity, Intent, PlaceOrder},
};
use crosstie_store::{
    EffectRequest, Store, StoreError, Tx,
    integration::{ClaimedEffect, EffectOutcome},
};
use proptest::{collection::vec, prelude::Just, prop_oneof, strategy::Strategy};

use super::{hold, pick};
use crate::support::{Database, connection, effects, on_each_quick_database, usd};

const LEASE_MS: i64 = 100;

#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Rejected,
    Retry { ms: i64, outcome_unknown: bool },
}

#[derive(Debug, Clone)]
enum Step {
    /// Something is asked of a system for a customer.
    Ask(usize, usize),
    /// The same in a transaction that stays open; on SQLite none can, and it commits at once.
    AskLate(usize, usize),
    /// An open transaction ends, kept or not.
    Close(usize, bool),
    /// What was asked before is asked again.
    AskTwice(usize),
    Claim(usize),
    ClaimAtOnce,
    Keep(usize),
    /// A hand is about to send.
    Sending(usize),
    End(usize, End),
    /// A person has what was refused sent again.
    Again(usize),
    /// A connection sends, or does not any more.
    Switch(usize),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let whom = || (0_usize..2, 0_usize..3);
    let end = prop_oneof![
        2 => Just(End::Done),
        1 => Just(End::Rejected),
        2 => (prop_oneof![Just(0_i64), Just(LEASE_MS / 2), Just(3 * LEASE_MS)], proptest::bool::ANY)
            .prop_map(|(ms, outcome_unknown)| End::Retry { ms, outcome_unknown }),
    ];
    let step = prop_oneof![
        5 => whom().prop_map(|(at, customer)| Step::Ask(at, customer)),
        1 => whom().prop_map(|(at, customer)| Step::AskLate(at, customer)),
        1 => (0_usize..3, proptest::bool::weighted(0.8)).prop_map(|(open, kept)| Step::Close(open, kept)),
        1 => (0_usize..8).prop_map(Step::AskTwice),
        6 => (0_usize..2).prop_map(Step::Claim),
        1 => Just(Step::ClaimAtOnce),
        1 => (0_usize..8).prop_map(Step::Keep),
        3 => (0_usize..8).prop_map(Step::Sending),
        4 => (0_usize..8, end).prop_map(|(hand, end)| Step::End(hand, end)),
        1 => (0_usize..8).prop_map(Step::Again),
        1 => (0_usize..2).prop_map(Step::Switch),
        3 => prop_oneof![Just(1_i64), Just(LEASE_MS / 2), Just(LEASE_MS)].prop_map(Step::Pass),
    ];
    vec(step, 1..45)
}

#[derive(Debug, Clone)]
struct Kept {
    key: EffectKey,
    at: usize,
    customer: usize,
    status: EffectStatus,
    due: Option<i64>,
    lease: Option<i64>,
    fence: i64,
    attempts: i32,
    was_sent: bool,
    /// Its transaction is open: nobody sees it.
    hidden: bool,
}

/// Effects in the order in which they were asked for.
#[derive(Debug)]
struct Model {
    effects: Vec<Kept>,
    sends: [bool; 2],
}

impl Model {
    fn front(&self, line: (usize, usize)) -> Option<usize> {
        let of = |index: &usize| (self.effects[*index].at, self.effects[*index].customer) == line;
        let mut line = (0..self.effects.len()).filter(of).filter(|index| !self.effects[*index].hidden);
        let taken = line.clone().find(|index| self.effects[*index].lease.is_some());
        taken.or_else(|| line.find(|index| self.effects[*index].due.is_some()))
    }

    fn claim(&mut self, now: i64) -> Option<usize> {
        let lines: BTreeSet<_> = self.effects.iter().map(|effect| (effect.at, effect.customer)).collect();
        let due = lines.into_iter().filter(|(at, _)| self.sends[*at]).filter_map(|line| self.front(line));
        let due = due.filter(|index| {
            let effect = &self.effects[*index];
            effect.due.is_some_and(|due| due <= now) && effect.lease.is_none_or(|lease| lease <= now)
        });
        let next = due.min_by_key(|index| (self.effects[*index].due, *index))?;
        self.effects[next].lease = Some(now + LEASE_MS);
        self.effects[next].fence += 1;
        Some(next)
    }
}

struct Scene<'a> {
    database: &'a Database,
    stores: &'a [Store; 2],
    connections: [ConnectionId; 2],
    customers: [AccountId; 3],
    model: Model,
    open: Vec<(Tx, usize)>,
    hands: Vec<ClaimedEffect>,
    now: i64,
}

impl Scene<'_> {
    fn intent(&self, order: Id<kind::ServiceOrder>, customer: usize) -> Intent {
        Intent::PlaceOrder(PlaceOrder {
            order,
            sow: self.stores[0].new_id(),
            customer: Customer { account: self.customers[customer], name: "Acme".to_owned(), email: None },
            title: "Rollout".to_owned(),
            po_number: None,
            total: usd(1),
            lines: vec![],
        })
    }

    /// Asks in this transaction.
    async fn request(&self, tx: &Tx, (at, customer): (usize, usize), key: &EffectKey) -> Result<(), StoreError> {
        let order = self.stores[0].new_id();
        let intent = self.intent(order, customer);
        let (entity, record_id, connection_id) = (Entity::ServiceOrder, order.to_string(), self.connections[at]);
        tx.request_effect(EffectRequest { key, entity, record_id: &record_id, connection_id, intent: &intent }).await
    }

    async fn ask(&mut self, (at, customer): (usize, usize), late: bool) {
        let tx = self.stores[0].begin().await.expect("a transaction begins");
        let key = EffectKey::place_order(self.stores[0].new_id());
        self.request(&tx, (at, customer), &key).await.expect("it is asked for");
        let hidden = late && !self.stores[0].is_sqlite() && self.open.len() < 3;
        if hidden {
            self.open.push((tx, self.model.effects.len()));
        } else {
            tx.commit().await.expect("it commits");
        }
        let (status, due, lease) = (EffectStatus::Waiting, Some(self.now), None);
        let kept = Kept { key, at, customer, status, due, lease, fence: 0, attempts: 0, was_sent: false, hidden };
        self.model.effects.push(kept);
    }

    async fn close(&mut self, number: usize, kept: bool) {
        let Some(index) = pick(&self.open, number) else { return };
        let (tx, at) = self.open.remove(index);
        if kept {
            tx.commit().await.expect("it commits");
            self.model.effects[at].hidden = false;
        }
    }

    fn index(&self, taken: &ClaimedEffect) -> usize {
        self.model.effects.iter().position(|effect| effect.key == taken.key).expect("it was asked for")
    }

    fn check_claim(&self, taken: &ClaimedEffect) {
        let expected = &self.model.effects[self.index(taken)];
        assert_eq!((taken.fence, taken.attempts), (expected.fence, expected.attempts));
        assert_eq!(taken.outcome_unknown, expected.status == EffectStatus::Sent, "whoever takes it knows");
        assert_eq!(taken.first_sent_at.is_some(), expected.was_sent);
        assert_eq!(taken.connection_id, self.connections[expected.at]);
    }

    async fn claim(&mut self, store: usize) -> bool {
        let taken = self.stores[store].claim_effect(LEASE_MS).await.expect("claiming works");
        assert_eq!(taken.as_ref().map(|taken| self.index(taken)), self.model.claim(self.now));
        taken.iter().for_each(|taken| self.check_claim(taken));
        self.hands.extend(taken.clone());
        taken.is_some()
    }

    async fn claim_at_once(&mut self) {
        let [one, other] = self.stores;
        let (first, second) = tokio::join!(one.claim_effect(LEASE_MS), other.claim_effect(LEASE_MS));
        let taken: Vec<ClaimedEffect> =
            [first, second].into_iter().filter_map(|taken| taken.expect("claiming works")).collect();
        let expected: Vec<usize> = (0..2).filter_map(|_| self.model.claim(self.now)).collect();
        let found: BTreeSet<usize> = taken.iter().map(|taken| self.index(taken)).collect();
        assert_eq!((taken.len(), found), (expected.len(), expected.iter().copied().collect()));
        taken.iter().for_each(|taken| self.check_claim(taken));
        self.hands.extend(taken);
    }

    async fn sending(&mut self, hand: usize) {
        let Some(index) = pick(&self.hands, hand) else { return };
        let at = self.index(&self.hands[index]);
        let tx = self.stores[0].begin().await.expect("a transaction begins");
        let noted = tx.effect_sending(&self.hands[index]).await;
        let effect = &mut self.model.effects[at];
        if effect.fence != self.hands[index].fence || !self.model.sends[effect.at] {
            assert!(matches!(noted, Err(StoreError::Conflict)), "it must not be sent: {noted:?}");
            return;
        }
        noted.expect("the holder may send");
        tx.commit().await.expect("it commits");
        (effect.status, effect.was_sent) = (EffectStatus::Sent, true);
    }

    async fn end(&mut self, hand: usize, end: End) {
        let Some(index) = pick(&self.hands, hand) else { return };
        let hand = self.hands.remove(index);
        let at = self.index(&hand);
        let (code, message) = ("TRANSIENT".to_owned(), String::new());
        let outcome = match end {
            End::Done => EffectOutcome::Done { remote_id: format!("x_{at}") },
            End::Rejected => EffectOutcome::Rejected { code, message },
            End::Retry { ms, outcome_unknown } => {
                EffectOutcome::Retry { at: self.stores[0].now().plus_ms(ms), outcome_unknown, code, message }
            }
        };
        let tx = self.stores[0].begin().await.expect("a transaction begins");
        let ended = tx.effect_ended(&hand, &outcome).await;
        let effect = &mut self.model.effects[at];
        if effect.fence != hand.fence {
            assert!(matches!(ended, Err(StoreError::Conflict)), "who lost it writes nothing: {ended:?}");
            return;
        }
        ended.expect("the holder ends it");
        tx.commit().await.expect("it commits");
        effect.lease = None;
        effect.attempts += 1;
        (effect.status, effect.due) = match end {
            End::Done => (EffectStatus::Done, None),
            End::Rejected => (EffectStatus::Rejected, None),
            End::Retry { ms, outcome_unknown: true } => (EffectStatus::Sent, Some(self.now + ms)),
            End::Retry { ms, .. } => (EffectStatus::Waiting, Some(self.now + ms)),
        };
    }

    async fn again(&mut self, number: usize) {
        if self.model.effects.is_empty() {
            return;
        }
        let index = number % self.model.effects.len();
        let effect = &mut self.model.effects[index];
        let kept = effects(&self.stores[0]).await.into_iter().find(|kept| kept.key == effect.key.as_str());
        let Some(kept) = kept else { return };
        let tx = self.stores[0].begin().await.expect("a transaction begins");
        let due = tx.effects_again(&[kept.id], EffectStatus::Sent).await.expect("it is asked");
        tx.commit().await.expect("it commits");
        let is_free = effect.lease.is_none() && effect.status != EffectStatus::Done;
        assert_eq!(!due.is_empty(), is_free, "not what is done, or what somebody works on");
        if is_free {
            (effect.status, effect.due, effect.attempts) = (EffectStatus::Sent, Some(self.now), 0);
        }
    }

    async fn switch(&mut self, at: usize) {
        let (was, mode) = match self.model.sends[at] {
            true => (ConnectionMode::TwoWay, ConnectionMode::Pull),
            false => (ConnectionMode::Pull, ConnectionMode::TwoWay),
        };
        let tx = self.stores[1].begin().await.expect("a transaction begins");
        let switched = tx.switch_connection_mode(self.connections[at], (was, mode), (Principal::System, None)).await;
        switched.expect("it is in that mode");
        tx.commit().await.expect("it commits");
        self.model.sends[at] = !self.model.sends[at];
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Ask(at, customer) => self.ask((at, customer), false).await,
            Step::AskLate(at, customer) => self.ask((at, customer), true).await,
            Step::Close(open, kept) => self.close(open, kept).await,
            Step::AskTwice(number) => {
                let seen = self.model.effects.iter().filter(|effect| !effect.hidden).cloned();
                let seen: Vec<Kept> = seen.collect();
                let Some(index) = pick(&seen, number) else { return };
                let tx = self.stores[1].begin().await.expect("a transaction begins");
                let asked = self.request(&tx, (seen[index].at, seen[index].customer), &seen[index].key).await;
                assert!(matches!(asked, Err(StoreError::Conflict)), "{asked:?}");
            }
            Step::Claim(store) => {
                self.claim(store).await;
            }
            Step::ClaimAtOnce => self.claim_at_once().await,
            Step::Keep(hand) => {
                let Some(index) = pick(&self.hands, hand) else { return };
                let kept = self.stores[1].keep_effect(&self.hands[index], LEASE_MS).await.expect("it is asked");
                let at = self.index(&self.hands[index]);
                assert_eq!(kept, self.model.effects[at].fence == self.hands[index].fence);
                if kept {
                    self.model.effects[at].lease = Some(self.now + LEASE_MS);
                }
            }
            Step::Sending(hand) => self.sending(hand).await,
            Step::End(hand, how) => self.end(hand, how).await,
            Step::Again(number) => self.again(number).await,
            Step::Switch(at) => self.switch(at).await,
            Step::Pass(ms) => {
                self.database.clock.advance(ms);
                self.now += ms;
            }
        }
    }

    /// Everything that was not refused is done in the end, and everything is as the model says.
    async fn finish(&mut self) {
        while !self.open.is_empty() {
            self.close(0, true).await;
        }
        for at in 0..2 {
            if !self.model.sends[at] {
                self.switch(at).await;
            }
        }
        self.step(Step::Pass(10 * LEASE_MS)).await;
        while self.claim(0).await {
            let last = self.hands.len() - 1;
            self.sending(last).await;
            self.end(last, End::Done).await;
        }
        let kept = effects(&self.stores[0]).await;
        let seen: Vec<&Kept> = self.model.effects.iter().filter(|effect| !effect.hidden).collect();
        assert_eq!(kept.len(), seen.len(), "none is lost");
        for effect in seen {
            let found = kept.iter().find(|found| found.key == effect.key.as_str()).expect("it is in the ledger");
            assert_eq!((found.status, found.attempts), (effect.status, effect.attempts), "{}", found.key);
            assert!(matches!(found.status, EffectStatus::Done | EffectStatus::Rejected), "{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_are_taken_one_at_a_time_for_each_customer_and_an_unknown_outcome_is_never_forgotten() {
    on_each_quick_database(async |database| {
        let stores = [database.open().await, database.open().await];
        let connections = [connection(&stores[0], "stripe").await, connection(&stores[0], "books").await];
        let customers = [stores[0].new_id(), stores[0].new_id(), stores[0].new_id()];
        hold("the ledger of effects", 48, &steps(), async |steps| {
            database.empty(&["effects", "outbox_unplaced", "outbox"]).await;
            database.empty(&["connection_modes"]).await;
            let raw = database.raw().await;
            sea_orm::ConnectionTrait::execute_unprepared(&raw, "UPDATE connections SET mode = 'two-way'")
                .await
                .expect("both send");
            let model = Model { effects: Vec::new(), sends: [true; 2] };
            let (stores, open, hands) = (&stores, Vec::new(), Vec::new());
            let mut scene = Scene { database, stores, connections, customers, model, open, hands, now: 0 };
            for step in steps {
                scene.step(step).await;
            }
            scene.finish().await;
        });
    })
    .await;
}
