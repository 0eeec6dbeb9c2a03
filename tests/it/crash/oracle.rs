//! What must hold whatever happened: nothing waits, nothing is half done, and every record, its history, its lineage and
//! the outbox say the same.

use std::collections::{BTreeMap, BTreeSet};

use crosstie_domain::integration::{EffectStatus, InboundStatus, RunStatus};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::Value as Json;

use super::world::Hub;
use crate::support::{connect, effects, events, runs};

/// Checks all that is in the database, whichever story it came from.
pub(super) async fn check(hub: &Hub) {
    let raw = connect(hub.world.address()).await;
    let none = async |what: &str, sql: &str| assert_eq!(number(&raw, sql).await, 0, "{what}");

    let waits = |status| matches!(status, InboundStatus::Received | InboundStatus::Retrying | InboundStatus::Parked);
    let waiting: Vec<_> = events(hub.store()).await.into_iter().filter(|event| waits(event.status)).collect();
    assert!(waiting.is_empty(), "events wait: {waiting:#?}");
    let ledger = effects(hub.store()).await;
    assert!(ledger.iter().all(|effect| effect.status == EffectStatus::Done), "effects wait: {ledger:#?}");
    let runs = runs(hub.store()).await;
    assert!(runs.iter().all(|run| run.status != RunStatus::Running), "runs were left at work: {runs:#?}");
    none("rows are parked", "SELECT COUNT(*) AS total FROM parked_rows").await;
    none(
        "windows are open",
        "SELECT COUNT(*) AS total FROM cursors WHERE more IS NOT NULL OR window_until IS NOT NULL",
    )
    .await;

    none("changes have no place", "SELECT COUNT(*) AS total FROM outbox_unplaced").await;
    let placed = number(&raw, "SELECT COUNT(*) AS total FROM outbox_positions").await;
    assert_eq!(placed, number(&raw, "SELECT COUNT(*) AS total FROM outbox").await, "each change has one place");
    assert_eq!(placed, number(&raw, "SELECT MAX(position) AS total FROM outbox_positions").await, "no gaps");
    let told = "SELECT COUNT(*) AS total FROM outbox WHERE id NOT IN (SELECT outbox_id FROM effects)";
    let history = "SELECT COUNT(*) AS total FROM domain_events WHERE aggregatetype <> 'webhook_subscription'";
    assert_eq!(number(&raw, told).await, number(&raw, history).await, "history and outbox tell the same");

    none(
        "who is linked never spoke",
        "SELECT COUNT(*) AS total FROM identities i WHERE i.entity IN ('account', 'opportunity') AND NOT EXISTS \
         (SELECT 1 FROM assertions a WHERE a.connection_id = i.connection_id AND a.remote_id = i.remote_id \
         AND a.record_id = i.record_id)",
    )
    .await;
    none(
        "what was said has no evidence",
        "SELECT COUNT(*) AS total FROM assertions a WHERE NOT EXISTS (SELECT 1 FROM evidence e WHERE e.assertion_id = a.id)",
    )
    .await;
    versions(&raw).await;
    raw.close().await.expect("it closes");
}

/// Every version of a record was published, and none twice.
async fn versions(raw: &DatabaseConnection) {
    let mut published: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let sql = "SELECT aggregateid, data FROM domain_events WHERE aggregatetype IN ('account', 'opportunity', \
               'service_order', 'invoice', 'sow')";
    for row in all(raw, sql).await {
        let id: String = row.try_get("", "aggregateid").expect("an id");
        let data: String = row.try_get("", "data").expect("text");
        let data: Json = serde_json::from_str(&data).expect("JSON");
        published.entry(id).or_default().push(data["version"].as_i64().expect("a version"));
    }
    for table in ["accounts", "opportunities", "service_orders", "invoices", "sows"] {
        for row in all(raw, &format!("SELECT id, version FROM {table}")).await {
            let id: String = row.try_get("", "id").expect("an id");
            let version: i32 = row.try_get("", "version").expect("a version");
            let told = published.get(&id).cloned().unwrap_or_default();
            let each: BTreeSet<i64> = told.iter().copied().collect();
            assert!(each.iter().copied().eq(1..=i64::from(version)), "{id} is at {version}: {told:?}");
        }
    }
}

async fn all(raw: &DatabaseConnection, sql: &str) -> Vec<sea_orm::QueryResult> {
    let statement = Statement::from_string(raw.get_database_backend(), sql);
    raw.query_all_raw(statement).await.expect("it can be read")
}

pub(super) async fn number(raw: &DatabaseConnection, sql: &str) -> i64 {
    all(raw, sql).await.first().expect("a row").try_get("", "total").expect("a number")
}
