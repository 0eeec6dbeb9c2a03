//! The connections that are configured now, each with its connector and its way to talk.

use std::{collections::HashMap, sync::Arc};

use crosstie_app::App;
use crosstie_domain::{
    access::{Principal, RowScope},
    ids::ConnectionId,
    integration::{Arm, ConnectionMode, ConnectionRecord, Entity, InboundLimits, InboundPressure, RemapCause},
};
use crosstie_sdk::{Connector, Net, NetError, NetOptions, ReadEntity, Redactor, Secret, SettingsError};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, StoreError,
    integration::{ConnectionColumn, Pushes, connection_by_name, connection_state, inbound_pressure_of, pushes_of},
};

use crate::{
    ExchangeLog,
    freshness::{ReadingOptions, save_objectives},
    live::Live,
    pressure::Pressure,
    quotas::SharedQuotas,
};

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
    /// How far it goes when it is first configured; later its mode is what it was switched to.
    pub mode: ConnectionMode,
    /// How it is read beyond what its connector says.
    pub reading: ReadingOptions,
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
    /// An arm that its connector does not have.
    #[error("connection {name:?}: `arms` names {arm}, which the connector {connector} does not have")]
    Arm {
        /// The connection.
        name: String,
        /// Its connector.
        connector: &'static str,
        /// The arm.
        arm: String,
    },
    /// The database knows the connection with another connector.
    #[error(
        "connection {name:?}: `connector` was {was} and is {is} now; what was read through one cannot go on through the \
         other: give the new connection a name of its own"
    )]
    OtherConnector {
        /// The connection.
        name: String,
        /// The connector that it had.
        was: String,
        /// The connector that it is configured with now.
        is: String,
    },
    /// A field that its connector cannot write.
    #[error("connection {name:?}: `push` names {field:?}; its connector writes: {}", .writable.join(", "))]
    Push {
        /// The connection.
        name: String,
        /// The field.
        field: String,
        /// What its connector writes.
        writable: Vec<String>,
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
    pub(crate) live: Live,
    pub(crate) webhook_secrets: Vec<Secret>,
    /// How much of it comes in by webhook.
    pub(crate) pressure: Pressure,
    /// Takes its secrets out of what is kept.
    pub(crate) redactor: Arc<Redactor>,
    /// How it is read beyond what its connector says.
    pub(crate) reading: ReadingOptions,
}

impl Connection {
    /// Takes up the mapping that is kept of it, and has history mapped anew when another release of its connector served
    /// it before.
    async fn begin(&self, app: &App) -> Result<(), StoreError> {
        let tx = app.store().begin().await?;
        let state = connection_state(&tx, self.record.id).await?;
        if state.mapping_version > 0 {
            self.take_up_from(&tx, (state.mapping_version, None)).await?;
        }
        if tx.served_by(self.record.id, self.connector.descriptor().version).await? {
            tx.request_remap(self.record.id, (None, RemapCause::Connector), (Principal::System, None)).await?;
        }
        tx.commit().await
    }

    /// The kinds of record that are read from it: those of the arms that it is used for.
    pub fn reads(&self) -> impl Iterator<Item = &'static ReadEntity> {
        let arms = self.record.arms.clone();
        self.connector.descriptor().reads.iter().filter(move |declared| match declared.entity {
            Entity::Opportunity => arms.contains(&Arm::Crm),
            Entity::Invoice | Entity::ServiceOrder => arms.contains(&Arm::Billing),
            _ => true,
        })
    }
}

impl Connection {
    /// The fields that can be written there, by names like `account.name`.
    fn writable(&self) -> Vec<String> {
        let writes = self.connector.descriptor().writes.iter();
        let fields =
            writes.flat_map(|write| write.fields.iter().map(|field| format!("{}.{field}", write.entity.as_str())));
        fields.collect()
    }
}

/// The connections that are configured now.
#[derive(Clone, Default)]
pub struct Connections {
    by_id: HashMap<ConnectionId, Arc<Connection>>,
    exchanges: ExchangeLog,
}

impl Connections {
    /// Checks every connection and writes down which there are.
    ///
    /// # Errors
    /// [`SetupError`], naming the connection and the key that is wrong.
    pub async fn set_up(app: &App, setups: Vec<ConnectionSetup>) -> Result<Self, SetupError> {
        Self::set_up_logged(app, setups, ExchangeLog::default()).await
    }

