//! Identifiers: a short type prefix and a time-ordered UUID, written as a TypeID (`opp_01k…`).
//!
//! The prefix makes a wrong identifier fail where it is read, not three tables later.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use type_safe_id::{StaticType, TypeSafeId};
use uuid::Uuid;

use crate::time::Instant;

/// The identifier of one kind of record.
///
/// ```
/// use crosstie_domain::ids::{AccountId, OpportunityId};
///
/// let id: OpportunityId = "opp_01h455vb4pex5vsknk084sn02q".parse().unwrap();
/// assert_eq!(id.to_string(), "opp_01h455vb4pex5vsknk084sn02q");
/// assert!(id.to_string().parse::<AccountId>().is_err());
/// ```
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

/// The text was not an identifier of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of the form `{prefix}_…`")]
pub struct WrongId {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

impl<K: StaticType> Id<K> {
    /// The type prefix, without the underscore.
    pub const PREFIX: &'static str = K::TYPE;

    /// Wraps a UUID. Which UUID is the caller's decision: the domain has no source of randomness.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    /// The lowest identifier that can have been made at this moment: all that were made before are lower.
    pub fn first_at(moment: Instant) -> Self {
        let ms = u128::try_from(moment.micros() / 1_000).unwrap_or(0);
        Self::from_uuid(Uuid::from_u128(ms << 80))
    }

    /// The UUID behind the text form.
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}
impl<K: StaticType> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TypeSafeId::<K>::from_uuid(self.uuid).fmt(f)
    }
}
impl<K: StaticType> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl<K: StaticType> FromStr for Id<K> {
    type Err = WrongId;

    fn from_str(text: &str) -> Result<Self, WrongId> {
        text.parse::<TypeSafeId<K>>().map(|id| Self::from_uuid(id.uuid())).map_err(|_| WrongId { prefix: K::TYPE })
    }
}
impl<K: StaticType> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: StaticType> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A kind of record that has an identifier: see [`kind`].
pub trait Kind: StaticType {}
impl<K: StaticType> Kind for K {}

/// The kinds of record that have an identifier.
pub mod kind {
    use type_safe_id::StaticType;

    macro_rules! kinds {
        ($($name:ident = $prefix:literal),+ $(,)?) => {$(
            #[doc = concat!("Identifiers that begin with `", $prefix, "_`.")]
            #[derive(Debug, Clone, Copy, Default)]
            pub struct $name;
            impl StaticType for $name {
                const TYPE: &'static str = $prefix;
            }
        )+};
    }

    kinds! {
        Account = "acc",
        Opportunity = "opp",
        Sow = "sow",
        Milestone = "ms",
        ServiceOrder = "ord",
        Invoice = "inv",
        InvoiceLine = "invl",
        Person = "per",
        Token = "tok",
        Connection = "con",
        SyncRun = "run",
        InboundEvent = "inb",
        Assertion = "asr",
        DomainEvent = "evt",
        Outbox = "obx",
        Parked = "prk",
        Job = "job",
        Conflict = "cfl",
        IdentityEvent = "ide",
        Exchange = "xch",
        WebhookSubscription = "whs",
        WebhookDelivery = "whd",
        Alert = "alr",
        DeleteClaim = "dcl",
        Sweep = "swp",
        Backfill = "bkf",
        DriftReport = "dft",
        ShapeChange = "shp",
        InboundRefusal = "irf",
        Adoption = "adp",
        RemoteDocument = "rdc",
        Erasure = "ers",
        Correction = "cor",
        ReplayItem = "rpi",
    }
}

/// Identifies an account: a customer organization.
pub type AccountId = Id<kind::Account>;
/// Identifies an opportunity.
pub type OpportunityId = Id<kind::Opportunity>;
/// Identifies a statement of work.
pub type SowId = Id<kind::Sow>;
/// Identifies a milestone.
pub type MilestoneId = Id<kind::Milestone>;
/// Identifies a service order.
pub type ServiceOrderId = Id<kind::ServiceOrder>;
/// Identifies an invoice.
pub type InvoiceId = Id<kind::Invoice>;
/// Identifies a line of an invoice.
pub type InvoiceLineId = Id<kind::InvoiceLine>;
/// Identifies a person.
pub type PersonId = Id<kind::Person>;
/// Identifies an API token.
pub type TokenId = Id<kind::Token>;
/// Identifies a connection to another system.
pub type ConnectionId = Id<kind::Connection>;
/// Identifies one run of a synchronization.
pub type SyncRunId = Id<kind::SyncRun>;
/// Identifies one event received from another system.
pub type InboundEventId = Id<kind::InboundEvent>;
/// Identifies one assertion: what one system said of one record at one time.
pub type AssertionId = Id<kind::Assertion>;
/// Identifies one event in the history of the hub.
pub type DomainEventId = Id<kind::DomainEvent>;
/// Identifies one row of the outbox.
pub type OutboxId = Id<kind::Outbox>;
/// Identifies one row of a vendor that could not be applied and waits.
pub type ParkedId = Id<kind::Parked>;
/// Identifies a job that an operator asked for: a replay, a refresh, a mapping of history anew.
pub type JobId = Id<kind::Job>;
/// Identifies a conflict between systems about one field of a record.
pub type ConflictId = Id<kind::Conflict>;
/// Identifies a decision about which records of other systems a record of the hub is.
pub type IdentityEventId = Id<kind::IdentityEvent>;
/// Identifies one exchange with another system: a request and its answer.
pub type ExchangeId = Id<kind::Exchange>;
/// Identifies a subscription by which another system hears of changes.
pub type WebhookSubscriptionId = Id<kind::WebhookSubscription>;
/// Identifies one delivery to such a system.
pub type WebhookDeliveryId = Id<kind::WebhookDelivery>;
/// Identifies an alert: something at the border to other systems that a person should know of.
pub type AlertId = Id<kind::Alert>;
/// Identifies a claim that a record of another system is gone.
pub type DeleteClaimId = Id<kind::DeleteClaim>;
/// Identifies a sweep: a complete listing that shows which records are missing.
pub type SweepId = Id<kind::Sweep>;
/// Identifies a reading of what a system held before, beside the incremental one.
pub type BackfillId = Id<kind::Backfill>;
/// Identifies one comparison of what a system says with what the hub believes that it says.
pub type DriftReportId = Id<kind::DriftReport>;
/// Identifies one change of the shape of what a system sends.
pub type ShapeChangeId = Id<kind::ShapeChange>;
/// Identifies a webhook delivery that was not believed.
pub type InboundRefusalId = Id<kind::InboundRefusal>;
/// Identifies one decision that a document at billing is what the hub keeps.
pub type AdoptionId = Id<kind::Adoption>;
/// Identifies an order or invoice as a billing system holds it.
pub type RemoteDocumentId = Id<kind::RemoteDocument>;
/// Identifies the erasure of a person.
pub type ErasureId = Id<kind::Erasure>;
/// Identifies what a person corrected of something that failed.
pub type CorrectionId = Id<kind::Correction>;
/// Identifies one item of a replay.
pub type ReplayItemId = Id<kind::ReplayItem>;
