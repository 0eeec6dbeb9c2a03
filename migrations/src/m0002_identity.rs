//! Which records of other systems a record is, how that was found, and what they say differently.
//!
//! `record_fields` holds a packed row for each record that several systems know; a record of one system alone needs
//! none, since its lineage says it all.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_identity"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [FIELDS, IDENTITY] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

const FIELDS: &str = "
CREATE TABLE record_fields (
    record_id TEXT {binary} PRIMARY KEY,
    entity TEXT NOT NULL,
    fields TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE conflicts (
    id TEXT {binary} PRIMARY KEY,
    entity TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    field TEXT NOT NULL,
    reason TEXT NOT NULL,
    status TEXT NOT NULL,
    agreed TEXT NOT NULL,
    voices TEXT NOT NULL,
    resolution TEXT,
    note TEXT,
    closed_by TEXT,
    version INTEGER NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE INDEX conflicts_record ON conflicts (record_id, field);
CREATE INDEX conflicts_status ON conflicts (status, id);
CREATE UNIQUE INDEX conflicts_open ON conflicts (record_id, field) WHERE closed_at IS NULL;
";

const IDENTITY: &str = "
ALTER TABLE accounts ADD COLUMN match_name TEXT;
ALTER TABLE accounts ADD COLUMN merged_into TEXT {binary};
ALTER TABLE opportunities ADD COLUMN merged_into TEXT {binary};
UPDATE accounts SET match_name = lower(substr(name, 1, 200));
CREATE INDEX accounts_match_name ON accounts (match_name) WHERE merged_into IS NULL;
CREATE INDEX accounts_match_domain ON accounts (lower(substr(domain, 1, 200))) WHERE domain IS NOT NULL;
CREATE INDEX accounts_match_email ON accounts (lower(substr(billing_email, 1, 200))) WHERE billing_email IS NOT NULL;
CREATE TABLE match_candidates (
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    score INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    found_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, entity, remote_id, record_id)
);
CREATE INDEX match_candidates_record ON match_candidates (record_id);
CREATE TABLE identity_events (
    id TEXT {binary} PRIMARY KEY,
    entity TEXT NOT NULL,
    kind TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    other_id TEXT {binary} NOT NULL,
    moved TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    happened_at BIGINT NOT NULL,
    undone_by TEXT {binary}
);
CREATE INDEX identity_events_record ON identity_events (record_id, id);
CREATE INDEX identity_events_other ON identity_events (other_id, id);
";
