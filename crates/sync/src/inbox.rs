//! Webhooks: verified and on disk before they are acknowledged, then read from the vendor one record at a time.

use std::{sync::Arc, time::Duration};

use crosstie_app::erasure::Erased;
use crosstie_domain::Instant;
use crosstie_sdk::{
    Delivery, Fault, Inbound, Nudge, Secret,
    signature::{self, Encoding, Layout, Part, Refused, Scheme, TimestampAt},
};
use crosstie_store::{
    StoreError,
    integration::{ArrivedDelivery, ArrivedEvent, ClaimedEvent, EventOutcome},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    Connection, Engine,
    alerts::{note_fault, note_success},
    apply::{ApplyError, Because, apply, is_usable_id, reader, with_references},
    exchanges::{Cause, Work},
    heartbeat::{LEASE_MS, while_held},
    pressure::{Over, whole_seconds},
    schedule::next_try,
};

/// What the sender of a webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is on disk. The status is the one that the vendor expects.
    Accepted {
        /// Status of the answer.
        status: u16,
    },
    /// It is not believed: 401, whatever the reason.
    Refused,
    /// Too much comes, or too much waits: 503, and the sender comes again after this time. Nothing was stored.
    TurnedAway {
        /// How long the sender shall wait, in seconds.
        retry_after_seconds: u32,
    },
    /// It could not be stored: 503, and the sender comes again.
    Unavailable,
}

/// What an unknown connection is verified with, so that it takes the same work.
const NOBODY: Scheme = Scheme::HmacSha256 {
    header: "x-signature",
    layout: Layout::Whole,
    timestamp: TimestampAt::HeaderMillis("x-timestamp"),
    signed: &[Part::Timestamp, Part::Body],
    encoding: Encoding::Hex,
    tolerance_ms: 300_000,
};

/// How often a record is read in one try, when something newer came by another way meanwhile.
const READINGS: usize = 2;
/// How long a sender waits until it is known what must not be kept. A database that is away answers later than a sender
/// is told so.
const ERASED_WITHIN: Duration = Duration::from_secs(1);
/// Tries after which an event that cannot be applied waits for a person.
const POISON_AFTER: i32 = 3;

impl Engine {
    /// Takes a webhook in. When it is accepted, it is on disk.
    pub async fn receive(&self, connection_name: &str, delivery: &Delivery) -> Receipt {
        let now = self.app.store().now();
        let connection = self.connections.named(connection_name);
        let inbound = connection.and_then(|connection| connection.connector.inbound());
        let (Some(connection), Some(inbound)) = (connection, inbound) else {
            let nobody = [Secret::new("nobody")];
            let verdict = signature::verify(&NOBODY, delivery, &nobody, now).err().unwrap_or(Refused::NoSecret);
            self.refusals.refused((connection_name, connection.map(Arc::as_ref)), (delivery, verdict), now);
            return refuse("unknown", verdict);
        };
        let arrived = match arrive(connection, inbound, delivery, now) {
            Ok(arrived) => arrived,
            Err(verdict) => {
                self.refusals.refused((connection_name, Some(connection)), (delivery, verdict), now);
                return refuse(&connection.record.name, verdict);
            }
        };
        self.look_at_backlog(connection, now).await;
        let _in_line = match connection.pressure.admit(now) {
            Ok(in_line) => in_line,
            Err((over, wait_ms)) => return self.turn_away(connection, over, wait_ms),
        };
        let arrived = match timeout(ERASED_WITHIN, self.app.erased(self.app.store())).await {
            Ok(Ok(erased)) => without_erased(arrived, &erased),
            Ok(Err(error)) => return unavailable(connection, &describe(&error)),
            Err(_) => return unavailable(connection, "the database does not answer in time"),
        };
        match self.inbox.accept(arrived).await {
            Ok(acknowledged) => {
                let name = connection.record.name.clone();
                metrics::counter!("crosstie_inbound_accepted_total", "connection" => name).increment(1);
                connection.pressure.took(acknowledged.fresh);
                if acknowledged.fresh > 0 {
                    self.inbox_wakes.notify_waiters();
                }
                Receipt::Accepted { status: inbound.acknowledgment().status }
            }
            Err(error) => unavailable(connection, &describe(&error)),
        }
    }

