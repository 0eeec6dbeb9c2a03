//! What the hub and a connected system hold differently, and what a switch to two-way would do about it.

use crosstie_domain::{
    Clock, Currency, Money,
    access::{AuthContext, Role, RowScope},
    integration::{Arm, Claim, ConnectionMode, adoption::DocumentState},
    pipeline::AccountClaim,
};
use crosstie_store::integration::Pushes;
use serde_json::{Value as Json, json};

use crate::{
    adoption::Scene,
    support::{Said, System, codes, on_each_database, usd},
};

const QUERY: &str = "query($id: ID!, $first: Int, $after: String, $filter: ConnectionDifferenceFilter) { \
    connectionDifferences(connectionId: $id, first: $first, after: $after, filter: $filter, orderBy: [\
    { field: KIND, direction: ASC }, { field: ENTITY, direction: ASC }]) { totalCount pageInfo { hasNextPage endCursor } \
    nodes { entity kind remoteId field here there step amountHere { amount } amountThere { amount } } } }";

impl Scene<'_> {
    /// The differences of billing, each in one line: kind, record there, field, here, there, step.
    async fn differences(&self) -> Vec<String> {
        let variables = json!({ "id": self.books.connection, "first": 100 });
        let found = self.ask(QUERY, variables).await["connectionDifferences"].take();
        let lines: Vec<String> = found["nodes"].as_array().expect("nodes").iter().map(line).collect();
        assert_eq!(found["totalCount"], lines.len());
        lines
    }

    /// What a switch to two-way would do about how many.
    async fn foreseen(&self) -> Json {
        let input = json!({ "connectionId": self.books.connection, "mode": "TWO_WAY", "dryRun": true });
        let selection = "switch { differences { isWhole counts { entity kind step count } totals { entity kind \
                         here { amount } there { amount } } } }";
        self.graph.decide(AuthContext::system(), "switchConnectionMode", selection, input).await["switch"]
            ["differences"]
            .take()
    }
}

