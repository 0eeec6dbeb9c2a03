//! The question that every story ends with: has all that was acknowledged happened, once, and is everything as it
//! should be? Counted are the database, what the vendors hold, and what the receiver of webhooks heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crosstie_app::SystemClock;
use crosstie_domain::{
    Clock,
    integration::{InboundStatus, RunStatus, RunTrigger, SyncRunRecord},
};
use crosstie_sdk::{FakeVendor, HttpRequest, Method};
use crosstie_store::{Store, integration::last_position};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value as Json, json};

use crate::{
    sales::Sold,
    support::{Database, events, runs},
    vendors::now,
    wait_for,
    world::{Scene, World},
};

/// Everything acknowledged is there and applied, effects happened once, records and their lineage are whole, orders
/// have no gaps, nothing is held any more, and a fresh sale still goes its way. The processes must be at work.
pub(crate) async fn everything_holds(scene: &mut Scene, database: &Database) {
    scene.sell("deal-fresh".to_owned());
    let sold = scene.sold().await;
    let raw = database.raw().await;
    wait_for("everything is done", async || settled(&scene.world, &raw, &sold).await).await;
    scene.no_webhook_was_refused();
    let store = database.open().await;
    check_billing(&scene.world, &sold).await;
    check_records(&scene.world, &sold).await;
    check_inbox(&scene.world, &store).await;
    check_runs(&store).await;
    check_history(&raw).await;
    check_subscriber(&scene.world, &raw, &store).await;
    check_cursors(scene, &raw).await;
    store.close().await.expect("it closes");
    raw.close().await.expect("it closes");
    println!("the oracle: {} sales, {} webhooks acknowledged", sold.len(), scene.world.acknowledged().len());
}

/// One number of the database.
pub(crate) async fn number(raw: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(raw.get_database_backend(), sql);
    let row = raw.query_one_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    row.and_then(|row| row.try_get_by_index(0).ok()).unwrap_or_else(|| panic!("{sql}: no number"))
}

/// Whether nothing is left to do; otherwise what is.
async fn settled(world: &World, raw: &DatabaseConnection, sold: &[Sold]) -> Result<(), String> {
    let orders_and_invoices = "SELECT COUNT(*) FROM effects WHERE status = 'DONE' AND effect_key NOT LIKE 'push%'";
    let done = number(raw, orders_and_invoices).await;
    if done != i64::try_from(2 * sold.len()).expect("it fits") {
        return Err(format!("{done} orders and invoices of {} sales are done", sold.len()));
    }
    if world.under_way() > 0 {
        return Err(format!("{} webhooks are not acknowledged", world.under_way()));
    }
    for (what, sql) in [
        ("effects are not sent", "SELECT COUNT(*) FROM effects WHERE finished_at IS NULL OR lease_until IS NOT NULL"),
        (
            "events are not applied",
            "SELECT COUNT(*) FROM inbound_events WHERE status IN ('RECEIVED', 'RETRYING') OR lease_until IS NOT NULL",
        ),
        ("changes have no place", "SELECT COUNT(*) FROM outbox_unplaced"),
        (
            "changes were not looked through for the subscriber",
            "SELECT COUNT(*) FROM webhook_subscriptions \
             WHERE position < (SELECT COALESCE(MAX(position), 0) FROM outbox_positions)",
        ),
        (
            "webhooks are not delivered",
            "SELECT COUNT(*) FROM webhook_deliveries WHERE status <> 'DELIVERED' OR lease_until IS NOT NULL",
        ),
    ] {
        let left = number(raw, sql).await;
        if left > 0 {
            return Err(format!("{left} {what}"));
        }
    }
    let names: BTreeSet<String> = at_stripe(world, "/v1/customers")
        .iter()
        .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    match sold.iter().find(|one| !names.contains(&one.customer())) {
        Some(one) => Err(format!("{:?} is not the name of a customer at billing: {names:?}", one.customer())),
        None => Ok(()),
    }
}

/// All rows of a listing of the stand-in for Stripe, asked as a person there asks.
fn at_stripe(world: &World, path: &str) -> Vec<Json> {
    let (mut rows, mut after) = (Vec::<Json>::new(), String::new());
    loop {
        let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
        let url = format!("https://stripe.example{path}?limit=100{after}");
        let request = HttpRequest { method: Method::Get, url, headers, body: vec![] };
        let answer: Json = serde_json::from_slice(&world.stripe.vendor().respond(&request, now()).body).expect("JSON");
        rows.extend(answer["data"].as_array().expect("rows").iter().cloned());
        if answer["has_more"] != true {
            return rows;
        }
        after = format!("&starting_after={}", rows.last().expect("a row")["id"].as_str().expect("an id"));
    }
}

