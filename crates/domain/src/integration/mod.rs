//! The hub and the systems around it: connections, what they claim, what is asked of them, and how each run went.

pub mod adoption;
mod alerts;
pub mod authority;
mod breaker;
mod conflicts;
mod corrections;
pub mod differences;
mod effects;
mod egress;
pub mod erasure;
mod exchange;
mod explanation;
mod inbound;
mod links;
mod mapping;
pub mod matching;
mod mode;
mod pauses;
mod pressure;
pub mod provenance;
mod quota;
mod reading;
mod remap;
mod replays;
mod seal;
mod sign_ins;
mod subscriptions;
mod update;

use std::collections::BTreeMap;

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    breaker::{BreakerRecord, BreakerState, FAILURES_TO_OPEN, left_alone_ms},
    conflicts::{ConflictRecord, ConflictStatus, ConflictVoice},
    corrections::CorrectionRecord,
    effects::{EffectRecord, EffectSafety, EffectStatus},
    exchange::{ExchangeHeader, ExchangeRecord},
    explanation::{PlannedStep, StepKind, StepState, WaitCode, WaitReason},
    inbound::{InboundEventRecord, InboundPayload, InboundStatus, ParkedRowRecord},
    links::{IdentityEvent, IdentityEventKind, LinkState, MatchCandidate, Moved},
    mapping::{mapping_label, merge_patch},
    mode::ConnectionMode,
    pauses::{PauseRecord, PauseScope},
    pressure::{InboundLimits, InboundPressure, InboundRefusalRecord},
    quota::{Quota, QuotaAsk, QuotaGrant, QuotaTerms},
    remap::{RemapCause, RemapRecord, RemapStatus},
    replays::{ReplayItemRecord, ReplayJobRecord, ReplayKind, ReplayOutcome, ReplayStatus},
    seal::Seal,
};
use crate::{
    access::Permission,
    billing::{InvoiceClaim, OrderClaim},
    ids::{
        AccountId, AssertionId, ConnectionId, CorrectionId, ExchangeId, InboundEventId, InvoiceId, MilestoneId,
        ServiceOrderId, SowId, SyncRunId,
    },
    item_code::ItemCode,
    money::Money,
    pipeline::{AccountClaim, OpportunityClaim},
    time::Instant,
};

pub use alerts::{AlertKey, AlertKind, AlertRecord, AlertState};
pub use egress::{EgressRefusal, EgressRules};
pub use reading::{
    BackfillRecord, BackfillSlice, BackfillStatus, DeleteClaimRecord, DeleteEvidence, DriftReportRecord, DriftScope,
    Freshness, ShapeChangeKind, ShapeChangeRecord, SweepRecord, SweepStatus,
};
pub use sign_ins::{AuthorizationRecord, SignInRecord, SignInState};
pub use subscriptions::{
    DeliveryKind, DeliveryStatus, SubscriptionReason, SubscriptionStatus, WebhookDeliveryRecord,
    WebhookSubscriptionRecord,
};
pub use update::UpdateRecord;

/// The kinds of record that cross the border to other systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// A customer organization.
    Account,
    /// A possible sale.
    Opportunity,
    /// A statement of work.
    Sow,
    /// A part of a statement of work.
    Milestone,
    /// An order to billing.
    ServiceOrder,
    /// An invoice.
    Invoice,
    /// An alert of the hub itself; no other system holds any.
    Alert,
}

impl Entity {
    /// Every kind with its written form.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Account, "account"),
        (Self::Opportunity, "opportunity"),
        (Self::Sow, "sow"),
        (Self::Milestone, "milestone"),
        (Self::ServiceOrder, "service_order"),
        (Self::Invoice, "invoice"),
        (Self::Alert, "alert"),
    ];

    /// The written form, as kept in the database and in logs.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(entity, _)| *entity == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| *written == text).map(|(entity, _)| *entity)
    }

    /// What one needs to see records of this kind, and to hear of their changes.
    pub fn read_permission(self) -> Permission {
        match self {
            Self::Account | Self::Opportunity => Permission::PipelineRead,
            Self::Sow | Self::Milestone => Permission::ContractsRead,
            Self::ServiceOrder | Self::Invoice => Permission::BillingRead,
            Self::Alert => Permission::IntegrationRead,
        }
    }
}

/// What a connected system is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Customer relationship management: accounts and opportunities.
    Crm,
    /// Orders, invoices and payments.
    Billing,
}