/// A difference in one line.
fn line(node: &Json) -> String {
    let text = |value: &Json| value.as_str().unwrap_or("-").to_owned();
    let side = |words: &str, amount: &str| match node[amount]["amount"].as_str() {
        Some(amount) => amount.to_owned(),
        None => text(&node[words]),
    };
    let [here, there] = [side("here", "amountHere"), side("there", "amountThere")];
    let [kind, entity, remote_id, field, step] =
        ["kind", "entity", "remoteId", "field", "step"].map(|name| text(&node[name]));
    format!("{kind} {entity} {remote_id} {field}: {here} / {there} {step}")
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_invoices_are_compared_one_by_one_and_added_up() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (order, milestones) = scene.signed(&[600, 400]).await;
        let po = |claim: &mut crosstie_domain::billing::OrderClaim| claim.reference = Some("PO-77".to_owned());
        scene.sale("7", po).await;
        scene.bill("i1", usd(60_000), |_| {}).await;
        let only = "ONLY_THERE SERVICE_ORDER 7 -: - / 1000.00 NOTHING";
        let expected = [
            "ONLY_HERE SERVICE_ORDER - -: 1000.00 / - SEND",
            "ONLY_THERE INVOICE i1 -: - / 600.00 NOTHING",
            only,
        ];
        assert_eq!(scene.differences().await, expected);
        let counts = json!([
            { "entity": "SERVICE_ORDER", "kind": "ONLY_HERE", "step": "SEND", "count": 1 },
            { "entity": "INVOICE", "kind": "ONLY_THERE", "step": "NOTHING", "count": 1 },
            { "entity": "SERVICE_ORDER", "kind": "ONLY_THERE", "step": "NOTHING", "count": 1 },
        ]);
        let sum = |entity: &str, kind: &str, here: &str, there: &str| {
            json!({ "entity": entity, "kind": kind, "here": { "amount": here }, "there": { "amount": there } })
        };
        let foreseen = scene.foreseen().await;
        let mut counted = foreseen["counts"].as_array().expect("counts").clone();
        counted.sort_by_key(|count| (count["kind"].to_string(), count["entity"].to_string()));
        assert_eq!((&json!(counted), &foreseen["isWhole"]), (&counts, &json!(true)));
        assert!(foreseen["totals"].as_array().expect("totals").contains(&sum("INVOICE", "ONLY_THERE", "0.00", "600.00")));

        scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await;
        scene.adopt(("INVOICE", "i1"), &milestones[0], json!({})).await;
        assert_eq!(scene.differences().await, [""; 0], "what was adopted is the same");
        let before = scene.foreseen().await;
        assert_eq!((&before["counts"], &before["totals"]), (&json!([]), &json!([])));
        scene
            .sale("7", |claim| {
                claim.total = Some(usd(90_000));
                claim.state = Some(DocumentState::Canceled);
            })
            .await;
        scene.bill("i1", usd(50_000), |_| {}).await;
        let expected = [
            "DIFFERS INVOICE i1 total: 600.00 / 500.00 NOTHING",
            "DIFFERS SERVICE_ORDER 7 status: PARTIALLY_BILLED / CANCELED NOTHING",
            "DIFFERS SERVICE_ORDER 7 total: 1000.00 / 900.00 NOTHING",
        ];
        assert_eq!(scene.differences().await, expected);
        // Page by page it is the same list.
        let (mut pages, mut after) = (Vec::new(), Json::Null);
        loop {
            let variables = json!({ "id": scene.books.connection, "first": 1, "after": after });
            let page = scene.ask(QUERY, variables).await["connectionDifferences"].take();
            pages.extend(page["nodes"].as_array().expect("nodes").iter().map(line));
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(pages, expected);
        let only = json!({ "id": scene.books.connection, "first": 9, "filter": { "field": { "eq": "status" } } });
        let found = scene.ask(QUERY, only).await;
        assert_eq!(found["connectionDifferences"]["totalCount"], 1);

        // The same number of another currency is another amount.
        scene.bill("i1", Money::new(60_000, Currency::EUR), |_| {}).await;
        assert_eq!(scene.differences().await[0], "DIFFERS INVOICE i1 total: 600.00 / 600.00 NOTHING");

        let rows = RowScope::Accounts(vec![scene.graph.accounts[1].id]);
        let stranger = AuthContext { rows, ..AuthContext::system() };
        let variables = json!({ "id": scene.books.connection, "first": 9 });
        let none = scene.graph.data(stranger, QUERY, variables.clone()).await;
        assert_eq!(none["connectionDifferences"]["nodes"], json!([]));
        let engineer = AuthContext { roles: vec![Role::IntegrationEngineer], ..AuthContext::system() };
        let seen = scene.graph.run(engineer, QUERY, variables).await;
        assert_eq!(codes(&seen).into_iter().collect::<Vec<_>>(), ["FORBIDDEN"], "an engineer sees no money");
        assert!(!seen.to_string().contains("600.00"), "{seen}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_field_it_is_told_whether_a_switch_would_push_follow_hold_or_leave_it() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let ours = scene.graph.accounts[0].id;
        let say = async |system: &System, remote_id: &str, name: Option<&str>, domain: Option<&str>| {
            database.clock.advance(1_000);
            let text = |text: Option<&str>| text.map(str::to_owned);
            let claim =
                AccountClaim { account: Some(ours), name: text(name), domain: text(domain), ..AccountClaim::default() };
            let mut fields = json!({});
            for (field, value) in [("name", name), ("domain", domain)] {
                if let Some(value) = value {
                    fields[field] = json!(value);
                }
            }
            let asked_at = database.clock.now();
            system.say(Said { remote_id, version: None, asked_at, claim: Claim::Account(claim), fields }).await;
        };
        let crm = System::new(database, "hubspot", &[Arm::Crm]).await;
        say(&crm, "c1", Some("Ours AG"), None).await;
        assert_eq!(scene.differences().await, ["DIFFERS ACCOUNT p1 name: Ours AG / Ours NOTHING"]);
        // Where names are kept true there, it is written.
        let name = vec!["account.name".to_owned()];
        let tx = scene.books.store().begin().await.expect("a transaction begins");
        let pushes = Pushes { writable: name.clone(), pushed: name };
        tx.save_pushes(scene.books.connection, &pushes).await.expect("saved");
        tx.commit().await.expect("it commits");
        assert_eq!(scene.differences().await, ["DIFFERS ACCOUNT p1 name: Ours AG / Ours PUSH"]);
        assert_eq!(scene.foreseen().await["counts"][0]["step"], "PUSH");

        // A CRM that is only observed will be followed, and what a person has to decide stays with the person.
        let of = async |connection: &Json| {
            let found = scene.ask(QUERY, json!({ "id": connection, "first": 9 })).await;
            found["connectionDifferences"]["nodes"].as_array().expect("nodes").iter().map(line).collect::<Vec<_>>()
        };
        let crm = System { mode: ConnectionMode::Observe, ..crm };
        say(&crm, "c1", Some("Ours Holding"), None).await;
        let followed = ["DIFFERS ACCOUNT c1 name: Ours AG / Ours Holding FOLLOW"];
        assert_eq!(of(&json!(crm.connection)).await, followed);
        let stripe = System {
            app: scene.books.app.clone(),
            connection: scene.graph.billing,
            arms: vec![Arm::Billing],
            mode: ConnectionMode::Observe,
        };
        say(&stripe, "cus_ours", None, Some("ours.example")).await;
        let found = of(&json!(scene.graph.billing)).await;
        assert!(found.contains(&"DIFFERS ACCOUNT cus_ours domain: - / ours.example HOLD".to_owned()), "{found:?}");
    })
    .await;
}
