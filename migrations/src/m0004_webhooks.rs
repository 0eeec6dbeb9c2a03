//! Alerts, and the subscriptions by which other systems hear of changes.
//!
//! Of one thing that can be wrong one alert at most is open: `open_key` names it while the alert is open and is empty
//! afterwards.
//!
//! A subscription goes through the one order of changes (`position`) and gives each change that it tells of a number of
//! its own (`last_sequence`). Deliveries are that list, and the queue: what waits has a `next_attempt_at`.

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
        sql::run(manager, ALERTS).await?;
        sql::run(manager, SUBSCRIPTIONS).await
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

const SUBSCRIPTIONS: &str = "
CREATE TABLE webhook_subscriptions (
    id TEXT {binary} PRIMARY KEY,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    entities TEXT NOT NULL,
    event_types TEXT NOT NULL,
    accounts TEXT NOT NULL,
    ordered INTEGER NOT NULL,
    owner TEXT {binary} NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT,
    position BIGINT NOT NULL,
    last_sequence BIGINT NOT NULL,
    failures INTEGER NOT NULL,
    open_until BIGINT,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX webhook_subscriptions_owner ON webhook_subscriptions (owner, id);
CREATE TABLE webhook_secrets (
    subscription_id TEXT {binary} NOT NULL REFERENCES webhook_subscriptions (id),
    number INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (subscription_id, number)
);
CREATE TABLE webhook_deliveries (
    id TEXT {binary} PRIMARY KEY,
    subscription_id TEXT {binary} NOT NULL,
    kind TEXT NOT NULL,
    sequence BIGINT,
    position BIGINT,
    entity TEXT,
    record_id TEXT {binary},
    event TEXT NOT NULL,
    record_version INTEGER,
    occurred_at BIGINT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at BIGINT,
    lease_until BIGINT,
    fence BIGINT NOT NULL,
    response_status INTEGER,
    response_excerpt TEXT,
    duration_ms INTEGER,
    error_code TEXT,
    error_message TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (subscription_id, sequence)
);
CREATE INDEX webhook_deliveries_subscription ON webhook_deliveries (subscription_id, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (subscription_id, next_attempt_at, id)
    WHERE next_attempt_at IS NOT NULL;
CREATE INDEX webhook_deliveries_line ON webhook_deliveries (subscription_id, record_id, sequence)
    WHERE next_attempt_at IS NOT NULL;
CREATE INDEX webhook_deliveries_leased ON webhook_deliveries (subscription_id) WHERE lease_until IS NOT NULL;
CREATE INDEX webhook_deliveries_status ON webhook_deliveries (status, id);
CREATE INDEX webhook_deliveries_exhausted ON webhook_deliveries (subscription_id) WHERE status = 'EXHAUSTED';
CREATE INDEX webhook_deliveries_delivered ON webhook_deliveries (finished_at) WHERE status = 'DELIVERED';
";
