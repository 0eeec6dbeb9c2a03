//! Fields of the customer's own: fields of parties and opportunities that modules of the customer's add.

use std::borrow::Cow;

use crosstie_sdk::{
    Bag, Connector, CustomFields, Fault, Net, Settings, Unmappable, Whole, domain::integration::Entity,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Tryton,
    wire::{Date, DateTime, Decimal},
};

/// The kinds of record that have them.
pub(crate) const ENTITIES: &[Entity] = &[Entity::Account, Entity::Opportunity];

/// Whether Tryton can call a field so. Fields of other records are not reached into.
pub(crate) fn is_field(property: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    property.bytes().enumerate().all(|(place, byte)| is_letter(byte) || (place > 0 && byte.is_ascii_digit()))
}

/// The fields that are asked for of a kind of record: those of every one, and the customer's own.
pub(crate) fn asked(net: &Net, entity: Entity, always: &[&str]) -> Result<Vec<String>, Fault> {
    Ok(Tryton.custom_fields(&net.settings())?.asked(entity, always))
}

/// Takes the customer's own fields of a record into the bag. One that was asked for is there, empty or not.
pub(crate) fn read<T>(
    settings: &Settings,
    (entity, record): (Entity, &Whole<T>),
    bag: &mut Bag,
) -> Result<(), Unmappable> {
    let custom = CustomFields::of(settings, ENTITIES)?;
    custom.read(entity, bag, |property| Some((plain(record.get(property)?), property.to_owned())));
    Ok(())
}

/// A value without Tryton's classes: an exact number, a day and a moment as texts.
fn plain(value: &Value) -> Cow<'_, Value> {
    let class = value.get("__class__").and_then(Value::as_str);
    let text = match class {
        Some("Decimal") => Decimal::deserialize(value).ok().map(|number| number.decimal),
        Some("date") => Date::deserialize(value).ok().and_then(|day| day.civil().ok()).map(|day| day.to_string()),
        Some("datetime") => DateTime::deserialize(value).ok().and_then(|at| at.instant().ok()).map(|at| at.to_string()),
        _ => None,
    };
    text.map_or(Cow::Borrowed(value), |text| Cow::Owned(Value::String(text)))
}
