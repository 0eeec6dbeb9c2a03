//! A billing system that already holds what was sold is connected, and told nothing twice when the hub begins to send.

use std::time::Duration;

use crosstie::config::ConnectionConfig;
use crosstie_connectors::fakes::TrytonFake;
use crosstie_domain::{
    Clock, Instant,
    integration::{Arm, ConnectionMode},
};
use serde_json::{Value as Json, json};

use crate::support::{Binary, Database, HostedVendor, RunningHub, on_each_database, until};

fn now() -> Instant {
    crosstie_app::SystemClock::default().now()
}

fn decimal(text: &str) -> Json {
    json!({ "__class__": "Decimal", "decimal": text })
}

/// A stand-in for Tryton where somebody has sold, ordered and billed by hand.
async fn tryton() -> HostedVendor<TrytonFake> {
    let mut fake = TrytonFake::new();
    let party = fake.add("party.party", json!({ "name": "Lakeside", "addresses": [["create", [{}]]] }), now());
    let deal = json!({ "description": "Roll-out", "party": party, "currency": 1, "amount": decimal("1000.00") });
    fake.add("sale.opportunity", deal, now());
    let sale = json!({
        "number": "S-1", "reference": "PO-77", "description": "Plant roll-out", "party": party, "currency": 1,
        "state": "processing", "untaxed_amount": decimal("1000.00"),
    });
    fake.add("sale.sale", sale, now());
    let line = json!({ "description": "Discovery", "quantity": 1, "unit_price": decimal("400.00") });
    let invoice = json!({
        "type": "out", "number": "R-1", "reference": "PO-77", "party": party, "currency": 1, "state": "posted",
        "lines": [["create", [line]]],
    });
    fake.add("account.invoice", invoice, now());
    HostedVendor::start(fake, now, |_| Duration::ZERO).await
}

fn connection(tryton: &HostedVendor<TrytonFake>) -> ConnectionConfig {
    ConnectionConfig {
        connector: "tryton".to_owned(),
        arms: vec![Arm::Crm, Arm::Billing],
        mode: ConnectionMode::Observe,
        settings: serde_json::Map::from_iter([("company".to_owned(), json!(1))]),
        ..tryton.connection("books", "unused")
    }
}

/// The same for the command line.
fn configuration(tryton: &HostedVendor<TrytonFake>, database: &Database) -> String {
    format!(
        "[database]\nurl = {:?}\n[[connections]]\nname = \"books\"\nconnector = \"tryton\"\nmode = \"observe\"\n\
         arms = [\"crm\", \"billing\"]\nbase_url = {:?}\ntoken = \"test-key\"\n[connections.settings]\ncompany = 1\n",
        database.url, tryton.url
    )
}

async fn switch(hub: &RunningHub, connection: &str, mode: &str) {
    let query = format!(
        "mutation {{ switchConnectionMode(input: {{ connectionId: {connection:?}, mode: {mode} }}) \
         {{ switch {{ done }} }} }}"
    );
    assert_eq!(hub.ask(&query).await["switchConnectionMode"]["switch"]["done"], true);
}

/// A candidate in short.
fn seen(node: &Json) -> String {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    [text("entity"), text("remoteId"), text("recordId")].join(" ")
}

/// A signed statement of work of two milestones: its order and its first milestone.
async fn sign(hub: &RunningHub, (opportunity, connection): (&str, &str), po: &str) -> (String, String) {
    let money = |amount: &str| format!("{{ amount: {amount:?}, currency: \"USD\" }}");
    let query = format!(
        "mutation {{ createSow(input: {{ opportunityId: {opportunity:?}, billingConnectionId: {connection:?}, title: \
         \"Plant roll-out\", poNumber: {po:?}, total: {}, milestones: [{{ name: \"Discovery\", amount: {} }}, \
         {{ name: \"Build\", amount: {} }}] }}) {{ sow {{ id milestones {{ id }} }} userErrors {{ code }} }} }}",
        money("1000.00"),
        money("400.00"),
        money("600.00")
    );
    let sow = hub.ask(&query).await["createSow"]["sow"].clone();
    let query = format!(
        "mutation {{ signSow(input: {{ sowId: {} }}) {{ sow {{ serviceOrder {{ id }} }} userErrors {{ code }} }} }}",
        sow["id"]
    );
    let signed = hub.ask(&query).await["signSow"]["sow"].clone();
    let text = |value: &Json| value.as_str().expect("an identifier").to_owned();
    (text(&signed["serviceOrder"]["id"]), text(&sow["milestones"][0]["id"]))
}

