//! What a person does about what failed: replays with a result for each item, and corrections beside the original.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0013_replay"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [EFFECTS, CORRECTIONS, REPLAYS] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

const EFFECTS: &str = "
ALTER TABLE effects ADD COLUMN version INTEGER NOT NULL DEFAULT 1
;
ALTER TABLE effects ADD COLUMN corrected TEXT
;
CREATE INDEX effects_status ON effects (status, outbox_id);
CREATE INDEX effects_record ON effects (record_id);
CREATE INDEX effects_for_a_person ON effects (connection_id) WHERE status IN ('REJECTED', 'EXHAUSTED', 'UNCERTAIN');
DROP INDEX effects_rejected;
";

const CORRECTIONS: &str = "
ALTER TABLE parked_rows ADD COLUMN version INTEGER NOT NULL DEFAULT 1
;
ALTER TABLE parked_rows ADD COLUMN correction_id TEXT {binary}
;
ALTER TABLE assertions ADD COLUMN correction_id TEXT {binary}
;
CREATE TABLE corrections (
    id TEXT {binary} PRIMARY KEY,
    subject_id TEXT {binary} NOT NULL,
    was TEXT NOT NULL,
    became TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    corrected_at BIGINT NOT NULL
);
CREATE INDEX corrections_subject ON corrections (subject_id, id);
";

const REPLAYS: &str = "
CREATE TABLE replay_jobs (
    id TEXT {binary} PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    filter TEXT NOT NULL,
    items INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX replay_jobs_status ON replay_jobs (status, id);
CREATE INDEX replay_jobs_open ON replay_jobs (id) WHERE finished_at IS NULL;
CREATE TABLE replay_items (
    id TEXT {binary} PRIMARY KEY,
    job_id TEXT {binary} NOT NULL REFERENCES replay_jobs (id),
    subject_id TEXT {binary} NOT NULL,
    connection_id TEXT {binary} NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT,
    message TEXT,
    finished_at BIGINT
);
CREATE INDEX replay_items_job ON replay_items (job_id, id);
CREATE INDEX replay_items_outcome ON replay_items (job_id, outcome, id);
";
