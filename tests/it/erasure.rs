//! Erasing a person: nothing is left, nothing comes back, and what is left can be verified.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use crosstie_app::{
    App, Ingested,
    access::NewToken,
    erasure::{ErasePerson, LiftErasure},
};
use crosstie_connectors::fakes::StripeFake;
use crosstie_domain::{
    Clock,
    access::{AuthContext, Permission, Role, RowScope},
    ids::AccountId,
    integration::{
        Arm, Claim, EffectKey, EffectStatus, Entity, InboundStatus, Intent, UpdateRecord,
        erasure::{ErasureRecord, ErasureStatus, is_mark},
    },
    pipeline::AccountClaim,
};
use crosstie_sdk::{Delivery, FakeVendor, HttpRequest, MemoryTransport, Method, Secret};
use crosstie_store::{
    EffectRequest, Store,
    integration::{EffectOutcome, IMPERSONAL_COLUMNS, PERSONAL_TABLES, erasures_by_ids, latest_assertion},
    pipeline::accounts_by_ids,
};
use crosstie_sync::Receipt;
use sea_orm::{ConnectionTrait, DatabaseConnection, FromQueryResult, Statement};
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    Binary, Crm, Database, Graph, Said, System, effects, engine_with, events, graph, id_of, on_each_database, setup,
};

/// Rows of tables that nothing else in these tests fills.
const OTHER_ROWS: &str = "
    INSERT INTO connection_pauses (id, connection_id, what, paused_by, reason, paused_at, resume_reason, resumed_at)
        VALUES ('one', 'one', 'SENDING', 'system', '', 1, '', 2);
    INSERT INTO inbound_refusals (id, counted_as, hour, place, asked_for, code, header_names, safe_headers, body_bytes,
        body_sha256, body_excerpt, refused_at) VALUES ('one', 'one', 1, 1, '', 'STALE', '', '', 0, '', '', 1);
    INSERT INTO remote_documents (id, connection_id, entity, remote_id, customer, number, reference, title,
        match_reference, match_title, state, updated_at) VALUES ('one', 'one', 'invoice', '', '', '', '', '', '', '', '', 1);
";

const EMAIL: &str = "ann.lee@example.com";
const NAME: &str = "Ann Lee";
/// Tables that have no row in the small organization.
const MAY_BE_EMPTY: &[&str] = &[
    "match_candidates",
    "identity_events",
    "idempotency_keys",
    "cursors",
    "connection_modes",
    "connection_mappings",
    "remaps",
    "sweep_seen",
    "shapes",
    "connection_sign_ins",
    "connection_authorizations",
];

fn ann() -> ErasePerson {
    ErasePerson {
        emails: vec![EMAIL.to_owned()],
        names: vec![NAME.to_owned()],
        reason: format!("{NAME} asked for it"),
        ..ErasePerson::default()
    }
}

#[derive(FromQueryResult)]
struct Column {
    of: String,
    name: String,
    kind: String,
}

/// Every column of text or bytes: table, column, and whether it is of bytes.
pub(crate) async fn columns(raw: &DatabaseConnection) -> Vec<(String, String, bool)> {
    let sql = if is_sqlite(raw) {
        "SELECT m.name AS of, i.name AS name, i.type AS kind FROM sqlite_master m, pragma_table_info(m.name) i \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
    } else {
        "SELECT c.table_name AS of, c.column_name AS name, c.data_type AS kind FROM information_schema.columns c \
         JOIN pg_class k ON k.relname = c.table_name WHERE c.table_schema = 'public' AND k.relkind IN ('r', 'p') \
         AND NOT k.relispartition"
    };
    let all = Column::find_by_statement(Statement::from_string(raw.get_database_backend(), sql)).all(raw).await;
    let ours = all.expect("read").into_iter().filter(|column| column.of != "seaql_migrations");
    let wide = ours.filter(|column| !column.kind.to_lowercase().contains("int"));
    wide.map(|column| (column.of, column.name, matches!(column.kind.as_str(), "BLOB" | "bytea"))).collect()
}

