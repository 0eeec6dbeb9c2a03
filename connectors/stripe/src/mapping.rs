//! What Stripe's rows mean to the hub. Pure.

use std::{borrow::Cow, convert::Infallible};

use crosstie_sdk::{
    Bag, CustomFields, Fault,
    domain::{
        CivilDate, Currency, Money,
        billing::{InvoiceClaim, InvoiceLineClaim, InvoiceStatus},
        ids::{AccountId, InvoiceId},
        integration::Entity,
        pipeline::AccountClaim,
    },
    fingerprint,
};

use serde_json::Value;

use crate::wire::{Customer, Invoice, Line};

pub(crate) fn customer(wire: &Customer, bag: &mut Bag) -> AccountClaim {
    let (path, name) = match (filled(&wire.name), filled(&wire.email)) {
        (Some(name), _) => ("name", name.to_owned()),
        (None, Some(email)) => ("email", email.to_owned()),
        (None, None) => ("id", format!("Customer {}", wire.id)),
    };
    let ours = wire.metadata.as_ref().and_then(|metadata| metadata.get("crosstie_account"));
    let ours = ours.map(|text| text.parse::<AccountId>()).transpose();
    AccountClaim {
        account: bag.take("account", "metadata.crosstie_account", ours),
        name: bag.text("name", path, Some(&name)),
        domain: None,
        billing_email: bag.text("billing_email", "email", wire.email.as_deref()),
    }
}

/// The customer's own fields, from the metadata. Stripe always sends all of it: a key that is not there is empty.
pub(crate) fn custom_fields(wire: &Customer, fields: &CustomFields, bag: &mut Bag) {
    let Some(metadata) = &wire.metadata else { return };
    fields.read(Entity::Account, bag, |key| {
        let value = metadata.get(key).map_or(Value::Null, |text| Value::String(text.clone()));
        Some((Cow::Owned(value), format!("metadata.{key}")))
    });
}

pub(crate) fn invoice(wire: &Invoice, bag: &mut Bag) -> InvoiceClaim {
    let ours = wire.metadata.as_ref().and_then(|metadata| metadata.get("crosstie_invoice"));
    let ours = ours.map(|text| text.parse::<InvoiceId>()).transpose();
    let money = |amount: Option<i64>| amount.map(|amount| money(amount, wire.currency.as_deref())).transpose();
    let finalized_at = wire.status_transitions.as_ref().and_then(|transitions| transitions.finalized_at);
    InvoiceClaim {
        invoice: bag.take("invoice", "metadata.crosstie_invoice", ours),
        customer: bag.text("customer", "customer", wire.customer.as_ref().map(|customer| customer.id())),
        number: bag.text("number", "number", wire.number.as_deref()),
        native_status: bag.text("native_status", "status", wire.status.as_deref()),
        status: bag.take("status", "status", Ok::<_, Infallible>(wire.status.as_deref().and_then(status))),
        total: bag.take("total", "total", money(wire.total)),
        amount_paid: bag.take("amount_paid", "amount_paid", money(wire.amount_paid)),
        issued_on: bag.take("issued_on", "status_transitions.finalized_at", finalized_at.map(utc_day).transpose()),
        due_on: bag.take("due_on", "due_date", wire.due_date.map(utc_day).transpose()),
        net: bag.take("net", "total", money(net(wire))),
        reference: reference(wire, bag),
        title: bag.text("title", "description", wire.description.as_deref()),
        lines: match &wire.lines {
            Some(lines) if !lines.has_more => {
                let lines: Result<Vec<_>, _> =
                    lines.data.iter().map(|found| line(found, wire.currency.as_deref())).collect();
                bag.take("lines", "lines.data", lines.map(Some))
            }
            // A part of the lines would look like the whole.
            _ => None,
        },
    }
}

/// The total without what Stripe says is tax; newer accounts are told it.
fn net(wire: &Invoice) -> Option<i64> {
    wire.total_excluding_tax.or_else(|| less_tax(wire))
}

fn less_tax(wire: &Invoice) -> Option<i64> {
    wire.total.and_then(|total| total.checked_sub(wire.tax.unwrap_or(0)))
}

/// The customer's order number: Stripe has no field for it, so merchants keep it in the metadata or show it as a custom
/// field.
fn reference(wire: &Invoice, bag: &mut Bag) -> Option<String> {
    let known = |name: &str| {
        let bare: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        ["po", "ponumber", "purchaseorder", "purchaseordernumber", "ordernumber"]
            .contains(&bare.to_ascii_lowercase().as_str())
    };
    let shown = wire.custom_fields.iter().flatten().find(|field| known(&field.name));
    if let Some(field) = shown {
        return bag.text("reference", "custom_fields", Some(&field.value));
    }
    let kept = wire.metadata.iter().flatten().find(|(name, _)| known(name));
    bag.text("reference", "metadata", kept.map(|(_, value)| value.as_str()))
}

