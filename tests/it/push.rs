//! What the hub shows is written where something else stands, once, and its echo changes nothing.

use crosstie_app::{Ingested, KnownVersion, SendOutcome, erasure::ErasePerson};
use crosstie_domain::{
    Clock,
    access::{AuthContext, RowScope},
    ids::{AccountId, OpportunityId},
    integration::{
        Arm, Claim, Entity, Intent, LinkState, UpdateRecord,
        authority::{Authority, FieldRules, OnConflict},
    },
    money::Currency,
    pipeline::{AccountClaim, OpportunityClaim},
};
use crosstie_store::{
    integration::{ClaimedEffect, EffectOutcome, Identity, Pushes, fields_of},
    pipeline::accounts_by_ids,
};
use serde_json::{Value as Json, json};

use crate::support::{Database, Graph, Said, System, id_of, on_each_database};

/// An account as a system speaks of it, at a version.
async fn customer(system: &System, database: &Database, of: Option<AccountId>, said: (&str, &str)) -> Ingested {
    database.clock.advance(1_000);
    let (name, version) = said;
    let claim = AccountClaim { account: of, name: Some(name.to_owned()), ..AccountClaim::default() };
    let (asked_at, claim) = (database.clock.now(), Claim::Account(claim));
    let fields = json!({ "name": name });
    system.say(Said { remote_id: "c1", version: Some(version), asked_at, claim, fields }).await
}

/// A version of a minute of one day, which orders, with what else a system may write behind it.
fn minute(minute: u8, behind: &str) -> String {
    format!("2026-11-20T09:{minute:02}:00Z{behind}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_changed_in_the_version_that_a_write_left_behind_is_heard() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let books = System::new(database, "books", &[Arm::Billing]).await;
        allow(&books, &["account.name"], &["account.name"]).await;
        let hear = async |remote: &str, id: AccountId, said: (&str, &str, &str)| {
            database.clock.advance(1_000);
            let (name, email, version) = said;
            let billing_email = Some(email.to_owned());
            let claim = AccountClaim { account: Some(id), name: Some(name.to_owned()), billing_email, domain: None };
            let (asked_at, claim) = (database.clock.now(), Claim::Account(claim));
            let fields = json!({ "name": name, "billing_email": email });
            let said = Said { remote_id: remote, version: Some(version), asked_at, claim, fields };
            let taken = books.say_page(&[said], KnownVersion::PassedOver).await.expect("the database takes it");
            taken.into_iter().next().expect("one row")
        };
        for (number, versions) in [
            ["v1", "v2"].map(str::to_owned),
            [minute(1, ""), minute(2, "")],
            [minute(1, "[_row=ab]"), minute(2, "[_row=cd]")],
        ]
        .into_iter()
        .enumerate()
        {
            let [before, after] = &versions;
            let remote = format!("c{number}");
            let (asked_at, claim) = (database.clock.now(), AccountClaim::default());
            let claim = Claim::Account(AccountClaim { name: Some(format!("Acme {number}")), ..claim });
            let fields = json!({ "name": format!("Acme {number}") });
            let said = Said { remote_id: &remote, version: None, asked_at, claim, fields };
            let id: AccountId = id_of(&crm.say(said).await);
            hear(&remote, id, ("Other", "old@acme.example", before)).await;
            let (effect, update) = claimed(&books).await.expect("billing is told the name");
            ended(&books, &effect, written(database, &update, after)).await;
            // Between the writer's look and its write somebody changed the address.
            let shown = format!("Acme {number}");
            let heard = hear(&remote, id, (&shown, "new@acme.example", after)).await;
            assert!(matches!(heard, Ingested::Taken { changed: true, .. }), "{versions:?}: {heard:?}");
            let account = accounts_by_ids(books.store(), &RowScope::All, &[id]).await.expect("read").remove(0);
            assert_eq!((account.name.as_str(), account.billing_email.as_deref()), (&*shown, Some("new@acme.example")));
            let again = hear(&remote, id, (&shown, "new@acme.example", after)).await;
            assert_eq!(again, Ingested::Known, "{versions:?}: now it was read");
            if before != "v1" {
                let late = hear(&remote, id, ("Other", "old@acme.example", before)).await;
                assert_eq!(late, Ingested::Older, "{versions:?}");
            }
            assert!(claimed(&books).await.is_none());
        }
    })
    .await;
}

