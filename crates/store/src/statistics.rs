//! What the database knows of the sizes of its tables.

use crate::{Reads, Store, StoreError};

/// The tables that fill while systems are read, and in which something is looked up for each page.
const FILLED: [&str; 8] = [
    "accounts",
    "opportunities",
    "invoices",
    "invoice_lines",
    "remote_documents",
    "identities",
    "record_fields",
    // Of wide rows the columns alone by which they are found.
    "assertions (id, record_id, connection_id, remote_id, observed_at)",
];

impl Store {
    /// Lets PostgreSQL count what is in tables that fill while systems are read. It plans by what it counted last,
    /// and does so by itself after a minute or more: until then a table that was empty is looked through from end to end
    /// for each page. SQLite plans without.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_anew(&self) -> Result<(), StoreError> {
        if self.is_sqlite() {
            return Ok(());
        }
        let tx = self.begin().await?;
        // A tenth of the usual sample: it must not cost what it saves.
        tx.connection().run("SET LOCAL default_statistics_target = 10", vec![]).await?;
        tx.connection().run(&format!("ANALYZE {}", FILLED.join(", ")), vec![]).await?;
        tx.commit().await
    }
}
