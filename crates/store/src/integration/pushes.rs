//! Which fields of other systems can be written, and which the hub keeps as it has them.

use crosstie_domain::{access::RowScope, ids::ConnectionId};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks};

/// What can be written at a connection, and what is. Fields are named like `account.name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushes {
    /// What its connector can write.
    pub writable: Vec<String>,
    /// What is written there whenever the hub shows another value.
    pub pushed: Vec<String>,
}

#[derive(FromQueryResult)]
struct PushesRow {
    connection_id: String,
    writable: String,
    pushed: String,
}

/// What can be written at these connections, and what is. They were found under the scope.
///
/// # Errors
/// As the database.
pub async fn pushes_of(
    db: &impl Reads,
    _found_under: &RowScope,
    connections: &[ConnectionId],
) -> Result<Vec<(ConnectionId, Pushes)>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM connection_pushes WHERE connection_id IN ({})", marks(1, connections.len()));
    let values = connections.iter().map(|id| id.to_string().into()).collect();
    let rows: Vec<PushesRow> = db.connection().all(&sql, values).await?;
    rows.into_iter()
        .map(|row| {
            let pushes = Pushes {
                writable: codec::json("connection_pushes.writable", &row.writable)?,
                pushed: codec::json("connection_pushes.pushed", &row.pushed)?,
            };
            Ok((codec::id("connection_pushes.connection_id", &row.connection_id)?, pushes))
        })
        .collect()
}

impl Tx {
    /// Saves what can be written at a connection, and what is.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_pushes(&self, connection: ConnectionId, pushes: &Pushes) -> Result<(), StoreError> {
        let row = vec![
            ("connection_id", connection.to_string().into()),
            ("writable", codec::json_text(&pushes.writable).into()),
            ("pushed", codec::json_text(&pushes.pushed).into()),
        ];
        self.connection().save("connection_pushes", &["connection_id"], row, "").await.map(|_| ())
    }
}
