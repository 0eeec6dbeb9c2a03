//! Delivery: the milestones of a statement of work and their acceptance by the customer.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    contracts::SowStatus,
    ids::{AccountId, MilestoneId, SowId},
    item_code::ItemCode,
    money::Money,
    refusal::{Refusal, UserErrorCode},
    time::{CivilDate, Instant},
};

/// Whether the customer has accepted a milestone. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MilestoneAcceptance {
    /// Agreed, not yet accepted.
    Planned,
    /// Accepted by the customer.
    Accepted,
}

impl MilestoneAcceptance {
    /// The steps that the lifecycle has from here.
    pub fn available_transitions(self) -> Vec<Self> {
        match self {
            Self::Planned => vec![Self::Accepted],
            Self::Accepted => vec![],
        }
    }
}

/// Whether a milestone has been billed. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MilestoneBilling {
    /// Not accepted, so not to be billed.
    NotBillable,
    /// Accepted; the invoice is on its way to billing.
    Billable,
    /// Billing has issued the invoice.
    Invoiced,
    /// The invoice is paid.
    Paid,
}

/// A part of a statement of work that the customer accepts and pays for by itself.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "MilestoneRecord")]
pub struct MilestoneRecord {
    /// Identifies the milestone.
    #[graphql(skip)]
    pub id: MilestoneId,
    /// The statement of work that it is a line of.
    #[graphql(skip)]
    pub sow_id: SowId,
    /// The account that buys.
    #[graphql(skip)]
    pub account_id: AccountId,
    /// Its place among the lines, from 0.
    pub position: i32,
    /// What is delivered.
    pub name: String,
    /// What kind of service it is, for billing.
    #[graphql(skip)]
    pub item_code: Option<ItemCode>,
    /// Its price.
    #[graphql(skip)]
    pub amount: Money,
    /// The day on which it is planned, in the customer's calendar.
    pub planned_on: Option<CivilDate>,
    /// Whether the customer has accepted it.
    pub acceptance: MilestoneAcceptance,
    /// The day of the acceptance, in the customer's calendar.
    pub accepted_on: Option<CivilDate>,
    /// Whether it has been billed.
    pub billing: MilestoneBilling,
    /// Which billing of it this is, from 1; only a credit note raises it.
    pub billing_round: i32,
    /// Raised by every change; send it back as `expectedVersion`.
    pub version: i32,
    /// When it was drafted.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
}

impl MilestoneRecord {
    /// Whether the customer may accept it now: its statement of work is signed and it was not accepted before.
    ///
    /// # Errors
    /// [`UserErrorCode::InvalidTransition`].
    pub fn check_acceptance(&self, sow: SowStatus) -> Result<(), Refusal> {
        let message = if sow == SowStatus::Draft {
            "The statement of work is not signed yet."
        } else if self.acceptance == MilestoneAcceptance::Accepted {
            "The milestone was accepted before."
        } else {
            return Ok(());
        };
        Err(Refusal::new("milestoneId", UserErrorCode::InvalidTransition, message))
    }
}
