//! Orders and invoices at billing, as far as they are matched with what the hub keeps.

use crosstie_domain::{
    billing::{InvoiceClaim, InvoiceStatus, OrderClaim},
    integration::{
        Entity, LinkState,
        adoption::{DocumentState, RemoteDocument},
    },
};
use crosstie_store::integration::Identity;

use super::{Taken, page::Page};

/// An order at billing: one that carries the hub's own id is that service order, any other one is by itself until
/// somebody says what it is.
pub(super) fn order(page: &mut Page<'_>, known: Option<&Identity>, (remote_id, claim): (&str, &OrderClaim)) -> Taken {
    let connection = page.origin.connection;
    let document = RemoteDocument {
        id: page.tx.new_id(),
        connection_id: connection,
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
    let (document, changed) = page.note_document(document);
    let record_id = match (known, claim.order) {
        (Some(known), _) => known.record_id.clone(),
        (None, Some(ours)) => {
            // An id of ours at another connection is not ours to believe.
            let order = page.order(ours).filter(|order| order.connection_id == connection);
            order.map_or_else(|| document.to_string(), |order| order.id.to_string())
        }
        (None, None) => document.to_string(),
    };
    let version = i32::from(known.is_some()) + 1;
    Taken { record_id, version, changed, state: LinkState::Linked }
}

/// What an invoice at billing is matched by.
pub(super) fn invoice(page: &mut Page<'_>, (remote_id, claim): (&str, &InvoiceClaim)) {
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
        id: page.tx.new_id(),
        connection_id: page.origin.connection,
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
    page.note_document(document);
}
