//! Orders and invoices as billing systems hold them, and which of the hub's they may be.

use crosstie_domain::{
    access::RowScope,
    ids::ConnectionId,
    integration::{
        Entity,
        adoption::{AdoptionCandidate, AdoptionEvidence, RemoteDocument, match_text},
    },
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, texts::Texts};

#[derive(FromQueryResult)]
struct DocumentRow {
    id: String,
    connection_id: String,
    entity: String,
    remote_id: String,
    customer: Option<String>,
    hub_id: Option<String>,
    number: Option<String>,
    reference: Option<String>,
    title: Option<String>,
    state: String,
    amount_minor: Option<i64>,
    amount_currency: Option<String>,
    dated_on: Option<i32>,
}

/// A document at billing; `None` when none of this id was read.
///
/// # Errors
/// As the database.
pub async fn remote_document(
    db: &impl Reads,
    (connection, entity, remote_id): (ConnectionId, Entity, &str),
) -> Result<Option<RemoteDocument>, StoreError> {
    Ok(remote_documents(db, (connection, entity), &[remote_id]).await?.pop())
}

/// The documents of one kind at billing that have these ids and were read.
///
/// # Errors
/// As the database.
pub async fn remote_documents(
    db: &impl Reads,
    (connection, entity): (ConnectionId, Entity),
    remote_ids: &[&str],
) -> Result<Vec<RemoteDocument>, StoreError> {
    let sql = |ids: Texts| {
        let among = ids.among("remote_id");
        format!("SELECT * FROM remote_documents WHERE connection_id = $1 AND entity = $2 AND {among}")
    };
    let first = [connection.to_string().into(), entity.as_str().into()];
    let rows: Vec<DocumentRow> = db.connection().all_among(&first, remote_ids, sql).await?;
    let read = |row: DocumentRow| {
        Ok(RemoteDocument {
            id: codec::id("remote_documents.id", &row.id)?,
            connection_id: codec::id("remote_documents.connection_id", &row.connection_id)?,
            entity: entity_of("remote_documents.entity", &row.entity)?,
            remote_id: row.remote_id,
            customer: row.customer,
            hub_id: row.hub_id,
            number: row.number,
            reference: row.reference,
            title: row.title,
            state: codec::word("remote_documents.state", row.state)?,
            amount: codec::money_opt("remote_documents.amount", row.amount_minor, row.amount_currency.as_deref())?,
            dated_on: codec::date_opt("remote_documents.dated_on", row.dated_on)?,
        })
    };
    rows.into_iter().map(read).collect()
}

fn entity_of(column: &'static str, text: &str) -> Result<Entity, StoreError> {
    Entity::parse(text).ok_or(StoreError::Corrupt { column })
}

impl Tx {
    /// Saves what documents at billing are matched by, each of them once.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_documents(&self, documents: &[&RemoteDocument]) -> Result<(), StoreError> {
        let now = self.now();
        let row = |document: &&RemoteDocument| {
            vec![
                ("id", document.id.to_string().into()),
                ("connection_id", document.connection_id.to_string().into()),
                ("entity", document.entity.as_str().into()),
                ("remote_id", document.remote_id.clone().into()),
                ("customer", document.customer.clone().into()),
                ("hub_id", document.hub_id.clone().into()),
                ("number", document.number.clone().into()),
                ("reference", document.reference.clone().into()),
                ("title", document.title.clone().into()),
                ("match_reference", document.reference.as_deref().and_then(match_text).into()),
                ("match_title", document.title.as_deref().and_then(match_text).into()),
                ("state", codec::text(&document.state).into()),
                ("amount_minor", document.amount.map(|amount| amount.minor).into()),
                ("amount_currency", document.amount.map(|amount| amount.currency.to_string()).into()),
                ("dated_on", document.dated_on.map(|on| on.days()).into()),
                ("updated_at", now.micros().into()),
            ]
        };
        let key = &["connection_id", "entity", "remote_id"];
        let rows = documents.iter().map(row).collect();
        self.connection().save_all("remote_documents", key, rows, "").await.map(|_| ())
    }
}

/// What candidates are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionCandidateColumn {
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// The document's id at billing.
    RemoteId,
    /// The service order or milestone that it may be.
    Target,
    /// The account that buys.
    Account,
    /// How much speaks for it.
    Score,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct CandidateRow {
    document_id: String,
    connection_id: String,
    entity: String,
    remote_id: String,
    target_id: String,
    account_id: String,
    number: Option<String>,
    reference: Option<String>,
    title: Option<String>,
    state: String,
    amount_minor: Option<i64>,
    amount_currency: Option<String>,
    dated_on: Option<i32>,
    wanted_minor: i64,
    wanted_currency: String,
    by_id: i32,
    by_reference: i32,
    by_amount: i32,
    by_customer: i32,
    by_title: i32,
    by_day: i32,
    score: i32,
}

