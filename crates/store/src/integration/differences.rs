//! What the hub and connected systems hold differently: the view that puts it together.

use crosstie_domain::{
    access::RowScope,
    integration::{Entity, differences::Difference},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, codec, page};

/// What differences are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceColumn {
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// Who has what.
    Kind,
    /// Field; empty when the whole record is meant.
    Field,
    /// Record in the hub.
    Record,
    /// The record's id there.
    RemoteId,
    /// Account.
    Account,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct DifferenceRow {
    id: String,
    connection_id: String,
    account_id: Option<String>,
    entity: String,
    remote_id: Option<String>,
    record_id: Option<String>,
    field: Option<String>,
    kind: String,
    step: Option<String>,
    effect_key: Option<String>,
    here: Option<String>,
    there: Option<String>,
    here_minor: Option<i64>,
    here_currency: Option<String>,
    there_minor: Option<i64>,
    there_currency: Option<String>,
}

impl Listed for Difference {
    type Column = DifferenceColumn;
    type Row = DifferenceRow;
    const SELECT: &'static str = "connection_differences.*";
    const FROM: &'static str = "connection_differences";
    const ID: &'static str = "connection_differences.id";
    const ACCOUNT: Option<&'static str> = Some("connection_differences.account_id");

    fn expression(column: DifferenceColumn) -> Expression {
        match column {
            DifferenceColumn::Connection => Expression::Required("connection_differences.connection_id"),
            DifferenceColumn::Entity => Expression::Required("connection_differences.entity"),
            DifferenceColumn::Kind => Expression::Required("connection_differences.kind"),
            DifferenceColumn::Field => Expression::Optional("connection_differences.field"),
            DifferenceColumn::Record => Expression::Optional("connection_differences.record_id"),
            DifferenceColumn::RemoteId => Expression::Optional("connection_differences.remote_id"),
            DifferenceColumn::Account => Expression::Optional("connection_differences.account_id"),
        }
    }

    fn record(row: DifferenceRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            connection_id: codec::id("connection_differences.connection_id", &row.connection_id)?,
            account_id: codec::id_opt("connection_differences.account_id", row.account_id.as_deref())?,
            entity: Entity::parse(&row.entity)
                .ok_or(StoreError::Corrupt { column: "connection_differences.entity" })?,
            remote_id: row.remote_id,
            record_id: row.record_id,
            field: row.field,
            kind: codec::word("connection_differences.kind", row.kind)?,
            step: row.step.map(|step| codec::word("connection_differences.step", step)).transpose()?,
            effect_key: row.effect_key,
            here: row.here,
            there: row.there,
            here_amount: codec::money_opt("connection_differences.here", row.here_minor, row.here_currency.as_deref())?,
            there_amount: codec::money_opt(
                "connection_differences.there",
                row.there_minor,
                row.there_currency.as_deref(),
            )?,
        })
    }

    fn key(&self, column: DifferenceColumn) -> Json {
        match column {
            DifferenceColumn::Connection => json!(self.connection_id.to_string()),
            DifferenceColumn::Entity => json!(self.entity.as_str()),
            DifferenceColumn::Kind => json!(codec::text(&self.kind)),
            DifferenceColumn::Field => json!(self.field),
            DifferenceColumn::Record => json!(self.record_id),
            DifferenceColumn::RemoteId => json!(self.remote_id),
            DifferenceColumn::Account => json!(self.account_id.map(|id| id.to_string())),
        }
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// A page of differences. What a switch would do about a field that several systems share is not told yet.
///
/// # Errors
/// As the database.
pub async fn connection_differences(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<DifferenceColumn>,
) -> Result<PageResult<Difference>, StoreError> {
    page::page(db, scope, request).await
}
