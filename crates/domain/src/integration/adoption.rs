//! Orders and invoices that a billing system holds already, and whether they are what the hub keeps: matches, with
//! scores and evidence.
//!
//! A document that carries the hub's own id is adopted by itself; any other is shown to a person from a score of
//! [`CANDIDATE`] on. Money decides nothing by guessing: another currency is never adopted, and another amount only when
//! a person names it.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::{
    ids::{AccountId, AdoptionId, ConnectionId, RemoteDocumentId},
    money::Money,
    time::{CivilDate, Instant},
};

/// From here on a match is shown to a person, if it has the customer or the reference in common.
pub const CANDIDATE: i32 = 40;

/// How far a document at billing has come, in common terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "BillingDocumentState")]
pub enum DocumentState {
    /// It can still be changed, and binds nobody.
    Draft,
    /// An order that was placed, an invoice that was issued.
    Issued,
    /// It was withdrawn.
    Canceled,
    /// The system uses a word for it that the hub does not know.
    Unknown,
}

/// An order or an invoice, as a billing system holds it: what it is matched by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDocument {
    /// Identifies it here. An order that is none of the hub's is this record.
    pub id: RemoteDocumentId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Service order or invoice.
    pub entity: Entity,
    /// Its id there.
    pub remote_id: String,
    /// The id of its customer there.
    pub customer: Option<String>,
    /// The identifier of the hub that it carries.
    pub hub_id: Option<String>,
    /// Its number there.
    pub number: Option<String>,
    /// What it refers to: the customer's order number, as a rule.
    pub reference: Option<String>,
    /// What it is about.
    pub title: Option<String>,
    /// How far it has come.
    pub state: DocumentState,
    /// What it comes to, taxes excluded.
    pub amount: Option<Money>,
    /// The day that it bears.
    pub dated_on: Option<CivilDate>,
}

/// What speaks for a document being one of the hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AdoptionEvidence {
    /// It carries the identifier that the hub gave: 100.
    OwnId,
    /// It refers to the customer's purchase order number of the statement of work: 35.
    Reference,
    /// It comes to the same amount in the same currency, taxes excluded: 25.
    Amount,
    /// It is of the same customer: 20.
    Customer,
    /// It is called as the statement of work or the milestone is: 15.
    Title,
    /// It bears a day within a month of the signature or the acceptance: 5.
    Day,
}

impl AdoptionEvidence {
    /// Every kind of evidence.
    pub const ALL: [Self; 6] = [Self::OwnId, Self::Reference, Self::Amount, Self::Customer, Self::Title, Self::Day];

    /// How much it weighs.
    pub const fn weight(self) -> i32 {
        match self {
            Self::OwnId => 100,
            Self::Reference => 35,
            Self::Amount => 25,
            Self::Customer => 20,
            Self::Title => 15,
            Self::Day => 5,
        }
    }

    /// How much several pieces weigh together, at most 100.
    pub fn score(evidence: &[Self]) -> i32 {
        evidence.iter().map(|one| one.weight()).sum::<i32>().min(100)
    }
}

/// What keeps a document from being adopted as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AdoptionObstacle {
    /// It was withdrawn, or is a credit.
    Canceled,
    /// It is not issued yet.
    NotIssued,
    /// It says no amount.
    NoAmount,
    /// It is in another currency. It is never adopted.
    OtherCurrency,
    /// It comes to another amount: a part, or more. It is adopted only when its amount is accepted by name.
    OtherAmount,
}

impl RemoteDocument {
    /// What keeps it from being adopted for what comes to this amount, taxes excluded.
    pub fn obstacle(&self, wanted: Money) -> Option<AdoptionObstacle> {
        obstacle(self.state, self.amount, wanted)
    }
}

/// A text as documents are compared by it: letters and digits alone, in lower case.
///
/// ```
/// use crosstie_domain::integration::adoption::match_text;
///
/// assert_eq!(match_text("PO-77 / 2026").as_deref(), Some("po772026"));
/// assert_eq!(match_text(" - "), None);
/// ```
pub fn match_text(text: &str) -> Option<String> {
    let bare: String = text.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).take(200).collect();
    (!bare.is_empty()).then_some(bare)
}

/// What keeps a document that stands so from being adopted for what comes to an amount.
pub fn obstacle(state: DocumentState, amount: Option<Money>, wanted: Money) -> Option<AdoptionObstacle> {
    match (state, amount) {
        (DocumentState::Canceled, _) => Some(AdoptionObstacle::Canceled),
        (DocumentState::Draft | DocumentState::Unknown, _) => Some(AdoptionObstacle::NotIssued),
        (DocumentState::Issued, None) => Some(AdoptionObstacle::NoAmount),
        (DocumentState::Issued, Some(amount)) if amount.minor <= 0 => Some(AdoptionObstacle::Canceled),
        (DocumentState::Issued, Some(amount)) if amount.currency != wanted.currency => {
            Some(AdoptionObstacle::OtherCurrency)
        }
        (DocumentState::Issued, Some(amount)) => (amount != wanted).then_some(AdoptionObstacle::OtherAmount),
    }
}

