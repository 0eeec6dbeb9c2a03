//! Item codes of milestones, and what invoices come to without taxes.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0018_item_codes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, COLUMNS).await
    }
}

/// What billing said of invoices without taxes stands beside them already.
const COLUMNS: &str = "
ALTER TABLE milestones ADD COLUMN item_code TEXT {binary}
;
ALTER TABLE invoices ADD COLUMN net_minor BIGINT
;
ALTER TABLE invoices ADD COLUMN tax_minor BIGINT
;
UPDATE invoices SET net_minor = (SELECT d.amount_minor FROM remote_documents d
    WHERE d.connection_id = invoices.connection_id AND d.entity = 'invoice'
    AND d.remote_id = invoices.billing_reference AND d.amount_currency = invoices.total_currency)
    WHERE billing_reference IS NOT NULL;
UPDATE invoices SET tax_minor = total_minor - net_minor WHERE net_minor IS NOT NULL;
UPDATE invoices SET net_minor = total_minor WHERE billing_reference IS NULL AND milestone_id IS NOT NULL;
";
