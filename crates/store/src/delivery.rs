//! Milestones.

use crosstie_domain::{
    access::RowScope,
    delivery::{MilestoneBilling, MilestoneRecord},
    ids::{ConnectionId, MilestoneId, SowId},
    integration::adoption::match_text,
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What milestones are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MilestoneColumn {
    /// Identifier.
    Id,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct MilestoneRow {
    id: String,
    sow_id: String,
    account_id: String,
    position: i32,
    name: String,
    item_code: Option<String>,
    amount_minor: i64,
    amount_currency: String,
    planned_on: Option<i32>,
    acceptance: String,
    accepted_on: Option<i32>,
    billing: String,
    billing_round: i32,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for MilestoneRecord {
    type Column = MilestoneColumn;
    type Row = MilestoneRow;
    const SELECT: &'static str = "milestones.*";
    const FROM: &'static str = "milestones";
    const ID: &'static str = "milestones.id";
    const ACCOUNT: Option<&'static str> = Some("milestones.account_id");

    fn expression(_: MilestoneColumn) -> Expression {
        Expression::Required("milestones.id")
    }

    fn record(row: MilestoneRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("milestones.id", &row.id)?,
            sow_id: codec::id("milestones.sow_id", &row.sow_id)?,
            account_id: codec::id("milestones.account_id", &row.account_id)?,
            position: row.position,
            name: row.name,
            item_code: row
                .item_code
                .map(|code| code.try_into().map_err(|_| StoreError::Corrupt { column: "milestones.item_code" }))
                .transpose()?,
            amount: codec::money("milestones.amount", row.amount_minor, &row.amount_currency)?,
            planned_on: codec::date_opt("milestones.planned_on", row.planned_on)?,
            acceptance: codec::word("milestones.acceptance", row.acceptance)?,
            accepted_on: codec::date_opt("milestones.accepted_on", row.accepted_on)?,
            billing: codec::word("milestones.billing", row.billing)?,
            billing_round: row.billing_round,
            version: row.version,
            created_at: codec::instant("milestones.created_at", row.created_at)?,
            updated_at: codec::instant("milestones.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, _: MilestoneColumn) -> Json {
        json!(self.id.to_string())
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// The milestones with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn milestones_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[MilestoneId],
) -> Result<Vec<MilestoneRecord>, StoreError> {
    page::by_ids(db, scope, "milestones.id", &texts(ids)).await
}

/// All milestones of these statements of work; those of one are in the order of its lines.
///
/// # Errors
/// As the database.
pub async fn milestones_of(
    db: &impl Reads,
    scope: &RowScope,
    sows: &[SowId],
) -> Result<Vec<MilestoneRecord>, StoreError> {
    let mut milestones: Vec<MilestoneRecord> = page::by_ids(db, scope, "milestones.sow_id", &texts(sows)).await?;
    milestones.sort_by_key(|milestone| (milestone.sow_id, milestone.position));
    Ok(milestones)
}

/// Milestones that are to be billed through a connection and are not asked for yet, in the order of their identifiers,
/// behind one of them; at most so many.
///
/// # Errors
/// As the database.
pub async fn open_milestones(
    db: &impl Reads,
    connection: ConnectionId,
    (after, limit): (&str, i64),
) -> Result<Vec<MilestoneRecord>, StoreError> {
    let sql = "SELECT milestones.* FROM milestones JOIN sows ON sows.id = milestones.sow_id \
               WHERE sows.billing_connection_id = $1 AND milestones.billing = $2 AND milestones.id > $3 \
               ORDER BY milestones.id LIMIT $4";
    let open = codec::text(&MilestoneBilling::NotBillable);
    let values = vec![connection.to_string().into(), open.into(), after.to_owned().into(), limit.into()];
    let rows: Vec<MilestoneRow> = db.connection().all(sql, values).await?;
    rows.into_iter().map(MilestoneRecord::record).collect()
}

impl Tx {
    /// Saves a milestone: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_milestone(&self, milestone: &MilestoneRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", milestone.id.to_string().into()),
            ("sow_id", milestone.sow_id.to_string().into()),
            ("account_id", milestone.account_id.to_string().into()),
            ("position", milestone.position.into()),
            ("name", milestone.name.clone().into()),
            ("match_name", match_text(&milestone.name).into()),
            ("item_code", milestone.item_code.as_ref().map(ToString::to_string).into()),
            ("amount_minor", milestone.amount.minor.into()),
            ("amount_currency", milestone.amount.currency.to_string().into()),
            ("planned_on", milestone.planned_on.map(|on| on.days()).into()),
            ("acceptance", codec::text(&milestone.acceptance).into()),
            ("accepted_on", milestone.accepted_on.map(|on| on.days()).into()),
            ("billing", codec::text(&milestone.billing).into()),
            ("billing_round", milestone.billing_round.into()),
            ("version", milestone.version.into()),
            ("created_at", milestone.created_at.micros().into()),
            ("updated_at", milestone.updated_at.micros().into()),
        ];
        self.save_versioned("milestones", row).await
    }
}
