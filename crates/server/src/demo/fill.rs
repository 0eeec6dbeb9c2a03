//! A small services organization: companies and deals made in the CRM, contracts made by the API.

use crosstie_sdk::Method;
use serde_json::{Value, json};

use super::client::{Client, until};
use crate::commands::CommandError;

/// A deal in the CRM, with the company that may buy.
struct Deal {
    company: &'static str,
    domain: &'static str,
    name: &'static str,
    stage: &'static str,
    /// In US dollars.
    amount: &'static str,
}

const DEALS: [Deal; 6] = [
    Deal {
        company: "Acme Ltd",
        domain: "acme.example",
        name: "Acme: platform rollout",
        stage: "contractsent",
        amount: "120000.00",
    },
    Deal {
        company: "Borealis AG",
        domain: "borealis.example",
        name: "Borealis: data migration",
        stage: "presentationscheduled",
        amount: "64000.00",
    },
    Deal {
        company: "Cinder & Sons",
        domain: "cinder.example",
        name: "Cinder: integration services",
        stage: "qualifiedtobuy",
        amount: "38500.00",
    },
    Deal {
        company: "Delta Freight",
        domain: "delta.example",
        name: "Delta: training program",
        stage: "appointmentscheduled",
        amount: "12000.00",
    },
    Deal {
        company: "Eastwind Energy",
        domain: "eastwind.example",
        name: "Eastwind: premium support",
        stage: "decisionmakerboughtin",
        amount: "90000.00",
    },
    Deal {
        company: "Foxglove Health",
        domain: "foxglove.example",
        name: "Foxglove: assessment",
        stage: "closedlost",
        amount: "8000.00",
    },
];

/// The milestones of the statement of work that the first deal leads to.
const MILESTONES: [(&str, &str, &str); 3] =
    [("Blueprint", "30000.00", "USD"), ("Pilot", "50000.00", "USD"), ("Go-live", "40000.00", "USD")];
const TITLE: &str = "Platform rollout";

/// Fills the organization. Each step looks first whether it was done before, so that a fill that was cut off goes on.
pub(super) async fn fill(client: &Client) -> Result<(), CommandError> {
    for deal in &DEALS {
        if opportunity(client, deal.name).await?.is_none() {
            tell_of(client, deal).await?;
        }
    }
    let mut opportunities = Vec::new();
    for deal in &DEALS {
        opportunities.push(until(deal.name, async || opportunity(client, deal.name).await).await?);
    }
    let first = &opportunities[0];
    let sow = match sow(client, first).await? {
        Some(sow) => sow,
        None => {
            let payload = create_sow(client, first, (TITLE, DEALS[0].amount), &MILESTONES).await?;
            granted(&payload)?;
            payload["sow"].clone()
        }
    };
    if sow["status"] == json!("DRAFT") {
        let input = json!({ "input": { "sowId": sow["id"], "poNumber": "PO-1001" } });
        granted(&client.graphql(SIGN, input).await?["signSow"])?;
    }
    let milestone = &sow["milestones"][0];
    if milestone["acceptance"] == json!("PLANNED") {
        let input = json!({ "input": { "milestoneId": milestone["id"] } });
        granted(&client.graphql(ACCEPT, input).await?["acceptMilestone"])?;
    }
    Ok(())
}

/// Makes a deal in the CRM, or changes the one that is there, so that the CRM tells the hub of it.
async fn tell_of(client: &Client, deal: &Deal) -> Result<(), CommandError> {
    if let Some(id) = in_crm(client, "deals", ("dealname", deal.name)).await? {
        let patch = json!({ "properties": { "dealstage": deal.stage } });
        client.hubspot(Method::Patch, &format!("/crm/v3/objects/deals/{id}"), &patch).await?;
        return Ok(());
    }
    let company = match in_crm(client, "companies", ("domain", deal.domain)).await? {
        Some(id) => id,
        None => create_company(client, deal.company, deal.domain).await?,
    };
    create_deal(client, &company, deal.name, deal.stage, deal.amount).await?;
    Ok(())
}

/// The object in the CRM of which a property has this value.
async fn in_crm(client: &Client, kind: &str, (property, value): (&str, &str)) -> Result<Option<String>, CommandError> {
    let filter = json!({ "propertyName": property, "operator": "EQ", "value": value });
    let body = json!({ "filterGroups": [{ "filters": [filter] }], "limit": 1 });
    let found = client.hubspot(Method::Post, &format!("/crm/v3/objects/{kind}/search"), &body).await?;
    Ok(found["results"][0]["id"].as_str().map(str::to_owned))
}

/// An error when a mutation was refused.
fn granted(payload: &Value) -> Result<(), CommandError> {
    match payload["userErrors"].as_array() {
        Some(errors) if errors.is_empty() => Ok(()),
        _ => Err(format!("the hub refused: {payload}").into()),
    }
}

pub(super) const SIGN: &str = "mutation($input: SignSowInput!) { signSow(input: $input) { sow { id status version \
    serviceOrder { id status } } blocked { missing } userErrors { field message code } } }";
pub(super) const ACCEPT: &str = "mutation($input: AcceptMilestoneInput!) { acceptMilestone(input: $input) \
    { milestone { id acceptance billing } userErrors { field message code } } }";
const CREATE: &str = "mutation($input: CreateSowInput!) { createSow(input: $input) { sow { id version status \
    milestones { id name acceptance } } userErrors { field message code } } }";

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

async fn opportunity(client: &Client, name: &str) -> Result<Option<String>, CommandError> {
    let query = "query($name: String!) { opportunities(first: 1, filter: {name: {eq: $name}}) { nodes { id } } }";
    let data = client.graphql(query, json!({ "name": name })).await?;
    Ok(data["opportunities"]["nodes"][0]["id"].as_str().map(str::to_owned))
}

/// The statement of work of the demo that came from this opportunity.
async fn sow(client: &Client, opportunity: &str) -> Result<Option<Value>, CommandError> {
    let query = "query($id: ID!) { sows(first: 100, filter: {opportunityId: {eq: $id}}) { nodes { id title status \
                 milestones { id acceptance } } } }";
    let data = client.graphql(query, json!({ "id": opportunity })).await?;
    let nodes = data["sows"]["nodes"].as_array().cloned().unwrap_or_default();
    Ok(nodes.into_iter().find(|sow| sow["title"] == json!(TITLE)))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
