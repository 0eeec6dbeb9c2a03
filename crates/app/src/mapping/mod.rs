//! Mapping as data: what a connection's settings are at run time, what another mapping would change, and history mapped
//! anew. Connectors are reached through [`Vendors`], so that nothing here knows one.

mod custom;
mod outbound;
mod preview;
mod remap;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crosstie_domain::{
    ItemCode, Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    custom::CustomFieldDefinition,
    ids::ConnectionId,
    integration::{
        AssertedField, Claim, ConnectionRecord, EffectSafety, Entity, IntentKind, RemapCause, mapping_label,
        merge_patch,
    },
};
use crosstie_store::{
    Tx,
    integration::{KeptMapping, connection_state, connections_by_ids, mapping_at, mappings},
};
use serde::Serialize;
use serde_json::Value;

pub use self::{
    custom::UnaskedField,
    outbound::{Outbound, OutboundLine},
    preview::{FieldDifference, MappingPreview, PreviewMapping, RowDifference, RowOutcome},
    remap::RemapHistory,
};
use crate::{
    App, AppError, Decision,
    connections::check_reason,
    idempotency::{Request, decided},
};

/// The longest mapping that is kept, in bytes.
const LONGEST_DOCUMENT: usize = 100_000;
/// The input field of a mapping that is proposed.
const PROPOSED: &str = "mapping";
/// How many versions of a mapping are shown.
const SHOWN_VERSIONS: i64 = 25;

/// What a row says by some mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapped {
    /// It says something.
    Good {
        /// The record's id at the vendor.
        remote_id: String,
        /// What it says.
        claim: Box<Claim>,
        /// Where each value stood.
        fields: BTreeMap<String, AssertedField>,
    },
    /// Nothing can be made of it.
    Bad {
        /// A stable code.
        code: String,
        /// Why, in words.
        why: String,
    },
}

/// Maps rows of one kind as they came, by certain settings and without asking the vendor.
pub type Mapper = Box<dyn Fn(Value) -> Mapped + Send + Sync>;

/// A setting that a connector does not understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// The keys that lead to it; none when the settings as a whole are meant.
    pub path: Vec<String>,
    /// What is wrong, for a program.
    pub code: UserErrorCode,
    /// What is wrong, in words.
    pub why: String,
}

/// What is known of a connection's connector.
#[derive(Debug, Clone, PartialEq)]
pub struct VendorSettings {
    /// The settings of the configuration.
    pub configured: Value,
    /// What the connector understands, as a JSON schema.
    pub schema: Value,
    /// Version of the connector.
    pub connector_version: String,
    /// The kinds of record that are read, those first that others refer to.
    pub entities: Vec<Entity>,
}

/// The connectors behind the connections that are configured now.
pub trait Vendors: Send + Sync {
    /// What is known of a connection's connector; `None` when it is not configured.
    fn settings(&self, connection: ConnectionId) -> Option<VendorSettings>;

    /// Whether a connector understands these settings.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self, connection: ConnectionId, settings: &Value) -> Result<(), BadSetting>;

    /// The customer's own fields that settings name which the connector understands.
    fn custom_fields(&self, connection: ConnectionId, settings: &Value) -> Vec<CustomFieldDefinition>;

    /// The customer's own fields of all connections by the settings that are in force, by the names of the connections.
    fn custom_fields_in_force(&self) -> Vec<(ConnectionId, Arc<[CustomFieldDefinition]>)>;

    /// What makes an intent for this kind of record happen once; none when the connection is not configured, or does
    /// not write it.
    fn safety(&self, connection: ConnectionId, intent: IntentKind, entity: Entity) -> Option<EffectSafety>;

    /// What a line with this item code goes out with by these settings, without asking the vendor; none when the
    /// connection is not configured, or does not write this.
    fn outbound(
        &self,
        connection: ConnectionId,
        settings: &Value,
        line: (IntentKind, Option<&ItemCode>),
    ) -> Option<Outbound>;

    /// What maps rows of a kind by these settings.
    fn mapper(&self, connection: ConnectionId, entity: Entity, settings: &Value) -> Option<Mapper>;
}

/// The connectors that the use cases of this process can ask.
#[derive(Clone, Default)]
pub(crate) struct VendorSlot(Arc<RwLock<Option<Arc<dyn Vendors>>>>);

