//! A page at work: what is known of its records, as far as its rows have come, and what is to be written of that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crosstie_domain::{
    Instant,
    billing::{InvoiceLineRecord, InvoiceRecord, ServiceOrderRecord, ServiceOrderStatus},
    delivery::MilestoneRecord,
    ids::{AccountId, ConflictId, ConnectionId, InvoiceId, MilestoneId, ServiceOrderId},
    integration::{
        Assertion, ConflictRecord, EffectKey, EffectStatus, Entity, MatchCandidate,
        adoption::RemoteDocument,
        authority::{FieldRules, Speaker},
        matching::MatchKeys,
    },
    pipeline::AccountRecord,
};
use crosstie_store::{
    StoreError, Tx,
    integration::{Fields, Identity, MatchKey, Pushes},
};

use super::{
    Origin, customer_of,
    fields::{Once, Ranks, Spoken, Values, first_voices, name_the_only_speaker},
    pipeline::Subject,
    push::Wanted,
    values_said,
};
use crate::{AppError, billing::billing_after};

/// Accounts that a customer is compared with, at most, for each text that they are looked up by.
const LOOKED_AT: usize = 20;

/// A page at work. What its rows say of one record counts for the rows that come after them, though nothing is written
/// before the end.
pub(super) struct Page<'a> {
    pub(super) tx: &'a Tx,
    pub(super) origin: Origin<'a>,
    /// When all of it was read, and nobody else could decide about its records any more.
    pub(super) now: Instant,
    pub(super) known: Known,
    pub(super) due: Due<'a>,
}

/// What is known of the records of a page.
#[derive(Default)]
pub(super) struct Known {
    /// Which records of the hub remote records are.
    pub(super) links: HashMap<(ConnectionId, Entity), HashMap<String, Identity>>,
    /// Which remote records the records of the hub are.
    pub(super) holders: HashMap<String, BTreeSet<(Entity, Speaker)>>,
    pub(super) subjects: HashMap<String, Subject>,
    pub(super) alike: HashMap<MatchKey, BTreeSet<AccountId>>,
    pub(super) fields: HashMap<String, Fields>,
    pub(super) conflicts: HashMap<ConflictId, ConflictRecord>,
    /// What each system last said of each record, as far as that is asked for.
    pub(super) said: HashMap<String, BTreeMap<Speaker, Arc<Assertion>>>,
    pub(super) ranks: Arc<Ranks>,
    pub(super) pushes: BTreeMap<ConnectionId, Pushes>,
    pub(super) invoices: HashMap<InvoiceId, InvoiceRecord>,
    pub(super) milestones: HashMap<MilestoneId, MilestoneRecord>,
    pub(super) orders: HashMap<ServiceOrderId, ServiceOrderRecord>,
    pub(super) documents: HashMap<(Entity, String), RemoteDocument>,
    pub(super) effects: HashMap<String, EffectStatus>,
}

/// What is to be written of a page. Of what has versions, that which was read is kept; 0 for what is new.
#[derive(Default)]
pub(super) struct Due<'a> {
    pub(super) assertions: Vec<(Arc<Assertion>, &'a str)>,
    pub(super) subjects: BTreeMap<String, i32>,
    pub(super) invoices: BTreeMap<InvoiceId, i32>,
    pub(super) lines: BTreeMap<InvoiceId, Vec<InvoiceLineRecord>>,
    pub(super) fields: BTreeMap<String, Entity>,
    pub(super) conflicts: BTreeMap<ConflictId, i32>,
    pub(super) candidates: Vec<MatchCandidate>,
    pub(super) documents: BTreeSet<(Entity, String)>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) links: BTreeSet<(Entity, String)>,
    /// Invoices whose milestones follow them.
    pub(super) follows: Vec<InvoiceRecord>,
    pub(super) changes: Vec<Published>,
}

/// A change that subscribers hear of.
pub(super) struct Published {
    pub(super) entity: Entity,
    pub(super) id: String,
    pub(super) event: String,
    pub(super) version: i32,
}

impl<'a> Page<'a> {
    /// What a remote record of this connection is linked to.
    pub(super) fn link(&self, entity: Entity, remote_id: &str) -> Option<&Identity> {
        self.known.links.get(&(self.origin.connection, entity))?.get(remote_id)
    }

    /// Remembers what a remote record is linked to.
    pub(super) fn remember_link(&mut self, link: Identity) {
        let by_id = self.known.links.entry((link.connection_id, link.entity)).or_default();
        by_id.insert(link.remote_id.clone(), link);
    }

    /// Remembers that a record of the hub is this remote record.
    pub(super) fn remember_holder(&mut self, link: &Identity) {
        let speaker = Speaker { connection: link.connection_id, remote_id: link.remote_id.clone() };
        self.known.holders.entry(link.record_id.clone()).or_default().insert((link.entity, speaker));
    }

