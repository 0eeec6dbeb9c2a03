//! What other systems say, taken into the records of the hub: identity, the change itself, lineage and outbox, in the
//! transaction that the caller commits with its cursor or inbox state.

mod billing;
pub(crate) mod custom;
mod documents;
pub(crate) mod fields;
mod matching;
pub(crate) mod pipeline;
pub(crate) mod push;
mod said;

use std::collections::BTreeMap;

use crosstie_domain::{
    Instant,
    access::Principal,
    billing::InvoiceStatus,
    custom::custom_name,
    ids::{AssertionId, ConnectionId, CorrectionId, ExchangeId, InboundEventId, SyncRunId},
    integration::{
        Arm, AssertedField, Assertion, Claim, ConnectionMode, Entity, LinkState, MatchCandidate, authority::Speaker,
    },
};
use crosstie_store::{
    Change, Tx,
    integration::{Identity, identity, latest_assertion},
};

use self::{
    fields::{Spoken, Values},
    pipeline::Subject,
    said::Said,
};
use crate::{
    App, AppError, adoption,
    erasure::{Cleaned, heard},
};

/// What set off that a claim is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The system was read, or answered to a write.
    Reading,
    /// What it once said is mapped in another way. The row is that of the version that is known, and it was not seen
    /// again.
    NewMapping,
    /// A person corrected a row that could not be applied.
    Corrected(CorrectionId),
}

/// Where a claim came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// The run that read it, if one did.
    pub run: Option<SyncRunId>,
    /// The inbound event that led to the reading, if one did.
    pub event: Option<InboundEventId>,
    /// The exchange that brought it, as far as it is known.
    pub exchange: Option<ExchangeId>,
    /// What the connection is used for.
    pub arms: &'a [Arm],
    /// How far the connection goes: what an observed system says decides nothing in the hub.
    pub mode: ConnectionMode,
    /// What set it off.
    pub cause: Cause,
    /// Version of the connector whose mapping read it.
    pub mapping_version: &'a str,
}

/// What a system says of one record.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The record's id there.
    pub remote_id: &'a str,
    /// The record's version there. One that is a moment orders: an older one never replaces a newer one.
    pub remote_version: Option<&'a str>,
    /// When the system was asked, before it answered.
    pub asked_at: Instant,
    /// What it says.
    pub claim: &'a Claim,
    /// Where each value stood.
    pub fields: &'a BTreeMap<String, AssertedField>,
    /// The row as it came.
    pub raw: &'a str,
}

/// What came of an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingested {
    /// It was taken in.
    Taken {
        /// The record in the hub.
        record_id: String,
        /// Whether anything changed.
        changed: bool,
    },
    /// The system itself says that a newer state was taken in before.
    Older,
    /// It was asked for before the last state was written down, so that it may be older: ask again.
    AskAgain,
    /// Nothing can be made of it.
    Unusable {
        /// A stable code.
        code: &'static str,
        /// Why, in words.
        why: String,
    },
}

