//! Who has the say over a field, and what becomes of several systems that say different things of one record.
//!
//! A field of a record that several systems know has one agreed value, the base. Each system is a voice: what it says
//! now, and what it said when it was last in agreement. A voice that moves on from the base is followed; a voice that
//! moves on from something older did not know of the base, and then both sides have changed: a conflict.

mod custom;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Arm, Entity};
use crate::{
    custom::{CUSTOM_ENTITIES, EVERY_CUSTOM_FIELD, custom_name},
    ids::{AssertionId, ConflictId, ConnectionId},
    time::Instant,
};

/// Who has the say over a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Authority {
    /// Systems of one arm alone. What others say is kept and changes nothing.
    Authoritative {
        /// The arm.
        arm: Arm,
    },
    /// The first of these arms that says anything.
    Preferred {
        /// The arms, the one that has the first say in front.
        order: Vec<Arm>,
    },
    /// Every system alike; what they change at the same time is a conflict.
    Shared,
    /// The hub computes it from other fields. What systems say is kept and changes nothing.
    Derived,
    /// The hub alone keeps it. What systems say is kept and changes nothing.
    Local,
}

impl Authority {
    /// The place of a system in the order of those who have a say, 0 in front; `None` when it has none.
    pub fn rank(&self, arms: &[Arm]) -> Option<usize> {
        match self {
            Self::Authoritative { arm } => arms.contains(arm).then_some(0),
            Self::Preferred { order } => order.iter().position(|arm| arms.contains(arm)),
            Self::Shared => Some(0),
            Self::Derived | Self::Local => None,
        }
    }
}

/// What becomes of a field that two systems with the same say have changed without knowing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The later change wins.
    Newest,
    /// The agreed value stays until a person decides.
    Held,
}

/// The rule of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// The kind of record.
    pub entity: Entity,
    /// The field, as systems speak of it; `custom.*` stands for every custom field that has no rule of its own.
    pub field: Cow<'static, str>,
    /// Whether it is an amount of money: conflicts about it are always held.
    pub is_money: bool,
    /// Who has the say.
    pub authority: Authority,
    /// What becomes of a conflict.
    pub on_conflict: OnConflict,
}

/// Every field that several systems may speak of: the kind of record, the name, whether it is money.
pub const SHARED_FIELDS: [(Entity, &str, bool); 16] = [
    (Entity::Account, "name", false),
    (Entity::Account, "domain", false),
    (Entity::Account, "billing_email", false),
    (Entity::Opportunity, "name", false),
    (Entity::Opportunity, "account", false),
    (Entity::Opportunity, "stage", false),
    (Entity::Opportunity, "amount", true),
    (Entity::Opportunity, "close_on", false),
    (Entity::ServiceOrder, "total", true),
    (Entity::Invoice, "customer", false),
    (Entity::Invoice, "number", false),
    (Entity::Invoice, "status", false),
    (Entity::Invoice, "total", true),
    (Entity::Invoice, "amount_paid", true),
    (Entity::Invoice, "issued_on", false),
    (Entity::Invoice, "due_on", false),
];

/// The rules of all shared fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRules(Vec<FieldRule>);

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no such field.
    #[error("{} has no field {field:?} that systems share", entity.as_str())]
    NoSuchField {
        /// The kind of record.
        entity: Entity,
        /// The field.
        field: String,
    },
    /// Money is never decided by who came last.
    #[error("{field} of {} is money: a conflict about it is always held", entity.as_str())]
    MoneyIsHeld {
        /// The kind of record.
        entity: Entity,
        /// The field.
        field: String,
    },
    /// Billing keeps invoices, and the hub its orders.
    #[error("who has the say over {field} of {} cannot be changed", entity.as_str())]
    Fixed {
        /// The kind of record.
        entity: Entity,
        /// The field.
        field: String,
    },
    /// An order without arms leaves nobody with a say.
    #[error("the order of {field} of {} names no arm", entity.as_str())]
    EmptyOrder {
        /// The kind of record.
        entity: Entity,
        /// The field.
        field: String,
    },
}

