//! Replays at work: what failed is put back into line, or mapped again, in batches; each item once.

use std::{sync::Arc, time::Duration};

use crosstie_app::AppError;
use crosstie_domain::{
    access::{Principal, RowScope},
    ids::{InboundEventId, OutboxId, ReplayItemId},
    integration::{
        EffectRecord, EffectSafety, EffectStatus, InboundEventRecord, ReplayItemRecord, ReplayJobRecord, ReplayKind,
        ReplayOutcome,
    },
};
use crosstie_sdk::{Delivery, Verified};
use crosstie_store::{
    StoreError,
    integration::{
        ArrivedDelivery, Lease, effects_by_ids, inbound_events_by_ids, inbound_payloads, next_replay_items,
        open_replays, parked_rows_by_ids,
    },
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    Connection, Engine,
    engine::after,
    exchanges::Work,
    heartbeat::{LEASE_MS, while_held},
    inbox::arrived_events,
    sweep::SWEEP_BRAKE,
};

/// Items that are put back into line in one transaction.
const ITEMS: i64 = 100;
/// Rows that are mapped again in one step; each is a transaction of its own, and may ask the vendor.
const ROWS: i64 = 20;
/// How often it is looked whether something is to be replayed, or has come to a result.
const LOOK: Duration = Duration::from_millis(500);

/// Why an item was left alone.
type Why = (&'static str, &'static str);
const NOT_WAITING: Why = ("NOT_WAITING", "It does not wait any more, or somebody works on it.");
const NOT_FOLLOWED: Why = ("NOT_FOLLOWED", "Nothing in the hub follows events of this kind.");
const PAYLOAD_GONE: Why = ("PAYLOAD_GONE", "The body of the event is not kept any more.");
const NOT_CONFIGURED: Why = ("NO_CONNECTION", "The connection is not configured any more.");
const TO_SETTLE: Why = ("OUTCOME_UNKNOWN", "A person must say first whether it happened.");
const TO_CONFIRM: Why = (SWEEP_BRAKE, "It stands for a sweep that waits for a confirmation.");

