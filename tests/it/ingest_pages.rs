//! Rows that are taken in together come to the same as one after the other, and cost little more than one.

mod kept;

use crosstie_app::{Ingested, KnownVersion};
use crosstie_domain::{
    Clock, Currency, Instant, Money,
    access::RowScope,
    billing::{InvoiceClaim, InvoiceLineClaim, InvoiceStatus, OrderClaim, ServiceOrderStatus},
    ids::{AccountId, ConnectionId},
    integration::{
        Arm, Claim, Customer, EffectKey, Entity, Intent, PlaceOrder,
        adoption::DocumentState,
        authority::{Authority, FieldRules},
    },
    pipeline::{AccountClaim, OpportunityClaim, OpportunityStage},
};
use crosstie_store::{
    EffectRequest, Store,
    billing::service_orders_by_ids,
    integration::{Pushes, assertion_history, identities_of},
    pipeline::accounts_by_ids,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use self::kept::{TABLES, kept};
use crate::{
    model::hold,
    support::{Database, Said, Sold, System, account, id_of, on_each_database, on_each_quick_database, sell, usd},
};

/// What a system says of a record: small numbers that choose among few things, so that rows meet.
#[derive(Debug, Clone)]
struct Row {
    kind: u8,
    remote: u8,
    name: u8,
    more: u8,
    version: u8,
    late: bool,
}

/// What one system says at once.
#[derive(Debug, Clone)]
struct Batch {
    system: usize,
    known_version: KnownVersion,
    rows: Vec<Row>,
    /// How many of them come in a page, where they come in pages; 0 for all.
    cut: usize,
}

fn stories() -> impl Strategy<Value = Vec<Batch>> {
    let row = (0..6_u8, 0..4_u8, 0..4_u8, 0..6_u8, 0..6_u8, prop::bool::weighted(0.1));
    let row = row.prop_map(|(kind, remote, name, more, version, late)| Row { kind, remote, name, more, version, late });
    let batch = (0..3_usize, any::<bool>(), prop::collection::vec(row, 1..12), 0..5_usize);
    let batch = batch.prop_map(|(system, is_listing, rows, cut)| {
        let known_version = if is_listing { KnownVersion::PassedOver } else { KnownVersion::TakenAgain };
        Batch { system, known_version, rows, cut }
    });
    prop::collection::vec(batch, 1..8)
}

/// Records that the hub made itself: an account, and an order that waits to be placed.
struct Own {
    account: AccountId,
    sold: Sold,
}

impl Own {
    async fn new(store: &Store, billing: ConnectionId) -> Self {
        let buyer = account(store, "Own").await;
        let sold = sell(store, &buyer, billing, "own").await;
        let tx = store.begin().await.expect("a transaction begins");
        let mut order = service_orders_by_ids(&tx, &RowScope::All, &[sold.order]).await.expect("read").remove(0);
        order.status = ServiceOrderStatus::Pending;
        order.version += 1;
        tx.save_service_order(&order).await.expect("saved");
        let intent = Intent::PlaceOrder(PlaceOrder {
            order: order.id,
            sow: order.sow_id,
            customer: Customer { account: buyer.id, name: buyer.name.clone(), email: None },
            title: "own".to_owned(),
            po_number: None,
            total: order.total,
            lines: vec![],
        });
        let (key, record_id) = (EffectKey::place_order(order.id), order.id.to_string());
        let request = EffectRequest {
            key: &key,
            entity: Entity::ServiceOrder,
            record_id: &record_id,
            connection_id: billing,
            intent: &intent,
        };
        tx.request_effect(request).await.expect("asked");
        tx.commit().await.expect("it commits");
        Self { account: buyer.id, sold }
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        let Sold { opportunity, sow, milestone, order, invoice } = &self.sold;
        vec![
            (self.account.to_string(), "own account"),
            (opportunity.to_string(), "own opportunity"),
            (sow.to_string(), "own sow"),
            (milestone.to_string(), "own milestone"),
            (order.to_string(), "own order"),
            (invoice.to_string(), "own invoice"),
        ]
    }
}

impl Row {
    fn said(&self, own: &Own, now: Instant) -> (String, Said<'static>) {
        let names = ["Acme", "ACME Inc.", "Bolt GmbH", "Crane"];
        let domains = [None, Some("acme.example"), Some("bolt.example"), None, Some("www.acme.example"), None];
        let emails = [None, Some("ap@acme.example"), None, Some("ap@bolt.example"), Some("me@gmail.com"), None];
        let (name, more) = (names[usize::from(self.name)].to_owned(), usize::from(self.more));
        let versions = [None, Some("2026-11-23T09:00:00Z"), Some("2026-11-23T09:05:00Z"), Some("e1"), Some("e2"), None];
        let money = |minor: u8| Money::new(i64::from(minor) * 1_000, Currency::USD);
        let customer = (self.name != 3).then(|| format!("c{}", self.name));
        let (prefix, claim) = match self.kind {
            0 | 1 => {
                let account = (self.kind == 1 && self.more == 5).then_some(own.account);
                let (domain, billing_email) = (domains[more].map(str::to_owned), emails[more].map(str::to_owned));
                ("c", Claim::Account(AccountClaim { account, name: Some(name), domain, billing_email }))
            }
            2 | 3 => {
                let stage = (self.more > 2).then_some(OpportunityStage::Won);
                let native_stage = (self.more > 1).then(|| "won".to_owned());
                let amount = (self.more > 0).then(|| money(self.more));
                let claim = OpportunityClaim {
                    name: Some(name),
                    account: customer,
                    native_stage,
                    stage,
                    amount,
                    close_on: None,
                };
                ("d", Claim::Opportunity(claim))
            }
            4 => {
                let lines = (self.more > 2).then(|| {
                    (0..self.more)
                        .map(|line| InvoiceLineClaim { description: format!("l{line}"), amount: money(line) })
                        .collect()
                });
                let status = [InvoiceStatus::Draft, InvoiceStatus::Open, InvoiceStatus::Paid][more % 3];
                let claim = InvoiceClaim {
                    invoice: (self.remote == 3).then_some(own.sold.invoice),
                    customer,
                    number: Some(format!("N{}", self.remote)),
                    native_status: Some(format!("{status:?}")),
                    status: Some(status),
                    total: (self.more > 0).then(|| money(self.more)),
                    net: Some(usd(100_000)),
                    lines,
                    ..InvoiceClaim::default()
                };
                ("in", Claim::Invoice(claim))
            }
            _ => {
                let claim = OrderClaim {
                    order: (self.remote > 1).then_some(own.sold.order),
                    customer,
                    number: Some(format!("S{}", self.name)),
                    state: Some(if self.more == 0 { DocumentState::Draft } else { DocumentState::Issued }),
                    total: Some(usd(100_000)),
                    ..OrderClaim::default()
                };
                ("so", Claim::ServiceOrder(claim))
            }
        };
        let mut fields = serde_json::to_value(&claim).expect("a claim can be written");
        let members = fields.as_object_mut().expect("an object");
        members.remove("entity");
        // What is not there is held empty, or not spoken of.
        members.retain(|_, value| !value.is_null() || self.more.is_multiple_of(2));
        let asked_at = if self.late { now.plus_ms(-500) } else { now };
        let said = Said { remote_id: "", version: versions[usize::from(self.version)], asked_at, claim, fields };
        (format!("{prefix}{}", self.remote), said)
    }
}

/// How a story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    RowByRow,
    InPages,
}

