//! A real Tryton is CRM and billing at once: what is sold there comes to the hub, and what the hub sells goes there.

use crosstie::config::ConnectionConfig;
use crosstie_domain::integration::{Arm, ConnectionMode, Entity, RunTrigger};
use crosstie_sdk::{HttpRequest, Method, ReqwestTransport, Transport};
use futures::{StreamExt, stream};
use serde_json::{Value as Json, json};

use crate::{
    list, new_tag, server,
    support::{RunningHub, on_each_database, variable},
    text, until,
};

/// More than a page of the engine and a page of the API, which hold 100 each.
const OPPORTUNITIES: i64 = 130;
/// Every so many is changed after it was made.
const CHANGED_EVERY: i64 = 10;
/// Base64 of `{"company": 1}`, the company that `tryton_seed.py` makes.
const CONTEXT: &str = "eyJjb21wYW55IjogMX0=";

struct Tryton {
    url: String,
    key: String,
    settings: serde_json::Map<String, Json>,
    http: ReqwestTransport,
}

impl Tryton {
    fn find() -> Option<Self> {
        let [url, key, settings] = server(["TRYTON_URL", "TRYTON_KEY", "TRYTON_SETTINGS"])?;
        let settings = serde_json::from_str(&settings).expect("TRYTON_SETTINGS is a JSON object");
        Some(Self { url, key, settings, http: ReqwestTransport::new().expect("the network can be used") })
    }

    fn connection(&self) -> ConnectionConfig {
        ConnectionConfig {
            name: "tryton".to_owned(),
            connector: "tryton".to_owned(),
            base_url: Some(self.url.clone()),
            arms: vec![Arm::Crm, Arm::Billing],
            mode: ConnectionMode::TwoWay,
            token: Some(self.key.clone()),
            settings: self.settings.clone(),
            ..ConnectionConfig::default()
        }
    }

    async fn send(&self, method: Method, path: &str, body: Json) -> Json {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.key)),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-tryton-context".to_owned(), CONTEXT.to_owned()),
        ];
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = HttpRequest { method, url: format!("{}/rest/model/{path}", self.url), headers, body };
        let answer = self.http.send(request).await.expect("Tryton answers");
        assert!(answer.status < 300, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap_or(Json::Null)
    }

    async fn create(&self, model: &str, record: Json) -> i64 {
        self.send(Method::Post, &format!("{model}?f=id"), record).await["id"].as_i64().expect("an id")
    }

    async fn party(&self, name: &str) -> i64 {
        self.create("party.party", json!({ "name": name, "addresses": [["create", [{}]]] })).await
    }

    async fn opportunity(&self, name: String, party: i64, dollars: i64) -> i64 {
        let amount = json!({ "__class__": "Decimal", "decimal": format!("{dollars}.50") });
        let record = json!({
            "description": name, "party": party, "currency": 1, "amount": amount,
            "employee": self.settings.get("employee"),
        });
        self.create("sale.opportunity", record).await
    }

    /// Moves a lead on to an opportunity, which is its first change.
    async fn qualify(&self, opportunity: i64) {
        self.send(Method::Post, &format!("sale.opportunity/{opportunity}/opportunity?f=state"), json!({})).await;
    }

    /// Those of all records of a kind that carry this reference.
    async fn with_reference(&self, model: &str, reference: &str) -> Vec<Json> {
        let all = self.send(Method::Get, &format!("{model}?f=reference&f=state&f=number"), Json::Null).await;
        list(&all).iter().filter(|record| record["reference"] == reference).cloned().collect()
    }
}

/// Reads a kind of record now instead of when it is due.
async fn pull(hub: &RunningHub, entity: Entity) {
    let engine = &hub.hub.engine;
    let connection = engine.connections().named("tryton").expect("it is configured");
    let reads = connection.connector.descriptor().reads;
    let declared = reads.iter().find(|read| read.entity == entity).expect("it is read");
    let run = engine.pull(connection, declared, RunTrigger::Manual).await.expect("the database answers");
    let run = run.expect("nothing else reads it");
    assert_eq!(run.error_message, None);
}

