//! Which records of other systems a record is, and deciding it.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{LinkRecord, MergeRecords, Split, SplitRecord};
use crosstie_domain::{
    Instant, Refusal, Refusals, UserErrorCode,
    access::{Permission, Sensitivity},
    integration::{Entity, IdentityEvent, LinkState, MatchCandidate, UNREAD, matching::MatchEvidence},
};
use crosstie_store::integration::{Identity, identities_of, identity_events_of, match_candidates};

use super::ConnectedSystem;
use crate::{
    access::{Access, access, app, app_failed, requires, sensitivity, store_failed},
    contracts::read_id,
    edge::{Item, keyed, level},
    error::ApiError,
    node,
    request_headers::idempotency_key,
};

/// Candidates in one answer, at most.
const MOST_CANDIDATES: i32 = 100;

/// What other systems know a record as. Its siblings' are loaded with it.
///
/// # Errors
/// `FORBIDDEN`.
pub(crate) async fn external_refs<R>(
    ctx: &Context<'_>,
    permission: Permission,
    (entity, item): (Entity, &Item<R>),
    id: impl Fn(&R) -> String,
) -> Result<Vec<ExternalRef>> {
    let found = access(ctx, permission)?;
    let links = item.many(
        ("externalRefs", String::new()),
        |record| Some(id(record)),
        |ids| async move {
            let mut links = identities_of(found.store, found.rows, &ids).await?;
            links.retain(|link| link.entity == entity);
            Ok(keyed(links, |link| link.record_id.clone()))
        },
    );
    Ok(links.await?.into_iter().map(ExternalRef).collect())
}

/// What another system knows a record as.
pub(crate) struct ExternalRef(Item<Identity>);

/// What another system knows a record as.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ExternalRef {
    /// The system.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |link| Some(link.connection_id)).await
    }

    /// The record's id there.
    async fn remote_id(&self) -> &str {
        &self.0.remote_id
    }

    /// The record's version there when it was last seen.
    async fn remote_version(&self) -> Option<&str> {
        self.0.remote_version.as_deref().map(|version| version.strip_suffix(UNREAD).unwrap_or(version))
    }

    /// How sure it is.
    async fn state(&self) -> LinkState {
        self.0.state
    }

    /// When it was last seen there.
    async fn last_seen_at(&self) -> Instant {
        self.0.last_seen_at
    }
}

/// A record that a record of another system may be.
pub(crate) struct PossibleMatch(Item<MatchCandidate>);

/// A record that a record of another system may be. `linkRecord` says that it is, `splitRecord` that it is not.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl PossibleMatch {
    /// The system.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |candidate| Some(candidate.connection_id)).await
    }

    /// The kind of record.
    async fn entity(&self) -> Entity {
        self.0.entity
    }

    /// The record's id there.
    async fn remote_id(&self) -> &str {
        &self.0.remote_id
    }

    /// The identifier of the record that it may be.
    async fn record_id(&self) -> ID {
        ID(self.0.record_id.clone())
    }

    /// The record that it may be, when you may see it.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<node::Node>> {
        node::find(ctx, &self.0.record_id).await
    }

    /// How much speaks for it, up to 100.
    async fn score(&self) -> i32 {
        self.0.score
    }

    /// What speaks for it.
    async fn evidence(&self) -> &[MatchEvidence] {
        &self.0.evidence
    }

    /// When it was found.
    async fn found_at(&self) -> Instant {
        self.0.found_at
    }
}

/// A decision about records and their links.
pub(crate) struct IdentityDecision(Item<IdentityEvent>);

/// A decision about which records of other systems a record is. It can be undone by the opposite one.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl IdentityDecision {
    #[graphql(flatten)]
    async fn record(&self) -> &IdentityEvent {
        &self.0
    }

    /// Identifies the decision.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The record that things moved away from.
    async fn from_id(&self) -> ID {
        ID(self.0.record_id.clone())
    }

    /// The record that they moved to.
    async fn into_id(&self) -> ID {
        ID(self.0.other_id.clone())
    }

    /// How many links to other systems moved.
    async fn moved_links(&self) -> i32 {
        i32::try_from(self.0.moved.links.len()).unwrap_or(i32::MAX)
    }

    /// How many records belong elsewhere since.
    async fn moved_records(&self) -> i32 {
        i32::try_from(self.0.moved.children.len()).unwrap_or(i32::MAX)
    }

    /// Whether another decision undid it.
    async fn is_undone(&self) -> bool {
        self.0.undone_by.is_some()
    }
}

/// Queries for links.
#[derive(Default)]
pub(crate) struct LinkQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl LinkQueries {
    /// Records of other systems that may be another record than their own, the most likely first.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn match_candidates(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those that may be this record.")] record_id: Option<ID>,
    ) -> Result<Option<Vec<PossibleMatch>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let first = first.unwrap_or(25);
        if !(1..=MOST_CANDIDATES).contains(&first) {
            let message = format!("`first` is from 1 to {MOST_CANDIDATES}.");
            return Err(ApiError::BadInput { argument: "first".to_owned(), message }.into_graphql());
        }
        // Who sees some accounts alone sees none of what crosses the border, as in all lists of this kind.
        if !matches!(found.rows, crosstie_domain::access::RowScope::All) {
            return Ok(Some(Vec::new()));
        }
        let records = record_id.map(|id| vec![id.0]);
        let candidates = match_candidates(found.store, found.rows, records.as_deref(), first.into()).await;
        Ok(Some(level(candidates.map_err(store_failed)?).map(PossibleMatch).collect()))
    }

    /// The decisions about a record and its links, newest first, at most 1,000.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn identity_decisions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The record.")] record_id: ID,
    ) -> Result<Option<Vec<IdentityDecision>>> {
        let found: Access<'_> = access(ctx, Permission::IntegrationRead)?;
        if node::find(ctx, &record_id).await?.is_none() {
            return Ok(None);
        }
        let events = identity_events_of(found.store, found.rows, &[record_id.0]).await.map_err(store_failed)?;
        Ok(Some(level(events).map(IdentityDecision).collect()))
    }
}

