//! Mappings that change while the hub runs: every process takes up the new one, and history is mapped anew.

use std::{sync::Arc, time::Duration};

use crosstie_app::AppError;
use crosstie_domain::integration::RemapRecord;
use crosstie_store::{
    StoreError,
    integration::{Lease, connection_states, open_remaps},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    Engine,
    engine::after,
    heartbeat::{LEASE_MS, while_held},
    inbox::describe,
};

/// Rows that are mapped anew in one transaction.
const ROWS: i64 = 100;
/// The pause between two such transactions, so that what people wait for goes first.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a process looks for mappings that were saved since.
const LOOK: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) async fn mapping_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.take_up_mappings().await {
                Ok(()) => LOOK,
                Err(error) => after(&error, "mappings cannot be looked for"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    pub(crate) async fn remap_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // What is cut off here goes on at the next start, from the last commit.
            let remapped = tokio::select! {
                () = stop.cancelled() => return,
                remapped = self.remap() => remapped,
            };
            let pause = match remapped {
                Ok(true) => continue,
                Ok(false) => LOOK,
                Err(error) => after(&error, "history cannot be mapped anew"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes up mappings that were saved since, in this process.
    ///
    /// # Errors
    /// As the database.
    pub async fn take_up_mappings(&self) -> Result<(), StoreError> {
        for (id, state) in connection_states(self.app.store()).await? {
            let Some(connection) = self.connections.get(id) else { continue };
            if connection.mapping_version() != state.mapping_version {
                let since = Some(self.app.store().now());
                connection.take_up_from(self.app.store(), (state.mapping_version, since)).await?;
            }
        }
        Ok(())
    }

    /// Maps history anew where that was asked for, to the end. Returns whether anything was done.
    ///
    /// # Errors
    /// As the database.
    pub async fn remap(&self) -> Result<bool, StoreError> {
        let store = self.app.store();
        let mut any = false;
        for job in open_remaps(store).await? {
            if self.connections.get(job.connection_id).is_none() {
                continue;
            }
            let name = format!("remap:{}", job.connection_id);
            let owner = format!("{}:{}", self.name, job.id);
            let Some(lease) = store.lease(&name, &owner, LEASE_MS).await? else { continue };
            let ended = while_held(self.remap_whole(&lease, job), || store.keep_lease(&lease, LEASE_MS)).await;
            store.release_lease(&lease).await?;
            match ended {
                Ok(()) => any = true,
                // Another one took its place, or another process has it.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    async fn remap_whole(&self, lease: &Lease, job: RemapRecord) -> Result<(), StoreError> {
        let mut job = job;
        while job.finished_at.is_none() {
            job = match self.app.remap_some(lease, &job, ROWS).await {
                Ok(job) => job,
                Err(AppError::Store(error @ (StoreError::Statement(_) | StoreError::Corrupt { .. }))) => {
                    error!(job.id = %job.id, error = %describe(&error), "rows cannot be mapped anew together");
                    self.remap_singly(lease, job).await?
                }
                Err(AppError::Store(error)) => return Err(error),
            };
            sleep(PAUSE).await;
        }
        info!(
            job.id = %job.id, job.rows = job.rows_seen, job.changed = job.rows_changed, job.parked = job.rows_parked,
            job.skipped = job.rows_skipped, "history was mapped anew"
        );
        self.retry_parked().await
    }

    /// The next rows one at a time; one that the database does not take is passed over.
    async fn remap_singly(&self, lease: &Lease, mut job: RemapRecord) -> Result<RemapRecord, StoreError> {
        for _ in 0..ROWS {
            job = match self.app.remap_some(lease, &job, 1).await {
                Ok(job) if job.finished_at.is_some() => return Ok(job),
                Ok(job) => job,
                Err(AppError::Store(StoreError::Statement(_) | StoreError::Corrupt { .. })) => {
                    self.app.remap_pass_over(lease, &job).await.map_err(|AppError::Store(error)| error)?
                }
                Err(AppError::Store(error)) => return Err(error),
            };
        }
        Ok(job)
    }
}
