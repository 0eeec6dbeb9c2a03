//! Why a field has the value that it has: who said it, when, by what evidence, and what was overruled.

use std::{borrow::Cow, collections::BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AssertedField, Assertion, Entity,
    authority::{Authority, FieldRule, FieldState, Held, SHARED_FIELDS, Speaker},
};
use crate::{
    custom::{CUSTOM_ENTITIES, EVERY_CUSTOM_FIELD, custom_name, is_custom_name},
    time::Instant,
};

/// How a field came by its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, async_graphql::Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProvenanceDecision {
    /// One system alone knows the record, and said so.
    OnlyVoice,
    /// Of the systems that know it, the rule of the field follows this one.
    Followed,
    /// A person decided a conflict.
    Person,
    /// No system spoke of it: the hub itself set it, or left it empty.
    Hub,
}

/// Why what a system says is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, async_graphql::Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OverruledBecause {
    /// Systems like it have no say over the field.
    NoAuthority,
    /// Another system that has the same say, or more, is followed.
    AnotherFollowed,
    /// The field is held until a person decides.
    Held,
    /// A person decided otherwise.
    Person,
}

/// One thing that a system said of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence<'a> {
    /// Who says it.
    pub speaker: Speaker,
    /// The value, in the hub's terms.
    pub value: Value,
    /// The assertion in which it was first said, as far back as is known; none for what the hub wrote there itself.
    pub said_in: Option<&'a Assertion>,
    /// The field of that assertion.
    pub said: Option<&'a AssertedField>,
    /// When it was last heard.
    pub heard_at: Instant,
}

/// Why a field has the value that it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance<'a> {
    /// The value that is shown.
    pub value: Value,
    /// How it came to be.
    pub decision: ProvenanceDecision,
    /// Since when it is shown, where several systems know the record.
    pub since: Option<Instant>,
    /// Who said it.
    pub source: Option<Evidence<'a>>,
    /// What else is said, and why it is not shown.
    pub overruled: Vec<(Evidence<'a>, OverruledBecause)>,
    /// The open conflict about it.
    pub held: Option<Held>,
}

/// The shared field that goes by a name in the graph or in claims, such as `billingEmail`, `native_stage` or
/// `custom.region`.
pub fn shared_field(entity: Entity, name: &str) -> Option<Cow<'static, str>> {
    if let Some(custom) = custom_name(name) {
        let is_one = CUSTOM_ENTITIES.contains(&entity) && is_custom_name(custom);
        return is_one.then(|| Cow::Owned(name.to_owned()));
    }
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    let known = match (entity, snake.as_str()) {
        (Entity::Opportunity, "native_stage") => "stage",
        (Entity::Opportunity, "account_id") => "account",
        (Entity::Invoice, "native_status") => "status",
        (Entity::Invoice, "account" | "account_id") => "customer",
        (_, other) => other,
    };
    let found = SHARED_FIELDS.iter().find(|(of, field, _)| *of == entity && *field == known);
    found.map(|(_, field, _)| Cow::Borrowed(*field))
}

/// The names of the shared fields of a kind of record; `custom.*` stands for its custom fields.
pub fn shared_fields(entity: Entity) -> impl Iterator<Item = &'static str> {
    let custom = CUSTOM_ENTITIES.contains(&entity).then_some(EVERY_CUSTOM_FIELD);
    SHARED_FIELDS.iter().filter(move |(of, _, _)| *of == entity).map(|(_, field, _)| *field).chain(custom)
}

/// The field of an assertion that a shared field is read from.
fn asserted<'a>(assertion: &'a Assertion, field: &str) -> Option<&'a AssertedField> {
    let name = match (assertion.entity, field) {
        (Entity::Opportunity, "stage") => "native_stage",
        (Entity::Invoice, "status") => "native_status",
        (_, other) => other,
    };
    assertion.fields.get(name)
}

