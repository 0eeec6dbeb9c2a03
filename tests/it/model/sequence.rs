//! What a subscribed system hears: its changes are numbered 1, 2, 3 in the one order, each is sent until it is taken,
//! and of one record one after the other.

use crosstie_app::{
    App,
    subscriptions::{CreateWebhookSubscription, OfSubscription},
};
use crosstie_domain::{
    access::{AuthContext, Principal},
    ids::WebhookSubscriptionId,
    integration::{DeliveryStatus, EgressRules, Entity},
};
use crosstie_store::{
    Change, Store, StoreError,
    integration::{Answered, ClaimedDelivery, DeliveryOutcome, Lease, subscription_events},
};
use proptest::{collection::vec, prelude::Just, prop_oneof, strategy::Strategy};

use super::{hold, pick};
use crate::support::{Database, keyring, on_each_quick_database};

const LEASE_MS: i64 = 100;
/// Deliveries of one subscription that are under way at a time.
const AT_A_TIME: usize = 2;
const WORKERS: [&str; 2] = ["hub-one", "hub-two"];

#[derive(Debug, Clone, Copy)]
enum End {
    Delivered,
    Retry(i64),
    Exhausted,
    Withheld,
}

#[derive(Debug, Clone)]
enum Step {
    /// A record changes; the subscription tells of it or not.
    Publish(u8, bool),
    Place,
    Lease(usize),
    /// Somebody puts changes in line, with whatever lease it thinks that it holds.
    Expand(usize),
    Claim(usize),
    Keep(usize),
    GiveBack(usize),
    End(usize, End),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        3 => Just(End::Delivered),
        2 => prop_oneof![Just(0_i64), Just(LEASE_MS / 2), Just(3 * LEASE_MS)].prop_map(End::Retry),
        1 => Just(End::Exhausted),
        1 => Just(End::Withheld),
    ];
    let step = prop_oneof![
        5 => (0_u8..3, proptest::bool::weighted(0.8)).prop_map(|(record, told)| Step::Publish(record, told)),
        3 => Just(Step::Place),
        2 => (0..WORKERS.len()).prop_map(Step::Lease),
        4 => (0_usize..4).prop_map(Step::Expand),
        6 => (0_usize..2).prop_map(Step::Claim),
        1 => (0_usize..6).prop_map(Step::Keep),
        1 => (0_usize..6).prop_map(Step::GiveBack),
        4 => (0_usize..6, end).prop_map(|(hand, end)| Step::End(hand, end)),
        3 => prop_oneof![Just(1_i64), Just(LEASE_MS / 2), Just(LEASE_MS)].prop_map(Step::Pass),
    ];
    vec(step, 1..50)
}

/// A delivery in its place.
#[derive(Debug)]
struct Queued {
    record: String,
    status: DeliveryStatus,
    due: Option<i64>,
    lease: Option<i64>,
    fence: i64,
    attempts: i32,
}

#[derive(Debug, Default)]
struct Model {
    unplaced: Vec<(String, bool)>,
    placed: Vec<(String, bool)>,
    looked_through: usize,
    /// The first has number 1.
    queue: Vec<Queued>,
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

    fn expand(&mut self, now: i64) {
        for (record, told) in &self.placed[self.looked_through..] {
            if *told {
                let (record, status, due) = (record.clone(), DeliveryStatus::Waiting, Some(now));
                self.queue.push(Queued { record, status, due, lease: None, fence: 0, attempts: 0 });
            }
        }
        self.looked_through = self.placed.len();
    }

    fn claim(&mut self, now: i64) -> Option<usize> {
        if self.queue.iter().filter(|one| one.lease.is_some_and(|lease| lease > now)).count() >= AT_A_TIME {
            return None;
        }
        let is_first = |index: &usize| {
            let earlier = &self.queue[..*index];
            !earlier.iter().any(|one| one.record == self.queue[*index].record && one.due.is_some())
        };
        let due = (0..self.queue.len()).filter(is_first).filter(|index| {
            let one = &self.queue[*index];
            one.due.is_some_and(|due| due <= now) && one.lease.is_none_or(|lease| lease <= now)
        });
        let next = due.min_by_key(|index| (self.queue[*index].due, *index))?;
        self.queue[next].lease = Some(now + LEASE_MS);
        self.queue[next].fence += 1;
        Some(next)
    }
}

