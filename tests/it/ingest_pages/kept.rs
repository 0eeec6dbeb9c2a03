//! What the hub keeps after a story, in words that are the same whenever the same was decided: identifiers go by what
//! they stand for.

use std::collections::BTreeMap;

use sea_orm::{DatabaseConnection, FromQueryResult, JsonValue, Statement};

use crate::support::Database;

/// Everything that rows which were taken in leave behind.
pub(super) const TABLES: [&str; 22] = [
    "invoice_lines",
    "invoices",
    "effects",
    "service_orders",
    "milestones",
    "sows",
    "opportunities",
    "accounts",
    "identities",
    "assertions",
    "evidence",
    "record_fields",
    "conflicts",
    "match_candidates",
    "identity_events",
    "remote_documents",
    "adoptions",
    "parked_rows",
    "domain_events",
    "outbox_unplaced",
    "outbox_positions",
    "outbox",
];

/// What is told of each kind of row, and in which order. Identifiers that stand for nothing but themselves are left out.
const TOLD: [(&str, &str); 15] = [
    ("accounts", "SELECT id, name, domain, billing_email, merged_into, deleted_at, version, updated_at FROM accounts"),
    (
        "opportunities",
        "SELECT id, account_id, name, stage, native_stage, amount_minor, close_on, version, updated_at \
         FROM opportunities",
    ),
    (
        "invoices",
        "SELECT id, service_order_id, milestone_id, account_id, connection_id, number, status, native_status, \
         total_minor, paid_minor, billing_reference, merged_into, version FROM invoices",
    ),
    ("lines", "SELECT invoice_id, position, description, amount_minor FROM invoice_lines"),
    ("milestones", "SELECT id, billing, billing_round, version FROM milestones"),
    ("orders", "SELECT id, status, billing_reference, version FROM service_orders"),
    (
        "identities",
        "SELECT connection_id, entity, remote_id, record_id, state, remote_version, first_seen_at, last_seen_at \
         FROM identities",
    ),
    (
        "assertions",
        "SELECT a.id, a.entity, a.record_id, a.connection_id, a.remote_id, a.remote_version, a.observed_at, a.fields, \
         e.raw FROM assertions a JOIN evidence e ON e.assertion_id = a.id",
    ),
    ("fields", "SELECT record_id, entity, fields FROM record_fields"),
    (
        "conflicts",
        "SELECT id, record_id, field, reason, status, agreed, voices, version, opened_at, closed_at FROM conflicts",
    ),
    ("candidates", "SELECT connection_id, remote_id, record_id, score, evidence FROM match_candidates"),
    (
        "documents",
        "SELECT id, connection_id, entity, remote_id, customer, hub_id, number, state, amount_minor FROM remote_documents",
    ),
    ("adoptions", "SELECT connection_id, entity, remote_id, target_id, record_id, from_id, effect_key FROM adoptions"),
    (
        "effects",
        "SELECT e.connection_id, e.record_id, e.order_key, e.status, o.payload FROM effects e \
         JOIN outbox o ON o.id = e.outbox_id",
    ),
    ("parked", "SELECT connection_id, entity, remote_id, code, attempts FROM parked_rows"),
];

/// What is kept, row by row, and what was told of each record, in its order.
pub(super) async fn kept(database: &Database, own: &[(String, &str)]) -> (Vec<String>, Names) {
    let raw = database.raw().await;
    let names = Names::of(&raw, own).await;
    let mut kept = Vec::new();
    for (what, sql) in TOLD {
        for row in rows(&raw, sql).await {
            kept.push(format!("{what} {}", names.told(&row.to_string())));
        }
    }
    kept.sort();
    let mut changes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let unplaced = rows(&raw, "SELECT outbox_id FROM outbox_unplaced").await.len();
    let sql = "SELECT aggregateid, type, payload FROM outbox ORDER BY id";
    let outbox = rows(&raw, sql).await;
    assert_eq!(unplaced, outbox.len(), "every change waits for its place");
    for row in outbox {
        let [id, kind, payload] = ["aggregateid", "type", "payload"].map(|name| text(&row, name));
        changes.entry(names.told(&id)).or_default().push(names.told(&format!("{kind} {payload}")));
    }
    kept.extend(changes.into_iter().map(|(id, changes)| format!("changes of {id}: {changes:?}")));
    let history = rows(&raw, "SELECT aggregateid, type, actor, data FROM domain_events ORDER BY id").await;
    kept.push(format!("{} lines of history", history.len()));
    raw.close().await.expect("it closes");
    (kept, names)
}

async fn rows(raw: &DatabaseConnection, sql: &str) -> Vec<JsonValue> {
    let statement = Statement::from_string(raw.get_database_backend(), sql);
    JsonValue::find_by_statement(statement).all(raw).await.expect("it can be read")
}

fn text(row: &JsonValue, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

/// What identifiers stand for.
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    async fn of(raw: &DatabaseConnection, own: &[(String, &str)]) -> Self {
        let mut names: BTreeMap<String, String> =
            own.iter().map(|(id, name)| (id.clone(), (*name).to_owned())).collect();
        for row in rows(raw, "SELECT id, name FROM connections").await {
            names.insert(text(&row, "id"), text(&row, "name"));
        }
        let links = "SELECT i.record_id, c.name, i.entity, i.remote_id FROM identities i \
                     JOIN connections c ON c.id = i.connection_id ORDER BY c.name, i.entity, i.remote_id";
        for row in rows(raw, links).await {
            let name = ["name", "entity", "remote_id"].map(|part| text(&row, part)).join("/");
            names.entry(text(&row, "record_id")).or_insert(name);
        }
        let said = "SELECT a.id, c.name, a.entity, a.remote_id FROM assertions a \
                    JOIN connections c ON c.id = a.connection_id ORDER BY a.id";
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for row in rows(raw, said).await {
            let name = ["name", "entity", "remote_id"].map(|part| text(&row, part)).join("/");
            let time = times.entry(name.clone()).or_default();
            *time += 1;
            names.insert(text(&row, "id"), format!("{name} said {time}"));
        }
        for row in rows(raw, "SELECT id, record_id, field FROM conflicts ORDER BY id").await {
            let record = names.get(&text(&row, "record_id")).cloned().unwrap_or_default();
            let name = format!("{record} {}", text(&row, "field"));
            let time = times.entry(name.clone()).or_default();
            *time += 1;
            names.insert(text(&row, "id"), format!("{name} conflict {time}"));
        }
        Self(names)
    }

    /// A text with every identifier by its name.
    pub(super) fn told(&self, text: &str) -> String {
        let mut told = String::new();
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        for word in text.split_inclusive(|letter: char| !is_part(letter)) {
            let (id, end) = word.split_at(word.trim_end_matches(|letter: char| !is_part(letter)).len());
            let is_id = id.rsplit_once('_').is_some_and(|(_, end)| end.len() == 26);
            match self.0.get(id) {
                Some(name) => told.push_str(name),
                None if is_id => told.push('?'),
                None => told.push_str(id),
            }
            told.push_str(end);
        }
        told
    }
}
