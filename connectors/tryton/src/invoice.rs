//! Invoices to customers.

use async_trait::async_trait;
use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::{
        billing::InvoiceClaim,
        integration::{Claim, Entity},
    },
};
use serde_json::json;

use crate::{
    mapping,
    paging::{self, Listing},
    rest::{Rest, number},
    wire::Invoice,
};

pub(crate) const MODEL: &str = "account.invoice";
const FIELDS: &[&str] = &[
    "type",
    "number",
    "comment",
    "party",
    "state",
    "currency.code",
    "reference",
    "description",
    "untaxed_amount",
    "total_amount",
    "amount_to_pay",
    "invoice_date",
    "lines_to_pay.maturity_date",
    "lines.type",
    "lines.description",
    "lines.amount",
];

/// Reads invoices to customers; those from suppliers are not the hub's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InvoiceReader;

#[async_trait]
impl Reader for InvoiceReader {
    type Wire = Invoice;

    fn entity(&self) -> Entity {
        Entity::Invoice
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Invoice>, Fault> {
        let company = Rest::of(net)?.settings.company;
        let domain = vec![json!(["company", "=", company]), json!(["type", "=", "out"])];
        paging::page(net, ask, Listing { model: MODEL, fields: FIELDS, domain }).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Invoice>, Fault> {
        let fields = [&["create_date", "write_date"], FIELDS].concat();
        let row: Row<Invoice> = Row::read_one(Rest::of(net)?.read(MODEL, number(remote_id)?, &fields).await?)?;
        match &row {
            Row::Ok { wire, .. } if mapping::native(&wire.kind) != Some("out") => Err(Fault::Gone),
            _ => Ok(row),
        }
    }

    fn key(&self, wire: &Invoice) -> RowKey {
        mapping::key(wire.stamp)
    }

    fn map(&self, wire: &Invoice, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        let state = mapping::native(&wire.state);
        let total = bag.take("total", "total_amount", mapping::money(&wire.total_amount, &wire.currency));
        let paid = mapping::paid(state.unwrap_or_default(), total, &wire.amount_to_pay);
        let status = state.and_then(mapping::invoice_status);
        Ok(Claim::Invoice(InvoiceClaim {
            invoice: bag.take("invoice", "comment", mapping::hub_invoice(&wire.comment)),
            customer: bag.take("customer", "party", mapping::reference(&wire.party)),
            number: bag.take("number", "number", mapping::text(&wire.number)),
            native_status: bag.take("native_status", "state", mapping::text(&wire.state)),
            status: bag.take("status", "state", Ok::<_, String>(status)),
            total,
            amount_paid: bag.take("amount_paid", "amount_to_pay", paid),
            issued_on: bag.take("issued_on", "invoice_date", mapping::day(&wire.invoice_date)),
            due_on: bag.take("due_on", "lines_to_pay.maturity_date", mapping::last_due(&wire.lines_to_pay)),
            net: bag.take("net", "untaxed_amount", mapping::money(&wire.untaxed_amount, &wire.currency)),
            reference: bag.take("reference", "reference", mapping::text(&wire.reference)),
            title: bag.take("title", "description", mapping::text(&wire.description)),
            lines: bag.take("lines", "lines", mapping::lines(&wire.lines, &wire.currency)),
        }))
    }
}
