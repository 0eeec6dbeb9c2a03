//! Fields of the customer's own, which a CRM or billing system carries beside those that every one has: region,
//! delivery model, executive sponsor. Which of them the hub takes up is said in the settings of a connection.

use std::{collections::BTreeMap, fmt};

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    integration::Entity,
    money::Decimal,
    time::{CivilDate, Instant},
};

/// What the name of a custom field begins with among the fields that systems speak of: `custom.deliveryModel`.
pub const CUSTOM: &str = "custom.";
/// The name that stands for every custom field of a kind of record, in rules of authority.
pub const EVERY_CUSTOM_FIELD: &str = "custom.*";
/// The kinds of record that have custom fields.
pub const CUSTOM_ENTITIES: [Entity; 2] = [Entity::Account, Entity::Opportunity];
/// The longest name of a custom field, in characters.
pub const LONGEST_CUSTOM_NAME: usize = 40;

/// The name of a custom field, without what it begins with among other fields; none of another field.
pub fn custom_name(field: &str) -> Option<&str> {
    field.strip_prefix(CUSTOM)
}

/// Whether a custom field can be called so: a lower case letter, then letters and digits, 40 characters at most.
pub fn is_custom_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_alphanumeric())
        && name.len() <= LONGEST_CUSTOM_NAME
}

/// The fields that records of a kind have in the graph: no custom field goes by the name of one.
pub fn built_in_fields(entity: Entity) -> &'static [&'static str] {
    match entity {
        Entity::Account => &[
            "billingEmail",
            "createdAt",
            "customFields",
            "deletedAt",
            "domain",
            "externalRefs",
            "id",
            "mergedInto",
            "name",
            "opportunities",
            "provenance",
            "sources",
            "sows",
            "updatedAt",
            "version",
        ],
        Entity::Opportunity => &[
            "account",
            "amount",
            "closeOn",
            "createdAt",
            "customFields",
            "deletedAt",
            "externalRefs",
            "id",
            "mergedInto",
            "name",
            "nativeStage",
            "provenance",
            "sources",
            "sows",
            "stage",
            "updatedAt",
            "version",
        ],
        _ => &[],
    }
}

/// What kind of value a custom field holds. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CustomFieldKind {
    /// A text of at most 2,000 characters.
    Text,
    /// An exact decimal number.
    Number,
    /// Yes or no.
    Boolean,
    /// A day of the calendar, without a zone.
    Date,
    /// A moment.
    Instant,
    /// One of the options that the vendor offers, as a text.
    Choice,
}

impl CustomFieldKind {
    /// Every kind with its written form.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Text, "TEXT"),
        (Self::Number, "NUMBER"),
        (Self::Boolean, "BOOLEAN"),
        (Self::Date, "DATE"),
        (Self::Instant, "INSTANT"),
        (Self::Choice, "CHOICE"),
    ];

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| *written == text).map(|(kind, _)| *kind)
    }

    /// The written form.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
    }
}

/// The value of a custom field. It says of which kind it is: two systems that hold one field in different kinds do not
/// say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum CustomValue {
    /// A text.
    Text(String),
    /// An exact decimal number.
    Number(CustomNumber),
    /// Yes or no.
    Boolean(bool),
    /// A day of the calendar.
    Date(CivilDate),
    /// A moment.
    Instant(Instant),
    /// An option.
    Choice(String),
}

impl CustomValue {
    /// Of which kind it is.
    pub fn kind(&self) -> CustomFieldKind {
        match self {
            Self::Text(_) => CustomFieldKind::Text,
            Self::Number(_) => CustomFieldKind::Number,
            Self::Boolean(_) => CustomFieldKind::Boolean,
            Self::Date(_) => CustomFieldKind::Date,
            Self::Instant(_) => CustomFieldKind::Instant,
            Self::Choice(_) => CustomFieldKind::Choice,
        }
    }
}

/// The custom fields that a record shows, by their names. A field without a value is not among them.
pub type CustomValues = BTreeMap<String, CustomValue>;

/// The most digits of a number in a custom field.
const MOST_DIGITS: usize = 38;

/// An exact decimal number of at most 38 digits, in its shortest form: two systems that write it in different ways say
/// the same.
///
/// ```
/// use crosstie_domain::custom::CustomNumber;
///
/// let written = |text| CustomNumber::parse(text).map(|number| number.to_string());
/// assert_eq!(written("+012.50").as_deref(), Some("12.5"));
/// assert_eq!(written("1.5e3").as_deref(), Some("1500"));
/// assert_eq!(written("-0.00").as_deref(), Some("0"));
/// assert_eq!(written("1,000"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CustomNumber(String);

/// A text that is no number of at most 38 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most {MOST_DIGITS} digits")]
pub struct NotANumber;

