//! A record of the stand-in: what it holds, what may be set in it, and how an answer shows it.

use std::collections::BTreeMap;

use crosstie_sdk::{HttpRequest, domain::CivilDate, domain::Instant};
use serde_json::{Value, json, value::RawValue};

use super::{Kind, Refusal, Wrong, refusal};
use crate::{API, wire::plain_decimal};

/// One account or opportunity. Numbers are kept as decimal texts, and so are moments.
pub(super) struct Stored {
    pub(super) kind: Kind,
    pub(super) fields: BTreeMap<String, Value>,
    pub(super) changed_at: Instant,
    pub(super) is_deleted: bool,
    pub(super) merged_into: Option<String>,
}

/// A field of an object that an org begins with.
pub(super) struct Standard {
    pub(super) name: &'static str,
    kind: FieldKind,
    /// Whether every record must have it.
    required: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Text,
    Number,
    Day,
    /// Salesforce keeps it itself.
    ReadOnly,
}

const fn field(name: &'static str, kind: FieldKind, required: bool) -> Standard {
    Standard { name, kind, required }
}

const ACCOUNT: &[Standard] = &[
    field("Id", FieldKind::ReadOnly, false),
    field("Name", FieldKind::Text, true),
    field("Website", FieldKind::Text, false),
    field("IsDeleted", FieldKind::ReadOnly, false),
    field("MasterRecordId", FieldKind::ReadOnly, false),
    field("SystemModstamp", FieldKind::ReadOnly, false),
];

const OPPORTUNITY: &[Standard] = &[
    field("Id", FieldKind::ReadOnly, false),
    field("Name", FieldKind::Text, true),
    field("AccountId", FieldKind::Text, false),
    field("StageName", FieldKind::Text, true),
    field("IsClosed", FieldKind::ReadOnly, false),
    field("IsWon", FieldKind::ReadOnly, false),
    field("Amount", FieldKind::Number, false),
    field("CloseDate", FieldKind::Day, true),
    field("IsDeleted", FieldKind::ReadOnly, false),
    field("SystemModstamp", FieldKind::ReadOnly, false),
];

/// The field that an org has as soon as it has several currencies.
pub(super) const CURRENCY: Standard = field("CurrencyIsoCode", FieldKind::Text, false);

/// The fields that each record of a kind has.
pub(super) fn standard(kind: Kind) -> &'static [Standard] {
    match kind {
        Kind::Account => ACCOUNT,
        Kind::Opportunity => OPPORTUNITY,
    }
}

impl Stored {
    /// Sets fields. Nothing is set when one of them cannot be.
    pub(super) fn set(&mut self, given: BTreeMap<String, Value>) -> Result<(), Refusal> {
        let mut fields = self.fields.clone();
        fields.extend(given);
        let missing = |standard: &&Standard| standard.required && is_empty(fields.get(standard.name));
        let missing: Vec<&str> = standard(self.kind).iter().filter(missing).map(|standard| standard.name).collect();
        if !missing.is_empty() {
            let why = format!("Required fields are missing: [{}]", missing.join(", "));
            return Err(Refusal {
                fields: missing.into_iter().map(str::to_owned).collect(),
                ..wrong("REQUIRED_FIELD_MISSING", &why)
            });
        }
        self.fields = fields;
        Ok(())
    }

    /// The record with these fields, as an answer shows it.
    pub(super) fn row(&self, id: &str, fields: &[String]) -> BTreeMap<String, Box<RawValue>> {
        let kind = self.kind.name();
        let address = json!({ "type": kind, "url": format!("{API}/sobjects/{kind}/{id}") });
        let mut row: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
        row.insert("attributes".to_owned(), raw(address.to_string()));
        for field in fields {
            row.insert(field.clone(), raw(self.shown(id, field)));
        }
        row
    }

    /// A field as JSON.
    fn shown(&self, id: &str, field: &str) -> String {
        let stage = self.fields.get("StageName").and_then(Value::as_str).unwrap_or_default();
        let value = match field {
            "Id" => json!(id),
            "IsDeleted" => json!(self.is_deleted),
            "MasterRecordId" => json!(self.merged_into),
            "SystemModstamp" => json!(self.changed_at.timestamp().strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()),
            "IsClosed" => json!(matches!(stage, "Closed Won" | "Closed Lost")),
            "IsWon" => json!(stage == "Closed Won"),
            "Amount" => return self.fields.get(field).and_then(Value::as_str).map_or("null".to_owned(), as_double),
            _ => self.fields.get(field).cloned().unwrap_or_default(),
        };
        value.to_string()
    }
}

