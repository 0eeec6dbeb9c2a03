//! The first schema. Instants are microseconds UTC, civil dates days since 1970-01-01, money minor units beside a
//! currency, identifiers TypeIDs, JSON text.
//!
//! Text from outside has no bound, and PostgreSQL refuses a row whose index entry is over 2,704 bytes: names are indexed
//! by their first 200 characters, which the order of pages uses too.
//!
//! Of the events of one record, and of the effects of one customer, one at most is taken (`…_taken`): whoever commits in
//! whichever order, two never run together.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A process that is killed half-way leaves nothing, on SQLite as on PostgreSQL.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [PIPELINE, CONTRACTS, BILLING, ACCESS, INTEGRATION, QUEUES, HISTORY] {
            sql::run(manager, text).await?;
        }
        Ok(())
    }
}

const PIPELINE: &str = "
CREATE TABLE accounts (
    id TEXT {binary} PRIMARY KEY,
    name TEXT NOT NULL,
    domain TEXT,
    billing_email TEXT,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX accounts_name ON accounts (substr(name, 1, 200), id);
CREATE INDEX accounts_updated ON accounts (updated_at, id);
CREATE TABLE opportunities (
    id TEXT {binary} PRIMARY KEY,
    account_id TEXT {binary} REFERENCES accounts (id),
    name TEXT NOT NULL,
    stage TEXT,
    native_stage TEXT,
    amount_minor BIGINT,
    amount_currency TEXT,
    close_on INTEGER,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX opportunities_account ON opportunities (account_id, id);
CREATE INDEX opportunities_stage ON opportunities (stage, id);
CREATE INDEX opportunities_name ON opportunities (substr(name, 1, 200), id);
CREATE INDEX opportunities_close ON opportunities (close_on, id);
CREATE INDEX opportunities_updated ON opportunities (updated_at, id);
";

const CONTRACTS: &str = "
CREATE TABLE sows (
    id TEXT {binary} PRIMARY KEY,
    opportunity_id TEXT {binary} NOT NULL REFERENCES opportunities (id),
    account_id TEXT {binary} NOT NULL REFERENCES accounts (id),
    billing_connection_id TEXT {binary} NOT NULL,
    title TEXT NOT NULL,
    status TEXT NOT NULL,
    total_minor BIGINT NOT NULL,
    total_currency TEXT NOT NULL,
    po_number TEXT,
    signed_on INTEGER,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX sows_opportunity ON sows (opportunity_id, id);
CREATE INDEX sows_account ON sows (account_id, id);
CREATE INDEX sows_status ON sows (status, id);
CREATE INDEX sows_updated ON sows (updated_at, id);
CREATE TABLE milestones (
    id TEXT {binary} PRIMARY KEY,
    sow_id TEXT {binary} NOT NULL REFERENCES sows (id),
    account_id TEXT {binary} NOT NULL REFERENCES accounts (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    amount_currency TEXT NOT NULL,
    planned_on INTEGER,
    acceptance TEXT NOT NULL,
    accepted_on INTEGER,
    billing TEXT NOT NULL,
    billing_round INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (sow_id, position)
);
";

const BILLING: &str = "
CREATE TABLE service_orders (
    id TEXT {binary} PRIMARY KEY,
    sow_id TEXT {binary} NOT NULL UNIQUE REFERENCES sows (id),
    account_id TEXT {binary} NOT NULL REFERENCES accounts (id),
    connection_id TEXT {binary} NOT NULL,
    status TEXT NOT NULL,
    total_minor BIGINT NOT NULL,
    total_currency TEXT NOT NULL,
    billing_reference TEXT,
    rejection TEXT,
    acked_at BIGINT,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX service_orders_status ON service_orders (status, id);
CREATE INDEX service_orders_account ON service_orders (account_id, id);
CREATE INDEX service_orders_updated ON service_orders (updated_at, id);
CREATE TABLE invoices (
    id TEXT {binary} PRIMARY KEY,
    service_order_id TEXT {binary} REFERENCES service_orders (id),
    milestone_id TEXT {binary} REFERENCES milestones (id),
    account_id TEXT {binary} REFERENCES accounts (id),
    connection_id TEXT {binary} NOT NULL,
    billing_round INTEGER NOT NULL,
    number TEXT,
    status TEXT,
    native_status TEXT,
    total_minor BIGINT NOT NULL,
    total_currency TEXT NOT NULL,
    paid_minor BIGINT,
    paid_currency TEXT,
    issued_on INTEGER,
    due_on INTEGER,
    billing_reference TEXT,
    rejection TEXT,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (milestone_id, billing_round)
);
CREATE INDEX invoices_order ON invoices (service_order_id, id);
CREATE INDEX invoices_account ON invoices (account_id, id);
CREATE INDEX invoices_status ON invoices (status, id);
CREATE INDEX invoices_updated ON invoices (updated_at, id);
CREATE TABLE invoice_lines (
    id TEXT {binary} PRIMARY KEY,
    invoice_id TEXT {binary} NOT NULL REFERENCES invoices (id),
    position INTEGER NOT NULL,
    description TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    amount_currency TEXT NOT NULL,
    UNIQUE (invoice_id, position)
);
";

const ACCESS: &str = "
CREATE TABLE persons (
    id TEXT {binary} PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    roles TEXT NOT NULL,
    row_scope TEXT NOT NULL,
    version INTEGER NOT NULL
);
CREATE TABLE tokens (
    id TEXT {binary} PRIMARY KEY,
    lookup TEXT NOT NULL UNIQUE,
    secret_sha256 TEXT NOT NULL,
    label TEXT NOT NULL,
    person_id TEXT {binary} REFERENCES persons (id),
    roles TEXT NOT NULL,
    permissions TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    result TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (principal, idempotency_key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
";

const INTEGRATION: &str = "
CREATE TABLE connections (
    id TEXT {binary} PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    connector TEXT NOT NULL,
    arms TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE identities (
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    state TEXT NOT NULL,
    remote_version TEXT,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, entity, remote_id)
);
CREATE INDEX identities_record ON identities (record_id, connection_id);
CREATE TABLE cursors (
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    watermark BIGINT,
    window_until BIGINT,
    more TEXT,
    failures INTEGER NOT NULL,
    next_run_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, entity)
);
CREATE TABLE sync_runs (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    run_trigger TEXT NOT NULL,
    status TEXT NOT NULL,
    pages INTEGER NOT NULL,
    rows_read INTEGER NOT NULL,
    rows_changed INTEGER NOT NULL,
    rows_parked INTEGER NOT NULL,
    error_code TEXT,
    error_message TEXT,
    attempt INTEGER NOT NULL,
    next_attempt_at BIGINT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX sync_runs_connection ON sync_runs (connection_id, id);
CREATE INDEX sync_runs_status ON sync_runs (status, id);
CREATE INDEX sync_runs_finished ON sync_runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE parked_rows (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    raw TEXT NOT NULL,
    mapping_version TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    UNIQUE (connection_id, entity, remote_id)
);
";

const QUEUES: &str = "
CREATE TABLE inbox_keys (
    connection_id TEXT {binary} NOT NULL,
    dedupe_key TEXT NOT NULL,
    event_id TEXT {binary} NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (connection_id, dedupe_key)
);
CREATE INDEX inbox_keys_expiry ON inbox_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE inbound_events (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    payload_id TEXT {binary} NOT NULL,
    dedupe_key TEXT NOT NULL,
    event_type TEXT NOT NULL,
    entity TEXT,
    remote_id TEXT,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error_code TEXT,
    error_message TEXT,
    next_attempt_at BIGINT,
    lease_until BIGINT,
    fence BIGINT NOT NULL,
    mapping_version TEXT NOT NULL,
    occurred_at BIGINT,
    received_at BIGINT NOT NULL,
    processed_at BIGINT
);
CREATE INDEX inbound_events_due ON inbound_events (next_attempt_at, id) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX inbound_events_line ON inbound_events (connection_id, entity, remote_id, received_at, id)
    WHERE next_attempt_at IS NOT NULL;
CREATE UNIQUE INDEX inbound_events_taken ON inbound_events (connection_id, entity, remote_id)
    WHERE lease_until IS NOT NULL;
CREATE INDEX inbound_events_status ON inbound_events (status, id);
CREATE INDEX inbound_events_unfinished ON inbound_events (payload_id)
    WHERE status IN ('RECEIVED', 'RETRYING', 'PARKED');
CREATE TABLE outbox (
    id TEXT {binary} PRIMARY KEY,
    aggregatetype TEXT NOT NULL,
    aggregateid TEXT NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE outbox_unplaced (
    outbox_id TEXT {binary} PRIMARY KEY
);
CREATE TABLE outbox_positions (
    position BIGINT PRIMARY KEY,
    outbox_id TEXT {binary} NOT NULL UNIQUE
);
CREATE TABLE effects (
    effect_key TEXT {binary} PRIMARY KEY,
    outbox_id TEXT {binary} NOT NULL,
    connection_id TEXT {binary} NOT NULL,
    order_key TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at BIGINT,
    lease_until BIGINT,
    fence BIGINT NOT NULL,
    first_sent_at BIGINT,
    remote_id TEXT,
    error_code TEXT,
    error_message TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX effects_due ON effects (next_attempt_at, outbox_id) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX effects_line ON effects (connection_id, order_key, created_at, outbox_id)
    WHERE next_attempt_at IS NOT NULL;
CREATE UNIQUE INDEX effects_taken ON effects (connection_id, order_key) WHERE lease_until IS NOT NULL;
CREATE UNIQUE INDEX effects_outbox ON effects (outbox_id);
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    fence BIGINT NOT NULL,
    until BIGINT NOT NULL
);
";

const HISTORY: &str = "
CREATE TABLE assertions (
    id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    record_id TEXT {binary} NOT NULL,
    connection_id TEXT {binary} NOT NULL,
    remote_id TEXT NOT NULL,
    remote_version TEXT,
    run_id TEXT {binary},
    inbound_event_id TEXT {binary},
    mapping_version TEXT NOT NULL,
    observed_at BIGINT NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (id, observed_at)
) {partition:observed_at};
CREATE INDEX assertions_record ON assertions (record_id, observed_at);
CREATE TABLE evidence (
    assertion_id TEXT {binary} NOT NULL,
    observed_at BIGINT NOT NULL,
    raw TEXT NOT NULL,
    PRIMARY KEY (assertion_id, observed_at)
) {partition:observed_at};
CREATE TABLE inbound_payloads (
    id TEXT {binary} NOT NULL,
    received_at BIGINT NOT NULL,
    headers TEXT NOT NULL,
    body {bytes} NOT NULL,
    PRIMARY KEY (id, received_at)
) {partition:received_at};
CREATE INDEX inbound_payloads_received ON inbound_payloads (received_at);
CREATE TABLE domain_events (
    id TEXT {binary} NOT NULL,
    occurred_at BIGINT NOT NULL,
    aggregatetype TEXT NOT NULL,
    aggregateid TEXT {binary} NOT NULL,
    type TEXT NOT NULL,
    actor TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (id, occurred_at)
) {partition:occurred_at};
CREATE INDEX domain_events_aggregate ON domain_events (aggregateid, occurred_at);
";
