//! How much connections take in by webhook, how much waits, and how much was turned away.

use std::collections::HashMap;

use crosstie_domain::{
    ids::ConnectionId,
    integration::{InboundLimits, InboundPressure},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks, pipeline::texts};

#[derive(FromQueryResult)]
struct PressureRow {
    connection_id: String,
    per_second: i32,
    burst: i32,
    backlog: i32,
    turned_away: i64,
    turned_away_at: Option<i64>,
}

#[derive(FromQueryResult)]
struct BacklogRow {
    connection_id: String,
    waiting: i64,
}

fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// Events of each of these connections that wait to be read; those without any are left out.
///
/// # Errors
/// As the database.
pub async fn inbound_backlogs(
    db: &impl Reads,
    connections: &[ConnectionId],
) -> Result<HashMap<ConnectionId, i64>, StoreError> {
    if connections.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT connection_id, COUNT(*) AS waiting FROM inbound_events WHERE next_attempt_at IS NOT NULL \
         AND connection_id IN ({}) GROUP BY connection_id",
        marks(1, connections.len())
    );
    let values = texts(connections).into_iter().map(Into::into).collect();
    let rows: Vec<BacklogRow> = db.connection().all(&sql, values).await?;
    let read = |row: BacklogRow| Ok((codec::id("inbound_events.connection_id", &row.connection_id)?, row.waiting));
    rows.into_iter().map(read).collect()
}

/// How much each of these connections takes in by webhook, and how much was turned away.
///
/// # Errors
/// As the database.
pub async fn inbound_pressure_of(
    db: &impl Reads,
    connections: &[ConnectionId],
) -> Result<Vec<InboundPressure>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let backlogs = inbound_backlogs(db, connections).await?;
    let sql = format!("SELECT * FROM connection_inbound WHERE connection_id IN ({})", marks(1, connections.len()));
    let values = texts(connections).into_iter().map(Into::into).collect();
    let rows: Vec<PressureRow> = db.connection().all(&sql, values).await?;
    let read = |row: PressureRow| {
        let (per_second, burst, backlog) = (number(row.per_second), number(row.burst), number(row.backlog));
        let connection_id = codec::id("connection_inbound.connection_id", &row.connection_id)?;
        Ok(InboundPressure {
            connection_id,
            limits: InboundLimits { per_second, burst, backlog },
            backlog: backlogs.get(&connection_id).copied().unwrap_or(0),
            turned_away: row.turned_away,
            turned_away_at: codec::instant_opt("connection_inbound.turned_away_at", row.turned_away_at)?,
        })
    };
    rows.into_iter().map(read).collect()
}

impl Tx {
    /// Writes down how much a connection takes in by webhook.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_inbound_limits(&self, connection: ConnectionId, limits: InboundLimits) -> Result<(), StoreError> {
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let sql = "INSERT INTO connection_inbound (connection_id, per_second, burst, backlog, turned_away) \
                   VALUES ($1, $2, $3, $4, 0) ON CONFLICT (connection_id) DO UPDATE SET \
                   per_second = excluded.per_second, burst = excluded.burst, backlog = excluded.backlog";
        let values = vec![
            connection.to_string().into(),
            number(limits.per_second).into(),
            number(limits.burst).into(),
            number(limits.backlog).into(),
        ];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// Counts deliveries that were turned away.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_turned_away(&self, connection: ConnectionId, deliveries: i64) -> Result<(), StoreError> {
        let sql = "UPDATE connection_inbound SET turned_away = turned_away + $1, turned_away_at = $2 \
                   WHERE connection_id = $3";
        let values = vec![deliveries.into(), self.now().micros().into(), connection.to_string().into()];
        self.connection().run(sql, values).await.map(|_| ())
    }
}
