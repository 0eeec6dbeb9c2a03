//! Orders and invoices that a billing system holds already are taken for those that the hub keeps: what waits to be sent
//! for them is settled without being sent, and nothing is ordered or billed twice.

mod take;
mod undo;

use crosstie_domain::{
    Money, Refusal, UserErrorCode,
    access::{AuthContext, RowScope, Sensitivity},
    billing::InvoiceStatus,
    ids::{AdoptionId, ConnectionId, InvoiceId, MilestoneId, ServiceOrderId},
    integration::{
        Entity,
        adoption::{AdoptionEvidence, AdoptionObstacle, AdoptionRecord, RemoteDocument},
    },
};
use crosstie_store::{
    Condition, Direction, Operand, Operator, PageRequest, Span, Tx, billing, delivery,
    integration::{
        AdoptionCandidateColumn, Identity, adoption_candidates, adoption_was_undone, adoptions_by_ids, gone_since,
        identity, remote_document,
    },
};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    connections::check_reason,
    idempotency::{Request, decided, stale},
};

/// A document at billing that is one of the hub's.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptRecord {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Service order or invoice.
    pub entity: Entity,
    /// The document's id there.
    pub remote_id: String,
    /// The service order that it is, or the milestone that it bills.
    pub record_id: String,
    /// The document's amount, taxes excluded, where it is another than the hub expects: it is accepted so.
    pub accept_amount: Option<Money>,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// An adoption that was wrong.
#[derive(Debug, Clone, Serialize)]
pub struct UndoAdoption {
    /// The adoption.
    pub adoption_id: AdoptionId,
    /// The version that the asker read.
    pub expected_version: Option<i32>,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A document that is to be taken for one of the hub's.
struct Wish<'a> {
    auth: &'a AuthContext,
    /// What it is taken for must be of these rows.
    rows: &'a RowScope,
    document: RemoteDocument,
    /// The record that it is now.
    link: Identity,
    accept: Option<Money>,
    reason: Option<&'a str>,
    score: i32,
    evidence: Vec<AdoptionEvidence>,
}

impl App {
    /// Takes a document at billing for a service order or for the invoice of a milestone. What waits to be sent for it
    /// is settled without being sent.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn adopt_record(
        &self,
        auth: &AuthContext,
        input: AdoptRecord,
    ) -> Result<Decision<AdoptionRecord>, AppError> {
        decided(|| self.try_adopt_record(auth, &input)).await
    }

    async fn try_adopt_record(
        &self,
        auth: &AuthContext,
        input: &AdoptRecord,
    ) -> Result<Decision<AdoptionRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("adoptRecord", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return adoption_again(&tx, auth, &earlier).await,
            Ok(None) => {}
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        if !matches!(input.entity, Entity::ServiceOrder | Entity::Invoice) {
            return Ok(refused("entity", UserErrorCode::Invalid, "Service orders and invoices are adopted."));
        }
        let key = (input.connection_id, input.entity, input.remote_id.as_str());
        // Who reads the same document at this moment waits.
        tx.lock_identity(key.0, key.1, key.2).await?;
        let found = (remote_document(&tx, key).await?, identity(&tx, key.0, key.1, key.2).await?);
        let (Some(document), Some(link)) = found else {
            let message = "This system holds no such document, as far as it was read.";
            return Ok(refused("remoteId", UserErrorCode::NotFound, message));
        };
        if gone_since(&tx, key.0, key.1, key.2).await?.is_some() {
            let message = "The document is gone from the billing system.";
            return Ok(refused("remoteId", UserErrorCode::NotFound, message));
        }
        let (score, evidence) = compared(&tx, &document, &input.record_id).await?;
        let (accept, reason) = (input.accept_amount, input.reason.as_deref());
        let wish = Wish { auth, rows: &auth.rows, document, link, accept, reason, score, evidence };
        let adoption = match take(&tx, wish, &input.record_id).await? {
            Ok(adoption) => adoption,
            Err(refusals) => return Ok(Err(refusals)),
        };
        request.keep(&tx, auth, adoption.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(adoption))
    }

    /// Undoes an adoption: the document is by itself again, and what waited to be sent waits again.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn undo_adoption(
        &self,
        auth: &AuthContext,
        input: UndoAdoption,
    ) -> Result<Decision<AdoptionRecord>, AppError> {
        decided(|| self.try_undo_adoption(auth, &input)).await
    }

    async fn try_undo_adoption(
        &self,
        auth: &AuthContext,
        input: &UndoAdoption,
    ) -> Result<Decision<AdoptionRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("undoAdoption", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return adoption_again(&tx, auth, &earlier).await,
            Ok(None) => {}
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let Some(adoption) = adoptions_by_ids(&tx, &auth.rows, &[input.adoption_id]).await?.pop() else {
            return Ok(refused("adoptionId", UserErrorCode::NotFound, NO_ADOPTION));
        };
        if input.expected_version.is_some_and(|expected| expected != adoption.version) {
            return Ok(Err(vec![stale(adoption.version)]));
        }
        if adoption.undone_at.is_some() {
            return Ok(refused("adoptionId", UserErrorCode::InvalidTransition, "It was undone before."));
        }
        let undone = match undo::undo(&tx, auth, adoption, input.reason.as_deref()).await? {
            Ok(undone) => undone,
            Err(refusals) => return Ok(Err(refusals)),
        };
        request.keep(&tx, auth, undone.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(undone))
    }
}

