//! Erasures of persons, and the values that must not come back.

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ErasureId,
    integration::erasure::{ErasedBy, ErasedValue, ErasureRecord, ErasureStatus},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::marks, page, pipeline::texts,
};

/// What erasures are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureColumn {
    /// Identifier; later erasures have larger ones.
    Id,
    /// Status.
    Status,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ErasureRow {
    id: String,
    status: String,
    actor: String,
    reason: String,
    emails: i32,
    names: i32,
    pass: i32,
    at_table: Option<String>,
    at_key: Option<String>,
    rows_seen: i64,
    rows_in_pass: i64,
    rows_erased: i64,
    places: String,
    created_at: i64,
    finished_at: Option<i64>,
    lifted_at: Option<i64>,
    lifted_by: Option<String>,
}

impl Listed for ErasureRecord {
    type Column = ErasureColumn;
    type Row = ErasureRow;
    const SELECT: &'static str = "erasures.*";
    const FROM: &'static str = "erasures";
    const ID: &'static str = "erasures.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: ErasureColumn) -> Expression {
        match column {
            ErasureColumn::Id => Expression::Required("erasures.id"),
            ErasureColumn::Status => Expression::Required("erasures.status"),
        }
    }

    fn record(row: ErasureRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("erasures.id", &row.id)?,
            status: codec::word("erasures.status", row.status)?,
            requested_by: row.actor,
            reason: row.reason,
            emails: row.emails,
            names: row.names,
            pass: row.pass,
            at_table: row.at_table,
            at_key: row.at_key.map(|key| codec::json("erasures.at_key", &key)).transpose()?,
            rows_seen: row.rows_seen,
            rows_in_pass: row.rows_in_pass,
            rows_erased: row.rows_erased,
            places: codec::json("erasures.places", &row.places)?,
            created_at: codec::instant("erasures.created_at", row.created_at)?,
            finished_at: codec::instant_opt("erasures.finished_at", row.finished_at)?,
            lifted_at: codec::instant_opt("erasures.lifted_at", row.lifted_at)?,
            lifted_by: row.lifted_by,
        })
    }

    fn key(&self, column: ErasureColumn) -> Json {
        match column {
            ErasureColumn::Id => json!(self.id.to_string()),
            ErasureColumn::Status => json!(codec::text(&self.status)),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of erasures.
///
/// # Errors
/// As the database.
pub async fn erasures(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ErasureColumn>,
) -> Result<PageResult<ErasureRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The erasures with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn erasures_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ErasureId],
) -> Result<Vec<ErasureRecord>, StoreError> {
    page::by_ids(db, scope, "erasures.id", &texts(ids)).await
}

/// The erasures that are not done, the first first.
///
/// # Errors
/// As the database.
pub async fn open_erasures(db: &impl Reads) -> Result<Vec<ErasureRecord>, StoreError> {
    let sql = "SELECT * FROM erasures WHERE finished_at IS NULL ORDER BY id LIMIT 100";
    let rows: Vec<ErasureRow> = db.connection().all(sql, vec![]).await?;
    rows.into_iter().map(ErasureRecord::record).collect()
}

/// The key that erased values are marked with.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct ErasureKey {
    /// The key, in hexadecimal.
    pub key_hex: String,
    /// Rises whenever what is erased changes.
    pub generation: i64,
}

/// The key that erased values are marked with; none before the first erasure.
///
/// # Errors
/// As the database.
pub async fn erasure_key(db: &impl Reads) -> Result<Option<ErasureKey>, StoreError> {
    db.connection().one("SELECT key_hex, generation FROM erasure_keys WHERE id = 1", vec![]).await
}

#[derive(FromQueryResult)]
struct ValueRow {
    value_hash: String,
    erasure_id: String,
    words: i32,
    letters: i32,
}

/// The values that must not be kept.
///
/// # Errors
/// As the database.
pub async fn erased_values(db: &impl Reads) -> Result<Vec<ErasedValue>, StoreError> {
    let sql = "SELECT value_hash, erasure_id, words, letters FROM erased_values WHERE lifted_at IS NULL";
    let rows: Vec<ValueRow> = db.connection().all(sql, vec![]).await?;
    let read = |row: ValueRow| {
        let ValueRow { value_hash: hash, erasure_id, words, letters } = row;
        Ok(ErasedValue { hash, erasure: codec::id("erased_values.erasure_id", &erasure_id)?, words, letters })
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromQueryResult)]
struct ByRow {
    value_hash: String,
    erased_at: i64,
    actor: String,
}

