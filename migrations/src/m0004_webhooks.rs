//! Alerts: what at the border to other systems a person should know of.
//!
//! Of one thing that can be wrong one alert at most is open: `open_key` names it while the alert is open and is empty
//! afterwards.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_webhooks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, ALERTS).await
    }
}

const ALERTS: &str = "
CREATE TABLE alerts (
    id TEXT {binary} PRIMARY KEY,
    open_key TEXT {binary} UNIQUE,
    kind TEXT NOT NULL,
    connection_id TEXT {binary},
    entity TEXT,
    subscription_id TEXT {binary},
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    message TEXT NOT NULL,
    version INTEGER NOT NULL,
    opened_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE INDEX alerts_state ON alerts (state, id);
CREATE INDEX alerts_connection ON alerts (connection_id, id);
CREATE INDEX alerts_closed ON alerts (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX effects_rejected ON effects (connection_id) WHERE status = 'REJECTED';
CREATE INDEX inbound_events_parked ON inbound_events (connection_id) WHERE status = 'PARKED';
";
