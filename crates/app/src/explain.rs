//! What connections do next, when, and why they wait: facts of the database in plain sentences.

use std::collections::HashMap;

use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ConnectionId,
    integration::{
        BreakerRecord, BreakerState, ConnectionRecord, Entity, Freshness, PauseRecord, PauseScope, PlannedStep,
        SignInRecord, StepKind, StepState, SweepStatus, WaitCode, WaitReason,
    },
};
use crosstie_store::{
    Reads, StoreError,
    integration::{
        ConnectionFacts, QueueFacts, ReadingFacts, breakers_of, connection_facts, connections_by_ids, freshness_of,
        open_pauses, sign_ins_of,
    },
};

/// What these connections do next, in the order of their kinds of record; connections that there are not are left out.
///
/// # Errors
/// As the database.
pub async fn explain(
    db: &impl Reads,
    scope: &RowScope,
    now: Instant,
    ids: &[ConnectionId],
) -> Result<Vec<PlannedStep>, StoreError> {
    let connections = connections_by_ids(db, scope, ids).await?;
    let ids: Vec<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
    let names: Vec<String> = connections.iter().map(|connection| connection.name.clone()).collect();
    let known = Known {
        now,
        facts: connection_facts(db, &ids).await?,
        fresh: freshness_of(db, now, &ids).await?,
        pauses: open_pauses(db, &ids).await?,
        breakers: breakers_of(db, &ids).await?.into_iter().map(|breaker| (breaker.connection_id, breaker)).collect(),
        sign_ins: sign_ins_of(db, &names).await?,
    };
    Ok(connections.iter().flat_map(|connection| Telling { known: &known, connection }.steps()).collect())
}

/// All that is known of some connections.
struct Known {
    now: Instant,
    facts: ConnectionFacts,
    fresh: Vec<Freshness>,
    pauses: Vec<PauseRecord>,
    breakers: HashMap<ConnectionId, BreakerRecord>,
    sign_ins: Vec<SignInRecord>,
}

/// One connection that is told of.
struct Telling<'a> {
    known: &'a Known,
    connection: &'a ConnectionRecord,
}

