//! What other systems say, taken into the records of the hub: identity, the change itself, lineage and outbox, in the
//! transaction that the caller commits with its cursor or inbox state.

mod billing;
pub(crate) mod custom;
mod documents;
pub(crate) mod fields;
mod matching;
mod page;
pub(crate) mod pipeline;
pub(crate) mod push;
mod read;
mod said;
mod write;

use std::{collections::BTreeMap, sync::Arc};

use crosstie_domain::{
    Instant,
    billing::InvoiceStatus,
    custom::custom_name,
    ids::{AccountId, AssertionId, ConnectionId, CorrectionId, ExchangeId, InboundEventId, SyncRunId},
    integration::{
        Arm, AssertedField, Assertion, Claim, ConnectionMode, Entity, LinkState, MatchCandidate, authority::Speaker,
    },
    pipeline::OpportunityClaim,
};
use crosstie_store::{
    Tx,
    integration::{Identity, identity},
};

use self::{
    fields::{Spoken, Values},
    page::Page,
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
    /// What the connection is used for.
    pub arms: &'a [Arm],
    /// How far the connection goes: what an observed system says decides nothing in the hub.
    pub mode: ConnectionMode,
    /// What set it off.
    pub cause: Cause,
    /// Version of the connector whose mapping read it.
    pub mapping_version: &'a str,
}