/// Adopts a document that carries the hub's own id, where that is sure: nothing was sent for it, and it comes to what the
/// hub expects. What is not sure is left to a person, and so is what a person undid before.
///
/// # Errors
/// As the database.
pub(crate) async fn by_own_id(tx: &Tx, key: (ConnectionId, Entity, &str), record_id: &str) -> Result<(), AppError> {
    let target = match key.1 {
        Entity::ServiceOrder if record_id.parse::<ServiceOrderId>().is_ok() => record_id.to_owned(),
        Entity::Invoice => match record_id.parse::<InvoiceId>() {
            Ok(id) => {
                let invoice = billing::invoices_by_ids(tx, &RowScope::All, &[id]).await?.pop();
                let Some(milestone) = invoice.and_then(|invoice| invoice.milestone_id) else { return Ok(()) };
                milestone.to_string()
            }
            Err(_) => return Ok(()),
        },
        _ => return Ok(()),
    };
    if adoption_was_undone(tx, key, &target).await? {
        return Ok(());
    }
    let found = (remote_document(tx, key).await?, identity(tx, key.0, key.1, key.2).await?);
    let (Some(document), Some(link)) = found else { return Ok(()) };
    if link.record_id != record_id {
        return Ok(());
    }
    let (auth, evidence) = (AuthContext::system(), vec![AdoptionEvidence::OwnId]);
    let wish = Wish {
        auth: &auth,
        rows: &RowScope::All,
        document,
        link,
        accept: None,
        reason: None,
        score: AdoptionEvidence::score(&evidence),
        evidence,
    };
    // A refusal says that it is not sure, or that there is nothing to be settled.
    take(tx, wish, &target).await.map(|_| ())
}

/// Takes a document for a service order or the invoice of a milestone. Nothing is written before all is checked.
async fn take(tx: &Tx, wish: Wish<'_>, target: &str) -> Result<Decision<AdoptionRecord>, AppError> {
    match wish.document.entity {
        Entity::ServiceOrder => {
            let order = match target.parse::<ServiceOrderId>() {
                Ok(id) => billing::service_orders_by_ids(tx, wish.rows, &[id]).await?.pop(),
                Err(_) => None,
            };
            match order.filter(|order| order.connection_id == wish.document.connection_id) {
                Some(order) => take::order(tx, wish, order).await,
                None => {
                    let message = "No such service order at this connection, or none that you may see.";
                    Ok(refused("recordId", UserErrorCode::NotFound, message))
                }
            }
        }
        _ => {
            let milestone = match target.parse::<MilestoneId>() {
                Ok(id) => delivery::milestones_by_ids(tx, wish.rows, &[id]).await?.pop(),
                Err(_) => None,
            };
            match milestone {
                Some(milestone) => take::invoice(tx, wish, milestone).await,
                None => {
                    let message = "No such milestone, or none that you may see.";
                    Ok(refused("recordId", UserErrorCode::NotFound, message))
                }
            }
        }
    }
}

