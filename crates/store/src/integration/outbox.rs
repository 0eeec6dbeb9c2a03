//! The outbox: insert-only, with gap-free positions that one leased relay gives after commit.

use crosstie_domain::{Instant, integration::Entity};
use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError, codec, integration::Lease, texts::Texts};

/// A change with its place in the one order that all subscribers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedChange {
    /// Its place: 1, 2, 3, without gaps.
    pub position: i64,
    /// The kind of record.
    pub entity: Entity,
    /// The record.
    pub id: String,
    /// What happened: `sow_signed`.
    pub event: String,
    /// When.
    pub occurred_at: Instant,
}

#[derive(FromQueryResult)]
struct ChangeRow {
    position: i64,
    aggregatetype: String,
    aggregateid: String,
    r#type: String,
    created_at: i64,
}

#[derive(FromQueryResult)]
struct PositionRow {
    position: Option<i64>,
}

/// The last position that was given; 0 when there is none.
///
/// # Errors
/// As the database.
pub async fn last_position(db: &impl Reads) -> Result<i64, StoreError> {
    let row: Option<PositionRow> =
        db.connection().one("SELECT MAX(position) AS position FROM outbox_positions", vec![]).await?;
    Ok(row.and_then(|row| row.position).unwrap_or(0))
}

/// The first position that is still kept; 0 when there is none. Changes before it are past their 90 days: who saw less
/// than the one before it last has missed some, and reads afresh.
///
/// # Errors
/// As the database.
pub async fn first_position(db: &impl Reads) -> Result<i64, StoreError> {
    let row: Option<PositionRow> =
        db.connection().one("SELECT MIN(position) AS position FROM outbox_positions", vec![]).await?;
    Ok(row.and_then(|row| row.position).unwrap_or(0))
}

/// The changes after a position, at most so many. The caller shows a subscriber only records that he may see.
///
/// # Errors
/// As the database.
pub async fn changes_after(db: &impl Reads, position: i64, limit: i64) -> Result<Vec<PlacedChange>, StoreError> {
    let sql = "SELECT p.position, o.aggregatetype, o.aggregateid, o.type, o.created_at FROM outbox_positions p \
               JOIN outbox o ON o.id = p.outbox_id WHERE p.position > $1 ORDER BY p.position LIMIT $2";
    let rows: Vec<ChangeRow> = db.connection().all(sql, vec![position.into(), limit.into()]).await?;
    rows.into_iter()
        .map(|row| {
            Ok(PlacedChange {
                position: row.position,
                entity: Entity::parse(&row.aggregatetype)
                    .ok_or(StoreError::Corrupt { column: "outbox.aggregatetype" })?,
                id: row.aggregateid,
                event: row.r#type,
                occurred_at: codec::instant("outbox.created_at", row.created_at)?,
            })
        })
        .collect()
}

#[derive(FromQueryResult)]
struct UnplacedRow {
    outbox_id: String,
}

impl Store {
    /// Gives positions to at most so many outbox rows that have none, in the order of their identifiers. Only the
    /// holder of the relay's lease may call it; a holder that lost it finds its fence outdated and places nothing.
    ///
    /// # Errors
    /// As the database.
    pub async fn place_outbox(&self, lease: &Lease, limit: i64) -> Result<usize, StoreError> {
        let waiting: Option<UnplacedRow> =
            self.connection().one("SELECT outbox_id FROM outbox_unplaced LIMIT 1", vec![]).await?;
        if waiting.is_none() {
            return Ok(0);
        }
        let tx = self.begin().await?;
        let db = tx.connection();
        if !tx.fence_lease(lease).await? {
            return Ok(0);
        }
        let sql = "SELECT outbox_id FROM outbox_unplaced ORDER BY outbox_id LIMIT $1";
        let rows: Vec<UnplacedRow> = db.all(sql, vec![limit.into()]).await?;
        let mut position = last_position(&tx).await?;
        let mut placed = Vec::new();
        for row in &rows {
            position += 1;
            placed.push(vec![("position", position.into()), ("outbox_id", row.outbox_id.clone().into())]);
        }
        db.insert("outbox_positions", placed, "").await?;
        let ids: Vec<&str> = rows.iter().map(|row| row.outbox_id.as_str()).collect();
        let sql = |ids: Texts| format!("DELETE FROM outbox_unplaced WHERE {}", ids.among("outbox_id"));
        db.run_among(&[], &ids, sql).await?;
        tx.commit().await?;
        Ok(rows.len())
    }
}
