//! How far connections go.

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::ConnectionId,
    integration::{ConnectionMode, ConnectionRecord, EffectRecord, RemapCause, differences::DifferenceSummary},
};
use crosstie_store::{
    StoreError, Tx,
    integration::{connections_by_ids, count_waiting_effects, waiting_effects},
};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    idempotency::{Request, decided},
};

/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 500;
/// How many of the waiting effects are shown.
const SHOWN: i64 = 100;

/// What a connection is to be switched to.
#[derive(Debug, Clone, Serialize)]
pub struct SwitchConnectionMode {
    /// The connection.
    pub connection_id: ConnectionId,
    /// How far it shall go.
    pub mode: ConnectionMode,
    /// How far the asker thinks that it goes now.
    pub expected_mode: Option<ConnectionMode>,
    /// Only to say what it would do.
    pub dry_run: bool,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A switch of a connection, done or only looked at.
#[derive(Debug, Clone)]
pub struct ModeSwitch {
    /// The connection, as it stands after it.
    pub connection: ConnectionRecord,
    /// How far it went before.
    pub was: ConnectionMode,
    /// How far it was asked to go.
    pub mode: ConnectionMode,
    /// Whether it was switched.
    pub done: bool,
    /// How many effects wait for the connection.
    pub waiting: i64,
    /// The first 100 of them, in the order in which they go out.
    pub effects: Vec<EffectRecord>,
    /// What the hub and the system hold differently; only looked for when nothing is switched.
    pub differences: Option<DifferenceSummary>,
}

impl App {
    /// Switches how far a connection goes, or says what that would send. What was asked of it meanwhile goes out in
    /// order as soon as it sends.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn switch_connection_mode(
        &self,
        auth: &AuthContext,
        input: SwitchConnectionMode,
    ) -> Result<Decision<ModeSwitch>, AppError> {
        decided(|| self.try_switch_connection_mode(auth, &input)).await
    }

    async fn try_switch_connection_mode(
        &self,
        auth: &AuthContext,
        input: &SwitchConnectionMode,
    ) -> Result<Decision<ModeSwitch>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("switchConnectionMode", input.idempotency_key.as_deref(), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let Some(connection) = connections_by_ids(&tx, &RowScope::All, &[input.connection_id]).await?.pop() else {
            return Ok(Err(vec![Refusal::new("connectionId", UserErrorCode::NotFound, "No such connection.")]));
        };
        if let Some(was) = earlier {
            let was = ConnectionMode::parse(&was).unwrap_or(connection.mode);
            return Ok(Ok(look(&tx, connection, (was, input.mode), true).await?));
        }
        let was = connection.mode;
        if let Some(expected) = input.expected_mode.filter(|expected| *expected != was) {
            let (expected, was) = (expected.as_str(), was.as_str());
            let message = format!("The connection is in the mode {was} now, not {expected}. Decide again.");
            return Ok(Err(vec![Refusal::new("expectedMode", UserErrorCode::Conflict, message)]));
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let mut switch = look(&tx, connection, (was, input.mode), false).await?;
        if input.dry_run {
            let (id, rows) = (input.connection_id, &auth.rows);
            switch.differences = Some(self.difference_summary(&tx, rows, id).await?);
            return Ok(Ok(switch));
        }
        if was != input.mode {
            let by = (auth.principal, input.reason.as_deref());
            tx.switch_connection_mode(input.connection_id, (was, input.mode), by).await?;
            if !was.decides() {
                // What it said while it was only observed counts from now on.
                tx.request_remap(input.connection_id, (None, RemapCause::Mode), by).await?;
            }
            switch.connection.mode = input.mode;
            switch.connection.updated_at = tx.now();
        }
        switch.done = true;
        request.keep(&tx, auth, was.as_str().to_owned()).await?;
        tx.commit().await?;
        Ok(Ok(switch))
    }
}

async fn look(
    tx: &Tx,
    connection: ConnectionRecord,
    (was, mode): (ConnectionMode, ConnectionMode),
    done: bool,
) -> Result<ModeSwitch, StoreError> {
    let waiting = count_waiting_effects(tx, connection.id).await?;
    let effects = waiting_effects(tx, connection.id, SHOWN).await?;
    Ok(ModeSwitch { connection, was, mode, done, waiting, effects, differences: None })
}

/// A reason that cannot be kept.
pub(crate) fn check_reason(reason: Option<&str>) -> Option<Refusal> {
    let reason = reason?;
    if reason.contains('\0') {
        return Some(Refusal::new("reason", UserErrorCode::Invalid, "The text holds a NUL character."));
    }
    let length = reason.chars().count();
    let message = || format!("At most {LONGEST_REASON} characters; this has {length}.");
    (length > LONGEST_REASON).then(|| Refusal::new("reason", UserErrorCode::TooLong, message()))
}
