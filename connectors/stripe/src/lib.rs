#![doc = include_str!("../README.md")]

mod api;
mod customer;
mod fake;
mod invoice;
mod items;
mod listing;
mod mapping;
mod update;
mod webhook;
mod wire;
mod writer;

use crosstie_sdk::{
    AnyReader, AuthMode, Connector, CustomFields, Deletes, Descriptor, FakeVendor, Fault, Inbound, Net, Order,
    RateBudget, ReadEntity, Secret, Settings, SettingsError, WhoAmI, WriteEntity, WriteSafety, Writer,
    domain::integration::{Arm, Entity, IntentKind},
};
use serde_json::Value;

pub use crate::fake::StripeFake;

/// The version of Stripe's API that every call asks for, and that the connector was proven against.
pub const API_VERSION: &str = "2020-08-27";

/// The connector to Stripe.
#[derive(Debug, Clone, Copy)]
pub struct Stripe;

/// Stripe keeps events for 30 days.
const FEED: Order = Order::Feed { overlap_seconds: 300, retention_seconds: 30 * 86_400 };

static DESCRIPTOR: Descriptor = Descriptor {
    id: "stripe",
    name: "Stripe",
    version: "1.2.0",
    arms: &[Arm::Billing],
    auth: &[AuthMode::Bearer],
    default_base_url: Some("https://api.stripe.com"),
    budgets: &[RateBudget { bucket: "api", per_second: 25, burst: 50 }],
    reads: &[
        ReadEntity {
            entity: Entity::Account,
            remote: "customer",
            order: FEED,
            deletes: Deletes::Announced,
            poll_seconds: 60,
        },
        ReadEntity {
            entity: Entity::Invoice,
            remote: "invoice",
            order: FEED,
            deletes: Deletes::Announced,
            poll_seconds: 60,
        },
    ],
    writes: &[
        WriteEntity {
            intent: IntentKind::PlaceOrder,
            entity: Entity::ServiceOrder,
            remote: "product",
            fields: &[],
            safety: WriteSafety::UpsertBy { field: "id" },
        },
        WriteEntity {
            intent: IntentKind::IssueInvoice,
            entity: Entity::Invoice,
            remote: "invoice",
            fields: &[],
            safety: WriteSafety::NativeKey { ttl_seconds: 86_400 },
        },
        WriteEntity {
            intent: IntentKind::UpdateRecord,
            entity: Entity::Account,
            remote: "customer",
            fields: update::FIELDS,
            safety: WriteSafety::SetValues,
        },
    ],
};

/// The stand-in of the vendor, without any records. Its webhooks go to the address, signed with the secret.
pub fn fake(webhook_url: Option<String>, webhook_secret: Secret) -> Box<dyn FakeVendor> {
    Box::new(StripeFake::new(webhook_url, webhook_secret, 1))
}

#[async_trait::async_trait]
impl Connector for Stripe {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        self.custom_fields(settings)?;
        items::StripeSettings::read(settings).map(|_| ())
    }

    fn settings_schema(&self) -> Value {
        items::schema()
    }

    fn custom_fields(&self, settings: &Settings) -> Result<CustomFields, SettingsError> {
        let fits = |property: &str| property.len() <= 40 && !property.contains(['[', ']']);
        let told = "a property is a key of the metadata: at most 40 characters, no square brackets";
        CustomFields::of(settings, &[Entity::Account])?.with_properties(fits, told)
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let answer = net.send(api::get("/v1/customers").query("limit", "1")).await?;
        let customers: wire::List<wire::Customer> = answer.json_or(api::refusal)?;
        let live = customers.data.first().and_then(|customer| customer.livemode);
        let account = match live {
            Some(true) => "Stripe account, live mode",
            Some(false) => "Stripe account, test mode",
            None => "Stripe account without customers",
        };
        Ok(WhoAmI { account: account.to_owned() })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        &[&customer::Customers, &invoice::Invoices]
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&writer::StripeWriter)
    }

    fn inbound(&self) -> Option<&dyn Inbound> {
        Some(&webhook::StripeWebhooks)
    }
}
