//! The graph over a small organization, and the documents that are checked in.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crosstie_app::{
    App,
    subscriptions::{CreateWebhookSubscription, OfSubscription},
};
use crosstie_domain::{
    access::{AuthContext, Principal, RowScope},
    billing::InvoiceLineRecord,
    ids::{ConnectionId, InvoiceId},
    integration::{
        AlertKey, AlertKind, AssertedField, Assertion, ConflictRecord, ConflictStatus, ConflictVoice, Customer,
        EffectKey, Entity, ExchangeHeader, ExchangeRecord, InboundRefusalRecord, Intent, PlaceOrder, ReplayJobRecord,
        ReplayKind, ReplayStatus, RunStatus, RunTrigger, SyncRunRecord,
        authority::{FieldState, HeldReason, Pushed, Speaker},
    },
    pipeline::AccountRecord,
};
use crosstie_graphql::gateway::{Envelope, Gateway};
use crosstie_store::{
    Condition, Direction, EffectRequest, PageRequest, Span, Store,
    integration::{
        ArrivedDelivery, ArrivedEvent, ClaimedEffect, EffectOutcome, InboxWriter, ParkedColumn, ParkedRow, open_alerts,
        parked_rows,
    },
};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use super::{Database, Sold, account, connection, effects, events, keyring, readings::save_readings, sell, usd};

/// The root fields that find one object by its identifier, and the type of it.
const NODES: &[(&str, &str)] = &[
    ("account", "Account"),
    ("alert", "Alert"),
    ("conflict", "Conflict"),
    ("effect", "Effect"),
    ("connection", "ConnectedSystem"),
    ("inboundEvent", "InboundEvent"),
    ("inboundRefusal", "InboundRefusal"),
    ("invoice", "Invoice"),
    ("node", "Sow"),
    ("opportunity", "Opportunity"),
    ("parkedRow", "ParkedRow"),
    ("exchange", "Exchange"),
    ("serviceOrder", "ServiceOrder"),
    ("sow", "Sow"),
    ("syncRun", "SyncRun"),
    ("webhookDelivery", "WebhookDelivery"),
    ("webhookSubscription", "WebhookSubscription"),
];
/// The root fields that list objects.
pub(crate) const LISTS: &[&str] = &[
    "accounts",
    "adoptionCandidates",
    "adoptions",
    "alerts",
    "conflicts",
    "backfills",
    "connections",
    "deleteClaims",
    "driftReports",
    "erasures",
    "effects",
    "inboundEvents",
    "inboundRefusals",
    "invoices",
    "opportunities",
    "parkedRows",
    "exchanges",
    "replayJobs",
    "serviceOrders",
    "shapeChanges",
    "sows",
    "sweeps",
    "syncRuns",
    "webhookDeliveries",
    "webhookSubscriptions",
];

/// The graph over what is ours and what is theirs.
pub(crate) struct Graph {
    pub(crate) app: App,
    pub(crate) gateway: Gateway,
    pub(crate) billing: ConnectionId,
    pub(crate) accounts: [AccountRecord; 2],
    pub(crate) sold: [Sold; 2],
    /// The one of ours of each type that has nodes.
    nodes: BTreeMap<&'static str, String>,
    /// Another subscription, which may go.
    ended: String,
    readings: Vec<(&'static str, String)>,
}

/// The graph over a new small organization in this database.
pub(crate) async fn graph(database: &Database) -> Graph {
    Graph::over(App::new(database.open().await)).await
}

async fn save_run(store: &Store, connection_id: ConnectionId) -> String {
    let tx = store.begin().await.expect("a transaction begins");
    let run = SyncRunRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        trigger: RunTrigger::Schedule,
        status: RunStatus::Succeeded,
        pages: 1,
        rows_read: 1,
        rows_changed: 1,
        rows_parked: 0,
        error_code: None,
        error_message: None,
        attempt: 1,
        next_attempt_at: None,
        started_at: tx.now(),
        finished_at: Some(tx.now()),
    };
    tx.save_run(&run).await.expect("the run is saved");
    tx.commit().await.expect("it commits");
    run.id.to_string()
}

