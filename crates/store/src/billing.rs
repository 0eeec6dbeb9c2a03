//! Service orders and invoices.

use crosstie_domain::{
    Instant, Money,
    access::RowScope,
    billing::{InvoiceLineRecord, InvoiceRecord, ServiceOrderRecord},
    ids::{InvoiceId, MilestoneId, ServiceOrderId, SowId},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{
    Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec,
    db::{Columns, marks},
    page,
    pipeline::texts,
    texts::Texts,
};

/// What service orders are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceOrderColumn {
    /// Identifier.
    Id,
    /// Account.
    Account,
    /// Status.
    Status,
    /// When it last changed.
    UpdatedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct ServiceOrderRow {
    id: String,
    sow_id: String,
    account_id: String,
    connection_id: String,
    status: String,
    total_minor: i64,
    total_currency: String,
    billing_reference: Option<String>,
    rejection: Option<String>,
    acked_at: Option<i64>,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for ServiceOrderRecord {
    type Column = ServiceOrderColumn;
    type Row = ServiceOrderRow;
    const SELECT: &'static str = "service_orders.*";
    const FROM: &'static str = "service_orders";
    const ID: &'static str = "service_orders.id";
    const ACCOUNT: Option<&'static str> = Some("service_orders.account_id");

    fn expression(column: ServiceOrderColumn) -> Expression {
        match column {
            ServiceOrderColumn::Id => Expression::Required("service_orders.id"),
            ServiceOrderColumn::Account => Expression::Required("service_orders.account_id"),
            ServiceOrderColumn::Status => Expression::Required("service_orders.status"),
            ServiceOrderColumn::UpdatedAt => Expression::Required("service_orders.updated_at"),
        }
    }

    fn record(row: ServiceOrderRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("service_orders.id", &row.id)?,
            sow_id: codec::id("service_orders.sow_id", &row.sow_id)?,
            account_id: codec::id("service_orders.account_id", &row.account_id)?,
            connection_id: codec::id("service_orders.connection_id", &row.connection_id)?,
            status: codec::word("service_orders.status", row.status)?,
            total: codec::money("service_orders.total", row.total_minor, &row.total_currency)?,
            billing_reference: row.billing_reference,
            rejection: row.rejection,
            acked_at: codec::instant_opt("service_orders.acked_at", row.acked_at)?,
            version: row.version,
            created_at: codec::instant("service_orders.created_at", row.created_at)?,
            updated_at: codec::instant("service_orders.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: ServiceOrderColumn) -> Json {
        match column {
            ServiceOrderColumn::Id => json!(self.id.to_string()),
            ServiceOrderColumn::Account => json!(self.account_id.to_string()),
            ServiceOrderColumn::Status => json!(codec::text(&self.status)),
            ServiceOrderColumn::UpdatedAt => json!(self.updated_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of service orders.
///
/// # Errors
/// As the database.
pub async fn service_orders(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<ServiceOrderColumn>,
) -> Result<PageResult<ServiceOrderRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The service orders with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn service_orders_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[ServiceOrderId],
) -> Result<Vec<ServiceOrderRecord>, StoreError> {
    page::by_ids(db, scope, "service_orders.id", &texts(ids)).await
}

/// The service orders of these statements of work, at most one each.
///
/// # Errors
/// As the database.
pub async fn service_orders_of(
    db: &impl Reads,
    scope: &RowScope,
    sows: &[SowId],
) -> Result<Vec<ServiceOrderRecord>, StoreError> {
    page::by_ids(db, scope, "service_orders.sow_id", &texts(sows)).await
}

/// What invoices are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceColumn {
    /// Identifier.
    Id,
    /// Account.
    Account,
    /// Status.
    Status,
    /// Number.
    Number,
    /// Due date.
    DueOn,
    /// When it last changed.
    UpdatedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct InvoiceRow {
    id: String,
    service_order_id: Option<String>,
    milestone_id: Option<String>,
    account_id: Option<String>,
    connection_id: String,
    billing_round: i32,
    number: Option<String>,
    status: Option<String>,
    native_status: Option<String>,
    total_minor: i64,
    total_currency: String,
    net_minor: Option<i64>,
    tax_minor: Option<i64>,
    paid_minor: Option<i64>,
    paid_currency: Option<String>,
    issued_on: Option<i32>,
    due_on: Option<i32>,
    billing_reference: Option<String>,
    rejection: Option<String>,
    deleted_at: Option<i64>,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl Listed for InvoiceRecord {
    type Column = InvoiceColumn;
    type Row = InvoiceRow;
    const SELECT: &'static str = "invoices.*";
    const FROM: &'static str = "invoices";
    const ID: &'static str = "invoices.id";
    const ACCOUNT: Option<&'static str> = Some("invoices.account_id");
    const UNLISTED: &'static str = "invoices.merged_into IS NOT NULL";

    fn expression(column: InvoiceColumn) -> Expression {
        match column {
            InvoiceColumn::Id => Expression::Required("invoices.id"),
            InvoiceColumn::Account => Expression::Optional("invoices.account_id"),
            InvoiceColumn::Status => Expression::Optional("invoices.status"),
            InvoiceColumn::Number => Expression::Optional("invoices.number"),
            InvoiceColumn::DueOn => Expression::Optional("invoices.due_on"),
            InvoiceColumn::UpdatedAt => Expression::Required("invoices.updated_at"),
        }
    }

    fn record(row: InvoiceRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("invoices.id", &row.id)?,
            service_order_id: codec::id_opt("invoices.service_order_id", row.service_order_id.as_deref())?,
            milestone_id: codec::id_opt("invoices.milestone_id", row.milestone_id.as_deref())?,
            account_id: codec::id_opt("invoices.account_id", row.account_id.as_deref())?,
            connection_id: codec::id("invoices.connection_id", &row.connection_id)?,
            billing_round: row.billing_round,
            number: row.number,
            status: row.status.map(|status| codec::word("invoices.status", status)).transpose()?,
            native_status: row.native_status,
            total: codec::money("invoices.total", row.total_minor, &row.total_currency)?,
            net: in_currency("invoices.net", row.net_minor, &row.total_currency)?,
            tax: in_currency("invoices.tax", row.tax_minor, &row.total_currency)?,
            amount_paid: codec::money_opt("invoices.paid", row.paid_minor, row.paid_currency.as_deref())?,
            issued_on: codec::date_opt("invoices.issued_on", row.issued_on)?,
            due_on: codec::date_opt("invoices.due_on", row.due_on)?,
            billing_reference: row.billing_reference,
            rejection: row.rejection,
            deleted_at: codec::instant_opt("invoices.deleted_at", row.deleted_at)?,
            version: row.version,
            created_at: codec::instant("invoices.created_at", row.created_at)?,
            updated_at: codec::instant("invoices.updated_at", row.updated_at)?,
        })
    }

    fn key(&self, column: InvoiceColumn) -> Json {
        match column {
            InvoiceColumn::Id => json!(self.id.to_string()),
            InvoiceColumn::Account => json!(self.account_id.map(|id| id.to_string())),
            InvoiceColumn::Status => json!(self.status.map(|status| codec::text(&status))),
            InvoiceColumn::Number => json!(self.number),
            InvoiceColumn::DueOn => json!(self.due_on.map(|on| on.days())),
            InvoiceColumn::UpdatedAt => json!(self.updated_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A part of an invoice's total.
fn in_currency(column: &'static str, minor: Option<i64>, currency: &str) -> Result<Option<Money>, StoreError> {
    minor.map(|minor| codec::money(column, minor, currency)).transpose()
}

/// A page of invoices.
///
/// # Errors
/// As the database.
pub async fn invoices(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<InvoiceColumn>,
) -> Result<PageResult<InvoiceRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The invoices with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn invoices_by_ids(
    db: &impl Reads,
    scope: &RowScope,
    ids: &[InvoiceId],
) -> Result<Vec<InvoiceRecord>, StoreError> {
    page::by_ids(db, scope, "invoices.id", &texts(ids)).await
}

/// The invoices of these milestones, of every billing round.
///
/// # Errors
/// As the database.
pub async fn invoices_of_milestones(
    db: &impl Reads,
    scope: &RowScope,
    milestones: &[MilestoneId],
) -> Result<Vec<InvoiceRecord>, StoreError> {
    page::by_ids(db, scope, "invoices.milestone_id", &texts(milestones)).await
}

/// For each order its first so many invoices after an identifier, and one more.
///
/// # Errors
/// As the database.
pub async fn invoices_of_orders(
    db: &impl Reads,
    scope: &RowScope,
    orders: &[ServiceOrderId],
    span: (u32, Option<&str>),
) -> Result<Vec<InvoiceRecord>, StoreError> {
    page::children(db, scope, "invoices.service_order_id", &texts(orders), span).await
}

#[derive(FromQueryResult)]
struct InvoiceLineRow {
    id: String,
    invoice_id: String,
    position: i32,
    description: String,
    amount_minor: i64,
    amount_currency: String,
}

/// The lines of these invoices, those of one in their order. The invoices were found under a scope, so whoever has
/// their identifiers may see their lines.
///
/// # Errors
/// As the database.
pub async fn invoice_lines(
    db: &impl Reads,
    scope: &RowScope,
    invoices: &[InvoiceId],
) -> Result<Vec<InvoiceLineRecord>, StoreError> {
    let visible = invoices_by_ids(db, scope, invoices).await?;
    if visible.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM invoice_lines WHERE invoice_id IN ({}) ORDER BY invoice_id, position",
        marks(1, visible.len())
    );
    let ids = visible.iter().map(|invoice| invoice.id.to_string().into()).collect();
    let rows: Vec<InvoiceLineRow> = db.connection().all(&sql, ids).await?;
    rows.into_iter()
        .map(|row| {
            Ok(InvoiceLineRecord {
                id: codec::id("invoice_lines.id", &row.id)?,
                invoice_id: codec::id("invoice_lines.invoice_id", &row.invoice_id)?,
                position: row.position,
                description: row.description,
                amount: codec::money("invoice_lines.amount", row.amount_minor, &row.amount_currency)?,
            })
        })
        .collect()
}

impl Tx {
    /// Holds a service order until the end of the transaction: who counts its invoices comes after who changes them.
    /// SQLite has one writer. Where there is no such order, nothing is held.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody else holds it for more than 5 seconds.
    pub async fn lock_service_order(&self, id: ServiceOrderId) -> Result<(), StoreError> {
        self.lock_service_orders(&[id]).await
    }

    /// The same for several service orders, in the order that everybody takes them in.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody else holds one for more than 5 seconds.
    pub async fn lock_service_orders(&self, ids: &[ServiceOrderId]) -> Result<(), StoreError> {
        if !self.connection().is_postgres() {
            return Ok(());
        }
        let sql =
            |ids: Texts| format!("SELECT id FROM service_orders WHERE {} ORDER BY id FOR UPDATE", ids.among("id"));
        self.connection().run_among(&[], &texts(ids), sql).await.map(|_| ())
    }

    /// Saves a service order: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_service_order(&self, order: &ServiceOrderRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", order.id.to_string().into()),
            ("sow_id", order.sow_id.to_string().into()),
            ("account_id", order.account_id.to_string().into()),
            ("connection_id", order.connection_id.to_string().into()),
            ("status", codec::text(&order.status).into()),
            ("total_minor", order.total.minor.into()),
            ("total_currency", order.total.currency.to_string().into()),
            ("billing_reference", order.billing_reference.clone().into()),
            ("rejection", order.rejection.clone().into()),
            ("acked_at", order.acked_at.map(|at| at.micros()).into()),
            ("version", order.version.into()),
            ("created_at", order.created_at.micros().into()),
            ("updated_at", order.updated_at.micros().into()),
        ];
        self.save_versioned("service_orders", row).await
    }

    /// Saves an invoice: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_invoice(&self, invoice: &InvoiceRecord) -> Result<(), StoreError> {
        self.save_invoices(&[(invoice, 1)]).await
    }

    /// The same for several invoices, each so many versions on from the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed any of them.
    pub async fn save_invoices(&self, invoices: &[(&InvoiceRecord, i32)]) -> Result<(), StoreError> {
        let row = |invoice: &InvoiceRecord| {
            vec![
                ("id", invoice.id.to_string().into()),
                ("service_order_id", invoice.service_order_id.map(|id| id.to_string()).into()),
                ("milestone_id", invoice.milestone_id.map(|id| id.to_string()).into()),
                ("account_id", invoice.account_id.map(|id| id.to_string()).into()),
                ("connection_id", invoice.connection_id.to_string().into()),
                ("billing_round", invoice.billing_round.into()),
                ("number", invoice.number.clone().into()),
                ("status", invoice.status.map(|status| codec::text(&status)).into()),
                ("native_status", invoice.native_status.clone().into()),
                ("total_minor", invoice.total.minor.into()),
                ("total_currency", invoice.total.currency.to_string().into()),
                ("net_minor", invoice.net.map(|net| net.minor).into()),
                ("tax_minor", invoice.tax.map(|tax| tax.minor).into()),
                ("paid_minor", invoice.amount_paid.map(|paid| paid.minor).into()),
                ("paid_currency", invoice.amount_paid.map(|paid| paid.currency.to_string()).into()),
                ("issued_on", invoice.issued_on.map(|on| on.days()).into()),
                ("due_on", invoice.due_on.map(|on| on.days()).into()),
                ("billing_reference", invoice.billing_reference.clone().into()),
                ("rejection", invoice.rejection.clone().into()),
                ("deleted_at", invoice.deleted_at.map(Instant::micros).into()),
                ("version", invoice.version.into()),
                ("created_at", invoice.created_at.micros().into()),
                ("updated_at", invoice.updated_at.micros().into()),
            ]
        };
        self.save_versions("invoices", invoices.iter().map(|(invoice, steps)| (row(invoice), *steps))).await
    }

    /// Lets an invoice that is the same as another one leave the lists, or come back.
    ///
    /// # Errors
    /// As the database.
    pub async fn merge_invoice(&self, invoice: InvoiceId, into: Option<InvoiceId>) -> Result<(), StoreError> {
        let sql = "UPDATE invoices SET merged_into = $1 WHERE id = $2";
        let values = vec![into.map(|into| into.to_string()).into(), invoice.to_string().into()];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// Replaces the lines of an invoice.
    ///
    /// # Errors
    /// As the database.
    pub async fn replace_invoice_lines(
        &self,
        invoice: InvoiceId,
        lines: &[InvoiceLineRecord],
    ) -> Result<(), StoreError> {
        self.replace_lines_of(&[invoice], lines).await
    }

    /// Replaces the lines of several invoices.
    ///
    /// # Errors
    /// As the database.
    pub async fn replace_lines_of(
        &self,
        invoices: &[InvoiceId],
        lines: &[InvoiceLineRecord],
    ) -> Result<(), StoreError> {
        let db = self.connection();
        let sql = |of: Texts| format!("DELETE FROM invoice_lines WHERE {}", of.among("invoice_id"));
        db.run_among(&[], &texts(invoices), sql).await?;
        let rows: Vec<Columns> = lines
            .iter()
            .map(|line| {
                vec![
                    ("id", line.id.to_string().into()),
                    ("invoice_id", line.invoice_id.to_string().into()),
                    ("position", line.position.into()),
                    ("description", line.description.clone().into()),
                    ("amount_minor", line.amount.minor.into()),
                    ("amount_currency", line.amount.currency.to_string().into()),
                ]
            })
            .collect();
        db.insert("invoice_lines", rows, "").await.map(|_| ())
    }
}