/// The first load of a kind of record, once it has ended.
async fn first_load(hub: &RunningHub, entity: &str) -> Json {
    let query = format!(
        "{{ syncRuns(first: 5, filter: {{entity: {{eq: {entity}}}}}) {{ nodes {{ status pages rowsRead rowsChanged \
         rowsParked errorMessage }} }} }}"
    );
    let run = until("the first load", async || {
        let data = hub.ask(&query).await;
        list(&data["syncRuns"]["nodes"]).iter().find(|run| run["status"] != "RUNNING").cloned()
    })
    .await;
    assert_eq!(run["status"], "SUCCEEDED", "{run}");
    run
}

/// All opportunities with this word in their names, by name, through the pages of the API.
async fn opportunities(hub: &RunningHub, tag: &str) -> Vec<Json> {
    let (mut found, mut after) = (Vec::new(), "null".to_owned());
    loop {
        let query = format!(
            "{{ opportunities(first: 100, after: {after}, filter: {{name: {{contains: {tag:?}}}}}, orderBy: \
             [{{field: NAME, direction: ASC}}]) {{ nodes {{ id name stage nativeStage amount {{ amount currency }} \
             account {{ name }} sources {{ remoteId connection {{ name }} }} }} pageInfo {{ hasNextPage endCursor }} \
             }} }}"
        );
        let page = hub.ask(&query).await["opportunities"].clone();
        found.extend(list(&page["nodes"]).iter().cloned());
        if page["pageInfo"]["hasNextPage"] == false {
            return found;
        }
        after = page["pageInfo"]["endCursor"].to_string();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opportunities_made_in_tryton_arrive_once_each_with_account_and_amount() {
    let Some(tryton) = Tryton::find() else { return };
    let tag = new_tag();
    let account = format!("Reading {tag}");
    let party = tryton.party(&account).await;
    let make = |number| tryton.opportunity(format!("{tag} {number:03}"), party, 1_000 + number);
    let made: Vec<i64> = stream::iter(0..OPPORTUNITIES).map(make).buffered(4).collect().await;
    let numbered = || (0_i64..).zip(&made);
    for (_, id) in numbered().filter(|(number, _)| number % CHANGED_EVERY == 0) {
        tryton.qualify(*id).await;
    }
    let all = tryton.send(Method::Get, "sale.opportunity?f=create_date&f=write_date", Json::Null).await;
    let ours: Vec<&Json> =
        list(&all).iter().filter(|row| row["id"].as_i64().is_some_and(|id| made.contains(&id))).collect();
    let unchanged = ours.iter().filter(|row| row["write_date"].is_null()).count();
    let second = |row: &Json| ["day", "hour", "minute", "second"].map(|part| row["create_date"][part].as_i64());
    let mut seconds: Vec<_> = ours.iter().map(|row| second(row)).collect();
    seconds.sort_unstable();
    seconds.dedup();
    println!("tryton: {} opportunities, {unchanged} never changed, made in {} seconds", ours.len(), seconds.len());
    assert_eq!((ours.len(), unchanged), (130, 117));
    assert!(seconds.len() < ours.len(), "no two were made in one second");

    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![tryton.connection()]).await;
        let run = first_load(&hub, "OPPORTUNITY").await;
        println!("tryton: the first load: {run}");
        assert!(run["pages"].as_i64().is_some_and(|pages| pages >= 2), "more than one page");
        let known = opportunities(&hub, &tag).await;
        assert_eq!(known.len(), made.len());
        for ((number, id), known) in numbered().zip(&known) {
            assert_eq!(known["name"], format!("{tag} {number:03}"));
            assert_eq!(known["account"]["name"], account, "{known}");
            assert_eq!(known["amount"], json!({ "amount": format!("{}.50", 1_000 + number), "currency": "USD" }));
            assert_eq!(known["sources"][0]["remoteId"], id.to_string());
            assert_eq!(known["stage"], if number % CHANGED_EVERY == 0 { "SCOPING" } else { "QUALIFY" });
        }

        let later = new_tag();
        let (one, other) = tokio::join!(
            tryton.opportunity(format!("{later} one"), party, 1),
            tryton.opportunity(format!("{later} other"), party, 2),
        );
        tryton.qualify(other).await;
        pull(&hub, Entity::Opportunity).await;
        let known = opportunities(&hub, &later).await;
        let seen: Vec<_> = known.iter().map(|known| (&known["sources"][0]["remoteId"], &known["stage"])).collect();
        let (one, other) = (json!(one.to_string()), json!(other.to_string()));
        assert_eq!(seen, [(&one, &json!("QUALIFY")), (&other, &json!("SCOPING"))]);
        assert_eq!(opportunities(&hub, &tag).await.len(), made.len(), "what is read again is not doubled");
        println!("tryton: {} known once each; two made later came with the next reading", made.len());
        hub.stop().await;
    })
    .await;
}

