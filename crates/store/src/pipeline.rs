//! Accounts and opportunities.

use std::collections::BTreeMap;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::{AccountId, OpportunityId},
    pipeline::{AccountRecord, OpportunityRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, db::Columns, integration::match_name,
    page,
};

/// What accounts are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountColumn {
    /// Identifier.
    Id,
    /// Name.
    Name,
    /// When it last changed.
    UpdatedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct AccountRow {
    id: String,
    name: String,
    domain: Option<String>,
    billing_email: Option<String>,
    custom_fields: String,
    merged_into: Option<String>,
    deleted_at: Option<i64>,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for AccountRecord {
    type Column = AccountColumn;
    type Row = AccountRow;
    const SELECT: &'static str = "accounts.*";
    const FROM: &'static str = "accounts";
    const ID: &'static str = "accounts.id";
    const ACCOUNT: Option<&'static str> = Some("accounts.id");
    const UNLISTED: &'static str = "accounts.merged_into IS NOT NULL";

    fn expression(column: AccountColumn) -> Expression {
        match column {
            AccountColumn::Id => Expression::Required("accounts.id"),
            AccountColumn::Name => Expression::Long("accounts.name"),
            AccountColumn::UpdatedAt => Expression::Required("accounts.updated_at"),
        }
    }

    fn record(row: AccountRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("accounts.id", &row.id)?,
            name: row.name,
            domain: row.domain,
            billing_email: row.billing_email,
            custom: codec::json("accounts.custom_fields", &row.custom_fields)?,
            merged_into: codec::id_opt("accounts.merged_into", row.merged_into.as_deref())?,
            deleted_at: codec::instant_opt("accounts.deleted_at", row.deleted_at)?,
            version: row.version,
            created_at: codec::instant("accounts.created_at", row.created_at)?,
            updated_at: codec::instant("accounts.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: AccountColumn) -> Json {
        match column {
            AccountColumn::Id => json!(self.id.to_string()),
            AccountColumn::Name => json!(self.name),
            AccountColumn::UpdatedAt => json!(self.updated_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of accounts.
///
/// # Errors
/// As the database.
pub async fn accounts(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<AccountColumn>,
) -> Result<PageResult<AccountRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The accounts with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn accounts_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[AccountId],
) -> Result<Vec<AccountRecord>, StoreError> {
    page::by_ids(db, scope, "accounts.id", &texts(ids)).await
}

/// What opportunities are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpportunityColumn {
    /// Identifier.
    Id,
    /// Account.
    Account,
    /// Name.
    Name,
    /// Stage in common terms.
    Stage,
    /// Expected day of closing.
    CloseOn,
    /// When it last changed.
    UpdatedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct OpportunityRow {
    id: String,
    account_id: Option<String>,
    name: String,
    stage: Option<String>,
    native_stage: Option<String>,
    amount_minor: Option<i64>,
    amount_currency: Option<String>,
    close_on: Option<i32>,
    custom_fields: String,
    merged_into: Option<String>,
    deleted_at: Option<i64>,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for OpportunityRecord {
    type Column = OpportunityColumn;
    type Row = OpportunityRow;
    const SELECT: &'static str = "opportunities.*";
    const FROM: &'static str = "opportunities";
    const ID: &'static str = "opportunities.id";
    const ACCOUNT: Option<&'static str> = Some("opportunities.account_id");
    const UNLISTED: &'static str = "opportunities.merged_into IS NOT NULL";

    fn expression(column: OpportunityColumn) -> Expression {
        match column {
            OpportunityColumn::Id => Expression::Required("opportunities.id"),
            OpportunityColumn::Account => Expression::Optional("opportunities.account_id"),
            OpportunityColumn::Name => Expression::Long("opportunities.name"),
            OpportunityColumn::Stage => Expression::Optional("opportunities.stage"),
            OpportunityColumn::CloseOn => Expression::Optional("opportunities.close_on"),
            OpportunityColumn::UpdatedAt => Expression::Required("opportunities.updated_at"),
        }
    }

    fn record(row: OpportunityRow) -> Result<Self, StoreError> {
        let amount = codec::money_opt("opportunities.amount", row.amount_minor, row.amount_currency.as_deref())?;
        Ok(Self {
            id: codec::id("opportunities.id", &row.id)?,
            account_id: codec::id_opt("opportunities.account_id", row.account_id.as_deref())?,
            name: row.name,
            stage: row.stage.map(|stage| codec::word("opportunities.stage", stage)).transpose()?,
            native_stage: row.native_stage,
            amount,
            close_on: codec::date_opt("opportunities.close_on", row.close_on)?,
            custom: codec::json("opportunities.custom_fields", &row.custom_fields)?,
            merged_into: codec::id_opt("opportunities.merged_into", row.merged_into.as_deref())?,
            deleted_at: codec::instant_opt("opportunities.deleted_at", row.deleted_at)?,
            version: row.version,
            created_at: codec::instant("opportunities.created_at", row.created_at)?,
            updated_at: codec::instant("opportunities.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: OpportunityColumn) -> Json {
        match column {
            OpportunityColumn::Id => json!(self.id.to_string()),
            OpportunityColumn::Account => json!(self.account_id.map(|id| id.to_string())),
            OpportunityColumn::Name => json!(self.name),
            OpportunityColumn::Stage => json!(self.stage.map(|stage| codec::text(&stage))),
            OpportunityColumn::CloseOn => json!(self.close_on.map(|on| on.days())),
            OpportunityColumn::UpdatedAt => json!(self.updated_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of opportunities.
///
/// # Errors
/// As the database.
pub async fn opportunities(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<OpportunityColumn>,
) -> Result<PageResult<OpportunityRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The opportunities with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn opportunities_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[OpportunityId],
) -> Result<Vec<OpportunityRecord>, StoreError> {
    page::by_ids(db, scope, "opportunities.id", &texts(ids)).await
}

/// For each account its first so many opportunities after an identifier, and one more.
///
/// # Errors
/// As the database.
pub async fn opportunities_of(
    db: &impl Reads,
    scope: &RowScope,
    accounts: &[AccountId],
    span: (u32, Option<&str>),
) -> Result<Vec<OpportunityRecord>, StoreError> {
    page::children(db, scope, "opportunities.account_id", &texts(accounts), span).await
}

pub(crate) fn texts<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(T::to_string).collect()
}

impl Tx {
    /// Saves an account: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_account(&self, account: &AccountRecord) -> Result<(), StoreError> {
        self.save_accounts(&[(account, 1)]).await
    }

    /// The same for several accounts, each so many versions on from the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed any of them.
    pub async fn save_accounts(&self, accounts: &[(&AccountRecord, i32)]) -> Result<(), StoreError> {
        let row = |account: &AccountRecord| {
            vec![
                ("id", account.id.to_string().into()),
                ("name", account.name.clone().into()),
                ("domain", account.domain.clone().into()),
                ("billing_email", account.billing_email.clone().into()),
                ("custom_fields", codec::json_text(&account.custom).into()),
                ("match_name", match_name(&account.name).into()),
                ("merged_into", account.merged_into.map(|id| id.to_string()).into()),
                ("deleted_at", account.deleted_at.map(Instant::micros).into()),
                ("version", account.version.into()),
                ("created_at", account.created_at.micros().into()),
                ("updated_at", account.updated_at.micros().into()),
            ]
        };
        self.save_versions("accounts", accounts.iter().map(|(account, steps)| (row(account), *steps))).await
    }

    /// Saves an opportunity: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_opportunity(&self, opportunity: &OpportunityRecord) -> Result<(), StoreError> {
        self.save_opportunities(&[(opportunity, 1)]).await
    }

    /// The same for several opportunities, each so many versions on from the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed any of them.
    pub async fn save_opportunities(&self, opportunities: &[(&OpportunityRecord, i32)]) -> Result<(), StoreError> {
        let row = |opportunity: &OpportunityRecord| {
            vec![
                ("id", opportunity.id.to_string().into()),
                ("account_id", opportunity.account_id.map(|id| id.to_string()).into()),
                ("name", opportunity.name.clone().into()),
                ("stage", opportunity.stage.map(|stage| codec::text(&stage)).into()),
                ("native_stage", opportunity.native_stage.clone().into()),
                ("amount_minor", opportunity.amount.map(|amount| amount.minor).into()),
                ("amount_currency", opportunity.amount.map(|amount| amount.currency.to_string()).into()),
                ("close_on", opportunity.close_on.map(|on| on.days()).into()),
                ("custom_fields", codec::json_text(&opportunity.custom).into()),
                ("merged_into", opportunity.merged_into.map(|id| id.to_string()).into()),
                ("deleted_at", opportunity.deleted_at.map(Instant::micros).into()),
                ("version", opportunity.version.into()),
                ("created_at", opportunity.created_at.micros().into()),
                ("updated_at", opportunity.updated_at.micros().into()),
            ]
        };
        let rows = opportunities.iter().map(|(opportunity, steps)| (row(opportunity), *steps));
        self.save_versions("opportunities", rows).await
    }

    pub(crate) async fn save_versioned(&self, table: &'static str, row: Columns) -> Result<(), StoreError> {
        self.save_versions(table, std::iter::once((row, 1))).await
    }

    /// Saves rows that are so many versions on from those that were read; most are one version on, and are saved
    /// together.
    pub(crate) async fn save_versions(
        &self,
        table: &'static str,
        rows: impl Iterator<Item = (Columns, i32)>,
    ) -> Result<(), StoreError> {
        let mut by_steps: BTreeMap<i32, Vec<Columns>> = BTreeMap::new();
        for (row, steps) in rows {
            by_steps.entry(steps).or_default().push(row);
        }
        for (steps, rows) in by_steps {
            let when = format!("{table}.version = excluded.version - {steps}");
            let wanted = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            if self.connection().save_all(table, &["id"], rows, &when).await? < wanted {
                return Err(StoreError::Conflict);
            }
        }
        Ok(())
    }
}
