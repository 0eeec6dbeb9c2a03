//! The inbox: a key counts once, a record's events are taken one at a time in the order of their receipt, and one that
//! is parked holds up nothing.

use std::collections::{BTreeMap, BTreeSet};

use crosstie_domain::{
    ids::{ConnectionId, InboundEventId},
    integration::{Entity, InboundStatus},
};
use crosstie_store::{
    Store, StoreError,
    integration::{Acknowledged, ArrivedDelivery, ArrivedEvent, ClaimedEvent, EventOutcome, InboxWriter},
};
use proptest::{collection::vec, prelude::Just, prop_oneof, strategy::Strategy};
use sea_orm::ConnectionTrait;

use super::{hold, pick};
use crate::support::{Database, connection, events, on_each_quick_database};

const LEASE_MS: i64 = 100;

#[derive(Debug, Clone, Copy)]
enum End {
    Processed,
    Retry(i64),
    Parked,
}

#[derive(Debug, Clone)]
enum Step {
    /// A delivery of events: the sender's key, and the record.
    Deliver(Vec<(u8, u8)>),
    /// The same with one event whose commit nobody sees yet.
    DeliverLate(u8, u8),
    /// What was late is seen.
    Appear(usize),
    Claim(usize),
    /// Two workers look at the same moment.
    ClaimAtOnce,
    Keep(usize),
    End(usize, End),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = || (0_u8..14, 0_u8..3);
    let end = prop_oneof![
        3 => Just(End::Processed),
        2 => prop_oneof![Just(0_i64), Just(LEASE_MS / 2), Just(3 * LEASE_MS)].prop_map(End::Retry),
        1 => Just(End::Parked),
    ];
    let step = prop_oneof![
        4 => vec(event(), 1..4).prop_map(Step::Deliver),
        1 => event().prop_map(|(key, record)| Step::DeliverLate(key, record)),
        1 => (0_usize..4).prop_map(Step::Appear),
        5 => (0_usize..2).prop_map(Step::Claim),
        1 => Just(Step::ClaimAtOnce),
        2 => (0_usize..8).prop_map(Step::Keep),
        4 => (0_usize..8, end).prop_map(|(hand, end)| Step::End(hand, end)),
        3 => prop_oneof![Just(1_i64), Just(LEASE_MS / 2), Just(LEASE_MS)].prop_map(Step::Pass),
    ];
    vec(step, 1..45)
}

/// An event that counts.
#[derive(Debug)]
struct Kept {
    key: u8,
    record: u8,
    status: InboundStatus,
    due: Option<i64>,
    lease: Option<i64>,
    fence: i64,
    attempts: i32,
    hidden: bool,
}

/// Events in the order of their receipt.
#[derive(Debug, Default)]
struct Model {
    keys: BTreeSet<u8>,
    events: Vec<Kept>,
    duplicates: usize,
}

impl Model {
    /// Takes an event in; whether it is new.
    fn deliver(&mut self, now: i64, (key, record): (u8, u8), hidden: bool) -> bool {
        if !self.keys.insert(key) {
            self.duplicates += 1;
            return false;
        }
        let (status, due, lease) = (InboundStatus::Received, Some(now), None);
        self.events.push(Kept { key, record, status, due, lease, fence: 0, attempts: 0, hidden });
        true
    }

    /// The event of a record that comes next: the one that is taken, else the first that waits.
    fn front(&self, record: u8) -> Option<usize> {
        let mut line = (0..self.events.len()).filter(|index| self.events[*index].record == record);
        let taken = line.clone().find(|index| self.events[*index].lease.is_some());
        taken.or_else(|| line.find(|index| self.events[*index].due.is_some() && !self.events[*index].hidden))
    }

    /// Of all records' next events, the one that is due longest.
    fn claim(&mut self, now: i64) -> Option<usize> {
        let records: BTreeSet<u8> = self.events.iter().map(|event| event.record).collect();
        let due = records.into_iter().filter_map(|record| self.front(record)).filter(|index| {
            let event = &self.events[*index];
            event.due.is_some_and(|due| due <= now) && event.lease.is_none_or(|lease| lease <= now)
        });
        let next = due.min_by_key(|index| (self.events[*index].due, *index))?;
        self.events[next].lease = Some(now + LEASE_MS);
        self.events[next].fence += 1;
        Some(next)
    }
}

