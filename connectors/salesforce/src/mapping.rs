//! What Salesforce's rows say, in the hub's terms. Pure.

use std::borrow::Cow;

use crosstie_sdk::{
    Bag, Settings, Unmappable,
    domain::{
        CivilDate, Currency, Money,
        integration::{Claim, Entity},
        pipeline::{AccountClaim, OpportunityClaim},
    },
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    SalesforceSettings,
    wire::{Record, plain_decimal},
};

/// What a row says of an opportunity.
pub(crate) fn opportunity(row: &Record, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
    let settings: SalesforceSettings = settings.read()?;
    custom(&settings, (Entity::Opportunity, row), bag);
    let named = name(row, bag, "Opportunity");
    Ok(Claim::Opportunity(OpportunityClaim {
        name: named,
        account: told(row, bag, ("account", "AccountId"), |account| Ok(account.map(str::to_owned))),
        native_stage: told(row, bag, ("native_stage", "StageName"), |stage| Ok(stage.map(str::to_owned))),
        stage: told(row, bag, ("stage", "StageName"), |stage| {
            stage.map_or(Ok(None), |native| settings.stage(native, row))
        }),
        amount: told(row, bag, ("amount", "Amount"), |amount| money(amount, row, settings.currency)),
        close_on: told(row, bag, ("close_on", "CloseDate"), day),
    }))
}

/// What a row says of an account.
pub(crate) fn account(row: &Record, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
    let settings: SalesforceSettings = settings.read()?;
    custom(&settings, (Entity::Account, row), bag);
    let named = name(row, bag, "Account");
    let domain = told(row, bag, ("domain", "Website"), domain);
    let billing_email = settings
        .billing_email
        .as_ref()
        .and_then(|field| told(row, bag, ("billing_email", &field.0), |address| Ok(address.map(str::to_owned))));
    Ok(Claim::Account(AccountClaim { account: None, name: named, domain, billing_email }))
}

/// The customer's own fields. A row that was asked for before one of them was mapped does not have it.
fn custom(settings: &SalesforceSettings, (entity, row): (Entity, &Record), bag: &mut Bag) {
    settings.custom_fields.read(entity, bag, |field| Some((Cow::Borrowed(row.get(field)?), field.to_owned())));
}

/// Takes what a field says, where it was asked for, as `read` makes it of its text.
fn told<T: Serialize>(
    row: &Record,
    bag: &mut Bag,
    (name, field): (&str, &str),
    read: impl FnOnce(Option<&str>) -> Result<Option<T>, String>,
) -> Option<T> {
    let value = text(row.get(field)?);
    bag.take(name, field, value.and_then(read))
}

/// The name, which every record has; one that came without is called by its id.
fn name(row: &Record, bag: &mut Bag, kind: &str) -> Option<String> {
    match row.get("Name").map(text) {
        Some(Ok(Some(name))) => bag.text("name", "Name", Some(name)),
        Some(Err(problem)) => bag.take("name", "Name", Err(problem)),
        Some(Ok(None)) | None => bag.text("name", "Id", Some(&format!("{kind} {}", row.id))),
    }
}

/// A text that holds something. Numbers were made texts when the page was read.
fn text(value: &Value) -> Result<Option<&str>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        _ => Err("not a text; a number is kept as the text of its digits".to_owned()),
    }
}

fn money(amount: Option<&str>, row: &Record, of_org: Option<Currency>) -> Result<Option<Money>, String> {
    let Some(amount) = amount else { return Ok(None) };
    let currency = match row.get("CurrencyIsoCode").map(text).transpose()?.flatten() {
        Some(code) => code.parse::<Currency>().map_err(|error| error.to_string())?,
        None => of_org.ok_or("the row names no currency, and the connection has no setting currency")?,
    };
    let amount = plain_decimal(amount).ok_or("not a decimal number")?;
    Money::parse(&amount, currency).map(Some).map_err(|error| error.to_string())
}

fn day(text: Option<&str>) -> Result<Option<CivilDate>, String> {
    let Some(text) = text else { return Ok(None) };
    let day = text.parse::<CivilDate>().ok().filter(|day| day.to_string() == text);
    day.map(Some).ok_or_else(|| "not a day such as 2026-11-23".to_owned())
}

/// The host of a web address, in lower case and without `www.`: people type addresses in any form.
fn domain(website: Option<&str>) -> Result<Option<String>, String> {
    let Some(website) = website else { return Ok(None) };
    let lower = website.to_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host).trim_end_matches('.');
    let is_plausible = host.contains('.') && !host.starts_with('.') && !host.contains(char::is_whitespace);
    if is_plausible { Ok(Some(host.to_owned())) } else { Err("no domain can be seen in it".to_owned()) }
}
