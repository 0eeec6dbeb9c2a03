//! What was said of one record, field by field, as far as it was spoken of.

use std::collections::BTreeMap;

use crosstie_domain::{custom::custom_name, integration::AssertedField};
use serde_json::Value;

use super::fields::Values;

/// The fields that a system spoke of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a>(pub(super) &'a BTreeMap<String, AssertedField>);

impl Said<'_> {
    /// Notes the value of a shared field, if any of the fields that it is read from was spoken of. One that is held
    /// empty there, or cannot be read, is noted as null: the old value would be a lie.
    pub(super) fn note(self, values: &mut Values, shared: &'static str, from: &[&str], value: impl Fn() -> Value) {
        let value = value();
        if !value.is_null() || from.iter().any(|name| self.0.contains_key(*name)) {
            values.insert(shared.into(), value);
        }
    }

    /// Notes the values of custom fields: null for one that is held empty or cannot be read.
    pub(super) fn note_custom(self, values: &mut Values) {
        for (name, field) in self.0.iter().filter(|(name, _)| custom_name(name).is_some()) {
            values.insert(name.clone().into(), field.value.clone());
        }
    }

    /// Sets a field that is never empty. Returns whether it changed.
    pub(super) fn set<T: PartialEq>(self, field: &mut T, said: Option<T>) -> bool {
        match said {
            Some(said) if said != *field => {
                *field = said;
                true
            }
            _ => false,
        }
    }

    /// Sets a field that may be empty: to what was said; to nothing when the system holds nothing there, or something
    /// that cannot be read, because the old value would be a lie; not at all when it was not spoken of. Returns whether
    /// it changed.
    pub(super) fn set_or_clear<T: PartialEq>(self, name: &str, field: &mut Option<T>, said: Option<T>) -> bool {
        if *field == said || (said.is_none() && !self.0.contains_key(name)) {
            return false;
        }
        *field = said;
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(value: Value, problem: Option<&str>) -> BTreeMap<String, AssertedField> {
        let problem = problem.map(str::to_owned);
        let field = AssertedField { value, source_path: "properties.amount".to_owned(), changed: false, problem };
        BTreeMap::from([("amount".to_owned(), field)])
    }

    #[test]
    fn what_is_held_empty_or_unreadable_is_cleared_and_what_is_not_spoken_of_stays() {
        let nothing = BTreeMap::new();
        for (fields, spoken, expected) in [
            (&said(json!(5), None), Some(5), Some(5)),
            (&said(Value::Null, None), None, None),
            (&said(Value::Null, Some("not a number")), None, None),
            (&nothing, None, Some(4)),
            (&nothing, Some(6), Some(6)),
        ] {
            let mut field = Some(4);
            let changed = Said(fields).set_or_clear("amount", &mut field, spoken);
            assert_eq!((field, changed), (expected, expected != Some(4)), "{fields:?}");
        }
    }
}
