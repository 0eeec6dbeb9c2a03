//! Custom fields: fields of the customer's own at the vendor, which the settings of a connection name. All that they
//! need is here, so that they mean the same at every vendor; a connector says where a property stands.

use std::{borrow::Cow, collections::BTreeMap, ops::Deref};

use crosstie_domain::{
    CivilDate, Instant, UserErrorCode,
    custom::{
        CUSTOM, CUSTOM_ENTITIES, CustomFieldDefinition, CustomFieldKind, CustomNumber, CustomValue,
        LONGEST_CUSTOM_NAME, built_in_fields, is_custom_name,
    },
    integration::Entity,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{Bag, Settings, SettingsError};

/// The key of the settings that names them.
pub const CUSTOM_FIELDS: &str = "custom_fields";
/// Custom fields of one kind of record, at most.
const MOST_FIELDS: usize = 50;
/// Options of one field, at most.
const MOST_OPTIONS: usize = 200;
/// The longest label, property or option, in characters.
const LONGEST_WORD: usize = 100;
/// The longest text of a value, in characters.
const LONGEST_TEXT: usize = 2_000;

/// The custom fields that a connection is told of, by kind of record and name:
///
/// ```
/// use crosstie_sdk::{CustomFields, Settings, domain::integration::Entity};
/// use serde_json::json;
///
/// let settings = Settings::new(json!({ "custom_fields": { "opportunity": {
///     "deliveryModel": { "property": "delivery_model", "kind": "TEXT", "label": "Delivery model" },
/// } } }));
/// let fields = CustomFields::of(&settings, &[Entity::Account, Entity::Opportunity]).unwrap();
/// assert_eq!(fields.properties(Entity::Opportunity), ["delivery_model"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomFields(BTreeMap<(Entity, String), CustomField>);

/// What a vendor sends of a record: what the connector knows of every one, and all of it as it came.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Map<String, Value>", bound = "T: DeserializeOwned")]
pub struct Whole<T> {
    known: T,
    all: Map<String, Value>,
}

impl<T> Whole<T> {
    /// What stands in a property; none when it was not asked for.
    pub fn get(&self, property: &str) -> Option<&Value> {
        self.all.get(property)
    }
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

#[derive(Debug, Clone, PartialEq, Eq)]
struct CustomField {
    property: String,
    kind: CustomFieldKind,
    label: Option<String>,
    /// What the vendor's options are called in the hub.
    options: BTreeMap<String, String>,
}

type Checked<T> = Result<T, SettingsError>;

impl CustomFields {
    /// The custom fields of a connection whose connector reads these kinds of record.
    ///
    /// # Errors
    /// The setting that is wrong, by its path.
    pub fn of(settings: &Settings, entities: &[Entity]) -> Result<Self, SettingsError> {
        let fields = settings.as_value().get(CUSTOM_FIELDS).map_or(Ok(Self::default()), Self::parse)?;
        match fields.0.keys().find(|(entity, _)| !entities.contains(entity)) {
            Some((entity, _)) => Err(wrong(&[entity.as_str()], "the connector does not read this kind of record")),
            None => Ok(fields),
        }
    }

    /// The same, of whose properties each has a form of the vendor's.
    ///
    /// # Errors
    /// [`SettingsError`] for a property of another form, which is to be as told.
    pub fn with_properties(self, fits: impl Fn(&str) -> bool, told: &str) -> Result<Self, SettingsError> {
        match self.0.iter().find(|(_, field)| !fits(&field.property)) {
            Some(((entity, name), _)) => Err(wrong(&[entity.as_str(), name, "property"], told)),
            None => Ok(self),
        }
    }

    fn parse(value: &Value) -> Checked<Self> {
        let mut fields = BTreeMap::new();
        for (kind, named) in object(value, &[])? {
            let known = CUSTOM_ENTITIES.iter().find(|entity| entity.as_str() == kind);
            let Some(entity) = known.copied() else {
                return Err(wrong(&[kind], "only account and opportunity have custom fields"));
            };
            let named = object(named, &[kind])?;
            if named.len() > MOST_FIELDS {
                let why = format!("a kind of record has at most {MOST_FIELDS} custom fields at one connection");
                return Err(error(&[kind], UserErrorCode::LimitExceeded, why));
            }
            for (name, field) in named {
                if !is_custom_name(name) {
                    let why = format!(
                        "a name is a lower case letter, then letters and digits, at most {LONGEST_CUSTOM_NAME} of them"
                    );
                    return Err(wrong(&[kind, name], &why));
                }
                if built_in_fields(entity).contains(&name.as_str()) {
                    return Err(wrong(&[kind, name], "every record of this kind has a field of this name already"));
                }
                fields.insert((entity, name.clone()), CustomField::parse(field, &[kind, name])?);
            }
        }
        Ok(Self(fields))
    }

    /// What a vendor is asked for that sends only what it is asked for: what is always asked for, and the properties of
    /// a kind of record, each once. What is reached into (`party.name`) comes with what is behind it.
    pub fn asked(&self, entity: Entity, always: &[&str]) -> Vec<String> {
        let mut asked: Vec<String> = always.iter().map(|name| (*name).to_owned()).collect();
        for property in self.properties(entity) {
            if !always.iter().any(|name| name.split('.').next() == Some(property)) {
                asked.push(property.to_owned());
            }
        }
        asked
    }

    /// The vendor's properties behind the fields of a kind of record, each once.
    pub fn properties(&self, entity: Entity) -> Vec<&str> {
        let mut properties: Vec<&str> = self.fields(entity).map(|(_, field)| field.property.as_str()).collect();
        properties.sort_unstable();
        properties.dedup();
        properties
    }

    fn fields(&self, entity: Entity) -> impl Iterator<Item = (&str, &CustomField)> {
        self.0.iter().filter(move |((of, _), _)| *of == entity).map(|((_, name), field)| (name.as_str(), field))
    }

    /// What the hub is told of them.
    pub fn definitions(&self) -> Vec<CustomFieldDefinition> {
        let told = |((entity, name), field): (&(Entity, String), &CustomField)| CustomFieldDefinition {
            entity: *entity,
            name: name.clone(),
            label: field.label.clone().unwrap_or_else(|| name.clone()),
            kind: field.kind,
            property: field.property.clone(),
        };
        self.0.iter().map(told).collect()
    }

    /// Takes the values of a row into the bag, as `custom.` and the name. `stands` says of a property what stands in
    /// the row and where: null where the vendor holds nothing, nothing where the row does not speak of the property,
    /// since it was not asked for. A value of another kind is noted as a problem of its field, and nothing else.
    pub fn read<'a>(&self, entity: Entity, bag: &mut Bag, stands: impl Fn(&str) -> Option<(Cow<'a, Value>, String)>) {
        for (name, field) in self.fields(entity) {
            if let Some((value, path)) = stands(&field.property) {
                bag.take(&format!("{CUSTOM}{name}"), &path, field.value(&value));
            }
        }
    }

    /// The JSON schema of the setting, for a connector that reads these kinds of record.
    pub fn schema(entities: &[Entity]) -> Value {
        let word = json!({ "type": "string", "minLength": 1, "maxLength": LONGEST_WORD });
        let field = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["property", "kind"],
            "properties": {
                "property": word,
                "kind": { "enum": CustomFieldKind::ALL.map(|(_, text)| text) },
                "label": word,
                "options": {
                    "description": "Of a CHOICE: the vendor's option to what it is called; others are taken as they come.",
                    "type": "object",
                    "maxProperties": MOST_OPTIONS,
                    "additionalProperties": word,
                },
            },
        });
        let of = |entity: &Entity| {
            let fields = json!({
                "type": "object",
                "maxProperties": MOST_FIELDS,
                "propertyNames": { "pattern": format!("^[a-z][A-Za-z0-9]{{0,{}}}$", LONGEST_CUSTOM_NAME - 1) },
                "additionalProperties": field,
            });
            (entity.as_str().to_owned(), fields)
        };
        json!({
            "description": "Fields of the customer's own, by kind of record and name in the hub.",
            "type": "object",
            "additionalProperties": false,
            "properties": entities.iter().map(of).collect::<Map<_, _>>(),
        })
    }
}