impl App {
    /// Takes in what a system says of a record.
    ///
    /// # Errors
    /// As the database.
    pub async fn ingest(&self, tx: &Tx, origin: Origin<'_>, seen: Observation<'_>) -> Result<Ingested, AppError> {
        let cleaned = Cleaned::of(seen, &*self.erased(tx).await?);
        let seen = cleaned.as_ref().map_or(seen, |cleaned| cleaned.seen(seen));
        let entity = seen.claim.entity();
        // Two who bring the same record wait for each other here.
        tx.lock_identity(origin.connection, entity, seen.remote_id).await?;
        let known = identity(tx, origin.connection, entity, seen.remote_id).await?;
        if let Some(refused) = known.as_ref().and_then(|known| out_of_order(origin.cause, seen, known)) {
            return Ok(refused);
        }
        let spoken = heard(seen.fields);
        let taken = match seen.claim {
            Claim::Account(claim) => {
                let speaker = Speaker { connection: origin.connection, remote_id: seen.remote_id.to_owned() };
                let observed = self.account(tx, &speaker, (known.as_ref(), claim)).await?;
                let said = pipeline::account_values(Said(&spoken), claim);
                self.take(tx, origin, (seen, observed, said)).await?
            }
            Claim::Opportunity(claim) => {
                let observed = self.opportunity(tx, known.as_ref()).await?;
                let said = (Said(&spoken), claim);
                let said = pipeline::opportunity_values(tx, origin.connection, said).await?;
                self.take(tx, origin, (seen, observed, said)).await?
            }
            Claim::Invoice(claim) => {
                let said = (seen.remote_id, Said(&spoken), claim);
                match billing::invoice(tx, origin, known.as_ref(), said).await? {
                    Ok(taken) => {
                        let (record_id, version, changed) = taken;
                        self.assert(tx, origin, seen, &record_id).await?;
                        documents::invoice(tx, origin, (seen.remote_id, claim)).await?;
                        Taken { record_id, version, changed, state: LinkState::Linked }
                    }
                    Err((code, why)) => return Ok(Ingested::Unusable { code, why }),
                }
            }
            Claim::ServiceOrder(claim) => {
                let taken = documents::order(tx, origin, known.as_ref(), (seen.remote_id, claim)).await?;
                self.assert(tx, origin, seen, &taken.record_id).await?;
                taken
            }
        };
        let Taken { record_id, version, changed, state } = taken;
        let seen_before = known.as_ref().filter(|_| origin.cause == Cause::NewMapping);
        let last_seen_at = seen_before.map_or_else(|| tx.now(), |known| known.last_seen_at);
        tx.save_identity(&Identity {
            connection_id: origin.connection,
            entity,
            remote_id: seen.remote_id.to_owned(),
            record_id: record_id.clone(),
            state,
            remote_version: seen.remote_version.map(str::to_owned),
            last_seen_at,
        })
        .await?;
        if seen.claim.hub_id().is_some() {
            adoption::by_own_id(tx, (origin.connection, entity, seen.remote_id), &record_id).await?;
        }
        // The hub itself tells of its service orders.
        if changed && entity != Entity::ServiceOrder {
            let event = if version == 1 { "appeared" } else { "changed" };
            let event = format!("{}_{event}", entity.as_str());
            let actor = Principal::Connection(origin.connection);
            tx.publish(&[Change { entity, id: &record_id, event: &event, actor, version }]).await?;
        }
        Ok(Ingested::Taken { record_id, changed })
    }

