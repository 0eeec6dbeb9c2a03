//! Exchanges with other systems.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{ExchangeHeader, ExchangeRecord},
};
use crosstie_store::{
    Condition,
    integration::{self, ExchangeColumn, inbound_events_by_ids, sync_runs_by_ids},
};

use super::{ConnectedSystem, InboundEvent, SyncRun};
use crate::{
    access::{access, financial, sensitivity},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// An exchange.
#[derive(Clone)]
pub(crate) struct Exchange(pub(crate) Item<ExchangeRecord>);

impl From<Item<ExchangeRecord>> for Exchange {
    fn from(item: Item<ExchangeRecord>) -> Self {
        Self(item)
    }
}

impl Node for Exchange {
    type Record = ExchangeRecord;
    const NAME: &'static str = "Exchange";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A header of a request or an answer.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct Header {
    /// Its name, in lower case.
    pub(crate) name: String,
    /// Its value; a secret is replaced.
    pub(crate) value: String,
}

pub(super) fn headers(headers: &[ExchangeHeader]) -> Vec<Header> {
    headers.iter().map(|header| Header { name: header.name.clone(), value: header.value.clone() }).collect()
}

/// One exchange with another system: a request and its answer, without secrets. It is kept for some days.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Exchange {
    #[graphql(flatten)]
    async fn record(&self) -> &ExchangeRecord {
        &self.0
    }

    /// Identifies the exchange.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Headers of the request.
    async fn request_headers(&self) -> Vec<Header> {
        headers(&self.0.request_headers)
    }

    /// Headers of the answer.
    async fn answer_headers(&self) -> Vec<Header> {
        headers(&self.0.answer_headers)
    }

    /// Body of the request without secrets, its first 64 KiB; null when it has none or it was not kept. It may hold
    /// prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn request_body(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, self.0.request_body.as_deref())
    }

    /// Body of the answer without secrets, its first 64 KiB; null when it has none or it was not kept. It may hold
    /// prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn answer_body(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, self.0.answer_body.as_deref())
    }

    /// The system that was asked.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |exchange| Some(exchange.connection_id)).await
    }

    /// The run that asked, if one did.
    async fn run(&self, ctx: &Context<'_>) -> Result<Option<SyncRun>> {
        let found = access(ctx, SyncRun::PERMISSION)?;
        let run = self.0.one(
            "run",
            |exchange| exchange.run_id,
            |ids| async move { Ok(keyed(sync_runs_by_ids(found.store, found.rows, &ids).await?, |run| run.id)) },
        );
        Ok(run.await?.map(SyncRun))
    }

    /// The inbound event that led to it, if one did.
    async fn inbound_event(&self, ctx: &Context<'_>) -> Result<Option<InboundEvent>> {
        let found = access(ctx, InboundEvent::PERMISSION)?;
        let event =
            self.0.one(
                "inboundEvent",
                |exchange| exchange.inbound_event_id,
                |ids| async move {
                    Ok(keyed(inbound_events_by_ids(found.store, found.rows, &ids).await?, |event| event.id))
                },
            );
        Ok(event.await?.map(InboundEvent))
    }
}

/// Which exchanges to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ExchangeFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The system that was asked.
    connection_id: Option<IdFilter>,
    /// The run that asked.
    run_id: Option<IdFilter>,
    /// The inbound event that led to it.
    inbound_event_id: Option<IdFilter>,
    /// The key of the effect that it was part of.
    effect_key: Option<TextFilter>,
    /// What went wrong.
    fault_code: Option<TextFilter>,
    /// When the request left.
    started_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<ExchangeFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ExchangeFilter>>,
    /// This does not hold.
    not: Option<Box<ExchangeFilter>>,
}

impl Filter for ExchangeFilter {
    type Column = ExchangeColumn;

    fn own(&self, conditions: &mut Vec<Condition<ExchangeColumn>>) -> Result<(), ApiError> {
        self.id.compare(ExchangeColumn::Id, conditions)?;
        self.connection_id.compare(ExchangeColumn::Connection, conditions)?;
        self.run_id.compare(ExchangeColumn::Run, conditions)?;
        self.inbound_event_id.compare(ExchangeColumn::Event, conditions)?;
        self.effect_key.compare(ExchangeColumn::Effect, conditions)?;
        self.fault_code.compare(ExchangeColumn::Fault, conditions)?;
        self.started_at.compare(ExchangeColumn::StartedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What exchanges are ordered by.
    ExchangeOrderField as "ExchangeOrder" of ExchangeColumn;
    /// The identifier; exchanges that began later have larger ones.
    Id text,
    /// Status of the answer.
    Status number,
    /// When the request left.
    StartedAt number,
}

listed! {
    ExchangeQueries of Exchange filtered by ExchangeFilter, ordered by ExchangeOrderField;
    "The exchanges with other systems, as far as they are kept." exchanges from integration::exchanges;
    "One exchange; null when there is none that you may see." exchange from integration::exchanges_by_ids;
}