/// Signs a statement of work of two milestones; the order's id and the first milestone's.
async fn sign(hub: &RunningHub, opportunity: &Json) -> (String, String) {
    sign_lines(hub, opportunity, [(None, "1000.50"), (None, "2000.05")], "3000.55").await
}

/// The same with the item codes and prices of the milestones.
async fn sign_lines(
    hub: &RunningHub,
    opportunity: &Json,
    lines: [(Option<&str>, &str); 2],
    total: &str,
) -> (String, String) {
    let connections = hub.ask("{ connections(first: 1) { nodes { id } } }").await["connections"]["nodes"].clone();
    let [pilot, go_live] = [("Pilot", lines[0]), ("Go-live", lines[1])].map(|(name, (code, dollars))| {
        let code = json!(code);
        format!("{{name: {name:?}, itemCode: {code}, amount: {{amount: \"{dollars}\", currency: \"USD\"}}}}")
    });
    let draft = format!(
        "mutation {{ createSow(input: {{opportunityId: {opportunity}, billingConnectionId: {}, title: \"Roll-out\", \
         total: {{amount: \"{total}\", currency: \"USD\"}}, milestones: [{pilot}, {go_live}]}}) {{ sow {{ id \
         milestones {{ id }} }} userErrors {{ code message }} }} }}",
        connections[0]["id"],
    );
    let draft = hub.ask(&draft).await["createSow"].clone();
    assert_eq!(draft["userErrors"], json!([]));
    let sign = format!(
        "mutation {{ signSow(input: {{sowId: {}}}) {{ sow {{ serviceOrder {{ id }} }} userErrors {{ code message }} \
         }} }}",
        draft["sow"]["id"]
    );
    let signed = hub.ask(&sign).await["signSow"].clone();
    assert_eq!(signed["userErrors"], json!([]));
    (text(&signed["sow"]["serviceOrder"]["id"]), text(&draft["sow"]["milestones"][0]["id"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_statement_of_work_becomes_one_sale_and_one_posted_invoice_and_its_payment_comes_back() {
    let Some(tryton) = Tryton::find() else { return };
    let tag = new_tag();
    let party = tryton.party(&format!("Buying {tag}")).await;
    tryton.opportunity(tag.clone(), party, 3_000).await;
    on_each_database(async |database| {
        let hub = RunningHub::start(database, vec![tryton.connection()]).await;
        first_load(&hub, "OPPORTUNITY").await;
        first_load(&hub, "INVOICE").await;
        let opportunity = opportunities(&hub, &tag).await;
        let (order, milestone) = sign(&hub, &opportunity[0]["id"]).await;

        let query = format!("{{ serviceOrder(id: {order:?}) {{ status billingReference rejection }} }}");
        let acked = until("the acknowledgment", async || {
            let order = hub.ask(&query).await["serviceOrder"].clone();
            assert_eq!(order["rejection"], Json::Null);
            (order["status"] == "ACKED").then_some(order)
        })
        .await;
        let sales = tryton.with_reference("sale.sale", &format!("order:{order}")).await;
        println!("tryton: {order} is {acked}; in Tryton: {sales:?}");
        assert_eq!(sales.len(), 1);
        assert_eq!(sales[0]["state"], "processing");
        assert_eq!(acked["billingReference"], sales[0]["id"].to_string());

        let accept = format!(
            "mutation {{ acceptMilestone(input: {{milestoneId: {milestone:?}}}) {{ userErrors {{ code message }} }} }}"
        );
        assert_eq!(hub.ask(&accept).await["acceptMilestone"]["userErrors"], json!([]));
        let query = format!(
            "{{ serviceOrder(id: {order:?}) {{ status invoices(first: 5) {{ nodes {{ id status nativeStatus number \
             billingReference rejection total {{ amount currency }} }} }} }} }}"
        );
        let billed = until("the invoice", async || {
            let order = hub.ask(&query).await["serviceOrder"].clone();
            let invoice = &order["invoices"]["nodes"][0];
            assert_eq!(invoice["rejection"], Json::Null);
            (invoice["status"] == "OPEN").then_some(order)
        })
        .await;
        let posted = tryton.with_reference("account.invoice", &format!("invoice:{milestone}:1")).await;
        println!("tryton: {milestone} is billed: {billed}; in Tryton: {posted:?}");
        assert_eq!(list(&billed["invoices"]["nodes"]).len(), 1);
        let invoice = &billed["invoices"]["nodes"][0];
        assert_eq!(posted.len(), 1);
        assert_eq!(posted[0]["state"], "posted");
        assert_eq!(invoice["number"], posted[0]["number"]);
        assert_eq!(invoice["billingReference"], posted[0]["id"].to_string());
        assert_eq!(invoice["total"], json!({ "amount": "1000.50", "currency": "USD" }));

        if pay(&text(&invoice["billingReference"])).await {
            pull(&hub, Entity::Invoice).await;
            let query = format!(
                "{{ invoice(id: {}) {{ status nativeStatus amountPaid {{ amount }} milestone {{ billing }} }} }}",
                invoice["id"]
            );
            let paid = hub.ask(&query).await["invoice"].clone();
            println!("tryton: paid there, here {paid}");
            assert_eq!((&paid["status"], &paid["nativeStatus"]), (&json!("PAID"), &json!("paid")));
            assert_eq!(paid["amountPaid"]["amount"], "1000.50");
            assert_eq!(paid["milestone"]["billing"], "PAID");
        }
        hub.stop().await;
    })
    .await;
}

/// Saves what the item code TRAINING stands for, and sends again what was refused.
async fn map_training(hub: &RunningHub, entry: &str, version: i32) {
    let connections = hub.ask("{ connections(first: 1) { nodes { id } } }").await["connections"]["nodes"].clone();
    let save = format!(
        "mutation {{ saveMapping(input: {{connectionId: {}, mapping: {{items: {{codes: {{TRAINING: {entry}}}}}}}, \
         expectedVersion: {}}}) {{ userErrors {{ code message }} }} }}",
        connections[0]["id"],
        version - 1
    );
    assert_eq!(hub.ask(&save).await["saveMapping"]["userErrors"], json!([]));
    let connection = hub.hub.engine.connections().named("tryton").expect("it is configured");
    until("the mapping is taken up", async || (connection.mapping_version() == version).then_some(())).await;
    let again = "mutation { replayOutboundEffects(input: {filter: {status: {eq: REJECTED}}}) { job { items } } }";
    assert_eq!(hub.ask(again).await["replayOutboundEffects"]["job"]["items"], 1);
}

/// Why the order waits, once it is refused with these words.
async fn refused(hub: &RunningHub, words: &str) -> String {
    let query = "{ effects(first: 5, filter: {status: {eq: REJECTED}}) { nodes { errorCode errorMessage } } }";
    until(words, async || {
        let found = hub.ask(query).await["effects"]["nodes"][0].clone();
        let message = found["errorMessage"].as_str().unwrap_or_default().to_owned();
        message.contains(words).then(|| format!("{}: {message}", text(&found["errorCode"])))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_code_becomes_a_real_product_account_and_tax_and_the_total_includes_the_tax() {
    let Some(tryton) = Tryton::find() else { return };
    let tag = new_tag();
    let party = tryton.party(&format!("Learning {tag}")).await;
    tryton.opportunity(tag.clone(), party, 3_000).await;
    on_each_database(async |database| {
        let mut connection = tryton.connection();
        connection.settings.insert("items".to_owned(), json!({ "default": {} }));
        let hub = RunningHub::start(database, vec![connection]).await;
        first_load(&hub, "OPPORTUNITY").await;
        first_load(&hub, "INVOICE").await;
        first_load(&hub, "SERVICE_ORDER").await;
        let opportunity = opportunities(&hub, &tag).await;
        let lines = [(Some("TRAINING"), "1000.00"), (None, "2000.00")];
        let (order, milestone) = sign_lines(&hub, &opportunity[0]["id"], lines, "3000.00").await;
        let mut said = vec![refused(&hub, "the item code TRAINING stands for nothing").await];
        // Tryton itself is asked, before anything is made.
        map_training(&hub, "{product: \"NONE\"}", 1).await;
        said.push(refused(&hub, "settings.items.codes.TRAINING.product: Tryton has no product NONE").await);
        map_training(&hub, "{product: \"TRN-0\"}", 2).await;
        said.push(refused(&hub, "settings.items.codes.TRAINING.product: the product TRN-0 has no account category").await);
        map_training(&hub, "{product: \"TRN-1\", taxes: [\"No such tax\"]}", 3).await;
        said.push(refused(&hub, "settings.items.codes.TRAINING.taxes.0: Tryton has no tax No such tax").await);
        let sales = tryton.with_reference("sale.sale", &format!("order:{order}")).await;
        assert!(sales.is_empty(), "{sales:?}");
        map_training(&hub, "{product: \"TRN-1\", account: \"OLD-REV\", taxes: [\"Sales tax 19 %\"]}", 4).await;
        let query = format!("{{ serviceOrder(id: {order:?}) {{ status billingReference }} }}");
        let acked = until("the acknowledgment", async || {
            let order = hub.ask(&query).await["serviceOrder"].clone();
            (order["status"] == "ACKED").then_some(order)
        })
        .await;
        let fields = "f=product.code&f=taxes.name&f=sale&f=description";
        let all = tryton.send(Method::Get, &format!("sale.line?{fields}"), Json::Null).await;
        let ours = |all: &Json, of: &str, id: &Json| {
            let ours = list(all).iter().filter(|line| line[of].as_i64().map(|id| json!(id.to_string())).as_ref() == Some(id));
            ours.cloned().collect::<Vec<_>>()
        };
        let sold = ours(&all, "sale", &acked["billingReference"]);
        assert_eq!(sold.len(), 2, "{sold:?}");
        let trained = sold.iter().find(|line| line["description"] == "Pilot").expect("a line");
        assert_eq!((&trained["product"]["code"], &trained["taxes"][0]["name"]), (&json!("TRN-1"), &json!("Sales tax 19 %")));

        let accept = format!(
            "mutation {{ acceptMilestone(input: {{milestoneId: {milestone:?}}}) {{ userErrors {{ code message }} }} }}"
        );
        assert_eq!(hub.ask(&accept).await["acceptMilestone"]["userErrors"], json!([]));
        // An order names no accounts; the invoice does.
        said.push(refused(&hub, "settings.items.codes.TRAINING.account: the account OLD-REV is closed").await);
        map_training(&hub, "{product: \"TRN-1\", account: \"TRAIN-REV\", taxes: [\"Sales tax 19 %\"]}", 5).await;
        let query = format!(
            "{{ serviceOrder(id: {order:?}) {{ invoices(first: 5) {{ nodes {{ id status billingReference total {{ amount \
             }} netAmount {{ amount }} taxAmount {{ amount }} }} }} }} }}"
        );
        let billed = until("the invoice", async || {
            let invoice = hub.ask(&query).await["serviceOrder"]["invoices"]["nodes"][0].clone();
            (invoice["status"] == "OPEN").then_some(invoice)
        })
        .await;
        println!("tryton: refused before: {said:?}; then {billed}");
        let amounts = ["netAmount", "taxAmount", "total"].map(|field| billed[field]["amount"].clone());
        assert_eq!(amounts, [json!("1000.00"), json!("190.00"), json!("1190.00")]);
        let fields = "f=product.code&f=account.code&f=taxes.name&f=invoice";
        let all = tryton.send(Method::Get, &format!("account.invoice.line?{fields}"), Json::Null).await;
        let lines = ours(&all, "invoice", &billed["billingReference"]);
        let told = ["product", "account"].map(|field| lines[0][field]["code"].clone());
        assert_eq!((lines.len(), told), (1, [json!("TRN-1"), json!("TRAIN-REV")]), "{lines:?}");
        assert_eq!(lines[0]["taxes"][0]["name"], "Sales tax 19 %");
        let posted = tryton.with_reference("account.invoice", &format!("invoice:{milestone}:1")).await;
        assert_eq!(posted.len(), 1, "{posted:?}");

        pull(&hub, Entity::ServiceOrder).await;
        pull(&hub, Entity::Invoice).await;
        let differing = async || {
            let query = "{ connections(first: 1) { nodes { id } } }";
            let id = hub.ask(query).await["connections"]["nodes"][0]["id"].clone();
            let query = format!(
                "{{ connectionDifferences(connectionId: {id}, first: 50, filter: {{kind: {{eq: DIFFERS}}, entity: \
                 {{in: [INVOICE, SERVICE_ORDER]}}}}) {{ nodes {{ entity field remoteId }} }} }}"
            );
            hub.ask(&query).await["connectionDifferences"]["nodes"].clone()
        };
        assert_eq!(differing().await, json!([]), "a tax is no difference");
        if pay(&text(&billed["billingReference"])).await {
            pull(&hub, Entity::Invoice).await;
            let query = format!(
                "{{ invoice(id: {}) {{ status amountPaid {{ amount }} milestone {{ billing }} }} }}",
                billed["id"]
            );
            let paid = hub.ask(&query).await["invoice"].clone();
            println!("tryton: paid there, here {paid}");
            assert_eq!((&paid["status"], &paid["milestone"]["billing"]), (&json!("PAID"), &json!("PAID")));
            assert_eq!(paid["amountPaid"]["amount"], "1190.00");
            assert_eq!(differing().await, json!([]), "a tax is no difference");
        }
        hub.stop().await;
    })
    .await;
}

/// Pays an invoice in Tryton, beside its server; false when the folder of `tryton.sh` is not known.
async fn pay(invoice: &str) -> bool {
    let Some(workdir) = variable("TRYTON_WORKDIR") else {
        println!("NOT RUN: the payment (TRYTON_WORKDIR, the folder that tryton.sh keeps its server in, is not set)");
        return false;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/live/tryton_pay.py");
    let config = format!("{workdir}/trytond.conf");
    let mut python = tokio::process::Command::new(format!("{workdir}/venv/bin/python"));
    let output = python.args([script, "tryton", &config, invoice]).output().await.expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}