/// When and by whom the values behind these marks were erased.
///
/// # Errors
/// As the database.
pub async fn erased_by(db: &impl Reads, hashes: &[String]) -> Result<Vec<ErasedBy>, StoreError> {
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT v.value_hash, v.erased_at, e.actor FROM erased_values v JOIN erasures e ON e.id = v.erasure_id \
         WHERE v.value_hash IN ({})",
        marks(1, hashes.len())
    );
    let rows: Vec<ByRow> = db.connection().all(&sql, hashes.iter().map(|hash| hash.clone().into()).collect()).await?;
    let read = |row: ByRow| {
        let at = codec::instant("erased_values.erased_at", row.erased_at)?;
        Ok(ErasedBy { hash: row.value_hash, at, by: row.actor })
    };
    rows.into_iter().map(read).collect()
}

impl Tx {
    /// The key that erased values are marked with; this one when there is none yet. Whoever had it before goes on
    /// with what is erased as it was then, and looks again in its next transaction.
    ///
    /// # Errors
    /// As the database.
    pub async fn next_erasure_key(&self, new_key_hex: &str) -> Result<ErasureKey, StoreError> {
        let sql = "INSERT INTO erasure_keys (id, key_hex, generation, created_at) VALUES (1, $1, 1, $2) \
                   ON CONFLICT (id) DO UPDATE SET generation = erasure_keys.generation + 1";
        self.connection().run(sql, vec![new_key_hex.into(), self.now().micros().into()]).await?;
        erasure_key(self).await?.ok_or(StoreError::Corrupt { column: "erasure_keys.id" })
    }

    /// Keeps values from coming back.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_erased_values(&self, values: &[ErasedValue]) -> Result<(), StoreError> {
        for value in values {
            let row = vec![
                ("value_hash", value.hash.clone().into()),
                ("erasure_id", value.erasure.to_string().into()),
                ("words", value.words.into()),
                ("letters", value.letters.into()),
                ("erased_at", self.now().micros().into()),
                ("lifted_at", Option::<i64>::None.into()),
            ];
            self.connection().save("erased_values", &["value_hash"], row, "").await?;
        }
        Ok(())
    }

    /// Lets the values of an erasure be kept again.
    ///
    /// # Errors
    /// As the database.
    pub async fn lift_erased_values(&self, erasure: ErasureId) -> Result<(), StoreError> {
        let sql = "UPDATE erased_values SET lifted_at = $1 WHERE erasure_id = $2 AND lifted_at IS NULL";
        self.connection().run(sql, vec![self.now().micros().into(), erasure.to_string().into()]).await.map(|_| ())
    }

    /// Saves an erasure and how far it came.
    ///
    /// # Errors
    /// As the database; [`StoreError::Conflict`] when it was done already and another state is to be saved.
    pub async fn save_erasure(&self, erasure: &ErasureRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", erasure.id.to_string().into()),
            ("status", codec::text(&erasure.status).into()),
            ("actor", erasure.requested_by.clone().into()),
            ("reason", erasure.reason.clone().into()),
            ("emails", erasure.emails.into()),
            ("names", erasure.names.into()),
            ("pass", erasure.pass.into()),
            ("at_table", erasure.at_table.clone().into()),
            ("at_key", erasure.at_key.as_ref().map(Json::to_string).into()),
            ("rows_seen", erasure.rows_seen.into()),
            ("rows_in_pass", erasure.rows_in_pass.into()),
            ("rows_erased", erasure.rows_erased.into()),
            ("places", codec::json_text(&erasure.places).into()),
            ("created_at", erasure.created_at.micros().into()),
            ("finished_at", erasure.finished_at.map(Instant::micros).into()),
            ("lifted_at", erasure.lifted_at.map(Instant::micros).into()),
            ("lifted_by", erasure.lifted_by.clone().into()),
        ];
        let when = match erasure.status {
            ErasureStatus::Done => "",
            ErasureStatus::Waiting | ErasureStatus::Running => "erasures.finished_at IS NULL",
        };
        let saved = self.connection().save("erasures", &["id"], row, when).await?;
        if saved == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