/// As the stand-in counts: for every sale one customer, whose name was set once; one product; and one invoice with one
/// line of the amount, made final once.
async fn check_billing(world: &World, sold: &[Sold]) {
    let (invoices, customers) = (at_stripe(world, "/v1/invoices"), at_stripe(world, "/v1/customers"));
    assert_eq!(world.stripe.vendor().product_count(), sold.len(), "one product for each signed statement of work");
    assert_eq!(invoices.len(), sold.len(), "one invoice for each accepted milestone: {invoices:#?}");
    assert_eq!(customers.len(), sold.len(), "one customer for each account: {customers:#?}");
    for one in sold {
        let ours: Vec<&Json> = invoices
            .iter()
            .filter(|invoice| invoice["metadata"]["crosstie_milestone"] == one.milestone.as_str())
            .collect();
        let [invoice] = ours.as_slice() else { panic!("{}: {ours:#?}", one.name) };
        let lines = invoice["lines"]["data"].as_array().expect("lines");
        let amounts = (lines.len(), &lines[0]["amount"], &invoice["total"], &invoice["status"]);
        assert_eq!(amounts, (1, &json!(10_000), &json!(10_000), &json!("open")), "{}", one.name);
    }
    let mut told = BTreeMap::new();
    for event in at_stripe(world, "/v1/events") {
        let of = event["data"]["object"]["id"].as_str().expect("an id").to_owned();
        *told.entry((event["type"].as_str().expect("a type").to_owned(), of)).or_insert(0) += 1;
    }
    let twice: Vec<_> = told.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "billing did these more than once: {twice:?}");
    for (kind, expected) in
        [("customer.created", 1), ("customer.updated", 1), ("invoice.created", 1), ("invoice.finalized", 1)]
    {
        let count = told.keys().filter(|(of, _)| of == kind).count();
        assert_eq!(count, expected * sold.len(), "{kind} at billing");
    }
}

/// What the hub shows of each sale.
async fn check_records(world: &World, sold: &[Sold]) {
    let query = "query($order: ID!, $milestone: ID!, $name: String!) { \
        serviceOrder(id: $order) { status billingReference total { amount currency } } \
        node(id: $milestone) { ... on Milestone { billing invoices { status billingReference total { amount } } } } \
        opportunities(first: 2, filter: { name: { eq: $name } }) { nodes { amount { amount currency } \
        provenance(field: \"amount\") { source { connection { name } } } account { name \
        provenance(field: \"name\") { source { connection { name } } } } } } }";
    let mut references = BTreeSet::new();
    for one in sold {
        let variables = json!({ "order": one.order, "milestone": one.milestone, "name": one.name });
        let data = world.ask(query, &variables).await;
        let order = &data["serviceOrder"];
        assert_eq!(order["status"], "PARTIALLY_BILLED", "{}: {order}", one.name);
        assert_eq!(order["total"], json!({ "amount": "300.00", "currency": "USD" }), "{}", one.name);
        references.insert(order["billingReference"].as_str().expect("acknowledged").to_owned());
        let invoices = data["node"]["invoices"].as_array().expect("invoices").clone();
        assert_eq!(invoices.len(), 1, "{}: {invoices:?}", one.name);
        assert_eq!((&data["node"]["billing"], &invoices[0]["status"]), (&json!("INVOICED"), &json!("OPEN")));
        assert_eq!(invoices[0]["total"]["amount"], "100.00", "{}", one.name);
        let deals = data["opportunities"]["nodes"].as_array().expect("opportunities").clone();
        let said = json!({ "source": { "connection": { "name": "hubspot" } } });
        let deal = json!({
            "amount": { "amount": "300.00", "currency": "USD" }, "provenance": said,
            "account": { "name": one.customer(), "provenance": said },
        });
        assert_eq!(deals, [deal], "{}", one.name);
    }
    assert_eq!(references.len(), sold.len(), "no two orders are one product");
}

/// Every webhook that was acknowledged is in the database and was applied.
async fn check_inbox(world: &World, store: &Store) {
    let kept = events(store).await;
    let acknowledged = world.acknowledged().clone();
    assert!(!acknowledged.is_empty());
    for (vendor, body) in &acknowledged {
        let keys: Vec<String> = match *vendor {
            "stripe" => vec![body["id"].as_str().expect("an id").to_owned()],
            _ => {
                let events = body.as_array().expect("a list of events");
                events.iter().map(|event| format!("{}:", event["eventId"])).collect()
            }
        };
        for key in keys {
            let found = kept.iter().find(|event| event.dedupe_key.starts_with(&key));
            let found = found.unwrap_or_else(|| panic!("{key} of {vendor} was acknowledged and is not there"));
            let done = matches!(found.status, InboundStatus::Processed | InboundStatus::Ignored);
            assert!(done, "{key} of {vendor} is {:?}: {:?}", found.status, found.error_message);
        }
    }
}