impl<'de> Deserialize<'de> for CustomFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl CustomField {
    fn parse(value: &Value, at: &[&str]) -> Checked<Self> {
        let members = object(value, at)?;
        let below = |key: &'static str| [at, &[key]].concat();
        if let Some(key) = members.keys().find(|key| !["property", "kind", "label", "options"].contains(&key.as_str()))
        {
            return Err(wrong(&[at, &[key.as_str()]].concat(), "a custom field has property, kind, label and options"));
        }
        let needed = |key| {
            members.get(key).ok_or_else(|| error(&below(key), UserErrorCode::Required, "it is missing".to_owned()))
        };
        let property = word(needed("property")?, &below("property"))?;
        let kinds = CustomFieldKind::ALL.map(|(_, text)| text).join(", ");
        let kind = needed("kind")?.as_str().and_then(CustomFieldKind::parse);
        let kind = kind.ok_or_else(|| wrong(&below("kind"), &format!("the kinds are {kinds}")))?;
        let label = members.get("label").map(|label| word(label, &below("label"))).transpose()?;
        let mut options = BTreeMap::new();
        if let Some(given) = members.get("options") {
            if kind != CustomFieldKind::Choice {
                return Err(wrong(&below("options"), "only a CHOICE has options"));
            }
            let given = object(given, &below("options"))?;
            if given.len() > MOST_OPTIONS {
                let why = format!("a field has at most {MOST_OPTIONS} options");
                return Err(error(&below("options"), UserErrorCode::LimitExceeded, why));
            }
            for (option, label) in given {
                options
                    .insert(option.clone(), word(label, &[below("options").as_slice(), &[option.as_str()]].concat())?);
            }
        }
        Ok(Self { property, kind, label, options })
    }