fn is_sqlite(raw: &DatabaseConnection) -> bool {
    raw.get_database_backend() == sea_orm::DbBackend::Sqlite
}

#[tokio::test]
async fn every_column_of_text_is_known_to_hold_something_of_a_person_or_not() {
    on_each_database(async |database| {
        let raw = database.raw().await;
        let found = columns(&raw).await;
        assert!(found.len() > 200, "the schema was read: {}", found.len());
        let (mut unknown, mut twice) = (Vec::new(), Vec::new());
        for (table, column, _) in &found {
            let personal = PERSONAL_TABLES.iter().filter(|known| known.name == table);
            let personal = personal
                .filter(|known| known.text.contains(&column.as_str()) || known.bytes.contains(&column.as_str()));
            let other = IMPERSONAL_COLUMNS
                .iter()
                .filter(|(known, columns)| known == table && columns.contains(&column.as_str()));
            match personal.count() + other.count() {
                0 => unknown.push(format!("{table}.{column}")),
                1 => {}
                _ => twice.push(format!("{table}.{column}")),
            }
        }
        assert_eq!((unknown, twice), (vec![], vec![]), "say in store/src/integration/personal.rs what they hold");
        let is_there = |table: &str, column: &str| found.iter().any(|(of, name, _)| of == table && name == column);
        for table in PERSONAL_TABLES {
            for column in table.text.iter().chain(table.bytes) {
                assert!(is_there(table.name, column), "{}.{column} is not there", table.name);
            }
        }
        raw.close().await.expect("it closes");
    })
    .await;
}

/// Every way in which the person can be written.
fn forms() -> Vec<String> {
    let mut forms = vec![EMAIL.to_owned(), NAME.to_owned(), EMAIL.replace('@', "%40"), EMAIL.replace('@', "\\u0040")];
    forms.extend(["Ann%20Lee".to_owned(), "Ann+Lee".to_owned()]);
    for text in [EMAIL, NAME] {
        for shift in 0..3 {
            let written = BASE64_STANDARD.encode(format!("{}{text}", " ".repeat(shift)));
            let from = if shift == 0 { 0 } else { shift + 1 };
            let until = written.trim_end_matches('=').len() - 1;
            forms.push(written[from..until].to_owned());
        }
    }
    forms
}

fn hits(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let plain = |form: &String| {
        if form.contains(['@', ' ', '%', '+', '\\']) {
            lower.contains(&form.to_lowercase())
        } else {
            text.contains(form.as_str())
        }
    };
    forms().into_iter().filter(plain).collect()
}

/// Where the database holds something of the person.
async fn left(raw: &DatabaseConnection) -> Vec<String> {
    #[derive(FromQueryResult)]
    struct Text {
        text: Option<String>,
    }
    let mut left = Vec::new();
    for (table, column, is_bytes) in columns(raw).await {
        let read = match (is_bytes, is_sqlite(raw)) {
            (true, false) => format!("encode({column}, 'escape')"),
            _ => format!("CAST({column} AS TEXT)"),
        };
        if is_bytes && table == "secrets" {
            continue;
        }
        let sql = format!("SELECT {read} AS text FROM {table}");
        let rows = Text::find_by_statement(Statement::from_string(raw.get_database_backend(), sql)).all(raw).await;
        let texts = rows.expect("read").into_iter().filter_map(|row| row.text);
        left.extend(texts.flat_map(|text| hits(&text)).map(|form| format!("{table}.{column}: {form}")));
    }
    left.sort();
    left.dedup();
    left
}

