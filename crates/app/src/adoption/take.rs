//! Taking a document at billing for what the hub keeps.

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::RowScope,
    billing::{InvoiceRecord, ServiceOrderRecord, ServiceOrderStatus},
    delivery::MilestoneRecord,
    ids::InvoiceId,
    integration::{EffectKey, Entity, LinkState, adoption::AdoptionRecord, authority::Speaker},
};
use crosstie_store::{Tx, billing, integration::Settled};

use super::{Wish, check_amount, refused};
use crate::{
    AppError, Decision,
    billing::{acknowledge, follow_invoice},
    contracts::publish,
};

const SENT: &str =
    "It was sent to the billing system, and what came of it is not known: see its effect, and settle it if it waits.";

/// Takes an order at billing for a service order: it is acknowledged, and not sent.
pub(super) async fn order(
    tx: &Tx,
    wish: Wish<'_>,
    order: ServiceOrderRecord,
) -> Result<Decision<AdoptionRecord>, AppError> {
    tx.lock_service_order(order.id).await?;
    if !matches!(order.status, ServiceOrderStatus::Pending | ServiceOrderStatus::Rejected) {
        let message = "The billing system has this order already, or it is on its way there.";
        return Ok(refused("recordId", UserErrorCode::InvalidTransition, message));
    }
    let (own, id) = (wish.document.id.to_string(), order.id.to_string());
    if wish.link.record_id != own && wish.link.record_id != id {
        return Ok(taken_before(&wish));
    }
    if let Some(refusal) = check_amount(&wish, order.total) {
        return Ok(Err(vec![refusal]));
    }
    let key = EffectKey::place_order(order.id);
    let was_rejected = match tx.adopt_effect(&key, &wish.document.remote_id).await? {
        Settled::Settled { was_rejected } => was_rejected,
        Settled::Absent | Settled::Sent => return Ok(refused("recordId", UserErrorCode::InvalidTransition, SENT)),
    };
    let account = order.account_id;
    if wish.link.record_id != id {
        let speaker = speaker(&wish);
        tx.move_link(Entity::ServiceOrder, &speaker, (&wish.link.record_id, &id), LinkState::Linked).await?;
    }
    acknowledge(tx, wish.auth, order, &wish.document.remote_id).await?;
    let settled = Some((key, was_rejected));
    let adoption = adoption(tx, &wish, (id.clone(), id), settled);
    tx.save_adoption(&adoption, account).await?;
    Ok(Ok(adoption))
}

/// Takes an invoice at billing for that of a milestone. The milestone follows it from now on.
pub(super) async fn invoice(
    tx: &Tx,
    wish: Wish<'_>,
    milestone: MilestoneRecord,
) -> Result<Decision<AdoptionRecord>, AppError> {
    let order = billing::service_orders_of(tx, &RowScope::All, &[milestone.sow_id]).await?.pop();
    let Some(order) = order.filter(|order| order.connection_id == wish.document.connection_id) else {
        let message = "The milestone's statement of work is not signed, or is billed through another connection.";
        return Ok(refused("recordId", UserErrorCode::InvalidTransition, message));
    };
    tx.lock_service_order(order.id).await?;
    let held = match wish.link.record_id.parse::<InvoiceId>() {
        Ok(id) => billing::invoices_by_ids(tx, &RowScope::All, &[id]).await?.pop(),
        Err(_) => None,
    };
    let Some(held) = held else {
        let message = "This system holds no such invoice, as far as it was read.";
        return Ok(refused("remoteId", UserErrorCode::NotFound, message));
    };
    if held.milestone_id.is_some_and(|other| other != milestone.id) {
        return Ok(taken_before(&wish));
    }
    if let Some(refusal) = check_amount(&wish, milestone.amount) {
        return Ok(Err(vec![refusal]));
    }
    let invoices = billing::invoices_of_milestones(tx, &RowScope::All, &[milestone.id]).await?;
    let asked = invoices.into_iter().find(|invoice| invoice.billing_round == milestone.billing_round);
    let key = EffectKey::issue_invoice(milestone.id, milestone.billing_round);
    let settled = tx.adopt_effect(&key, &wish.document.remote_id).await?;
    let settled = match (&asked, settled) {
        (_, Settled::Settled { was_rejected }) => Some((key, was_rejected)),
        (None, Settled::Absent) => None,
        (Some(_), _) => {
            let message = "The milestone is billed already, or its invoice is on its way to the billing system.";
            return Ok(refused("recordId", UserErrorCode::InvalidTransition, message));
        }
        (None, Settled::Sent) => return Ok(refused("recordId", UserErrorCode::InvalidTransition, SENT)),
    };
    let invoice = match asked {
        Some(asked) if asked.id != held.id => unite(tx, &wish, (held, asked)).await?,
        Some(own) => own,
        None => bring_home(tx, held, (&order, &milestone)).await?,
    };
    let id = invoice.id.to_string();
    publish(tx, wish.auth, Entity::Invoice, (&id, invoice.version), "invoice_adopted").await?;
    follow_invoice(tx, wish.auth, &invoice).await?;
    let adoption = adoption(tx, &wish, (milestone.id.to_string(), id), settled);
    tx.save_adoption(&adoption, milestone.account_id).await?;
    Ok(Ok(adoption))
}

