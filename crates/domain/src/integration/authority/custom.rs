//! Custom fields among those that systems share.

use serde_json::Value;

use super::{FieldRule, FieldRules, FieldState, Rank, Speaker};
use crate::{
    custom::{EVERY_CUSTOM_FIELD, custom_name, is_custom_name},
    integration::Entity,
};

impl FieldRules {
    /// Gives a custom field that goes by the rule of all of them a rule of its own, which says the same.
    pub(super) fn give_its_own(&mut self, entity: Entity, field: &str) {
        let is_one = custom_name(field).is_some_and(is_custom_name);
        if !is_one || self.0.iter().any(|rule| rule.entity == entity && rule.field == field) {
            return;
        }
        if let Some(rule) = self.of(entity, EVERY_CUSTOM_FIELD) {
            let own = FieldRule { field: field.to_owned().into(), ..rule.clone() };
            self.0.push(own);
        }
    }
}

impl FieldState {
    /// Forgets what a system said of a custom field that it speaks of no more: its connection is not told of the field
    /// any more, or the record there has no such property. The next in the order of those who have a say is followed;
    /// a field that nobody has a value for is empty. Returns whether the agreed value changed.
    pub fn withdraw(&mut self, speaker: &Speaker, rank: Rank<'_>) -> bool {
        let before = self.base.clone();
        self.forget(speaker, rank);
        let is_orphan = self.by.as_ref() == Some(speaker);
        if is_orphan || self.voices.values().all(|voice| voice.value.is_null()) {
            (self.base, self.by) = (Value::Null, None);
        }
        self.base != before
    }
}
