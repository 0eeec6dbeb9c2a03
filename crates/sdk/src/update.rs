//! Updates of records that exist: what the vendor holds is compared first, so that only what differs is written and
//! nobody's change is overwritten unseen. Few vendors can make a write depend on a version; a change in the moment
//! between reading and writing is not seen.

use crosstie_domain::integration::UpdateRecord;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Connector, Fault, MappedRow, Net, Observed, Written};

/// An update beside what the vendor holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The record as it was read.
    pub held: Observed,
    /// What is still to be set, in the order of field names; nothing when every field has its value already.
    pub left: Vec<FieldChange>,
}

/// A field and the value that it is to have, in the hub's terms.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// The field of the claim.
    pub field: String,
    /// The value; null empties the field.
    pub value: Value,
}

impl Comparison {
    /// Reads the record by the connector's own reader and compares.
    ///
    /// # Errors
    /// [`Fault::Stale`] when a field holds neither what was expected nor what it is to have; [`Fault::Gone`];
    /// [`Fault::Unsupported`] for a kind of record that the connector does not write; [`Fault::Rejected`] for a field
    /// that it does not write, or that holds something that cannot be read; or why the vendor could not be asked.
    pub async fn read(connector: &dyn Connector, net: &Net, update: &UpdateRecord) -> Result<Self, Fault> {
        let writable = connector.descriptor().writable(update.entity);
        let reader = connector.readers().iter().find(|reader| reader.entity() == update.entity);
        let Some(reader) = reader.filter(|_| !writable.is_empty()) else { return Err(Fault::Unsupported) };
        if let Some(field) = update.changes.keys().find(|field| !writable.contains(&field.as_str())) {
            return Err(Fault::rejected(field, "the connector does not write this field"));
        }
        match reader.read_one(net, &update.remote_id).await? {
            MappedRow::Good(held) => Self::of(*held, update),
            MappedRow::Gone { .. } => Err(Fault::Gone),
            MappedRow::Bad { code, why, .. } => {
                Err(Fault::Shape { path: "$".to_owned(), why: format!("{code}: {why}") })
            }
        }
    }

    fn of(held: Observed, update: &UpdateRecord) -> Result<Self, Fault> {
        let mut left = Vec::new();
        for (field, wanted) in &update.changes {
            let noted = held.fields.get(field);
            if let Some(problem) = noted.and_then(|noted| noted.problem.as_ref()) {
                return Err(Fault::rejected(field, format!("what stands there cannot be read: {problem}")));
            }
            let current = noted.map_or(&Value::Null, |noted| &noted.value);
            if is_same(current, wanted) {
                continue;
            }
            if !is_same(current, update.expected.get(field).unwrap_or(&Value::Null)) {
                return Err(Fault::Stale);
            }
            left.push(FieldChange { field: field.clone(), value: wanted.clone() });
        }
        Ok(Self { held, left })
    }

    /// What to answer when nothing is left to be set.
    pub fn done(&self) -> Option<Written> {
        self.left.is_empty().then(|| Written::updated(self.held.key.clone()))
    }
}

impl FieldChange {
    /// The value as the type that the claim has for it; `None` empties the field.
    ///
    /// # Errors
    /// [`Fault::Rejected`] when it is of another type.
    pub fn value<T: DeserializeOwned>(&self) -> Result<Option<T>, Fault> {
        let read = serde_json::from_value::<Option<T>>(self.value.clone());
        read.map_err(|error| Fault::rejected(&self.field, error.to_string()))
    }

    /// The value of a field that cannot be empty at the vendor.
    ///
    /// # Errors
    /// [`Fault::Rejected`] when it is empty or of another type.
    pub fn required<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        self.value()?.ok_or_else(|| Fault::rejected(&self.field, "the field cannot be empty"))
    }
}

