//! Fields of the customer's own: fields of parties and opportunities that modules of the customer's add.

use std::{borrow::Cow, ops::Deref};

use crosstie_sdk::{Bag, Connector, CustomFields, Fault, Net, Settings, Unmappable, domain::integration::Entity};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    Tryton,
    wire::{Date, DateTime, Decimal},
};

/// The kinds of record that have them.
pub(crate) const ENTITIES: &[Entity] = &[Entity::Account, Entity::Opportunity];

/// A record: what the hub knows of every one, and all fields as they came.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Map<String, Value>", bound = "T: DeserializeOwned")]
pub(crate) struct Whole<T> {
    known: T,
    all: Map<String, Value>,
}

impl<T: DeserializeOwned> TryFrom<Map<String, Value>> for Whole<T> {
    type Error = serde_json::Error;

    fn try_from(all: Map<String, Value>) -> Result<Self, serde_json::Error> {
        Ok(Self { known: T::deserialize(&all)?, all })
    }
}

impl<T> Deref for Whole<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.known
    }
}

/// Whether Tryton can call a field so. Fields of other records are not reached into.
pub(crate) fn is_field(property: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    property.bytes().enumerate().all(|(place, byte)| is_letter(byte) || (place > 0 && byte.is_ascii_digit()))
}

/// The fields that are asked for of a kind of record: those of every one, and the customer's own.
pub(crate) fn asked(net: &Net, entity: Entity, always: &[&str]) -> Result<Vec<String>, Fault> {
    let custom = Tryton.custom_fields(&net.settings());
    let custom = custom.map_err(|error| Fault::Bug { why: error.to_string() })?;
    let mut asked: Vec<String> = always.iter().map(|field| (*field).to_owned()).collect();
    for property in custom.properties(entity) {
        // A field that is reached into comes with what is behind it, and cannot come as an id as well.
        let is_asked = |field: &String| field.split('.').next() == Some(property);
        if !asked.iter().any(is_asked) {
            asked.push(property.to_owned());
        }
    }
    Ok(asked)
}

/// Takes the customer's own fields of a record into the bag. One that was asked for is there, empty or not.
pub(crate) fn read<T>(
    settings: &Settings,
    (entity, record): (Entity, &Whole<T>),
    bag: &mut Bag,
) -> Result<(), Unmappable> {
    let custom = CustomFields::of(settings, ENTITIES);
    let custom = custom.map_err(|error| Unmappable { code: "BAD_SETTINGS", why: error.to_string() })?;
    custom.read(entity, bag, |property| Some((plain(record.all.get(property)?), property.to_owned())));
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
