//! From Tryton's terms to the hub's. Pure.

use crosstie_sdk::{
    RowKey, Settings,
    domain::{
        CivilDate, Currency, Money,
        billing::InvoiceLineClaim,
        billing::InvoiceStatus,
        ids::{AccountId, InvoiceId, ServiceOrderId},
        integration::adoption::DocumentState,
        money::UnknownCurrency,
        pipeline::OpportunityStage,
    },
};

use crate::{
    TrytonSettings,
    wire::{self, Date, Decimal, Due, Field, InvoiceLine, Loose, Stamp},
};

/// Which record it is; its version is the time of its last change.
pub(crate) fn key(stamp: Stamp) -> RowKey {
    let version = stamp.write_date.or(stamp.create_date).and_then(|at| at.instant().ok());
    RowKey { remote_id: stamp.id.to_string(), version: version.map(|at| at.to_string()) }
}

/// A text that is there and not blank.
pub(crate) fn text(field: &Field<String>) -> Result<Option<String>, String> {
    let text = wire::value(field)?.map(|text| text.trim()).filter(|text| !text.is_empty());
    Ok(text.map(str::to_owned))
}

/// The id of a record that is referred to.
pub(crate) fn reference(field: &Field<i64>) -> Result<Option<String>, String> {
    Ok(wire::value(field)?.map(i64::to_string))
}

/// A calendar day.
pub(crate) fn day(field: &Field<Date>) -> Result<Option<CivilDate>, String> {
    wire::value(field)?.map(|date| date.civil()).transpose()
}

/// The stage that a state means, by the settings first.
pub(crate) fn stage(settings: &Settings, state: &str) -> Result<Option<OpportunityStage>, String> {
    let settings: TrytonSettings = settings.read().map_err(|error| error.to_string())?;
    let usual = match state {
        "lead" => Some(OpportunityStage::Qualify),
        "opportunity" => Some(OpportunityStage::Scoping),
        "converted" | "won" => Some(OpportunityStage::Won),
        "lost" | "cancelled" => Some(OpportunityStage::Lost),
        _ => None,
    };
    Ok(settings.stages.get(state).copied().or(usual))
}

/// The status that a state means.
pub(crate) fn invoice_status(state: &str) -> Option<InvoiceStatus> {
    match state {
        "draft" | "validated" => Some(InvoiceStatus::Draft),
        "posted" => Some(InvoiceStatus::Open),
        "paid" => Some(InvoiceStatus::Paid),
        "cancelled" => Some(InvoiceStatus::Void),
        _ => None,
    }
}

/// The currency of a record; none while it names none.
pub(crate) fn currency(field: &Field<wire::Currency>) -> Result<Option<Currency>, String> {
    let currency = wire::value(field)?.map(|currency| currency.code.parse());
    currency.transpose().map_err(|error: UnknownCurrency| error.to_string())
}

/// An amount; none while amount or currency is missing.
pub(crate) fn money(amount: &Field<Decimal>, currency: &Field<wire::Currency>) -> Result<Option<Money>, String> {
    let (Some(amount), Some(currency)) = (wire::value(amount)?, self::currency(currency)?) else {
        return Ok(None);
    };
    parse(amount, currency).map(Some)
}

/// What has been paid of a posted invoice. Before that Tryton says that nothing is to be paid.
pub(crate) fn paid(state: &str, total: Option<Money>, to_pay: &Field<Decimal>) -> Result<Option<Money>, String> {
    let (true, Some(total), Some(to_pay)) = (matches!(state, "posted" | "paid"), total, wire::value(to_pay)?) else {
        return Ok(None);
    };
    let to_pay = parse(to_pay, total.currency)?;
    let minor = total.minor.checked_sub(to_pay.minor).ok_or("amount out of range")?;
    Ok(Some(Money::new(minor, total.currency)))
}

/// The day on which the last part falls due.
pub(crate) fn last_due(field: &Field<Vec<Due>>) -> Result<Option<CivilDate>, String> {
    let parts = wire::value(field)?.map_or(&[][..], Vec::as_slice);
    let days = parts.iter().filter_map(|due| due.maturity_date).map(Date::civil);
    Ok(days.collect::<Result<Vec<_>, _>>()?.into_iter().max())
}

/// The lines that have an amount.
pub(crate) fn lines(
    field: &Field<Vec<InvoiceLine>>,
    currency: &Field<wire::Currency>,
) -> Result<Option<Vec<InvoiceLineClaim>>, String> {
    let (Some(lines), Some(currency)) = (wire::value(field)?, self::currency(currency)?) else {
        return Ok(None);
    };
    let priced = lines.iter().filter(|line| line.kind == "line").map(|line| {
        let amount = parse(line.amount.as_ref().ok_or("a line without an amount")?, currency)?;
        Ok(InvoiceLineClaim { description: line.description.clone().unwrap_or_default(), amount })
    });
    priced.collect::<Result<_, String>>().map(Some)
}

/// The hub's own id, a word of its own somewhere in the comment.
pub(crate) fn hub_invoice(comment: &Field<String>) -> Result<Option<InvoiceId>, String> {
    let comment = wire::value(comment)?.map_or("", String::as_str);
    Ok(comment.split_whitespace().find_map(|word| word.parse().ok()))
}

/// The hub's own id, when the reference is the key of the hub's order.
pub(crate) fn hub_order(reference: &Field<String>) -> Result<Option<ServiceOrderId>, String> {
    let key = wire::value(reference)?.and_then(|reference| reference.strip_prefix("order:"));
    Ok(key.and_then(|id| id.parse().ok()))
}

/// How far a sale in this state has come.
pub(crate) fn sale_state(state: &str) -> Option<DocumentState> {
    match state {
        "draft" | "quotation" => Some(DocumentState::Draft),
        "confirmed" | "processing" | "done" => Some(DocumentState::Issued),
        "cancelled" => Some(DocumentState::Canceled),
        _ => None,
    }
}

/// The hub's own id, when the code is one.
pub(crate) fn hub_account(code: &Field<String>) -> Result<Option<AccountId>, String> {
    Ok(wire::value(code)?.and_then(|code| code.parse().ok()))
}

/// The internet domain of a web address: `https://www.acme.example/about` gives `acme.example`.
pub(crate) fn domain(website: &Field<String>) -> Result<Option<String>, String> {
    let Some(address) = text(website)? else { return Ok(None) };
    let lower = address.to_ascii_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host);
    let plausible = host.contains('.') && !host.contains(char::is_whitespace);
    if plausible { Ok(Some(host.to_owned())) } else { Err(format!("no domain in {address:?}")) }
}

/// The native name of a state, for mapping on.
pub(crate) fn native(field: &Field<String>) -> Option<&str> {
    match field {
        Some(Loose::Read(state)) => Some(state),
        _ => None,
    }
}

fn parse(amount: &Decimal, currency: Currency) -> Result<Money, String> {
    Money::parse(&amount.decimal, currency).map_err(|error| error.to_string())
}
