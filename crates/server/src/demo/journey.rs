//! The main job, checked by itself: an opportunity in the CRM becomes a paid invoice.

use std::time::Instant;

use crosstie_sdk::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    QUERIES,
    client::{Client, until},
    fill::{ACCEPT, SIGN, create_company, create_deal, create_sow, text},
};
use crate::commands::CommandError;

/// How the journey went.
#[derive(Default)]
pub(super) struct Report {
    pub(super) passed: usize,
    pub(super) failed: usize,
}

/// What later steps need of earlier ones.
#[derive(Default)]
struct Trip {
    opportunity: String,
    sow: String,
    milestones: Vec<String>,
    order: String,
    invoice: String,
    billing_invoice: String,
}

/// Runs all steps; one that fails ends the journey.
pub(super) async fn run(client: &Client) -> Report {
    let mut report = Report::default();
    let mut trip = Trip::default();
    let query = "subscription { entityChanged { eventId event type recordId } }";
    let mut changes = match client.subscribe(query).await {
        Ok(changes) => changes,
        Err(error) => {
            println!("FAILED the subscription could not be opened: {error}");
            return Report { passed: 0, failed: 1 };
        }
    };
    for step in 1..=6 {
        let evidence = match step {
            1 => opportunity_arrives(client, &mut trip).await,
            2 => sow_is_signed(client, &mut trip).await,
            3 => order_is_acknowledged(client, &mut trip).await,
            4 => milestone_is_invoiced(client, &mut trip).await,
            5 => payment_comes_back(client, &trip, &mut changes).await,
            _ => queries_answer(client).await,
        };
        match evidence {
            Ok(evidence) => {
                println!("ok {step}. {evidence}");
                report.passed += 1;
            }
            Err(error) => {
                println!("FAILED {step}. {error}");
                report.failed += 1;
                break;
            }
        }
    }
    report
}

async fn opportunity_arrives(client: &Client, trip: &mut Trip) -> Result<String, CommandError> {
    let company = create_company(client, "Juniper Robotics", "juniper.example").await?;
    let deal = create_deal(client, &company, "Juniper: rollout", "appointmentscheduled", "48000.00").await?;
    let patch = json!({ "properties": { "dealstage": "qualifiedtobuy" } });
    let asked = Instant::now();
    client.hubspot(Method::Patch, &format!("/crm/v3/objects/deals/{deal}"), &patch).await?;
    let query = "{ opportunities(first: 5, filter: {name: {eq: \"Juniper: rollout\"}, stage: {eq: SCOPING}}, \
                 orderBy: [{field: UPDATED_AT, direction: DESC}]) { nodes { id stage nativeStage amount { amount \
                 currency } account { name } sources { connection { name } remoteId observedAt } } } }";
    let found = until("the opportunity", async || {
        let data = client.graphql(query, json!({})).await?;
        let nodes = data["opportunities"]["nodes"].as_array().cloned().unwrap_or_default();
        Ok(nodes.into_iter().find(|node| node["sources"][0]["remoteId"] == json!(deal)))
    })
    .await?;
    let waited = asked.elapsed().as_millis();
    expect(&found["account"]["name"], &json!("Juniper Robotics"), "account")?;
    expect(&found["amount"], &json!({ "amount": "48000.00", "currency": "USD" }), "amount")?;
    expect(&found["sources"][0]["connection"]["name"], &json!("hubspot"), "source")?;
    trip.opportunity = text(&found["id"]);
    Ok(format!(
        "deal {deal} reached its stage in HubSpot; after {waited} ms the hub shows {} as SCOPING (native \
         qualifiedtobuy), 48000.00 USD, Juniper Robotics, said by hubspot",
        trip.opportunity
    ))
}

