//! The connectors behind the configured connections, as the use cases may ask them.

use crosstie_app::{BadSetting, Mapped, Mapper, Outbound, VendorSettings, Vendors};
use crosstie_domain::{
    ItemCode,
    ids::ConnectionId,
    integration::{EffectSafety, Entity, IntentKind},
};
use crosstie_sdk::{Fault, MappedRow, Settings, WriteSafety};
use serde_json::Value;

use crate::{Connections, apply::reader};

impl Vendors for Connections {
    fn settings(&self, connection: ConnectionId) -> Option<VendorSettings> {
        let connection = self.get(connection)?;
        // Accounts come first: the others refer to them.
        let mut entities: Vec<Entity> = connection.reads().map(|declared| declared.entity).collect();
        entities.sort_by_key(|entity| *entity != Entity::Account);
        Some(VendorSettings {
            configured: connection.live.configured().clone(),
            schema: connection.connector.settings_schema(),
            connector_version: connection.connector.descriptor().version.to_owned(),
            entities,
        })
    }

    fn check(&self, connection: ConnectionId, settings: &Value) -> Result<(), BadSetting> {
        let Some(connection) = self.get(connection) else {
            return Err(BadSetting { path: Vec::new(), why: "the connection is not configured".to_owned() });
        };
        let checked = connection.connector.check_settings(&Settings::new(settings.clone()));
        checked.map_err(|error| BadSetting { why: error.to_string(), path: error.path })
    }

    fn outbound(
        &self,
        connection: ConnectionId,
        settings: &Value,
        (kind, item_code): (IntentKind, Option<&ItemCode>),
    ) -> Option<Outbound> {
        let connector = self.get(connection)?.connector;
        connector.descriptor().writes.iter().find(|write| write.intent == kind)?;
        Some(match connector.writer()?.line_codes(&Settings::new(settings.clone()), kind, item_code) {
            Ok(codes) => Outbound::Codes(codes),
            Err(fault) => Outbound::Refused { code: fault.code().to_owned(), why: fault.to_string() },
        })
    }

    fn safety(&self, connection: ConnectionId, intent: IntentKind, entity: Entity) -> Option<EffectSafety> {
        self.get(connection)?.connector.descriptor().safety(intent, entity).map(WriteSafety::class)
    }

    fn mapper(&self, connection: ConnectionId, entity: Entity, settings: &Value) -> Option<Mapper> {
        let reader = reader(self.get(connection)?, entity)?;
        let settings = Settings::new(settings.clone());
        Some(Box::new(move |raw| match reader.map_raw(&settings, raw) {
            MappedRow::Good(seen) => {
                let (remote_id, claim, fields) = (seen.key.remote_id, Box::new(seen.claim), seen.fields);
                Mapped::Good { remote_id, claim, fields }
            }
            MappedRow::Bad { code, why, .. } => Mapped::Bad { code, why },
            MappedRow::Gone { .. } => Mapped::Bad { code: Fault::Gone.code().to_owned(), why: Fault::Gone.to_string() },
        }))
    }
}