/// What speaks for a document being this order or milestone, as candidates show it.
async fn compared(tx: &Tx, document: &RemoteDocument, target: &str) -> Result<(i32, Vec<AdoptionEvidence>), AppError> {
    let is = |column, text: &str| Condition::Is(column, Operator::Eq, Operand::Text(text.to_owned()));
    let request = PageRequest {
        condition: Condition::All(vec![
            is(AdoptionCandidateColumn::Connection, &document.connection_id.to_string()),
            is(AdoptionCandidateColumn::Entity, document.entity.as_str()),
            is(AdoptionCandidateColumn::RemoteId, &document.remote_id),
            is(AdoptionCandidateColumn::Target, target),
        ]),
        order: vec![(AdoptionCandidateColumn::Score, Direction::Descending)],
        span: Span::First(1, None),
    };
    let found = adoption_candidates(tx, &RowScope::All, &request).await?.rows.pop();
    Ok(found.map_or((0, Vec::new()), |(candidate, _)| (candidate.score, candidate.evidence)))
}

/// What keeps a document from being adopted, unless its other amount was accepted by name; `None` when nothing does.
fn check_amount(wish: &Wish<'_>, wanted: Money) -> Option<Refusal> {
    let held = wish.document.amount;
    // Money is told to those alone who may see it.
    let told = |amount: Money, other: &str| match wish.auth.sees(Sensitivity::Financial) {
        true => amount.to_string(),
        false => other.to_owned(),
    };
    let shown = held.map_or_else(|| "no amount".to_owned(), |amount| told(amount, "an amount that you may not see"));
    let expected = told(wanted, "another");
    let obstacle = wish.document.obstacle(wanted);
    let refuse = |field: &str, code, message: String| Some(Refusal::new(field, code, message));
    match obstacle {
        None if wish.accept.is_some_and(|accepted| Some(accepted) != held) => {
            let message = format!("The document comes to {shown}, taxes excluded: nothing else can be accepted.");
            refuse("acceptAmount", UserErrorCode::Invalid, message)
        }
        None => None,
        Some(AdoptionObstacle::Canceled) => {
            let message = "The document is canceled or a credit: it orders and bills nothing.".to_owned();
            refuse("remoteId", UserErrorCode::InvalidTransition, message)
        }
        Some(AdoptionObstacle::NotIssued) => {
            let message =
                "The document is a draft, or in a state that the hub does not know: issue it first.".to_owned();
            refuse("remoteId", UserErrorCode::InvalidTransition, message)
        }
        Some(AdoptionObstacle::NoAmount) => {
            let message = "The document says no amount without taxes: nobody can tell what it bills.".to_owned();
            refuse("remoteId", UserErrorCode::Invalid, message)
        }
        Some(AdoptionObstacle::OtherCurrency) => {
            let message = format!("The document is in another currency: {shown}, and the hub expects {expected}.");
            refuse("remoteId", UserErrorCode::CurrencyMismatch, message)
        }
        Some(AdoptionObstacle::OtherAmount) if wish.accept == held => None,
        Some(AdoptionObstacle::OtherAmount) => {
            let message = format!(
                "The document comes to {shown}, taxes excluded, and the hub expects {expected}. If that is right, give \
                 its amount as `acceptAmount`: nothing else will be billed then."
            );
            refuse("acceptAmount", UserErrorCode::Invalid, message)
        }
    }
}

const NO_ADOPTION: &str = "No such adoption, or none that you may see.";

fn refused<T>(field: &str, code: UserErrorCode, message: &str) -> Decision<T> {
    Err(vec![Refusal::new(field, code, message)])
}

/// The status of an invoice of the hub whose effect stands so.
fn asked_status(was_rejected: bool) -> InvoiceStatus {
    if was_rejected { InvoiceStatus::Rejected } else { InvoiceStatus::Requested }
}

/// The decision that an earlier request with the same key came to.
async fn adoption_again(tx: &Tx, auth: &AuthContext, id: &str) -> Result<Decision<AdoptionRecord>, AppError> {
    let found = match id.parse::<AdoptionId>() {
        Ok(id) => adoptions_by_ids(tx, &auth.rows, &[id]).await?.pop(),
        Err(_) => None,
    };
    Ok(found.ok_or_else(|| vec![Refusal::new("", UserErrorCode::NotFound, NO_ADOPTION)]))
}