impl Default for FieldRules {
    /// The CRM has the say over opportunities, billing over invoices, the hub over service orders; of an account the CRM
    /// is asked first and billing where the CRM says nothing. Custom fields are as the others of their kind of record.
    fn default() -> Self {
        let rule = |&(entity, field, is_money): &(Entity, &'static str, bool)| FieldRule {
            entity,
            field: Cow::Borrowed(field),
            is_money,
            authority: match entity {
                Entity::Account => Authority::Preferred { order: vec![Arm::Crm, Arm::Billing] },
                Entity::Invoice => Authority::Authoritative { arm: Arm::Billing },
                Entity::ServiceOrder => Authority::Local,
                _ => Authority::Authoritative { arm: Arm::Crm },
            },
            on_conflict: if is_money { OnConflict::Held } else { OnConflict::Newest },
        };
        let custom = CUSTOM_ENTITIES.map(|entity| (entity, EVERY_CUSTOM_FIELD, false));
        Self(SHARED_FIELDS.iter().chain(&custom).map(rule).collect())
    }
}

impl FieldRules {
    /// All rules.
    pub fn all(&self) -> &[FieldRule] {
        &self.0
    }

    /// The rule of a field, when it is one that systems share.
    pub fn of(&self, entity: Entity, field: &str) -> Option<&FieldRule> {
        let named = |name: &str| self.0.iter().find(|rule| rule.entity == entity && rule.field == name);
        named(field).or_else(|| custom_name(field).and_then(|_| named(EVERY_CUSTOM_FIELD)))
    }

    /// Changes the rule of a field: of one custom field, such as `custom.region`, or of all of them, `custom.*`.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn set(
        &mut self,
        (entity, field): (Entity, &str),
        authority: Authority,
        on_conflict: Option<OnConflict>,
    ) -> Result<(), RuleError> {
        let named = || (entity, field.to_owned());
        self.give_its_own(entity, field);
        let Some(rule) = self.0.iter_mut().find(|rule| rule.entity == entity && rule.field == field) else {
            let (entity, field) = named();
            return Err(RuleError::NoSuchField { entity, field });
        };
        if matches!(entity, Entity::Invoice | Entity::ServiceOrder) {
            let (entity, field) = named();
            return Err(RuleError::Fixed { entity, field });
        }
        if rule.is_money && on_conflict == Some(OnConflict::Newest) {
            let (entity, field) = named();
            return Err(RuleError::MoneyIsHeld { entity, field });
        }
        if matches!(&authority, Authority::Preferred { order } if order.is_empty()) {
            let (entity, field) = named();
            return Err(RuleError::EmptyOrder { entity, field });
        }
        rule.authority = authority;
        rule.on_conflict = on_conflict.unwrap_or(rule.on_conflict);
        Ok(())
    }
}

/// Who speaks: a record at a connected system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Speaker {
    /// The connection.
    pub connection: ConnectionId,
    /// The record's id there.
    pub remote_id: String,
}

impl From<Speaker> for String {
    fn from(speaker: Speaker) -> Self {
        format!("{}/{}", speaker.connection, speaker.remote_id)
    }
}

impl TryFrom<String> for Speaker {
    type Error = crate::ids::WrongId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (connection, remote_id) = text.split_once('/').unwrap_or((&text, ""));
        Ok(Self { connection: connection.parse()?, remote_id: remote_id.to_owned() })
    }
}

/// What one system says of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// What it says, in the hub's terms; null when it holds nothing there.
    #[serde(rename = "v")]
    pub value: Value,
    /// What it said when it was last followed, agreed with, or decided about; none while it never was.
    #[serde(rename = "s", default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub settled: Option<Value>,
    /// When it was observed.
    #[serde(rename = "at")]
    pub observed_at: Instant,
    /// Where that is written down; none for what the hub itself wrote there.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<AssertionId>,
    /// What the hub last wrote there.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Pushed>,
    /// What the hub has asked to be written there and has not heard of yet.
    #[serde(rename = "w", default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
}