/// What becomes of a version of a record that was taken in before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownVersion {
    /// It is taken in again, as it may say more.
    TakenAgain,
    /// It is passed over: listings say the same again and again.
    PassedOver,
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
    /// The exchange that brought it, as far as it is known.
    pub exchange: Option<ExchangeId>,
    /// What becomes of it when this version of the record was taken in before.
    pub known_version: KnownVersion,
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
    /// This version was taken in before, and says nothing new.
    Known,
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
    /// Takes in what a system says of a record: a page of one.
    ///
    /// # Errors
    /// As the database.
    pub async fn ingest(&self, tx: &Tx, origin: Origin<'_>, seen: Observation<'_>) -> Result<Ingested, AppError> {
        let taken = self.ingest_page(tx, origin, &[seen]).await?.pop();
        Ok(taken.expect("one observation comes to one result"))
    }

    /// Takes in what a system says of several records, in the order in which it says it; returns what came of each. All
    /// that is known of them is read together, each is decided on after those before it, and all that follows is written
    /// together. On an error nothing of the transaction may be kept.
    ///
    /// # Errors
    /// As the database.
    pub async fn ingest_page(
        &self,
        tx: &Tx,
        origin: Origin<'_>,
        seen: &[Observation<'_>],
    ) -> Result<Vec<Ingested>, AppError> {
        let erased = self.erased(tx).await?;
        let cleaned: Vec<_> = seen.iter().map(|seen| Cleaned::of(*seen, &erased)).collect();
        let seen: Vec<Observation<'_>> = seen
            .iter()
            .zip(&cleaned)
            .map(|(seen, cleaned)| cleaned.as_ref().map_or(*seen, |cleaned| cleaned.seen(*seen)))
            .collect();
        // Two who bring the same record wait for each other here.
        let remote: Vec<_> = seen.iter().map(|seen| (seen.claim.entity(), seen.remote_id)).collect();
        tx.lock_identities(origin.connection, &remote).await?;
        let mut results = Vec::with_capacity(seen.len());
        while results.len() < seen.len() {
            let rest = &seen[results.len()..];
            // On the heap: what is known of a page is too much for the stack of every way that leads here.
            let mut page = Box::new(Box::pin(Page::read(tx, origin, rest)).await?);
            let mut adopts = None;
            for seen in rest {
                let taken = self.take_in(&mut page, *seen)?;
                if let Ingested::Taken { record_id, .. } = &taken
                    && seen.claim.hub_id().is_some()
                    && page.may_be_adopted(seen.claim.entity(), record_id)
                {
                    adopts = Some((seen, record_id.clone()));
                }
                results.push(taken);
                if adopts.is_some() {
                    break;
                }
            }
            Box::pin(page.write()).await?;
            // What is known of orders and invoices is another thing afterwards: the rest of the page is read anew.
            if let Some((seen, record_id)) = adopts {
                let key = (origin.connection, seen.claim.entity(), seen.remote_id);
                Box::pin(adoption::by_own_id(tx, key, &record_id)).await?;
            }
        }
        Ok(results)
    }

    /// Decides on one observation of a page.
    fn take_in<'a>(&self, page: &mut Page<'a>, seen: Observation<'a>) -> Result<Ingested, AppError> {
        let origin = page.origin;
        let entity = seen.claim.entity();
        let known = page.link(entity, seen.remote_id).cloned();
        if let Some(passed) = known.as_ref().and_then(|known| passed_over(origin.cause, seen, known)) {
            return Ok(passed);
        }
        let spoken = heard(seen.fields);
        let taken = match seen.claim {
            Claim::Account(claim) => {
                let speaker = Speaker { connection: origin.connection, remote_id: seen.remote_id.to_owned() };
                let observed = self.account(page, &speaker, (known.as_ref(), claim));
                let said = pipeline::account_values(Said(&spoken), claim);
                self.take(page, (seen, observed, said))
            }
            Claim::Opportunity(claim) => {
                let observed = self.opportunity(page, known.as_ref());
                let account = page.account_of(origin.connection, claim.account.as_deref());
                let said = pipeline::opportunity_values(account, (Said(&spoken), claim));
                self.take(page, (seen, observed, said))
            }
            Claim::Invoice(claim) => {
                let said = (seen.remote_id, Said(&spoken), claim);
                match billing::invoice(page, known.as_ref(), said) {
                    Ok(taken) => {
                        let (record_id, version, changed) = taken;
                        self.assert(page, seen, &record_id);
                        documents::invoice(page, (seen.remote_id, claim));
                        Taken { record_id, version, changed, state: LinkState::Linked }
                    }
                    Err((code, why)) => return Ok(Ingested::Unusable { code, why }),
                }
            }
            Claim::ServiceOrder(claim) => {
                let taken = documents::order(page, known.as_ref(), (seen.remote_id, claim));
                self.assert(page, seen, &taken.record_id);
                taken
            }
        };
        let Taken { record_id, version, changed, state } = taken;
        let seen_before = known.as_ref().filter(|_| origin.cause == Cause::NewMapping);
        let last_seen_at = seen_before.map_or(page.now, |known| known.last_seen_at);
        page.save_link(Identity {
            connection_id: origin.connection,
            entity,
            remote_id: seen.remote_id.to_owned(),
            record_id: record_id.clone(),
            state: known.as_ref().map_or(state, |known| known.state),
            remote_version: seen.remote_version.map(str::to_owned),
            last_seen_at,
        })?;
        // The hub itself tells of its service orders.
        if changed && entity != Entity::ServiceOrder {
            let event = if version == 1 { "appeared" } else { "changed" };
            page.publish(entity, record_id.clone(), format!("{}_{event}", entity.as_str()), version);
        }
        Ok(Ingested::Taken { record_id, changed })
    }

    /// Takes in what is said of an account or an opportunity: written down first, then decided on, then shown.
    fn take<'a>(&self, page: &mut Page<'a>, (seen, observed, said): (Observation<'a>, Observed, Values)) -> Taken {
        let Observed { mut subject, is_new, candidates } = observed;
        let record_id = subject.id();
        let assertion = self.assert(page, seen, &record_id);
        let shown = (!is_new).then(|| subject.values());
        let spoken = Spoken {
            entity: seen.claim.entity(),
            record_id: &record_id,
            shown: shown.as_ref(),
            speaker: Speaker { connection: page.origin.connection, remote_id: seen.remote_id.to_owned() },
            remote_version: seen.remote_version,
            at: moment(seen.remote_version).filter(|at| *at <= page.now).unwrap_or(page.now),
            assertion,
            said,
            custom: seen.fields.keys().map(String::as_str).filter(|name| custom_name(name).is_some()).collect(),
        };
        let decided = self.decide(page, spoken);
        let changed = subject.show(&decided) || is_new;
        if changed {
            subject.advance(page.now);
        }
        let version = subject.version();
        page.keep_subject(subject, changed);
        let state = match candidates.len() {
            0 => LinkState::Linked,
            1 => LinkState::Candidate,
            _ => LinkState::Ambiguous,
        };
        page.save_candidates(candidates);
        Taken { record_id, version, changed, state }
    }

    /// Appends what was said, unless the system said the very same before. Returns where it is written down.
    fn assert<'a>(&self, page: &mut Page<'a>, seen: Observation<'a>, record_id: &str) -> AssertionId {
        let origin = page.origin;
        let before = page.last_said(record_id, seen.remote_id);
        let said_before = before.as_ref().map(|assertion| &assertion.fields);
        let mut claim = serde_json::to_value(seen.claim).unwrap_or_default();
        let mut fields = seen.fields.clone();
        // A version is kept as it came, also where it says nothing new: it may say more to another mapping.
        let same_version =
            before.as_ref().is_some_and(|before| before.remote_version.as_deref() == seen.remote_version);
        let mut anything_new = !same_version || said_before.is_none_or(|before| before.len() != fields.len());
        for (name, field) in &mut fields {
            // What counts is what the claim says; history must be able to tell it again.
            if let Some(value) = claim.get_mut(name).filter(|value| !value.is_null()) {
                field.value = value.take();
            }
            let old = said_before.and_then(|before| before.get(name));
            field.changed = old.is_none_or(|old| old.value != field.value);
            anything_new |= field.changed || old.is_none_or(|old| old.problem != field.problem);
        }
        if let (false, Some(before)) = (anything_new, &before) {
            return before.id;
        }
        let assertion = Assertion {
            id: page.tx.new_id(),
            entity: seen.claim.entity(),
            record_id: record_id.to_owned(),
            connection_id: origin.connection,
            remote_id: seen.remote_id.to_owned(),
            remote_version: seen.remote_version.map(str::to_owned),
            run_id: origin.run,
            inbound_event_id: origin.event,
            exchange_id: seen.exchange,
            correction_id: match origin.cause {
                Cause::Corrected(correction) => Some(correction),
                // The row as it was corrected is what is mapped anew.
                Cause::NewMapping => before.as_ref().and_then(|before| before.correction_id),
                Cause::Reading => None,
            },
            mapping_version: origin.mapping_version.to_owned(),
            observed_at: page.now,
            fields,
        };
        let id = assertion.id;
        page.append_assertion(Arc::new(assertion), seen.raw);
        id
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
    let account = match customer_of(assertion) {
        Some(customer) => identity(tx, assertion.connection_id, Entity::Account, &customer).await?,
        None => None,
    };
    Ok(values_said(assertion, account.and_then(|account| account.record_id.parse().ok())))
}

