//! Whether what systems said still stands as it was written down, but for what was erased.

use crosstie_domain::ids::AssertionId;
use crosstie_store::integration::sealed_after;

use crate::{App, AppError};

/// Assertions that are verified at once.
const BATCH: i64 = 500;

/// What came of verifying lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineageVerified {
    /// Assertions that stand as they were written down, but for what was erased.
    pub verified: u64,
    /// Of them, those that something was erased from.
    pub erased: u64,
    /// Assertions from before there were seals: nothing can be said of them.
    pub unsealed: u64,
    /// Assertions that were changed, or whose evidence is missing.
    pub broken: Vec<AssertionId>,
}

impl App {
    /// Verifies all lineage by its seals.
    ///
    /// # Errors
    /// As the database.
    pub async fn verify_lineage(&self) -> Result<LineageVerified, AppError> {
        let (mut told, mut after) = (LineageVerified::default(), None);
        loop {
            let batch = sealed_after(self.store(), after, BATCH).await?;
            for one in &batch {
                match (&one.sealed, &one.raw) {
                    (None, _) => told.unsealed += 1,
                    (Some((hash, seal)), Some(raw)) if seal.hash(&one.assertion, raw) == *hash => {
                        told.verified += 1;
                        told.erased += u64::from(seal.erased() > 0);
                    }
                    _ => told.broken.push(one.assertion.id),
                }
            }
            after = batch.last().map(|one| one.assertion.id);
            if i64::try_from(batch.len()).unwrap_or(0) < BATCH {
                return Ok(told);
            }
        }
    }
}
