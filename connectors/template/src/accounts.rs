//! Accounts.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{mapping, paging, wire::Account};

pub(crate) const LIST: &str = "accounts";

/// Reads accounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts;

#[async_trait::async_trait]
impl Reader for Accounts {
    type Wire = Account;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Account>, Fault> {
        paging::page(net, ask, LIST).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Account>, Fault> {
        paging::one(net, LIST, remote_id).await
    }

    fn key(&self, wire: &Account) -> RowKey {
        RowKey { remote_id: wire.id.clone(), version: Some(wire.changed_at.to_string()) }
    }

    fn is_gone(&self, wire: &Account) -> bool {
        wire.deleted
    }

    fn map(&self, wire: &Account, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        Ok(Claim::Account(mapping::account(wire, bag)))
    }
}
