//! Item codes: what is billed carries product, account and tax of the billing system, as the settings of its connection
//! say, or is refused before anything is sent.

use std::time::Duration;

use crosstie::config::ConnectionConfig;
use crosstie_app::{App, CreateSow, NewMilestone, SystemClock};
use crosstie_connectors::fakes::{StripeFake, TrytonFake};
use crosstie_domain::{
    Clock, Instant,
    access::{AuthContext, RowScope},
    ids::OpportunityId,
    integration::{Entity, RunTrigger},
};
use crosstie_sdk::{FakeVendor, HttpRequest, Method, Secret};
use crosstie_store::{Store, integration::connection_by_name};
use serde_json::{Value as Json, json};

use crate::support::{
    Binary, Database, HostedVendor, RunningHub, account, on_each_database, opportunity_record, until, usd,
};

fn now() -> Instant {
    SystemClock::default().now()
}

/// An opportunity of a customer, which nothing outside says anything of.
async fn opportunity(store: &Store) -> OpportunityId {
    let account = account(store, "Juniper").await;
    let tx = store.begin().await.expect("a transaction begins");
    let opportunity = opportunity_record(&tx, &account, "Rollout");
    tx.save_opportunity(&opportunity).await.expect("saved");
    tx.commit().await.expect("it commits");
    opportunity.id
}

