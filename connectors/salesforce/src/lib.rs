#![doc = include_str!("../README.md")]

mod accounts;
mod fake;
mod mapping;
mod opportunities;
mod paging;
mod query;
mod refusal;
mod wire;
mod writer;

use std::collections::BTreeMap;

use crosstie_sdk::{
    AnyReader, AuthMode, Connector, CustomFields, Deletes, Descriptor, FakeVendor, Fault, Net, Order, RateBudget,
    ReadEntity, Secret, Settings, SettingsError, WhoAmI, WriteEntity, WriteSafety, Writer,
    domain::{
        Currency,
        integration::{Arm, Entity, IntentKind},
        pipeline::OpportunityStage,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

pub use crate::fake::SalesforceFake;
use crate::{accounts::Accounts, opportunities::Opportunities, query::Which, wire::Record, writer::SalesforceWriter};

/// The connector to Salesforce's CRM.
#[derive(Debug, Clone, Copy, Default)]
pub struct Salesforce;

/// Where the API of the version that is spoken begins.
pub(crate) const API: &str = "/services/data/v64.0";
const TOKEN_PATH: &str = "/services/oauth2/token";

/// The change time is told in whole seconds; one that is taken when a transaction begins is seen when it ends.
const BY_CHANGE_TIME: Order = Order::Keyset { granularity_ms: 1_000, overlap_seconds: 600 };

static DESCRIPTOR: Descriptor = Descriptor {
    id: "salesforce",
    name: "Salesforce",
    version: "1.0.0",
    arms: &[Arm::Crm],
    auth: &[
        AuthMode::Bearer,
        // What the client may do is set at the app in Salesforce, which takes no scopes with these two grants.
        AuthMode::ClientCredentials { token_path: TOKEN_PATH, scopes: &[] },
        AuthMode::JwtBearer { token_path: TOKEN_PATH, audience: Some("https://login.salesforce.com"), scopes: &[] },
        AuthMode::OAuth2Refresh { token_path: TOKEN_PATH },
        AuthMode::AuthorizationCode {
            authorize_url: "/services/oauth2/authorize",
            token_path: TOKEN_PATH,
            scopes: &["api", "refresh_token"],
        },
    ],
    // Every org has an address of its own.
    default_base_url: None,
    // Calls are counted by the day, not by the second: what is held here is the pace alone.
    budgets: &[RateBudget { bucket: "api", per_second: 5, burst: 10 }],
    reads: &[
        ReadEntity {
            entity: Entity::Account,
            remote: "Account",
            order: BY_CHANGE_TIME,
            deletes: Deletes::Tombstones,
            poll_seconds: 120,
        },
        ReadEntity {
            entity: Entity::Opportunity,
            remote: "Opportunity",
            order: BY_CHANGE_TIME,
            deletes: Deletes::Tombstones,
            poll_seconds: 60,
        },
    ],
    writes: &[
        WriteEntity {
            intent: IntentKind::UpdateRecord,
            entity: Entity::Account,
            remote: "Account",
            fields: writer::ACCOUNT_FIELDS,
            safety: WriteSafety::SetValues,
        },
        WriteEntity {
            intent: IntentKind::UpdateRecord,
            entity: Entity::Opportunity,
            remote: "Opportunity",
            fields: writer::OPPORTUNITY_FIELDS,
            safety: WriteSafety::SetValues,
        },
    ],
};

/// The stand-in of the vendor: an empty org. It sends no webhooks.
pub fn fake(_webhook_url: Option<String>, _webhook_secret: Secret) -> Box<dyn FakeVendor> {
    Box::new(SalesforceFake::new())
}

#[async_trait::async_trait]
impl Connector for Salesforce {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        self.custom_fields(settings)?;
        settings.read::<SalesforceSettings>().map(|_| ())
    }

    fn settings_schema(&self) -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "stages": {
                    "description": "Name of a stage to common stage, beside or instead of the usual ones.",
                    "type": "object",
                    "additionalProperties": { "enum": ["QUALIFY", "SCOPING", "PROPOSED", "COMMITTED", "WON", "LOST"] }
                },
                "currency": {
                    "description": "The currency of an org that has one, by its ISO 4217 code. Left out for an org \
                                    that has several: there each opportunity names its own.",
                    "type": "string",
                    "pattern": "^[A-Z]{3}$"
                },
                "billing_email": {
                    "description": "API name of the account's field with the e-mail address that invoices go to.",
                    "type": "string",
                    "pattern": "^[A-Za-z][A-Za-z0-9_]{0,99}$"
                },
                "custom_fields": CustomFields::schema(CUSTOM_ENTITIES)
            }
        })
    }

    fn custom_fields(&self, settings: &Settings) -> Result<CustomFields, SettingsError> {
        CustomFields::of(settings, CUSTOM_ENTITIES)?.with_properties(is_field_name, FIELD_NAME)
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let (found, usage) =
            query::run(net, Which::Standing, "SELECT Name, IsSandbox FROM Organization LIMIT 1").await?;
        let org = found.records.first().and_then(Value::as_object);
        let name = org.and_then(|org| org.get("Name")).and_then(Value::as_str).unwrap_or("an org without a name");
        let is_sandbox = org.and_then(|org| org.get("IsSandbox")) == Some(&Value::Bool(true));
        let kind = if is_sandbox { ", a sandbox" } else { "" };
        let used = usage.map_or_else(String::new, |(used, most)| format!("; {used} of {most} calls a day are used"));
        Ok(WhoAmI { account: format!("{name}{kind}{used}") })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        &[&Accounts, &Opportunities]
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&SalesforceWriter)
    }
}

