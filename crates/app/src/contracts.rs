//! Drafting and signing statements of work.

use crosstie_domain::{
    CivilDate, ItemCode, Money, Refusal, Refusals, UserErrorCode,
    access::AuthContext,
    billing::{ServiceOrderRecord, ServiceOrderStatus},
    contracts::{SowRecord, SowStatus},
    delivery::{MilestoneAcceptance, MilestoneBilling, MilestoneRecord},
    ids::{ConnectionId, OpportunityId, SowId},
    integration::{Arm, Customer, EffectKey, Entity, Intent, OrderLine, PlaceOrder},
};
use crosstie_store::{Change, EffectRequest, Tx, contracts, delivery, integration, pipeline};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    idempotency::{Request, decided, stale},
};

/// A statement of work to be drafted.
#[derive(Debug, Clone, Serialize)]
pub struct CreateSow {
    /// The opportunity that it comes from.
    pub opportunity_id: OpportunityId,
    /// The connection that it will be ordered and billed through.
    pub billing_connection_id: ConnectionId,
    /// What it is called: 1 to 200 characters.
    pub title: String,
    /// The price of the whole, not negative.
    pub total: Money,
    /// The customer's purchase order number: at most 100 characters.
    pub po_number: Option<String>,
    /// Its lines: at most 500.
    pub milestones: Vec<NewMilestone>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A milestone line to be drafted.
#[derive(Debug, Clone, Serialize)]
pub struct NewMilestone {
    /// What is delivered: 1 to 200 characters.
    pub name: String,
    /// What kind of service it is, for billing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_code: Option<ItemCode>,
    /// Its price, more than nothing.
    pub amount: Money,
    /// The day on which it is planned.
    pub planned_on: Option<CivilDate>,
}

/// A signature.
#[derive(Debug, Clone, Serialize)]
pub struct SignSow {
    /// What is signed.
    pub sow_id: SowId,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// The day of the signature; today in UTC when none is given.
    pub signed_on: Option<CivilDate>,
    /// The customer's purchase order number, when it came with the signature.
    pub po_number: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

impl App {
    /// Drafts a statement of work with its milestones.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn create_sow(&self, auth: &AuthContext, input: CreateSow) -> Result<Decision<SowRecord>, AppError> {
        decided(|| self.try_create_sow(auth, &input)).await
    }

    async fn try_create_sow(&self, auth: &AuthContext, input: &CreateSow) -> Result<Decision<SowRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("createSow", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return sow_again(&tx, auth, &earlier).await,
            Ok(None) => {}
        }
        let mut refusals = check_texts(input);
        let opportunity = pipeline::opportunities_by_ids(&tx, &auth.rows, &[input.opportunity_id]).await?.pop();
        let account_id = match &opportunity {
            None => {
                refusals.push(Refusal::new("opportunityId", UserErrorCode::NotFound, "No such opportunity."));
                None
            }
            Some(opportunity) => {
                if opportunity.account_id.is_none() {
                    let message = "The opportunity has no account yet; the CRM must name one first.";
                    refusals.push(Refusal::new("opportunityId", UserErrorCode::Required, message));
                }
                opportunity.account_id
            }
        };
        let all = &crosstie_domain::access::RowScope::All;
        let connection = integration::connections_by_ids(&tx, all, &[input.billing_connection_id]).await?.pop();
        let usable = connection.filter(|connection| connection.enabled && connection.arms.contains(&Arm::Billing));
        match usable {
            Some(connection) if !connection.mode.decides() => {
                let message = "This billing system is only observed; switch its connection to another mode first.";
                refusals.push(Refusal::new("billingConnectionId", UserErrorCode::Invalid, message));
            }
            Some(_) => {}
            None => {
                let message = "No such connection to a billing system.";
                refusals.push(Refusal::new("billingConnectionId", UserErrorCode::NotFound, message));
            }
        }
        let (true, Some(account_id)) = (refusals.is_empty(), account_id) else { return Ok(Err(refusals)) };

