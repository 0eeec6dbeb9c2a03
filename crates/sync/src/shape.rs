//! The shape of what a system sends, page by page: which fields there are, and of which types. A change is told once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use crosstie_domain::{
    ids::ConnectionId,
    integration::{AlertKey, AlertKind, Entity, ShapeChangeKind, ShapeChangeRecord, merge_patch},
};
use crosstie_sdk::{MappedRow, Settings};
use crosstie_store::{
    StoreError,
    integration::{KnownField, KnownShape, known_shape, mappings},
};
use serde_json::Value;
use tracing::warn;

use crate::{Connection, Engine};

/// Fields that are told apart, at most.
const MOST_FIELDS: usize = 500;
/// How deep a row is looked into.
const MOST_LEVELS: usize = 6;
/// The longest path, in bytes.
const LONGEST_PATH: usize = 200;
/// Versions of a mapping that are looked at to tell what was asked for before.
const EARLIER_MAPPINGS: i64 = 25;
/// Rows that a shape is learned from before a change of it is told.
const LEARNED_AFTER: i64 = 10;

/// The shapes that this process knows, and the pages that were no news.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    known: Mutex<HashMap<(ConnectionId, Entity), Known>>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    shape: KnownShape,
    /// Fingerprints of pages that said nothing new.
    no_news: BTreeSet<u64>,
}

/// The fields of a page: their types, and in how many rows they are.
type PageShape = BTreeMap<String, (BTreeSet<&'static str>, usize)>;

/// A change before it has an identifier.
type Change = (ShapeChangeKind, String, Option<String>, Option<String>);

impl Engine {
    /// Compares the shape of a page with what is known, and writes down what is new.
    pub(crate) async fn note_shape(
        &self,
        connection: &Connection,
        entity: Entity,
        rows: &[MappedRow],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let key = (connection.record.id, entity);
        let page = shape_of(rows);
        let print = fingerprint(&page, rows.len());
        let known = {
            let mut all = self.shapes.known.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get_mut(&key) {
                Some(known) if known.no_news.contains(&print) => return Ok(()),
                Some(known) => Some(known.clone()),
                None => None,
            }
        };
        let mut known = match known {
            Some(known) => known,
            None => Known { shape: known_shape(self.app.store(), key).await?, no_news: BTreeSet::new() },
        };
        let before = known.shape.clone();
        let mut changes = learn(&mut known.shape, &page, rows.len());
        if changes.iter().any(|(kind, ..)| *kind == ShapeChangeKind::Removed) {
            let unasked = self.asked_no_more(connection, entity).await?;
            let is_unasked = |path: &str| path.split(['.', '[']).any(|name| unasked.contains(name));
            changes.retain(|(kind, path, ..)| *kind != ShapeChangeKind::Removed || !is_unasked(path));
        }
        if known.shape.fields != before.fields || before.rows_seen < LEARNED_AFTER {
            self.save_shape(connection, entity, (&known.shape, &changes)).await?;
        }
        if known.no_news.len() > MOST_FIELDS {
            known.no_news.clear();
        }
        known.no_news.insert(print);
        self.shapes.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, known);
        Ok(())
    }

    /// The properties of custom fields that an earlier mapping asked for and the one in force does not: that they are gone
    /// is the hub's own doing.
    async fn asked_no_more(&self, connection: &Connection, entity: Entity) -> Result<BTreeSet<String>, StoreError> {
        let properties = |settings: &Settings| -> BTreeSet<String> {
            let fields = connection.connector.custom_fields(settings).unwrap_or_default();
            fields.properties(entity).into_iter().map(str::to_owned).collect()
        };
        let configured = connection.live.configured();
        let mut asked = properties(&Settings::new(configured.clone()));
        for mapping in mappings(self.app.store(), connection.record.id, EARLIER_MAPPINGS).await? {
            asked.append(&mut properties(&Settings::new(merge_patch(configured.clone(), &mapping.document))));
        }
        let now = properties(&connection.net.settings());
        asked.retain(|property| !now.contains(property));
        Ok(asked)
    }

    async fn save_shape(
        &self,
        connection: &Connection,
        entity: Entity,
        (shape, changes): (&KnownShape, &[Change]),
    ) -> Result<(), StoreError> {
        let name = &connection.record.name;
        let tx = self.app.store().begin().await?;
        tx.save_shape((connection.record.id, entity), shape).await?;
        for (kind, path, before, after) in changes {
            tx.append_shape_change(&ShapeChangeRecord {
                id: tx.new_id(),
                connection_id: connection.record.id,
                entity,
                kind: *kind,
                path: path.clone(),
                before: before.clone(),
                after: after.clone(),
                seen_at: tx.now(),
            })
            .await?;
        }
        // What is new does no harm by itself; what is gone or is something else may.
        let harmful = changes.iter().filter(|(kind, ..)| *kind != ShapeChangeKind::New);
        let paths: Vec<&str> = harmful.map(|(_, path, ..)| path.as_str()).take(10).collect();
        if !paths.is_empty() {
            let message = format!("{} at {name} changed its shape: {}.", entity.as_str(), paths.join(", "));
            let alert = AlertKey::entity(AlertKind::ShapeChanged, connection.record.id, entity);
            tx.raise_alert(&alert, i64::try_from(paths.len()).unwrap_or(i64::MAX), &message).await?;
        }
        tx.commit().await?;
        for (kind, path, before, after) in changes {
            let (before, after) = (before.as_deref().unwrap_or("-"), after.as_deref().unwrap_or("-"));
            warn!(connection.name = %name, shape.entity = entity.as_str(), shape.kind = ?kind, shape.path = %path,
                shape.before = before, shape.after = after, "the shape of what a system sends changed");
            let labels = [("connection", name.clone()), ("entity", entity.as_str().to_owned())];
            metrics::counter!("crosstie_shape_changes_total", &labels).increment(1);
        }
        Ok(())
    }
}

