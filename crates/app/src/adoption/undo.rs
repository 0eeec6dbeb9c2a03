//! Undoing an adoption without loss.

use crosstie_domain::{
    UserErrorCode,
    access::{AuthContext, RowScope},
    billing::{InvoiceRecord, ServiceOrderStatus},
    contracts::SowStatus,
    delivery::{MilestoneAcceptance, MilestoneBilling},
    ids::{AccountId, InvoiceId, MilestoneId, ServiceOrderId},
    integration::{Entity, LinkState, adoption::AdoptionRecord, authority::Speaker},
};
use crosstie_store::{
    Tx, billing, contracts, delivery,
    integration::{identity, remote_document},
};

use super::{asked_status, refused};
use crate::{AppError, Decision, billing::follow_milestones, contracts::publish, delivery::bill};

/// Undoes an adoption that stands.
pub(super) async fn undo(
    tx: &Tx,
    auth: &AuthContext,
    adoption: AdoptionRecord,
    reason: Option<&str>,
) -> Result<Decision<AdoptionRecord>, AppError> {
    tx.lock_identity(adoption.connection_id, adoption.entity, &adoption.remote_id).await?;
    let link = identity(tx, adoption.connection_id, adoption.entity, &adoption.remote_id).await?;
    if link.is_none_or(|link| link.record_id != adoption.record_id) {
        let message = "The document is another record by now: there is nothing to undo.";
        return Ok(refused("adoptionId", UserErrorCode::InvalidTransition, message));
    }
    let undone = match adoption.entity {
        Entity::ServiceOrder => order(tx, auth, &adoption).await?,
        _ => invoice(tx, auth, &adoption).await?,
    };
    let account = match undone {
        Ok(account) => account,
        Err(refusals) => return Ok(Err(refusals)),
    };
    let adoption = AdoptionRecord {
        undone_at: Some(tx.now()),
        undone_by: Some(auth.principal.to_string()),
        undo_reason: reason.map(str::to_owned),
        version: adoption.version + 1,
        ..adoption
    };
    tx.save_adoption(&adoption, account).await?;
    Ok(Ok(adoption))
}

fn speaker(adoption: &AdoptionRecord) -> Speaker {
    Speaker { connection: adoption.connection_id, remote_id: adoption.remote_id.clone() }
}

/// The order waits to be placed again, and its statement of work is signed only.
async fn order(tx: &Tx, auth: &AuthContext, adoption: &AdoptionRecord) -> Result<Decision<AccountId>, AppError> {
    let gone = || refused("adoptionId", UserErrorCode::NotFound, "Its service order is gone.");
    let Ok(id) = adoption.record_id.parse::<ServiceOrderId>() else { return Ok(gone()) };
    tx.lock_service_order(id).await?;
    let Some(mut order) = billing::service_orders_by_ids(tx, &RowScope::All, &[id]).await?.pop() else {
        return Ok(gone());
    };
    if order.status != ServiceOrderStatus::Acked {
        let message = "Milestones of this order are billed: it cannot be placed anew. Undo their adoptions first.";
        return Ok(refused("adoptionId", UserErrorCode::InvalidTransition, message));
    }
    // An order that carries the hub's own id becomes a record of its own.
    let key = (adoption.connection_id, adoption.entity, adoption.remote_id.as_str());
    let document = remote_document(tx, key).await?;
    let own = document.map_or_else(|| adoption.from_id.clone(), |document| document.id.to_string());
    tx.move_link(Entity::ServiceOrder, &speaker(adoption), (&adoption.record_id, &own), LinkState::Split).await?;
    if let Some(key) = &adoption.effect_key {
        tx.release_effect(key, adoption.was_rejected).await?;
    }
    order.status = if adoption.was_rejected { ServiceOrderStatus::Rejected } else { ServiceOrderStatus::Pending };
    order.billing_reference = None;
    order.acked_at = None;
    order.version += 1;
    order.updated_at = tx.now();
    tx.save_service_order(&order).await?;
    publish(tx, auth, Entity::ServiceOrder, (&adoption.record_id, order.version), "service_order_adoption_undone")
        .await?;
    let sow = contracts::sows_by_ids(tx, &RowScope::All, &[order.sow_id]).await?.pop();
    if let Some(mut sow) = sow.filter(|sow| sow.status == SowStatus::Active) {
        sow.status = SowStatus::Signed;
        sow.version += 1;
        sow.updated_at = tx.now();
        tx.save_sow(&sow).await?;
        publish(tx, auth, Entity::Sow, (&sow.id.to_string(), sow.version), "sow_order_withdrawn").await?;
    }
    Ok(Ok(order.account_id))
}

