//! The ways through the hub, each as a story that goes on where it was cut short.

use crosstie_app::{
    AcceptMilestone, CreateSow, Decision, NewMilestone, ReplayRequest, SignSow,
    subscriptions::{CreateWebhookSubscription, OfSubscription},
};
use crosstie_domain::{
    access::{AuthContext, Principal, RowScope},
    billing::{InvoiceStatus, ServiceOrderStatus},
    ids::{MilestoneId, OpportunityId, SowId, WebhookSubscriptionId},
    integration::{DeliveryStatus, Entity, InboundStatus, ReplayStatus},
    pipeline::{AccountRecord, OpportunityRecord},
};
use crosstie_sdk::Method;
use crosstie_store::{
    Change, Condition, Direction, Operand, Operator, PageRequest, Span,
    billing::{InvoiceColumn, ServiceOrderColumn, invoices, service_orders},
    delivery::milestones_of,
    integration::{
        ArrivedDelivery, ArrivedEvent, DeliveryColumn, InboundColumn, InboxWriter, replay_jobs_by_ids,
        webhook_deliveries,
    },
    pipeline::{AccountColumn, OpportunityColumn, accounts, opportunities},
};
use serde_json::json;

use super::world::{Hub, World, sequences};
use crate::support::{account_record, events, opportunity_record, usd};

/// A way through the hub.
pub(super) trait Story: Copy + Send + 'static {
    /// What is there before, and is not interrupted.
    async fn prepare(self, _hub: &Hub) {}
    /// What happens outside, each thing once, and what the hub does about it. It is called again after a restart.
    async fn act(self, hub: &Hub, item: usize);
    /// What must have come of it.
    async fn check(self, hub: &Hub, item: usize);
    /// Leaves nothing behind that would act in another world.
    async fn end(self, _hub: &Hub) {}
}

fn all<C>(by: C) -> PageRequest<C> {
    let order = vec![(by, Direction::Ascending)];
    PageRequest { condition: Condition::All(vec![]), order, span: Span::First(100_000, None) }
}

fn granted<T>(decision: Decision<T>) -> T {
    decision.unwrap_or_else(|refusals| panic!("refused: {refusals:?}"))
}

async fn account_named(hub: &Hub, name: &str) -> Vec<AccountRecord> {
    let page = accounts(hub.store(), &RowScope::All, &all(AccountColumn::Id)).await.expect("read");
    page.rows.into_iter().map(|(row, _)| row).filter(|row| row.name == name).collect()
}

async fn opportunity_named(hub: &Hub, name: &str) -> Vec<OpportunityRecord> {
    let page = opportunities(hub.store(), &RowScope::All, &all(OpportunityColumn::Id)).await.expect("read");
    page.rows.into_iter().map(|(row, _)| row).filter(|row| row.name == name).collect()
}

/// A company and a deal come by webhook, and the deal is changed.
#[derive(Clone, Copy)]
pub(super) struct Incoming;

impl Story for Incoming {
    async fn act(self, hub: &Hub, item: usize) {
        let world = &hub.world;
        let company = world.once(&format!("company {item}"), || {
            world.create("companies", json!({ "name": world.name("Acme", item) }), None)
        });
        let deal = world.once(&format!("deal {item}"), || {
            world.create("deals", json!({ "dealname": world.name("Rollout", item) }), Some(&company))
        });
        hub.deliver_mail().await;
        hub.work().await;
        world.once(&format!("renamed {item}"), || rename(world, &deal, &world.name("Relaunch", item)));
        hub.deliver_mail().await;
        hub.work().await;
    }

    async fn check(self, hub: &Hub, item: usize) {
        let found = opportunity_named(hub, &hub.world.name("Relaunch", item)).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let of = account_named(hub, &hub.world.name("Acme", item)).await;
        assert_eq!((of.len(), found[0].account_id), (1, Some(of[0].id)), "{of:?}");
        let connection = hub.connection("hubspot").record.id;
        let kept = events(hub.store()).await.into_iter().filter(|event| event.connection_id == connection);
        let fresh = kept.filter(|event| event.status != InboundStatus::Duplicate);
        assert_eq!(fresh.count(), hub.world.events_sent("hubspot"), "each event that was sent counts once");
    }
}

fn rename(world: &World, deal: &str, name: &str) -> String {
    world.at_hubspot(Method::Patch, &format!("deals/{deal}"), &json!({ "properties": { "dealname": name } }));
    name.to_owned()
}

/// Deals and their companies are read page by page, and again after they changed. No webhook comes.
#[derive(Clone, Copy)]
pub(super) struct Reading;

const DEALS: usize = 3;

