//! What the hub's item codes stand for at a vendor, as settings of a connection: the same names for every connector.

use std::collections::BTreeMap;

use crosstie_domain::ItemCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Fault, SettingsError};

/// The setting `items` of a connection: for each item code an entry in the connector's own terms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemMapping<E> {
    /// What each code stands for.
    #[serde(default = "BTreeMap::new")]
    codes: BTreeMap<ItemCode, E>,
    /// What lines without a code stand for.
    #[serde(default = "Option::default")]
    default: Option<E>,
    /// What becomes of lines whose code is not among these.
    #[serde(default)]
    unknown_codes: UnknownCodes,
}

/// What becomes of a line whose item code has no entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnknownCodes {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes out as lines without a code do.
    Default,
}

/// What a line goes out with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemEntry<'a, E> {
    /// Where it stands, such as `settings.items.codes.TRAINING`.
    pub path: String,
    /// What stands there.
    pub entry: &'a E,
}

impl<E> ItemMapping<E> {
    /// What a line with this code goes out with; `None` for a line without a code at a connection where nobody has said
    /// anything of item codes.
    ///
    /// # Errors
    /// [`Fault::ItemNotMapped`].
    pub fn entry<'a>(items: Option<&'a Self>, code: Option<&ItemCode>) -> Result<Option<ItemEntry<'a, E>>, Fault> {
        let default_path = || "settings.items.default".to_owned();
        let path = code.map_or_else(default_path, |code| format!("settings.items.codes.{code}"));
        let Some(items) = items else {
            return match code {
                None => Ok(None),
                Some(code) => Err(Fault::ItemNotMapped { item_code: Some(code.clone()), path }),
            };
        };
        if let Some(entry) = code.and_then(|code| items.codes.get(code)) {
            return Ok(Some(ItemEntry { path, entry }));
        }
        let falls_back = code.is_none() || items.unknown_codes == UnknownCodes::Default;
        match items.default.as_ref().filter(|_| falls_back) {
            Some(entry) => Ok(Some(ItemEntry { path: default_path(), entry })),
            None => Err(Fault::ItemNotMapped { item_code: code.cloned(), path }),
        }
    }

    /// Whether the settings can be used: what each entry says of itself, and that there is a default where codes fall
    /// back to it.
    ///
    /// # Errors
    /// The setting that cannot be used, below `items`.
    pub fn check(&self, check: impl Fn(&E) -> Result<(), (&'static str, String)>) -> Result<(), SettingsError> {
        let below = |keys: &[&str]| std::iter::once("items").chain(keys.iter().copied()).map(str::to_owned).collect();
        for (code, entry) in &self.codes {
            check(entry).map_err(|(key, why)| SettingsError::at(below(&["codes", code.as_str(), key]), why))?;
        }
        if let Some(entry) = &self.default {
            check(entry).map_err(|(key, why)| SettingsError::at(below(&["default", key]), why))?;
        } else if self.unknown_codes == UnknownCodes::Default {
            let why = "codes without an entry are to go out as `default` says, which is not set";
            return Err(SettingsError::at(below(&["unknown_codes"]), why));
        }
        Ok(())
    }

    /// The JSON schema of it, around that of an entry.
    pub fn schema(entry: &Value) -> Value {
        json!({
            "description": "What item codes stand for here: product, account and taxes of the lines that carry them.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "codes": {
                    "description": "An entry for each item code. A line whose code has none is refused.",
                    "type": "object",
                    "propertyNames": { "pattern": "^[A-Za-z0-9_.-]{1,40}$" },
                    "additionalProperties": entry,
                },
                "default": entry,
                "unknown_codes": {
                    "description": "DEFAULT lets lines whose code has no entry go out as `default` says.",
                    "enum": ["REFUSE", "DEFAULT"],
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        product: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        items: Option<ItemMapping<Entry>>,
    }

    fn code(text: &str) -> ItemCode {
        text.parse().expect("a code")
    }

    #[test]
    fn a_line_goes_out_by_its_code_or_by_the_default_or_is_refused() {
        let table = json!({ "A": { "product": 1 } });
        let default = json!({ "product": 9 });
        let none = Value::Null;
        let full = json!({ "items": { "codes": table, "default": default } });
        let lax = json!({ "items": { "codes": table, "default": default, "unknown_codes": "DEFAULT" } });
        let strict = json!({ "items": { "codes": table } });
        for (settings, line, expected) in [
            (&none, None, Ok(None)),
            (&none, Some("A"), Err("settings.items.codes.A")),
            (&strict, Some("A"), Ok(Some(1))),
            (&strict, None, Err("settings.items.default")),
            (&full, None, Ok(Some(9))),
            (&full, Some("a"), Err("settings.items.codes.a")),
            (&lax, Some("a"), Ok(Some(9))),
            (&lax, Some("A"), Ok(Some(1))),
        ] {
            let own: Own = Settings::new(settings.clone()).read().expect("settings");
            let line = line.map(code);
            let found = ItemMapping::entry(own.items.as_ref(), line.as_ref());
            match (found, expected) {
                (Ok(found), Ok(product)) => {
                    assert_eq!(found.map(|found| found.entry.product), product, "{settings} {line:?}");
                }
                (Err(Fault::ItemNotMapped { item_code, path }), Err(expected)) => {
                    assert_eq!((item_code, path.as_str()), (line, expected), "{settings}");
                }
                (found, expected) => panic!("{settings} {line:?}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_names_the_code_and_where_to_set_it() {
        let refused = ItemMapping::<Entry>::entry(None, Some(&code("TRAINING"))).expect_err("nothing is set");
        let said =
            "the item code TRAINING stands for nothing here: set settings.items.codes.TRAINING of the connection";
        assert_eq!((refused.code(), refused.to_string().as_str()), ("ITEM_NOT_MAPPED", said));
    }

    #[test]
    fn what_cannot_be_used_is_named_by_the_keys_that_lead_to_it() {
        let check = |items: Value| {
            let own: Own = Settings::new(json!({ "items": items })).read()?;
            let fits = |entry: &Entry| if entry.product > 0 { Ok(()) } else { Err(("product", "none".to_owned())) };
            own.items.map_or(Ok(()), |items| items.check(fits))
        };
        for (items, path) in [
            (json!({ "codes": { "A.1": { "product": "x" } } }), vec!["items", "codes", "A.1", "product"]),
            (json!({ "codes": { "A.1": { "product": 0 } } }), vec!["items", "codes", "A.1", "product"]),
            (json!({ "default": { "product": 0 } }), vec!["items", "default", "product"]),
            (json!({ "unknown_codes": "DEFAULT" }), vec!["items", "unknown_codes"]),
            (json!({ "unknown_codes": "MAYBE" }), vec!["items", "unknown_codes"]),
        ] {
            assert_eq!(check(items.clone()).expect_err("refused").path, path, "{items}");
        }
        let odd = check(json!({ "codes": { "A 1": { "product": 1 } } })).expect_err("no item code");
        assert!(odd.to_string().contains("\"A 1\""), "{odd}");
        assert_eq!(check(json!({ "codes": { "A": { "product": 1 } } })), Ok(()));
    }
}