async fn sow_is_signed(client: &Client, trip: &mut Trip) -> Result<String, CommandError> {
    let refused = [
        ("REQUIRED", "48000.00", vec![]),
        ("CURRENCY_MISMATCH", "48000.00", vec![("Pilot", "20000.00", "USD"), ("Go-live", "28000.00", "EUR")]),
        ("INVALID", "48000.00", vec![("Pilot", "20000.00", "USD")]),
    ];
    for (code, total, milestones) in &refused {
        let draft = create_sow(client, &trip.opportunity, ("To be refused", total), milestones).await?;
        let id = text(&draft["sow"]["id"]);
        let payload = client.graphql(SIGN, json!({ "input": { "sowId": id } })).await?["signSow"].clone();
        expect(&payload["userErrors"][0]["code"], &json!(code), "refusal")?;
        expect(&payload["sow"], &Value::Null, "a refused signature")?;
    }
    let lines = [("Pilot", "20000.00", "USD"), ("Go-live", "28000.00", "USD")];
    let draft = create_sow(client, &trip.opportunity, ("Juniper rollout", "48000.00"), &lines).await?;
    expect(&draft["userErrors"], &json!([]), "user errors of the draft")?;
    trip.sow = text(&draft["sow"]["id"]);
    let milestones = draft["sow"]["milestones"].as_array().cloned().unwrap_or_default();
    trip.milestones = milestones.iter().map(|milestone| text(&milestone["id"])).collect();
    let stale = json!({ "input": { "sowId": trip.sow, "expectedVersion": 7 } });
    let payload = client.graphql(SIGN, stale).await?["signSow"].clone();
    expect(&payload["userErrors"][0]["code"], &json!("CONFLICT"), "a stale signature")?;
    let input =
        json!({ "input": { "sowId": trip.sow, "expectedVersion": 1, "idempotencyKey": format!("sign-{}", trip.sow) } });
    let first = client.graphql(SIGN, input.clone()).await?["signSow"].clone();
    let again = client.graphql(SIGN, input).await?["signSow"].clone();
    expect(&first["userErrors"], &json!([]), "user errors of the signature")?;
    expect(&again["sow"]["serviceOrder"]["id"], &first["sow"]["serviceOrder"]["id"], "a repeated signature")?;
    trip.order = text(&first["sow"]["serviceOrder"]["id"]);
    Ok(format!(
        "{} signed; refused before: no lines REQUIRED, two currencies CURRENCY_MISMATCH, wrong total INVALID, stale \
         version CONFLICT; the same idempotency key gave the same order",
        trip.sow
    ))
}

async fn order_is_acknowledged(client: &Client, trip: &mut Trip) -> Result<String, CommandError> {
    let query = "query($id: ID!) { serviceOrder(id: $id) { status billingReference sow { status } } }";
    let order = until("the acknowledgment", async || {
        let data = client.graphql(query, json!({ "id": trip.order })).await?;
        Ok((data["serviceOrder"]["status"] == json!("ACKED")).then(|| data["serviceOrder"].clone()))
    })
    .await?;
    expect(&order["sow"]["status"], &json!("ACTIVE"), "status of the statement of work")?;
    let reference = text(&order["billingReference"]);
    let product = client.stripe(Method::Get, &format!("/v1/products/{reference}"), "").await?;
    expect(&product["metadata"]["crosstie_order"], &json!(trip.order), "the order at billing")?;
    Ok(format!("{} is ACKED as {reference} at Stripe, and the statement of work ACTIVE", trip.order))
}