async fn adopt(hub: &RunningHub, connection: &str, (entity, remote_id): (&str, &str), record: &str) {
    let query = format!(
        "mutation {{ adoptRecord(input: {{ connectionId: {connection:?}, entity: {entity}, remoteId: {remote_id:?}, \
         recordId: {record:?} }}) {{ adoption {{ id }} userErrors {{ code message }} }} }}"
    );
    let adopted = hub.ask(&query).await["adoptRecord"].clone();
    assert_eq!(adopted["userErrors"], json!([]), "{adopted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_billing_system_that_holds_orders_and_invoices_is_told_nothing_twice() {
    on_each_database(async |database| {
        let tryton = tryton().await;
        let hub = RunningHub::start(database, vec![connection(&tryton)]).await;
        let opportunity = until("the opportunity is read", async || {
            let query =
                "{ opportunities(first: 1) { nodes { id account { id } } } invoices(first: 1) { nodes { id } } }";
            let found = hub.ask(query).await;
            let node = found["opportunities"]["nodes"][0].clone();
            let all = node["account"].is_object() && found["invoices"]["nodes"][0].is_object();
            all.then(|| node["id"].as_str().expect("an id").to_owned())
        })
        .await;
        let found = hub.ask("{ connections(first: 1) { nodes { id } } }").await;
        let id = found["connections"]["nodes"][0]["id"].as_str().expect("an id").to_owned();
        switch(&hub, &id, "PULL").await;
        let (order, milestone) = sign(&hub, (&opportunity, &id), "PO-77").await;
        let likely = until("what is there is recognized", async || {
            let query = "{ adoptionCandidates(first: 9, orderBy: [{ field: SCORE, direction: DESC }]) \
                         { nodes { entity remoteId recordId score obstacle } } }";
            let nodes = hub.ask(query).await["adoptionCandidates"]["nodes"].as_array().expect("nodes").clone();
            (nodes.len() == 3).then_some(nodes)
        })
        .await;
        let mut sure: Vec<_> = likely.iter().filter(|node| node["obstacle"].is_null()).map(seen).collect();
        sure.sort();
        let expected = [("INVOICE", &milestone), ("SERVICE_ORDER", &order)];
        assert_eq!(sure, expected.map(|(entity, record)| format!("{entity} 1 {record}")), "{likely:?}");

        if let Some(binary) = Binary::find("adoption on the command line", &configuration(&tryton, database)) {
            let said = binary.done(&["connection", "differences", "books"]).await;
            let line = format!("ONLY_HERE  service_order -  {order}  whole  here 1000.00 USD  there -  SEND");
            assert!(said.lines().any(|found| found == line), "{said}");
            assert!(said.contains("\ninvoice ONLY_THERE: 0.00 USD here, 400.00 USD there\n"), "{said}");
            let expected = "a switch to two-way would: send 1, push 0, follow 0, hold as a conflict 0, leave 2";
            assert!(said.ends_with(expected), "{said}");
            let said = binary.done(&["adoption", "candidates", "books"]).await;
            let line = said.lines().find(|line| line.starts_with("service_order")).expect("a line");
            let expected = format!("service_order 1  {order}  1000.00 USD of 1000.00 USD  score 95  ");
            assert!(line.starts_with(&expected) && line.ends_with("can be adopted"), "{said}");
            let refused = binary.refused(&["adoption", "adopt", "books", "invoice", "1", &order]).await;
            assert!(refused.contains("No such milestone"), "{refused}");
            let said = binary.done(&["adoption", "adopt", "books", "service_order", "1", &order]).await;
            assert!(said.ends_with(&format!("1 is {order}; settled: order:{order}")), "{said}");
            let adoption = said.split_whitespace().next().expect("an id").to_owned();
            let said = binary.done(&["adoption", "undo", &adoption, "--reason", "to try it"]).await;
            assert!(said.ends_with(&format!("1 is by itself again; waits again: order:{order}")), "{said}");
            let said = binary.done(&["adoption", "list", "books"]).await;
            assert!(said.starts_with(&adoption) && said.contains("  undone ") && said.ends_with("by system"), "{said}");
        }
        adopt(&hub, &id, ("SERVICE_ORDER", "1"), &order).await;
        adopt(&hub, &id, ("INVOICE", "1"), &milestone).await;
        let accepted = format!(
            "mutation {{ acceptMilestone(input: {{ milestoneId: {milestone:?} }}) {{ milestone {{ billing }} }} }}"
        );
        assert_eq!(hub.ask(&accepted).await["acceptMilestone"]["milestone"]["billing"], "INVOICED");

        switch(&hub, &id, "TWO_WAY").await;
        let (later, _) = sign(&hub, (&opportunity, &id), "PO-78").await;
        until("the later order is placed", async || {
            let query = format!("{{ serviceOrder(id: {later:?}) {{ status }} }}");
            (hub.ask(&query).await["serviceOrder"]["status"] == "ACKED").then_some(())
        })
        .await;
        let references = |model: &str| {
            let records = tryton.vendor().records(model);
            records.iter().map(|record| record["reference"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(references("sale.sale"), [json!("PO-77"), json!(format!("order:{later}"))]);
        assert_eq!(references("account.invoice"), [json!("PO-77")]);
        let query = format!("{{ serviceOrder(id: {order:?}) {{ status billingReference }} }}");
        let shown = hub.ask(&query).await["serviceOrder"].clone();
        assert_eq!(shown, json!({ "status": "PARTIALLY_BILLED", "billingReference": "1" }));
        hub.stop().await;
    })
    .await;
}