impl Story for Reading {
    async fn act(self, hub: &Hub, item: usize) {
        let world = &hub.world;
        world.hubspot().set_page_limit(2);
        for number in 0..DEALS {
            world.once(&format!("deal {item} {number}"), || {
                let name = format!("{} {number}", world.name("Acme", item));
                let company = world.create("companies", json!({ "name": name }), None);
                let name = format!("{} {number}", world.name("Rollout", item));
                world.create("deals", json!({ "dealname": name }), Some(&company))
            });
        }
        world.lose_webhooks();
        read(hub).await;
        let first = world.fact(&format!("deal {item} 0"));
        world.once(&format!("renamed {item}"), || rename(world, &first, &world.name("Relaunch", item)));
        world.once(&format!("late {item}"), || {
            world.create("deals", json!({ "dealname": world.name("Late", item) }), None)
        });
        world.lose_webhooks();
        read(hub).await;
    }

    async fn check(self, hub: &Hub, item: usize) {
        let world = &hub.world;
        let mut names: Vec<String> =
            (1..DEALS).map(|number| format!("{} {number}", world.name("Rollout", item))).collect();
        names.extend([world.name("Relaunch", item), world.name("Late", item)]);
        for name in names {
            let found = opportunity_named(hub, &name).await;
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert_eq!(found[0].account_id.is_some(), name != world.name("Late", item), "{name}");
        }
        let gone = format!("{} 0", world.name("Rollout", item));
        assert!(opportunity_named(hub, &gone).await.is_empty(), "{gone} is called otherwise now");
        for number in 0..DEALS {
            let name = format!("{} {number}", world.name("Acme", item));
            assert_eq!(account_named(hub, &name).await.len(), 1, "{name}");
        }
    }
}

async fn read(hub: &Hub) {
    hub.world.clock.advance(5_000);
    // Deals come first: the companies that they name are read beside them.
    for entity in [Entity::Opportunity, Entity::Account] {
        hub.pull("hubspot", entity).await.expect("nobody else reads");
    }
    hub.work().await;
}

/// What a person has taken up again: an event about a deal that was parked as it came.
#[derive(Clone, Copy)]
pub(super) struct Replaying;

impl Story for Replaying {
    async fn prepare(self, hub: &Hub) {
        let world = &hub.world;
        for item in 0..2 {
            let deal = world.create("deals", json!({ "dealname": world.name("Rollout", item) }), None);
            world.lose_webhooks();
            let event = ArrivedEvent {
                dedupe_key: world.name("event", item),
                event_type: "deal.changed".to_owned(),
                target: Some((Entity::Opportunity, deal.clone())),
                occurred_at: None,
                problem: Some(("UNMAPPABLE", "as it came".to_owned())),
            };
            let connection_id = hub.connection("hubspot").record.id;
            let (headers, body, mapping_version) = ("[]".to_owned(), b"{}".to_vec(), "1".to_owned());
            let delivery = ArrivedDelivery { connection_id, headers, body, events: vec![event], mapping_version };
            InboxWriter::start(hub.store()).accept(delivery).await.expect("it is kept");
            world.once(&format!("deal {item}"), || deal);
        }
    }

    async fn act(self, hub: &Hub, item: usize) {
        let deal = hub.world.fact(&format!("deal {item}"));
        let input = ReplayRequest {
            condition: Condition::Is(InboundColumn::RemoteId, Operator::Eq, Operand::Text(deal)),
            dry_run: false,
            reason: None,
            idempotency_key: Some(hub.world.name("replay", item)),
        };
        let done = hub.app.replay_inbound_events(&AuthContext::system(), input).await.expect("decided");
        let job = granted(done).job.expect("it is begun");
        hub.world.once(&format!("job {item}"), || job.id.to_string());
        while hub.engine.work_on_replays().await.expect("the database answers") {}
        while hub.engine.process_event().await.expect("the database answers") {}
        hub.engine.work_on_replays().await.expect("the database answers");
    }

    async fn check(self, hub: &Hub, item: usize) {
        let name = hub.world.name("Rollout", item);
        assert_eq!(opportunity_named(hub, &name).await.len(), 1, "{name}");
        let job = hub.world.fact(&format!("job {item}")).parse().expect("an identifier");
        let job = replay_jobs_by_ids(hub.store(), &RowScope::All, &[job]).await.expect("read").remove(0);
        assert_eq!((job.status, job.items), (ReplayStatus::Done, 1), "{job:?}");
    }
}

/// A statement of work is signed and ordered; its milestone is accepted and invoiced.
#[derive(Clone, Copy)]
pub(super) struct Billing;