async fn save_event(store: &Store, connection_id: ConnectionId) -> String {
    let event = ArrivedEvent {
        dedupe_key: "evt_1".to_owned(),
        event_type: "invoice.paid".to_owned(),
        target: Some((Entity::Invoice, "in_ours".to_owned())),
        occurred_at: None,
        problem: None,
    };
    let (headers, body, mapping_version) = ("[]".to_owned(), b"{}".to_vec(), "1.0.0".to_owned());
    let delivery = ArrivedDelivery { connection_id, headers, body, events: vec![event], mapping_version };
    InboxWriter::start(store).accept(delivery).await.expect("accepted");
    events(store).await.pop().expect("it is there").id.to_string()
}

async fn save_refusal(store: &Store, connection_id: ConnectionId) -> String {
    let refusal = InboundRefusalRecord {
        id: store.new_id(),
        connection_id: Some(connection_id),
        asked_for: "stripe".to_owned(),
        code: "UNSIGNED".to_owned(),
        header_names: vec!["content-type".to_owned()],
        safe_headers: vec![ExchangeHeader { name: "content-type".to_owned(), value: "text/plain".to_owned() }],
        body_bytes: 5,
        body_sha256: "00".repeat(32),
        body_excerpt: Some("10.00".to_owned()),
        refused_at: store.now(),
    };
    assert_eq!(store.keep_refusals(std::slice::from_ref(&refusal), &[]).await.expect("kept"), 1);
    refusal.id.to_string()
}

async fn save_parked(store: &Store, connection_id: ConnectionId) -> String {
    let tx = store.begin().await.expect("a transaction begins");
    let parked = ParkedRow {
        connection_id,
        entity: Entity::Invoice,
        remote_id: "in_odd".to_owned(),
        code: "UNREADABLE_ROW".to_owned(),
        message: "not an object".to_owned(),
        raw: "[]".to_owned(),
        mapping_version: "1.0.0".to_owned(),
    };
    tx.park_row(&parked).await.expect("the row is parked");
    tx.commit().await.expect("it commits");
    let request = PageRequest {
        condition: Condition::All(vec![]),
        order: vec![(ParkedColumn::Id, Direction::Ascending)],
        span: Span::First(1, None),
    };
    let page = parked_rows(store, &RowScope::All, &request).await.expect("rows can be read");
    page.rows.first().expect("it is there").0.id.to_string()
}

async fn save_alert(store: &Store, connection_id: ConnectionId) -> String {
    let tx = store.begin().await.expect("a transaction begins");
    let key = AlertKey::connection(AlertKind::ItemsParked, connection_id);
    assert!(tx.raise_alert(&key, 1, "A row waits.").await.expect("the alert is raised"));
    tx.commit().await.expect("it commits");
    open_alerts(store).await.expect("alerts can be read")[0].id.to_string()
}

/// An order that was placed, with what a person found out about it, and the replay that placed it.
async fn save_effect(
    store: &Store,
    connection_id: ConnectionId,
    (account, sold): (&AccountRecord, &Sold),
) -> (String, String) {
    let intent = Intent::PlaceOrder(PlaceOrder {
        order: sold.order,
        sow: sold.sow,
        customer: Customer { account: account.id, name: account.name.clone(), email: account.billing_email.clone() },
        title: "ours".to_owned(),
        po_number: None,
        total: usd(100_000),
        lines: vec![],
    });
    let (key, record_id) = (EffectKey::place_order(sold.order), sold.order.to_string());
    let tx = store.begin().await.expect("a transaction begins");
    let (entity, record_id) = (Entity::ServiceOrder, record_id.as_str());
    let request = EffectRequest { key: &key, entity, record_id, connection_id, intent: &intent };
    tx.request_effect(request).await.expect("it is asked for");
    // Done before anybody can see it: a hub that runs on this database would take it first.
    let done = EffectOutcome::Done { remote_id: "prod_ours".to_owned() };
    let claimed = ClaimedEffect {
        key,
        connection_id,
        record_id: sold.order.to_string(),
        intent,
        outcome_unknown: false,
        attempts: 0,
        first_sent_at: None,
        fence: 0,
    };
    tx.effect_ended(&claimed, &done).await.expect("it is done");
    tx.commit().await.expect("it commits");
    let effect = effects(store).await.pop().expect("it is there").id.to_string();
    let tx = store.begin().await.expect("a transaction begins");
    let found_out = ("{\"status\":\"UNCERTAIN\"}", "{\"happened\":true}");
    tx.append_correction(&effect, found_out, (Principal::System, None)).await.expect("it is written down");
    let job = ReplayJobRecord {
        id: tx.new_id(),
        kind: ReplayKind::OutboundEffects,
        status: ReplayStatus::Done,
        filter: "{}".to_owned(),
        items: 1,
        actor: "system".to_owned(),
        reason: None,
        created_at: tx.now(),
        finished_at: Some(tx.now()),
    };
    tx.begin_replay(&job, &[(effect.clone(), connection_id)]).await.expect("the replay is saved");
    tx.commit().await.expect("it commits");
    (effect, job.id.to_string())
}

