//! Mappings of connections as data, each version kept.

use crosstie_domain::{Instant, access::Principal, ids::ConnectionId, integration::ConnectionMode};
use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use crate::{Reads, StoreError, Tx, codec};

/// One version of a connection's mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptMapping {
    /// Its version: 1, 2, 3.
    pub version: i32,
    /// What is merged into the configured settings.
    pub document: Json,
    /// Who saved it, as principals are written.
    pub actor: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// When.
    pub created_at: Instant,
}

#[derive(FromQueryResult)]
struct MappingRow {
    version: i32,
    document: String,
    actor: String,
    reason: Option<String>,
    created_at: i64,
}

impl TryFrom<MappingRow> for KeptMapping {
    type Error = StoreError;

    fn try_from(row: MappingRow) -> Result<Self, StoreError> {
        Ok(Self {
            version: row.version,
            document: codec::json("connection_mappings.document", &row.document)?,
            actor: row.actor,
            reason: row.reason,
            created_at: codec::instant("connection_mappings.created_at", row.created_at)?,
        })
    }
}

/// The newest versions of a connection's mapping, at most so many, the newest first.
///
/// # Errors
/// As the database.
pub async fn mappings(db: &impl Reads, connection: ConnectionId, limit: i64) -> Result<Vec<KeptMapping>, StoreError> {
    let sql = "SELECT * FROM connection_mappings WHERE connection_id = $1 ORDER BY version DESC LIMIT $2";
    let rows: Vec<MappingRow> = db.connection().all(sql, vec![connection.to_string().into(), limit.into()]).await?;
    rows.into_iter().map(KeptMapping::try_from).collect()
}

/// One version of a connection's mapping.
///
/// # Errors
/// As the database.
pub async fn mapping_at(
    db: &impl Reads,
    connection: ConnectionId,
    version: i32,
) -> Result<Option<KeptMapping>, StoreError> {
    let sql = "SELECT * FROM connection_mappings WHERE connection_id = $1 AND version = $2";
    let values = vec![connection.to_string().into(), version.into()];
    db.connection().one::<MappingRow>(sql, values).await?.map(KeptMapping::try_from).transpose()
}

/// How a connection stands now, apart from its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionState {
    /// How far it goes.
    pub mode: ConnectionMode,
    /// The version of its mapping; 0 while there is none but the configuration.
    pub mapping_version: i32,
}

#[derive(FromQueryResult)]
struct StateRow {
    id: String,
    mode: String,
    mapping_version: i32,
}

impl StateRow {
    fn read(self) -> Result<(ConnectionId, ConnectionState), StoreError> {
        let mode = codec::word("connections.mode", self.mode)?;
        let id = codec::id("connections.id", &self.id)?;
        Ok((id, ConnectionState { mode, mapping_version: self.mapping_version }))
    }
}

/// How a connection stands now; as new ones do when it is not known.
///
/// # Errors
/// As the database.
pub async fn connection_state(db: &impl Reads, connection: ConnectionId) -> Result<ConnectionState, StoreError> {
    let sql = "SELECT id, mode, mapping_version FROM connections WHERE id = $1";
    let row: Option<StateRow> = db.connection().one(sql, vec![connection.to_string().into()]).await?;
    row.map_or(Ok(ConnectionState::default()), |row| row.read().map(|(_, state)| state))
}

/// How all connections stand now.
///
/// # Errors
/// As the database.
pub async fn connection_states(db: &impl Reads) -> Result<Vec<(ConnectionId, ConnectionState)>, StoreError> {
    let rows: Vec<StateRow> = db.connection().all("SELECT id, mode, mapping_version FROM connections", vec![]).await?;
    rows.into_iter().map(StateRow::read).collect()
}

impl Tx {
    /// Saves the next version of a connection's mapping; its number.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when this version is not the newest one.
    pub async fn save_mapping(
        &self,
        connection: ConnectionId,
        (version, document): (i32, &Json),
        (actor, reason): (Principal, Option<&str>),
    ) -> Result<i32, StoreError> {
        let now = self.now().micros();
        let (id, next) = (connection.to_string(), version + 1);
        let sql = "UPDATE connections SET mapping_version = $1, updated_at = $2 WHERE id = $3 AND mapping_version = $4";
        let values = vec![next.into(), now.into(), id.clone().into(), version.into()];
        if self.connection().run(sql, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        let row = vec![
            ("connection_id", id.into()),
            ("version", next.into()),
            ("document", document.to_string().into()),
            ("actor", actor.to_string().into()),
            ("reason", reason.map(str::to_owned).into()),
            ("created_at", now.into()),
        ];
        self.connection().insert("connection_mappings", vec![row], "").await?;
        Ok(next)
    }

    /// Notes by which version of its connector a connection is served. Returns whether another one served it before.
    ///
    /// # Errors
    /// As the database.
    pub async fn served_by(&self, connection: ConnectionId, connector_version: &str) -> Result<bool, StoreError> {
        #[derive(FromQueryResult)]
        struct ServedRow {
            connector_version: Option<String>,
        }
        let id = connection.to_string();
        let sql = "SELECT connector_version FROM connections WHERE id = $1";
        let before: Option<ServedRow> = self.connection().one(sql, vec![id.clone().into()]).await?;
        let before = before.and_then(|row| row.connector_version);
        if before.as_deref() == Some(connector_version) {
            return Ok(false);
        }
        let sql = "UPDATE connections SET connector_version = $1 WHERE id = $2";
        self.connection().run(sql, vec![connector_version.into(), id.into()]).await?;
        Ok(before.is_some())
    }
}