async fn milestone_is_invoiced(client: &Client, trip: &mut Trip) -> Result<String, CommandError> {
    let milestone = trip.milestones.first().cloned().unwrap_or_default();
    let payload = client.graphql(ACCEPT, json!({ "input": { "milestoneId": milestone } })).await?;
    expect(&payload["acceptMilestone"]["userErrors"], &json!([]), "user errors of the acceptance")?;
    let again = client.graphql(ACCEPT, json!({ "input": { "milestoneId": milestone } })).await?;
    let code = &again["acceptMilestone"]["userErrors"][0]["code"];
    expect(code, &json!("INVALID_TRANSITION"), "a second acceptance")?;
    let query = "query($id: ID!) { serviceOrder(id: $id) { status invoices(first: 5) { nodes { id status number \
                 billingReference total { amount currency } } } } }";
    let order = until("the invoice", async || {
        let data = client.graphql(query, json!({ "id": trip.order })).await?;
        // The order is read before its invoices: what commits between the two shows in the latter alone.
        let order = &data["serviceOrder"];
        let is_issued = order["invoices"]["nodes"][0]["status"] == json!("OPEN");
        Ok((is_issued && order["status"] != json!("ACKED")).then(|| order.clone()))
    })
    .await?;
    let invoice = &order["invoices"]["nodes"][0];
    expect(&order["status"], &json!("PARTIALLY_BILLED"), "status of the order")?;
    expect(&invoice["total"], &json!({ "amount": "20000.00", "currency": "USD" }), "total of the invoice")?;
    trip.invoice = text(&invoice["id"]);
    trip.billing_invoice = text(&invoice["billingReference"]);
    let listed = client.stripe(Method::Get, "/v1/invoices?limit=100", "").await?;
    let listed = listed["data"].as_array().cloned().unwrap_or_default();
    let ours = listed.iter().filter(|one| one["metadata"]["crosstie_milestone"] == json!(milestone)).count();
    expect(&json!(ours), &json!(1), "invoices at billing for the milestone")?;
    Ok(format!(
        "{milestone} accepted; Stripe holds exactly one invoice for it, {} ({}), 20000.00 USD, OPEN",
        trip.billing_invoice,
        text(&invoice["number"])
    ))
}

async fn payment_comes_back(
    client: &Client,
    trip: &Trip,
    changes: &mut UnboundedReceiver<Value>,
) -> Result<String, CommandError> {
    let path = format!("/v1/invoices/{}/pay", trip.billing_invoice);
    client.stripe(Method::Post, &path, "paid_out_of_band=true").await?;
    let query = "query($id: ID!) { invoice(id: $id) { status amountPaid { amount } milestone { billing } } }";
    let invoice = until("the payment", async || {
        let data = client.graphql(query, json!({ "id": trip.invoice })).await?;
        Ok((data["invoice"]["status"] == json!("PAID")).then(|| data["invoice"].clone()))
    })
    .await?;
    expect(&invoice["milestone"]["billing"], &json!("PAID"), "billing state of the milestone")?;
    let wanted = [
        ("opportunity_appeared", &trip.opportunity),
        ("sow_signed", &trip.sow),
        ("service_order_acknowledged", &trip.order),
        ("invoice_requested", &trip.invoice),
        ("invoice_changed", &trip.invoice),
    ];
    let (mut heard, mut positions) = (Vec::new(), Vec::new());
    until("the changes on the subscription", async || {
        while let Ok(result) = changes.try_recv() {
            let change = &result["data"]["entityChanged"];
            heard.push((text(&change["event"]), text(&change["recordId"])));
            positions.push(text(&change["eventId"]).parse::<i64>().unwrap_or(0));
        }
        let paid = heard.iter().any(|(event, _)| event == "milestone_paid");
        let all = wanted.iter().all(|(event, id)| heard.iter().any(|(name, of)| name == event && of == *id));
        Ok((paid && all).then_some(()))
    })
    .await?;
    let gaps = positions.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    expect(&json!(gaps), &json!(0), "gaps between the positions of the changes")?;
    Ok(format!(
        "paid at Stripe, {} is PAID here; the subscription that was open since step 1 heard {} changes without a gap",
        trip.invoice,
        heard.len()
    ))
}

async fn queries_answer(client: &Client) -> Result<String, CommandError> {
    for query in QUERIES {
        client.graphql(query, json!({})).await?;
    }
    Ok("the three queries worth pasting answer without errors".to_owned())
}

fn expect(found: &Value, expected: &Value, what: &str) -> Result<(), CommandError> {
    if found == expected { Ok(()) } else { Err(format!("{what}: expected {expected}, found {found}").into()) }
}
