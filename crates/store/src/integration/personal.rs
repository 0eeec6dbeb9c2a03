//! Where personal data can stand: every column of the database that holds text or bytes, and what erasure does there.
//!
//! A test walks the schema and fails on a column that is in none of these lists.

use crosstie_domain::integration::{EffectStatus, Entity};
use sea_orm::{DbErr, FromQueryResult, QueryResult, Value};
use serde_json::{Value as Json, json};

use crate::{Reads, StoreError, Tx, codec};

/// A column that orders the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Of text.
    Text(&'static str),
    /// Of numbers.
    Number(&'static str),
}

/// A table that can hold something of a person.
#[derive(Debug, Clone, Copy)]
pub struct PersonalTable {
    /// Its name.
    pub name: &'static str,
    key: &'static [Key],
    /// Columns of text that are searched. Of a key among them the erased value is replaced like any other.
    pub text: &'static [&'static str],
    /// Columns of bytes that are searched.
    pub bytes: &'static [&'static str],
    /// Of them, those that are empty, and not marked, when all of the value was erased.
    emptied: &'static [&'static str],
    /// What its rows are, when they are records with versions.
    pub record: Option<Entity>,
}

const ID: &[Key] = &[Key::Text("id")];
const REMOTE: &[Key] = &[Key::Text("connection_id"), Key::Text("entity"), Key::Text("remote_id")];

const fn table(name: &'static str, key: &'static [Key], text: &'static [&'static str]) -> PersonalTable {
    PersonalTable { name, key, text, bytes: &[], emptied: &[], record: None }
}

