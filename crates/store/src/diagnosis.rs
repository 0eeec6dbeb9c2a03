//! How the database stands, for whoever looks whether a hub is well. Nothing is changed by looking.

use crosstie_domain::Instant;
use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError, codec, housekeeping::coming_months};

/// How the database is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseFacts {
    /// SQLite.
    Sqlite {
        /// `wal`, as it must be.
        journal_mode: String,
        /// 2 for FULL, 3 for EXTRA; with less an acknowledged webhook can be lost.
        synchronous: i64,
    },
    /// PostgreSQL.
    Postgres {
        /// Its version, such as 160003 for 16.3.
        version: i64,
        /// Whether what is committed reaches the disk.
        fsync: String,
        /// Whether a commit waits for that.
        synchronous_commit: String,
        /// Whether a crash while a page is written does no harm.
        full_page_writes: String,
        /// How far the clock of the database is ahead of ours, in milliseconds.
        clock_ahead_ms: i64,
        /// Partitions of this and the coming months that are not there.
        missing_months: Vec<String>,
    },
}

/// How the work in the database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFacts {
    /// Changes without a place yet.
    pub unplaced: i64,
    /// Since when the first of them waits.
    pub unplaced_since: Option<Instant>,
    /// Until when the lease of the relay is held; none while nobody has it.
    pub relay_until: Option<Instant>,
    /// Events and effects that a worker took and neither keeps nor ends, since more than the grace.
    pub abandoned: i64,
}

#[derive(FromQueryResult)]
struct Number {
    value: i64,
}

#[derive(FromQueryResult)]
struct Text {
    value: String,
}

impl Store {
    /// How the database is set up.
    ///
    /// # Errors
    /// As the database.
    pub async fn database_facts(&self) -> Result<DatabaseFacts, StoreError> {
        if self.is_sqlite() {
            let journal_mode = self.text("SELECT journal_mode AS value FROM pragma_journal_mode").await?;
            let synchronous = self.number("SELECT synchronous AS value FROM pragma_synchronous").await?;
            return Ok(DatabaseFacts::Sqlite { journal_mode, synchronous });
        }
        let setting = |name: &str| format!("SELECT current_setting('{name}') AS value");
        let before = self.now();
        let there = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS value";
        let theirs = codec::instant("now", self.number(there).await?)?;
        let ours = before.plus_ms(self.now().ms_since(before) / 2);
        let mut missing_months = Vec::new();
        for month in coming_months(self.now()) {
            #[derive(FromQueryResult)]
            struct Known {
                is_there: bool,
            }
            let sql = "SELECT to_regclass($1) IS NOT NULL AS is_there";
            let known: Option<Known> = self.connection().one(sql, vec![month.clone().into()]).await?;
            if !known.is_some_and(|known| known.is_there) {
                missing_months.push(month);
            }
        }
        Ok(DatabaseFacts::Postgres {
            version: self.text(&setting("server_version_num")).await?.parse().unwrap_or(0),
            fsync: self.text(&setting("fsync")).await?,
            synchronous_commit: self.text(&setting("synchronous_commit")).await?,
            full_page_writes: self.text(&setting("full_page_writes")).await?,
            clock_ahead_ms: theirs.ms_since(ours),
            missing_months,
        })
    }

    /// Whether the database takes writes; nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], naming why it does not.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        tx.connection().run("UPDATE leases SET until = until WHERE name = ''", vec![]).await?;
        tx.commit().await
    }

    /// How the work in the database stands; what is not renewed for so many milliseconds counts as abandoned.
    ///
    /// # Errors
    /// As the database.
    pub async fn work_facts(&self, grace_ms: i64) -> Result<WorkFacts, StoreError> {
        #[derive(FromQueryResult)]
        struct Row {
            unplaced: i64,
            since: Option<i64>,
            relay: Option<i64>,
            events: i64,
            effects: i64,
        }
        let sql = "SELECT (SELECT COUNT(*) FROM outbox_unplaced) AS unplaced, \
             (SELECT o.created_at FROM outbox o WHERE o.id = (SELECT MIN(outbox_id) FROM outbox_unplaced)) AS since, \
             (SELECT until FROM leases WHERE name = 'relay' AND owner <> '') AS relay, \
             (SELECT COUNT(*) FROM inbound_events WHERE lease_until < $1) AS events, \
             (SELECT COUNT(*) FROM effects WHERE lease_until < $1) AS effects";
        let values = vec![self.now().plus_ms(-grace_ms).micros().into()];
        let row: Row = self.connection().one(sql, values).await?.ok_or(StoreError::Corrupt { column: "leases" })?;
        Ok(WorkFacts {
            unplaced: row.unplaced,
            unplaced_since: codec::instant_opt("outbox.created_at", row.since)?,
            relay_until: codec::instant_opt("leases.until", row.relay)?,
            abandoned: row.events + row.effects,
        })
    }

    async fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let row: Option<Number> = self.connection().one(sql, vec![]).await?;
        row.map(|row| row.value).ok_or(StoreError::Corrupt { column: "pragma" })
    }

    async fn text(&self, sql: &str) -> Result<String, StoreError> {
        let row: Option<Text> = self.connection().one(sql, vec![]).await?;
        row.map(|row| row.value).ok_or(StoreError::Corrupt { column: "pragma" })
    }
}
