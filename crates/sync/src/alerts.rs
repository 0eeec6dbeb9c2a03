//! Alerts that follow from what the engine meets and from what waits, and the metric that counts the open ones.

use std::collections::{BTreeMap, BTreeSet};

use crosstie_domain::{
    ids::ConnectionId,
    integration::{AlertKey, AlertKind, AlertRecord},
};
use crosstie_sdk::Fault;
use crosstie_store::{
    StoreError, Tx,
    integration::{Waiting, open_alerts, waiting_for_a_person},
};
use tracing::{info, warn};

use crate::{Connection, Engine};

/// How long a process holds the lease of looking at what waits, in milliseconds.
const LEASE_MS: i64 = 10_000;

/// A metric's labels: what the alert is about, and the name of the connection.
type Labels = (&'static str, String);

impl Engine {
    /// Looks at what waits for a person, in one process at a time, and counts the open alerts in each.
    pub(crate) async fn watch(&self, shown: &mut BTreeSet<Labels>) -> Result<(), StoreError> {
        let open = open_alerts(self.app.store()).await?;
        self.show(&open, shown);
        self.show_holds().await?;
        self.show_backlogs().await?;
        if self.app.store().lease("alerts", &self.name, LEASE_MS).await?.is_none() {
            return Ok(());
        }
        for connection in self.connections.all() {
            self.look_at_waiting(connection, &open).await?;
        }
        Ok(())
    }

    /// Sets the gauge for each kind and connection; what was counted before and is closed by now is set to nothing.
    fn show(&self, open: &[AlertRecord], shown: &mut BTreeSet<Labels>) {
        let mut counts: BTreeMap<Labels, u32> = shown.iter().map(|labels| (labels.clone(), 0)).collect();
        for alert in open {
            let connection = alert.connection_id.and_then(|id| self.connections.get(id));
            let name = connection.map_or_else(String::new, |connection| connection.record.name.clone());
            *counts.entry((alert.kind.as_str(), name)).or_default() += 1;
        }
        for ((kind, connection), count) in &counts {
            let labels = [("kind", (*kind).to_owned()), ("connection", connection.clone())];
            metrics::gauge!("crosstie_alerts_open", &labels).set(f64::from(*count));
        }
        *shown = counts.into_keys().collect();
    }

    async fn look_at_waiting(&self, connection: &Connection, open: &[AlertRecord]) -> Result<(), StoreError> {
        let id = connection.record.id;
        let waiting = waiting_for_a_person(self.app.store(), id).await?;
        let is_this = |alert: &&AlertRecord| is_about(alert, AlertKind::ItemsParked, id);
        let counted = open.iter().find(is_this).map_or(0, |alert| i64::from(alert.count));
        if waiting.total() == counted {
            return Ok(());
        }
        let key = AlertKey::connection(AlertKind::ItemsParked, id);
        let tx = self.app.store().begin().await?;
        let changed = match waiting.total() {
            0 => tx.close_alert(&key).await?,
            total => tx.raise_alert(&key, total, &what_waits(connection, waiting)).await?,
        };
        tx.commit().await?;
        if changed {
            let (name, count) = (&connection.record.name, waiting.total());
            info!(connection.name = %name, alert.count = count, "what waits for a person changed");
        }
        Ok(())
    }
}

fn is_about(alert: &AlertRecord, kind: AlertKind, connection: ConnectionId) -> bool {
    alert.kind == kind && alert.connection_id == Some(connection)
}

fn what_waits(connection: &Connection, waiting: Waiting) -> String {
    let parts = [(waiting.rows, "row(s)"), (waiting.events, "inbound event(s)"), (waiting.effects, "effect(s)")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("At {} wait for a person: {}.", connection.record.name, parts.join(", "))
}

/// Opens the alert that a credential is not accepted any more, if that is what went wrong.
pub(crate) async fn note_fault(tx: &Tx, connection: &Connection, fault: &Fault) -> Result<(), StoreError> {
    if !matches!(fault, Fault::NeedsReauth) {
        return Ok(());
    }
    let name = &connection.record.name;
    let message = format!("{name} does not accept the credential of the hub any more. Renew it in the configuration.");
    let key = AlertKey::connection(AlertKind::ConnectionNeedsReauth, connection.record.id);
    if tx.raise_alert(&key, 1, &message).await? {
        warn!(connection.name = %name, "the credential is not accepted any more");
    }
    Ok(())
}

/// Closes that alert, since the system answered as one that accepts the credential does.
pub(crate) async fn note_success(tx: &Tx, connection: &Connection) -> Result<(), StoreError> {
    let key = AlertKey::connection(AlertKind::ConnectionNeedsReauth, connection.record.id);
    if tx.close_alert(&key).await? {
        info!(connection.name = %connection.record.name, "the credential is accepted again");
    }
    Ok(())
}
