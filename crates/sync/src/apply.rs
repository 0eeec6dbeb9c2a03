//! What was read from a system becomes records: every row in the caller's transaction, a bad row by itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use crosstie_app::{App, AppError, Cause, Deleted, Ingested, Observation, Origin};
use crosstie_domain::{
    Instant,
    ids::{CorrectionId, InboundEventId, SyncRunId},
    integration::{AssertedField, Claim, ConnectionMode, DeleteEvidence, Entity, OUR_WRITE},
};
use crosstie_sdk::{AnyReader, Fault, MappedRow, Observed};
use crosstie_store::{
    StoreError, Tx,
    integration::{ParkedRow, connection_state, identity},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Connection,
    exchanges::exchange_that_brought,
    gone::{Missing, believed_gone, claim, without_ghosts},
    inbox::describe,
};

/// The longest id of a vendor that the hub takes, in bytes.
const LONGEST_ID: usize = 255;
/// The code of a row that the database will not take.
pub(crate) const UNSTORABLE: &str = "UNSTORABLE";

/// What set off the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// A run; rows whose version was seen before are passed over.
    Run(SyncRunId),
    /// An inbound event.
    Event(InboundEventId),
    /// Our own write.
    Write,
    /// A release of the connector that maps otherwise.
    NewMapping,
    /// A row that could not be applied, as a person corrected it.
    Corrected(CorrectionId),
    /// A run that reads again what was read before, whatever its version.
    Again(SyncRunId),
}

/// What came of a batch of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) changed: i32,
    pub(crate) parked: i32,
    /// Whether a row that was asked for, and not only referred to, could not be mapped.
    pub(crate) subject_parked: bool,
    /// Whether the state of a record has to be asked for again.
    pub(crate) ask_again: bool,
}

impl Applied {
    pub(crate) fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.parked += other.parked;
        self.subject_parked |= other.subject_parked;
        self.ask_again |= other.ask_again;
    }
}

/// A row as it was read.
#[derive(Debug)]
pub(crate) struct ReadRow {
    pub(crate) entity: Entity,
    pub(crate) row: MappedRow,
    /// When the vendor was asked.
    pub(crate) asked_at: Instant,
    /// Whether it was read only because another row refers to it.
    pub(crate) is_reference: bool,
}

/// Why rows could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Vendor(#[from] Fault),
    #[error(transparent)]
    App(#[from] AppError),
}

impl From<crosstie_store::StoreError> for ApplyError {
    fn from(error: crosstie_store::StoreError) -> Self {
        Self::App(error.into())
    }
}

impl ApplyError {
    /// Whether the database will not take these rows, however often they come.
    pub(crate) fn is_poison(&self) -> bool {
        matches!(self, Self::App(AppError::Store(StoreError::Statement(_) | StoreError::Corrupt { .. })))
    }

    /// What went wrong, in the terms of faults.
    pub(crate) fn to_fault(&self) -> Fault {
        match self {
            Self::Vendor(fault) => fault.clone(),
            Self::App(error) if self.is_poison() => Fault::Shape { path: "$".to_owned(), why: describe(error) },
            Self::App(error) => Fault::Transient { why: describe(error) },
        }
    }
}

/// Where rows come from, as it stands in the transaction that takes them in.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) connection: &'a Connection,
    because: Because,
    mode: ConnectionMode,
}

impl<'a> Source<'a> {
    /// What a connection says in this transaction.
    pub(crate) async fn of(tx: &Tx, connection: &'a Connection, because: Because) -> Result<Self, StoreError> {
        Ok(Self { connection, because, mode: keep_up(tx, connection).await? })
    }

