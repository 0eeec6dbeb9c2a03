//! The identity map: which record of the hub a record of another system is. One remote id has at most one.

use std::collections::BTreeSet;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ConnectionId,
    integration::{Entity, LinkState},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, texts::Texts};

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

/// The records of the hub that these remote records of one kind are, as far as they are known.
///
/// # Errors
/// As the database.
pub async fn identities_at(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    remote_ids: &[&str],
) -> Result<Vec<Identity>, StoreError> {
    let sql = |ids: Texts| {
        let among = ids.among("remote_id");
        format!("SELECT * FROM identities WHERE connection_id = $1 AND entity = $2 AND {among}")
    };
    let first = [connection.to_string().into(), entity.as_str().into()];
    let rows: Vec<IdentityRow> = db.connection().all_among(&first, remote_ids, sql).await?;
    rows.into_iter().map(Identity::try_from).collect()
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
    let sql = |records: Texts| {
        let among = records.among("record_id");
        format!("SELECT * FROM identities WHERE {among} ORDER BY connection_id, remote_id")
    };
    let rows: Vec<IdentityRow> = db.connection().all_among(&[], records, sql).await?;
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
        self.lock_identities(connection, &[(entity, remote_id)]).await
    }

    /// The same for several remote records of a connection. Who needs more than one takes all of them at once, before
    /// records: two who bring the same ones never wait for each other.
    ///
    /// Records of a kind are held in 256 groups: a page would hold more locks than the database has for a few of such.
    /// Who waits for another record of the same group waits for one commit.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody else holds one for more than 5 seconds.
    pub async fn lock_identities(&self, connection: ConnectionId, remote: &[(Entity, &str)]) -> Result<(), StoreError> {
        let key = |(entity, remote_id): &(Entity, &str)| {
            let group = remote_id.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
            format!("{connection}:{}:{group}", entity.as_str())
        };
        let keys: BTreeSet<String> = remote.iter().map(key).collect();
        self.connection().hold(&keys.into_iter().collect::<Vec<_>>(), 0).await
    }

    /// Links a remote record to a record of the hub, or notes that it was seen again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the remote record is linked to another one.
    pub async fn save_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        self.save_identities(&[identity]).await
    }

    /// The same for several remote records, each of them once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when any of them is linked to another record.
    pub async fn save_identities(&self, identities: &[&Identity]) -> Result<(), StoreError> {
        let row = |identity: &&Identity| {
            vec![
                ("connection_id", identity.connection_id.to_string().into()),
                ("entity", identity.entity.as_str().into()),
                ("remote_id", identity.remote_id.clone().into()),
                ("record_id", identity.record_id.clone().into()),
                ("state", codec::text(&identity.state).into()),
                ("remote_version", identity.remote_version.clone().into()),
                ("first_seen_at", identity.last_seen_at.micros().into()),
                ("last_seen_at", identity.last_seen_at.micros().into()),
            ]
        };
        let seen_again = " ON CONFLICT (connection_id, entity, remote_id) DO UPDATE SET \
                          remote_version = excluded.remote_version, last_seen_at = excluded.last_seen_at \
                          WHERE identities.record_id = excluded.record_id";
        let wanted = u64::try_from(identities.len()).unwrap_or(u64::MAX);
        let rows = identities.iter().map(row).collect();
        let touched = self.connection().insert("identities", rows, seen_again).await?;
        if touched < wanted { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
