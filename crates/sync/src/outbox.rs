//! Sending: each effect happens once for its key, however often a worker dies between the write and the answer.

use crosstie_app::{AppError, SendOutcome, erasure::Erased, next_send};
use crosstie_domain::{
    Instant,
    access::RowScope,
    integration::{Entity, IntentKind},
};
use crosstie_sdk::{Fault, WriteRequest, WriteSafety, Writer, Written};
use crosstie_store::{
    StoreError,
    integration::{ClaimedEffect, EffectOutcome, identities_of},
};
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    alerts::{note_fault, note_success},
    apply::{ApplyError, apply_answer},
    exchanges::{Cause, Work},
    heartbeat::{LEASE_MS, while_held},
    schedule::{next_try, waits_for_a_person},
};

/// How often a result is written down again when records changed at the same time.
const WRITE_DOWN_TRIES: usize = 5;

impl Engine {
    /// Takes the next due effect and sends it. Returns whether there was one.
    ///
    /// # Errors
    /// As the database; what the other system did wrong is in the ledger.
    pub async fn process_effect(&self) -> Result<bool, StoreError> {
        let Some(effect) = self.app.store().claim_effect(LEASE_MS).await? else { return Ok(false) };
        let work = Work::of(Cause { effect: Some(effect.key.clone()), ..Cause::default() });
        let sent = match self.connections.get(effect.connection_id) {
            Some(connection) => {
                let keep = || self.app.store().keep_effect(&effect, LEASE_MS);
                while_held(work.on(self.send(connection, &effect)), keep).await
            }
            None => Err(SendError::NoConnection),
        };
        let noted = match sent {
            Ok(sent) => work.on(self.write_down(&effect, sent)).await,
            Err(SendError::Store(error)) => Err(error),
            Err(SendError::Vendor(fault)) => self.not_done(&effect, &fault).await,
            Err(SendError::NoConnection) => {
                let (code, message) = ("NO_CONNECTION".to_owned(), "The connection is not configured.".to_owned());
                let at = waits_for_a_person(self.app.store().now());
                let outcome_unknown = effect.outcome_unknown;
                self.end(&effect, EffectOutcome::Held { at, outcome_unknown, code, message }, None).await
            }
            Err(SendError::Uncertain) => {
                let message = "It was sent and the answer is not known; it must not be sent twice.".to_owned();
                let outcome = EffectOutcome::Uncertain { code: "OUTCOME_UNKNOWN".to_owned(), message };
                self.end(&effect, outcome, None).await
            }
        };
        if matches!(noted, Err(StoreError::Conflict)) {
            self.tell_if_late(&effect).await?;
        }
        noted?;
        if let Some(connection) = self.connections.get(effect.connection_id) {
            self.note_contact(connection, work.contact()).await?;
        }
        Ok(true)
    }

    /// Writes down why an effect is not done.
    async fn not_done(&self, effect: &ClaimedEffect, fault: &Fault) -> Result<(), StoreError> {
        let safety = self.connections.get(effect.connection_id).and_then(|connection| safety_of(connection, effect));
        let erased = self.app.erased(self.app.store()).await?;
        let outcome = after_fault(self.app.store().now(), (effect, safety), (fault, &erased));
        self.end(effect, outcome, Some(fault)).await?;
        let key = effect.key.as_str();
        warn!(effect.key = key, effect.code = fault.code(), "an effect is not done");
        metrics::counter!("crosstie_effects_failed_total", "code" => fault.code()).increment(1);
        Ok(())
    }

    /// Says that somebody else has taken the effect over, when that is why nothing was written down: this process stood
    /// still for longer than its lease.
    async fn tell_if_late(&self, effect: &ClaimedEffect) -> Result<(), StoreError> {
        if !self.app.store().keep_effect(effect, LEASE_MS).await? {
            warn!(effect.key = effect.key.as_str(), "what came of an effect came too late, and changes nothing");
            metrics::counter!("crosstie_effects_late_total").increment(1);
        }
        Ok(())
    }

