//! Replays: what failed, or was done with, is taken up again. What that will do is said first; the work is a job with a
//! result for each item, on which the engine works.

use std::collections::BTreeMap;

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::{ConnectionId, JobId},
    integration::{
        EffectRecord, EffectStatus, InboundEventRecord, InboundStatus, ParkedRowRecord, ReplayJobRecord, ReplayKind,
        ReplayStatus,
    },
};
use crosstie_store::{
    Condition, Operand, Operator, StoreError, Tx, count, first_of,
    integration::{EffectColumn, InboundColumn, ParkedColumn, replay_jobs_by_ids},
};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    connections::check_reason,
    idempotency::{Request, decided},
};

/// Items that one replay has, at most.
const MOST_ITEMS: usize = 10_000;

/// What is to be taken up again.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayRequest<C> {
    /// Which of them.
    pub condition: Condition<C>,
    /// Whether to say only what would be done.
    pub dry_run: bool,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What a replay does with what stands in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayStep {
    /// How they stand: a status, or of rows the code that they wait with.
    pub standing: String,
    /// How many there are.
    pub items: i64,
    /// Whether they are taken up again.
    pub replayed: bool,
    /// What is done with them, in words.
    pub does: &'static str,
}

/// What a replay does, and the job that does it; none when it was only asked what would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// What is done, by how things stand.
    pub steps: Vec<ReplayStep>,
    /// The job that was begun.
    pub job: Option<ReplayJobRecord>,
}

/// A replay that is asked for.
struct Asked<'a> {
    operation: &'static str,
    kind: ReplayKind,
    dry_run: bool,
    reason: Option<&'a str>,
    key: Option<&'a str>,
}

const AGAIN: &str = "The record is read from the other system again and applied.";
const READ_OR_LOOK: &str =
    "The record is read again; where the event pointed at none, the kept body is looked through again.";
const MAP: &str = "The row goes through the mapping again as it is kept; one that was never readable is read again.";
const SEND: &str = "It is sent again under its key; the other system is asked first where something may have happened.";
const SEND_NOW: &str = "It is tried at once instead of at its next time.";
const IN_LINE: &str = "Left alone: its turn comes by itself.";
const DUPLICATE: &str = "Left alone: the event that came first under its key counts.";
const DONE: &str = "Left alone: it is done.";
const UNCERTAIN: &str = "Left alone: a person says first whether it happened.";

impl App {
    /// Takes inbound events up again, or says what that would do. Duplicates stay duplicates.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn replay_inbound_events(
        &self,
        auth: &AuthContext,
        input: ReplayRequest<InboundColumn>,
    ) -> Result<Decision<Replay>, AppError> {
        decided(|| self.try_replay_events(auth, &input)).await
    }

    async fn try_replay_events(
        &self,
        auth: &AuthContext,
        input: &ReplayRequest<InboundColumn>,
    ) -> Result<Decision<Replay>, AppError> {
        let tx = self.store().begin().await?;
        let standing = |status: InboundStatus| {
            let is = Condition::Is(InboundColumn::Status, Operator::Eq, Operand::Text(word(&status)));
            Condition::All(vec![input.condition.clone(), is])
        };
        let mut plan = Plan::default();
        for (status, does) in [
            (InboundStatus::Parked, READ_OR_LOOK),
            (InboundStatus::Retrying, AGAIN),
            (InboundStatus::Processed, AGAIN),
            (InboundStatus::Ignored, READ_OR_LOOK),
        ] {
            let events = first_of::<InboundEventRecord>(&tx, &auth.rows, &standing(status), plan.room()).await?;
            let items = events.iter().map(|event| (event.id.to_string(), event.connection_id));
            plan.take((word(&status), does), items);
        }
        for (status, does) in [(InboundStatus::Received, IN_LINE), (InboundStatus::Duplicate, DUPLICATE)] {
            let items = count::<InboundEventRecord>(&tx, &auth.rows, &standing(status)).await?;
            plan.leave((word(&status), does), items);
        }
        let asked = Asked::of("replayInboundEvents", ReplayKind::InboundEvents, input);
        begin(tx, auth, (asked, &input.condition), plan).await
    }

    /// Maps rows that could not be applied again, or says what that would do.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn replay_parked_rows(
        &self,
        auth: &AuthContext,
        input: ReplayRequest<ParkedColumn>,
    ) -> Result<Decision<Replay>, AppError> {
        decided(|| self.try_replay_rows(auth, &input)).await
    }

    async fn try_replay_rows(
        &self,
        auth: &AuthContext,
        input: &ReplayRequest<ParkedColumn>,
    ) -> Result<Decision<Replay>, AppError> {
        let tx = self.store().begin().await?;
        let mut plan = Plan::default();
        let rows = first_of::<ParkedRowRecord>(&tx, &auth.rows, &input.condition, plan.room()).await?;
        let mut by_code: BTreeMap<&str, Vec<(String, ConnectionId)>> = BTreeMap::new();
        for row in &rows {
            by_code.entry(row.code.as_str()).or_default().push((row.id.to_string(), row.connection_id));
        }
        for (code, items) in by_code {
            plan.take((code.to_owned(), MAP), items.into_iter());
        }
        let asked = Asked::of("replayParkedRows", ReplayKind::ParkedRows, input);
        begin(tx, auth, (asked, &input.condition), plan).await
    }

    /// Sends effects again, or says what that would do.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn replay_outbound_effects(
        &self,
        auth: &AuthContext,
        input: ReplayRequest<EffectColumn>,
    ) -> Result<Decision<Replay>, AppError> {
        decided(|| self.try_replay_effects(auth, &input)).await
    }

    async fn try_replay_effects(
        &self,
        auth: &AuthContext,
        input: &ReplayRequest<EffectColumn>,
    ) -> Result<Decision<Replay>, AppError> {
        let tx = self.store().begin().await?;
        let standing = |status: EffectStatus, also: Option<Condition<EffectColumn>>| {
            let text = Operand::Text(status.as_str().to_owned());
            let is = Condition::Is(EffectColumn::Status, Operator::Eq, text);
            Condition::All([Some(input.condition.clone()), Some(is), also].into_iter().flatten().collect())
        };
        let untroubled = || Condition::Empty(EffectColumn::Code);
        let mut plan = Plan::default();
        for (status, does, also) in [
            (EffectStatus::Rejected, SEND, None),
            (EffectStatus::Exhausted, SEND, None),
            (EffectStatus::Waiting, SEND_NOW, Some(Condition::Not(Box::new(untroubled())))),
            (EffectStatus::Sent, SEND_NOW, Some(Condition::Not(Box::new(untroubled())))),
        ] {
            let effects = first_of::<EffectRecord>(&tx, &auth.rows, &standing(status, also), plan.room()).await?;
            let items = effects.iter().map(|effect| (effect.id.to_string(), effect.connection_id));
            plan.take((status.as_str().to_owned(), does), items);
        }
        for (status, does, also) in [
            (EffectStatus::Waiting, IN_LINE, Some(untroubled())),
            (EffectStatus::Sent, IN_LINE, Some(untroubled())),
            (EffectStatus::Done, DONE, None),
            (EffectStatus::Uncertain, UNCERTAIN, None),
        ] {
            let items = count::<EffectRecord>(&tx, &auth.rows, &standing(status, also)).await?;
            plan.leave((status.as_str().to_owned(), does), items);
        }
        let asked = Asked::of("replayOutboundEffects", ReplayKind::OutboundEffects, input);
        begin(tx, auth, (asked, &input.condition), plan).await
    }
}

