//! Against a real Tryton: runs when `TRYTON_URL`, `TRYTON_KEY` and `TRYTON_SETTINGS` say where one is
//! (`tests/live/tryton.sh start` prints them).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crosstie_sdk::{
    AnyReader, Ask, Call, Connector, Credentials, Fault, HttpRequest, HttpResponse, MappedRow, Method, More, Net,
    NetOptions, Observed, ReqwestTransport, Secret, Settings, Transport, TransportError, WriteRequest, Writer, Written,
    domain::{
        Currency, Instant, Money,
        billing::InvoiceStatus,
        integration::{
            Claim, Customer, EffectKey, Entity, Intent, IssueInvoice, OrderLine, PlaceOrder, UpdateRecord,
            adoption::DocumentState,
        },
        pipeline::OpportunityStage,
    },
};
use crosstie_tryton::Tryton;
use serde_json::{Value, json};

/// A connection to the real server, with another transport and key where a test wants them.
#[expect(clippy::disallowed_methods, reason = "a test reads where its server is")]
fn connect(transport: Arc<dyn Transport>, key: Option<&str>) -> Option<Net> {
    let [Some(url), Some(own_key), Some(settings)] =
        ["TRYTON_URL", "TRYTON_KEY", "TRYTON_SETTINGS"].map(|name| std::env::var(name).ok())
    else {
        println!("NOT RUN: TRYTON_URL, TRYTON_KEY and TRYTON_SETTINGS do not say where a Tryton is");
        return None;
    };
    let options = NetOptions {
        base_url: Some(url),
        credentials: Credentials::Bearer(Secret::new(key.unwrap_or(&own_key))),
        settings: Settings::new(serde_json::from_str(&settings).expect("TRYTON_SETTINGS is JSON")),
        transport,
    };
    Some(Net::new(Tryton.descriptor(), options).expect("a usable connection"))
}

fn real() -> Arc<dyn Transport> {
    Arc::new(ReqwestTransport::new().expect("a transport"))
}

/// Loses the answer of one POST or PUT, after it took effect.
struct Lossy {
    real: ReqwestTransport,
    lose: u32,
    writes: AtomicU32,
}

#[async_trait::async_trait]
impl Transport for Lossy {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let writes = matches!(request.method, Method::Post | Method::Put);
        let answer = self.real.send(request).await?;
        if writes && self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.lose {
            return Err(TransportError::AnswerLost("for the test".to_owned()));
        }
        Ok(answer)
    }
}

fn reader(entity: Entity) -> &'static dyn AnyReader {
    let readers = <Tryton as Connector>::readers(&Tryton);
    *readers.iter().find(|reader| reader.entity() == entity).expect("it is read")
}

fn writer() -> &'static dyn Writer {
    <Tryton as Connector>::writer(&Tryton).expect("it writes")
}

async fn call(net: &Net, call: Call, fields: &[&str]) -> Value {
    let call = fields.iter().fold(call, |call, field| call.query("f", *field));
    let answer = net.send(call.header("x-tryton-context", "eyJjb21wYW55IjogMX0=")).await.expect("an answer");
    let status = answer.status();
    answer.json_or(|answer| panic!("{status}: {:?}", answer.json::<Value>())).expect("JSON")
}

async fn create(net: &Net, model: &str, record: Value) -> i64 {
    let made = call(net, Call::post(format!("/rest/model/{model}")).json(&record), &["id"]).await;
    made["id"].as_i64().expect("an id")
}

async fn read(net: &Net, model: &str, id: &str, fields: &[&str]) -> Value {
    call(net, Call::get(format!("/rest/model/{model}/{id}")), fields).await
}

