//! Master keys: what the own keys of all secrets are sealed with.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use rand::RngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The length of a key in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The master keys of a hub. The first one seals; all of them open.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<MasterKey>,
}

#[derive(Clone)]
pub(super) struct MasterKey {
    pub(super) id: String,
    pub(super) key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Shows the identifiers of the keys, and no key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>();
        write!(f, "Keyring({})", ids.join(", "))
    }
}

/// Why a text is no list of master keys. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// One of them is no key.
    #[error("key {number} is not {KEY_BYTES} bytes in base64; `crosstie secrets new-key` prints one that is")]
    NotAKey {
        /// Which one, from 1 on.
        number: usize,
    },
    /// A key is there twice.
    #[error("key {number} is there twice")]
    Twice {
        /// The second of them, from 1 on.
        number: usize,
    },
    /// There is none.
    #[error("there is no key in it; `crosstie secrets new-key` prints one")]
    Empty,
}

impl Keyring {
    /// Reads keys of 32 bytes in base64, one on each line or parted by commas; the first one seals. What follows a `#`
    /// on a line is passed over.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let written = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split(','));
        let mut keys: Vec<MasterKey> = Vec::new();
        for (text, number) in written.map(str::trim).filter(|text| !text.is_empty()).zip(1..) {
            let key = MasterKey::parse(text).ok_or(KeyringError::NotAKey { number })?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyringError::Twice { number });
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// A new key of random bytes, as [`Keyring::parse`] reads it.
    pub fn new_key() -> Zeroizing<String> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::rng().fill_bytes(key.as_mut());
        Zeroizing::new(BASE64_STANDARD.encode(*key))
    }

    /// The identifier of the key that seals.
    pub fn active_id(&self) -> &str {
        &self.active().id
    }

    pub(super) fn active(&self) -> &MasterKey {
        self.keys.first().expect("a keyring has a key")
    }

    pub(super) fn key(&self, id: &str) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl MasterKey {
    fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
        let key: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(bytes.as_slice().try_into().ok()?);
        // Taken from the key itself, so that no two keys can be called the same.
        let mut hash = Sha256::new();
        hash.update(b"crosstie master key ");
        hash.update(key.as_slice());
        let id = hex::encode(&hash.finalize()[..6]);
        Some(Self { id, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_and_never_shown() {
        let (first, second) = (Keyring::new_key(), Keyring::new_key());
        assert_ne!(first, second);
        let text = format!("# since March\n{}  # active\n\n{}\n", *first, *second);
        let keyring = Keyring::parse(&text).expect("two keys");
        assert_eq!(keyring.active_id(), Keyring::parse(&first).expect("a key").active_id());
        assert_eq!(keyring.keys.len(), 2);
        assert_eq!(Keyring::parse(&format!("{},{}", *first, *second)).expect("two keys").keys.len(), 2);
        let shown = format!("{keyring:?}");
        assert!(!shown.contains(first.as_str()) && !shown.contains(second.as_str()), "{shown}");
    }

    #[test]
    fn what_is_no_key_is_named_by_its_number_alone() {
        let key = Keyring::new_key();
        let short = BASE64_STANDARD.encode([7; 31]);
        for (text, expected) in [
            (String::new(), KeyringError::Empty),
            ("# none".to_owned(), KeyringError::Empty),
            ("hush".to_owned(), KeyringError::NotAKey { number: 1 }),
            (format!("{}\n{short}", *key), KeyringError::NotAKey { number: 2 }),
            (format!("{0}\n{0}", *key), KeyringError::Twice { number: 2 }),
        ] {
            let error = Keyring::parse(&text).expect_err("no list of keys");
            assert!(!error.to_string().contains("hush"), "{error}");
            assert_eq!(error, expected);
        }
    }
}
