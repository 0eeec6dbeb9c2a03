//! Taking up again what failed, or was done with.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use crosstie_app::{Decision, Replay, ReplayRequest, ReplayStep as Step};
use crosstie_domain::{
    Refusal,
    access::{Permission, Sensitivity},
};

use super::{effects::EffectFilter, inbound::InboundEventFilter, parked::ParkedRowFilter, replays::ReplayJob};
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    edge::level,
    error::ApiError,
    filter::Filter,
    request_headers::idempotency_key,
};

/// Which inbound events to take up again.
#[derive(InputObject)]
pub(crate) struct ReplayInboundEventsInput {
    /// Which events, at most 10,000. Those that wait already, and duplicates, are left alone.
    filter: InboundEventFilter,
    /// Whether to say only what would be done.
    #[graphql(default)]
    dry_run: bool,
    /// Why, in words: at most 500 characters. It is kept with the job.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and begins nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// Which rows to map again.
#[derive(InputObject)]
pub(crate) struct ReplayParkedRowsInput {
    /// Which rows, at most 10,000.
    filter: ParkedRowFilter,
    /// Whether to say only what would be done.
    #[graphql(default)]
    dry_run: bool,
    /// Why, in words: at most 500 characters. It is kept with the job.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and begins nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// Which effects to send again.
#[derive(InputObject)]
pub(crate) struct ReplayOutboundEffectsInput {
    /// Which effects, at most 10,000. Those that are done, or that a person must settle first, are left alone.
    filter: EffectFilter,
    /// Whether to say only what would be done.
    #[graphql(default)]
    dry_run: bool,
    /// Why, in words: at most 500 characters. It is kept with the job.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and begins nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What a replay does with what stands in one way.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ReplayStep {
    /// How they stand: a status, or of parked rows the code that they wait with.
    standing: String,
    /// How many there are.
    items: i64,
    /// Whether they are taken up again.
    replayed: bool,
    /// What is done with them, for a person.
    does: String,
}

impl From<Step> for ReplayStep {
    fn from(step: Step) -> Self {
        let Step { standing, items, replayed, does } = step;
        Self { standing, items, replayed, does: does.to_owned() }
    }
}

/// What taking inbound events up again does.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ReplayInboundEventsPayload {
    /// What is done; empty when the same request came before.
    steps: Vec<ReplayStep>,
    /// The job that does it; null when it was only asked, or refused.
    job: Option<ReplayJob>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What mapping rows again does.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ReplayParkedRowsPayload {
    /// What is done; empty when the same request came before.
    steps: Vec<ReplayStep>,
    /// The job that does it; null when it was only asked, or refused.
    job: Option<ReplayJob>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What sending effects again does.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ReplayOutboundEffectsPayload {
    /// What is done; empty when the same request came before.
    steps: Vec<ReplayStep>,
    /// The job that does it; null when it was only asked, or refused.
    job: Option<ReplayJob>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Taking up again what failed, or was done with.
#[derive(Default)]
pub(crate) struct ReplayMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ReplayMutations {
    /// Takes inbound events up again, also those that were done with: their records are read anew. Says first what it
    /// does; with `dryRun` nothing else.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn replay_inbound_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which events.")] input: ReplayInboundEventsInput,
    ) -> Result<Option<ReplayInboundEventsPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let wanted = wanted(ctx, &input.filter, (input.dry_run, input.reason, input.idempotency_key))?;
        let decision = app(ctx)?.replay_inbound_events(found.auth, wanted).await.map_err(app_failed)?;
        let (steps, job, user_errors) = shown(decision);
        Ok(Some(ReplayInboundEventsPayload { steps, job, user_errors, client_mutation_id }))
    }

    /// Maps rows that could not be applied again, as they are kept or as they were corrected. Says first what it does;
    /// with `dryRun` nothing else.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn replay_parked_rows(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which rows.")] input: ReplayParkedRowsInput,
    ) -> Result<Option<ReplayParkedRowsPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let wanted = wanted(ctx, &input.filter, (input.dry_run, input.reason, input.idempotency_key))?;
        let decision = app(ctx)?.replay_parked_rows(found.auth, wanted).await.map_err(app_failed)?;
        let (steps, job, user_errors) = shown(decision);
        Ok(Some(ReplayParkedRowsPayload { steps, job, user_errors, client_mutation_id }))
    }

    /// Sends effects that were refused or given up again, under their keys, and tries those that wait at once. Says first
    /// what it does; with `dryRun` nothing else.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn replay_outbound_effects(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which effects.")] input: ReplayOutboundEffectsInput,
    ) -> Result<Option<ReplayOutboundEffectsPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let client_mutation_id = input.client_mutation_id;
        let wanted = wanted(ctx, &input.filter, (input.dry_run, input.reason, input.idempotency_key))?;
        let decision = app(ctx)?.replay_outbound_effects(found.auth, wanted).await.map_err(app_failed)?;
        let (steps, job, user_errors) = shown(decision);
        Ok(Some(ReplayOutboundEffectsPayload { steps, job, user_errors, client_mutation_id }))
    }
}

/// What is asked for: which ones, whether only to say what would be done, why, and under which key.
fn wanted<F: Filter>(
    ctx: &Context<'_>,
    filter: &F,
    (dry_run, reason, key): (bool, Option<String>, Option<String>),
) -> Result<ReplayRequest<F::Column>> {
    let condition = filter.condition().map_err(ApiError::into_graphql)?;
    Ok(ReplayRequest { condition, dry_run, reason, idempotency_key: idempotency_key(ctx, key) })
}

fn shown(decision: Decision<Replay>) -> (Vec<ReplayStep>, Option<ReplayJob>, Vec<Refusal>) {
    match decision {
        Ok(Replay { steps, job }) => {
            let job = level(job.into_iter().collect()).next().map(ReplayJob);
            (steps.into_iter().map(Into::into).collect(), job, Vec::new())
        }
        Err(refusals) => (Vec::new(), None, refusals),
    }
}
