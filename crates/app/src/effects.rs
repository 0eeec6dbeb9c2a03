//! What persons do about effects that wait for them: send them again, correct them, or say how they ended.

use std::collections::BTreeSet;

use crosstie_domain::{
    Refusal, Refusals, UserErrorCode,
    access::{AuthContext, Principal, RowScope},
    billing::{InvoiceStatus, ServiceOrderStatus},
    ids::{InvoiceId, OutboxId, ServiceOrderId},
    integration::{Customer, EffectRecord, EffectSafety, EffectStatus, Entity, Intent},
};
use crosstie_store::{Change, StoreError, Tx, billing, integration::effects_by_ids};
use serde::Serialize;
use serde_json::json;

use crate::{
    App, AppError, Decision, SendOutcome,
    billing::done,
    connections::check_reason,
    contracts::check_text,
    idempotency::{Request, decided, stale},
};

/// The longest id of a vendor that the hub takes, in bytes.
const LONGEST_ID: usize = 255;

/// What a person found out about an effect.
#[derive(Debug, Clone, Serialize)]
pub struct SettleEffect {
    /// The effect.
    pub effect_id: OutboxId,
    /// The id at the other system, if it happened; none when it did not, and it is sent again.
    pub happened_as: Option<String>,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// How that is known, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What is to be different about an effect. What is left out stays as it was decided.
#[derive(Debug, Clone, Serialize)]
pub struct EditEffect {
    /// The effect.
    pub effect_id: OutboxId,
    /// Name of the customer.
    pub customer_name: Option<String>,
    /// E-mail address for invoices.
    pub customer_email: Option<String>,
    /// Title of the statement of work.
    pub title: Option<String>,
    /// What was delivered: of invoices.
    pub description: Option<String>,
    /// The customer's purchase order number: of orders.
    pub po_number: Option<String>,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

impl App {
    /// What makes an effect happen once; none while its connection is not configured, or of updates that were done
    /// long ago.
    pub fn effect_safety(&self, effect: &EffectRecord) -> Option<EffectSafety> {
        self.vendors()?.safety(effect.connection_id, effect.intent, effect.entity()?)
    }

    /// Makes effects due again under their old keys, in the caller's transaction, with what that means for their
    /// orders and invoices. Returns those that are due; somebody works on the others, or they are done.
    ///
    /// # Errors
    /// As the database.
    pub async fn send_again(
        &self,
        tx: &Tx,
        (effects, as_status): (&[EffectRecord], EffectStatus),
        actor: Principal,
    ) -> Result<Vec<OutboxId>, AppError> {
        let ids: Vec<OutboxId> = effects.iter().map(|effect| effect.id).collect();
        let due = tx.effects_again(&ids, as_status).await?;
        let is_due: BTreeSet<OutboxId> = due.iter().copied().collect();
        let refused = |effect: &&EffectRecord| effect.status == EffectStatus::Rejected && is_due.contains(&effect.id);
        let records: Vec<&str> = effects.iter().filter(refused).map(|effect| effect.record_id.as_str()).collect();
        let orders: Vec<ServiceOrderId> = records.iter().filter_map(|id| id.parse().ok()).collect();
        for mut order in billing::service_orders_by_ids(tx, &RowScope::All, &orders).await? {
            order.status = ServiceOrderStatus::Pending;
            order.rejection = None;
            order.version += 1;
            order.updated_at = tx.now();
            tx.save_service_order(&order).await?;
            let (id, version) = (order.id.to_string(), order.version);
            let event = "service_order_sent_again";
            tx.publish(&[Change { entity: Entity::ServiceOrder, id: &id, event, actor, version }]).await?;
        }
        let invoices: Vec<InvoiceId> = records.iter().filter_map(|id| id.parse().ok()).collect();
        for mut invoice in billing::invoices_by_ids(tx, &RowScope::All, &invoices).await? {
            invoice.status = Some(InvoiceStatus::Requested);
            invoice.rejection = None;
            invoice.version += 1;
            invoice.updated_at = tx.now();
            tx.save_invoice(&invoice).await?;
            let (id, version) = (invoice.id.to_string(), invoice.version);
            let event = "invoice_requested_again";
            tx.publish(&[Change { entity: Entity::Invoice, id: &id, event, actor, version }]).await?;
        }
        Ok(due)
    }