    /// Where what was read came from; the label is that of the connection's mapping.
    pub(crate) fn origin(self, mapping_version: &'a str) -> Origin<'a> {
        let (run, event) = match self.because {
            Because::Run(run) | Because::Again(run) => (Some(run), None),
            Because::Event(event) => (None, Some(event)),
            Because::Write | Because::NewMapping | Because::Corrected(_) => (None, None),
        };
        Origin {
            connection: self.connection.record.id,
            run,
            event,
            exchange: None,
            arms: self.connection.record.arms.as_slice(),
            mode: self.mode,
            cause: match self.because {
                Because::Corrected(correction) => Cause::Corrected(correction),
                _ => Cause::Reading,
            },
            mapping_version,
        }
    }
}

/// How far a connection goes now. Its mapping is the one that the transaction sees: what is written under it must have
/// been mapped by it.
async fn keep_up(tx: &Tx, connection: &Connection) -> Result<ConnectionMode, StoreError> {
    let state = connection_state(tx, connection.record.id).await?;
    if state.mapping_version != connection.mapping_version() {
        connection.take_up_from(tx, (state.mapping_version, Some(tx.now()))).await?;
    }
    Ok(state.mode)
}

/// Reads the records that rows refer to and that the hub does not know yet, and puts them first.
pub(crate) async fn with_references(
    app: &App,
    connection: &Connection,
    (entity, asked_at): (Entity, Instant),
    rows: Vec<MappedRow>,
) -> Result<Vec<ReadRow>, ApplyError> {
    let rows = match reader(connection, entity) {
        Some(reader) => without_ghosts(app, connection, reader, rows).await?,
        None => rows,
    };
    let mut all = Vec::new();
    let mut asked = HashSet::new();
    for row in &rows {
        let MappedRow::Good(seen) = row else { continue };
        let Some((entity, remote_id)) = seen.claim.references() else { continue };
        if !asked.insert((entity, remote_id.to_owned())) {
            continue;
        }
        if identity(app.store(), connection.record.id, entity, remote_id).await?.is_some() {
            continue;
        }
        let Some(reader) = reader(connection, entity) else { continue };
        let asked_at = app.store().now();
        let row = match reader.read_one(&connection.net, remote_id).await {
            Ok(row) => row,
            Err(Fault::Gone | Fault::Merged { .. }) => continue,
            // The rows that refer to it are good without it.
            Err(fault @ (Fault::Shape { .. } | Fault::Rejected { .. } | Fault::Unsupported)) => MappedRow::Bad {
                remote_id: Some(remote_id.to_owned()),
                code: fault.code().to_owned(),
                why: fault.to_string(),
                raw: Value::Null,
            },
            Err(fault) => return Err(fault.into()),
        };
        all.push(ReadRow { entity, row, asked_at, is_reference: true });
    }
    all.extend(rows.into_iter().map(|row| ReadRow { entity, row, asked_at, is_reference: false }));
    Ok(all)
}

/// The reader of a kind of record, if the connector has one.
pub(crate) fn reader(connection: &Connection, entity: Entity) -> Option<&'static dyn AnyReader> {
    let connector: &'static dyn crosstie_sdk::Connector = connection.connector;
    connector.readers().iter().copied().find(|reader| reader.entity() == entity)
}

/// Applies rows in the caller's transaction.
pub(crate) async fn apply(
    app: &App,
    tx: &Tx,
    connection: &Connection,
    because: Because,
    rows: &[ReadRow],
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    let source = Source::of(tx, connection, because).await?;
    let gone = believed_gone(tx, connection, rows).await?;
    for row in rows {
        let mapped_now = matches!(because, Because::NewMapping | Because::Corrected(_));
        let anew = connection.mapped_now(row).filter(|_| !mapped_now);
        let row = anew.as_ref().unwrap_or(row);
        let bad = match &row.row {
            MappedRow::Good(seen) => match take_row(app, tx, source, &gone, (row, seen)).await? {
                Some(Ingested::Unusable { code, why }) => {
                    Some((Some(seen.key.remote_id.clone()), code.to_owned(), why, &seen.raw))
                }
                taken => {
                    applied.changed += i32::from(matches!(taken, Some(Ingested::Taken { changed: true, .. })));
                    applied.ask_again |= matches!(taken, Some(Ingested::AskAgain)) && !row.is_reference;
                    None
                }
            },
            MappedRow::Bad { remote_id, code, why, raw } => Some((remote_id.clone(), code.clone(), why.clone(), raw)),
            MappedRow::Gone { remote_id, .. } => {
                let missing = Missing {
                    entity: row.entity,
                    remote_id,
                    evidence: DeleteEvidence::Announced,
                    merged_into: None,
                    sweep: None,
                    asked_at: row.asked_at,
                };
                let deleted = claim(app, tx, (connection, because), missing).await?;
                applied.changed += i32::from(deleted == Deleted::Claimed { everywhere: true });
                applied.ask_again |= deleted == Deleted::AskAgain && !row.is_reference;
                None
            }
        };
        if let Some((remote_id, code, why, raw)) = bad {
            park(app, tx, connection, (row.entity, remote_id, code, why, raw)).await?;
            applied.parked += 1;
            applied.subject_parked |= !row.is_reference;
        }
    }
    Ok(applied)
}

