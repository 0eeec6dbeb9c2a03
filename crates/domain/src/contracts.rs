//! Statements of work: what was agreed, at what price, in which milestones.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    delivery::MilestoneRecord,
    ids::{AccountId, ConnectionId, OpportunityId, SowId},
    money::{Money, MoneyError},
    refusal::{Refusal, Refusals, UserErrorCode},
    time::{CivilDate, Instant},
};

/// Where a statement of work stands. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SowStatus {
    /// Being written; everything can change.
    Draft,
    /// Signed; its order is on the way to billing.
    Signed,
    /// Billing has acknowledged the order: work may be billed.
    Active,
}

impl SowStatus {
    /// The steps that the lifecycle has from here.
    pub fn available_transitions(self) -> Vec<Self> {
        match self {
            Self::Draft => vec![Self::Signed],
            Self::Signed => vec![Self::Active],
            Self::Active => vec![],
        }
    }
}

/// A statement of work: the contract between sale and delivery.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "SowRecord")]
pub struct SowRecord {
    /// Identifies the statement of work.
    #[graphql(skip)]
    pub id: SowId,
    /// The opportunity that it came from.
    #[graphql(skip)]
    pub opportunity_id: OpportunityId,
    /// The account that buys.
    #[graphql(skip)]
    pub account_id: AccountId,
    /// The connection that it is ordered and billed through; frozen at signature.
    #[graphql(skip)]
    pub billing_connection_id: ConnectionId,
    /// What it is called.
    pub title: String,
    /// Where it stands.
    pub status: SowStatus,
    /// The price of the whole.
    #[graphql(skip)]
    pub total: Money,
    /// The customer's purchase order number.
    pub po_number: Option<String>,
    /// The day of the signature, in the customer's calendar.
    pub signed_on: Option<CivilDate>,
    /// Raised by every change; send it back as `expectedVersion`.
    pub version: i32,
    /// When it was drafted.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
}

impl SowRecord {
    /// Whether it may be signed as it stands: in draft, with at least one milestone, all amounts in one currency,
    /// and milestones that add up to the total.
    ///
    /// # Errors
    /// Every reason why not, each with its code.
    pub fn check_signature(&self, milestones: &[MilestoneRecord]) -> Result<(), Refusals> {
        if self.status != SowStatus::Draft {
            let message = "Only a draft can be signed; this one was signed already.";
            return Err(vec![Refusal::new("sowId", UserErrorCode::InvalidTransition, message)]);
        }
        if milestones.is_empty() {
            let message = "A statement of work needs at least one milestone line before it is signed.";
            return Err(vec![Refusal::new("sowId", UserErrorCode::Required, message)]);
        }
        let mut sum = Money::zero(self.total.currency);
        for milestone in milestones {
            sum = sum.plus(milestone.amount).map_err(|error| {
                let code = match error {
                    MoneyError::MixedCurrencies(..) => UserErrorCode::CurrencyMismatch,
                    _ => UserErrorCode::TooLarge,
                };
                let message = format!("Milestone {:?} cannot be added to the others: {error}.", milestone.name);
                vec![Refusal::new("sowId", code, message)]
            })?;
        }
        if sum != self.total {
            let message = format!("The milestones add up to {sum}, the total says {}.", self.total);
            return Err(vec![Refusal::new("sowId", UserErrorCode::Invalid, message)]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Currency, Id,
        delivery::{MilestoneAcceptance, MilestoneBilling},
    };

    fn at() -> Instant {
        Instant::from_micros(0).expect("the epoch is an instant")
    }

    fn sow(status: SowStatus, total: Money) -> SowRecord {
        SowRecord {
            id: Id::from_uuid(uuid::Uuid::nil()),
            opportunity_id: Id::from_uuid(uuid::Uuid::nil()),
            account_id: Id::from_uuid(uuid::Uuid::nil()),
            billing_connection_id: Id::from_uuid(uuid::Uuid::nil()),
            title: "Rollout".to_owned(),
            status,
            total,
            po_number: None,
            signed_on: None,
            version: 1,
            created_at: at(),
            updated_at: at(),
        }
    }

    fn milestone(amount: Money) -> MilestoneRecord {
        MilestoneRecord {
            id: Id::from_uuid(uuid::Uuid::nil()),
            sow_id: Id::from_uuid(uuid::Uuid::nil()),
            account_id: Id::from_uuid(uuid::Uuid::nil()),
            position: 0,
            name: "Go-live".to_owned(),
            item_code: None,
            amount,
            planned_on: None,
            acceptance: MilestoneAcceptance::Planned,
            accepted_on: None,
            billing: MilestoneBilling::NotBillable,
            billing_round: 1,
            version: 1,
            created_at: at(),
            updated_at: at(),
        }
    }

    fn check(sow: &SowRecord, amounts: &[Money], expected: Option<UserErrorCode>) {
        let milestones: Vec<_> = amounts.iter().copied().map(milestone).collect();
        let found = sow.check_signature(&milestones).err().map(|refusals| refusals[0].code);
        assert_eq!(found, expected, "{amounts:?}");
    }

    #[test]
    fn signs_only_what_adds_up() {
        let usd = |minor| Money::new(minor, Currency::USD);
        let draft = sow(SowStatus::Draft, usd(10_000));
        check(&draft, &[usd(6_000), usd(4_000)], None);
        check(&draft, &[], Some(UserErrorCode::Required));
        check(&draft, &[usd(6_000)], Some(UserErrorCode::Invalid));
        check(&draft, &[usd(6_000), Money::new(4_000, Currency::EUR)], Some(UserErrorCode::CurrencyMismatch));
        check(&draft, &[usd(i64::MAX), usd(1)], Some(UserErrorCode::TooLarge));
        check(&sow(SowStatus::Signed, usd(1)), &[usd(1)], Some(UserErrorCode::InvalidTransition));
    }
}
