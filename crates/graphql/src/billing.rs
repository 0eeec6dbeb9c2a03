//! Service orders and invoices.

use async_graphql::{Context, ID, InputObject, MergedObject, Object, Result};
use crosstie_app::shown_values;
use crosstie_domain::{
    Money,
    access::{Permission, Sensitivity},
    billing::{InvoiceLineRecord, InvoiceRecord, InvoiceStatus, ServiceOrderRecord, ServiceOrderStatus},
    integration::Entity,
};
use crosstie_store::{
    Condition,
    billing::{self, InvoiceColumn, ServiceOrderColumn, invoice_lines, invoices_of_orders},
    contracts::sows_by_ids,
    delivery::milestones_by_ids,
    pipeline::accounts_by_ids,
};

use crate::{
    access::{access, financial, sensitivity},
    contracts::Sow,
    delivery::Milestone,
    edge::{Item, keyed},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateFilter, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    integration::{
        ConnectedSystem,
        provenance::{Provenance, provenance},
    },
    listing::{Connection, Node, Part, listed, order_fields},
    pipeline::Account,
    sources::{SourceClaim, sources},
};

/// A service order.
#[derive(Clone)]
pub(crate) struct ServiceOrder(pub(crate) Item<ServiceOrderRecord>);

impl From<Item<ServiceOrderRecord>> for ServiceOrder {
    fn from(item: Item<ServiceOrderRecord>) -> Self {
        Self(item)
    }
}

impl Node for ServiceOrder {
    type Record = ServiceOrderRecord;
    const NAME: &'static str = "ServiceOrder";
    const PERMISSION: Permission = Permission::BillingRead;
}

/// The order that tells billing what was sold.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ServiceOrder {
    #[graphql(flatten)]
    async fn record(&self) -> &ServiceOrderRecord {
        &self.0
    }

    /// Identifies the order.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The price of the whole.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn total(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(self.0.total))
    }

    /// The statement of work that it orders.
    async fn sow(&self, ctx: &Context<'_>) -> Result<Option<Sow>> {
        let found = access(ctx, Permission::ContractsRead)?;
        let sow = self.0.one(
            "sow",
            |order| Some(order.sow_id),
            |ids| async move { Ok(keyed(sows_by_ids(found.store, found.rows, &ids).await?, |sow| sow.id)) },
        );
        Ok(sow.await?.map(Sow))
    }

    /// The account that buys.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let account = self.0.one(
            "account",
            |order| Some(order.account_id),
            |ids| async move { Ok(keyed(accounts_by_ids(found.store, found.rows, &ids).await?, |account| account.id)) },
        );
        Ok(account.await?.map(Account))
    }

    /// The billing system that has it.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |order| Some(order.connection_id)).await
    }

    /// Who said so: what each system last said of it, newest first.
    async fn sources(&self, ctx: &Context<'_>) -> Result<Option<Vec<SourceClaim>>> {
        sources(ctx, Permission::BillingRead, &self.0, |order| order.id.to_string()).await.map(Some)
    }

    /// Why a field has the value that it has. The hub has the say over its orders; what billing holds instead is among
    /// what was overruled.
    async fn provenance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The field: `total`.")] field: String,
    ) -> Result<Option<Provenance>> {
        let value = |field: &str| shown_values::service_order(&self.0).remove(field).unwrap_or_default();
        let record = (Entity::ServiceOrder, &self.0);
        provenance(ctx, Permission::BillingRead, record, (|record| record.id.to_string(), value), &field).await
    }

    /// The invoices that bill it, in the order of their identifiers.
    async fn invoices(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Invoice>>> {
        let found = access(ctx, Permission::BillingRead)?;
        let part = &Part::of::<Invoice>(first, after)?;
        let children = self.0.many(
            ("invoices", part.key()),
            |order| Some(order.id),
            |ids| async move {
                let records = invoices_of_orders(found.store, found.rows, &ids, part.span()).await?;
                Ok(records.into_iter().filter_map(|record| Some((record.service_order_id?, record))).collect())
            },
        );
        Ok(Some(Connection::of_children(part, children.await?)))
    }
}

