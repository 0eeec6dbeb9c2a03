//! Accepting milestones.

use crosstie_domain::{
    CivilDate, Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    billing::{InvoiceRecord, InvoiceStatus, ServiceOrderRecord, ServiceOrderStatus},
    contracts::SowRecord,
    delivery::{MilestoneAcceptance, MilestoneBilling, MilestoneRecord},
    ids::MilestoneId,
    integration::{EffectKey, Entity, Intent, IssueInvoice},
};
use crosstie_store::{EffectRequest, Tx, billing, contracts, delivery};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    contracts::{customer, publish},
    idempotency::{Request, decided, stale},
    ingest::is_issued,
};

/// The customer's acceptance of a milestone.
#[derive(Debug, Clone, Serialize)]
pub struct AcceptMilestone {
    /// What is accepted.
    pub milestone_id: MilestoneId,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// The day of the acceptance; today in UTC when none is given.
    pub accepted_on: Option<CivilDate>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

impl App {
    /// Accepts a milestone. Its invoice is asked for in the same transaction, under a key of the milestone and its
    /// billing round: nothing is accepted and not billed, and nothing is billed twice.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn accept_milestone(
        &self,
        auth: &AuthContext,
        input: AcceptMilestone,
    ) -> Result<Decision<MilestoneRecord>, AppError> {
        decided(|| self.try_accept_milestone(auth, &input)).await
    }

    async fn try_accept_milestone(
        &self,
        auth: &AuthContext,
        input: &AcceptMilestone,
    ) -> Result<Decision<MilestoneRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("acceptMilestone", input.idempotency_key.as_deref(), input);
        let repeated = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier.is_some(),
        };
        let Some(mut milestone) = delivery::milestones_by_ids(&tx, &auth.rows, &[input.milestone_id]).await?.pop()
        else {
            let message = "No such milestone.";
            return Ok(Err(vec![Refusal::new("milestoneId", UserErrorCode::NotFound, message)]));
        };
        if repeated {
            return Ok(Ok(milestone));
        }
        if input.expected_version.is_some_and(|expected| expected != milestone.version) {
            return Ok(Err(vec![stale(milestone.version)]));
        }
        let Some(sow) = contracts::sows_by_ids(&tx, &RowScope::All, &[milestone.sow_id]).await?.pop() else {
            let message = "The statement of work of this milestone is gone.";
            return Ok(Err(vec![Refusal::new("milestoneId", UserErrorCode::NotFound, message)]));
        };
        let order = billing::service_orders_of(&tx, &RowScope::All, &[sow.id]).await?.pop();
        let order = match (milestone.check_acceptance(sow.status), order) {
            (Err(refusal), _) => return Ok(Err(vec![refusal])),
            (Ok(()), Some(order)) if order.status == ServiceOrderStatus::Rejected => {
                let message = "The billing system refused the service order: nothing can be billed until it took it.";
                return Ok(Err(vec![Refusal::new("milestoneId", UserErrorCode::InvalidTransition, message)]));
            }
            (Ok(()), Some(order)) => order,
            (Ok(()), None) => {
                let message = "The statement of work has no service order.";
                return Ok(Err(vec![Refusal::new("milestoneId", UserErrorCode::InvalidTransition, message)]));
            }
        };

        let invoices = billing::invoices_of_milestones(&tx, &RowScope::All, &[milestone.id]).await?;
        let billed = invoices.into_iter().find(|invoice| invoice.billing_round == milestone.billing_round);
        if billed.as_ref().is_some_and(|invoice| !is_issued(invoice.status)) {
            let message = "The invoice that was adopted for it is not in force any more: undo its adoption first.";
            return Ok(Err(vec![Refusal::new("milestoneId", UserErrorCode::InvalidTransition, message)]));
        }

        let now = tx.now();
        milestone.acceptance = MilestoneAcceptance::Accepted;
        milestone.accepted_on = Some(input.accepted_on.unwrap_or_else(|| CivilDate::today_utc(now)));
        // What was billed before, by an invoice that was adopted, is not billed again.
        if billed.is_none() {
            milestone.billing = MilestoneBilling::Billable;
        }
        milestone.version += 1;
        milestone.updated_at = now;
        tx.save_milestone(&milestone).await?;
        let id = milestone.id.to_string();
        publish(&tx, auth, Entity::Milestone, (&id, milestone.version), "milestone_accepted").await?;

        if billed.is_none() {
            bill(&tx, auth, (&sow, &order, &milestone)).await?;
        }
        request.keep(&tx, auth, id).await?;
        tx.commit().await?;
        Ok(Ok(milestone))
    }
}

/// Asks for the invoice of an accepted milestone.
pub(crate) async fn bill(
    tx: &Tx,
    auth: &AuthContext,
    (sow, order, milestone): (&SowRecord, &ServiceOrderRecord, &MilestoneRecord),
) -> Result<(), AppError> {
    let now = tx.now();
    let invoice = InvoiceRecord {
        id: tx.new_id(),
        service_order_id: Some(order.id),
        milestone_id: Some(milestone.id),
        account_id: Some(milestone.account_id),
        connection_id: order.connection_id,
        billing_round: milestone.billing_round,
        number: None,
        status: Some(InvoiceStatus::Requested),
        native_status: None,
        total: milestone.amount,
        net: Some(milestone.amount),
        tax: None,
        amount_paid: None,
        issued_on: None,
        due_on: None,
        billing_reference: None,
        rejection: None,
        deleted_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    tx.save_invoice(&invoice).await?;
    publish(tx, auth, Entity::Invoice, (&invoice.id.to_string(), 1), "invoice_requested").await?;
    let intent = IssueInvoice {
        invoice: invoice.id,
        order: order.id,
        milestone: milestone.id,
        customer: customer(tx, sow).await?,
        title: sow.title.clone(),
        description: milestone.name.clone(),
        item_code: milestone.item_code.clone(),
        amount: milestone.amount,
    };
    request_invoice(tx, &invoice, intent).await
}

async fn request_invoice(tx: &Tx, invoice: &InvoiceRecord, intent: IssueInvoice) -> Result<(), AppError> {
    let key = EffectKey::issue_invoice(intent.milestone, invoice.billing_round);
    let request = EffectRequest {
        key: &key,
        entity: Entity::Invoice,
        record_id: &invoice.id.to_string(),
        connection_id: invoice.connection_id,
        intent: &Intent::IssueInvoice(intent),
    };
    Ok(tx.request_effect(request).await?)
}