/// What a system says of a field, back to where it first said so. The history is newest first.
fn evidence<'a>(speaker: Speaker, field: &str, history: &'a [Assertion]) -> Option<Evidence<'a>> {
    let mut own = history
        .iter()
        .filter(|assertion| assertion.connection_id == speaker.connection && assertion.remote_id == speaker.remote_id);
    let (latest, said) = own.find_map(|assertion| Some((assertion, asserted(assertion, field)?)))?;
    let mut first = (latest, said);
    if !said.changed {
        let same = own.filter_map(|assertion| Some((assertion, asserted(assertion, field)?)));
        for (earlier, spoken) in same.take_while(|(_, spoken)| spoken.value == said.value) {
            first = (earlier, spoken);
            if spoken.changed {
                break;
            }
        }
    }
    let newest = history
        .iter()
        .find(|assertion| assertion.connection_id == speaker.connection && assertion.remote_id == speaker.remote_id);
    Some(Evidence {
        speaker,
        value: said.value.clone(),
        said_in: Some(first.0),
        said: Some(first.1),
        heard_at: newest.map_or(latest.observed_at, |assertion| assertion.observed_at),
    })
}

/// What systems say of a field over which the hub alone has the say, as far as it is something else than what is shown.
fn disagreeing<'a>(field: &str, value: &Value, history: &'a [Assertion]) -> Vec<(Evidence<'a>, OverruledBecause)> {
    let speakers: BTreeSet<Speaker> = history
        .iter()
        .map(|said| Speaker { connection: said.connection_id, remote_id: said.remote_id.clone() })
        .collect();
    let said = speakers.into_iter().filter_map(|speaker| evidence(speaker, field, history));
    said.filter(|said| said.value != *value).map(|said| (said, OverruledBecause::NoAuthority)).collect()
}

impl<'a> Provenance<'a> {
    /// Why a field, which goes by this rule, shows this value. `state` is there when several systems know the record;
    /// `history` is what they said, newest first.
    pub fn of(
        (field, rule): (&str, &FieldRule),
        value: Value,
        state: Option<&FieldState>,
        history: &'a [Assertion],
        rank: &dyn Fn(&Speaker) -> Option<usize>,
    ) -> Self {
        let Some(state) = state else {
            if rule.authority == Authority::Local {
                let overruled = disagreeing(field, &value, history);
                return Self {
                    value,
                    decision: ProvenanceDecision::Hub,
                    since: None,
                    source: None,
                    overruled,
                    held: None,
                };
            }
            let speaker = history.iter().find(|assertion| asserted(assertion, field).is_some());
            let speaker = speaker.map(|assertion| Speaker {
                connection: assertion.connection_id,
                remote_id: assertion.remote_id.clone(),
            });
            let source = speaker.and_then(|speaker| evidence(speaker, field, history));
            let decision = if source.is_some() { ProvenanceDecision::OnlyVoice } else { ProvenanceDecision::Hub };
            return Self { value, decision, since: None, source, overruled: Vec::new(), held: None };
        };
        let heard = |speaker: &Speaker| {
            let voice = state.voices.get(speaker)?;
            let bare = Evidence {
                speaker: speaker.clone(),
                value: voice.value.clone(),
                said_in: None,
                said: None,
                heard_at: voice.observed_at,
            };
            let found = evidence(speaker.clone(), field, history);
            Some(found.map_or(bare, |found| Evidence { value: voice.value.clone(), ..found }))
        };
        let source = state.by.as_ref().and_then(heard);
        let decision = match (&source, state.since) {
            (Some(_), _) => ProvenanceDecision::Followed,
            (None, _) if state.voices.is_empty() || value.is_null() => ProvenanceDecision::Hub,
            (None, _) => ProvenanceDecision::Person,
        };
        let because = |speaker: &Speaker| match (&state.held, rank(speaker)) {
            (_, None) => OverruledBecause::NoAuthority,
            (Some(_), _) => OverruledBecause::Held,
            (None, _) if decision == ProvenanceDecision::Person => OverruledBecause::Person,
            (None, _) => OverruledBecause::AnotherFollowed,
        };
        let overruled = state.overruled().filter_map(|(speaker, _)| Some((heard(speaker)?, because(speaker))));
        let overruled = overruled.collect();
        Self { value, decision, since: Some(state.since), source, overruled, held: state.held.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::integration::authority::{FieldRules, Heard};

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000).expect("a moment")
    }