/// An invoice.
#[derive(Clone)]
pub(crate) struct Invoice(pub(crate) Item<InvoiceRecord>);

impl From<Item<InvoiceRecord>> for Invoice {
    fn from(item: Item<InvoiceRecord>) -> Self {
        Self(item)
    }
}

impl Node for Invoice {
    type Record = InvoiceRecord;
    const NAME: &'static str = "Invoice";
    const PERMISSION: Permission = Permission::BillingRead;
}

/// An invoice as billing keeps it. Billing has authority over number, status, total, tax and payment.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Invoice {
    #[graphql(flatten)]
    async fn record(&self) -> &InvoiceRecord {
        &self.0
    }

    /// Identifies the invoice in the hub.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What is to be paid, taxes included. Until billing has answered, what the hub asked for, taxes excluded.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn total(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(self.0.total))
    }

    /// What it bills, taxes excluded: what is compared with the milestone's price. Null while nobody has said it.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn net_amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.net)
    }

    /// The part of the total that is tax; null while billing has not said it.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn tax_amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.tax)
    }

    /// What has been paid; null while billing has not said.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount_paid(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.amount_paid)
    }

    /// The account that pays; null while the customer at billing is not known here.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let account = self.0.one(
            "account",
            |invoice| invoice.account_id,
            |ids| async move { Ok(keyed(accounts_by_ids(found.store, found.rows, &ids).await?, |account| account.id)) },
        );
        Ok(account.await?.map(Account))
    }

    /// The order that it bills; null for an invoice that the hub did not ask for.
    async fn service_order(&self, ctx: &Context<'_>) -> Result<Option<ServiceOrder>> {
        let found = access(ctx, Permission::BillingRead)?;
        let order = self.0.one(
            "serviceOrder",
            |invoice| invoice.service_order_id,
            |ids| async move {
                Ok(keyed(billing::service_orders_by_ids(found.store, found.rows, &ids).await?, |order| order.id))
            },
        );
        Ok(order.await?.map(ServiceOrder))
    }

    /// The milestone that it bills.
    async fn milestone(&self, ctx: &Context<'_>) -> Result<Option<Milestone>> {
        let found = access(ctx, Permission::ContractsRead)?;
        let milestone = self.0.one(
            "milestone",
            |invoice| invoice.milestone_id,
            |ids| async move {
                Ok(keyed(milestones_by_ids(found.store, found.rows, &ids).await?, |milestone| milestone.id))
            },
        );
        Ok(milestone.await?.map(Milestone))
    }

    /// The billing system that keeps it.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |invoice| Some(invoice.connection_id)).await
    }

    /// Its lines, in their order.
    async fn lines(&self, ctx: &Context<'_>) -> Result<Option<Vec<InvoiceLine>>> {
        let found = access(ctx, Permission::BillingRead)?;
        let lines = self.0.many(
            ("lines", String::new()),
            |invoice| Some(invoice.id),
            |ids| async move { Ok(keyed(invoice_lines(found.store, found.rows, &ids).await?, |line| line.invoice_id)) },
        );
        Ok(Some(lines.await?.into_iter().map(InvoiceLine).collect()))
    }

    /// Who said so: what each system last said of it, newest first.
    async fn sources(&self, ctx: &Context<'_>) -> Result<Option<Vec<SourceClaim>>> {
        sources(ctx, Permission::BillingRead, &self.0, |invoice| invoice.id.to_string()).await.map(Some)
    }

    /// Why a field has the value that it has: who said it, when, by what evidence, and what was overruled.
    async fn provenance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The field, such as `status`.")] field: String,
    ) -> Result<Option<Provenance>> {
        let value = |field: &str| shown_values::invoice(&self.0).remove(field).unwrap_or_default();
        let record = (Entity::Invoice, &self.0);
        provenance(ctx, Permission::BillingRead, record, (|record| record.id.to_string(), value), &field).await
    }
}

/// A line of an invoice.
pub(crate) struct InvoiceLine(Item<InvoiceLineRecord>);

