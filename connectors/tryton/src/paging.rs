//! Paging by change time. `write_date` stays null until the first change, so each window is read as two streams:
//! the records made in it, then those changed in it.

use crosstie_sdk::{Ask, Fault, More, Net, Page, Row, domain::Instant};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    rest::{Rest, Search},
    wire::{self, DateTime, Stamp},
};

/// Which records are read, and what of them.
pub(crate) struct Listing<'a> {
    /// The kind of record.
    pub(crate) model: &'a str,
    /// What to bring of each, apart from id and times.
    pub(crate) fields: &'a [&'a str],
    /// What they have in common.
    pub(crate) domain: Vec<Value>,
}

/// A place in a window.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Place {
    stream: Stream,
    /// Time and id of the last record that was read; none at the beginning of a stream.
    #[serde(flatten)]
    after: Option<After>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct After {
    at: Instant,
    id: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stream {
    Created,
    Changed,
}

impl Stream {
    fn column(self) -> &'static str {
        match self {
            Self::Created => "create_date",
            Self::Changed => "write_date",
        }
    }

    fn time(self, stamp: Stamp) -> Option<DateTime> {
        match self {
            Self::Created => stamp.create_date,
            Self::Changed => stamp.write_date,
        }
    }
}

/// One page of the window.
pub(crate) async fn page<W: DeserializeOwned>(net: &Net, ask: &Ask, listing: Listing<'_>) -> Result<Page<W>, Fault> {
    let place = match &ask.more {
        None => Place { stream: Stream::Created, after: None },
        Some(more) => serde_json::from_value(more.clone()).map_err(|_| Fault::CursorGone)?,
    };
    let column = place.stream.column();
    let mut domain = listing.domain;
    domain.push(json!([column, "<=", DateTime::of(ask.until)]));
    if let Some(since) = ask.since {
        domain.push(json!([column, ">=", DateTime::of(since)]));
    }
    if let Some(After { at, id }) = place.after {
        let at = DateTime::of(at);
        domain.push(json!(["OR", [column, ">", at], [[column, "=", at], ["id", ">", id]]]));
    }
    let fields = [&["create_date", "write_date"], listing.fields].concat();
    let size = ask.limit.max(1);
    let search = Search {
        model: listing.model,
        fields: &fields,
        domain: Value::Array(domain),
        order: json!([[column, "ASC"], ["id", "ASC"]]),
        size,
    };
    let raw = Rest::of(net)?.search(search).await?;

    let full = usize::try_from(size).is_ok_and(|size| raw.len() >= size);
    let next = match raw.last() {
        Some(last) if full => {
            let stamp: Stamp = wire::read(last.clone())?;
            let at = place.stream.time(stamp).ok_or_else(|| shape(column, "missing"))?;
            let at = at.instant().map_err(|why| shape(column, &why))?;
            Some(Place { after: Some(After { at, id: stamp.id }), ..place })
        }
        // A first load needs no second stream: whatever was changed had been made, and was read as it stands now.
        _ if place.stream == Stream::Created && ask.since.is_some() => {
            Some(Place { stream: Stream::Changed, after: None })
        }
        _ => None,
    };
    let more = next.map_or(More::End, |place| More::At(json!(place)));
    Ok(Page { rows: raw.into_iter().map(Row::read).collect(), more })
}

fn shape(path: &str, why: &str) -> Fault {
    Fault::Shape { path: path.to_owned(), why: why.to_owned() }
}
