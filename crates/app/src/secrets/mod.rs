//! Secrets that the database keeps: sealed there, opened here, and shown nowhere.

mod envelope;
mod keyring;

use std::{fmt, sync::Arc};

use crosstie_domain::secrets::SecretPlace;
use crosstie_store::{
    Reads, StoreError, Tx,
    secrets::{SealedSecret, secret, secrets_after},
};
use zeroize::Zeroizing;

use self::envelope::Closed;
pub use self::keyring::{Keyring, KeyringError};
use crate::App;

/// How many secrets are sealed anew in one transaction: few, so that nobody waits long behind it.
const BATCH: i64 = 50;

/// A secret in the clear. It is wiped from memory when it goes, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(Zeroizing<String>);

impl Plain {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Gives it out: for signing and signing in alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain(…)")
    }
}

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretsError {
    /// The hub has no master key.
    #[error(
        "there is no master key to keep secrets with: give configuration key `secrets.key_file` or \
         CROSSTIE_SECRETS_KEY; `crosstie secrets new-key` prints a key"
    )]
    NoKey,
    /// The master key that sealed the secret is not among those of the hub.
    #[error(
        "the secret {place} was sealed with the master key {key_id}, which is not among those of configuration key \
         `secrets.key_file` or CROSSTIE_SECRETS_KEY"
    )]
    UnknownKey {
        /// Where the secret belongs.
        place: SecretPlace,
        /// The key that is missing.
        key_id: String,
    },
    /// The secret was changed in the database, or moved there from another place.
    #[error("the secret {0} is damaged: it was changed in the database, or moved from another place")]
    Damaged(SecretPlace),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of sealing all secrets with the active master key.
#[derive(Debug, Default)]
pub struct Rotated {
    /// How many were sealed anew.
    pub sealed: u64,
    /// How many had been before.
    pub kept: u64,
    /// What could not be opened, and so stays as it is.
    pub failed: Vec<SecretsError>,
}

impl App {
    /// The same use cases with master keys, or without.
    #[must_use]
    pub fn with_keyring(self, keyring: Option<Keyring>) -> Self {
        Self { keyring: keyring.map(Arc::new), ..self }
    }

    /// The master keys.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`].
    pub fn keyring(&self) -> Result<&Keyring, SecretsError> {
        self.keyring.as_deref().ok_or(SecretsError::NoKey)
    }

    /// Seals a secret for its place, instead of the one that was there.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`], and as the database.
    pub async fn seal_secret(&self, tx: &Tx, place: &SecretPlace, plain: &Plain) -> Result<(), SecretsError> {
        let envelope = envelope::seal(self.keyring()?, place, plain.expose().as_bytes());
        Ok(tx.save_secret(place, envelope).await?)
    }

    /// Opens the secret of a place; `None` when there is none.
    ///
    /// # Errors
    /// [`SecretsError`]; what cannot be opened is never taken for missing.
    pub async fn open_secret(&self, db: &impl Reads, place: &SecretPlace) -> Result<Option<Plain>, SecretsError> {
        let sealed = secret(db, place).await?;
        sealed.map(|sealed| self.open_sealed(&sealed)).transpose()
    }

    /// Opens a sealed secret that was read already.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn open_sealed(&self, sealed: &SealedSecret) -> Result<Plain, SecretsError> {
        let bytes = envelope::open(self.keyring()?, &sealed.place, &sealed.envelope);
        let bytes = bytes.map_err(|closed| explain(closed, sealed))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| SecretsError::Damaged(sealed.place.clone()))?;
        Ok(Plain::new(text))
    }

    /// Seals the own keys of all secrets with the active master key. It may be stopped and begun again, and hubs that
    /// have the active key beside the old one go on meanwhile.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`], and as the database.
    pub async fn rotate_secrets(&self) -> Result<Rotated, SecretsError> {
        let keyring = self.keyring()?;
        loop {
            let (mut rotated, mut after, mut changed) = (Rotated::default(), None, false);
            loop {
                let tx = self.store().begin().await?;
                let page = secrets_after(&tx, after.as_ref(), BATCH).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.place.clone());
                for sealed in page {
                    if sealed.envelope.key_id == keyring.active_id() {
                        rotated.kept += 1;
                        continue;
                    }
                    match envelope::rewrap(keyring, &sealed.place, &sealed.envelope) {
                        Ok(envelope) => match tx.rewrap_secret(&sealed, envelope).await? {
                            true => rotated.sealed += 1,
                            false => changed = true,
                        },
                        Err(closed) => rotated.failed.push(explain(closed, &sealed)),
                    }
                }
                tx.commit().await?;
            }
            // What a hub sealed meanwhile may be under its own active key, the old one.
            if !changed {
                return Ok(rotated);
            }
        }
    }
}

fn explain(closed: Closed, sealed: &SealedSecret) -> SecretsError {
    let place = sealed.place.clone();
    match closed {
        Closed::UnknownKey => SecretsError::UnknownKey { place, key_id: sealed.envelope.key_id.clone() },
        Closed::Damaged => SecretsError::Damaged(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_clear_is_not_shown() {
        let plain = Plain::new("hush");
        assert_eq!(format!("{plain:?}"), "Plain(…)");
        assert_eq!(format!("{:?}", Some(&plain)), "Some(Plain(…))");
        assert_eq!(plain.expose(), "hush");
    }
}
