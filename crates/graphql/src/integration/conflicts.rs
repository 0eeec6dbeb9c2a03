//! Conflicts between systems, and deciding them.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{Choice as Decided, ResolveConflict};
use crosstie_domain::{
    Instant, Refusal, Refusals, UserErrorCode,
    access::{Permission, Sensitivity},
    integration::{ConflictRecord, ConflictStatus, ConflictVoice, Entity},
};
use crosstie_store::{
    Condition,
    integration::{self, ConflictColumn},
};

use super::ConnectedSystem;
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::{decided, read_id},
    edge::{Item, level},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
    node,
    request_headers::idempotency_key,
};

/// A conflict.
#[derive(Clone)]
pub(crate) struct Conflict(pub(crate) Item<ConflictRecord>);

impl From<Item<ConflictRecord>> for Conflict {
    fn from(item: Item<ConflictRecord>) -> Self {
        Self(item)
    }
}

impl Node for Conflict {
    type Record = ConflictRecord;
    const NAME: &'static str = "Conflict";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// A field of which systems say different things, so that a person has to decide. Until then it keeps its agreed value.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Conflict {
    #[graphql(flatten)]
    async fn record(&self) -> &ConflictRecord {
        &self.0
    }

    /// Identifies the conflict.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The record's identifier.
    async fn record_id(&self) -> ID {
        ID(self.0.record_id.clone())
    }

    /// The record, when you may see it.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<node::Node>> {
        node::find(ctx, &self.0.record_id).await
    }

    /// The agreed value when it was opened, as JSON.
    async fn agreed(&self) -> Option<String> {
        shown(&self.0.agreed)
    }

    /// What was decided, as JSON; null while nothing was.
    async fn resolution(&self) -> Option<String> {
        self.0.resolution.as_ref().and_then(shown)
    }

    /// What each system says.
    async fn voices(&self) -> Vec<ConflictingVoice> {
        level(self.0.voices.clone()).map(ConflictingVoice).collect()
    }
}

/// A value as JSON; null when there is none. Conflicts are about accounts and opportunities, which hold nothing that is
/// financial.
fn shown(value: &serde_json::Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// What one system says of the field.
pub(crate) struct ConflictingVoice(Item<ConflictVoice>);

/// What one system says of a field in conflict.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ConflictingVoice {
    /// The system.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |voice| Some(voice.speaker.connection)).await
    }

    /// The record's id there.
    async fn remote_id(&self) -> &str {
        &self.0.speaker.remote_id
    }

    /// What it says, as JSON; null when it holds nothing.
    async fn value(&self) -> Option<String> {
        shown(&self.0.value)
    }

    /// When it was observed.
    async fn observed_at(&self) -> Instant {
        self.0.observed_at
    }
}

impl Choice for ConflictStatus {
    const FILTER: &'static str = "ConflictStatusFilter";
}

/// Which conflicts to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ConflictFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The kind of record.
    entity: Option<ChoiceFilter<Entity>>,
    /// The record.
    record_id: Option<IdFilter>,
    /// The field.
    field: Option<TextFilter>,
    /// How it stands.
    status: Option<ChoiceFilter<ConflictStatus>>,
    /// When it was opened.
    opened_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<ConflictFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ConflictFilter>>,
    /// This does not hold.
    not: Option<Box<ConflictFilter>>,
}

impl Filter for ConflictFilter {
    type Column = ConflictColumn;

    fn own(&self, conditions: &mut Vec<Condition<ConflictColumn>>) -> Result<(), ApiError> {
        self.id.compare(ConflictColumn::Id, conditions)?;
        self.entity.compare(ConflictColumn::Entity, conditions)?;
        self.record_id.compare(ConflictColumn::Record, conditions)?;
        self.field.compare(ConflictColumn::Field, conditions)?;
        self.status.compare(ConflictColumn::Status, conditions)?;
        self.opened_at.compare(ConflictColumn::OpenedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What conflicts are ordered by.
    ConflictOrderField as "ConflictOrder" of ConflictColumn;
    /// The identifier; conflicts that were opened later have larger ones.
    Id text,
    /// How it stands, by the letters of the status.
    Status text,
    /// When it was opened.
    OpenedAt number,
}

listed! {
    ConflictQueries of Conflict filtered by ConflictFilter, ordered by ConflictOrderField;
    "The conflicts between systems." conflicts from integration::conflicts;
    "One conflict; null when there is none that you may see." conflict from integration::conflicts_by_ids;
}

/// What to decide. Exactly one of `connectionId`, `value` and `keepAgreed` is given.
#[derive(InputObject)]
pub(crate) struct ResolveConflictInput {
    /// The conflict.
    conflict_id: ID,
    /// The field is to be what this system says.
    connection_id: Option<ID>,
    /// The field is to be this value, as JSON in the form that the conflict shows.
    value: Option<String>,
    /// The field is to stay as it was agreed on.
    #[graphql(default)]
    keep_agreed: bool,
    /// Why, at most 2,000 characters.
    note: Option<String>,
    /// The version that was read; when it has changed since, nothing is decided.
    expected_version: Option<i32>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

impl ResolveConflictInput {
    fn read(self, key: Option<String>) -> std::result::Result<ResolveConflict, Refusals> {
        let conflict_id = read_id(&self.conflict_id, "conflictId").map_err(|refusal| vec![refusal])?;
        let choice = match (&self.connection_id, &self.value, self.keep_agreed) {
            (Some(id), None, false) => Decided::System(read_id(id, "connectionId").map_err(|refusal| vec![refusal])?),
            (None, Some(text), false) => match serde_json::from_str(text) {
                Ok(value) => Decided::Value(value),
                Err(error) => {
                    let message = format!("Not JSON: {error}.");
                    return Err(vec![Refusal::new("value", UserErrorCode::Invalid, message)]);
                }
            },
            (None, None, true) => Decided::Agreed,
            _ => {
                let message = "Give exactly one of connectionId, value and keepAgreed.";
                return Err(vec![Refusal::new("connectionId", UserErrorCode::Required, message)]);
            }
        };
        let (note, expected_version) = (self.note, self.expected_version);
        Ok(ResolveConflict { conflict_id, choice, note, expected_version, idempotency_key: key })
    }
}

/// What became of a decision.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ResolveConflictPayload {
    /// The conflict, decided; null when it was refused.
    conflict: Option<Conflict>,
    /// The record as it stands now.
    subject: Option<node::Node>,
    /// Why it was refused; empty when it was done.
    user_errors: Refusals,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of conflicts.
#[derive(Default)]
pub(crate) struct ConflictMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ConflictMutations {
    /// Decides a conflict. The record shows the value from now on, and the systems that say otherwise are told, where
    /// they can be written. One that was decided before can be decided again.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn resolve_conflict(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to decide.")] input: ResolveConflictInput,
    ) -> Result<Option<ResolveConflictPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let key = idempotency_key(ctx, input.idempotency_key.clone());
        let decision = match input.read(key) {
            Ok(input) => app(ctx)?.resolve_conflict(found.auth, input).await.map_err(app_failed)?,
            Err(refusals) => Err(refusals),
        };
        let (conflict, user_errors) = decided(decision);
        let subject = match &conflict {
            Some(conflict) => node::find(ctx, &conflict.record_id).await?,
            None => None,
        };
        Ok(Some(ResolveConflictPayload { conflict: conflict.map(Conflict), subject, user_errors, client_mutation_id }))
    }
}
