//! Lists of texts that are sent as one value: the statement is the same for any number of them, and stays prepared.

use sea_orm::{DbBackend, Value, sea_query::ArrayType};

use crate::codec;

/// A list of texts in a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts {
    backend: DbBackend,
    number: usize,
}

impl Texts {
    /// The list that is the value of this number.
    pub(crate) fn at(backend: DbBackend, number: usize) -> Self {
        Self { backend, number }
    }

    /// The value that is sent.
    pub(crate) fn value(backend: DbBackend, texts: &[impl AsRef<str>]) -> Value {
        let texts = texts.iter().map(AsRef::as_ref);
        if backend == DbBackend::Postgres {
            let texts = texts.map(Value::from).collect();
            return Value::Array(ArrayType::String, Some(Box::new(texts)));
        }
        codec::json_text(&texts.collect::<Vec<_>>()).into()
    }

    /// The condition that an expression is one of the texts.
    pub(crate) fn among(self, expression: &str) -> String {
        match self.backend {
            DbBackend::Postgres => format!("{expression} = ANY(${}::text[])", self.number),
            _ => format!("{expression} IN ({})", self.rows()),
        }
    }

    /// The query of one row for each of the texts.
    pub(crate) fn rows(self) -> String {
        match self.backend {
            DbBackend::Postgres => format!("SELECT UNNEST(${}::text[])", self.number),
            _ => format!("SELECT value FROM json_each(${})", self.number),
        }
    }

    /// The query of one row for each pair of texts, and its values, of which the first has this number.
    pub(crate) fn pairs(backend: DbBackend, number: usize, pairs: &[(String, &str)]) -> (String, Vec<Value>) {
        if backend == DbBackend::Postgres {
            let (first, second): (Vec<&str>, Vec<&str>) =
                pairs.iter().map(|(first, second)| (first.as_str(), *second)).unzip();
            let values = vec![Self::value(backend, &first), Self::value(backend, &second)];
            return (format!("SELECT * FROM UNNEST(${number}::text[], ${}::text[])", number + 1), values);
        }
        (format!("SELECT value ->> 0, value ->> 1 FROM json_each(${number})"), vec![codec::json_text(&pairs).into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_one_value_and_the_same_statement_for_any_number_of_texts() {
        for backend in [DbBackend::Postgres, DbBackend::Sqlite] {
            let (few, many) = (Texts::value(backend, &["a"]), Texts::value(backend, &["a", "it's \"b\"", "c,d"]));
            assert!(few != many);
            let pairs = |pairs: &[(String, &str)]| Texts::pairs(backend, 2, pairs);
            let (one, two) = (pairs(&[("a".to_owned(), "b")]), pairs(&[("a".to_owned(), "b"), (String::new(), "c")]));
            assert_eq!((one.0, one.1.len()), (two.0, two.1.len()));
        }
        let json = Value::from(r#"["a","it's \"b\"","c,d"]"#);
        assert_eq!(Texts::value(DbBackend::Sqlite, &["a", "it's \"b\"", "c,d"]), json);
        assert_eq!(Texts::at(DbBackend::Postgres, 3).among("id"), "id = ANY($3::text[])");
        assert_eq!(Texts::at(DbBackend::Sqlite, 3).among("id"), "id IN (SELECT value FROM json_each($3))");
    }
}