    fn turn_away(&self, connection: &Connection, over: Over, wait_ms: i64) -> Receipt {
        let (name, why) = (connection.record.name.clone(), over.as_str());
        metrics::counter!("crosstie_inbound_turned_away_total", "connection" => name, "over" => why).increment(1);
        self.refusals.turned_away(connection.record.id);
        Receipt::TurnedAway { retry_after_seconds: whole_seconds(wait_ms) }
    }

    /// Takes the next due event and applies it. Returns whether there was one.
    ///
    /// # Errors
    /// As the database.
    pub async fn process_event(&self) -> Result<bool, StoreError> {
        let Some(event) = self.app.store().claim_event(LEASE_MS).await? else { return Ok(false) };
        let mut met = None;
        let work = Work::of(Cause { event: Some(event.id), ..Cause::default() });
        let outcome = match self.connections.get(event.connection_id) {
            None => {
                let message = "The connection is not configured any more.".to_owned();
                Some(EventOutcome::Parked { code: "NO_CONNECTION".to_owned(), message })
            }
            Some(connection) => match self.read_and_apply_held(connection, &event, &work).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    let (_, fault) = met.insert((connection, error.to_fault()));
                    let erased = self.app.erased(self.app.store()).await?;
                    Some(self.after_fault(&event, fault, &erased))
                }
            },
        };
        if let Some(outcome) = outcome {
            if let EventOutcome::Retry { code, .. } | EventOutcome::Parked { code, .. } = &outcome {
                info!(event.id = %event.id, event.code = %code, "an inbound event waits");
                metrics::counter!("crosstie_inbound_failed_total", "code" => code.clone()).increment(1);
            }
            let tx = self.app.store().begin().await?;
            tx.event_ended(&event, &outcome).await?;
            if let Some((connection, fault)) = &met {
                note_fault(&tx, connection, fault).await?;
            }
            tx.commit().await?;
        }
        if let Some(connection) = self.connections.get(event.connection_id) {
            self.note_contact(connection, work.contact()).await?;
        }
        Ok(true)
    }

    async fn read_and_apply_held(
        &self,
        connection: &Connection,
        event: &ClaimedEvent,
        work: &Arc<Work>,
    ) -> Result<Option<EventOutcome>, ApplyError> {
        let keep = || self.app.store().keep_event(event, LEASE_MS);
        while_held(work.on(self.read_and_apply(connection, event)), keep).await
    }

    /// Reads the record from the vendor and applies it together with the state of the event. Returns an outcome that
    /// is still to be written down, when nothing was applied.
    async fn read_and_apply(
        &self,
        connection: &Connection,
        event: &ClaimedEvent,
    ) -> Result<Option<EventOutcome>, ApplyError> {
        let Some(reader) = reader(connection, event.entity) else { return Err(Fault::Unsupported.into()) };
        for _ in 0..READINGS {
            let asked_at = self.app.store().now();
            let row = match reader.read_one(&connection.net, &event.remote_id).await {
                Err(Fault::Gone) => return self.event_gone(connection, event, asked_at).await,
                Err(Fault::Merged { into }) => return self.event_merged(connection, event, (asked_at, &into)).await,
                read => read?,
            };
            let rows = with_references(&self.app, connection, (event.entity, asked_at), vec![row]).await?;
            let tx = self.app.store().begin().await?;
            let applied = apply(&self.app, &tx, connection, Because::Event(event.id), &rows).await?;
            if applied.ask_again {
                continue;
            }
            let outcome = if applied.subject_parked {
                let message = "The record cannot be mapped; it waits among the parked rows.".to_owned();
                EventOutcome::Parked { code: "UNMAPPABLE".to_owned(), message }
            } else {
                EventOutcome::Processed
            };
            tx.event_ended(event, &outcome).await?;
            note_success(&tx, connection).await?;
            tx.commit().await?;
            return Ok(None);
        }
        // Something keeps bringing newer states, or another process's clock is ahead of this one's.
        Err(Fault::Stale.into())
    }

    fn after_fault(&self, event: &ClaimedEvent, fault: &Fault, erased: &Erased) -> EventOutcome {
        let (code, message) = (fault.code().to_owned(), erased.masked(fault.to_string()));
        let waits_for_person = matches!(fault, Fault::NeedsReauth | Fault::MissingScope { .. });
        let hopeless = matches!(fault, Fault::Unsupported);
        if hopeless || (!fault.is_temporary() && !waits_for_person && event.attempts + 1 >= POISON_AFTER) {
            return EventOutcome::Parked { code, message };
        }
        let at = next_try(self.app.store().now(), event.attempts, fault);
        EventOutcome::Retry { at, code, message }
    }
}

