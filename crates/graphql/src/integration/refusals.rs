//! Webhook deliveries that were not believed.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::InboundRefusalRecord,
};
use crosstie_store::{
    Condition,
    integration::{self, RefusalColumn},
};

use super::{
    ConnectedSystem,
    exchanges::{Header, headers},
};
use crate::{
    access::{financial, sensitivity},
    edge::Item,
    error::ApiError,
    filter::{Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// A refused webhook.
#[derive(Clone)]
pub(crate) struct InboundRefusal(pub(crate) Item<InboundRefusalRecord>);

impl From<Item<InboundRefusalRecord>> for InboundRefusal {
    fn from(item: Item<InboundRefusalRecord>) -> Self {
        Self(item)
    }
}

impl Node for InboundRefusal {
    type Record = InboundRefusalRecord;
    const NAME: &'static str = "InboundRefusal";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A webhook delivery that was not believed. Of each connection the first five in each hour are kept for 7 days, and the
/// first five of those that no connection is meant by. Whoever sent it was told 401 and nothing more.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl InboundRefusal {
    #[graphql(flatten)]
    async fn record(&self) -> &InboundRefusalRecord {
        &self.0
    }

    /// Identifies the refusal.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Those of its headers that can hold no secret.
    async fn safe_headers(&self) -> Vec<Header> {
        headers(&self.0.safe_headers)
    }

    /// The beginning of its body without secrets, at most 300 bytes; null when it has none. Anybody may have sent it, and
    /// it may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn body_excerpt(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        financial(ctx, self.0.body_excerpt.as_deref())
    }

    /// The system that it was meant for; null when there is none of that name.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |refusal| refusal.connection_id).await
    }
}

/// Which refused webhooks to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct InboundRefusalFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The system that it was meant for.
    connection_id: Option<IdFilter>,
    /// Why it was refused.
    code: Option<TextFilter>,
    /// When it was refused.
    refused_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<InboundRefusalFilter>>,
    /// At least one of these holds.
    or: Option<Vec<InboundRefusalFilter>>,
    /// This does not hold.
    not: Option<Box<InboundRefusalFilter>>,
}

impl Filter for InboundRefusalFilter {
    type Column = RefusalColumn;

    fn own(&self, conditions: &mut Vec<Condition<RefusalColumn>>) -> Result<(), ApiError> {
        self.id.compare(RefusalColumn::Id, conditions)?;
        self.connection_id.compare(RefusalColumn::Connection, conditions)?;
        self.code.compare(RefusalColumn::Code, conditions)?;
        self.refused_at.compare(RefusalColumn::RefusedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What refused webhooks are ordered by.
    InboundRefusalOrderField as "InboundRefusalOrder" of RefusalColumn;
    /// The identifier; refusals that came later have larger ones.
    Id text,
    /// Why it was refused, by the letters of the code.
    Code text,
    /// When it was refused.
    RefusedAt number,
}

listed! {
    InboundRefusalQueries of InboundRefusal filtered by InboundRefusalFilter, ordered by InboundRefusalOrderField;
    "Webhook deliveries that were not believed, as far as they are kept." inbound_refusals from integration::inbound_refusals;
    "One refused webhook; null when there is none that you may see." inbound_refusal from integration::inbound_refusals_by_ids;
}
