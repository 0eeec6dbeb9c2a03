#![doc = include_str!("../README.md")]

mod companies;
mod deals;
mod fake;
mod mapping;
mod refusal;
mod search;
mod webhook;
mod wire;
mod writer;

use std::collections::BTreeMap;

use crosstie_sdk::{
    AnyReader, AuthMode, Call, Connector, CustomFields, Deletes, Descriptor, FakeVendor, Fault, Inbound, Net, Order,
    RateBudget, ReadEntity, Secret, Settings, SettingsError, WhoAmI, WriteEntity, WriteSafety, Writer,
    domain::{
        Currency,
        integration::{Arm, Entity, IntentKind},
        pipeline::OpportunityStage,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

pub use crate::fake::HubspotFake;
use crate::{companies::Companies, deals::Deals, webhook::Webhook, writer::HubspotWriter};

/// The connector to HubSpot's CRM.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hubspot;

/// The change time has milliseconds; the search index runs some seconds behind.
const BY_CHANGE_TIME: Order = Order::Keyset { granularity_ms: 1, overlap_seconds: 300 };

static DESCRIPTOR: Descriptor = Descriptor {
    id: "hubspot",
    name: "HubSpot",
    version: "1.0.0",
    arms: &[Arm::Crm],
    auth: &[
        AuthMode::Bearer,
        AuthMode::OAuth2Refresh { token_path: "/oauth/v1/token" },
        AuthMode::AuthorizationCode {
            authorize_url: "https://app.hubspot.com/oauth/authorize",
            token_path: "/oauth/v1/token",
            scopes: &[
                "oauth",
                "crm.objects.companies.read",
                "crm.objects.companies.write",
                "crm.objects.deals.read",
                "crm.objects.deals.write",
            ],
        },
    ],
    default_base_url: Some("https://api.hubapi.com"),
    // An app has 100 calls in any 10 seconds, and apart from these 5 searches in any second. A burst counts on top of
    // the rate, so both together stay below.
    budgets: &[
        RateBudget { bucket: "crm", per_second: 9, burst: 10 },
        RateBudget { bucket: "search", per_second: 3, burst: 2 },
    ],
    reads: &[
        ReadEntity {
            entity: Entity::Account,
            remote: "companies",
            order: BY_CHANGE_TIME,
            deletes: Deletes::Announced,
            poll_seconds: 60,
        },
        ReadEntity {
            entity: Entity::Opportunity,
            remote: "deals",
            order: BY_CHANGE_TIME,
            deletes: Deletes::Announced,
            poll_seconds: 30,
        },
    ],
    writes: &[
        WriteEntity {
            intent: IntentKind::UpdateRecord,
            entity: Entity::Account,
            remote: "companies",
            fields: writer::COMPANY_FIELDS,
            safety: WriteSafety::SetValues,
        },
        WriteEntity {
            intent: IntentKind::UpdateRecord,
            entity: Entity::Opportunity,
            remote: "deals",
            fields: writer::DEAL_FIELDS,
            safety: WriteSafety::SetValues,
        },
    ],
};

/// The stand-in of the vendor, without any records. Its webhooks go to the address, signed with the secret.
pub fn fake(webhook_url: Option<String>, webhook_secret: Secret) -> Box<dyn FakeVendor> {
    Box::new(HubspotFake::new(webhook_url, webhook_secret, 62_515))
}

#[async_trait::async_trait]
impl Connector for Hubspot {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        self.custom_fields(settings)?;
        settings.read::<HubspotSettings>().map(|_| ())
    }

    fn settings_schema(&self) -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "stages": {
                    "description": "Native stage id to common stage, beside or instead of the usual ones.",
                    "type": "object",
                    "additionalProperties": { "enum": ["QUALIFY", "SCOPING", "PROPOSED", "COMMITTED", "WON", "LOST"] }
                },
                "default_currency": {
                    "description": "The currency of a deal that names none, by its ISO 4217 code.",
                    "type": "string",
                    "pattern": "^[A-Z]{3}$"
                },
                "custom_fields": CustomFields::schema(CUSTOM_ENTITIES)
            }
        })
    }

    fn custom_fields(&self, settings: &Settings) -> Result<CustomFields, SettingsError> {
        // Names of properties are joined by commas where one record is asked for.
        let fits = |property: &str| property.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let told = "a property goes by its internal name: letters, digits and _";
        CustomFields::of(settings, CUSTOM_ENTITIES)?.with_properties(fits, told)
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let answer = net.send(Call::get("/crm/v3/objects/deals").query("limit", "1")).await?;
        answer.json_or::<wire::Listing>(refusal::explain)?;
        Ok(WhoAmI { account: "a HubSpot account whose deals can be read".to_owned() })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        &[&Companies, &Deals]
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&HubspotWriter)
    }

    fn inbound(&self) -> Option<&dyn Inbound> {
        Some(&Webhook)
    }
}

/// The kinds of record whose custom fields are read.
const CUSTOM_ENTITIES: &[Entity] = &[Entity::Account, Entity::Opportunity];

/// What a connection to HubSpot can be told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HubspotSettings {
    /// Native stage id to common stage, beside or instead of [`DEFAULT_STAGES`].
    stages: BTreeMap<String, OpportunityStage>,
    /// The currency of a deal that names none.
    default_currency: Option<Currency>,
    /// The customer's own fields that are read.
    custom_fields: CustomFields,
}

/// The sales pipeline that every HubSpot account begins with.
const DEFAULT_STAGES: [(&str, OpportunityStage); 7] = [
    ("appointmentscheduled", OpportunityStage::Qualify),
    ("qualifiedtobuy", OpportunityStage::Scoping),
    ("presentationscheduled", OpportunityStage::Scoping),
    ("decisionmakerboughtin", OpportunityStage::Proposed),
    ("contractsent", OpportunityStage::Committed),
    ("closedwon", OpportunityStage::Won),
    ("closedlost", OpportunityStage::Lost),
];

impl HubspotSettings {
    /// The common stage of a native one, where it is mapped.
    fn stage(&self, native: &str) -> Option<OpportunityStage> {
        let default = || DEFAULT_STAGES.iter().find(|(id, _)| *id == native).map(|(_, stage)| *stage);
        self.stages.get(native).copied().or_else(default)
    }
}
