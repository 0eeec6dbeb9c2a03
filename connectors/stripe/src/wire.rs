//! What Stripe sends, as far as it is read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(crate) struct List<T> {
    pub(crate) data: Vec<T>,
    #[serde(default)]
    pub(crate) has_more: bool,
}

/// Also what is left of a deleted customer: its id and `deleted`.
#[derive(Debug, Deserialize)]
pub(crate) struct Customer {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) created: i64,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) livemode: Option<bool>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) deleted: bool,
    pub(crate) active: Option<bool>,
    pub(crate) tax_code: Option<Reference>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TaxRate {
    pub(crate) id: String,
    pub(crate) active: Option<bool>,
    /// Whether it is part of the price.
    pub(crate) inclusive: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) created: i64,
    pub(crate) customer: Option<Reference>,
    pub(crate) currency: Option<String>,
    pub(crate) number: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) total: Option<i64>,
    /// The part of the total that is tax; null where nothing is taxed.
    pub(crate) tax: Option<i64>,
    pub(crate) total_excluding_tax: Option<i64>,
    pub(crate) description: Option<String>,
    pub(crate) custom_fields: Option<Vec<CustomField>>,
    pub(crate) amount_paid: Option<i64>,
    pub(crate) due_date: Option<i64>,
    pub(crate) status_transitions: Option<StatusTransitions>,
    pub(crate) lines: Option<List<Line>>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
}

/// A line of text that the merchant puts at the head of an invoice.
#[derive(Debug, Deserialize)]
pub(crate) struct CustomField {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StatusTransitions {
    pub(crate) finalized_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) amount: i64,
    pub(crate) description: Option<String>,
    pub(crate) price: Option<Price>,
    pub(crate) tax_rates: Option<Vec<TaxRate>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Price {
    pub(crate) product: Option<Reference>,
}

/// A reference is an id, or the whole object where a call asked for it to be expanded.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reference {
    Id(String),
    Expanded { id: String },
}

impl Reference {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Expanded { id } => id,
        }
    }
}

/// An event of the feed or of a webhook. Its object is a copy as of that time, so only its id is used.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) created: Option<i64>,
    pub(crate) data: EventData,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventData {
    pub(crate) object: Value,
}

impl Event {
    pub(crate) fn object_id(&self) -> Option<&str> {
        self.data.object.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(default)]
    pub(crate) error: StripeError,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct StripeError {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) message: Option<String>,
}