/// A conflict about the domain of an account, of which billing says something else.
async fn save_conflict(store: &Store, connection: ConnectionId, account: &AccountRecord) -> String {
    let tx = store.begin().await.expect("a transaction begins");
    let record_id = account.id.to_string();
    let agreed = json!(account.domain);
    let mut state = FieldState::agreed(agreed.clone(), tx.now());
    let speaker = Speaker { connection, remote_id: "cus_ours".to_owned() };
    let pushed = Pushed { value: json!("ours.example"), remote_version: None, effect_key: "push:1".to_owned() };
    state.note_pushed(&speaker, pushed, tx.now());
    let (id, reason) = (tx.new_id(), HeldReason::NeverAgreed);
    state.hold(id, reason);
    let conflict = ConflictRecord {
        id,
        entity: Entity::Account,
        record_id: record_id.clone(),
        field: "domain".to_owned(),
        reason,
        status: ConflictStatus::Open,
        agreed,
        voices: vec![ConflictVoice { speaker, value: json!("ours.example"), observed_at: tx.now() }],
        resolution: None,
        note: None,
        closed_by: None,
        version: 1,
        opened_at: tx.now(),
        closed_at: None,
    };
    tx.save_conflict(&conflict).await.expect("the conflict is saved");
    let fields = [("domain".to_owned(), state)].into();
    tx.save_fields(Entity::Account, &record_id, &fields).await.expect("the fields are saved");
    tx.commit().await.expect("it commits");
    id.to_string()
}

async fn save_exchange(store: &Store, connection_id: ConnectionId, (run, event): (&str, &str)) -> String {
    let header = |name: &str, value: &str| ExchangeHeader { name: name.to_owned(), value: value.to_owned() };
    let exchange = ExchangeRecord {
        id: store.new_id(),
        connection_id,
        run_id: run.parse().ok(),
        inbound_event_id: event.parse().ok(),
        effect_key: None,
        method: "GET".to_owned(),
        address: "https://api.stripe.example/v1/invoices/in_ours".to_owned(),
        status: Some(404),
        fault_code: Some("GONE".to_owned()),
        attempt: 1,
        started_at: store.now(),
        duration_ms: 12,
        request_bytes: 0,
        request_sha256: None,
        request_headers: vec![header("accept", "application/json")],
        request_body: Some("{}".to_owned()),
        answer_bytes: Some(2),
        answer_sha256: None,
        answer_headers: vec![header("content-type", "application/json")],
        answer_body: Some("{}".to_owned()),
    };
    store.keep_exchanges(std::slice::from_ref(&exchange)).await.expect("the exchange is kept");
    exchange.id.to_string()
}

/// A subscription of another system with a test that was not sent yet.
async fn save_subscription(app: &App) -> (String, String) {
    let input = CreateWebhookSubscription {
        url: "https://receiver.example.com/hooks".to_owned(),
        description: "test".to_owned(),
        entities: vec![],
        event_types: vec![],
        accounts: vec![],
        ordered: true,
        idempotency_key: None,
    };
    let made = app.create_webhook_subscription(&AuthContext::system(), input).await.expect("decided").expect("made");
    let of = OfSubscription { id: made.subscription.id, expected_version: None, idempotency_key: None };
    let test = app.send_test_webhook(&AuthContext::system(), of).await.expect("decided").expect("in line");
    (made.subscription.id.to_string(), test.id.to_string())
}

