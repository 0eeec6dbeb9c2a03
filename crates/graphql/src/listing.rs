//! Lists: Relay connections over keyset pages, with the filters, orders and cursors that all of them share.

use std::sync::Arc;

use async_graphql::{Context, Enum, Error, InputObject, InputType, Object, OutputType, TypeName, connection::PageInfo};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use crosstie_domain::access::{Permission, Sensitivity};
use crosstie_store::{Condition, Direction, Keys, Listed, PageRequest, PageResult, Span};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    access::{access, sensitivity, store_failed},
    edge::{Item, level},
    error::ApiError,
    filter::Filter,
};

/// Entries in a page when the client names no number.
const DEFAULT_PAGE: u32 = 25;
/// Entries in a page, at most.
const LARGEST_PAGE: u32 = 100;
/// Fields in one order, at most.
const MOST_ORDERS: usize = 3;

/// An object that stands in lists.
pub(crate) trait Node: OutputType + From<Item<Self::Record>> {
    /// What it shows.
    type Record: Listed<Column: Send + Sync + 'static> + Send + Sync + 'static;
    /// Its name in the schema.
    const NAME: &'static str;
    /// What one needs to see it.
    const PERMISSION: Permission;
}

type Column<O> = <<O as Node>::Record as Listed>::Column;

/// A page of a list.
pub(crate) struct Connection<O: Node> {
    entries: Vec<Entry<O>>,
    has_next: bool,
    has_previous: bool,
    /// What is counted for `totalCount`; none where counting is not offered.
    counted: Option<Condition<Column<O>>>,
}

/// A place in a list.
pub(crate) struct Entry<O> {
    node: O,
    keys: Keys,
    order: Arc<str>,
}

impl<O: Node> TypeName for Connection<O> {
    fn type_name() -> std::borrow::Cow<'static, str> {
        format!("{}Connection", O::NAME).into()
    }
}

impl<O: Node> TypeName for Entry<O> {
    fn type_name() -> std::borrow::Cow<'static, str> {
        format!("{}Edge", O::NAME).into()
    }
}

/// A page of a list.
#[Object(name_type, directive = sensitivity::apply(Sensitivity::Internal))]
impl<O: Node> Connection<O> {
    /// The entries of the page, each with its cursor.
    async fn edges(&self) -> &[Entry<O>] {
        &self.entries
    }

    /// The objects of the page.
    async fn nodes(&self) -> Vec<&O> {
        self.entries.iter().map(|entry| &entry.node).collect()
    }

    /// Where the page lies in the list.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_previous_page: self.has_previous,
            has_next_page: self.has_next,
            start_cursor: self.entries.first().map(Entry::cursor_text),
            end_cursor: self.entries.last().map(Entry::cursor_text),
        }
    }

    /// How many objects the list has in all. It is counted only when it is asked for; null for lists inside objects, and of subscriptions for whoever does not see all accounts.
    async fn total_count(&self, ctx: &Context<'_>) -> Result<Option<i32>, Error> {
        let Some(condition) = &self.counted else { return Ok(None) };
        let found = access(ctx, O::PERMISSION)?;
        let total = crosstie_store::count::<O::Record>(found.store, found.rows, condition).await;
        Ok(Some(i32::try_from(total.map_err(store_failed)?).unwrap_or(i32::MAX)))
    }
}

/// A place in a list.
#[Object(name_type, directive = sensitivity::apply(Sensitivity::Internal))]
impl<O: Node> Entry<O> {
    /// Where to go on from: give it back as `after` or `before`, with the same order.
    async fn cursor(&self) -> String {
        self.cursor_text()
    }

    /// The object at this place.
    async fn node(&self) -> &O {
        &self.node
    }
}

impl<O> Entry<O> {
    fn cursor_text(&self) -> String {
        let cursor = Cursor { v: 1, o: self.order.as_ref().into(), k: self.keys.clone() };
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_string(&cursor).unwrap_or_default())
    }
}

/// A place in an order, as clients keep it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    v: u8,
    o: Box<str>,
    k: Keys,
}

