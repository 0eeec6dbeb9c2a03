//! Keyset pages: filtered, ordered, always with the identifier as the last key, never by offset.

use crosstie_domain::access::RowScope;
use sea_orm::{FromQueryResult, Value};
use serde_json::Value as Json;

use crate::{Reads, StoreError, db::marks};

/// A record that can be listed. Its row type reads the columns of `SELECT`.
pub trait Listed: Sized + Send {
    /// The columns that can be filtered and ordered by.
    type Column: Copy + PartialEq + Send + Sync;
    #[doc(hidden)]
    type Row: FromQueryResult + Send;
    #[doc(hidden)]
    const SELECT: &'static str;
    #[doc(hidden)]
    const FROM: &'static str;
    #[doc(hidden)]
    const ID: &'static str;
    /// The column of the account that owns the row; `None` for rows that only an unlimited scope may see.
    #[doc(hidden)]
    const ACCOUNT: Option<&'static str>;
    /// The SQL expression of a column.
    #[doc(hidden)]
    fn expression(column: Self::Column) -> &'static str;
    #[doc(hidden)]
    fn record(row: Self::Row) -> Result<Self, StoreError>;
    /// The value of a column, as it stands in the row.
    #[doc(hidden)]
    fn key(&self, column: Self::Column) -> Json;
    #[doc(hidden)]
    fn id(&self) -> String;
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// Text, identifiers and written forms of enums.
    Text(String),
    /// Instants in microseconds, dates in days, amounts in minor units.
    Number(i64),
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Holds the text, in any case.
    Contains,
}

/// A condition on rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition<C> {
    /// All hold; true when empty.
    All(Vec<Condition<C>>),
    /// At least one holds; false when empty.
    Any(Vec<Condition<C>>),
    /// It does not hold.
    Not(Box<Condition<C>>),
    /// A comparison; never holds where the column is empty.
    Is(C, Operator, Operand),
    /// The column is empty.
    Empty(C),
}

/// Which way an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first, empty last.
    Ascending,
    /// Largest first, empty last.
    Descending,
}

/// The values of the order's columns at one row, with its identifier last.
pub type Keys = Vec<Json>;

/// Which part of the list.
#[derive(Debug, Clone, PartialEq)]
pub enum Span {
    /// The first so many after a row.
    First(u32, Option<Keys>),
    /// The last so many before a row.
    Last(u32, Option<Keys>),
}

/// A page that is asked for.
#[derive(Debug, Clone)]
pub struct PageRequest<C> {
    /// Which rows.
    pub condition: Condition<C>,
    /// In which order; the identifier decides ties.
    pub order: Vec<(C, Direction)>,
    /// Which part.
    pub span: Span,
}

/// A page.
#[derive(Debug, Clone)]
pub struct PageResult<T> {
    /// The records in the order that was asked for, with their keys.
    pub rows: Vec<(T, Keys)>,
    /// Whether more follow.
    pub has_next: bool,
    /// Whether more precede.
    pub has_previous: bool,
}

/// Collects the text of a statement and its values.
#[derive(Default)]
struct Sql {
    values: Vec<Value>,
}

impl Sql {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    fn condition<T: Listed>(&mut self, condition: &Condition<T::Column>) -> String {
        match condition {
            Condition::All(parts) => self.join::<T>(parts, " AND ", "1 = 1"),
            Condition::Any(parts) => self.join::<T>(parts, " OR ", "1 = 0"),
            Condition::Not(part) => format!("NOT COALESCE({}, 1 = 0)", self.condition::<T>(part)),
            Condition::Empty(column) => format!("{} IS NULL", T::expression(*column)),
            Condition::Is(column, operator, operand) => {
                let expression = T::expression(*column);
                let value = match operand {
                    Operand::Text(text) if *operator == Operator::Contains => {
                        let escaped = text.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
                        self.bind(format!("%{escaped}%"))
                    }
                    Operand::Text(text) => self.bind(text.clone()),
                    Operand::Number(number) => self.bind(*number),
                };
                match operator {
                    Operator::Eq => format!("{expression} = {value}"),
                    Operator::Gte => format!("{expression} >= {value}"),
                    Operator::Lt => format!("{expression} < {value}"),
                    Operator::Contains => format!("LOWER({expression}) LIKE {value} ESCAPE '!'"),
                }
            }
        }
    }

    fn join<T: Listed>(&mut self, parts: &[Condition<T::Column>], word: &str, none: &str) -> String {
        if parts.is_empty() {
            return format!("({none})");
        }
        let parts: Vec<String> = parts.iter().map(|part| self.condition::<T>(part)).collect();
        format!("({})", parts.join(word))
    }

    fn scope<T: Listed>(&mut self, scope: &RowScope) -> String {
        match (scope, T::ACCOUNT) {
            (RowScope::All, _) => "1 = 1".to_owned(),
            (RowScope::Accounts(accounts), Some(column)) if !accounts.is_empty() => {
                let marks: Vec<String> = accounts.iter().map(|account| self.bind(account.to_string())).collect();
                format!("{column} IN ({})", marks.join(", "))
            }
            (RowScope::Accounts(_), _) => "1 = 0".to_owned(),
        }
    }

