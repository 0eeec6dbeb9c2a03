//! Connected systems, what they say, and how it reaches the hub.

use async_graphql::{Context, ID, InputObject, MergedObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{
        ConnectionRecord, Entity, InboundEventRecord, InboundStatus, ParkedRowRecord, RunStatus, SyncRunRecord,
    },
};
use crosstie_store::{
    Condition,
    integration::{self, ConnectionColumn, InboundColumn, ParkedColumn, RunColumn, connections_by_ids},
};

use crate::{
    access::{access, financial, sensitivity},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// A connected system.
#[derive(Clone)]
pub(crate) struct ConnectedSystem(pub(crate) Item<ConnectionRecord>);

impl From<Item<ConnectionRecord>> for ConnectedSystem {
    fn from(item: Item<ConnectionRecord>) -> Self {
        Self(item)
    }
}

impl Node for ConnectedSystem {
    type Record = ConnectionRecord;
    const NAME: &'static str = "ConnectedSystem";
    // Whoever sees a value may know which system it came from, and which one a statement of work can be billed through.
    const PERMISSION: Permission = Permission::PipelineRead;
}

/// A connection to another system.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ConnectedSystem {
    #[graphql(flatten)]
    async fn record(&self) -> &ConnectionRecord {
        &self.0
    }

    /// Identifies the connection.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }
}

/// A synchronization run.
#[derive(Clone)]
pub(crate) struct SyncRun(pub(crate) Item<SyncRunRecord>);

impl From<Item<SyncRunRecord>> for SyncRun {
    fn from(item: Item<SyncRunRecord>) -> Self {
        Self(item)
    }
}

impl Node for SyncRun {
    type Record = SyncRunRecord;
    const NAME: &'static str = "SyncRun";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One run that read one kind of record from one system.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SyncRun {
    #[graphql(flatten)]
    async fn record(&self) -> &SyncRunRecord {
        &self.0
    }

    /// Identifies the run.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The system that was read.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        let found = access(ctx, ConnectedSystem::PERMISSION)?;
        let connection = self.0.one(
            "connection",
            |run| Some(run.connection_id),
            |ids| async move {
                Ok(keyed(connections_by_ids(found.store, found.rows, &ids).await?, |connection| connection.id))
            },
        );
        Ok(connection.await?.map(ConnectedSystem))
    }
}

/// An inbound event.
#[derive(Clone)]
pub(crate) struct InboundEvent(pub(crate) Item<InboundEventRecord>);

impl From<Item<InboundEventRecord>> for InboundEvent {
    fn from(item: Item<InboundEventRecord>) -> Self {
        Self(item)
    }
}

impl Node for InboundEvent {
    type Record = InboundEventRecord;
    const NAME: &'static str = "InboundEvent";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// One event that another system sent by webhook.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl InboundEvent {
    #[graphql(flatten)]
    async fn record(&self) -> &InboundEventRecord {
        &self.0
    }

    /// Identifies the event.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The system that sent it.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        let found = access(ctx, ConnectedSystem::PERMISSION)?;
        let connection = self.0.one(
            "connection",
            |event| Some(event.connection_id),
            |ids| async move {
                Ok(keyed(connections_by_ids(found.store, found.rows, &ids).await?, |connection| connection.id))
            },
        );
        Ok(connection.await?.map(ConnectedSystem))
    }
}

/// A parked row.
#[derive(Clone)]
pub(crate) struct ParkedRow(pub(crate) Item<ParkedRowRecord>);

impl From<Item<ParkedRowRecord>> for ParkedRow {
    fn from(item: Item<ParkedRowRecord>) -> Self {
        Self(item)
    }
}

impl Node for ParkedRow {
    type Record = ParkedRowRecord;
    const NAME: &'static str = "ParkedRow";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A row of another system that could not be applied.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ParkedRow {
    #[graphql(flatten)]
    async fn record(&self) -> &ParkedRowRecord {
        &self.0
    }

    /// Identifies the parked row.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The row as it came, as JSON. It may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn raw(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, Some(self.0.raw.as_str()))
    }

    /// The system that it came from.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        let found = access(ctx, ConnectedSystem::PERMISSION)?;
        let connection = self.0.one(
            "connection",
            |row| Some(row.connection_id),
            |ids| async move {
                Ok(keyed(connections_by_ids(found.store, found.rows, &ids).await?, |connection| connection.id))
            },
        );
        Ok(connection.await?.map(ConnectedSystem))
    }
}

/// Which connected systems to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ConnectedSystemFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The name by which it is configured.
    name: Option<TextFilter>,
    /// Which connector serves it.
    connector: Option<TextFilter>,
    /// All of these hold.
    and: Option<Vec<ConnectedSystemFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ConnectedSystemFilter>>,
    /// This does not hold.
    not: Option<Box<ConnectedSystemFilter>>,
}

impl Filter for ConnectedSystemFilter {
    type Column = ConnectionColumn;

