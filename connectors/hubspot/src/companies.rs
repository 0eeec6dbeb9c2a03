//! Companies, which become accounts.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{
    mapping,
    search::{self, Object},
    wire::Company,
};

const COMPANIES: Object =
    Object { entity: Entity::Account, path: "companies", properties: &["name", "domain", "hs_lastmodifieddate"] };

/// Reads companies.
pub(crate) struct Companies;

#[async_trait::async_trait]
impl Reader for Companies {
    type Wire = Company;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Company>, Fault> {
        let (rows, more) = search::read_window(net, &COMPANIES, ask).await?;
        Ok(Page { rows: rows.into_iter().map(Row::read).collect(), more })
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Company>, Fault> {
        Row::read_one(search::read_one(net, &COMPANIES, remote_id, None).await?)
    }

    fn key(&self, company: &Company) -> RowKey {
        let version = company.properties.hs_lastmodifieddate.clone().or_else(|| company.updated_at.clone());
        RowKey { remote_id: company.id.clone(), version }
    }

    fn map(&self, company: &Company, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        mapping::account(company, settings, bag)
    }
}
