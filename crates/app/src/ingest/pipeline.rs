//! Accounts and opportunities, as the CRM and billing speak of them.

use crosstie_domain::{
    Instant,
    access::RowScope,
    custom::CustomValues,
    ids::{AccountId, OpportunityId},
    integration::{Entity, authority::Speaker},
    pipeline::{AccountClaim, AccountRecord, OpportunityClaim, OpportunityRecord, OpportunityStage},
};
use crosstie_store::{Tx, integration::Identity, pipeline};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Observed, custom, fields::Values, matching, page::Page, said::Said};
use crate::{App, AppError};

/// A record that is not merged into another one, with what it shows.
#[derive(Clone)]
pub(crate) enum Subject {
    /// An account.
    Account(AccountRecord),
    /// An opportunity.
    Opportunity(OpportunityRecord),
}

impl Subject {
    /// What it shows, by the names of shared fields.
    pub(crate) fn values(&self) -> Values {
        match self {
            Self::Account(account) => shown_values::account(account),
            Self::Opportunity(opportunity) => shown_values::opportunity(opportunity),
        }
    }

    /// Shows these values from now on. Returns whether any of them is another one than before.
    pub(crate) fn show(&mut self, decided: &Values) -> bool {
        let before = self.values();
        for (field, value) in decided {
            let custom = match self {
                Self::Account(account) => &mut account.custom,
                Self::Opportunity(opportunity) => &mut opportunity.custom,
            };
            if custom::show(custom, field, value) {
                continue;
            }
            match self {
                Self::Account(account) => show_account(account, field, value),
                Self::Opportunity(opportunity) => show_opportunity(opportunity, field, value),
            }
        }
        before != self.values()
    }

    /// Makes it its next version, not yet saved.
    pub(super) fn advance(&mut self, now: Instant) {
        let (version, updated_at) = match self {
            Self::Account(account) => (&mut account.version, &mut account.updated_at),
            Self::Opportunity(opportunity) => (&mut opportunity.version, &mut opportunity.updated_at),
        };
        *version += 1;
        *updated_at = now;
    }

    /// Saves it as its next version.
    ///
    /// # Errors
    /// [`crosstie_store::StoreError::Conflict`].
    pub(crate) async fn save(&mut self, tx: &Tx, now: Instant) -> Result<(), AppError> {
        self.advance(now);
        match self {
            Self::Account(account) => Ok(tx.save_account(account).await?),
            Self::Opportunity(opportunity) => Ok(tx.save_opportunity(opportunity).await?),
        }
    }

    /// The record that it became one with.
    pub(crate) fn merged_into(&self) -> Option<String> {
        match self {
            Self::Account(account) => account.merged_into.map(|id| id.to_string()),
            Self::Opportunity(opportunity) => opportunity.merged_into.map(|id| id.to_string()),
        }
    }

    /// Becomes one with another record of its kind.
    pub(crate) fn merge(&mut self, into: &str) {
        match self {
            Self::Account(account) => account.merged_into = into.parse().ok(),
            Self::Opportunity(opportunity) => opportunity.merged_into = into.parse().ok(),
        }
    }

    /// Stands by itself again.
    pub(crate) fn stand_alone(&mut self) {
        match self {
            Self::Account(account) => account.merged_into = None,
            Self::Opportunity(opportunity) => opportunity.merged_into = None,
        }
    }

    /// A new record that shows the same, not yet saved.
    pub(crate) fn like_new(&self, tx: &Tx) -> Self {
        let now = tx.now();
        match self {
            Self::Account(account) => Self::Account(AccountRecord {
                id: tx.new_id(),
                deleted_at: None,
                version: 0,
                created_at: now,
                updated_at: now,
                ..account.clone()
            }),
            Self::Opportunity(opportunity) => Self::Opportunity(OpportunityRecord {
                id: tx.new_id(),
                deleted_at: None,
                version: 0,
                created_at: now,
                updated_at: now,
                ..opportunity.clone()
            }),
        }
    }