    async fn end(
        &self,
        effect: &ClaimedEffect,
        outcome: EffectOutcome,
        fault: Option<&Fault>,
    ) -> Result<(), StoreError> {
        let tx = self.app.store().begin().await?;
        let ended = self.app.effect_ended(&tx, effect, &SendOutcome::NotDone(outcome)).await;
        ended.map_err(|AppError::Store(error)| error)?;
        if let (Some(connection), Some(fault)) = (self.connections.get(effect.connection_id), fault) {
            note_fault(&tx, connection, fault).await?;
        }
        tx.commit().await
    }

    async fn send(&self, connection: &Connection, effect: &ClaimedEffect) -> Result<Sent, SendError> {
        let asked_at = self.app.store().now();
        let Some(writer) = connection.connector.writer() else { return Err(Fault::Unsupported.into()) };
        // What is not declared is not sent: nobody said what makes it happen once.
        let Some(safety) = safety_of(connection, effect) else { return Err(Fault::Unsupported.into()) };
        if safety == WriteSafety::NotRepeatable && effect.outcome_unknown {
            return Err(SendError::Uncertain);
        }
        let request = self.request(connection, effect).await?;
        if let Err(fault) = check_lines(writer, connection, effect) {
            // What an earlier try has made by other settings stands.
            let made = match effect.first_sent_at {
                Some(_) => find(writer, connection, &request).await?,
                None => None,
            };
            return made.map(|written| Sent { asked_at, written }).ok_or(SendError::Vendor(fault));
        }
        if asks_first(safety, effect, asked_at)
            && let Some(written) = find(writer, connection, &request).await?
        {
            return Ok(Sent { asked_at, written });
        }
        self.app.effect_sending(effect).await.map_err(|AppError::Store(error)| error)?;
        Ok(Sent { asked_at, written: writer.apply(&connection.net, &request).await? })
    }

    async fn request(&self, connection: &Connection, effect: &ClaimedEffect) -> Result<WriteRequest, StoreError> {
        let customer = effect.intent.customer().map(|customer| customer.account.to_string());
        let order = effect.intent.order().map(|order| order.to_string());
        let records: Vec<String> = customer.into_iter().chain(order).collect();
        let known = identities_of(self.app.store(), &RowScope::All, &records).await?;
        let remote = |entity: Entity| {
            let here = known
                .iter()
                .find(|identity| identity.connection_id == connection.record.id && identity.entity == entity);
            here.map(|identity| identity.remote_id.clone())
        };
        Ok(WriteRequest {
            intent: effect.intent.clone(),
            key: effect.key.clone(),
            customer_remote_id: remote(Entity::Account),
            order_remote_id: remote(Entity::ServiceOrder),
        })
    }

