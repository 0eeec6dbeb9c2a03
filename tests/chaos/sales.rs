//! Sales: a deal becomes an order and an invoice, and its customer gets another name.

use crosstie_sdk::{FakeVendor, HttpRequest, Method};
use serde_json::{Value as Json, json};

use crate::{vendors::now, wait_for, world::World};

/// What was sold, and must be found everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Sold {
    /// The name of deal and order.
    pub(crate) name: String,
    /// The service order.
    pub(crate) order: String,
    /// The accepted milestone.
    pub(crate) milestone: String,
}

impl Sold {
    /// The name that the customer has in the end.
    pub(crate) fn customer(&self) -> String {
        format!("{} renamed", self.name)
    }
}

impl World {
    /// Brings one deal from HubSpot to an accepted milestone, and gives the company another name.
    pub(crate) async fn sell(&self, name: String) -> Sold {
        let properties = json!({ "properties": { "name": name } });
        let company = self.hubspot(Method::Post, "/crm/v3/objects/companies", &properties);
        let deal = json!({
            "properties": {
                "dealname": name, "dealstage": "closedwon", "amount": "300.00", "deal_currency_code": "USD",
                "pipeline": "default",
            },
            "associations": [{
                "to": { "id": company },
                "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5 }],
            }],
        });
        self.hubspot(Method::Post, "/crm/v3/objects/deals", &deal);
        let query = "query($name: String!) { opportunities(first: 1, filter: { name: { eq: $name } }) \
                     { nodes { id account { id } } } }";
        let opportunity = wait_for("the opportunity", async || {
            let found = self.ask(query, &json!({ "name": name })).await["opportunities"]["nodes"][0].clone();
            if found["account"]["id"].is_string() { Ok(found["id"].clone()) } else { Err(found.to_string()) }
        })
        .await;
        let billing = self.connection("stripe").await;
        let usd = |amount: &str| json!({ "amount": amount, "currency": "USD" });
        let input = json!({
            "opportunityId": opportunity, "billingConnectionId": billing, "title": name,
            "total": usd("300.00"), "idempotencyKey": format!("create-{name}"),
            "milestones": [{ "name": "One", "amount": usd("100.00") }, { "name": "Two", "amount": usd("200.00") }],
        });
        let sow = self.decide("createSow", "sow { id milestones { id } }", input).await["sow"].clone();
        let input = json!({ "sowId": sow["id"], "idempotencyKey": format!("sign-{name}") });
        let signed = self.decide("signSow", "sow { serviceOrder { id } }", input).await;
        let milestone = sow["milestones"][0]["id"].clone();
        let input = json!({ "milestoneId": milestone, "idempotencyKey": format!("accept-{name}") });
        self.decide("acceptMilestone", "milestone { id }", input).await;
        let text = |value: &Json| value.as_str().expect("an id").to_owned();
        let (order, milestone) = (text(&signed["sow"]["serviceOrder"]["id"]), text(&milestone));
        let sold = Sold { name, order, milestone };
        let properties = json!({ "properties": { "name": sold.customer() } });
        self.hubspot(Method::Patch, &format!("/crm/v3/objects/companies/{company}"), &properties);
        sold
    }

    /// Asks HubSpot as a salesperson; the id of the record.
    fn hubspot(&self, method: Method, path: &str, body: &Json) -> String {
        let headers = vec![("authorization".to_owned(), "Bearer operator".to_owned())];
        let (url, body) = (format!("https://hubspot.example{path}"), body.to_string().into_bytes());
        let request = HttpRequest { method, url, headers, body };
        let answer = self.hubspot.vendor().respond(&request, now());
        assert!((200..300).contains(&answer.status), "{}", String::from_utf8_lossy(&answer.body));
        let record: Json = serde_json::from_slice(&answer.body).expect("JSON");
        record["id"].as_str().expect("an id").to_owned()
    }
}
