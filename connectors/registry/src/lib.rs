#![doc = include_str!("../README.md")]

use crosstie_sdk::Connector;

/// The connectors that ship with the hub.
pub static CONNECTORS: &[&dyn Connector] =
    &[&crosstie_hubspot::Hubspot, &crosstie_stripe::Stripe, &crosstie_tryton::Tryton];

/// The connector of this name.
pub fn connector(id: &str) -> Option<&'static dyn Connector> {
    CONNECTORS.iter().copied().find(|connector| connector.descriptor().id == id)
}

/// The vendors' stand-ins that ship with their connectors.
pub mod fakes {
    pub use crosstie_hubspot::HubspotFake;
    pub use crosstie_stripe::StripeFake;
    pub use crosstie_tryton::TrytonFake;

    use crosstie_sdk::{FakeVendor, Secret};

    /// The connectors that have one.
    pub const NAMES: [&str; 3] = ["hubspot", "stripe", "tryton"];

    /// The stand-in of a connector's vendor, without any records. Its webhooks go to the address, if there is one and if
    /// the vendor has any, signed with the secret.
    pub fn fake(connector: &str, webhook_url: Option<String>, webhook_secret: Secret) -> Option<Box<dyn FakeVendor>> {
        Some(match connector {
            "hubspot" => Box::new(HubspotFake::new(webhook_url, webhook_secret, 62_515)),
            "stripe" => Box::new(StripeFake::new(webhook_url, webhook_secret, 1)),
            "tryton" => Box::new(TrytonFake::new()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connector_has_a_stand_in() {
        let names: Vec<&str> = CONNECTORS.iter().map(|connector| connector.descriptor().id).collect();
        assert_eq!(names, fakes::NAMES);
        for name in names {
            assert!(fakes::fake(name, None, crosstie_sdk::Secret::new("s")).is_some(), "{name}");
        }
        assert!(fakes::fake("abacus", None, crosstie_sdk::Secret::new("s")).is_none());
    }
}
