#![doc = include_str!("../README.md")]

use crosstie_sdk::Connector;

/// The connectors that ship with the hub.
pub static CONNECTORS: &[&dyn Connector] =
    &[&crosstie_hubspot::Hubspot, &crosstie_stripe::Stripe, &crosstie_tryton::Tryton];

/// The connector of this name.
pub fn connector(id: &str) -> Option<&'static dyn Connector> {
    CONNECTORS.iter().copied().find(|connector| connector.descriptor().id == id)
}

/// The vendors' stand-ins that ship with their connectors, for the demo.
pub mod fakes {
    pub use crosstie_hubspot::HubspotFake;
    pub use crosstie_stripe::StripeFake;
    pub use crosstie_tryton::TrytonFake;
}
