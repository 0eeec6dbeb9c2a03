//! Keyset pages: filtered, ordered, always with the identifier as the last key, never by offset.

use crosstie_domain::access::RowScope;
use sea_orm::{DbBackend, DbErr, FromQueryResult, QueryResult, Value};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{Reads, StoreError, texts::Texts};

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
    /// Rows that lists leave out, and that are there by their identifiers all the same; empty for none.
    #[doc(hidden)]
    const UNLISTED: &'static str = "";
    /// How a column stands in SQL.
    #[doc(hidden)]
    fn expression(column: Self::Column) -> Expression;
    #[doc(hidden)]
    fn record(row: Self::Row) -> Result<Self, StoreError>;
    /// The value of a column, as it stands in the row.
    #[doc(hidden)]
    fn key(&self, column: Self::Column) -> Json;
    #[doc(hidden)]
    fn id(&self) -> String;
}

/// A column in SQL, with what decides how it can be ordered by.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Expression {
    /// It is never empty.
    Required(&'static str),
    /// It may be empty.
    Optional(&'static str),
    /// Text of any length, never empty. It is ordered and indexed by its first 200 characters, because PostgreSQL
    /// refuses long texts in an index; the identifier decides between texts that differ only behind them.
    Long(&'static str),
}

impl Expression {
    fn sql(self) -> &'static str {
        match self {
            Self::Required(sql) | Self::Optional(sql) | Self::Long(sql) => sql,
        }
    }

    /// What it is ordered by; of long text the expression that is indexed.
    fn ordered(self) -> String {
        match self {
            Self::Required(sql) | Self::Optional(sql) => sql.to_owned(),
            Self::Long(sql) => format!("substr({sql}, 1, {LONG})"),
        }
    }

    /// The value of what it is ordered by.
    fn key(self, value: &Json) -> Json {
        match (self, value) {
            (Self::Long(_), Json::String(text)) => Json::String(beginning(text)),
            _ => value.clone(),
        }
    }
}

/// Characters of long text that are ordered by, as in the indexes.
const LONG: usize = 200;

fn beginning(text: &str) -> String {
    text.chars().take(LONG).collect()
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// Text, identifiers and written forms of enums.
    Text(String),
    /// Instants in microseconds, dates in days, amounts in minor units.
    Number(i64),
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
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

impl Span {
    /// How many, from where, and whether it is read against the order.
    fn read(&self) -> (u32, Option<&Keys>, bool) {
        match self {
            Self::First(count, keys) => (*count, keys.as_ref(), false),
            Self::Last(count, keys) => (*count, keys.as_ref(), true),
        }
    }
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

/// The condition on rows that lists show.
fn listed<T: Listed>() -> String {
    if T::UNLISTED.is_empty() { "1 = 1".to_owned() } else { format!("NOT ({})", T::UNLISTED) }
}

/// Collects the text of a statement and its values.
struct Sql {
    backend: DbBackend,
    values: Vec<Value>,
}

impl Sql {
    fn of(db: &impl Reads) -> Self {
        Self { backend: db.connection().backend(), values: Vec::new() }
    }

    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    fn list(&mut self, texts: &[String]) -> Texts {
        self.values.push(Texts::value(self.backend, texts));
        Texts::at(self.backend, self.values.len())
    }

    fn condition<T: Listed>(&mut self, condition: &Condition<T::Column>) -> String {
        match condition {
            Condition::All(parts) => self.join::<T>(parts, " AND ", "1 = 1"),
            Condition::Any(parts) => self.join::<T>(parts, " OR ", "1 = 0"),
            Condition::Not(part) => format!("NOT COALESCE({}, 1 = 0)", self.condition::<T>(part)),
            Condition::Empty(column) => format!("{} IS NULL", T::expression(*column).sql()),
            Condition::Is(column, operator, operand) => self.comparison(T::expression(*column), *operator, operand),
        }
    }

    fn comparison(&mut self, column: Expression, operator: Operator, operand: &Operand) -> String {
        let sql = column.sql();
        let sign = match operator {
            Operator::Eq => "=",
            Operator::Gte => ">=",
            Operator::Lt => "<",
            Operator::Contains => {
                return match operand {
                    Operand::Text(text) => self.contains(sql, text),
                    Operand::Number(_) => "1 = 0".to_owned(),
                };
            }
        };
        match operand {
            Operand::Text(text) if operator == Operator::Eq && matches!(column, Expression::Long(_)) => {
                // Its beginning is found by the index.
                let (beginning, whole) = (self.bind(beginning(text)), self.bind(text.clone()));
                format!("({} = {beginning} AND {sql} = {whole})", column.ordered())
            }
            Operand::Text(text) => format!("{sql} {sign} {}", self.bind(text.clone())),
            Operand::Number(number) => format!("{sql} {sign} {}", self.bind(*number)),
        }
    }

    /// The column holds the text, in any case. Letters outside ASCII are written out in both cases: SQLite's `LOWER`
    /// leaves them as they are, and so does PostgreSQL's where the database has the locale `C`.
    fn contains(&mut self, column: &str, text: &str) -> String {
        if text.is_ascii() {
            let escaped = text.to_ascii_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
            return format!("LOWER({column}) LIKE {} ESCAPE '!'", self.bind(format!("%{escaped}%")));
        }
        let is_postgres = self.backend == DbBackend::Postgres;
        let mut pattern = String::new();
        for letter in text.chars() {
            let cases = cases(letter);
            match letter {
                _ if letter.is_ascii_alphanumeric() => pattern.push(letter.to_ascii_lowercase()),
                _ if cases.len() > 1 => pattern.extend(['['].iter().chain(&cases).chain(&[']'])),
                '*' | '?' | '[' if !is_postgres => pattern.extend(['[', letter, ']']),
                _ if letter.is_ascii() && is_postgres => pattern.extend(['\\', letter]),
                _ => pattern.push(letter),
            }
        }
        if is_postgres {
            return format!("LOWER({column} COLLATE \"C\") ~ {}", self.bind(pattern));
        }
        format!("LOWER({column}) GLOB {}", self.bind(format!("*{pattern}*")))
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
        // What all alternatives have in common, by which an index is entered where the page begins.
        let mut bound = String::new();
        for ((column, direction), key) in order.iter().zip(keys) {
            let column = T::expression(*column);
            let expression = column.ordered();
            let may_be_empty = matches!(column, Expression::Optional(_));
            let ascending = (*direction == Direction::Ascending) != reversed;
            let sign = if ascending { ">" } else { "<" };
            let value = match column.key(key) {
                Json::String(text) => Some(self.bind(text)),
                Json::Number(number) => Some(self.bind(number.as_i64())),
                _ => None,
            };
            match &value {
                Some(value) if may_be_empty && !reversed => {
                    alternatives.push(format!("({equal}({expression} {sign} {value} OR {expression} IS NULL))"));
                }
                Some(value) => {
                    if equal.is_empty() && !may_be_empty {
                        bound = format!("{expression} {sign}= {value} AND ");
                    }
                    alternatives.push(format!("({equal}{expression} {sign} {value})"));
                }
                None if reversed => alternatives.push(format!("({equal}{expression} IS NOT NULL)")),
                None => {}
            }
            let same = value.map_or(format!("{expression} IS NULL"), |value| format!("{expression} = {value}"));
            equal = format!("{equal}{same} AND ");
        }
        let id = keys.last().and_then(Json::as_str).unwrap_or_default().to_owned();
        let id = self.bind(id);
        alternatives.push(format!("({equal}{} {} {id})", T::ID, if reversed { "<" } else { ">" }));
        format!("({bound}({}))", alternatives.join(" OR "))
    }

    /// The statement that finds a page, and one row more to see whether others follow.
    fn page<T: Listed>(&mut self, scope: &RowScope, request: &PageRequest<T::Column>) -> String {
        let (count, keys, reversed) = request.span.read();
        let mut parts = vec![self.scope::<T>(scope), listed::<T>(), self.condition::<T>(&request.condition)];
        if let Some(keys) = keys {
            parts.push(self.after::<T>(&request.order, keys, reversed));
        }
        let mut order: Vec<String> = Vec::new();
        for (column, direction) in &request.order {
            let column = T::expression(*column);
            let way = if (*direction == Direction::Ascending) != reversed { "ASC" } else { "DESC" };
            let empty = match column {
                Expression::Optional(_) if reversed => " NULLS FIRST",
                Expression::Optional(_) => " NULLS LAST",
                _ => "",
            };
            order.push(format!("{} {way}{empty}", column.ordered()));
        }
        order.push(format!("{} {}", T::ID, if reversed { "DESC" } else { "ASC" }));
        let limit = self.bind(i64::from(count) + 1);
        format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {limit}",
            T::SELECT,
            T::FROM,
            parts.join(" AND "),
            order.join(", "),
        )
    }
}

/// A letter with its other cases, as far as they are one letter.
fn cases(letter: char) -> Vec<char> {
    let mut cases = vec![letter];
    for other in [letter.to_lowercase().collect::<Vec<_>>(), letter.to_uppercase().collect()] {
        match other[..] {
            [other] if !cases.contains(&other) => cases.push(other),
            _ => {}
        }
    }
    cases
}

/// One page of a list.
pub(crate) async fn page<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<T::Column>,
) -> Result<PageResult<T>, StoreError> {
    let (count, keys, reversed) = request.span.read();
    let mut sql = Sql::of(db);
    let text = sql.page::<T>(scope, request);
    let rows: Vec<T::Row> = db.connection().all(&text, sql.values).await?;
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    let mut records = Vec::with_capacity(rows.len().min(wanted));
    for row in rows.into_iter().take(wanted) {
        let record = T::record(row)?;
        let key = |(column, _): &(T::Column, Direction)| T::expression(*column).key(&record.key(*column));
        let mut keys: Keys = request.order.iter().map(key).collect();
        keys.push(Json::String(record.id()));
        records.push((record, keys));
    }
    if reversed {
        records.reverse();
    }
    let (has_next, has_previous) = if reversed { (keys.is_some(), more) } else { (more, keys.is_some()) };
    Ok(PageResult { rows: records, has_next, has_previous })
}

/// How the database goes about finding a page, in its own words: for tests that look for an index.
///
/// # Errors
/// As the database.
#[doc(hidden)]
pub async fn plan<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<T::Column>,
) -> Result<String, StoreError> {
    struct Step(String);
    impl FromQueryResult for Step {
        fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
            // PostgreSQL has one column, SQLite has the words in the last of four.
            row.try_get_by_index(3).or_else(|_| row.try_get_by_index(0)).map(Self)
        }
    }
    let mut sql = Sql::of(db);
    let explain = if sql.backend == DbBackend::Postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
    let text = format!("{explain} {}", sql.page::<T>(scope, request));
    let steps: Vec<Step> = db.connection().all(&text, sql.values).await?;
    Ok(steps.into_iter().map(|step| step.0).collect::<Vec<_>>().join("\n"))
}

