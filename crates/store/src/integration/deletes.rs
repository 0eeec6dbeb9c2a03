//! Claims that a record of another system is gone, each with its evidence. Nothing is removed: a claim can be withdrawn.

use std::collections::HashMap;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{ConnectionId, DeleteClaimId, InboundEventId},
    integration::{DeleteClaimRecord, Entity},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts, texts::Texts,
};

/// What claims are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteClaimColumn {
    /// Identifier; later claims have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// What says so.
    Evidence,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct DeleteClaimRow {
    id: String,
    connection_id: String,
    entity: String,
    remote_id: String,
    record_id: String,
    evidence: String,
    inbound_event_id: Option<String>,
    run_id: Option<String>,
    sweep_id: Option<String>,
    merged_into: Option<String>,
    claimed_at: i64,
    withdrawn_at: Option<i64>,
}

impl Listed for DeleteClaimRecord {
    type Column = DeleteClaimColumn;
    type Row = DeleteClaimRow;
    const SELECT: &'static str = "delete_claims.*";
    const FROM: &'static str = "delete_claims";
    const ID: &'static str = "delete_claims.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: DeleteClaimColumn) -> Expression {
        match column {
            DeleteClaimColumn::Id => Expression::Required("delete_claims.id"),
            DeleteClaimColumn::Connection => Expression::Required("delete_claims.connection_id"),
            DeleteClaimColumn::Entity => Expression::Required("delete_claims.entity"),
            DeleteClaimColumn::Evidence => Expression::Required("delete_claims.evidence"),
        }
    }

    fn record(row: DeleteClaimRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("delete_claims.id", &row.id)?,
            connection_id: codec::id("delete_claims.connection_id", &row.connection_id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "delete_claims.entity" })?,
            remote_id: row.remote_id,
            record_id: row.record_id,
            evidence: codec::word("delete_claims.evidence", row.evidence)?,
            inbound_event_id: codec::id_opt("delete_claims.inbound_event_id", row.inbound_event_id.as_deref())?,
            run_id: codec::id_opt("delete_claims.run_id", row.run_id.as_deref())?,
            sweep_id: codec::id_opt("delete_claims.sweep_id", row.sweep_id.as_deref())?,
            merged_into: row.merged_into,
            claimed_at: codec::instant("delete_claims.claimed_at", row.claimed_at)?,
            withdrawn_at: codec::instant_opt("delete_claims.withdrawn_at", row.withdrawn_at)?,
        })
    }

    fn key(&self, column: DeleteClaimColumn) -> Json {
        match column {
            DeleteClaimColumn::Id => json!(self.id.to_string()),
            DeleteClaimColumn::Connection => json!(self.connection_id.to_string()),
            DeleteClaimColumn::Entity => json!(self.entity.as_str()),
            DeleteClaimColumn::Evidence => json!(codec::text(&self.evidence)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of claims.
///
/// # Errors
/// As the database.
pub async fn delete_claims(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<DeleteClaimColumn>,
) -> Result<PageResult<DeleteClaimRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The claims with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn delete_claims_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[DeleteClaimId],
) -> Result<Vec<DeleteClaimRecord>, StoreError> {
    page::by_ids(db, scope, "delete_claims.id", &texts(ids)).await
}

#[derive(FromQueryResult)]
struct GoneRow {
    remote_id: String,
    deleted_at: Option<i64>,
}

/// Which of these remote records are claimed to be gone, and since when.
///
/// # Errors
/// As the database.
pub async fn gone_among(
    db: &impl Reads,
    connection: ConnectionId,
    entity: Entity,
    remote_ids: &[&str],
) -> Result<HashMap<String, Instant>, StoreError> {
    // The index holds those alone that are gone, of which there are few.
    let sql = |ids: Texts| {
        format!(
            "SELECT remote_id, deleted_at FROM identities WHERE connection_id = $1 AND entity = $2 \
             AND deleted_at IS NOT NULL AND {}",
            ids.among("remote_id")
        )
    };
    let first = [connection.to_string().into(), entity.as_str().into()];
    let rows: Vec<GoneRow> = db.connection().all_among(&first, remote_ids, sql).await?;
    let mut gone = HashMap::new();
    for row in rows {
        if let Some(at) = codec::instant_opt("identities.deleted_at", row.deleted_at)? {
            gone.insert(row.remote_id, at);
        }
    }
    Ok(gone)
}

/// Since when a remote record is claimed to be gone; `None` while it is there, or when it is not known.
///
/// # Errors
/// As the database.
pub async fn gone_since(
    db: &impl Reads,
    connection: ConnectionId,
    entity: Entity,
    remote_id: &str,
) -> Result<Option<Instant>, StoreError> {
    let sql =
        "SELECT remote_id, deleted_at FROM identities WHERE connection_id = $1 AND entity = $2 AND remote_id = $3";
    let values = vec![connection.to_string().into(), entity.as_str().into(), remote_id.into()];
    let row: Option<GoneRow> = db.connection().one(sql, values).await?;
    codec::instant_opt("identities.deleted_at", row.and_then(|row| row.deleted_at))
}

#[derive(FromQueryResult)]
struct HolderRow {
    connection_id: String,
    deleted_at: Option<i64>,
}

/// The connections that know a record, each with whether they still have it.
///
/// # Errors
/// As the database.
pub async fn holders_of(db: &impl Reads, record: &str) -> Result<Vec<(ConnectionId, bool)>, StoreError> {
    let sql = "SELECT connection_id, deleted_at FROM identities WHERE record_id = $1 ORDER BY connection_id, remote_id";
    let rows: Vec<HolderRow> = db.connection().all(sql, vec![record.into()]).await?;
    let holder =
        |row: HolderRow| Ok((codec::id("identities.connection_id", &row.connection_id)?, row.deleted_at.is_none()));
    rows.into_iter().map(holder).collect()
}

impl Tx {
    /// Writes down that a remote record is claimed to be gone.
    ///
    /// # Errors
    /// As the database.
    pub async fn claim_deleted(&self, claim: &DeleteClaimRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", claim.id.to_string().into()),
            ("connection_id", claim.connection_id.to_string().into()),
            ("entity", claim.entity.as_str().into()),
            ("remote_id", claim.remote_id.clone().into()),
            ("record_id", claim.record_id.clone().into()),
            ("evidence", codec::text(&claim.evidence).into()),
            ("inbound_event_id", claim.inbound_event_id.map(|id| id.to_string()).into()),
            ("run_id", claim.run_id.map(|id| id.to_string()).into()),
            ("sweep_id", claim.sweep_id.map(|id| id.to_string()).into()),
            ("merged_into", claim.merged_into.clone().into()),
            ("claimed_at", claim.claimed_at.micros().into()),
        ];
        self.connection().insert("delete_claims", vec![row], "").await?;
        self.set_gone(claim.connection_id, claim.entity, &claim.remote_id, Some(claim.claimed_at)).await
    }

    /// Withdraws the claims that a remote record is gone, because it is there.
    ///
    /// # Errors
    /// As the database.
    pub async fn withdraw_deletes(
        &self,
        connection: ConnectionId,
        entity: Entity,
        remote_id: &str,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE delete_claims SET withdrawn_at = $1 WHERE connection_id = $2 AND entity = $3 \
                   AND remote_id = $4 AND withdrawn_at IS NULL";
        let values =
            vec![self.now().micros().into(), connection.to_string().into(), entity.as_str().into(), remote_id.into()];
        self.connection().run(sql, values).await?;
        self.set_gone(connection, entity, remote_id, None).await
    }

    /// Lets a remote record's id, which was merged into another, lead to that one's record.
    ///
    /// # Errors
    /// As the database.
    pub async fn point_identity(
        &self,
        (connection, entity, remote_id): (ConnectionId, Entity, &str),
        record: &str,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE identities SET record_id = $1, state = 'merged' WHERE connection_id = $2 AND entity = $3 \
                   AND remote_id = $4";
        let values = vec![record.into(), connection.to_string().into(), entity.as_str().into(), remote_id.into()];
        self.connection().run(sql, values).await.map(|_| ())
    }

    async fn set_gone(
        &self,
        connection: ConnectionId,
        entity: Entity,
        remote_id: &str,
        at: Option<Instant>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE identities SET deleted_at = $1 WHERE connection_id = $2 AND entity = $3 AND remote_id = $4";
        let values = vec![
            at.map(Instant::micros).into(),
            connection.to_string().into(),
            entity.as_str().into(),
            remote_id.into(),
        ];
        self.connection().run(sql, values).await.map(|_| ())
    }
}

#[derive(FromQueryResult)]
struct EventRow {
    event_type: String,
    error_code: Option<String>,
}

/// What the sender calls an event, and why its last try did not go well.
///
/// # Errors
/// As the database.
pub async fn event_history(
    db: &impl Reads,
    event: InboundEventId,
) -> Result<Option<(String, Option<String>)>, StoreError> {
    let sql = "SELECT event_type, error_code FROM inbound_events WHERE id = $1";
    let row: Option<EventRow> = db.connection().one(sql, vec![event.to_string().into()]).await?;
    Ok(row.map(|row| (row.event_type, row.error_code)))
}
