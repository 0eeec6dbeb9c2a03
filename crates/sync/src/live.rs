//! The settings of a connection as they are in force now, which may change while it works.

use std::sync::{Arc, PoisonError, RwLock};

use crosstie_domain::{
    Instant,
    custom::CustomFieldDefinition,
    integration::{mapping_label, merge_patch},
};
use crosstie_sdk::{MappedRow, Settings};
use crosstie_store::{Reads, StoreError, integration::mapping_at};
use serde_json::Value;
use tracing::{error, info};

use crate::{
    Connection,
    apply::{ReadRow, reader},
};

/// Which mapping is in force.
#[derive(Debug, Clone, Copy, Default)]
struct InForce {
    version: i32,
    /// Since when in this process; none when it began with it.
    since: Option<Instant>,
}

/// The settings of the configuration, and which mapping is merged into them.
#[derive(Debug, Default)]
pub(crate) struct Live {
    configured: Value,
    now: RwLock<InForce>,
    /// The customer's own fields by the settings in force.
    custom_fields: RwLock<Arc<[CustomFieldDefinition]>>,
}

impl Live {
    /// The settings of the configuration alone.
    pub(crate) fn new(configured: Value) -> Self {
        let configured = if configured.is_null() { Value::Object(serde_json::Map::new()) } else { configured };
        Self { configured, ..Self::default() }
    }

    /// The customer's own fields by the settings in force.
    pub(crate) fn custom_fields(&self) -> Arc<[CustomFieldDefinition]> {
        Arc::clone(&self.custom_fields.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The settings of the configuration.
    pub(crate) fn configured(&self) -> &Value {
        &self.configured
    }

    fn now(&self) -> InForce {
        *self.now.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Notes which fields of the customer's own the settings in force name.
    pub(crate) fn note_custom_fields(&self) {
        let found = self.connector.custom_fields(&self.net.settings());
        let told = found.map(|fields| fields.definitions()).unwrap_or_default();
        *self.live.custom_fields.write().unwrap_or_else(PoisonError::into_inner) = told.into();
    }

    /// The version of the mapping that is in force in this process; 0 for the configuration alone.
    pub fn mapping_version(&self) -> i32 {
        self.live.now().version
    }

    /// What rows that it maps now are labeled with.
    pub(crate) fn mapping_label(&self) -> String {
        mapping_label(self.connector.descriptor().version, self.mapping_version())
    }

    /// Puts a version of its mapping into force in this process, since a moment or from the beginning on. One that the
    /// connector does not understand is left alone: another release saved it.
    ///
    /// # Errors
    /// As the database.
    pub(crate) async fn take_up_from(
        &self,
        db: &impl Reads,
        (version, since): (i32, Option<Instant>),
    ) -> Result<(), StoreError> {
        let document = mapping_at(db, self.record.id, version).await?.map(|mapping| mapping.document);
        let settings = match document {
            Some(document) => merge_patch(self.live.configured.clone(), &document),
            None => self.live.configured.clone(),
        };
        let settings = Settings::new(settings);
        if let Err(error) = self.connector.check_settings(&settings) {
            error!(connection.name = %self.record.name, mapping.version = version, %error, "a mapping cannot be used");
            return Ok(());
        }
        let mut live = self.live.now.write().unwrap_or_else(PoisonError::into_inner);
        self.net.change_settings(settings);
        *live = InForce { version, since };
        drop(live);
        self.note_custom_fields();
        info!(connection.name = %self.record.name, mapping.version = version, "a mapping was taken up");
        Ok(())
    }

    /// A row that was asked for before the mapping changed, mapped as it is mapped now; none for any other.
    pub(crate) fn mapped_now(&self, row: &ReadRow) -> Option<ReadRow> {
        let since = self.live.now().since?;
        if row.asked_at > since {
            return None;
        }
        let raw = match &row.row {
            MappedRow::Good(seen) => &seen.raw,
            MappedRow::Bad { raw, .. } => raw,
            // What says that it is gone says so under any mapping.
            MappedRow::Gone { .. } => return None,
        };
        if raw.is_null() {
            return None;
        }
        let reader = reader(self, row.entity)?;
        let mapped = reader.map_raw(&self.net.settings(), raw.clone());
        Some(ReadRow { entity: row.entity, row: mapped, asked_at: row.asked_at, is_reference: row.is_reference })
    }
}
