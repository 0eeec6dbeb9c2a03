#![doc = include_str!("../README.md")]

use crosstie_sdk::{Connector, FakeVendor, Secret};

/// A connector, and how its vendor's stand-in is made.
struct Shipped {
    connector: &'static dyn Connector,
    fake: fn(Option<String>, Secret) -> Box<dyn FakeVendor>,
}

/// The connectors that ship with the hub, one line each.
static SHIPPED: &[Shipped] = &[
    Shipped { connector: &crosstie_hubspot::Hubspot, fake: crosstie_hubspot::fake },
    Shipped { connector: &crosstie_salesforce::Salesforce, fake: crosstie_salesforce::fake },
    Shipped { connector: &crosstie_stripe::Stripe, fake: crosstie_stripe::fake },
    Shipped { connector: &crosstie_tryton::Tryton, fake: crosstie_tryton::fake },
];

/// The connectors that ship with the hub.
pub fn connectors() -> impl Iterator<Item = &'static dyn Connector> {
    SHIPPED.iter().map(|shipped| shipped.connector)
}

/// The connector of this name.
pub fn connector(id: &str) -> Option<&'static dyn Connector> {
    connectors().find(|connector| connector.descriptor().id == id)
}

/// The vendors' stand-ins that ship with their connectors.
pub mod fakes {
    pub use crosstie_hubspot::HubspotFake;
    pub use crosstie_salesforce::SalesforceFake;
    pub use crosstie_stripe::StripeFake;
    pub use crosstie_tryton::TrytonFake;

    use super::{FakeVendor, SHIPPED, Secret};

    /// The stand-in of a connector's vendor, without any records. Its webhooks go to the address, if there is one and if
    /// the vendor has any, signed with the secret.
    pub fn fake(connector: &str, webhook_url: Option<String>, webhook_secret: Secret) -> Option<Box<dyn FakeVendor>> {
        let shipped = SHIPPED.iter().find(|shipped| shipped.connector.descriptor().id == connector)?;
        Some((shipped.fake)(webhook_url, webhook_secret))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_connector_has_a_name_of_its_own_by_which_it_and_its_stand_in_are_found() {
        let names: Vec<&str> = connectors().map(|connector| connector.descriptor().id).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        for name in names {
            assert_eq!(connector(name).map(|found| found.descriptor().id), Some(name));
            assert!(fakes::fake(name, None, Secret::new("s")).is_some(), "{name}");
        }
        assert!(connector("abacus").is_none() && fakes::fake("abacus", None, Secret::new("s")).is_none());
    }
}
