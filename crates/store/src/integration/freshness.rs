//! Freshness: how old the newest proof is that a kind of record of a system was read whole.

use crosstie_domain::{
    Instant,
    ids::ConnectionId,
    integration::{BackfillStatus, Entity, Freshness, RunTrigger},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks, pipeline::texts};

#[derive(FromQueryResult)]
struct FreshnessRow {
    connection_id: String,
    entity: String,
    objective_seconds: i64,
    since: i64,
    watermark: Option<i64>,
    loading: i64,
    paused_at: Option<i64>,
}

/// How fresh each kind of record of these connections is at a moment, in the order of the kinds. While a first load
/// walks through what was there before, nothing is proven yet.
///
/// # Errors
/// As the database.
pub async fn freshness_of(
    db: &impl Reads,
    now: Instant,
    connections: &[ConnectionId],
) -> Result<Vec<Freshness>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let count = connections.len();
    let sql = format!(
        "SELECT f.connection_id, f.entity, f.objective_seconds, f.since, c.watermark, \
         (SELECT COUNT(*) FROM backfills b WHERE b.connection_id = f.connection_id AND b.entity = f.entity \
         AND b.run_trigger = ${} AND b.status NOT IN (${}, ${})) AS loading, \
         (SELECT MIN(p.paused_at) FROM connection_pauses p WHERE p.connection_id = f.connection_id \
         AND p.what = 'READING' AND p.resumed_at IS NULL) AS paused_at FROM freshness_objectives f LEFT JOIN cursors c ON c.connection_id = f.connection_id AND c.entity = f.entity \
         WHERE f.connection_id IN ({}) ORDER BY f.connection_id, f.entity",
        count + 1,
        count + 2,
        count + 3,
        marks(1, count)
    );
    let mut values: Vec<sea_orm::Value> = texts(connections).into_iter().map(Into::into).collect();
    values.push(codec::text(&RunTrigger::Backfill).into());
    values.push(codec::text(&BackfillStatus::Succeeded).into());
    values.push(codec::text(&BackfillStatus::Cancelled).into());
    let rows: Vec<FreshnessRow> = db.connection().all(&sql, values).await?;
    rows.into_iter().map(|row| freshness(row, now)).collect()
}

fn freshness(row: FreshnessRow, now: Instant) -> Result<Freshness, StoreError> {
    let watermark = codec::instant_opt("cursors.watermark", row.watermark)?.filter(|_| row.loading == 0);
    let since = codec::instant("freshness_objectives.since", row.since)?;
    let age = |at: Instant| now.ms_since(at).max(0) / 1_000;
    Ok(Freshness {
        connection_id: codec::id("freshness_objectives.connection_id", &row.connection_id)?,
        entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "freshness_objectives.entity" })?,
        watermark,
        age_seconds: watermark.map(age),
        objective_seconds: row.objective_seconds,
        paused_at: codec::instant_opt("connection_pauses.paused_at", row.paused_at)?,
        late: age(watermark.unwrap_or(since)) > row.objective_seconds,
    })
}

impl Tx {
    /// Writes down how old the proof for a kind of record may be.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_freshness_objective(
        &self,
        connection: ConnectionId,
        entity: Entity,
        seconds: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO freshness_objectives (connection_id, entity, objective_seconds, since) \
                   VALUES ($1, $2, $3, $4) ON CONFLICT (connection_id, entity) DO UPDATE SET \
                   objective_seconds = excluded.objective_seconds";
        let values =
            vec![connection.to_string().into(), entity.as_str().into(), seconds.into(), self.now().micros().into()];
        self.connection().run(sql, values).await.map(|_| ())
    }
}