impl Engine {
    pub(crate) async fn replay_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // What is cut off here goes on at the next start, from the last commit.
            let worked = tokio::select! {
                () = stop.cancelled() => return,
                worked = self.work_on_replays() => worked,
            };
            let pause = match worked {
                Ok(true) => continue,
                Ok(false) => LOOK,
                Err(error) => after(&error, "replays cannot be worked on"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes the next items of each open replay up, and notes what came of those before. Returns whether anything was
    /// taken up.
    ///
    /// # Errors
    /// As the database.
    pub async fn work_on_replays(&self) -> Result<bool, StoreError> {
        let store = self.app.store();
        let mut any = false;
        let open = open_replays(store).await?;
        metrics::gauge!("crosstie_replays_open").set(f64::from(u32::try_from(open.len()).unwrap_or(u32::MAX)));
        for job in open {
            let name = format!("replay:{}", job.id);
            let Some(lease) = store.lease(&name, &self.name, LEASE_MS).await? else { continue };
            let step = Step { job: &job, lease: &lease };
            let worked = while_held(self.replay_some(step), || store.keep_lease(&lease, LEASE_MS)).await;
            store.release_lease(&lease).await?;
            match worked {
                Ok(took_up) => any |= took_up,
                // Another process has it.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    async fn replay_some(&self, step: Step<'_>) -> Result<bool, StoreError> {
        let limit = if step.job.kind == ReplayKind::ParkedRows { ROWS } else { ITEMS };
        let items = next_replay_items(self.app.store(), step.job.id, limit).await?;
        match step.job.kind {
            ReplayKind::InboundEvents => self.replay_events(step, &items).await?,
            ReplayKind::OutboundEffects => self.replay_effects(step, &items).await?,
            ReplayKind::ParkedRows => {
                for item in &items {
                    self.replay_row(step, item).await?;
                }
            }
        }
        let tx = self.app.store().begin().await?;
        let outcomes = tx.follow_replay(step.job.id, step.job.kind).await?;
        let done = tx.replay_goes_on(step.job.id).await?;
        tx.commit().await?;
        for outcome in outcomes {
            count(step.job.kind, outcome, 1);
        }
        if done {
            info!(job.id = %step.job.id, job.kind = step.job.kind.as_str(), job.items = step.job.items, "a replay is done");
        }
        Ok(!items.is_empty() && !done)
    }

    async fn replay_events(&self, step: Step<'_>, items: &[ReplayItemRecord]) -> Result<(), StoreError> {
        let ids: Vec<InboundEventId> = items.iter().filter_map(|item| item.subject_id.parse().ok()).collect();
        let events = inbound_events_by_ids(self.app.store(), &RowScope::All, &ids).await?;
        let mut ready = Vec::new();
        for item in items {
            let event = events.iter().find(|event| event.id.to_string() == item.subject_id);
            match event {
                Some(event) if event.entity.is_none() => self.look_through_again(step, item, event).await?,
                Some(event) => ready.push((item.id, event.id)),
                None => self.came_to(step, &[item.id], (ReplayOutcome::Skipped, NOT_WAITING)).await?,
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        let tx = self.app.store().begin().await?;
        step.check(&tx).await?;
        let ids: Vec<InboundEventId> = ready.iter().map(|(_, event)| *event).collect();
        let due = tx.events_again(&ids).await?;
        let (due, left): (Vec<_>, Vec<_>) = ready.into_iter().partition(|(_, event)| due.contains(event));
        put_back(&tx, &due, &left).await?;
        tx.commit().await?;
        self.inbox_wakes.notify_waiters();
        count(step.job.kind, ReplayOutcome::Skipped, left.len());
        Ok(())
    }

    /// Looks the kept body of an event that pointed at no record through again, as the connector reads it by now.
    async fn look_through_again(
        &self,
        step: Step<'_>,
        item: &ReplayItemRecord,
        event: &InboundEventRecord,
    ) -> Result<(), StoreError> {
        let left = async |why: Why| self.came_to(step, &[item.id], (ReplayOutcome::Skipped, why)).await;
        let Some(connection) = self.connections.get(event.connection_id) else { return left(NOT_CONFIGURED).await };
        let Some(inbound) = connection.connector.inbound() else { return left(NOT_FOLLOWED).await };
        let payloads = [event.payload_id.clone()];
        let Some(kept) = inbound_payloads(self.app.store(), &RowScope::All, &payloads).await?.pop() else {
            return left(PAYLOAD_GONE).await;
        };
        let delivery =
            Delivery { method: "POST".to_owned(), url: String::new(), headers: kept.headers, body: kept.body };
        let found = match inbound.split(Verified::kept(&delivery)) {
            Ok(nudges) => arrived_events(nudges),
            Err(malformed) => {
                let tx = self.app.store().begin().await?;
                step.check(&tx).await?;
                let why = (Some("MALFORMED_PAYLOAD"), Some(malformed.0.as_str()));
                tx.replay_items_came_to(&[item.id], ReplayOutcome::Failed, why).await?;
                count(step.job.kind, ReplayOutcome::Failed, 1);
                return tx.commit().await;
            }
        };
        let own = found.iter().find(|one| one.dedupe_key == event.dedupe_key);
        if let Some((entity, remote_id)) = own.and_then(|own| own.target.as_ref()) {
            let tx = self.app.store().begin().await?;
            step.check(&tx).await?;
            tx.point_event_at(event, (*entity, remote_id)).await?;
            let due = tx.events_again(&[event.id]).await?;
            let place = (item.id, event.id);
            let (due, left) = if due.is_empty() { (vec![], vec![place]) } else { (vec![place], vec![]) };
            put_back(&tx, &due, &left).await?;
            return tx.commit().await;
        }
        // A delivery that could not be read is one event under the hash of its body; those in it come by themselves.
        if own.is_none() && event.dedupe_key.starts_with("body:") && !found.is_empty() {
            let headers = serde_json::to_string(&delivery.headers).unwrap_or_default();
            let (body, mapping_version) = (delivery.body, connection.mapping_label());
            let connection_id = event.connection_id;
            let arrived = ArrivedDelivery { connection_id, headers, body, events: found, mapping_version };
            self.inbox.accept(arrived).await?;
            let tx = self.app.store().begin().await?;
            step.check(&tx).await?;
            tx.event_was_read(event.id).await?;
            tx.replay_items_came_to(&[item.id], ReplayOutcome::Succeeded, (None, None)).await?;
            tx.commit().await?;
            self.inbox_wakes.notify_waiters();
            count(step.job.kind, ReplayOutcome::Succeeded, 1);
            return Ok(());
        }
        left(NOT_FOLLOWED).await
    }

    async fn replay_effects(&self, step: Step<'_>, items: &[ReplayItemRecord]) -> Result<(), StoreError> {
        let ids: Vec<OutboxId> = items.iter().filter_map(|item| item.subject_id.parse().ok()).collect();
        let effects = effects_by_ids(self.app.store(), &RowScope::All, &ids).await?;
        // What cannot be repeated and waits for a person is known not to have happened; nobody could ask there.
        let not_repeatable =
            |effect: &&EffectRecord| self.app.effect_safety(effect) == Some(EffectSafety::NotRepeatable);
        let (once, again): (Vec<_>, Vec<_>) = effects.iter().cloned().partition(|effect| not_repeatable(&effect));
        let actor = Principal::parse(&step.job.actor).unwrap_or(Principal::System);
        let tx = self.app.store().begin().await?;
        step.check(&tx).await?;
        let mut due = Vec::new();
        for (effects, as_status) in [(once, EffectStatus::Waiting), (again, EffectStatus::Sent)] {
            let sent = self.app.send_again(&tx, (&effects, as_status), actor).await;
            due.extend(sent.map_err(|AppError::Store(error)| error)?);
        }
        let is_due = |item: &&ReplayItemRecord| due.iter().any(|id| id.to_string() == item.subject_id);
        let (due, left): (Vec<_>, Vec<_>) = items.iter().partition(is_due);
        let is_uncertain = |item: &&ReplayItemRecord| {
            let stands = effects.iter().find(|effect| effect.id.to_string() == item.subject_id);
            stands.is_some_and(|effect| effect.status == EffectStatus::Uncertain)
        };
        let (to_settle, left): (Vec<_>, Vec<_>) = left.into_iter().partition(is_uncertain);
        let ids = |items: &[&ReplayItemRecord]| items.iter().map(|item| item.id).collect::<Vec<_>>();
        tx.replay_items_came_to(&ids(&due), ReplayOutcome::UnderWay, (None, None)).await?;
        for (items, (code, message)) in [(&to_settle, TO_SETTLE), (&left, NOT_WAITING)] {
            let why = (Some(code), Some(message));
            tx.replay_items_came_to(&ids(items), ReplayOutcome::Skipped, why).await?;
        }
        tx.commit().await?;
        count(step.job.kind, ReplayOutcome::Skipped, to_settle.len() + left.len());
        Ok(())
    }

    async fn replay_row(&self, step: Step<'_>, item: &ReplayItemRecord) -> Result<(), StoreError> {
        let Ok(id) = item.subject_id.parse() else {
            return self.came_to(step, &[item.id], (ReplayOutcome::Skipped, NOT_WAITING)).await;
        };
        let Some(row) = parked_rows_by_ids(self.app.store(), &RowScope::All, &[id]).await?.pop() else {
            return self.came_to(step, &[item.id], (ReplayOutcome::Skipped, NOT_WAITING)).await;
        };
        if row.code == SWEEP_BRAKE {
            return self.came_to(step, &[item.id], (ReplayOutcome::Skipped, TO_CONFIRM)).await;
        }
        let Some(connection) = self.connections.get(row.connection_id) else {
            return self.came_to(step, &[item.id], (ReplayOutcome::Skipped, NOT_CONFIGURED)).await;
        };
        let mut outcome = ReplayOutcome::Succeeded;
        let close = async |tx: &crosstie_store::Tx, waits: Option<(String, String)>| {
            step.check(tx).await?;
            let (code, message) = waits.unzip();
            outcome = if code.is_some() { ReplayOutcome::Failed } else { ReplayOutcome::Succeeded };
            tx.replay_items_came_to(&[item.id], outcome, (code.as_deref(), message.as_deref())).await
        };
        let connection: &Connection = connection;
        Work::aside().on(self.map_again(connection, &row, close)).await?;
        count(step.job.kind, outcome, 1);
        Ok(())
    }

    /// Notes that items came to the same.
    async fn came_to(
        &self,
        step: Step<'_>,
        items: &[ReplayItemId],
        (outcome, (code, message)): (ReplayOutcome, Why),
    ) -> Result<(), StoreError> {
        let tx = self.app.store().begin().await?;
        step.check(&tx).await?;
        tx.replay_items_came_to(items, outcome, (Some(code), Some(message))).await?;
        tx.commit().await?;
        count(step.job.kind, outcome, items.len());
        Ok(())
    }
}

/// A job that this process works on.
#[derive(Clone, Copy)]
struct Step<'a> {
    job: &'a ReplayJobRecord,
    lease: &'a Lease,
}

impl Step<'_> {
    /// Nobody else has the job before this transaction ends.
    async fn check(self, tx: &crosstie_store::Tx) -> Result<(), StoreError> {
        if tx.holds_lease(self.lease).await? { Ok(()) } else { Err(StoreError::Conflict) }
    }
}

async fn put_back(
    tx: &crosstie_store::Tx,
    due: &[(ReplayItemId, InboundEventId)],
    left: &[(ReplayItemId, InboundEventId)],
) -> Result<(), StoreError> {
    let ids = |places: &[(ReplayItemId, InboundEventId)]| places.iter().map(|(item, _)| *item).collect::<Vec<_>>();
    tx.replay_items_came_to(&ids(due), ReplayOutcome::UnderWay, (None, None)).await?;
    let (code, message) = NOT_WAITING;
    tx.replay_items_came_to(&ids(left), ReplayOutcome::Skipped, (Some(code), Some(message))).await
}

fn count(kind: ReplayKind, outcome: ReplayOutcome, items: usize) {
    let items = u64::try_from(items).unwrap_or(u64::MAX);
    let labels = [("kind", kind.as_str()), ("outcome", outcome.as_str())];
    metrics::counter!("crosstie_replay_items_total", &labels).increment(items);
}
