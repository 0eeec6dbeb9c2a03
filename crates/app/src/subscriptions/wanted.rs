//! What may be asked of a subscription.

use crosstie_domain::{
    Refusal, Refusals, UserErrorCode,
    access::AuthContext,
    ids::AccountId,
    integration::{Entity, WebhookSubscriptionRecord},
};
use crosstie_store::{Tx, pipeline::accounts_by_ids};
use serde::Serialize;

use crate::{App, AppError};

/// Events or accounts that one subscription names, at most.
const MOST_NAMES: usize = 100;
/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 200;
/// The longest name of an event, in characters.
const LONGEST_EVENT: usize = 100;

/// What is to be different about a subscription; what is `None` stays.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UpdateWebhookSubscription {
    /// Where changes are sent.
    pub url: Option<String>,
    /// What it is for: at most 200 characters.
    pub description: Option<String>,
    /// The kinds of record: at least one.
    pub entities: Option<Vec<Entity>>,
    /// The events; all when empty.
    pub event_types: Option<Vec<String>>,
    /// The accounts; all that the owner may see when empty.
    pub accounts: Option<Vec<AccountId>>,
    /// Whether changes of one record are sent strictly one after the other.
    pub ordered: Option<bool>,
}

impl App {
    /// Puts what is wanted into a subscription, as far as it may be asked for.
    pub(super) async fn ask_for(
        &self,
        tx: &Tx,
        auth: &AuthContext,
        subscription: &mut WebhookSubscriptionRecord,
        wanted: &UpdateWebhookSubscription,
    ) -> Result<Refusals, AppError> {
        let mut refusals = check(wanted);
        if let Some(Err(refusal)) = wanted.url.as_deref().map(|url| self.egress_rules().check(url)) {
            let message = format!("Nothing can be sent to this address: {refusal}.");
            refusals.push(Refusal::new("url", UserErrorCode::Invalid, message));
        }
        let entities = wanted.entities.as_ref().unwrap_or(&subscription.entities);
        if let Some(hidden) = entities.iter().find(|entity| !auth.may(entity.read_permission())) {
            let message = format!("You may not see records of the kind {}.", hidden.as_str());
            refusals.push(Refusal::new("entities", UserErrorCode::NotFound, message));
        }
        if let Some(accounts) = wanted.accounts.as_ref().filter(|accounts| accounts.len() <= MOST_NAMES) {
            let found = accounts_by_ids(tx, &auth.rows, accounts).await?;
            if let Some(missing) = accounts.iter().find(|id| !found.iter().any(|account| account.id == **id)) {
                let message = format!("There is no account {missing}, or none that you may see.");
                refusals.push(Refusal::new("accountIds", UserErrorCode::NotFound, message));
            }
        }
        if !refusals.is_empty() {
            return Ok(refusals);
        }
        if let Some(url) = wanted.url.as_ref().filter(|url| **url != subscription.url) {
            // Another receiver, of which nothing is known yet.
            subscription.url.clone_from(url);
            (subscription.failures_in_a_row, subscription.left_alone_until) = (0, None);
        }
        if let Some(entities) = &wanted.entities {
            subscription.entities.clone_from(entities);
            subscription.entities.sort();
            subscription.entities.dedup();
        }
        if let Some(accounts) = &wanted.accounts {
            subscription.accounts = (!accounts.is_empty()).then(|| accounts.clone());
        }
        subscription.description = wanted.description.clone().unwrap_or_else(|| subscription.description.clone());
        subscription.event_types = wanted.event_types.clone().unwrap_or_else(|| subscription.event_types.clone());
        subscription.ordered = wanted.ordered.unwrap_or(subscription.ordered);
        Ok(refusals)
    }
}

/// What can be said against a wish without looking anything up.
fn check(wanted: &UpdateWebhookSubscription) -> Refusals {
    let mut refusals = Vec::new();
    let description = wanted.description.as_deref().unwrap_or_default();
    if description.chars().count() > LONGEST_DESCRIPTION {
        let message = format!("At most {LONGEST_DESCRIPTION} characters.");
        refusals.push(Refusal::new("description", UserErrorCode::TooLong, message));
    }
    if description.contains(char::is_control) {
        let message = "The description holds a control character.";
        refusals.push(Refusal::new("description", UserErrorCode::Invalid, message));
    }
    if wanted.entities.as_ref().is_some_and(Vec::is_empty) {
        refusals.push(Refusal::new("entities", UserErrorCode::Required, "Name at least one kind of record."));
    }
    let names = wanted.event_types.as_deref().unwrap_or_default();
    let is_name = |name: &String| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (1..=LONGEST_EVENT).contains(&name.len()) && name.chars().all(fits)
    };
    if let Some(wrong) = names.iter().position(|name| !is_name(name)) {
        let field = format!("eventTypes.{wrong}");
        refusals.push(Refusal::new(&field, UserErrorCode::Invalid, "An event is called like sow_signed."));
    }
    for (field, count) in [("eventTypes", names.len()), ("accountIds", wanted.accounts.as_ref().map_or(0, Vec::len))] {
        if count > MOST_NAMES {
            let message = format!("At most {MOST_NAMES}; these are {count}.");
            refusals.push(Refusal::new(field, UserErrorCode::LimitExceeded, message));
        }
    }
    refusals
}