/// A connection to another system.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ConnectedSystemRecord")]
pub struct ConnectionRecord {
    /// Identifies the connection.
    #[graphql(skip)]
    pub id: ConnectionId,
    /// The name by which it is configured; also the last part of its webhook address.
    pub name: String,
    /// Which connector serves it, such as `hubspot`.
    pub connector: String,
    /// What the system is for.
    pub arms: Vec<Arm>,
    /// Whether it is configured now; a connection that left the configuration keeps its history.
    pub enabled: bool,
    /// How far it goes.
    pub mode: ConnectionMode,
    /// When it was first configured.
    pub created_at: Instant,
    /// When its configuration last changed.
    pub updated_at: Instant,
}

/// What set off a synchronization run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunTrigger {
    /// The schedule.
    Schedule,
    /// A person, by the command line.
    Manual,
    /// A first load that walks through what was there before.
    Backfill,
    /// A person, who asked for a part to be read again.
    Refresh,
    /// A sweep, which lists everything to see what is missing.
    Sweep,
    /// A comparison of what the system says with what the hub believes.
    Drift,
}

/// How a synchronization run stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// At work.
    Running,
    /// Ended, having read everything.
    Succeeded,
    /// Ended early; it goes on from the last page at `nextAttemptAt`.
    Failed,
}

/// One run that read one kind of record from one system.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "SyncRunRecord")]
pub struct SyncRunRecord {
    /// Identifies the run.
    #[graphql(skip)]
    pub id: SyncRunId,
    /// The connection that was read.
    #[graphql(skip)]
    pub connection_id: ConnectionId,
    /// The kind of record that was read.
    pub entity: Entity,
    /// What set it off.
    pub trigger: RunTrigger,
    /// How it stands or ended.
    pub status: RunStatus,
    /// Pages read and kept.
    pub pages: i32,
    /// Rows seen.
    pub rows_read: i32,
    /// Rows that changed something.
    pub rows_changed: i32,
    /// Rows that could not be applied and wait by themselves.
    pub rows_parked: i32,
    /// Why it failed: a stable code.
    pub error_code: Option<String>,
    /// Why it failed, in words.
    pub error_message: Option<String>,
    /// How many runs in a row have failed, this one included.
    pub attempt: i32,
    /// When the next try is due, after a failure.
    pub next_attempt_at: Option<Instant>,
    /// When it began.
    pub started_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

/// What one system said of one record at one time; kept as it was said, also when another system has authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Identifies the assertion.
    pub id: AssertionId,
    /// The kind of record.
    pub entity: Entity,
    /// The record in the hub.
    pub record_id: String,
    /// The connection that said so.
    pub connection_id: ConnectionId,
    /// The record's id at that system.
    pub remote_id: String,
    /// The record's version at that system.
    pub remote_version: Option<String>,
    /// The run that read it; none when a webhook or a write did.
    pub run_id: Option<SyncRunId>,
    /// The inbound event that led to the reading.
    pub inbound_event_id: Option<InboundEventId>,
    /// The exchange that brought it, as far as it is known; exchanges are kept for some days.
    pub exchange_id: Option<ExchangeId>,
    /// What a person had corrected of the row before it was mapped; none of what is as it came.
    pub correction_id: Option<CorrectionId>,
    /// Version of the connector whose mapping read it.
    pub mapping_version: String,
    /// When it was observed.
    pub observed_at: Instant,
    /// What was said, field by field.
    pub fields: BTreeMap<String, AssertedField>,
}

/// Where a value stood that came in the answer to our own write: there is no row of the vendor behind it.
pub const OUR_WRITE: &str = "answer to our write";

/// Behind the version that a write of the hub left at another system, as long as nobody has read it: RFC 9557 lets words
/// stand behind a moment, which stays what it is.
pub const UNREAD: &str = "[_unread=1]";

/// What was said of one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertedField {
    /// The value in the hub's terms; null when it was said to be empty or could not be read.
    #[serde(rename = "v")]
    pub value: serde_json::Value,
    /// Where it stood in the sender's record.
    #[serde(rename = "p")]
    pub source_path: String,
    /// Whether it changed the record.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Why it could not be read, when it could not.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a system says of one record, in the hub's terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entity", rename_all = "snake_case")]
