//! Records of a small services organization, straight into the store.

use crosstie_domain::{
    billing::{InvoiceRecord, InvoiceStatus, ServiceOrderRecord, ServiceOrderStatus},
    contracts::{SowRecord, SowStatus},
    delivery::{MilestoneAcceptance, MilestoneBilling, MilestoneRecord},
    ids::{ConnectionId, InvoiceId, MilestoneId, OpportunityId, ServiceOrderId, SowId},
    integration::{Arm, ConnectionMode, ConnectionRecord},
    money::Money,
    pipeline::{AccountRecord, OpportunityRecord, OpportunityStage},
};
use crosstie_store::{Store, Tx};

/// So many cents.
pub(crate) fn usd(minor: i64) -> Money {
    Money { minor, currency: "USD".parse().expect("a currency") }
}

/// A new account at version 1, not yet saved.
pub(crate) fn account_record(tx: &Tx, name: &str) -> AccountRecord {
    let now = tx.now();
    AccountRecord {
        id: tx.new_id(),
        name: name.to_owned(),
        domain: None,
        billing_email: Some(format!("billing@{}.example", name.to_lowercase())),
        custom: std::collections::BTreeMap::new(),
        merged_into: None,
        deleted_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// A new opportunity of the account at version 1, not yet saved.
pub(crate) fn opportunity_record(tx: &Tx, account: &AccountRecord, name: &str) -> OpportunityRecord {
    let now = tx.now();
    OpportunityRecord {
        id: tx.new_id(),
        account_id: Some(account.id),
        name: name.to_owned(),
        stage: Some(OpportunityStage::Won),
        native_stage: Some("closedwon".to_owned()),
        amount: Some(usd(100_000)),
        close_on: None,
        custom: std::collections::BTreeMap::new(),
        merged_into: None,
        deleted_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// A saved account.
pub(crate) async fn account(store: &Store, name: &str) -> AccountRecord {
    let tx = store.begin().await.expect("a transaction begins");
    let account = account_record(&tx, name);
    tx.save_account(&account).await.expect("the account is saved");
    tx.commit().await.expect("it commits");
    account
}

/// A saved connection to a billing system.
pub(crate) async fn connection(store: &Store, name: &str) -> ConnectionId {
    let tx = store.begin().await.expect("a transaction begins");
    let now = tx.now();
    let record = ConnectionRecord {
        id: tx.new_id(),
        name: name.to_owned(),
        connector: name.to_owned(),
        arms: vec![Arm::Billing],
        enabled: true,
        mode: ConnectionMode::TwoWay,
        created_at: now,
        updated_at: now,
    };
    tx.save_connection(&record).await.expect("the connection is saved");
    tx.commit().await.expect("it commits");
    record.id
}

/// What became of one sale.
pub(crate) struct Sold {
    pub(crate) opportunity: OpportunityId,
    pub(crate) sow: SowId,
    pub(crate) milestone: MilestoneId,
    pub(crate) order: ServiceOrderId,
    pub(crate) invoice: InvoiceId,
}

/// Saves an opportunity with a signed statement of work, its milestone, its order and its invoice.
pub(crate) async fn sell(store: &Store, account: &AccountRecord, billing: ConnectionId, name: &str) -> Sold {
    let tx = store.begin().await.expect("a transaction begins");
    let now = tx.now();
    let opportunity = opportunity_record(&tx, account, name);
    let sow = SowRecord {
        id: tx.new_id(),
        opportunity_id: opportunity.id,
        account_id: account.id,
        billing_connection_id: billing,
        title: name.to_owned(),
        status: SowStatus::Active,
        total: usd(100_000),
        po_number: None,
        signed_on: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let milestone = MilestoneRecord {
        id: tx.new_id(),
        sow_id: sow.id,
        account_id: account.id,
        position: 1,
        name: "All of it".to_owned(),
        item_code: None,
        amount: usd(100_000),
        planned_on: None,
        acceptance: MilestoneAcceptance::Accepted,
        accepted_on: None,
        billing: MilestoneBilling::Invoiced,
        billing_round: 1,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let order = ServiceOrderRecord {
        id: tx.new_id(),
        sow_id: sow.id,
        account_id: account.id,
        connection_id: billing,
        status: ServiceOrderStatus::Acked,
        total: usd(100_000),
        billing_reference: Some(format!("prod_{name}")),
        rejection: None,
        acked_at: Some(now),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let invoice = InvoiceRecord {
        id: tx.new_id(),
        service_order_id: Some(order.id),
        milestone_id: Some(milestone.id),
        account_id: Some(account.id),
        connection_id: billing,
        billing_round: 1,
        number: Some(format!("N-{name}")),
        status: Some(InvoiceStatus::Open),
        native_status: Some("open".to_owned()),
        total: usd(100_000),
        net: Some(usd(100_000)),
        tax: Some(usd(0)),
        amount_paid: Some(usd(0)),
        issued_on: None,
        due_on: None,
        billing_reference: Some(format!("in_{name}")),
        rejection: None,
        deleted_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    tx.save_opportunity(&opportunity).await.expect("the opportunity is saved");
    tx.save_sow(&sow).await.expect("the statement of work is saved");
    tx.save_milestone(&milestone).await.expect("the milestone is saved");
    tx.save_service_order(&order).await.expect("the order is saved");
    tx.save_invoice(&invoice).await.expect("the invoice is saved");
    tx.commit().await.expect("it commits");
    Sold { opportunity: opportunity.id, sow: sow.id, milestone: milestone.id, order: order.id, invoice: invoice.id }
}
