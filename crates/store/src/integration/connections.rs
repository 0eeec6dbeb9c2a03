//! Connections as the hub knows them. Their secrets are not here.

use crosstie_domain::{access::RowScope, ids::ConnectionId, integration::ConnectionRecord};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What connections are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionColumn {
    /// Identifier.
    Id,
    /// Name.
    Name,
    /// Connector.
    Connector,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ConnectionRow {
    id: String,
    name: String,
    connector: String,
    arms: String,
    enabled: i32,
    mode: String,
    created_at: i64,
    updated_at: i64,
}

impl Listed for ConnectionRecord {
    type Column = ConnectionColumn;
    type Row = ConnectionRow;
    const SELECT: &'static str = "connections.*";
    const FROM: &'static str = "connections";
    const ID: &'static str = "connections.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ConnectionColumn) -> Expression {
        match column {
            ConnectionColumn::Id => Expression::Required("connections.id"),
            ConnectionColumn::Name => Expression::Required("connections.name"),
            ConnectionColumn::Connector => Expression::Required("connections.connector"),
        }
    }

    fn record(row: ConnectionRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("connections.id", &row.id)?,
            name: row.name,
            connector: row.connector,
            arms: codec::json("connections.arms", &row.arms)?,
            enabled: row.enabled != 0,
            mode: codec::word("connections.mode", row.mode)?,
            created_at: codec::instant("connections.created_at", row.created_at)?,
            updated_at: codec::instant("connections.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: ConnectionColumn) -> Json {
        match column {
            ConnectionColumn::Id => json!(self.id.to_string()),
            ConnectionColumn::Name => json!(self.name),
            ConnectionColumn::Connector => json!(self.connector),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of connections.
///
/// # Errors
/// As the database.
pub async fn connections(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ConnectionColumn>,
) -> Result<PageResult<ConnectionRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The connections with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn connections_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ConnectionId],
) -> Result<Vec<ConnectionRecord>, StoreError> {
    page::by_ids(db, scope, "connections.id", &texts(ids)).await
}

/// The connection of this name.
///
/// # Errors
/// As the database.
pub async fn connection_by_name(
    db: &impl Reads,
    scope: &RowScope,
    name: &str,
) -> Result<Option<ConnectionRecord>, StoreError> {
    Ok(page::by_ids(db, scope, "connections.name", &[name.to_owned()]).await?.into_iter().next())
}

impl Tx {
    /// Saves a connection, new or changed. The mode of one that is there already stays as it is: see
    /// [`Tx::switch_connection_mode`].
    ///
    /// # Errors
    /// As the database.
    pub async fn save_connection(&self, connection: &ConnectionRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO connections (id, name, connector, arms, enabled, created_at, updated_at, mode) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
                   connector = excluded.connector, arms = excluded.arms, enabled = excluded.enabled, \
                   updated_at = excluded.updated_at";
        let values = vec![
            connection.id.to_string().into(),
            connection.name.clone().into(),
            connection.connector.clone().into(),
            codec::text(&connection.arms).into(),
            i32::from(connection.enabled).into(),
            connection.created_at.micros().into(),
            connection.updated_at.micros().into(),
            connection.mode.as_str().into(),
        ];
        self.connection().run(sql, values).await.map(|_| ())
    }
}
