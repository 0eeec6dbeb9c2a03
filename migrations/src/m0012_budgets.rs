//! What is left of the rate budgets that all processes share.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0012_budgets"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, BUDGETS).await
    }
}

const BUDGETS: &str = "
CREATE TABLE rate_budgets (
    connection_id TEXT {binary} NOT NULL,
    bucket TEXT NOT NULL,
    left_micro BIGINT NOT NULL,
    refilled_at BIGINT NOT NULL,
    closed_until BIGINT,
    PRIMARY KEY (connection_id, bucket)
);
";
