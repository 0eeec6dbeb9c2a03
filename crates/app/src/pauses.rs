//! Pausing connections, and letting them go on.

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::ConnectionId,
    integration::{ConnectionRecord, PauseRecord, PauseScope},
};
use crosstie_store::integration::{connections_by_ids, open_pauses};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    connections::check_reason,
    idempotency::{Request, decided},
};

/// Which connection to pause or to let go on, and what of it.
#[derive(Debug, Clone, Serialize)]
pub struct ChangePause {
    /// The connection.
    pub connection_id: ConnectionId,
    /// What of it.
    pub what: PauseScope,
    /// Only to say what it would do.
    pub dry_run: bool,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct PauseChange {
    /// The connection.
    pub connection: ConnectionRecord,
    /// The parts that were paused, or went on; or would, when it was only asked. Empty when nothing had to change.
    pub changed: Vec<PauseScope>,
    /// The pauses that last now.
    pub lasting: Vec<PauseRecord>,
    /// Whether it was done.
    pub done: bool,
}

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Pause,
    Resume,
}

impl App {
    /// Pauses a connection, or a part of it: nothing is asked of the system by schedule, or nothing is sent. Webhooks are
    /// taken in all the same, and what waits goes on where it was when the connection is resumed.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn pause_connection(
        &self,
        auth: &AuthContext,
        input: ChangePause,
    ) -> Result<Decision<PauseChange>, AppError> {
        decided(|| self.try_change_pause(auth, Way::Pause, &input)).await
    }

    /// Lets a connection go on that was paused, or a part of it.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn resume_connection(
        &self,
        auth: &AuthContext,
        input: ChangePause,
    ) -> Result<Decision<PauseChange>, AppError> {
        decided(|| self.try_change_pause(auth, Way::Resume, &input)).await
    }

    async fn try_change_pause(
        &self,
        auth: &AuthContext,
        way: Way,
        input: &ChangePause,
    ) -> Result<Decision<PauseChange>, AppError> {
        let tx = self.store().begin().await?;
        let operation = if way == Way::Pause { "pauseConnection" } else { "resumeConnection" };
        let request = Request::new(operation, input.idempotency_key.as_deref(), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let id = input.connection_id;
        let Some(connection) = connections_by_ids(&tx, &RowScope::All, &[id]).await?.pop() else {
            return Ok(Err(vec![Refusal::new("connectionId", UserErrorCode::NotFound, "No such connection.")]));
        };
        let lasting = open_pauses(&tx, &[id]).await?;
        if let Some(changed) = earlier {
            let changed = changed.split(',').filter_map(PauseScope::parse).collect();
            return Ok(Ok(PauseChange { connection, changed, lasting, done: true }));
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let is_paused = |part: PauseScope| lasting.iter().any(|pause| pause.what == part);
        let parts = input.what.parts().iter().copied();
        let changed: Vec<PauseScope> = parts.filter(|part| is_paused(*part) == (way == Way::Resume)).collect();
        if input.dry_run {
            return Ok(Ok(PauseChange { connection, changed, lasting, done: false }));
        }
        let by = (auth.principal, input.reason.as_deref());
        for part in &changed {
            match way {
                Way::Pause => tx.pause_connection(id, *part, by).await?,
                Way::Resume => tx.resume_connection(id, *part, by).await?,
            };
        }
        let lasting = open_pauses(&tx, &[id]).await?;
        let kept: Vec<&str> = changed.iter().map(|part| part.as_str()).collect();
        request.keep(&tx, auth, kept.join(",")).await?;
        tx.commit().await?;
        Ok(Ok(PauseChange { connection, changed, lasting, done: true }))
    }
}