    pub(crate) fn id(&self) -> String {
        match self {
            Self::Account(account) => account.id.to_string(),
            Self::Opportunity(opportunity) => opportunity.id.to_string(),
        }
    }

    pub(super) fn entity(&self) -> Entity {
        match self {
            Self::Account(_) => Entity::Account,
            Self::Opportunity(_) => Entity::Opportunity,
        }
    }

    pub(crate) fn version(&self) -> i32 {
        match self {
            Self::Account(account) => account.version,
            Self::Opportunity(opportunity) => opportunity.version,
        }
    }

    /// The record of this kind and identifier.
    ///
    /// # Errors
    /// As the database.
    pub(crate) async fn find(
        tx: &Tx,
        scope: &RowScope,
        (entity, id): (Entity, &str),
    ) -> Result<Option<Self>, AppError> {
        Ok(match entity {
            Entity::Account => match id.parse::<AccountId>() {
                Ok(id) => pipeline::accounts_by_ids(tx, scope, &[id]).await?.pop().map(Self::Account),
                Err(_) => None,
            },
            Entity::Opportunity => match id.parse::<OpportunityId>() {
                Ok(id) => pipeline::opportunities_by_ids(tx, scope, &[id]).await?.pop().map(Self::Opportunity),
                Err(_) => None,
            },
            _ => None,
        })
    }
}

/// What records show, by the names of shared fields.
pub mod shown_values {
    use crosstie_domain::{
        billing::{InvoiceRecord, ServiceOrderRecord},
        pipeline::{AccountRecord, OpportunityRecord},
    };
    use serde_json::json;

    use super::{Values, custom, stage};

    /// Of an account.
    pub fn account(account: &AccountRecord) -> Values {
        let mut values = Values::from([
            ("name".into(), json!(account.name)),
            ("domain".into(), json!(account.domain)),
            ("billing_email".into(), json!(account.billing_email)),
        ]);
        values.extend(custom::values(&account.custom));
        values
    }

    /// Of an opportunity.
    pub fn opportunity(opportunity: &OpportunityRecord) -> Values {
        let mut values = Values::from([
            ("name".into(), json!(opportunity.name)),
            ("account".into(), json!(opportunity.account_id)),
            ("stage".into(), stage(opportunity.native_stage.clone(), opportunity.stage)),
            ("amount".into(), json!(opportunity.amount)),
            ("close_on".into(), json!(opportunity.close_on)),
        ]);
        values.extend(custom::values(&opportunity.custom));
        values
    }

    /// Of a service order.
    pub fn service_order(order: &ServiceOrderRecord) -> Values {
        Values::from([("total".into(), json!(order.total))])
    }

    /// Of an invoice. Its lines are told apart by their own table.
    pub fn invoice(invoice: &InvoiceRecord) -> Values {
        Values::from([
            ("customer".into(), json!(invoice.account_id)),
            ("number".into(), json!(invoice.number)),
            ("status".into(), json!({ "native": invoice.native_status, "common": invoice.status })),
            ("total".into(), json!(invoice.total)),
            ("amount_paid".into(), json!(invoice.amount_paid)),
            ("issued_on".into(), json!(invoice.issued_on)),
            ("due_on".into(), json!(invoice.due_on)),
        ])
    }
}

/// A stage as systems share it: their own name for it, and what it means.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stage {
    native: Option<String>,
    common: Option<OpportunityStage>,
}

fn stage(native: Option<String>, common: Option<OpportunityStage>) -> Value {
    if native.is_none() && common.is_none() { Value::Null } else { json!(Stage { native, common }) }
}

/// A value as its type; empty when it is null or was written by a release that knew another form.
fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

fn show_account(account: &mut AccountRecord, field: &str, value: &Value) {
    match field {
        "name" => account.name = read(value).unwrap_or_default(),
        "domain" => account.domain = read(value),
        "billing_email" => account.billing_email = read(value),
        _ => {}
    }
}

