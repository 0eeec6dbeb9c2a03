//! Orders and invoices that billing holds already: taken for those of the hub, so that nothing is ordered or billed
//! twice, and given back without loss.

use crosstie_app::{AppError, Ingested, SendOutcome};
use crosstie_domain::{
    Clock, Money,
    access::{AuthContext, Role, RowScope},
    billing::{InvoiceClaim, InvoiceStatus, OrderClaim},
    integration::{Arm, Claim, adoption::DocumentState},
    pipeline::AccountClaim,
};
use crosstie_store::{
    StoreError,
    integration::{ClaimedEffect, EffectOutcome},
};
use serde_json::{Value as Json, json};

use crate::support::{Database, Graph, Said, System, codes, on_each_database, usd};

const LEASE_MS: i64 = 3_000;

/// A connection to billing that holds a customer of ours, and sends nothing.
pub(crate) struct Scene<'a> {
    pub(crate) database: &'a Database,
    pub(crate) graph: Graph,
    pub(crate) books: System,
}

impl<'a> Scene<'a> {
    pub(crate) async fn new(database: &'a Database) -> Self {
        let books = System::new(database, "books", &[Arm::Billing]).await;
        let graph = Graph::over(books.app.clone()).await;
        let scene = Self { database, graph, books };
        let (account, name) = (Some(scene.graph.accounts[0].id), Some("Ours".to_owned()));
        let claim = AccountClaim { account, name, ..AccountClaim::default() };
        scene.say("p1", json!(claim), Claim::Account(claim.clone())).await;
        scene.switch("PULL").await;
        scene
    }

    async fn say(&self, remote_id: &str, fields: Json, claim: Claim) -> Ingested {
        self.database.clock.advance(1_000);
        let asked_at = self.database.clock.now();
        self.books.say(Said { remote_id, version: None, asked_at, claim, fields }).await
    }

    /// An order at billing, over 1000 dollars where nothing else is said.
    pub(crate) async fn sale(&self, remote_id: &str, change: impl FnOnce(&mut OrderClaim)) {
        let mut claim = OrderClaim {
            customer: Some("p1".to_owned()),
            number: Some(format!("S-{remote_id}")),
            native_status: Some("processing".to_owned()),
            state: Some(DocumentState::Issued),
            total: Some(usd(100_000)),
            ..OrderClaim::default()
        };
        change(&mut claim);
        self.say(remote_id, json!(claim), Claim::ServiceOrder(claim.clone())).await;
    }

    /// An open invoice at billing, with a fifth of tax on top.
    pub(crate) async fn bill(&self, remote_id: &str, net: Money, change: impl FnOnce(&mut InvoiceClaim)) {
        let mut claim = InvoiceClaim {
            customer: Some("p1".to_owned()),
            number: Some(format!("R-{remote_id}")),
            native_status: Some("open".to_owned()),
            status: Some(InvoiceStatus::Open),
            total: Some(Money::new(net.minor + net.minor / 5, net.currency)),
            amount_paid: Some(Money::new(0, net.currency)),
            net: Some(net),
            ..InvoiceClaim::default()
        };
        change(&mut claim);
        self.say(remote_id, json!(claim), Claim::Invoice(claim.clone())).await;
    }

    pub(crate) async fn switch(&self, mode: &str) -> Json {
        let input = json!({ "connectionId": self.books.connection, "mode": mode });
        self.graph.decide(AuthContext::system(), "switchConnectionMode", "switch { waitingEffectCount }", input).await
    }

    /// A signed statement of work, "Plant roll-out", with milestones of so many dollars: its order and its milestones.
    pub(crate) async fn signed(&self, dollars: &[i64]) -> (String, Vec<String>) {
        let money = |dollars: i64| json!({ "amount": format!("{dollars}.00"), "currency": "USD" });
        let milestones: Vec<Json> = dollars
            .iter()
            .map(|dollars| json!({ "name": format!("Part {dollars}"), "amount": money(*dollars) }))
            .collect();
        let draft = json!({
            "opportunityId": self.graph.sold[0].opportunity, "billingConnectionId": self.books.connection,
            "title": "Plant roll-out", "poNumber": "PO-77", "total": money(dollars.iter().sum()),
            "milestones": milestones,
        });
        let drafted =
            self.graph.decide(AuthContext::system(), "createSow", "sow { id milestones { id } }", draft).await;
        let input = json!({ "sowId": drafted["sow"]["id"] });
        let signed = self.graph.decide(AuthContext::system(), "signSow", "sow { serviceOrder { id } }", input).await;
        let id = |value: &Json| value.as_str().expect("an identifier").to_owned();
        let milestones = drafted["sow"]["milestones"].as_array().expect("milestones");
        (id(&signed["sow"]["serviceOrder"]["id"]), milestones.iter().map(|one| id(&one["id"])).collect())
    }