/// Tells a story from the beginning; what came of each row, and what is kept in the end.
async fn tell(database: &Database, systems: &[System], story: &[Batch], told: Told) -> (Vec<String>, Vec<String>) {
    database.empty(&TABLES).await;
    // Every telling begins at the same moment.
    let begin: Instant = "2026-11-23T10:00:00Z".parse().expect("an instant");
    database.clock.advance(begin.ms_since(database.clock.now()));
    let own = Own::new(systems[2].store(), systems[2].connection).await;
    let mut results = Vec::new();
    for batch in story {
        database.clock.advance(1_000);
        let rows: Vec<_> = batch.rows.iter().map(|row| row.said(&own, database.clock.now())).collect();
        let rows: Vec<Said<'_>> = rows
            .iter()
            .map(|(id, said)| Said { remote_id: id, claim: said.claim.clone(), fields: said.fields.clone(), ..*said })
            .collect();
        let at_once = match (told, batch.cut) {
            (Told::RowByRow, _) => 1,
            (Told::InPages, 0) => rows.len(),
            (Told::InPages, cut) => cut,
        };
        for page in rows.chunks(at_once) {
            let taken = systems[batch.system].say_page(page, batch.known_version).await;
            results.extend(taken.expect("the database takes it").iter().map(|taken| format!("{taken:?}")));
        }
    }
    let (kept, names) = kept(database, &own.names()).await;
    (results.iter().map(|result| names.told(result)).collect(), kept)
}

