//! Orders and invoices at billing, as far as they are matched with what the hub keeps.

use crosstie_domain::{
    access::RowScope,
    billing::{InvoiceClaim, InvoiceStatus, OrderClaim},
    integration::{
        Entity, LinkState,
        adoption::{DocumentState, RemoteDocument},
    },
};
use crosstie_store::{
    Tx, billing,
    integration::{Identity, remote_document},
};

use super::{Origin, Taken};
use crate::AppError;

/// An order at billing: one that carries the hub's own id is that service order, any other one is by itself until
/// somebody says what it is.
pub(super) async fn order(
    tx: &Tx,
    origin: Origin<'_>,
    known: Option<&Identity>,
    (remote_id, claim): (&str, &OrderClaim),
) -> Result<Taken, AppError> {
    let document = RemoteDocument {
        id: tx.new_id(),
        connection_id: origin.connection,
        entity: Entity::ServiceOrder,
        remote_id: remote_id.to_owned(),
        customer: claim.customer.clone(),
        hub_id: claim.order.map(|order| order.to_string()),
        number: claim.number.clone(),
        reference: claim.reference.clone(),
        title: claim.title.clone(),
        state: claim.state.unwrap_or(DocumentState::Unknown),
        amount: claim.total,
        dated_on: claim.ordered_on,
    };
    let (document, changed) = note(tx, document).await?;
    let record_id = match (known, claim.order) {
        (Some(known), _) => known.record_id.clone(),
        (None, Some(ours)) => {
            let order = billing::service_orders_by_ids(tx, &RowScope::All, &[ours]).await?.pop();
            // An id of ours at another connection is not ours to believe.
            let order = order.filter(|order| order.connection_id == origin.connection);
            order.map_or_else(|| document.id.to_string(), |order| order.id.to_string())
        }
        (None, None) => document.id.to_string(),
    };
    let version = i32::from(known.is_some()) + 1;
    Ok(Taken { record_id, version, changed, state: LinkState::Linked })
}

/// What an invoice at billing is matched by.
pub(super) async fn invoice(
    tx: &Tx,
    origin: Origin<'_>,
    (remote_id, claim): (&str, &InvoiceClaim),
) -> Result<(), AppError> {
    let state = match claim.status {
        Some(InvoiceStatus::Draft) => DocumentState::Draft,
        Some(InvoiceStatus::Open | InvoiceStatus::Paid | InvoiceStatus::Uncollectible) => DocumentState::Issued,
        Some(InvoiceStatus::Void) => DocumentState::Canceled,
        Some(InvoiceStatus::Requested | InvoiceStatus::Rejected) | None => DocumentState::Unknown,
    };
    let first_line = claim.lines.as_deref().and_then(|lines| match lines {
        [only] => Some(only.description.clone()).filter(|text| !text.is_empty()),
        _ => None,
    });
    let document = RemoteDocument {
        id: tx.new_id(),
        connection_id: origin.connection,
        entity: Entity::Invoice,
        remote_id: remote_id.to_owned(),
        customer: claim.customer.clone(),
        hub_id: claim.invoice.map(|invoice| invoice.to_string()),
        number: claim.number.clone(),
        reference: claim.reference.clone(),
        // What the only line bills says more than what stands above it.
        title: first_line.or_else(|| claim.title.clone()),
        state,
        amount: claim.net,
        dated_on: claim.issued_on,
    };
    note(tx, document).await.map(|_| ())
}

/// Writes down how a document stands; whether that is new.
async fn note(tx: &Tx, document: RemoteDocument) -> Result<(RemoteDocument, bool), AppError> {
    let key = (document.connection_id, document.entity, document.remote_id.as_str());
    let before = remote_document(tx, key).await?;
    let document = RemoteDocument { id: before.as_ref().map_or(document.id, |before| before.id), ..document };
    let changed = before.as_ref() != Some(&document);
    if changed {
        tx.save_document(&document).await?;
    }
    Ok((document, changed))
}