    async fn accept(&self, milestone: &str) -> Json {
        let input = json!({ "milestoneId": milestone });
        self.graph.decide(AuthContext::system(), "acceptMilestone", "milestone { billing }", input).await
    }

    pub(crate) async fn ask(&self, query: &str, variables: Json) -> Json {
        self.graph.data(AuthContext::system(), query, variables).await
    }

    /// What may be what, the most likely first: the document, the record, the score, what keeps it from being adopted.
    async fn candidates(&self) -> Vec<(String, String, i64, Json)> {
        let query = "query($id: ID!) { adoptionCandidates(first: 50, filter: { connectionId: { eq: $id } }, orderBy: \
                     [{ field: SCORE, direction: DESC }]) { nodes { remoteId recordId score obstacle } } }";
        let found = self.ask(query, json!({ "id": self.books.connection })).await;
        let text = |value: &Json| value.as_str().expect("text").to_owned();
        let nodes = found["adoptionCandidates"]["nodes"].as_array().expect("nodes").clone();
        nodes
            .iter()
            .map(|node| {
                let score = node["score"].as_i64().expect("a score");
                (text(&node["remoteId"]), text(&node["recordId"]), score, node["obstacle"].clone())
            })
            .collect()
    }

    pub(crate) async fn adopt(&self, (entity, remote_id): (&str, &str), record: &str, more: Json) -> Json {
        let mut input = json!({
            "connectionId": self.books.connection, "entity": entity, "remoteId": remote_id, "recordId": record,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        let selection = "adoption { id effectKey score evidence version acceptedAmount { amount } }";
        self.graph.decide(AuthContext::system(), "adoptRecord", selection, input).await
    }

    async fn undo(&self, adopted: &Json) -> Json {
        let input = json!({ "adoptionId": adopted["adoption"]["id"], "reason": "it is another one" });
        self.graph.decide(AuthContext::system(), "undoAdoption", "adoption { undoneBy undoReason }", input).await
    }

    async fn order(&self, id: &str) -> Json {
        let query = "query($id: ID!) { serviceOrder(id: $id) { status billingReference sow { status } } }";
        self.ask(query, json!({ "id": id })).await["serviceOrder"].clone()
    }

    async fn milestone(&self, id: &str) -> Json {
        let query = "query($id: ID!) { node(id: $id) { ... on Milestone { acceptance billing } } }";
        self.ask(query, json!({ "id": id })).await["node"].clone()
    }

    /// The numbers and states of the invoices through the connection that are listed.
    async fn invoices(&self) -> Vec<Json> {
        let query = "{ invoices(first: 100) { nodes { id number status connection { name } milestone { id } } } }";
        let found = self.ask(query, json!({})).await;
        let nodes = found["invoices"]["nodes"].as_array().expect("nodes").clone();
        nodes.into_iter().filter(|node| node["connection"]["name"] == "books").collect()
    }

    /// What goes out next.
    async fn due(&self) -> Option<ClaimedEffect> {
        self.graph.app.store().claim_effect(LEASE_MS).await.expect("asked")
    }
}

fn po(claim: &mut OrderClaim) {
    claim.reference = Some("po 77".to_owned());
    claim.title = Some("Plant Roll-out".to_owned());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_billing_holds_is_adopted_and_never_sent_and_the_adoption_is_undone_without_loss() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (order, _) = scene.signed(&[600, 400]).await;
        scene.switch("OBSERVE").await;
        scene.sale("7", po).await;
        assert_eq!(scene.candidates().await, [("7".to_owned(), order.clone(), 95, Json::Null)]);
        assert_eq!(scene.switch("OBSERVE").await["switch"]["waitingEffectCount"], 1);
        let asked = json!({ "reason": "placed by hand", "idempotencyKey": "once" });
        let adopted = scene.adopt(("SERVICE_ORDER", "7"), &order, asked.clone()).await;
        let expected = json!({
            "id": adopted["adoption"]["id"], "effectKey": format!("order:{order}"), "score": 95, "version": 1,
            "evidence": ["REFERENCE", "AMOUNT", "CUSTOMER", "TITLE"], "acceptedAmount": null,
        });
        assert_eq!((&adopted["adoption"], &adopted["codes"]), (&expected, &json!([])));
        assert_eq!(scene.adopt(("SERVICE_ORDER", "7"), &order, asked).await, adopted, "the same request");
        let again = scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await;
        assert_eq!(again["codes"], json!(["INVALID_TRANSITION"]));
        let acked = json!({ "status": "ACKED", "billingReference": "7", "sow": { "status": "ACTIVE" } });
        assert_eq!((scene.order(&order).await, scene.candidates().await.len()), (acked, 0));
        assert_eq!(scene.switch("TWO_WAY").await["switch"]["waitingEffectCount"], 0);
        assert!(scene.due().await.is_none(), "nothing is ordered twice");
        // It is read again, and stays what it is.
        scene.sale("7", po).await;
        assert_eq!(scene.order(&order).await["status"], "ACKED");

        let undone = scene.undo(&adopted).await;
        assert_eq!(undone["adoption"], json!({ "undoneBy": "system", "undoReason": "it is another one" }), "{undone}");
        assert_eq!(scene.undo(&adopted).await["codes"], json!(["INVALID_TRANSITION"]), "it is undone once");
        let pending = json!({ "status": "PENDING", "billingReference": null, "sow": { "status": "SIGNED" } });
        assert_eq!(scene.order(&order).await, pending);
        scene.sale("7", po).await;
        assert_eq!(scene.candidates().await.len(), 1, "a person may decide again");
        let taken = scene.due().await.expect("it waits again, and the connection sends");
        assert_eq!(taken.key.as_str(), format!("order:{order}"));
        scene.graph.app.effect_sending(&taken).await.expect("it begins");
        let late = scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await;
        assert_eq!(late["codes"], json!(["INVALID_TRANSITION"]), "what was sent is not guessed at");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_took_an_order_before_it_was_adopted_does_not_send_it_and_what_was_refused_is_refused_after_the_undoing() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let app = &scene.graph.app;
        scene.switch("TWO_WAY").await;
        let (order, _) = scene.signed(&[600, 400]).await;
        let taken = scene.due().await.expect("it is due");
        scene.sale("7", po).await;
        let adopted = scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await;
        assert_eq!(adopted["codes"], json!([]), "nothing was sent yet");
        let sending = app.effect_sending(&taken).await;
        assert!(matches!(sending, Err(AppError::Store(StoreError::Conflict))), "{sending:?}");
        assert_eq!(scene.undo(&adopted).await["codes"], json!([]));

        // Billing refuses it, and a person places it by hand.
        let taken = scene.due().await.expect("it waits again");
        app.effect_sending(&taken).await.expect("it begins");
        let tx = app.store().begin().await.expect("a transaction begins");
        let (code, message) = ("REJECTED".to_owned(), "no such customer".to_owned());
        let refused = SendOutcome::NotDone(EffectOutcome::Rejected { code, message });
        app.effect_ended(&tx, &taken, &refused).await.expect("it is kept");
        tx.commit().await.expect("it commits");
        assert_eq!(scene.order(&order).await["status"], "REJECTED");
        let adopted = scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await;
        assert_eq!((&adopted["codes"], &scene.order(&order).await["status"]), (&json!([]), &json!("ACKED")));
        assert_eq!(scene.undo(&adopted).await["codes"], json!([]));
        assert_eq!(scene.order(&order).await["status"], "REJECTED", "as it stood before");
        assert!(scene.due().await.is_none(), "a person has it sent again, or nobody");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_on_its_way_to_billing_is_not_settled_by_one_that_is_there() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let app = &scene.graph.app;
        let (order, milestones) = scene.signed(&[1000]).await;
        scene.sale("7", po).await;
        assert_eq!(scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await["codes"], json!([]));
        scene.accept(&milestones[0]).await;
        scene.bill("i1", usd(100_000), |claim| claim.reference = Some("PO-77".to_owned())).await;
        scene.switch("TWO_WAY").await;
        let taken = scene.due().await.expect("the invoice is asked for");
        app.effect_sending(&taken).await.expect("it begins");
        let late = scene.adopt(("INVOICE", "i1"), &milestones[0], json!({})).await;
        assert_eq!(late["codes"], json!(["INVALID_TRANSITION"]), "it may be the one that is there, or become another");
        database.clock.advance(LEASE_MS);
        let again = scene.due().await.expect("nobody knows what came of it");
        assert!(again.key == taken.key && again.outcome_unknown, "{again:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invoices_made_by_hand_bill_their_milestones_and_nothing_is_billed_twice() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (order, milestones) = scene.signed(&[600, 400]).await;
        let [first, second] = milestones.as_slice() else { panic!("two milestones") };
        scene.sale("7", po).await;
        let reference = |claim: &mut InvoiceClaim| claim.reference = Some("PO-77".to_owned());
        scene.bill("i1", usd(60_000), reference).await;
        // One document may be of two milestones, and the sum alone says of which.
        let found = scene.candidates().await;
        let of_i1: Vec<_> = found.iter().filter(|(remote_id, ..)| remote_id == "i1").cloned().collect();
        let expected = [
            ("i1".to_owned(), first.clone(), 80, Json::Null),
            ("i1".to_owned(), second.clone(), 55, json!("OTHER_AMOUNT")),
        ];
        assert_eq!(of_i1, expected);
        // Before the acceptance, and before the order is there.
        let adopted = scene.adopt(("INVOICE", "i1"), first, json!({})).await;
        assert_eq!((&adopted["adoption"]["effectKey"], &adopted["codes"]), (&Json::Null, &json!([])));
        let taken = scene.adopt(("INVOICE", "i1"), second, json!({})).await;
        assert_eq!(taken["codes"], json!(["INVALID_TRANSITION"]), "an invoice bills one milestone");
        scene.bill("i2", usd(60_000), reference).await;
        assert!(scene.candidates().await.iter().all(|(_, record, ..)| record != first), "it is billed");
        let twice = scene.adopt(("INVOICE", "i2"), first, json!({})).await;
        assert_eq!(twice["codes"], json!(["INVALID_TRANSITION"]), "a milestone has one invoice");
        assert_eq!(scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await["codes"], json!([]));
        assert_eq!(scene.order(&order).await["status"], "PARTIALLY_BILLED");
        assert_eq!(scene.accept(first).await["milestone"]["billing"], "INVOICED");

        // An invoice that the hub has asked for is the one that billing holds.
        assert_eq!(scene.accept(second).await["milestone"]["billing"], "BILLABLE");
        scene.bill("i3", usd(40_000), reference).await;
        assert_eq!(scene.invoices().await.len(), 4, "three at billing, and the one that waits");
        let adopted = scene.adopt(("INVOICE", "i3"), second, json!({})).await;
        assert_eq!(adopted["adoption"]["effectKey"], format!("invoice:{second}:1"), "{adopted}");
        let bills = |invoices: Vec<Json>| {
            invoices.into_iter().filter(|one| one["milestone"]["id"] == json!(second)).collect::<Vec<_>>()
        };
        let [billed] = bills(scene.invoices().await).try_into().expect("one invoice");
        assert_eq!((&billed["number"], &billed["status"]), (&json!("R-i3"), &json!("OPEN")));
        assert_eq!((scene.invoices().await.len(), &scene.order(&order).await["status"]), (3, &json!("BILLED")));
        scene.bill("i3", usd(40_000), |claim| claim.status = Some(InvoiceStatus::Paid)).await;
        assert_eq!(scene.milestone(second).await["billing"], "PAID", "it follows what billing says from now on");
        scene.switch("TWO_WAY").await;
        assert!(scene.due().await.is_none(), "nothing is billed twice");

        let undone = scene.undo(&adopted).await;
        assert_eq!(undone["codes"], json!([]), "{undone}");
        assert_eq!(scene.milestone(second).await, json!({ "acceptance": "ACCEPTED", "billing": "BILLABLE" }));
        let [asked] = bills(scene.invoices().await).try_into().expect("one invoice");
        assert_eq!((&asked["id"], &asked["status"]), (&billed["id"], &json!("REQUESTED")));
        scene.bill("i3", usd(40_000), |claim| claim.number = Some("R-3b".to_owned())).await;
        let alone = scene.invoices().await;
        let alone: Vec<_> = alone.iter().filter(|one| one["number"] == "R-3b").collect();
        assert_eq!((alone.len(), &alone[0]["milestone"]), (1, &Json::Null), "it is by itself");
        let taken = scene.due().await.expect("it waits again, and the connection sends");
        assert_eq!(taken.key.as_str(), format!("invoice:{second}:1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_never_guessed_and_each_case_has_its_outcome() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (_, milestones) = scene.signed(&[1000]).await;
        let euros = Money::new(100_000, "EUR".parse().expect("a currency"));
        let status = |status| move |claim: &mut InvoiceClaim| claim.status = Some(status);
        // Its id, what it comes to, how it stands, what an attempt hears, and what the candidate says is in the way.
        type Case = (&'static str, Money, Option<InvoiceStatus>, &'static str, Option<&'static str>);
        let cases: [Case; 5] = [
            ("part", usd(40_000), None, "INVALID", Some("OTHER_AMOUNT")),
            ("euro", euros, None, "CURRENCY_MISMATCH", None),
            ("void", usd(100_000), Some(InvoiceStatus::Void), "INVALID_TRANSITION", None),
            ("draft", usd(100_000), Some(InvoiceStatus::Draft), "INVALID_TRANSITION", Some("NOT_ISSUED")),
            ("credit", usd(-100_000), None, "INVALID_TRANSITION", None),
        ];
        for (remote_id, net, state, code, obstacle) in cases {
            let reference = |claim: &mut InvoiceClaim| claim.reference = Some("PO-77".to_owned());
            scene
                .bill(remote_id, net, |claim| {
                    reference(claim);
                    if let Some(state) = state {
                        status(state)(claim);
                    }
                })
                .await;
            let shown = scene.candidates().await;
            let shown = shown.iter().find(|(found, ..)| found == remote_id).map(|found| found.3.clone());
            assert_eq!(shown, obstacle.map(|obstacle| json!(obstacle)), "{remote_id}");
            let refused = scene.adopt(("INVOICE", remote_id), &milestones[0], json!({})).await;
            assert_eq!((&refused["adoption"], &refused["codes"]), (&Json::Null, &json!([code])), "{remote_id}");
        }
        scene.bill("silent", usd(100_000), |claim| claim.net = None).await;
        assert_eq!(scene.adopt(("INVOICE", "silent"), &milestones[0], json!({})).await["codes"], json!(["INVALID"]));
        assert_eq!(scene.milestone(&milestones[0]).await["billing"], "NOT_BILLABLE", "nothing has changed");
        let accept =
            |amount: &str, currency: &str| json!({ "acceptAmount": { "amount": amount, "currency": currency } });
        for (remote_id, more, code) in [
            ("part", accept("500.00", "USD"), "INVALID"),
            ("euro", accept("1000.00", "EUR"), "CURRENCY_MISMATCH"),
            ("void", accept("1000.00", "USD"), "INVALID_TRANSITION"),
            ("nowhere", json!({}), "NOT_FOUND"),
        ] {
            let refused = scene.adopt(("INVOICE", remote_id), &milestones[0], more).await;
            assert_eq!(refused["codes"], json!([code]), "{remote_id}");
        }
        let adopted = scene.adopt(("INVOICE", "part"), &milestones[0], accept("400.00", "USD")).await;
        assert_eq!(
            (&adopted["adoption"]["acceptedAmount"]["amount"], &adopted["codes"]),
            (&json!("400.00"), &json!([]))
        );
        assert_eq!(scene.milestone(&milestones[0]).await["billing"], "INVOICED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_carries_our_own_id_is_adopted_by_itself_where_that_is_sure_and_not_again_after_it_was_undone() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (order, milestones) = scene.signed(&[1000]).await;
        let own = order.parse().expect("an identifier");
        scene
            .sale("8", |claim| {
                claim.order = Some(own);
                claim.total = Some(usd(99_999));
            })
            .await;
        assert_eq!(scene.order(&order).await["status"], "PENDING", "another amount is left to a person");
        assert_eq!(scene.candidates().await, [("8".to_owned(), order.clone(), 100, json!("OTHER_AMOUNT"))]);
        scene.sale("8", |claim| claim.order = Some(own)).await;
        assert_eq!(scene.order(&order).await["status"], "ACKED");
        let query = "query($id: ID!) { adoptions(first: 5, filter: { connectionId: { eq: $id } }) \
                     { nodes { id actor score evidence recordId subject { id } } } }";
        let found = scene.ask(query, json!({ "id": scene.books.connection })).await;
        let node = &found["adoptions"]["nodes"][0];
        assert_eq!((&node["actor"], &node["evidence"]), (&json!("system"), &json!(["OWN_ID"])));
        assert_eq!((&node["recordId"], &node["subject"]["id"]), (&json!(order), &json!(order)));
        let adopted = json!({ "adoption": { "id": node["id"] } });
        assert_eq!(scene.undo(&adopted).await["codes"], json!([]));
        scene.sale("8", |claim| claim.order = Some(own)).await;
        assert_eq!(scene.order(&order).await["status"], "PENDING", "a person said that it is not");
        assert_eq!(scene.adopt(("SERVICE_ORDER", "8"), &order, json!({})).await["codes"], json!([]));

        scene.accept(&milestones[0]).await;
        let waits = scene.invoices().await;
        let id = waits[0]["id"].as_str().expect("an id").parse().expect("an identifier");
        scene.bill("i8", usd(100_000), |claim| claim.invoice = Some(id)).await;
        assert_eq!(scene.milestone(&milestones[0]).await["billing"], "INVOICED");
        scene.switch("TWO_WAY").await;
        assert!(scene.due().await.is_none(), "both are there already");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_see_an_account_or_money_sees_none_of_it_here_either() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (order, milestones) = scene.signed(&[1000]).await;
        scene.sale("7", po).await;
        scene.bill("i1", usd(40_000), |claim| claim.reference = Some("PO-77".to_owned())).await;
        let rows = RowScope::Accounts(vec![scene.graph.accounts[1].id]);
        let stranger = AuthContext { rows, ..AuthContext::system() };
        let query = "{ adoptionCandidates(first: 5) { totalCount nodes { remoteId amount { amount } \
                     expectedAmount { amount } } } }";
        let none = scene.graph.data(stranger.clone(), query, json!({})).await;
        assert_eq!(none["adoptionCandidates"], json!({ "totalCount": 0, "nodes": [] }));
        let input = json!({
            "connectionId": scene.books.connection, "entity": "SERVICE_ORDER", "remoteId": "7", "recordId": order,
        });
        let refused = scene.graph.decide(stranger, "adoptRecord", "adoption { id }", input).await;
        assert_eq!(refused["codes"], json!(["NOT_FOUND"]));

        let engineer = AuthContext { roles: vec![Role::IntegrationEngineer], ..AuthContext::system() };
        let seen = scene.graph.run(engineer.clone(), query, json!({})).await;
        assert_eq!(codes(&seen).into_iter().collect::<Vec<_>>(), ["FORBIDDEN"]);
        let nodes = seen["data"]["adoptionCandidates"]["nodes"].as_array().expect("nodes");
        assert_eq!(nodes.len(), 2);
        assert!(nodes.iter().all(|node| node["amount"].is_null() && node["expectedAmount"].is_null()), "{seen}");
        let query = "mutation($input: AdoptRecordInput!) { adoptRecord(input: $input) { userErrors { message } } }";
        let input = json!({ "input": {
            "connectionId": scene.books.connection, "entity": "INVOICE", "remoteId": "i1", "recordId": milestones[0],
        } });
        let told = scene.graph.run(engineer, query, input.clone()).await.to_string();
        assert!(told.contains("acceptAmount") && !told.contains("400") && !told.contains("1000"), "{told}");
        let told = scene.graph.run(AuthContext::system(), query, input).await.to_string();
        assert!(told.contains("400.00 USD") && told.contains("1000.00 USD"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_is_seen_by_who_sees_the_account_that_it_is_of_also_after_a_merge_and_its_end() {
    on_each_database(async |database| {
        let scene = Scene::new(database).await;
        let (order, _) = scene.signed(&[1000]).await;
        scene.sale("7", po).await;
        let adopted = scene.adopt(("SERVICE_ORDER", "7"), &order, json!({})).await;
        assert_eq!(adopted["codes"], json!([]), "{adopted}");
        let [own, other] = [&scene.graph.accounts[0], &scene.graph.accounts[1]].map(|account| account.id);
        let seen = async || {
            let mut seen = Vec::new();
            for account in [own, other] {
                let rows = RowScope::Accounts(vec![account]);
                let auth = AuthContext { rows, ..AuthContext::system() };
                let found = scene.graph.data(auth, "{ adoptions(first: 5) { totalCount } }", json!({})).await;
                seen.push(found["adoptions"]["totalCount"].clone());
            }
            seen
        };
        assert_eq!(seen().await, [1, 0]);
        let decide = async |mutation: &str, input: Json| {
            let decided = scene.graph.decide(AuthContext::system(), mutation, "decision { kind }", input).await;
            assert_eq!(decided["codes"], json!([]), "{decided}");
        };
        decide("mergeRecords", json!({ "recordId": own, "intoId": other })).await;
        assert_eq!(seen().await, [0, 1]);
        decide("splitRecord", json!({ "recordId": own })).await;
        assert_eq!(seen().await, [1, 0]);
    })
    .await;
}