    fn own(&self, conditions: &mut Vec<Condition<ConnectionColumn>>) -> Result<(), ApiError> {
        self.id.compare(ConnectionColumn::Id, conditions)?;
        self.name.compare(ConnectionColumn::Name, conditions)?;
        self.connector.compare(ConnectionColumn::Connector, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What connected systems are ordered by.
    ConnectedSystemOrderField as "ConnectedSystemOrder" of ConnectionColumn;
    /// The identifier; connections that came later have larger ones.
    Id text,
    /// The name by which it is configured.
    Name text,
    /// Which connector serves it.
    Connector text,
}

impl Choice for Entity {
    const FILTER: &'static str = "EntityFilter";
}

impl Choice for RunStatus {
    const FILTER: &'static str = "RunStatusFilter";
}

/// Which synchronization runs to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct SyncRunFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that was read.
    connection_id: Option<IdFilter>,
    /// The kind of record that was read.
    entity: Option<ChoiceFilter<Entity>>,
    /// How it stands or ended.
    status: Option<ChoiceFilter<RunStatus>>,
    /// When it began.
    started_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<SyncRunFilter>>,
    /// At least one of these holds.
    or: Option<Vec<SyncRunFilter>>,
    /// This does not hold.
    not: Option<Box<SyncRunFilter>>,
}

impl Filter for SyncRunFilter {
    type Column = RunColumn;

    fn own(&self, conditions: &mut Vec<Condition<RunColumn>>) -> Result<(), ApiError> {
        self.id.compare(RunColumn::Id, conditions)?;
        self.connection_id.compare(RunColumn::Connection, conditions)?;
        self.entity.compare(RunColumn::Entity, conditions)?;
        self.status.compare(RunColumn::Status, conditions)?;
        self.started_at.compare(RunColumn::StartedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What synchronization runs are ordered by.
    SyncRunOrderField as "SyncRunOrder" of RunColumn;
    /// The identifier; runs that began later have larger ones.
    Id text,
    /// How it stands or ended, by the letters of the status.
    Status text,
    /// When it began.
    StartedAt number,
}

impl Choice for InboundStatus {
    const FILTER: &'static str = "InboundStatusFilter";
}

/// Which inbound events to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct InboundEventFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that it came through.
    connection_id: Option<IdFilter>,
    /// How it stands.
    status: Option<ChoiceFilter<InboundStatus>>,
    /// What the sender calls this kind of event.
    event_type: Option<TextFilter>,
    /// When it was stored here.
    received_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<InboundEventFilter>>,
    /// At least one of these holds.
    or: Option<Vec<InboundEventFilter>>,
    /// This does not hold.
    not: Option<Box<InboundEventFilter>>,
}

impl Filter for InboundEventFilter {
    type Column = InboundColumn;

    fn own(&self, conditions: &mut Vec<Condition<InboundColumn>>) -> Result<(), ApiError> {
        self.id.compare(InboundColumn::Id, conditions)?;
        self.connection_id.compare(InboundColumn::Connection, conditions)?;
        self.status.compare(InboundColumn::Status, conditions)?;
        self.event_type.compare(InboundColumn::EventType, conditions)?;
        self.received_at.compare(InboundColumn::ReceivedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What inbound events are ordered by.
    InboundEventOrderField as "InboundEventOrder" of InboundColumn;
    /// The identifier; events that came later have larger ones.
    Id text,
    /// How it stands, by the letters of the status.
    Status text,
    /// When it was stored here.
    ReceivedAt number,
}

/// Which parked rows to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ParkedRowFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that it came through.
    connection_id: Option<IdFilter>,
    /// The kind of record that it is.
    entity: Option<ChoiceFilter<Entity>>,
    /// Why it waits.
    code: Option<TextFilter>,
    /// When it last came.
    last_seen_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<ParkedRowFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ParkedRowFilter>>,
    /// This does not hold.
    not: Option<Box<ParkedRowFilter>>,
}

impl Filter for ParkedRowFilter {
    type Column = ParkedColumn;

    fn own(&self, conditions: &mut Vec<Condition<ParkedColumn>>) -> Result<(), ApiError> {
        self.id.compare(ParkedColumn::Id, conditions)?;
        self.connection_id.compare(ParkedColumn::Connection, conditions)?;
        self.entity.compare(ParkedColumn::Entity, conditions)?;
        self.code.compare(ParkedColumn::Code, conditions)?;
        self.last_seen_at.compare(ParkedColumn::LastSeenAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What parked rows are ordered by.
    ParkedRowOrderField as "ParkedRowOrder" of ParkedColumn;
    /// The identifier; rows that were parked later have larger ones.
    Id text,
    /// Why it waits, by the letters of the code.
    Code text,
    /// When it last came.
    LastSeenAt number,
}

listed! {
    ConnectionQueries of ConnectedSystem filtered by ConnectedSystemFilter, ordered by ConnectedSystemOrderField;
    "The connected systems." connections from integration::connections;
    "One connected system; null when there is none that you may see." connection from integration::connections_by_ids;
}

listed! {
    SyncRunQueries of SyncRun filtered by SyncRunFilter, ordered by SyncRunOrderField;
    "The synchronization runs." sync_runs from integration::sync_runs;
    "One synchronization run; null when there is none that you may see." sync_run from integration::sync_runs_by_ids;
}

listed! {
    InboundEventQueries of InboundEvent filtered by InboundEventFilter, ordered by InboundEventOrderField;
    "The events that other systems sent." inbound_events from integration::inbound_events;
    "One inbound event; null when there is none that you may see." inbound_event from integration::inbound_events_by_ids;
}

listed! {
    ParkedRowQueries of ParkedRow filtered by ParkedRowFilter, ordered by ParkedRowOrderField;
    "The rows that could not be applied." parked_rows from integration::parked_rows;
    "One parked row; null when there is none that you may see." parked_row from integration::parked_rows_by_ids;
}

/// Queries for connected systems, runs, inbound events and parked rows.
#[derive(MergedObject, Default)]
pub(crate) struct IntegrationQueries(ConnectionQueries, SyncRunQueries, InboundEventQueries, ParkedRowQueries);
