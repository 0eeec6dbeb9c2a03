//! What `inbox` and `outbox` share: filters, and replays with their results.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use crosstie_app::{App, Decision, Replay, ReplayStep};
use crosstie_domain::{
    Instant,
    access::RowScope,
    integration::{CorrectionRecord, Entity, ReplayItemRecord, ReplayJobRecord, ReplayOutcome},
};
use crosstie_store::{
    Condition, Operand, Operator, Store,
    integration::{corrections_of, replay_jobs_by_ids, replay_results},
};
use crosstie_sync::Connections;
use tokio::time::{sleep, timeout};

use super::{CommandError, entity, refused, word};

/// How often it is looked whether a job is done.
const LOOK: Duration = Duration::from_millis(200);
/// Results that are read at once.
const RESULTS: u32 = 500;

/// Which of them.
#[derive(Debug, Args)]
pub(super) struct Filters {
    /// Only those that stand so, such as `PARKED` or `REJECTED`
    #[arg(long)]
    status: Option<String>,
    /// Only those of this connection
    #[arg(long)]
    connection: Option<String>,
    /// Only those that wait with this code, such as `UNMAPPABLE`
    #[arg(long)]
    code: Option<String>,
    /// Only those about this kind of record
    #[arg(long, value_parser = entity)]
    entity: Option<Entity>,
    /// Only those since this moment, or for so long, such as `1h`
    #[arg(long, value_parser = since)]
    since: Option<Since>,
}

/// From when on.
#[derive(Debug, Clone, Copy)]
enum Since {
    At(Instant),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = text.parse() {
        return Ok(Since::At(at));
    }
    let wrong = || "a moment such as 2026-11-23T10:00:00Z, or a time such as 30m, 12h or 7d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(|seconds| Since::Ago(Duration::from_secs(seconds))).ok_or_else(wrong)
}

/// The columns that filters are about.
pub(super) struct Columns<C> {
    pub(super) status: Option<C>,
    pub(super) connection: C,
    pub(super) code: C,
    pub(super) moment: C,
}

impl Filters {
    /// The kind of record, for which each list has its own condition.
    pub(super) fn entity(&self) -> Option<Entity> {
        self.entity
    }

    /// The other conditions, in terms of a list.
    pub(super) fn conditions<C>(
        &self,
        (store, connections): (&Store, &Connections),
        (columns, statuses): (Columns<C>, &[&str]),
    ) -> Result<Vec<Condition<C>>, CommandError> {
        let mut all = Vec::new();
        if let Some(status) = &self.status {
            let Some(column) = columns.status else { return Err("these have no status".into()) };
            let known = statuses.iter().find(|known| known.eq_ignore_ascii_case(status));
            let known = known.ok_or_else(|| format!("no such status; there are {}", statuses.join(", ")))?;
            all.push(is(column, *known));
        }
        if let Some(name) = &self.connection {
            let connection = connections.named(name).ok_or("no such connection is configured")?;
            all.push(is(columns.connection, connection.record.id.to_string()));
        }
        if let Some(code) = &self.code {
            all.push(is(columns.code, code.to_ascii_uppercase()));
        }
        if let Some(since) = self.since {
            let at = match since {
                Since::At(at) => at,
                Since::Ago(ago) => store.now().plus_ms(-i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
            };
            all.push(Condition::Is(columns.moment, Operator::Gte, Operand::Number(at.micros())));
        }
        Ok(all)
    }

    /// Whether nothing is named.
    pub(super) fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.connection.is_none()
            && self.code.is_none()
            && self.entity.is_none()
            && self.since.is_none()
    }
}

/// A column is a text.
pub(super) fn is<C>(column: C, text: impl Into<String>) -> Condition<C> {
    Condition::Is(column, Operator::Eq, Operand::Text(text.into()))
}

/// How to replay.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Say only what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Take up everything that can be, when neither identifiers nor filters are named
    #[arg(long)]
    pub(super) all: bool,
    /// Wait until every item has its result, and print them; a running hub does the work
    #[arg(long)]
    wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Why, in words; it is kept with the job
    #[arg(long)]
    pub(super) reason: Option<String>,
}

/// Prints what a replay does and, when asked to, what came of each item. Fails when one of them failed.
pub(super) async fn tell(app: &App, decision: Decision<Replay>, how: &How) -> Result<ExitCode, CommandError> {
    let Replay { steps, job } = decision.map_err(|refusals| refused(&refusals))?;
    for ReplayStep { standing, items, replayed, does } in &steps {
        let verb = if *replayed { "again" } else { "left" };
        println!("{verb}  {items}  {standing}  {does}");
    }
    let Some(job) = job else {
        println!("nothing was begun");
        return Ok(ExitCode::SUCCESS);
    };
    println!("{}  {} item(s)", job.id, job.items);
    if !how.wait {
        println!("a hub that runs does it; `--wait` waits for the results");
        return Ok(ExitCode::SUCCESS);
    }
    let ended = timeout(Duration::from_secs(how.timeout), wait(app.store(), &job)).await;
    let (mut after, mut failed, mut open) = (None, 0, 0);
    loop {
        let span = (RESULTS, after.as_deref());
        let mut results = replay_results(app.store(), &RowScope::All, &[job.id], span).await?;
        let more = results.len() > usize::try_from(RESULTS).unwrap_or(usize::MAX);
        results.truncate(usize::try_from(RESULTS).unwrap_or(usize::MAX));
        for result in &results {
            failed += i32::from(result.outcome == ReplayOutcome::Failed);
            open += i32::from(!result.outcome.is_final());
            println!("{}", line(result));
        }
        after = results.last().map(|result| result.id.to_string());
        if !more {
            break;
        }
    }
    match (ended, failed) {
        (Err(_), _) => Err(format!("{open} item(s) have no result yet; `{}` goes on", job.id).into()),
        (Ok(waited), 0) => waited.map(|()| ExitCode::SUCCESS),
        (Ok(_), failed) => Err(format!("{failed} of {} item(s) failed again", job.items).into()),
    }
}

async fn wait(store: &Store, job: &ReplayJobRecord) -> Result<(), CommandError> {
    loop {
        let found = replay_jobs_by_ids(store, &RowScope::All, &[job.id]).await?.pop();
        if found.is_none_or(|job| job.finished_at.is_some()) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

fn line(result: &ReplayItemRecord) -> String {
    let why = match (&result.code, &result.message) {
        (Some(code), Some(message)) => format!("  {code}  {message}"),
        (Some(code), None) => format!("  {code}"),
        (None, _) => String::new(),
    };
    format!("{}  {}{why}", result.subject_id, word(&result.outcome))
}

/// Prints what persons corrected of something.
pub(super) async fn print_corrections(store: &Store, subject: &str) -> Result<(), CommandError> {
    for correction in corrections_of(store, &RowScope::All, &[subject.to_owned()]).await? {
        let CorrectionRecord { id, was, became, actor, reason, corrected_at, .. } = correction;
        println!("corrected: {id}  {corrected_at}  by {actor}  {}", reason.as_deref().unwrap_or("-"));
        println!("  was: {was}");
        println!("  became: {became}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_has_a_number_and_a_unit() {
        for (text, seconds) in [("30m", 1_800), ("12h", 43_200), ("7d", 604_800), ("5s", 5)] {
            assert!(matches!(since(text), Ok(Since::Ago(ago)) if ago.as_secs() == seconds), "{text}");
        }
        assert!(matches!(since("2026-11-23T10:00:00Z"), Ok(Since::At(_))));
        for text in ["", "h", "5", "yesterday", "5w", "ü"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