const fn record(name: &'static str, of: Entity, text: &'static [&'static str]) -> PersonalTable {
    PersonalTable { record: Some(of), ..table(name, ID, text) }
}

/// The tables that are searched, in the order in which they are: what is said before what is made of it.
pub const PERSONAL_TABLES: &[PersonalTable] = &[
    PersonalTable {
        bytes: &["body"],
        ..table("inbound_payloads", &[Key::Text("id"), Key::Number("received_at")], &["headers"])
    },
    table("inbox_keys", &[Key::Text("connection_id"), Key::Text("dedupe_key")], &["dedupe_key"]),
    table("inbound_events", ID, &["dedupe_key", "event_type", "remote_id", "error_message"]),
    table("exchanges", ID, &["address", "request_headers", "request_body", "answer_headers", "answer_body"]),
    table("assertions", &[Key::Text("id"), Key::Number("observed_at")], &["remote_id", "remote_version", "fields"]),
    table("evidence", &[Key::Text("assertion_id"), Key::Number("observed_at")], &["raw"]),
    table("parked_rows", ID, &["remote_id", "message", "raw"]),
    table("identities", REMOTE, &["remote_id", "remote_version"]),
    table(
        "match_candidates",
        &[Key::Text("connection_id"), Key::Text("entity"), Key::Text("remote_id"), Key::Text("record_id")],
        &["remote_id", "evidence"],
    ),
    table("identity_events", ID, &["moved", "reason"]),
    table("record_fields", &[Key::Text("record_id")], &["fields"]),
    table("conflicts", ID, &["agreed", "voices", "resolution", "note"]),
    PersonalTable {
        emptied: &["billing_email", "domain"],
        ..record("accounts", Entity::Account, &["name", "domain", "billing_email", "match_name", "custom_fields"])
    },
    record("opportunities", Entity::Opportunity, &["name", "native_stage", "custom_fields"]),
    record("sows", Entity::Sow, &["title", "po_number", "match_po", "match_title"]),
    record("milestones", Entity::Milestone, &["name", "match_name"]),
    record("service_orders", Entity::ServiceOrder, &["billing_reference", "rejection"]),
    record("invoices", Entity::Invoice, &["number", "native_status", "billing_reference", "rejection"]),
    table("invoice_lines", ID, &["description"]),
    table("persons", ID, &["name", "email"]),
    table("tokens", ID, &["label"]),
    table("idempotency_keys", &[Key::Text("principal"), Key::Text("idempotency_key")], &["idempotency_key", "result"]),
    table("outbox", ID, &["payload"]),
    table("effects", &[Key::Text("effect_key")], &["remote_id", "error_message", "corrected"]),
    table("domain_events", &[Key::Text("id"), Key::Number("occurred_at")], &["data"]),
    table("webhook_subscriptions", ID, &["url", "description", "status_reason"]),
    table("webhook_deliveries", ID, &["response_excerpt", "error_message"]),
    table("alerts", ID, &["message"]),
    table("sync_runs", ID, &["error_message"]),
    table("cursors", &[Key::Text("connection_id"), Key::Text("entity")], &["more"]),
    table("connection_modes", ID, &["reason"]),
    table("connection_mappings", &[Key::Text("connection_id"), Key::Number("version")], &["document", "reason"]),
    table("remaps", ID, &["at_remote_id", "reason"]),
    table("delete_claims", ID, &["remote_id", "merged_into"]),
    table("sweeps", ID, &["more", "error_message"]),
    table("sweep_seen", &[Key::Text("sweep_id"), Key::Text("remote_id")], &["remote_id"]),
    table("backfills", ID, &["remote_id"]),
    table("backfill_slices", &[Key::Text("backfill_id"), Key::Number("position")], &["more", "error_message"]),
    table("drift_reports", ID, &["error_message"]),
    table("shapes", &[Key::Text("connection_id"), Key::Text("entity")], &["paths"]),
    table("shape_changes", ID, &["path", "before", "after"]),
    table("connection_sign_ins", &[Key::Text("connection")], &["authorization_page", "redirect_url"]),
    table("connection_authorizations", &[Key::Text("connection")], &["redirect_url"]),
    table("corrections", ID, &["was", "became", "reason"]),
    table("replay_jobs", ID, &["filter", "reason"]),
    table("replay_items", ID, &["message"]),
    table("connection_pauses", ID, &["reason", "resume_reason"]),
    table(
        "remote_documents",
        ID,
        &["remote_id", "customer", "number", "reference", "title", "match_reference", "match_title"],
    ),
    table("adoptions", ID, &["remote_id", "evidence", "reason", "undo_reason"]),
    table("inbound_refusals", ID, &["asked_for", "header_names", "safe_headers", "body_excerpt"]),
];

/// Columns of text and bytes that can hold nothing of a person, whatever other systems send: identifiers of the hub,
/// words of a fixed list, names of the configuration, hashes of what is long or random, and what is sealed.
pub const IMPERSONAL_COLUMNS: &[(&str, &[&str])] = &[
    ("accounts", &["id", "merged_into"]),
    ("opportunities", &["id", "account_id", "stage", "amount_currency", "merged_into"]),
    ("sows", &["id", "opportunity_id", "account_id", "billing_connection_id", "status", "total_currency"]),
    ("milestones", &["id", "sow_id", "account_id", "item_code", "amount_currency", "acceptance", "billing"]),
    ("service_orders", &["id", "sow_id", "account_id", "connection_id", "status", "total_currency"]),
    (
        "invoices",
        &[
            "id",
            "service_order_id",
            "milestone_id",
            "account_id",
            "connection_id",
            "status",
            "total_currency",
            "paid_currency",
            "merged_into",
        ],
    ),
    ("invoice_lines", &["id", "invoice_id", "amount_currency"]),
    ("persons", &["id", "roles", "row_scope"]),
    ("tokens", &["id", "lookup", "secret_sha256", "person_id", "roles", "permissions"]),
    ("idempotency_keys", &["principal", "operation", "request_sha256"]),
    ("connections", &["id", "name", "connector", "arms", "mode", "connector_version"]),
    ("identities", &["connection_id", "entity", "record_id", "state"]),
    ("cursors", &["connection_id", "entity"]),
    ("sync_runs", &["id", "connection_id", "entity", "run_trigger", "status", "error_code"]),
    ("parked_rows", &["id", "connection_id", "entity", "code", "mapping_version", "correction_id"]),
    ("inbox_keys", &["connection_id", "event_id"]),
    ("inbound_events", &["id", "connection_id", "payload_id", "entity", "status", "error_code", "mapping_version"]),
    ("outbox", &["id", "aggregatetype", "aggregateid", "type"]),
    ("outbox_unplaced", &["outbox_id"]),
    ("outbox_positions", &["outbox_id"]),
    ("effects", &["effect_key", "outbox_id", "connection_id", "order_key", "record_id", "status", "error_code"]),
    ("leases", &["name", "owner"]),
    (
        "assertions",
        &[
            "id",
            "entity",
            "record_id",
            "connection_id",
            "run_id",
            "inbound_event_id",
            "exchange_id",
            "correction_id",
            "mapping_version",
            "said_sha256",
            "seal",
        ],
    ),
    ("evidence", &["assertion_id"]),
    ("inbound_payloads", &["id"]),
    ("domain_events", &["id", "aggregatetype", "aggregateid", "type", "actor"]),
    ("record_fields", &["record_id", "entity"]),
    ("conflicts", &["id", "entity", "record_id", "field", "reason", "status", "closed_by"]),
    ("match_candidates", &["connection_id", "entity", "record_id"]),
    ("identity_events", &["id", "entity", "kind", "record_id", "other_id", "actor", "undone_by"]),
    ("alerts", &["id", "open_key", "kind", "connection_id", "entity", "subscription_id", "state"]),
    ("webhook_subscriptions", &["id", "entities", "event_types", "accounts", "owner", "status"]),
    ("webhook_secrets", &["subscription_id"]),
    ("webhook_deliveries", &["id", "subscription_id", "kind", "entity", "record_id", "event", "status", "error_code"]),
    ("secrets", &["owner_kind", "owner_id", "name", "key_id", "wrapped_key", "nonce", "ciphertext"]),
    ("connection_sign_ins", &["connection", "state", "code", "origin_sha256", "configuration_sha256"]),
    ("connection_authorizations", &["connection", "state_sha256", "begun_by"]),
    (
        "exchanges",
        &[
            "id",
            "connection_id",
            "run_id",
            "inbound_event_id",
            "effect_key",
            "method",
            "fault_code",
            "request_sha256",
            "answer_sha256",
        ],
    ),
    ("connection_modes", &["id", "connection_id", "was", "mode", "actor"]),
    ("connection_mappings", &["connection_id", "actor"]),
    ("remaps", &["id", "connection_id", "entity", "cause", "status", "at_entity", "actor"]),
    ("connection_pushes", &["connection_id", "writable", "pushed"]),
    ("freshness_objectives", &["connection_id", "entity"]),
    (
        "delete_claims",
        &["id", "connection_id", "entity", "record_id", "evidence", "inbound_event_id", "run_id", "sweep_id"],
    ),
    ("sweeps", &["id", "connection_id", "entity", "status", "confirmed_by", "error_code"]),
    ("sweep_seen", &["sweep_id"]),
    ("backfills", &["id", "connection_id", "entity", "run_trigger", "status", "requested_by"]),
    ("backfill_slices", &["backfill_id", "status", "run_id", "error_code"]),
    ("drift_reports", &["id", "connection_id", "entity", "scope", "status", "error_code"]),
    ("shapes", &["connection_id", "entity"]),
    ("shape_changes", &["id", "connection_id", "entity", "kind"]),
    ("rate_budgets", &["connection_id", "bucket"]),
    ("corrections", &["id", "subject_id", "actor"]),
    ("replay_jobs", &["id", "kind", "status", "actor"]),
    ("replay_items", &["id", "job_id", "subject_id", "connection_id", "outcome", "code"]),
    ("connection_pauses", &["id", "connection_id", "what", "paused_by", "resumed_by"]),
    ("remote_documents", &["id", "connection_id", "entity", "hub_id", "state", "amount_currency"]),
    (
        "adoptions",
        &[
            "id",
            "connection_id",
            "entity",
            "account_id",
            "target_id",
            "record_id",
            "from_id",
            "effect_key",
            "accepted_currency",
            "actor",
            "undone_by",
        ],
    ),
    ("connection_breakers", &["connection_id", "error_code"]),
    ("connection_inbound", &["connection_id"]),
    ("inbound_refusals", &["id", "connection_id", "counted_as", "code", "body_sha256"]),
    ("erasure_keys", &["key_hex"]),
    ("erasures", &["id", "status", "actor", "reason", "at_table", "at_key", "places", "lifted_by"]),
    ("erased_values", &["value_hash", "erasure_id"]),
];

/// Takes out of a text what was erased; `None` when nothing of it is in there.
pub(super) type Mask<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// A row that holds something that is to be erased.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonalRow {
    key: Vec<Value>,
    id: String,
    /// Column, what stands there, what is to stand there.
    changes: Vec<(&'static str, Value, Value)>,
}

impl PersonalRow {
    /// The text of the first part of its key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What stands in a column of text, and what is to stand there.
    pub fn text(&self, column: &str) -> Option<(Option<&str>, Option<&str>)> {
        self.changes.iter().find(|(name, _, _)| *name == column).map(|(_, was, now)| (as_text(was), as_text(now)))
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(Some(text)) => Some(text.as_str()),
        _ => None,
    }
}

/// Rows of a table that were looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// How many.
    pub rows: i64,
    /// The last of them, to go on after; none when there were none.
    pub last: Option<Json>,
    /// Those that hold something that is to be erased.
    pub found: Vec<PersonalRow>,
}

