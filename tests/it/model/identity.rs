//! Which records of other systems a record is: a remote record is one record of the hub, whatever people decide and take
//! back, what belongs to it goes with it, and what it said is never lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use crosstie_app::{Ingested, LinkRecord, MergeRecords, Split, SplitRecord};
use crosstie_domain::{
    Clock,
    access::{AuthContext, RowScope},
    ids::{AccountId, OpportunityId},
    integration::{Arm, Claim, Entity, authority::Speaker},
    pipeline::{AccountClaim, AccountRecord, OpportunityClaim},
};
use crosstie_store::{
    integration::{assertions_of, fields_of, identity},
    pipeline::{accounts_by_ids, opportunities_by_ids},
};
use proptest::{collection::vec, prop_oneof, strategy::Strategy};
use serde_json::json;

use super::hold;
use crate::support::{Database, Said, System, id_of, on_each_quick_database};

/// A record of another system: which system, and its number there.
type Remote = (usize, u8);

#[derive(Debug, Clone)]
enum Step {
    /// A system says a name of a record.
    Say(Remote),
    /// A system says that a deal belongs to a customer.
    Deal(Remote),
    Merge(usize, usize),
    /// A merge is taken back.
    Unmerge(usize),
    TakeOut(Remote),
    Link(Remote, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let remote = || (0_usize..2, 0_u8..3);
    let record = || 0_usize..8;
    let step = prop_oneof![
        6 => remote().prop_map(Step::Say),
        3 => remote().prop_map(Step::Deal),
        4 => (record(), record()).prop_map(|(from, into)| Step::Merge(from, into)),
        3 => record().prop_map(Step::Unmerge),
        2 => remote().prop_map(Step::TakeOut),
        3 => (remote(), record()).prop_map(|(remote, record)| Step::Link(remote, record)),
    ];
    vec(step, 1..25)
}

/// A record as it should stand.
#[derive(Debug)]
struct Kept {
    id: AccountId,
    merged_into: Option<usize>,
    /// Whose links went with it when it was merged.
    moved: Vec<Remote>,
}

#[derive(Debug, Default)]
struct Model {
    records: Vec<Kept>,
    links: BTreeMap<Remote, usize>,
    said: BTreeMap<Remote, String>,
    names: BTreeSet<String>,
    deals: Vec<(Remote, OpportunityId)>,
}

impl Model {
    fn linked_to(&self, record: usize) -> Vec<Remote> {
        self.links.iter().filter(|(_, to)| **to == record).map(|(remote, _)| *remote).collect()
    }

    fn add(&mut self, id: AccountId) -> usize {
        self.records.push(Kept { id, merged_into: None, moved: Vec::new() });
        self.records.len() - 1
    }

    fn may_unite(&self, from: usize, into: usize) -> bool {
        from != into && self.records[from].merged_into.is_none() && self.records[into].merged_into.is_none()
    }

    fn merge(&mut self, from: usize, into: usize) {
        let moved = self.linked_to(from);
        moved.iter().for_each(|remote| _ = self.links.insert(*remote, into));
        (self.records[from].merged_into, self.records[from].moved) = (Some(into), moved);
    }

    /// What was taken elsewhere since stays there.
    fn unmerge(&mut self, record: usize) {
        let Some(into) = self.records[record].merged_into.take() else { return };
        for remote in std::mem::take(&mut self.records[record].moved) {
            if self.links[&remote] == into {
                self.links.insert(remote, record);
            }
        }
    }
}

struct Scene<'a> {
    database: &'a Database,
    systems: &'a [System; 2],
    /// What the sequence calls its remote records by: each has its own.
    prefix: String,
    model: Model,
    spoken: usize,
}