/// An account and an opportunity of the item, which nothing outside says anything of.
async fn save_opportunity(hub: &Hub, item: usize) -> OpportunityId {
    let tx = hub.store().begin().await.expect("a transaction begins");
    let account = account_record(&tx, &hub.world.name("Acme", item));
    let account = AccountRecord { billing_email: None, ..account };
    let opportunity = opportunity_record(&tx, &account, &hub.world.name("Rollout", item));
    tx.save_account(&account).await.expect("saved");
    tx.save_opportunity(&opportunity).await.expect("saved");
    let (actor, version) = (Principal::System, 1);
    let (first, second) = (account.id.to_string(), opportunity.id.to_string());
    let changes = [
        Change { entity: Entity::Account, id: &first, event: "account_appeared", actor, version },
        Change { entity: Entity::Opportunity, id: &second, event: "opportunity_appeared", actor, version },
    ];
    tx.publish(&changes).await.expect("published");
    tx.commit().await.expect("it commits");
    opportunity.id
}

async fn draft(hub: &Hub, opportunity_id: OpportunityId, item: usize) -> SowId {
    let milestone =
        NewMilestone { name: "All of it".to_owned(), item_code: None, amount: usd(30_000), planned_on: None };
    let input = CreateSow {
        opportunity_id,
        billing_connection_id: hub.connection("stripe").record.id,
        title: hub.world.name("Rollout", item),
        total: usd(30_000),
        po_number: None,
        milestones: vec![milestone],
        idempotency_key: Some(hub.world.name("draft", item)),
    };
    granted(hub.app.create_sow(&AuthContext::system(), input).await.expect("decided")).id
}

impl Story for Billing {
    async fn prepare(self, hub: &Hub) {
        for item in 0..2 {
            let opportunity = save_opportunity(hub, item).await;
            let sow = draft(hub, opportunity, item).await;
            let milestones = milestones_of(hub.store(), &RowScope::All, &[sow]).await.expect("read");
            hub.world.once(&format!("sow {item}"), || sow.to_string());
            hub.world.once(&format!("milestone {item}"), || milestones[0].id.to_string());
        }
    }

    async fn act(self, hub: &Hub, item: usize) {
        let sow_id: SowId = hub.world.fact(&format!("sow {item}")).parse().expect("an identifier");
        let key = Some(hub.world.name("sign", item));
        let input = SignSow { sow_id, expected_version: None, signed_on: None, po_number: None, idempotency_key: key };
        granted(hub.app.sign_sow(&AuthContext::system(), input).await.expect("decided"));
        hub.work().await;
        let milestone_id = self.milestone(hub, item);
        let key = Some(hub.world.name("accept", item));
        let input = AcceptMilestone { milestone_id, expected_version: None, accepted_on: None, idempotency_key: key };
        granted(hub.app.accept_milestone(&AuthContext::system(), input).await.expect("decided"));
        hub.work().await;
        hub.deliver_mail().await;
        hub.work().await;
    }

    async fn check(self, hub: &Hub, item: usize) {
        let milestone = self.milestone(hub, item);
        let page = invoices(hub.store(), &RowScope::All, &all(InvoiceColumn::Id)).await.expect("read");
        let ours = page.rows.into_iter().map(|(row, _)| row).filter(|row| row.milestone_id == Some(milestone));
        let ours: Vec<_> = ours.collect();
        assert_eq!((ours.len(), ours[0].status), (1, Some(InvoiceStatus::Open)), "{ours:?}");
        let page = service_orders(hub.store(), &RowScope::All, &all(ServiceOrderColumn::Id)).await.expect("read");
        let sow: SowId = hub.world.fact(&format!("sow {item}")).parse().expect("an identifier");
        let orders: Vec<_> = page.rows.into_iter().map(|(row, _)| row).filter(|row| row.sow_id == sow).collect();
        assert_eq!((orders.len(), orders[0].status), (1, ServiceOrderStatus::Billed), "{orders:?}");
        let stripe = hub.world.stripe();
        let valid = stripe.invoices().iter().filter(|invoice| invoice["status"] != "void");
        let made = valid.filter(|invoice| invoice["metadata"]["crosstie_milestone"] == json!(milestone));
        assert_eq!(made.count(), 1, "one invoice for the milestone, as Stripe counts");
        assert_eq!((stripe.invoice_count(), stripe.product_count(), stripe.customer_count()), (2, 2, 2));
    }
}

impl Billing {
    fn milestone(self, hub: &Hub, item: usize) -> MilestoneId {
        hub.world.fact(&format!("milestone {item}")).parse().expect("an identifier")
    }
}

