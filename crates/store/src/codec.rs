//! How values of the domain stand in columns, and back.

use std::str::FromStr;

use crosstie_domain::{CivilDate, Instant, Money};
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

/// An enum as its written form, anything else as JSON text. Columns of enums are read by [`word`]; a type of which
/// some values are words and others structures is written by [`json_text`].
pub(crate) fn text<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(json) => json.to_string(),
        Err(_) => String::new(),
    }
}

/// An enum from its written form.
pub(crate) fn word<T: DeserializeOwned>(column: &'static str, text: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(|_| StoreError::Corrupt { column })
}

/// Any value as JSON text, a word in its quotes.
pub(crate) fn json_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A value from JSON text.
pub(crate) fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt { column })
}

/// An identifier from its text.
pub(crate) fn id<T: FromStr>(column: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { column })
}

/// An identifier that may be absent.
pub(crate) fn id_opt<T: FromStr>(column: &'static str, text: Option<&str>) -> Result<Option<T>, StoreError> {
    text.map(|text| id(column, text)).transpose()
}

/// An instant from microseconds.
pub(crate) fn instant(column: &'static str, micros: i64) -> Result<Instant, StoreError> {
    Instant::from_micros(micros).ok_or(StoreError::Corrupt { column })
}

/// An instant that may be absent.
pub(crate) fn instant_opt(column: &'static str, micros: Option<i64>) -> Result<Option<Instant>, StoreError> {
    micros.map(|micros| instant(column, micros)).transpose()
}

/// A civil date from days.
pub(crate) fn date_opt(column: &'static str, days: Option<i32>) -> Result<Option<CivilDate>, StoreError> {
    days.map(|days| CivilDate::from_days(days).ok_or(StoreError::Corrupt { column })).transpose()
}

/// Money from its two columns.
pub(crate) fn money(column: &'static str, minor: i64, currency: &str) -> Result<Money, StoreError> {
    let currency = currency.parse().map_err(|_| StoreError::Corrupt { column })?;
    Ok(Money { minor, currency })
}

/// Money that may be absent.
pub(crate) fn money_opt(
    column: &'static str,
    minor: Option<i64>,
    currency: Option<&str>,
) -> Result<Option<Money>, StoreError> {
    minor.zip(currency).map(|(minor, currency)| money(column, minor, currency)).transpose()
}

#[cfg(test)]
mod tests {
    use crosstie_domain::{access::RowScope, ids::AccountId};

    use super::*;

    #[test]
    fn a_word_and_a_structure_of_one_type_read_back() {
        let account: AccountId = "acc_00000000000000000000000001".parse().expect("an identifier");
        for scope in [RowScope::All, RowScope::Accounts(vec![]), RowScope::Accounts(vec![account])] {
            assert_eq!(json::<RowScope>("persons.row_scope", &json_text(&scope)).expect("it reads back"), scope);
        }
    }
}