/// A row by the names of its columns: those of keys are `k0`, `k1`, …, those of text `t0`, …, those of bytes `b0`, ….
struct Cells {
    keys: Vec<Json>,
    texts: Vec<Option<String>>,
    bytes: Vec<Option<Vec<u8>>>,
}

impl FromQueryResult for Cells {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let mut cells = Self { keys: Vec::new(), texts: Vec::new(), bytes: Vec::new() };
        for name in row.column_names() {
            match name.as_bytes().first() {
                Some(b'k') => cells.keys.push(json!(row.try_get::<String>("", &name)?)),
                Some(b'n') => cells.keys.push(json!(row.try_get::<i64>("", &name)?)),
                Some(b't') => cells.texts.push(row.try_get("", &name)?),
                _ => cells.bytes.push(row.try_get("", &name)?),
            }
        }
        Ok(cells)
    }
}

impl Key {
    fn column(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

impl PersonalTable {
    /// The table of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PERSONAL_TABLES.iter().find(|table| table.name == name)
    }

    /// The one that is looked at after this one.
    pub fn next(&self) -> Option<&'static Self> {
        PERSONAL_TABLES.iter().skip_while(|table| table.name != self.name).nth(1)
    }

    fn select(&self, after: bool) -> String {
        let keys: Vec<&str> = self.key.iter().map(|key| key.column()).collect();
        let mut columns: Vec<String> = Vec::new();
        for (place, key) in self.key.iter().enumerate() {
            columns.push(match key {
                Key::Text(name) => format!("{name} AS k{place}"),
                Key::Number(name) => format!("CAST({name} AS BIGINT) AS n{place}"),
            });
        }
        columns.extend(self.text.iter().enumerate().map(|(place, name)| format!("{name} AS t{place}")));
        columns.extend(self.bytes.iter().enumerate().map(|(place, name)| format!("{name} AS b{place}")));
        let keys = keys.join(", ");
        let (from, limit) = match after {
            true => (format!(" WHERE ({keys}) > ({})", crate::db::marks(1, self.key.len())), self.key.len() + 1),
            false => (String::new(), 1),
        };
        format!("SELECT {} FROM {}{from} ORDER BY {keys} LIMIT ${limit}", columns.join(", "), self.name)
    }
}

