#![doc = include_str!("../README.md")]

mod accounts;
mod deals;
mod fake;
mod mapping;
mod paging;
mod webhook;
mod wire;
mod writer;

use crosstie_sdk::{
    AnyReader, AuthMode, Call, Connector, Deletes, Descriptor, FakeVendor, Fault, Inbound, Net, Order, RateBudget,
    ReadEntity, Secret, Settings, SettingsError, WhoAmI, WriteEntity, WriteSafety, Writer,
    domain::{
        Currency,
        integration::{Arm, Entity, IntentKind},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

pub use fake::TemplateFake;

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct Template;

/// By change time, to the millisecond.
const BY_CHANGE_TIME: Order = Order::Keyset { granularity_ms: 1, overlap_seconds: 300 };

static DESCRIPTOR: Descriptor = Descriptor {
    id: "template",
    name: "Template",
    version: "0.1.0",
    arms: &[Arm::Crm],
    auth: &[AuthMode::Bearer],
    default_base_url: Some("https://api.template.example"),
    budgets: &[RateBudget { bucket: "api", per_second: 5, burst: 10 }],
    reads: &[
        ReadEntity {
            entity: Entity::Account,
            remote: "accounts",
            order: BY_CHANGE_TIME,
            deletes: Deletes::Tombstones,
            poll_seconds: 60,
        },
        ReadEntity {
            entity: Entity::Opportunity,
            remote: "deals",
            order: BY_CHANGE_TIME,
            deletes: Deletes::Tombstones,
            poll_seconds: 60,
        },
    ],
    writes: &[WriteEntity {
        intent: IntentKind::UpdateRecord,
        entity: Entity::Account,
        remote: "accounts",
        fields: writer::FIELDS,
        safety: WriteSafety::SetValues,
    }],
};

/// What a connection is configured with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateSettings {
    /// The currency of amounts, of which the vendor says nothing.
    pub(crate) currency: Option<Currency>,
}

/// The vendor's stand-in, without any records.
pub fn fake(webhook_url: Option<String>, webhook_secret: Secret) -> Box<dyn FakeVendor> {
    Box::new(TemplateFake::new(webhook_url, webhook_secret))
}

#[async_trait::async_trait]
impl Connector for Template {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        settings.read::<TemplateSettings>().map(|_| ())
    }

    fn settings_schema(&self) -> Value {
        let currency = json!({ "type": "string", "description": "The currency of amounts, such as EUR." });
        json!({ "type": "object", "properties": { "currency": currency }, "additionalProperties": false })
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let me: wire::Me = net.send(Call::get("/v1/me")).await?.json()?;
        Ok(WhoAmI { account: me.organization })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        &[&accounts::Accounts, &deals::Deals]
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&writer::TemplateWriter)
    }

    fn inbound(&self) -> Option<&dyn Inbound> {
        Some(&webhook::TemplateWebhooks)
    }
}
