//! What holds a connection up: pauses that persons ordered, breakers of systems that do not answer, limits for what
//! comes in by webhook, and the deliveries that were refused.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0014_pressure"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [PAUSES, BREAKERS, INBOUND] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

const PAUSES: &str = "
CREATE TABLE connection_pauses (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    what TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    reason TEXT,
    paused_at BIGINT NOT NULL,
    resumed_by TEXT,
    resume_reason TEXT,
    resumed_at BIGINT
);
CREATE UNIQUE INDEX connection_pauses_open ON connection_pauses (connection_id, what) WHERE resumed_at IS NULL;
CREATE INDEX connection_pauses_connection ON connection_pauses (connection_id, id);
";

const BREAKERS: &str = "
CREATE TABLE connection_breakers (
    connection_id TEXT {binary} PRIMARY KEY,
    failures INTEGER NOT NULL,
    opened_at BIGINT,
    open_until BIGINT,
    trial_until BIGINT,
    error_code TEXT,
    changed_at BIGINT NOT NULL
);
";

const INBOUND: &str = "
CREATE TABLE connection_inbound (
    connection_id TEXT {binary} PRIMARY KEY,
    per_second INTEGER NOT NULL,
    burst INTEGER NOT NULL,
    backlog INTEGER NOT NULL,
    turned_away BIGINT NOT NULL,
    turned_away_at BIGINT
);
CREATE TABLE inbound_refusals (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary},
    counted_as TEXT NOT NULL,
    hour BIGINT NOT NULL,
    place INTEGER NOT NULL,
    asked_for TEXT NOT NULL,
    code TEXT NOT NULL,
    header_names TEXT NOT NULL,
    safe_headers TEXT NOT NULL,
    body_bytes BIGINT NOT NULL,
    body_sha256 TEXT NOT NULL,
    body_excerpt TEXT,
    refused_at BIGINT NOT NULL,
    UNIQUE (counted_as, hour, place)
);
CREATE INDEX inbound_refusals_refused ON inbound_refusals (refused_at);
";
