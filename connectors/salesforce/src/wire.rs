//! Salesforce's shapes, as far as they are read.

use std::collections::BTreeMap;

use crosstie_sdk::{RowKey, domain::Instant, fingerprint};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};

/// The time of a record's last change, by people or by Salesforce itself.
pub(crate) const CHANGED: &str = "SystemModstamp";

/// Answer to a query.
#[derive(Debug, Deserialize)]
pub(crate) struct Found {
    /// Whether these are all rows that match; a page can be smaller than what was asked for.
    pub(crate) done: bool,
    #[serde(deserialize_with = "exact_rows")]
    pub(crate) records: Vec<Value>,
}

/// An account or an opportunity, with all that came of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) changed_at: Instant,
    pub(crate) is_deleted: bool,
    all: Map<String, Value>,
}

impl TryFrom<Map<String, Value>> for Record {
    type Error = String;

    fn try_from(all: Map<String, Value>) -> Result<Self, String> {
        let id = id_of(&all).ok_or("Id is no id")?.to_owned();
        let changed_at = changed_at(&all).ok_or_else(|| format!("{CHANGED} is no moment"))?;
        let mut record = Self { id, changed_at, is_deleted: false, all };
        record.is_deleted = record.truth("IsDeleted")?;
        Ok(record)
    }
}

impl Record {
    /// What stands in a field; none when it was not asked for. Salesforce takes a name in any case, and answers with
    /// its own.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        let alike = || self.all.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, value)| value);
        self.all.get(field).or_else(alike)
    }

    /// What a yes-or-no field says; one that was not asked for says no.
    pub(crate) fn truth(&self, field: &str) -> Result<bool, String> {
        match self.get(field) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| format!("{field} is neither true nor false")),
        }
    }

    /// The id of the record that this one was merged into.
    pub(crate) fn merged_into(&self) -> Option<&str> {
        self.get("MasterRecordId").and_then(Value::as_str).filter(|id| !id.is_empty())
    }

    /// Which record it is, and which version of it. A change time of whole seconds does not tell two changes of one
    /// second apart, so a fingerprint of what came stands behind it, in the way in which RFC 9557 lets a moment carry
    /// more. Whoever reads the version as a moment reads the change time.
    pub(crate) fn key(&self) -> RowKey {
        let told: BTreeMap<&String, &Value> = self.all.iter().filter(|(name, _)| *name != "attributes").collect();
        let told = serde_json::to_string(&told).expect("a row is plain data");
        let version = format!("{}[_row={}]", self.changed_at, fingerprint(&told));
        RowKey { remote_id: self.id.clone(), version: Some(version) }
    }
}

/// The id of a row, as far as it has one.
pub(crate) fn id_of(row: &Map<String, Value>) -> Option<&str> {
    row.get("Id").and_then(Value::as_str).filter(|id| is_id(id))
}

/// The change time of a row, as far as it has one.
pub(crate) fn changed_at(row: &Map<String, Value>) -> Option<Instant> {
    row.get(CHANGED)?.as_str()?.parse().ok()
}

/// Whether a text is the id of a record, in the long form that the API gives. Ids stand in queries and paths.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The rows of a page, whose numbers are kept as the digits that came: otherwise they would become floats.
fn exact_rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    let rows = Vec::<Box<RawValue>>::deserialize(deserializer)?;
    rows.iter().map(|row| exact_row(row)).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

fn exact_row(row: &RawValue) -> serde_json::Result<Value> {
    if !row.get().starts_with('{') {
        return serde_json::from_str(row.get());
    }
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(row.get())?;
    let fields = fields.into_iter().map(|(name, value)| {
        let value = match value.get().bytes().next() {
            Some(b'-' | b'0'..=b'9') => Value::String(value.get().to_owned()),
            _ => serde_json::from_str(value.get())?,
        };
        Ok((name, value))
    });
    fields.collect::<serde_json::Result<Map<_, _>>>().map(Value::Object)
}

/// A number without an exponent: Salesforce writes `1.5E7` for 15000000. None for what is no number, or one whose
/// amount nobody has.
pub(crate) fn plain_decimal(text: &str) -> Option<String> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok().filter(|exponent| (-40..=40).contains(exponent))?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let before = usize::try_from(point).unwrap_or(0);
    let zeros = usize::try_from(point.checked_neg()?).unwrap_or(0);
    let digits = format!("{}{whole}{fraction}", "0".repeat(zeros));
    let digits = format!("{digits:0<before$}");
    let (whole, fraction) = digits.split_at(before);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// One of the errors that Salesforce lists in the body of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    pub(crate) message: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) fields: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_loses_its_exponent_and_no_digit() {
        let check = |text: &str, plain: Option<&str>| assert_eq!(plain_decimal(text).as_deref(), plain, "{text}");
        check("0.0", Some("0"));
        check("48000.5", Some("48000.5"));
        check("-12.340", Some("-12.34"));
        check("1.5E7", Some("15000000"));
        check("1.23456789E7", Some("12345678.9"));
        check("9999999999999999.99", Some("9999999999999999.99"));
        check("1.0E-4", Some("0.0001"));
        check("-25e-1", Some("-2.5"));
        check("007", Some("7"));
        check("1E400", None);
        check("", None);
        check(".5", None);
        check("-", None);
        check("1.2.3", None);
        check("12,5", None);
        check("NaN", None);
    }

    #[test]
    fn a_version_can_be_read_as_the_moment_of_the_change_and_differs_with_the_content() {
        let row = |name: &str, url: &str| {
            let row = serde_json::json!({
                "attributes": { "type": "Account", "url": url },
                "Id": "0015e00000AbCdEAAV", "Name": name, "SystemModstamp": "2026-11-20T09:00:00.000+0000",
            });
            serde_json::from_value::<Record>(row).expect("a row").key().version.expect("a version")
        };
        let version = row("One", "/a");
        assert_eq!(version.parse::<Instant>().ok(), "2026-11-20T09:00:00Z".parse().ok());
        assert_eq!(
            row("One", "/b"),
            version,
            "the address holds the version of the API, which says nothing of the row"
        );
        assert_ne!(row("Two", "/a"), version);
    }
}