/// Looks at the next rows of a table, at most so many, and finds those that hold something that is to be erased.
///
/// # Errors
/// As the database.
pub async fn look_for_personal(
    db: &impl Reads,
    table: &'static PersonalTable,
    (after, limit): (Option<&Json>, i64),
    mask: Mask<'_>,
) -> Result<Looked, StoreError> {
    let mut values: Vec<Value> = match after {
        Some(after) => after.as_array().into_iter().flatten().map(key_value).collect(),
        None => Vec::new(),
    };
    if after.is_some() && values.len() != table.key.len() {
        return Err(StoreError::Corrupt { column: "erasures.at_key" });
    }
    values.push(limit.into());
    let rows: Vec<Cells> = db.connection().all(&table.select(after.is_some()), values).await?;
    let last = rows.last().map(|row| Json::Array(row.keys.clone()));
    let found = rows.iter().filter_map(|row| {
        let mut changes = Vec::new();
        for (column, text) in table.text.iter().zip(&row.texts) {
            let Some(text) = text else { continue };
            let Some(now) = mask(text) else { continue };
            let emptied = table.emptied.contains(column) && crosstie_domain::integration::erasure::is_mark(&now);
            let now = (!emptied).then_some(now);
            changes.push((*column, text.clone().into(), now.into()));
        }
        for (column, bytes) in table.bytes.iter().zip(&row.bytes) {
            let Some(bytes) = bytes else { continue };
            let Some(now) = mask(&String::from_utf8_lossy(bytes)) else { continue };
            changes.push((*column, bytes.clone().into(), now.into_bytes().into()));
        }
        let id = row.keys.first().and_then(Json::as_str).unwrap_or_default().to_owned();
        (!changes.is_empty()).then(|| PersonalRow { key: row.keys.iter().map(key_value).collect(), id, changes })
    });
    Ok(Looked { rows: i64::try_from(rows.len()).unwrap_or(i64::MAX), last, found: found.collect() })
}

fn key_value(key: &Json) -> Value {
    match key {
        Json::Number(number) => number.as_i64().into(),
        other => other.as_str().unwrap_or_default().into(),
    }
}