/// What a document and a target have in common, as ones and noughts. The weights are those of [`AdoptionEvidence`].
macro_rules! compared {
    ($target:literal, $amount:literal, $title:literal, $day:literal, $own:literal) => {
        concat!(
            "SELECT d.id AS document_id, d.connection_id, d.entity, d.remote_id, ",
            $target,
            ".id AS target_id, ",
            $target,
            ".account_id, d.number, d.reference, d.title, d.state, d.amount_minor, d.amount_currency, d.dated_on, ",
            $target,
            ".",
            $amount,
            "_minor AS wanted_minor, ",
            $target,
            ".",
            $amount,
            "_currency AS wanted_currency, CASE WHEN ",
            $own,
            " THEN 1 ELSE 0 END AS by_id, CASE WHEN d.match_reference = s.match_po THEN 1 ELSE 0 END AS by_reference, \
             CASE WHEN d.amount_minor = ",
            $target,
            ".",
            $amount,
            "_minor THEN 1 ELSE 0 END AS by_amount, CASE WHEN c.record_id = ",
            $target,
            ".account_id THEN 1 ELSE 0 END AS by_customer, CASE WHEN ",
            $title,
            " THEN 1 ELSE 0 END AS by_title, CASE WHEN ABS(d.dated_on - ",
            $day,
            ") <= 31 THEN 1 ELSE 0 END AS by_day "
        )
    };
}

/// Service orders that billing does not have yet, beside what may be them.
macro_rules! orders {
    ($ways:literal) => {
        concat!(
            compared!("o", "total", "d.match_title = s.match_title", "s.signed_on", "d.hub_id = o.id"),
            "FROM service_orders o JOIN sows s ON s.id = o.sow_id \
             JOIN effects e ON e.effect_key = 'order:' || o.id AND e.status IN ('WAITING', 'REJECTED') \
             JOIN remote_documents d ON d.connection_id = o.connection_id AND d.entity = 'service_order' AND ",
            $ways,
            " JOIN identities i ON i.connection_id = d.connection_id AND i.entity = d.entity \
             AND i.remote_id = d.remote_id AND i.deleted_at IS NULL \
             LEFT JOIN identities c ON c.connection_id = d.connection_id AND c.entity = 'account' \
             AND c.remote_id = d.customer \
             WHERE o.status IN ('PENDING', 'REJECTED') AND d.state <> 'CANCELED' \
             AND (i.record_id = o.id OR NOT EXISTS (SELECT 1 FROM service_orders x WHERE x.id = i.record_id)) \
             AND (d.hub_id = o.id OR d.amount_currency = o.total_currency)"
        )
    };
}

/// Milestones of ordered work that are not billed yet, beside what may be their invoices.
macro_rules! milestones {
    ($ways:literal) => {
        concat!(
            compared!(
                "m",
                "amount",
                "d.match_title IN (s.match_title, m.match_name)",
                "COALESCE(m.accepted_on, m.planned_on)",
                "d.hub_id = v.id AND v.milestone_id = m.id"
            ),
            "FROM milestones m JOIN sows s ON s.id = m.sow_id JOIN service_orders o ON o.sow_id = s.id \
             LEFT JOIN effects e ON e.effect_key = 'invoice:' || m.id || ':' || m.billing_round \
             JOIN remote_documents d ON d.connection_id = o.connection_id AND d.entity = 'invoice' AND ",
            $ways,
            " JOIN identities i ON i.connection_id = d.connection_id AND i.entity = d.entity \
             AND i.remote_id = d.remote_id AND i.deleted_at IS NULL JOIN invoices v ON v.id = i.record_id \
             LEFT JOIN identities c ON c.connection_id = d.connection_id AND c.entity = 'account' \
             AND c.remote_id = d.customer \
             WHERE (e.status IN ('WAITING', 'REJECTED') \
             OR (e.status IS NULL AND m.billing NOT IN ('INVOICED', 'PAID'))) \
             AND v.deleted_at IS NULL AND (v.milestone_id IS NULL OR v.milestone_id = m.id) \
             AND d.state <> 'CANCELED' AND d.amount_minor > 0 \
             AND (v.milestone_id = m.id OR d.amount_currency = m.amount_currency)"
        )
    };
}

