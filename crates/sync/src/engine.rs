//! The engine: which loops run, and how they stop.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crosstie_app::App;
use crosstie_domain::integration::RunTrigger;
use crosstie_sdk::Egress;
use crosstie_store::{StoreError, integration::InboxWriter};
use tokio::{sync::Notify, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    Connections,
    holds::{Hold, LOOK_AGAIN},
    inbox::describe,
    refusals::RefusalLog,
    shape::Shapes,
    window::AtWork,
};

/// How long an idle worker sleeps before it looks again; what arrives in this process wakes it at once.
const IDLE: Duration = Duration::from_millis(100);
/// How long a worker sleeps when the database does not answer.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// How often the store's house is kept.
const HOUSE: Duration = Duration::from_secs(6 * 3_600);
/// How often alerts are looked at.
const WATCH: Duration = Duration::from_secs(2);
/// How often it is looked for slices of back-fills, sweeps and comparisons that are due.
const PATIENT: Duration = Duration::from_secs(1);
/// How often it is looked at how fresh everything is.
const LOOK_AT_FRESHNESS: Duration = Duration::from_secs(15);
/// Workers that read what webhooks point at.
const INBOX_WORKERS: usize = 4;
/// Workers that send effects.
const OUTBOX_WORKERS: usize = 4;

/// Workers that send to subscribed systems.
const WEBHOOK_WORKERS: usize = 4;

/// Keeps the hub true to the systems around it.
pub struct Engine {
    pub(crate) app: App,
    pub(crate) connections: Connections,
    pub(crate) inbox: InboxWriter,
    pub(crate) inbox_wakes: Notify,
    /// What was refused and turned away.
    pub(crate) refusals: RefusalLog,
    /// What is read incrementally at this moment.
    pub(crate) at_work: AtWork,
    /// The shapes of what systems send, as far as this process knows them.
    pub(crate) shapes: Shapes,
    /// The name of this process in leases.
    pub(crate) name: String,
    /// The way out to subscribed systems; without one they wait.
    pub(crate) egress: Option<Arc<dyn Egress>>,
}