/// The place that a cursor names, if it was given out for this order of columns.
fn read_cursor(text: &str, order: &str, numbers: &[bool]) -> Result<Keys, ApiError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ApiError::BadCursor)?;
    let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| ApiError::BadCursor)?;
    let fits = |(key, number): (&Json, &bool)| match key {
        Json::Null => true,
        Json::String(text) => !number && !text.contains('\0'),
        Json::Number(key) => *number && key.is_i64(),
        _ => false,
    };
    let id_fits = cursor.k.last().and_then(Json::as_str).is_some_and(|id| !id.contains('\0'));
    let known = cursor.v == 1 && *cursor.o == *order && cursor.k.len() == numbers.len() + 1;
    if known && id_fits && cursor.k.iter().zip(numbers).all(fits) { Ok(cursor.k) } else { Err(ApiError::BadCursor) }
}

/// Which part of a list is asked for.
pub(crate) struct Paging {
    /// The first so many.
    pub(crate) first: Option<i32>,
    /// After this cursor.
    pub(crate) after: Option<String>,
    /// The last so many.
    pub(crate) last: Option<i32>,
    /// Before this cursor.
    pub(crate) before: Option<String>,
}

impl Paging {
    /// A part of a list that is read from its start.
    pub(crate) fn forward(first: Option<i32>, after: Option<String>) -> Self {
        Self { first, after, last: None, before: None }
    }

    fn span(&self, order: &str, numbers: &[bool]) -> Result<Span, ApiError> {
        let cursor = |text: &Option<String>| text.as_deref().map(|text| read_cursor(text, order, numbers)).transpose();
        let backward = self.last.is_some() || self.before.is_some();
        if backward && (self.first.is_some() || self.after.is_some()) {
            return Err(bad_input("first", "Give either `first` and `after`, or `last` and `before`."));
        }
        if backward {
            Ok(Span::Last(page_size("last", self.last)?, cursor(&self.before)?))
        } else {
            Ok(Span::First(page_size("first", self.first)?, cursor(&self.after)?))
        }
    }
}

fn page_size(argument: &str, wanted: Option<i32>) -> Result<u32, ApiError> {
    let Some(wanted) = wanted else { return Ok(DEFAULT_PAGE) };
    u32::try_from(wanted)
        .ok()
        .filter(|count| (1..=LARGEST_PAGE).contains(count))
        .ok_or_else(|| bad_input(argument, format!("`{argument}` is a number from 1 to {LARGEST_PAGE}.")))
}

/// An argument that cannot be used.
pub(crate) fn bad_input(argument: &str, message: impl Into<String>) -> ApiError {
    ApiError::BadInput { argument: argument.to_owned(), message: message.into() }
}

/// What a list is ordered by.
pub(crate) trait OrderField: InputType + Copy {
    /// The column of the store.
    type Column: Copy;
    /// The name of its order input in the schema.
    const ORDER: &'static str;
    /// The column of the store.
    fn column(self) -> Self::Column;
    /// Whether its values are numbers: instants and days.
    fn is_number(self) -> bool;
}

/// Which way an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum SortDirection {
    /// Smallest first, empty last.
    Asc,
    /// Largest first, empty last.
    Desc,
}

/// One field of an order.
#[derive(Debug, Clone, InputObject)]
#[graphql(name_type)]
pub(crate) struct Order<F: OrderField> {
    /// What to order by.
    field: F,
    /// Which way.
    direction: SortDirection,
}

impl<F: OrderField> TypeName for Order<F> {
    fn type_name() -> std::borrow::Cow<'static, str> {
        F::ORDER.into()
    }
}

/// A list that is asked for.
pub(crate) struct Wanted<C> {
    /// The request to the store.
    pub(crate) request: PageRequest<C>,
    order: Arc<str>,
}

/// Reads what is asked of a list of such objects.
///
/// # Errors
/// `BAD_USER_INPUT`, `BAD_CURSOR`.
pub(crate) fn wanted<O, F, S>(
    paging: &Paging,
    filter: Option<&F>,
    order_by: Option<Vec<Order<S>>>,
) -> Result<Wanted<Column<O>>, Error>
where
    O: Node,
    F: Filter<Column = Column<O>>,
    S: OrderField<Column = Column<O>>,
{
    read_wanted::<O, F, S>(paging, filter, &order_by.unwrap_or_default()).map_err(ApiError::into_graphql)
}

