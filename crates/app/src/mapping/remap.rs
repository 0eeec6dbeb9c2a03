//! History mapped anew: the newest row of every remote record, as it once came, goes through the present mapping and
//! from there the way of every reading.

use std::collections::BTreeMap;

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    ids::ConnectionId,
    integration::{AssertedField, Claim, ConnectionRecord, Entity, OUR_WRITE, RemapCause, RemapRecord, RemapStatus},
};
use crosstie_store::{
    StoreError, Tx,
    integration::{KeptEvidence, Lease, ParkedRow, connections_by_ids, kept_evidence, remap},
};
use serde::Serialize;
use serde_json::Value;

use super::{InForce, Mapped, Mapper, no_connection};
use crate::{
    App, AppError, Decision,
    connections::check_reason,
    idempotency::{Request, decided},
    ingest::{Cause, Ingested, KnownVersion, Observation, Origin},
};

/// What is to be mapped anew.
#[derive(Debug, Clone, Serialize)]
pub struct RemapHistory {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Only this kind of record.
    pub entity: Option<Entity>,
    /// Why, in words: at most 500 characters.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What came of a row.
enum Outcome {
    Same,
    Changed,
    Parked,
    Skipped,
}

impl App {
    /// Asks for history to be mapped anew. It is done in the background, and goes on where it was after a restart.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn remap_history(
        &self,
        auth: &AuthContext,
        input: RemapHistory,
    ) -> Result<Decision<RemapRecord>, AppError> {
        decided(|| self.try_remap_history(auth, &input)).await
    }

