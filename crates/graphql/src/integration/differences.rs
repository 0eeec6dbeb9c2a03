//! What the hub and a connected system hold differently.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_domain::{
    Money,
    access::{Permission, Sensitivity},
    integration::{
        Entity,
        differences::{
            Difference as DifferenceRecord, DifferenceCount as CountRecord, DifferenceKind,
            DifferenceSummary as SummaryRecord, DifferenceTotal as TotalRecord, SwitchStep,
        },
    },
};
use crosstie_store::{Condition, Operand, Operator, integration::DifferenceColumn};

use crate::{
    access::{access, app, app_failed, financial, requires, sensitivity},
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined, TextFilter},
    listing::{Connection, Node, Order, Paging, bad_input, order_fields, wanted},
    node,
};

/// A difference.
pub(crate) struct ConnectionDifference(Item<DifferenceRecord>);

impl From<Item<DifferenceRecord>> for ConnectionDifference {
    fn from(item: Item<DifferenceRecord>) -> Self {
        Self(item)
    }
}

impl Node for ConnectionDifference {
    type Record = DifferenceRecord;
    const NAME: &'static str = "ConnectionDifference";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A record, or a field of one, that the hub and a connected system hold differently, as far as the system was read.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ConnectionDifference {
    /// The kind of record.
    async fn entity(&self) -> Entity {
        self.0.entity
    }

    /// Who has what.
    async fn kind(&self) -> DifferenceKind {
        self.0.kind
    }

    /// The record's id there; null when it is not there.
    async fn remote_id(&self) -> Option<&str> {
        self.0.remote_id.as_deref()
    }

    /// The record in the hub; null when it is not here.
    async fn record_id(&self) -> Option<ID> {
        self.0.record_id.clone().map(ID)
    }

    /// The same, when you may see it.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<node::Node>> {
        match &self.0.record_id {
            Some(id) => node::find(ctx, id).await,
            None => Ok(None),
        }
    }

    /// The field; null when the whole record is meant.
    async fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What the hub has; null for amounts, which stand beside it.
    async fn here(&self) -> Option<&str> {
        self.0.here.as_deref()
    }

    /// What the system last said; of a record that it alone has, its number.
    async fn there(&self) -> Option<&str> {
        self.0.there.as_deref()
    }

    /// What it comes to in the hub, taxes excluded.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount_here(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.here_amount)
    }

    /// What it comes to there, taxes excluded.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount_there(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.there_amount)
    }

    /// What switching the connection to `TWO_WAY` would do about it.
    async fn step(&self) -> SwitchStep {
        self.0.step.unwrap_or(SwitchStep::Nothing)
    }

    /// The effect that waits to be sent, or was refused.
    async fn effect_key(&self) -> Option<&str> {
        self.0.effect_key.as_deref()
    }
}

impl Choice for DifferenceKind {
    const FILTER: &'static str = "DifferenceKindFilter";
}

/// Which differences to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ConnectionDifferenceFilter {
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// Who has what.
    kind: Option<ChoiceFilter<DifferenceKind>>,
    /// The field.
    field: Option<TextFilter>,
    /// The record in the hub.
    record_id: Option<IdFilter>,
    /// The record's id there.
    remote_id: Option<TextFilter>,
    /// The account that it is about.
    account_id: Option<IdFilter>,
    /// All of these hold.
    and: Option<Vec<ConnectionDifferenceFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ConnectionDifferenceFilter>>,
    /// This does not hold.
    not: Option<Box<ConnectionDifferenceFilter>>,
}

impl Filter for ConnectionDifferenceFilter {
    type Column = DifferenceColumn;