/// A value as GraphQL writes it in a document.
fn literal(value: &Json) -> String {
    match value {
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", literal(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Json::Array(values) => format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

/// A hub with one billing system.
struct Scene {
    hub: RunningHub,
    connection: String,
    opportunity: OpportunityId,
}

impl Scene {
    async fn start(database: &Database, connection: ConnectionConfig) -> Self {
        let hub = RunningHub::start(database, vec![connection]).await;
        let found = hub.ask("{ connections(first: 1) { nodes { id } } }").await;
        let connection = found["connections"]["nodes"][0]["id"].as_str().expect("an id").to_owned();
        let opportunity = opportunity(hub.hub.app.store()).await;
        Self { hub, connection, opportunity }
    }

    /// Runs a mutation; its payload.
    async fn decide(&self, mutation: &str, input: &str, selection: &str) -> Json {
        let query = format!(
            "mutation {{ {mutation}(input: {{ {input} }}) {{ {selection} userErrors {{ field code message }} }} }}"
        );
        self.hub.ask(&query).await[mutation].take()
    }

    async fn granted(&self, mutation: &str, input: &str, selection: &str) -> Json {
        let payload = self.decide(mutation, input, selection).await;
        assert_eq!(payload["userErrors"], json!([]), "{mutation}: {payload}");
        payload
    }

    /// Drafts a statement of work of these lines: item code and price.
    async fn draft(&self, lines: &[(Option<&str>, &str)], total: &str) -> Json {
        let money = |amount: &str| format!("{{ amount: {amount:?}, currency: \"USD\" }}");
        let lines = lines.iter().map(|(code, amount)| {
            format!("{{ name: \"Work\", itemCode: {}, amount: {} }}", json!(code), money(amount))
        });
        let (opportunity, connection) = (self.opportunity, &self.connection);
        let input = format!(
            "opportunityId: \"{opportunity}\", billingConnectionId: {connection:?}, title: \"Rollout\", total: {}, \
             milestones: [{}]",
            money(total),
            lines.collect::<Vec<_>>().join(", ")
        );
        self.granted("createSow", &input, "sow { id milestones { id itemCode } }").await["sow"].take()
    }

    async fn sign(&self, sow: &Json) -> Json {
        let input = format!("sowId: {}", sow["id"]);
        self.granted("signSow", &input, "sow { serviceOrder { id } }").await["sow"]["serviceOrder"]["id"].take()
    }

    async fn accept(&self, milestone: &Json) {
        self.granted("acceptMilestone", &format!("milestoneId: {milestone}"), "milestone { id }").await;
    }

    /// A service order once it has this status.
    async fn order(&self, id: &Json, status: &str) {
        until(status, async || {
            let query = format!("{{ serviceOrder(id: {id}) {{ status }} }}");
            (self.hub.ask(&query).await["serviceOrder"]["status"] == status).then_some(())
        })
        .await;
    }

    /// The invoice of a milestone once it has this status.
    async fn invoice(&self, order: &Json, milestone: &Json, status: &str) -> Json {
        let money = "{ amount currency }";
        let query = format!(
            "{{ serviceOrder(id: {order}) {{ invoices(first: 9) {{ nodes {{ id status billingReference total {money} \
             netAmount {money} taxAmount {money} amountPaid {money} milestone {{ id billing }} }} }} }} }}"
        );
        until(status, async || {
            let found = self.hub.ask(&query).await["serviceOrder"]["invoices"]["nodes"].take();
            let invoices = found.as_array().expect("a list").clone();
            invoices.into_iter().find(|one| one["milestone"]["id"] == *milestone && one["status"] == status)
        })
        .await
    }

    /// Why effects wait for a person: their keys, codes and messages.
    async fn refused(&self) -> Vec<(String, String, String)> {
        let query =
            "{ effects(first: 9, filter: { status: { eq: REJECTED } }) { nodes { key errorCode errorMessage } } }";
        let found = self.hub.ask(query).await["effects"]["nodes"].take();
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let nodes = found.as_array().expect("a list").iter();
        nodes.map(|node| (text(&node["key"]), text(&node["errorCode"]), text(&node["errorMessage"]))).collect()
    }

    /// Saves a mapping, waits until the hub has taken it up, and sends again what was refused.
    async fn mend(&self, mapping: &Json, version: i32) {
        let input = format!(
            "connectionId: {:?}, mapping: {}, expectedVersion: {}",
            self.connection,
            literal(mapping),
            version - 1
        );
        self.granted("saveMapping", &input, "mapping { version }").await;
        until("the mapping is taken up", async || {
            let connection = self.hub.hub.engine.connections().all()[0];
            (connection.mapping_version() == version).then_some(())
        })
        .await;
        let input = "filter: { status: { eq: REJECTED } }";
        let replayed = self.granted("replayOutboundEffects", input, "job { items }").await;
        assert_eq!(replayed["job"]["items"], 1, "{replayed}");
    }

    async fn preview(&self, mapping: &Json) -> Json {
        let input = format!("connectionId: {:?}, mapping: {}", self.connection, literal(mapping));
        let by = "{ codes { name value } refusalCode refusal }";
        let selection = format!(
            "preview {{ linesSeen linesChanged linesRefused endCursor lines {{ milestoneId effectKey itemCode now {by} \
             then {by} }} }}"
        );
        self.granted("previewMapping", &input, &selection).await["preview"].take()
    }

    /// What the hub and billing hold differently, without what billing alone has.
    async fn differences(&self) -> Json {
        let query = format!(
            "{{ connectionDifferences(connectionId: {:?}, first: 9) {{ nodes {{ kind entity field amountHere {{ amount \
             }} amountThere {{ amount }} }} }} }}",
            self.connection
        );
        self.hub.ask(&query).await["connectionDifferences"]["nodes"].take()
    }

    async fn pull(&self, entity: Entity) {
        let engine = &self.hub.hub.engine;
        let connection = engine.connections().all()[0];
        let declared = connection.reads().find(|read| read.entity == entity).expect("it is read");
        until("a reading of its own", async || {
            engine.pull(connection, declared, RunTrigger::Manual).await.expect("the database answers")
        })
        .await;
    }
}

fn dollars(amount: &str) -> Json {
    json!({ "amount": amount, "currency": "USD" })
}

fn settings(value: Json) -> serde_json::Map<String, Json> {
    let Json::Object(settings) = value else { panic!("settings are an object") };
    settings
}

/// Asks a Stripe as its user.
fn at_stripe(stripe: &HostedVendor<StripeFake>, path: &str, form: &str) -> Json {
    let headers = vec![("authorization".to_owned(), "Bearer user".to_owned())];
    let url = format!("https://api.stripe.com/v1/{path}");
    let request = HttpRequest { method: Method::Post, url, headers, body: form.as_bytes().to_vec() };
    let answer = stripe.vendor().respond(&request, now());
    assert_eq!(answer.status, 200, "{path}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

async fn stripe() -> HostedVendor<StripeFake> {
    let fake = StripeFake::new(None, Secret::new("whsec_test"), 1);
    let stripe = HostedVendor::start(fake, now, |_| Duration::ZERO).await;
    for (path, form) in [
        ("products", "name=Implementation&id=prod_impl"),
        ("products", "name=Training&id=prod_train"),
        ("tax_rates", "display_name=VAT&percentage=19&id=txr_vat"),
    ] {
        at_stripe(&stripe, path, form);
    }
    stripe
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_carries_product_and_tax_and_an_unknown_code_waits_until_it_is_mapped() {
    on_each_database(async |database| {
        let stripe = stripe().await;
        let implementation = json!({ "product": "prod_impl", "tax_rates": ["txr_vat"] });
        let mut configured = stripe.connection("stripe", "whsec_test");
        configured.settings = settings(json!({ "items": { "codes": { "IMPLEMENTATION": implementation } } }));
        let scene = Scene::start(database, configured).await;
        let sow = scene.draft(&[(Some("IMPLEMENTATION"), "20000.00"), (Some("TRAINING"), "5000.00")], "25000.00").await;
        let milestones = sow["milestones"].clone();
        let codes = json!([milestones[0]["itemCode"], milestones[1]["itemCode"]]);
        assert_eq!(codes, json!(["IMPLEMENTATION", "TRAINING"]));

        // Before anything is asked for, a look tells what would be refused.
        let looked = scene.preview(&json!({})).await;
        assert_eq!(
            (&looked["linesSeen"], &looked["linesRefused"], &looked["linesChanged"]),
            (&json!(2), &json!(1), &json!(0))
        );
        let lines = looked["lines"].as_array().expect("lines");
        let training = lines.iter().find(|line| line["itemCode"] == "TRAINING").expect("it is shown");
        assert_eq!((&training["milestoneId"], &training["effectKey"]), (&milestones[1]["id"], &Json::Null));
        assert_eq!(training["then"]["refusalCode"], "ITEM_NOT_MAPPED");

        let order = scene.sign(&sow).await;
        scene.order(&order, "ACKED").await;
        scene.accept(&milestones[0]["id"]).await;
        let billed = scene.invoice(&order, &milestones[0]["id"], "OPEN").await;
        assert_eq!(
            (&billed["netAmount"], &billed["taxAmount"]),
            (&dollars("20000.00"), &dollars("3800.00")),
            "{billed}"
        );
        assert_eq!(billed["total"], dollars("23800.00"));
        let issued = stripe.vendor().invoices()[0].clone();
        let line = &issued["lines"]["data"][0];
        assert_eq!((&line["price"]["product"], &line["tax_rates"][0]["id"]), (&json!("prod_impl"), &json!("txr_vat")));
        assert_eq!(scene.differences().await, json!([]), "a tax is no difference");

        scene.accept(&milestones[1]["id"]).await;
        scene.invoice(&order, &milestones[1]["id"], "REJECTED").await;
        let refused = scene.refused().await;
        let key = format!("invoice:{}:1", milestones[1]["id"].as_str().expect("an id"));
        let why = "the item code TRAINING stands for nothing here: set settings.items.codes.TRAINING of the connection";
        assert_eq!(refused, [(key.clone(), "ITEM_NOT_MAPPED".to_owned(), why.to_owned())]);
        assert_eq!(stripe.vendor().invoice_count(), 1, "nothing was sent");

        // A product that Stripe does not have is found before the invoice is made.
        let missing = json!({ "items": { "codes": { "TRAINING": { "product": "prod_none" } } } });
        let looked = scene.preview(&missing).await;
        assert_eq!(
            (&looked["linesSeen"], &looked["linesChanged"], &looked["linesRefused"]),
            (&json!(1), &json!(1), &json!(0))
        );
        let line = &looked["lines"][0];
        assert_eq!((&line["effectKey"], &line["now"]["refusalCode"]), (&json!(key), &json!("ITEM_NOT_MAPPED")));
        assert_eq!(line["then"]["codes"], json!([{ "name": "product", "value": "prod_none" }]));
        scene.mend(&missing, 1).await;
        until("the second refusal", async || {
            let refused = scene.refused().await;
            let why =
                refused.first().map(|(_, code, why)| (code.as_str(), why.contains(".TRAINING.product: Stripe has no")));
            (why == Some(("REJECTED", true))).then_some(())
        })
        .await;
        assert_eq!(stripe.vendor().invoice_count(), 1, "nothing was made");

        scene.mend(&json!({ "items": { "codes": { "TRAINING": { "product": "prod_train" } } } }), 2).await;
        let trained = scene.invoice(&order, &milestones[1]["id"], "OPEN").await;
        assert_eq!((&trained["total"], &trained["netAmount"]), (&dollars("5000.00"), &dollars("5000.00")));
        assert_eq!(trained["taxAmount"], dollars("0.00"));
        assert_eq!(stripe.vendor().invoice_count(), 2, "each milestone is billed once");
        let kept = &stripe.vendor().invoices()[0]["lines"]["data"][0]["price"]["product"].clone();
        assert_eq!(kept, "prod_impl", "what was sent stays as it was");

        // Paid is what was paid with its tax.
        at_stripe(&stripe, &format!("invoices/{}/pay", issued["id"].as_str().expect("an id")), "paid_out_of_band=true");
        let paid = until("the payment", async || {
            scene.pull(Entity::Invoice).await;
            let query = format!(
                "{{ invoice(id: {}) {{ status amountPaid {{ amount currency }} milestone {{ billing }} }} }}",
                billed["id"]
            );
            let paid = scene.hub.ask(&query).await["invoice"].take();
            (paid["status"] == "PAID").then_some(paid)
        })
        .await;
        assert_eq!((&paid["amountPaid"], &paid["milestone"]["billing"]), (&dollars("23800.00"), &json!("PAID")));
        assert_eq!(scene.differences().await, json!([]), "a tax is no difference");
        scene.hub.stop().await;
    })
    .await;
}

/// A Tryton that sells a second product and knows a revenue account and a tax.
async fn tryton() -> HostedVendor<TrytonFake> {
    let mut fake = TrytonFake::new();
    fake.add("product.product", json!({ "template": 1, "default_uom": 9, "code": "IMPL" }), now());
    fake.add("account.account", json!({ "code": "4400", "company": 1 }), now());
    let rate = json!({ "__class__": "Decimal", "decimal": "0.19" });
    fake.add("account.tax", json!({ "name": "VAT", "rate": rate, "company": 1 }), now());
    HostedVendor::start(fake, now, |_| Duration::ZERO).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_an_unknown_code_waits_and_then_sale_and_invoice_carry_product_account_and_tax() {
    on_each_database(async |database| {
        let tryton = tryton().await;
        let mut configured = tryton.connection("tryton", "unused");
        configured.arms = vec![crosstie_domain::integration::Arm::Billing];
        configured.webhook_secrets = vec![];
        configured.settings = settings(json!({ "company": 1, "product": 1, "items": { "default": {} } }));
        let scene = Scene::start(database, configured).await;
        let sow = scene.draft(&[(Some("IMPL_1"), "20000.00"), (None, "1000.00")], "21000.00").await;
        let milestones = sow["milestones"].clone();
        let order = scene.sign(&sow).await;
        scene.order(&order, "REJECTED").await;
        assert_eq!(scene.refused().await[0].1, "ITEM_NOT_MAPPED");
        assert!(tryton.vendor().records("sale.sale").is_empty(), "nothing was sent");
        assert!(tryton.vendor().records("party.party").is_empty(), "no customer either");

        let entry = json!({ "product": "IMPL", "account": "4400", "taxes": ["VAT"] });
        scene.mend(&json!({ "items": { "codes": { "IMPL_1": entry } } }), 1).await;
        scene.order(&order, "ACKED").await;
        let sold = tryton.vendor().records("sale.line");
        assert_eq!((sold.len(), tryton.vendor().records("sale.sale").len()), (2, 1));
        assert_eq!((&sold[0]["product"], &sold[0]["taxes"], &sold[1]["product"]), (&json!(2), &json!([1]), &json!(1)));

        scene.accept(&milestones[0]["id"]).await;
        let billed = scene.invoice(&order, &milestones[0]["id"], "OPEN").await;
        assert_eq!(
            (&billed["netAmount"], &billed["taxAmount"]),
            (&dollars("20000.00"), &dollars("3800.00")),
            "{billed}"
        );
        assert_eq!((&billed["total"], &billed["amountPaid"]), (&dollars("23800.00"), &dollars("0.00")));
        let lines = tryton.vendor().records("account.invoice.line");
        assert_eq!(
            (&lines[0]["product"], &lines[0]["account"], &lines[0]["taxes"]),
            (&json!(2), &json!(1), &json!([1]))
        );
        until("everything is read", async || {
            scene.pull(Entity::Invoice).await;
            scene.pull(Entity::ServiceOrder).await;
            (scene.differences().await == json!([])).then_some(())
        })
        .await;
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_codes_and_bad_settings_are_refused_by_their_paths() {
    on_each_database(async |database| {
        let stripe = stripe().await;
        let scene = Scene::start(database, stripe.connection("stripe", "whsec_test")).await;
        for (code, expected) in [("two words", "INVALID"), ("", "INVALID"), (&*"X".repeat(41), "TOO_LONG")] {
            let money = "{ amount: \"1.00\", currency: \"USD\" }";
            let input = format!(
                "opportunityId: \"{}\", billingConnectionId: {:?}, title: \"T\", total: {money}, milestones: [{{ name: \
                 \"A\", amount: {money} }}, {{ name: \"B\", itemCode: {code:?}, amount: {money} }}]",
                scene.opportunity, scene.connection
            );
            let refused = scene.decide("createSow", &input, "sow { id }").await;
            assert_eq!(
                (&refused["sow"], &refused["userErrors"][0]["code"]),
                (&Json::Null, &json!(expected)),
                "{code:?}"
            );
            assert_eq!(refused["userErrors"][0]["field"], json!(["input", "milestones", "1", "itemCode"]));
        }
        let entry = |entry: Json| json!({ "items": { "codes": { "GO.LIVE": entry } } });
        for (mapping, path) in [
            (entry(json!({ "tax_code": "txcd_1" })), vec!["items", "codes", "GO.LIVE", "tax_code"]),
            (
                entry(json!({ "product": "p", "tax_behavior": "inclusive" })),
                vec!["items", "codes", "GO.LIVE", "tax_behavior"],
            ),
            (json!({ "items": { "unknown_codes": "DEFAULT" } }), vec!["items", "unknown_codes"]),
            (json!({ "items": { "codes": 1 } }), vec!["items", "codes"]),
        ] {
            // A name with a dot cannot be written as a literal of GraphQL.
            let query = "mutation($input: SaveMappingInput!) { saveMapping(input: $input) { mapping { version } \
                         userErrors { field code } } }";
            let input = json!({ "connectionId": scene.connection, "mapping": mapping, "expectedVersion": 0 });
            let body = json!({ "query": query, "variables": { "input": input } }).to_string();
            let token = format!("Bearer {}", scene.hub.token);
            let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
            let answer = scene.hub.send(Method::Post, "/graphql", &headers, body).await;
            let answer: Json = serde_json::from_slice(&answer.body).expect("JSON");
            let refused = &answer["data"]["saveMapping"];
            let field: Vec<&str> = ["input", "mapping"].into_iter().chain(path).collect();
            assert_eq!(
                (&refused["mapping"], &refused["userErrors"][0]["code"]),
                (&Json::Null, &json!("INVALID")),
                "{answer}"
            );
            assert_eq!(refused["userErrors"][0]["field"], json!(field));
        }
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_on_the_command_line_tells_what_lines_would_go_out_with() {
    let stripe = stripe().await;
    let config = format!(
        "[database]\nurl = \"sqlite://data/crosstie.db?mode=rwc\"\n[[connections]]\nname = \"books\"\n\
         connector = \"stripe\"\nbase_url = \"{}\"\ntoken = \"test-key\"\nwebhook_secrets = [\"x\"]\n",
        stripe.url
    );
    let Some(binary) = Binary::find("the command line", &config) else { return };
    binary.done(&["migrate"]).await;
    binary.done(&["connection", "list"]).await;
    let file = binary.folder().join("data/crosstie.db");
    let database = Database::at(&format!("sqlite://{}", file.display()));
    let app = App::new(database.open().await);
    let connection =
        connection_by_name(app.store(), &RowScope::All, "books").await.expect("read").expect("it is there");
    // More than one look shows.
    let line = |code: &str| NewMilestone {
        name: "Work".to_owned(),
        item_code: code.parse().ok(),
        amount: usd(100),
        planned_on: None,
    };
    let milestones: Vec<_> =
        (0..130).map(|place| line(if place < 100 { "IMPLEMENTATION" } else { "TRAINING" })).collect();
    let input = CreateSow {
        opportunity_id: opportunity(app.store()).await,
        billing_connection_id: connection.id,
        title: "Rollout".to_owned(),
        total: usd(13_000),
        po_number: None,
        milestones,
        idempotency_key: None,
    };
    app.create_sow(&AuthContext::system(), input).await.expect("decided").expect("drafted");
    binary.write("mapping.json", r#"{ "items": { "codes": { "IMPLEMENTATION": { "product": "prod_impl" } } } }"#);
    let said = binary.done(&["mapping", "preview", "books", "mapping.json"]).await;
    for expected in [
        "item code IMPLEMENTATION: 100 line(s) to be billed -> product=prod_impl",
        "item code TRAINING: 30 line(s) to be billed -> ITEM_NOT_MAPPED: the item code TRAINING stands for nothing here",
        "130 line(s) to be billed: 100 would change, 30 would be refused; the vendor was not asked",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(said.matches("  TRAINING  not asked for yet  refused: ITEM_NOT_MAPPED").count(), 30, "{said}");
    let other = binary.done(&["mapping", "preview", "books", "mapping.json", "--entity", "account"]).await;
    assert!(!other.contains("to be billed"), "{other}");
}
