//! Opportunities: Tryton's leads and opportunities.

use async_trait::async_trait;
use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable, Whole,
    domain::{
        integration::{Claim, Entity},
        pipeline::OpportunityClaim,
    },
};
use serde_json::json;

use crate::{
    custom, mapping,
    paging::{self, Listing},
    rest::{Rest, number},
    wire::Opportunity,
};

pub(crate) const MODEL: &str = "sale.opportunity";
const FIELDS: &[&str] = &["number", "description", "party", "state", "amount", "currency.code", "end_date"];

/// Reads opportunities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpportunityReader;

#[async_trait]
impl Reader for OpportunityReader {
    type Wire = Whole<Opportunity>;

    fn entity(&self) -> Entity {
        Entity::Opportunity
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Whole<Opportunity>>, Fault> {
        let domain = vec![json!(["company", "=", Rest::of(net)?.settings.company])];
        let asked = custom::asked(net, Entity::Opportunity, FIELDS)?;
        let fields: Vec<&str> = asked.iter().map(String::as_str).collect();
        paging::page(net, ask, Listing { model: MODEL, fields: &fields, domain }).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Whole<Opportunity>>, Fault> {
        let asked = custom::asked(net, Entity::Opportunity, FIELDS)?;
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let fields = [&["create_date", "write_date"], asked.as_slice()].concat();
        Row::read_one(Rest::of(net)?.read(MODEL, number(remote_id)?, &fields).await?)
    }

    fn key(&self, wire: &Whole<Opportunity>) -> RowKey {
        mapping::key(wire.stamp)
    }

    fn map(&self, wire: &Whole<Opportunity>, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        custom::read(settings, (Entity::Opportunity, wire), bag)?;
        let described = mapping::text(&wire.description);
        let name = match described {
            Ok(None) => bag.take("name", "number", mapping::text(&wire.number)),
            described => bag.take("name", "description", described),
        };
        let stage = mapping::native(&wire.state).map(|state| mapping::stage(settings, state));
        Ok(Claim::Opportunity(OpportunityClaim {
            name,
            account: bag.take("account", "party", mapping::reference(&wire.party)),
            native_stage: bag.take("native_stage", "state", mapping::text(&wire.state)),
            stage: bag.take("stage", "state", stage.unwrap_or(Ok(None))),
            amount: bag.take("amount", "amount", mapping::money(&wire.amount, &wire.currency)),
            close_on: bag.take("close_on", "end_date", mapping::day(&wire.end_date)),
        }))
    }
}
