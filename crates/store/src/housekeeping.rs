//! What has to be done every so often: the coming months of the tables that only grow, and what is kept long enough.
//!
//! Kept for good are records, lineage with its evidence, the history of the hub, the effect ledger, the keys of events
//! about money, and inbound events. Nothing goes that is not finished.

use crosstie_domain::{
    Instant,
    integration::{DeliveryStatus, EffectStatus, InboundStatus},
};
use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError, codec, db::marks};

/// Tables that PostgreSQL keeps by month, and by which moment.
const MONTHLY: [(&str, &str); 4] = [
    ("assertions", "observed_at"),
    ("evidence", "observed_at"),
    ("inbound_payloads", "received_at"),
    ("domain_events", "occurred_at"),
];
/// How many months lie ready beside the present one.
const AHEAD: i32 = 2;

/// How long the bodies of webhooks are kept after their receipt, once all their events are done with.
const PAYLOAD_DAYS: i64 = 90;
/// How long finished runs are kept after their end.
const RUN_DAYS: i64 = 90;
/// How long alerts are kept after they closed.
const ALERT_DAYS: i64 = 90;
/// How long changes are kept for subscribers who were away.
const CHANGE_DAYS: i64 = 90;
/// How long deliveries are kept after the receiver took them.
const DELIVERY_DAYS: i64 = 30;
/// How long refused webhooks are kept.
const REFUSAL_DAYS: i64 = 7;
/// Rows that go in one transaction: few, so that nobody waits long behind it.
const BATCH: i64 = 500;

const DAY_MS: i64 = 86_400_000;

