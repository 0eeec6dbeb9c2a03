//! Erasures that are under way, worked on by one process at a time.

use std::{sync::Arc, time::Duration};

use crosstie_app::AppError;
use crosstie_domain::integration::{SyncRunRecord, erasure::ErasureRecord};
use crosstie_store::{
    StoreError, Tx,
    integration::{Lease, open_erasures},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    Engine,
    engine::after,
    heartbeat::{LEASE_MS, while_held},
};

/// Rows that are looked at at once.
const ROWS: i64 = 500;
/// The pause between, so that what people wait for goes first.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked for erasures.
const LOOK: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) async fn erasure_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // What is cut off here goes on at the next start, from the last commit.
            let erased = tokio::select! {
                () = stop.cancelled() => return,
                erased = self.erase() => erased,
            };
            let pause = match erased {
                Ok(true) => continue,
                Ok(false) => LOOK,
                Err(error) => after(&error, "a person cannot be erased"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Works on the erasures that are not done, to their end. Returns whether there were any that nobody else works on.
    ///
    /// # Errors
    /// As the database.
    pub async fn erase(&self) -> Result<bool, StoreError> {
        let store = self.app.store();
        let mut any = false;
        for job in open_erasures(store).await? {
            let (name, owner) = (format!("erasure:{}", job.id), format!("{}:{}", self.name, job.id));
            let Some(lease) = store.lease(&name, &owner, LEASE_MS).await? else { continue };
            let ended = while_held(self.erase_whole(&lease, job), || store.keep_lease(&lease, LEASE_MS)).await;
            store.release_lease(&lease).await?;
            match ended {
                Ok(()) => any = true,
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    /// Takes what was erased out of what a vendor said of why a run failed.
    pub(crate) async fn without_erased(&self, tx: &Tx, run: &mut SyncRunRecord) -> Result<(), StoreError> {
        if let Some(message) = run.error_message.take() {
            run.error_message = Some(self.app.erased(tx).await?.masked(message));
        }
        Ok(())
    }

    async fn erase_whole(&self, lease: &Lease, mut job: ErasureRecord) -> Result<(), StoreError> {
        while job.finished_at.is_none() {
            let pass = job.pass;
            job = self.app.erase_some(lease, &job, ROWS).await.map_err(|AppError::Store(error)| error)?;
            if job.pass > pass {
                // What was being written during the last pass is on disk by the next one.
                self.connections.exchanges().flush().await;
            }
            metrics::gauge!("crosstie_erasure_rows_seen")
                .set(f64::from(u32::try_from(job.rows_seen).unwrap_or(u32::MAX)));
            sleep(PAUSE).await;
        }
        metrics::counter!("crosstie_erasures_total").increment(1);
        info!(job.id = %job.id, job.rows = job.rows_erased, job.passes = job.pass, "a person was erased");
        Ok(())
    }
}
