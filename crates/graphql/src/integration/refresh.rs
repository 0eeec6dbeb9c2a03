//! Reading again what a person names, and ending that.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{Refresh, RefreshStep as Step};
use crosstie_domain::{
    Instant, Refusal,
    access::{Permission, Sensitivity},
    integration::Entity,
};

use super::backfills::Backfill;
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::{decided, read_id},
    edge::level,
    request_headers::idempotency_key,
};

/// What to read again: one kind of record, one record, or a window of time; everything that is read from the
/// connection when nothing is named.
#[derive(InputObject)]
pub(crate) struct RefreshInput {
    /// The connection to read.
    connection_id: ID,
    /// One kind of record.
    entity: Option<Entity>,
    /// One record, by its identifier in the hub.
    record_id: Option<ID>,
    /// One record, by its id there; `entity` must be given with it.
    remote_id: Option<String>,
    /// Only what changed there at this moment or later.
    since_at: Option<Instant>,
    /// Only what changed there up to this moment; up to now when it is left out.
    until_at: Option<Instant>,
    /// Whether to say only what would be done.
    #[graphql(default)]
    dry_run: bool,
    /// The same key with the same input gives the same answer for 24 hours, and begins nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What a refresh does with one kind of record.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct RefreshStep {
    /// The kind of record.
    entity: Entity,
    /// The one record that is read, by its id there; null when a window is.
    remote_id: Option<String>,
    /// Where the window begins; null for the beginning of all.
    since_at: Option<Instant>,
    /// Where it ends.
    until_at: Instant,
    /// In how many slices it is read.
    slices: i32,
    /// How many records the hub knows in it.
    known: i64,
    /// How many pages that makes, about.
    estimated_pages: i64,
    /// How many calls to the other system that makes, about.
    estimated_calls: i64,
}

impl From<Step> for RefreshStep {
    fn from(step: Step) -> Self {
        let Step { entity, remote_id, since, until, slices, known, estimated_pages, estimated_calls } = step;
        Self { entity, remote_id, since_at: since, until_at: until, slices, known, estimated_pages, estimated_calls }
    }
}

/// What a refresh does.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct RefreshPayload {
    /// What is read.
    steps: Vec<RefreshStep>,
    /// What is not touched by it, for a person.
    untouched: Vec<String>,
    /// The back-fills that do it; none when it was only asked what would be done.
    backfills: Vec<Backfill>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which back-fill to end.
#[derive(InputObject)]
pub(crate) struct CancelBackfillInput {
    /// The back-fill.
    backfill_id: ID,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of ending a back-fill.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct CancelBackfillPayload {
    /// The back-fill; null when it was refused.
    backfill: Option<Backfill>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of what is read.
#[derive(Default)]
pub(crate) struct RefreshMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl RefreshMutations {
    /// Reads something again, beside the incremental reading and without a reset. Says first what it does; with
    /// `dryRun` nothing else.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn refresh(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to read again.")] input: RefreshInput,
    ) -> Result<Option<RefreshPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let refused = |user_errors| RefreshPayload {
            steps: vec![],
            untouched: vec![],
            backfills: vec![],
            user_errors,
            client_mutation_id: client_mutation_id.clone(),
        };
        let connection_id = match read_id(&input.connection_id, "connectionId") {
            Ok(id) => id,
            Err(refusal) => return Ok(Some(refused(vec![refusal]))),
        };
        let wanted = Refresh {
            connection_id,
            entity: input.entity,
            record_id: input.record_id.map(|id| id.to_string()),
            remote_id: input.remote_id,
            since: input.since_at,
            until: input.until_at,
            dry_run: input.dry_run,
            idempotency_key: idempotency_key(ctx, input.idempotency_key),
        };
        Ok(Some(match app(ctx)?.refresh(found.auth, wanted).await.map_err(app_failed)? {
            Ok(done) => RefreshPayload {
                steps: done.steps.into_iter().map(Into::into).collect(),
                untouched: done.untouched,
                backfills: level(done.backfills).map(Backfill).collect(),
                user_errors: vec![],
                client_mutation_id,
            },
            Err(refusals) => refused(refusals),
        }))
    }

    /// Ends a back-fill; what it read so far stays.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn cancel_backfill(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which back-fill.")] input: CancelBackfillInput,
    ) -> Result<Option<CancelBackfillPayload>> {
        access(ctx, Permission::IntegrationWrite)?;
        let decision = match read_id(&input.backfill_id, "backfillId") {
            Ok(id) => app(ctx)?.cancel_backfill(id).await.map_err(app_failed)?,
            Err(refusal) => Err(vec![refusal]),
        };
        let (backfill, user_errors) = decided(decision);
        let client_mutation_id = input.client_mutation_id;
        Ok(Some(CancelBackfillPayload { backfill: backfill.map(Backfill), user_errors, client_mutation_id }))
    }
}
