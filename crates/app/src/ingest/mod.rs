//! What other systems say, taken into the records of the hub: identity, the change itself, lineage and outbox, in the
//! transaction that the caller commits with its cursor or inbox state.

mod billing;
mod pipeline;
mod said;

use std::collections::BTreeMap;

use crosstie_domain::{
    Instant,
    access::Principal,
    billing::InvoiceStatus,
    ids::{ConnectionId, InboundEventId, SyncRunId},
    integration::{Arm, AssertedField, Assertion, Claim},
};
use crosstie_store::{
    Change, Tx,
    integration::{Identity, identity, latest_assertion},
};

use self::said::Said;

use crate::{App, AppError};

/// Where a claim came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// The run that read it, if one did.
    pub run: Option<SyncRunId>,
    /// The inbound event that led to the reading, if one did.
    pub event: Option<InboundEventId>,
    /// What the connection is used for.
    pub arms: &'a [Arm],
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
        let entity = seen.claim.entity();
        // Two who bring the same record wait for each other here.
        tx.lock_identity(origin.connection, entity, seen.remote_id).await?;
        let known = identity(tx, origin.connection, entity, seen.remote_id).await?;
        if let Some(refused) = known.as_ref().and_then(|known| out_of_order(seen, known)) {
            return Ok(refused);
        }
        let said = Said(seen.fields);
        let (record_id, version, changed) = match seen.claim {
            Claim::Account(claim) => pipeline::account(tx, origin, known.as_ref(), (said, claim)).await?,
            Claim::Opportunity(claim) => pipeline::opportunity(tx, origin, known.as_ref(), (said, claim)).await?,
            Claim::Invoice(claim) => {
                match billing::invoice(tx, origin, known.as_ref(), (seen.remote_id, said, claim)).await? {
                    Ok(taken) => taken,
                    Err((code, why)) => return Ok(Ingested::Unusable { code, why }),
                }
            }
        };
        let now = tx.now();
        tx.save_identity(&Identity {
            connection_id: origin.connection,
            entity,
            remote_id: seen.remote_id.to_owned(),
            record_id: record_id.clone(),
            remote_version: seen.remote_version.map(str::to_owned),
            last_seen_at: now,
        })
        .await?;
        self.assert(tx, origin, seen, &record_id).await?;
        if changed {
            let event = if version == 1 { "appeared" } else { "changed" };
            let event = format!("{}_{event}", entity.as_str());
            let actor = Principal::Connection(origin.connection);
            tx.publish(&[Change { entity, id: &record_id, event: &event, actor, version }]).await?;
        }
        Ok(Ingested::Taken { record_id, changed })
    }

    /// Appends what was said, unless the system said the very same before.
    async fn assert(
        &self,
        tx: &Tx,
        origin: Origin<'_>,
        seen: Observation<'_>,
        record_id: &str,
    ) -> Result<(), AppError> {
        let before = latest_assertion(tx, origin.connection, record_id, seen.remote_id).await?;
        let said_before = before.as_ref().map(|assertion| &assertion.fields);
        let mut fields = seen.fields.clone();
        let mut anything_new = said_before.is_none_or(|before| before.len() != fields.len());
        for (name, field) in &mut fields {
            let old = said_before.and_then(|before| before.get(name));
            field.changed = old.is_none_or(|old| old.value != field.value);
            anything_new |= field.changed || old.is_none_or(|old| old.problem != field.problem);
        }
        if !anything_new {
            return Ok(());
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
            mapping_version: origin.mapping_version.to_owned(),
            observed_at: tx.now(),
            fields,
        };
        Ok(tx.append_assertion(&assertion, seen.raw).await?)
    }
}

/// The record, its version, and whether it changed.
type Taken = (String, i32, bool);

/// Why an observation is not to be taken in after what is known. The vendor's own time decides where there is one. Where
/// there is none, what was asked for before the last state was written down may show an earlier one.
fn out_of_order(seen: Observation<'_>, known: &Identity) -> Option<Ingested> {
    let moment = |version: Option<&str>| version?.parse::<Instant>().ok();
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