struct Scene<'a> {
    database: &'a Database,
    app: &'a App,
    other: &'a Store,
    subscription: WebhookSubscriptionId,
    model: Model,
    leases: Vec<Lease>,
    hands: Vec<ClaimedDelivery>,
    now: i64,
}

fn index(taken: &ClaimedDelivery) -> usize {
    usize::try_from(taken.delivery.sequence.expect("a number") - 1).expect("it counts from 1")
}

impl Scene<'_> {
    fn store(&self) -> &Store {
        self.app.store()
    }

    async fn publish(&mut self, record: u8, told: bool) {
        let id = format!("sow_{record}");
        let tx = self.store().begin().await.expect("a transaction begins");
        let (entity, actor) = (Entity::Sow, Principal::System);
        let event = if told { "sow_signed" } else { "sow_lost" };
        tx.publish(&[Change { entity, id: &id, event, actor, version: 1 }]).await.expect("published");
        tx.commit().await.expect("it commits");
        self.model.unplaced.push((id, told));
    }

    async fn place(&mut self) {
        let lease = self.store().lease("relay", "relay", 60_000).await.expect("asked").expect("taken");
        self.store().place_outbox(&lease, 1_000).await.expect("placed");
        self.model.placed.append(&mut self.model.unplaced);
    }

    async fn lease(&mut self, worker: usize) {
        let lease = self.store().lease("webhooks", WORKERS[worker], LEASE_MS).await.expect("asked");
        assert_eq!(lease.as_ref().map(|lease| lease.fence), self.model.lease(self.now, WORKERS[worker]));
        self.leases.extend(lease);
    }

    async fn expand(&mut self, lease: usize) {
        let Some(at) = pick(&self.leases, lease) else { return };
        let looked = self.app.expand_subscription(&self.leases[at], self.subscription).await.expect("asked");
        let holds = self.leases[at].fence == self.model.fence;
        assert_eq!(looked, holds && self.model.looked_through < self.model.placed.len());
        if holds {
            self.model.expand(self.now);
        }
    }

    async fn claim(&mut self, other: bool) -> bool {
        let store = if other { self.other } else { self.app.store() };
        let taken = store.claim_delivery(LEASE_MS).await.expect("claiming works");
        let expected = self.model.claim(self.now);
        assert_eq!(taken.as_ref().map(index), expected);
        if let Some(taken) = &taken {
            let expected = &self.model.queue[index(taken)];
            assert_eq!((taken.fence, taken.delivery.attempts), (expected.fence, expected.attempts));
            assert_eq!(taken.delivery.record_id.as_ref(), Some(&expected.record));
        }
        self.hands.extend(taken.clone());
        taken.is_some()
    }

    async fn end(&mut self, hand: usize, end: End) {
        let Some(at) = pick(&self.hands, hand) else { return };
        let hand = self.hands.remove(at);
        let outcome = match end {
            End::Delivered => DeliveryOutcome::Delivered,
            End::Retry(ms) => DeliveryOutcome::Retry(self.store().now().plus_ms(ms)),
            End::Exhausted => DeliveryOutcome::Exhausted,
            End::Withheld => DeliveryOutcome::Withheld,
        };
        let tx = self.store().begin().await.expect("a transaction begins");
        let ended = tx.delivery_ended(&hand, &outcome, Answered::default()).await;
        let queued = &mut self.model.queue[index(&hand)];
        if queued.fence != hand.fence {
            assert!(matches!(ended, Err(StoreError::Conflict)), "who lost it writes nothing: {ended:?}");
            return;
        }
        ended.expect("the holder ends it");
        tx.commit().await.expect("it commits");
        queued.lease = None;
        queued.attempts += i32::from(!matches!(end, End::Withheld));
        (queued.status, queued.due) = match end {
            End::Delivered => (DeliveryStatus::Delivered, None),
            End::Retry(ms) => (DeliveryStatus::Waiting, Some(self.now + ms)),
            End::Exhausted => (DeliveryStatus::Exhausted, None),
            End::Withheld => (DeliveryStatus::Withheld, None),
        };
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish(record, told) => self.publish(record, told).await,
            Step::Place => self.place().await,
            Step::Lease(worker) => self.lease(worker).await,
            Step::Expand(lease) => self.expand(lease).await,
            Step::Claim(store) => {
                self.claim(store == 1).await;
            }
            Step::Keep(hand) => {
                let Some(at) = pick(&self.hands, hand) else { return };
                let kept = self.other.keep_delivery(&self.hands[at], LEASE_MS).await.expect("asked");
                let queued = &mut self.model.queue[index(&self.hands[at])];
                assert_eq!(kept, queued.fence == self.hands[at].fence);
                if kept {
                    queued.lease = Some(self.now + LEASE_MS);
                }
            }
            Step::GiveBack(hand) => {
                let Some(at) = pick(&self.hands, hand) else { return };
                let hand = self.hands.remove(at);
                let tx = self.store().begin().await.expect("a transaction begins");
                tx.give_delivery_back(&hand).await.expect("given back");
                tx.commit().await.expect("it commits");
                let queued = &mut self.model.queue[index(&hand)];
                if queued.fence == hand.fence {
                    queued.lease = None;
                }
            }
            Step::End(hand, how) => self.end(hand, how).await,
            Step::Pass(ms) => {
                self.database.clock.advance(ms);
                self.now += ms;
            }
        }
    }

    /// Everything is told in the end, under numbers without gaps.
    async fn finish(&mut self) {
        self.place().await;
        self.step(Step::Pass(10 * LEASE_MS)).await;
        self.lease(0).await;
        self.expand(self.leases.len() - 1).await;
        while self.claim(false).await {
            self.end(self.hands.len() - 1, End::Delivered).await;
        }
        let found = subscription_events(self.store(), self.subscription, 0, 1_000).await.expect("they can be read");
        let told: Vec<&str> = found.iter().filter_map(|one| one.record_id.as_deref()).collect();
        let placed = self.model.placed.iter().filter(|(_, told)| *told).map(|(record, _)| record.as_str());
        assert_eq!(told, placed.collect::<Vec<_>>(), "each change that it tells of, once and in order");
        for ((number, one), expected) in (1_i64..).zip(&found).zip(&self.model.queue) {
            assert_eq!((one.sequence, one.status), (Some(number), expected.status));
            assert_ne!(one.status, DeliveryStatus::Waiting, "it is never told: {one:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscribed_system_hears_of_each_change_under_its_number_whoever_dies() {
    on_each_quick_database(async |database| {
        let open = EgressRules { allow_http: true, allow_private: true };
        let app = App::new(database.open().await).with_egress_rules(open).with_keyring(Some(keyring()));
        let other = database.open().await;
        let auth = AuthContext::system();
        hold("the numbers of a subscription", 32, &steps(), async |steps| {
            database.empty(&["webhook_deliveries", "outbox_positions", "outbox_unplaced", "outbox", "leases"]).await;
            let wanted = CreateWebhookSubscription {
                url: "http://127.0.0.1:9/hooks".to_owned(),
                description: String::new(),
                entities: vec![],
                event_types: vec!["sow_signed".to_owned()],
                accounts: vec![],
                ordered: true,
                idempotency_key: None,
            };
            let made = app.create_webhook_subscription(&auth, wanted).await.expect("decided").expect("made");
            let subscription = made.subscription.id;
            let (model, leases, hands) = (Model::default(), Vec::new(), Vec::new());
            let mut scene = Scene { database, app: &app, other: &other, subscription, model, leases, hands, now: 0 };
            for step in steps {
                scene.step(step).await;
            }
            scene.finish().await;
            let of = OfSubscription { id: subscription, expected_version: None, idempotency_key: None };
            app.delete_webhook_subscription(&auth, of).await.expect("decided").expect("deleted");
        });
    })
    .await;
}