async fn observed(net: &Net, entity: Entity, id: &str) -> Observed {
    match reader(entity).read_one(net, id).await.expect("a row") {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

fn moment(observed: &Observed, field: &str) -> Option<Instant> {
    let part = |name: &str| observed.raw[field][name].as_i64();
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        part("year")?,
        part("month")?,
        part("day")?,
        part("hour")?,
        part("minute")?,
        part("second")?,
        part("microsecond")?
    );
    text.parse().ok()
}

async fn load(net: &Net, since: Option<Instant>, until: Instant, limit: u32) -> (Vec<Observed>, u32) {
    let mut ask = Ask { since, until, more: None, limit };
    let mut rows = Vec::new();
    for pages in 1..1_000 {
        let page = reader(Entity::Opportunity).read_page(net, &ask).await.expect("a page");
        assert!(page.rows.len() <= usize::try_from(limit).expect("a small number"), "a page over its limit");
        rows.extend(page.rows.into_iter().map(|row| match row {
            MappedRow::Good(observed) => *observed,
            other => panic!("{other:?}"),
        }));
        match page.more {
            More::At(more) => ask.more = Some(more),
            More::End => return (rows, pages),
        }
    }
    panic!("the window does not end");
}

/// A party of this test alone; its id makes the other ids of the test unique.
async fn party(net: &Net, name: &str) -> i64 {
    create(net, "party.party", json!({ "name": name, "addresses": [["create", [{}]]] })).await
}

/// An id in the hub's form that differs for each party.
fn hub_id(prefix: &str, party: i64, number: u32) -> String {
    format!("{prefix}_01h455vb4pex5v{party:08}{number:04}")
}

fn customer(party: i64) -> Customer {
    Customer {
        account: hub_id("acc", party, 0).parse().expect("an id"),
        name: format!("Customer {party}"),
        email: Some("ap@customer.example".to_owned()),
    }
}

fn order(party: i64, number: u32, known: bool) -> WriteRequest {
    let order = hub_id("ord", party, number).parse().expect("an id");
    let line = |place: u32, minor| OrderLine {
        milestone: hub_id("ms", party, number * 10 + place).parse().expect("an id"),
        description: format!("Milestone {place}"),
        item_code: None,
        amount: Money::new(minor, Currency::USD),
    };
    let intent = PlaceOrder {
        order,
        sow: hub_id("sow", party, number).parse().expect("an id"),
        customer: customer(party),
        title: "Platform roll-out".to_owned(),
        po_number: Some("PO-1".to_owned()),
        total: Money::new(300_055, Currency::USD),
        lines: vec![line(1, 100_050), line(2, 200_005)],
    };
    WriteRequest {
        key: EffectKey::place_order(order),
        intent: Intent::PlaceOrder(intent),
        customer_remote_id: known.then(|| party.to_string()),
        order_remote_id: None,
    }
}

fn invoice(party: i64, number: u32, sale: Option<&str>) -> WriteRequest {
    let milestone = hub_id("ms", party, number * 10 + 1).parse().expect("an id");
    let intent = IssueInvoice {
        invoice: hub_id("inv", party, number).parse().expect("an id"),
        order: hub_id("ord", party, number).parse().expect("an id"),
        milestone,
        customer: customer(party),
        title: "Platform roll-out".to_owned(),
        description: "Milestone 1".to_owned(),
        item_code: None,
        amount: Money::new(100_050, Currency::USD),
    };
    WriteRequest {
        key: EffectKey::issue_invoice(milestone, 1),
        intent: Intent::IssueInvoice(intent),
        customer_remote_id: Some(party.to_string()),
        order_remote_id: sale.map(str::to_owned),
    }
}

/// Sends again for as long as Tryton answers that its transactions collided: the tests run beside each other there.
async fn settled(net: &Net, request: &WriteRequest) -> Written {
    for _ in 0..20 {
        match writer().apply(net, request).await {
            Err(Fault::Unknown { why }) => println!("{}: {why}", request.key.as_str()),
            outcome => return outcome.expect("it comes to its end"),
        }
    }
    panic!("{} does not come to its end", request.key.as_str());
}

/// How many records carry a reference, whatever their state.
async fn with_reference(net: &Net, model: &str, request: &WriteRequest) -> usize {
    let all = call(net, Call::get(format!("/rest/model/{model}")), &["reference"]).await;
    let all = all.as_array().expect("a list");
    all.iter().filter(|record| record["reference"] == request.key.as_str()).count()
}

#[tokio::test]
async fn opportunities_are_read_without_loss_or_loop() {
    let Some(net) = connect(real(), None) else { return };
    let who = Tryton.probe(&net).await.expect("an answer");
    println!("signed in to {}", who.account);
    let party = party(&net, "Reading Ltd").await;
    let mut made = Vec::new();
    for number in 0..8 {
        let amount = json!({ "__class__": "Decimal", "decimal": "48000.50" });
        let lead = json!({ "description": format!("Lead {number}"), "party": party, "currency": 1, "amount": amount,
            "employee": 1, "end_date": { "__class__": "date", "year": 2031, "month": 3, "day": 9 } });
        made.push(create(&net, "sale.opportunity", lead).await.to_string());
    }
    for changed in [&made[2], &made[5]] {
        let press = Call::post(format!("/rest/model/sale.opportunity/{changed}/opportunity")).json(&json!({}));
        call(&net, press, &["state"]).await;
    }
    let first = observed(&net, Entity::Opportunity, &made[0]).await;
    let changed = observed(&net, Entity::Opportunity, &made[5]).await;
    let since = moment(&first, "create_date").expect("it was made");
    let until = moment(&changed, "write_date").expect("it was changed");
    assert!(until.ms_since(since) < 60_000, "the rows were made within a minute");
    assert_eq!(first.raw["write_date"], Value::Null, "never changed");
    assert_eq!(first.key.version, Some(since.to_string()));
    assert_eq!(changed.key.version, Some(until.to_string()));

    let (rows, pages) = load(&net, Some(since), until, 3).await;
    let ids: Vec<&String> = rows.iter().map(|row| &row.key.remote_id).collect();
    let expected: Vec<&String> = made.iter().chain([&made[2], &made[5]]).collect();
    assert_eq!(ids, expected);
    println!("{} rows in {pages} pages of 3: those made in order, then those changed", rows.len());
    let (all, pages) = load(&net, None, until, 3).await;
    assert!(made.iter().all(|id| all.iter().filter(|row| row.key.remote_id == *id).count() == 1));
    println!("first load: {} rows in {pages} pages of 3", all.len());

    let Claim::Opportunity(claim) = &changed.claim else { panic!("not an opportunity") };
    assert_eq!(claim.stage, Some(OpportunityStage::Scoping));
    assert_eq!(claim.amount, Some(Money::new(4_800_050, Currency::USD)));
    assert_eq!(claim.account, Some(party.to_string()));
    assert_eq!(claim.close_on.map(|day| day.to_string()).as_deref(), Some("2031-03-09"));
}

#[tokio::test]
async fn a_page_may_end_between_rows_of_one_microsecond() {
    let Some(net) = connect(real(), None) else { return };
    let party = party(&net, "Tie Ltd").await;
    let id = create(&net, "sale.opportunity", json!({ "description": "Tie", "party": party, "currency": 1 })).await;
    let at = moment(&observed(&net, Entity::Opportunity, &id.to_string()).await, "create_date").expect("it was made");
    for (after, expected) in [(id - 1, true), (id, false)] {
        let more = Some(json!({ "stream": "created", "at": at, "id": after }));
        let ask = Ask { since: Some(at), until: at, more, limit: 5 };
        let page = reader(Entity::Opportunity).read_page(&net, &ask).await.expect("a page");
        assert_eq!(page.rows.len() == 1, expected, "after id {after} at its own microsecond");
    }
}

#[tokio::test]
async fn an_order_and_its_invoice_happen_once() {
    let Some(net) = connect(real(), None) else { return };
    let party = party(&net, "Ordering Ltd").await;
    let request = order(party, 1, true);
    assert_eq!(writer().find(&net, &request).await, Ok(None));
    let first = settled(&net, &request).await;
    assert_eq!(settled(&net, &request).await, first);
    assert_eq!(writer().find(&net, &request).await, Ok(Some(first.clone())));
    assert_eq!(with_reference(&net, "sale.sale", &request).await, 1);
    let fields = ["state", "number", "total_amount", "invoice_state", "invoices"];
    let sale = read(&net, "sale.sale", &first.remote_id, &fields).await;
    println!("sale {}: {sale}", first.remote_id);
    assert_eq!((&sale["state"], &sale["invoices"]), (&json!("processing"), &json!([])));
    assert_eq!(sale["total_amount"]["decimal"], "3000.55");
    let read_back = observed(&net, Entity::ServiceOrder, &first.remote_id).await;
    let Claim::ServiceOrder(claim) = read_back.claim else { panic!("not an order") };
    println!("order {}: {claim:?}", first.remote_id);
    assert_eq!(claim.order.map(|id| id.to_string()), Some(hub_id("ord", party, 1)));
    assert_eq!((claim.customer, claim.title.as_deref()), (Some(party.to_string()), Some("Platform roll-out")));
    assert_eq!((claim.state, claim.total), (Some(DocumentState::Issued), Some(Money::new(300_055, Currency::USD))));
    assert!(claim.number.is_some() && claim.ordered_on.is_some());

    let request = invoice(party, 1, Some(&first.remote_id));
    let issued = settled(&net, &request).await;
    assert_eq!(settled(&net, &request).await, issued);
    assert_eq!(writer().find(&net, &request).await, Ok(Some(issued.clone())));
    assert_eq!(with_reference(&net, "account.invoice", &request).await, 1);
    let back = observed(&net, Entity::Invoice, &issued.remote_id).await;
    assert_eq!(Some(&back.claim), issued.claim.as_ref());
    let Claim::Invoice(claim) = back.claim else { panic!("not an invoice") };
    println!("invoice {}: {claim:?}", issued.remote_id);
    let usd = |minor| Some(Money::new(minor, Currency::USD));
    assert_eq!(claim.status, Some(InvoiceStatus::Open));
    assert_eq!(claim.native_status.as_deref(), Some("posted"));
    assert_eq!((claim.total, claim.net, claim.amount_paid), (usd(100_050), usd(100_050), usd(0)));
    assert_eq!(claim.title.as_deref(), Some("Platform roll-out"));
    assert_eq!(claim.customer, Some(party.to_string()));
    assert_eq!(claim.invoice.map(|id| id.to_string()), Some(hub_id("inv", party, 1)));
    assert!(claim.number.is_some() && claim.issued_on.is_some() && claim.due_on.is_some());
    assert_eq!(claim.lines.map(|lines| lines.len()), Some(1));
    let sale = read(&net, "sale.sale", &first.remote_id, &fields).await;
    println!("sale after the invoice: {sale}");
    assert_eq!(sale["invoice_state"], "awaiting payment");
}

#[tokio::test]
async fn a_new_customer_is_made_once() {
    let Some(net) = connect(real(), None) else { return };
    let seed = party(&net, "Seed Ltd").await;
    let first = settled(&net, &order(seed, 1, false)).await;
    let second = settled(&net, &order(seed, 2, false)).await;
    assert_ne!(first.remote_id, second.remote_id);
    assert_eq!(first.customer_remote_id, second.customer_remote_id);
    let made = observed(&net, Entity::Account, first.customer_remote_id.as_deref().expect("an id")).await;
    let Claim::Account(claim) = made.claim else { panic!("not an account") };
    assert_eq!(claim.name, Some(format!("Customer {seed}")));
    assert_eq!(claim.billing_email.as_deref(), Some("ap@customer.example"));
}

#[tokio::test]
async fn writers_that_meet_leave_one_sale_and_one_invoice() {
    let Some(net) = connect(real(), None) else { return };
    let party = party(&net, "Meeting Ltd").await;
    for (model, request) in [("sale.sale", order(party, 1, true)), ("account.invoice", invoice(party, 1, None))] {
        let apply = || writer().apply(&net, &request);
        let (a, b, c, d) = tokio::join!(apply(), apply(), apply(), apply());
        for outcome in [a, b, c, d] {
            match outcome {
                Ok(written) => println!("{model}: {}", written.remote_id),
                Err(fault) => println!("{model}: {fault}"),
            }
        }
        let last = settled(&net, &request).await;
        assert_eq!(writer().find(&net, &request).await.expect("an answer"), Some(last));
        assert_eq!(with_reference(&net, model, &request).await, 1);
    }
}

#[tokio::test]
async fn a_lost_answer_at_any_step_leaves_one_effect() {
    let Some(net) = connect(real(), None) else { return };
    let party = party(&net, "Lossy Ltd").await;
    for lose in 1..=4 {
        for (model, request) in
            [("sale.sale", order(party, lose, true)), ("account.invoice", invoice(party, lose, None))]
        {
            let real = ReqwestTransport::new().expect("a transport");
            let lossy = Lossy { real, lose, writes: AtomicU32::new(0) };
            let lossy = connect(Arc::new(lossy), None).expect("the same server");
            let first = writer().apply(&lossy, &request).await;
            if let Err(fault) = &first {
                assert!(matches!(fault, Fault::Unknown { .. }), "{fault}");
            }
            let found = writer().find(&net, &request).await.expect("an answer");
            println!("{model}, answer {lose} lost: {}, then found {}", first.is_ok(), found.is_some());
            let last = settled(&net, &request).await;
            assert_eq!(writer().find(&net, &request).await.expect("an answer"), Some(last));
            assert_eq!(with_reference(&net, model, &request).await, 1);
        }
    }
}

#[tokio::test]
async fn what_a_person_cancelled_is_not_made_again() {
    let Some(net) = connect(real(), None) else { return };
    let party = party(&net, "Cancelling Ltd").await;
    let request = invoice(party, 1, None);
    let journals = call(&net, Call::get("/rest/model/account.journal"), &["type"]).await;
    let revenue = |journal: &&Value| journal["type"] == "revenue";
    let journal = journals.as_array().and_then(|all| all.iter().find(revenue)).expect("a revenue journal");
    let draft = json!({ "type": "out", "journal": journal["id"], "reference": request.key.as_str(), "party": party, "currency": 1,
        "invoice_address": read(&net, "party.party", &party.to_string(), &["addresses"]).await["addresses"][0],
        "account": read(&net, "account.configuration", "1", &["default_account_receivable"]).await
            ["default_account_receivable"] });
    let id = create(&net, "account.invoice", draft).await.to_string();
    let cancel = Call::post(format!("/rest/model/account.invoice/{id}/cancel")).json(&json!({}));
    println!("after cancel: {}", call(&net, cancel, &["state"]).await);
    let Claim::Invoice(claim) = observed(&net, Entity::Invoice, &id).await.claim else { panic!("not an invoice") };
    assert_eq!(claim.status, Some(InvoiceStatus::Void));
    assert!(matches!(writer().apply(&net, &request).await, Err(Fault::Rejected { .. })));
    assert_eq!(with_reference(&net, "account.invoice", &request).await, 1);
}

fn update(party: i64, changes: Value, expected: Value) -> WriteRequest {
    let map = |value: Value| value.as_object().expect("an object").clone().into_iter().collect();
    let update = UpdateRecord {
        entity: Entity::Account,
        record_id: hub_id("acc", party, 0),
        remote_id: party.to_string(),
        order_key: hub_id("acc", party, 0),
        changes: map(changes),
        expected: map(expected),
    };
    let key = EffectKey::from_stored(format!("push:{party}"));
    WriteRequest { intent: Intent::UpdateRecord(update), key, customer_remote_id: None, order_remote_id: None }
}

#[tokio::test]
async fn values_of_a_party_are_set_once_and_never_over_what_somebody_changed() {
    let Some(net) = connect(real(), None) else { return };
    let party = party(&net, "Old Name Ltd").await;
    let (name, mail) = ("Old Name Ltd", "ap@push.example");
    for (changes, expected) in [
        (json!({ "name": "New Name Ltd", "billing_email": mail }), json!({ "name": name })),
        (json!({ "billing_email": "new@push.example" }), json!({ "billing_email": mail })),
        (json!({ "billing_email": null }), json!({ "billing_email": "new@push.example" })),
    ] {
        let request = update(party, changes.clone(), expected);
        assert_eq!(writer().find(&net, &request).await, Ok(None));
        let lossy = Lossy { real: ReqwestTransport::new().expect("a transport"), lose: 1, writes: AtomicU32::new(0) };
        let lossy = connect(Arc::new(lossy), None).expect("the same server");
        let lost = writer().apply(&lossy, &request).await;
        assert!(matches!(lost, Err(Fault::Unknown { .. })), "{lost:?}");
        let found = writer().find(&net, &request).await.expect("an answer").expect("it happened");
        assert_eq!(settled(&net, &request).await, found);
        let back = observed(&net, Entity::Account, &party.to_string()).await;
        assert_eq!(found.remote_version, back.key.version);
        for (field, value) in changes.as_object().expect("an object") {
            assert_eq!(&back.fields[field].value, value, "{field}");
        }
    }
    let request = update(party, json!({ "name": "Third Name Ltd" }), json!({ "name": "New Name Ltd" }));
    let written = settled(&net, &request).await;
    assert_eq!(written.remote_version, observed(&net, Entity::Account, &party.to_string()).await.key.version);
    assert_eq!(
        writer().apply(&net, &update(party, json!({ "name": "X" }), json!({ "name": name }))).await,
        Err(Fault::Stale)
    );
    let nobody = update(99_999_999, json!({ "name": "X" }), json!({}));
    assert_eq!(writer().apply(&net, &nobody).await, Err(Fault::Gone));
}

/// Modules of a customer's add fields beside those that every party has. These are of Tryton's own, and stand in the
/// same place; no claim names them.
#[tokio::test]
async fn fields_of_the_customers_own_come_as_their_kind_by_page_and_by_id() {
    let Some(net) = connect(real(), None) else { return };
    let configured = net.settings().as_value().clone();
    let with = |custom: Value| {
        let mut settings = configured.clone();
        settings["custom_fields"] = custom;
        let settings = Settings::new(settings);
        Tryton.check_settings(&settings).expect("they are good");
        net.change_settings(settings);
    };
    with(json!({
        "account": {
            "partyCode": { "property": "code", "kind": "TEXT" },
            "isUsed": { "property": "active", "kind": "BOOLEAN" },
            "madeAt": { "property": "create_date", "kind": "INSTANT" },
            "language": { "property": "lang", "kind": "NUMBER" },
        },
        "opportunity": {
            "likelihood": { "property": "conversion_probability", "kind": "NUMBER" },
            "beginsOn": { "property": "start_date", "kind": "DATE" },
        },
    }));
    let party = party(&net, "Own Fields").await;
    let id = party.to_string();
    let there = read(&net, "party.party", &id, &["code", "create_date"]).await;
    let told = |observed: &Observed, name: &str| observed.fields[&format!("custom.{name}")].value.clone();
    let account = observed(&net, Entity::Account, &id).await;
    let made_at = moment(&account, "create_date").expect("it was made");
    let expected = [
        ("partyCode", json!({ "kind": "TEXT", "value": there["code"] })),
        ("isUsed", json!({ "kind": "BOOLEAN", "value": true })),
        ("madeAt", json!({ "kind": "INSTANT", "value": made_at })),
        ("language", Value::Null),
    ];
    for (name, value) in expected {
        assert_eq!(told(&account, name), value, "{name}: {:?}", account.fields);
    }

    let likelihood = json!({ "__class__": "Decimal", "decimal": "0.3500" });
    let begins_on = json!({ "__class__": "date", "year": 2030, "month": 2, "day": 28 });
    let lead = json!({ "description": "Own fields", "party": party, "currency": 1, "employee": 1,
        "conversion_probability": likelihood, "start_date": begins_on });
    let sales = create(&net, "sale.opportunity", lead).await;
    let opportunity = observed(&net, Entity::Opportunity, &sales.to_string()).await;
    for (name, kind, value) in [("likelihood", "NUMBER", "0.35"), ("beginsOn", "DATE", "2030-02-28")] {
        assert_eq!(told(&opportunity, name), json!({ "kind": kind, "value": value }), "{:?}", opportunity.fields);
    }
    let made_at = moment(&opportunity, "create_date").expect("it was made");
    let (rows, _) = load(&net, None, made_at, 100).await;
    let listed = rows.iter().find(|row| row.key.remote_id == sales.to_string()).expect("it is listed");
    assert_eq!(told(listed, "likelihood"), told(&opportunity, "likelihood"));

    // A field that Tryton does not have takes the whole request with it, and nothing of it is believed.
    with(json!({ "account": { "none": { "property": "no_such_field", "kind": "TEXT" } } }));
    let refused = reader(Entity::Account).read_one(&net, &id).await;
    assert!(matches!(refused, Err(Fault::Transient { .. })), "{refused:?}");
}

#[tokio::test]
async fn refusals_have_their_names() {
    let Some(net) = connect(real(), None) else { return };
    assert_eq!(reader(Entity::Account).read_one(&net, "99999999").await, Err(Fault::Gone));
    let stranger = connect(real(), Some("not-the-key")).expect("the same server");
    assert_eq!(Tryton.probe(&stranger).await, Err(Fault::NeedsReauth));
    let party = party(&net, "Refused Ltd").await;
    let mut request = invoice(party, 1, None);
    if let Intent::IssueInvoice(intent) = &mut request.intent {
        intent.amount = Money::new(5_000, "CHF".parse().expect("a currency"));
    }
    let fault = writer().apply(&net, &request).await.expect_err("no such currency is set up");
    println!("a currency that is not set up: {fault}");
    assert!(matches!(fault, Fault::Rejected { .. }));
    let mut request = order(party, 1, true);
    request.customer_remote_id = Some("99999999".to_owned());
    let fault = writer().apply(&net, &request).await.expect_err("there is no such party");
    println!("a party that does not exist: {fault}");
    assert!(matches!(fault, Fault::Rejected { .. }));
}
