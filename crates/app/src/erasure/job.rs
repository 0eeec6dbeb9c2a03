//! Going through the database: each pass looks at every row that can hold something of a person, and the last pass finds
//! nothing.

use crosstie_domain::{
    access::Principal,
    integration::{
        AssertedField, Entity,
        erasure::{ErasedPlace, ErasureRecord, ErasureStatus, is_mark},
    },
};
use crosstie_store::{
    Change, Store, StoreError, Tx,
    integration::{
        Lease, PERSONAL_TABLES, PersonalRow, PersonalTable, SealedAssertion, look_for_personal, sealed_by_ids,
    },
};
use serde_json::Value;

use super::{ERASED, Erased};
use crate::{App, AppError};

/// Rows that are looked at for counting at once.
const COUNTED: i64 = 500;

/// How many rows of each table hold something that is to be erased.
pub(super) async fn count(store: &Store, erased: &Erased) -> Result<Vec<ErasedPlace>, StoreError> {
    let mut places = Vec::new();
    for table in PERSONAL_TABLES {
        let (mut after, mut rows) = (None, 0);
        loop {
            let looked = look_for_personal(store, table, (after.as_ref(), COUNTED), &|text| erased.mask(text)).await?;
            rows += i64::try_from(looked.found.len()).unwrap_or(0);
            if looked.rows < COUNTED {
                break;
            }
            after = looked.last;
        }
        if rows > 0 {
            places.push(ErasedPlace { table: table.name.to_owned(), rows });
        }
    }
    Ok(places)
}

impl App {
    /// Looks at the next so many rows of an erasure, and writes what is to stand there in one transaction with how far
    /// it came, as long as the lease is held. Returns the erasure as it stands then.
    ///
    /// # Errors
    /// As the database; [`StoreError::Conflict`] when another process took over.
    pub async fn erase_some(&self, lease: &Lease, job: &ErasureRecord, rows: i64) -> Result<ErasureRecord, AppError> {
        let erased = self.erased(self.store()).await?;
        let mut job = job.clone();
        job.status = ErasureStatus::Running;
        let first = PERSONAL_TABLES.first().ok_or(StoreError::Corrupt { column: "erasures.at_table" })?;
        let table = match &job.at_table {
            None => first,
            Some(name) => PersonalTable::named(name).ok_or(StoreError::Corrupt { column: "erasures.at_table" })?,
        };
        // Nobody waits behind the looking: only what was found is written in a transaction.
        let after = (job.at_key.as_ref(), rows);
        let looked = look_for_personal(self.store(), table, after, &|text| erased.mask(text)).await?;
        let tx = self.store().begin().await?;
        if !tx.holds_lease(lease).await? {
            return Err(StoreError::Conflict.into());
        }
        let found = i64::try_from(looked.found.len()).unwrap_or(0);
        let written = erase(&tx, table, looked.found, &erased).await?;
        job.rows_seen += looked.rows;
        job.count(table.name, written);
        // What could not be written now is found by the next pass.
        job.rows_in_pass += found - written;
        job.at_table = Some(table.name.to_owned());
        job.at_key = looked.last;
        if looked.rows < rows {
            job.at_key = None;
            match table.next() {
                Some(next) => job.at_table = Some(next.name.to_owned()),
                None if job.rows_in_pass > 0 => {
                    job.at_table = None;
                    job.rows_in_pass = 0;
                    job.pass += 1;
                }
                None => {
                    job.status = ErasureStatus::Done;
                    job.finished_at = Some(tx.now());
                }
            }
        }
        tx.save_erasure(&job).await?;
        tx.commit().await?;
        if job.finished_at.is_some() {
            self.store().empty_log().await?;
        }
        Ok(job)
    }
}

/// Writes what is to stand in rows of a table; how many were written.
async fn erase(
    tx: &Tx,
    table: &'static PersonalTable,
    mut found: Vec<PersonalRow>,
    erased: &Erased,
) -> Result<i64, AppError> {
    let ids = |rows: &[PersonalRow]| rows.iter().map(|row| row.id().to_owned()).collect::<Vec<_>>();
    let written = match table.name {
        "assertions" | "evidence" => return erase_lineage(tx, &ids(&found), erased).await,
        "outbox" => {
            let in_hand = tx.in_hand(&ids(&found)).await?;
            found.retain(|row| !in_hand.iter().any(|id| id == row.id()));
            let written = tx.erase_rows(table, &found).await?;
            let message = "What was to be sent names a person who was erased since.";
            tx.give_up_effects(&written, (ERASED, message)).await?;
            written
        }
        "persons" => {
            let written = tx.erase_rows(table, &found).await?;
            tx.revoke_tokens_of(&written).await?;
            written
        }
        _ => tx.erase_rows(table, &found).await?,
    };
    if let Some(entity) = table.record {
        publish(tx, entity, &written).await?;
    }
    Ok(i64::try_from(written.len()).unwrap_or(i64::MAX))
}

/// What subscribers hear: the record changed, as by any other change.
async fn publish(tx: &Tx, entity: Entity, ids: &[String]) -> Result<(), AppError> {
    let event = format!("{}_changed", entity.as_str());
    let versions = tx.versions_of(entity, ids).await?;
    let changes: Vec<Change<'_>> = versions
        .iter()
        .map(|(id, version)| Change { entity, id, event: &event, actor: Principal::System, version: *version })
        .collect();
    Ok(tx.publish(&changes).await?)
}

async fn erase_lineage(tx: &Tx, ids: &[String], erased: &Erased) -> Result<i64, AppError> {
    let mut written = 0;
    for was in sealed_by_ids(tx, ids).await? {
        let now = without(&was, erased);
        if now != was && tx.erase_assertion(&was, &now).await? {
            written += 1;
        }
    }
    Ok(written)
}

/// What is left of what was said, under a seal that verifies it still.
fn without(was: &SealedAssertion, erased: &Erased) -> SealedAssertion {
    let mut said = was.assertion.clone();
    said.remote_id = erased.masked(said.remote_id);
    said.remote_version = said.remote_version.map(|version| erased.masked(version));
    for field in said.fields.values_mut() {
        *field = clean_field(field, erased).unwrap_or_else(|| field.clone());
    }
    let raw = was.raw.clone().map(|raw| erased.masked(raw));
    let text = |raw: &Option<String>| raw.clone().unwrap_or_default();
    let sealed = was.sealed.as_ref().map(|(hash, seal)| {
        let seal = seal.erase((&was.assertion, &text(&was.raw)), (&said, &text(&raw)));
        (hash.clone(), seal)
    });
    SealedAssertion { assertion: said, raw, sealed }
}

/// A field without what was erased, with that as its problem; `None` when nothing of it is in there.
pub(super) fn clean_field(field: &AssertedField, erased: &Erased) -> Option<AssertedField> {
    let text = serde_json::to_string(field).ok()?;
    let mut now: AssertedField = serde_json::from_str(&erased.mask(&text)?).ok()?;
    now.problem = Some(ERASED.to_owned());
    Some(now)
}

/// Whether a value was erased as a whole.
pub(super) fn is_erased(value: &Value) -> bool {
    // A custom field says beside its value of which kind it is.
    let text = value.as_str().or_else(|| value.get("value").and_then(Value::as_str));
    text.is_some_and(is_mark)
}