    async fn try_remap_history(
        &self,
        auth: &AuthContext,
        input: &RemapHistory,
    ) -> Result<Decision<RemapRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("remapHistory", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => {
                let found = match earlier.parse() {
                    Ok(id) => remap(&tx, id).await?,
                    Err(_) => None,
                };
                return Ok(found.ok_or_else(|| vec![no_connection()]));
            }
            Ok(None) => {}
        }
        let vendor = self.vendors().and_then(|vendors| vendors.settings(input.connection_id));
        let Some(vendor) = vendor else { return Ok(Err(vec![no_connection()])) };
        if input.entity.is_some_and(|entity| !vendor.entities.contains(&entity)) {
            let message = "This connection reads no records of this kind.";
            return Ok(Err(vec![Refusal::new("entity", UserErrorCode::Invalid, message)]));
        }
        if let Some(refusal) = check_reason(input.reason.as_deref()) {
            return Ok(Err(vec![refusal]));
        }
        let by = (auth.principal, input.reason.as_deref());
        let record = tx.request_remap(input.connection_id, (input.entity, RemapCause::Asked), by).await?;
        request.keep(&tx, auth, record.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(record))
    }

    /// Maps the next so many rows of a job, in one transaction with how far it came, as long as the lease is held.
    /// Returns the job as it stands then.
    ///
    /// # Errors
    /// As the database; [`StoreError::Conflict`] when another process or a newer job took over.
    pub async fn remap_some(&self, lease: &Lease, job: &RemapRecord, rows: i64) -> Result<RemapRecord, AppError> {
        let tx = self.store().begin().await?;
        if !tx.holds_lease(lease).await? {
            return Err(StoreError::Conflict.into());
        }
        let mut job = job.clone();
        let force = self.in_force(&tx, job.connection_id).await?;
        let connection = connections_by_ids(&tx, &RowScope::All, &[job.connection_id]).await?.pop();
        let (Some(force), Some(connection)) = (force, connection) else { return Err(StoreError::Conflict.into()) };
        job.status = RemapStatus::Running;
        match at(&job, &force.entities) {
            None => {
                job.status = RemapStatus::Done;
                job.finished_at = Some(tx.now());
            }
            Some(entity) => {
                let after = job.at_remote_id.take();
                let kept = kept_evidence(&tx, (connection.id, entity), after.as_deref(), rows).await?;
                let mapper = force.vendors.mapper(connection.id, entity, &force.settings);
                let page = Rows { connection: &connection, force: &force, mapper: mapper.as_ref(), kept: &kept };
                // On the heap: a page is too much for the stack of every way that leads here.
                for outcome in Box::pin(self.remap_rows(&tx, page)).await? {
                    job.rows_seen += 1;
                    match outcome {
                        Outcome::Same => {}
                        Outcome::Changed => job.rows_changed += 1,
                        Outcome::Parked => job.rows_parked += 1,
                        Outcome::Skipped => job.rows_skipped += 1,
                    }
                }
                job.at_entity = Some(entity);
                job.at_remote_id = kept.last().map(|evidence| evidence.identity.remote_id.clone());
                if i64::try_from(kept.len()).unwrap_or(0) < rows {
                    // A kind that comes after the last one is the end.
                    let next = force.entities.iter().skip_while(|one| **one != entity).nth(1).copied();
                    let next = next.filter(|_| job.entity.is_none());
                    job.at_remote_id = None;
                    match next {
                        Some(next) => job.at_entity = Some(next),
                        None => {
                            job.status = RemapStatus::Done;
                            job.finished_at = Some(tx.now());
                        }
                    }
                }
            }
        }
        tx.save_remap(&job).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// Passes over the next row of a job, which the database does not take.
    ///
    /// # Errors
    /// As the database; [`StoreError::Conflict`] when another process or a newer job took over.
    pub async fn remap_pass_over(&self, lease: &Lease, job: &RemapRecord) -> Result<RemapRecord, AppError> {
        let tx = self.store().begin().await?;
        let entity = match self.in_force(&tx, job.connection_id).await? {
            Some(force) if tx.holds_lease(lease).await? => at(job, &force.entities),
            _ => None,
        };
        let entity = entity.ok_or(StoreError::Conflict)?;
        let mut job = job.clone();
        let kept = kept_evidence(&tx, (job.connection_id, entity), job.at_remote_id.as_deref(), 1).await?;
        job.at_entity = Some(entity);
        job.at_remote_id = kept.into_iter().next().map(|evidence| evidence.identity.remote_id).or(job.at_remote_id);
        job.rows_seen += 1;
        job.rows_skipped += 1;
        tx.save_remap(&job).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// Maps rows anew and takes them in as a page; returns what came of each.
    async fn remap_rows(&self, tx: &Tx, rows: Rows<'_>) -> Result<Vec<Outcome>, AppError> {
        let Rows { connection, force, mapper, kept } = rows;
        let mapped: Vec<_> = kept.iter().map(|evidence| map_anew(mapper, evidence)).collect();
        let origin = Origin {
            connection: connection.id,
            run: None,
            event: None,
            arms: &connection.arms,
            mode: connection.mode,
            cause: Cause::NewMapping,
            mapping_version: &force.label,
        };
        let mut seen = Vec::new();
        for (evidence, mapped) in kept.iter().zip(&mapped) {
            if let Anew::Good { claim, fields, raw } = mapped {
                seen.push(Observation {
                    remote_id: &evidence.identity.remote_id,
                    remote_version: evidence.identity.remote_version.as_deref(),
                    asked_at: evidence.identity.last_seen_at,
                    exchange: None,
                    known_version: KnownVersion::TakenAgain,
                    claim,
                    fields,
                    raw,
                });
            }
        }
        let mut taken = self.ingest_page(tx, origin, &seen).await?.into_iter();
        let (mut outcomes, mut applied, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        for (evidence, mapped) in kept.iter().zip(&mapped) {
            let identity = &evidence.identity;
            let mut park = |code: &str, why: &str| {
                parked.push(ParkedRow {
                    connection_id: connection.id,
                    entity: identity.entity,
                    remote_id: identity.remote_id.clone(),
                    code: code.to_owned(),
                    message: why.to_owned(),
                    raw: evidence.newest.as_ref().map(|(_, raw)| raw.clone()).unwrap_or_default(),
                    mapping_version: force.label.clone(),
                });
                Outcome::Parked
            };
            outcomes.push(match mapped {
                Anew::Skipped => Outcome::Skipped,
                Anew::Bad { code, why } => park(code, why),
                Anew::Good { .. } => match taken.next() {
                    Some(Ingested::Taken { changed, .. }) => {
                        applied.push(identity.remote_id.as_str());
                        if changed { Outcome::Changed } else { Outcome::Same }
                    }
                    Some(Ingested::Unusable { code, why }) => park(code, &why),
                    Some(Ingested::Known | Ingested::Older | Ingested::AskAgain) | None => Outcome::Skipped,
                },
            });
        }
        if let Some(first) = kept.first() {
            tx.unpark_rows((connection.id, first.identity.entity), &applied).await?;
        }
        self.park_all(tx, parked).await?;
        Ok(outcomes)
    }
}

/// Rows to be mapped anew.
struct Rows<'a> {
    connection: &'a ConnectionRecord,
    force: &'a InForce,
    mapper: Option<&'a Mapper>,
    kept: &'a [KeptEvidence],
}

/// What the present mapping makes of a row.
enum Anew<'a> {
    Good { claim: Box<Claim>, fields: BTreeMap<String, AssertedField>, raw: &'a str },
    Bad { code: String, why: String },
    Skipped,
}

fn map_anew<'a>(mapper: Option<&Mapper>, evidence: &'a KeptEvidence) -> Anew<'a> {
    let (Some(mapper), Some((_, row)), Some((_, raw))) = (mapper, usable(evidence), &evidence.newest) else {
        return Anew::Skipped;
    };
    match mapper(row) {
        Mapped::Good { remote_id, claim, fields } if remote_id == evidence.identity.remote_id => {
            Anew::Good { claim, fields, raw }
        }
        Mapped::Good { .. } => Anew::Skipped,
        Mapped::Bad { code, why } => Anew::Bad { code, why },
    }
}

/// The kind of record that a job is at; none when there is none left.
fn at(job: &RemapRecord, entities: &[Entity]) -> Option<Entity> {
    let wanted = job.at_entity.or(job.entity).or(entities.first().copied())?;
    entities.contains(&wanted).then_some(wanted)
}

/// The newest row of a remote record, with what was said by it, if it shows the record as it was last seen and is what
/// the vendor once sent.
pub(super) fn usable(evidence: &KeptEvidence) -> Option<(&BTreeMap<String, AssertedField>, Value)> {
    let (assertion, raw) = evidence.newest.as_ref()?;
    let is_answer = assertion.fields.values().any(|field| field.source_path == OUR_WRITE);
    if is_answer || assertion.remote_version != evidence.identity.remote_version {
        return None;
    }
    let raw: Value = serde_json::from_str(raw).ok()?;
    raw.is_object().then_some((&assertion.fields, raw))
}