    /// What a value of the vendor's says; `Ok(None)` where it holds nothing. A problem does not quote the value.
    fn value(&self, value: &Value) -> Result<Option<CustomValue>, String> {
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) => text.trim().replace('\0', "\u{fffd}"),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err("a list or an object, which is no single value".to_owned());
            }
        };
        if text.is_empty() {
            return Ok(None);
        }
        let letters = text.chars().count();
        if letters > LONGEST_TEXT {
            return Err(format!("{letters} characters, and {LONGEST_TEXT} are kept"));
        }
        let read = match self.kind {
            CustomFieldKind::Text => Some(CustomValue::Text(text)),
            CustomFieldKind::Choice => {
                let label = self.options.get(&text).cloned();
                Some(CustomValue::Choice(label.unwrap_or(text)))
            }
            CustomFieldKind::Number => CustomNumber::parse(&text).map(CustomValue::Number),
            CustomFieldKind::Boolean => truth(&text).map(CustomValue::Boolean),
            CustomFieldKind::Date => day(&text).map(CustomValue::Date),
            CustomFieldKind::Instant => moment(&text).map(CustomValue::Instant),
        };
        let expected = match self.kind {
            CustomFieldKind::Number => "a decimal number of at most 38 digits",
            CustomFieldKind::Boolean => "true or false",
            CustomFieldKind::Date => "a day such as 2026-11-23, or its beginning in UTC",
            CustomFieldKind::Instant => "a moment by RFC 3339, or milliseconds since 1970",
            CustomFieldKind::Text | CustomFieldKind::Choice => "a text",
        };
        read.map(Some).ok_or_else(|| format!("not {expected}"))
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A day as it is written, or by the moment at which it begins in UTC: some vendors keep days so. Of any other moment
/// nobody can tell in which zone its day is meant.
fn day(text: &str) -> Option<CivilDate> {
    if let Ok(day) = text.parse::<CivilDate>()
        && day.to_string() == text
    {
        return Some(day);
    }
    let micros = moment(text)?.micros();
    let is_beginning = micros.rem_euclid(86_400_000_000) == 0;
    let days = i32::try_from(micros.div_euclid(86_400_000_000)).ok();
    days.filter(|_| is_beginning).and_then(CivilDate::from_days)
}

fn moment(text: &str) -> Option<Instant> {
    match text.parse::<i64>() {
        Ok(ms) => Instant::from_micros(ms.checked_mul(1_000)?),
        Err(_) => text.parse().ok(),
    }
}

fn object<'a>(value: &'a Value, at: &[&str]) -> Checked<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| wrong(at, "not a table of keys and values"))
}

fn word(value: &Value, at: &[&str]) -> Checked<String> {
    let text = value.as_str().ok_or_else(|| wrong(at, "not a text"))?;
    if text.chars().count() > LONGEST_WORD {
        return Err(error(at, UserErrorCode::TooLong, format!("at most {LONGEST_WORD} characters")));
    }
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(wrong(at, "empty, or with control characters"));
    }
    Ok(text.to_owned())
}

fn wrong(at: &[&str], why: &str) -> SettingsError {
    error(at, UserErrorCode::Invalid, why.to_owned())
}

fn error(at: &[&str], code: UserErrorCode, why: String) -> SettingsError {
    let path = std::iter::once(CUSTOM_FIELDS).chain(at.iter().copied()).map(str::to_owned).collect();
    SettingsError { path, code, why }
}

#[cfg(test)]
#[path = "custom_tests.rs"]
mod tests;
