//! Custom fields of a record: how they are shown, and what becomes of one of which a system speaks no more.
//!
//! A reading speaks of every custom field that its connection is told of, as far as the row holds the property. So one of
//! which the newest reading does not speak is not mapped any more, or is read from a property that the row does not hold:
//! either way it is said by that system no more.

use std::{borrow::Cow, collections::BTreeSet};

use crosstie_domain::{
    custom::{CUSTOM, CustomValue, CustomValues, custom_name},
    integration::{ConflictStatus, authority::FieldRules},
};
use crosstie_store::integration::Fields;
use serde_json::{Value, json};

use super::{
    fields::{Spoken, Values, closed},
    page::Page,
};

/// Custom fields by the names of shared fields.
pub(crate) fn values(custom: &CustomValues) -> impl Iterator<Item = (Cow<'static, str>, Value)> {
    custom.iter().map(|(name, value)| (Cow::Owned(format!("{CUSTOM}{name}")), json!(value)))
}

/// Shows a value from now on, if it is that of a custom field; whether it is. One that is no value of any kind changes
/// nothing.
pub(super) fn show(custom: &mut CustomValues, field: &str, value: &Value) -> bool {
    let Some(name) = custom_name(field) else { return false };
    if value.is_null() {
        custom.remove(name);
    } else if let Ok(value) = serde_json::from_value::<CustomValue>(value.clone()) {
        custom.insert(name.to_owned(), value);
    }
    true
}

/// Of the fields of a record that one system alone knows, the custom ones that it speaks of no more: they are empty.
pub(super) fn unsaid(shown: &Values, said: &BTreeSet<&str>) -> Values {
    let gone = shown.keys().filter(|field| custom_name(field).is_some() && !said.contains(&***field));
    gone.map(|field| (field.clone(), Value::Null)).collect()
}

/// Forgets what a system said before of the custom fields that it speaks of no more. Returns what is shown instead.
pub(super) fn withdraw(page: &mut Page<'_>, rules: &FieldRules, spoken: &Spoken<'_>, fields: &mut Fields) -> Values {
    let ranks = page.ranks();
    let mut decided = Values::new();
    for (field, state) in fields.iter_mut() {
        let is_unsaid = custom_name(field).is_some() && !spoken.custom.contains(field.as_str());
        if !is_unsaid || !state.voices.contains_key(&spoken.speaker) {
            continue;
        }
        let Some(rule) = rules.of(spoken.entity, field) else { continue };
        if state.withdraw(&spoken.speaker, &|speaker| ranks.rank(rule, speaker)) {
            state.since = spoken.at;
            decided.insert(field.clone().into(), state.base.clone());
        }
        if state.voices.len() < 2
            && let Some(held) = state.held.as_ref()
            && let Some(conflict) = page.conflict(held.conflict)
        {
            state.held = None;
            let withdrawn = closed(conflict, ConflictStatus::Withdrawn, state, page.now);
            page.save_conflict(withdrawn);
        }
    }
    forget_the_silent(fields);
    decided
}

/// Custom fields that nobody speaks of are fields no more.
pub(crate) fn forget_the_silent(fields: &mut Fields) {
    fields.retain(|field, state| custom_name(field).is_none() || !state.voices.is_empty());
}