/// Lets the hub keep these fields of a system true; others of its fields can be written when a person decides so.
async fn allow(system: &System, pushed: &[&str], writable: &[&str]) {
    let tx = system.store().begin().await.expect("a transaction begins");
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let pushes = Pushes { writable: texts(writable), pushed: texts(pushed) };
    tx.save_pushes(system.connection, &pushes).await.expect("saved");
    tx.commit().await.expect("it commits");
}

/// The write that waits, if there is one.
async fn claimed(system: &System) -> Option<(ClaimedEffect, UpdateRecord)> {
    let effect = system.store().claim_effect(60_000).await.expect("claimed")?;
    let Intent::UpdateRecord(update) = effect.intent.clone() else { panic!("{:?}", effect.intent) };
    Some((effect, update))
}

async fn ended(system: &System, effect: &ClaimedEffect, outcome: SendOutcome) {
    let tx = system.store().begin().await.expect("a transaction begins");
    system.app.effect_ended(&tx, effect, &outcome).await.expect("noted");
    tx.commit().await.expect("it commits");
}

fn written(database: &Database, effect: &UpdateRecord, version: &str) -> SendOutcome {
    SendOutcome::Done {
        remote_id: effect.remote_id.clone(),
        remote_version: Some(version.to_owned()),
        customer_remote_id: None,
        asked_at: database.clock.now(),
    }
}

