//! The seal of an assertion: a hash of what was said, made when it was written down, by which it is verified ever after,
//! also when a person was erased from it.
//!
//! The hash is made of one leaf for each field, and each leaf of the value and a salt of its own. Who erases a value
//! leaves its leaf and destroys its salt: the whole still verifies, and no guess of the value can be tested by the leaf.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{AssertedField, Assertion};

/// Where the seal keeps the leaf of the record's id at the other system.
const REMOTE_ID: &str = "@remote_id";
/// Of the record's version there.
const REMOTE_VERSION: &str = "@remote_version";
/// Of the row as it came.
const RAW: &str = "@raw";

/// What a seal is verified with, beside what was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The salt that those of all fields are made of; none once something was erased.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// The salts of the fields that are left, where something was erased.
    #[serde(rename = "f", default, skip_serializing_if = "BTreeMap::is_empty")]
    salts: BTreeMap<String, String>,
    /// The leaves of what was erased.
    #[serde(rename = "e", default, skip_serializing_if = "BTreeMap::is_empty")]
    erased: BTreeMap<String, String>,
}

impl Seal {
    /// A seal for an assertion, of a salt that nobody can guess.
    pub fn new(salt: impl Into<String>) -> Self {
        Self { salt: Some(salt.into()), ..Self::default() }
    }

    /// How many values were erased under it.
    pub fn erased(&self) -> usize {
        self.erased.len()
    }

    /// The hash of what was said. Where the record belongs is no part of it, since links move.
    pub fn hash(&self, said: &Assertion, raw: &str) -> String {
        let mut hash = Sha256::new();
        let told = [
            "crosstie assertion 1".to_owned(),
            said.id.to_string(),
            said.entity.as_str().to_owned(),
            said.connection_id.to_string(),
            said.mapping_version.clone(),
            said.observed_at.micros().to_string(),
            said.run_id.map(|id| id.to_string()).unwrap_or_default(),
            said.inbound_event_id.map(|id| id.to_string()).unwrap_or_default(),
        ];
        for text in told {
            hash.update(text);
            hash.update([0]);
        }
        for (name, text) in parts(said, raw) {
            hash.update(name);
            hash.update([0]);
            hash.update(self.leaf(name, &text));
            hash.update([0]);
        }
        hex(&hash.finalize())
    }

    /// The seal once other values stand in the place of some. The salts of those are gone for good.
    #[must_use]
    pub fn erase(&self, (said, raw): (&Assertion, &str), (now_said, now_raw): (&Assertion, &str)) -> Self {
        let mut next = Self { salt: None, ..self.clone() };
        let now: BTreeMap<&str, Cow<'_, str>> = parts(now_said, now_raw).into_iter().collect();
        for (name, text) in parts(said, raw) {
            if next.erased.contains_key(name) {
                continue;
            }
            if now.get(name) == Some(&text) {
                if let Some(salt) = self.salt_of(name) {
                    next.salts.insert(name.to_owned(), salt);
                }
            } else {
                next.erased.insert(name.to_owned(), self.leaf(name, &text));
                next.salts.remove(name);
            }
        }
        next
    }

    fn salt_of(&self, name: &str) -> Option<String> {
        let made = self.salt.as_ref().map(|salt| hex(&digest(["salt ", salt, " ", name])[..16]));
        made.or_else(|| self.salts.get(name).cloned())
    }

    fn leaf(&self, name: &str, text: &str) -> String {
        if let Some(leaf) = self.erased.get(name) {
            return leaf.clone();
        }
        hex(&digest(["leaf ", &self.salt_of(name).unwrap_or_default(), " ", text]))
    }
}

fn digest(texts: [&str; 4]) -> [u8; 32] {
    let hash = texts.into_iter().fold(Sha256::new(), |hash, text| hash.chain_update(text));
    hash.finalize().into()
}

/// In hexadecimal digits. Written into their place at once: there are a dozen for each assertion.
fn hex(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len() * 2];
    hex::encode_to_slice(bytes, &mut digits).expect("two digits for each byte");
    String::from_utf8(digits).expect("digits are text")
}

