//! Order to cash: service orders to billing, and invoices as billing keeps them.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    delivery::MilestoneBilling,
    ids::{AccountId, ConnectionId, InvoiceId, InvoiceLineId, MilestoneId, ServiceOrderId, SowId},
    integration::adoption::DocumentState,
    money::Money,
    time::{CivilDate, Instant},
};

/// Where a service order stands. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceOrderStatus {
    /// Written to the outbox at signature, not yet sent.
    Pending,
    /// On its way to billing, not yet acknowledged.
    Sent,
    /// Billing has it and gave it an id.
    Acked,
    /// Some of its milestones are invoiced.
    PartiallyBilled,
    /// All of its milestones are invoiced.
    Billed,
    /// Billing refused it; a person must act.
    Rejected,
}

/// The order that tells billing what was sold.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ServiceOrderRecord")]
pub struct ServiceOrderRecord {
    /// Identifies the order.
    #[graphql(skip)]
    pub id: ServiceOrderId,
    /// The statement of work that it orders.
    #[graphql(skip)]
    pub sow_id: SowId,
    /// The account that buys.
    #[graphql(skip)]
    pub account_id: AccountId,
    /// The billing connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// Where it stands.
    pub status: ServiceOrderStatus,
    /// The price of the whole.
    #[graphql(skip)]
    pub total: Money,
    /// The id that the billing system gave it.
    pub billing_reference: Option<String>,
    /// Why billing refused it, in words that are safe to show.
    pub rejection: Option<String>,
    /// When billing acknowledged it.
    pub acked_at: Option<Instant>,
    /// Raised by every change.
    pub version: i32,
    /// When it was written, with the signature.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
}

impl InvoiceRecord {
    /// Takes in what it comes to as far as that is said: with taxes, and without them. The tax is what lies between the
    /// two. An amount without taxes in another currency than the total is left out, and one that is not said stays.
    /// Returns whether something changed.
    ///
    /// A total of 23,800.00 EUR of which 20,000.00 EUR are without taxes holds 3,800.00 EUR of tax.
    pub fn take_amounts(&mut self, total: Option<Money>, net: Option<Money>) -> bool {
        let before = (self.total, self.net, self.tax);
        self.total = total.unwrap_or(self.total);
        let fits = |amount: &Money| amount.currency == self.total.currency;
        if let Some(net) = net.filter(fits) {
            self.net = Some(net);
            // Only who said both says what the tax is.
            self.tax = self.total.minor.checked_sub(net.minor).map(|minor| Money::new(minor, net.currency));
        } else if before.0 != self.total {
            (self.net, self.tax) = (None, None);
        }
        before != (self.total, self.net, self.tax)
    }
}

impl ServiceOrderStatus {
    /// Where an acknowledged order stands once these are the billing states of its milestones.
    pub fn after_billing(milestones: &[MilestoneBilling]) -> Self {
        let invoiced = milestones
            .iter()
            .filter(|billing| matches!(billing, MilestoneBilling::Invoiced | MilestoneBilling::Paid))
            .count();
        match invoiced {
            0 => Self::Acked,
            some if some < milestones.len() => Self::PartiallyBilled,
            _ => Self::Billed,
        }
    }
}

/// Where an invoice stands. New values may appear: keep showing `nativeStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InvoiceStatus {
    /// Asked for by the hub; billing has not answered yet.
    Requested,
    /// A draft at billing.
    Draft,
    /// Issued and to be paid.
    Open,
    /// Paid in full.
    Paid,
    /// Withdrawn by billing.
    Void,
    /// Billing gave up on the payment.
    Uncollectible,
    /// Billing refused to issue it; a person must act.
    Rejected,
}

/// An invoice as billing keeps it. Billing has authority over number, status, total, tax and payment.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "InvoiceRecord")]
pub struct InvoiceRecord {
    /// Identifies the invoice in the hub.
    #[graphql(skip)]
    pub id: InvoiceId,
    /// The order that it bills; none for an invoice that the hub did not ask for.
    #[graphql(skip)]
    pub service_order_id: Option<ServiceOrderId>,
    /// The milestone that it bills.
    #[graphql(skip)]
    pub milestone_id: Option<MilestoneId>,
    /// The account that pays; none while the customer at billing is not known here.
    #[graphql(skip)]
    pub account_id: Option<AccountId>,
    /// The billing connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// Which billing of its milestone this is, from 1.
    pub billing_round: i32,
    /// The number that billing gave it.
    pub number: Option<String>,
    /// Where it stands; null when billing uses a status that the hub does not know.
    pub status: Option<InvoiceStatus>,
    /// The status as billing names it.
    pub native_status: Option<String>,
    /// What is to be paid, taxes included. Until billing has answered, what the hub asked for: taxes excluded.
    #[graphql(skip)]
    pub total: Money,
    /// What it bills, taxes excluded, in the currency of the total; none while nobody has said it.
    #[graphql(skip)]
    pub net: Option<Money>,
    /// The part of the total that is tax, in the currency of the total; none while billing has not said it.
    #[graphql(skip)]
    pub tax: Option<Money>,
    /// What has been paid.
    #[graphql(skip)]
    pub amount_paid: Option<Money>,
    /// The day of issue.
    pub issued_on: Option<CivilDate>,
    /// The day on which payment is due.
    pub due_on: Option<CivilDate>,
    /// The id that the billing system gave it.
    pub billing_reference: Option<String>,
    /// Why billing refused it, in words that are safe to show.
    pub rejection: Option<String>,
    /// Since when every system that has authority over it says that it is gone; null while one of them has it.
    pub deleted_at: Option<Instant>,
    /// Raised by every change.
    pub version: i32,
    /// When the hub first knew of it.
    pub created_at: Instant,
    /// When it last changed in the hub.
    pub updated_at: Instant,
}

