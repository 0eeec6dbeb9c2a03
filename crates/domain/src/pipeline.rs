//! Accounts and opportunities: what sales brings, mirrored from the CRM.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    custom::CustomValues,
    ids::{AccountId, OpportunityId},
    money::Money,
    time::{CivilDate, Instant},
};

/// A customer organization.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "AccountRecord")]
pub struct AccountRecord {
    /// Identifies the account.
    #[graphql(skip)]
    pub id: AccountId,
    /// The name the account goes by.
    pub name: String,
    /// Internet domain, in lower case, without scheme.
    pub domain: Option<String>,
    /// E-mail address that invoices go to.
    pub billing_email: Option<String>,
    /// The customer's own fields that have a value.
    #[graphql(skip)]
    pub custom: CustomValues,
    /// The account that it became one with; none for one that stands by itself.
    #[graphql(skip)]
    pub merged_into: Option<AccountId>,
    /// Since when every system that has authority over it says that it is gone; null while one of them has it.
    pub deleted_at: Option<Instant>,
    /// Raised by every change; send it back as `expectedVersion`.
    pub version: i32,
    /// When the hub first knew of it.
    pub created_at: Instant,
    /// When it last changed in the hub.
    pub updated_at: Instant,
}

/// Where an opportunity stands, in terms that all CRMs share. New values may appear: keep showing `nativeStage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OpportunityStage {
    /// It is being found out whether there is a need and a budget.
    Qualify,
    /// Services are being scoped and estimated.
    Scoping,
    /// An offer is with the customer.
    Proposed,
    /// The customer has agreed in principle.
    Committed,
    /// Sold.
    Won,
    /// Not sold.
    Lost,
}

/// A possible sale. The CRM has authority over stage, amount, close date and account.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "OpportunityRecord")]
pub struct OpportunityRecord {
    /// Identifies the opportunity.
    #[graphql(skip)]
    pub id: OpportunityId,
    /// The account that may buy.
    #[graphql(skip)]
    pub account_id: Option<AccountId>,
    /// What the seller calls it.
    pub name: String,
    /// Where it stands; null while the CRM's stage is not mapped.
    pub stage: Option<OpportunityStage>,
    /// The stage as the CRM names it.
    pub native_stage: Option<String>,
    /// Value of the whole sale; null while the CRM names no currency or amount.
    pub amount: Option<Money>,
    /// The day on which it is expected to close, in the seller's calendar.
    pub close_on: Option<CivilDate>,
    /// The customer's own fields that have a value.
    #[graphql(skip)]
    pub custom: CustomValues,
    /// The opportunity that it became one with; none for one that stands by itself.
    #[graphql(skip)]
    pub merged_into: Option<OpportunityId>,
    /// Since when every system that has authority over it says that it is gone; null while one of them has it.
    pub deleted_at: Option<Instant>,
    /// Raised by every change; send it back as `expectedVersion`.
    pub version: i32,
    /// When the hub first knew of it.
    pub created_at: Instant,
    /// When it last changed in the hub.
    pub updated_at: Instant,
}

/// What a system says of an account. A missing field is not spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountClaim {
    /// The account in the hub, when the system keeps the id that the hub gave it.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// Name.
    pub name: Option<String>,
    /// Internet domain.
    pub domain: Option<String>,
    /// E-mail address that invoices go to.
    pub billing_email: Option<String>,
}

/// What a system says of an opportunity. A missing field is not spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpportunityClaim {
    /// Name.
    pub name: Option<String>,
    /// Remote id of the account, at the same system.
    pub account: Option<String>,
    /// The stage as the system names it.
    pub native_stage: Option<String>,
    /// The stage in common terms, where it is mapped.
    pub stage: Option<OpportunityStage>,
    /// Amount and currency of it.
    pub amount: Option<Money>,
    /// Expected day of closing.
    pub close_on: Option<CivilDate>,
}
