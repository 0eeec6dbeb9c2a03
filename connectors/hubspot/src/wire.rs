//! HubSpot's shapes, as far as they are read.

use crosstie_sdk::Whole;
use serde::Deserialize;
use serde_json::Value;

/// A page of a search or a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    pub(crate) results: Vec<Value>,
    pub(crate) paging: Option<Paging>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Paging {
    pub(crate) next: Option<Value>,
}

/// A deal, with the company that the reader chose among its associations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deal {
    pub(crate) id: String,
    pub(crate) updated_at: Option<String>,
    pub(crate) properties: Whole<DealProperties>,
    /// Not HubSpot's: see [`crate::deals::ASSOCIATED_COMPANY`].
    #[serde(rename = "associated_company", default)]
    pub(crate) associated_company: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DealProperties {
    pub(crate) dealname: Option<String>,
    pub(crate) amount: Option<String>,
    pub(crate) dealstage: Option<String>,
    pub(crate) closedate: Option<String>,
    pub(crate) deal_currency_code: Option<String>,
    pub(crate) hs_lastmodifieddate: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Company {
    pub(crate) id: String,
    pub(crate) updated_at: Option<String>,
    pub(crate) properties: Whole<CompanyProperties>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CompanyProperties {
    pub(crate) name: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) hs_lastmodifieddate: Option<String>,
}

/// Answer to a batch read of associations (v4).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Associations {
    pub(crate) results: Vec<AssociationsOf>,
    #[serde(default)]
    pub(crate) errors: Vec<ErrorBody>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AssociationsOf {
    pub(crate) from: ObjectRef,
    #[serde(default)]
    pub(crate) to: Vec<AssociatedObject>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ObjectRef {
    pub(crate) id: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociatedObject {
    /// A number in some answers, a text in others.
    pub(crate) to_object_id: Value,
    #[serde(default)]
    pub(crate) association_types: Vec<AssociationType>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociationType {
    pub(crate) category: Option<String>,
    pub(crate) type_id: Option<i64>,
    pub(crate) label: Option<String>,
}

/// HubSpot's body of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ErrorBody {
    pub(crate) category: Option<String>,
    pub(crate) sub_category: Option<Value>,
    pub(crate) message: Option<String>,
    pub(crate) errors: Vec<ErrorDetail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorDetail {
    pub(crate) message: Option<String>,
    #[serde(rename = "in")]
    pub(crate) field: Option<String>,
    pub(crate) context: Option<ErrorContext>,
}

/// What an error is about. HubSpot puts even single names in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ErrorContext {
    pub(crate) property_name: Vec<String>,
}

/// One event of a webhook delivery. Events differ by type, so everything may be missing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) event_id: Option<Value>,
    pub(crate) subscription_type: Option<String>,
    pub(crate) occurred_at: Option<i64>,
    pub(crate) object_id: Option<Value>,
    pub(crate) object_type_id: Option<String>,
    pub(crate) property_name: Option<String>,
    /// Of a changed association, instead of `objectId`.
    pub(crate) from_object_id: Option<Value>,
    pub(crate) to_object_id: Option<Value>,
    /// Of a merge: the records that are no more.
    pub(crate) merged_object_ids: Option<Vec<Value>>,
}

/// An id, which HubSpot writes as a text in some places and as a number in others.
pub(crate) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
