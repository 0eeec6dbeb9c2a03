//! Mapping as data: what a connection's settings are, and how a change of them is written.

use serde_json::Value;

/// A document with a change merged into it, as JSON merge patches are (RFC 7396): objects are merged key by key, null
/// removes a key, and everything else replaces what was there.
///
/// ```
/// use serde_json::json;
///
/// let configured = json!({ "stages": { "s1": "WON" }, "default_currency": "EUR" });
/// let change = json!({ "stages": { "s2": "LOST" }, "default_currency": null });
/// let settings = crosstie_domain::integration::merge_patch(configured, &change);
/// assert_eq!(settings, json!({ "stages": { "s1": "WON", "s2": "LOST" } }));
/// ```
pub fn merge_patch(document: Value, change: &Value) -> Value {
    let Value::Object(changes) = change else { return change.clone() };
    let mut merged = match document {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    for (name, change) in changes {
        if change.is_null() {
            merged.remove(name);
        } else {
            let before = merged.remove(name).unwrap_or(Value::Null);
            merged.insert(name.clone(), merge_patch(before, change));
        }
    }
    Value::Object(merged)
}

/// What mapped a row: the connector's version, and behind `+` the version of the connection's mapping, if it has one.
///
/// ```
/// use crosstie_domain::integration::mapping_label;
///
/// assert_eq!(mapping_label("1.0.0", 0), "1.0.0");
/// assert_eq!(mapping_label("1.0.0", 3), "1.0.0+3");
/// ```
pub fn mapping_label(connector_version: &str, mapping_version: i32) -> String {
    if mapping_version == 0 { connector_version.to_owned() } else { format!("{connector_version}+{mapping_version}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of the standard's appendix.
    #[test]
    fn merges_as_the_standard_says() {
        for (document, change, expected) in [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b" }), json!({ "b": "c" }), json!({ "a": "b", "b": "c" })),
            (json!({ "a": "b" }), json!({ "a": null }), json!({})),
            (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "c" }), json!({ "a": ["b"] }), json!({ "a": ["b"] })),
            (json!({ "a": { "b": "c" } }), json!({ "a": { "b": "d", "c": null } }), json!({ "a": { "b": "d" } })),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({ "e": null }), json!({ "a": 1 }), json!({ "e": null, "a": 1 })),
            (json!([1, 2]), json!({ "a": "b", "c": null }), json!({ "a": "b" })),
            (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ] {
            assert_eq!(merge_patch(document.clone(), &change), expected, "{document} {change}");
        }
    }
}