pub enum Claim {
    /// Of an account.
    Account(AccountClaim),
    /// Of an opportunity.
    Opportunity(OpportunityClaim),
    /// Of an invoice.
    Invoice(InvoiceClaim),
    /// Of an order at billing.
    ServiceOrder(OrderClaim),
}

impl Claim {
    /// The kind of record that it speaks of.
    pub fn entity(&self) -> Entity {
        match self {
            Self::Account(_) => Entity::Account,
            Self::Opportunity(_) => Entity::Opportunity,
            Self::Invoice(_) => Entity::Invoice,
            Self::ServiceOrder(_) => Entity::ServiceOrder,
        }
    }

    /// The identifier of the hub's own order or invoice that it carries.
    pub fn hub_id(&self) -> Option<String> {
        match self {
            Self::Account(_) | Self::Opportunity(_) => None,
            Self::Invoice(claim) => claim.invoice.map(|id| id.to_string()),
            Self::ServiceOrder(claim) => claim.order.map(|id| id.to_string()),
        }
    }

    /// Records at the same system that must be known before this one can be applied whole.
    pub fn references(&self) -> Option<(Entity, &str)> {
        match self {
            Self::Account(_) => None,
            Self::Opportunity(claim) => claim.account.as_deref().map(|id| (Entity::Account, id)),
            Self::Invoice(claim) => claim.customer.as_deref().map(|id| (Entity::Account, id)),
            Self::ServiceOrder(claim) => claim.customer.as_deref().map(|id| (Entity::Account, id)),
        }
    }
}

/// The key under which an effect on another system happens at most once. It names the business event
/// (this order; this milestone in this billing round; this decision to set values), never a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectKey(String);

impl EffectKey {
    /// The key of placing an order.
    pub fn place_order(order: ServiceOrderId) -> Self {
        Self(format!("order:{order}"))
    }

    /// The key of invoicing a milestone in a billing round.
    pub fn issue_invoice(milestone: MilestoneId, billing_round: i32) -> Self {
        Self(format!("invoice:{milestone}:{billing_round}"))
    }

    /// The key of setting values elsewhere: each decision to do so has an identifier of its own.
    pub fn push(decision: Uuid) -> Self {
        Self(format!("push:{decision}"))
    }

    /// A key as it was kept.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// What is asked under it: the key names the business event.
    pub fn intent(&self) -> IntentKind {
        match self.0.split_once(':') {
            Some(("order", _)) => IntentKind::PlaceOrder,
            Some(("invoice", _)) => IntentKind::IssueInvoice,
            _ => IntentKind::UpdateRecord,
        }
    }

    /// The text of the key: ASCII, at most 64 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the hub asks of another system. It carries all that the other side needs, as it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case")]
pub enum Intent {
    /// Place a service order.
    PlaceOrder(PlaceOrder),
    /// Issue an invoice for an accepted milestone.
    IssueInvoice(IssueInvoice),
    /// Set fields of a record that both sides hold.
    UpdateRecord(UpdateRecord),
}

/// What is asked of another system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    /// Place a service order.
    PlaceOrder,
    /// Issue an invoice for an accepted milestone.
    IssueInvoice,
    /// Set fields of a record that both sides hold.
    UpdateRecord,
}

impl IntentKind {
    /// The written form, as kept in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlaceOrder => "place_order",
            Self::IssueInvoice => "issue_invoice",
            Self::UpdateRecord => "update_record",
        }
    }
}

impl Intent {
    /// Which kind it is.
    pub fn kind(&self) -> IntentKind {
        match self {
            Self::PlaceOrder(_) => IntentKind::PlaceOrder,
            Self::IssueInvoice(_) => IntentKind::IssueInvoice,
            Self::UpdateRecord(_) => IntentKind::UpdateRecord,
        }
    }

    /// The kind of record that comes of it or is changed.
    pub fn entity(&self) -> Entity {
        match self {
            Self::PlaceOrder(_) => Entity::ServiceOrder,
            Self::IssueInvoice(_) => Entity::Invoice,
            Self::UpdateRecord(intent) => intent.entity,
        }
    }

    /// What it comes to, taxes excluded; none where nothing is sold.
    pub fn amount(&self) -> Option<Money> {
        match self {
            Self::PlaceOrder(intent) => Some(intent.total),
            Self::IssueInvoice(intent) => Some(intent.amount),
            Self::UpdateRecord(_) => None,
        }
    }