        let now = tx.now();
        let sow = SowRecord {
            id: tx.new_id(),
            opportunity_id: input.opportunity_id,
            account_id,
            billing_connection_id: input.billing_connection_id,
            title: input.title.trim().to_owned(),
            status: SowStatus::Draft,
            total: input.total,
            po_number: input.po_number.clone(),
            signed_on: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        tx.save_sow(&sow).await?;
        for (position, line) in (0..).zip(&input.milestones) {
            let milestone = MilestoneRecord {
                id: tx.new_id(),
                sow_id: sow.id,
                account_id,
                position,
                name: line.name.trim().to_owned(),
                item_code: line.item_code.clone(),
                amount: line.amount,
                planned_on: line.planned_on,
                acceptance: MilestoneAcceptance::Planned,
                accepted_on: None,
                billing: MilestoneBilling::NotBillable,
                billing_round: 1,
                version: 1,
                created_at: now,
                updated_at: now,
            };
            tx.save_milestone(&milestone).await?;
        }
        let id = sow.id.to_string();
        publish(&tx, auth, Entity::Sow, (&id, 1), "sow_drafted").await?;
        request.keep(&tx, auth, id).await?;
        tx.commit().await?;
        Ok(Ok(sow))
    }

    /// Signs a statement of work. Its service order is written to the outbox in the same transaction: nothing is sold
    /// and not ordered.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn sign_sow(&self, auth: &AuthContext, input: SignSow) -> Result<Decision<SowRecord>, AppError> {
        decided(|| self.try_sign_sow(auth, &input)).await
    }

    async fn try_sign_sow(&self, auth: &AuthContext, input: &SignSow) -> Result<Decision<SowRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("signSow", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return sow_again(&tx, auth, &earlier).await,
            Ok(None) => {}
        }
        let Some(mut sow) = contracts::sows_by_ids(&tx, &auth.rows, &[input.sow_id]).await?.pop() else {
            let message = "No such statement of work.";
            return Ok(Err(vec![Refusal::new("sowId", UserErrorCode::NotFound, message)]));
        };
        if input.expected_version.is_some_and(|expected| expected != sow.version) {
            return Ok(Err(vec![stale(sow.version)]));
        }
        if let Some(refusal) = check_text("poNumber", input.po_number.as_deref().unwrap_or("-"), 100) {
            return Ok(Err(vec![refusal]));
        }
        let milestones = delivery::milestones_of(&tx, &auth.rows, &[sow.id]).await?;
        if let Err(refusals) = sow.check_signature(&milestones) {
            return Ok(Err(refusals));
        }

        let now = tx.now();
        sow.status = SowStatus::Signed;
        sow.signed_on = Some(input.signed_on.unwrap_or_else(|| CivilDate::today_utc(now)));
        sow.po_number = input.po_number.clone().or(sow.po_number);
        sow.version += 1;
        sow.updated_at = now;
        tx.save_sow(&sow).await?;
        let id = sow.id.to_string();
        publish(&tx, auth, Entity::Sow, (&id, sow.version), "sow_signed").await?;
        order(&tx, auth, &sow, &milestones).await?;
        request.keep(&tx, auth, id).await?;
        tx.commit().await?;
        Ok(Ok(sow))
    }
}

