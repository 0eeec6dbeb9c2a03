//! How far a connection goes: from looking on to sending.

use async_graphql::Enum;
use serde::{Deserialize, Serialize};

/// How far a connection goes. A system that already holds orders and invoices is connected in `OBSERVE`, compared, and
/// only then switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionMode {
    /// The system is read and compared. Its records are shown as coming from there; nothing of the hub is decided by
    /// them, and nothing is sent.
    Observe,
    /// The system is read and its records are used; nothing is sent.
    Pull,
    /// The system is read, its records are used, and what the hub decides is sent.
    #[default]
    TwoWay,
}

impl ConnectionMode {
    /// Every mode with its written form, as in the configuration.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Observe, "observe"), (Self::Pull, "pull"), (Self::TwoWay, "two-way")];

    /// The written form.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(mode, _)| *mode == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| *written == text).map(|(mode, _)| *mode)
    }

    /// Whether what the system says decides anything in the hub.
    pub fn decides(self) -> bool {
        self != Self::Observe
    }

    /// Whether anything is sent to the system.
    pub fn sends(self) -> bool {
        self == Self::TwoWay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_reads_back_and_goes_further_than_the_one_before() {
        let goes = [(false, false), (true, false), (true, true)];
        for ((mode, text), goes) in ConnectionMode::ALL.into_iter().zip(goes) {
            assert_eq!((ConnectionMode::parse(text), mode.as_str()), (Some(mode), text));
            assert_eq!(serde_json::to_value(mode).expect("a word"), text);
            assert_eq!((mode.decides(), mode.sends()), goes, "{text}");
        }
    }
}
