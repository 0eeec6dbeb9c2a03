//! Rows that could not be mapped are mapped anew: when a release of their connector maps otherwise, and in replays.

use crosstie_app::AppError;
use crosstie_domain::{access::RowScope, integration::ParkedRowRecord};
use crosstie_sdk::{Fault, MappedRow};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, StoreError, Tx,
    integration::{ParkedColumn, ParkedRow, parked_rows, parked_rows_by_ids},
};
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    apply::{ApplyError, Because, ReadRow, UNSTORABLE, apply, reader},
    exchanges::Work,
    holds::Hold,
    inbox::describe,
    sweep::SWEEP_BRAKE,
};

/// Rows that are looked at in one step.
const ROWS: u32 = 200;
/// How often a row is read in one try, when something newer came by another way meanwhile.
const READINGS: usize = 2;

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
                if connection.mapping_label() == row.mapping_version || row.code == SWEEP_BRAKE {
                    continue;
                }
                // It is tried at another start, or when the mapping changes.
                if self.held_up(connection).await? != Hold::Free {
                    continue;
                }
                let id = row.id;
                let tell = async |_: &Tx, waits: Option<(String, String)>| {
                    match waits {
                        None => info!(row.id = %id, "a parked row was mapped by the new release"),
                        Some((code, _)) => warn!(row.id = %id, row.code = code, "a parked row still waits"),
                    }
                    Ok(())
                };
                Work::aside().on(self.map_again(connection, row, tell)).await?;
            }
        }
    }

    /// Maps a row again, as it is kept or as a person corrected it, and applies it in one commit with what `close` writes
    /// of it: nothing, or with which code and words it still waits.
    ///
    /// # Errors
    /// As the database; what the vendor did wrong is why it waits.
    pub(crate) async fn map_again(
        &self,
        connection: &Connection,
        parked: &ParkedRowRecord,
        close: impl AsyncFnOnce(&Tx, Option<(String, String)>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let because = parked.correction_id.map_or(Because::NewMapping, Because::Corrected);
        let mut read = self.row_again(connection, parked, !parked.was_seen_whole()).await;
        for _ in 0..READINGS {
            let row = match read {
                Ok(row) => row,
                Err(fault) => return self.not_mapped(&fault, close).await,
            };
            if let MappedRow::Bad { code, why, .. } = &row.row {
                return self.still_waits(parked, (code, why), close).await;
            }
            let tx = self.app.store().begin().await?;
            match apply(&self.app, &tx, connection, because, std::slice::from_ref(&row)).await {
                // Something newer came by another way meanwhile.
                Ok(applied) if applied.ask_again => read = self.row_again(connection, parked, true).await,
                Ok(applied) => {
                    let waits = parked_rows_by_ids(&tx, &RowScope::All, &[parked.id]).await?.pop();
                    let waits = waits.filter(|_| applied.parked > 0).map(|row| (row.code, row.message));
                    if waits.is_none() {
                        // A corrected row may have another id than the one that it waits under.
                        tx.unpark_row(parked.connection_id, parked.entity, &parked.remote_id).await?;
                    }
                    close(&tx, waits).await?;
                    return tx.commit().await;
                }
                Err(error) if error.is_poison() => {
                    drop(tx);
                    return self.still_waits(parked, (UNSTORABLE, &describe(&error)), close).await;
                }
                Err(ApplyError::App(AppError::Store(error))) => return Err(error),
                Err(ApplyError::Vendor(fault)) => read = Err(fault),
            }
        }
        self.not_mapped(&Fault::Stale, close).await
    }

    /// The row waits as it did: nothing was found out about it.
    async fn not_mapped(
        &self,
        fault: &Fault,
        close: impl AsyncFnOnce(&Tx, Option<(String, String)>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let tx = self.app.store().begin().await?;
        let erased = self.app.erased(&tx).await?;
        close(&tx, Some((fault.code().to_owned(), erased.masked(fault.to_string())))).await?;
        tx.commit().await
    }

    /// The row as it is kept, or as the vendor holds it now.
    async fn row_again(&self, connection: &Connection, parked: &ParkedRowRecord, ask: bool) -> Result<ReadRow, Fault> {
        let reader = reader(connection, parked.entity).ok_or(Fault::Unsupported)?;
        let (asked_at, row) = if ask {
            let now = self.app.store().now();
            (now, reader.read_one(&connection.net, &parked.remote_id).await?)
        } else {
            let raw = serde_json::from_str(&parked.raw).unwrap_or(Value::Null);
            (parked.last_seen_at, reader.map_raw(&connection.net.settings(), raw))
        };
        Ok(ReadRow { entity: parked.entity, row, asked_at, is_reference: false })
    }

    /// Notes why a row still waits, under the id that it waited under.
    async fn still_waits(
        &self,
        parked: &ParkedRowRecord,
        (code, why): (&str, &str),
        close: impl AsyncFnOnce(&Tx, Option<(String, String)>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let tx = self.app.store().begin().await?;
        let label = self.connections.get(parked.connection_id).map(|connection| connection.mapping_label());
        let row = ParkedRow {
            connection_id: parked.connection_id,
            entity: parked.entity,
            remote_id: parked.remote_id.clone(),
            code: code.to_owned(),
            message: why.to_owned(),
            raw: parked.raw.clone(),
            mapping_version: label.unwrap_or_else(|| parked.mapping_version.clone()),
        };
        self.app.park(&tx, row).await?;
        let erased = self.app.erased(&tx).await?;
        close(&tx, Some((code.to_owned(), erased.masked(why.to_owned())))).await?;
        tx.commit().await
    }
}
