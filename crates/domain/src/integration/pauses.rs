//! Connections that a person paused: what is still taken in, and what waits.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{ids::ConnectionId, time::Instant};

/// What of a connection a person pauses. Webhooks are taken in all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PauseScope {
    /// The system is not asked for its records: no scheduled reading, back-fill, sweep or comparison, and what webhooks
    /// point at waits.
    Reading,
    /// Nothing is sent to the system; what is asked of it waits.
    Sending,
    /// Both.
    All,
}

impl PauseScope {
    /// Every scope with its written form.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Reading, "READING"), (Self::Sending, "SENDING"), (Self::All, "ALL")];

    /// The written form.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(scope, _)| *scope == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| written.eq_ignore_ascii_case(text)).map(|(scope, _)| *scope)
    }

    /// The parts that are paused each by itself.
    pub fn parts(self) -> &'static [Self] {
        match self {
            Self::Reading => &[Self::Reading],
            Self::Sending => &[Self::Sending],
            Self::All => &[Self::Reading, Self::Sending],
        }
    }
}

/// A pause of a connection, ended or not.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "PauseRecord")]
pub struct PauseRecord {
    /// The connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// What waits: reading or sending.
    pub what: PauseScope,
    /// Who paused it: a person, a program's token, or `system` for the command line.
    pub paused_by: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// Since when.
    pub paused_at: Instant,
    /// Who ended it; null while it lasts.
    pub resumed_by: Option<String>,
    /// Why it was ended, in words.
    pub resume_reason: Option<String>,
    /// When it ended; null while it lasts.
    pub resumed_at: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_reads_back_and_all_is_made_of_the_others() {
        for (scope, text) in PauseScope::ALL {
            assert_eq!(PauseScope::parse(&text.to_lowercase()), Some(scope));
            assert_eq!(serde_json::to_value(scope).expect("a word"), text);
        }
        assert_eq!(PauseScope::All.parts(), [PauseScope::Reading, PauseScope::Sending]);
    }
}