/// A run that was cut short is not at work any more: of one kind of record only the newest run of each kind may be.
async fn check_runs(store: &Store) {
    let runs = runs(store).await;
    assert!(!runs.is_empty(), "there were scheduled readings");
    let mut newest = HashMap::new();
    // A schedule and whoever runs one by hand take turns; a back-fill reads beside them.
    let kind = |run: &SyncRunRecord| match run.trigger {
        RunTrigger::Manual => (run.connection_id, run.entity, RunTrigger::Schedule),
        trigger => (run.connection_id, run.entity, trigger),
    };
    for run in &runs {
        newest.insert(kind(run), run.id);
    }
    for run in runs.iter().filter(|run| run.status == RunStatus::Running) {
        assert_eq!(newest[&kind(run)], run.id, "cut short and left at work: {run:?}");
    }
}

/// Changes have places without gaps and stand in the history; nothing was parked; what systems said is on record with
/// its evidence.
async fn check_history(raw: &DatabaseConnection) {
    let changes = number(raw, "SELECT COUNT(*) FROM outbox").await;
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM outbox_positions", changes),
        ("SELECT MIN(position) FROM outbox_positions", 1),
        ("SELECT MAX(position) FROM outbox_positions", changes),
        (
            "SELECT COUNT(*) FROM outbox o WHERE NOT EXISTS (SELECT 1 FROM effects e WHERE e.outbox_id = o.id) \
             AND NOT EXISTS (SELECT 1 FROM domain_events d WHERE d.aggregateid = o.aggregateid AND d.type = o.type \
             AND d.occurred_at = o.created_at)",
            0,
        ),
        ("SELECT COUNT(*) FROM parked_rows", 0),
        (
            "SELECT COUNT(*) FROM identities i WHERE i.entity IN ('opportunity', 'account', 'invoice') AND NOT EXISTS \
             (SELECT 1 FROM assertions a WHERE a.connection_id = i.connection_id AND a.entity = i.entity \
             AND a.remote_id = i.remote_id AND a.record_id = i.record_id)",
            0,
        ),
        (
            "SELECT COUNT(*) FROM assertions a \
             WHERE NOT EXISTS (SELECT 1 FROM evidence e WHERE e.assertion_id = a.id)",
            0,
        ),
        (
            "SELECT COUNT(*) FROM evidence e \
             WHERE NOT EXISTS (SELECT 1 FROM assertions a WHERE a.id = e.assertion_id)",
            0,
        ),
        (
            "SELECT COUNT(*) FROM inbound_events e WHERE NOT EXISTS \
             (SELECT 1 FROM inbound_payloads p WHERE p.id = e.payload_id)",
            0,
        ),
    ] {
        assert_eq!(number(raw, sql).await, expected, "{sql}");
    }
}

/// The subscriber heard of every change, under numbers without gaps, each under one identifier.
async fn check_subscriber(world: &World, raw: &DatabaseConnection, store: &Store) {
    let asked_for = number(
        raw,
        "SELECT COUNT(*) FROM outbox o WHERE NOT EXISTS (SELECT 1 FROM effects e WHERE e.outbox_id = o.id)",
    )
    .await;
    let effects = number(raw, "SELECT COUNT(*) FROM effects").await;
    assert_eq!(last_position(store).await.expect("it can be read"), asked_for + effects);
    let last = number(raw, "SELECT MAX(last_sequence) FROM webhook_subscriptions").await;
    let mut heard: BTreeMap<i64, (String, Json)> = BTreeMap::new();
    for received in world.receiver.received() {
        assert!(received.is_signed_with(&world.secret), "{}", received.id());
        let (id, body) = (received.id().to_owned(), received.json());
        let before = heard.entry(received.sequence()).or_insert_with(|| (id.clone(), body.clone()));
        assert_eq!(*before, (id, body), "the same number is the same message");
    }
    let numbers: Vec<i64> = heard.keys().copied().collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "numbers without gaps");
    let positions = number(raw, "SELECT COUNT(DISTINCT position) FROM webhook_deliveries").await;
    assert_eq!(positions, last, "each change has one number");
    let told = "SELECT COUNT(*) FROM outbox_positions p JOIN outbox o ON o.id = p.outbox_id \
                WHERE NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.position = p.position)";
    assert_eq!(number(raw, told).await, 0, "there is no change that the subscriber did not hear of");
}

/// A reading by hand finds nothing new, and the places of all readings are behind it.
async fn check_cursors(scene: &Scene, raw: &DatabaseConnection) {
    let (began, changes) = (SystemClock::default().now(), number(raw, "SELECT COUNT(*) FROM outbox").await);
    wait_for("a reading by hand", async || {
        let said = scene.processes[0].binary.run(&["sync", "run"]).await;
        if said.code == Some(0) { Ok(()) } else { Err(format!("{}{}", said.out, said.err)) }
    })
    .await;
    assert_eq!(number(raw, "SELECT COUNT(*) FROM outbox").await, changes, "a reading found something new");
    let behind = format!("SELECT COUNT(*) FROM cursors WHERE watermark < {} OR watermark IS NULL", began.micros());
    assert_eq!(number(raw, &behind).await, 0, "places of readings");
    assert_eq!(number(raw, "SELECT COUNT(*) FROM cursors").await, 4);
}
