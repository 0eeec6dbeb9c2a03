//! Sending: each effect happens once for its key, however often a worker dies between the write and the answer.

use crosstie_app::{AppError, SendOutcome};
use crosstie_domain::{
    Instant,
    access::RowScope,
    integration::{Entity, IntentKind},
};
use crosstie_sdk::{Fault, WriteRequest, Writer, Written};
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
    schedule::next_try,
};

/// How often a result is written down again when records changed at the same time.
const WRITE_DOWN_TRIES: usize = 5;

impl Engine {
    /// Takes the next due effect and sends it. Returns whether there was one.
    pub(crate) async fn process_effect(&self) -> Result<bool, StoreError> {
        let Some(effect) = self.app.store().claim_effect(LEASE_MS).await? else { return Ok(false) };
        let work = Work::of(Cause { effect: Some(effect.key.clone()), ..Cause::default() });
        let sent = match self.connections.get(effect.connection_id) {
            Some(connection) => {
                let keep = || self.app.store().keep_effect(&effect, LEASE_MS);
                while_held(work.on(self.send(connection, &effect)), keep).await
            }
            None => Err(SendError::Vendor(Fault::Transient { why: "the connection is not configured".to_owned() })),
        };
        match sent {
            Ok(sent) => work.on(self.write_down(&effect, sent)).await?,
            Err(SendError::Store(error)) => return Err(error),
            Err(SendError::Vendor(fault)) => {
                let outcome = self.after_send_fault(&effect, &fault);
                let tx = self.app.store().begin().await?;
                let ended = self.app.effect_ended(&tx, &effect, &SendOutcome::NotDone(outcome)).await;
                ended.map_err(|AppError::Store(error)| error)?;
                if let Some(connection) = self.connections.get(effect.connection_id) {
                    note_fault(&tx, connection, &fault).await?;
                }
                tx.commit().await?;
                let key = effect.key.as_str();
                warn!(effect.key = key, effect.code = fault.code(), error = %fault, "an effect is not done");
                metrics::counter!("crosstie_effects_failed_total", "code" => fault.code()).increment(1);
            }
        }
        Ok(true)
    }

    async fn send(&self, connection: &Connection, effect: &ClaimedEffect) -> Result<Sent, SendError> {
        let asked_at = self.app.store().now();
        let Some(writer) = connection.connector.writer() else { return Err(Fault::Unsupported.into()) };
        let request = self.request(connection, effect).await?;
        if effect.outcome_unknown
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

    fn after_send_fault(&self, effect: &ClaimedEffect, fault: &Fault) -> EffectOutcome {
        let (code, message) = (fault.code().to_owned(), fault.to_string().replace('\0', "\u{fffd}"));
        match fault {
            Fault::Rejected { .. } | Fault::Unsupported | Fault::Bug { .. } => {
                EffectOutcome::Rejected { code, message }
            }
            // The values were decided for a record that is not as it was: sent again they would not fit it either, and
            // later decisions must not wait for them.
            Fault::Stale | Fault::Gone if effect.intent.kind() == IntentKind::UpdateRecord => {
                EffectOutcome::Rejected { code, message }
            }
            _ => {
                let at = next_try(self.app.store().now(), effect.attempts, fault);
                EffectOutcome::Retry { at, outcome_unknown: true, code, message }
            }
        }
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