fn read_wanted<O, F, S>(
    paging: &Paging,
    filter: Option<&F>,
    order_by: &[Order<S>],
) -> Result<Wanted<Column<O>>, ApiError>
where
    O: Node,
    F: Filter<Column = Column<O>>,
    S: OrderField<Column = Column<O>>,
{
    if order_by.len() > MOST_ORDERS {
        return Err(bad_input("orderBy", format!("`orderBy` takes at most {MOST_ORDERS} fields.")));
    }
    let condition = match filter {
        Some(filter) => filter.condition()?,
        None => Condition::All(Vec::new()),
    };
    let mut signature = O::NAME.to_owned();
    let mut order = Vec::new();
    let mut numbers = Vec::new();
    for Order { field, direction } in order_by {
        let (direction, sign) = match direction {
            SortDirection::Asc => (Direction::Ascending, '+'),
            SortDirection::Desc => (Direction::Descending, '-'),
        };
        signature.push(sign);
        signature.push_str(&field.to_value().to_string());
        order.push((field.column(), direction));
        numbers.push(field.is_number());
    }
    let span = paging.span(&signature, &numbers)?;
    Ok(Wanted { request: PageRequest { condition, order, span }, order: signature.into() })
}

impl<O: Node> Connection<O> {
    /// A page of a list, as the store found it.
    pub(crate) fn of_page(wanted: Wanted<Column<O>>, page: PageResult<O::Record>) -> Self {
        let (records, keys): (Vec<_>, Vec<_>) = page.rows.into_iter().unzip();
        let entries = level(records)
            .zip(keys)
            .map(|(item, keys)| Entry { node: item.into(), keys, order: Arc::clone(&wanted.order) })
            .collect();
        Self {
            entries,
            has_next: page.has_next,
            has_previous: page.has_previous,
            counted: Some(wanted.request.condition),
        }
    }

    /// The same page where counting is not offered.
    pub(crate) fn uncounted(self) -> Self {
        Self { counted: None, ..self }
    }

    /// A page of a list inside an object: at most so many children, of which the store has found one more if there is.
    pub(crate) fn of_children(part: &Part, mut children: Vec<Item<O::Record>>) -> Self {
        let wanted = usize::try_from(part.count).unwrap_or(usize::MAX);
        let has_next = children.len() > wanted;
        children.truncate(wanted);
        let order: Arc<str> = O::NAME.into();
        let entries = children
            .into_iter()
            .map(|item| {
                let keys = vec![Json::String(item.id())];
                Entry { node: item.into(), keys, order: Arc::clone(&order) }
            })
            .collect();
        Self { entries, has_next, has_previous: part.after.is_some(), counted: None }
    }
}

/// A part of a list inside an object: so many after an identifier.
pub(crate) struct Part {
    count: u32,
    after: Option<String>,
}

impl Part {
    /// Reads what is asked of a list of such objects.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`, `BAD_CURSOR`.
    pub(crate) fn of<O: Node>(first: Option<i32>, after: Option<String>) -> Result<Self, Error> {
        match Paging::forward(first, after).span(O::NAME, &[]).map_err(ApiError::into_graphql)? {
            Span::First(count, keys) | Span::Last(count, keys) => {
                let after = keys.and_then(|keys| keys.last().and_then(Json::as_str).map(str::to_owned));
                Ok(Self { count, after })
            }
        }
    }

    /// How the store takes it.
    pub(crate) fn span(&self) -> (u32, Option<&str>) {
        (self.count, self.after.as_deref())
    }

    /// Tells edges with different parts apart.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.count, self.after.as_deref().unwrap_or_default())
    }
}