    /// The lines that it orders or bills, each by its milestone and its item code; none where nothing is sold.
    pub fn lines(&self) -> Vec<(MilestoneId, Option<&ItemCode>)> {
        match self {
            Self::PlaceOrder(intent) => {
                intent.lines.iter().map(|line| (line.milestone, line.item_code.as_ref())).collect()
            }
            Self::IssueInvoice(intent) => vec![(intent.milestone, intent.item_code.as_ref())],
            Self::UpdateRecord(_) => Vec::new(),
        }
    }

    /// Title of the statement of work; none where nothing is sold.
    pub fn title(&self) -> Option<&str> {
        match self {
            Self::PlaceOrder(intent) => Some(&intent.title),
            Self::IssueInvoice(intent) => Some(&intent.title),
            Self::UpdateRecord(_) => None,
        }
    }

    /// The customer of an order or an invoice.
    pub fn customer(&self) -> Option<&Customer> {
        match self {
            Self::PlaceOrder(intent) => Some(&intent.customer),
            Self::IssueInvoice(intent) => Some(&intent.customer),
            Self::UpdateRecord(_) => None,
        }
    }

    /// The order that it places or bills.
    pub fn order(&self) -> Option<ServiceOrderId> {
        match self {
            Self::PlaceOrder(intent) => Some(intent.order),
            Self::IssueInvoice(intent) => Some(intent.order),
            Self::UpdateRecord(_) => None,
        }
    }

    /// What it waits in line for: of the intents with one key at one system, one at a time is under way. Orders and
    /// invoices wait for those of the same customer.
    pub fn order_key(&self) -> String {
        match self {
            Self::PlaceOrder(intent) => intent.customer.account.to_string(),
            Self::IssueInvoice(intent) => intent.customer.account.to_string(),
            Self::UpdateRecord(intent) => intent.order_key.clone(),
        }
    }
}

/// The customer of an order or an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// E-mail address for invoices.
    pub email: Option<String>,
}

/// Place a service order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceOrder {
    /// The order.
    pub order: ServiceOrderId,
    /// The statement of work that it orders.
    pub sow: SowId,
    /// Who buys.
    pub customer: Customer,
    /// Title of the statement of work.
    pub title: String,
    /// The customer's purchase order number.
    pub po_number: Option<String>,
    /// The price of the whole.
    pub total: Money,
    /// What is sold, line by line; their amounts add up to the total.
    pub lines: Vec<OrderLine>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// The milestone.
    pub milestone: MilestoneId,
    /// What is delivered.
    pub description: String,
    /// What kind of service it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_code: Option<ItemCode>,
    /// Its price.
    pub amount: Money,
}

/// Issue an invoice for an accepted milestone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueInvoice {
    /// The invoice, as the hub knows it; the other side should carry this id.
    pub invoice: InvoiceId,
    /// The order that it bills.
    pub order: ServiceOrderId,
    /// The milestone that it bills.
    pub milestone: MilestoneId,
    /// Who pays.
    pub customer: Customer,
    /// Title of the statement of work.
    pub title: String,
    /// What was delivered.
    pub description: String,
    /// What kind of service it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_code: Option<ItemCode>,
    /// What is to be paid, taxes excluded.
    pub amount: Money,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_read_back() {
        for (entity, text) in Entity::ALL {
            assert_eq!(Entity::parse(text), Some(entity));
            assert_eq!(entity.as_str(), text);
        }
    }

    #[test]
    fn a_key_of_pushed_values_fits_where_keys_are_kept() {
        let key = EffectKey::push(Uuid::max());
        assert_eq!(key.as_str(), "push:ffffffff-ffff-ffff-ffff-ffffffffffff");
        assert!(key.as_str().len() <= 64);
    }

    #[test]
    fn a_key_tells_what_is_asked_under_it() {
        let id = Uuid::nil();
        for (key, intent) in [
            (EffectKey::place_order(ServiceOrderId::from_uuid(id)), IntentKind::PlaceOrder),
            (EffectKey::issue_invoice(MilestoneId::from_uuid(id), 2), IntentKind::IssueInvoice),
            (EffectKey::push(id), IntentKind::UpdateRecord),
        ] {
            assert_eq!(key.intent(), intent, "{}", key.as_str());
            assert_eq!(serde_json::to_value(intent).expect("a word"), intent.as_str());
        }
    }
}
