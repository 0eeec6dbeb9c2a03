//! What other systems say once more after it was erased: it is taken in without it.

use std::{borrow::Cow, collections::BTreeMap};

use crosstie_domain::integration::{AssertedField, Claim};
use serde_json::Value;

use super::{
    ERASED, Erased,
    job::{clean_field, is_erased},
};
use crate::ingest::Observation;

/// An observation without what was erased.
pub(crate) struct Cleaned {
    remote_version: Option<String>,
    claim: Claim,
    fields: BTreeMap<String, AssertedField>,
    raw: String,
}

impl Cleaned {
    /// What is left of an observation; `None` when nothing erased is in it.
    pub(crate) fn of(seen: Observation<'_>, erased: &Erased) -> Option<Self> {
        if erased.is_empty() {
            return None;
        }
        let mut claim = serde_json::to_value(seen.claim).ok()?;
        let mut any = clean(&mut claim, erased);
        let mut fields = seen.fields.clone();
        for (name, field) in &mut fields {
            let said = claim.get(name).filter(|value| !value.is_null());
            let marked = said.is_some_and(|value| value.to_string().contains("[erased:"));
            if let Some(now) = clean_field(field, erased) {
                *field = now;
                any = true;
            } else if marked || field.value.to_string().contains("[erased:") {
                field.problem = Some(ERASED.to_owned());
            }
            // What the claim says counts in lineage, too, and the mark is to stand there.
            if let Some(said) = said.filter(|_| marked) {
                field.value = said.clone();
            }
        }
        let raw = erased.mask(seen.raw);
        let remote_version = seen.remote_version.and_then(|version| erased.mask(version));
        if !any && raw.is_none() && remote_version.is_none() {
            return None;
        }
        if let Some(members) = claim.as_object_mut() {
            // A record keeps a name: the mark. Of anything else the system is taken not to have spoken.
            members.retain(|name, value| name == "name" || !is_erased(value));
        }
        Some(Self {
            remote_version: remote_version.or_else(|| seen.remote_version.map(str::to_owned)),
            claim: serde_json::from_value(claim).ok()?,
            fields,
            raw: raw.unwrap_or_else(|| seen.raw.to_owned()),
        })
    }

    /// The observation.
    pub(crate) fn seen<'a>(&'a self, seen: Observation<'a>) -> Observation<'a> {
        let remote_version = self.remote_version.as_deref();
        Observation { remote_version, claim: &self.claim, fields: &self.fields, raw: &self.raw, ..seen }
    }
}

/// The fields of which a system spoke, without those that were erased as a whole.
pub(crate) fn heard(fields: &BTreeMap<String, AssertedField>) -> Cow<'_, BTreeMap<String, AssertedField>> {
    if !fields.values().any(|field| is_erased(&field.value)) {
        return Cow::Borrowed(fields);
    }
    let spoken = fields.iter().filter(|(_, field)| !is_erased(&field.value));
    Cow::Owned(spoken.map(|(name, field)| (name.clone(), field.clone())).collect())
}

/// Puts marks in the place of what was erased, in every text of a value.
fn clean(value: &mut Value, erased: &Erased) -> bool {
    match value {
        Value::String(text) => match erased.mask(text) {
            Some(now) => {
                *text = now;
                true
            }
            // History that is mapped anew has marks already.
            None => text.contains("[erased:"),
        },
        Value::Array(items) => items.iter_mut().filter_map(|item| clean(item, erased).then_some(())).count() > 0,
        Value::Object(members) => members.values_mut().filter_map(|item| clean(item, erased).then_some(())).count() > 0,
        _ => false,
    }
}