    /// Takes in what is said of an account or an opportunity: written down first, then decided on, then shown.
    async fn take(
        &self,
        tx: &Tx,
        origin: Origin<'_>,
        (seen, observed, said): (Observation<'_>, Observed, Values),
    ) -> Result<Taken, AppError> {
        let Observed { mut subject, is_new, candidates } = observed;
        let record_id = subject.id();
        let assertion = self.assert(tx, origin, seen, &record_id).await?;
        let shown = subject.values();
        let spoken = Spoken {
            entity: seen.claim.entity(),
            record_id: &record_id,
            shown: (!is_new).then_some(&shown),
            speaker: Speaker { connection: origin.connection, remote_id: seen.remote_id.to_owned() },
            remote_version: seen.remote_version,
            at: moment(seen.remote_version).filter(|at| *at <= tx.now()).unwrap_or(tx.now()),
            assertion,
            said,
            custom: seen.fields.keys().map(String::as_str).filter(|name| custom_name(name).is_some()).collect(),
        };
        let decided = self.decide(tx, origin, spoken).await?;
        let changed = subject.show(&decided) || is_new;
        if changed {
            subject.save(tx, tx.now()).await?;
        }
        tx.save_candidates(&candidates).await?;
        let state = match candidates.len() {
            0 => LinkState::Linked,
            1 => LinkState::Candidate,
            _ => LinkState::Ambiguous,
        };
        Ok(Taken { record_id, version: subject.version(), changed, state })
    }

    /// Appends what was said, unless the system said the very same before. Returns where it is written down.
    async fn assert(
        &self,
        tx: &Tx,
        origin: Origin<'_>,
        seen: Observation<'_>,
        record_id: &str,
    ) -> Result<AssertionId, AppError> {
        let before = latest_assertion(tx, origin.connection, record_id, seen.remote_id).await?;
        let said_before = before.as_ref().map(|assertion| &assertion.fields);
        let claim = serde_json::to_value(seen.claim).unwrap_or_default();
        let mut fields = seen.fields.clone();
        // A version is kept as it came, also where it says nothing new: it may say more to another mapping.
        let same_version =
            before.as_ref().is_some_and(|before| before.remote_version.as_deref() == seen.remote_version);
        let mut anything_new = !same_version || said_before.is_none_or(|before| before.len() != fields.len());
        for (name, field) in &mut fields {
            // What counts is what the claim says; history must be able to tell it again.
            if let Some(value) = claim.get(name).filter(|value| !value.is_null()) {
                field.value = value.clone();
            }
            let old = said_before.and_then(|before| before.get(name));
            field.changed = old.is_none_or(|old| old.value != field.value);
            anything_new |= field.changed || old.is_none_or(|old| old.problem != field.problem);
        }
        if let (false, Some(before)) = (anything_new, &before) {
            return Ok(before.id);
        }
        let assertion = Assertion {
            id: tx.new_id(),
            entity: seen.claim.entity(),
            record_id: record_id.to_owned(),
            connection_id: origin.connection,
            remote_id: seen.remote_id.to_owned(),
            remote_version: seen.remote_version.map(str::to_owned),
            run_id: origin.run,
            inbound_event_id: origin.event,
            exchange_id: origin.exchange,
            correction_id: match origin.cause {
                Cause::Corrected(correction) => Some(correction),
                // The row as it was corrected is what is mapped anew.
                Cause::NewMapping => before.as_ref().and_then(|before| before.correction_id),
                Cause::Reading => None,
            },
            mapping_version: origin.mapping_version.to_owned(),
            observed_at: tx.now(),
            fields,
        };
        tx.append_assertion(&assertion, seen.raw).await?;
        Ok(assertion.id)
    }
}

/// How far ahead of ours another clock may be before its moments count as made up, in milliseconds.
const FUTURE_MS: i64 = 86_400_000;

/// What became of a record that a system spoke of.
struct Taken {
    record_id: String,
    version: i32,
    changed: bool,
    /// How sure a new link is.
    state: LinkState,
}

/// The record that a system speaks of.
struct Observed {
    subject: Subject,
    is_new: bool,
    /// Records that it may be instead.
    candidates: Vec<MatchCandidate>,
}

/// What an assertion said, by the names of shared fields.
///
/// # Errors
/// As the database.
pub(crate) async fn values_of(tx: &Tx, assertion: &Assertion) -> Result<Values, AppError> {
    // Of what was erased a system is taken not to have spoken.
    let spoken = heard(&assertion.fields);
    let fields = spoken.iter().map(|(name, field)| (name.clone(), field.value.clone()));
    let claim = serde_json::Value::Object(fields.collect());
    let said = Said(&spoken);
    match assertion.entity {
        Entity::Account => {
            let claim = serde_json::from_value(claim).unwrap_or_default();
            Ok(pipeline::account_values(said, &claim))
        }
        Entity::Opportunity => {
            let claim = serde_json::from_value(claim).unwrap_or_default();
            pipeline::opportunity_values(tx, assertion.connection_id, (said, &claim)).await
        }
        _ => Ok(Values::new()),
    }
}

/// The vendor's own time of a version, where it is one.
fn moment(version: Option<&str>) -> Option<Instant> {
    version?.parse().ok()
}

/// Why an observation is not to be taken in after what is known. The vendor's own time decides where there is one. Where
/// there is none, what was asked for before the last state was written down may show an earlier one.
///
/// A row that is mapped anew is that of the version that is known, or nothing is done: a newer one came meanwhile.
fn out_of_order(cause: Cause, seen: Observation<'_>, known: &Identity) -> Option<Ingested> {
    if cause == Cause::NewMapping {
        let is_known = seen.remote_version == known.remote_version.as_deref() && seen.asked_at == known.last_seen_at;
        return (!is_known).then_some(Ingested::Older);
    }
    // A moment that is yet to come orders nothing: all that is said later would count as older.
    let to_come = |at: &Instant| at.ms_since(seen.asked_at) > FUTURE_MS;
    let moment = |version: Option<&str>| moment(version).filter(|at| !to_come(at));
    match (moment(seen.remote_version), moment(known.remote_version.as_deref())) {
        (Some(new), Some(old)) if new < old => Some(Ingested::Older),
        (Some(new), Some(old)) if new > old => None,
        _ => (seen.asked_at < known.last_seen_at).then_some(Ingested::AskAgain),
    }
}

/// Whether billing has issued an invoice that stands so.
pub(crate) fn is_issued(status: Option<InvoiceStatus>) -> bool {
    matches!(status, Some(InvoiceStatus::Open | InvoiceStatus::Paid | InvoiceStatus::Uncollectible))
}