/// Writes the service order of a signed statement of work, and asks billing for it.
async fn order(tx: &Tx, auth: &AuthContext, sow: &SowRecord, milestones: &[MilestoneRecord]) -> Result<(), AppError> {
    let now = tx.now();
    let order = ServiceOrderRecord {
        id: tx.new_id(),
        sow_id: sow.id,
        account_id: sow.account_id,
        connection_id: sow.billing_connection_id,
        status: ServiceOrderStatus::Pending,
        total: sow.total,
        billing_reference: None,
        rejection: None,
        acked_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    tx.save_service_order(&order).await?;
    let id = order.id.to_string();
    publish(tx, auth, Entity::ServiceOrder, (&id, 1), "service_order_written").await?;
    let lines = milestones.iter().map(|milestone| OrderLine {
        milestone: milestone.id,
        description: milestone.name.clone(),
        item_code: milestone.item_code.clone(),
        amount: milestone.amount,
    });
    let intent = Intent::PlaceOrder(PlaceOrder {
        order: order.id,
        sow: sow.id,
        customer: customer(tx, sow).await?,
        title: sow.title.clone(),
        po_number: sow.po_number.clone(),
        total: sow.total,
        lines: lines.collect(),
    });
    let request = EffectRequest {
        key: &EffectKey::place_order(order.id),
        entity: Entity::ServiceOrder,
        record_id: &id,
        connection_id: sow.billing_connection_id,
        intent: &intent,
    };
    Ok(tx.request_effect(request).await?)
}

/// Who buys, as billing needs to know it.
pub(crate) async fn customer(tx: &Tx, sow: &SowRecord) -> Result<Customer, AppError> {
    let all = &crosstie_domain::access::RowScope::All;
    let account = pipeline::accounts_by_ids(tx, all, &[sow.account_id]).await?.pop();
    Ok(Customer {
        account: sow.account_id,
        name: account.as_ref().map_or_else(|| sow.account_id.to_string(), |account| account.name.clone()),
        email: account.and_then(|account| account.billing_email),
    })
}

/// Writes one change down.
pub(crate) async fn publish(
    tx: &Tx,
    auth: &AuthContext,
    entity: Entity,
    (id, version): (&str, i32),
    event: &str,
) -> Result<(), AppError> {
    Ok(tx.publish(&[Change { entity, id, event, actor: auth.principal, version }]).await?)
}

async fn sow_again(tx: &Tx, auth: &AuthContext, id: &str) -> Result<Decision<SowRecord>, AppError> {
    let id = id.parse::<SowId>().ok();
    let found = match id {
        Some(id) => contracts::sows_by_ids(tx, &auth.rows, &[id]).await?.pop(),
        None => None,
    };
    Ok(found.ok_or_else(|| vec![Refusal::new("", UserErrorCode::NotFound, "The statement of work is gone.")]))
}

fn check_texts(input: &CreateSow) -> Refusals {
    let mut refusals: Refusals = check_text("title", &input.title, 200).into_iter().collect();
    refusals.extend(check_text("poNumber", input.po_number.as_deref().unwrap_or("-"), 100));
    if input.total.minor < 0 {
        refusals.push(Refusal::new("total", UserErrorCode::TooSmall, "The total must not be negative."));
    }
    if input.milestones.len() > 500 {
        let message = "A statement of work has at most 500 milestone lines.";
        refusals.push(Refusal::new("milestones", UserErrorCode::LimitExceeded, message));
        return refusals;
    }
    for (index, line) in input.milestones.iter().enumerate() {
        refusals.extend(check_text(&format!("milestones.{index}.name"), &line.name, 200));
        if line.amount.minor <= 0 {
            let field = format!("milestones.{index}.amount");
            refusals.push(Refusal::new(&field, UserErrorCode::TooSmall, "A milestone costs more than nothing."));
        }
    }
    refusals
}

/// Why a text that must not be empty cannot be kept.
pub(crate) fn check_text(field: &str, text: &str, most: usize) -> Option<Refusal> {
    let length = text.trim().chars().count();
    if length == 0 {
        return Some(Refusal::new(field, UserErrorCode::Required, "This must not be empty."));
    }
    if text.contains('\0') {
        return Some(Refusal::new(field, UserErrorCode::Invalid, "The text holds a NUL character."));
    }
    (length > most)
        .then(|| Refusal::new(field, UserErrorCode::TooLong, format!("At most {most} characters; this has {length}.")))
}
