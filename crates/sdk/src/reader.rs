//! Reading a vendor: pages of rows, one row by its id, and the pure mapping of a row to a claim.

use std::{collections::BTreeMap, sync::OnceLock};

use crosstie_domain::{
    Instant,
    integration::{AssertedField, Claim, Entity},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Fault, Net, Settings};

/// How changes are found. It is the only way to declare that a reader can be incremental.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By change time: each window is read from a little before the last proven one up to now, the vendor's page
    /// order being (change time, id). Rows that are seen twice do no harm.
    Keyset {
        /// The finest step of the vendor's change time, in milliseconds.
        granularity_ms: i64,
        /// How far back each window reaches into the one before, in seconds.
        overlap_seconds: i64,
    },
    /// By the vendor's feed of events; the first window lists everything instead.
    Feed {
        /// How far back each window reaches into the one before, in seconds.
        overlap_seconds: i64,
        /// How long the vendor keeps events, in seconds: after a longer pause everything is listed again.
        retention_seconds: i64,
    },
}

impl Order {
    /// How far back each window reaches into the one before, in milliseconds: the declared overlap, two steps of
    /// the vendor's change time, or five minutes, whichever is longest.
    pub fn overlap_ms(self) -> i64 {
        let (overlap_seconds, granularity_ms) = match self {
            Self::Keyset { granularity_ms, overlap_seconds } => (overlap_seconds, granularity_ms),
            Self::Feed { overlap_seconds, .. } => (overlap_seconds, 1_000),
        };
        overlap_seconds.saturating_mul(1_000).max(granularity_ms.saturating_mul(2)).max(300_000)
    }
}

/// How deletes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// The vendor tells by webhook or feed, which can be missed: now and then a complete listing shows what was.
    Announced,
    /// What is gone stays among the rows, marked as such.
    Tombstones,
    /// The vendor does not tell; only a complete listing shows that a row is missing.
    SweepOnly,
    /// Nothing is ever deleted there.
    Never,
}

impl Deletes {
    /// How long it is from one complete listing to the next, in milliseconds; `None` where there is nothing to find.
    pub fn sweep_every_ms(self) -> Option<i64> {
        match self {
            Self::SweepOnly => Some(86_400_000),
            Self::Announced | Self::Tombstones => Some(7 * 86_400_000),
            Self::Never => None,
        }
    }
}

/// What the host asks of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Lower bound of the window, inclusive; `None` on the first load.
    pub since: Option<Instant>,
    /// Upper bound of the window, inclusive; never later than when the window was opened.
    pub until: Instant,
    /// The vendor's or connector's place inside the window; `None` for its first page.
    pub more: Option<Value>,
    /// How many rows a page should hold at most.
    pub limit: u32,
}

/// One page.
#[derive(Debug)]
pub struct Page<W> {
    /// The rows, good and bad.
    pub rows: Vec<Row<W>>,
    /// Whether the window goes on.
    pub more: More,
}

/// Whether a window goes on after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum More {
    /// It goes on from here. The host keeps the value and gives it back; it means nothing to it.
    At(Value),
    /// It was read to its end.
    End,
}

/// A row of a page. A bad row never spoils its page.
#[derive(Debug)]
pub enum Row<W> {
    /// It could be read.
    Ok {
        /// The row in the vendor's terms.
        wire: W,
        /// The row as it came.
        raw: Value,
    },
    /// It could not be read.
    Bad {
        /// The row as it came.
        raw: Value,
        /// What was wrong with it.
        why: String,
    },
    /// The vendor says that it is gone.
    Gone {
        /// Its id.
        remote_id: String,
        /// What says so, as it came.
        raw: Value,
    },
}

impl<W: DeserializeOwned> Row<W> {
    /// Reads a row of a page.
    pub fn read(raw: Value) -> Self {
        match W::deserialize(&raw) {
            Ok(wire) => Self::Ok { wire, raw },
            Err(error) => Self::Bad { raw, why: error.to_string() },
        }
    }

    /// Reads a row that was asked for by its id.
    ///
    /// # Errors
    /// [`Fault::Shape`].
    pub fn read_one(raw: Value) -> Result<Self, Fault> {
        match Self::read(raw) {
            Self::Bad { why, .. } => Err(Fault::Shape { path: "$".to_owned(), why }),
            good => Ok(good),
        }
    }
}

/// Which row it is, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// The vendor's id.
    pub remote_id: String,
    /// The vendor's version: a change time, an etag, whatever changes when the row does.
    pub version: Option<String>,
}

/// A short text in the place of one that is too long for a version: another one for another text.
pub fn fingerprint(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..16])
}