    /// Writes down that it is done, with what the vendor answered. Until that is on disk the outcome counts as
    /// unknown, and the next worker asks the vendor.
    async fn write_down(&self, effect: &ClaimedEffect, sent: Sent) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_write_down(effect, &sent).await {
                Ok(()) => break,
                Err(ApplyError::App(AppError::Store(StoreError::Conflict))) if tries < WRITE_DOWN_TRIES => {}
                Err(ApplyError::App(AppError::Store(error))) => return Err(error),
                Err(ApplyError::Vendor(_)) => return Err(StoreError::Conflict),
            }
        }
        info!(effect.key = effect.key.as_str(), effect.remote_id = %sent.written.remote_id, "an effect is done");
        metrics::counter!("crosstie_effects_done_total").increment(1);
        Ok(())
    }

    async fn try_write_down(&self, effect: &ClaimedEffect, sent: &Sent) -> Result<(), ApplyError> {
        let Sent { asked_at, written } = sent;
        let tx = self.app.store().begin().await?;
        let outcome = SendOutcome::Done {
            remote_id: written.remote_id.clone(),
            remote_version: written.remote_version.clone(),
            customer_remote_id: written.customer_remote_id.clone(),
            asked_at: *asked_at,
        };
        self.app.effect_ended(&tx, effect, &outcome).await?;
        if let Some(connection) = self.connections.get(effect.connection_id) {
            if let Some(claim) = &written.claim {
                apply_answer(&self.app, &tx, connection, (*asked_at, &written.remote_id, claim)).await?;
            }
            note_success(&tx, connection).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Whether every line stands for something in the settings of the connection, before anything is sent.
fn check_lines(writer: &dyn Writer, connection: &Connection, effect: &ClaimedEffect) -> Result<(), Fault> {
    let (settings, kind) = (connection.net.settings(), effect.intent.kind());
    effect.intent.lines().into_iter().try_for_each(|(_, code)| writer.line_codes(&settings, kind, code).map(|_| ()))
}

/// What makes this effect happen once.
fn safety_of(connection: &Connection, effect: &ClaimedEffect) -> Option<WriteSafety> {
    connection.connector.descriptor().safety(effect.intent.kind(), effect.intent.entity())
}

/// Whether the vendor is asked whether an earlier try happened, before anything is sent: where it remembers the key
/// itself only once it may have forgotten it, and elsewhere whenever the outcome of an earlier try is not known.
fn asks_first(safety: WriteSafety, effect: &ClaimedEffect, now: Instant) -> bool {
    match safety {
        WriteSafety::NativeKey { ttl_seconds } => {
            effect.first_sent_at.is_some_and(|at| now.ms_since(at) >= ttl_seconds.saturating_mul(1_000))
        }
        WriteSafety::UpsertBy { .. } | WriteSafety::FindThenCreate | WriteSafety::SetValues => effect.outcome_unknown,
        WriteSafety::NotRepeatable => false,
    }
}

/// What follows from a fault. A fault that waits for a person uses up no try.
fn after_fault(
    now: Instant,
    (effect, safety): (&ClaimedEffect, Option<WriteSafety>),
    (fault, erased): (&Fault, &Erased),
) -> EffectOutcome {
    let message = erased.masked(fault.to_string().replace('\0', "\u{fffd}"));
    let code = fault.code().to_owned();
    // Of what can be repeated any try may have done a part: it is asked about first. What cannot be repeated is sent
    // again only after faults that say that nothing happened.
    let repeatable = safety != Some(WriteSafety::NotRepeatable);
    let retry_after_ms = match fault {
        Fault::Rejected { .. } | Fault::ItemNotMapped { .. } | Fault::Unsupported | Fault::Bug { .. } => {
            return EffectOutcome::Rejected { code, message };
        }
        // The values were decided for a record that is not as it was: sent again they would not fit it either, and
        // later decisions must not wait for them.
        Fault::Stale | Fault::Gone if effect.intent.kind() == IntentKind::UpdateRecord => {
            return EffectOutcome::Rejected { code, message };
        }
        Fault::NeedsReauth | Fault::MissingScope { .. } => {
            let at = next_try(now, effect.attempts, fault);
            return EffectOutcome::Held { at, outcome_unknown: repeatable, code, message };
        }
        Fault::Throttled { retry_after_ms } => *retry_after_ms,
        Fault::Transient { .. } => None,
        _ if repeatable => None,
        _ => return EffectOutcome::Uncertain { code, message },
    };
    match next_send(now, effect.attempts + 1, retry_after_ms) {
        Some(at) => EffectOutcome::Retry { at, outcome_unknown: repeatable, code, message },
        None => EffectOutcome::Exhausted { code, message },
    }
}

/// Asks the vendor whether an earlier try happened.
async fn find(
    writer: &dyn Writer,
    connection: &Connection,
    request: &WriteRequest,
) -> Result<Option<Written>, SendError> {
    match writer.find(&connection.net, request).await {
        Ok(found) => Ok(found),
        Err(Fault::Gone) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// An effect that is done, and when it was begun.
struct Sent {
    asked_at: Instant,
    written: Written,
}

/// Why an effect is not done.
enum SendError {
    Vendor(Fault),
    Store(StoreError),
    /// The connection is not configured.
    NoConnection,
    /// It may have happened and must not be sent twice.
    Uncertain,
}

impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        Self::Vendor(fault)
    }
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