impl CustomNumber {
    /// Reads digits with a decimal point, perhaps a sign, perhaps an exponent; none when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let exponent: i32 = exponent.parse().ok().filter(|exponent| (-64..=64).contains(exponent))?;
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(part) || mantissa.ends_with('.') || mantissa.len() > 128
        {
            return None;
        }
        let mut digits = format!("{whole}{part}");
        // Where the decimal point stands among the digits.
        let mut point = i32::try_from(whole.len()).ok()? + exponent;
        while point < 1 {
            digits.insert(0, '0');
            point += 1;
        }
        let point = usize::try_from(point).ok()?;
        while digits.len() < point {
            digits.push('0');
        }
        let (whole, part) = digits.split_at(point);
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        if whole.len() + part.len() > MOST_DIGITS {
            return None;
        }
        let sign = if whole.is_empty() && part.is_empty() { "" } else { sign };
        let whole = if whole.is_empty() { "0" } else { whole };
        let point = if part.is_empty() { "" } else { "." };
        Some(Self(format!("{sign}{whole}{point}{part}")))
    }

    /// The number as the graph shows it.
    pub fn decimal(&self) -> Decimal {
        Decimal(self.0.clone())
    }
}

impl fmt::Display for CustomNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CustomNumber {
    type Error = NotANumber;

    fn try_from(text: String) -> Result<Self, NotANumber> {
        Self::parse(&text).ok_or(NotANumber)
    }
}

impl From<CustomNumber> for String {
    fn from(number: CustomNumber) -> Self {
        number.0
    }
}

/// A custom field as a connection is told of it.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "CustomFieldDefinitionRecord")]
pub struct CustomFieldDefinition {
    /// The kind of record that has it.
    pub entity: Entity,
    /// Its name in the hub.
    pub name: String,
    /// What people call it; its name where the connection is not told.
    pub label: String,
    /// What kind of value it holds.
    pub kind: CustomFieldKind,
    /// What the vendor calls it.
    pub property: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_name_is_a_camel_case_word_of_forty_characters_at_most() {
        let long = "a".repeat(LONGEST_CUSTOM_NAME);
        for name in ["region", "deliveryModel", "x", "arr2026", long.as_str()] {
            assert!(is_custom_name(name), "{name}");
        }
        let longer = "a".repeat(LONGEST_CUSTOM_NAME + 1);
        for name in ["", "Region", "delivery_model", "2nd", "a.b", "a b", "größe", longer.as_str()] {
            assert!(!is_custom_name(name), "{name}");
        }
    }

    #[test]
    fn a_number_is_exact_and_has_one_form() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(CustomNumber::parse(text).map(String::from).as_deref(), expected, "{text}");
        };
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("007", "7"),
            ("12.50", "12.5"),
            ("-12.50", "-12.5"),
            ("0.1", "0.1"),
            ("1E+3", "1000"),
            ("1.0E-4", "0.0001"),
            ("123456789012345678901234567890.12345678", "123456789012345678901234567890.12345678"),
        ] {
            check(text, Some(expected));
        }
        for text in ["", "-", ".5", "5.", "1,5", "1 5", "0x1", "NaN", "1e", "1e999", "١٢", &"9".repeat(39)] {
            check(text, None);
        }
    }

    #[test]
    fn a_value_says_of_which_kind_it_is_and_nothing_else_is_one() {
        for (value, written) in [
            (CustomValue::Text("EMEA".to_owned()), json!({ "kind": "TEXT", "value": "EMEA" })),
            (
                CustomValue::Number(CustomNumber::parse("12.50").expect("a number")),
                json!({ "kind": "NUMBER", "value": "12.5" }),
            ),
            (CustomValue::Boolean(true), json!({ "kind": "BOOLEAN", "value": true })),
            (CustomValue::Date("2026-02-28".parse().expect("a day")), json!({ "kind": "DATE", "value": "2026-02-28" })),
            (
                CustomValue::Instant("2026-02-28T10:00:00Z".parse().expect("a moment")),
                json!({ "kind": "INSTANT", "value": "2026-02-28T10:00:00Z" }),
            ),
            (CustomValue::Choice("Fixed price".to_owned()), json!({ "kind": "CHOICE", "value": "Fixed price" })),
        ] {
            assert_eq!(serde_json::to_value(&value).expect("JSON"), written);
            assert_eq!(serde_json::from_value::<CustomValue>(written).expect("a value"), value);
            assert_eq!(CustomFieldKind::parse(value.kind().as_str()), Some(value.kind()));
        }
        for wrong in [
            json!("EMEA"),
            json!({ "kind": "TEXT", "value": 7 }),
            json!({ "kind": "NUMBER", "value": "much" }),
            json!({ "kind": "DATE", "value": "2026-02-30" }),
            json!({ "kind": "MONEY", "value": "7" }),
            Value::Null,
        ] {
            assert!(serde_json::from_value::<CustomValue>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
