//! Windows over customers and invoices: the first lists everything, later ones follow the feed of events.

use std::collections::BTreeMap;

use crosstie_sdk::{Answer, Ask, Call, Fault, More, Net, Page, Row};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    api,
    webhook::is_deletion,
    wire::{Event, List},
};

/// The longest page that Stripe gives.
const PAGE_LIMIT: u32 = 100;

/// A kind of object: where it is listed and which events tell of it. Stripe takes at most 20 types in one question.
pub(crate) struct Collection {
    pub(crate) name: &'static str,
    pub(crate) event_types: &'static [&'static str],
}

impl Collection {
    /// One page of the window.
    pub(crate) async fn page<W: DeserializeOwned>(&self, net: &Net, ask: &Ask) -> Result<Page<W>, Fault> {
        let after = match &ask.more {
            None => None,
            Some(more) => Some(more.get("after").and_then(Value::as_str).ok_or(Fault::CursorGone)?),
        };
        match ask.since {
            None => {
                let list = list(net, api::get(format!("/v1/{}", self.name)), ask.limit, after).await?;
                let more = more(&list)?;
                Ok(Page { rows: list.data.into_iter().map(Row::read).collect(), more })
            }
            Some(since) => {
                let mut call = api::get("/v1/events")
                    .query("created[gte]", seconds(since.micros()))
                    .query("created[lte]", seconds(ask.until.micros()));
                for kind in self.event_types {
                    call = call.query("types[]", *kind);
                }
                let events = list(net, call, ask.limit, after).await?;
                let more = more(&events)?;
                Ok(Page { rows: self.reread(net, events.data).await?, more })
            }
        }
    }

    /// One object by its id.
    pub(crate) async fn one<W: DeserializeOwned>(&self, net: &Net, id: &str) -> Result<Row<W>, Fault> {
        Row::read_one(api::fetch(net, self.name, id).await?.ok_or(Fault::Gone)?)
    }

    /// Reads each object that events tell of, once. An event holds the object as it was then, and events come in any
    /// order: what counts is what Stripe says now. Of an object that is gone an event about that says so.
    async fn reread<W: DeserializeOwned>(&self, net: &Net, events: Vec<Value>) -> Result<Vec<Row<W>>, Fault> {
        let mut missing: BTreeMap<String, bool> = BTreeMap::new();
        let mut rows = Vec::new();
        for raw in events {
            let event = match serde_json::from_value::<Event>(raw.clone()) {
                Ok(event) => event,
                Err(error) => {
                    rows.push(Row::Bad { raw, why: error.to_string() });
                    continue;
                }
            };
            let Some(id) = event.object_id().map(str::to_owned) else {
                rows.push(Row::Bad { raw, why: "no data.object.id".to_owned() });
                continue;
            };
            if !missing.contains_key(&id) {
                let object = api::fetch(net, self.name, &id).await?;
                missing.insert(id.clone(), object.is_none());
                rows.extend(object.map(Row::read));
            }
            if is_deletion(&event.kind)
                && let Some(is_missing) = missing.get_mut(&id).filter(|is_missing| **is_missing)
            {
                *is_missing = false;
                rows.push(Row::Gone { remote_id: id, raw });
            }
        }
        Ok(rows)
    }
}

/// One page of a list of Stripe's.
pub(crate) async fn list<T: DeserializeOwned>(
    net: &Net,
    call: Call,
    limit: u32,
    after: Option<&str>,
) -> Result<List<T>, Fault> {
    let call = call.query("limit", limit.clamp(1, PAGE_LIMIT).to_string());
    let Some(after) = after else { return net.send(call).await?.json_or(api::refusal) };
    match net.send(call.query("starting_after", after)).await {
        Ok(answer) => answer.json_or(lost_place),
        Err(Fault::Gone) => Err(Fault::CursorGone),
        Err(fault) => Err(fault),
    }
}

/// The object that a page ended with can be deleted before the next page is asked for.
fn lost_place(answer: &Answer) -> Fault {
    match api::error_of(answer).param.as_deref() {
        Some("starting_after") => Fault::CursorGone,
        _ => api::refusal(answer),
    }
}

fn more(list: &List<Value>) -> Result<More, Fault> {
    if !list.has_more {
        return Ok(More::End);
    }
    let last = list.data.last().and_then(|row| row.get("id")).and_then(Value::as_str);
    let why = "the list goes on, but its last row has no id";
    last.map(|id| More::At(json!({ "after": id })))
        .ok_or_else(|| Fault::Shape { path: "data".to_owned(), why: why.to_owned() })
}

fn seconds(micros: i64) -> String {
    micros.div_euclid(1_000_000).to_string()
}
