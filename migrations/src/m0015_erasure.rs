//! Persons who are erased, values that must not come back, and seals by which lineage is verified before and after.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0015_erasure"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [ERASURES, SEALS] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

// One row at most: the key that erased values are marked with, and how often what is erased changed.
const ERASURES: &str = "
CREATE TABLE erasure_keys (
    id INTEGER PRIMARY KEY,
    key_hex TEXT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE erasures (
    id TEXT {binary} PRIMARY KEY,
    status TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    emails INTEGER NOT NULL,
    names INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    at_table TEXT,
    at_key TEXT,
    rows_seen BIGINT NOT NULL,
    rows_in_pass BIGINT NOT NULL,
    rows_erased BIGINT NOT NULL,
    places TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    lifted_at BIGINT,
    lifted_by TEXT
);
CREATE INDEX erasures_open ON erasures (id) WHERE finished_at IS NULL;
CREATE TABLE erased_values (
    value_hash TEXT {binary} PRIMARY KEY,
    erasure_id TEXT {binary} NOT NULL,
    words INTEGER NOT NULL,
    letters INTEGER NOT NULL,
    erased_at BIGINT NOT NULL,
    lifted_at BIGINT
);
CREATE INDEX erased_values_erasure ON erased_values (erasure_id);
";

const SEALS: &str = "
ALTER TABLE assertions ADD COLUMN said_sha256 TEXT;
ALTER TABLE assertions ADD COLUMN seal TEXT;
";