    /// Takes a person's word for how an effect ended: it is done, or it is sent again.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn settle_effect(
        &self,
        auth: &AuthContext,
        input: SettleEffect,
    ) -> Result<Decision<EffectRecord>, AppError> {
        decided(|| self.try_settle_effect(auth, &input)).await
    }

    async fn try_settle_effect(
        &self,
        auth: &AuthContext,
        input: &SettleEffect,
    ) -> Result<Decision<EffectRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("settleOutboundEffect", input.idempotency_key.as_deref(), input);
        let effect = match find(&tx, auth, &request, (input.effect_id, input.expected_version)).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Found::Before(effect)) => return Ok(Ok(effect)),
            Ok(Found::Now(effect)) => effect,
        };
        if !effect.status.can_be_settled() {
            let message = format!(
                "It is {}; only an effect that is UNCERTAIN or EXHAUSTED is settled by a person.",
                effect.status.as_str()
            );
            return Ok(Err(vec![Refusal::new("effectId", UserErrorCode::InvalidTransition, message)]));
        }
        let remote_id = input.happened_as.as_deref();
        if remote_id.is_some_and(|id| !(1..=LONGEST_ID).contains(&id.len()) || id.contains('\0')) {
            let message = format!("An id at another system has 1 to {LONGEST_ID} bytes, none of them NUL.");
            return Ok(Err(vec![Refusal::new("remoteId", UserErrorCode::Invalid, message)]));
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let Some(intent) = effect.payload.clone() else { return Err(StoreError::Conflict.into()) };
        let claimed = tx.settle_effect(&effect, &intent, remote_id).await?;
        if let Some(remote_id) = remote_id {
            let outcome = SendOutcome::Done {
                remote_id: remote_id.to_owned(),
                remote_version: None,
                customer_remote_id: None,
                asked_at: tx.now(),
            };
            done(&tx, &claimed, &outcome).await?;
        }
        let was = json!({ "status": effect.status });
        let became = json!({ "happened": remote_id.is_some(), "remoteId": remote_id });
        let by = (auth.principal, input.reason.as_deref());
        tx.append_correction(&effect.id.to_string(), (&was.to_string(), &became.to_string()), by).await?;
        kept(tx, auth, request, effect.id).await
    }

    /// Corrects what an effect says that did not happen, without changing what was decided: never an amount. It stays
    /// where it is; to be sent it is replayed.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn edit_effect(&self, auth: &AuthContext, input: EditEffect) -> Result<Decision<EffectRecord>, AppError> {
        decided(|| self.try_edit_effect(auth, &input)).await
    }

    async fn try_edit_effect(
        &self,
        auth: &AuthContext,
        input: &EditEffect,
    ) -> Result<Decision<EffectRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("editOutboundEffect", input.idempotency_key.as_deref(), input);
        let effect = match find(&tx, auth, &request, (input.effect_id, input.expected_version)).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Found::Before(effect)) => return Ok(Ok(effect)),
            Ok(Found::Now(effect)) => effect,
        };
        if !effect.status.can_be_edited() {
            let message = format!(
                "It is {}; only an effect that is REJECTED or EXHAUSTED can be corrected.",
                effect.status.as_str()
            );
            return Ok(Err(vec![Refusal::new("effectId", UserErrorCode::InvalidTransition, message)]));
        }
        let Some(intent) = effect.payload.clone() else { return Err(StoreError::Conflict.into()) };
        let corrected = match input.apply(intent.clone()) {
            Ok(corrected) => corrected,
            Err(refusals) => return Ok(Err(refusals)),
        };
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        tx.correct_effect(&effect, &corrected).await?;
        let (was, became) = (json!(intent).to_string(), json!(corrected).to_string());
        let by = (auth.principal, input.reason.as_deref());
        tx.append_correction(&effect.id.to_string(), (&was, &became), by).await?;
        kept(tx, auth, request, effect.id).await
    }
}