impl App {
    /// Lets the use cases ask these connectors from now on.
    pub fn know_vendors(&self, vendors: Arc<dyn Vendors>) {
        *self.vendors.0.write().unwrap_or_else(PoisonError::into_inner) = Some(vendors);
    }

    pub(crate) fn vendors(&self) -> Option<Arc<dyn Vendors>> {
        self.vendors.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection's mapping as it stands.
#[derive(Debug, Clone)]
pub struct ConnectionMapping {
    /// The connection.
    pub connection: ConnectionRecord,
    /// The version in force; 0 while there is none but the configuration.
    pub version: i32,
    /// What is merged into the configured settings.
    pub document: Value,
    /// The settings of the configuration; none while the connection is not configured.
    pub configured: Option<Value>,
    /// The settings in force.
    pub effective: Option<Value>,
    /// What the connector understands, as a JSON schema.
    pub schema: Option<Value>,
    /// The newest 25 versions, the newest first.
    pub versions: Vec<KeptMapping>,
}

/// A mapping to be saved.
#[derive(Debug, Clone, Serialize)]
pub struct SaveMapping {
    /// The connection.
    pub connection_id: ConnectionId,
    /// What to merge into the configured settings.
    pub document: Value,
    /// The version that the asker read; 0 for none.
    pub expected_version: i32,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A mapping to be put back as it was.
#[derive(Debug, Clone, Serialize)]
pub struct RevertMapping {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The version whose document counts again; 0 for the configuration alone.
    pub to_version: i32,
    /// The version that the asker read.
    pub expected_version: i32,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

impl App {
    /// A connection's mapping as it stands; `None` when there is no such connection.
    ///
    /// # Errors
    /// As the database.
    pub async fn connection_mapping(&self, connection: ConnectionId) -> Result<Option<ConnectionMapping>, AppError> {
        let store = self.store();
        let Some(record) = connections_by_ids(store, &RowScope::All, &[connection]).await?.pop() else {
            return Ok(None);
        };
        let versions = mappings(store, connection, SHOWN_VERSIONS).await?;
        let newest = versions.first();
        let document = newest.map_or_else(empty, |mapping| mapping.document.clone());
        let vendor = self.vendors().and_then(|vendors| vendors.settings(connection));
        let effective = vendor.as_ref().map(|vendor| merge_patch(vendor.configured.clone(), &document));
        let version = newest.map_or(0, |mapping| mapping.version);
        let (configured, schema) = vendor.map(|vendor| (vendor.configured, vendor.schema)).unzip();
        Ok(Some(ConnectionMapping { connection: record, version, document, configured, effective, schema, versions }))
    }

    /// Saves a mapping. Every process takes it up within seconds, and what is kept of the connection's history is
    /// mapped anew in the background.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn save_mapping(
        &self,
        auth: &AuthContext,
        input: SaveMapping,
    ) -> Result<Decision<ConnectionMapping>, AppError> {
        let decision = decided(|| self.try_save_mapping(auth, &input)).await?;
        self.as_it_stands(input.connection_id, decision).await
    }

    /// Puts an earlier mapping back into force, as a new version.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn revert_mapping(
        &self,
        auth: &AuthContext,
        input: RevertMapping,
    ) -> Result<Decision<ConnectionMapping>, AppError> {
        let decision = decided(|| self.try_revert_mapping(auth, &input)).await?;
        self.as_it_stands(input.connection_id, decision).await
    }

    async fn as_it_stands(
        &self,
        connection: ConnectionId,
        decision: Decision<()>,
    ) -> Result<Decision<ConnectionMapping>, AppError> {
        if let Err(refusals) = decision {
            return Ok(Err(refusals));
        }
        let mapping = self.connection_mapping(connection).await?;
        Ok(mapping.ok_or_else(|| vec![no_connection()]))
    }

    async fn try_save_mapping(&self, auth: &AuthContext, input: &SaveMapping) -> Result<Decision<()>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("saveMapping", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(_)) => return Ok(Ok(())),
            Ok(None) => {}
        }
        let document = Proposed { field: PROPOSED, document: &input.document };
        let reason = input.reason.as_deref();
        let saved = self.write_mapping(&tx, auth, (input.connection_id, input.expected_version, reason), document);
        match saved.await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(version) => request.keep(&tx, auth, version.to_string()).await?,
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    async fn try_revert_mapping(&self, auth: &AuthContext, input: &RevertMapping) -> Result<Decision<()>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("revertMapping", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(_)) => return Ok(Ok(())),
            Ok(None) => {}
        }
        let document = match input.to_version {
            0 => empty(),
            version => match mapping_at(&tx, input.connection_id, version).await? {
                Some(mapping) => mapping.document,
                None => {
                    let message = "The connection's mapping has no such version.";
                    return Ok(Err(vec![Refusal::new("toVersion", UserErrorCode::NotFound, message)]));
                }
            },
        };
        let document = Proposed { field: "toVersion", document: &document };
        let reason = input.reason.as_deref();
        let saved = self.write_mapping(&tx, auth, (input.connection_id, input.expected_version, reason), document);
        match saved.await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(version) => request.keep(&tx, auth, version.to_string()).await?,
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Writes the next version of a mapping in the caller's transaction, and asks for history to be mapped anew.
    async fn write_mapping(
        &self,
        tx: &Tx,
        auth: &AuthContext,
        (connection, expected, reason): (ConnectionId, i32, Option<&str>),
        proposed: Proposed<'_>,
    ) -> Result<Decision<i32>, AppError> {
        if let Err(refusals) = self.check_mapping(connection, proposed) {
            return Ok(Err(refusals));
        }
        if let Some(refusal) = check_reason(reason) {
            return Ok(Err(vec![refusal]));
        }
        let current = connection_state(tx, connection).await?.mapping_version;
        if current != expected {
            let message = format!("The mapping changed since you read it; it is at version {current} now.");
            let refusal = Refusal::new("expectedVersion", UserErrorCode::Conflict, message);
            return Ok(Err(vec![Refusal { current_version: Some(current), ..refusal }]));
        }
        let by = (auth.principal, reason);
        let version = tx.save_mapping(connection, (current, proposed.document), by).await?;
        tx.request_remap(connection, (None, RemapCause::Mapping), by).await?;
        Ok(Ok(version))
    }