/// A line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "InvoiceLineRecord")]
pub struct InvoiceLineRecord {
    /// Identifies the line.
    #[graphql(skip)]
    pub id: InvoiceLineId,
    /// The invoice that it is on.
    #[graphql(skip)]
    pub invoice_id: InvoiceId,
    /// Its place on the invoice, from 0.
    pub position: i32,
    /// What is billed.
    pub description: String,
    /// What it costs, taxes excluded.
    #[graphql(skip)]
    pub amount: Money,
}

/// What a billing system says of an invoice. A missing field is not spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceClaim {
    /// The hub's own id, where the system carries it (metadata, reference).
    pub invoice: Option<InvoiceId>,
    /// Remote id of the customer, at the same system.
    pub customer: Option<String>,
    /// Number.
    pub number: Option<String>,
    /// The status as the system names it.
    pub native_status: Option<String>,
    /// The status in common terms, where it is known.
    pub status: Option<InvoiceStatus>,
    /// Total with taxes.
    pub total: Option<Money>,
    /// What has been paid.
    pub amount_paid: Option<Money>,
    /// Day of issue.
    pub issued_on: Option<CivilDate>,
    /// Day on which payment is due.
    pub due_on: Option<CivilDate>,
    /// What it bills, taxes excluded.
    pub net: Option<Money>,
    /// What it refers to, as the customer's order number.
    pub reference: Option<String>,
    /// What it is about.
    pub title: Option<String>,
    /// The lines, when the system sent all of them.
    pub lines: Option<Vec<InvoiceLineClaim>>,
}

/// What a billing system says of an order. A missing field is not spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderClaim {
    /// The hub's own id, where the system carries it (metadata, reference).
    pub order: Option<ServiceOrderId>,
    /// Remote id of the customer, at the same system.
    pub customer: Option<String>,
    /// Number.
    pub number: Option<String>,
    /// What it refers to, as the customer's order number.
    pub reference: Option<String>,
    /// What is ordered.
    pub title: Option<String>,
    /// The status as the system names it.
    pub native_status: Option<String>,
    /// How far it has come, in common terms, where that is known.
    pub state: Option<DocumentState>,
    /// What it comes to, taxes excluded.
    pub total: Option<Money>,
    /// The day of the order.
    pub ordered_on: Option<CivilDate>,
}

/// What a billing system says of a line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLineClaim {
    /// What is billed.
    pub description: String,
    /// What it costs, taxes excluded.
    pub amount: Money,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tax_is_what_lies_between_the_total_and_what_is_billed() {
        let at = Instant::from_micros(0).expect("the epoch is an instant");
        let (eur, usd) =
            (|minor| Money::new(minor, crate::Currency::EUR), |minor| Money::new(minor, crate::Currency::USD));
        let mut invoice = InvoiceRecord {
            id: crate::Id::from_uuid(uuid::Uuid::nil()),
            service_order_id: None,
            milestone_id: None,
            account_id: None,
            connection_id: crate::Id::from_uuid(uuid::Uuid::nil()),
            billing_round: 1,
            number: None,
            status: None,
            native_status: None,
            total: eur(2_000_000),
            net: Some(eur(2_000_000)),
            tax: None,
            amount_paid: None,
            issued_on: None,
            due_on: None,
            billing_reference: None,
            rejection: None,
            deleted_at: None,
            version: 1,
            created_at: at,
            updated_at: at,
        };
        for (total, net, changed, expected) in [
            (None, None, false, (eur(2_000_000), Some(eur(2_000_000)), None)),
            (
                Some(eur(2_380_000)),
                Some(eur(2_000_000)),
                true,
                (eur(2_380_000), Some(eur(2_000_000)), Some(eur(380_000))),
            ),
            (Some(eur(2_380_000)), None, false, (eur(2_380_000), Some(eur(2_000_000)), Some(eur(380_000)))),
            (None, Some(usd(1)), false, (eur(2_380_000), Some(eur(2_000_000)), Some(eur(380_000)))),
            (Some(eur(5)), None, true, (eur(5), None, None)),
            (None, Some(eur(5)), true, (eur(5), Some(eur(5)), Some(eur(0)))),
        ] {
            assert_eq!(invoice.take_amounts(total, net), changed, "{total:?} {net:?}");
            assert_eq!((invoice.total, invoice.net, invoice.tax), expected, "{total:?} {net:?}");
        }
    }

    #[test]
    fn an_order_is_billed_when_its_last_milestone_is() {
        use MilestoneBilling::{Billable, Invoiced, NotBillable, Paid};
        let check = |milestones: &[MilestoneBilling], expected| {
            assert_eq!(ServiceOrderStatus::after_billing(milestones), expected, "{milestones:?}");
        };
        check(&[NotBillable, Billable], ServiceOrderStatus::Acked);
        check(&[Invoiced, Billable], ServiceOrderStatus::PartiallyBilled);
        check(&[Invoiced, Paid], ServiceOrderStatus::Billed);
    }
}