    /// Links a remote record of this connection, or notes that it was seen again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is linked to another record.
    pub(super) fn save_link(&mut self, link: Identity) -> Result<(), AppError> {
        let before = self.link(link.entity, &link.remote_id);
        if before.is_some_and(|before| before.record_id != link.record_id) {
            return Err(StoreError::Conflict.into());
        }
        self.due.links.insert((link.entity, link.remote_id.clone()));
        self.remember_holder(&link);
        self.remember_link(link);
        Ok(())
    }

    /// Whether this connection knows a record already, under whatever id.
    pub(super) fn is_linked_here(&self, entity: Entity, record_id: &str) -> bool {
        let here =
            |(kind, speaker): &(Entity, Speaker)| *kind == entity && speaker.connection == self.origin.connection;
        self.known.holders.get(record_id).is_some_and(|holders| holders.iter().any(here))
    }

    /// The account that a customer of a connection is.
    pub(super) fn account_of(&self, connection: ConnectionId, customer: Option<&str>) -> Option<AccountId> {
        let link = self.known.links.get(&(connection, Entity::Account))?.get(customer?)?;
        link.record_id.parse().ok()
    }

    /// An account or opportunity.
    pub(super) fn subject(&self, id: &str) -> Option<&Subject> {
        self.known.subjects.get(id)
    }

    /// Keeps a record as it shows now; what changed is saved.
    pub(super) fn keep_subject(&mut self, subject: Subject, changed: bool) {
        if !changed {
            return;
        }
        let id = subject.id();
        let before = self.known.subjects.remove(&id);
        self.due.subjects.entry(id.clone()).or_insert_with(|| before.as_ref().map_or(0, Subject::version));
        if let Some(Subject::Account(account)) = &before {
            for key in MatchKey::of(account) {
                if let Some(alike) = self.known.alike.get_mut(&key) {
                    alike.remove(&account.id);
                }
            }
        }
        if let Subject::Account(account) = &subject {
            for key in MatchKey::of(account) {
                self.known.alike.entry(key).or_default().insert(account.id);
            }
        }
        self.known.subjects.insert(id, subject);
    }

    /// The account of this identifier, or the one that it was merged into.
    pub(super) fn standing(&self, mut id: AccountId) -> Option<&AccountRecord> {
        loop {
            let Some(Subject::Account(account)) = self.subject(&id.to_string()) else { return None };
            match account.merged_into {
                Some(into) => id = into,
                None => return Some(account),
            }
        }
    }

    /// Accounts that have something in common with these keys.
    pub(super) fn alike(&self, keys: &MatchKeys) -> Vec<&AccountRecord> {
        let sets = MatchKey::wanted(keys).filter_map(|key| self.known.alike.get(&key));
        let ids: BTreeSet<AccountId> = sets.flat_map(|ids| ids.iter().take(LOOKED_AT).copied()).collect();
        let account = |id: AccountId| match self.subject(&id.to_string()) {
            Some(Subject::Account(account)) if account.merged_into.is_none() => Some(account),
            _ => None,
        };
        ids.into_iter().filter_map(account).collect()
    }

    /// Whether other systems know the record that is spoken of, too.
    pub(super) fn is_shared(&self, spoken: &Spoken<'_>) -> bool {
        let is_other = |(entity, speaker): &(Entity, Speaker)| *entity == spoken.entity && *speaker != spoken.speaker;
        self.known.fields.contains_key(spoken.record_id)
            || self.known.holders.get(spoken.record_id).is_some_and(|holders| holders.iter().any(is_other))
    }

    /// Takes the shared fields of a record out, to be saved again.
    pub(super) fn take_fields(&mut self, rules: &FieldRules, spoken: &Spoken<'_>, shown: &Values) -> Fields {
        if let Some(fields) = self.known.fields.remove(spoken.record_id) {
            return fields;
        }
        let others = self.known.said.get(spoken.record_id).into_iter().flatten();
        let others = others.filter(|(speaker, _)| **speaker != spoken.speaker).map(|(_, assertion)| {
            let customer = customer_of(assertion);
            let account = self.account_of(assertion.connection_id, customer.as_deref());
            Once { assertion, values: values_said(assertion, account) }
        });
        let mut fields = first_voices(rules, &self.known.ranks, (spoken.entity, shown), (others.collect(), self.now));
        name_the_only_speaker(&mut fields, rules, &self.known.ranks, spoken);
        fields
    }

    pub(super) fn save_fields(&mut self, entity: Entity, record_id: &str, fields: Fields) {
        self.due.fields.insert(record_id.to_owned(), entity);
        self.known.fields.insert(record_id.to_owned(), fields);
    }

    /// What the systems behind all voices are for.
    pub(super) fn ranks(&self) -> Arc<Ranks> {
        Arc::clone(&self.known.ranks)
    }

