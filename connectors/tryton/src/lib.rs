#![doc = include_str!("../README.md")]

mod account;
mod base64url;
mod custom;
mod fake;
mod invoice;
mod items;
mod mapping;
mod opportunity;
mod paging;
mod rest;
mod sale;
mod update;
mod wire;
mod writer;

use std::collections::BTreeMap;

use async_trait::async_trait;
use crosstie_sdk::{
    AnyReader, AuthMode, Connector, CustomFields, Deletes, Descriptor, FakeVendor, Fault, ItemMapping, Net, Order,
    RateBudget, ReadEntity, Secret, Settings, SettingsError, WhoAmI, WriteEntity, WriteSafety, Writer,
    domain::{
        integration::{Arm, Entity, IntentKind},
        pipeline::OpportunityStage,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::fake::TrytonFake;
use self::{
    account::AccountReader, invoice::InvoiceReader, items::ItemSettings, opportunity::OpportunityReader, rest::Rest,
    sale::SaleReader, wire::Named, writer::TrytonWriter,
};

/// Tryton, as CRM, as billing, or as both.
#[derive(Debug, Clone, Copy)]
pub struct Tryton;

/// By change time, to the microsecond; the declared step is the finest that the contract can name.
const BY_CHANGE_TIME: Order = Order::Keyset { granularity_ms: 1, overlap_seconds: 300 };
const POLL_SECONDS: u32 = 30;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "tryton",
    name: "Tryton",
    version: "1.2.0",
    arms: &[Arm::Crm, Arm::Billing],
    auth: &[AuthMode::Bearer],
    default_base_url: None,
    budgets: &[RateBudget { bucket: "rest", per_second: 20, burst: 20 }],
    reads: &[
        ReadEntity {
            entity: Entity::Account,
            remote: account::MODEL,
            order: BY_CHANGE_TIME,
            // A party that is not in use any more says so; one that was deleted is only missing.
            deletes: Deletes::SweepOnly,
            poll_seconds: POLL_SECONDS,
        },
        ReadEntity {
            entity: Entity::Opportunity,
            remote: opportunity::MODEL,
            order: BY_CHANGE_TIME,
            deletes: Deletes::SweepOnly,
            poll_seconds: POLL_SECONDS,
        },
        ReadEntity {
            entity: Entity::ServiceOrder,
            remote: sale::MODEL,
            order: BY_CHANGE_TIME,
            deletes: Deletes::SweepOnly,
            poll_seconds: POLL_SECONDS,
        },
        ReadEntity {
            entity: Entity::Invoice,
            remote: invoice::MODEL,
            order: BY_CHANGE_TIME,
            deletes: Deletes::SweepOnly,
            poll_seconds: POLL_SECONDS,
        },
    ],
    writes: &[
        WriteEntity {
            intent: IntentKind::PlaceOrder,
            entity: Entity::ServiceOrder,
            remote: sale::MODEL,
            fields: &[],
            safety: WriteSafety::FindThenCreate,
        },
        WriteEntity {
            intent: IntentKind::IssueInvoice,
            entity: Entity::Invoice,
            remote: invoice::MODEL,
            fields: &[],
            safety: WriteSafety::FindThenCreate,
        },
        WriteEntity {
            intent: IntentKind::UpdateRecord,
            entity: Entity::Account,
            remote: account::MODEL,
            fields: update::FIELDS,
            safety: WriteSafety::SetValues,
        },
    ],
};

/// What a connection to Tryton is configured with. Numbers are ids in that database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrytonSettings {
    /// The company whose opportunities, sales and invoices are meant.
    pub(crate) company: i64,
    /// The employee in whose name documents are moved on.
    pub(crate) employee: Option<i64>,
    /// What is sold on every line; without it lines name no product.
    pub(crate) product: Option<i64>,
    /// The unit of each line; the product's own when missing.
    pub(crate) unit: Option<i64>,
    /// For customers that have none of their own.
    pub(crate) payment_term: Option<i64>,
    /// Journal of invoices; the first revenue journal when missing.
    pub(crate) journal: Option<i64>,
    /// For customers that have none of their own; the configured default when missing.
    pub(crate) receivable_account: Option<i64>,
    /// Account of each invoice line; that of the product's category or the configured default when missing.
    pub(crate) revenue_account: Option<i64>,
    /// Taxes of each line. Tryton's defaults work in its own forms only.
    #[serde(default)]
    pub(crate) taxes: Vec<i64>,
    /// What item codes stand for.
    pub(crate) items: Option<ItemMapping<ItemSettings>>,
    /// Opportunity states that mean another stage than usual.
    #[serde(default)]
    pub(crate) stages: BTreeMap<String, OpportunityStage>,
    /// Fields that modules of the customer's add to parties and opportunities.
    #[serde(default)]
    #[expect(dead_code, reason = "read by itself where it is used; here it counts as known")]
    pub(crate) custom_fields: CustomFields,
}

/// The stand-in of the vendor, without customers. It sends no webhooks.
pub fn fake(_webhook_url: Option<String>, _webhook_secret: Secret) -> Box<dyn FakeVendor> {
    Box::new(TrytonFake::new())
}

#[async_trait]
impl Connector for Tryton {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        self.custom_fields(settings)?;
        let own: TrytonSettings = settings.read()?;
        own.items.map_or(Ok(()), |items| items.check(ItemSettings::check))
    }

    fn settings_schema(&self) -> Value {
        let id = |description: &str| json!({ "description": description, "type": "integer" });
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["company"],
            "properties": {
                "company": id("The company whose opportunities, sales and invoices are meant."),
                "employee": id("The employee in whose name documents are moved on."),
                "product": id("What is sold on every line."),
                "unit": id("The unit of each line; the product's own when missing."),
                "payment_term": id("For customers that have none of their own."),
                "journal": id("Journal of invoices; the first revenue journal when missing."),
                "receivable_account": id("For customers that have none of their own."),
                "revenue_account": id("Account of each invoice line; that of the product's category when missing."),
                "taxes": {
                    "description": "Taxes of each line.",
                    "type": "array",
                    "items": { "type": "integer" }
                },
                "items": items::schema(),
                "stages": {
                    "description": "Opportunity states that mean another stage than usual.",
                    "type": "object",
                    "additionalProperties": { "enum": ["QUALIFY", "SCOPING", "PROPOSED", "COMMITTED", "WON", "LOST"] }
                },
                "custom_fields": CustomFields::schema(custom::ENTITIES)
            }
        })
    }

    fn custom_fields(&self, settings: &Settings) -> Result<CustomFields, SettingsError> {
        let told = "a property is the technical name of a field: small letters, digits and _";
        CustomFields::of(settings, custom::ENTITIES)?.with_properties(custom::is_field, told)
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let rest = Rest::of(net)?;
        let company = rest.settings.company;
        let found = rest.read("company.company", company, &["rec_name"]).await;
        let found = found.map_err(|fault| match fault {
            Fault::Gone => Fault::rejected("settings.company", format!("there is no company {company}")),
            other => other,
        })?;
        let Named { rec_name } = wire::read(found)?;
        Ok(WhoAmI { account: rec_name.unwrap_or_else(|| format!("company {company}")) })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        &[&AccountReader, &OpportunityReader, &SaleReader, &InvoiceReader]
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&TrytonWriter)
    }
}
