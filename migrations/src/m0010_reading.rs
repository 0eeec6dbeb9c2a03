//! How well the hub knows what other systems hold: objectives of freshness, claims that a record is gone, sweeps,
//! back-fills in slices, drift, and the shapes of what systems send.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0010_reading"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A process that is killed half-way leaves nothing, on SQLite as on PostgreSQL.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [FRESHNESS, DELETES, BACKFILLS, DRIFT, SHAPES] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

const FRESHNESS: &str = "
CREATE TABLE freshness_objectives (
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    objective_seconds BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (connection_id, entity)
);
";

const DELETES: &str = "
ALTER TABLE accounts ADD COLUMN deleted_at BIGINT;
ALTER TABLE opportunities ADD COLUMN deleted_at BIGINT;
ALTER TABLE invoices ADD COLUMN deleted_at BIGINT;
ALTER TABLE identities ADD COLUMN deleted_at BIGINT;
CREATE INDEX identities_gone ON identities (connection_id, entity, remote_id) WHERE deleted_at IS NOT NULL;
CREATE TABLE delete_claims (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    evidence TEXT NOT NULL,
    inbound_event_id TEXT {binary},
    run_id TEXT {binary},
    sweep_id TEXT {binary},
    merged_into TEXT,
    claimed_at BIGINT NOT NULL,
    withdrawn_at BIGINT
);
CREATE INDEX delete_claims_remote ON delete_claims (connection_id, entity, remote_id) WHERE withdrawn_at IS NULL;
CREATE INDEX delete_claims_record ON delete_claims (record_id, id);
CREATE TABLE sweeps (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    status TEXT NOT NULL,
    window_until BIGINT NOT NULL,
    more TEXT,
    pages INTEGER NOT NULL,
    rows_seen INTEGER NOT NULL,
    known INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    confirmed_by TEXT,
    error_code TEXT,
    error_message TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX sweeps_connection ON sweeps (connection_id, entity, id);
CREATE TABLE sweep_seen (
    sweep_id TEXT {binary} NOT NULL,
    remote_id TEXT NOT NULL,
    PRIMARY KEY (sweep_id, remote_id)
);
";

const BACKFILLS: &str = "
CREATE TABLE backfills (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    run_trigger TEXT NOT NULL,
    remote_id TEXT,
    since BIGINT,
    until BIGINT NOT NULL,
    status TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX backfills_connection ON backfills (connection_id, entity, id);
CREATE INDEX backfills_open ON backfills (id) WHERE finished_at IS NULL;
CREATE TABLE backfill_slices (
    backfill_id TEXT {binary} NOT NULL,
    position INTEGER NOT NULL,
    since BIGINT,
    until BIGINT NOT NULL,
    more TEXT,
    status TEXT NOT NULL,
    run_id TEXT {binary},
    pages INTEGER NOT NULL,
    rows_read INTEGER NOT NULL,
    rows_changed INTEGER NOT NULL,
    rows_parked INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    next_attempt_at BIGINT,
    error_code TEXT,
    error_message TEXT,
    PRIMARY KEY (backfill_id, position)
);
CREATE INDEX backfill_slices_due ON backfill_slices (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
";

const DRIFT: &str = "
CREATE TABLE drift_reports (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    scope TEXT NOT NULL,
    status TEXT NOT NULL,
    compared INTEGER NOT NULL,
    differing INTEGER NOT NULL,
    healed INTEGER NOT NULL,
    error_code TEXT,
    error_message TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX drift_reports_connection ON drift_reports (connection_id, entity, id);
";

const SHAPES: &str = "
CREATE TABLE shapes (
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    rows_seen BIGINT NOT NULL,
    paths TEXT NOT NULL,
    PRIMARY KEY (connection_id, entity)
);
CREATE TABLE shape_changes (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    before TEXT,
    after TEXT,
    seen_at BIGINT NOT NULL
);
CREATE INDEX shape_changes_connection ON shape_changes (connection_id, id);
";
