//! Searches as the stand-in understands them.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Object, Refusal, array, epoch_ms, invalid};
use crate::{mapping::instant, wire::id_text};

/// One condition of a search.
pub(super) struct Filter {
    property: String,
    operator: String,
    value: String,
    high_value: String,
    values: Vec<String>,
}

const OPERATORS: [&str; 11] =
    ["EQ", "NEQ", "GT", "GTE", "LT", "LTE", "BETWEEN", "IN", "NOT_IN", "HAS_PROPERTY", "NOT_HAS_PROPERTY"];

impl Filter {
    pub(super) fn read(filter: &Value) -> Result<Self, Refusal> {
        let text = |name: &str| match filter.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(invalid(&format!("{name} of a filter must be a string"))),
        };
        let read = Self {
            property: text("propertyName")?,
            operator: text("operator")?,
            value: text("value")?,
            high_value: text("highValue")?,
            values: array(filter, "values").iter().filter_map(id_text).collect(),
        };
        if read.property.is_empty() || !OPERATORS.contains(&read.operator.as_str()) {
            return Err(invalid("a filter needs a propertyName and a known operator"));
        }
        Ok(read)
    }

    pub(super) fn matches(&self, object: &Object) -> bool {
        let Some(held) = object.get(&self.property) else {
            return matches!(self.operator.as_str(), "NOT_HAS_PROPERTY" | "NEQ" | "NOT_IN");
        };
        let order = |value: &str| compare(Some(held), Some(value));
        match self.operator.as_str() {
            "EQ" => order(&self.value).is_eq(),
            "NEQ" => order(&self.value).is_ne(),
            "GT" => order(&self.value).is_gt(),
            "GTE" => order(&self.value).is_ge(),
            "LT" => order(&self.value).is_lt(),
            "LTE" => order(&self.value).is_le(),
            "BETWEEN" => order(&self.value).is_ge() && order(&self.high_value).is_le(),
            "IN" => self.values.iter().any(|value| order(value).is_eq()),
            "NOT_IN" => self.values.iter().all(|value| order(value).is_ne()),
            "HAS_PROPERTY" => true,
            _ => false,
        }
    }
}

/// Numbers and moments by size, everything else as text.
pub(super) fn compare(left: Option<&str>, right: Option<&str>) -> Ordering {
    let size = |text: Option<&str>| {
        let text = text?;
        text.parse::<i64>().ok().or_else(|| instant(text).map(epoch_ms))
    };
    match (size(left), size(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.cmp(&right),
    }
}

pub(super) fn filter_groups(body: &Value) -> Result<Vec<Vec<Filter>>, Refusal> {
    let groups = array(body, "filterGroups");
    if groups.len() > 6 {
        return Err(invalid("a search takes 6 groups of filters at most"));
    }
    groups.iter().map(|group| array(group, "filters").iter().map(Filter::read).collect()).collect()
}

/// The one property that a search sorts by, and whether it goes down: `"name"`, `"-name"` or an object.
pub(super) fn sort_of(body: &Value) -> Result<Option<(String, bool)>, Refusal> {
    match array(body, "sorts") {
        [] => Ok(None),
        [Value::String(text)] => {
            let down = text.strip_prefix('-');
            Ok(Some((down.unwrap_or(text).to_owned(), down.is_some())))
        }
        [sort] => {
            let property = sort.get("propertyName").and_then(Value::as_str);
            let property = property.ok_or_else(|| invalid("a sort needs a propertyName"))?;
            Ok(Some((property.to_owned(), sort.get("direction").and_then(Value::as_str) == Some("DESCENDING"))))
        }
        _ => Err(invalid("a search takes one sort")),
    }
}
