//! What was read from a system becomes records: every row in the caller's transaction, a bad row by itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use crosstie_app::{App, AppError, Cause, Deleted, Ingested, KnownVersion, Observation, Origin};
use crosstie_domain::{
    Instant,
    ids::{CorrectionId, InboundEventId, SyncRunId},
    integration::{AssertedField, Claim, ConnectionMode, DeleteEvidence, Entity, OUR_WRITE},
};
use crosstie_sdk::{AnyReader, Fault, MappedRow, Observed};
use crosstie_store::{
    StoreError, Tx,
    integration::{ParkedRow, connection_state, identities_at},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Connection,
    exchanges::exchanges_that_brought,
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

/// Reads again what a list shows though it is believed to be gone, and what its rows refer to.
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
    references_first(app, connection, entity, vec![(asked_at, rows)]).await
}

/// Reads the records that rows refer to and that the hub does not know yet, and puts them first. The rows come in pages,
/// each with the moment at which it was asked for.
pub(crate) async fn references_first(
    app: &App,
    connection: &Connection,
    entity: Entity,
    pages: Vec<(Instant, Vec<MappedRow>)>,
) -> Result<Vec<ReadRow>, ApplyError> {
    let mut all = Vec::new();
    for (entity, remote_id) in unknown_references(app, connection, &pages).await? {
        let Some(reader) = reader(connection, entity) else { continue };
        let asked_at = app.store().now();
        let row = match reader.read_one(&connection.net, &remote_id).await {
            Ok(row) => row,
            Err(Fault::Gone | Fault::Merged { .. }) => continue,
            // The rows that refer to it are good without it.
            Err(fault @ (Fault::Shape { .. } | Fault::Rejected { .. } | Fault::Unsupported)) => MappedRow::Bad {
                remote_id: Some(remote_id),
                code: fault.code().to_owned(),
                why: fault.to_string(),
                raw: Value::Null,
            },
            Err(fault) => return Err(fault.into()),
        };
        all.push(ReadRow { entity, row, asked_at, is_reference: true });
    }
    for (asked_at, rows) in pages {
        all.extend(rows.into_iter().map(|row| ReadRow { entity, row, asked_at, is_reference: false }));
    }
    Ok(all)
}

/// The records that rows refer to and that the hub does not know yet, in the order in which they are referred to.
async fn unknown_references(
    app: &App,
    connection: &Connection,
    pages: &[(Instant, Vec<MappedRow>)],
) -> Result<Vec<(Entity, String)>, StoreError> {
    let referred = pages.iter().flat_map(|(_, rows)| rows).filter_map(|row| match row {
        MappedRow::Good(seen) => seen.claim.references(),
        MappedRow::Bad { .. } | MappedRow::Gone { .. } => None,
    });
    let mut once = HashSet::new();
    let mut referred: Vec<(Entity, &str)> = referred.filter(|reference| once.insert(*reference)).collect();
    let mut by_entity: BTreeMap<Entity, Vec<&str>> = BTreeMap::new();
    for (entity, remote_id) in &referred {
        by_entity.entry(*entity).or_default().push(remote_id);
    }
    for (entity, ids) in by_entity {
        let known = identities_at(app.store(), (connection.record.id, entity), &ids).await?;
        let known: HashSet<String> = known.into_iter().map(|link| link.remote_id).collect();
        referred.retain(|(kind, remote_id)| *kind != entity || !known.contains(*remote_id));
    }
    Ok(referred.into_iter().map(|(entity, remote_id)| (entity, remote_id.to_owned())).collect())
}

/// The reader of a kind of record, if the connector has one.
pub(crate) fn reader(connection: &Connection, entity: Entity) -> Option<&'static dyn AnyReader> {
    let connector: &'static dyn crosstie_sdk::Connector = connection.connector;
    connector.readers().iter().copied().find(|reader| reader.entity() == entity)
}