/// Which record a record of another system is.
#[derive(InputObject)]
pub(crate) struct LinkRecordInput {
    /// The connection.
    connection_id: ID,
    /// The record's id at that system.
    remote_id: String,
    /// The account or opportunity that it is.
    record_id: ID,
    /// Why, at most 2,000 characters.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// Two records that are one.
#[derive(InputObject)]
pub(crate) struct MergeRecordsInput {
    /// The account or opportunity that gives way. It stays readable and leaves the lists.
    record_id: ID,
    /// The one that stays.
    into_id: ID,
    /// Why, at most 2,000 characters.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What is to be taken apart: a record that was merged, by `recordId` alone; or a record of another system from the
/// record that it is linked to, by `connectionId` and `remoteId`, too.
#[derive(InputObject)]
pub(crate) struct SplitRecordInput {
    /// The account or opportunity.
    record_id: ID,
    /// The connection.
    connection_id: Option<ID>,
    /// The record's id at that system.
    remote_id: Option<String>,
    /// Why, at most 2,000 characters.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

macro_rules! payload {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(SimpleObject)]
        #[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
        pub(crate) struct $name {
            /// What was decided; null when it was refused.
            decision: Option<IdentityDecision>,
            /// The record that things moved to, as it stands now.
            subject: Option<node::Node>,
            /// Why it was refused; empty when it was done.
            user_errors: Refusals,
            /// As it was sent.
            client_mutation_id: Option<String>,
        }
    };
}

payload!(LinkRecordPayload, "What became of a link.");
payload!(MergeRecordsPayload, "What became of a merge.");
payload!(SplitRecordPayload, "What became of a split.");

type Outcome = (Option<IdentityDecision>, Option<node::Node>, Refusals);

async fn outcome(ctx: &Context<'_>, decision: crosstie_app::Decision<IdentityEvent>) -> Result<Outcome> {
    match decision {
        Ok(event) => {
            let subject = node::find(ctx, &event.other_id).await?;
            Ok((level(vec![event]).next().map(IdentityDecision), subject, Vec::new()))
        }
        Err(refusals) => Ok((None, None, refusals)),
    }
}

/// Changes of links.
#[derive(Default)]
pub(crate) struct LinkMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl LinkMutations {
    /// Says which record a record of another system is. What came through it goes with it; if its former record has no
    /// other system, that is merged.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn link_record(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which record is which.")] input: LinkRecordInput,
    ) -> Result<Option<LinkRecordPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let idempotency_key = idempotency_key(ctx, input.idempotency_key);
        let decision = match read_id(&input.connection_id, "connectionId") {
            Ok(connection_id) => {
                let (remote_id, record_id, reason) = (input.remote_id, input.record_id.0, input.reason);
                let input = LinkRecord { connection_id, remote_id, record_id, reason, idempotency_key };
                app(ctx)?.link_record(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (decision, subject, user_errors) = outcome(ctx, decision).await?;
        Ok(Some(LinkRecordPayload { decision, subject, user_errors, client_mutation_id }))
    }

    /// Makes one record of two. What belonged to the one that gives way belongs to the one that stays. `splitRecord`
    /// undoes it without loss.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn merge_records(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which records are one.")] input: MergeRecordsInput,
    ) -> Result<Option<MergeRecordsPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let idempotency_key = idempotency_key(ctx, input.idempotency_key);
        let (record_id, into_id, reason) = (input.record_id.0, input.into_id.0, input.reason);
        let input = MergeRecords { record_id, into_id, reason, idempotency_key };
        let decision = app(ctx)?.merge_records(found.auth, input).await.map_err(app_failed)?;
        let (decision, subject, user_errors) = outcome(ctx, decision).await?;
        Ok(Some(MergeRecordsPayload { decision, subject, user_errors, client_mutation_id }))
    }

    /// Takes apart what was merged, linked or matched wrongly. What came through the other system goes with it, nothing
    /// is lost, and it is not matched again by itself.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn split_record(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What is to be taken apart.")] input: SplitRecordInput,
    ) -> Result<Option<SplitRecordPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let idempotency_key = idempotency_key(ctx, input.idempotency_key);
        let record_id = input.record_id.0;
        let what = match (input.connection_id, input.remote_id) {
            (None, None) => Ok(Split::Merged(record_id)),
            (Some(id), Some(remote_id)) => {
                read_id(&id, "connectionId").map(|connection_id| Split::Remote { record_id, connection_id, remote_id })
            }
            _ => {
                let message = "Give both connectionId and remoteId, or neither.";
                Err(Refusal::new("remoteId", UserErrorCode::Required, message))
            }
        };
        let decision = match what {
            Ok(what) => {
                let input = SplitRecord { what, reason: input.reason, idempotency_key };
                app(ctx)?.split_record(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (decision, subject, user_errors) = outcome(ctx, decision).await?;
        Ok(Some(SplitRecordPayload { decision, subject, user_errors, client_mutation_id }))
    }
}