impl EditEffect {
    /// The intent with what is to be different, or why that cannot be.
    fn apply(&self, intent: Intent) -> Result<Intent, Refusals> {
        let texts = [
            ("customerName", &self.customer_name, 200),
            ("customerEmail", &self.customer_email, 320),
            ("title", &self.title, 200),
            ("description", &self.description, 200),
            ("poNumber", &self.po_number, 100),
        ];
        let mut refusals = Refusals::new();
        for (field, text, most) in &texts {
            refusals.extend(text.as_deref().and_then(|text| check_text(field, text, *most)));
        }
        if self.customer_email.as_deref().is_some_and(|email| !email.contains('@')) {
            refusals.push(Refusal::new("customerEmail", UserErrorCode::Invalid, "This is no e-mail address."));
        }
        let takes: &[&str] = match intent {
            Intent::PlaceOrder(_) => &["customerName", "customerEmail", "title", "poNumber"],
            Intent::IssueInvoice(_) => &["customerName", "customerEmail", "title", "description"],
            Intent::UpdateRecord(_) => &[],
        };
        for (field, _, _) in texts.iter().filter(|(field, text, _)| text.is_some() && !takes.contains(field)) {
            let message = "What this effect asks for has no such text.";
            refusals.push(Refusal::new(field, UserErrorCode::Invalid, message));
        }
        if texts.iter().all(|(_, text, _)| text.is_none()) {
            refusals.push(Refusal::new("", UserErrorCode::Required, "Name something that is to be different."));
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        Ok(match intent {
            Intent::PlaceOrder(mut order) => {
                self.correct(&mut order.customer, &mut order.title);
                order.po_number = self.po_number.as_deref().map(trimmed).or(order.po_number);
                Intent::PlaceOrder(order)
            }
            Intent::IssueInvoice(mut invoice) => {
                self.correct(&mut invoice.customer, &mut invoice.title);
                invoice.description = self.description.as_deref().map_or(invoice.description, trimmed);
                Intent::IssueInvoice(invoice)
            }
            update @ Intent::UpdateRecord(_) => update,
        })
    }

    fn correct(&self, customer: &mut Customer, title: &mut String) {
        if let Some(name) = &self.customer_name {
            customer.name = trimmed(name);
        }
        if let Some(email) = &self.customer_email {
            customer.email = Some(trimmed(email));
        }
        if let Some(text) = &self.title {
            *title = trimmed(text);
        }
    }
}

fn trimmed(text: &str) -> String {
    text.trim().to_owned()
}

/// An effect that somebody wants to change.
enum Found {
    /// It was changed by this very request before.
    Before(EffectRecord),
    /// It is there to be changed.
    Now(EffectRecord),
}

async fn find(
    tx: &Tx,
    auth: &AuthContext,
    request: &Request<'_>,
    (id, expected): (OutboxId, Option<i32>),
) -> Result<Decision<Found>, AppError> {
    let earlier = match request.earlier(tx, auth).await? {
        Err(refusals) => return Ok(Err(refusals)),
        Ok(earlier) => earlier,
    };
    let Some(effect) = effects_by_ids(tx, &auth.rows, &[id]).await?.pop() else {
        let message = "There is no such effect, or none that you may see.";
        return Ok(Err(vec![Refusal::new("effectId", UserErrorCode::NotFound, message)]));
    };
    if earlier.is_some() {
        return Ok(Ok(Found::Before(effect)));
    }
    if expected.is_some_and(|expected| expected != effect.version) {
        return Ok(Err(vec![stale(effect.version)]));
    }
    Ok(Ok(Found::Now(effect)))
}

async fn kept(
    tx: Tx,
    auth: &AuthContext,
    request: Request<'_>,
    id: OutboxId,
) -> Result<Decision<EffectRecord>, AppError> {
    request.keep(&tx, auth, id.to_string()).await?;
    let effect = effects_by_ids(&tx, &RowScope::All, &[id]).await?.pop().ok_or(StoreError::Conflict)?;
    tx.commit().await?;
    Ok(Ok(effect))
}
