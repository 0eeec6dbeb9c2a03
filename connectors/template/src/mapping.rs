//! Rows to claims. Pure: no clock, no network.

use crosstie_sdk::{
    Bag,
    domain::{
        CivilDate, Currency, Money,
        pipeline::{AccountClaim, OpportunityClaim, OpportunityStage},
    },
};
use serde_json::Value;

use crate::wire::{Account, Deal};

/// A text, if there is one.
fn text(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        _ => Err("no text"),
    }
}

fn parsed<T: std::str::FromStr>(value: &Value, what: &'static str) -> Result<Option<T>, &'static str> {
    text(value)?.map(|text| text.parse().map_err(|_| what)).transpose()
}

/// The domain of an address such as `https://www.acme.example/about`.
fn domain(value: &Value) -> Result<Option<String>, &'static str> {
    let domain = |address: String| {
        let address = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
        let host = address.split(['/', '?', '#', ':']).next().unwrap_or_default();
        host.strip_prefix("www.").unwrap_or(host).to_lowercase()
    };
    Ok(text(value)?.map(domain).filter(|domain| domain.contains('.')))
}

fn amount(value: &Value, currency: Option<Currency>) -> Result<Option<Money>, String> {
    let Some(amount) = text(value)? else { return Ok(None) };
    let currency = currency.ok_or("the setting `currency` is missing")?;
    Money::parse(&amount, currency).map(Some).map_err(|error| error.to_string())
}

/// What the vendor's phases mean.
fn stage(phase: &str) -> Option<OpportunityStage> {
    Some(match phase {
        "new" => OpportunityStage::Qualify,
        "offer" => OpportunityStage::Proposed,
        "won" => OpportunityStage::Won,
        "lost" => OpportunityStage::Lost,
        _ => return None,
    })
}

pub(crate) fn account(wire: &Account, bag: &mut Bag) -> AccountClaim {
    AccountClaim {
        name: bag.take("name", "name", text(&wire.name)),
        domain: bag.take("domain", "website", domain(&wire.website)),
        ..AccountClaim::default()
    }
}

pub(crate) fn deal(wire: &Deal, currency: Option<Currency>, bag: &mut Bag) -> OpportunityClaim {
    let native_stage = bag.take("native_stage", "phase", text(&wire.phase));
    let common = native_stage.as_deref().and_then(stage);
    OpportunityClaim {
        name: bag.take("name", "title", text(&wire.title)),
        account: bag.take("account", "account", text(&wire.account)),
        stage: bag.take("stage", "phase", Ok::<_, String>(common)),
        native_stage,
        amount: bag.take("amount", "amount", amount(&wire.amount, currency)),
        close_on: bag.take("close_on", "closes_on", parsed::<CivilDate>(&wire.closes_on, "no date")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_says_which_domain_it_is() {
        for (address, expected) in [
            (json!("https://www.Acme.example/about?x=1"), Ok(Some("acme.example"))),
            (json!("acme.example:8080"), Ok(Some("acme.example"))),
            (json!("localhost"), Ok(None)),
            (json!(" "), Ok(None)),
            (json!(7), Err("no text")),
        ] {
            assert_eq!(domain(&address).as_ref().map(|domain| domain.as_deref()), expected.as_ref().map(|one| *one));
        }
    }

    #[test]
    fn an_amount_has_as_many_decimals_as_its_currency_and_none_without_one() {
        let in_currency = |text: &str, currency: &str| amount(&json!(text), currency.parse().ok());
        assert_eq!(in_currency("12.30", "EUR").expect("an amount").map(|money| money.minor), Some(1_230));
        assert_eq!(in_currency("1230", "JPY").expect("an amount").map(|money| money.minor), Some(1_230));
        assert!(in_currency("12.345", "EUR").is_err());
        assert!(in_currency("12", "none").is_err(), "no currency is set");
    }
}
