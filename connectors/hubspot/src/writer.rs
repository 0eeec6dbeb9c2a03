//! Values that are set in companies and deals. HubSpot knows no conditional write, so the object is read before.

use crosstie_sdk::{
    Call, Comparison, Fault, Method, Net, Reader, Row, RowKey, WriteRequest, Writer, Written,
    domain::{
        CivilDate, Currency, Money,
        integration::{Entity, Intent, UpdateRecord},
    },
};
use serde_json::{Map, Value, json};

use crate::{Hubspot, HubspotSettings, companies::Companies, deals::Deals, refusal};

/// The fields of an account that can be set.
pub(crate) const COMPANY_FIELDS: &[&str] = &["domain", "name"];
/// The fields of an opportunity that can be set. The stage is not: what it means depends on the account's pipelines.
pub(crate) const DEAL_FIELDS: &[&str] = &["amount", "close_on", "name"];

/// Sets values.
pub(crate) struct HubspotWriter;

#[async_trait::async_trait]
impl Writer for HubspotWriter {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        let update = wanted(request)?;
        let compared = Comparison::read(&Hubspot, net, update).await?;
        if let Some(done) = compared.done() {
            return Ok(done);
        }
        let properties = properties(net, update.entity, &compared)?;
        let objects = if update.entity == Entity::Account { "companies" } else { "deals" };
        let path = format!("/crm/v3/objects/{objects}/{}", update.remote_id);
        let call = Call::new(Method::Patch, path).json(&json!({ "properties": properties }));
        let row: Value = net.send(call.repeatable()).await?.json_or(refusal::explain)?;
        Ok(Written::updated(match update.entity {
            Entity::Account => key(&Companies, row)?,
            _ => key(&Deals, row)?,
        }))
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        Ok(Comparison::read(&Hubspot, net, wanted(request)?).await?.done())
    }
}

fn wanted(request: &WriteRequest) -> Result<&UpdateRecord, Fault> {
    match &request.intent {
        Intent::UpdateRecord(update) => Ok(update),
        Intent::PlaceOrder(_) | Intent::IssueInvoice(_) => Err(Fault::Unsupported),
    }
}

fn key<R: Reader>(reader: &R, row: Value) -> Result<RowKey, Fault> {
    match Row::read_one(row)? {
        Row::Ok { wire, .. } => Ok(reader.key(&wire)),
        Row::Gone { .. } => Err(Fault::Gone),
        Row::Bad { why, .. } => Err(Fault::Shape { path: "$".to_owned(), why }),
    }
}

/// What is left to be set, as HubSpot's properties: all of them texts, and an empty text empties.
fn properties(net: &Net, entity: Entity, compared: &Comparison) -> Result<Map<String, Value>, Fault> {
    let mut properties = Map::new();
    let mut set =
        |name: &str, value: Option<String>| properties.insert(name.to_owned(), json!(value.unwrap_or_default()));
    for change in &compared.left {
        match change.field.as_str() {
            "name" if entity == Entity::Account => set("name", Some(change.required()?)),
            "name" => set("dealname", Some(change.required()?)),
            "domain" => set("domain", change.value()?),
            "close_on" => set("closedate", change.value::<CivilDate>()?.map(|day| format!("{day}T00:00:00.000Z"))),
            _ => {
                let amount = change.value::<Money>()?;
                if let Some(currency) = other_currency(net, compared, amount)? {
                    set("deal_currency_code", Some(currency.to_string()));
                }
                set("amount", amount.map(Money::decimal))
            }
        };
    }
    Ok(properties)
}

/// The currency of an amount, where the deal would not be read in it: an amount means nothing under another currency.
fn other_currency(net: &Net, compared: &Comparison, amount: Option<Money>) -> Result<Option<Currency>, Fault> {
    let settings: HubspotSettings = net.settings().read().map_err(|error| Fault::Bug { why: error.to_string() })?;
    let own = compared.held.raw.pointer("/properties/deal_currency_code").and_then(Value::as_str);
    let own = own.filter(|code| !code.trim().is_empty());
    let own = own.map_or(settings.default_currency, |code| code.trim().parse().ok());
    Ok(amount.map(|amount| amount.currency).filter(|currency| Some(*currency) != own))
}
