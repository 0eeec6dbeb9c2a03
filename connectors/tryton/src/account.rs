//! Accounts: Tryton's parties.

use async_trait::async_trait;
use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::{
        integration::{Claim, Entity},
        pipeline::AccountClaim,
    },
};

use serde_json::{Value, json};

use crate::{
    mapping,
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
    type Wire = Party;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Party>, Fault> {
        paging::page(net, ask, Listing { model: MODEL, fields: FIELDS, domain: used_or_not() }).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Party>, Fault> {
        let fields = [&["create_date", "write_date"], FIELDS].concat();
        Row::read_one(Rest::of(net)?.read(MODEL, number(remote_id)?, &fields).await?)
    }

    fn key(&self, wire: &Party) -> RowKey {
        mapping::key(wire.stamp)
    }

    fn is_gone(&self, wire: &Party) -> bool {
        matches!(wire::value(&wire.active), Ok(Some(false)))
    }

    fn map(&self, wire: &Party, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
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