/// The invoice that the hub asked for becomes the one that billing holds, which leaves the lists.
async fn unite(
    tx: &Tx,
    wish: &Wish<'_>,
    (held, asked): (InvoiceRecord, InvoiceRecord),
) -> Result<InvoiceRecord, AppError> {
    let (from, into) = (held.id.to_string(), asked.id.to_string());
    tx.move_link(Entity::Invoice, &speaker(wish), (&from, &into), LinkState::Linked).await?;
    tx.merge_invoice(held.id, Some(asked.id)).await?;
    let mut lines = billing::invoice_lines(tx, &RowScope::All, &[held.id]).await?;
    for line in &mut lines {
        line.id = tx.new_id();
        line.invoice_id = asked.id;
    }
    let invoice = InvoiceRecord {
        id: asked.id,
        service_order_id: asked.service_order_id,
        milestone_id: asked.milestone_id,
        account_id: asked.account_id,
        billing_round: asked.billing_round,
        rejection: None,
        version: asked.version + 1,
        created_at: asked.created_at,
        updated_at: tx.now(),
        ..held
    };
    tx.save_invoice(&invoice).await?;
    tx.replace_invoice_lines(invoice.id, &lines).await?;
    Ok(invoice)
}

/// An invoice that the hub has not asked for yet bills the milestone.
async fn bring_home(
    tx: &Tx,
    held: InvoiceRecord,
    (order, milestone): (&ServiceOrderRecord, &MilestoneRecord),
) -> Result<InvoiceRecord, AppError> {
    let invoice = InvoiceRecord {
        service_order_id: Some(order.id),
        milestone_id: Some(milestone.id),
        account_id: held.account_id.or(Some(milestone.account_id)),
        billing_round: milestone.billing_round,
        version: held.version + 1,
        updated_at: tx.now(),
        ..held
    };
    tx.save_invoice(&invoice).await?;
    Ok(invoice)
}

fn adoption(
    tx: &Tx,
    wish: &Wish<'_>,
    (target_id, record_id): (String, String),
    settled: Option<(EffectKey, bool)>,
) -> AdoptionRecord {
    AdoptionRecord {
        id: tx.new_id(),
        connection_id: wish.document.connection_id,
        entity: wish.document.entity,
        remote_id: wish.document.remote_id.clone(),
        target_id,
        record_id,
        from_id: wish.link.record_id.clone(),
        was_rejected: settled.as_ref().is_some_and(|(_, was_rejected)| *was_rejected),
        effect_key: settled.map(|(key, _)| key.as_str().to_owned()),
        score: wish.score,
        evidence: wish.evidence.clone(),
        accepted: wish.accept,
        actor: wish.auth.principal.to_string(),
        reason: wish.reason.map(str::to_owned),
        adopted_at: tx.now(),
        undone_at: None,
        undone_by: None,
        undo_reason: None,
        version: 1,
    }
}

fn speaker(wish: &Wish<'_>) -> Speaker {
    Speaker { connection: wish.document.connection_id, remote_id: wish.document.remote_id.clone() }
}

fn taken_before(wish: &Wish<'_>) -> Decision<AdoptionRecord> {
    let message = format!("The document is {} already: undo that adoption first.", wish.link.record_id);
    Err(vec![Refusal::new("remoteId", UserErrorCode::InvalidTransition, message)])
}
