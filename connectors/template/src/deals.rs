//! Deals, which are opportunities.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{TemplateSettings, mapping, paging, wire::Deal};

const LIST: &str = "deals";

/// Reads deals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deals;

#[async_trait::async_trait]
impl Reader for Deals {
    type Wire = Deal;

    fn entity(&self) -> Entity {
        Entity::Opportunity
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Deal>, Fault> {
        paging::page(net, ask, LIST).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Deal>, Fault> {
        paging::one(net, LIST, remote_id).await
    }

    fn key(&self, wire: &Deal) -> RowKey {
        RowKey { remote_id: wire.id.clone(), version: Some(wire.changed_at.to_string()) }
    }

    fn is_gone(&self, wire: &Deal) -> bool {
        wire.deleted
    }

    fn map(&self, wire: &Deal, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        let TemplateSettings { currency } = settings.read()?;
        Ok(Claim::Opportunity(mapping::deal(wire, currency, bag)))
    }
}
