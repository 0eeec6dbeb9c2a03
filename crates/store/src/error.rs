//! What can go wrong with the database, named for what the caller can do.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The record was changed by somebody else: read it again.
    #[error("the record changed in the meantime")]
    Conflict,
    /// The database cannot be used now (down, locked, full, read-only). Nothing was kept; try again later.
    #[error("the database is not available")]
    Unavailable(#[source] DbErr),
    /// A statement failed for a reason that a retry does not mend.
    #[error("the database refused a statement")]
    Statement(#[source] DbErr),
    /// A row holds something that this release cannot read.
    #[error("unreadable value in column {column}")]
    Corrupt {
        /// Table and column.
        column: &'static str,
    },
    /// The hub is stopping.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether another transaction took what only one may have, a moment before.
    pub(crate) fn is_lost_race(&self) -> bool {
        let Self::Statement(error) = self else { return false };
        matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_unavailable(&error) { Self::Unavailable(error) } else { Self::Statement(error) }
    }
}

/// Down, locked, full and read-only are states of the database that pass; the rest are defects of a statement.
fn is_unavailable(error: &DbErr) -> bool {
    let runtime = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
        _ => return false,
    };
    let RuntimeErr::SqlxError(error) = runtime else { return true };
    match error.as_database_error().and_then(|error| error.code()) {
        // SQLite primary codes are the low byte: busy 5, locked 6, read-only 8, I/O 10, full 13, cannot open 14.
        Some(code) => match code.parse::<u32>() {
            Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6 | 8 | 10 | 13 | 14),
            // PostgreSQL classes: 08 connection, 25006 read-only, 40 rollback, 53 resources, 55 lock, 57 shutdown, 58 I/O.
            _ => code == "25006" || ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)),
        },
        None => true,
    }
}
