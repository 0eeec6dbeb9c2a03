//! Lineage: who said what, append-only, one packed row for each version of a remote record.

use crosstie_domain::{
    access::RowScope,
    ids::{AssertionId, ConnectionId, kind},
    integration::{Assertion, Entity, Seal},
};
use sea_orm::FromQueryResult;
use tokio::task::yield_now;

use crate::{Reads, StoreError, Tx, codec, db::marks, texts::Texts};

#[derive(FromQueryResult)]
struct AssertionRow {
    id: String,
    entity: String,
    record_id: String,
    connection_id: String,
    remote_id: String,
    remote_version: Option<String>,
    run_id: Option<String>,
    inbound_event_id: Option<String>,
    exchange_id: Option<String>,
    correction_id: Option<String>,
    mapping_version: String,
    observed_at: i64,
    fields: String,
}

impl TryFrom<AssertionRow> for Assertion {
    type Error = StoreError;

    fn try_from(row: AssertionRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("assertions.id", &row.id)?,
            entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "assertions.entity" })?,
            record_id: row.record_id,
            connection_id: codec::id("assertions.connection_id", &row.connection_id)?,
            remote_id: row.remote_id,
            remote_version: row.remote_version,
            run_id: codec::id_opt("assertions.run_id", row.run_id.as_deref())?,
            inbound_event_id: codec::id_opt("assertions.inbound_event_id", row.inbound_event_id.as_deref())?,
            exchange_id: codec::id_opt("assertions.exchange_id", row.exchange_id.as_deref())?,
            correction_id: codec::id_opt("assertions.correction_id", row.correction_id.as_deref())?,
            mapping_version: row.mapping_version,
            observed_at: codec::instant("assertions.observed_at", row.observed_at)?,
            fields: codec::json("assertions.fields", &row.fields)?,
        })
    }
}

/// What each system last said of these records, newest first. The records were found under the scope.
///
/// # Errors
/// As the database.
pub async fn assertions_of(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
) -> Result<Vec<Assertion>, StoreError> {
    let sql = |records: Texts| {
        format!(
            "SELECT * FROM (SELECT assertions.*, ROW_NUMBER() OVER (PARTITION BY record_id, connection_id, remote_id \
             ORDER BY observed_at DESC, id DESC) AS place FROM assertions WHERE {}) AS numbered \
             WHERE place = 1 ORDER BY observed_at DESC, id DESC",
            records.among("record_id")
        )
    };
    let rows: Vec<AssertionRow> = db.connection().all_among(&[], records, sql).await?;
    rows.into_iter().map(Assertion::try_from).collect()
}

/// What was said of these records, newest first, at most so many for each. The records were found under the scope.
///
/// # Errors
/// As the database.
pub async fn assertion_history(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
    for_each: u32,
) -> Result<Vec<Assertion>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM (SELECT assertions.*, ROW_NUMBER() OVER (PARTITION BY record_id \
         ORDER BY observed_at DESC, id DESC) AS place FROM assertions WHERE record_id IN ({})) AS numbered \
         WHERE place <= {for_each} ORDER BY observed_at DESC, id DESC",
        marks(1, records.len())
    );
    let rows: Vec<AssertionRow> =
        db.connection().all(&sql, records.iter().map(|id| id.clone().into()).collect()).await?;
    rows.into_iter().map(Assertion::try_from).collect()
}

/// What a system last said of a remote record.
///
/// # Errors
/// As the database.
pub async fn latest_assertion(
    db: &impl Reads,
    connection: ConnectionId,
    record: &str,
    remote_id: &str,
) -> Result<Option<Assertion>, StoreError> {
    let sql = "SELECT * FROM assertions WHERE record_id = $1 AND connection_id = $2 AND remote_id = $3 \
               ORDER BY observed_at DESC, id DESC LIMIT 1";
    let values = vec![record.into(), connection.to_string().into(), remote_id.into()];
    db.connection().one::<AssertionRow>(sql, values).await?.map(Assertion::try_from).transpose()
}

/// What a system last said of these remote records, each as the record of the hub that comes first with it.
///
/// # Errors
/// As the database.
pub async fn latest_assertions(
    db: &impl Reads,
    connection: ConnectionId,
    pairs: &[(String, &str)],
) -> Result<Vec<Assertion>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let (said, mut values) = Texts::pairs(db.connection().backend(), 2, pairs);
    values.insert(0, connection.to_string().into());
    let sql = format!(
        "WITH said (record_id, remote_id) AS ({said}) SELECT a.* FROM said JOIN assertions a \
         ON a.record_id = said.record_id AND a.id = (SELECT b.id FROM assertions b \
         WHERE b.record_id = said.record_id AND b.connection_id = $1 AND b.remote_id = said.remote_id \
         ORDER BY b.observed_at DESC, b.id DESC LIMIT 1)"
    );
    let rows: Vec<AssertionRow> = db.connection().all(&sql, values).await?;
    rows.into_iter().map(Assertion::try_from).collect()
}

/// Assertions that are sealed before others have a turn.
const SEALED_AT_ONCE: usize = 8;

/// An assertion with what it is verified by.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedAssertion {
    /// What was said.
    pub assertion: Assertion,
    /// The row as it came; none when it is missing.
    pub raw: Option<String>,
    /// The hash of what was said, and the seal; none for what was written down before there were seals.
    pub sealed: Option<(String, Seal)>,
}

#[derive(FromQueryResult)]
struct SealedRow {
    raw: Option<String>,
    said_sha256: Option<String>,
    seal: Option<String>,
}