/// The loops of an engine at work.
pub struct Running {
    engine: Arc<Engine>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Engine {
    /// An engine over these connections. It takes webhooks in at once; nothing else happens until [`Engine::start`].
    pub fn new(app: App, connections: Connections, name: String) -> Arc<Self> {
        Self::over(app, connections, name, None)
    }

    /// The same with a way out to subscribed systems.
    pub fn with_egress(app: App, connections: Connections, name: String, egress: Arc<dyn Egress>) -> Arc<Self> {
        Self::over(app, connections, name, Some(egress))
    }

    fn over(app: App, connections: Connections, name: String, egress: Option<Arc<dyn Egress>>) -> Arc<Self> {
        let inbox = InboxWriter::start(app.store());
        let refusals = RefusalLog::start(app.store());
        Arc::new(Self {
            app,
            connections,
            inbox,
            inbox_wakes: Notify::new(),
            refusals,
            at_work: AtWork::default(),
            shapes: Shapes::default(),
            name,
            egress,
        })
    }

    /// The connections that it works with.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Waits until what was refused and turned away before is on disk, as far as it is kept.
    pub async fn flush_refusals(&self) {
        self.refusals.flush().await;
    }

    /// Starts all loops.
    pub fn start(self: &Arc<Self>) -> Running {
        let running = Running { engine: Arc::clone(self), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for _ in 0..INBOX_WORKERS {
            running.spawn(Arc::clone(self).inbox_loop(running.stop.clone()));
        }
        for _ in 0..OUTBOX_WORKERS {
            running.spawn(Arc::clone(self).outbox_loop(running.stop.clone()));
        }
        for _ in 0..WEBHOOK_WORKERS {
            running.spawn(Arc::clone(self).webhook_loop(running.stop.clone()));
        }
        running.spawn(Arc::clone(self).expand_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).relay_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).house_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).alert_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).freshness_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).retry_parked_once(running.stop.clone()));
        running.spawn(Arc::clone(self).mapping_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).remap_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).erasure_loop(running.stop.clone()));
        running.spawn(Arc::clone(self).replay_loop(running.stop.clone()));
        for connection in self.connections.all() {
            for declared in connection.reads() {
                let (engine, connection) = (Arc::clone(self), Arc::clone(connection));
                running.spawn(engine.pull_loop(Arc::clone(&connection), declared, running.stop.clone()));
                running.spawn(Arc::clone(self).patient_loop(connection, declared, running.stop.clone()));
            }
        }
        running.tasks.close();
        running
    }

    async fn inbox_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.process_event().await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => after(&error, "the inbox cannot be worked on"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inbox_wakes.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn outbox_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.process_effect().await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => after(&error, "effects cannot be worked on"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn webhook_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.deliver_webhook().await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => after(&error, "webhooks cannot be sent"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn expand_loop(self: Arc<Self>, stop: CancellationToken) {
        let mut lease = None;
        while !stop.is_cancelled() {
            let pause = match self.expand_subscriptions(&mut lease).await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => after(&error, "subscriptions cannot be looked through"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn relay_loop(self: Arc<Self>, stop: CancellationToken) {
        let mut lease = None;
        while !stop.is_cancelled() {
            let pause = match self.relay(&mut lease).await {
                Ok(true) => continue,
                Ok(false) => IDLE / 4,
                Err(error) => after(&error, "changes cannot be placed"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn house_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let kept = match self.app.store().keep_house().await {
                Ok(()) => self.connections.exchanges().forget_old().await,
                failed => failed,
            };
            let pause = match kept {
                Ok(()) => HOUSE,
                Err(error) => after(&error, "the house cannot be kept").max(AFTER_ERROR),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn freshness_loop(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.watch_freshness().await {
                Ok(()) => LOOK_AT_FRESHNESS,
                Err(error) => after(&error, "freshness cannot be looked at").max(AFTER_ERROR),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn alert_loop(self: Arc<Self>, stop: CancellationToken) {
        let mut shown = BTreeSet::new();
        while !stop.is_cancelled() {
            let pause = match self.watch(&mut shown).await {
                Ok(()) => WATCH,
                Err(error) => after(&error, "alerts cannot be looked at").max(AFTER_ERROR),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn retry_parked_once(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            tried = self.retry_parked() => {
                if let Err(error) = tried {
                    error!(error = %describe(&error), "parked rows could not be tried again; the next start tries");
                }
            }
        }
    }

    async fn pull_loop(
        self: Arc<Self>,
        connection: Arc<crate::Connection>,
        declared: &'static crosstie_sdk::ReadEntity,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let pause = match self.pull_when_due(&connection, declared).await {
                Ok(pause) => pause,
                Err(error) => after(&error, "a scheduled reading could not run"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// What has time: slices of back-fills, sweeps and comparisons of one kind of record, one after the other.
    async fn patient_loop(
        self: Arc<Self>,
        connection: Arc<crate::Connection>,
        declared: &'static crosstie_sdk::ReadEntity,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let pause = match self.work_patiently(&connection, declared).await {
                Ok(true) => IDLE,
                Ok(false) => PATIENT,
                Err(error) => after(&error, "back-fills, sweeps or comparisons cannot be worked on").max(AFTER_ERROR),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Does one piece of what has time. Returns whether there was one.
    async fn work_patiently(
        self: &Arc<Self>,
        connection: &Arc<crate::Connection>,
        declared: &'static crosstie_sdk::ReadEntity,
    ) -> Result<bool, StoreError> {
        if self.held_up(connection).await? != Hold::Free {
            return Ok(false);
        }
        if self.work_on_backfills(connection, declared).await? {
            return Ok(true);
        }
        if self.sweep_is_due(connection, declared).await? {
            return Ok(self.sweep(connection, declared).await?.is_some());
        }
        match self.comparison_due(connection, declared).await? {
            Some(scope) => Ok(self.compare(connection, declared, scope).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn pull_when_due(
        &self,
        connection: &crate::Connection,
        declared: &crosstie_sdk::ReadEntity,
    ) -> Result<Duration, StoreError> {
        match self.held_up(connection).await? {
            Hold::Paused | Hold::LeftAlone(_) => return Ok(LOOK_AGAIN),
            Hold::Trial => return self.pull_for_trial(connection, declared).await,
            Hold::Free => {}
        }
        let due = self.due_at(connection, declared.entity).await?;
        let wait_ms = due.ms_since(self.app.store().now());
        if wait_ms > 0 {
            // Another process may have moved the time: look again every so often.
            return Ok(Duration::from_millis(u64::try_from(wait_ms.min(5_000)).unwrap_or(5_000)));
        }
        // Whoever reads it now is not done sooner for being asked more often.
        let run = self.pull(connection, declared, RunTrigger::Schedule).await?;
        Ok(if run.is_some() { IDLE } else { AFTER_ERROR })
    }

    /// Reads a system that was left alone, whenever it is due: nobody else asks it before it is known to be back.
    async fn pull_for_trial(
        &self,
        connection: &crate::Connection,
        declared: &crosstie_sdk::ReadEntity,
    ) -> Result<Duration, StoreError> {
        if self.app.store().take_trial(connection.record.id).await?
            && self.pull(connection, declared, RunTrigger::Schedule).await?.is_none()
        {
            self.note_contact(connection, None).await?;
        }
        Ok(LOOK_AGAIN)
    }
}

pub(crate) fn after(error: &StoreError, what: &str) -> Duration {
    // A lost race is no failure: the next look finds what is left to do.
    if matches!(error, StoreError::Conflict) {
        return Duration::ZERO;
    }
    error!(error = %describe(error), "{what}");
    AFTER_ERROR
}

impl Running {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Stops all loops; what is under way ends first, for at most so long. Then nothing is this process's any more, so
    /// that another one goes on at once.
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        let ended = tokio::time::timeout(patience, async {
            self.tasks.wait().await;
            self.engine.app.store().release_leases(&self.engine.name).await
        });
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %describe(&error), "leases could not be given back; they run out"),
            // It is taken up again from the database when its leases have run out.
            Err(_) => warn!("what is under way did not end in time"),
        }
    }
}
