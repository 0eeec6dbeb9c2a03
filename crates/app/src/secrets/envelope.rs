//! Envelopes: each secret is sealed by a key of its own, and that key by a master key. Both seals are bound to the place
//! of the secret, so that one cannot be moved to another place.

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use crosstie_domain::secrets::SecretPlace;
use crosstie_store::secrets::Envelope;
use rand::RngCore;
use zeroize::Zeroizing;

use super::keyring::{KEY_BYTES, Keyring};

/// XChaCha20 takes so long a nonce that random ones do not meet.
const NONCE_BYTES: usize = 24;

/// Why an envelope stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// The keyring does not have the key that sealed it.
    UnknownKey,
    /// It was changed, or belongs to another place.
    Damaged,
}

/// Seals a secret for its place.
pub(super) fn seal(keyring: &Keyring, place: &SecretPlace, plain: &[u8]) -> Envelope {
    let key = random::<KEY_BYTES>();
    let nonce = random::<NONCE_BYTES>();
    let ciphertext = encrypt(&key, &nonce, plain, &bound("secret", place, ""));
    let master = keyring.active();
    let wrapped_key = wrap(&master.key, &key, &bound("key", place, &master.id));
    Envelope { key_id: master.id.clone(), wrapped_key, nonce: nonce.to_vec(), ciphertext }
}

/// Opens what was sealed for this place.
pub(super) fn open(keyring: &Keyring, place: &SecretPlace, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let key = unwrap(keyring, place, envelope)?;
    decrypt(&key, &envelope.nonce, &envelope.ciphertext, &bound("secret", place, ""))
}

/// The same secret with its own key sealed by the active master key. The secret itself stays closed.
pub(super) fn rewrap(keyring: &Keyring, place: &SecretPlace, envelope: &Envelope) -> Result<Envelope, Closed> {
    let key = unwrap(keyring, place, envelope)?;
    let master = keyring.active();
    let wrapped_key = wrap(&master.key, &key, &bound("key", place, &master.id));
    Ok(Envelope { key_id: master.id.clone(), wrapped_key, ..envelope.clone() })
}

fn wrap(master: &[u8; KEY_BYTES], key: &[u8; KEY_BYTES], bound: &[u8]) -> Vec<u8> {
    let nonce = random::<NONCE_BYTES>();
    let mut wrapped = nonce.to_vec();
    wrapped.extend(encrypt(master, &nonce, key, bound));
    wrapped
}

fn unwrap(keyring: &Keyring, place: &SecretPlace, envelope: &Envelope) -> Result<Zeroizing<[u8; KEY_BYTES]>, Closed> {
    let master = keyring.key(&envelope.key_id).ok_or(Closed::UnknownKey)?;
    let (nonce, sealed) = envelope.wrapped_key.split_at_checked(NONCE_BYTES).ok_or(Closed::Damaged)?;
    let key = decrypt(&master.key, nonce, sealed, &bound("key", place, &master.id))?;
    Ok(Zeroizing::new(key.as_slice().try_into().map_err(|_| Closed::Damaged)?))
}

fn encrypt(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], plain: &[u8], bound: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(key.into());
    let sealed = cipher.encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad: bound });
    sealed.expect("a secret is shorter than the cipher's 256 GiB")
}

fn decrypt(key: &[u8; KEY_BYTES], nonce: &[u8], sealed: &[u8], bound: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| Closed::Damaged)?;
    let cipher = XChaCha20Poly1305::new(key.into());
    let plain = cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: bound });
    plain.map(Zeroizing::new).map_err(|_| Closed::Damaged)
}

