//! Deals, which become opportunities.

use std::collections::BTreeMap;

use crosstie_sdk::{
    Ask, Bag, Call, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};
use serde_json::{Value, json};

use crate::{
    mapping, refusal,
    search::{self, Object},
    wire::{AssociationType, Associations, Deal, id_text},
};

const DEALS: Object = Object {
    entity: Entity::Opportunity,
    path: "deals",
    properties: &[
        "dealname",
        "amount",
        "dealstage",
        "pipeline",
        "closedate",
        "deal_currency_code",
        "hs_lastmodifieddate",
    ],
};

/// Where the chosen company is kept in a row, so that a row that was kept can be mapped again without asking.
pub(crate) const ASSOCIATED_COMPANY: &str = "associated_company";

/// The kind of association that HubSpot defines from a deal to its primary company.
const PRIMARY_COMPANY_TYPE: i64 = 5;
/// The same kind under its older name.
const PRIMARY_COMPANY_NAME: &str = "deal_to_company";

/// Reads deals.
pub(crate) struct Deals;

#[async_trait::async_trait]
impl Reader for Deals {
    type Wire = Deal;

    fn entity(&self) -> Entity {
        Entity::Opportunity
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Deal>, Fault> {
        let (mut rows, more) = search::read_window(net, &DEALS, ask).await?;
        let companies = companies_of(net, &rows).await?;
        for row in &mut rows {
            let company = row.get("id").and_then(id_text).and_then(|id| companies.get(&id).cloned());
            put_company(row, company);
        }
        Ok(Page { rows: rows.into_iter().map(Row::read).collect(), more })
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Deal>, Fault> {
        let mut row = search::read_one(net, &DEALS, remote_id, Some("companies")).await?;
        let links = row.pointer("/associations/companies/results").and_then(Value::as_array);
        let company = choose(links.into_iter().flatten().filter_map(|link| {
            let is_primary = link.get("type").and_then(Value::as_str) == Some(PRIMARY_COMPANY_NAME);
            Some((id_text(link.get("id")?)?, is_primary))
        }));
        put_company(&mut row, company);
        Row::read_one(row)
    }

    fn key(&self, deal: &Deal) -> RowKey {
        let version = deal.properties.hs_lastmodifieddate.clone().or_else(|| deal.updated_at.clone());
        RowKey { remote_id: deal.id.clone(), version }
    }

    fn map(&self, deal: &Deal, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        mapping::opportunity(deal, settings, bag)
    }
}

/// The company of each deal that has one. A search cannot tell associations.
async fn companies_of(net: &Net, rows: &[Value]) -> Result<BTreeMap<String, String>, Fault> {
    let ids = rows.iter().filter_map(|row| row.get("id").and_then(id_text));
    let inputs: Vec<Value> = ids.map(|id| json!({ "id": id })).collect();
    if inputs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let call = Call::post("/crm/v4/associations/deals/companies/batch/read").json(&json!({ "inputs": inputs }));
    let answer: Associations = net.send(call.repeatable()).await?.json_or(refusal::explain)?;
    refusal::of_batch(answer.errors)?;
    let chosen = answer.results.into_iter().filter_map(|of| {
        let links = of
            .to
            .into_iter()
            .filter_map(|to| Some((id_text(&to.to_object_id)?, to.association_types.iter().any(is_primary))));
        Some((id_text(&of.from.id)?, choose(links)?))
    });
    Ok(chosen.collect())
}

fn is_primary(kind: &AssociationType) -> bool {
    let by_type = kind.category.as_deref() == Some("HUBSPOT_DEFINED") && kind.type_id == Some(PRIMARY_COMPANY_TYPE);
    by_type || kind.label.as_deref().is_some_and(|label| label.eq_ignore_ascii_case("primary"))
}

/// The primary company, otherwise the one with the lowest id, so that every reading chooses the same.
fn choose(links: impl Iterator<Item = (String, bool)>) -> Option<String> {
    let chosen = links.min_by_key(|(id, is_primary)| (!is_primary, id.len(), id.clone()));
    chosen.map(|(id, _)| id)
}

fn put_company(row: &mut Value, company: Option<String>) {
    if let Some(row) = row.as_object_mut() {
        row.insert(ASSOCIATED_COMPANY.to_owned(), json!(company));
    }
}
