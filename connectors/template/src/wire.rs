//! Rows in the vendor's terms. A field that may be of another type one day is kept as it came, and read by the mapping:
//! then only the field has a problem.

use serde::Deserialize;
use serde_json::Value;

/// Who the credential belongs to.
#[derive(Debug, Deserialize)]
pub(crate) struct Me {
    pub(crate) organization: String,
}

/// An account.
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    /// In milliseconds since 1970.
    pub(crate) changed_at: i64,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) name: Value,
    #[serde(default)]
    pub(crate) website: Value,
}

/// A deal.
#[derive(Debug, Deserialize)]
pub(crate) struct Deal {
    pub(crate) id: String,
    /// In milliseconds since 1970.
    pub(crate) changed_at: i64,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) title: Value,
    #[serde(default)]
    pub(crate) account: Value,
    #[serde(default)]
    pub(crate) phase: Value,
    /// A decimal as a text.
    #[serde(default)]
    pub(crate) amount: Value,
    /// A date such as `2026-11-23`.
    #[serde(default)]
    pub(crate) closes_on: Value,
}

/// A webhook.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) record: String,
}
