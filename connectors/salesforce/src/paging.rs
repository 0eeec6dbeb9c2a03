//! Reading a window of changes, in the order of (change time, id).
//!
//! Each page asks for what comes behind the last row of the one before. Salesforce's own way on (`nextRecordsUrl`)
//! is not taken: it ends after some time, and a page that is smaller than asked for is gone on from all the same.

use crosstie_sdk::{Ask, Fault, More, Net, Page, Row, domain::Instant};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    query::{self, Object, Which, moment, whole_second},
    wire::{self, CHANGED, Record},
};

/// The largest page that Salesforce gives at once.
const MAX_PAGE: u32 = 2_000;

/// A place inside a window: the last row that was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    at: Instant,
    id: String,
}

/// One page of the window, with what was deleted.
pub(crate) async fn read_page(net: &Net, object: &Object, ask: &Ask) -> Result<Page<Record>, Fault> {
    let after = match &ask.more {
        None => None,
        Some(more) => Some(place_of(more)?),
    };
    let limit = ask.limit.clamp(1, MAX_PAGE);
    let conditions = conditions(ask, after.as_ref()).join(" AND ");
    let asked = object.asked(net)?.join(", ");
    let soql = format!("SELECT {asked} FROM {} WHERE {conditions} ORDER BY {CHANGED}, Id LIMIT {limit}", object.name);
    let (found, _) = query::run(net, Which::Deleted, &soql).await?;
    let is_full = u32::try_from(found.records.len()).is_ok_and(|count| count >= limit);
    let next = if is_full || !found.done { Some(next_place(&found.records, after.as_ref())?) } else { None };
    let rows = found.records.into_iter().map(Row::read).collect();
    Ok(Page { rows, more: next.map_or(More::End, |place| More::At(json!(place))) })
}

/// What is kept of a place comes from outside, and stands in a query.
fn place_of(more: &Value) -> Result<Place, Fault> {
    let place: Place = serde_json::from_value(more.clone()).map_err(|_| Fault::CursorGone)?;
    if wire::is_id(&place.id) { Ok(place) } else { Err(Fault::CursorGone) }
}

/// The conditions of a page. The lower bound is said also where the place implies it: by it Salesforce uses its index.
fn conditions(ask: &Ask, after: Option<&Place>) -> Vec<String> {
    let since = after.map(|place| place.at).or(ask.since.map(whole_second));
    let mut conditions: Vec<String> =
        since.map(|since| format!("{CHANGED} >= {}", moment(since))).into_iter().collect();
    conditions.push(format!("{CHANGED} <= {}", moment(whole_second(ask.until))));
    conditions.extend(after.map(|Place { at, id }| {
        let at = moment(*at);
        format!("({CHANGED} > {at} OR ({CHANGED} = {at} AND Id > '{id}'))")
    }));
    conditions
}

/// The last row of a page, from which it goes on; the page must be behind the one before and in order.
fn next_place(rows: &[Value], after: Option<&Place>) -> Result<Place, Fault> {
    let place = |row: &Value| {
        let row = row.as_object()?;
        Some(Place { at: wire::changed_at(row)?, id: wire::id_of(row)?.to_owned() })
    };
    let Some(last) = rows.last() else { return Err(shape("an empty page announces another")) };
    let last = place(last).ok_or_else(|| shape("the last row of a page has no change time or no id"))?;
    let times: Vec<Instant> = rows.iter().filter_map(|row| wire::changed_at(row.as_object()?)).collect();
    let goes_back = after.is_some_and(|after| times.first().is_some_and(|first| *first < after.at) || last == *after);
    if goes_back || !times.is_sorted() {
        return Err(shape("the rows are not in the order of their change"));
    }
    Ok(last)
}

/// One record by its id. One in the recycle bin is a row that says so, unless it was merged into another.
pub(crate) async fn read_one(net: &Net, object: &Object, remote_id: &str) -> Result<Row<Record>, Fault> {
    if !wire::is_id(remote_id) {
        return Err(Fault::Gone);
    }
    let soql = object.by_id(net, remote_id)?;
    let (found, _) = query::run(net, Which::Deleted, &soql).await?;
    let row = Row::<Record>::read_one(found.records.into_iter().next().ok_or(Fault::Gone)?)?;
    match &row {
        Row::Ok { wire, .. } if wire.is_deleted => match wire.merged_into() {
            Some(into) => Err(Fault::Merged { into: into.to_owned() }),
            None => Ok(row),
        },
        _ => Ok(row),
    }
}

fn shape(why: &str) -> Fault {
    Fault::Shape { path: "$.records".to_owned(), why: why.to_owned() }
}
