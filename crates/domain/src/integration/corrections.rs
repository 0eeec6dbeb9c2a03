//! What a person corrected of something that failed, kept beside the original.

use async_graphql::SimpleObject;

use crate::{ids::CorrectionId, time::Instant};

/// What a person corrected of something that failed. What was there before is kept with it.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "CorrectionRecord")]
pub struct CorrectionRecord {
    /// Identifies the correction.
    #[graphql(skip)]
    pub id: CorrectionId,
    /// The parked row, inbound event or effect that was corrected.
    #[graphql(skip)]
    pub subject_id: String,
    /// What was there before, as JSON.
    #[graphql(skip)]
    pub was: String,
    /// What is there since, as JSON.
    #[graphql(skip)]
    pub became: String,
    /// Who did it, as principals are written.
    pub actor: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// When.
    pub corrected_at: Instant,
}