/// What billing said of an invoice: one line of it, and its total, which it wrote in an odd way.
async fn save_invoice_details(store: &Store, connection_id: ConnectionId, invoice: InvoiceId) {
    let tx = store.begin().await.expect("a transaction begins");
    let description = "All of it".to_owned();
    let line =
        InvoiceLineRecord { id: tx.new_id(), invoice_id: invoice, position: 0, description, amount: usd(100_000) };
    tx.replace_invoice_lines(invoice, &[line]).await.expect("the line is saved");
    let problem = Some("\"1.000,00\" is not an amount".to_owned());
    let total = AssertedField { value: json!("1000.00"), source_path: "total".to_owned(), changed: true, problem };
    let assertion = Assertion {
        id: tx.new_id(),
        entity: Entity::Invoice,
        record_id: invoice.to_string(),
        connection_id,
        remote_id: "in_ours".to_owned(),
        remote_version: None,
        run_id: None,
        inbound_event_id: None,
        exchange_id: None,
        correction_id: None,
        mapping_version: "1.0.0".to_owned(),
        observed_at: tx.now(),
        fields: BTreeMap::from([("total".to_owned(), total)]),
    };
    tx.append_assertion(&assertion, "{}").await.expect("the assertion is saved");
    tx.commit().await.expect("it commits");
}

/// The checked-in documents by the root field that each is named after.
pub(crate) fn operations() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphql/operations");
    let folders = std::fs::read_dir(root).expect("the folder is there").map(|entry| entry.expect("a folder").path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).expect("a folder")).map(|entry| {
        let path = entry.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        (name, std::fs::read_to_string(path).expect("it can be read"))
    });
    files.collect()
}

impl Graph {
    /// A small organization in the database of these use cases.
    pub(crate) async fn over(app: App) -> Self {
        let app = app.with_keyring(Some(keyring()));
        let store = app.store();
        let billing = connection(store, "stripe").await;
        let accounts = [account(store, "Ours").await, account(store, "Theirs").await];
        let ours = sell(store, &accounts[0], billing, "ours").await;
        let theirs = sell(store, &accounts[1], billing, "theirs").await;
        save_invoice_details(store, billing, ours.invoice).await;
        let (run, event) = (save_run(store, billing).await, save_event(store, billing).await);
        let (parked, refusal) = (save_parked(store, billing).await, save_refusal(store, billing).await);
        let alert = save_alert(store, billing).await;
        let (effect, replay) = save_effect(store, billing, (&accounts[0], &ours)).await;
        let mut readings = save_readings(store, billing).await;
        readings.push(("replayJob", replay));
        let conflict = save_conflict(store, billing, &accounts[0]).await;
        let ((subscription, webhook), (ended, _)) = (save_subscription(&app).await, save_subscription(&app).await);
        let gateway = crosstie_graphql::gateway(app.clone());
        let exchange = save_exchange(store, billing, (&run, &event)).await;
        let nodes = BTreeMap::from([
            ("Account", accounts[0].id.to_string()),
            ("Opportunity", ours.opportunity.to_string()),
            ("Sow", ours.sow.to_string()),
            ("Milestone", ours.milestone.to_string()),
            ("ServiceOrder", ours.order.to_string()),
            ("Invoice", ours.invoice.to_string()),
            ("ConnectedSystem", billing.to_string()),
            ("SyncRun", run),
            ("InboundEvent", event),
            ("InboundRefusal", refusal),
            ("ParkedRow", parked),
            ("Exchange", exchange),
            ("Alert", alert),
            ("Conflict", conflict),
            ("Effect", effect),
            ("WebhookSubscription", subscription),
            ("WebhookDelivery", webhook),
        ]);
        Self { app, gateway, billing, accounts, sold: [ours, theirs], nodes, ended, readings }
    }

    /// The identifier of the one of ours of a type that has nodes.
    pub(crate) fn id_of(&self, node_type: &str) -> String {
        self.nodes.get(node_type).unwrap_or_else(|| panic!("there is no {node_type} here")).clone()
    }

