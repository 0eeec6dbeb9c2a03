//! The inbox, the effect ledger, the relay and the versions, on both databases.

mod keeping;
mod lists;
mod order;
mod refusal;

use std::collections::{BTreeSet, HashMap};

use crosstie_domain::{
    access::{Principal, RowScope},
    ids::ConnectionId,
    integration::{Customer, EffectKey, EffectStatus, Entity, InboundEventRecord, InboundStatus, Intent, PlaceOrder},
    pipeline::AccountRecord,
};
use crosstie_store::{
    Change, Condition, Direction, EffectRequest, PageRequest, Span, Store, StoreError,
    integration::{
        Acknowledged, ArrivedDelivery, ArrivedEvent, ClaimedEffect, ClaimedEvent, EffectOutcome, EventOutcome,
        InboundColumn, InboxWriter, changes_after, inbound_events,
    },
    pipeline::accounts_by_ids,
};

use crate::support::{Database, account, connection, effects, on_each_database};

const LEASE_MS: i64 = 1_000;

fn delivery(connection_id: ConnectionId, events: &[(&str, &str)]) -> ArrivedDelivery {
    let events = events.iter().map(|(key, remote_id)| ArrivedEvent {
        dedupe_key: (*key).to_owned(),
        event_type: "deal.changed".to_owned(),
        target: Some((Entity::Opportunity, (*remote_id).to_owned())),
        occurred_at: None,
        problem: None,
    });
    ArrivedDelivery {
        connection_id,
        headers: "[]".to_owned(),
        body: b"{}".to_vec(),
        events: events.collect(),
        mapping_version: "1.0.0".to_owned(),
    }
}

async fn events(store: &Store) -> Vec<InboundEventRecord> {
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(InboundColumn::Id, Direction::Ascending)],
        span: Span::First(10_000, None),
    };
    let page = inbound_events(store, &RowScope::All, &request).await.expect("events can be read");
    page.rows.into_iter().map(|(event, _)| event).collect()
}

async fn end(store: &Store, event: &ClaimedEvent, outcome: &EventOutcome) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.event_ended(event, outcome).await?;
    tx.commit().await
}