/// What the files of SQLite hold of the person; nothing of PostgreSQL's are looked at.
fn left_in_files(database: &Database) -> Vec<String> {
    let Some(path) = database.url.strip_prefix("sqlite://") else { return Vec::new() };
    let path = path.split('?').next().expect("a path");
    let mut left = Vec::new();
    for file in [path.to_owned(), format!("{path}-wal")] {
        let Ok(bytes) = std::fs::read(Path::new(&file)) else { continue };
        left.extend(hits(&String::from_utf8_lossy(&bytes)).into_iter().map(|form| format!("{file}: {form}")));
    }
    left
}

/// Ann in every column that may hold something of a person, of every row, in one of the ways she can be written.
async fn write_everywhere(raw: &DatabaseConnection) -> Vec<&'static str> {
    let within = BASE64_STANDARD.encode(format!("x {EMAIL} {NAME} x"));
    let text = format!(" {NAME}, {EMAIL} {} {within}", EMAIL.replace('@', "%40"));
    if is_sqlite(raw) {
        raw.execute_unprepared("PRAGMA secure_delete = ON").await.expect("set");
    }
    let mut without_rows = Vec::new();
    // What is asked of other systems is read back, and so it stays what it is: it names Ann already.
    raw.execute_unprepared("UPDATE effects SET corrected = (SELECT payload FROM outbox WHERE outbox.id = outbox_id)")
        .await
        .expect("written");
    let as_asked =
        |table: &str, column: &str| matches!((table, column), ("outbox", "payload") | ("effects", "corrected"));
    for table in PERSONAL_TABLES.iter().filter(|table| !matches!(table.name, "assertions" | "evidence")) {
        let texts = table.text.iter().filter(|column| !as_asked(table.name, column));
        let with_text = |column: &&str| match *column {
            // What is read back must stay JSON.
            "custom_fields" => format!(r#"custom_fields = '{{"sponsor":{{"kind":"TEXT","value":"{text}"}}}}'"#),
            column => format!("{column} = COALESCE({column}, '') || '{text}'"),
        };
        let mut sets: Vec<String> = texts.map(with_text).collect();
        for column in table.bytes {
            sets.push(match is_sqlite(raw) {
                true => format!("{column} = CAST({column} || '{text}' AS BLOB)"),
                false => format!("{column} = {column} || convert_to('{text}', 'UTF8')"),
            });
        }
        if sets.is_empty() {
            continue;
        }
        let done = raw.execute_unprepared(&format!("UPDATE {} SET {}", table.name, sets.join(", "))).await;
        if done.expect("written").rows_affected() == 0 {
            without_rows.push(table.name);
        }
    }
    without_rows
}

/// Lets an engine work on what is asked for; the erasure as it stands then.
async fn erase(database: &Database, input: ErasePerson) -> ErasureRecord {
    let crm = Crm::new(database).await;
    let begun = crm.app.erase_person(&AuthContext::system(), input).await.expect("decided").expect("it is begun");
    let erasure = begun.erasure.expect("it is begun");
    let ended = timeout(Duration::from_secs(60), crm.engine.erase()).await.expect("a last pass finds nothing");
    assert!(ended.expect("the database answers"));
    erasure_now(crm.app.store(), &erasure).await
}

async fn erasure_now(store: &Store, erasure: &ErasureRecord) -> ErasureRecord {
    erasures_by_ids(store, &RowScope::All, &[erasure.id]).await.expect("read").remove(0)
}