impl Scene<'_> {
    fn remote_id(&self, (_, number): Remote) -> String {
        format!("{}-c{number}", self.prefix)
    }

    async fn say(&mut self, remote: Remote) {
        self.spoken += 1;
        self.database.clock.advance(1_000);
        let name = format!("{} says {} of {}", ["Left", "Right"][remote.0], self.spoken, self.remote_id(remote));
        let claim = Claim::Account(AccountClaim { name: Some(name.clone()), ..AccountClaim::default() });
        let (remote_id, asked_at, fields) =
            (self.remote_id(remote), self.database.clock.now(), json!({ "name": name }));
        let said = Said { remote_id: &remote_id, version: None, asked_at, claim, fields };
        let id: AccountId = id_of(&self.systems[remote.0].say(said).await);
        match self.model.links.get(&remote) {
            Some(record) => assert_eq!(id, self.model.records[*record].id),
            None => {
                assert!(self.model.records.iter().all(|record| record.id != id), "nobody is taken for somebody else");
                let record = self.model.add(id);
                self.model.links.insert(remote, record);
            }
        }
        self.model.names.insert(name.clone());
        self.model.said.insert(remote, name);
    }

    async fn deal(&mut self, remote: Remote) {
        if !self.model.links.contains_key(&remote) {
            return;
        }
        self.database.clock.advance(1_000);
        let (remote_id, customer) = (format!("{}-d{}", self.prefix, self.model.deals.len()), self.remote_id(remote));
        let claim = OpportunityClaim {
            name: Some(remote_id.clone()),
            account: Some(customer.clone()),
            ..OpportunityClaim::default()
        };
        let fields = json!({ "name": remote_id, "account": customer });
        let (asked_at, claim) = (self.database.clock.now(), Claim::Opportunity(claim));
        let said = Said { remote_id: &remote_id, version: None, asked_at, claim, fields };
        let taken = self.systems[remote.0].say(said).await;
        assert!(matches!(taken, Ingested::Taken { changed: true, .. }), "{taken:?}");
        self.model.deals.push((remote, id_of(&taken)));
    }

    fn record(&self, number: usize) -> Option<usize> {
        (!self.model.records.is_empty()).then(|| number % self.model.records.len())
    }

    async fn merge(&mut self, from: usize, into: usize) {
        let (Some(from), Some(into)) = (self.record(from), self.record(into)) else { return };
        let (record_id, into_id) = (self.model.records[from].id.to_string(), self.model.records[into].id.to_string());
        let input = MergeRecords { record_id, into_id, reason: None, idempotency_key: None };
        let decided = self.systems[0].app.merge_records(&AuthContext::system(), input).await.expect("decided");
        assert_eq!(decided.is_ok(), self.model.may_unite(from, into), "{decided:?}");
        if decided.is_ok() {
            self.model.merge(from, into);
        }
    }

    async fn split(&mut self, what: Split) -> Option<String> {
        let input = SplitRecord { what, reason: None, idempotency_key: None };
        let decided = self.systems[0].app.split_record(&AuthContext::system(), input).await.expect("decided");
        decided.ok().map(|event| event.other_id)
    }

    async fn take_out(&mut self, remote: Remote) {
        let Some(record) = self.model.links.get(&remote).copied() else { return };
        let record_id = self.model.records[record].id.to_string();
        let (connection_id, remote_id) = (self.systems[remote.0].connection, self.remote_id(remote));
        let own = self.split(Split::Remote { record_id: record_id.clone(), connection_id, remote_id }).await;
        let own = own.expect("it is linked");
        if self.model.linked_to(record).len() == 1 {
            assert_eq!(own, record_id, "it has a record of its own");
        } else {
            let own = self.model.add(own.parse().expect("an identifier"));
            self.model.links.insert(remote, own);
        }
    }

    async fn link(&mut self, remote: Remote, record: usize) {
        let (Some(from), Some(into)) = (self.model.links.get(&remote).copied(), self.record(record)) else { return };
        let input = LinkRecord {
            connection_id: self.systems[remote.0].connection,
            remote_id: self.remote_id(remote),
            record_id: self.model.records[into].id.to_string(),
            reason: None,
            idempotency_key: None,
        };
        let decided = self.systems[1].app.link_record(&AuthContext::system(), input).await.expect("decided");
        assert_eq!(decided.is_ok(), self.model.may_unite(from, into), "{decided:?}");
        match (decided.is_ok(), self.model.linked_to(from).len()) {
            (false, _) => {}
            (true, 1) => self.model.merge(from, into),
            (true, _) => _ = self.model.links.insert(remote, into),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Say(remote) => self.say(remote).await,
            Step::Deal(remote) => self.deal(remote).await,
            Step::Merge(from, into) => self.merge(from, into).await,
            Step::Unmerge(record) => {
                let Some(record) = self.record(record) else { return };
                let undone = self.split(Split::Merged(self.model.records[record].id.to_string())).await;
                assert_eq!(undone.is_some(), self.model.records[record].merged_into.is_some());
                self.model.unmerge(record);
            }
            Step::TakeOut(remote) => self.take_out(remote).await,
            Step::Link(remote, record) => self.link(remote, record).await,
        }
    }

    async fn check(&self) {
        let store = self.systems[0].store();
        let ids: Vec<AccountId> = self.model.records.iter().map(|record| record.id).collect();
        let found = accounts_by_ids(store, &RowScope::All, &ids).await.expect("read");
        assert_eq!(found.len(), ids.len(), "no record is lost");
        for (index, record) in self.model.records.iter().enumerate() {
            let shown = found.iter().find(|found| found.id == record.id).expect("it is there");
            let into = record.merged_into.map(|into| self.model.records[into].id);
            assert_eq!(shown.merged_into, into, "{record:?}");
            self.check_voices(index, shown).await;
        }
        for (remote, record) in &self.model.links {
            let (connection, remote_id) = (self.systems[remote.0].connection, self.remote_id(*remote));
            let link = identity(store, connection, Entity::Account, &remote_id).await.expect("read");
            let link = link.expect("it is linked");
            assert_eq!(link.record_id, self.model.records[*record].id.to_string(), "{remote:?}");
        }
        let ids: Vec<OpportunityId> = self.model.deals.iter().map(|(_, id)| *id).collect();
        for deal in opportunities_by_ids(store, &RowScope::All, &ids).await.expect("read") {
            let (remote, _) = self.model.deals.iter().find(|(_, id)| *id == deal.id).expect("it was said");
            let record = self.model.links[remote];
            assert_eq!(deal.account_id, Some(self.model.records[record].id), "the deal goes with {remote:?}");
        }
    }

    /// Whoever is linked to a record is heard of it, with what it said last, and nobody else.
    async fn check_voices(&self, record: usize, shown: &AccountRecord) {
        let (store, id) = (self.systems[0].store(), shown.id.to_string());
        let linked = self.model.linked_to(record);
        let speaker = |remote: &Remote| Speaker {
            connection: self.systems[remote.0].connection,
            remote_id: self.remote_id(*remote),
        };
        let expected: BTreeMap<Speaker, String> =
            linked.iter().map(|remote| (speaker(remote), self.model.said[remote].clone())).collect();
        let said = assertions_of(store, &RowScope::All, std::slice::from_ref(&id)).await.expect("read");
        let voices: BTreeMap<Speaker, String> = said
            .iter()
            .map(|said| {
                let speaker = Speaker { connection: said.connection_id, remote_id: said.remote_id.clone() };
                (speaker, said.fields["name"].value.as_str().expect("a name").to_owned())
            })
            .collect();
        assert_eq!(voices, expected, "what was said of {record}");
        assert!(self.model.names.contains(&shown.name), "{} was never said", shown.name);
        if let [alone] = linked.as_slice() {
            assert_eq!(shown.name, self.model.said[alone], "who stands alone is shown as it is");
        }
        if linked.len() > 1 {
            let fields = fields_of(store, &RowScope::All, std::slice::from_ref(&id)).await.expect("read");
            let (_, fields) = fields.first().expect("several speak of it");
            let heard = fields["name"].voices.iter();
            let heard: BTreeMap<Speaker, String> = heard
                .map(|(speaker, voice)| (speaker.clone(), voice.value.as_str().expect("a name").to_owned()))
                .collect();
            assert_eq!(heard, expected, "who is heard of {record}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_record_is_one_record_and_keeps_its_voice_whatever_is_decided_and_taken_back() {
    on_each_quick_database(async |database| {
        let left = System::new(database, "hubspot", &[Arm::Crm]).await;
        let right = System::new(database, "books", &[Arm::Billing, Arm::Crm]).await;
        let (systems, sequences) = ([left, right], AtomicUsize::new(0));
        hold("the identity map", 32, &steps(), async |steps| {
            let prefix = format!("s{}", sequences.fetch_add(1, Ordering::Relaxed));
            let mut scene = Scene { database, systems: &systems, prefix, model: Model::default(), spoken: 0 };
            for step in steps {
                scene.step(step).await;
                scene.check().await;
            }
        });
    })
    .await;
}
