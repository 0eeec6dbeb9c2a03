//! What became of orders and invoices at billing, and of other effects.

use crosstie_domain::{
    Instant,
    access::{AuthContext, RowScope},
    billing::{InvoiceRecord, InvoiceStatus, ServiceOrderRecord, ServiceOrderStatus},
    contracts::SowStatus,
    delivery::{MilestoneBilling, MilestoneRecord},
    ids::{InvoiceId, ServiceOrderId, SowId},
    integration::{Entity, Intent, LinkState},
};
use crosstie_store::{
    Tx, billing, contracts, delivery,
    integration::{ClaimedEffect, EffectOutcome, Identity},
};

use crate::{
    App, AppError,
    contracts::publish,
    ingest::{is_issued, push},
};

/// What came of sending an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// Done.
    Done {
        /// The id at the other system.
        remote_id: String,
        /// The version that the other system's record has since, as a later reading of it will say.
        remote_version: Option<String>,
        /// The customer's id at the other system.
        customer_remote_id: Option<String>,
        /// When it was asked for: what was read there since is newer.
        asked_at: Instant,
    },
    /// Refused for good, or to be tried again.
    NotDone(EffectOutcome),
}

impl App {
    /// Notes, before anything is sent, that it is about to be: after a crash, whoever takes the effect up asks first.
    ///
    /// # Errors
    /// As the database; [`crosstie_store::StoreError::Conflict`] when somebody else has taken it.
    pub async fn effect_sending(&self, effect: &ClaimedEffect) -> Result<(), AppError> {
        let tx = self.store().begin().await?;
        tx.effect_sending(effect).await?;
        if let (Intent::PlaceOrder(_), Ok(id)) = (&effect.intent, effect.record_id.parse::<ServiceOrderId>()) {
            let order = billing::service_orders_by_ids(&tx, &RowScope::All, &[id]).await?.pop();
            if let Some(mut order) = order.filter(|order| order.status == ServiceOrderStatus::Pending) {
                order.status = ServiceOrderStatus::Sent;
                order.version += 1;
                order.updated_at = tx.now();
                tx.save_service_order(&order).await?;
                let system = AuthContext::system();
                publish(&tx, &system, Entity::ServiceOrder, (&effect.record_id, order.version), "service_order_sent")
                    .await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Takes in what came of an effect, in the caller's transaction.
    ///
    /// # Errors
    /// As the database; [`crosstie_store::StoreError::Conflict`] when somebody else has taken it.
    pub async fn effect_ended(&self, tx: &Tx, effect: &ClaimedEffect, outcome: &SendOutcome) -> Result<(), AppError> {
        match outcome {
            SendOutcome::NotDone(outcome) => {
                tx.effect_ended(effect, outcome).await?;
                match (outcome, &effect.intent) {
                    (EffectOutcome::Rejected { .. }, Intent::PlaceOrder(_) | Intent::IssueInvoice(_)) => {
                        rejected(tx, effect).await?;
                    }
                    // The record in the hub stays as it is.
                    (
                        EffectOutcome::Rejected { .. } | EffectOutcome::Exhausted { .. },
                        Intent::UpdateRecord(update),
                    ) => push::refused(tx, effect, update).await?,
                    _ => {}
                }
            }
            SendOutcome::Done { remote_id, .. } => {
                tx.effect_ended(effect, &EffectOutcome::Done { remote_id: remote_id.clone() }).await?;
                done(tx, effect, outcome).await?;
            }
        }
        Ok(())
    }
}

/// What follows from an effect that is done, wherever that is known from.
pub(crate) async fn done(tx: &Tx, effect: &ClaimedEffect, outcome: &SendOutcome) -> Result<(), AppError> {
    let SendOutcome::Done { remote_id, remote_version, customer_remote_id, asked_at } = outcome else { return Ok(()) };
    if let (Some(remote), Some(customer)) = (customer_remote_id, effect.intent.customer()) {
        link(tx, effect, Entity::Account, (remote, customer.account.to_string()), *asked_at).await?;
    }
    match &effect.intent {
        Intent::PlaceOrder(intent) => acknowledged(tx, effect, (intent.order, remote_id), *asked_at).await,
        Intent::IssueInvoice(intent) => {
            link(tx, effect, Entity::Invoice, (remote_id, intent.invoice.to_string()), *asked_at).await
        }
        Intent::UpdateRecord(update) => push::done(tx, effect, (update, remote_version.as_deref(), *asked_at)).await,
    }
}

/// Links a remote record to ours, unless it is linked already.
async fn link(
    tx: &Tx,
    effect: &ClaimedEffect,
    entity: Entity,
    (remote_id, record_id): (&str, String),
    asked_at: Instant,
) -> Result<(), AppError> {
    let known = crosstie_store::integration::identity(tx, effect.connection_id, entity, remote_id).await?;
    if known.is_some() {
        return Ok(());
    }
    let identity = Identity {
        connection_id: effect.connection_id,
        entity,
        remote_id: remote_id.to_owned(),
        record_id,
        state: LinkState::Linked,
        remote_version: None,
        last_seen_at: asked_at,
    };
    Ok(tx.save_identity(&identity).await?)
}

async fn acknowledged(
    tx: &Tx,
    effect: &ClaimedEffect,
    (order_id, remote_id): (ServiceOrderId, &str),
    asked_at: Instant,
) -> Result<(), AppError> {
    link(tx, effect, Entity::ServiceOrder, (remote_id, order_id.to_string()), asked_at).await?;
    let Some(order) = billing::service_orders_by_ids(tx, &RowScope::All, &[order_id]).await?.pop() else {
        return Ok(());
    };
    acknowledge(tx, &AuthContext::system(), order, remote_id).await
}

/// Notes that billing has an order; its statement of work is active from then on.
pub(crate) async fn acknowledge(
    tx: &Tx,
    auth: &AuthContext,
    mut order: ServiceOrderRecord,
    remote_id: &str,
) -> Result<(), AppError> {
    let states = billing_states(tx, order.sow_id).await?;
    order.status = ServiceOrderStatus::after_billing(&states);
    order.billing_reference = Some(remote_id.to_owned());
    order.rejection = None;
    order.acked_at = Some(tx.now());
    order.version += 1;
    order.updated_at = tx.now();
    tx.save_service_order(&order).await?;
    let id = order.id.to_string();
    publish(tx, auth, Entity::ServiceOrder, (&id, order.version), "service_order_acknowledged").await?;
    let sow = contracts::sows_by_ids(tx, &RowScope::All, &[order.sow_id]).await?.pop();
    if let Some(mut sow) = sow.filter(|sow| sow.status == SowStatus::Signed) {
        sow.status = SowStatus::Active;
        sow.version += 1;
        sow.updated_at = tx.now();
        tx.save_sow(&sow).await?;
        publish(tx, auth, Entity::Sow, (&sow.id.to_string(), sow.version), "sow_activated").await?;
    }
    Ok(())
}

/// The billing states of the milestones of a statement of work.
async fn billing_states(tx: &Tx, sow: SowId) -> Result<Vec<MilestoneBilling>, AppError> {
    let milestones = delivery::milestones_of(tx, &RowScope::All, &[sow]).await?;
    Ok(milestones.iter().map(|milestone| milestone.billing).collect())
}

async fn rejected(tx: &Tx, effect: &ClaimedEffect) -> Result<(), AppError> {
    let system = AuthContext::system();
    let words = "The billing system refused it; the effect ledger has the reason.".to_owned();
    if let Ok(id) = effect.record_id.parse::<ServiceOrderId>()
        && let Some(mut order) = billing::service_orders_by_ids(tx, &RowScope::All, &[id]).await?.pop()
    {
        order.status = ServiceOrderStatus::Rejected;
        order.rejection = Some(words);
        order.version += 1;
        order.updated_at = tx.now();
        tx.save_service_order(&order).await?;
        publish(tx, &system, Entity::ServiceOrder, (&effect.record_id, order.version), "service_order_rejected")
            .await?;
    } else if let Ok(id) = effect.record_id.parse::<InvoiceId>()
        && let Some(mut invoice) = billing::invoices_by_ids(tx, &RowScope::All, &[id]).await?.pop()
    {
        invoice.status = Some(InvoiceStatus::Rejected);
        invoice.rejection = Some(words);
        invoice.version += 1;
        invoice.updated_at = tx.now();
        tx.save_invoice(&invoice).await?;
        publish(tx, &system, Entity::Invoice, (&effect.record_id, invoice.version), "invoice_rejected").await?;
    }
    Ok(())
}

/// Carries the state of an invoice over to its milestone and its order.
pub(crate) async fn follow_invoice(tx: &Tx, auth: &AuthContext, invoice: &InvoiceRecord) -> Result<(), AppError> {
    let Some(milestone_id) = invoice.milestone_id else { return Ok(()) };
    let Some(mut milestone) = delivery::milestones_by_ids(tx, &RowScope::All, &[milestone_id]).await?.pop() else {
        return Ok(());
    };
    let Some(billing) = billing_after(&milestone, invoice) else { return Ok(()) };
    milestone.billing = billing;
    milestone.version += 1;
    milestone.updated_at = tx.now();
    tx.save_milestone(&milestone).await?;
    let event = if billing == MilestoneBilling::Paid { "milestone_paid" } else { "milestone_invoiced" };
    publish(tx, auth, Entity::Milestone, (&milestone.id.to_string(), milestone.version), event).await?;

    let Some(order_id) = invoice.service_order_id else { return Ok(()) };
    follow_milestones(tx, auth, order_id).await
}

/// How the billing of a milestone stands once its invoice stands so; none when it stands so already, or does not follow.
pub(crate) fn billing_after(milestone: &MilestoneRecord, invoice: &InvoiceRecord) -> Option<MilestoneBilling> {
    let billing = match invoice.status {
        Some(InvoiceStatus::Paid) => MilestoneBilling::Paid,
        status if is_issued(status) => MilestoneBilling::Invoiced,
        _ => return None,
    };
    (milestone.billing_round == invoice.billing_round && milestone.billing != billing).then_some(billing)
}

/// Carries the billing states of the milestones of an acknowledged order over to it.
pub(crate) async fn follow_milestones(tx: &Tx, auth: &AuthContext, order_id: ServiceOrderId) -> Result<(), AppError> {
    // Invoices of one order that change at the same time are counted one after the other.
    tx.lock_service_order(order_id).await?;
    let Some(mut order) = billing::service_orders_by_ids(tx, &RowScope::All, &[order_id]).await?.pop() else {
        return Ok(());
    };
    let status = ServiceOrderStatus::after_billing(&billing_states(tx, order.sow_id).await?);
    let acked =
        !matches!(order.status, ServiceOrderStatus::Pending | ServiceOrderStatus::Sent | ServiceOrderStatus::Rejected);
    if acked && order.status != status {
        order.status = status;
        order.version += 1;
        order.updated_at = tx.now();
        tx.save_service_order(&order).await?;
        publish(tx, auth, Entity::ServiceOrder, (&order_id.to_string(), order.version), "service_order_billed").await?;
    }
    Ok(())
}