/// What a replay would do: its items, and what is done by how things stand.
#[derive(Default)]
struct Plan {
    items: Vec<(String, ConnectionId)>,
    steps: Vec<ReplayStep>,
}

impl Plan {
    /// How many more items to look for: one more than may be, so that it is seen when there are too many.
    fn room(&self) -> u32 {
        u32::try_from((MOST_ITEMS + 1).saturating_sub(self.items.len())).unwrap_or(0)
    }

    fn take(
        &mut self,
        (standing, does): (String, &'static str),
        items: impl ExactSizeIterator<Item = (String, ConnectionId)>,
    ) {
        let found = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if found > 0 {
            self.steps.push(ReplayStep { standing, items: found, replayed: true, does });
            self.items.extend(items);
        }
    }

    fn leave(&mut self, (standing, does): (String, &'static str), items: i64) {
        if items > 0 {
            self.steps.push(ReplayStep { standing, items, replayed: false, does });
        }
    }
}

/// Says what a replay does and, unless it is only asked, writes the job down with its items.
async fn begin<C: Serialize>(
    tx: Tx,
    auth: &AuthContext,
    (asked, condition): (Asked<'_>, &Condition<C>),
    plan: Plan,
) -> Result<Decision<Replay>, AppError> {
    let key = asked.key.filter(|_| !asked.dry_run);
    let request = Request::new(asked.operation, key, &(condition, asked.reason));
    match request.earlier(&tx, auth).await? {
        Err(refusals) => return Ok(Err(refusals)),
        Ok(Some(earlier)) => return Ok(Ok(Replay { steps: vec![], job: job(&tx, &earlier).await? })),
        Ok(None) => {}
    }
    if let Some(refusal) = check_reason(asked.reason) {
        return Ok(Err(vec![refusal]));
    }
    let Plan { items, steps } = plan;
    if items.len() > MOST_ITEMS {
        let message = format!("More than {MOST_ITEMS} items fit the filter; narrow it.");
        return Ok(Err(vec![Refusal::new("filter", UserErrorCode::LimitExceeded, message)]));
    }
    if asked.dry_run {
        return Ok(Ok(Replay { steps, job: None }));
    }
    if items.is_empty() {
        let message = "Nothing that can be taken up again, and that you may see, fits the filter.";
        return Ok(Err(vec![Refusal::new("filter", UserErrorCode::NotFound, message)]));
    }
    let job = ReplayJobRecord {
        id: tx.new_id(),
        kind: asked.kind,
        status: ReplayStatus::Waiting,
        filter: serde_json::to_string(condition).unwrap_or_default(),
        items: i32::try_from(items.len()).unwrap_or(i32::MAX),
        actor: auth.principal.to_string(),
        reason: asked.reason.map(str::to_owned),
        created_at: tx.now(),
        finished_at: None,
    };
    tx.begin_replay(&job, &items).await?;
    request.keep(&tx, auth, job.id.to_string()).await?;
    tx.commit().await?;
    Ok(Ok(Replay { steps, job: Some(job) }))
}

impl<'a> Asked<'a> {
    fn of<C>(operation: &'static str, kind: ReplayKind, input: &'a ReplayRequest<C>) -> Self {
        let (reason, key) = (input.reason.as_deref(), input.idempotency_key.as_deref());
        Self { operation, kind, dry_run: input.dry_run, reason, key }
    }
}

/// The written form of a status.
fn word<T: Serialize>(status: &T) -> String {
    match serde_json::to_value(status) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

async fn job(tx: &Tx, id: &str) -> Result<Option<ReplayJobRecord>, StoreError> {
    let Ok(id) = id.parse::<JobId>() else { return Ok(None) };
    Ok(replay_jobs_by_ids(tx, &RowScope::All, &[id]).await?.pop())
}
