//! Where a secret belongs. What it is stays with whoever may open it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::WebhookSubscriptionId;

/// The kinds of owner that a secret can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretOwner {
    /// A connection; its id is the name by which it is configured.
    Connection,
    /// A subscription of another system.
    WebhookSubscription,
}

impl SecretOwner {
    /// Every kind with its written form.
    pub const ALL: [(Self, &'static str); 2] =
        [(Self::Connection, "connection"), (Self::WebhookSubscription, "webhook_subscription")];

    /// The written form, as kept in the database and bound into each envelope.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(owner, _)| *owner == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| *written == text).map(|(owner, _)| *owner)
    }
}

/// Where a secret belongs: it can be opened there and nowhere else.
///
/// ```
/// use crosstie_domain::secrets::SecretPlace;
///
/// assert_eq!(SecretPlace::connection("crm-eu", "token").to_string(), "connection crm-eu token");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretPlace {
    /// The kind of owner.
    pub owner: SecretOwner,
    /// Which one it is.
    pub owner_id: String,
    /// What the secret is called there.
    pub name: String,
}

impl SecretPlace {
    /// A secret of the connection of this name.
    pub fn connection(connection: &str, name: &str) -> Self {
        Self { owner: SecretOwner::Connection, owner_id: connection.to_owned(), name: name.to_owned() }
    }

    /// A secret of a subscription.
    pub fn webhook_subscription(subscription: WebhookSubscriptionId, name: &str) -> Self {
        Self { owner: SecretOwner::WebhookSubscription, owner_id: subscription.to_string(), name: name.to_owned() }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.owner.as_str(), self.owner_id, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_read_back() {
        for (owner, text) in SecretOwner::ALL {
            assert_eq!(SecretOwner::parse(text), Some(owner));
            assert_eq!(owner.as_str(), text);
        }
    }
}