impl Listed for AdoptionCandidate {
    type Column = AdoptionCandidateColumn;
    type Row = CandidateRow;
    const SELECT: &'static str = "candidates.*";
    // A document and a target meet by their customer, by the reference, or by the hub's own id; UNION drops what meets
    // by several of these.
    const FROM: &'static str = concat!(
        "(SELECT scored.*, document_id || '/' || target_id AS pair FROM (SELECT met.*, CASE WHEN by_id = 1 THEN 100 \
         ELSE 35 * by_reference + 25 * by_amount + 20 * by_customer + 15 * by_title + 5 * by_day END AS score FROM (",
        orders!(
            "d.customer IN (SELECT k.remote_id FROM identities k WHERE k.record_id = o.account_id \
             AND k.connection_id = o.connection_id AND k.entity = 'account')"
        ),
        " UNION ",
        orders!("d.match_reference = s.match_po"),
        " UNION ",
        orders!("d.hub_id = o.id"),
        " UNION ",
        milestones!(
            "d.customer IN (SELECT k.remote_id FROM identities k WHERE k.record_id = m.account_id \
             AND k.connection_id = o.connection_id AND k.entity = 'account')"
        ),
        " UNION ",
        milestones!("d.match_reference = s.match_po"),
        " UNION ",
        milestones!("d.hub_id IN (SELECT w.id FROM invoices w WHERE w.milestone_id = m.id)"),
        ") AS met) AS scored WHERE score >= 40) AS candidates"
    );
    const ID: &'static str = "candidates.pair";
    const ACCOUNT: Option<&'static str> = Some("candidates.account_id");

    fn expression(column: AdoptionCandidateColumn) -> Expression {
        match column {
            AdoptionCandidateColumn::Connection => Expression::Required("candidates.connection_id"),
            AdoptionCandidateColumn::Entity => Expression::Required("candidates.entity"),
            AdoptionCandidateColumn::RemoteId => Expression::Required("candidates.remote_id"),
            AdoptionCandidateColumn::Target => Expression::Required("candidates.target_id"),
            AdoptionCandidateColumn::Account => Expression::Required("candidates.account_id"),
            AdoptionCandidateColumn::Score => Expression::Required("candidates.score"),
        }
    }

    fn record(row: CandidateRow) -> Result<Self, StoreError> {
        let flags = [
            (row.by_id, AdoptionEvidence::OwnId),
            (row.by_reference, AdoptionEvidence::Reference),
            (row.by_amount, AdoptionEvidence::Amount),
            (row.by_customer, AdoptionEvidence::Customer),
            (row.by_title, AdoptionEvidence::Title),
            (row.by_day, AdoptionEvidence::Day),
        ];
        Ok(Self {
            document_id: codec::id("remote_documents.id", &row.document_id)?,
            connection_id: codec::id("remote_documents.connection_id", &row.connection_id)?,
            entity: entity_of("remote_documents.entity", &row.entity)?,
            remote_id: row.remote_id,
            target_id: row.target_id,
            account_id: codec::id("candidates.account_id", &row.account_id)?,
            number: row.number,
            reference: row.reference,
            title: row.title,
            state: codec::word("remote_documents.state", row.state)?,
            amount: codec::money_opt("remote_documents.amount", row.amount_minor, row.amount_currency.as_deref())?,
            dated_on: codec::date_opt("remote_documents.dated_on", row.dated_on)?,
            wanted: codec::money("candidates.wanted", row.wanted_minor, &row.wanted_currency)?,
            score: row.score,
            evidence: flags.into_iter().filter(|(flag, _)| *flag == 1).map(|(_, evidence)| evidence).collect(),
        })
    }

    fn key(&self, column: AdoptionCandidateColumn) -> Json {
        match column {
            AdoptionCandidateColumn::Connection => json!(self.connection_id.to_string()),
            AdoptionCandidateColumn::Entity => json!(self.entity.as_str()),
            AdoptionCandidateColumn::RemoteId => json!(self.remote_id),
            AdoptionCandidateColumn::Target => json!(self.target_id),
            AdoptionCandidateColumn::Account => json!(self.account_id.to_string()),
            AdoptionCandidateColumn::Score => json!(self.score),
        }
    }

    fn id(&self) -> String {
        format!("{}/{}", self.document_id, self.target_id)
    }
}

/// A page of documents at billing and what of the hub they may be. One document may stand there several times, and so
/// may one of the hub's records.
///
/// # Errors
/// As the database.
pub async fn adoption_candidates(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<AdoptionCandidateColumn>,
) -> Result<PageResult<AdoptionCandidate>, StoreError> {
    page::page(db, scope, request).await
}
