//! Accounts: Tryton's parties.

use async_trait::async_trait;
use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable, Whole,
    domain::{
        integration::{Claim, Entity},
        pipeline::AccountClaim,
    },
};

use serde_json::{Value, json};

use crate::{
    custom, mapping,
    paging::{self, Listing},
    rest::{Rest, number},
    wire::{self, Party},
};

pub(crate) const MODEL: &str = "party.party";
const FIELDS: &[&str] = &["code", "name", "website", "email", "active"];

/// Reads parties.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountReader;

#[async_trait]
impl Reader for AccountReader {
    type Wire = Whole<Party>;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Whole<Party>>, Fault> {
        let asked = custom::asked(net, Entity::Account, FIELDS)?;
        let fields: Vec<&str> = asked.iter().map(String::as_str).collect();
        paging::page(net, ask, Listing { model: MODEL, fields: &fields, domain: used_or_not() }).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Whole<Party>>, Fault> {
        let asked = custom::asked(net, Entity::Account, FIELDS)?;
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let fields = [&["create_date", "write_date"], asked.as_slice()].concat();
        Row::read_one(Rest::of(net)?.read(MODEL, number(remote_id)?, &fields).await?)
    }

    fn key(&self, wire: &Whole<Party>) -> RowKey {
        mapping::key(wire.stamp)
    }

    fn is_gone(&self, wire: &Whole<Party>) -> bool {
        matches!(wire::value(&wire.active), Ok(Some(false)))
    }

    fn map(&self, wire: &Whole<Party>, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        custom::read(settings, (Entity::Account, wire), bag)?;
        Ok(Claim::Account(AccountClaim {
            account: bag.take("account", "code", mapping::hub_account(&wire.code)),
            name: bag.take("name", "name", mapping::text(&wire.name)),
            domain: bag.take("domain", "website", mapping::domain(&wire.website)),
            billing_email: bag.take("billing_email", "email", mapping::text(&wire.email)),
        }))
    }
}

/// Tryton hides what is not in use, unless the domain speaks of it.
fn used_or_not() -> Vec<Value> {
    vec![json!(["active", "in", [true, false]])]
}
