//! Every single crash of the ways through the hub: a webhook that comes in, a scheduled reading, a replay, what is asked
//! of billing, a value that is set, a webhook that goes out. A story is told once, and its points are counted: both sides
//! of every commit and of every request. Then it is told again and again, and the process dies at each of them in turn,
//! or the answer is lost there, or it dies whenever it had to wait. After the restart what was acknowledged has
//! happened, and once, and what is new still flows.

mod oracle;
mod stories;
mod world;

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::timeout;

use crate::support::{Database, Fate, Points, on_each_quick_database, variable};
use stories::{Billing, Incoming, Outgoing, Reading, Replaying, Setting, Story};
use world::{Hub, PATIENCE, World};

/// What a story leaves in the database.
const KEPT: &[&str] = &[
    "invoice_lines",
    "invoices",
    "service_orders",
    "milestones",
    "sows",
    "opportunities",
    "accounts",
    "identities",
    "match_candidates",
    "assertions",
    "evidence",
    "record_fields",
    "domain_events",
    "effects",
    "outbox_unplaced",
    "outbox_positions",
    "outbox",
    "inbound_events",
    "inbound_payloads",
    "inbox_keys",
    "sync_runs",
    "cursors",
    "webhook_deliveries",
    "idempotency_keys",
    "replay_items",
    "replay_jobs",
    "rate_budgets",
    "leases",
];

/// Tells a story with one fate in its middle. Returns the points that it reached until then, and whether it died.
async fn tell<S: Story>(database: &Database, story: S, (number, fate): (usize, Fate)) -> (Vec<String>, bool) {
    println!("  {number}: {fate:?}");
    database.empty(KEPT).await;
    database.clock.advance(10_000);
    let world = World::new(database, number);
    let calm = Points::new(Fate::Lives);
    let (outside, points) = (Arc::clone(&world), Arc::clone(&calm));
    let prepared = calm.live(move || async move {
        let hub = Hub::start(&outside, &points, "first").await;
        story.prepare(&hub).await;
        hub.stop().await;
    });
    prepared.await.expect("nothing happens to it");
    world.clock.advance(10_000);

    let points = Points::new(fate);
    let (outside, watched) = (Arc::clone(&world), Arc::clone(&points));
    let lived = points.live(move || async move {
        let hub = Hub::start(&outside, &watched, "second").await;
        story.act(&hub, 0).await;
        hub.stop().await;
    });
    let died = lived.await.is_none();

    // The leases of the dead end, and another life goes on and takes in what is new.
    world.clock.advance(10_000);
    let (outside, watched) = (Arc::clone(&world), Arc::clone(&calm));
    let healed = calm.live(move || async move {
        let hub = Hub::start(&outside, &watched, "third").await;
        for item in 0..2 {
            story.act(&hub, item).await;
            hub.settle().await;
        }
        for item in 0..2 {
            story.check(&hub, item).await;
        }
        oracle::check(&hub).await;
        story.end(&hub).await;
        hub.stop().await;
    });
    healed.await.expect("nothing happens to it");
    (points.reached(), died)
}

/// Tells a story until no death of the kind falls into it any more; how many fell into it.
async fn every_death<S: Story>(
    database: &Database,
    story: S,
    numbers: &mut usize,
    fate: impl Fn(usize) -> Fate,
) -> usize {
    for deaths in 0.. {
        *numbers += 1;
        let fate = fate(deaths);
        let told = timeout(PATIENCE, tell(database, story, (*numbers, fate))).await;
        let (reached, died) = told.unwrap_or_else(|_| panic!("{fate:?}: the story does not end"));
        if !died {
            return deaths;
        }
        println!("    {}", reached.last().map_or("before anything", String::as_str));
    }
    unreachable!("a story has an end")
}

/// Every crash of a story, every answer that can be lost, and every wait that it can die in. The story must reach at
/// least so many points, and among them those whose names hold these words.
async fn enumerate<S: Story>(story: S, least: usize, words: &[&str]) {
    on_each_quick_database(async |database| {
        let mut numbers = 0;
        let (points, _) = tell(database, story, (0, Fate::Lives)).await;
        assert!(points.len() >= least, "{} points: {points:#?}", points.len());
        for word in words {
            assert!(points.iter().any(|point| point.contains(word)), "no point has {word:?}: {points:#?}");
        }
        let deaths = every_death(database, story, &mut numbers, Fate::DiesAt).await;
        assert!(deaths >= least, "{deaths} deaths");

        let sends: BTreeSet<usize> = (0..points.len()).filter(|at| !points[*at].contains("commit")).collect();
        for at in &sends {
            numbers += 1;
            tell(database, story, (numbers, Fate::LosesAnswerAt(*at))).await;
        }
        let stride = variable("CROSSTIE_CRASH_STRIDE").map_or(STRIDE, |text| text.parse().expect("a number"));
        let waits = every_death(database, story, &mut numbers, |death| Fate::DiesAfterPolls(1 + death * stride)).await;
        assert!(waits * stride >= deaths, "{waits} waits");
        println!("{} points: {deaths} deaths, {} lost answers, {waits} waits", points.len(), sends.len());
    })
    .await;
}

/// Every so manieth wait is died in; `CROSSTIE_CRASH_STRIDE` says another number, 1 for every one.
const STRIDE: usize = 17;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_in_is_applied_once_wherever_the_process_dies() {
    enumerate(
        Incoming,
        48,
        &[
            "store/src/integration/inbox.rs",
            "store/src/integration/events.rs",
            "sync/src/inbox.rs",
            "store/src/integration/outbox.rs",
            "GET /crm/v3/objects/deals/",
            "GET /crm/v3/objects/companies/",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_loses_no_row_wherever_the_process_dies() {
    enumerate(
        Reading,
        100,
        &[
            "sync/src/pull.rs",
            "store/src/integration/leases.rs",
            "POST /crm/v3/objects/deals/search",
            "GET /crm/v3/objects/companies/",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_taken_up_again_wherever_the_process_dies() {
    enumerate(
        Replaying,
        24,
        &[
            "app/src/replays.rs",
            "sync/src/replay.rs",
            "store/src/integration/leases.rs",
            "sync/src/inbox.rs",
            "GET /crm/v3/objects/deals/",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_and_an_invoice_are_made_once_wherever_the_process_dies() {
    enumerate(
        Billing,
        50,
        &[
            "app/src/contracts.rs",
            "app/src/delivery.rs",
            "store/src/integration/effects.rs",
            "sync/src/outbox.rs",
            "POST /v1/products",
            "POST /v1/invoices",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_set_elsewhere_wherever_the_process_dies() {
    enumerate(
        Setting,
        36,
        &["sync/src/inbox.rs", "store/src/integration/effects.rs", "sync/src/outbox.rs", "POST /v1/customers/"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_goes_out_under_one_identifier_wherever_the_process_dies() {
    enumerate(
        Outgoing,
        16,
        &[
            "app/src/subscriptions/expand.rs",
            "store/src/integration/sending.rs",
            "POST /hooks",
            "app/src/subscriptions/deliver.rs",
        ],
    )
    .await;
}
