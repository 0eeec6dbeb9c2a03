//! Accounts, which keep their name.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{mapping, paging, query::Object, wire::Record};

pub(crate) const ACCOUNTS: Object = Object {
    entity: Entity::Account,
    name: "Account",
    fields: &["Id", "Name", "Website", "IsDeleted", "MasterRecordId", "SystemModstamp"],
};

/// Reads accounts.
pub(crate) struct Accounts;

#[async_trait::async_trait]
impl Reader for Accounts {
    type Wire = Record;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Record>, Fault> {
        paging::read_page(net, &ACCOUNTS, ask).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Record>, Fault> {
        paging::read_one(net, &ACCOUNTS, remote_id).await
    }

    fn key(&self, account: &Record) -> RowKey {
        account.key()
    }

    fn is_gone(&self, account: &Record) -> bool {
        account.is_deleted
    }

    fn map(&self, account: &Record, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        mapping::account(account, settings, bag)
    }
}