impl Tx {
    /// Writes what is to stand in rows that were found. One that changed meanwhile is left to the next look. Returns
    /// how many were written.
    ///
    /// # Errors
    /// As the database.
    pub async fn erase_rows(
        &self,
        table: &'static PersonalTable,
        rows: &[PersonalRow],
    ) -> Result<Vec<String>, StoreError> {
        let mut erased = Vec::new();
        for row in rows {
            let (mut values, mut sets, mut guards) = (row.key.clone(), Vec::new(), Vec::new());
            for (column, was, now) in &row.changes {
                values.push(now.clone());
                sets.push(format!("{column} = ${}", values.len()));
                values.push(was.clone());
                guards.push(format!("{column} = ${}", values.len()));
            }
            if table.record.is_some() {
                values.push(self.now().micros().into());
                sets.push(format!("version = version + 1, updated_at = ${}", values.len()));
            } else if table.name == "persons" {
                sets.push("version = version + 1".to_owned());
            }
            let keys = table.key.iter().enumerate().map(|(place, key)| format!("{} = ${}", key.column(), place + 1));
            let guards: Vec<String> = keys.chain(guards).collect();
            let sql = format!("UPDATE {} SET {} WHERE {}", table.name, sets.join(", "), guards.join(" AND "));
            if self.connection().run(&sql, values).await? > 0 {
                erased.push(row.id.clone());
            }
        }
        Ok(erased)
    }

    /// Ends what was to be sent and named a person who is erased: a person must ask for it anew. Returns how many.
    ///
    /// # Errors
    /// As the database.
    pub async fn give_up_effects(&self, outbox: &[String], (code, message): (&str, &str)) -> Result<u64, StoreError> {
        if outbox.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "UPDATE effects SET status = $1, error_code = $2, error_message = $3, next_attempt_at = NULL, \
             lease_until = NULL, fence = fence + 1, finished_at = $4 WHERE next_attempt_at IS NOT NULL \
             AND outbox_id IN ({})",
            crate::db::marks(5, outbox.len())
        );
        let mut values: Vec<Value> =
            vec![codec::text(&EffectStatus::Rejected).into(), code.into(), message.into(), self.now().micros().into()];
        values.extend(outbox.iter().map(|id| Value::from(id.clone())));
        self.connection().run(&sql, values).await
    }

    /// The versions of records of one kind.
    ///
    /// # Errors
    /// As the database.
    pub async fn versions_of(&self, entity: Entity, ids: &[String]) -> Result<Vec<(String, i32)>, StoreError> {
        #[derive(FromQueryResult)]
        struct Versioned {
            id: String,
            version: i32,
        }
        let table = PERSONAL_TABLES.iter().find(|table| table.record == Some(entity));
        let (Some(table), false) = (table, ids.is_empty()) else { return Ok(Vec::new()) };
        let marks = crate::db::marks(1, ids.len());
        let sql = format!("SELECT id, version FROM {} WHERE id IN ({marks})", table.name);
        let rows: Vec<Versioned> =
            self.connection().all(&sql, ids.iter().map(|id| id.clone().into()).collect()).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.version)).collect())
    }

    /// Of these rows of the outbox, those that a worker has in hand.
    ///
    /// # Errors
    /// As the database.
    pub async fn in_hand(&self, outbox: &[String]) -> Result<Vec<String>, StoreError> {
        #[derive(FromQueryResult)]
        struct InHand {
            outbox_id: String,
        }
        if outbox.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT outbox_id FROM effects WHERE lease_until > $1 AND outbox_id IN ({})",
            crate::db::marks(2, outbox.len())
        );
        let mut values: Vec<Value> = vec![self.now().micros().into()];
        values.extend(outbox.iter().map(|id| Value::from(id.clone())));
        let rows: Vec<InHand> = self.connection().all(&sql, values).await?;
        Ok(rows.into_iter().map(|row| row.outbox_id).collect())
    }

    /// Ends the tokens of persons. Returns how many.
    ///
    /// # Errors
    /// As the database.
    pub async fn revoke_tokens_of(&self, persons: &[String]) -> Result<u64, StoreError> {
        if persons.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "UPDATE tokens SET revoked_at = $1 WHERE revoked_at IS NULL AND person_id IN ({})",
            crate::db::marks(2, persons.len())
        );
        let mut values: Vec<Value> = vec![self.now().micros().into()];
        values.extend(persons.iter().map(|id| Value::from(id.clone())));
        self.connection().run(&sql, values).await
    }
}
