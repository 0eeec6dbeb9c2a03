//! What the database knows of the sizes of its tables.

use crate::{Reads, Store, StoreError};

/// The tables that fill while systems are read.
const FILLED: [&str; 12] = [
    "accounts",
    "opportunities",
    "invoices",
    "invoice_lines",
    "remote_documents",
    "identities",
    "record_fields",
    "assertions",
    "evidence",
    "domain_events",
    "outbox",
    "outbox_unplaced",
];

impl Store {
    /// Lets PostgreSQL count what is in the tables that fill while systems are read. It plans by what it counted last,
    /// and does so by itself after a minute or more: until then a table that was empty is looked through from end to end
    /// for each page. SQLite plans without.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_anew(&self) -> Result<(), StoreError> {
        let connection = self.connection();
        if connection.is_postgres() {
            connection.run(&format!("ANALYZE {}", FILLED.join(", ")), vec![]).await?;
        }
        Ok(())
    }
}
