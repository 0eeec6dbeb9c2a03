//! Rows that could not be mapped are mapped anew when a release of their connector maps otherwise.

use crosstie_domain::{access::RowScope, integration::ParkedRowRecord};
use crosstie_sdk::Fault;
use crosstie_store::{
    Condition, Direction, PageRequest, Span, StoreError,
    integration::{ParkedColumn, parked_rows},
};
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, ReadRow, apply_singly, reader},
    exchanges::{Cause, Work},
};

/// Rows that are looked at in one step.
const ROWS: u32 = 200;

impl Engine {
    /// Tries the parked rows of another release of their connector again, once: what still cannot be mapped waits
    /// under the present one.
    ///
    /// # Errors
    /// As the database.
    pub async fn retry_parked(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let request = PageRequest {
                condition: Condition::All(vec![]),
                order: vec![(ParkedColumn::Id, Direction::Ascending)],
                span: Span::First(ROWS, after.take()),
            };
            let page = parked_rows(self.app.store(), &RowScope::All, &request).await?;
            let Some((_, place)) = page.rows.last() else { return Ok(()) };
            after = Some(place.clone());
            for (row, _) in &page.rows {
                let Some(connection) = self.connections.get(row.connection_id) else { continue };
                if connection.mapping_label() == row.mapping_version {
                    continue;
                }
                let work = Work::of(Cause::default());
                match work.on(self.map_anew(connection, row)).await {
                    Ok(true) => info!(row.id = %row.id, "a parked row was mapped by the new release"),
                    Ok(false) => {}
                    Err(ApplyError::App(crosstie_app::AppError::Store(error))) => return Err(error),
                    Err(ApplyError::Vendor(fault)) => {
                        warn!(row.id = %row.id, error = %fault, "a parked row still waits")
                    }
                }
            }
        }
    }

    /// Returns whether nothing of the row waits any more.
    async fn map_anew(&self, connection: &Connection, parked: &ParkedRowRecord) -> Result<bool, ApplyError> {
        let Some(reader) = reader(connection, parked.entity) else { return Err(Fault::Unsupported.into()) };
        let raw = serde_json::from_str(&parked.raw).unwrap_or(Value::Null);
        // Of a row that was never seen whole there is nothing to map.
        let (asked_at, row) = if raw.is_null() {
            let now = self.app.store().now();
            match reader.read_one(&connection.net, &parked.remote_id).await {
                Ok(row) => (now, row),
                Err(fault) => return Err(fault.into()),
            }
        } else {
            (parked.last_seen_at, reader.map_raw(&connection.net.settings(), raw))
        };
        let row = ReadRow { entity: parked.entity, row, asked_at, is_reference: false };
        let mut applied = apply_singly(&self.app, connection, Because::NewMapping, &[row]).await?;
        if applied.ask_again {
            // Something newer came by another way meanwhile.
            let asked_at = self.app.store().now();
            let row = reader.read_one(&connection.net, &parked.remote_id).await?;
            let row = ReadRow { entity: parked.entity, row, asked_at, is_reference: false };
            applied = apply_singly(&self.app, connection, Because::NewMapping, &[row]).await?;
        }
        Ok(applied.parked == 0)
    }
}