/// Applies rows in the caller's transaction, in their order. What follows each other without a deletion between is taken
/// in together.
pub(crate) async fn apply(
    app: &App,
    tx: &Tx,
    connection: &Connection,
    because: Because,
    rows: &[ReadRow],
) -> Result<Applied, ApplyError> {
    let source = Source::of(tx, connection, because).await?;
    let gone = believed_gone(tx, connection, rows).await?;
    let mapped_now = matches!(because, Because::NewMapping | Because::Corrected(_));
    let anew: Vec<Option<ReadRow>> =
        rows.iter().map(|row| connection.mapped_now(row).filter(|_| !mapped_now)).collect();
    let rows: Vec<&ReadRow> = rows.iter().zip(&anew).map(|(row, anew)| anew.as_ref().unwrap_or(row)).collect();
    let alone = |row: &ReadRow| matches!(row.row, MappedRow::Gone { .. }) || gone_at(&gone, row).is_some();
    if rows.len() > 1 && rows.iter().any(|row| alone(row)) {
        // What is taken in one after the other is held at once all the same: see `App::ingest_page`.
        let usable = rows.iter().filter_map(|row| Some((row.entity, row.row.remote_id()?)));
        let remote: Vec<_> = usable.filter(|(_, id)| is_usable_id(id)).collect();
        tx.lock_identities(connection.record.id, &remote).await?;
    }
    let mut applied = Applied::default();
    let mut rest = rows.as_slice();
    while let Some((first, others)) = rest.split_first() {
        if let MappedRow::Gone { remote_id, .. } = &first.row {
            applied.add(take_gone(app, tx, source, (first, remote_id)).await?);
            rest = others;
            continue;
        }
        let together = if alone(first) { 0 } else { others.iter().take_while(|row| !alone(row)).count() };
        let (page, next) = rest.split_at(together + 1);
        // On the heap: what is decided on a page is too much for the stack of every way that leads here.
        applied.add(Box::pin(take_page(app, tx, source, (page, &gone))).await?);
        rest = next;
    }
    Ok(applied)
}

/// Since when the hub believes the record of a row to be gone.
fn gone_at(gone: &HashMap<(Entity, String), Instant>, row: &ReadRow) -> Option<Instant> {
    if gone.is_empty() {
        return None;
    }
    gone.get(&(row.entity, row.row.remote_id()?.to_owned())).copied()
}

async fn take_gone(
    app: &App,
    tx: &Tx,
    source: Source<'_>,
    (row, remote_id): (&ReadRow, &str),
) -> Result<Applied, ApplyError> {
    let missing = Missing {
        entity: row.entity,
        remote_id,
        evidence: DeleteEvidence::Announced,
        merged_into: None,
        sweep: None,
        asked_at: row.asked_at,
    };
    let deleted = claim(app, tx, (source.connection, source.because), missing).await?;
    Ok(Applied {
        changed: i32::from(deleted == Deleted::Claimed { everywhere: true }),
        ask_again: deleted == Deleted::AskAgain && !row.is_reference,
        ..Applied::default()
    })
}

