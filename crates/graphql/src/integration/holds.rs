//! What holds connections up: pauses that persons ordered, and breakers of systems that do not answer.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{ChangePause, Decision, PauseChange};
use crosstie_domain::{
    Instant, Refusal,
    access::{Permission, Sensitivity},
    integration::{BreakerRecord, BreakerState, InboundPressure, PauseRecord, PauseScope},
};

use super::ConnectedSystem;
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::read_id,
    edge::level,
    request_headers::idempotency_key,
};

/// A pause of a connection, which a person ordered.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ConnectionPause {
    #[graphql(flatten)]
    pause: PauseRecord,
}

impl From<PauseRecord> for ConnectionPause {
    fn from(pause: PauseRecord) -> Self {
        Self { pause }
    }
}

/// Whether a connected system answers, and until when it is left alone when it does not.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ConnectionBreaker {
    /// How it stands.
    state: BreakerState,
    /// How often in a row the system did not answer.
    failures: i32,
    /// When it was first left alone; null while it is asked as usual.
    opened_at: Option<Instant>,
    /// Until when nobody asks it; null while it is asked as usual.
    open_until: Option<Instant>,
    /// What was seen last: a stable code; null when it answered.
    error_code: Option<String>,
}

impl ConnectionBreaker {
    /// As it stands at a moment.
    pub(crate) fn at(now: Instant, record: &BreakerRecord) -> Self {
        let BreakerRecord { failures, opened_at, open_until, .. } = *record;
        Self { state: record.state(now), failures, opened_at, open_until, error_code: record.error_code.clone() }
    }
}

/// How much of what a system sends by webhook is taken. What is over is turned away with the time to wait, and found by
/// scheduled reading.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ConnectionInbound {
    /// Deliveries a second that each process takes, on average.
    per_second: i64,
    /// Deliveries that each process takes at once, after a pause.
    burst: i64,
    /// Events that may wait to be read.
    most_waiting: i64,
    /// Events that wait to be read.
    waiting: i64,
    /// Deliveries that were turned away, ever.
    turned_away: i64,
    /// When one was last.
    turned_away_at: Option<Instant>,
}

impl From<InboundPressure> for ConnectionInbound {
    fn from(pressure: InboundPressure) -> Self {
        let InboundPressure { limits, backlog: waiting, turned_away, turned_away_at, .. } = pressure;
        let (per_second, burst) = (limits.per_second.into(), limits.burst.into());
        Self { per_second, burst, most_waiting: limits.backlog.into(), waiting, turned_away, turned_away_at }
    }
}

/// Which connection to pause, and what of it.
#[derive(InputObject)]
pub(crate) struct PauseConnectionInput {
    /// The connection.
    connection_id: ID,
    /// What waits from now on.
    what: PauseScope,
    /// Only says what it would do, and changes nothing.
    #[graphql(default)]
    dry_run: bool,
    /// Why, in words: at most 500 characters. It is kept with the pause.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// Which connection to let go on, and what of it.
#[derive(InputObject)]
pub(crate) struct ResumeConnectionInput {
    /// The connection.
    connection_id: ID,
    /// What goes on.
    what: PauseScope,
    /// Only says what it would do, and changes nothing.
    #[graphql(default)]
    dry_run: bool,
    /// Why, in words: at most 500 characters. It is kept with the pause.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a pause.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct PauseConnectionPayload {
    /// The connection, as it stands now; null when it was refused.
    connection: Option<ConnectedSystem>,
    /// What is paused now and was not before; or would be, with `dryRun`.
    changed: Vec<PauseScope>,
    /// The pauses that last now.
    lasting: Vec<ConnectionPause>,
    /// Whether it was done; false when it was refused or only asked.
    done: bool,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What became of letting a connection go on.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ResumeConnectionPayload {
    /// The connection, as it stands now; null when it was refused.
    connection: Option<ConnectedSystem>,
    /// What goes on now and was paused before; or would, with `dryRun`.
    changed: Vec<PauseScope>,
    /// The pauses that last now.
    lasting: Vec<ConnectionPause>,
    /// Whether it was done; false when it was refused or only asked.
    done: bool,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// A decision, taken apart for a payload.
struct Parts {
    connection: Option<ConnectedSystem>,
    changed: Vec<PauseScope>,
    lasting: Vec<ConnectionPause>,
    done: bool,
    user_errors: Vec<Refusal>,
}

impl From<Decision<PauseChange>> for Parts {
    fn from(decision: Decision<PauseChange>) -> Self {
        match decision {
            Ok(PauseChange { connection, changed, lasting, done }) => Self {
                connection: level(vec![connection]).next().map(ConnectedSystem),
                changed,
                lasting: lasting.into_iter().map(ConnectionPause::from).collect(),
                done,
                user_errors: Vec::new(),
            },
            Err(user_errors) => {
                Self { connection: None, changed: Vec::new(), lasting: Vec::new(), done: false, user_errors }
            }
        }
    }
}

/// What is done with a connection.
enum Change {
    Pause,
    Resume,
}

/// Pauses a connection or lets it go on, in the parts that are named: says first what changes.
async fn changed(
    ctx: &Context<'_>,
    change: Change,
    (connection_id, what, dry_run, reason, key): (ID, PauseScope, bool, Option<String>, Option<String>),
) -> Result<Parts> {
    let found = access(ctx, Permission::IntegrationWrite)?;
    let connection_id = match read_id(&connection_id, "connectionId") {
        Ok(connection_id) => connection_id,
        Err(refusal) => return Ok(Err(vec![refusal]).into()),
    };
    let input = ChangePause { connection_id, what, dry_run, reason, idempotency_key: idempotency_key(ctx, key) };
    let app = app(ctx)?;
    let decision = match change {
        Change::Pause => app.pause_connection(found.auth, input).await,
        Change::Resume => app.resume_connection(found.auth, input).await,
    };
    Ok(decision.map_err(app_failed)?.into())
}

/// Pauses of connections.
#[derive(Default)]
pub(crate) struct PauseMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl PauseMutations {
    /// Pauses the reading of a connected system, the sending to it, or both. Webhooks are taken in all the same; what
    /// waits goes on where it was when the connection is resumed.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn pause_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection, and what of it.")] input: PauseConnectionInput,
    ) -> Result<Option<PauseConnectionPayload>> {
        let PauseConnectionInput { connection_id, what, dry_run, reason, idempotency_key, client_mutation_id } = input;
        let asked = (connection_id, what, dry_run, reason, idempotency_key);
        let Parts { connection, changed, lasting, done, user_errors } = changed(ctx, Change::Pause, asked).await?;
        Ok(Some(PauseConnectionPayload { connection, changed, lasting, done, user_errors, client_mutation_id }))
    }

    /// Lets a connection go on that was paused, or a part of it.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn resume_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection, and what of it.")] input: ResumeConnectionInput,
    ) -> Result<Option<ResumeConnectionPayload>> {
        let ResumeConnectionInput { connection_id, what, dry_run, reason, idempotency_key, client_mutation_id } = input;
        let asked = (connection_id, what, dry_run, reason, idempotency_key);
        let Parts { connection, changed, lasting, done, user_errors } = changed(ctx, Change::Resume, asked).await?;
        Ok(Some(ResumeConnectionPayload { connection, changed, lasting, done, user_errors, client_mutation_id }))
    }
}
