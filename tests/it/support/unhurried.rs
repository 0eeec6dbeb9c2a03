//! Connectors as they ship, but for their rate budgets: where a test tells one story again and again, it is not to wait
//! for a vendor that is a struct in memory.

use crosstie_sdk::{
    AnyReader, Connector, CustomFields, Descriptor, Fault, Inbound, Net, RateBudget, Settings, SettingsError, WhoAmI,
    Writer,
};
use serde_json::Value as Json;

struct Unhurried {
    connector: &'static dyn Connector,
    descriptor: &'static Descriptor,
}

/// The connector of this name.
pub(crate) fn unhurried(name: &str) -> &'static dyn Connector {
    let connector = crosstie_connectors::connector(name).expect("it ships");
    let Descriptor { id, name, version, arms, auth, default_base_url, budgets, reads, writes } = connector.descriptor();
    let budgets = budgets.iter().map(|budget| RateBudget { per_second: 10_000, burst: 10_000, ..*budget });
    // What a process has one of lives as long as the process.
    let budgets: &'static [RateBudget] = Vec::leak(budgets.collect());
    let descriptor = Box::leak(Box::new(Descriptor {
        id,
        name,
        version,
        arms,
        auth,
        default_base_url: *default_base_url,
        budgets,
        reads,
        writes,
    }));
    Box::leak(Box::new(Unhurried { connector, descriptor }))
}

#[async_trait::async_trait]
impl Connector for Unhurried {
    fn descriptor(&self) -> &'static Descriptor {
        self.descriptor
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        self.connector.check_settings(settings)
    }

    fn settings_schema(&self) -> Json {
        self.connector.settings_schema()
    }

    fn custom_fields(&self, settings: &Settings) -> Result<CustomFields, SettingsError> {
        self.connector.custom_fields(settings)
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        self.connector.probe(net).await
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        self.connector.readers()
    }

    fn writer(&self) -> Option<&dyn Writer> {
        self.connector.writer()
    }

    fn inbound(&self) -> Option<&dyn Inbound> {
        self.connector.inbound()
    }
}
