//! Writing to a vendor: each intent takes effect at most once, or says that it cannot promise that.

use std::collections::BTreeMap;

use crosstie_domain::{
    ItemCode,
    integration::{Claim, EffectKey, EffectSafety, Intent, IntentKind},
};

use crate::{Fault, Net, RowKey, Settings};

/// What makes a write happen once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteSafety {
    /// The vendor remembers our key for so long; after that the host asks with `find` first.
    NativeKey {
        /// How long, in seconds.
        ttl_seconds: i64,
    },
    /// The record has an id of our own choosing.
    UpsertBy {
        /// The vendor's field that holds it.
        field: &'static str,
    },
    /// Drafts carry our key: make one, look for all, keep the lowest, discard the others, then advance it.
    FindThenCreate,
    /// Fields of a record that exists are set to values: twice says what once says. What stands there is looked at
    /// before, so that nobody's change is overwritten unseen.
    SetValues,
    /// Nothing: there is no key, no id of our choosing and no draft that can be found. The host sends it once; when the
    /// answer is lost it sends nothing more, and a person says whether it happened. `find` is never called for it.
    NotRepeatable,
}

impl WriteSafety {
    /// The class of it, as people are told.
    pub fn class(self) -> EffectSafety {
        match self {
            Self::NativeKey { .. } => EffectSafety::NativeKey,
            Self::UpsertBy { .. } => EffectSafety::UpsertBy,
            Self::FindThenCreate => EffectSafety::FindThenCreate,
            Self::SetValues => EffectSafety::SetValues,
            Self::NotRepeatable => EffectSafety::NotRepeatable,
        }
    }
}

/// What the host asks a writer to do.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// What is wanted.
    pub intent: Intent,
    /// The key under which it must happen once.
    pub key: EffectKey,
    /// The customer's id at this vendor, when the hub knows it.
    pub customer_remote_id: Option<String>,
    /// The order's id at this vendor, when the hub knows it.
    pub order_remote_id: Option<String>,
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The vendor's id of what was made or changed.
    pub remote_id: String,
    /// The version that it has since, as [`RowKey::version`](crate::RowKey::version) of a later reading will say;
    /// `None` when it is never read. By it the host tells the echo of its own write from a change.
    pub remote_version: Option<String>,
    /// The customer's id at this vendor, also when it was made or found on the way.
    pub customer_remote_id: Option<String>,
    /// What the vendor now says of a record that was made, when it is one that is also read.
    pub claim: Option<Claim>,
}

impl Written {
    /// A record that has the values of an update.
    pub fn updated(key: RowKey) -> Self {
        Self { remote_id: key.remote_id, remote_version: key.version, customer_remote_id: None, claim: None }
    }
}

/// Writes intents.
#[async_trait::async_trait]
pub trait Writer: Send + Sync {
    /// Makes it so, once for each key, however often it is called with that key.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when it may have happened; [`Fault::Unsupported`] for an intent that is not declared. Of an
    /// update [`Fault::Stale`] when something else stands there than was expected, and [`Fault::Gone`] when there is
    /// no such record: both end it.
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault>;

    /// What a line with this item code goes out with, by the settings alone and without asking the vendor: what is set
    /// there by the names of the settings, such as `product`. Nothing where an intent carries no lines to the vendor. The
    /// host asks before it sends anything, and shows it when a mapping is looked at.
    ///
    /// # Errors
    /// [`Fault::ItemNotMapped`] when the code stands for nothing; [`Fault::Bug`] when the settings cannot be read.
    fn line_codes(
        &self,
        settings: &Settings,
        kind: IntentKind,
        item_code: Option<&ItemCode>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let _ = (settings, kind, item_code);
        Ok(BTreeMap::new())
    }

    /// Looks for what an earlier call with this key made, whole and finished.
    ///
    /// # Errors
    /// Why the vendor could not be asked.
    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault>;
}
