//! Rate budgets, as all processes share them. They fill by the time of the database, about which processes cannot
//! differ.

use crosstie_domain::{
    Instant,
    ids::ConnectionId,
    integration::{Quota, QuotaAsk, QuotaGrant, QuotaTerms},
};
use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError, Tx, codec};

#[derive(FromQueryResult)]
struct QuotaRow {
    left_micro: i64,
    refilled_at: i64,
    closed_until: Option<i64>,
    now: i64,
}

/// A budget as it stands.
struct Shared {
    quota: Quota,
    /// Nothing leaves before, because the vendor said so.
    closed_until: Option<Instant>,
    /// The present moment of the database.
    now: Instant,
}

#[derive(FromQueryResult)]
struct NowRow {
    now: i64,
}

const SQLITE_NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)";
const POSTGRES_NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";

impl Store {
    /// Leases calls of a connection's budget.
    ///
    /// # Errors
    /// As the database.
    pub async fn lease_quota(
        &self,
        (connection, bucket): (ConnectionId, &str),
        terms: QuotaTerms,
        ask: QuotaAsk,
    ) -> Result<QuotaGrant, StoreError> {
        let tx = self.begin().await?;
        let Shared { mut quota, closed_until, now } = tx.quota((connection, bucket), terms).await?;
        if let Some(until) = closed_until.filter(|until| *until > tx.now()) {
            return Ok(QuotaGrant::Wait(until.ms_since(tx.now()).max(1)));
        }
        let grant = quota.lease(terms, now, ask);
        if matches!(grant, QuotaGrant::Calls(_)) {
            tx.save_quota((connection, bucket), (quota, None)).await?;
            tx.commit().await?;
        }
        Ok(grant)
    }

    /// Takes in what a vendor said of a connection's budget: at most so many calls are left, and none for so many
    /// milliseconds.
    ///
    /// # Errors
    /// As the database.
    pub async fn shrink_quota(
        &self,
        (connection, bucket): (ConnectionId, &str),
        terms: QuotaTerms,
        (remaining, closed_ms): (Option<u32>, Option<i64>),
    ) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let Shared { mut quota, closed_until, now } = tx.quota((connection, bucket), terms).await?;
        if let Some(remaining) = remaining {
            quota.shrink(terms, now, remaining);
        }
        let closed_until = closed_until.max(closed_ms.map(|ms| tx.now().plus_ms(ms)));
        tx.save_quota((connection, bucket), (quota, closed_until)).await?;
        tx.commit().await
    }
}

impl Tx {
    /// What is left of a budget, kept from others until the transaction ends, and the present moment.
    async fn quota(&self, (connection, bucket): (ConnectionId, &str), terms: QuotaTerms) -> Result<Shared, StoreError> {
        let db = self.connection();
        let (now, lock) = if db.is_postgres() { (POSTGRES_NOW, " FOR UPDATE") } else { (SQLITE_NOW, "") };
        let key = vec![connection.to_string().into(), bucket.into()];
        let sql = format!(
            "SELECT left_micro, refilled_at, closed_until, {now} AS now FROM rate_budgets \
             WHERE connection_id = $1 AND bucket = $2{lock}"
        );
        let mut found: Option<QuotaRow> = db.one(&sql, key.clone()).await?;
        if found.is_none() {
            let row: Option<NowRow> = db.one(&format!("SELECT {now} AS now"), vec![]).await?;
            let now = codec::instant("now", row.map_or(0, |row| row.now))?;
            let full = quota_row((connection, bucket), (Quota::full(terms, now), None));
            db.insert("rate_budgets", vec![full], " ON CONFLICT (connection_id, bucket) DO NOTHING").await?;
            found = db.one(&sql, key).await?;
        }
        let row = found.ok_or(StoreError::Conflict)?;
        let quota = Quota {
            left_micro: row.left_micro,
            refilled_at: codec::instant("rate_budgets.refilled_at", row.refilled_at)?,
        };
        let closed_until = codec::instant_opt("rate_budgets.closed_until", row.closed_until)?;
        Ok(Shared { quota, closed_until, now: codec::instant("now", row.now)? })
    }

    async fn save_quota(&self, key: (ConnectionId, &str), quota: (Quota, Option<Instant>)) -> Result<(), StoreError> {
        let row = quota_row(key, quota);
        self.connection().save("rate_budgets", &["connection_id", "bucket"], row, "").await.map(|_| ())
    }
}

fn quota_row(
    (connection, bucket): (ConnectionId, &str),
    (quota, closed_until): (Quota, Option<Instant>),
) -> crate::db::Columns {
    vec![
        ("connection_id", connection.to_string().into()),
        ("bucket", bucket.into()),
        ("left_micro", quota.left_micro.into()),
        ("refilled_at", quota.refilled_at.micros().into()),
        ("closed_until", closed_until.map(Instant::micros).into()),
    ]
}
