//! What other systems say, in whatever order and form it comes.

use std::sync::Arc;

use crosstie_app::Ingested;
use crosstie_domain::{
    CivilDate, Clock, Currency, Instant, Money,
    access::RowScope,
    billing::{InvoiceClaim, InvoiceStatus, ServiceOrderStatus},
    delivery::MilestoneBilling,
    ids::AccountId,
    integration::{Arm, Claim, ConnectionMode, Entity, InboundStatus},
    pipeline::{AccountClaim, OpportunityClaim},
};
use crosstie_sdk::{FakeVendor, HttpRequest, Method};
use crosstie_store::{
    billing::{invoices_by_ids, service_orders_by_ids},
    integration::identities_of,
    pipeline::{accounts_by_ids, opportunities_by_ids},
};
use serde_json::{Value as Json, json};

use crate::support::{Crm, Meanwhile, Said, System, account, events, id_of, memory, on_each_database, sell};

impl System {
    async fn deal(&self, version: Option<&str>, asked_at: Instant, dollars: Option<i64>) -> Ingested {
        let amount = dollars.map(|dollars| Money::new(dollars * 100, Currency::USD));
        let name = Some("Rollout".to_owned());
        let claim = Claim::Opportunity(OpportunityClaim { name, amount, ..OpportunityClaim::default() });
        self.say(Said { remote_id: "d1", version, asked_at, claim, fields: json!({ "amount": dollars }) }).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_never_replaces_a_newer_one() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let now = || database.clock.now();
        let first = crm.deal(Some("2026-11-23T09:00:00Z"), now(), Some(100)).await;
        let amount = async || {
            let found = opportunities_by_ids(crm.store(), &RowScope::All, &[id_of(&first)]).await.expect("read");
            found[0].amount.map(|amount| amount.minor / 100)
        };
        database.clock.advance(1_000);
        let newer = crm.deal(Some("2026-11-23T09:05:00Z"), now(), Some(200)).await;
        assert!(matches!(newer, Ingested::Taken { changed: true, .. }));
        // A search whose index lags answers later with what was before.
        database.clock.advance(1_000);
        assert_eq!(crm.deal(Some("2026-11-23T09:00:00Z"), now(), Some(100)).await, Ingested::Older);
        assert_eq!(amount().await, Some(200));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_of_the_vendors_what_was_asked_for_before_the_last_state_came_is_asked_for_again() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let before = database.clock.now();
        database.clock.advance(1_000);
        let first = crm.deal(None, database.clock.now(), Some(200)).await;
        assert_eq!(crm.deal(None, before, Some(100)).await, Ingested::AskAgain);
        let found = opportunities_by_ids(crm.store(), &RowScope::All, &[id_of(&first)]).await.expect("read");
        assert_eq!(found[0].amount.map(|amount| amount.minor), Some(20_000));
        database.clock.advance(1);
        let again = crm.deal(None, database.clock.now(), Some(300)).await;
        assert!(matches!(again, Ingested::Taken { changed: true, .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_again_when_another_reading_asked_later_and_may_have_seen_less() {
    on_each_database(async |database| {
        let crm = Arc::new(Crm::new(database).await);
        let way = Meanwhile::over(memory(&database.clock, &crm.hubspot));
        let slow = way.engine(&crm.app).await;
        let deal = crm.create("deals", "Rollout");
        crm.deliver().await;
        let (there, clock, stamped) = (Arc::clone(&crm), Arc::clone(&database.clock), database.clock.now());
        // The other one sees what was there; then it changes, so close that HubSpot stamps it with the same moment.
        way.happens("objects/deals/", async move {
            clock.advance(1_000);
            there.pull(Entity::Opportunity).await;
            assert_eq!(there.opportunities().await[0].name, "Rollout");
            let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
            let url = format!("https://api.hubapi.com/crm/v3/objects/deals/{deal}");
            let body = json!({ "properties": { "dealname": "Relaunch" } }).to_string().into_bytes();
            let rename = HttpRequest { method: Method::Patch, url, headers, body };
            assert_eq!(there.fake().respond(&rename, stamped).status, 200);
            there.lose_webhooks();
        });
        assert!(slow.process_event().await.expect("the database answers"));
        assert!(way.has_happened());
        assert_eq!(crm.opportunities().await[0].name, "Relaunch");
        assert!(events(crm.app.store()).await.iter().all(|event| event.status == InboundStatus::Processed));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emptied_there_is_emptied_here_and_what_is_not_spoken_of_stays() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let at = database.clock.now();
        let customer = AccountClaim { name: Some("Acme".to_owned()), ..AccountClaim::default() };
        let fields = json!({ "name": "Acme" });
        let claim = Claim::Account(customer);
        crm.say(Said { remote_id: "c1", version: None, asked_at: at, claim, fields }).await;
        let deal = |claim: OpportunityClaim, fields: Json| Said {
            remote_id: "d1",
            version: None,
            asked_at: at,
            claim: Claim::Opportunity(claim),
            fields,
        };
        let full = OpportunityClaim {
            name: Some("Rollout".to_owned()),
            account: Some("c1".to_owned()),
            amount: Some(Money::new(100, Currency::USD)),
            close_on: Some("2026-12-01".parse::<CivilDate>().expect("a day")),
            ..OpportunityClaim::default()
        };
        let spoken = json!({ "name": "Rollout", "account": "c1", "amount": 1, "close_on": "2026-12-01" });
        let first = crm.say(deal(full.clone(), spoken)).await;
        let opportunity =
            async || opportunities_by_ids(crm.store(), &RowScope::All, &[id_of(&first)]).await.expect("read").remove(0);
        assert!(opportunity().await.account_id.is_some());

        let silent = OpportunityClaim { name: full.name.clone(), ..OpportunityClaim::default() };
        crm.say(deal(silent.clone(), json!({ "name": "Rollout" }))).await;
        let kept = opportunity().await;
        assert!(kept.account_id.is_some() && kept.amount.is_some() && kept.close_on.is_some());

        let emptied = json!({ "name": "Rollout", "account": null, "amount": null });
        crm.say(deal(silent, emptied)).await;
        let kept = opportunity().await;
        assert_eq!((kept.account_id, kept.amount, kept.close_on), (None, None, full.close_on));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_the_hub_made_at_billing_is_the_account_it_was_made_for() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let billing = System::new(database, "stripe", &[Arm::Billing]).await;
        let at = database.clock.now();
        let claim = |account, name: &str, email: Option<&str>| {
            let billing_email = email.map(str::to_owned);
            Claim::Account(AccountClaim { account, name: Some(name.to_owned()), domain: None, billing_email })
        };
        let fields = |name: &str, email: Option<&str>| json!({ "name": name, "billing_email": email });
        let said = |remote_id, claim, fields| Said { remote_id, version: None, asked_at: at, claim, fields };
        let ours = crm.say(said("c1", claim(None, "Acme", None), json!({ "name": "Acme" }))).await;
        let ours: AccountId = id_of(&ours);
        // The vendor tells of the new customer before the hub has noted that it made it.
        let theirs = claim(Some(ours), "ACME Inc.", Some("ap@acme.example"));
        let adopted = billing.say(said("cus_1", theirs, fields("ACME Inc.", Some("ap@acme.example")))).await;
        assert_eq!(id_of::<AccountId>(&adopted), ours);
        let linked = identities_of(crm.store(), &RowScope::All, &[ours.to_string()]).await;
        let mut linked: Vec<_> = linked.expect("read").into_iter().map(|link| (link.entity, link.remote_id)).collect();
        linked.sort();
        assert_eq!(linked, [(Entity::Account, "c1".to_owned()), (Entity::Account, "cus_1".to_owned())]);
        let account = accounts_by_ids(crm.store(), &RowScope::All, &[ours]).await.expect("read");
        let shown = (account[0].name.as_str(), account[0].billing_email.as_deref());
        assert_eq!(
            shown,
            ("Acme", Some("ap@acme.example")),
            "the CRM has the first say over accounts, and billing where it is silent"
        );

        let alone = billing.say(said("cus_2", claim(None, "Solo", None), fields("Solo", None))).await;
        billing.say(said("cus_2", claim(None, "Solo Ltd", None), json!({ "name": "Solo Ltd" }))).await;
        let alone = accounts_by_ids(crm.store(), &RowScope::All, &[id_of(&alone)]).await.expect("read");
        assert_eq!(alone[0].name, "Solo Ltd", "of an account that no CRM knows billing tells the name");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_whose_total_nobody_can_tell_is_not_taken_for_one_over_nothing() {
    on_each_database(async |database| {
        let billing = System::new(database, "stripe", &[Arm::Billing]).await;
        let claim = Claim::Invoice(InvoiceClaim { native_status: Some("open".to_owned()), ..InvoiceClaim::default() });
        let at = database.clock.now();
        let fields = json!({ "total": null, "native_status": "open" });
        let taken = billing.say(Said { remote_id: "in_1", version: None, asked_at: at, claim, fields }).await;
        assert!(matches!(taken, Ingested::Unusable { code: "NO_TOTAL", .. }), "{taken:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_counts_invoices_that_are_issued_at_the_same_time() {
    on_each_database(async |database| {
        let billing = System::new(database, "stripe", &[Arm::Billing]).await;
        let acme = account(billing.store(), "Acme").await;
        for round in 0..8 {
            let sold = sell(billing.store(), &acme, billing.connection, &format!("s{round}")).await;
            // Two milestones of one order that are accepted and not invoiced yet.
            let tx = billing.store().begin().await.expect("a transaction begins");
            let everything = &RowScope::All;
            let mut milestone = crosstie_store::delivery::milestones_by_ids(&tx, everything, &[sold.milestone])
                .await
                .expect("read")
                .remove(0);
            let mut invoice = invoices_by_ids(&tx, everything, &[sold.invoice]).await.expect("read").remove(0);
            milestone.billing = MilestoneBilling::Billable;
            (invoice.status, invoice.native_status) = (Some(InvoiceStatus::Requested), None);
            (milestone.version, invoice.version) = (2, 2);
            tx.save_milestone(&milestone).await.expect("saved");
            tx.save_invoice(&invoice).await.expect("saved");
            (milestone.id, milestone.position, milestone.version) = (tx.new_id(), 2, 1);
            (invoice.id, invoice.milestone_id, invoice.version) = (tx.new_id(), Some(milestone.id), 1);
            invoice.billing_reference = Some(format!("in_b{round}"));
            tx.save_milestone(&milestone).await.expect("saved");
            tx.save_invoice(&invoice).await.expect("saved");
            tx.commit().await.expect("it commits");

            let issued = |invoice, remote_id: String| {
                let (app, connection) = (billing.app.clone(), billing.connection);
                let at = database.clock.now();
                let claim = InvoiceClaim {
                    invoice: Some(invoice),
                    native_status: Some("open".to_owned()),
                    status: Some(InvoiceStatus::Open),
                    total: Some(Money::new(100_000, Currency::USD)),
                    ..InvoiceClaim::default()
                };
                let system = System { app, connection, arms: vec![Arm::Billing], mode: ConnectionMode::TwoWay };
                async move {
                    let (claim, fields) = (Claim::Invoice(claim), json!({ "native_status": "open" }));
                    system.say(Said { remote_id: &remote_id, version: None, asked_at: at, claim, fields }).await
                }
            };
            let (one, other) =
                tokio::join!(issued(sold.invoice, format!("in_a{round}")), issued(invoice.id, format!("in_b{round}")),);
            assert!(matches!((&one, &other), (Ingested::Taken { .. }, Ingested::Taken { .. })), "{one:?} {other:?}");
            let order = service_orders_by_ids(billing.store(), everything, &[sold.order]).await.expect("read");
            assert_eq!(order[0].status, ServiceOrderStatus::Billed, "round {round}");
        }
    })
    .await;
}