/// Assertions after one, in the order of their identifiers, at most so many, with what they are verified by.
///
/// # Errors
/// As the database.
pub async fn sealed_after(
    db: &impl Reads,
    after: Option<AssertionId>,
    limit: i64,
) -> Result<Vec<SealedAssertion>, StoreError> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    sealed(db, "a.id > $1 ORDER BY a.id LIMIT $2", vec![after.into(), limit.into()]).await
}

/// The assertions with these identifiers, in any order, with what they are verified by.
///
/// # Errors
/// As the database.
pub async fn sealed_by_ids(db: &impl Reads, ids: &[String]) -> Result<Vec<SealedAssertion>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let when = format!("a.id IN ({}) ORDER BY a.id", marks(1, ids.len()));
    sealed(db, &when, ids.iter().map(|id| id.clone().into()).collect()).await
}

async fn sealed(db: &impl Reads, when: &str, values: Vec<sea_orm::Value>) -> Result<Vec<SealedAssertion>, StoreError> {
    let sql = format!(
        "SELECT a.*, e.raw FROM assertions a \
         LEFT JOIN evidence e ON e.assertion_id = a.id AND e.observed_at = a.observed_at WHERE {when}"
    );
    let rows: Vec<Both> = db.connection().all(&sql, values).await?;
    let read = |Both(said, sealed): Both| {
        let seal = sealed.seal.map(|seal| codec::json("assertions.seal", &seal)).transpose()?;
        Ok(SealedAssertion { assertion: said.try_into()?, raw: sealed.raw, sealed: sealed.said_sha256.zip(seal) })
    };
    rows.into_iter().map(read).collect()
}

struct Both(AssertionRow, SealedRow);

impl FromQueryResult for Both {
    fn from_query_result(row: &sea_orm::QueryResult, prefix: &str) -> Result<Self, sea_orm::DbErr> {
        Ok(Self(FromQueryResult::from_query_result(row, prefix)?, FromQueryResult::from_query_result(row, prefix)?))
    }
}

impl Tx {
    /// Writes other values in the place of some that were said, and the row that is left of the one that came. It must
    /// still stand there as it was read. Returns whether it did.
    ///
    /// # Errors
    /// As the database.
    pub async fn erase_assertion(&self, was: &SealedAssertion, now: &SealedAssertion) -> Result<bool, StoreError> {
        let sql = "UPDATE assertions SET remote_id = $1, remote_version = $2, fields = $3, seal = $4 \
                   WHERE id = $5 AND observed_at = $6 AND fields = $7";
        let (id, at) = (now.assertion.id.to_string(), now.assertion.observed_at.micros());
        let values = vec![
            now.assertion.remote_id.clone().into(),
            now.assertion.remote_version.clone().into(),
            codec::text(&now.assertion.fields).into(),
            now.sealed.as_ref().map(|(_, seal)| codec::json_text(seal)).into(),
            id.clone().into(),
            at.into(),
            codec::text(&was.assertion.fields).into(),
        ];
        if self.connection().run(sql, values).await? == 0 {
            return Ok(false);
        }
        if was.raw != now.raw {
            let sql = "UPDATE evidence SET raw = $1 WHERE assertion_id = $2 AND observed_at = $3";
            self.connection().run(sql, vec![now.raw.clone().into(), id.into(), at.into()]).await?;
        }
        Ok(true)
    }

    /// Appends what a system said, with the row as it came, under a seal by which both are verified ever after.
    ///
    /// # Errors
    /// As the database.
    pub async fn append_assertion(&self, assertion: &Assertion, raw: &str) -> Result<(), StoreError> {
        self.append_assertions([(assertion, raw)].into_iter()).await
    }

    /// The same for several assertions, each under a seal of its own. Whoever else works in this transaction goes on
    /// while they are sealed.
    ///
    /// # Errors
    /// As the database.
    pub async fn append_assertions<'a>(
        &self,
        said: impl Iterator<Item = (&'a Assertion, &'a str)>,
    ) -> Result<(), StoreError> {
        let (mut assertions, mut evidence) = (Vec::new(), Vec::new());
        for (assertion, raw) in said {
            if !assertions.is_empty() && assertions.len() % SEALED_AT_ONCE == 0 {
                yield_now().await;
            }
            let raw = raw.replace('\0', "\u{fffd}");
            let salt = [(); 2].map(|()| self.new_id::<kind::Assertion>().uuid().simple().to_string()).concat();
            let seal = Seal::new(salt);
            assertions.push(vec![
                ("said_sha256", seal.hash(assertion, &raw).into()),
                ("seal", codec::json_text(&seal).into()),
                ("id", assertion.id.to_string().into()),
                ("entity", assertion.entity.as_str().into()),
                ("record_id", assertion.record_id.clone().into()),
                ("connection_id", assertion.connection_id.to_string().into()),
                ("remote_id", assertion.remote_id.clone().into()),
                ("remote_version", assertion.remote_version.clone().into()),
                ("run_id", assertion.run_id.map(|id| id.to_string()).into()),
                ("inbound_event_id", assertion.inbound_event_id.map(|id| id.to_string()).into()),
                ("exchange_id", assertion.exchange_id.map(|id| id.to_string()).into()),
                ("correction_id", assertion.correction_id.map(|id| id.to_string()).into()),
                ("mapping_version", assertion.mapping_version.clone().into()),
                ("observed_at", assertion.observed_at.micros().into()),
                ("fields", codec::text(&assertion.fields).into()),
            ]);
            evidence.push(vec![
                ("assertion_id", assertion.id.to_string().into()),
                ("observed_at", assertion.observed_at.micros().into()),
                ("raw", raw.into()),
            ]);
        }
        self.connection().insert("assertions", assertions, "").await?;
        self.connection().insert("evidence", evidence, "").await.map(|_| ())
    }
}
