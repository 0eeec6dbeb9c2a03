//! What has to be done every so often: the coming months of the tables that only grow, and keys that have run out.

use crosstie_domain::Instant;

use crate::{Reads, Store, StoreError};

/// Tables that PostgreSQL keeps by month.
const MONTHLY: [&str; 4] = ["assertions", "evidence", "inbound_payloads", "domain_events"];
/// How many months lie ready beside the present one.
const AHEAD: i32 = 2;

impl Store {
    /// Makes this month's and the coming months' partitions and forgets idempotency keys that have run out. Doing it
    /// again changes nothing.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_house(&self) -> Result<(), StoreError> {
        if !self.is_sqlite() {
            for table in MONTHLY {
                for ahead in 0..=AHEAD {
                    self.make_month(table, ahead).await?;
                }
            }
        }
        let tx = self.begin().await?;
        let sql = "DELETE FROM idempotency_keys WHERE expires_at <= $1";
        tx.connection().run(sql, vec![tx.now().micros().into()]).await?;
        tx.commit().await
    }

    async fn make_month(&self, table: &str, ahead: i32) -> Result<(), StoreError> {
        let Some((name, from, until)) = month(self.now(), ahead) else { return Ok(()) };
        // Two processes may start at once: the lock lets the second find what the first made.
        let tx = self.begin().await?;
        let db = tx.connection();
        db.run("SELECT pg_advisory_xact_lock(7236451)", vec![]).await?;
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table}_{name} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({until})"
        );
        db.run(&sql, vec![]).await?;
        tx.commit().await
    }
}

/// The name of a month so many after the present one, and its first and last moment in microseconds.
fn month(now: Instant, ahead: i32) -> Option<(String, i64, i64)> {
    let utc = jiff::tz::TimeZone::UTC;
    let first = now.timestamp().to_zoned(utc.clone()).date().first_of_month();
    let begin = first.checked_add(jiff::Span::new().try_months(ahead).ok()?).ok()?;
    let end = begin.checked_add(jiff::Span::new().try_months(1).ok()?).ok()?;
    let micros = |date: jiff::civil::Date| Some(date.to_zoned(utc.clone()).ok()?.timestamp().as_microsecond());
    Some((begin.strftime("%Y_%m").to_string(), micros(begin)?, micros(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_touch_and_pass_the_end_of_the_year() {
        let now: Instant = "2026-12-31T23:59:59Z".parse().expect("a moment");
        let (december, _, end) = month(now, 0).expect("a month");
        let (january, begin, _) = month(now, 1).expect("a month");
        assert_eq!((december.as_str(), january.as_str()), ("2026_12", "2027_01"));
        assert_eq!(end, begin);
    }
}