/// The field for a list of objects and the field for one of them. A macro, because six arguments with their
/// descriptions cannot be shared between fields in any other way.
macro_rules! listed {
    (
        $queries:ident of $object:ident filtered by $filter:ident, ordered by $order:ident;
        $list_doc:tt $list:ident from $page:path;
        $one_doc:tt $one:ident from $by_ids:path;
    ) => {
        #[derive(Default)]
        pub(crate) struct $queries;

        #[async_graphql::Object(directive = crate::access::sensitivity::apply(crosstie_domain::access::Sensitivity::Internal))]
        impl $queries {
            #[doc = $list_doc]
            #[graphql(directive = crate::access::requires::apply(
                <$object as crate::listing::Node>::PERMISSION.as_str().to_owned()
            ))]
            async fn $list(
                &self,
                ctx: &async_graphql::Context<'_>,
                #[graphql(desc = "The first so many, from 1 to 100; 25 when neither `first` nor `last` is given.")]
                first: Option<i32>,
                #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
                #[graphql(desc = "The last so many, from 1 to 100.")] last: Option<i32>,
                #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
                #[graphql(desc = "Which to list; all that you may see when it is left out.")] filter: Option<$filter>,
                #[graphql(desc = "The order, at most three fields; the identifier decides ties.")] order_by: Option<
                    Vec<crate::listing::Order<$order>>,
                >,
            ) -> async_graphql::Result<Option<crate::listing::Connection<$object>>> {
                let found = crate::access::access(ctx, <$object as crate::listing::Node>::PERMISSION)?;
                let paging = crate::listing::Paging { first, after, last, before };
                let wanted = crate::listing::wanted::<$object, _, _>(&paging, filter.as_ref(), order_by)?;
                let page = $page(found.store, found.rows, &wanted.request).await;
                let page = page.map_err(crate::access::store_failed)?;
                Ok(Some(crate::listing::Connection::of_page(wanted, page)))
            }

            #[doc = $one_doc]
            #[graphql(directive = crate::access::requires::apply(
                <$object as crate::listing::Node>::PERMISSION.as_str().to_owned()
            ))]
            async fn $one(
                &self,
                ctx: &async_graphql::Context<'_>,
                #[graphql(desc = "Its identifier.")] id: async_graphql::ID,
            ) -> async_graphql::Result<Option<$object>> {
                let found = crate::access::access(ctx, <$object as crate::listing::Node>::PERMISSION)?;
                let Ok(id) = id.parse() else { return Ok(None) };
                let records = $by_ids(found.store, found.rows, &[id]).await.map_err(crate::access::store_failed)?;
                Ok(crate::edge::level(records).next().map($object::from))
            }
        }
    };
}
pub(crate) use listed;

/// The order input of a list: each field with its column, and whether its values are numbers.
macro_rules! order_fields {
    (
        $(#[$doc:meta])* $name:ident as $order:literal of $column:ident;
        $($(#[$field_doc:meta])* $field:ident $kind:ident,)+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, async_graphql::Enum)]
        pub(crate) enum $name {
            $($(#[$field_doc])* $field,)+
        }

        impl crate::listing::OrderField for $name {
            type Column = $column;
            const ORDER: &'static str = $order;

            fn column(self) -> $column {
                match self {
                    $(Self::$field => $column::$field,)+
                }
            }

            fn is_number(self) -> bool {
                match self {
                    $(Self::$field => crate::listing::order_fields!(@number $kind),)+
                }
            }
        }
    };
    (@number number) => { true };
    (@number text) => { false };
}
pub(crate) use order_fields;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: Option<i32>, last: Option<i32>, expected: Option<Span>) {
        let paging = Paging { first, after: None, last, before: None };
        assert_eq!(paging.span("Account", &[]).ok(), expected, "{first:?} {last:?}");
    }

    #[test]
    fn pages_have_one_to_a_hundred_entries_from_one_end() {
        check(None, None, Some(Span::First(25, None)));
        check(Some(1), None, Some(Span::First(1, None)));
        check(None, Some(100), Some(Span::Last(100, None)));
        check(Some(0), None, None);
        check(Some(-1), None, None);
        check(Some(101), None, None);
        check(Some(1), Some(1), None);
    }

    fn cursor(order: &str, keys: Vec<Json>) -> String {
        Entry { node: (), keys, order: order.into() }.cursor_text()
    }

    #[test]
    fn a_cursor_serves_only_the_order_that_it_was_given_for() {
        let keys = vec![Json::from(7), Json::from("acc_1")];
        let text = cursor("Account-UPDATED_AT", keys.clone());
        assert_eq!(read_cursor(&text, "Account-UPDATED_AT", &[true]), Ok(keys));
        assert_eq!(read_cursor(&text, "Account+UPDATED_AT", &[true]), Err(ApiError::BadCursor));
        assert_eq!(read_cursor(&text, "Account-UPDATED_AT", &[false]), Err(ApiError::BadCursor));
        assert_eq!(read_cursor("nonsense", "Account", &[]), Err(ApiError::BadCursor));
        let nul = cursor("Account", vec![Json::from("a\0")]);
        assert_eq!(read_cursor(&nul, "Account", &[]), Err(ApiError::BadCursor));
    }
}