/// The fields of these rows with their types.
fn shape_of(rows: &[MappedRow]) -> PageShape {
    let mut shape = PageShape::new();
    for row in rows {
        let mut fields = BTreeMap::new();
        walk(row.raw(), String::new(), 0, &mut fields);
        for (path, types) in fields {
            if shape.len() >= MOST_FIELDS && !shape.contains_key(&path) {
                continue;
            }
            let (seen, rows) = shape.entry(path).or_default();
            seen.extend(types);
            *rows += 1;
        }
    }
    shape
}

fn walk(value: &Value, path: String, level: usize, fields: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    if level > MOST_LEVELS || path.len() > LONGEST_PATH || fields.len() >= MOST_FIELDS {
        return;
    }
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value))
            .collect(),
        Value::Array(items) => items.iter().take(20).map(|item| (format!("{path}[]"), item)).collect(),
        _ => Vec::new(),
    };
    if !path.is_empty() {
        fields.entry(path).or_default().extend(type_of(value));
    }
    for (path, child) in children {
        walk(child, path, level + 1, fields);
    }
}

/// The type of a value; none of an empty one, which any field may be.
fn type_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("boolean"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("text"),
        Value::Array(_) => Some("list"),
        Value::Object(_) => Some("object"),
    }
}

fn fingerprint(page: &PageShape, rows: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, (types, in_rows)) in page {
        (path, types, *in_rows == rows, *in_rows == 0).hash(&mut hasher);
    }
    hasher.finish()
}

/// Adds a page to what is known. Returns what changed by it, once enough rows were seen to tell.
fn learn(known: &mut KnownShape, page: &PageShape, rows: usize) -> Vec<Change> {
    let is_first = known.rows_seen == 0;
    let tells = known.rows_seen >= LEARNED_AFTER;
    let mut changes = Vec::new();
    for (path, (types, in_rows)) in page {
        let Some(field) = known.fields.get_mut(path) else {
            if known.fields.len() < MOST_FIELDS {
                let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
                changes.push((ShapeChangeKind::New, path.clone(), None, Some(types.join(" or "))));
                known.fields.insert(path.clone(), KnownField { types, always: is_first && *in_rows == rows });
            }
            continue;
        };
        field.always &= *in_rows == rows;
        let unseen: Vec<&str> =
            types.iter().copied().filter(|name| field.types.iter().all(|old| old != name)).collect();
        if unseen.is_empty() {
            continue;
        }
        let before = field.types.join(" or ");
        field.types.extend(unseen.iter().map(|name| (*name).to_owned()));
        // A field that was always empty so far has its first type.
        if !before.is_empty() {
            changes.push((ShapeChangeKind::Retyped, path.clone(), Some(before), Some(unseen.join(" or "))));
        }
    }
    for (path, field) in known.fields.iter_mut().filter(|(path, field)| field.always && !page.contains_key(*path)) {
        field.always = false;
        changes.push((ShapeChangeKind::Removed, path.clone(), Some(field.types.join(" or ")), None));
    }
    known.rows_seen += i64::try_from(rows).unwrap_or(0);
    if tells { changes } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(raw: &Value, count: usize) -> (PageShape, usize) {
        let row = || MappedRow::Gone { remote_id: "1".to_owned(), raw: raw.clone() };
        (shape_of(&(0..count).map(|_| row()).collect::<Vec<_>>()), count)
    }

    #[test]
    fn new_removed_and_retyped_fields_are_told_once_each() {
        let mut known = KnownShape::default();
        let mut tell = |raw: Value, count: usize| {
            let (page, rows) = page(&raw, count);
            learn(&mut known, &page, rows).into_iter().map(|(kind, path, ..)| (kind, path)).collect::<Vec<_>>()
        };
        let usual = json!({ "id": "1", "amount": "10", "tags": ["a"], "note": null });
        assert_eq!(tell(usual.clone(), 10), [], "the first rows are what is learned from");
        assert_eq!(tell(usual.clone(), 1), []);
        assert_eq!(
            tell(json!({ "id": "1", "amount": "10", "tags": [], "note": "first" }), 1),
            [(ShapeChangeKind::Removed, "tags[]".to_owned())]
        );
        let other = json!({ "id": 1, "amount": "10", "tags": [], "owner": { "name": "x" }, "note": null });
        let expected = [
            (ShapeChangeKind::Retyped, "id".to_owned()),
            (ShapeChangeKind::New, "owner".to_owned()),
            (ShapeChangeKind::New, "owner.name".to_owned()),
        ];
        assert_eq!(tell(other.clone(), 1), expected);
        assert_eq!(tell(other, 1), [], "and not again");
        assert_eq!(tell(json!({ "id": "1", "tags": [] }), 3).len(), 2, "amount and note are gone");
    }

    #[test]
    fn a_row_of_any_size_has_a_bounded_shape() {
        let wide: serde_json::Map<String, Value> = (0..5_000).map(|i| (format!("f{i}"), json!(i))).collect();
        let mut deep = json!(1);
        for _ in 0..50 {
            deep = json!({ "in": deep });
        }
        assert!(page(&Value::Object(wide), 1).0.len() <= MOST_FIELDS);
        assert!(page(&deep, 1).0.len() <= MOST_LEVELS + 1);
    }
}