/// What a seal is bound to. Each part is led by its length, so that no two places give the same bytes.
fn bound(what: &str, place: &SecretPlace, key_id: &str) -> Vec<u8> {
    let parts = ["crosstie envelope 1", what, place.owner.as_str(), &place.owner_id, &place.name, key_id];
    let mut bytes = Vec::new();
    for part in parts {
        let length = u64::try_from(part.len()).expect("a text in memory has a length of 64 bits");
        bytes.extend(length.to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

fn random<const BYTES: usize>() -> Zeroizing<[u8; BYTES]> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    rand::rng().fill_bytes(bytes.as_mut());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, proptest};

    use super::*;

    fn keyring(keys: usize) -> (Keyring, Vec<String>) {
        let keys: Vec<String> = (0..keys).map(|_| Keyring::new_key().to_string()).collect();
        (Keyring::parse(&keys.join("\n")).expect("keys"), keys)
    }

    fn place(name: &str) -> SecretPlace {
        SecretPlace::connection("crm", name)
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_place_and_shows_nothing_of_itself(plain in vec(any::<u8>(), 0..300)) {
            let (keyring, _) = keyring(1);
            let envelope = seal(&keyring, &place("token"), &plain);
            assert_eq!(open(&keyring, &place("token"), &envelope).expect("it opens").as_slice(), plain);
            let long = plain.len() > 8;
            assert!(!long || !envelope.ciphertext.windows(plain.len()).any(|part| part == plain));
            let again = seal(&keyring, &place("token"), &plain);
            assert_ne!(envelope.ciphertext, again.ciphertext, "no two envelopes are alike");
        }

        #[test]
        fn a_changed_byte_anywhere_keeps_it_closed(plain in vec(any::<u8>(), 1..40), bit in 0..8_u8) {
            let (keyring, _) = keyring(1);
            let envelope = seal(&keyring, &place("token"), &plain);
            let closed = |envelope: &Envelope| open(&keyring, &place("token"), envelope) == Err(Closed::Damaged);
            for part in 0..3_usize {
                let parts = |envelope: &mut Envelope| match part {
                    0 => std::mem::take(&mut envelope.wrapped_key),
                    1 => std::mem::take(&mut envelope.nonce),
                    _ => std::mem::take(&mut envelope.ciphertext),
                };
                let with = |bytes: Vec<u8>| match part {
                    0 => Envelope { wrapped_key: bytes, ..envelope.clone() },
                    1 => Envelope { nonce: bytes, ..envelope.clone() },
                    _ => Envelope { ciphertext: bytes, ..envelope.clone() },
                };
                let whole = parts(&mut envelope.clone());
                for at in 0..whole.len() {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    assert!(closed(&with(changed)), "part {part}, byte {at}");
                    assert!(closed(&with(whole[..at].to_vec())), "part {part}, cut at {at}");
                }
                let mut longer = whole;
                longer.push(0);
                assert!(closed(&with(longer)), "part {part}, a byte more");
            }
        }
    }

    #[test]
    fn a_secret_opens_in_no_other_place() {
        let (keyring, _) = keyring(1);
        let places = [
            place("token"),
            place("client_secret"),
            SecretPlace::connection("crmt", "oken"),
            SecretPlace::connection("crm token", ""),
            SecretPlace { owner: crosstie_domain::secrets::SecretOwner::WebhookSubscription, ..place("token") },
        ];
        for sealed_for in &places {
            let envelope = seal(&keyring, sealed_for, b"hush");
            for asked_for in &places {
                let opened = open(&keyring, asked_for, &envelope).is_ok();
                assert_eq!(opened, sealed_for == asked_for, "{sealed_for} as {asked_for}");
                assert_eq!(rewrap(&keyring, asked_for, &envelope).is_ok(), opened, "{sealed_for} as {asked_for}");
            }
        }
        // Nor can the parts of two envelopes be mixed.
        let (one, other) = (seal(&keyring, &place("token"), b"one"), seal(&keyring, &place("token"), b"other"));
        let mixed = Envelope { wrapped_key: other.wrapped_key, ..one };
        assert_eq!(open(&keyring, &place("token"), &mixed), Err(Closed::Damaged));
    }

    #[test]
    fn another_key_opens_nothing_and_an_old_one_opens_what_it_sealed() {
        let (old, keys) = keyring(1);
        let envelope = seal(&old, &place("token"), b"hush");
        let (stranger, _) = keyring(1);
        assert_eq!(open(&stranger, &place("token"), &envelope), Err(Closed::UnknownKey));
        let renamed = Envelope { key_id: stranger.active_id().to_owned(), ..envelope.clone() };
        assert_eq!(open(&stranger, &place("token"), &renamed), Err(Closed::Damaged));

        let new = Keyring::new_key();
        let both = Keyring::parse(&format!("{}\n{}", *new, keys[0])).expect("two keys");
        let rewrapped = rewrap(&both, &place("token"), &envelope).expect("it opens");
        assert_eq!(rewrapped.key_id, both.active_id());
        assert_eq!((&rewrapped.nonce, &rewrapped.ciphertext), (&envelope.nonce, &envelope.ciphertext));
        let alone = Keyring::parse(&new).expect("a key");
        assert_eq!(open(&alone, &place("token"), &rewrapped).expect("it opens").as_slice(), b"hush");
        assert_eq!(open(&old, &place("token"), &rewrapped), Err(Closed::UnknownKey));
    }
}