/// Whether two values say the same: readers take the blanks around a text off, and a text without more is none.
fn is_same(one: &Value, other: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.trim().to_owned()),
        _ => None,
    };
    one == other || text(one).is_some_and(|one| Some(one) == text(other))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crosstie_domain::{
        integration::{Claim, Entity},
        pipeline::AccountClaim,
    };
    use serde_json::json;

    use super::*;
    use crate::{Bag, RowKey};

    fn held(name: Option<&str>, domain: Result<Option<&str>, &str>) -> Observed {
        let mut bag = Bag::default();
        bag.text("name", "name", name);
        bag.take("domain", "domain", domain);
        let key = RowKey { remote_id: "7".to_owned(), version: Some("v3".to_owned()) };
        let claim = Claim::Account(AccountClaim::default());
        Observed::new(key, claim, bag.into_fields(), Value::Null)
    }

    fn update(changes: Value, expected: Value) -> UpdateRecord {
        let map = |value: Value| value.as_object().expect("an object").clone().into_iter().collect::<BTreeMap<_, _>>();
        UpdateRecord {
            entity: Entity::Account,
            record_id: "acc_1".to_owned(),
            remote_id: "7".to_owned(),
            order_key: "acc_1".to_owned(),
            changes: map(changes),
            expected: map(expected),
        }
    }

    #[test]
    fn only_what_differs_and_was_expected_is_left_to_be_set() {
        let check = |name: Option<&str>, changes: Value, expected: Value, left: Result<&[&str], Fault>| {
            let compared = Comparison::of(held(name, Ok(Some("old.example"))), &update(changes, expected));
            let fields = compared.map(|found| found.left.into_iter().map(|change| change.field).collect::<Vec<_>>());
            assert_eq!(fields, left.map(|left| left.iter().map(|field| (*field).to_owned()).collect()));
        };
        check(Some("Old"), json!({ "name": "New" }), json!({ "name": "Old" }), Ok(&["name"]));
        check(Some("New"), json!({ "name": "New" }), json!({ "name": "Old" }), Ok(&[]));
        check(Some("New"), json!({ "name": " New " }), json!({ "name": "Old" }), Ok(&[]));
        check(Some("Other"), json!({ "name": "New" }), json!({ "name": "Old" }), Err(Fault::Stale));
        check(Some("Old"), json!({ "name": "New" }), json!({}), Err(Fault::Stale));
        check(None, json!({ "name": "New" }), json!({}), Ok(&["name"]));
        check(None, json!({ "name": null }), json!({ "name": "Old" }), Ok(&[]));
        let (both, old) = (json!({ "name": "New", "domain": null }), json!({ "name": "Old", "domain": "old.example" }));
        check(Some("Old"), both.clone(), old.clone(), Ok(&["domain", "name"]));
        check(Some("New"), both.clone(), old.clone(), Ok(&["domain"]));
        check(Some("Other"), both, old, Err(Fault::Stale));
    }

    #[test]
    fn what_cannot_be_read_is_not_overwritten() {
        let update = update(json!({ "domain": "new.example" }), json!({}));
        let compared = Comparison::of(held(None, Err("no domain")), &update);
        assert_eq!(compared, Err(Fault::rejected("domain", "what stands there cannot be read: no domain")));
    }

    #[test]
    fn a_finished_update_names_the_version_that_was_read() {
        let update = update(json!({ "name": "New" }), json!({ "name": "Old" }));
        let done = |name| Comparison::of(held(Some(name), Ok(None)), &update).expect("it can be compared").done();
        assert_eq!(done("Old"), None);
        let written = done("New").expect("nothing is left");
        assert_eq!((written.remote_id.as_str(), written.remote_version.as_deref()), ("7", Some("v3")));
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_its_field() {
        let change = |value: Value| FieldChange { field: "name".to_owned(), value };
        assert_eq!(change(json!("New")).required(), Ok("New".to_owned()));
        assert_eq!(change(Value::Null).value::<String>(), Ok(None));
        assert_eq!(change(Value::Null).required::<String>(), Err(Fault::rejected("name", "the field cannot be empty")));
        assert!(matches!(change(json!(7)).value::<String>(), Err(Fault::Rejected { .. })));
    }
}