/// A document at billing and what of the hub it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptionCandidate {
    /// Identifies the document here.
    pub document_id: RemoteDocumentId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Service order or invoice.
    pub entity: Entity,
    /// The document's id there.
    pub remote_id: String,
    /// The service order, or the milestone that the invoice bills.
    pub target_id: String,
    /// The account that buys.
    pub account_id: AccountId,
    /// The document's number there.
    pub number: Option<String>,
    /// What the document refers to.
    pub reference: Option<String>,
    /// What the document is about.
    pub title: Option<String>,
    /// How far it has come.
    pub state: DocumentState,
    /// What the document comes to, taxes excluded.
    pub amount: Option<Money>,
    /// The day that the document bears.
    pub dated_on: Option<CivilDate>,
    /// What the hub expects it to come to.
    pub wanted: Money,
    /// How much speaks for it, up to 100.
    pub score: i32,
    /// What speaks for it.
    pub evidence: Vec<AdoptionEvidence>,
}

/// A document at billing that was taken for one of the hub's.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "AdoptionRecord")]
pub struct AdoptionRecord {
    /// Identifies the adoption.
    #[graphql(skip)]
    pub id: AdoptionId,
    /// The connection.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// Service order or invoice.
    pub entity: Entity,
    /// The document's id there.
    pub remote_id: String,
    /// The service order, or the milestone that the invoice bills.
    #[graphql(skip)]
    pub target_id: String,
    /// The service order or the invoice that it is in the hub.
    #[graphql(skip)]
    pub record_id: String,
    /// The record that the document was before.
    #[graphql(skip)]
    pub from_id: String,
    /// The effect that was settled by it without being sent; null when nothing waited.
    pub effect_key: Option<String>,
    /// Whether that effect had been refused before.
    #[graphql(skip)]
    pub was_rejected: bool,
    /// How much spoke for it, up to 100.
    pub score: i32,
    /// What spoke for it.
    pub evidence: Vec<AdoptionEvidence>,
    /// The other amount that was accepted, taxes excluded.
    #[graphql(skip)]
    pub accepted: Option<Money>,
    /// Who decided: a person, a program, or the hub itself.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub adopted_at: Instant,
    /// When it was undone; null while it stands.
    pub undone_at: Option<Instant>,
    /// Who undid it.
    pub undone_by: Option<String>,
    /// Why it was undone.
    pub undo_reason: Option<String>,
    /// Raised by every change; send it back as `expectedVersion`.
    pub version: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    #[test]
    fn all_evidence_but_the_own_id_makes_a_whole_score() {
        let others: Vec<_> = AdoptionEvidence::ALL.into_iter().filter(|one| *one != AdoptionEvidence::OwnId).collect();
        assert_eq!(others.iter().map(|one| one.weight()).sum::<i32>(), 100);
        assert_eq!(AdoptionEvidence::score(&AdoptionEvidence::ALL), 100);
        use AdoptionEvidence::{Amount, Customer, Day, Reference, Title};
        let check = |evidence: &[AdoptionEvidence], shown| {
            assert_eq!(AdoptionEvidence::score(evidence) >= CANDIDATE, shown, "{evidence:?}");
        };
        check(&[Customer, Amount], true);
        check(&[Customer, Reference], true);
        check(&[Customer, Title], false);
        check(&[Customer, Title, Day], true);
        check(&[Reference, Day], true);
        check(&[Customer, Day], false);
    }

    #[test]
    fn only_an_issued_document_of_the_same_amount_is_adopted_as_it_is() {
        use AdoptionObstacle::{Canceled, NoAmount, NotIssued, OtherAmount, OtherCurrency};
        let check = |state, amount: Option<Money>, expected| {
            assert_eq!(obstacle(state, amount, usd(100_000)), expected, "{state:?} {amount:?}");
        };
        check(DocumentState::Issued, Some(usd(100_000)), None);
        check(DocumentState::Issued, Some(usd(40_000)), Some(OtherAmount));
        check(DocumentState::Issued, Some(usd(100_001)), Some(OtherAmount));
        check(DocumentState::Issued, Some(Money::new(100_000, Currency::EUR)), Some(OtherCurrency));
        check(DocumentState::Issued, Some(usd(-100_000)), Some(Canceled));
        check(DocumentState::Issued, None, Some(NoAmount));
        check(DocumentState::Draft, Some(usd(100_000)), Some(NotIssued));
        check(DocumentState::Unknown, Some(usd(100_000)), Some(NotIssued));
        check(DocumentState::Canceled, Some(usd(100_000)), Some(Canceled));
    }
}
