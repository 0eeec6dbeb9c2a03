//! A connector: what it declares and the parts that it offers.

use crosstie_domain::UserErrorCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use crate::{AnyReader, CustomFields, Descriptor, Fault, Inbound, Net, Unmappable, Writer};

/// Translates one vendor to and from the hub's records. Stateless: one value serves every connection to the vendor.
///
/// Each capability is "not offered" unless a connector offers it.
#[async_trait::async_trait]
pub trait Connector: Send + Sync {
    /// Who it is, how it signs in, where it may go and how fast.
    fn descriptor(&self) -> &'static Descriptor;

    /// Whether the settings of a connection can be used.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError>;

    /// What the settings of a connection may hold, as a JSON schema: every key that [`Connector::check_settings`] takes.
    /// An object of which nothing more is said, unless a connector says it.
    fn settings_schema(&self) -> Value {
        json!({ "type": "object" })
    }

    /// The customer's own fields that the settings name, for a connector that reads any. [`CustomFields::of`] finds them;
    /// what else the vendor asks of a property is checked here.
    ///
    /// # Errors
    /// The setting that is wrong, by its path.
    fn custom_fields(&self, _settings: &Settings) -> Result<CustomFields, SettingsError> {
        Ok(CustomFields::default())
    }

    /// Asks the vendor who the connection signs in as. The cheapest call that needs a valid credential.
    ///
    /// # Errors
    /// Why the vendor could not be asked.
    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault>;

    /// What it reads, one reader for each kind of record; the order is the order of a first load.
    fn readers(&self) -> &[&dyn AnyReader] {
        &[]
    }

    /// What it writes.
    fn writer(&self) -> Option<&dyn Writer> {
        None
    }

    /// How it receives webhooks.
    fn inbound(&self) -> Option<&dyn Inbound> {
        None
    }
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhoAmI {
    /// The account at the vendor, in words for an operator.
    pub account: String,
}

/// Settings of a connection that only its connector understands. Secrets are not among them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings(Value);

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("settings{}: {why}", .path.iter().map(|key| format!(".{key}")).collect::<String>())]
pub struct SettingsError {
    /// The keys that lead to it, from the outermost on; none when the settings as a whole are meant.
    pub path: Vec<String>,
    /// What is wrong with it, for a program.
    pub code: UserErrorCode,
    /// What is wrong with it, in words.
    pub why: String,
}

impl SettingsError {
    /// What is wrong with the setting that these keys lead to.
    pub fn at(path: Vec<String>, why: impl Into<String>) -> Self {
        Self { path, code: UserErrorCode::Invalid, why: why.into() }
    }
}

/// Settings are checked before they come into force; a row that meets others is kept until they are mended.
impl From<SettingsError> for Unmappable {
    fn from(error: SettingsError) -> Self {
        Self { code: "BAD_SETTINGS", why: error.to_string() }
    }
}

/// Settings are checked before they come into force: others are a mistake of the hub.
impl From<SettingsError> for Fault {
    fn from(error: SettingsError) -> Self {
        Self::Bug { why: error.to_string() }
    }
}

impl Settings {
    /// Settings as they were configured: an object, or null for none.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// The settings as they are.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The settings as the connector's own type. Missing settings count as an empty object.
    ///
    /// # Errors
    /// The key that is missing, unknown or of another type; let the type deny unknown fields.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let value = if self.0.is_null() { Value::Object(serde_json::Map::new()) } else { self.0.clone() };
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().iter().filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => None,
            });
            SettingsError::at(path.collect(), error.inner().to_string())
        })
    }
}
