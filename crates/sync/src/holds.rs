//! What holds a connection up: a person who paused it, and a breaker that leaves a system alone which does not answer.

use std::time::Duration;

use crosstie_domain::{
    Instant,
    integration::{AlertKey, AlertKind, BreakerState, PauseScope},
};
use crosstie_sdk::Fault;
use crosstie_store::{
    StoreError,
    integration::{breakers_of, is_paused, open_pauses},
};
use rand::Rng;
use tracing::{info, warn};

use crate::{Connection, Engine, apply::ApplyError, exchanges::Contact};

/// How often whoever waits looks whether a connection is free again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whether a system may be read now by schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing holds it up.
    Free,
    /// It was left alone for a while, and whoever takes the trial finds out whether it is back.
    Trial,
    /// A person paused it.
    Paused,
    /// It is left alone until then.
    LeftAlone(Instant),
}

impl Engine {
    /// What keeps a connection from being read.
    pub(crate) async fn held_up(&self, connection: &Connection) -> Result<Hold, StoreError> {
        let (store, id) = (self.app.store(), connection.record.id);
        if is_paused(store, id, PauseScope::Reading).await? {
            return Ok(Hold::Paused);
        }
        let Some(breaker) = breakers_of(store, &[id]).await?.pop() else { return Ok(Hold::Free) };
        let now = store.now();
        Ok(match (breaker.state(now), breaker.open_until, breaker.trial_until) {
            (BreakerState::Closed, ..) => Hold::Free,
            (BreakerState::Open, Some(until), _) => Hold::LeftAlone(until),
            (_, _, Some(until)) if until > now => Hold::LeftAlone(until),
            _ => Hold::Trial,
        })
    }

    /// Stops what reads a connection between two pages when a person pauses it.
    ///
    /// # Errors
    /// [`Fault::Paused`], and as the database.
    pub(crate) async fn unless_paused(&self, connection: &Connection) -> Result<(), ApplyError> {
        match is_paused(self.app.store(), connection.record.id, PauseScope::Reading).await? {
            true => Err(Fault::Paused.into()),
            false => Ok(()),
        }
    }

    /// Takes note of what was last seen of whether a system answers: it is left alone after a run of failures, and asked
    /// as usual once it answers again.
    pub(crate) async fn note_contact(
        &self,
        connection: &Connection,
        contact: Option<Contact>,
    ) -> Result<(), StoreError> {
        let (store, id) = (self.app.store(), connection.record.id);
        let known = breakers_of(store, &[id]).await?.pop();
        let as_usual = known.as_ref().is_none_or(|breaker| breaker.failures == 0);
        if as_usual && !matches!(contact, Some(Contact::Silent(_))) {
            return Ok(());
        }
        let name = &connection.record.name;
        let key = AlertKey::connection(AlertKind::BreakerOpen, id);
        let tx = store.begin().await?;
        let mut breaker = tx.breaker(id).await?;
        match contact {
            Some(Contact::Answered) => {
                if breaker.answered(tx.now()) {
                    tx.close_alert(&key).await?;
                    tx.catch_up_now(id).await?;
                    info!(connection.name = %name, "the system answers again");
                }
            }
            Some(Contact::Silent(code)) => {
                if !breaker.failed(code, tx.now(), vary) {
                    return Ok(());
                }
                if let Some(until) = breaker.open_until {
                    let failures = breaker.failures;
                    let message = format!(
                        "{name} did not answer {failures} times in a row ({code}). It is left alone for a while, longer \
                         each time, and asked as usual once a try succeeds."
                    );
                    tx.raise_alert(&key, i64::from(failures), &message).await?;
                    warn!(connection.name = %name, breaker.failures = failures, breaker.until = %until,
                        "the system does not answer and is left alone");
                }
            }
            // Whoever tried found out nothing: another may try.
            None => breaker.trial_until = None,
        }
        tx.save_breaker(&breaker).await?;
        tx.commit().await
    }

    /// Shows what holds connections up to whoever watches.
    pub(crate) async fn show_holds(&self) -> Result<(), StoreError> {
        let store = self.app.store();
        let ids: Vec<_> = self.connections.all().iter().map(|connection| connection.record.id).collect();
        let (breakers, pauses) = (breakers_of(store, &ids).await?, open_pauses(store, &ids).await?);
        let now = store.now();
        for connection in self.connections.all() {
            let (id, name) = (connection.record.id, connection.record.name.clone());
            let open = breakers
                .iter()
                .any(|breaker| breaker.connection_id == id && breaker.state(now) != BreakerState::Closed);
            metrics::gauge!("crosstie_breaker_open", "connection" => name.clone()).set(u8::from(open));
            for what in PauseScope::All.parts() {
                let paused = pauses.iter().any(|pause| pause.connection_id == id && pause.what == *what);
                let labels = [("connection", name.clone()), ("what", what.as_str().to_owned())];
                metrics::gauge!("crosstie_connection_paused", &labels).set(u8::from(paused));
            }
        }
        Ok(())
    }
}

/// Up to a fifth more or less, so that many do not come back at once.
fn vary(wait_ms: i64) -> i64 {
    wait_ms + rand::rng().random_range(-wait_ms / 5..=wait_ms / 5)
}
