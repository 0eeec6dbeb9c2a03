//! Effects: what is asked of other systems, how far each has come, and what makes it happen once.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::{Entity, Intent, IntentKind};
use crate::{
    ids::{ConnectionId, OutboxId},
    time::Instant,
};

/// How far an effect has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EffectStatus {
    /// Nothing was sent, or what was sent is known to have had no effect.
    Waiting,
    /// It was sent and the answer is not known: whoever takes it asks first.
    Sent,
    /// It is done.
    Done,
    /// The other system refused it; a person must act.
    Rejected,
    /// It failed ten times over three days and is not tried any more by itself; a person must act.
    Exhausted,
    /// It was sent, the answer is not known, and it must not be sent twice: a person must find out whether it happened.
    Uncertain,
}

impl EffectStatus {
    /// Every status with its written form.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Waiting, "WAITING"),
        (Self::Sent, "SENT"),
        (Self::Done, "DONE"),
        (Self::Rejected, "REJECTED"),
        (Self::Exhausted, "EXHAUSTED"),
        (Self::Uncertain, "UNCERTAIN"),
    ];
    /// Those that wait for a person.
    pub const FOR_A_PERSON: [Self; 3] = [Self::Rejected, Self::Exhausted, Self::Uncertain];

    /// The written form, as kept in the database.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(status, _)| *status == self).map_or("", |(_, text)| text)
    }

    /// Whether it is sent without anybody doing anything.
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Waiting | Self::Sent)
    }

    /// Whether a person may say how it ended: it may have happened, and nobody asks there any more.
    pub fn can_be_settled(self) -> bool {
        matches!(self, Self::Exhausted | Self::Uncertain)
    }

    /// Whether what it says may be corrected: it did not happen, and does not by itself.
    pub fn can_be_edited(self) -> bool {
        matches!(self, Self::Rejected | Self::Exhausted)
    }
}

/// What makes an effect happen once, however often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EffectSafety {
    /// The other system remembers the effect's key for a time; after that the hub looks first.
    NativeKey,
    /// What comes of it has an identifier of the hub's choosing.
    UpsertBy,
    /// It begins as a draft that carries the key and can be found again.
    FindThenCreate,
    /// Values of a record that exists are set: twice says what once says.
    SetValues,
    /// Nothing makes it: when the answer is lost, a person must find out whether it happened.
    NotRepeatable,
}

impl EffectSafety {
    /// Every class, as the documentation of connectors calls it.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::NativeKey, "NativeKey"),
        (Self::UpsertBy, "UpsertBy"),
        (Self::FindThenCreate, "FindThenCreate"),
        (Self::SetValues, "SetValues"),
        (Self::NotRepeatable, "NotRepeatable"),
    ];

    /// What the documentation of connectors calls it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(safety, _)| *safety == self).map_or("", |(_, text)| text)
    }
}

/// Something that the hub asks of another system, with how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "EffectRecord")]
pub struct EffectRecord {
    /// Identifies the effect.
    #[graphql(skip)]
    pub id: OutboxId,
    /// The key under which it happens once.
    pub key: String,
    /// The connection that is asked.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// What is asked.
    pub intent: IntentKind,
    /// What is asked, whole; none of effects that were done long ago.
    #[graphql(skip)]
    pub payload: Option<Intent>,
    /// The record that it is for.
    #[graphql(skip)]
    pub record_id: String,
    /// How far it has come.
    pub status: EffectStatus,
    /// How often it was tried. Tries that a missing credential or permission ended do not count.
    pub attempts: i32,
    /// When it is tried next; null when it is not tried by itself.
    pub next_attempt_at: Option<Instant>,
    /// When it was first sent.
    pub first_sent_at: Option<Instant>,
    /// What it came to there: the id at the other system.
    pub remote_id: Option<String>,
    /// Why it waits: a stable code.
    pub error_code: Option<String>,
    /// Why it waits, in words.
    pub error_message: Option<String>,
    /// Raised whenever a person changes it: by correcting it, sending it again or settling it.
    pub version: i32,
    /// When it was asked for.
    pub created_at: Instant,
    /// When it was done, or given up.
    pub finished_at: Option<Instant>,
}

impl EffectRecord {
    /// Whether it was sent and its outcome is not known.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.status, EffectStatus::Sent | EffectStatus::Uncertain)
    }

    /// The kind of record that comes of it or is changed; none of updates that were done long ago.
    pub fn entity(&self) -> Option<Entity> {
        match (self.intent, &self.payload) {
            (IntentKind::PlaceOrder, _) => Some(Entity::ServiceOrder),
            (IntentKind::IssueInvoice, _) => Some(Entity::Invoice),
            (IntentKind::UpdateRecord, payload) => payload.as_ref().map(Intent::entity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_are_those_that_are_kept() {
        for (status, text) in EffectStatus::ALL {
            assert_eq!(status.as_str(), text);
            assert_eq!(serde_json::to_value(status).expect("it is written"), text);
        }
        for status in EffectStatus::FOR_A_PERSON {
            assert!(!status.goes_on());
            assert!(status.can_be_settled() || status.can_be_edited(), "a person can do something about {status:?}");
        }
    }
}