/// Takes rows in together that say what records are, and parks those of which nothing can be made.
async fn take_page(
    app: &App,
    tx: &Tx,
    source: Source<'_>,
    (rows, gone): (&[&ReadRow], &HashMap<(Entity, String), Instant>),
) -> Result<Applied, ApplyError> {
    let connection = source.connection;
    let mut results: Vec<Option<Ingested>> = Vec::with_capacity(rows.len());
    let mut seen = Vec::new();
    for row in rows {
        let MappedRow::Good(observed) = &row.row else {
            results.push(None);
            continue;
        };
        let id = &observed.key.remote_id;
        results.push(match gone_at(gone, row) {
            _ if !is_usable_id(id) => {
                let why = format!("an id has 1 to {LONGEST_ID} bytes, none of them NUL");
                Some(Ingested::Unusable { code: "BAD_ID", why })
            }
            Some(at) if row.asked_at < at => Some(Ingested::AskAgain),
            gone_at => {
                let again = gone_at.is_some() || !matches!(source.because, Because::Run(_));
                let known = if again { KnownVersion::TakenAgain } else { KnownVersion::PassedOver };
                seen.push((row.asked_at, &**observed, known));
                None
            }
        });
    }
    let mut taken = take(app, tx, source, &seen).await?.into_iter();
    let mut applied = Applied::default();
    let mut parked: Vec<(&ReadRow, ParkedRow)> = Vec::new();
    let mut unparked: BTreeMap<Entity, Vec<&str>> = BTreeMap::new();
    let mut came_back = None;
    for (row, result) in rows.iter().copied().zip(results) {
        let bad = match &row.row {
            MappedRow::Good(observed) => match result.or_else(|| taken.next()) {
                Some(Ingested::Unusable { code, why }) => {
                    Some((Some(observed.key.remote_id.clone()), code.to_owned(), why, &observed.raw))
                }
                Some(Ingested::Taken { record_id, changed }) => {
                    applied.changed += i32::from(changed);
                    let id = observed.key.remote_id.as_str();
                    parked.retain(|(other, parked)| (other.entity, parked.remote_id.as_str()) != (row.entity, id));
                    unparked.entry(row.entity).or_default().push(id);
                    if gone_at(gone, row).is_some() {
                        came_back = Some((row.entity, id, record_id));
                    }
                    None
                }
                result => {
                    applied.ask_again |= matches!(result, Some(Ingested::AskAgain)) && !row.is_reference;
                    None
                }
            },
            MappedRow::Bad { remote_id, code, why, raw } => Some((remote_id.clone(), code.clone(), why.clone(), raw)),
            MappedRow::Gone { .. } => None,
        };
        if let Some((remote_id, code, why, raw)) = bad {
            parked.push((row, waiting(connection, (row.entity, remote_id, code, why, raw))));
            applied.parked += 1;
            applied.subject_parked |= !row.is_reference;
        }
    }
    for (entity, ids) in unparked {
        tx.unpark_rows((connection.record.id, entity), &ids).await?;
    }
    app.park_all(tx, parked.into_iter().map(|(_, row)| row).collect()).await?;
    // A row that is believed to be gone comes alone.
    if let Some((entity, remote_id, record_id)) = came_back {
        let back = (entity, remote_id, record_id.as_str());
        app.came_back(tx, source.origin(&connection.mapping_label()), back).await?;
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
                app.park(&tx, waiting(connection, parked)).await?;
                tx.commit().await?;
                applied.add(Applied { parked: 1, subject_parked: !row.is_reference, ..Applied::default() });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(applied)
}

/// A row as it waits among those that could not be applied.
fn waiting(
    connection: &Connection,
    (entity, remote_id, code, message, raw): (Entity, Option<String>, String, String, &Value),
) -> ParkedRow {
    let raw = raw.to_string();
    let usable = remote_id.filter(|id| is_usable_id(id));
    ParkedRow {
        connection_id: connection.record.id,
        entity,
        remote_id: usable.unwrap_or_else(|| hex::encode(Sha256::digest(&raw))),
        code,
        message,
        raw,
        mapping_version: connection.mapping_label(),
    }
}

/// Whether a vendor's id can be a key here: both databases refuse NUL or very long keys.
pub(crate) fn is_usable_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0')
}

/// Takes good rows in, in their order: when each was asked for, and what becomes of a version that is known.
async fn take(
    app: &App,
    tx: &Tx,
    source: Source<'_>,
    rows: &[(Instant, &Observed, KnownVersion)],
) -> Result<Vec<Ingested>, ApplyError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mapping_version = source.connection.mapping_label();
    let ids: Vec<&str> = rows.iter().map(|(_, seen, _)| seen.key.remote_id.as_str()).collect();
    let exchanges = exchanges_that_brought(&ids);
    let mut page = Vec::with_capacity(rows.len());
    for (place, (asked_at, seen, known_version)) in rows.iter().enumerate() {
        page.push(Observation {
            remote_id: &seen.key.remote_id,
            remote_version: seen.key.version.as_deref().filter(|version| is_usable_id(version)),
            asked_at: *asked_at,
            exchange: exchanges[place],
            known_version: *known_version,
            claim: &seen.claim,
            fields: &seen.fields,
            raw: seen.text(),
        });
    }
    Ok(app.ingest_page(tx, source.origin(&mapping_version), &page).await?)
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
    let key = crosstie_sdk::RowKey { remote_id: remote_id.to_owned(), version: None };
    let seen = Observed::new(key, claim.clone(), fields, raw);
    let source = Source { connection, because: Because::Write, mode: keep_up(tx, connection).await? };
    let rows = [(asked_at, &seen, KnownVersion::TakenAgain)];
    Box::pin(take(app, tx, source, &rows)).await.map(|_| ())
}
