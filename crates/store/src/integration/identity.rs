//! The identity map: which record of the hub a record of another system is. One remote id has at most one.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ConnectionId,
    integration::{Entity, LinkState},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks};

/// A link between a record of the hub and a record of another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The kind of record.
    pub entity: Entity,
    /// The id at the other system.
    pub remote_id: String,
    /// The record in the hub.
    pub record_id: String,
    /// How sure that is. Saving an identity again leaves it as it is.
    pub state: LinkState,
    /// The version last seen at the other system.
    pub remote_version: Option<String>,
    /// When it was last seen there.
    pub last_seen_at: Instant,
}

#[derive(FromQueryResult)]
struct IdentityRow {
    connection_id: String,
    entity: String,
    remote_id: String,
    record_id: String,
    state: String,
    remote_version: Option<String>,
    last_seen_at: i64,
}

impl TryFrom<IdentityRow> for Identity {
    type Error = StoreError;

    fn try_from(row: IdentityRow) -> Result<Self, StoreError> {
        Ok(Self {
            connection_id: codec::id("identities.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "identities.entity" })?,
            remote_id: row.remote_id,
            record_id: row.record_id,
            state: codec::word("identities.state", row.state)?,
            remote_version: row.remote_version,
            last_seen_at: codec::instant("identities.last_seen_at", row.last_seen_at)?,
        })
    }
}

/// The record of the hub that a remote record is.
///
/// # Errors
/// As the database.
pub async fn identity(
    db: &impl Reads,
    connection: ConnectionId,
    entity: Entity,
    remote_id: &str,
) -> Result<Option<Identity>, StoreError> {
    let sql = "SELECT * FROM identities WHERE connection_id = $1 AND entity = $2 AND remote_id = $3";
    let values = vec![connection.to_string().into(), entity.as_str().into(), remote_id.into()];
    db.connection().one::<IdentityRow>(sql, values).await?.map(Identity::try_from).transpose()
}

/// Where else these records are known. Their identifiers were found under a scope, which must show everything or own
/// them; the caller names it, so that it was thought of.
///
/// # Errors
/// As the database.
pub async fn identities_of(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
) -> Result<Vec<Identity>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM identities WHERE record_id IN ({}) ORDER BY connection_id, remote_id",
        marks(1, records.len())
    );
    let rows: Vec<IdentityRow> =
        db.connection().all(&sql, records.iter().map(|id| id.clone().into()).collect()).await?;
    rows.into_iter().map(Identity::try_from).collect()
}

impl Tx {
    /// Holds a remote record's link until the end of the transaction, so that two who bring the same record come one
    /// after the other. SQLite has one writer, and a record that is not linked yet is held by its key.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody else holds it for more than 5 seconds.
    pub async fn lock_identity(
        &self,
        connection: ConnectionId,
        entity: Entity,
        remote_id: &str,
    ) -> Result<(), StoreError> {
        if !self.connection().is_postgres() {
            return Ok(());
        }
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        let key = format!("{connection}:{}:{remote_id}", entity.as_str());
        self.connection().run(sql, vec![key.into()]).await.map(|_| ())
    }

    /// Links a remote record to a record of the hub, or notes that it was seen again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the remote record is linked to another one.
    pub async fn save_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        let sql = "INSERT INTO identities (connection_id, entity, remote_id, record_id, state, remote_version, \
                   first_seen_at, last_seen_at) VALUES ($1, $2, $3, $4, $7, $5, $6, $6) \
                   ON CONFLICT (connection_id, entity, remote_id) DO UPDATE SET \
                   remote_version = excluded.remote_version, last_seen_at = excluded.last_seen_at \
                   WHERE identities.record_id = excluded.record_id";
        let values = vec![
            identity.connection_id.to_string().into(),
            identity.entity.as_str().into(),
            identity.remote_id.clone().into(),
            identity.record_id.clone().into(),
            identity.remote_version.clone().into(),
            identity.last_seen_at.micros().into(),
            codec::text(&identity.state).into(),
        ];
        if self.connection().run(sql, values).await? == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
