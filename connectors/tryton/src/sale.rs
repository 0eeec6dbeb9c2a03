//! Orders: Tryton's sales.

use async_trait::async_trait;
use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::{
        billing::OrderClaim,
        integration::{Claim, Entity},
    },
};
use serde_json::json;

use crate::{
    mapping,
    paging::{self, Listing},
    rest::{Rest, number},
    wire::Sale,
};

pub(crate) const MODEL: &str = "sale.sale";
const FIELDS: &[&str] =
    &["number", "reference", "description", "party", "state", "currency.code", "untaxed_amount", "sale_date"];

/// Reads sales, those that the hub placed among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SaleReader;

#[async_trait]
impl Reader for SaleReader {
    type Wire = Sale;

    fn entity(&self) -> Entity {
        Entity::ServiceOrder
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Sale>, Fault> {
        let domain = vec![json!(["company", "=", Rest::of(net)?.settings.company])];
        paging::page(net, ask, Listing { model: MODEL, fields: FIELDS, domain }).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Sale>, Fault> {
        let fields = [&["create_date", "write_date"], FIELDS].concat();
        Row::read_one(Rest::of(net)?.read(MODEL, number(remote_id)?, &fields).await?)
    }

    fn key(&self, wire: &Sale) -> RowKey {
        mapping::key(wire.stamp)
    }

    fn map(&self, wire: &Sale, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        let state = mapping::native(&wire.state).and_then(mapping::sale_state);
        Ok(Claim::ServiceOrder(OrderClaim {
            order: bag.take("order", "reference", mapping::hub_order(&wire.reference)),
            customer: bag.take("customer", "party", mapping::reference(&wire.party)),
            number: bag.take("number", "number", mapping::text(&wire.number)),
            reference: bag.take("reference", "reference", mapping::text(&wire.reference)),
            title: bag.take("title", "description", mapping::text(&wire.description)),
            native_status: bag.take("native_status", "state", mapping::text(&wire.state)),
            state: bag.take("state", "state", Ok::<_, String>(state)),
            total: bag.take("total", "untaxed_amount", mapping::money(&wire.untaxed_amount, &wire.currency)),
            ordered_on: bag.take("ordered_on", "sale_date", mapping::day(&wire.sale_date)),
        }))
    }
}