async fn name(system: &System, id: AccountId) -> String {
    accounts_by_ids(system.store(), &RowScope::All, &[id]).await.expect("read").remove(0).name
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_written_where_something_else_stands_and_the_echo_changes_nothing() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let books = System::new(database, "books", &[Arm::Billing]).await;
        allow(&books, &["account.name"], &["account.name"]).await;
        let id: AccountId = id_of(&customer(&crm, database, None, ("Acme", "v1")).await);
        customer(&books, database, Some(id), ("ACME Inc", "v1")).await;
        let (effect, update) = claimed(&books).await.expect("billing is told the name");
        assert_eq!(effect.connection_id, books.connection);
        assert_eq!((&update.changes["name"], &update.expected["name"]), (&json!("Acme"), &json!("ACME Inc")));
        // Said again before it is written: it is asked for once.
        customer(&books, database, Some(id), ("ACME Inc", "v2")).await;
        ended(&books, &effect, written(database, &update, "v3")).await;
        assert!(claimed(&books).await.is_none());
        let echo = customer(&books, database, Some(id), ("Acme", "v3")).await;
        assert!(matches!(echo, Ingested::Taken { changed: false, .. }), "{echo:?}");
        assert!(claimed(&books).await.is_none() && name(&crm, id).await == "Acme");

        // The CRM moves on: billing follows. Billing moves by itself: it is put right again.
        customer(&crm, database, Some(id), ("Acme AG", "v2")).await;
        let (effect, update) = claimed(&books).await.expect("billing is told the new name");
        assert_eq!(update.expected["name"], "Acme");
        ended(&books, &effect, written(database, &update, "v4")).await;
        customer(&books, database, Some(id), ("Typo", "v5")).await;
        let (effect, update) = claimed(&books).await.expect("billing is told the name again");
        assert_eq!((&update.changes["name"], &update.expected["name"]), (&json!("Acme AG"), &json!("Typo")));
        // It refuses: what it holds stays visible, and it is not asked again and again.
        let (code, message) = ("REJECTED".to_owned(), "the name is locked".to_owned());
        ended(&books, &effect, SendOutcome::NotDone(EffectOutcome::Rejected { code, message })).await;
        assert!(claimed(&books).await.is_none());
        let graph = Graph::over(crm.app.clone()).await;
        let query = "query($id: ID!) { account(id: $id) { name provenance(field: \"name\") { overruled { value } } } }";
        let told = graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        assert_eq!(told["account"]["name"], "Acme AG");
        assert_eq!(told["account"]["provenance"]["overruled"], json!([{ "value": "\"Typo\"" }]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_a_name_that_was_erased_is_written_nowhere() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let books = System::new(database, "books", &[Arm::Billing]).await;
        allow(&books, &["account.name"], &["account.name"]).await;
        let id: AccountId = id_of(&customer(&crm, database, None, ("Ann Lee", "v1")).await);
        customer(&books, database, Some(id), ("Annie", "v1")).await;
        let (effect, _) = claimed(&books).await.expect("billing is told the name");
        let (code, message) = ("REJECTED".to_owned(), "the name is locked".to_owned());
        ended(&books, &effect, SendOutcome::NotDone(EffectOutcome::Rejected { code, message })).await;

        let whom =
            ErasePerson { names: vec!["Ann Lee".to_owned()], reason: "asked for".to_owned(), ..Default::default() };
        let begun = crm.app.erase_person(&AuthContext::system(), whom).await.expect("decided").expect("it is begun");
        let mut job = begun.erasure.expect("it is begun");
        let lease = crm.store().lease("erasure", "test", 60_000).await.expect("asked").expect("taken");
        while job.finished_at.is_none() {
            job = crm.app.erase_some(&lease, &job, 500).await.expect("some rows");
        }
        assert!(name(&crm, id).await.starts_with("[erased:"));
        customer(&books, database, Some(id), ("Annie B", "v2")).await;
        assert!(claimed(&books).await.is_none(), "billing keeps what it has");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_reaches_the_systems_that_were_overruled() {
    on_each_database(async |database| {
        let mut rules = FieldRules::default();
        let crm = Authority::Authoritative { arm: Arm::Crm };
        rules.set((Entity::Opportunity, "amount"), crm, Some(OnConflict::Held)).expect("a field");
        let one = System::new(database, "hubspot", &[Arm::Crm]).await;
        let other = System::new(database, "tryton", &[Arm::Crm]).await;
        allow(&one, &[], &["opportunity.amount"]).await;
        allow(&other, &[], &["opportunity.name"]).await;
        let deal = async |system: &System, dollars: i64| {
            database.clock.advance(1_000);
            let amount = Some(crosstie_domain::Money::new(dollars * 100, Currency::USD));
            let claim = OpportunityClaim { name: Some("Rollout".to_owned()), amount, ..OpportunityClaim::default() };
            let (asked_at, claim) = (database.clock.now(), Claim::Opportunity(claim));
            let fields = json!({ "name": "Rollout", "amount": dollars });
            system.say(Said { remote_id: "d1", version: None, asked_at, claim, fields }).await
        };
        let id: OpportunityId = id_of(&deal(&one, 100).await);
        let tx = other.store().begin().await.expect("a transaction begins");
        let link = Identity {
            connection_id: other.connection,
            entity: Entity::Opportunity,
            remote_id: "d1".to_owned(),
            record_id: id.to_string(),
            state: LinkState::Linked,
            remote_version: None,
            last_seen_at: tx.now(),
        };
        tx.save_identity(&link).await.expect("linked");
        tx.commit().await.expect("it commits");
        deal(&other, 90).await;
        assert!(claimed(&one).await.is_none(), "while it is held nobody is told anything");
        let graph = Graph::over(one.app.clone()).await;
        let query = "query($id: ID!) { conflicts(filter: { recordId: { eq: $id } }) { nodes { id } } }";
        let found = graph.data(AuthContext::system(), query, json!({ "id": id })).await;
        let conflict: &Json = &found["conflicts"]["nodes"][0]["id"];
        let input = json!({ "conflictId": conflict, "connectionId": other.connection, "note": "the order says so" });
        let decided = graph.decide(AuthContext::system(), "resolveConflict", "conflict { status }", input).await;
        assert_eq!(decided["conflict"]["status"], "RESOLVED", "{decided}");
        let (effect, update) = claimed(&one).await.expect("the one that was overruled is told");
        assert_eq!((effect.connection_id, update.remote_id.as_str()), (one.connection, "d1"));
        assert_eq!(update.changes["amount"]["minor"], 9_000);
        assert!(claimed(&other).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_systems_that_speak_of_a_record_at_once_neither_is_forgotten() {
    on_each_database(async |database| {
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        let books = System::new(database, "books", &[Arm::Billing]).await;
        let id: AccountId = id_of(&customer(&crm, database, None, ("Acme", "v0")).await);
        customer(&books, database, Some(id), ("Acme", "v0")).await;
        for round in 1..=25 {
            let (theirs, version) = (format!("Acme {round}"), format!("v{round}"));
            let ours = format!("Books {round}");
            tokio::join!(
                customer(&crm, database, None, (&theirs, &version)),
                customer(&books, database, Some(id), (&ours, &version)),
            );
            assert_eq!(name(&crm, id).await, theirs);
            let kept = fields_of(crm.store(), &RowScope::All, &[id.to_string()]).await.expect("read").remove(0).1;
            let mut voices: Vec<&Json> = kept["name"].voices.values().map(|voice| &voice.value).collect();
            voices.sort_by_key(|voice| voice.to_string());
            assert_eq!((&kept["name"].base, voices), (&json!(theirs), vec![&json!(theirs), &json!(ours)]), "{round}");
        }
    })
    .await;
}
