//! Rows for PostgreSQL as one array for each column.

use sea_orm::{Value, sea_query::ArrayType};

/// Columns of rows, as they are sent.
#[derive(Default)]
pub(crate) struct Arrays {
    /// The arrays.
    pub(crate) values: Vec<Value>,
    /// Their places in the statement, with their types.
    pub(crate) marks: Vec<String>,
    /// What their elements are called.
    pub(crate) names: Vec<String>,
}

impl Arrays {
    /// Takes a column; what stands for it in the statement. Arrays are sent without empty elements: another one says
    /// which are.
    pub(crate) fn take(&mut self, of: &ArrayType, mut column: Vec<Value>) -> String {
        let (filler, name) = (filler(of), sql_type(of));
        let empty: Vec<bool> = column.iter().map(|value| value.as_null() == *value).collect();
        if empty.iter().all(|empty| *empty) {
            return format!("NULL::{name}");
        }
        if !empty.contains(&true) {
            return self.send(of, column);
        }
        for (value, _) in column.iter_mut().zip(&empty).filter(|(_, empty)| **empty) {
            *value = filler.clone();
        }
        let shown = self.send(of, column);
        let empty = self.send(&ArrayType::Bool, empty.into_iter().map(Value::from).collect());
        format!("CASE WHEN {empty} THEN NULL ELSE {shown} END")
    }

    fn send(&mut self, of: &ArrayType, column: Vec<Value>) -> String {
        self.values.push(Value::Array(of.clone(), Some(Box::new(column))));
        let number = self.values.len();
        self.marks.push(format!("${number}::{}[]", sql_type(of)));
        let name = format!("c{number}");
        self.names.push(name.clone());
        name
    }
}

/// Rows that are sent as arrays in one statement, at most.
pub(crate) const ROWS_AT_ONCE: usize = 5_000;

/// The type of the array that holds a column of such values; none for what is not sent so.
pub(crate) fn array_type(value: &Value) -> Option<ArrayType> {
    match value {
        Value::Bool(_) => Some(ArrayType::Bool),
        Value::Int(_) => Some(ArrayType::Int),
        Value::BigInt(_) => Some(ArrayType::BigInt),
        Value::String(_) => Some(ArrayType::String),
        Value::Bytes(_) => Some(ArrayType::Bytes),
        _ => None,
    }
}

/// What is sent in the place of an empty value.
fn filler(of: &ArrayType) -> Value {
    match of {
        ArrayType::Bool => false.into(),
        ArrayType::Int => 0_i32.into(),
        ArrayType::BigInt => 0_i64.into(),
        ArrayType::Bytes => Vec::<u8>::new().into(),
        _ => String::new().into(),
    }
}

fn sql_type(of: &ArrayType) -> &'static str {
    match of {
        ArrayType::Bool => "boolean",
        ArrayType::Int => "integer",
        ArrayType::BigInt => "bigint",
        ArrayType::Bytes => "bytea",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_told_by_an_array_of_its_own_and_a_column_without_values_is_not_sent() {
        let texts = |values: [Option<&str>; 2]| values.map(|text| Value::from(text.map(str::to_owned))).to_vec();
        let mut sent = Arrays::default();
        assert_eq!(sent.take(&ArrayType::String, texts([Some("a"), Some("")])), "c1");
        assert_eq!(sent.take(&ArrayType::String, texts([None, Some("b")])), "CASE WHEN c3 THEN NULL ELSE c2 END");
        assert_eq!(sent.take(&ArrayType::BigInt, vec![None::<i64>.into(); 2]), "NULL::bigint");
        assert_eq!(sent.marks, ["$1::text[]", "$2::text[]", "$3::boolean[]"]);
        let array = |of, values: Vec<Value>| Value::Array(of, Some(Box::new(values)));
        let expected = [
            array(ArrayType::String, texts([Some("a"), Some("")])),
            array(ArrayType::String, texts([Some(""), Some("b")])),
            array(ArrayType::Bool, vec![true.into(), false.into()]),
        ];
        assert_eq!(sent.values, expected);
    }
}