async fn claim(store: &Store) -> Option<ClaimedEvent> {
    store.claim_event(LEASE_MS).await.expect("claiming works")
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_3_once_per_key_in_one_delivery_in_two_and_in_two_processes() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let from = connection(&store, "hubspot").await;
        let (inbox, others) = (InboxWriter::start(&store), InboxWriter::start(&other));

        let twice = inbox.accept(delivery(from, &[("k1", "1"), ("k1", "1")])).await.expect("accepted");
        assert_eq!(twice, Acknowledged { fresh: 1, duplicates: 1 });
        let again = inbox.accept(delivery(from, &[("k1", "1")])).await.expect("accepted");
        assert_eq!(again, Acknowledged { fresh: 0, duplicates: 1 });

        let keys: Vec<String> = (0..40).map(|number| format!("raced-{number}")).collect();
        let racing = keys
            .iter()
            .flat_map(|key| [&inbox, &others].map(|writer| writer.accept(delivery(from, &[(key.as_str(), "2")]))));
        let answers = futures::future::join_all(racing).await;
        let fresh: usize = answers.into_iter().map(|answer| answer.expect("accepted").fresh).sum();
        assert_eq!(fresh, keys.len(), "each key is fresh in one process alone");

        let kept = events(&store).await;
        let fresh: BTreeSet<_> = kept
            .iter()
            .filter(|event| event.status == InboundStatus::Received)
            .map(|event| event.dedupe_key.clone())
            .collect();
        assert_eq!(fresh.len(), keys.len() + 1);
        assert_eq!(kept.iter().filter(|event| event.status == InboundStatus::Duplicate).count(), keys.len() + 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_of_another_connection_is_another_event() {
    on_each_database(async |database| {
        let store = database.open().await;
        let (one, two) = (connection(&store, "one").await, connection(&store, "two").await);
        let inbox = InboxWriter::start(&store);
        for from in [one, two] {
            let answer = inbox.accept(delivery(from, &[("k", "1")])).await.expect("accepted");
            assert_eq!(answer, Acknowledged { fresh: 1, duplicates: 0 });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_seen_by_another_process_at_once() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        let work = (0..50).map(async |number| {
            let key = format!("k{number}");
            inbox.accept(delivery(from, &[(key.as_str(), "1")])).await.expect("accepted");
            let seen = events(&other).await;
            assert!(seen.iter().any(|event| event.dedupe_key == key), "{key} is there when it is acknowledged");
        });
        futures::future::join_all(work).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_record_come_one_at_a_time_and_in_order() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        let arrived = delivery(from, &[("a1", "a"), ("a2", "a"), ("b1", "b")]);
        inbox.accept(arrived).await.expect("accepted");

        let first = claim(&store).await.expect("a1");
        let second = claim(&store).await.expect("b1");
        assert_eq!((first.remote_id.as_str(), second.remote_id.as_str()), ("a", "b"));
        assert!(claim(&store).await.is_none(), "a2 waits for a1");
        end(&store, &first, &EventOutcome::Processed).await.expect("a1 ends");
        let third = claim(&store).await.expect("a2");
        assert_eq!(third.remote_id, "a");
        assert!(third.id > first.id);
        assert!(claim(&store).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_4_per_entity_order_is_kept_by_many_workers_of_two_processes() {
    on_each_database(async |database| {
        let stores = [database.open().await, database.open().await];
        let from = connection(&stores[0], "hubspot").await;
        let inbox = InboxWriter::start(&stores[0]);
        let names: Vec<(String, String)> =
            (0..60).map(|number| (format!("k{number}"), format!("r{}", number % 7))).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|(key, record)| (key.as_str(), record.as_str())).collect();
        inbox.accept(delivery(from, &pairs)).await.expect("accepted");

        let log = std::sync::Mutex::new(Vec::new());
        let workers = (0..8).map(async |number| {
            let store = &stores[number % 2];
            while log.lock().expect("not poisoned").len() < 2 * pairs.len() {
                let Some(event) = claim(store).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                log.lock().expect("not poisoned").push((event.remote_id.clone(), event.id, true));
                tokio::task::yield_now().await;
                log.lock().expect("not poisoned").push((event.remote_id.clone(), event.id, false));
                end(store, &event, &EventOutcome::Processed).await.expect("the worker's own event ends");
            }
        });
        futures::future::join_all(workers).await;

        let mut of_record: HashMap<String, Vec<_>> = HashMap::new();
        for (record, id, begins) in log.into_inner().expect("not poisoned") {
            of_record.entry(record).or_default().push((id, begins));
        }
        for (record, steps) in of_record {
            assert!(steps.is_sorted_by_key(|(id, begins)| (*id, !begins)), "{record}: {steps:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_4_per_entity_order_a_parked_event_holds_up_nothing() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        inbox.accept(delivery(from, &[("a1", "a"), ("a2", "a")])).await.expect("accepted");
        let first = claim(&store).await.expect("a1");
        let outcome = EventOutcome::Parked { code: "SHAPE".to_owned(), message: "odd".to_owned() };
        end(&store, &first, &outcome).await.expect("a1 is parked");
        let second = claim(&store).await.expect("a2 comes though a1 is parked");
        end(&store, &second, &EventOutcome::Processed).await.expect("a2 ends");
        let kept = events(&store).await;
        let statuses: Vec<_> = kept.iter().map(|event| (event.status, event.error_code.as_deref())).collect();
        assert_eq!(statuses, [(InboundStatus::Parked, Some("SHAPE")), (InboundStatus::Processed, None)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_to_be_tried_again_holds_up_later_ones_of_its_record_until_then() {
    on_each_database(async |database| {
        let store = database.open().await;
        let from = connection(&store, "hubspot").await;
        let inbox = InboxWriter::start(&store);
        inbox.accept(delivery(from, &[("a1", "a"), ("a2", "a")])).await.expect("accepted");
        let first = claim(&store).await.expect("a1");
        let (at, code) = (store.now().plus_ms(5_000), "TRANSIENT".to_owned());
        let outcome = EventOutcome::Retry { at, code, message: String::new() };
        end(&store, &first, &outcome).await.expect("a1 is put off");
        assert!(claim(&store).await.is_none());
        database.clock.advance(5_000);
        let again = claim(&store).await.expect("a1 again");
        assert_eq!((again.id, again.attempts), (first.id, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ends_gives_the_event_to_another_and_fences_the_first_off() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let from = connection(&store, "hubspot").await;
        InboxWriter::start(&store).accept(delivery(from, &[("a1", "a")])).await.expect("accepted");
        let first = claim(&store).await.expect("a1");
        database.clock.advance(LEASE_MS - 1);
        assert!(claim(&other).await.is_none(), "the lease still holds");
        assert!(store.keep_event(&first, LEASE_MS).await.expect("it can be kept"));
        database.clock.advance(LEASE_MS - 1);
        assert!(claim(&other).await.is_none(), "it was kept");
        database.clock.advance(1);
        let second = claim(&other).await.expect("a1 for another");
        assert_eq!(second.id, first.id);
        assert!(second.fence > first.fence);
        let late = end(&store, &first, &EventOutcome::Processed).await;
        assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
        assert!(!store.keep_event(&first, LEASE_MS).await.expect("it is asked"));
        end(&other, &second, &EventOutcome::Processed).await.expect("the holder ends it");
    })
    .await;
}

fn place_order(of: &AccountRecord) -> (EffectKey, Intent) {
    let order = crosstie_domain::ids::Id::from_uuid(new_uuid());
    let intent = Intent::PlaceOrder(PlaceOrder {
        order,
        sow: crosstie_domain::ids::Id::from_uuid(new_uuid()),
        customer: Customer { account: of.id, name: of.name.clone(), email: None },
        title: "Rollout".to_owned(),
        po_number: None,
        total: crosstie_domain::money::Money { minor: 1, currency: "USD".parse().expect("a currency") },
        lines: vec![],
    });
    (EffectKey::place_order(order), intent)
}

fn new_uuid() -> uuid::Uuid {
    crosstie_domain::Clock::new_uuid(&crosstie_app::SystemClock::default())
}

async fn ask(store: &Store, at: ConnectionId, (key, intent): &(EffectKey, Intent)) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    let record_id = intent.order().expect("it is for an order").to_string();
    let request = EffectRequest { key, entity: Entity::ServiceOrder, record_id: &record_id, connection_id: at, intent };
    tx.request_effect(request).await?;
    tx.commit().await
}

async fn claim_effect(store: &Store) -> Option<ClaimedEffect> {
    store.claim_effect(LEASE_MS).await.expect("claiming works")
}

async fn sending(store: &Store, effect: &ClaimedEffect) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.effect_sending(effect).await?;
    tx.commit().await
}

async fn done(store: &Store, effect: &ClaimedEffect) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.effect_ended(effect, &EffectOutcome::Done { remote_id: "x_1".to_owned() }).await?;
    tx.commit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_is_asked_for_once() {
    on_each_database(async |database| {
        let store = database.open().await;
        let (billing, acme) = (connection(&store, "stripe").await, account(&store, "Acme").await);
        let asked = place_order(&acme);
        ask(&store, billing, &asked).await.expect("asked");
        let again = ask(&store, billing, &asked).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
        let kept = effects(&store).await;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].status, EffectStatus::Waiting);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_of_one_customer_are_taken_one_at_a_time_and_of_others_beside_them() {
    on_each_database(async |database| {
        let store = database.open().await;
        let billing = connection(&store, "stripe").await;
        let (acme, borealis) = (account(&store, "Acme").await, account(&store, "Borealis").await);
        let asked = [&acme, &acme, &borealis].map(place_order);
        for effect in &asked {
            ask(&store, billing, effect).await.expect("asked");
        }
        let first = claim_effect(&store).await.expect("the first of Acme");
        let second = claim_effect(&store).await.expect("that of Borealis");
        assert_eq!((&first.key, &second.key), (&asked[0].0, &asked[2].0));
        assert!(claim_effect(&store).await.is_none());
        done(&store, &first).await.expect("done");
        assert_eq!(claim_effect(&store).await.expect("the second of Acme").key, asked[1].0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_was_sent_and_never_ended_is_taken_up_as_unknown() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let (billing, acme) = (connection(&store, "stripe").await, account(&store, "Acme").await);
        ask(&store, billing, &place_order(&acme)).await.expect("asked");
        let first = claim_effect(&store).await.expect("the effect");
        assert!(!first.outcome_unknown);

        database.clock.advance(LEASE_MS);
        let second = claim_effect(&other).await.expect("the effect for another");
        assert!(!second.outcome_unknown, "nothing was sent");
        let late = sending(&store, &first).await;
        assert!(matches!(late, Err(StoreError::Conflict)), "who lost it must not send it: {late:?}");

        sending(&other, &second).await.expect("sending");
        database.clock.advance(LEASE_MS);
        let third = claim_effect(&store).await.expect("the effect again");
        assert!(third.outcome_unknown);
        assert!(third.fence > second.fence && second.fence > first.fence);
        let late = done(&other, &second).await;
        assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
        done(&store, &third).await.expect("done");
        let kept = effects(&store).await;
        assert_eq!((kept[0].status, kept[0].remote_id.as_deref()), (EffectStatus::Done, Some("x_1")));
        assert!(claim_effect(&store).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_effects_that_are_made_due_again_nothing_unknown_is_forgotten_and_what_a_person_must_settle_stays() {
    on_each_database(async |database| {
        let store = database.open().await;
        let billing = connection(&store, "stripe").await;
        let (code, message) = ("OUTCOME_UNKNOWN".to_owned(), String::new());
        let later = store.now().plus_ms(3_600_000);
        let mut sent = Vec::new();
        for outcome in [
            EffectOutcome::Retry { at: later, outcome_unknown: true, code: code.clone(), message: message.clone() },
            EffectOutcome::Uncertain { code, message },
            EffectOutcome::Done { remote_id: "x_1".to_owned() },
        ] {
            ask(&store, billing, &place_order(&account(&store, "Acme").await)).await.expect("asked");
            let effect = claim_effect(&store).await.expect("it is due");
            sending(&store, &effect).await.expect("sending");
            let tx = store.begin().await.expect("a transaction begins");
            tx.effect_ended(&effect, &outcome).await.expect("it is kept");
            tx.commit().await.expect("it commits");
            sent.push(effect.key);
        }
        ask(&store, billing, &place_order(&account(&store, "Acme").await)).await.expect("asked");
        claim_effect(&store).await.expect("somebody works on it");
        let all: Vec<_> = effects(&store).await.into_iter().map(|effect| effect.id).collect();
        let tx = store.begin().await.expect("a transaction begins");
        let due = tx.effects_again(&all, EffectStatus::Waiting).await.expect("asked");
        tx.commit().await.expect("it commits");
        assert_eq!((all.len(), due.len()), (4, 1));
        let taken = claim_effect(&store).await.expect("it is due again");
        assert_eq!((&taken.key, taken.outcome_unknown), (&sent[0], true), "it is asked about first");
        assert!(claim_effect(&store).await.is_none());
    })
    .await;
}

async fn publish(store: &Store, id: &str) {
    let tx = store.begin().await.expect("a transaction begins");
    let change = Change { entity: Entity::Sow, id, event: "sow_signed", actor: Principal::System, version: 1 };
    tx.publish(&[change]).await.expect("published");
    tx.commit().await.expect("it commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_have_no_gaps_under_two_relays() {
    on_each_database(async |database| {
        let stores = [database.open().await, database.open().await];
        let names: Vec<String> = (0..120).map(|number| format!("sow_{number:03}")).collect();
        let all = i64::try_from(names.len()).expect("few");
        let writes = async {
            for name in &names {
                publish(&stores[0], name).await;
            }
        };
        let relay = async |number: usize| {
            let owner = format!("relay-{number}");
            let store = &stores[number];
            while crosstie_store::integration::last_position(store).await.expect("it can be read") < all {
                // The lease is short and time moves, so that it goes to and fro.
                database.clock.advance(4);
                if let Some(lease) = store.lease("relay", &owner, 10).await.expect("the lease is asked for") {
                    store.place_outbox(&lease, 7).await.expect("placed");
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(writes, relay(0), relay(1));
        let changes = changes_after(&stores[0], 0, 1_000).await.expect("changes can be read");
        let found: Vec<_> = changes.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(found, names);
        assert!(changes.iter().map(|change| change.position).eq(1..=all));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lost_its_lease_places_nothing() {
    on_each_database(async |database: &Database| {
        let (store, other) = (database.open().await, database.open().await);
        let lost = store.lease("relay", "a", 1_000).await.expect("asked").expect("taken");
        assert!(other.lease("relay", "b", 1_000).await.expect("asked").is_none());
        database.clock.advance(1_000);
        let held = other.lease("relay", "b", 1_000).await.expect("asked").expect("taken over");
        assert!(held.fence > lost.fence);
        publish(&store, "sow_1").await;
        assert_eq!(store.place_outbox(&lost, 100).await.expect("refused quietly"), 0);
        assert!(changes_after(&store, 0, 10).await.expect("changes can be read").is_empty());
        assert_eq!(other.place_outbox(&held, 100).await.expect("placed"), 1);
        assert_eq!(changes_after(&store, 0, 10).await.expect("changes can be read").len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_one_record_one_is_told_to_read_again() {
    on_each_database(async |database| {
        let (store, other) = (database.open().await, database.open().await);
        let acme = account(&store, "Acme").await;
        let change = async |store: &Store, name: &str| {
            let tx = store.begin().await?;
            let record = AccountRecord { name: name.to_owned(), version: acme.version + 1, ..acme.clone() };
            tx.save_account(&record).await?;
            tx.commit().await
        };
        let (one, two) = tokio::join!(change(&store, "One"), change(&other, "Two"));
        let (kept, refused) = if one.is_ok() { ("One", two) } else { ("Two", one) };
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        let found = accounts_by_ids(&store, &RowScope::All, &[acme.id]).await.expect("it can be read");
        assert_eq!((found[0].name.as_str(), found[0].version), (kept, 2));
    })
    .await;
}