/// The CRM says another name of an account, and billing is told.
#[derive(Clone, Copy)]
pub(super) struct Setting;

impl Story for Setting {
    async fn prepare(self, hub: &Hub) {
        let world = &hub.world;
        for item in 0..2 {
            let (name, domain) =
                (world.name("Acme", item), format!("{}.example", world.name("acme", item).replace(' ', "-")));
            world.once(&format!("company {item}"), || {
                world.create("companies", json!({ "name": name, "domain": domain }), None)
            });
            world.once(&format!("customer {item}"), || {
                let form = format!("name={}&email=ap%40{domain}", name.replace(' ', "+"));
                world.at_stripe("customers", &form)["id"].as_str().expect("an id").to_owned()
            });
            hub.deliver_mail().await;
            hub.work().await;
            assert_eq!(account_named(hub, &name).await.len(), 1, "both are one account");
        }
        hub.settle().await;
    }

    async fn act(self, hub: &Hub, item: usize) {
        let world = &hub.world;
        let company = world.fact(&format!("company {item}"));
        world.once(&format!("renamed {item}"), || {
            let properties = json!({ "properties": { "name": world.name("Bolt", item) } });
            world.at_hubspot(Method::Patch, &format!("companies/{company}"), &properties);
            String::new()
        });
        for _ in 0..2 {
            hub.deliver_mail().await;
            hub.work().await;
        }
    }

    async fn check(self, hub: &Hub, item: usize) {
        let (world, name) = (&hub.world, hub.world.name("Bolt", item));
        assert_eq!(account_named(hub, &name).await.len(), 1);
        let customer = world.fact(&format!("customer {item}"));
        assert_eq!(world.at_stripe(&format!("customers/{customer}"), "")["name"], json!(name));
        let told = |event: &serde_json::Value| {
            event["type"] == "customer.updated" && event["data"]["object"]["id"] == json!(customer)
        };
        assert_eq!(world.bodies_sent("stripe").iter().filter(|event| told(event)).count(), 1, "it is told once");
    }
}

/// A change is told to another system.
#[derive(Clone, Copy)]
pub(super) struct Outgoing;

impl Story for Outgoing {
    async fn prepare(self, hub: &Hub) {
        for item in 0..2 {
            let opportunity = save_opportunity(hub, item).await;
            hub.world.once(&format!("opportunity {item}"), || opportunity.to_string());
        }
        hub.work().await;
        let input = CreateWebhookSubscription {
            url: "http://receiver.example/hooks".to_owned(),
            description: String::new(),
            entities: vec![],
            event_types: vec![],
            accounts: vec![],
            ordered: true,
            idempotency_key: None,
        };
        let made = hub.app.create_webhook_subscription(&AuthContext::system(), input).await.expect("decided");
        let id = granted(made).subscription.id;
        hub.world.once("subscription", || id.to_string());
    }

    async fn act(self, hub: &Hub, item: usize) {
        let opportunity = hub.world.fact(&format!("opportunity {item}")).parse().expect("an identifier");
        let sow = draft(hub, opportunity, item).await;
        hub.world.once(&format!("sow {item}"), || sow.to_string());
        hub.work().await;
    }

    async fn check(self, hub: &Hub, item: usize) {
        let received = hub.world.received.lock().expect("nobody panicked").clone();
        assert_eq!(sequences(&received), (1..=2).collect(), "1, 2 without gaps: {received:?}");
        let sow = hub.world.fact(&format!("sow {item}"));
        let ours: Vec<_> = received.iter().filter(|one| one.body["data"]["recordId"] == json!(sow)).collect();
        assert!(!ours.is_empty(), "{sow}: {received:?}");
        assert!(
            ours.iter().all(|one| (&one.id, &one.body) == (&ours[0].id, &ours[0].body)),
            "the same again: {ours:?}"
        );
        let subscription = self.subscription(hub);
        let auth = AuthContext::system();
        let page = webhook_deliveries(hub.store(), &auth, &all(DeliveryColumn::Id)).await.expect("read");
        let kept: Vec<_> =
            page.rows.into_iter().map(|(row, _)| row).filter(|row| row.subscription_id == subscription).collect();
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered), "{kept:?}");
    }

    async fn end(self, hub: &Hub) {
        let of = OfSubscription { id: self.subscription(hub), expected_version: None, idempotency_key: None };
        granted(hub.app.delete_webhook_subscription(&AuthContext::system(), of).await.expect("decided"));
        hub.store().keep_house().await.expect("the house is kept");
    }
}

impl Outgoing {
    fn subscription(self, hub: &Hub) -> WebhookSubscriptionId {
        hub.world.fact("subscription").parse().expect("an identifier")
    }
}