/// The kinds of record whose custom fields are read.
const CUSTOM_ENTITIES: &[Entity] = &[Entity::Account, Entity::Opportunity];
const FIELD_NAME: &str = "a field goes by its API name: a letter, then letters, digits and _";

/// What a connection to Salesforce can be told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SalesforceSettings {
    /// Name of a stage to common stage, beside or instead of [`OPEN_STAGES`] and what closed ones say.
    stages: BTreeMap<String, OpportunityStage>,
    /// The currency of an org that has one. Without it each opportunity is asked for its own.
    currency: Option<Currency>,
    /// The field of an account that holds the e-mail address for invoices.
    billing_email: Option<FieldName>,
    /// The customer's own fields that are read.
    custom_fields: CustomFields,
}

/// API name of a field.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct FieldName(String);

impl TryFrom<String> for FieldName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        if is_field_name(&name) { Ok(Self(name)) } else { Err(FIELD_NAME) }
    }
}

/// Names stand in queries as they are, so that nothing else may.
fn is_field_name(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    starts && name.len() <= 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The open stages of the sales process that an org begins with. What a closed one means, the row itself says.
const OPEN_STAGES: [(&str, OpportunityStage); 8] = [
    ("Prospecting", OpportunityStage::Qualify),
    ("Qualification", OpportunityStage::Qualify),
    ("Needs Analysis", OpportunityStage::Scoping),
    ("Value Proposition", OpportunityStage::Scoping),
    ("Id. Decision Makers", OpportunityStage::Scoping),
    ("Perception Analysis", OpportunityStage::Scoping),
    ("Proposal/Price Quote", OpportunityStage::Proposed),
    ("Negotiation/Review", OpportunityStage::Committed),
];

impl SalesforceSettings {
    /// The common stage of a native one: by the settings, by what the row says of a closed one, by its usual name.
    fn stage(&self, native: &str, opportunity: &Record) -> Result<Option<OpportunityStage>, String> {
        if let Some(stage) = self.stages.get(native) {
            return Ok(Some(*stage));
        }
        if opportunity.truth("IsWon")? {
            return Ok(Some(OpportunityStage::Won));
        }
        if opportunity.truth("IsClosed")? {
            return Ok(Some(OpportunityStage::Lost));
        }
        Ok(OPEN_STAGES.iter().find(|(name, _)| *name == native).map(|(_, stage)| *stage))
    }
}