/// A line of an invoice.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl InvoiceLine {
    #[graphql(flatten)]
    async fn record(&self) -> &InvoiceLineRecord {
        &self.0
    }

    /// Identifies the line.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What it costs, taxes excluded.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(self.0.amount))
    }
}

impl Choice for ServiceOrderStatus {
    const FILTER: &'static str = "ServiceOrderStatusFilter";
}

/// Which service orders to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ServiceOrderFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The account.
    account_id: Option<IdFilter>,
    /// Where it stands.
    status: Option<ChoiceFilter<ServiceOrderStatus>>,
    /// When it last changed.
    updated_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<ServiceOrderFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ServiceOrderFilter>>,
    /// This does not hold.
    not: Option<Box<ServiceOrderFilter>>,
}

impl Filter for ServiceOrderFilter {
    type Column = ServiceOrderColumn;

    fn own(&self, conditions: &mut Vec<Condition<ServiceOrderColumn>>) -> Result<(), ApiError> {
        self.id.compare(ServiceOrderColumn::Id, conditions)?;
        self.account_id.compare(ServiceOrderColumn::Account, conditions)?;
        self.status.compare(ServiceOrderColumn::Status, conditions)?;
        self.updated_at.compare(ServiceOrderColumn::UpdatedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What service orders are ordered by.
    ServiceOrderOrderField as "ServiceOrderOrder" of ServiceOrderColumn;
    /// The identifier; orders that came later have larger ones.
    Id text,
    /// Where it stands, by the letters of the status.
    Status text,
    /// When it last changed.
    UpdatedAt number,
}

impl Choice for InvoiceStatus {
    const FILTER: &'static str = "InvoiceStatusFilter";
}

/// Which invoices to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct InvoiceFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The account.
    account_id: Option<IdFilter>,
    /// Where it stands.
    status: Option<ChoiceFilter<InvoiceStatus>>,
    /// The number that billing gave it.
    number: Option<TextFilter>,
    /// The day on which payment is due.
    due_on: Option<DateFilter>,
    /// When it last changed.
    updated_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<InvoiceFilter>>,
    /// At least one of these holds.
    or: Option<Vec<InvoiceFilter>>,
    /// This does not hold.
    not: Option<Box<InvoiceFilter>>,
}

impl Filter for InvoiceFilter {
    type Column = InvoiceColumn;

    fn own(&self, conditions: &mut Vec<Condition<InvoiceColumn>>) -> Result<(), ApiError> {
        self.id.compare(InvoiceColumn::Id, conditions)?;
        self.account_id.compare(InvoiceColumn::Account, conditions)?;
        self.status.compare(InvoiceColumn::Status, conditions)?;
        self.number.compare(InvoiceColumn::Number, conditions)?;
        self.due_on.compare(InvoiceColumn::DueOn, conditions)?;
        self.updated_at.compare(InvoiceColumn::UpdatedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What invoices are ordered by.
    InvoiceOrderField as "InvoiceOrder" of InvoiceColumn;
    /// The identifier; invoices that came later have larger ones.
    Id text,
    /// Where it stands, by the letters of the status.
    Status text,
    /// The number that billing gave it.
    Number text,
    /// The day on which payment is due.
    DueOn number,
    /// When it last changed.
    UpdatedAt number,
}

listed! {
    ServiceOrderQueries of ServiceOrder filtered by ServiceOrderFilter, ordered by ServiceOrderOrderField;
    "The service orders that you may see." service_orders from billing::service_orders;
    "One service order; null when there is none that you may see." service_order from billing::service_orders_by_ids;
}

listed! {
    InvoiceQueries of Invoice filtered by InvoiceFilter, ordered by InvoiceOrderField;
    "The invoices that you may see." invoices from billing::invoices;
    "One invoice; null when there is none that you may see." invoice from billing::invoices_by_ids;
}

/// Queries for service orders and invoices.
#[derive(MergedObject, Default)]
pub(crate) struct BillingQueries(ServiceOrderQueries, InvoiceQueries);