    /// Whether a mapping can be used, and the settings that it makes.
    fn check_mapping(&self, connection: ConnectionId, proposed: Proposed<'_>) -> Decision<Value> {
        let Proposed { field, document } = proposed;
        let refuse = |code, message: String| Err(vec![Refusal::new(field, code, message)]);
        if !document.is_object() {
            return refuse(UserErrorCode::Invalid, "A mapping is a JSON object.".to_owned());
        }
        let text = document.to_string();
        if text.len() > LONGEST_DOCUMENT {
            return refuse(UserErrorCode::TooLong, format!("A mapping has at most {LONGEST_DOCUMENT} bytes."));
        }
        if text.contains("\\u0000") {
            return refuse(UserErrorCode::Invalid, "The mapping holds a NUL character.".to_owned());
        }
        let known = self.vendors().and_then(|vendors| Some((vendors.settings(connection)?, vendors)));
        let Some((vendor, vendors)) = known else { return Err(vec![no_connection()]) };
        let settings = merge_patch(vendor.configured, document);
        match vendors.check(connection, &settings) {
            Ok(()) => Ok(settings),
            Err(BadSetting { path, code, why }) => {
                let mut refusal = Refusal::new(field, code, why);
                // An earlier version is not part of the input.
                if field == PROPOSED {
                    refusal.field.extend(path);
                }
                Err(vec![refusal])
            }
        }
    }

    /// The settings of a connection in force, and what rows are labeled with that they map; `None` when it is not
    /// configured here.
    async fn in_force(&self, tx: &Tx, connection: ConnectionId) -> Result<Option<InForce>, AppError> {
        let Some(vendors) = self.vendors() else { return Ok(None) };
        let Some(vendor) = vendors.settings(connection) else { return Ok(None) };
        let version = connection_state(tx, connection).await?.mapping_version;
        let document = mapping_at(tx, connection, version).await?.map_or_else(empty, |mapping| mapping.document);
        let settings = merge_patch(vendor.configured, &document);
        let label = mapping_label(&vendor.connector_version, version);
        Ok(Some(InForce { vendors, settings, label, entities: vendor.entities }))
    }
}

/// A mapping that is proposed, and the input field that it came by.
#[derive(Clone, Copy)]
struct Proposed<'a> {
    field: &'a str,
    document: &'a Value,
}

/// What maps a connection's rows now.
struct InForce {
    vendors: Arc<dyn Vendors>,
    settings: Value,
    label: String,
    entities: Vec<Entity>,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

fn no_connection() -> Refusal {
    Refusal::new("connectionId", UserErrorCode::NotFound, "No such connection is configured.")
}
