//! Webhook deliveries that were not believed: the first few of each connection in each hour, whatever a stranger does.

use crosstie_domain::{
    access::RowScope,
    ids::{ConnectionId, InboundRefusalId},
    integration::{ExchangeHeader, InboundRefusalRecord},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, Store, StoreError, codec, page, pipeline::texts};

/// Refusals that are kept of each connection in each hour, and of those together that no connection is meant by.
pub const REFUSALS_AN_HOUR: i32 = 5;
const HOUR_MICROS: i64 = 3_600_000_000;

/// What refusals are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalColumn {
    /// Identifier; refusals that came later have larger ones.
    Id,
    /// Connection.
    Connection,
    /// Why it was refused.
    Code,
    /// When it was refused.
    RefusedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct RefusalRow {
    id: String,
    connection_id: Option<String>,
    asked_for: String,
    code: String,
    header_names: String,
    safe_headers: String,
    body_bytes: i64,
    body_sha256: String,
    body_excerpt: Option<String>,
    refused_at: i64,
}

impl Listed for InboundRefusalRecord {
    type Column = RefusalColumn;
    type Row = RefusalRow;
    const SELECT: &'static str = "inbound_refusals.*";
    const FROM: &'static str = "inbound_refusals";
    const ID: &'static str = "inbound_refusals.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: RefusalColumn) -> Expression {
        match column {
            RefusalColumn::Id => Expression::Required("inbound_refusals.id"),
            RefusalColumn::Connection => Expression::Optional("inbound_refusals.connection_id"),
            RefusalColumn::Code => Expression::Required("inbound_refusals.code"),
            RefusalColumn::RefusedAt => Expression::Required("inbound_refusals.refused_at"),
        }
    }

    fn record(row: RefusalRow) -> Result<Self, StoreError> {
        let pairs: Vec<(String, String)> = codec::json("inbound_refusals.safe_headers", &row.safe_headers)?;
        Ok(Self {
            id: codec::id("inbound_refusals.id", &row.id)?,
            connection_id: codec::id_opt("inbound_refusals.connection_id", row.connection_id.as_deref())?,
            asked_for: row.asked_for,
            code: row.code,
            header_names: codec::json("inbound_refusals.header_names", &row.header_names)?,
            safe_headers: pairs.into_iter().map(|(name, value)| ExchangeHeader { name, value }).collect(),
            body_bytes: row.body_bytes,
            body_sha256: row.body_sha256,
            body_excerpt: row.body_excerpt,
            refused_at: codec::instant("inbound_refusals.refused_at", row.refused_at)?,
        })
    }

    fn key(&self, column: RefusalColumn) -> Json {
        match column {
            RefusalColumn::Id => json!(self.id.to_string()),
            RefusalColumn::Connection => json!(self.connection_id.map(|id| id.to_string())),
            RefusalColumn::Code => json!(self.code),
            RefusalColumn::RefusedAt => json!(self.refused_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of refusals.
///
/// # Errors
/// As the database.
pub async fn inbound_refusals(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<RefusalColumn>,
) -> Result<PageResult<InboundRefusalRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The refusals with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn inbound_refusals_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[InboundRefusalId],
) -> Result<Vec<InboundRefusalRecord>, StoreError> {
    page::by_ids(db, scope, "inbound_refusals.id", &texts(ids)).await
}

#[derive(FromQueryResult)]
struct CountRow {
    kept: i64,
}

impl Store {
    /// Keeps what is to be known of a time at which webhooks were refused or turned away, in one commit: refusals as long
    /// as there are few of their connection in their hour, and how many deliveries of which connection were turned away.
    /// Returns how many refusals were kept.
    ///
    /// # Errors
    /// As the database, and nothing was kept.
    pub async fn keep_refusals(
        &self,
        refusals: &[InboundRefusalRecord],
        turned_away: &[(ConnectionId, i64)],
    ) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let db = tx.connection();
        let mut kept = 0;
        for refusal in refusals {
            let counted_as = refusal.connection_id.map(|id| id.to_string()).unwrap_or_default();
            let hour = refusal.refused_at.micros().div_euclid(HOUR_MICROS);
            let sql = "SELECT COUNT(*) AS kept FROM inbound_refusals WHERE counted_as = $1 AND hour = $2";
            let count: Option<CountRow> = db.one(sql, vec![counted_as.clone().into(), hour.into()]).await?;
            let place = count.map_or(0, |count| count.kept);
            if place >= i64::from(REFUSALS_AN_HOUR) {
                continue;
            }
            let headers: Vec<_> =
                refusal.safe_headers.iter().map(|header| json!([header.name, header.value])).collect();
            let row = vec![
                ("id", refusal.id.to_string().into()),
                ("connection_id", refusal.connection_id.map(|id| id.to_string()).into()),
                ("counted_as", counted_as.into()),
                ("hour", hour.into()),
                ("place", i32::try_from(place).unwrap_or(i32::MAX).into()),
                ("asked_for", refusal.asked_for.clone().into()),
                ("code", refusal.code.clone().into()),
                ("header_names", codec::json_text(&refusal.header_names).into()),
                ("safe_headers", Json::from(headers).to_string().into()),
                ("body_bytes", refusal.body_bytes.into()),
                ("body_sha256", refusal.body_sha256.clone().into()),
                ("body_excerpt", refusal.body_excerpt.clone().into()),
                ("refused_at", refusal.refused_at.micros().into()),
            ];
            // Another process may take the place at the same time: then this one is one too many.
            kept +=
                db.insert("inbound_refusals", vec![row], " ON CONFLICT (counted_as, hour, place) DO NOTHING").await?;
        }
        for (connection, deliveries) in turned_away {
            tx.count_turned_away(*connection, *deliveries).await?;
        }
        tx.commit().await?;
        Ok(kept)
    }
}