    fn said(connection: u128, second: i64, fields: &[(&str, Value, bool)]) -> Assertion {
        let fields = fields.iter().map(|(name, value, changed)| {
            let source_path = format!("properties.{name}");
            let field = AssertedField { value: value.clone(), source_path, changed: *changed, problem: None };
            ((*name).to_owned(), field)
        });
        Assertion {
            id: crate::ids::AssertionId::from_uuid(uuid::Uuid::from_u128(u128::try_from(second).expect("positive"))),
            entity: Entity::Account,
            record_id: "acc_1".to_owned(),
            connection_id: crate::ids::ConnectionId::from_uuid(uuid::Uuid::from_u128(connection)),
            remote_id: "r".to_owned(),
            remote_version: None,
            run_id: None,
            inbound_event_id: None,
            exchange_id: None,
            correction_id: None,
            mapping_version: "1".to_owned(),
            observed_at: at(second),
            fields: fields.collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn names_of_the_graph_and_of_claims_lead_to_the_shared_field() {
        for (entity, name, field) in [
            (Entity::Account, "billingEmail", Some("billing_email")),
            (Entity::Opportunity, "nativeStage", Some("stage")),
            (Entity::Opportunity, "close_on", Some("close_on")),
            (Entity::Invoice, "account", Some("customer")),
            (Entity::Invoice, "amountPaid", Some("amount_paid")),
            (Entity::Account, "size", None),
            (Entity::Account, "custom.deliveryModel", Some("custom.deliveryModel")),
            (Entity::Opportunity, "custom.region", Some("custom.region")),
            (Entity::Opportunity, "custom.*", None),
            (Entity::Opportunity, "custom.Region", None),
            (Entity::Invoice, "custom.region", None),
            (Entity::Sow, "name", None),
        ] {
            assert_eq!(shared_field(entity, name).as_deref(), field, "{name}");
        }
    }

    #[test]
    fn a_value_is_traced_to_where_it_was_first_said() {
        let history = [
            said(1, 30, &[("name", json!("Acme"), false), ("domain", json!("acme.example"), true)]),
            said(1, 20, &[("name", json!("Acme"), true)]),
            said(1, 10, &[("name", json!("Acne"), true)]),
        ];
        let rules = FieldRules::default();
        let rule = rules.of(Entity::Account, "name").expect("a rule");
        let told = Provenance::of((&rule.field, rule), json!("Acme"), None, &history, &|_| Some(0));
        let source = told.source.expect("somebody said it");
        assert_eq!(source.said_in.map(|assertion| assertion.observed_at), Some(at(20)));
        assert_eq!((told.decision, source.heard_at), (ProvenanceDecision::OnlyVoice, at(30)));
        let rule = rules.of(Entity::Account, "billing_email").expect("a rule");
        let told = Provenance::of((&rule.field, rule), Value::Null, None, &history, &|_| Some(0));
        assert_eq!((told.decision, told.source), (ProvenanceDecision::Hub, None));
    }

    #[test]
    fn what_was_overruled_is_told_with_the_reason() {
        let history =
            [said(2, 20, &[("name", json!("ACME Inc"), true)]), said(1, 10, &[("name", json!("Acme"), true)])];
        let rules = FieldRules::default();
        let rule = rules.of(Entity::Account, "name").expect("a rule");
        let rank = |speaker: &Speaker| Some(usize::try_from(speaker.connection.uuid().as_u128()).expect("small"));
        let mut state = FieldState::agreed(Value::Null, at(0));
        for assertion in history.iter().rev() {
            let speaker = Speaker { connection: assertion.connection_id, remote_id: assertion.remote_id.clone() };
            let value = assertion.fields["name"].value.clone();
            let (at, assertion) = (assertion.observed_at, Some(assertion.id));
            state.hear(rule, &rank, Heard { speaker, value, remote_version: None, at, assertion });
        }
        let told = Provenance::of((&rule.field, rule), json!("Acme"), Some(&state), &history, &rank);
        assert_eq!(told.decision, ProvenanceDecision::Followed);
        let overruled: Vec<_> = told.overruled.iter().map(|(said, why)| (said.value.clone(), *why)).collect();
        assert_eq!(overruled, [(json!("ACME Inc"), OverruledBecause::AnotherFollowed)]);
        state.resolve(json!("Acme"), at(30));
        let told = Provenance::of((&rule.field, rule), json!("Acme"), Some(&state), &history, &|_| None);
        assert_eq!(told.decision, ProvenanceDecision::Person);
        assert_eq!(told.overruled[0].1, OverruledBecause::NoAuthority);
    }
}