    fn own(&self, conditions: &mut Vec<Condition<DifferenceColumn>>) -> Result<(), ApiError> {
        self.entity.compare(DifferenceColumn::Entity, conditions)?;
        self.kind.compare(DifferenceColumn::Kind, conditions)?;
        self.field.compare(DifferenceColumn::Field, conditions)?;
        self.record_id.compare(DifferenceColumn::Record, conditions)?;
        self.remote_id.compare(DifferenceColumn::RemoteId, conditions)?;
        self.account_id.compare(DifferenceColumn::Account, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What differences are ordered by.
    ConnectionDifferenceOrderField as "ConnectionDifferenceOrder" of DifferenceColumn;
    /// Who has what.
    Kind text,
    /// The kind of record.
    Entity text,
    /// The field.
    Field text,
}

/// What differences of one kind come to in one currency.
pub(crate) struct DifferenceTotal(TotalRecord);

/// What differences of one kind come to in one currency, taxes excluded.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl DifferenceTotal {
    /// The kind of record.
    async fn entity(&self) -> Entity {
        self.0.entity
    }

    /// Who has what.
    async fn kind(&self) -> DifferenceKind {
        self.0.kind
    }

    /// What the hub has.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn here(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(Money::new(self.0.here_minor, self.0.currency)))
    }

    /// What the system has.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn there(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, Some(Money::new(self.0.there_minor, self.0.currency)))
    }
}

/// How many differences there are of one sort.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct DifferenceCount {
    /// The kind of record.
    entity: Entity,
    /// Who has what.
    kind: DifferenceKind,
    /// What switching the connection to `TWO_WAY` would do about them.
    step: SwitchStep,
    /// How many.
    count: i32,
}

impl From<CountRecord> for DifferenceCount {
    fn from(CountRecord { entity, kind, step, count }: CountRecord) -> Self {
        Self { entity, kind, step, count }
    }
}

/// All differences of a connection in short, as far as you may see them.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct DifferenceSummary {
    /// How many of which.
    counts: Vec<DifferenceCount>,
    /// What they come to, by currency.
    totals: Vec<DifferenceTotal>,
    /// Whether all were counted: of more than 10,000 only the first are.
    is_whole: bool,
}

impl From<SummaryRecord> for DifferenceSummary {
    fn from(SummaryRecord { counts, totals, is_whole }: SummaryRecord) -> Self {
        let counts = counts.into_iter().map(DifferenceCount::from).collect();
        Self { counts, totals: totals.into_iter().map(DifferenceTotal).collect(), is_whole }
    }
}

/// Queries for differences.
#[derive(Default)]
pub(crate) struct DifferenceQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl DifferenceQueries {
    /// What the hub and a connected system hold differently, record by record and field by field. It is looked for when
    /// it is asked, in what was read of the system.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field, as of every list")]
    async fn connection_differences(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection.")] connection_id: ID,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when neither `first` nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, from 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which to list; all that you may see when it is left out.")] filter: Option<
            ConnectionDifferenceFilter,
        >,
        #[graphql(desc = "The order, at most three fields.")] order_by: Option<
            Vec<Order<ConnectionDifferenceOrderField>>,
        >,
    ) -> Result<Option<Connection<ConnectionDifference>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let paging = Paging { first, after, last, before };
        let mut wanted = wanted::<ConnectionDifference, _, _>(&paging, filter.as_ref(), order_by)?;
        if connection_id.0.contains('\0') {
            return Err(bad_input("connectionId", "This is not an identifier.").into_graphql());
        }
        let ours = Condition::Is(DifferenceColumn::Connection, Operator::Eq, Operand::Text(connection_id.0));
        wanted.request.condition = Condition::All(vec![ours, wanted.request.condition]);
        let page = app(ctx)?.differences(found.store, found.rows, &wanted.request).await.map_err(app_failed)?;
        Ok(Some(Connection::of_page(wanted, page)))
    }

    /// The differences of a connection in short: how many of which, and what they come to.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn connection_difference_summary(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection.")] connection_id: ID,
    ) -> Result<Option<DifferenceSummary>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let Ok(id) = connection_id.parse() else { return Ok(None) };
        let summary = app(ctx)?.difference_summary(found.store, found.rows, id).await.map_err(app_failed)?;
        Ok(Some(summary.into()))
    }
}