    /// What can be written at the systems behind all voices, and what is.
    pub(super) fn pushes(&self) -> &BTreeMap<ConnectionId, Pushes> {
        &self.known.pushes
    }

    /// Asks systems to be written.
    pub(super) fn request(&mut self, wanted: Vec<Wanted>) {
        self.due.wanted.extend(wanted);
    }

    pub(super) fn conflict(&self, id: ConflictId) -> Option<&ConflictRecord> {
        self.known.conflicts.get(&id)
    }

    pub(super) fn save_conflict(&mut self, conflict: ConflictRecord) {
        let before = self.known.conflicts.insert(conflict.id, conflict.clone());
        self.due.conflicts.entry(conflict.id).or_insert_with(|| before.map_or(0, |before| before.version));
    }

    pub(super) fn save_candidates(&mut self, candidates: Vec<MatchCandidate>) {
        self.due.candidates.extend(candidates);
    }

    /// What this connection last said of a remote record.
    pub(super) fn last_said(&self, record_id: &str, remote_id: &str) -> Option<Arc<Assertion>> {
        let speaker = Speaker { connection: self.origin.connection, remote_id: remote_id.to_owned() };
        self.known.said.get(record_id)?.get(&speaker).cloned()
    }

    /// Remembers what a system last said.
    pub(super) fn remember_said(&mut self, assertion: Arc<Assertion>) {
        let speaker = Speaker { connection: assertion.connection_id, remote_id: assertion.remote_id.clone() };
        self.known.said.entry(assertion.record_id.clone()).or_default().insert(speaker, assertion);
    }

    pub(super) fn append_assertion(&mut self, assertion: Arc<Assertion>, raw: &'a str) {
        self.due.assertions.push((Arc::clone(&assertion), raw));
        self.remember_said(assertion);
    }

    pub(super) fn invoice(&self, id: InvoiceId) -> Option<&InvoiceRecord> {
        self.known.invoices.get(&id)
    }

    pub(super) fn save_invoice(&mut self, invoice: InvoiceRecord, lines: Option<Vec<InvoiceLineRecord>>) {
        let id = invoice.id;
        let before = self.known.invoices.insert(id, invoice);
        self.due.invoices.entry(id).or_insert_with(|| before.map_or(0, |before| before.version));
        if let Some(lines) = lines {
            self.due.lines.insert(id, lines);
        }
    }

    /// Lets the milestone that an invoice bills follow it, if that changes anything.
    pub(super) fn follow(&mut self, invoice: InvoiceRecord) {
        let Some(id) = invoice.milestone_id else { return };
        let milestone = self.known.milestones.get(&id);
        let is_news = milestone.is_some_and(|milestone| billing_after(milestone, &invoice).is_some());
        // What an earlier row of the page changes, this one may change back.
        if is_news || self.due.follows.iter().any(|other| other.milestone_id == Some(id)) {
            self.due.follows.push(invoice);
        }
    }

    pub(super) fn order(&self, id: ServiceOrderId) -> Option<&ServiceOrderRecord> {
        self.known.orders.get(&id)
    }

    /// Writes down how a document stands; its identifier, and whether that is new.
    pub(super) fn note_document(&mut self, document: RemoteDocument) -> (String, bool) {
        let key = (document.entity, document.remote_id.clone());
        let before = self.known.documents.get(&key);
        let document = RemoteDocument { id: before.map_or(document.id, |before| before.id), ..document };
        let (id, changed) = (document.id.to_string(), before != Some(&document));
        if changed {
            self.due.documents.insert(key.clone());
            self.known.documents.insert(key, document);
        }
        (id, changed)
    }

    /// Whether a document that carries the hub's own id, and is this record, may settle what waits to be sent. What was
    /// sent is settled by nobody but the one who sends.
    pub(super) fn may_be_adopted(&self, entity: Entity, record_id: &str) -> bool {
        let waits = |status: &EffectStatus| matches!(status, EffectStatus::Waiting | EffectStatus::Rejected);
        match entity {
            Entity::ServiceOrder => {
                let order = record_id.parse().ok().and_then(|id| self.order(id));
                let status = order.map(|order| order.status);
                matches!(status, Some(ServiceOrderStatus::Pending | ServiceOrderStatus::Rejected))
            }
            Entity::Invoice => {
                let invoice = record_id.parse().ok().and_then(|id| self.invoice(id));
                let milestone = invoice.and_then(|invoice| self.known.milestones.get(&invoice.milestone_id?));
                milestone.is_some_and(|milestone| {
                    let key = EffectKey::issue_invoice(milestone.id, milestone.billing_round);
                    self.known.effects.get(key.as_str()).is_none_or(waits)
                })
            }
            _ => false,
        }
    }

    pub(super) fn publish(&mut self, entity: Entity, id: String, event: String, version: i32) {
        self.due.changes.push(Published { entity, id, event, version });
    }
}