/// The records that fit a condition and that the scope shows, in the order of their identifiers, at most so many.
///
/// # Errors
/// As the database.
pub async fn first_of<T: Listed>(
    db: &impl Reads,
    scope: &RowScope,
    condition: &Condition<T::Column>,
    most: u32,
) -> Result<Vec<T>, StoreError> {
    let mut sql = Sql::of(db);
    let parts = [sql.scope::<T>(scope), listed::<T>(), sql.condition::<T>(condition)];
    let text =
        format!("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {most}", T::SELECT, T::FROM, parts.join(" AND "), T::ID);
    let rows: Vec<T::Row> = db.connection().all(&text, sql.values).await?;
    rows.into_iter().map(T::record).collect()
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
    let mut sql = Sql::of(db);
    let parts = [sql.scope::<T>(scope), listed::<T>(), sql.condition::<T>(condition)];
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
    let mut sql = Sql::of(db);
    let scope = sql.scope::<T>(scope);
    let among = sql.list(ids).among(column);
    let text = format!("SELECT {} FROM {} WHERE {scope} AND {among} ORDER BY {}", T::SELECT, T::FROM, T::ID);
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
    let mut sql = Sql::of(db);
    let scope = format!("{} AND {}", sql.scope::<T>(scope), listed::<T>());
    let after = after.map_or("1 = 1".to_owned(), |id| {
        let id = sql.bind(id.to_owned());
        format!("{} > {id}", T::ID)
    });
    let limit = sql.bind(i64::from(count) + 1);
    let among = sql.list(parents).among(parent);
    let text = format!(
        "SELECT * FROM (SELECT {}, ROW_NUMBER() OVER (PARTITION BY {parent} ORDER BY {}) AS place FROM {} WHERE {scope} \
         AND {after} AND {among}) AS numbered WHERE place <= {limit} ORDER BY place",
        T::SELECT,
        T::ID,
        T::FROM,
    );
    let rows: Vec<T::Row> = db.connection().all(&text, sql.values).await?;
    rows.into_iter().map(T::record).collect()
}
