//! Pages by change time and id, so that no row is lost between rows of one moment.

use crosstie_sdk::{Ask, Call, Fault, More, Net, Page, Row, domain::Instant};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Where the next page begins: behind the row with this change time and id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    changed_at: i64,
    id: String,
}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Value>,
    /// Of the last row, when there are more.
    next: Option<Place>,
}

fn milliseconds(at: Instant) -> i64 {
    at.micros() / 1_000
}

/// One page of a list.
pub(crate) async fn page<W: DeserializeOwned>(net: &Net, ask: &Ask, list: &str) -> Result<Page<W>, Fault> {
    let mut call = Call::get(format!("/v1/{list}")).query("limit", ask.limit.to_string());
    call = call.query("until", milliseconds(ask.until).to_string());
    if let Some(since) = ask.since {
        call = call.query("since", milliseconds(since).to_string());
    }
    if let Some(more) = &ask.more {
        let place = Place::deserialize(more).map_err(|_| Fault::CursorGone)?;
        call = call.query("after", place.changed_at.to_string()).query("after_id", place.id);
    }
    let Rows { rows, next } = net.send(call).await?.json()?;
    let more = next.map_or(More::End, |place| More::At(serde_json::to_value(place).unwrap_or_default()));
    Ok(Page { rows: rows.into_iter().map(Row::read).collect(), more })
}

/// One row by its id.
pub(crate) async fn one<W: DeserializeOwned>(net: &Net, list: &str, id: &str) -> Result<Row<W>, Fault> {
    Row::read_one(net.send(Call::get(format!("/v1/{list}/{id}"))).await?.json()?)
}
