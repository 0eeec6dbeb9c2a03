//! The customer's own fields, as connections are told of them.

use std::collections::BTreeMap;

use crosstie_domain::{
    custom::{CUSTOM, CustomFieldDefinition},
    ids::ConnectionId,
    integration::{AssertedField, Entity},
};

use crate::App;

/// A custom field that rows do not tell of, since they were read before its property was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnaskedField {
    /// The kind of record.
    pub entity: Entity,
    /// The name of the field.
    pub name: String,
    /// What the vendor calls it.
    pub property: String,
    /// In how many of the rows that were looked at it is missing.
    pub rows: i32,
}

impl App {
    /// The customer's own fields that the connections of this process are told of now, by the names of the connections.
    pub fn custom_fields(&self) -> Vec<(ConnectionId, CustomFieldDefinition)> {
        let Some(vendors) = self.vendors() else { return Vec::new() };
        let told = vendors.custom_fields_in_force().into_iter();
        told.flat_map(|(id, fields)| fields.iter().map(move |field| (id, field.clone())).collect::<Vec<_>>()).collect()
    }

    /// What people call the custom fields of a kind of record, by their names: as the first connection says that is told
    /// of each. One that none is told of is missing.
    pub fn custom_labels(&self, entity: Entity) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (_, field) in self.custom_fields().into_iter().filter(|(_, field)| field.entity == entity) {
            labels.entry(field.name).or_insert(field.label);
        }
        labels
    }
}

/// Counts the custom fields of which a row does not tell.
pub(super) fn note_unasked(
    unasked: &mut Vec<UnaskedField>,
    (entity, told): (Entity, &[CustomFieldDefinition]),
    said: &BTreeMap<String, AssertedField>,
) {
    for field in told.iter().filter(|field| field.entity == entity) {
        if said.contains_key(&format!("{CUSTOM}{}", field.name)) {
            continue;
        }
        match unasked.iter_mut().find(|known| known.entity == entity && known.name == field.name) {
            Some(known) => known.rows += 1,
            None => unasked.push(UnaskedField {
                entity,
                name: field.name.clone(),
                property: field.property.clone(),
                rows: 1,
            }),
        }
    }
}