/// A value that is there, null included.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What the hub last wrote into a field of another system: by it the echo of our own write is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The value.
    #[serde(rename = "v")]
    pub value: Value,
    /// The record's version there after the write.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub remote_version: Option<String>,
    /// The key of the effect.
    #[serde(rename = "k")]
    pub effect_key: String,
}

/// Why a value is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, async_graphql::Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "ConflictReason")]
pub enum HeldReason {
    /// Two systems changed it without knowing of each other.
    BothChanged,
    /// Systems that were linked hold different values, and none of them was agreed on before.
    NeverAgreed,
    /// It went to and fro too often.
    Flipping,
}

/// A field of one record that several systems speak of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldState {
    /// The agreed value: what the record shows.
    #[serde(rename = "b")]
    pub base: Value,
    /// Who was followed; none when a person or the hub decided.
    #[serde(rename = "by", default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Speaker>,
    /// Since when it is the agreed value.
    #[serde(rename = "at")]
    pub since: Instant,
    /// What each system says.
    #[serde(rename = "vs")]
    pub voices: BTreeMap<Speaker, Voice>,
    /// The open conflict, if there is one.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The latest changes, for the loop breaker.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub flips: Vec<(Value, Instant)>,
}

/// An open conflict about a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The conflict.
    pub conflict: ConflictId,
    /// Why.
    pub reason: HeldReason,
}

/// What one system says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who says it.
    pub speaker: Speaker,
    /// What it says.
    pub value: Value,
    /// The record's version there.
    pub remote_version: Option<String>,
    /// When it was observed.
    pub at: Instant,
    /// Where that is written down.
    pub assertion: Option<AssertionId>,
}

/// What came of hearing a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The agreed value stays as it was, and nothing is open about it that was not before.
    Stays,
    /// The system is followed: there is a new agreed value.
    Followed,
    /// The agreed value stays, and a person has to decide.
    Held(HeldReason),
    /// What was held is settled: all who have a say say the same.
    Converged,
}

/// The place of a system in the order of those who have a say; `None` when it has none.
pub type Rank<'a> = &'a dyn Fn(&Speaker) -> Option<usize>;

/// How many changes within [`FLIP_WINDOW_MS`] make a field that goes to and fro suspicious.
const FLIPS: usize = 6;
/// How long changes are looked back at, in milliseconds.
const FLIP_WINDOW_MS: i64 = 600_000;

impl FieldState {
    /// A field whose value is agreed on, before anybody was heard.
    pub fn agreed(base: Value, since: Instant) -> Self {
        Self { base, by: None, since, voices: BTreeMap::new(), held: None, flips: Vec::new() }
    }

    /// Hears what a system says now. `rank` tells the place of a system in the order of those who have a say.
    /// On [`Verdict::Held`] the caller names the conflict by [`FieldState::hold`].
    pub fn hear(&mut self, rule: &FieldRule, rank: Rank<'_>, heard: Heard) -> Verdict {
        let Heard { speaker, value, remote_version, at, assertion } = heard;
        let before = self.voices.get(&speaker).cloned();
        let pushed = before.as_ref().and_then(|voice| voice.pushed.clone());
        let is_echo = pushed.as_ref().is_some_and(|pushed| {
            pushed.value == value && pushed.remote_version.is_some() && pushed.remote_version == remote_version
        });
        let unchanged = before.as_ref().is_some_and(|voice| voice.value == value);
        let settled = before.and_then(|voice| voice.settled);
        let settled = if is_echo { Some(value.clone()) } else { settled };
        let asked = self.voices.get(&speaker).and_then(|voice| voice.asked.clone());
        let voice = Voice { value: value.clone(), settled: settled.clone(), observed_at: at, assertion, pushed, asked };
        self.voices.insert(speaker.clone(), voice);
        if unchanged || is_echo {
            return self.settle_if_agreed(&speaker, rank);
        }
        let Some(own) = rank(&speaker) else { return Verdict::Stays };
        let emptied = value.is_null() && settled.as_ref().is_some_and(|settled| !settled.is_null());
        let says = |(other, voice): (&Speaker, &Voice)| {
            let rank = rank(other)?;
            (!voice.value.is_null() || (emptied && *other == speaker)).then_some(rank)
        };
        let ranks: Vec<usize> = self.voices.iter().filter_map(says).collect();
        match ranks.iter().min() {
            // Nobody with a say holds anything.
            None => self.follow(Some(speaker), Value::Null, at),
            Some(first) if own > *first => Verdict::Stays,
            Some(first) => {
                let several = ranks.iter().filter(|rank| *rank == first).count() > 1;
                let fallback = self.first_below(&speaker, rank);
                match (several, value.is_null(), fallback) {
                    // The only one in front has emptied it: the next in the order is asked.
                    (false, true, Some((next, value))) => self.follow(Some(next), value, at),
                    (false, _, _) => self.follow(Some(speaker), value, at),
                    (true, _, _) => self.three_way(rule, speaker, (value, settled), at, rank),
                }
            }
        }
    }

