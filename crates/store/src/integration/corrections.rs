//! What persons corrected of what failed: each correction with what was there before.

use crosstie_domain::{
    access::{Principal, RowScope},
    ids::CorrectionId,
    integration::CorrectionRecord,
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks, pipeline::texts};

#[derive(FromQueryResult)]
struct CorrectionRow {
    id: String,
    subject_id: String,
    was: String,
    became: String,
    actor: String,
    reason: Option<String>,
    corrected_at: i64,
}

impl TryFrom<CorrectionRow> for CorrectionRecord {
    type Error = StoreError;

    fn try_from(row: CorrectionRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("corrections.id", &row.id)?,
            subject_id: row.subject_id,
            was: row.was,
            became: row.became,
            actor: row.actor,
            reason: row.reason,
            corrected_at: codec::instant("corrections.corrected_at", row.corrected_at)?,
        })
    }
}

async fn find(db: &impl Reads, column: &str, keys: Vec<String>) -> Result<Vec<CorrectionRecord>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM corrections WHERE {column} IN ({}) ORDER BY id", marks(1, keys.len()));
    let rows: Vec<CorrectionRow> = db.connection().all(&sql, keys.into_iter().map(Into::into).collect()).await?;
    rows.into_iter().map(CorrectionRecord::try_from).collect()
}

/// What was corrected of these, the first correction first. They were found under the scope.
///
/// # Errors
/// As the database.
pub async fn corrections_of(
    db: &impl Reads,
    _found_under: &RowScope,
    subjects: &[String],
) -> Result<Vec<CorrectionRecord>, StoreError> {
    find(db, "subject_id", subjects.to_vec()).await
}

/// The corrections with these identifiers, to which what was found under the scope refers.
///
/// # Errors
/// As the database.
pub async fn corrections_by_ids(
    db: &impl Reads,
    _found_under: &RowScope,
    ids: &[CorrectionId],
) -> Result<Vec<CorrectionRecord>, StoreError> {
    find(db, "id", texts(ids)).await
}

impl Tx {
    /// Writes a correction down. Returns its identifier.
    ///
    /// # Errors
    /// As the database.
    pub async fn append_correction(
        &self,
        subject: &str,
        (was, became): (&str, &str),
        (actor, reason): (Principal, Option<&str>),
    ) -> Result<CorrectionId, StoreError> {
        let id: CorrectionId = self.new_id();
        let row = vec![
            ("id", id.to_string().into()),
            ("subject_id", subject.into()),
            ("was", was.into()),
            ("became", became.into()),
            ("actor", actor.to_string().into()),
            ("reason", reason.map(str::to_owned).into()),
            ("corrected_at", self.now().micros().into()),
        ];
        self.connection().insert("corrections", vec![row], "").await?;
        Ok(id)
    }
}
