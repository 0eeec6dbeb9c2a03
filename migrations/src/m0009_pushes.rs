//! What the hub may write into records of other systems, and what it writes there by itself.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0009_pushes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, PUSHES).await
    }
}

const PUSHES: &str = "
CREATE TABLE connection_pushes (
    connection_id TEXT {binary} PRIMARY KEY,
    writable TEXT NOT NULL,
    pushed TEXT NOT NULL
);
";