    /// One of several with the same say has changed its value.
    fn three_way(
        &mut self,
        rule: &FieldRule,
        speaker: Speaker,
        (value, settled): (Value, Option<Value>),
        at: Instant,
        rank: Rank<'_>,
    ) -> Verdict {
        if self.held.is_some() || value == self.base {
            return self.settle_if_agreed(&speaker, rank);
        }
        let reason = match settled {
            Some(settled) if settled == self.base => return self.follow(Some(speaker), value, at),
            Some(_) => HeldReason::BothChanged,
            None if self.base.is_null() => return self.follow(Some(speaker), value, at),
            None => HeldReason::NeverAgreed,
        };
        match (rule.is_money, rule.on_conflict, reason) {
            (true, _, reason) | (_, OnConflict::Held, reason) => Verdict::Held(reason),
            // What was there first stays until somebody changes it.
            (_, OnConflict::Newest, HeldReason::NeverAgreed) => {
                self.settle(&speaker);
                Verdict::Stays
            }
            (_, OnConflict::Newest, _) if at >= self.since => self.follow(Some(speaker), value, at),
            (_, OnConflict::Newest, _) => Verdict::Stays,
        }
    }

    /// The next in the order behind a system that says nothing any more.
    fn first_below(&self, speaker: &Speaker, rank: Rank<'_>) -> Option<(Speaker, Value)> {
        let others = self.voices.iter().filter(|(other, voice)| *other != speaker && !voice.value.is_null());
        let ranked = others.filter_map(|(other, voice)| Some((rank(other)?, other, voice)));
        ranked
            .min_by_key(|(rank, other, _)| (*rank, (*other).clone()))
            .map(|(_, other, voice)| (other.clone(), voice.value.clone()))
    }

    fn settle(&mut self, speaker: &Speaker) {
        if let Some(voice) = self.voices.get_mut(speaker) {
            voice.settled = Some(voice.value.clone());
        }
    }

    fn follow(&mut self, by: Option<Speaker>, value: Value, at: Instant) -> Verdict {
        if let Some(voice) = by.as_ref().and_then(|speaker| self.voices.get_mut(speaker)) {
            voice.settled = Some(value.clone());
        }
        if value == self.base || self.held.is_some() {
            return Verdict::Stays;
        }
        // One system alone cannot go round in a circle: whoever changes it there has a reason.
        if self.voices.len() > 1 {
            self.flips.retain(|(_, then)| at.ms_since(*then) <= FLIP_WINDOW_MS);
            let seen = self.flips.iter().filter(|(flipped, _)| *flipped == value).count();
            if self.flips.len() >= FLIPS && seen >= 2 {
                return Verdict::Held(HeldReason::Flipping);
            }
            self.flips.push((value.clone(), at));
            let excess = self.flips.len().saturating_sub(2 * FLIPS);
            self.flips.drain(..excess);
        }
        (self.base, self.by, self.since) = (value, by, at);
        Verdict::Followed
    }

