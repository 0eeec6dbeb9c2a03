//! Reads invoices.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{listing::Collection, mapping, wire::Invoice};

/// All that concern an invoice that exists; `invoice.upcoming` does not.
const INVOICES: Collection = Collection {
    name: "invoices",
    event_types: &[
        "invoice.created",
        "invoice.updated",
        "invoice.finalized",
        "invoice.finalization_failed",
        "invoice.sent",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice.payment_failed",
        "invoice.payment_action_required",
        "invoice.marked_uncollectible",
        "invoice.voided",
        "invoice.deleted",
    ],
};

pub(crate) struct Invoices;

#[async_trait::async_trait]
impl Reader for Invoices {
    type Wire = Invoice;

    fn entity(&self) -> Entity {
        Entity::Invoice
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Invoice>, Fault> {
        INVOICES.page(net, ask).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Invoice>, Fault> {
        INVOICES.one(net, remote_id).await
    }

    fn key(&self, wire: &Invoice) -> RowKey {
        RowKey { remote_id: wire.id.clone(), version: Some(mapping::invoice_version(wire)) }
    }

    fn is_gone(&self, wire: &Invoice) -> bool {
        wire.deleted || wire.status.as_deref() == Some("deleted")
    }

    fn map(&self, wire: &Invoice, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        Ok(Claim::Invoice(mapping::invoice(wire, bag)))
    }
}
