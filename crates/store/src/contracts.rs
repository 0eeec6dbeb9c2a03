//! Statements of work.

use crosstie_domain::{
    access::RowScope,
    contracts::SowRecord,
    ids::{AccountId, OpportunityId, SowId},
    integration::adoption::match_text,
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What statements of work are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SowColumn {
    /// Identifier.
    Id,
    /// Account.
    Account,
    /// Opportunity.
    Opportunity,
    /// Status.
    Status,
    /// When it last changed.
    UpdatedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct SowRow {
    id: String,
    opportunity_id: String,
    account_id: String,
    billing_connection_id: String,
    title: String,
    status: String,
    total_minor: i64,
    total_currency: String,
    po_number: Option<String>,
    signed_on: Option<i32>,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for SowRecord {
    type Column = SowColumn;
    type Row = SowRow;
    const SELECT: &'static str = "sows.*";
    const FROM: &'static str = "sows";
    const ID: &'static str = "sows.id";
    const ACCOUNT: Option<&'static str> = Some("sows.account_id");

    fn expression(column: SowColumn) -> Expression {
        match column {
            SowColumn::Id => Expression::Required("sows.id"),
            SowColumn::Account => Expression::Required("sows.account_id"),
            SowColumn::Opportunity => Expression::Required("sows.opportunity_id"),
            SowColumn::Status => Expression::Required("sows.status"),
            SowColumn::UpdatedAt => Expression::Required("sows.updated_at"),
        }
    }

    fn record(row: SowRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("sows.id", &row.id)?,
            opportunity_id: codec::id("sows.opportunity_id", &row.opportunity_id)?,
            account_id: codec::id("sows.account_id", &row.account_id)?,
            billing_connection_id: codec::id("sows.billing_connection_id", &row.billing_connection_id)?,
            title: row.title,
            status: codec::word("sows.status", row.status)?,
            total: codec::money("sows.total", row.total_minor, &row.total_currency)?,
            po_number: row.po_number,
            signed_on: codec::date_opt("sows.signed_on", row.signed_on)?,
            version: row.version,
            created_at: codec::instant("sows.created_at", row.created_at)?,
            updated_at: codec::instant("sows.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: SowColumn) -> Json {
        match column {
            SowColumn::Id => json!(self.id.to_string()),
            SowColumn::Account => json!(self.account_id.to_string()),
            SowColumn::Opportunity => json!(self.opportunity_id.to_string()),
            SowColumn::Status => json!(codec::text(&self.status)),
            SowColumn::UpdatedAt => json!(self.updated_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of statements of work.
///
/// # Errors
/// As the database.
pub async fn sows(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<SowColumn>,
) -> Result<PageResult<SowRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The statements of work with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn sows_by_ids(db: &impl Reads, scope: &RowScope, ids: &[SowId]) -> Result<Vec<SowRecord>, StoreError> {
    page::by_ids(db, scope, "sows.id", &texts(ids)).await
}

/// For each opportunity its first so many statements of work after an identifier, and one more.
///
/// # Errors
/// As the database.
pub async fn sows_of_opportunities(
    db: &impl Reads,
    scope: &RowScope,
    opportunities: &[OpportunityId],
    span: (u32, Option<&str>),
) -> Result<Vec<SowRecord>, StoreError> {
    page::children(db, scope, "sows.opportunity_id", &texts(opportunities), span).await
}

/// For each account its first so many statements of work after an identifier, and one more.
///
/// # Errors
/// As the database.
pub async fn sows_of_accounts(
    db: &impl Reads,
    scope: &RowScope,
    accounts: &[AccountId],
    span: (u32, Option<&str>),
) -> Result<Vec<SowRecord>, StoreError> {
    page::children(db, scope, "sows.account_id", &texts(accounts), span).await
}

impl Tx {
    /// Saves a statement of work: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_sow(&self, sow: &SowRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", sow.id.to_string().into()),
            ("opportunity_id", sow.opportunity_id.to_string().into()),
            ("account_id", sow.account_id.to_string().into()),
            ("billing_connection_id", sow.billing_connection_id.to_string().into()),
            ("title", sow.title.clone().into()),
            ("status", codec::text(&sow.status).into()),
            ("total_minor", sow.total.minor.into()),
            ("total_currency", sow.total.currency.to_string().into()),
            ("po_number", sow.po_number.clone().into()),
            ("match_po", sow.po_number.as_deref().and_then(match_text).into()),
            ("match_title", match_text(&sow.title).into()),
            ("signed_on", sow.signed_on.map(|on| on.days()).into()),
            ("version", sow.version.into()),
            ("created_at", sow.created_at.micros().into()),
            ("updated_at", sow.updated_at.micros().into()),
        ];
        self.save_versioned("sows", row).await
    }
}
