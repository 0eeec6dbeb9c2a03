//! Exchanges with other systems, kept for a while, and which of them brought what is asserted.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_exchanges"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, EXCHANGES).await
    }
}

// An exchange goes after some days and an assertion stays, so the column is no foreign key.
const EXCHANGES: &str = "
CREATE TABLE exchanges (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    run_id TEXT {binary},
    inbound_event_id TEXT {binary},
    effect_key TEXT {binary},
    method TEXT NOT NULL,
    address TEXT NOT NULL,
    status INTEGER,
    fault_code TEXT,
    attempt INTEGER NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    written_at BIGINT NOT NULL,
    request_bytes BIGINT NOT NULL,
    request_sha256 TEXT,
    request_headers TEXT NOT NULL,
    request_body TEXT,
    answer_bytes BIGINT,
    answer_sha256 TEXT,
    answer_headers TEXT NOT NULL,
    answer_body TEXT
);
CREATE INDEX exchanges_connection ON exchanges (connection_id, id);
CREATE INDEX exchanges_written ON exchanges (connection_id, written_at, id);
CREATE INDEX exchanges_run ON exchanges (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX exchanges_event ON exchanges (inbound_event_id, id) WHERE inbound_event_id IS NOT NULL;
CREATE INDEX exchanges_effect ON exchanges (effect_key, id) WHERE effect_key IS NOT NULL;
CREATE INDEX exchanges_fault ON exchanges (fault_code, id) WHERE fault_code IS NOT NULL;
ALTER TABLE assertions ADD COLUMN exchange_id TEXT {binary};
";
