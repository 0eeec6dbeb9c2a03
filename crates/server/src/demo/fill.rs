//! A small services organization: companies and deals made in the CRM, contracts made by the API.

use crosstie_sdk::Method;
use serde_json::{Value, json};

use super::client::{Client, until};
use crate::commands::CommandError;

/// Company, domain, deal, stage, amount in US dollars.
const DEALS: [(&str, &str, &str, &str, &str); 6] = [
    ("Acme Ltd", "acme.example", "Acme: platform rollout", "contractsent", "120000.00"),
    ("Borealis AG", "borealis.example", "Borealis: data migration", "presentationscheduled", "64000.00"),
    ("Cinder & Sons", "cinder.example", "Cinder: integration services", "qualifiedtobuy", "38500.00"),
    ("Delta Freight", "delta.example", "Delta: training program", "appointmentscheduled", "12000.00"),
    ("Eastwind Energy", "eastwind.example", "Eastwind: premium support", "decisionmakerboughtin", "90000.00"),
    ("Foxglove Health", "foxglove.example", "Foxglove: assessment", "closedlost", "8000.00"),
];

/// Fills an organization that is empty; leaves one that is not as it is.
pub(super) async fn fill(client: &Client) -> Result<(), CommandError> {
    if opportunity_count(client).await? > 0 {
        return Ok(());
    }
    for (company, domain, deal, stage, amount) in DEALS {
        let company = create_company(client, company, domain).await?;
        create_deal(client, &company, deal, stage, amount).await?;
    }
    let wanted = i64::try_from(DEALS.len()).unwrap_or(i64::MAX);
    until("the deals", async || Ok((opportunity_count(client).await? >= wanted).then_some(()))).await?;
    let first = opportunity(client, DEALS[0].2).await?;
    let sow = create_sow(
        client,
        &first,
        ("Platform rollout", "120000.00"),
        &[("Blueprint", "30000.00", "USD"), ("Pilot", "50000.00", "USD"), ("Go-live", "40000.00", "USD")],
    )
    .await?;
    let id = text(&sow["sow"]["id"]);
    client.graphql(SIGN, json!({ "input": { "sowId": id, "poNumber": "PO-1001" } })).await?;
    let milestone = text(&sow["sow"]["milestones"][0]["id"]);
    client.graphql(ACCEPT, json!({ "input": { "milestoneId": milestone } })).await?;
    Ok(())
}

pub(super) const SIGN: &str = "mutation($input: SignSowInput!) { signSow(input: $input) { sow { id status version \
    serviceOrder { id status } } blocked { missing } userErrors { field message code } } }";
pub(super) const ACCEPT: &str = "mutation($input: AcceptMilestoneInput!) { acceptMilestone(input: $input) \
    { milestone { id acceptance billing } userErrors { field message code } } }";
const CREATE: &str = "mutation($input: CreateSowInput!) { createSow(input: $input) { sow { id version status \
    milestones { id name } } userErrors { field message code } } }";

pub(super) async fn create_company(client: &Client, name: &str, domain: &str) -> Result<String, CommandError> {
    let body = json!({ "properties": { "name": name, "domain": domain } });
    Ok(text(&client.hubspot(Method::Post, "/crm/v3/objects/companies", &body).await?["id"]))
}

pub(super) async fn create_deal(
    client: &Client,
    company: &str,
    name: &str,
    stage: &str,
    amount: &str,
) -> Result<String, CommandError> {
    let body = json!({
        "properties": {
            "dealname": name, "dealstage": stage, "amount": amount, "deal_currency_code": "USD", "pipeline": "default",
            "closedate": "2027-03-31T00:00:00Z",
        },
        "associations": [{
            "to": { "id": company },
            "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5 }],
        }],
    });
    Ok(text(&client.hubspot(Method::Post, "/crm/v3/objects/deals", &body).await?["id"]))
}

/// Drafts a statement of work through billing; returns the payload.
pub(super) async fn create_sow(
    client: &Client,
    opportunity: &str,
    (title, total): (&str, &str),
    milestones: &[(&str, &str, &str)],
) -> Result<Value, CommandError> {
    let query = "{ connections(first: 10, filter: {connector: {eq: \"stripe\"}}) { nodes { id name } } }";
    let connections = client.graphql(query, json!({})).await?;
    let milestones: Vec<Value> = milestones
        .iter()
        .map(|(name, amount, currency)| json!({ "name": name, "amount": { "amount": amount, "currency": currency } }))
        .collect();
    let input = json!({
        "opportunityId": opportunity, "billingConnectionId": connections["connections"]["nodes"][0]["id"],
        "title": title, "total": { "amount": total, "currency": "USD" }, "milestones": milestones,
    });
    Ok(client.graphql(CREATE, json!({ "input": input })).await?["createSow"].clone())
}

async fn opportunity_count(client: &Client) -> Result<i64, CommandError> {
    let data = client.graphql("{ opportunities(first: 1) { totalCount } }", json!({})).await?;
    Ok(data["opportunities"]["totalCount"].as_i64().unwrap_or(0))
}

async fn opportunity(client: &Client, name: &str) -> Result<String, CommandError> {
    let query = "query($name: String!) { opportunities(first: 1, filter: {name: {eq: $name}}) { nodes { id } } }";
    let data = client.graphql(query, json!({ "name": name })).await?;
    Ok(text(&data["opportunities"]["nodes"][0]["id"]))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
