//! What deliveries are signed with: made here, sealed in the database, and opened for signing alone.

use base64::{Engine, prelude::BASE64_STANDARD};
use crosstie_domain::{
    Instant, Refusal, UserErrorCode, ids::WebhookSubscriptionId, integration::WebhookSubscriptionRecord,
    secrets::SecretPlace,
};
use crosstie_store::{Store, StoreError, Tx, integration::live_secrets};
use rand::Rng;

use crate::{
    App, AppError, Decision,
    secrets::{Plain, SecretsError},
};

/// Random bytes of a secret; Standard Webhooks asks for 24 to 64.
const BYTES: usize = 32;
/// What a secret begins with, so that scanners find one that leaked.
const PREFIX: &str = "whsec_";

/// Where a secret of a subscription is kept.
fn place(subscription: WebhookSubscriptionId, number: i32) -> SecretPlace {
    SecretPlace::webhook_subscription(subscription, &format!("signing-{number}"))
}

/// A new secret, as receivers take it: `whsec_` and the bytes in base64.
fn new_secret() -> Plain {
    let bytes: [u8; BYTES] = rand::rng().random();
    Plain::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
}

/// The bytes that a secret stands for; `None` when it is none.
///
/// ```
/// use crosstie_app::subscriptions::secret_bytes;
///
/// assert_eq!(secret_bytes("whsec_AAEC").unwrap(), [0, 1, 2]);
/// ```
pub fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()
}

impl App {
    /// Makes a new secret for a subscription; those before it end at a moment. Refused where the hub has no master key.
    pub(super) async fn make_secret(
        &self,
        tx: &Tx,
        subscription: &WebhookSubscriptionRecord,
        others_end_at: Instant,
    ) -> Result<Decision<Plain>, AppError> {
        let newest = live_secrets(tx, subscription.id, tx.now()).await?.first().copied().unwrap_or(0);
        let secret = new_secret();
        match self.seal_secret(tx, &place(subscription.id, newest + 1), &secret).await {
            Ok(()) => {}
            Err(SecretsError::Store(error)) => return Err(error.into()),
            Err(error) => {
                let message = format!("The secret cannot be kept: {error}.");
                return Ok(Err(vec![Refusal::new("", UserErrorCode::Invalid, message)]));
            }
        }
        for ended in tx.add_secret(subscription.id, newest + 1, others_end_at).await? {
            tx.delete_secret(&place(subscription.id, ended)).await?;
        }
        Ok(Ok(secret))
    }

    /// The secrets that sign now, the newest first.
    pub(super) async fn signing_secrets(
        &self,
        store: &Store,
        subscription: WebhookSubscriptionId,
    ) -> Result<Vec<Plain>, SecretsError> {
        let mut secrets = Vec::new();
        for number in live_secrets(store, subscription, store.now()).await? {
            secrets.extend(self.open_secret(store, &place(subscription, number)).await?);
        }
        Ok(secrets)
    }
}

/// Forgets the secrets of a subscription, with the subscription.
pub(super) async fn delete_with_secrets(tx: &Tx, subscription: WebhookSubscriptionId) -> Result<(), StoreError> {
    for number in tx.delete_subscription(subscription).await? {
        tx.delete_secret(&place(subscription, number)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_random_and_reads_back() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        assert_eq!(secret_bytes(one.expose()).expect("it is one").len(), BYTES);
        for wrong in ["", &one.expose()[6..], "whsec_%"] {
            assert_eq!(secret_bytes(wrong), None, "{wrong:?}");
        }
    }
}