impl System {
    /// Billing says that the customer is Ann.
    async fn say_ann(&self, database: &Database, remote_id: &str) -> Ingested {
        database.clock.advance(1_000);
        let claim = AccountClaim {
            name: Some(NAME.to_owned()),
            billing_email: Some(EMAIL.to_owned()),
            ..AccountClaim::default()
        };
        let version = format!("{NAME}/{EMAIL}");
        let said = Said {
            remote_id,
            version: Some(&version),
            asked_at: self.store().now(),
            claim: Claim::Account(claim),
            fields: json!({ "name": NAME, "billing_email": EMAIL }),
        };
        self.say(said).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_hub_keeps_holds_a_person_who_was_erased() {
    on_each_database(async |database| {
        let graph: Graph = graph(database).await;
        let store = graph.app.store();
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        let account: AccountId = id_of(&billing.say_ann(database, "cus_ann").await);
        let waiting = waiting_effect(&graph, account).await;
        let person = graph.app.save_person(NAME, EMAIL, vec![Role::Admin], RowScope::All).await.expect("saved");
        let hers = NewToken {
            label: "hers".to_owned(),
            person_email: Some(EMAIL.to_owned()),
            roles: vec![],
            permissions: vec![],
            expires_at: None,
        };
        let (_, token) = graph.app.create_token(hers).await.expect("a token is made");
        let raw = database.raw().await;
        raw.execute_unprepared(OTHER_ROWS).await.expect("written");
        let without_rows = write_everywhere(&raw).await;
        for table in &without_rows {
            assert!(MAY_BE_EMPTY.contains(table), "{table} has no row here, so nothing is shown of it");
        }
        let before = left(&raw).await;
        assert!(before.len() > 80, "it stands everywhere: {before:?}");
        assert_eq!(graph.app.verify_lineage().await.expect("verified").broken, []);

        let asked = ErasePerson { dry_run: true, ..ann() };
        let told = graph.app.erase_person(&AuthContext::system(), asked).await.expect("decided").expect("it is told");
        assert!(told.erasure.is_none() && told.places.iter().any(|place| place.table == "outbox"), "{told:?}");
        assert_eq!(left(&raw).await, before, "asking changes nothing");

        let erasure = erase(database, ann()).await;
        assert_eq!(left(&raw).await, Vec::<String>::new());
        raw.close().await.expect("it closes");
        assert_eq!(left_in_files(database), Vec::<String>::new());
        assert_eq!((erasure.status, erasure.emails, erasure.names), (ErasureStatus::Done, 1, 1));
        // The rows of evidence go with what was said by them.
        let told: Vec<_> = told.places.into_iter().filter(|place| place.table != "evidence").collect();
        assert_eq!(erasure.places, told, "what was told is what was done");
        assert!(erasure.reason.ends_with("asked for it") && !erasure.reason.contains(NAME), "{}", erasure.reason);

        let verified = graph.app.verify_lineage().await.expect("verified");
        assert_eq!((verified.broken, verified.erased), (vec![], 1));
        let shown = accounts_by_ids(store, &RowScope::All, &[account]).await.expect("read").remove(0);
        assert!(is_mark(&shown.name) || shown.name.starts_with("[erased:"), "{}", shown.name);
        assert!(graph.app.authenticate(&token).await.expect("looked up").is_err(), "her token is revoked");
        let kept = crosstie_store::access::person(store, person.id).await.expect("read").expect("the id stays");
        assert!(kept.email.starts_with("[erased:") && kept.version > person.version);
        let given_up = effects(store).await.into_iter().find(|effect| effect.key == waiting.as_str());
        let given_up = given_up.expect("it is there");
        assert_eq!(given_up.error_code.as_deref(), Some("ERASED"));
    })
    .await;
}

/// An effect that would send the e-mail address.
async fn waiting_effect(graph: &Graph, account: AccountId) -> EffectKey {
    let tx = graph.app.store().begin().await.expect("a transaction begins");
    let key = EffectKey::push(tx.new_id::<crosstie_domain::ids::kind::Outbox>().uuid());
    let id = account.to_string();
    let intent = Intent::UpdateRecord(UpdateRecord {
        entity: Entity::Account,
        record_id: id.clone(),
        remote_id: "cus_1".to_owned(),
        order_key: id.clone(),
        changes: [("billing_email".to_owned(), json!(EMAIL))].into(),
        expected: [].into(),
    });
    let connection_id = graph.billing;
    let request = EffectRequest { key: &key, entity: Entity::Account, record_id: &id, connection_id, intent: &intent };
    tx.request_effect(request).await.expect("asked");
    tx.commit().await.expect("it commits");
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_not_taken_in_again_until_a_person_lifts_it() {
    on_each_database(async |database| {
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        let store = billing.store();
        let account: AccountId = id_of(&billing.say_ann(database, "cus_ann").await);
        let erasure = erase(database, ann()).await;
        let raw = database.raw().await;
        assert_eq!(left(&raw).await, Vec::<String>::new());
        let shown = async || accounts_by_ids(store, &RowScope::All, &[account]).await.expect("read").remove(0);
        let after = shown().await;
        assert!(is_mark(&after.name) && after.billing_email.is_none(), "{after:?}");

        // The record that is known, and a new one.
        assert_eq!(
            billing.say_ann(database, "cus_ann").await,
            Ingested::Taken { record_id: account.to_string(), changed: false }
        );
        let other: AccountId = id_of(&billing.say_ann(database, "cus_other").await);
        assert_eq!(left(&raw).await, Vec::<String>::new());
        assert_eq!(shown().await, after);
        let said = latest_assertion(store, billing.connection, &other.to_string(), "cus_other").await.expect("read");
        let said = said.expect("it is kept");
        for field in ["name", "billing_email"] {
            assert_eq!(said.fields[field].problem.as_deref(), Some("ERASED"), "{field}");
            assert!(said.fields[field].value.as_str().is_some_and(is_mark), "{field}");
        }
        assert_eq!(billing.app.verify_lineage().await.expect("verified").broken, []);

        let input = LiftErasure { erasure_id: erasure.id, idempotency_key: None };
        let lifted = billing.app.lift_erasure(&AuthContext::system(), input.clone()).await.expect("decided");
        assert_eq!(lifted.expect("it is lifted").lifted_by.as_deref(), Some("system"));
        let again = billing.app.lift_erasure(&AuthContext::system(), input).await.expect("decided");
        assert!(again.is_err(), "it is lifted once");
        billing.say_ann(database, "cus_ann").await;
        assert_eq!(shown().await.billing_email.as_deref(), Some(EMAIL));
        raw.close().await.expect("it closes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_tells_of_a_person_who_was_erased_is_kept_without_her() {
    on_each_database(async |database| {
        erase(database, ann()).await;
        let hooks = "https://hub.example/webhooks/stripe".to_owned();
        let stripe = Arc::new(Mutex::new(StripeFake::new(Some(hooks), Secret::new("client-secret"), 1)));
        let clock = Arc::clone(&database.clock);
        let transport = Arc::new(MemoryTransport::new(Arc::clone(&stripe), move || clock.now()));
        let connector = crosstie_connectors::connector("stripe").expect("it ships");
        let app = App::new(database.open().await);
        let engine = engine_with(&app, "test", setup("stripe", connector, transport)).await;
        let sent = {
            let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
            let (url, body) =
                ("https://api.stripe.com/v1/customers".to_owned(), b"name=Ann+Lee&email=ann.lee%40example.com");
            let request = HttpRequest { method: Method::Post, url, headers, body: body.to_vec() };
            let mut stripe = stripe.lock().expect("nobody panicked");
            assert_eq!(stripe.respond(&request, database.clock.now()).status, 200);
            stripe.take_deliveries().pop().expect("a new customer is announced")
        };
        assert!(!hits(&String::from_utf8_lossy(&sent.body)).is_empty(), "the webhook tells of her");
        let HttpRequest { url, headers, body, .. } = sent;
        let delivery = Delivery { method: "POST".to_owned(), url, headers, body };
        assert!(matches!(engine.receive("stripe", &delivery).await, Receipt::Accepted { .. }));
        let raw = database.raw().await;
        assert_eq!(left(&raw).await, Vec::<String>::new(), "as it came");
        while engine.process_event().await.expect("the database answers") {}
        assert_eq!(left(&raw).await, Vec::<String>::new(), "and as it was read");
        raw.close().await.expect("it closes");
        let page = events(app.store()).await;
        assert!(page.iter().all(|event| event.status == InboundStatus::Processed), "{page:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_cut_off_goes_on_with_another_process() {
    on_each_database(async |database| {
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        for number in 0..7 {
            billing.say_ann(database, &format!("cus_{number}")).await;
        }
        let (app, store) = (&billing.app, billing.store());
        let begun = app.erase_person(&AuthContext::system(), ann()).await.expect("decided").expect("it is begun");
        let mut job = begun.erasure.expect("it is begun");
        assert!(
            !app.erased(store).await.expect("read").is_empty(),
            "nothing more is taken in from the first commit on"
        );
        let first = store.lease("erasure", "first", 1_000).await.expect("asked").expect("taken");
        for _ in 0..12 {
            job = app.erase_some(&first, &job, 3).await.expect("a few rows");
        }
        let half = erasure_now(store, &job).await;
        assert!(half.finished_at.is_none() && half.rows_seen > 0, "{half:?}");
        database.clock.advance(2_000);
        let second = store.lease("erasure", "second", 1_000).await.expect("asked").expect("taken");
        assert!(app.erase_some(&first, &job, 3).await.is_err(), "the first one lost its lease");
        let mut job = half;
        while job.finished_at.is_none() {
            job = app.erase_some(&second, &job, 3).await.expect("a few rows");
        }
        let raw = database.raw().await;
        assert_eq!(left(&raw).await, Vec::<String>::new());
        raw.close().await.expect("it closes");
        let rows = |table: &str| job.places.iter().find(|place| place.table == table).map(|place| place.rows);
        assert_eq!((rows("assertions"), rows("accounts")), (Some(7), Some(7)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_another_system_is_erased_by_a_later_pass_once_it_ended() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let (app, store) = (&graph.app, graph.app.store());
        let key = waiting_effect(&graph, graph.accounts[0].id).await;
        let taken = store.claim_effect(1_000).await.expect("asked").expect("it is due");
        assert_eq!(taken.key, key);
        let begun = app.erase_person(&AuthContext::system(), ann()).await.expect("decided").expect("it is begun");
        let mut job = begun.erasure.expect("it is begun");
        let lease = store.lease("erasure", "first", 1_000).await.expect("asked").expect("taken");
        for pass in [2, 3] {
            while job.pass < pass {
                job = app.erase_some(&lease, &job, 100).await.expect("a few rows");
                assert_eq!(job.finished_at, None, "a worker has it in hand");
            }
        }
        let tx = store.begin().await.expect("a transaction begins");
        let done = EffectOutcome::Done { remote_id: "cus_1".to_owned() };
        tx.effect_ended(&taken, &done).await.expect("what came of it is kept");
        tx.commit().await.expect("it commits");
        while job.finished_at.is_none() {
            job = app.erase_some(&lease, &job, 100).await.expect("a few rows");
        }
        let raw = database.raw().await;
        assert_eq!(left(&raw).await, Vec::<String>::new());
        raw.close().await.expect("it closes");
        let ended = effects(store).await.into_iter().find(|effect| effect.key == key.as_str());
        assert_eq!(ended.expect("it is there").status, EffectStatus::Done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_erase_is_refused_and_so_is_what_stands_for_too_much() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        let narrow = AuthContext { rows: RowScope::Accounts(vec![graph.accounts[0].id]), ..AuthContext::system() };
        let mut without = AuthContext::system();
        without.permissions.retain(|permission| *permission != Permission::AccessAdmin);
        for auth in [narrow, without] {
            assert!(graph.app.erase_person(&auth, ann()).await.expect("decided").is_err());
        }
        let with = |change: fn(&mut ErasePerson)| {
            let mut input = ann();
            change(&mut input);
            input
        };
        for (input, field) in [
            (with(|input| input.emails = vec!["ann".to_owned()]), "emails"),
            (with(|input| input.names = vec!["Ann".to_owned()]), "names"),
            (with(|input| input.reason = " ".to_owned()), "reason"),
            (with(|input| (input.emails, input.names) = (vec![], vec![])), "emails"),
            (with(|input| input.record_id = "acc_00000000000000000000000001".parse().ok()), "recordId"),
        ] {
            let refused = graph.app.erase_person(&AuthContext::system(), input).await.expect("decided");
            assert_eq!(refused.expect_err("it is refused")[0].field[1], field);
        }
        let keyed = ErasePerson { idempotency_key: Some("k".to_owned()), ..ann() };
        let begin = async || {
            let begun = graph.app.erase_person(&AuthContext::system(), keyed.clone()).await.expect("decided");
            begun.expect("it is begun").erasure.expect("one").id
        };
        assert_eq!(begin().await, begin().await, "it is begun once");
        let early = LiftErasure { erasure_id: begin().await, idempotency_key: None };
        assert!(graph.app.lift_erasure(&AuthContext::system(), early).await.expect("decided").is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lineage_that_somebody_changed_is_found() {
    on_each_database(async |database| {
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        for number in 0..3 {
            billing.say_ann(database, &format!("cus_{number}")).await;
        }
        let verify = async || billing.app.verify_lineage().await.expect("verified");
        assert_eq!((verify().await.verified, verify().await.broken.len()), (3, 0));
        let raw = database.raw().await;
        for sql in [
            "UPDATE evidence SET raw = '[]' WHERE assertion_id = (SELECT MIN(id) FROM assertions)",
            "UPDATE assertions SET fields = replace(fields, 'Ann', 'Eve') WHERE id = (SELECT MAX(id) FROM assertions)",
        ] {
            raw.execute_unprepared(sql).await.expect("changed");
        }
        raw.close().await.expect("it closes");
        assert_eq!((verify().await.verified, verify().await.broken.len()), (1, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_erases_shows_and_verifies() {
    on_each_database(async |database| {
        let billing = System::new(database, "books", &[Arm::Billing]).await;
        let account: AccountId = id_of(&billing.say_ann(database, "cus_ann").await);
        let config = format!("[database]\nurl = {:?}\n", database.url);
        let Some(binary) = Binary::find("erasure", &config) else { return };
        let ask = ["person", "erase", "--email", EMAIL, "--name", NAME, "--reason", "asked for"];
        let told = binary.done(&ask).await;
        assert!(told.contains("assertions: 1 row(s)") && told.contains("nothing was erased"), "{told}");
        assert!(binary.done(&["erasure", "list"]).await.is_empty());
        let refused = binary.refused(&["person", "erase", "--name", "Ann", "--reason", "asked for"]).await;
        assert!(refused.contains("A name has 2 to 8 words"), "{refused}");
        let begun = binary.done(&[&ask[..], &["--yes"]].concat()).await;
        assert!(begun.contains("begun: ers_"), "{begun}");

        let crm = Crm::new(database).await;
        assert!(crm.engine.erase().await.expect("the database answers"));
        let listed = binary.done(&["erasure", "list"]).await;
        assert!(listed.contains("DONE") && listed.contains("1 e-mail address(es), 1 name(s)"), "{listed}");
        let id = listed.split_whitespace().next().expect("an id");
        let shown = binary.done(&["erasure", "show", id]).await;
        assert!(shown.contains("because: asked for") && shown.contains("accounts: 1 row(s)"), "{shown}");
        let verified = binary.done(&["lineage", "verify"]).await;
        assert!(verified.contains("1 verified, 1 of them with something erased"), "{verified}");
        let why = binary.done(&["why", &account.to_string(), "billingEmail"]).await;
        assert!(why.contains("erased on 2") && why.contains("by system") && why.contains("ERASED"), "{why}");
        let lifted = binary.done(&["erasure", "lift", id]).await;
        assert!(lifted.contains("lifted by system"), "{lifted}");
        binary.refused(&["erasure", "lift", id]).await;
    })
    .await;
}