impl Telling<'_> {
    fn steps(&self) -> Vec<PlannedStep> {
        let id = self.connection.id;
        let mut steps: Vec<PlannedStep> =
            self.known.fresh.iter().filter(|one| one.connection_id == id).map(|one| self.reading(one)).collect();
        let facts = &self.known.facts;
        for slices in facts.slices.iter().filter(|slices| slices.connection_id == id) {
            let failing = match slices.failing {
                0 => String::new(),
                failing => format!(", {failing} of them after a failure"),
            };
            let text = format!("{} slice(s) of back-fills are left to read{failing}.", slices.slices);
            let reasons = self.holds(PauseScope::Reading);
            steps.push(self.step((StepKind::Backfill, Some(slices.entity)), (text, Some(slices.next_at), reasons)));
        }
        for sweep in facts.sweeps.iter().filter(|sweep| sweep.connection_id == id) {
            steps.push(self.sweep((sweep.entity, sweep.status), (sweep.missing, sweep.started_at)));
        }
        let queued = |queue: &[QueueFacts]| queue.iter().find(|one| one.connection_id == id).cloned();
        steps.push(self.queue(StepKind::Webhooks, queued(&facts.events)));
        steps.push(self.queue(StepKind::Sending, queued(&facts.effects)));
        steps.extend(self.budgets());
        steps.extend(self.parked());
        steps
    }

    /// A step that waits if there is a reason, and otherwise is due or has its time.
    fn step(
        &self,
        (kind, entity): (StepKind, Option<Entity>),
        (text, next_at, reasons): (String, Option<Instant>, Vec<WaitReason>),
    ) -> PlannedStep {
        let by_person = |reason: &WaitReason| reason.until.is_none() && reason.code != WaitCode::Retry;
        let latest = reasons.iter().filter_map(|reason| reason.until).max();
        let next_at = if reasons.iter().any(by_person) { None } else { next_at.max(latest) };
        let state = match (reasons.is_empty(), next_at) {
            (false, _) => StepState::Waiting,
            (true, Some(at)) if at > self.known.now => StepState::Scheduled,
            (true, Some(_)) => StepState::Due,
            (true, None) => StepState::Idle,
        };
        PlannedStep { connection_id: self.connection.id, kind, entity, state, next_at, text, reasons }
    }

    fn reading(&self, fresh: &Freshness) -> PlannedStep {
        let (id, entity) = (self.connection.id, fresh.entity);
        let proven = match (fresh.watermark, fresh.age_seconds) {
            (Some(at), Some(age)) => format!("Read whole up to {at}, {age} s ago"),
            _ => "Not read whole yet".to_owned(),
        };
        let late = if fresh.late { ", which is late" } else { "" };
        let proven = format!("{proven}; {} s are allowed{late}.", fresh.objective_seconds);
        let is_this = |facts: &&ReadingFacts| facts.connection_id == id && facts.entity == entity;
        let facts = self.known.facts.readings.iter().find(is_this);
        let lease = self.known.facts.leases.get(&format!("pull:{id}:{}", entity.as_str()));
        let mut reasons = self.holds(PauseScope::Reading);
        if let Some(facts) = facts.filter(|facts| facts.failures > 0 && facts.next_run_at > self.known.now) {
            reasons.push(retry(facts));
        }
        reasons.extend(self.closed_budgets());
        let next_at = facts.map_or(self.known.now, |facts| facts.next_run_at);
        if let Some(lease) = lease.filter(|lease| lease.until > self.known.now) {
            let process = lease.owner.split(':').next().unwrap_or_default();
            let text = format!("The process {process} reads it now. {proven}");
            let (kind, state) = (StepKind::Reading, StepState::Running);
            return PlannedStep { connection_id: id, kind, entity: Some(entity), state, next_at: None, text, reasons };
        }
        let when = match (facts, reasons.is_empty()) {
            (None, true) => "It was never read, and is read as soon as a process looks.".to_owned(),
            (_, false) => "It waits.".to_owned(),
            (Some(facts), true) if facts.next_run_at > self.known.now => {
                format!("It is read next at {}, in {}.", facts.next_run_at, self.in_seconds(facts.next_run_at))
            }
            (Some(facts), true) => format!("It is due since {}.", facts.next_run_at),
        };
        let rest = if facts.is_some_and(|facts| facts.in_window) { " It goes on within a window." } else { "" };
        self.step((StepKind::Reading, Some(entity)), (format!("{when}{rest} {proven}"), Some(next_at), reasons))
    }

    fn sweep(&self, (entity, status): (Entity, SweepStatus), (missing, started_at): (i32, Instant)) -> PlannedStep {
        let mut reasons = self.holds(PauseScope::Reading);
        let text = match status {
            SweepStatus::Braked => {
                let text = format!(
                    "{missing} record(s) were missing, more than a sweep removes by itself: find out why, then confirm it \
                     with `crosstie sweep confirm`."
                );
                reasons.push(WaitReason { code: WaitCode::NeedsConfirmation, until: None, text });
                "A sweep stopped.".to_owned()
            }
            SweepStatus::Removing => format!("A sweep looks for {missing} record(s) that were not listed."),
            _ => format!("A sweep lists everything since {started_at}."),
        };
        self.step((StepKind::Sweep, Some(entity)), (text, Some(started_at), reasons))
    }

    /// What webhooks brought, or what is to be sent.
    fn queue(&self, kind: StepKind, queue: Option<QueueFacts>) -> PlannedStep {
        let (what, part) = match kind {
            StepKind::Webhooks => ("event(s) that webhooks brought", PauseScope::Reading),
            _ => ("effect(s)", PauseScope::Sending),
        };
        let mut reasons = self.holds(part);
        let mode = self.connection.mode;
        if kind == StepKind::Sending && !mode.sends() {
            let text = format!("The connection is in the mode {}, which sends nothing.", mode.as_str());
            reasons.push(WaitReason { code: WaitCode::Mode, until: None, text });
        }
        let Some(queue) = queue else {
            return self.step((kind, None), (format!("No {what} wait."), None, reasons));
        };
        if let (true, Some(code)) = (queue.next_at > self.known.now, &queue.error_code) {
            let text = format!("The one in front failed {} time(s), at last with {code}.", queue.attempts);
            reasons.push(WaitReason { code: WaitCode::Retry, until: Some(queue.next_at), text });
        }
        reasons.extend(self.closed_budgets());
        let tried = if queue.tried > 0 { format!(", {} of them tried before", queue.tried) } else { String::new() };
        let text = format!("{} {what} wait{tried}, the first since {}.", queue.waiting, queue.oldest_at);
        self.step((kind, None), (text, Some(queue.next_at), reasons))
    }

    fn budgets(&self) -> Vec<PlannedStep> {
        let budgets = self.known.facts.budgets.iter().filter(|budget| budget.connection_id == self.connection.id);
        let told = budgets.map(|budget| {
            let (bucket, left, at) = (&budget.bucket, budget.left, budget.looked_at);
            let text = format!("Of the rate budget {bucket}, {left} call(s) were left at {at}.");
            let closed = budget.closed_until.filter(|until| *until > self.known.now);
            let reasons = closed.map(|until| limited(bucket, until)).into_iter().collect();
            self.step((StepKind::RateBudget, None), (text, None, reasons))
        });
        told.collect()
    }

    fn parked(&self) -> Option<PlannedStep> {
        let parked = self.known.facts.parked.iter().filter(|parked| parked.connection_id == self.connection.id);
        let reasons: Vec<WaitReason> = parked
            .map(|parked| {
                let hint = match parked.code.as_str() {
                    "BAD_SETTINGS" => ": correct the mapping or the settings of the connection",
                    _ => "",
                };
                let text = format!("{} {} with {}{hint}.", parked.count, parked.what, parked.code);
                WaitReason { code: WaitCode::NeedsRepair, until: None, text }
            })
            .collect();
        let text = "Some of what came or was asked waits for a person.".to_owned();
        (!reasons.is_empty()).then(|| self.step((StepKind::Parked, None), (text, None, reasons)))
    }

    /// What holds a part of the connection up as a whole.
    fn holds(&self, part: PauseScope) -> Vec<WaitReason> {
        let mut reasons = Vec::new();
        if !self.connection.enabled {
            let text = "The connection is not configured any more.".to_owned();
            reasons.push(WaitReason { code: WaitCode::NotConfigured, until: None, text });
        }
        let is_this = |pause: &&PauseRecord| pause.connection_id == self.connection.id && pause.what == part;
        if let Some(pause) = self.known.pauses.iter().find(is_this) {
            let why = pause.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let text = format!("{} paused it at {}{why}.", pause.paused_by, pause.paused_at);
            reasons.push(WaitReason { code: WaitCode::Paused, until: None, text });
        }
        let sign_in = self.known.sign_ins.iter().find(|one| one.connection == self.connection.name);
        if sign_in.is_some_and(SignInRecord::waits_for_a_person) {
            let text = "The system gives no token any more: authorize the connection again, or renew its secret.";
            reasons.push(WaitReason { code: WaitCode::NeedsReauth, until: None, text: text.to_owned() });
        }
        let breaker = self.known.breakers.get(&self.connection.id);
        if let Some((breaker, until)) = breaker.and_then(|breaker| Some((breaker, breaker.open_until?))) {
            let (failures, code) = (breaker.failures, breaker.error_code.as_deref().unwrap_or_default());
            let next = match breaker.state(self.known.now) {
                BreakerState::HalfOpen => "one try finds out whether it is back".to_owned(),
                _ => format!("it is left alone until {until}"),
            };
            let text = format!("The system did not answer {failures} times in a row ({code}); {next}.");
            reasons.push(WaitReason { code: WaitCode::BreakerOpen, until: Some(until), text });
        }
        reasons
    }

    fn closed_budgets(&self) -> Vec<WaitReason> {
        let budgets = self.known.facts.budgets.iter().filter(|budget| budget.connection_id == self.connection.id);
        let closed = budgets.filter_map(|budget| {
            let until = budget.closed_until.filter(|until| *until > self.known.now)?;
            Some(limited(&budget.bucket, until))
        });
        closed.collect()
    }

    fn in_seconds(&self, at: Instant) -> String {
        format!("{} s", at.ms_since(self.known.now).max(0) / 1_000)
    }
}

fn retry(facts: &ReadingFacts) -> WaitReason {
    let (code, message) = facts.error.clone().unwrap_or_default();
    let text = format!("The last run failed, {} in a row, with {code}: {message}.", facts.failures);
    WaitReason { code: WaitCode::Retry, until: Some(facts.next_run_at), text }
}

fn limited(bucket: &str, until: Instant) -> WaitReason {
    let text = format!("The system allows no call of {bucket} before {until}.");
    WaitReason { code: WaitCode::RateLimited, until: Some(until), text }
}
