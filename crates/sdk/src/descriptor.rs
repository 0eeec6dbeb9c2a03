//! What a connector declares about itself, as data.

use crosstie_domain::integration::{Arm, Entity, IntentKind};

use crate::{Deletes, Order, WriteSafety};

/// What a connector declares about itself. The host holds it to its word.
#[derive(Debug)]
pub struct Descriptor {
    /// Short name, the same as in the configuration: `hubspot`.
    pub id: &'static str,
    /// The vendor's name for people.
    pub name: &'static str,
    /// Version of the connector. Raise it with every change of meaning: rows that could not be applied are tried
    /// again when it changes.
    pub version: &'static str,
    /// What the vendor's system is for.
    pub arms: &'static [Arm],
    /// How a connection may sign in.
    pub auth: &'static [AuthMode],
    /// Where the API is, unless a connection says otherwise (`base_url`). `None` when every customer has their own.
    pub default_base_url: Option<&'static str>,
    /// How fast it may be called. The first budget is used where a call names none.
    pub budgets: &'static [RateBudget],
    /// What it reads.
    pub reads: &'static [ReadEntity],
    /// What it writes.
    pub writes: &'static [WriteEntity],
}

impl Descriptor {
    /// What makes an intent for this kind of record happen once; none when the connector does not write it.
    pub fn safety(&self, intent: IntentKind, entity: Entity) -> Option<WriteSafety> {
        let written = self.writes.iter().find(|write| write.intent == intent && write.entity == entity);
        written.map(|write| write.safety)
    }

    /// The fields of a kind of record that can be set at the vendor; none when it can only be read.
    pub fn writable(&self, entity: Entity) -> &'static [&'static str] {
        let updates = |write: &&WriteEntity| write.intent == IntentKind::UpdateRecord && write.entity == entity;
        self.writes.iter().find(updates).map_or(&[], |write| write.fields)
    }
}

/// How a connection signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// `Authorization: Bearer` with a key that does not expire.
    Bearer,
    /// OAuth 2.0 with a refresh token; the host keeps the access token alive.
    OAuth2Refresh {
        /// Path of the token endpoint below the base address.
        token_path: &'static str,
    },
    /// OAuth 2.0 with the client's own secret alone.
    ClientCredentials {
        /// Path of the token endpoint below the base address.
        token_path: &'static str,
        /// What is asked for, unless a connection says otherwise.
        scopes: &'static [&'static str],
    },
    /// OAuth 2.0 after a person allowed it once, in a browser, with PKCE.
    AuthorizationCode {
        /// Where the person allows it: a path below the base address, or a whole https address.
        authorize_url: &'static str,
        /// Path of the token endpoint below the base address.
        token_path: &'static str,
        /// What is asked for, unless a connection says otherwise.
        scopes: &'static [&'static str],
    },
    /// OAuth 2.0 with an assertion that the client signs with its own key (RFC 7523).
    JwtBearer {
        /// Path of the token endpoint below the base address.
        token_path: &'static str,
        /// Whom assertions are for; the token endpoint itself when `None`.
        audience: Option<&'static str>,
        /// What is asked for, unless a connection says otherwise.
        scopes: &'static [&'static str],
    },
}

/// How fast one group of endpoints may be called. Vendors count calls in windows, so choose it by
/// [`RateBudget::most_calls_in`].
#[derive(Debug, Clone, Copy)]
pub struct RateBudget {
    /// Name of the group.
    pub bucket: &'static str,
    /// Calls a second, on average.
    pub per_second: u32,
    /// Calls at once, after a pause.
    pub burst: u32,
}

impl RateBudget {
    /// The most calls that leave in any window of so many seconds: the burst at its beginning, and what comes after.
    ///
    /// ```
    /// let budget = crosstie_sdk::RateBudget { bucket: "api", per_second: 9, burst: 10 };
    /// assert_eq!(budget.most_calls_in(10), 100);
    /// ```
    pub fn most_calls_in(&self, seconds: u32) -> u32 {
        self.burst.saturating_add(self.per_second.saturating_mul(seconds))
    }
}

/// One kind of record that is read.
#[derive(Debug, Clone, Copy)]
pub struct ReadEntity {
    /// The kind of record.
    pub entity: Entity,
    /// The vendor's name for it.
    pub remote: &'static str,
    /// How changes are found.
    pub order: Order,
    /// How deletes are found.
    pub deletes: Deletes,
    /// How often it is read by schedule, in seconds.
    pub poll_seconds: u32,
}

/// One kind of intent that is written; updates are declared for each kind of record.
#[derive(Debug, Clone, Copy)]
pub struct WriteEntity {
    /// The kind of intent.
    pub intent: IntentKind,
    /// The kind of record that comes of it or is changed.
    pub entity: Entity,
    /// The vendor's name for it.
    pub remote: &'static str,
    /// Of an update: the fields that can be set, named as in the claims of the kind. Empty for other intents.
    pub fields: &'static [&'static str],
    /// What makes it happen once.
    pub safety: WriteSafety,
}
