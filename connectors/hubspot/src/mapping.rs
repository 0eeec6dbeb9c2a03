//! What HubSpot's rows say, in the hub's terms. Pure.

use std::borrow::Cow;

use crosstie_sdk::{
    Bag, Settings, Unmappable, Whole,
    domain::{
        CivilDate, Currency, Instant, Money,
        integration::{Claim, Entity},
        pipeline::{AccountClaim, OpportunityClaim},
    },
};

use crate::{
    HubspotSettings,
    wire::{Company, Deal, DealProperties},
};

/// What a deal says of an opportunity.
pub(crate) fn opportunity(deal: &Deal, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
    let settings: HubspotSettings = settings.read()?;
    let properties = &deal.properties;
    custom(&settings, (Entity::Opportunity, properties), bag);
    let stage = filled(&properties.dealstage).and_then(|native| settings.stage(native));
    Ok(Claim::Opportunity(OpportunityClaim {
        name: match filled(&properties.dealname) {
            Some(name) => bag.text("name", "properties.dealname", Some(name)),
            None => bag.text("name", "id", Some(&format!("Deal {}", deal.id))),
        },
        account: bag.text("account", "associated_company", deal.associated_company.as_deref()),
        native_stage: bag.text("native_stage", "properties.dealstage", properties.dealstage.as_deref()),
        stage: bag.take("stage", "properties.dealstage", Ok::<_, String>(stage)),
        amount: bag.take("amount", "properties.amount", amount(properties, settings.default_currency)),
        close_on: bag.take("close_on", "properties.closedate", utc_day(&properties.closedate)),
    }))
}

/// The customer's own fields. A row that was asked for before one of them was mapped does not have its property.
fn custom<T>(settings: &HubspotSettings, (entity, properties): (Entity, &Whole<T>), bag: &mut Bag) {
    settings.custom_fields.read(entity, bag, |property| {
        Some((Cow::Borrowed(properties.get(property)?), format!("properties.{property}")))
    });
}

/// What a company says of an account.
pub(crate) fn account(company: &Company, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
    let properties = &company.properties;
    custom(&settings.read()?, (Entity::Account, properties), bag);
    let domain = filled(&properties.domain).map(bare_domain);
    let name = match (filled(&properties.name), domain.as_deref()) {
        (Some(name), _) => bag.text("name", "properties.name", Some(name)),
        (None, Some(domain)) => bag.text("name", "properties.domain", Some(domain)),
        (None, None) => bag.text("name", "id", Some(&format!("Company {}", company.id))),
    };
    let domain = bag.text("domain", "properties.domain", domain.as_deref());
    Ok(Claim::Account(AccountClaim { account: None, name, domain, billing_email: None }))
}

/// A property that holds something; HubSpot writes an empty one as null or as an empty text.
fn filled(property: &Option<String>) -> Option<&str> {
    property.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn amount(properties: &DealProperties, default: Option<Currency>) -> Result<Option<Money>, String> {
    let Some(text) = filled(&properties.amount) else { return Ok(None) };
    let currency = match filled(&properties.deal_currency_code) {
        Some(code) => code.parse::<Currency>().map_err(|error| error.to_string())?,
        None => default.ok_or("the deal names no currency and the connection has no default_currency")?,
    };
    Money::parse(text, currency).map(Some).map_err(|error| error.to_string())
}

fn utc_day(property: &Option<String>) -> Result<Option<CivilDate>, String> {
    let Some(text) = filled(property) else { return Ok(None) };
    if let Ok(day) = text.parse::<CivilDate>()
        && day.to_string() == text
    {
        return Ok(Some(day));
    }
    let at = instant(text).ok_or("neither a moment nor a day")?;
    let days = i32::try_from(at.micros().div_euclid(86_400_000_000)).ok();
    Ok(Some(days.and_then(CivilDate::from_days).ok_or("not a day of the calendar")?))
}

/// A moment, which HubSpot writes as RFC 3339 or as milliseconds since 1970.
pub(crate) fn instant(text: &str) -> Option<Instant> {
    match text.parse::<i64>() {
        Ok(ms) => Instant::from_micros(ms.checked_mul(1_000)?),
        Err(_) => text.parse().ok(),
    }
}

/// The host alone, in lower case.
fn bare_domain(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_lowercase()
}
