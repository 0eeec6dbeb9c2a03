//! What was read from a system becomes records: every row in the caller's transaction, a bad row by itself.

use std::collections::{BTreeMap, HashSet};

use crosstie_app::{App, AppError, Observation, Origin};
use crosstie_domain::{
    ids::{InboundEventId, SyncRunId},
    integration::{AssertedField, Claim, Entity},
};
use crosstie_sdk::{AnyReader, Fault, MappedRow, Observed};
use crosstie_store::{
    Tx,
    integration::{ParkedRow, identity},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Connection;

/// What set off the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// A run; rows whose version was seen before are passed over.
    Run(SyncRunId),
    /// An inbound event.
    Event(InboundEventId),
    /// Our own write.
    Write,
}

/// What came of a batch of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) changed: i32,
    pub(crate) parked: i32,
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

/// Reads the records that rows refer to and that the hub does not know yet, and puts them first.
pub(crate) async fn with_references(
    app: &App,
    connection: &Connection,
    rows: Vec<MappedRow>,
) -> Result<Vec<(Entity, MappedRow)>, ApplyError> {
    let mut first = Vec::new();
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
        match reader.read_one(&connection.net, remote_id).await {
            Ok(row) => first.push((entity, row)),
            Err(Fault::Gone) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    let entity = |row: &MappedRow| match row {
        MappedRow::Good(seen) => Some(seen.claim.entity()),
        MappedRow::Bad { .. } => None,
    };
    let of_page = rows.iter().find_map(entity).unwrap_or(Entity::Opportunity);
    first.extend(rows.into_iter().map(|row| (of_page, row)));
    Ok(first)
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
    rows: &[(Entity, MappedRow)],
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    for (entity, row) in rows {
        match row {
            MappedRow::Good(seen) => {
                if let Because::Run(_) = because
                    && unchanged(tx, connection, seen).await?
                {
                    continue;
                }
                if take(app, tx, connection, because, seen).await? {
                    applied.changed += 1;
                }
                tx.unpark_row(connection.record.id, *entity, &seen.key.remote_id).await?;
            }
            MappedRow::Bad { remote_id, code, why, raw } => {
                let raw = raw.to_string();
                let remote_id = remote_id.clone().unwrap_or_else(|| hex::encode(Sha256::digest(&raw)));
                tx.park_row(&ParkedRow {
                    connection_id: connection.record.id,
                    entity: *entity,
                    remote_id,
                    code: code.clone(),
                    message: why.clone(),
                    raw,
                    mapping_version: connection.connector.descriptor().version.to_owned(),
                })
                .await?;
                applied.parked += 1;
            }
        }
    }
    Ok(applied)
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
    connection: &Connection,
    because: Because,
    seen: &Observed,
) -> Result<bool, ApplyError> {
    let (run, event) = match because {
        Because::Run(run) => (Some(run), None),
        Because::Event(event) => (None, Some(event)),
        Because::Write => (None, None),
    };
    let version = connection.connector.descriptor().version;
    let origin = Origin { connection: connection.record.id, run, event, mapping_version: version };
    let raw = seen.raw.to_string();
    let observation = Observation {
        remote_id: &seen.key.remote_id,
        remote_version: seen.key.version.as_deref(),
        claim: &seen.claim,
        fields: &seen.fields,
        raw: &raw,
    };
    Ok(app.ingest(tx, origin, observation).await?.changed)
}

/// Applies what a vendor answered to our own write.
pub(crate) async fn apply_answer(
    app: &App,
    tx: &Tx,
    connection: &Connection,
    (remote_id, claim): (&str, &Claim),
) -> Result<(), ApplyError> {
    let raw = serde_json::to_value(claim).unwrap_or(Value::Null);
    let fields: BTreeMap<String, AssertedField> = raw
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| name.as_str() != "entity" && !value.is_null())
        .map(|(name, value)| {
            let source_path = "answer to our write".to_owned();
            (name.clone(), AssertedField { value: value.clone(), source_path, changed: false, problem: None })
        })
        .collect();
    let seen = Observed {
        key: crosstie_sdk::RowKey { remote_id: remote_id.to_owned(), version: None },
        claim: claim.clone(),
        fields,
        raw,
    };
    take(app, tx, connection, Because::Write, &seen).await.map(|_| ())
}
