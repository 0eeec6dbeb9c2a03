//! The connections that are configured now, each with its connector and its way to talk.

use std::{collections::HashMap, sync::Arc};

use crosstie_app::App;
use crosstie_domain::{
    access::RowScope,
    ids::ConnectionId,
    integration::{Arm, ConnectionRecord},
};
use crosstie_sdk::{Connector, Net, NetError, NetOptions, Secret, SettingsError};
use crosstie_store::{StoreError, integration::connection_by_name};

/// A connection as it is configured.
pub struct ConnectionSetup {
    /// Its name; also the last part of its webhook address.
    pub name: String,
    /// What serves it.
    pub connector: &'static dyn Connector,
    /// How it talks.
    pub net: NetOptions,
    /// What its webhooks are signed with; several while one is being replaced.
    pub webhook_secrets: Vec<Secret>,
    /// Which arms of the vendor's are used; all that the connector has when empty.
    pub arms: Vec<Arm>,
}

/// A connection that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its settings.
    #[error("connection {name:?}: {error}")]
    Settings {
        /// The connection.
        name: String,
        /// What is wrong.
        error: SettingsError,
    },
    /// Its address or credentials.
    #[error("connection {name:?}: {error}")]
    Net {
        /// The connection.
        name: String,
        /// What is wrong.
        error: NetError,
    },
    /// Two connections have this name.
    #[error("connection {0:?} is configured twice")]
    Twice(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A connection at work.
pub struct Connection {
    /// As the hub keeps it.
    pub record: ConnectionRecord,
    /// What serves it.
    pub connector: &'static dyn Connector,
    /// Its way to talk.
    pub net: Net,
    pub(crate) webhook_secrets: Vec<Secret>,
}

/// The connections that are configured now.
#[derive(Clone, Default)]
pub struct Connections {
    by_id: HashMap<ConnectionId, Arc<Connection>>,
}

impl Connections {
    /// Checks every connection and writes down which there are.
    ///
    /// # Errors
    /// [`SetupError`], naming the connection and the key that is wrong.
    pub async fn set_up(app: &App, setups: Vec<ConnectionSetup>) -> Result<Self, SetupError> {
        let mut by_id = HashMap::new();
        for setup in setups {
            let name = setup.name.clone();
            let named = |error| SetupError::Settings { name: name.clone(), error };
            setup.connector.check_settings(&setup.net.settings).map_err(named)?;
            let descriptor = setup.connector.descriptor();
            let net = Net::new(descriptor, setup.net);
            let net = net.map_err(|error| SetupError::Net { name: setup.name.clone(), error })?;
            let arms = if setup.arms.is_empty() { descriptor.arms.to_vec() } else { setup.arms };
            let record = write_down(app, &setup.name, descriptor.id, arms).await?;
            let webhook_secrets = setup.webhook_secrets;
            let connection = Connection { connector: setup.connector, net, webhook_secrets, record };
            if by_id.insert(connection.record.id, Arc::new(connection)).is_some() {
                return Err(SetupError::Twice(setup.name));
            }
        }
        Ok(Self { by_id })
    }

    /// The connection with this identifier.
    pub fn get(&self, id: ConnectionId) -> Option<&Arc<Connection>> {
        self.by_id.get(&id)
    }

    /// The connection of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Connection>> {
        self.by_id.values().find(|connection| connection.record.name == name)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<&Arc<Connection>> {
        let mut all: Vec<_> = self.by_id.values().collect();
        all.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        all
    }
}

async fn write_down(app: &App, name: &str, connector: &str, arms: Vec<Arm>) -> Result<ConnectionRecord, StoreError> {
    let tx = app.store().begin().await?;
    let found = connection_by_name(&tx, &RowScope::All, name).await?;
    let now = tx.now();
    let record = match &found {
        Some(found) if found.connector == connector && found.arms == arms && found.enabled => return Ok(found.clone()),
        Some(found) => {
            ConnectionRecord { connector: connector.to_owned(), arms, enabled: true, updated_at: now, ..found.clone() }
        }
        None => ConnectionRecord {
            id: tx.new_id(),
            name: name.to_owned(),
            connector: connector.to_owned(),
            arms,
            enabled: true,
            created_at: now,
            updated_at: now,
        },
    };
    tx.save_connection(&record).await?;
    tx.commit().await?;
    Ok(record)
}