fn show_opportunity(opportunity: &mut OpportunityRecord, field: &str, value: &Value) {
    match field {
        "name" => opportunity.name = read(value).unwrap_or_default(),
        "account" => opportunity.account_id = read(value),
        "stage" => {
            let Stage { native, common } = read(value).unwrap_or_default();
            (opportunity.native_stage, opportunity.stage) = (native, common);
        }
        "amount" => opportunity.amount = read(value),
        "close_on" => opportunity.close_on = read(value),
        _ => {}
    }
}

/// What a claim says of an account, field by field.
pub(super) fn account_values(said: Said<'_>, claim: &AccountClaim) -> Values {
    let mut values = Values::new();
    if let Some(name) = &claim.name {
        values.insert("name".into(), json!(name));
    }
    said.note(&mut values, "domain", &["domain"], || json!(claim.domain));
    said.note(&mut values, "billing_email", &["billing_email"], || json!(claim.billing_email));
    said.note_custom(&mut values);
    values
}

/// What a claim says of an opportunity, field by field; its account is named as the hub knows it.
pub(super) fn opportunity_values(account: Option<AccountId>, (said, claim): (Said<'_>, &OpportunityClaim)) -> Values {
    let mut values = Values::new();
    if let Some(name) = &claim.name {
        values.insert("name".into(), json!(name));
    }
    said.note(&mut values, "account", &["account"], || json!(account));
    // A native stage without a mapping leaves no stage.
    said.note(&mut values, "stage", &["native_stage"], || stage(claim.native_stage.clone(), claim.stage));
    said.note(&mut values, "amount", &["amount"], || json!(claim.amount));
    said.note(&mut values, "close_on", &["close_on"], || json!(claim.close_on));
    said.note_custom(&mut values);
    values
}

impl App {
    /// The account that a system speaks of, and whether it is new. One that was not known is matched with those that
    /// other systems brought.
    pub(super) fn account(
        &self,
        page: &Page<'_>,
        speaker: &Speaker,
        (known, claim): (Option<&Identity>, &AccountClaim),
    ) -> Observed {
        let linked = known.and_then(|identity| identity.record_id.parse::<AccountId>().ok());
        // A customer that the hub itself made at billing carries our id, and may be heard of before its making is noted.
        let mut found = linked.or(claim.account).and_then(|id| page.standing(id)).cloned();
        let mut candidates = Vec::new();
        if found.is_none() && linked.is_none() {
            let matched;
            (matched, candidates) = matching::find(page, speaker, claim);
            found = matched.and_then(|matched| page.standing(matched)).cloned();
        }
        let now = page.now;
        let is_new = found.is_none();
        let account = found.unwrap_or_else(|| AccountRecord {
            id: page.tx.new_id(),
            name: String::new(),
            domain: None,
            billing_email: None,
            custom: CustomValues::new(),
            merged_into: None,
            deleted_at: None,
            version: 0,
            created_at: now,
            updated_at: now,
        });
        Observed { subject: Subject::Account(account), is_new, candidates }
    }

    /// The opportunity that a system speaks of, and whether it is new.
    pub(super) fn opportunity(&self, page: &Page<'_>, known: Option<&Identity>) -> Observed {
        let found = match known.and_then(|identity| page.subject(&identity.record_id)) {
            Some(Subject::Opportunity(opportunity)) => Some(opportunity.clone()),
            _ => None,
        };
        let now = page.now;
        let is_new = found.is_none();
        let opportunity = found.unwrap_or_else(|| OpportunityRecord {
            id: page.tx.new_id(),
            account_id: None,
            name: String::new(),
            stage: None,
            native_stage: None,
            amount: None,
            close_on: None,
            custom: CustomValues::new(),
            merged_into: None,
            deleted_at: None,
            version: 0,
            created_at: now,
            updated_at: now,
        });
        Observed { subject: Subject::Opportunity(opportunity), is_new, candidates: Vec::new() }
    }
}