/// All that was said, by name, in the order of names.
fn parts<'a>(said: &'a Assertion, raw: &'a str) -> Vec<(&'a str, Cow<'a, str>)> {
    let field = |field: &AssertedField| serde_json::to_string(field).unwrap_or_default();
    let mut parts: Vec<_> = said.fields.iter().map(|(name, said)| (name.as_str(), field(said).into())).collect();
    parts.push((RAW, raw.into()));
    parts.push((REMOTE_ID, said.remote_id.as_str().into()));
    parts.push((REMOTE_VERSION, said.remote_version.as_deref().unwrap_or_default().into()));
    parts.sort();
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{integration::Entity, time::Instant};

    fn said() -> Assertion {
        let field = |value: serde_json::Value| AssertedField {
            value,
            source_path: "email".to_owned(),
            changed: true,
            problem: None,
        };
        Assertion {
            id: "asr_00000000000000000000000001".parse().expect("an identifier"),
            entity: Entity::Account,
            record_id: "acc_1".to_owned(),
            connection_id: "con_00000000000000000000000001".parse().expect("an identifier"),
            remote_id: "cus_1".to_owned(),
            remote_version: Some("Ann Lee/ann@example.com".to_owned()),
            run_id: None,
            inbound_event_id: None,
            exchange_id: None,
            correction_id: None,
            mapping_version: "1".to_owned(),
            observed_at: Instant::from_micros(1).expect("a moment"),
            fields: [("name", json!("Acme")), ("billing_email", json!("ann@example.com"))]
                .map(|(name, value)| (name.to_owned(), field(value)))
                .into(),
        }
    }

    fn without_ann(said: &Assertion) -> Assertion {
        let mut said = said.clone();
        said.remote_version = Some("[erased]".to_owned());
        said.fields.get_mut("billing_email").expect("it is there").value = json!("[erased]");
        said
    }

    #[test]
    fn what_was_said_verifies_before_and_after_something_was_erased_from_it() {
        let (before, raw) = (said(), "{\"email\":\"ann@example.com\"}");
        let seal = Seal::new("0123456789");
        let hash = seal.hash(&before, raw);
        let after = without_ann(&before);
        assert_ne!(seal.hash(&after, raw), hash, "a change that is no erasure shows");
        let first = seal.erase((&before, raw), (&after, raw));
        assert_eq!((first.hash(&after, raw), first.erased()), (hash.clone(), 2));
        // The evidence goes in another step.
        let second = first.erase((&after, raw), (&after, "{}"));
        assert_eq!((second.hash(&after, "{}"), second.erased()), (hash.clone(), 3));
        let text = serde_json::to_string(&second).expect("it can be written");
        assert_eq!(serde_json::from_str::<Seal>(&text).expect("it reads back"), second);
    }

    #[test]
    fn whatever_else_is_changed_shows_also_after_an_erasure() {
        let (before, raw) = (said(), "{}");
        let seal = Seal::new("0123456789");
        let hash = seal.hash(&before, raw);
        let after = without_ann(&before);
        let seal = seal.erase((&before, raw), (&after, raw));
        let mut renamed = after.clone();
        renamed.fields.get_mut("name").expect("it is there").value = json!("Acne");
        let mut fewer = after.clone();
        fewer.fields.remove("name");
        let mut earlier = after.clone();
        earlier.observed_at = Instant::from_micros(0).expect("a moment");
        for (what, changed, raw) in
            [("a value", &renamed, raw), ("a field", &fewer, raw), ("a time", &earlier, raw), ("the row", &after, "[]")]
        {
            assert_ne!(seal.hash(changed, raw), hash, "{what}");
        }
        let moved = Assertion { record_id: "acc_2".to_owned(), ..after };
        assert_eq!(seal.hash(&moved, raw), hash, "a link that moved is no change of what was said");
    }

    #[test]
    fn no_guess_of_an_erased_value_can_be_tested() {
        let (before, raw) = (said(), "{}");
        let seal = Seal::new("0123456789");
        let after = without_ann(&before);
        let erased = seal.erase((&before, raw), (&after, raw));
        assert!(seal.salt_of("billing_email").is_some());
        assert_eq!((erased.salt_of("billing_email"), &erased.salt), (None, &None), "its salt is gone");
        assert_eq!(erased.salt_of("name"), seal.salt_of("name"), "the others are verified as before");
    }
}