/// A decimal as Java writes a number of double precision, which is how Salesforce writes amounts: `48000.5`, `15000.0`,
/// `1.5E7`.
fn as_double(decimal: &str) -> String {
    let (sign, digits) = decimal.strip_prefix('-').map_or(("", decimal), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent = whole.len() - 1;
    if exponent < 7 {
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        return format!("{sign}{whole}.{fraction}");
    }
    let behind = format!("{}{fraction}", &whole[1..]);
    let behind = behind.trim_end_matches('0');
    let behind = if behind.is_empty() { "0" } else { behind };
    format!("{sign}{}.{behind}E{exponent}", &whole[..1])
}

/// The fields of a body, checked by their kinds; fields of the customer's own may hold any single value.
pub(super) fn given(
    kind: Kind,
    request: &HttpRequest,
    own: impl Fn(&str) -> Option<String>,
    currencies: &[String],
) -> Result<BTreeMap<String, Value>, Refusal> {
    let broken = |why: &str| wrong("JSON_PARSER_ERROR", why);
    let body: BTreeMap<String, &RawValue> =
        serde_json::from_slice(&request.body).map_err(|_| broken("The HTTP entity body is no JSON object."))?;
    let mut given = BTreeMap::new();
    for (name, value) in body {
        let standards = standard(kind).iter().chain((!currencies.is_empty()).then_some(&CURRENCY));
        let known = standards.into_iter().find(|standard| standard.name.eq_ignore_ascii_case(&name));
        let text: Value = serde_json::from_str(value.get()).map_err(|_| broken("A value cannot be read."))?;
        let unfit = |what: &str| broken(&format!("Cannot deserialize instance of {what} from the value of {name}"));
        let (name, value) = match known {
            None => {
                let unknown =
                    || wrong("INVALID_FIELD", &format!("No such column '{name}' on sobject of type {}", kind.name()));
                (own(&name).ok_or_else(unknown)?, text)
            }
            Some(Standard { name, kind: FieldKind::ReadOnly, .. }) => {
                let why = format!(
                    "Unable to create/update fields: {name}. Please check the security settings of this field."
                );
                return Err(Refusal {
                    fields: vec![(*name).to_owned()],
                    ..wrong("INVALID_FIELD_FOR_INSERT_UPDATE", &why)
                });
            }
            Some(Standard { name, .. }) if text.is_null() => ((*name).to_owned(), Value::Null),
            Some(Standard { name, kind: FieldKind::Number, .. }) => {
                let number = text.as_str().unwrap_or(value.get());
                ((*name).to_owned(), Value::String(plain_decimal(number).ok_or_else(|| unfit("currency"))?))
            }
            Some(Standard { name, kind, .. }) => {
                let text = text.as_str().ok_or_else(|| unfit("string"))?;
                if *kind == FieldKind::Day && text.parse::<CivilDate>().is_err() {
                    return Err(unfit("date"));
                }
                if *name == CURRENCY.name && !currencies.iter().any(|code| code == text) {
                    let why = format!("Currency ISO Code: bad value for restricted picklist field: {text}");
                    let fields = vec![CURRENCY.name.to_owned()];
                    return Err(Refusal { fields, ..wrong("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", &why) });
                }
                ((*name).to_owned(), Value::String(text.to_owned()))
            }
        };
        given.insert(name, value);
    }
    Ok(given)
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()))
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("it was written as JSON")
}

fn wrong(code: Wrong, message: &str) -> Refusal {
    refusal(400, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_java_writes_them_and_read_back_exactly() {
        for (decimal, written) in [
            ("0", "0.0"),
            ("48000.5", "48000.5"),
            ("15000", "15000.0"),
            ("9999999.99", "9999999.99"),
            ("10000000", "1.0E7"),
            ("-12345678.9", "-1.23456789E7"),
        ] {
            assert_eq!(as_double(decimal), written);
            assert_eq!(plain_decimal(written).as_deref(), Some(decimal));
        }
    }
}
