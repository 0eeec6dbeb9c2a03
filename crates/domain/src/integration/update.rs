//! Values of a shared record that are set at another system.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Entity;

/// Set fields of a record that exists at the other system. Fields are named, and values written, as in the claims of
/// its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// The kind of record: an account or an opportunity.
    pub entity: Entity,
    /// The record in the hub.
    pub record_id: String,
    /// Its id at the other system.
    pub remote_id: String,
    /// Updates with the same key at one system happen one after the other, in the order of their decisions.
    pub order_key: String,
    /// The value of each field that is to change; null empties it.
    pub changes: BTreeMap<String, Value>,
    /// What the hub believes to stand in these fields now; a field that is missing here is believed to be empty. Where
    /// something else stands, nothing is changed.
    pub expected: BTreeMap<String, Value>,
}