/// Three systems that know the same customers: two sell to them and one bills them. The first one is kept true.
async fn three(database: &Database) -> [System; 3] {
    let mut rules = FieldRules::default();
    for field in ["name", "domain"] {
        rules.set((Entity::Account, field), Authority::Shared, None).expect("a field");
    }
    let mut systems = [
        System::new(database, "hubspot", &[Arm::Crm]).await,
        System::new(database, "other", &[Arm::Crm]).await,
        System::new(database, "books", &[Arm::Billing]).await,
    ];
    for system in &mut systems {
        system.app = system.app.clone().with_rules(rules.clone());
    }
    let fields: Vec<String> = ["account.name", "account.domain", "opportunity.amount"].map(str::to_owned).into();
    let pushes = Pushes { writable: fields.clone(), pushed: fields };
    let tx = systems[0].store().begin().await.expect("a transaction begins");
    tx.save_pushes(systems[0].connection, &pushes).await.expect("saved");
    tx.commit().await.expect("it commits");
    systems
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_cut_come_to_the_same_as_row_by_row() {
    on_each_quick_database(async |database| {
        let systems = three(database).await;
        hold("pages of any cut", 40, &stories(), async |story| {
            let (one_by_one, kept_then) = tell(database, &systems, &story, Told::RowByRow).await;
            let (in_pages, kept_now) = tell(database, &systems, &story, Told::InPages).await;
            assert_eq!(in_pages, one_by_one);
            let differing: Vec<_> = kept_then.iter().filter(|row| !kept_now.contains(row)).collect();
            let instead: Vec<_> = kept_now.iter().filter(|row| !kept_then.contains(row)).collect();
            assert!(differing.is_empty() && instead.is_empty(), "{differing:#?}\ninstead {instead:#?}");
            assert_eq!(kept_now, kept_then);
        });
    })
    .await;
}

/// So many customers, or deals of them.
fn many<'a>(ids: &'a [String], asked_at: Instant, version: Option<&'a str>, entity: Entity) -> Vec<Said<'a>> {
    let said = |id: &'a String| {
        let number: usize = id[1..].parse().expect("an id has a number");
        let (name, n) = (Some(format!("Number {number}")), number % 20);
        let (claim, fields) = match entity {
            Entity::Account => {
                let domain = Some(format!("number{number}.example"));
                let fields = json!({ "name": name, "domain": domain });
                (Claim::Account(AccountClaim { name, domain, ..AccountClaim::default() }), fields)
            }
            Entity::Invoice => {
                let (customer, total) = (Some(format!("r{n}")), Some(usd(1_000)));
                let fields = json!({ "customer": customer, "total": total });
                (Claim::Invoice(InvoiceClaim { customer, total, ..InvoiceClaim::default() }), fields)
            }
            _ => {
                let (account, amount) = (Some(format!("r{n}")), Some(usd(1_000)));
                let fields = json!({ "name": name, "account": account, "amount": amount });
                (Claim::Opportunity(OpportunityClaim { name, account, amount, ..OpportunityClaim::default() }), fields)
            }
        };
        Said { remote_id: id, version, asked_at, claim, fields }
    };
    ids.iter().map(said).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_the_same_number_of_statements_whatever_its_rows() {
    on_each_database(async |database| {
        let systems = [
            System::new(database, "hubspot", &[Arm::Crm, Arm::Billing]).await,
            System::new(database, "other", &[Arm::Crm, Arm::Billing]).await,
        ];
        let cost = async |system: &System, entity: Entity, ids: &[String], version: &str| {
            let said = many(ids, database.clock.now(), Some(version), entity);
            let before = system.store().statements();
            let taken = system.say_page(&said, KnownVersion::PassedOver).await.expect("the database takes it");
            assert_eq!(taken.len(), ids.len());
            (system.store().statements() - before, taken)
        };
        let (old, new) = ("2026-11-23T09:00:00Z", "2026-11-23T09:30:00Z");
        for entity in [Entity::Account, Entity::Opportunity, Entity::Invoice] {
            let ids = |from: usize, to: usize| (from..to).map(|n| format!("r{n}")).collect::<Vec<_>>();
            let (few, lot) = (ids(0, 50), ids(50, 250));
            for (what, version, most) in [("first", old, 20), ("changed", new, 24), ("unchanged", new, 5)] {
                database.clock.advance(1_000);
                let (of_few, taken) = cost(&systems[0], entity, &few, version).await;
                let (of_many, _) = cost(&systems[0], entity, &lot, version).await;
                assert_eq!(of_many, of_few, "{what} {entity:?}");
                assert!(of_many <= most, "{what} {entity:?}: {of_many} statements");
                let is_known = matches!(taken[0], Ingested::Known);
                assert_eq!(is_known, what == "unchanged", "{what} {entity:?}: {:?}", taken[0]);
            }
        }
        // Each is the customer that the first system brought.
        let ids: Vec<String> = (0..50).map(|n| format!("x{n}")).collect();
        let (of_matched, taken) = cost(&systems[1], Entity::Account, &ids, old).await;
        assert!(of_matched <= 30, "{of_matched} statements");
        let records: Vec<String> = taken.iter().map(|taken| id_of::<AccountId>(taken).to_string()).collect();
        let links = identities_of(systems[1].store(), &RowScope::All, &records).await.expect("read");
        assert_eq!(links.len(), 100, "each is known to both");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_bring_the_same_records_in_opposite_order_both_come_through() {
    on_each_database(async |database| {
        let one = System::new(database, "hubspot", &[Arm::Crm]).await;
        let other = System::new(database, "other", &[Arm::Crm]).await;
        let ids: Vec<String> = (0..40).map(|n| format!("r{n}")).collect();
        for round in 0..6 {
            database.clock.advance(1_000);
            let at = database.clock.now();
            let page = |turned: bool| {
                let mut said = many(&ids, at, None, Entity::Account);
                for said in &mut said {
                    let Claim::Account(claim) = &mut said.claim else { continue };
                    claim.billing_email = Some(format!("round{round}@example.com"));
                    said.fields["billing_email"] = json!(claim.billing_email);
                }
                if turned {
                    said.reverse();
                }
                said
            };
            let (there, back, elsewhere) = (page(false), page(true), page(true));
            let say = KnownVersion::TakenAgain;
            let (first, second, third) =
                tokio::join!(one.say_page(&there, say), one.say_page(&back, say), other.say_page(&elsewhere, say));
            for taken in [first, second, third] {
                assert_eq!(taken.expect("nobody waits for ever").len(), ids.len(), "round {round}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_record_that_a_page_holds_twice_the_second_row_counts_after_the_first() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let at = database.clock.now();
        let row = |version, name: &str| {
            let claim = AccountClaim { name: Some(name.to_owned()), ..AccountClaim::default() };
            let fields = json!({ "name": name });
            Said { remote_id: "c1", version: Some(version), asked_at: at, claim: Claim::Account(claim), fields }
        };
        let (early, late) = ("2026-11-23T09:00:00Z", "2026-11-23T09:05:00Z");
        let page = [row(early, "Acme"), row(late, "ACME"), row(early, "Acme"), row(late, "ACME")];
        let taken = crm.say_page(&page, KnownVersion::PassedOver).await.expect("the database takes it");
        let id: AccountId = id_of(&taken[0]);
        let changed = |changed| Ingested::Taken { record_id: id.to_string(), changed };
        assert_eq!(taken, [changed(true), changed(true), Ingested::Older, Ingested::Known]);
        let account = accounts_by_ids(crm.store(), &RowScope::All, &[id]).await.expect("read").remove(0);
        assert_eq!((account.name.as_str(), account.version), ("ACME", 2));
        let said = assertion_history(crm.store(), &RowScope::All, &[id.to_string()], 10).await.expect("read");
        let names: Vec<Json> = said.iter().map(|said| said.fields["name"].value.clone()).collect();
        assert_eq!(names, [json!("ACME"), json!("Acme")], "both are written down, the newest first");
    })
    .await;
}
