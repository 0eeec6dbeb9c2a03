//! Values that are set in accounts and opportunities. What stands there is read before, and Salesforce is told to refuse
//! the write when the record changed since.

use std::collections::BTreeMap;

use crosstie_sdk::{
    Call, Comparison, Fault, Method, Net, WriteRequest, Writer, Written,
    domain::{
        CivilDate, Currency, Instant, Money,
        integration::{Entity, Intent, UpdateRecord},
    },
};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    API, Salesforce, SalesforceSettings,
    accounts::ACCOUNTS,
    opportunities::OPPORTUNITIES,
    refusal,
    wire::{CHANGED, changed_at},
};

/// The fields of an account that can be set.
pub(crate) const ACCOUNT_FIELDS: &[&str] = &["domain", "name"];
/// The fields of an opportunity that can be set. The stage is not: what it means depends on the org's sales processes.
pub(crate) const OPPORTUNITY_FIELDS: &[&str] = &["amount", "close_on", "name"];

/// How often a record is read and written anew that changes in between.
const TRIES: u32 = 3;

/// Fields and what is sent for them: whole texts and whole numbers, which no float touches.
type Body = BTreeMap<&'static str, Box<RawValue>>;

/// Sets values.
pub(crate) struct SalesforceWriter;

#[async_trait::async_trait]
impl Writer for SalesforceWriter {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        let update = wanted(request)?;
        for _ in 0..TRIES {
            let compared = Comparison::read(&Salesforce, net, update).await?;
            if let Some(done) = compared.done() {
                return Ok(done);
            }
            let body = body(net, update.entity, &compared)?;
            if set(net, update, &compared, &body).await? {
                return written(net, update, &compared, &body).await;
            }
        }
        Err(Fault::Transient { why: "the record changes again and again".to_owned() })
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        Ok(Comparison::read(&Salesforce, net, wanted(request)?).await?.done())
    }
}

fn wanted(request: &WriteRequest) -> Result<&UpdateRecord, Fault> {
    match &request.intent {
        Intent::UpdateRecord(update) => Ok(update),
        Intent::PlaceOrder(_) | Intent::IssueInvoice(_) => Err(Fault::Unsupported),
    }
}

/// Sets the values, unless the record changed since it was compared: then nothing happened, and the answer is `false`.
async fn set(net: &Net, update: &UpdateRecord, compared: &Comparison, body: &Body) -> Result<bool, Fault> {
    let object = if update.entity == Entity::Account { ACCOUNTS.name } else { OPPORTUNITIES.name };
    let changed_at = compared.held.raw.as_object().and_then(changed_at);
    let call = Call::new(Method::Patch, format!("{API}/sobjects/{object}/{}", update.remote_id));
    let call = match changed_at {
        Some(at) => call.header("if-unmodified-since", http_date(at)),
        None => call,
    };
    let answer = net.send(call.json(body).repeatable().reads_forbidden()).await?;
    match answer.status() {
        _ if answer.is_success() => Ok(true),
        412 => Ok(false),
        _ => Err(refusal::explain(&answer)),
    }
}

/// What came of the write. Salesforce's answer is empty, so that the version is read. It is told only when the record is
/// what it was but for the values that were sent: otherwise the next reading has more to say than their echo.
async fn written(net: &Net, update: &UpdateRecord, before: &Comparison, body: &Body) -> Result<Written, Fault> {
    let unknown =
        || Written { remote_id: update.remote_id.clone(), remote_version: None, customer_remote_id: None, claim: None };
    match Comparison::read(&Salesforce, net, update).await {
        Ok(after) if is_ours_alone(&before.held.raw, &after.held.raw, body) => Ok(after.done().unwrap_or_else(unknown)),
        Ok(_) | Err(Fault::Stale) => Ok(unknown()),
        Err(fault) => Err(fault),
    }
}

/// Whether two readings differ in nothing but what was sent.
fn is_ours_alone(before: &Value, after: &Value, body: &Body) -> bool {
    let rest = |row: &Value| {
        let mut row: Map<String, Value> = row.as_object().cloned().unwrap_or_default();
        row.retain(|name, _| name != "attributes" && name != CHANGED && !body.contains_key(name.as_str()));
        row
    };
    rest(before) == rest(after)
}

/// A moment in the form of HTTP's headers, to the second that begins next: the record may bear that moment itself.
fn http_date(at: Instant) -> String {
    let micros = at.micros().saturating_add(999_999).div_euclid(1_000_000) * 1_000_000;
    let at = Instant::from_micros(micros).unwrap_or(at);
    at.timestamp().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// What is left to be set, as Salesforce's fields; null empties.
fn body(net: &Net, entity: Entity, compared: &Comparison) -> Result<Body, Fault> {
    let mut body = Body::new();
    for change in &compared.left {
        match change.field.as_str() {
            "name" => body.insert("Name", text(Some(change.required()?))),
            "domain" if entity == Entity::Account => body.insert("Website", text(change.value()?)),
            "close_on" => body.insert("CloseDate", text(Some(change.required::<CivilDate>()?.to_string()))),
            _ => {
                let amount = change.value::<Money>()?;
                if let Some(currency) = other_currency(net, compared, amount)? {
                    body.insert("CurrencyIsoCode", text(Some(currency.to_string())));
                }
                body.insert("Amount", amount.map_or_else(|| text(None), number))
            }
        };
    }
    Ok(body)
}

fn text(value: Option<String>) -> Box<RawValue> {
    to_raw_value(&value).expect("a text can be written as JSON")
}

/// An amount as a JSON number with its own digits.
fn number(amount: Money) -> Box<RawValue> {
    RawValue::from_string(amount.decimal()).expect("a decimal number is one in JSON, too")
}

/// The currency of an amount, where the opportunity is kept in another: an amount means nothing under another currency.
fn other_currency(net: &Net, compared: &Comparison, amount: Option<Money>) -> Result<Option<Currency>, Fault> {
    let Some(amount) = amount else { return Ok(None) };
    let settings: SalesforceSettings = net.settings().read()?;
    if let Some(own) = settings.currency {
        if own == amount.currency {
            return Ok(None);
        }
        return Err(Fault::rejected("amount", format!("the org keeps amounts in {own} alone")));
    }
    let own = compared.held.raw.get("CurrencyIsoCode").and_then(Value::as_str);
    let own = own.and_then(|code| code.trim().parse::<Currency>().ok());
    Ok(Some(amount.currency).filter(|currency| Some(*currency) != own))
}