/// Stripe has no time of last change, so the version is made of what is mapped. Lines are told apart by amount and
/// length of text: they can change only while the invoice is a draft.
pub(crate) fn invoice_version(wire: &Invoice) -> String {
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let lines = wire.lines.iter().flat_map(|lines| &lines.data);
    let lines = lines.map(|line| format!("{}:{}", line.amount, line.description.as_deref().map_or(0, str::len)));
    let ours = wire.metadata.as_ref().and_then(|metadata| metadata.get("crosstie_invoice"));
    [
        wire.status.clone().unwrap_or_default(),
        number(wire.total),
        number(wire.amount_paid),
        wire.currency.clone().unwrap_or_default(),
        wire.number.clone().unwrap_or_default(),
        wire.customer.as_ref().map(|customer| customer.id().to_owned()).unwrap_or_default(),
        number(wire.status_transitions.as_ref().and_then(|transitions| transitions.finalized_at)),
        number(wire.due_date),
        ours.cloned().unwrap_or_default(),
        number(wire.tax),
        wire.description.clone().unwrap_or_default(),
        reference(wire, &mut Bag::default()).unwrap_or_default(),
        lines.collect::<Vec<_>>().join(","),
    ]
    .join("/")
}

/// What is mapped of a customer, for the same reason.
pub(crate) fn customer_version(wire: &Customer) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if wire.deleted {
        return "deleted".to_owned();
    }
    // Any entry of the metadata may be mapped; the hub's own never changes.
    let own = wire.metadata.iter().flatten().filter(|(key, _)| !key.starts_with("crosstie_"));
    let entries: Vec<String> = own.map(|(key, value)| format!("{key}\n{value}\n")).collect();
    let metadata = if entries.is_empty() { String::new() } else { format!("/{}", fingerprint(&entries.concat())) };
    format!("{}/{}{metadata}", text(&wire.name), text(&wire.email))
}

/// The amount of money in the integer that Stripe takes.
pub(crate) fn stripe_amount(money: Money) -> Result<i64, Fault> {
    let shift = shift(money.currency);
    let amount = if shift.added {
        money.minor.checked_mul(shift.factor)
    } else {
        Some(money.minor / shift.factor).filter(|_| money.minor % shift.factor == 0)
    };
    amount.ok_or_else(|| Fault::rejected("amount", format!("Stripe cannot take {money}")))
}

fn money(amount: i64, currency: Option<&str>) -> Result<Money, String> {
    let currency: Currency = currency.unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    let shift = shift(currency);
    let minor = if shift.added {
        Some(amount / shift.factor).filter(|_| amount % shift.factor == 0)
    } else {
        amount.checked_mul(shift.factor)
    };
    let minor = minor.ok_or_else(|| format!("{amount} is no amount of {currency}"))?;
    Ok(Money::new(minor, currency))
}

/// How Stripe's integer differs from the minor unit.
struct Shift {
    factor: i64,
    /// Whether Stripe has the decimals that the minor unit lacks, rather than the other way round.
    added: bool,
}

/// Stripe follows ISO 4217 but for three currencies: krona and Ugandan shilling are sent with two decimals that are
/// always 00, as they once were, and the ariary is sent whole.
fn shift(currency: Currency) -> Shift {
    match currency.code() {
        "ISK" | "UGX" => Shift { factor: 100, added: true },
        "MGA" => Shift { factor: 100, added: false },
        _ => Shift { factor: 1, added: true },
    }
}

fn line(wire: &Line, currency: Option<&str>) -> Result<InvoiceLineClaim, String> {
    let description = wire.description.clone().unwrap_or_default();
    Ok(InvoiceLineClaim { description, amount: money(wire.amount, currency)? })
}

fn status(native: &str) -> Option<InvoiceStatus> {
    match native {
        "draft" => Some(InvoiceStatus::Draft),
        "open" => Some(InvoiceStatus::Open),
        "paid" => Some(InvoiceStatus::Paid),
        "void" => Some(InvoiceStatus::Void),
        "uncollectible" => Some(InvoiceStatus::Uncollectible),
        _ => None,
    }
}

/// Stripe's times are seconds since 1970; the day is that of UTC, as Stripe names no other zone.
fn utc_day(seconds: i64) -> Result<CivilDate, String> {
    let days = i32::try_from(seconds.div_euclid(86_400)).ok().and_then(CivilDate::from_days);
    days.ok_or_else(|| format!("{seconds} is no time"))
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{money, stripe_amount};

    #[test]
    fn amounts_keep_their_worth_whatever_stripe_counts_in() {
        let check = |stripe: i64, currency: &str, text: &str| {
            let read = money(stripe, Some(currency)).expect("an amount");
            assert_eq!(read.to_string(), text);
            assert_eq!(stripe_amount(read), Ok(stripe), "{text}");
        };
        check(120_000, "usd", "1200.00 USD");
        check(-5, "eur", "-0.05 EUR");
        check(500, "jpy", "500 JPY");
        check(5_120, "kwd", "5.120 KWD");
        check(500, "isk", "5 ISK");
        check(500, "ugx", "5 UGX");
        check(500, "mga", "500.00 MGA");
    }

    #[test]
    fn refuses_what_the_other_side_cannot_hold() {
        assert!(money(550, Some("isk")).is_err(), "half a krona");
        assert!(money(1, Some("zzz")).is_err(), "no currency");
        assert!(money(1, None).is_err(), "no currency");
        let ariary = money(1, Some("mga")).expect("an amount");
        let half = crosstie_sdk::domain::Money::new(ariary.minor / 2, ariary.currency);
        assert!(stripe_amount(half).is_err(), "half an ariary");
    }
}
