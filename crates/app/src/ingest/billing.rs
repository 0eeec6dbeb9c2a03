//! Invoices, as billing speaks of them.

use crosstie_domain::{
    billing::{InvoiceClaim, InvoiceLineRecord, InvoiceRecord},
    ids::InvoiceId,
};
use crosstie_store::integration::Identity;

use super::{page::Page, said::Said};

/// An invoice; refused with a code and a reason when it is new and says no total: nobody could tell what is owed.
pub(super) fn invoice(
    page: &mut Page<'_>,
    known: Option<&Identity>,
    (remote_id, said, claim): (&str, Said<'_>, &InvoiceClaim),
) -> Result<(String, i32, bool), (&'static str, String)> {
    let (now, origin) = (page.now, page.origin);
    let by_identity = known.and_then(|identity| identity.record_id.parse::<InvoiceId>().ok());
    let found = by_identity.or(claim.invoice).and_then(|id| page.invoice(id)).cloned();
    // An id of ours on an invoice of another connection is not ours to believe.
    let found = found.filter(|invoice| invoice.connection_id == origin.connection);
    let is_new = found.is_none();
    let Some(total) = found.as_ref().map(|invoice| invoice.total).or(claim.total) else {
        let problem = said.0.get("total").and_then(|field| field.problem.clone());
        return Err(("NO_TOTAL", problem.unwrap_or_else(|| "the invoice says no total".to_owned())));
    };
    let mut invoice = found.unwrap_or_else(|| InvoiceRecord {
        id: page.tx.new_id(),
        service_order_id: None,
        milestone_id: None,
        account_id: None,
        connection_id: origin.connection,
        billing_round: 1,
        number: None,
        status: claim.status,
        native_status: None,
        total,
        net: None,
        tax: None,
        amount_paid: None,
        issued_on: None,
        due_on: None,
        billing_reference: None,
        rejection: None,
        deleted_at: None,
        version: 0,
        created_at: now,
        updated_at: now,
    });
    let mut changed = is_new;
    if invoice.account_id.is_none() {
        let account = page.account_of(origin.connection, claim.customer.as_deref());
        changed |= said.set_or_clear("customer", &mut invoice.account_id, account);
    }
    changed |= said.set_or_clear("number", &mut invoice.number, claim.number.clone());
    changed |= said.set_or_clear("native_status", &mut invoice.native_status, claim.native_status.clone());
    if claim.native_status.is_some() {
        changed |= said.set(&mut invoice.status, Some(claim.status));
    }
    changed |= invoice.take_amounts(claim.total, claim.net);
    changed |= said.set_or_clear("amount_paid", &mut invoice.amount_paid, claim.amount_paid);
    changed |= said.set_or_clear("issued_on", &mut invoice.issued_on, claim.issued_on);
    changed |= said.set_or_clear("due_on", &mut invoice.due_on, claim.due_on);
    changed |= said.set(&mut invoice.billing_reference, Some(Some(remote_id.to_owned())));
    if changed {
        invoice.version += 1;
        invoice.updated_at = now;
        let lines = claim.lines.as_ref().map(|lines| {
            (0..)
                .zip(lines)
                .map(|(position, line)| InvoiceLineRecord {
                    id: page.tx.new_id(),
                    invoice_id: invoice.id,
                    position,
                    description: line.description.clone(),
                    amount: line.amount,
                })
                .collect()
        });
        page.save_invoice(invoice.clone(), lines);
    }
    // What was only observed at first is followed when it is said again.
    let taken = (invoice.id.to_string(), invoice.version, changed);
    if origin.mode.decides() {
        page.follow(invoice);
    }
    Ok(taken)
}
