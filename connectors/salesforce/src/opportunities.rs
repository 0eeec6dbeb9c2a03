//! Opportunities, which keep their name.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{mapping, paging, query::Object, wire::Record};

pub(crate) const OPPORTUNITIES: Object = Object {
    entity: Entity::Opportunity,
    name: "Opportunity",
    fields: &[
        "Id",
        "Name",
        "AccountId",
        "StageName",
        "IsClosed",
        "IsWon",
        "Amount",
        "CloseDate",
        "IsDeleted",
        "SystemModstamp",
    ],
};

/// Reads opportunities.
pub(crate) struct Opportunities;

#[async_trait::async_trait]
impl Reader for Opportunities {
    type Wire = Record;

    fn entity(&self) -> Entity {
        Entity::Opportunity
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Record>, Fault> {
        paging::read_page(net, &OPPORTUNITIES, ask).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Record>, Fault> {
        paging::read_one(net, &OPPORTUNITIES, remote_id).await
    }

    fn key(&self, opportunity: &Record) -> RowKey {
        opportunity.key()
    }

    fn is_gone(&self, opportunity: &Record) -> bool {
        opportunity.is_deleted
    }

    fn map(&self, opportunity: &Record, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        mapping::opportunity(opportunity, settings, bag)
    }
}