    /// The same; what they exchange goes to this log.
    ///
    /// # Errors
    /// [`SetupError`], naming the connection and the key that is wrong.
    pub async fn set_up_logged(
        app: &App,
        setups: Vec<ConnectionSetup>,
        exchanges: ExchangeLog,
    ) -> Result<Self, SetupError> {
        let mut by_id = HashMap::new();
        for mut setup in setups {
            let name = setup.name.clone();
            let named = |error| SetupError::Settings { name: name.clone(), error };
            setup.connector.check_settings(&setup.net.settings).map_err(named)?;
            let live = Live::new(setup.net.settings.as_value().clone());
            let descriptor = setup.connector.descriptor();
            let secrets = setup.net.credentials.secrets().into_iter().chain(&setup.webhook_secrets);
            let redactor = Arc::new(Redactor::new(secrets));
            let recorded = exchanges.over(Arc::clone(&setup.net.transport), Arc::clone(&redactor));
            setup.net.transport = recorded.clone();
            let net = Net::new(descriptor, setup.net);
            let mut net = net.map_err(|error| SetupError::Net { name: setup.name.clone(), error })?;
            if let Some(arm) = setup.arms.iter().find(|arm| !descriptor.arms.contains(arm)) {
                let arm = format!("{arm:?}").to_lowercase();
                return Err(SetupError::Arm { name: setup.name, connector: descriptor.id, arm });
            }
            let arms = if setup.arms.is_empty() { descriptor.arms.to_vec() } else { setup.arms };
            let record = write_down(app, &setup.name, descriptor.id, (arms, setup.mode)).await?;
            recorded.belongs_to(record.id, &record.name);
            net.share_budgets(Arc::new(SharedQuotas { store: app.store().clone(), connection: record.id }));
            let webhook_secrets = setup.webhook_secrets;
            let (reading, connector, pressure) = (setup.reading, setup.connector, Pressure::default());
            let connection = Connection { connector, net, live, webhook_secrets, pressure, redactor, record, reading };
            connection.note_custom_fields();
            connection.begin(app).await?;
            save_objectives(app, &connection, &connection.reading).await?;
            if by_id.insert(connection.record.id, Arc::new(connection)).is_some() {
                return Err(SetupError::Twice(setup.name));
            }
        }
        let connections = Self { by_id, exchanges };
        app.know_vendors(Arc::new(connections.clone()));
        Ok(connections)
    }

    /// Writes down what can be written at each connection, and which of it the hub is to keep true there: fields by
    /// names like `account.name`, for connections by their names.
    ///
    /// # Errors
    /// [`SetupError::Push`], naming the field that the connector cannot write.
    pub async fn keep_true<'a>(&self, app: &App, pushed: impl Fn(&str) -> &'a [String]) -> Result<(), SetupError> {
        let tx = app.store().begin().await?;
        for connection in self.all() {
            let writable = connection.writable();
            let pushed = pushed(&connection.record.name);
            if let Some(field) = pushed.iter().find(|field| !writable.contains(field)) {
                let (name, field) = (connection.record.name.clone(), field.clone());
                return Err(SetupError::Push { name, field, writable });
            }
            let pushes = Pushes { writable, pushed: pushed.to_vec() };
            let known = pushes_of(&tx, &RowScope::All, &[connection.record.id]).await?.pop();
            if known.is_none_or(|(_, known)| known != pushes) {
                tx.save_pushes(connection.record.id, &pushes).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Says how much each connection takes in by webhook, by its name, and writes it down.
    ///
    /// # Errors
    /// As the database.
    pub async fn limit_inbound(&self, app: &App, limits: impl Fn(&str) -> InboundLimits) -> Result<(), StoreError> {
        let ids: Vec<_> = self.by_id.keys().copied().collect();
        let known = inbound_pressure_of(app.store(), &ids).await?;
        let tx = app.store().begin().await?;
        for connection in self.all() {
            let limits = limits(&connection.record.name);
            connection.pressure.limit(limits);
            let is_known = |one: &InboundPressure| one.connection_id == connection.record.id && one.limits == limits;
            if !known.iter().any(is_known) {
                tx.save_inbound_limits(connection.record.id, limits).await?;
            }
        }
        tx.commit().await
    }

    /// Disables the connections that the database knows and that are not configured any more: nothing new is billed
    /// through them.
    ///
    /// # Errors
    /// As the database.
    pub async fn retire_others(&self, app: &App) -> Result<(), StoreError> {
        let tx = app.store().begin().await?;
        let everything = PageRequest {
            condition: Condition::All(vec![]),
            order: vec![(ConnectionColumn::Id, Direction::Ascending)],
            span: Span::First(10_000, None),
        };
        let known = crosstie_store::integration::connections(&tx, &RowScope::All, &everything).await?;
        for (record, _) in known.rows {
            if record.enabled && !self.by_id.contains_key(&record.id) {
                let updated_at = tx.now();
                tx.close_alerts_of(record.id).await?;
                tx.save_connection(&ConnectionRecord { enabled: false, updated_at, ..record }).await?;
            }
        }
        tx.commit().await
    }

    /// The log of what they exchange.
    pub fn exchanges(&self) -> &ExchangeLog {
        &self.exchanges
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

async fn write_down(
    app: &App,
    name: &str,
    connector: &str,
    (arms, mode): (Vec<Arm>, ConnectionMode),
) -> Result<ConnectionRecord, SetupError> {
    let tx = app.store().begin().await?;
    let found = connection_by_name(&tx, &RowScope::All, name).await?;
    let now = tx.now();
    let record = match &found {
        Some(found) if found.connector != connector => {
            let (was, is) = (found.connector.clone(), connector.to_owned());
            return Err(SetupError::OtherConnector { name: name.to_owned(), was, is });
        }
        Some(found) if found.arms == arms && found.enabled => return Ok(found.clone()),
        Some(found) => ConnectionRecord { arms, enabled: true, updated_at: now, ..found.clone() },
        None => ConnectionRecord {
            id: tx.new_id(),
            name: name.to_owned(),
            connector: connector.to_owned(),
            arms,
            enabled: true,
            mode,
            created_at: now,
            updated_at: now,
        },
    };
    tx.save_connection(&record).await?;
    tx.commit().await?;
    Ok(record)
}
