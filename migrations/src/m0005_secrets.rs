//! Secrets in envelopes, how connections sign in by OAuth 2.0, and authorizations that a person has begun.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_secrets"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A process that is killed half-way leaves nothing, on SQLite as on PostgreSQL.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, SECRETS).await
    }
}

const SECRETS: &str = "
CREATE TABLE secrets (
    owner_kind TEXT {binary} NOT NULL,
    owner_id TEXT {binary} NOT NULL,
    name TEXT {binary} NOT NULL,
    key_id TEXT {binary} NOT NULL,
    wrapped_key {bytes} NOT NULL,
    nonce {bytes} NOT NULL,
    ciphertext {bytes} NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    rotated_at BIGINT,
    PRIMARY KEY (owner_kind, owner_id, name)
);
CREATE INDEX secrets_key ON secrets (key_id);
CREATE TABLE connection_sign_ins (
    connection TEXT {binary} PRIMARY KEY,
    state TEXT NOT NULL,
    code TEXT,
    may_try INTEGER NOT NULL,
    generation BIGINT NOT NULL,
    asking_fence BIGINT,
    expires_at BIGINT,
    origin_sha256 TEXT,
    configuration_sha256 TEXT,
    authorization_page TEXT,
    redirect_url TEXT,
    changed_at BIGINT NOT NULL,
    renewed_at BIGINT
);
CREATE TABLE connection_authorizations (
    connection TEXT {binary} PRIMARY KEY,
    state_sha256 TEXT NOT NULL,
    redirect_url TEXT NOT NULL,
    begun_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
";
