//! Alerts: what at the border to other systems a person should know of.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{AlertKind, AlertRecord, AlertState, Entity},
};
use crosstie_store::{
    Condition,
    integration::{self, AlertColumn},
};

use super::ConnectedSystem;
use crate::{
    access::sensitivity,
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// An alert.
#[derive(Clone)]
pub(crate) struct Alert(pub(crate) Item<AlertRecord>);

impl From<Item<AlertRecord>> for Alert {
    fn from(item: Item<AlertRecord>) -> Self {
        Self(item)
    }
}

impl Node for Alert {
    type Record = AlertRecord;
    const NAME: &'static str = "Alert";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// Something at the border to other systems that a person should know of. It is announced when it opens and when it
/// closes.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Alert {
    #[graphql(flatten)]
    async fn record(&self) -> &AlertRecord {
        &self.0
    }

    /// Identifies the alert.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The identifier of the subscription that it concerns; null when it concerns a connection.
    async fn subscription_id(&self) -> Option<ID> {
        self.0.subscription_id.map(ID::from)
    }

    /// The system that it concerns; null when it concerns a subscription.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |alert| alert.connection_id).await
    }
}

impl Choice for AlertKind {
    const FILTER: &'static str = "AlertKindFilter";
}

impl Choice for AlertState {
    const FILTER: &'static str = "AlertStateFilter";
}

/// Which alerts to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct AlertFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// What it is about.
    kind: Option<ChoiceFilter<AlertKind>>,
    /// The connection that it concerns.
    connection_id: Option<IdFilter>,
    /// The kind of record that it concerns.
    entity: Option<ChoiceFilter<Entity>>,
    /// How it stands.
    state: Option<ChoiceFilter<AlertState>>,
    /// When it opened.
    opened_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<AlertFilter>>,
    /// At least one of these holds.
    or: Option<Vec<AlertFilter>>,
    /// This does not hold.
    not: Option<Box<AlertFilter>>,
}

impl Filter for AlertFilter {
    type Column = AlertColumn;

    fn own(&self, conditions: &mut Vec<Condition<AlertColumn>>) -> Result<(), ApiError> {
        self.id.compare(AlertColumn::Id, conditions)?;
        self.kind.compare(AlertColumn::Kind, conditions)?;
        self.connection_id.compare(AlertColumn::Connection, conditions)?;
        self.entity.compare(AlertColumn::Entity, conditions)?;
        self.state.compare(AlertColumn::State, conditions)?;
        self.opened_at.compare(AlertColumn::OpenedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What alerts are ordered by.
    AlertOrderField as "AlertOrder" of AlertColumn;
    /// The identifier; alerts that opened later have larger ones.
    Id text,
    /// What it is about, by the letters of the kind.
    Kind text,
    /// When it opened.
    OpenedAt number,
}

listed! {
    AlertQueries of Alert filtered by AlertFilter, ordered by AlertOrderField;
    "The alerts, open and closed." alerts from integration::alerts;
    "One alert; null when there is none that you may see." alert from integration::alerts_by_ids;
}
