//! Breakers of connections, which all processes share: how often in a row a system did not answer, until when it is left
//! alone, and who tries whether it is back.

use crosstie_domain::{Instant, ids::ConnectionId, integration::BreakerRecord};
use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError, Tx, codec, db::marks, pipeline::texts};

/// How long the others wait for whoever tries, in milliseconds; whoever ends says so, and one that died is given up then.
const TRIAL_MS: i64 = 60_000;

#[derive(FromQueryResult)]
struct BreakerRow {
    connection_id: String,
    failures: i32,
    opened_at: Option<i64>,
    open_until: Option<i64>,
    trial_until: Option<i64>,
    error_code: Option<String>,
    changed_at: i64,
}

impl TryFrom<BreakerRow> for BreakerRecord {
    type Error = StoreError;

    fn try_from(row: BreakerRow) -> Result<Self, StoreError> {
        Ok(Self {
            connection_id: codec::id("connection_breakers.connection_id", &row.connection_id)?,
            failures: row.failures,
            opened_at: codec::instant_opt("connection_breakers.opened_at", row.opened_at)?,
            open_until: codec::instant_opt("connection_breakers.open_until", row.open_until)?,
            trial_until: codec::instant_opt("connection_breakers.trial_until", row.trial_until)?,
            error_code: row.error_code,
            changed_at: codec::instant("connection_breakers.changed_at", row.changed_at)?,
        })
    }
}

/// The breakers of these connections; those of systems that never failed are left out.
///
/// # Errors
/// As the database.
pub async fn breakers_of(db: &impl Reads, connections: &[ConnectionId]) -> Result<Vec<BreakerRecord>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM connection_breakers WHERE connection_id IN ({})", marks(1, connections.len()));
    let values = texts(connections).into_iter().map(Into::into).collect();
    db.connection().all::<BreakerRow>(&sql, values).await?.into_iter().map(BreakerRecord::try_from).collect()
}

impl Store {
    /// Lets the caller try whether a system is back that was left alone. Returns whether nobody else does.
    ///
    /// # Errors
    /// As the database.
    pub async fn take_trial(&self, connection: ConnectionId) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let taken = tx.take_trial(&connection.to_string()).await?;
        tx.commit().await?;
        Ok(taken)
    }
}

impl Tx {
    /// The breaker of a connection; nobody changes it before the transaction ends.
    ///
    /// # Errors
    /// As the database.
    pub async fn breaker(&self, connection: ConnectionId) -> Result<BreakerRecord, StoreError> {
        let lock = if self.connection().is_postgres() { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT * FROM connection_breakers WHERE connection_id = $1{lock}");
        let row: Option<BreakerRow> = self.connection().one(&sql, vec![connection.to_string().into()]).await?;
        row.map_or_else(|| Ok(BreakerRecord::new(connection, self.now())), BreakerRecord::try_from)
    }

    /// Saves the breaker of a connection.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_breaker(&self, breaker: &BreakerRecord) -> Result<(), StoreError> {
        let row = vec![
            ("connection_id", breaker.connection_id.to_string().into()),
            ("failures", breaker.failures.into()),
            ("opened_at", breaker.opened_at.map(Instant::micros).into()),
            ("open_until", breaker.open_until.map(Instant::micros).into()),
            ("trial_until", breaker.trial_until.map(Instant::micros).into()),
            ("error_code", breaker.error_code.clone().into()),
            ("changed_at", breaker.changed_at.micros().into()),
        ];
        self.connection().save("connection_breakers", &["connection_id"], row, "").await.map(|_| ())
    }

    /// Takes the trial of a breaker that is half open. Returns whether nobody else has it.
    pub(crate) async fn take_trial(&self, connection: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE connection_breakers SET trial_until = $1 WHERE connection_id = $2 AND open_until <= $3 \
                   AND (trial_until IS NULL OR trial_until <= $3)";
        let now = self.now();
        let values = vec![now.plus_ms(TRIAL_MS).micros().into(), connection.into(), now.micros().into()];
        Ok(self.connection().run(sql, values).await? > 0)
    }

    /// Lets what a connection owes be tried now, since its system is back: readings, slices, events and effects that
    /// failed because it did not answer.
    ///
    /// # Errors
    /// As the database.
    pub async fn catch_up_now(&self, connection: ConnectionId) -> Result<(), StoreError> {
        self.read_again_now(connection).await?;
        let silent = "error_code IN ('TRANSIENT', 'OUTCOME_UNKNOWN') AND next_attempt_at > $2";
        let slices = format!(
            "UPDATE backfill_slices SET next_attempt_at = $2 WHERE {silent} \
             AND backfill_id IN (SELECT id FROM backfills WHERE connection_id = $1 AND finished_at IS NULL)"
        );
        let events = format!("UPDATE inbound_events SET next_attempt_at = $2 WHERE connection_id = $1 AND {silent}");
        let effects = format!("UPDATE effects SET next_attempt_at = $2 WHERE connection_id = $1 AND {silent}");
        for sql in [slices, events, effects] {
            let values = vec![connection.to_string().into(), self.now().micros().into()];
            self.connection().run(&sql, values).await?;
        }
        Ok(())
    }
}