/// A delivery as it is kept: what was erased stands in it no more. What it points at was found in it as it came.
fn without_erased(mut arrived: ArrivedDelivery, erased: &Erased) -> ArrivedDelivery {
    if erased.is_empty() {
        return arrived;
    }
    arrived.headers = erased.masked(arrived.headers);
    if let Some(body) = erased.mask(&String::from_utf8_lossy(&arrived.body)) {
        arrived.body = body.into_bytes();
    }
    for event in &mut arrived.events {
        event.dedupe_key = erased.masked(std::mem::take(&mut event.dedupe_key));
        event.event_type = erased.masked(std::mem::take(&mut event.event_type));
        event.target = event.target.take().map(|(entity, id)| (entity, erased.masked(id)));
        event.problem = event.problem.take().map(|(code, why)| (code, erased.masked(why)));
    }
    arrived
}

fn unavailable(connection: &Connection, error: &str) -> Receipt {
    warn!(connection.name = %connection.record.name, error, "a webhook could not be stored");
    metrics::counter!("crosstie_inbound_unavailable_total").increment(1);
    Receipt::Unavailable
}

/// Verifies a delivery and finds the events in it.
fn arrive(
    connection: &Connection,
    inbound: &dyn Inbound,
    delivery: &Delivery,
    now: Instant,
) -> Result<ArrivedDelivery, Refused> {
    let verified = signature::verify(&inbound.scheme(), delivery, &connection.webhook_secrets, now)?;
    let events = match inbound.split(verified) {
        Ok(nudges) => arrived_events(nudges),
        Err(malformed) => vec![ArrivedEvent {
            dedupe_key: format!("body:{}", hex::encode(Sha256::digest(&delivery.body))),
            event_type: "unreadable".to_owned(),
            target: None,
            occurred_at: None,
            problem: Some(("MALFORMED_PAYLOAD", malformed.to_string().replace('\0', "\u{fffd}"))),
        }],
    };
    let kept = delivery.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "authorization" | "cookie"));
    let headers: Vec<_> = kept.map(|(name, value)| json!([name, value.replace('\0', "\u{fffd}")])).collect();
    Ok(ArrivedDelivery {
        connection_id: connection.record.id,
        headers: serde_json::Value::from(headers).to_string(),
        body: delivery.body.clone(),
        events,
        mapping_version: connection.mapping_label(),
    })
}

/// The events in a delivery, as the database can keep them.
pub(crate) fn arrived_events(nudges: Vec<Nudge>) -> Vec<ArrivedEvent> {
    let event = |nudge: Nudge| {
        let aims_well = nudge.target.as_ref().is_none_or(|(_, id)| is_usable_id(id));
        let problem = (!aims_well).then(|| ("MALFORMED_PAYLOAD", "the record's id cannot be used".to_owned()));
        ArrivedEvent {
            dedupe_key: usable_key(nudge.dedupe_key),
            event_type: nudge.event_type.replace('\0', "\u{fffd}"),
            target: nudge.target.filter(|_| aims_well),
            occurred_at: nudge.occurred_at,
            problem,
        }
    };
    nudges.into_iter().map(event).collect()
}

/// The key of an event as the database can keep it.
fn usable_key(key: String) -> String {
    if is_usable_id(&key) { key } else { format!("sha256:{}", hex::encode(Sha256::digest(&key))) }
}

fn refuse(connection: &str, verdict: Refused) -> Receipt {
    let name = connection.to_owned();
    metrics::counter!("crosstie_inbound_refused_total", "connection" => name, "code" => verdict.code()).increment(1);
    info!(connection.name = connection, refused.code = verdict.code(), "a webhook was refused");
    Receipt::Refused
}

/// An error and its causes, for a log line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
