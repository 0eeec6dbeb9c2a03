//! How far what systems say differs from what the hub believes.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{DriftReportRecord, DriftScope, Entity},
};
use crosstie_store::{
    Condition,
    integration::{self, DriftColumn},
};

use super::ConnectedSystem;
use crate::{
    access::sensitivity,
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// A report.
#[derive(Clone)]
pub(crate) struct DriftReport(pub(crate) Item<DriftReportRecord>);

impl From<Item<DriftReportRecord>> for DriftReport {
    fn from(item: Item<DriftReportRecord>) -> Self {
        Self(item)
    }
}

impl Node for DriftReport {
    type Record = DriftReportRecord;
    const NAME: &'static str = "DriftReport";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One comparison of what a system says with what the hub believes that it says. What differed was put right by taking in
/// what the system says now.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl DriftReport {
    #[graphql(flatten)]
    async fn record(&self) -> &DriftReportRecord {
        &self.0
    }

    /// Identifies it.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// How many in a million differ: the drift; null when nothing was compared.
    async fn differing_per_million(&self) -> Option<i64> {
        DriftReportRecord::per_million(self.0.differing, self.0.compared)
    }

    /// The system that it is about.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |one| Some(one.connection_id)).await
    }
}

impl Choice for DriftScope {
    const FILTER: &'static str = "DriftScopeFilter";
}

/// Which reports to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct DriftReportFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection.
    connection_id: Option<IdFilter>,
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// How much was compared.
    scope: Option<ChoiceFilter<DriftScope>>,
    /// All of these hold.
    and: Option<Vec<DriftReportFilter>>,
    /// At least one of these holds.
    or: Option<Vec<DriftReportFilter>>,
    /// This does not hold.
    not: Option<Box<DriftReportFilter>>,
}

impl Filter for DriftReportFilter {
    type Column = DriftColumn;

    fn own(&self, conditions: &mut Vec<Condition<DriftColumn>>) -> Result<(), ApiError> {
        self.id.compare(DriftColumn::Id, conditions)?;
        self.connection_id.compare(DriftColumn::Connection, conditions)?;
        self.entity.compare(DriftColumn::Entity, conditions)?;
        self.scope.compare(DriftColumn::Scope, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What reports are ordered by.
    DriftReportOrderField as "DriftReportOrder" of DriftColumn;
    /// The identifier; later ones are larger.
    Id text,
    /// The kind of record, by its letters.
    Entity text,
}

listed! {
    DriftReportQueries of DriftReport filtered by DriftReportFilter, ordered by DriftReportOrderField;
    "How far what systems say differed from what the hub believed." drift_reports from integration::drift_reports;
    "One report of drift; null when there is none that you may see." drift_report from integration::drift_reports_by_ids;
}