/// Applies rows one at a time, each in a transaction of its own, and parks those that the database will not take.
pub(crate) async fn apply_singly(
    app: &App,
    connection: &Connection,
    because: Because,
    rows: &[ReadRow],
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    for row in rows {
        let tx = app.store().begin().await?;
        match apply(app, &tx, connection, because, std::slice::from_ref(row)).await {
            Ok(one) => {
                tx.commit().await?;
                applied.add(one);
            }
            Err(error) if error.is_poison() => {
                drop(tx);
                let (remote_id, raw) = (row.row.remote_id().map(str::to_owned), row.row.raw());
                let tx = app.store().begin().await?;
                let why = describe(&error);
                let parked = (row.entity, remote_id, UNSTORABLE.to_owned(), why, raw);
                park(app, &tx, connection, parked).await?;
                tx.commit().await?;
                applied.add(Applied { parked: 1, subject_parked: !row.is_reference, ..Applied::default() });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(applied)
}

async fn park(
    app: &App,
    tx: &Tx,
    connection: &Connection,
    (entity, remote_id, code, message, raw): (Entity, Option<String>, String, String, &Value),
) -> Result<(), ApplyError> {
    let raw = raw.to_string();
    let usable = remote_id.filter(|id| is_usable_id(id));
    let parked = ParkedRow {
        connection_id: connection.record.id,
        entity,
        remote_id: usable.unwrap_or_else(|| hex::encode(Sha256::digest(&raw))),
        code,
        message,
        raw,
        mapping_version: connection.mapping_label(),
    };
    Ok(app.park(tx, parked).await?)
}

/// Whether a vendor's id can be a key here: both databases refuse NUL or very long keys.
pub(crate) fn is_usable_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0')
}

/// Takes one good row in; `None` when this version of it was taken in before.
async fn take_row(
    app: &App,
    tx: &Tx,
    source: Source<'_>,
    gone: &HashMap<(Entity, String), Instant>,
    (row, seen): (&ReadRow, &Observed),
) -> Result<Option<Ingested>, ApplyError> {
    if !is_usable_id(&seen.key.remote_id) {
        let why = format!("an id has 1 to {LONGEST_ID} bytes, none of them NUL");
        return Ok(Some(Ingested::Unusable { code: "BAD_ID", why }));
    }
    let gone_at = gone.get(&(row.entity, seen.key.remote_id.clone()));
    if gone_at.is_some_and(|at| row.asked_at < *at) {
        return Ok(Some(Ingested::AskAgain));
    }
    if let Because::Run(_) = source.because
        && gone_at.is_none()
        && unchanged(tx, source.connection, seen).await?
    {
        return Ok(None);
    }
    let taken = take(app, tx, source, (row.asked_at, seen)).await?;
    if let Ingested::Taken { record_id, .. } = &taken {
        tx.unpark_row(source.connection.record.id, row.entity, &seen.key.remote_id).await?;
        if gone_at.is_some() {
            let back = (row.entity, seen.key.remote_id.as_str(), record_id.as_str());
            app.came_back(tx, source.origin(&source.connection.mapping_label()), back).await?;
        }
    }
    Ok(Some(taken))
}

/// Whether this version of the row was taken in before.
async fn unchanged(tx: &Tx, connection: &Connection, seen: &Observed) -> Result<bool, ApplyError> {
    let Some(version) = &seen.key.version else { return Ok(false) };
    let known = identity(tx, connection.record.id, seen.claim.entity(), &seen.key.remote_id).await?;
    Ok(known.is_some_and(|known| known.remote_version.as_ref() == Some(version)))
}

async fn take(
    app: &App,
    tx: &Tx,
    source: Source<'_>,
    (asked_at, seen): (Instant, &Observed),
) -> Result<Ingested, ApplyError> {
    let mapping_version = source.connection.mapping_label();
    let exchange = exchange_that_brought(&seen.key.remote_id);
    let origin = Origin { exchange, ..source.origin(&mapping_version) };
    let raw = seen.raw.to_string();
    // PostgreSQL keeps no NUL in a text; in JSON it is written with a backslash and does no harm.
    let clean = raw.contains("\\u0000").then(|| without_nul(&seen.claim)).flatten();
    let observation = Observation {
        remote_id: &seen.key.remote_id,
        remote_version: seen.key.version.as_deref().filter(|version| is_usable_id(version)),
        asked_at,
        claim: clean.as_ref().unwrap_or(&seen.claim),
        fields: &seen.fields,
        raw: &raw,
    };
    // On the heap: what is decided on a row is too much for the stack of every way that leads here.
    Ok(Box::pin(app.ingest(tx, origin, observation)).await?)
}

/// The claim with every NUL in its texts shown as one that cannot be shown.
fn without_nul(claim: &Claim) -> Option<Claim> {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
            Value::Array(items) => items.iter_mut().for_each(clean),
            Value::Object(fields) => fields.values_mut().for_each(clean),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(claim).ok()?;
    clean(&mut value);
    serde_json::from_value(value).ok()
}

/// Applies what a vendor answered to our own write.
pub(crate) async fn apply_answer(
    app: &App,
    tx: &Tx,
    connection: &Connection,
    (asked_at, remote_id, claim): (Instant, &str, &Claim),
) -> Result<(), ApplyError> {
    let raw = serde_json::to_value(claim).unwrap_or(Value::Null);
    let fields: BTreeMap<String, AssertedField> = raw
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| name.as_str() != "entity" && !value.is_null())
        .map(|(name, value)| {
            let source_path = OUR_WRITE.to_owned();
            (name.clone(), AssertedField { value: value.clone(), source_path, changed: false, problem: None })
        })
        .collect();
    let seen = Observed {
        key: crosstie_sdk::RowKey { remote_id: remote_id.to_owned(), version: None },
        claim: claim.clone(),
        fields,
        raw,
    };
    let source = Source { connection, because: Because::Write, mode: keep_up(tx, connection).await? };
    take(app, tx, source, (asked_at, &seen)).await.map(|_| ())
}
