//! Freshness: the age of the newest proof that everything was read, held against what is wanted.

use crosstie_app::App;
use crosstie_domain::{
    ids::ConnectionId,
    integration::{AlertKey, AlertKind, AlertRecord, Freshness},
};
use crosstie_sdk::ReadEntity;
use crosstie_store::{
    StoreError,
    integration::{freshness_of, open_alerts},
};

use crate::{Connection, Connections, DriftOptions, Engine};

/// How a connection is read beyond what its connector says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadingOptions {
    /// How old the proof that everything was read may be, in seconds; by the connector's pace when left out.
    pub freshness_seconds: Option<i64>,
    /// When and how much of it is compared with what the hub believes.
    pub drift: DriftOptions,
}

/// How long a process holds the lease of telling what is late, in milliseconds.
const LEASE_MS: i64 = 45_000;
/// The least age that is wanted where nobody says another one, in seconds.
const LEAST_OBJECTIVE: i64 = 900;

/// How old the proof may be where nobody says so: three scheduled readings, and a quarter of an hour at least.
fn default_objective(declared: &ReadEntity) -> i64 {
    (i64::from(declared.poll_seconds) * 3).max(LEAST_OBJECTIVE)
}

/// Writes down how fresh each kind of record of a connection is to be.
pub(crate) async fn save_objectives(
    app: &App,
    connection: &Connection,
    options: &ReadingOptions,
) -> Result<(), StoreError> {
    let before = freshness_of(app.store(), app.store().now(), &[connection.record.id]).await?;
    let wanted: Vec<_> = connection
        .reads()
        .map(|declared| (declared.entity, options.freshness_seconds.unwrap_or_else(|| default_objective(declared))))
        .filter(|(entity, seconds)| {
            !before.iter().any(|one| one.entity == *entity && one.objective_seconds == *seconds)
        })
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let tx = app.store().begin().await?;
    for (entity, seconds) in wanted {
        tx.save_freshness_objective(connection.record.id, entity, seconds).await?;
    }
    tx.commit().await
}

/// How fresh what is read from these connections is now.
///
/// # Errors
/// As the database.
pub async fn freshness(app: &App, connections: &Connections) -> Result<Vec<Freshness>, StoreError> {
    let all = connections.all();
    let ids: Vec<ConnectionId> = all.iter().map(|connection| connection.record.id).collect();
    let mut found = freshness_of(app.store(), app.store().now(), &ids).await?;
    found.retain(|one| {
        let connection = connections.get(one.connection_id);
        connection.is_some_and(|connection| connection.reads().any(|declared| declared.entity == one.entity))
    });
    Ok(found)
}

impl Engine {
    /// Shows how fresh everything is to whoever watches, and tells a person of what is late, in one process at a time.
    pub(crate) async fn watch_freshness(&self) -> Result<(), StoreError> {
        let store = self.app.store();
        let all = freshness(&self.app, &self.connections).await?;
        for one in &all {
            let Some(connection) = self.connections.get(one.connection_id) else { continue };
            let labels = [("connection", connection.record.name.clone()), ("entity", one.entity.as_str().to_owned())];
            if let Some(age) = one.age_seconds.and_then(|age| u32::try_from(age).ok()) {
                metrics::gauge!("crosstie_freshness_age_seconds", &labels).set(age);
            }
            metrics::gauge!("crosstie_freshness_late", &labels).set(u8::from(one.late));
        }
        if store.lease("freshness", &self.name, LEASE_MS).await?.is_none() {
            return Ok(());
        }
        let open = open_alerts(store).await?;
        for one in all {
            let key = AlertKey::entity(AlertKind::FreshnessLate, one.connection_id, one.entity);
            let is_this = |alert: &&AlertRecord| {
                (alert.kind, alert.connection_id, alert.entity) == (key.kind, key.connection, key.entity)
            };
            match (one.late, open.iter().any(|alert| is_this(&alert))) {
                (true, false) => self.tell_late(&key, &one).await?,
                (false, true) => {
                    let tx = store.begin().await?;
                    tx.close_alert(&key).await?;
                    tx.commit().await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn tell_late(&self, key: &AlertKey, late: &Freshness) -> Result<(), StoreError> {
        let name = self.connections.get(late.connection_id).map_or("", |connection| &connection.record.name);
        let (entity, objective) = (late.entity.as_str(), late.objective_seconds);
        let paused = match late.paused_at {
            Some(at) => format!(" A person paused its reading at {at}."),
            None => String::new(),
        };
        let message = match late.watermark {
            Some(at) => {
                format!(
                    "Of the kind {entity} at {name} nothing was read whole since {at}; {objective} s are allowed.{paused}"
                )
            }
            None => format!("The first load of the kind {entity} at {name} takes longer than {objective} s.{paused}"),
        };
        let tx = self.app.store().begin().await?;
        tx.raise_alert(key, 1, &message).await?;
        tx.commit().await
    }
}