    /// Rows strictly after the keys in an order, where empty values come last whichever way the order goes.
    fn after<T: Listed>(&mut self, order: &[(T::Column, Direction)], keys: &[Json], reversed: bool) -> String {
        let mut alternatives = Vec::new();
        let mut equal = String::new();
        for ((column, direction), key) in order.iter().zip(keys) {
            let expression = T::expression(*column);
            let ascending = (*direction == Direction::Ascending) != reversed;
            let sign = if ascending { ">" } else { "<" };
            let value = match key {
                Json::String(text) => Some(self.bind(text.clone())),
                Json::Number(number) => Some(self.bind(number.as_i64())),
                _ => None,
            };
            match (&value, reversed) {
                (Some(value), false) => {
                    alternatives.push(format!("({equal}({expression} {sign} {value} OR {expression} IS NULL))"));
                }
                (Some(value), true) => alternatives.push(format!("({equal}{expression} {sign} {value})")),
                (None, false) => {}
                (None, true) => alternatives.push(format!("({equal}{expression} IS NOT NULL)")),
            }
            let same = value.map_or(format!("{expression} IS NULL"), |value| format!("{expression} = {value}"));
            equal = format!("{equal}{same} AND ");
        }
        let id = keys.last().and_then(Json::as_str).unwrap_or_default().to_owned();
        let id = self.bind(id);
        alternatives.push(format!("({equal}{} {} {id})", T::ID, if reversed { "<" } else { ">" }));
        format!("({})", alternatives.join(" OR "))
    }
}

/// One page of a list.
pub(crate) async fn page<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<T::Column>,
) -> Result<PageResult<T>, StoreError> {
    let (count, keys, reversed) = match &request.span {
        Span::First(count, keys) => (*count, keys, false),
        Span::Last(count, keys) => (*count, keys, true),
    };
    let mut sql = Sql::default();
    let mut parts = vec![sql.scope::<T>(scope), sql.condition::<T>(&request.condition)];
    if let Some(keys) = keys {
        parts.push(sql.after::<T>(&request.order, keys, reversed));
    }
    let mut order: Vec<String> = Vec::new();
    for (column, direction) in &request.order {
        let expression = T::expression(*column);
        let ascending = (*direction == Direction::Ascending) != reversed;
        let empty = if reversed { "DESC" } else { "ASC" };
        order.push(format!("({expression} IS NULL) {empty}"));
        order.push(format!("{expression} {}", if ascending { "ASC" } else { "DESC" }));
    }
    order.push(format!("{} {}", T::ID, if reversed { "DESC" } else { "ASC" }));
    let limit = sql.bind(i64::from(count) + 1);
    let text = format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {limit}",
        T::SELECT,
        T::FROM,
        parts.join(" AND "),
        order.join(", "),
    );
    let rows: Vec<T::Row> = db.connection().all(&text, sql.values).await?;
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    let mut records = Vec::with_capacity(rows.len().min(wanted));
    for row in rows.into_iter().take(wanted) {
        let record = T::record(row)?;
        let mut keys: Keys = request.order.iter().map(|(column, _)| record.key(*column)).collect();
        keys.push(Json::String(record.id()));
        records.push((record, keys));
    }
    if reversed {
        records.reverse();
    }
    let (has_next, has_previous) = if reversed { (keys.is_some(), more) } else { (more, keys.is_some()) };
    Ok(PageResult { rows: records, has_next, has_previous })
}

/// How many records of a list the scope shows.
///
/// # Errors
/// As the database.
pub async fn count<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    condition: &Condition<T::Column>,
) -> Result<i64, StoreError> {
    #[derive(FromQueryResult)]
    struct Count {
        total: i64,
    }
    let mut sql = Sql::default();
    let parts = [sql.scope::<T>(scope), sql.condition::<T>(condition)];
    let text = format!("SELECT COUNT(*) AS total FROM {} WHERE {}", T::FROM, parts.join(" AND "));
    Ok(db.connection().one::<Count>(&text, sql.values).await?.map_or(0, |count| count.total))
}

/// The records with these identifiers that the scope shows, in any order.
pub(crate) async fn by_ids<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    column: &str,
    ids: &[String],
) -> Result<Vec<T>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = Sql::default();
    let scope = sql.scope::<T>(scope);
    let from = sql.values.len() + 1;
    sql.values.extend(ids.iter().map(|id| Value::from(id.clone())));
    let text = format!(
        "SELECT {} FROM {} WHERE {scope} AND {column} IN ({}) ORDER BY {}",
        T::SELECT,
        T::FROM,
        marks(from, ids.len()),
        T::ID
    );
    let rows: Vec<T::Row> = db.connection().all(&text, sql.values).await?;
    rows.into_iter().map(T::record).collect()
}

/// For each parent the first so many children after an identifier, in one query: at most `count + 1` each, so that the
/// caller can tell whether more follow.
pub(crate) async fn children<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    parent: &str,
    parents: &[String],
    (count, after): (u32, Option<&str>),
) -> Result<Vec<T>, StoreError> {
    if parents.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = Sql::default();
    let scope = sql.scope::<T>(scope);
    let after = after.map_or("1 = 1".to_owned(), |id| {
        let id = sql.bind(id.to_owned());
        format!("{} > {id}", T::ID)
    });
    let limit = sql.bind(i64::from(count) + 1);
    let from = sql.values.len() + 1;
    sql.values.extend(parents.iter().map(|id| Value::from(id.clone())));
    let text = format!(
        "SELECT * FROM (SELECT {}, ROW_NUMBER() OVER (PARTITION BY {parent} ORDER BY {}) AS place FROM {} WHERE {scope} \
         AND {after} AND {parent} IN ({})) AS numbered WHERE place <= {limit} ORDER BY place",
        T::SELECT,
        T::ID,
        T::FROM,
        marks(from, parents.len()),
    );
    let rows: Vec<T::Row> = db.connection().all(&text, sql.values).await?;
    rows.into_iter().map(T::record).collect()
}