/// The customer that an assertion names, by its id at the system that said it.
fn customer_of(assertion: &Assertion) -> Option<String> {
    if assertion.entity != Entity::Opportunity {
        return None;
    }
    let customer = assertion.fields.get("account").map(|field| serde_json::from_value(field.value.clone()));
    customer.and_then(Result::ok).flatten()
}

/// What an assertion said, by the names of shared fields. Its customer is this account.
fn values_said(assertion: &Assertion, account: Option<AccountId>) -> Values {
    // Of what was erased a system is taken not to have spoken.
    let spoken = heard(&assertion.fields);
    let fields = spoken.iter().map(|(name, field)| (name.clone(), field.value.clone()));
    let claim = serde_json::Value::Object(fields.collect());
    let said = Said(&spoken);
    match assertion.entity {
        Entity::Account => pipeline::account_values(said, &serde_json::from_value(claim).unwrap_or_default()),
        Entity::Opportunity => {
            let claim: OpportunityClaim = serde_json::from_value(claim).unwrap_or_default();
            let account = account.filter(|_| claim.account.is_some());
            pipeline::opportunity_values(account, (said, &claim))
        }
        _ => Values::new(),
    }
}

/// The vendor's own time of a version, where it is one.
fn moment(version: Option<&str>) -> Option<Instant> {
    version?.parse().ok()
}

/// Why an observation is not to be taken in after what is known: it says nothing new, or what was before.
fn passed_over(cause: Cause, seen: Observation<'_>, known: &Identity) -> Option<Ingested> {
    let says_nothing_new = seen.known_version == KnownVersion::PassedOver
        && seen.remote_version.is_some()
        && seen.remote_version == known.remote_version.as_deref();
    if says_nothing_new { Some(Ingested::Known) } else { out_of_order(cause, seen, known) }
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
