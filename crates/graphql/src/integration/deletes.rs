//! Claims that records of other systems are gone.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{DeleteClaimRecord, DeleteEvidence, Entity},
};
use crosstie_store::{
    Condition,
    integration::{self, DeleteClaimColumn},
};

use super::ConnectedSystem;
use crate::{
    access::sensitivity,
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
};

/// A claim.
#[derive(Clone)]
pub(crate) struct DeleteClaim(pub(crate) Item<DeleteClaimRecord>);

impl From<Item<DeleteClaimRecord>> for DeleteClaim {
    fn from(item: Item<DeleteClaimRecord>) -> Self {
        Self(item)
    }
}

impl Node for DeleteClaim {
    type Record = DeleteClaimRecord;
    const NAME: &'static str = "DeleteClaim";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A claim that a record of another system is gone, with what says so. The record of the hub stays; it counts as deleted
/// once every system with authority over it says so.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl DeleteClaim {
    #[graphql(flatten)]
    async fn record(&self) -> &DeleteClaimRecord {
        &self.0
    }

    /// Identifies the claim.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The record in the hub, by its identifier.
    async fn record_id(&self) -> ID {
        self.0.record_id.clone().into()
    }

    /// The inbound event that led to it.
    async fn inbound_event_id(&self) -> Option<ID> {
        self.0.inbound_event_id.map(Into::into)
    }

    /// The run that found it.
    async fn run_id(&self) -> Option<ID> {
        self.0.run_id.map(Into::into)
    }

    /// The sweep that missed it.
    async fn sweep_id(&self) -> Option<ID> {
        self.0.sweep_id.map(Into::into)
    }

    /// The system that says so.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |claim| Some(claim.connection_id)).await
    }
}

impl Choice for DeleteEvidence {
    const FILTER: &'static str = "DeleteEvidenceFilter";
}

/// Which claims to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct DeleteClaimFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The connection that says so.
    connection_id: Option<IdFilter>,
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// What says so.
    evidence: Option<ChoiceFilter<DeleteEvidence>>,
    /// All of these hold.
    and: Option<Vec<DeleteClaimFilter>>,
    /// At least one of these holds.
    or: Option<Vec<DeleteClaimFilter>>,
    /// This does not hold.
    not: Option<Box<DeleteClaimFilter>>,
}

impl Filter for DeleteClaimFilter {
    type Column = DeleteClaimColumn;

    fn own(&self, conditions: &mut Vec<Condition<DeleteClaimColumn>>) -> Result<(), ApiError> {
        self.id.compare(DeleteClaimColumn::Id, conditions)?;
        self.connection_id.compare(DeleteClaimColumn::Connection, conditions)?;
        self.entity.compare(DeleteClaimColumn::Entity, conditions)?;
        self.evidence.compare(DeleteClaimColumn::Evidence, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What claims are ordered by.
    DeleteClaimOrderField as "DeleteClaimOrder" of DeleteClaimColumn;
    /// The identifier; later claims have larger ones.
    Id text,
    /// The kind of record, by its letters.
    Entity text,
}

listed! {
    DeleteClaimQueries of DeleteClaim filtered by DeleteClaimFilter, ordered by DeleteClaimOrderField;
    "The claims that records of other systems are gone." delete_claims from integration::delete_claims;
    "One claim; null when there is none that you may see." delete_claim from integration::delete_claims_by_ids;
}
