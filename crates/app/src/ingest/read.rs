//! What is known of the records of a page, read together: first what keeps others away, in the order that everybody
//! takes it in, then what stands there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crosstie_domain::{
    access::RowScope,
    ids::{AccountId, ConnectionId, OpportunityId},
    integration::{Claim, EffectKey, Entity, authority::Speaker},
};
use crosstie_store::{
    Tx, billing, delivery,
    integration::{
        MatchKey, accounts_alike, assertions_of, conflicts_by_ids, effects_by_keys, fields_of, identities_at,
        identities_of, latest_assertions, pushes_of, remote_documents,
    },
    pipeline,
};

use super::{
    Observation, Origin, customer_of,
    fields::Ranks,
    matching::{keys_of, may_link},
    page::{Due, Known, Page},
    passed_over,
    pipeline::Subject,
};
use crate::AppError;

/// Which rows are about which records, as far as that can be told before they are decided on.
#[derive(Default)]
struct Aims<'a> {
    accounts: BTreeSet<AccountId>,
    opportunities: BTreeSet<OpportunityId>,
    /// A record, and the id under which it is spoken of.
    pairs: BTreeSet<(String, &'a str)>,
}

impl<'a> Page<'a> {
    /// Reads what is known of the records of these rows.
    ///
    /// # Errors
    /// As the database.
    pub(super) async fn read(tx: &'a Tx, origin: Origin<'a>, rows: &[Observation<'a>]) -> Result<Self, AppError> {
        let (known, due) = (Known::default(), Due::default());
        let mut page = Self { tx, origin, now: tx.now(), known, due };
        page.read_links(rows).await?;
        let rows = page.to_be_taken(rows);
        if !rows.is_empty() {
            let mut aims = page.aims(&rows);
            page.read_alike(&rows, &mut aims).await?;
            page.read_subjects(&mut aims).await?;
            page.read_billing(&rows, &mut aims).await?;
            page.read_said(&aims).await?;
            page.read_shared(&aims).await?;
        }
        page.now = tx.now();
        Ok(page)
    }

    /// What the rows, and what they refer to, are linked to.
    async fn read_links(&mut self, rows: &[Observation<'a>]) -> Result<(), AppError> {
        let mut wanted: BTreeMap<Entity, BTreeSet<&str>> = BTreeMap::new();
        for seen in rows {
            wanted.entry(seen.claim.entity()).or_default().insert(seen.remote_id);
            if let Some(customer) = customer_in(seen.claim) {
                wanted.entry(Entity::Account).or_default().insert(customer);
            }
        }
        for (entity, ids) in wanted {
            self.read_links_at((self.origin.connection, entity), ids).await?;
        }
        Ok(())
    }

    async fn read_links_at(
        &mut self,
        (connection, entity): (ConnectionId, Entity),
        ids: BTreeSet<&str>,
    ) -> Result<(), AppError> {
        let ids: Vec<&str> = ids.into_iter().collect();
        for link in identities_at(self.tx, (connection, entity), &ids).await? {
            self.remember_link(link);
        }
        Ok(())
    }

    /// The rows of which something may come. Whether a second row about one record says anything is not known before
    /// the first one is taken in.
    fn to_be_taken(&self, rows: &[Observation<'a>]) -> Vec<Observation<'a>> {
        let mut times: HashMap<(Entity, &str), usize> = HashMap::new();
        for seen in rows {
            *times.entry((seen.claim.entity(), seen.remote_id)).or_default() += 1;
        }
        let says_something = |seen: &&Observation<'a>| {
            let entity = seen.claim.entity();
            let known = self.link(entity, seen.remote_id);
            times.get(&(entity, seen.remote_id)).is_some_and(|times| *times > 1)
                || known.is_none_or(|known| passed_over(self.origin.cause, **seen, known).is_none())
        };
        rows.iter().filter(says_something).copied().collect()
    }

    fn aims(&self, rows: &[Observation<'a>]) -> Aims<'a> {
        let mut aims = Aims::default();
        for seen in rows {
            let linked = self.link(seen.claim.entity(), seen.remote_id).map(|link| link.record_id.clone());
            let record = linked.or_else(|| own_id(seen.claim));
            let Some(record) = record else { continue };
            match seen.claim {
                Claim::Account(_) => aims.accounts.extend(record.parse::<AccountId>().ok()),
                Claim::Opportunity(_) => aims.opportunities.extend(record.parse::<OpportunityId>().ok()),
                Claim::Invoice(_) | Claim::ServiceOrder(_) => {}
            }
            aims.pairs.insert((record, seen.remote_id));
        }
        aims
    }

    /// Accounts that customers which are not known may be.
    async fn read_alike(&mut self, rows: &[Observation<'a>], aims: &mut Aims<'a>) -> Result<(), AppError> {
        let new = rows.iter().filter_map(|seen| match seen.claim {
            Claim::Account(claim) if self.link(Entity::Account, seen.remote_id).is_none() => {
                Some((seen.remote_id, keys_of(claim)))
            }
            _ => None,
        });
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        // Who brings new customers comes one after the other: of one that two systems bring at the same moment, neither
        // would see the other's. One lock for all: a page would hold a thousand, of which the database has few.
        self.tx.lock_records(&["new customers".to_owned()]).await?;
        let wanted: BTreeSet<MatchKey> = new.iter().flat_map(|(_, keys)| MatchKey::wanted(keys)).collect();
        let wanted: Vec<MatchKey> = wanted.into_iter().collect();
        for (key, account) in accounts_alike(self.tx, &wanted).await? {
            self.known.alike.entry(key).or_default().insert(account.id);
            self.known.subjects.insert(account.id.to_string(), Subject::Account(account));
        }
        for (remote_id, keys) in &new {
            for account in self.alike(keys).into_iter().filter(|account| may_link(keys, account)) {
                aims.accounts.insert(account.id);
                aims.pairs.insert((account.id.to_string(), *remote_id));
            }
        }
        Ok(())
    }

    /// The records as they stand when nobody else decides about them any more: two systems that speak of one at once
    /// would otherwise each forget what the other one said.
    async fn read_subjects(&mut self, aims: &mut Aims<'a>) -> Result<(), AppError> {
        let everything = &RowScope::All;
        let mut held: BTreeSet<AccountId> = BTreeSet::new();
        let mut accounts = aims.accounts.clone();
        let opportunities: Vec<OpportunityId> = aims.opportunities.iter().copied().collect();
        let mut texts: Vec<String> = opportunities.iter().map(ToString::to_string).collect();
        loop {
            texts.extend(accounts.iter().map(ToString::to_string));
            self.tx.lock_records(&texts).await?;
            texts.clear();
            let ids: Vec<AccountId> = accounts.iter().copied().collect();
            held.append(&mut accounts);
            for account in pipeline::accounts_by_ids(self.tx, everything, &ids).await? {
                accounts.extend(account.merged_into.filter(|into| !held.contains(into)));
                self.known.subjects.insert(account.id.to_string(), Subject::Account(account));
            }
            if accounts.is_empty() {
                break;
            }
        }
        for opportunity in pipeline::opportunities_by_ids(self.tx, everything, &opportunities).await? {
            self.known.subjects.insert(opportunity.id.to_string(), Subject::Opportunity(opportunity));
        }
        let standing = |(record, remote_id): &(String, &'a str)| {
            let account = self.standing(record.parse().ok()?)?;
            Some((account.id.to_string(), *remote_id))
        };
        let standing: Vec<_> = aims.pairs.iter().filter_map(standing).collect();
        aims.pairs.extend(standing);
        let mut records: Vec<String> = self.known.subjects.keys().cloned().collect();
        records.sort_unstable();
        for link in identities_of(self.tx, everything, &records).await? {
            self.remember_holder(&link);
        }
        self.known.fields = fields_of(self.tx, everything, &records).await?.into_iter().collect();
        Ok(())
    }

    /// Invoices and orders, and what follows them.
    async fn read_billing(&mut self, rows: &[Observation<'a>], aims: &mut Aims<'a>) -> Result<(), AppError> {
        let everything = &RowScope::All;
        let mut documents: BTreeMap<Entity, BTreeSet<&str>> = BTreeMap::new();
        for seen in rows {
            if let entity @ (Entity::Invoice | Entity::ServiceOrder) = seen.claim.entity() {
                documents.entry(entity).or_default().insert(seen.remote_id);
            }
        }
        if documents.is_empty() {
            return Ok(());
        }
        for (entity, ids) in documents {
            let ids: Vec<&'a str> = rows.iter().map(|seen| seen.remote_id).filter(|id| ids.contains(id)).collect();
            for document in remote_documents(self.tx, (self.origin.connection, entity), &ids).await? {
                if let Some(remote_id) = ids.iter().find(|id| **id == document.remote_id) {
                    aims.pairs.insert((document.id.to_string(), *remote_id));
                }
                self.known.documents.insert((entity, document.remote_id.clone()), document);
            }
        }
        let records = || aims.pairs.iter().map(|(record, _)| record);
        let invoices: BTreeSet<_> = records().filter_map(|record| record.parse().ok()).collect();
        let orders: BTreeSet<_> = records().filter_map(|record| record.parse().ok()).collect();
        let invoices: Vec<_> = invoices.into_iter().collect();
        let invoices = billing::invoices_by_ids(self.tx, everything, &invoices).await?;
        let orders: Vec<_> = orders.into_iter().collect();
        let orders = billing::service_orders_by_ids(self.tx, everything, &orders).await?;
        let milestones: BTreeSet<_> = invoices.iter().filter_map(|invoice| invoice.milestone_id).collect();
        let milestones: Vec<_> = milestones.into_iter().collect();
        let milestones = delivery::milestones_by_ids(self.tx, everything, &milestones).await?;
        let key = |milestone: &crosstie_domain::delivery::MilestoneRecord| {
            EffectKey::issue_invoice(milestone.id, milestone.billing_round)
        };
        self.known.effects = effects_by_keys(self.tx, &milestones.iter().map(key).collect::<Vec<_>>()).await?;
        self.known.invoices.extend(invoices.into_iter().map(|invoice| (invoice.id, invoice)));
        self.known.orders.extend(orders.into_iter().map(|order| (order.id, order)));
        self.known.milestones.extend(milestones.into_iter().map(|milestone| (milestone.id, milestone)));
        Ok(())
    }

    /// What this connection last said.
    async fn read_said(&mut self, aims: &Aims<'a>) -> Result<(), AppError> {
        let pairs: Vec<(String, &str)> = aims.pairs.iter().cloned().collect();
        for assertion in latest_assertions(self.tx, self.origin.connection, &pairs).await? {
            self.remember_said(Arc::new(assertion));
        }
        Ok(())
    }

    /// Of records that several systems know, what each of them said, what is agreed on, and what waits for a person.
    async fn read_shared(&mut self, aims: &Aims<'a>) -> Result<(), AppError> {
        let everything = &RowScope::All;
        let mut speakers: BTreeMap<&str, BTreeSet<Speaker>> = BTreeMap::new();
        for (record, remote_id) in &aims.pairs {
            if let Some(subject) = self.subject(record) {
                let entity = subject.entity();
                let holders = self.known.holders.get(record).into_iter().flatten();
                let holders = holders.filter(|(kind, _)| *kind == entity).map(|(_, speaker)| speaker.clone());
                let speaker = Speaker { connection: self.origin.connection, remote_id: (*remote_id).to_owned() };
                speakers.entry(record).or_default().extend(holders.chain([speaker]));
            }
        }
        let is_new = |record: &str| !self.known.fields.contains_key(record);
        let shared = speakers.into_iter().filter(|(record, speakers)| speakers.len() > 1 && is_new(record));
        let shared: Vec<String> = shared.map(|(record, _)| record.to_owned()).collect();
        if shared.is_empty() && self.known.fields.is_empty() {
            return Ok(());
        }
        let said = assertions_of(self.tx, everything, &shared).await?;
        let mut customers: BTreeMap<ConnectionId, BTreeSet<String>> = BTreeMap::new();
        for assertion in &said {
            if let Some(customer) = customer_of(assertion) {
                customers.entry(assertion.connection_id).or_default().insert(customer);
            }
        }
        for (connection, ids) in &customers {
            let ids = ids.iter().map(String::as_str).collect();
            self.read_links_at((*connection, Entity::Account), ids).await?;
        }
        let states = || self.known.fields.values().flat_map(|fields| fields.values());
        let voices = states().flat_map(|state| state.voices.keys()).map(|speaker| speaker.connection);
        let voices = voices.chain(said.iter().map(|assertion| assertion.connection_id));
        let mut connections: Vec<ConnectionId> = voices.chain([self.origin.connection]).collect();
        connections.sort_unstable();
        connections.dedup();
        let held: Vec<_> = states().filter_map(|state| state.held.as_ref()).map(|held| held.conflict).collect();
        let conflicts = conflicts_by_ids(self.tx, everything, &held).await?;
        self.known.conflicts = conflicts.into_iter().map(|conflict| (conflict.id, conflict)).collect();
        self.known.ranks = Arc::new(Ranks::of(self.tx, connections.iter().copied()).await?);
        self.known.pushes = pushes_of(self.tx, everything, &connections).await?.into_iter().collect();
        for assertion in said {
            self.remember_said(Arc::new(assertion));
        }
        Ok(())
    }
}

/// The record of the hub that a claim names by the hub's own id.
fn own_id(claim: &Claim) -> Option<String> {
    match claim {
        Claim::Account(claim) => claim.account.map(|id| id.to_string()),
        other => other.hub_id(),
    }
}

/// The customer that a claim names, by its id at the system.
fn customer_in(claim: &Claim) -> Option<&str> {
    match claim {
        Claim::Opportunity(claim) => claim.account.as_deref(),
        Claim::Invoice(claim) => claim.customer.as_deref(),
        Claim::Account(_) | Claim::ServiceOrder(_) => None,
    }
}