/// A row that cannot be mapped at all. It parks alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct Unmappable {
    /// A stable code, such as `MISSING_NAME`.
    pub code: &'static str,
    /// What is wrong, in words.
    pub why: String,
}

/// Reads one kind of record.
#[async_trait::async_trait]
pub trait Reader: Send + Sync {
    /// The row in the vendor's terms.
    type Wire: DeserializeOwned + Send + Sync;

    /// The kind of record it becomes.
    fn entity(&self) -> Entity;

    /// One page of the window.
    ///
    /// # Errors
    /// Why the vendor did not give it; a row that cannot be read is no fault but a [`Row::Bad`].
    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Self::Wire>, Fault>;

    /// One row by its id.
    ///
    /// # Errors
    /// [`Fault::Gone`] when there is no such row, [`Fault::Merged`] when it was merged into another one, or why the
    /// vendor did not give it.
    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Self::Wire>, Fault>;

    /// Which row it is. Pure.
    fn key(&self, wire: &Self::Wire) -> RowKey;

    /// Whether the row only says that the record is gone. Pure.
    fn is_gone(&self, _wire: &Self::Wire) -> bool {
        false
    }

    /// What the row says, in the hub's terms. Pure. Each value passes through the bag, which keeps where it stood;
    /// a value that cannot be read is noted there and left out, and the rest of the row goes on.
    ///
    /// # Errors
    /// When nothing useful can be said of the row.
    fn map(&self, wire: &Self::Wire, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable>;
}

/// Notes where each value of a claim stood in the vendor's row: the beginning of lineage.
#[derive(Debug, Default)]
pub struct Bag {
    fields: BTreeMap<String, AssertedField>,
}

impl Bag {
    /// Takes a value for the field of a claim, from a path in the vendor's row. `Ok(None)` says that the vendor
    /// holds no value; `Err` that the value could not be read, which is noted and counts as not spoken of.
    pub fn take<T: Serialize, E: std::fmt::Display>(
        &mut self,
        field: &str,
        source_path: &str,
        value: Result<Option<T>, E>,
    ) -> Option<T> {
        let (value, problem) = match value {
            Ok(value) => (value, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let json = serde_json::to_value(&value).unwrap_or(Value::Null);
        let noted = AssertedField { value: json, source_path: source_path.to_owned(), changed: false, problem };
        self.fields.insert(field.to_owned(), noted);
        value
    }

    /// Takes a text that is either there or not.
    pub fn text(&mut self, field: &str, source_path: &str, value: Option<&str>) -> Option<String> {
        let value = value.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        self.take(field, source_path, Ok::<_, std::convert::Infallible>(value))
    }

    /// All that was noted.
    pub fn into_fields(self) -> BTreeMap<String, AssertedField> {
        self.fields
    }
}

/// A row with what it says.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Which row.
    pub key: RowKey,
    /// What it says.
    pub claim: Claim,
    /// Where each value stood.
    pub fields: BTreeMap<String, AssertedField>,
    /// The row as it came.
    pub raw: Value,
    /// What was made of the row, if it was asked for.
    text: OnceLock<String>,
}

impl PartialEq for Observed {
    fn eq(&self, other: &Self) -> bool {
        let Self { key, claim, fields, raw, text: _ } = self;
        (key, claim, fields, raw) == (&other.key, &other.claim, &other.fields, &other.raw)
    }
}

impl Observed {
    /// What a row says. A NUL in what is claimed is shown as one that cannot be shown.
    pub fn new(key: RowKey, claim: Claim, fields: BTreeMap<String, AssertedField>, raw: Value) -> Self {
        let claim = if has_nul(&raw) { without_nul(claim) } else { claim };
        Self { key, claim, fields, raw, text: OnceLock::new() }
    }

    /// The row as it came, as it is written down. It is made when it is first asked for.
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| self.raw.to_string())
    }
}

/// A row of a page after mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum MappedRow {
    /// It says something.
    Good(Box<Observed>),
    /// It parks.
    Bad {
        /// Its id, when that could be read.
        remote_id: Option<String>,
        /// A stable code.
        code: String,
        /// What is wrong, in words.
        why: String,
        /// The row as it came.
        raw: Value,
    },
    /// The vendor says that it is gone.
    Gone {
        /// Its id.
        remote_id: String,
        /// What says so, as it came.
        raw: Value,
    },
}

impl MappedRow {
    /// Its id, when that could be read.
    pub fn remote_id(&self) -> Option<&str> {
        match self {
            Self::Good(seen) => Some(&seen.key.remote_id),
            Self::Bad { remote_id, .. } => remote_id.as_deref(),
            Self::Gone { remote_id, .. } => Some(remote_id),
        }
    }