struct Scene<'a> {
    database: &'a Database,
    stores: &'a [Store; 2],
    inbox: &'a InboxWriter,
    from: ConnectionId,
    model: Model,
    /// Which event of the model each one is.
    known: BTreeMap<InboundEventId, usize>,
    hands: Vec<ClaimedEvent>,
    now: i64,
}

impl Scene<'_> {
    async fn deliver(&mut self, named: &[(u8, u8)], late: bool) {
        let event = |(key, record): &(u8, u8)| ArrivedEvent {
            dedupe_key: format!("k{key}"),
            event_type: "deal.changed".to_owned(),
            target: Some((Entity::Opportunity, format!("r{record}"))),
            occurred_at: None,
            problem: None,
        };
        let delivery = ArrivedDelivery {
            connection_id: self.from,
            headers: "[]".to_owned(),
            body: b"{}".to_vec(),
            events: named.iter().map(event).collect(),
            mapping_version: "1.0.0".to_owned(),
        };
        let answer = self.inbox.accept(delivery).await.expect("accepted");
        let before = self.model.events.len();
        let fresh = named.iter().filter(|event| self.model.deliver(self.now, **event, late)).count();
        assert_eq!(answer, Acknowledged { fresh, duplicates: named.len() - fresh });
        if late {
            self.see("NULL", before).await;
        }
        for event in events(&self.stores[0]).await {
            if event.status != InboundStatus::Duplicate {
                let index = self.model.events.iter().position(|kept| format!("k{}", kept.key) == event.dedupe_key);
                self.known.insert(event.id, index.expect("its key is known"));
            }
        }
    }

    /// Lets others see the events from one on, or not: when they are due decides whether anybody does.
    async fn see(&self, due: &str, from: usize) {
        let raw = self.database.raw().await;
        for event in &self.model.events[from..] {
            let sql = format!("UPDATE inbound_events SET next_attempt_at = {due} WHERE dedupe_key = 'k{}'", event.key);
            raw.execute_unprepared(&format!("{sql} AND status = 'RECEIVED' AND lease_until IS NULL"))
                .await
                .expect("set");
        }
        raw.close().await.expect("it closes");
    }

    async fn appear(&mut self, number: usize) {
        let late: Vec<usize> = (0..self.model.events.len()).filter(|at| self.model.events[*at].hidden).collect();
        let Some(index) = pick(&late, number).map(|at| late[at]) else { return };
        self.model.events[index].hidden = false;
        let raw = self.database.raw().await;
        let key = self.model.events[index].key;
        let sql = "UPDATE inbound_events SET next_attempt_at = received_at WHERE status = 'RECEIVED' AND dedupe_key =";
        raw.execute_unprepared(&format!("{sql} 'k{key}'")).await.expect("it is seen");
        raw.close().await.expect("it closes");
    }

    fn index(&self, taken: &ClaimedEvent) -> usize {
        self.known[&taken.id]
    }

    fn check_claim(&self, taken: &ClaimedEvent, expected: usize) {
        let event = &self.model.events[expected];
        assert_eq!(self.index(taken), expected, "k{} comes next", event.key);
        assert_eq!((taken.fence, taken.attempts), (event.fence, event.attempts));
        assert_eq!(taken.remote_id, format!("r{}", event.record));
    }

    async fn claim(&mut self, store: usize) -> bool {
        let taken = self.stores[store].claim_event(LEASE_MS).await.expect("claiming works");
        let expected = self.model.claim(self.now);
        assert_eq!(taken.as_ref().map(|taken| self.index(taken)), expected);
        if let (Some(taken), Some(expected)) = (&taken, expected) {
            self.check_claim(taken, expected);
        }
        self.hands.extend(taken.clone());
        taken.is_some()
    }

    /// Whoever of the two is first: together they take what two would take one after the other.
    async fn claim_at_once(&mut self) {
        let [one, other] = self.stores;
        let (first, second) = tokio::join!(one.claim_event(LEASE_MS), other.claim_event(LEASE_MS));
        let taken: Vec<ClaimedEvent> =
            [first, second].into_iter().filter_map(|taken| taken.expect("claiming works")).collect();
        let expected: Vec<usize> = (0..2).filter_map(|_| self.model.claim(self.now)).collect();
        let found: BTreeSet<usize> = taken.iter().map(|taken| self.index(taken)).collect();
        assert_eq!((taken.len(), found), (expected.len(), expected.iter().copied().collect()));
        taken.iter().for_each(|taken| self.check_claim(taken, self.index(taken)));
        self.hands.extend(taken);
    }

    async fn end(&mut self, hand: usize, end: End) {
        let Some(index) = pick(&self.hands, hand) else { return };
        let hand = self.hands.remove(index);
        let at = self.index(&hand);
        let (code, message) = ("TRANSIENT".to_owned(), String::new());
        let outcome = match end {
            End::Processed => EventOutcome::Processed,
            End::Retry(ms) => EventOutcome::Retry { at: self.stores[0].now().plus_ms(ms), code, message },
            End::Parked => EventOutcome::Parked { code, message },
        };
        let tx = self.stores[0].begin().await.expect("a transaction begins");
        let ended = tx.event_ended(&hand, &outcome).await;
        let event = &mut self.model.events[at];
        if event.fence != hand.fence {
            assert!(matches!(ended, Err(StoreError::Conflict)), "who lost it writes nothing: {ended:?}");
            return;
        }
        ended.expect("the holder ends it");
        tx.commit().await.expect("it commits");
        event.lease = None;
        event.attempts += 1;
        (event.status, event.due) = match end {
            End::Processed => (InboundStatus::Processed, None),
            End::Retry(ms) => (InboundStatus::Retrying, Some(self.now + ms)),
            End::Parked => (InboundStatus::Parked, None),
        };
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(named) => self.deliver(&named, false).await,
            Step::DeliverLate(key, record) => self.deliver(&[(key, record)], true).await,
            Step::Appear(number) => self.appear(number).await,
            Step::Claim(store) => {
                self.claim(store).await;
            }
            Step::ClaimAtOnce => self.claim_at_once().await,
            Step::Keep(hand) => {
                let Some(index) = pick(&self.hands, hand) else { return };
                let kept = self.stores[1].keep_event(&self.hands[index], LEASE_MS).await.expect("it is asked");
                let at = self.index(&self.hands[index]);
                let event = &mut self.model.events[at];
                assert_eq!(kept, event.fence == self.hands[index].fence);
                if kept {
                    event.lease = Some(self.now + LEASE_MS);
                }
            }
            Step::End(hand, how) => self.end(hand, how).await,
            Step::Pass(ms) => {
                self.database.clock.advance(ms);
                self.now += ms;
            }
        }
    }

    /// Everything that is not parked is taken in the end, and everything is as the model says.
    async fn finish(&mut self) {
        while self.model.events.iter().any(|event| event.hidden) {
            self.appear(0).await;
        }
        self.step(Step::Pass(10 * LEASE_MS)).await;
        while self.claim(0).await {
            let last = self.hands.len() - 1;
            self.end(last, End::Processed).await;
        }
        let kept = events(&self.stores[0]).await;
        let duplicates = kept.iter().filter(|event| event.status == InboundStatus::Duplicate).count();
        assert_eq!(duplicates, self.model.duplicates);
        for event in kept.iter().filter(|event| event.status != InboundStatus::Duplicate) {
            let expected = &self.model.events[self.known[&event.id]];
            assert_eq!((event.status, event.attempts), (expected.status, expected.attempts), "{}", event.dedupe_key);
            assert!(matches!(event.status, InboundStatus::Processed | InboundStatus::Parked), "{event:?}");
        }
        assert_eq!(kept.len() - duplicates, self.model.events.len(), "none is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_taken_one_at_a_time_for_each_record_in_order_and_none_is_lost() {
    on_each_quick_database(async |database| {
        let stores = [database.open().await, database.open().await];
        let from = connection(&stores[0], "hubspot").await;
        let inbox = InboxWriter::start(&stores[0]);
        hold("the inbox", 48, &steps(), async |steps| {
            database.empty(&["inbox_keys", "inbound_events", "inbound_payloads"]).await;
            let (model, known, hands) = (Model::default(), BTreeMap::new(), Vec::new());
            let (stores, inbox) = (&stores, &inbox);
            let mut scene = Scene { database, stores, inbox, from, model, known, hands, now: 0 };
            for step in steps {
                scene.step(step).await;
            }
            scene.finish().await;
        });
    })
    .await;
}