impl Store {
    /// Makes this month's and the coming months' partitions, and lets go of what was kept long enough: idempotency
    /// keys and inbox keys that have run out (inbox keys after 30 days; those of events about money never), deliveries
    /// to subscribed systems 30 days after these took them, refused webhooks after 7 days, the bodies of webhooks,
    /// finished runs, closed alerts and placed changes after 90 days. The key and the body of an event stay while it
    /// waits, is tried again or is parked; the intent of an effect stays until the effect is done. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_house(&self) -> Result<(), StoreError> {
        let months = self.make_months().await;
        self.let_go().await?;
        months
    }

    async fn let_go(&self) -> Result<(), StoreError> {
        let now = self.now();
        let ago = |days: i64| now.plus_ms(-days * DAY_MS).micros();
        let waiting = [InboundStatus::Received, InboundStatus::Retrying, InboundStatus::Parked];
        let waiting = waiting.map(|status| format!("'{}'", codec::text(&status))).join(", ");
        let past = |moment: &str, events: &str| {
            format!(
                "{moment} AND NOT EXISTS (SELECT 1 FROM inbound_events e WHERE {events} AND e.status IN ({waiting}))"
            )
        };
        let keys = past("expires_at <= $1", "e.id = inbox_keys.event_id");
        let payloads = past("received_at < $1", "e.payload_id = inbound_payloads.id");
        self.delete(("idempotency_keys", "principal, idempotency_key"), "expires_at <= $1", now.micros()).await?;
        self.delete(("inbox_keys", "connection_id, dedupe_key"), &keys, now.micros()).await?;
        self.delete(("sync_runs", "id"), "finished_at < $1", ago(RUN_DAYS)).await?;
        self.delete(("inbound_refusals", "id"), "refused_at < $1", ago(REFUSAL_DAYS)).await?;
        self.delete(("alerts", "id"), "closed_at < $1", ago(ALERT_DAYS)).await?;
        self.delete(("inbound_payloads", "id, received_at"), &payloads, ago(PAYLOAD_DAYS)).await?;
        let delivered = format!("status = '{}' AND finished_at < $1", codec::text(&DeliveryStatus::Delivered));
        self.delete(("webhook_deliveries", "id"), &delivered, ago(DELIVERY_DAYS)).await?;
        let ended = "created_at <= $1 AND subscription_id NOT IN (SELECT id FROM webhook_subscriptions)";
        self.delete(("webhook_deliveries", "id"), ended, now.micros()).await?;
        while self.forget_changes(ago(CHANGE_DAYS)).await? {}
        Ok(())
    }

    /// Deletes the rows of a table for which a condition on a moment holds, so many at a time.
    async fn delete(&self, (table, key): (&str, &str), when: &str, moment: i64) -> Result<(), StoreError> {
        let sql =
            format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {when} LIMIT {BATCH})");
        loop {
            let tx = self.begin().await?;
            let gone = tx.connection().run(&sql, vec![moment.into()]).await?;
            tx.commit().await?;
            if i64::try_from(gone).unwrap_or(i64::MAX) < BATCH {
                return Ok(());
            }
        }
    }

    /// Forgets the first changes of the one order, as far as they are older than a moment; never the last one, which
    /// is where the order goes on. Returns whether there may be more.
    async fn forget_changes(&self, before: i64) -> Result<bool, StoreError> {
        #[derive(FromQueryResult)]
        struct Placed {
            position: i64,
            outbox_id: String,
            created_at: i64,
        }
        let tx = self.begin().await?;
        let db = tx.connection();
        let sql = "SELECT p.position, p.outbox_id, o.created_at FROM outbox_positions p \
                   JOIN outbox o ON o.id = p.outbox_id \
                   WHERE p.position < (SELECT MAX(position) FROM outbox_positions) ORDER BY p.position LIMIT $1";
        let first: Vec<Placed> = db.all(sql, vec![BATCH.into()]).await?;
        let old: Vec<Placed> = first.into_iter().take_while(|placed| placed.created_at < before).collect();
        let Some(last) = old.last() else { return Ok(false) };
        db.run("DELETE FROM outbox_positions WHERE position <= $1", vec![last.position.into()]).await?;
        let sql = format!(
            "DELETE FROM outbox WHERE id IN ({}) AND NOT EXISTS \
             (SELECT 1 FROM effects e WHERE e.outbox_id = outbox.id AND e.status <> '{}')",
            marks(1, old.len()),
            codec::text(&EffectStatus::Done),
        );
        db.run(&sql, old.iter().map(|placed| placed.outbox_id.clone().into()).collect()).await?;
        tx.commit().await?;
        Ok(i64::try_from(old.len()).unwrap_or(i64::MAX) == BATCH)
    }

    async fn make_months(&self) -> Result<(), StoreError> {
        if self.is_sqlite() {
            return Ok(());
        }
        for table in MONTHLY {
            for ahead in 0..=AHEAD {
                self.make_month(table, ahead).await?;
            }
        }
        Ok(())
    }

    async fn make_month(&self, (table, moment): (&str, &str), ahead: i32) -> Result<(), StoreError> {
        let Some((name, from, until)) = month(self.now(), ahead) else { return Ok(()) };
        let month = format!("{table}_{name}");
        // Mostly it is there. Who only looks waits for nobody: a process that stands still may hold the lock for long.
        if is_there(self, &month).await? {
            return Ok(());
        }
        // Two processes may start at once: the lock lets the second find what the first made.
        let tx = self.begin().await?;
        let db = tx.connection();
        db.run("SELECT pg_advisory_xact_lock(7236451)", vec![]).await?;
        if is_there(&tx, &month).await? {
            return Ok(());
        }
        // What was written before its month was made lies among the rest and moves over.
        for sql in [
            format!("CREATE TABLE {month} (LIKE {table} INCLUDING ALL)"),
            format!(
                "WITH moved AS (DELETE FROM {table}_rest WHERE {moment} >= {from} AND {moment} < {until} RETURNING *) \
                 INSERT INTO {month} SELECT * FROM moved"
            ),
            format!("ALTER TABLE {table} ATTACH PARTITION {month} FOR VALUES FROM ({from}) TO ({until})"),
        ] {
            db.run(&sql, vec![]).await?;
        }
        tx.commit().await
    }
}

/// Whether PostgreSQL has a table of this name.
async fn is_there(db: &impl Reads, table: &str) -> Result<bool, StoreError> {
    #[derive(FromQueryResult)]
    struct Known {
        is_there: bool,
    }
    let sql = "SELECT to_regclass($1) IS NOT NULL AS is_there";
    let known: Option<Known> = db.connection().one(sql, vec![table.into()]).await?;
    Ok(known.is_some_and(|known| known.is_there))
}

/// The partitions of this and the coming months, by their names.
pub(crate) fn coming_months(now: Instant) -> Vec<String> {
    let named = |table: &str| {
        let months = (0..=AHEAD).filter_map(|ahead| month(now, ahead));
        months.map(|(name, ..)| format!("{table}_{name}")).collect::<Vec<_>>()
    };
    MONTHLY.iter().flat_map(|(table, _)| named(table)).collect()
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