    /// Makes the text that is written down of it, for whoever asks for it later.
    pub fn write_down(&self) {
        if let Self::Good(seen) = self {
            seen.text();
        }
    }

    /// The row as it came.
    pub fn raw(&self) -> &Value {
        match self {
            Self::Good(seen) => &seen.raw,
            Self::Bad { raw, .. } | Self::Gone { raw, .. } => raw,
        }
    }
}

/// A page after mapping.
#[derive(Debug)]
pub struct MappedPage {
    /// The rows.
    pub rows: Vec<MappedRow>,
    /// Whether the window goes on.
    pub more: More,
}

/// A [`Reader`] whatever its wire type: what the host works with.
#[async_trait::async_trait]
pub trait AnyReader: Send + Sync {
    /// The kind of record it reads.
    fn entity(&self) -> Entity;

    /// One page of the window, mapped.
    ///
    /// # Errors
    /// Why the vendor did not give it.
    async fn read_page(&self, net: &Net, ask: &Ask) -> Result<MappedPage, Fault>;

    /// One row by its id, mapped.
    ///
    /// # Errors
    /// [`Fault::Gone`] when there is no such row, [`Fault::Merged`] when it was merged into another one, or why the
    /// vendor did not give it.
    async fn read_one(&self, net: &Net, remote_id: &str) -> Result<MappedRow, Fault>;

    /// Maps a row as it came, without asking the vendor.
    fn map_raw(&self, settings: &Settings, raw: Value) -> MappedRow;
}

#[async_trait::async_trait]
impl<R: Reader> AnyReader for R {
    fn entity(&self) -> Entity {
        Reader::entity(self)
    }

    async fn read_page(&self, net: &Net, ask: &Ask) -> Result<MappedPage, Fault> {
        let page = self.page(net, ask).await?;
        let settings = net.settings();
        let rows = page.rows.into_iter().map(|row| map_row(self, &settings, row)).collect();
        Ok(MappedPage { rows, more: page.more })
    }

    async fn read_one(&self, net: &Net, remote_id: &str) -> Result<MappedRow, Fault> {
        let row = map_row(self, &net.settings(), self.one(net, remote_id).await?);
        // Taken for the one that was asked for, that one would count as read, and is not.
        if row.remote_id() != Some(remote_id) {
            let why = format!("asked for {remote_id:?}, answered with {:?}", row.remote_id().unwrap_or_default());
            return Err(Fault::Shape { path: "id".to_owned(), why });
        }
        Ok(row)
    }

    fn map_raw(&self, settings: &Settings, raw: Value) -> MappedRow {
        map_row(self, settings, Row::read(raw))
    }
}

fn map_row<R: Reader>(reader: &R, settings: &Settings, row: Row<R::Wire>) -> MappedRow {
    let (wire, raw) = match row {
        Row::Ok { wire, raw } => (wire, raw),
        Row::Bad { raw, why } => {
            // Vendors write the name of it in one case or the other.
            let mut members = raw.as_object().into_iter().flatten();
            let id = members.find(|(name, id)| name.eq_ignore_ascii_case("id") && (id.is_string() || id.is_number()));
            let id = id.map(|(_, id)| id);
            let remote_id = id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
            return MappedRow::Bad { remote_id, code: "UNREADABLE_ROW".to_owned(), why, raw };
        }
        Row::Gone { remote_id, raw } => return MappedRow::Gone { remote_id, raw },
    };
    let key = reader.key(&wire);
    if reader.is_gone(&wire) {
        return MappedRow::Gone { remote_id: key.remote_id, raw };
    }
    let mut bag = Bag::default();
    match reader.map(&wire, settings, &mut bag) {
        Ok(claim) => MappedRow::Good(Box::new(Observed::new(key, claim, bag.into_fields(), raw))),
        Err(Unmappable { code, why }) => {
            MappedRow::Bad { remote_id: Some(key.remote_id), code: code.to_owned(), why, raw }
        }
    }
}

/// A claim with every NUL in its texts shown as one that cannot be shown: PostgreSQL keeps none in a text. In the row as
/// it came it is written with a backslash, and does no harm.
fn without_nul(claim: Claim) -> Claim {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
            Value::Array(items) => items.iter_mut().for_each(clean),
            Value::Object(fields) => fields.values_mut().for_each(clean),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(&claim).unwrap_or_default();
    clean(&mut value);
    serde_json::from_value(value).unwrap_or(claim)
}

/// Whether any text of a value holds a NUL.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.values().any(has_nul),
        _ => false,
    }
}
