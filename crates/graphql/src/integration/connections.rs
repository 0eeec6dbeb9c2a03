//! Connected systems.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    ids::ConnectionId,
    integration::{BreakerRecord, ConnectionRecord, Entity, Freshness, PauseRecord},
};
use crosstie_store::{
    Condition,
    integration::{self, ConnectionColumn, ModeChange, Pushes, freshness_of, pushes_of},
};

use super::{
    ConnectionSignIn,
    explanation::PlannedStep,
    holds::{ConnectionBreaker, ConnectionInbound, ConnectionPause},
    modes::ConnectionModeChange,
};
use crate::{
    access::{access, sensitivity},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Comparison, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// How many changes of its mode, and how many pauses, a connected system shows.
const SHOWN_CHANGES: i64 = 25;

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

impl ConnectedSystem {
    /// The system that a record names; it is loaded together with those of the record's siblings.
    ///
    /// # Errors
    /// `FORBIDDEN`, and as the database.
    pub(crate) async fn of<R>(
        ctx: &Context<'_>,
        item: &Item<R>,
        id: impl Fn(&R) -> Option<ConnectionId>,
    ) -> Result<Option<Self>> {
        let found = access(ctx, Self::PERMISSION)?;
        let connection = item.one("connection", id, |ids| async move {
            let connections = integration::connections_by_ids(found.store, found.rows, &ids).await?;
            Ok(keyed(connections, |connection| connection.id))
        });
        Ok(connection.await?.map(Self))
    }
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

    /// How it signs in by OAuth 2.0; null when it does not, or never has.
    async fn sign_in(&self, ctx: &Context<'_>) -> Result<Option<ConnectionSignIn>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let sign_in = self.0.one(
            "signIn",
            |connection| Some(connection.name.clone()),
            |names| async move {
                Ok(keyed(integration::sign_ins_of(found.store, &names).await?, |record| record.connection.clone()))
            },
        );
        Ok(sign_in.await?.map(ConnectionSignIn))
    }

    /// How far it went, and who changed that: the newest changes, 25 at most.
    async fn mode_changes(&self, ctx: &Context<'_>) -> Result<Option<Vec<ConnectionModeChange>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let changes = self.0.many(
            ("modeChanges", String::new()),
            |connection| Some(connection.id),
            |ids| async move { integration::mode_changes(found.store, &ids, SHOWN_CHANGES).await },
        );
        Ok(Some(
            changes.await?.into_iter().map(|change| ConnectionModeChange::from(ModeChange::clone(&change))).collect(),
        ))
    }

    /// When a person paused it, and what of it: the newest pauses, 25 at most.
    async fn pauses(&self, ctx: &Context<'_>) -> Result<Option<Vec<ConnectionPause>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let pauses = self.0.many(
            ("pauses", String::new()),
            |connection| Some(connection.id),
            |ids| async move {
                let pauses = integration::pauses_of(found.store, &ids, SHOWN_CHANGES).await?;
                Ok(keyed(pauses, |pause| pause.connection_id))
            },
        );
        Ok(Some(pauses.await?.into_iter().map(|pause| PauseRecord::clone(&pause).into()).collect()))
    }

    /// Whether the system answers, and until when it is left alone when it does not.
    async fn breaker(&self, ctx: &Context<'_>) -> Result<Option<ConnectionBreaker>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let now = found.store.now();
        let breaker = self.0.one(
            "breaker",
            |connection| Some(connection.id),
            |ids| async move {
                Ok(keyed(integration::breakers_of(found.store, &ids).await?, |breaker| breaker.connection_id))
            },
        );
        let known = breaker.await?.map(|breaker| BreakerRecord::clone(&breaker));
        let breaker = known.unwrap_or_else(|| BreakerRecord::new(self.0.id, now));
        Ok(Some(ConnectionBreaker::at(now, &breaker)))
    }

    /// What it does next and when, for each kind of record, for webhooks and for sending, and why it waits.
    async fn explanation(&self, ctx: &Context<'_>) -> Result<Option<Vec<PlannedStep>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let now = found.store.now();
        let steps = self.0.many(
            ("explanation", String::new()),
            |connection| Some(connection.id),
            |ids| async move {
                let steps = crosstie_app::explain(found.store, found.rows, now, &ids).await?;
                Ok(keyed(steps, |step| step.connection_id))
            },
        );
        Ok(Some(steps.await?.into_iter().map(|step| PlannedStep::from((*step).clone())).collect()))
    }

    /// How much it takes in by webhook, what waits, and what was turned away.
    async fn inbound(&self, ctx: &Context<'_>) -> Result<Option<ConnectionInbound>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let pressure = self.0.one(
            "inbound",
            |connection| Some(connection.id),
            |ids| async move {
                Ok(keyed(integration::inbound_pressure_of(found.store, &ids).await?, |one| one.connection_id))
            },
        );
        Ok(pressure.await?.map(|pressure| ConnectionInbound::from(*pressure)))
    }

    /// The fields that can be written there, such as `account.name`.
    async fn writable_fields(&self, ctx: &Context<'_>) -> Result<Option<Vec<String>>> {
        Ok(Some(self.pushes(ctx).await?.writable))
    }

    /// The fields that are written there whenever the hub shows another value.
    async fn pushed_fields(&self, ctx: &Context<'_>) -> Result<Option<Vec<String>>> {
        Ok(Some(self.pushes(ctx).await?.pushed))
    }

    /// Up to when each kind of record has been read whole, and how old that may be.
    async fn freshness(&self, ctx: &Context<'_>) -> Result<Option<Vec<EntityFreshness>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let now = found.store.now();
        let fresh = self.0.many(
            ("freshness", String::new()),
            |connection| Some(connection.id),
            |ids| async move { Ok(keyed(freshness_of(found.store, now, &ids).await?, |one| one.connection_id)) },
        );
        Ok(Some(fresh.await?.into_iter().map(EntityFreshness).collect()))
    }
}

impl ConnectedSystem {
    async fn pushes(&self, ctx: &Context<'_>) -> Result<Pushes> {
        let found = access(ctx, Self::PERMISSION)?;
        let pushes = self.0.one(
            "pushes",
            |connection| Some(connection.id),
            |ids| async move { pushes_of(found.store, found.rows, &ids).await },
        );
        Ok(pushes.await?.map(|pushes: Item<Pushes>| (*pushes).clone()).unwrap_or_default())
    }
}

/// How fresh one kind of record is.
pub(crate) struct EntityFreshness(Item<Freshness>);

/// Up to when one kind of record of one system has been read, and how late that may be.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl EntityFreshness {
    #[graphql(flatten)]
    async fn record(&self) -> &Freshness {
        &self.0
    }

    /// The kind of record.
    async fn entity(&self) -> Entity {
        self.0.entity
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

listed! {
    ConnectionQueries of ConnectedSystem filtered by ConnectedSystemFilter, ordered by ConnectedSystemOrderField;
    "The connected systems." connections from integration::connections;
    "One connected system; null when there is none that you may see." connection from integration::connections_by_ids;
}