    /// The identifiers of the subscriptions of other systems.
    pub(crate) fn subscriptions(&self) -> [String; 2] {
        [self.id_of("WebhookSubscription"), self.ended.clone()]
    }

    /// The input that drafts a statement of work of one milestone for an opportunity.
    pub(crate) fn draft(&self, sold: &Sold) -> Json {
        let money = json!({ "amount": "10.00", "currency": "USD" });
        json!({
            "opportunityId": sold.opportunity, "billingConnectionId": self.billing, "title": "More",
            "total": money, "milestones": [{ "name": "All", "amount": money }],
        })
    }

    /// What a document is run with; `None` for one that nobody thought of here.
    pub(crate) fn variables(&self, operation: &str) -> Option<Json> {
        if LISTS.contains(&operation) {
            return Some(json!({ "first": 10 }));
        }
        if let Some((_, node_type)) = NODES.iter().find(|(field, _)| *field == operation) {
            return Some(json!({ "id": self.id_of(node_type) }));
        }
        let sold = &self.sold[0];
        Some(match operation {
            "nodes" => json!({ "ids": [sold.sow, sold.opportunity] }),
            "customFieldDefinitions" | "fieldAuthorities" | "matchCandidates" => json!({}),
            "identityDecisions" => json!({ "recordId": self.id_of("Account") }),
            "linkRecord" => json!({ "input": {
                "connectionId": self.billing, "remoteId": "cus_none", "recordId": self.id_of("Account"),
            } }),
            "mergeRecords" => json!({ "input": { "recordId": self.accounts[1].id, "intoId": self.id_of("Account") } }),
            "splitRecord" => json!({ "input": { "recordId": self.id_of("Account") } }),
            "adoptRecord" => json!({ "input": {
                "connectionId": self.billing, "entity": "INVOICE", "remoteId": "in_none", "recordId": sold.milestone,
            } }),
            "connectionDifferences" => json!({ "connectionId": self.billing, "first": 10 }),
            "connectionDifferenceSummary" => json!({ "connectionId": self.billing }),
            "undoAdoption" => json!({ "input": { "adoptionId": self.reading("adoption") } }),
            "resolveConflict" => json!({ "input": { "conflictId": self.id_of("Conflict"), "keepAgreed": true } }),
            "webhookEvents" => json!({ "subscriptionId": self.id_of("WebhookSubscription"), "after": 0 }),
            "createWebhookSubscription" => json!({ "input": { "url": "https://receiver.example.com/hooks" } }),
            "updateWebhookSubscription"
            | "pauseWebhookSubscription"
            | "resumeWebhookSubscription"
            | "rotateWebhookSecret"
            | "sendTestWebhook" => json!({ "input": { "subscriptionId": self.id_of("WebhookSubscription") } }),
            "deleteWebhookSubscription" => json!({ "input": { "subscriptionId": self.ended } }),
            "replayWebhookDeliveries" => {
                let id = self.id_of("WebhookSubscription");
                json!({ "input": { "subscriptionId": id, "fromSequence": 1, "toSequence": 9 } })
            }
            "replayInboundEvents" | "replayParkedRows" | "replayOutboundEffects" => {
                json!({ "input": { "filter": {} } })
            }
            "editParkedRow" => json!({ "input": { "parkedRowId": self.id_of("ParkedRow"), "raw": "{}" } }),
            "editInboundEvent" => json!({ "input": {
                "inboundEventId": self.id_of("InboundEvent"), "entity": "INVOICE", "remoteId": "in_other",
            } }),
            "editOutboundEffect" => json!({ "input": { "effectId": self.id_of("Effect"), "title": "Other" } }),
            "settleOutboundEffect" => json!({ "input": { "effectId": self.id_of("Effect"), "happened": false } }),
            "confirmSweep" => json!({ "input": { "sweepId": self.reading("sweep") } }),
            "cancelBackfill" => json!({ "input": { "backfillId": self.reading("backfill") } }),
            "erasePerson" => json!({ "input": {
                "emails": ["nobody@nowhere.example"], "reason": "asked for", "dryRun": true,
            } }),
            "liftErasure" => json!({ "input": { "erasureId": self.reading("erasure") } }),
            "refresh" => json!({ "input": { "connectionId": self.billing } }),
            "viewer" => json!({}),
            "entityChanged" => json!({ "after": "0" }),
            "createSow" => json!({ "input": self.draft(sold) }),
            "signSow" => json!({ "input": { "sowId": sold.sow } }),
            "startConnectionAuthorization" => json!({ "input": { "connectionId": self.billing } }),
            "acceptMilestone" => json!({ "input": { "milestoneId": sold.milestone } }),
            "switchConnectionMode" => json!({ "input": { "connectionId": self.billing, "mode": "PULL" } }),
            "pauseConnection" | "resumeConnection" => {
                json!({ "input": { "connectionId": self.billing, "what": "ALL" } })
            }
            "connectionMapping" => json!({ "connectionId": self.billing }),
            "previewMapping" => json!({ "input": { "connectionId": self.billing, "mapping": {} } }),
            "saveMapping" => {
                json!({ "input": { "connectionId": self.billing, "mapping": {}, "expectedVersion": 0 } })
            }
            "revertMapping" => {
                json!({ "input": { "connectionId": self.billing, "toVersion": 0, "expectedVersion": 0 } })
            }
            "remapHistory" => json!({ "input": { "connectionId": self.billing } }),
            _ => json!({ "id": self.reading(operation)? }),
        })
    }