    /// Notes that a system has come to agree; ends a conflict that nobody has any more.
    fn settle_if_agreed(&mut self, speaker: &Speaker, rank: Rank<'_>) -> Verdict {
        if self.voices.get(speaker).is_some_and(|voice| voice.value == self.base) {
            self.settle(speaker);
        }
        if self.held.is_none() {
            return Verdict::Stays;
        }
        let mut said = self.voices.iter().filter(|(other, voice)| rank(other).is_some() && !voice.value.is_null());
        let Some((by, first)) = said.next().map(|(by, voice)| (by.clone(), voice.value.clone())) else {
            return Verdict::Stays;
        };
        if said.any(|(_, voice)| voice.value != first) {
            return Verdict::Stays;
        }
        self.held = None;
        if self.base != first {
            (self.base, self.by) = (first, Some(by));
            self.since = self.voices.values().map(|voice| voice.observed_at).max().unwrap_or(self.since);
        }
        for voice in self.voices.values_mut() {
            voice.settled = Some(voice.value.clone());
        }
        Verdict::Converged
    }

    /// Names the conflict that a verdict called for.
    pub fn hold(&mut self, conflict: ConflictId, reason: HeldReason) {
        self.held = Some(Held { conflict, reason });
    }

    /// A person has decided. Returns whether the agreed value changed.
    pub fn resolve(&mut self, value: Value, at: Instant) -> bool {
        self.held = None;
        self.flips.clear();
        for voice in self.voices.values_mut() {
            voice.settled = Some(voice.value.clone());
        }
        let changed = self.base != value;
        (self.base, self.by, self.since) = (value, None, at);
        changed
    }

    /// What is to be written at a system that says something else than the agreed value, unless a person has to decide
    /// first or it was asked for already.
    pub fn to_push(&self, speaker: &Speaker) -> Option<&Value> {
        let voice = self.voices.get(speaker)?;
        let waits = self.held.is_some() || voice.asked.as_ref() == Some(&self.base);
        (!waits && voice.value != self.base).then_some(&self.base)
    }

    /// Notes that the agreed value was asked to be written at a system.
    pub fn note_asked(&mut self, speaker: &Speaker) {
        let base = self.base.clone();
        if let Some(voice) = self.voices.get_mut(speaker) {
            voice.asked = Some(base);
        }
    }

    /// Notes that a value was not written at a system, and will not be.
    pub fn note_refused(&mut self, speaker: &Speaker, value: &Value) {
        if let Some(voice) = self.voices.get_mut(speaker)
            && voice.asked.as_ref() == Some(value)
        {
            voice.asked = None;
        }
    }

    /// Notes what the hub has written at a system.
    pub fn note_pushed(&mut self, speaker: &Speaker, pushed: Pushed, at: Instant) {
        let value = pushed.value.clone();
        let before = self.voices.get(speaker);
        let assertion = before.and_then(|voice| voice.assertion);
        let asked = before.and_then(|voice| voice.asked.clone()).filter(|asked| *asked != value);
        let settled = Some(value.clone());
        let voice = Voice { value, settled, observed_at: at, assertion, pushed: Some(pushed), asked };
        self.voices.insert(speaker.clone(), voice);
    }

    /// Forgets a system that is not this record any more. Returns the value that it is to have without it, when that
    /// is another one.
    pub fn forget(&mut self, speaker: &Speaker, rank: Rank<'_>) -> Option<Value> {
        self.voices.remove(speaker)?;
        if self.by.as_ref() != Some(speaker) {
            return None;
        }
        let (by, value) = self.first_below(speaker, rank)?;
        self.by = Some(by.clone());
        self.settle(&by);
        if value == self.base {
            return None;
        }
        self.base = value.clone();
        Some(value)
    }

    /// The systems that say something else than the agreed value.
    pub fn overruled(&self) -> impl Iterator<Item = (&Speaker, &Voice)> {
        self.voices.iter().filter(|(_, voice)| voice.value != self.base)
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
