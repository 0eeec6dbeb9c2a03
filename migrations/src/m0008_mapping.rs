//! How far a connection goes, and its mapping as data.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0008_mapping"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [MODES, MAPPINGS] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

const MODES: &str = "
ALTER TABLE connections ADD COLUMN mode TEXT NOT NULL DEFAULT 'two-way'
;
CREATE TABLE connection_modes (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    was TEXT NOT NULL,
    mode TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    changed_at BIGINT NOT NULL
);
CREATE INDEX connection_modes_connection ON connection_modes (connection_id, id);
";

const MAPPINGS: &str = "
ALTER TABLE connections ADD COLUMN mapping_version INTEGER NOT NULL DEFAULT 0
;
ALTER TABLE connections ADD COLUMN connector_version TEXT
;
CREATE TABLE connection_mappings (
    connection_id TEXT {binary} NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, version)
);
CREATE TABLE remaps (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT,
    cause TEXT NOT NULL,
    status TEXT NOT NULL,
    at_entity TEXT,
    at_remote_id TEXT,
    rows_seen BIGINT NOT NULL,
    rows_changed BIGINT NOT NULL,
    rows_parked BIGINT NOT NULL,
    rows_skipped BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX remaps_connection ON remaps (connection_id, id);
CREATE INDEX remaps_open ON remaps (id) WHERE finished_at IS NULL;
";