    /// The identifier of what one field of the root shows of how well billing was read.
    fn reading(&self, shown_by: &str) -> Option<&str> {
        self.readings.iter().find(|(field, _)| *field == shown_by).map(|(_, id)| id.as_str())
    }

    pub(crate) async fn run(&self, auth: AuthContext, query: &str, variables: Json) -> Json {
        let outcome = self.gateway.execute(envelope(query, variables), auth).await;
        serde_json::from_slice(&outcome.body).expect("the answer is JSON")
    }

    /// Runs what must go well.
    pub(crate) async fn data(&self, auth: AuthContext, query: &str, variables: Json) -> Json {
        let answer = self.run(auth, query, variables).await;
        assert!(answer["errors"].is_null(), "{query}: {answer}");
        answer["data"].clone()
    }

    /// The payload of a mutation, with the codes of its refusals under `codes`.
    pub(crate) async fn decide(&self, auth: AuthContext, mutation: &str, selection: &str, input: Json) -> Json {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!(
            "mutation($input: {kind}!) {{ {mutation}(input: $input) {{ {selection} userErrors {{ code }} }} }}"
        );
        let mut data = self.data(auth, &query, json!({ "input": input })).await;
        let mut payload = data[mutation].take();
        let errors = payload["userErrors"].take();
        let codes = errors.as_array().into_iter().flatten().map(|error| error["code"].clone());
        payload["codes"] = codes.collect();
        payload
    }

    /// The first result of a subscription, or why it was refused.
    pub(crate) async fn first(&self, auth: AuthContext, query: &str, variables: Json) -> Json {
        let text = match self.gateway.subscribe(envelope(query, variables), auth).await {
            Ok(mut results) => results.next().await.expect("a result").text,
            Err(outcome) => String::from_utf8(outcome.body).expect("text"),
        };
        serde_json::from_str(&text).expect("the result is JSON")
    }

    /// Gives the changes that were made their places, as the relay does; how many there were.
    pub(crate) async fn place_changes(&self) -> usize {
        let store = self.app.store();
        let lease = store.lease("relay", "test", 60_000).await.expect("asked").expect("taken");
        let placed = store.place_outbox(&lease, 100).await.expect("placed");
        let last = crosstie_store::integration::last_position(store).await.expect("read");
        self.app.changes().advance(last);
        placed
    }
}

/// A document with its variables.
pub(crate) fn envelope(query: &str, variables: Json) -> Envelope {
    let Json::Object(variables) = variables else { panic!("variables are an object") };
    Envelope { variables, ..Envelope::new(query) }
}

/// The codes of the errors of an answer, each once.
pub(crate) fn codes(answer: &Json) -> BTreeSet<String> {
    let errors = answer["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["extensions"]["code"].as_str().unwrap_or("no code").to_owned()).collect()
}
