//! Reading a window of changes through HubSpot's search.
//!
//! A search sorts by one property only and gives no more than 10,000 rows to one query, so its `after` offset is
//! never used. A page that is not the last is followed by the other rows with the change time of its last row,
//! asked for by that time and sorted by id, and then by whatever changed later.

use crosstie_sdk::{
    Ask, Call, Connector, Fault, More, Net,
    domain::{Instant, integration::Entity},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Hubspot,
    mapping::instant,
    refusal,
    wire::{Listing, id_text},
};

/// What is read of one kind of object.
pub(crate) struct Object {
    /// What it becomes.
    pub(crate) entity: Entity,
    /// Its name in the address.
    pub(crate) path: &'static str,
    /// The properties that are always asked for.
    pub(crate) properties: &'static [&'static str],
}

impl Object {
    /// The properties that are asked for now: HubSpot gives no other ones.
    fn asked(&self, net: &Net) -> Result<Vec<String>, Fault> {
        Ok(Hubspot.custom_fields(&net.settings())?.asked(self.entity, self.properties))
    }
}

/// The largest page that a search gives.
const MAX_PAGE: u32 = 200;
const CHANGED: &str = "hs_lastmodifieddate";
const ID: &str = "hs_object_id";

/// A place inside a window.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
enum Place {
    /// Among the rows that changed at one time.
    Ties {
        at_ms: i64,
        /// The rows up to this id were read.
        after_id: Option<u64>,
        /// Rows of that time that an earlier page held already.
        seen: Vec<String>,
    },
    /// After all rows that changed at that time.
    After { at_ms: i64 },
}

/// The next rows of the window, and where it goes on. Holds no rows only at the window's end.
pub(crate) async fn read_window(net: &Net, object: &Object, ask: &Ask) -> Result<(Vec<Value>, More), Fault> {
    let mut place = match &ask.more {
        None => None,
        Some(more) => Some(serde_json::from_value(more.clone()).map_err(|_| Fault::CursorGone)?),
    };
    loop {
        let (rows, next) = match place {
            Some(Place::Ties { at_ms, after_id, seen }) => ties(net, object, ask, (at_ms, after_id, seen)).await?,
            Some(Place::After { at_ms }) => changes(net, object, ask, Some(at_ms)).await?,
            None => changes(net, object, ask, None).await?,
        };
        match next {
            None => return Ok((rows, More::End)),
            Some(next) if rows.is_empty() => place = Some(next),
            Some(next) => return Ok((rows, More::At(json!(next)))),
        }
    }
}

/// Rows by change time, from the window's beginning or after a time.
async fn changes(
    net: &Net,
    object: &Object,
    ask: &Ask,
    after_ms: Option<i64>,
) -> Result<(Vec<Value>, Option<Place>), Fault> {
    let until_ms = epoch_ms(ask.until);
    let mut filters = Vec::new();
    match (after_ms, ask.since) {
        (Some(after_ms), _) if after_ms >= until_ms => return Ok((Vec::new(), None)),
        (Some(after_ms), _) => filters.push(filter(CHANGED, "GT", after_ms)),
        (None, Some(since)) => filters.push(filter(CHANGED, "GTE", epoch_ms(since))),
        (None, None) => {}
    }
    filters.push(filter(CHANGED, "LTE", until_ms));
    let (rows, is_last) = search(net, object, ask, &filters, CHANGED).await?;
    if is_last {
        return Ok((rows, None));
    }
    let times: Vec<Option<i64>> = rows.iter().map(changed_ms).collect();
    let Some(at_ms) = times.last().copied().flatten() else {
        return Err(shape("the last row of a page has no change time"));
    };
    if !times.iter().flatten().is_sorted() || after_ms.is_some_and(|after_ms| at_ms <= after_ms) {
        return Err(shape("the rows are not in the order of their change"));
    }
    let last = rows.iter().zip(&times).filter(|(_, time)| **time == Some(at_ms));
    let seen = last.filter_map(|(row, _)| row.get("id").and_then(id_text)).collect();
    Ok((rows, Some(Place::Ties { at_ms, after_id: None, seen })))
}

/// Rows of one change time, by id.
async fn ties(
    net: &Net,
    object: &Object,
    ask: &Ask,
    (at_ms, after_id, seen): (i64, Option<u64>, Vec<String>),
) -> Result<(Vec<Value>, Option<Place>), Fault> {
    let mut filters = vec![filter(CHANGED, "EQ", at_ms)];
    filters.extend(after_id.map(|id| filter(ID, "GT", id)));
    let (mut rows, is_last) = search(net, object, ask, &filters, ID).await?;
    let next = if is_last {
        Place::After { at_ms }
    } else {
        let last_id = rows.last().and_then(|row| id_text(row.get("id")?)?.parse().ok());
        let Some(last_id) = last_id.filter(|last_id| Some(*last_id) > after_id) else {
            return Err(shape("the rows are not in the order of their ids"));
        };
        Place::Ties { at_ms, after_id: Some(last_id), seen: seen.clone() }
    };
    rows.retain(|row| row.get("id").and_then(id_text).is_none_or(|id| !seen.contains(&id)));
    Ok((rows, Some(next)))
}

/// One search: its rows, and whether no more match.
async fn search(
    net: &Net,
    object: &Object,
    ask: &Ask,
    filters: &[Value],
    sort: &str,
) -> Result<(Vec<Value>, bool), Fault> {
    let limit = ask.limit.clamp(1, MAX_PAGE);
    let body = json!({
        "filterGroups": [{ "filters": filters }],
        "sorts": [sort],
        "properties": object.asked(net)?,
        "limit": limit,
    });
    let call = Call::post(format!("/crm/v3/objects/{}/search", object.path)).json(&body);
    let answer = net.send(call.repeatable().bucket("search")).await?;
    let Listing { results, paging } = answer.json_or(refusal::explain)?;
    let more_announced = paging.is_some_and(|paging| paging.next.is_some());
    if results.is_empty() && more_announced {
        return Err(shape("an empty page announces another"));
    }
    let is_full = u32::try_from(results.len()).is_ok_and(|count| count >= limit);
    Ok((results, !is_full && !more_announced))
}

/// One object by its id, with the properties that are read.
pub(crate) async fn read_one(
    net: &Net,
    object: &Object,
    remote_id: &str,
    associations: Option<&str>,
) -> Result<Value, Fault> {
    if remote_id.is_empty() || !remote_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Gone);
    }
    let mut call = Call::get(format!("/crm/v3/objects/{}/{remote_id}", object.path))
        .query("properties", object.asked(net)?.join(","));
    if let Some(associations) = associations {
        call = call.query("associations", associations);
    }
    let row: Value = net.send(call).await?.json_or(refusal::explain)?;
    match row.get("id").and_then(id_text) {
        Some(id) if id == remote_id => Ok(row),
        // A record that was merged into another answers with the other, under that one's id.
        Some(into) => Err(Fault::Merged { into }),
        None => Err(Fault::Shape { path: "$.id".to_owned(), why: "missing".to_owned() }),
    }
}

fn filter(property: &str, operator: &str, value: impl ToString) -> Value {
    json!({ "propertyName": property, "operator": operator, "value": value.to_string() })
}

fn epoch_ms(at: Instant) -> i64 {
    at.micros().div_euclid(1_000)
}

fn changed_ms(row: &Value) -> Option<i64> {
    row.pointer("/properties/hs_lastmodifieddate")?.as_str().and_then(instant).map(epoch_ms)
}

fn shape(why: &str) -> Fault {
    Fault::Shape { path: "$.results".to_owned(), why: why.to_owned() }
}
