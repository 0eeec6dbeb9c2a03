//! Reads customers, which the hub knows as accounts.

use crosstie_sdk::{
    Ask, Bag, Fault, Net, Page, Reader, Row, RowKey, Settings, Unmappable,
    domain::integration::{Claim, Entity},
};

use crate::{items::StripeSettings, listing::Collection, mapping, wire::Customer};

const CUSTOMERS: Collection =
    Collection { name: "customers", event_types: &["customer.created", "customer.updated", "customer.deleted"] };

pub(crate) struct Customers;

#[async_trait::async_trait]
impl Reader for Customers {
    type Wire = Customer;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Customer>, Fault> {
        CUSTOMERS.page(net, ask).await
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Customer>, Fault> {
        CUSTOMERS.one(net, remote_id).await
    }

    fn key(&self, wire: &Customer) -> RowKey {
        RowKey { remote_id: wire.id.clone(), version: Some(mapping::customer_version(wire)) }
    }

    fn is_gone(&self, wire: &Customer) -> bool {
        wire.deleted
    }

    fn map(&self, wire: &Customer, settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        let settings: StripeSettings = settings.read()?;
        mapping::custom_fields(wire, &settings.custom_fields, bag);
        Ok(Claim::Account(mapping::customer(wire, bag)))
    }
}
