//! What the hub and a connected system hold differently, and what switching the connection to two-way would do about it.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{
    ids::{AccountId, ConnectionId},
    money::{Currency, Money},
};

/// Who has what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DifferenceKind {
    /// The hub alone has it: it was not sent yet, was refused, or is gone there.
    OnlyHere,
    /// The system alone has it: nobody has said what of the hub it is.
    OnlyThere,
    /// Both have it, with another value.
    Differs,
}

/// What switching a connection to two-way does about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SwitchStep {
    /// An order or invoice is sent.
    Send,
    /// The hub's value is written there.
    Push,
    /// The hub takes over the value from there.
    Follow,
    /// A conflict is open, or is opened: a person decides.
    Hold,
    /// Nothing: both stay as they are.
    Nothing,
}

impl SwitchStep {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Send, Self::Push, Self::Follow, Self::Hold, Self::Nothing];
}

/// A record, or a field of one, that the hub and a system hold differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Identifies it in its list.
    pub id: String,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The account that it is about, where the hub knows it.
    pub account_id: Option<AccountId>,
    /// The kind of record.
    pub entity: Entity,
    /// The record's id there; none when it is not there.
    pub remote_id: Option<String>,
    /// The record in the hub; none when it is not here.
    pub record_id: Option<String>,
    /// The field; none when the whole record is meant.
    pub field: Option<String>,
    /// Who has what.
    pub kind: DifferenceKind,
    /// What a switch does about it; none while nobody has worked it out.
    pub step: Option<SwitchStep>,
    /// The effect that waits, or was refused.
    pub effect_key: Option<String>,
    /// What the hub has, as text.
    pub here: Option<String>,
    /// What the system last said, as text.
    pub there: Option<String>,
    /// What it comes to in the hub, taxes excluded.
    pub here_amount: Option<Money>,
    /// What it comes to there, taxes excluded.
    pub there_amount: Option<Money>,
}

/// How many differences there are of a kind that a switch does the same about.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "DifferenceCountRecord")]
pub struct DifferenceCount {
    /// The kind of record.
    pub entity: Entity,
    /// Who has what.
    pub kind: DifferenceKind,
    /// What a switch to two-way does about it.
    pub step: SwitchStep,
    /// How many.
    pub count: i32,
}

/// What differences of one kind come to in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceTotal {
    /// The kind of record.
    pub entity: Entity,
    /// Who has what.
    pub kind: DifferenceKind,
    /// The currency.
    pub currency: Currency,
    /// What the hub has, in minor units.
    pub here_minor: i64,
    /// What the system has, in minor units.
    pub there_minor: i64,
}

/// All differences of a connection in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DifferenceSummary {
    /// How many of which.
    pub counts: Vec<DifferenceCount>,
    /// What they come to, by currency.
    pub totals: Vec<DifferenceTotal>,
    /// Whether all were counted; not when there are very many.
    pub is_whole: bool,
}

impl DifferenceSummary {
    /// Counts one more. An amount that is too large for its sum is counted and leaves the sum at its bound.
    pub fn add(&mut self, difference: &Difference) {
        let (entity, kind) = (difference.entity, difference.kind);
        let step = difference.step.unwrap_or(SwitchStep::Nothing);
        let same = |one: &&mut DifferenceCount| (one.entity, one.kind, one.step) == (entity, kind, step);
        match self.counts.iter_mut().find(same) {
            Some(found) => found.count = found.count.saturating_add(1),
            None => self.counts.push(DifferenceCount { entity, kind, step, count: 1 }),
        }
        for (amount, is_here) in [(difference.here_amount, true), (difference.there_amount, false)] {
            let Some(amount) = amount else { continue };
            let key = (entity, kind, amount.currency);
            let index = self.totals.iter().position(|one| (one.entity, one.kind, one.currency) == key);
            let index = index.unwrap_or_else(|| {
                let currency = amount.currency;
                self.totals.push(DifferenceTotal { entity, kind, currency, here_minor: 0, there_minor: 0 });
                self.totals.len() - 1
            });
            let Some(total) = self.totals.get_mut(index) else { continue };
            let sum = if is_here { &mut total.here_minor } else { &mut total.there_minor };
            *sum = sum.saturating_add(amount.minor);
        }
    }

    /// How many a switch does this about.
    pub fn count_of(&self, step: SwitchStep) -> i32 {
        self.counts.iter().filter(|one| one.step == step).map(|one| one.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_by_what_is_done_and_adds_up_by_currency() {
        let difference = |kind, step, here: Option<(i64, Currency)>, there: Option<(i64, Currency)>| {
            let amount = |amount: Option<(i64, Currency)>| amount.map(|(minor, currency)| Money::new(minor, currency));
            Difference {
                id: String::new(),
                connection_id: "con_01h455vb4pex5vsknk084sn02q".parse().expect("an id"),
                account_id: None,
                entity: Entity::Invoice,
                remote_id: None,
                record_id: None,
                field: None,
                kind,
                step: Some(step),
                effect_key: None,
                here: None,
                there: None,
                here_amount: amount(here),
                there_amount: amount(there),
            }
        };
        let mut summary = DifferenceSummary::default();
        let (usd, eur) = (Currency::USD, Currency::EUR);
        for one in [
            difference(DifferenceKind::OnlyHere, SwitchStep::Send, Some((100, usd)), None),
            difference(DifferenceKind::OnlyHere, SwitchStep::Send, Some((50, usd)), None),
            difference(DifferenceKind::OnlyHere, SwitchStep::Nothing, Some((7, eur)), None),
            difference(DifferenceKind::Differs, SwitchStep::Nothing, Some((100, usd)), Some((100, eur))),
        ] {
            summary.add(&one);
        }
        assert_eq!(SwitchStep::ALL.map(|step| summary.count_of(step)), [2, 0, 0, 0, 2]);
        let totals = summary.totals.iter().map(|one| (one.kind, one.currency, one.here_minor, one.there_minor));
        let expected = [
            (DifferenceKind::OnlyHere, usd, 150, 0),
            (DifferenceKind::OnlyHere, eur, 7, 0),
            (DifferenceKind::Differs, usd, 100, 0),
            (DifferenceKind::Differs, eur, 0, 100),
        ];
        assert_eq!(totals.collect::<Vec<_>>(), expected);
    }
}