/// The invoice is by itself again, and the milestone is to be billed, if it is accepted.
async fn invoice(tx: &Tx, auth: &AuthContext, adoption: &AdoptionRecord) -> Result<Decision<AccountId>, AppError> {
    let gone = || refused("adoptionId", UserErrorCode::NotFound, "Its invoice or its milestone is gone.");
    let ids = (adoption.record_id.parse::<InvoiceId>(), adoption.target_id.parse::<MilestoneId>());
    let (Ok(id), Ok(milestone)) = ids else { return Ok(gone()) };
    let invoice = billing::invoices_by_ids(tx, &RowScope::All, &[id]).await?.pop();
    let milestone = delivery::milestones_by_ids(tx, &RowScope::All, &[milestone]).await?.pop();
    let (Some(invoice), Some(mut milestone)) = (invoice, milestone) else { return Ok(gone()) };
    let sow = contracts::sows_by_ids(tx, &RowScope::All, &[milestone.sow_id]).await?.pop();
    let order = billing::service_orders_of(tx, &RowScope::All, &[milestone.sow_id]).await?.pop();
    let (Some(sow), Some(order)) = (sow, order) else { return Ok(gone()) };
    tx.lock_service_order(order.id).await?;

    let accepted = milestone.acceptance == MilestoneAcceptance::Accepted;
    milestone.billing = if accepted { MilestoneBilling::Billable } else { MilestoneBilling::NotBillable };
    milestone.version += 1;
    milestone.updated_at = tx.now();
    tx.save_milestone(&milestone).await?;
    let id = milestone.id.to_string();
    publish(tx, auth, Entity::Milestone, (&id, milestone.version), "milestone_not_billed").await?;
    match &adoption.effect_key {
        Some(key) => {
            tx.release_effect(key, adoption.was_rejected).await?;
            part(tx, auth, adoption, invoice, milestone.amount).await?;
        }
        None => {
            let own = InvoiceRecord {
                service_order_id: None,
                milestone_id: None,
                billing_round: 1,
                version: invoice.version + 1,
                updated_at: tx.now(),
                ..invoice
            };
            tx.save_invoice(&own).await?;
            publish(tx, auth, Entity::Invoice, (&adoption.record_id, own.version), "invoice_adoption_undone").await?;
            tx.set_link_state(Entity::Invoice, &speaker(adoption), LinkState::Split).await?;
            if accepted {
                bill(tx, auth, (&sow, &order, &milestone)).await?;
            }
        }
    }
    follow_milestones(tx, auth, order.id).await?;
    Ok(Ok(milestone.account_id))
}

/// What billing holds is an invoice of its own again, and the one that the hub asked for stands as it stood.
async fn part(
    tx: &Tx,
    auth: &AuthContext,
    adoption: &AdoptionRecord,
    invoice: InvoiceRecord,
    total: crosstie_domain::Money,
) -> Result<(), AppError> {
    let before = match adoption.from_id.parse::<InvoiceId>() {
        Ok(id) if id != invoice.id => billing::invoices_by_ids(tx, &RowScope::All, &[id]).await?.pop(),
        _ => None,
    };
    let now = tx.now();
    let (id, version, created_at) =
        before.map_or_else(|| (tx.new_id(), 0, now), |before| (before.id, before.version, before.created_at));
    let own = InvoiceRecord {
        id,
        service_order_id: None,
        milestone_id: None,
        billing_round: 1,
        version: version + 1,
        created_at,
        updated_at: now,
        ..invoice.clone()
    };
    tx.save_invoice(&own).await?;
    tx.merge_invoice(own.id, None).await?;
    let mut lines = billing::invoice_lines(tx, &RowScope::All, &[invoice.id]).await?;
    tx.replace_invoice_lines(invoice.id, &[]).await?;
    for line in &mut lines {
        line.id = tx.new_id();
        line.invoice_id = own.id;
    }
    tx.replace_invoice_lines(own.id, &lines).await?;
    let own_id = own.id.to_string();
    tx.move_link(Entity::Invoice, &speaker(adoption), (&adoption.record_id, &own_id), LinkState::Split).await?;
    publish(tx, auth, Entity::Invoice, (&own_id, own.version), "invoice_adoption_undone").await?;
    let asked = InvoiceRecord {
        number: None,
        status: Some(asked_status(adoption.was_rejected)),
        native_status: None,
        total,
        net: Some(total),
        tax: None,
        amount_paid: None,
        issued_on: None,
        due_on: None,
        billing_reference: None,
        deleted_at: None,
        version: invoice.version + 1,
        updated_at: now,
        ..invoice
    };
    tx.save_invoice(&asked).await?;
    publish(tx, auth, Entity::Invoice, (&adoption.record_id, asked.version), "invoice_requested_again").await
}
