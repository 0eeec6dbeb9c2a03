//! Signatures of webhooks, described as data and checked by the host: over the raw bytes, in constant time, with
//! several live secrets, and never with a default.

use base64::{Engine, prelude::BASE64_STANDARD};
use crosstie_domain::Instant;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{Delivery, Secret, Verified};

/// How a vendor signs its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HMAC-SHA256 over parts of the request.
    HmacSha256 {
        /// Header with the signature or signatures, in lower case.
        header: &'static str,
        /// How the header holds signatures.
        layout: Layout,
        /// Where the time of sending stands.
        timestamp: TimestampAt,
        /// What is signed, in order.
        signed: &'static [Part],
        /// How the bytes of the signature are written.
        encoding: Encoding,
        /// How far the time of sending may be from now, either way, in milliseconds.
        tolerance_ms: i64,
    },
}

/// How a header holds signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The whole value is the signature.
    Whole,
    /// `key=value` pairs with commas between them; every value under this key is a signature.
    Pairs {
        /// The key.
        key: &'static str,
    },
}

/// Where the time of sending stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampAt {
    /// In a header of its own, in milliseconds since 1970.
    HeaderMillis(&'static str),
    /// In the signature header under a key, in seconds since 1970.
    PairSeconds(&'static str),
}

/// A part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The method.
    Method,
    /// The address as the sender knows it.
    Url,
    /// The raw body.
    Body,
    /// The time of sending, as it was written.
    Timestamp,
    /// A fixed text.
    Literal(&'static str),
}

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// Why a delivery was refused. The sender is told none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no signature.
    #[error("no signature")]
    Unsigned,
    /// No signature is right under any live secret.
    #[error("wrong signature")]
    Wrong,
    /// It was sent too long ago, or claims to come from the future.
    #[error("outside the time window")]
    Stale,
    /// The connection has no secret.
    #[error("nothing to verify with")]
    NoSecret,
}

impl Refused {
    /// The stable code, as counted and logged.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unsigned => "UNSIGNED",
            Self::Wrong => "WRONG_SIGNATURE",
            Self::Stale => "STALE",
            Self::NoSecret => "NO_SECRET",
        }
    }
}

/// Verifies a delivery. The same work is done whether or not the signature is there or right.
///
/// # Errors
/// Why it must not be believed.
pub fn verify<'a>(
    scheme: &Scheme,
    delivery: &'a Delivery,
    secrets: &[Secret],
    now: Instant,
) -> Result<Verified<'a>, Refused> {
    let Scheme::HmacSha256 { header, layout, timestamp, signed, encoding, tolerance_ms } = *scheme;
    let value = delivery.header(header).unwrap_or_default();
    let written_at = match timestamp {
        TimestampAt::HeaderMillis(name) => delivery.header(name).unwrap_or_default(),
        TimestampAt::PairSeconds(key) => pairs(value, key).next().unwrap_or_default(),
    };
    let candidates: Vec<Vec<u8>> = match layout {
        Layout::Whole => vec![decode(value, encoding)],
        Layout::Pairs { key } => pairs(value, key).take(8).map(|text| decode(text, encoding)).collect(),
    };
    let mut right = false;
    for secret in secrets {
        let mac = mac(signed, delivery, written_at, secret);
        for candidate in &candidates {
            right |= mac.clone().verify_slice(candidate).is_ok();
        }
    }
    if secrets.is_empty() {
        return Err(Refused::NoSecret);
    }
    if value.is_empty() || candidates.is_empty() {
        return Err(Refused::Unsigned);
    }
    if !right {
        return Err(Refused::Wrong);
    }
    let unit_micros = match timestamp {
        TimestampAt::HeaderMillis(_) => 1_000,
        TimestampAt::PairSeconds(_) => 1_000_000,
    };
    let sent_at = written_at.parse::<i64>().ok().and_then(|at| at.checked_mul(unit_micros));
    match sent_at.and_then(Instant::from_micros) {
        Some(sent_at) if now.ms_since(sent_at).abs() <= tolerance_ms => Ok(Verified::new(delivery)),
        _ => Err(Refused::Stale),
    }
}

/// Signs as the vendor would: for fakes and tests. Returns the bytes of the signature as the scheme writes them.
pub fn sign(signed: &[Part], encoding: Encoding, delivery: &Delivery, written_at: &str, secret: &Secret) -> String {
    let bytes = mac(signed, delivery, written_at, secret).finalize().into_bytes();
    match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => BASE64_STANDARD.encode(bytes),
    }
}

fn mac(signed: &[Part], delivery: &Delivery, written_at: &str, secret: &Secret) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    for part in signed {
        match part {
            Part::Method => mac.update(delivery.method.as_bytes()),
            Part::Url => mac.update(delivery.url.as_bytes()),
            Part::Body => mac.update(&delivery.body),
            Part::Timestamp => mac.update(written_at.as_bytes()),
            Part::Literal(text) => mac.update(text.as_bytes()),
        }
    }
    mac
}

fn pairs<'a>(value: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    value.split(',').filter_map(|pair| pair.trim().split_once('=')).filter(move |(name, _)| *name == key).map(|p| p.1)
}

fn decode(text: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Hex => hex::decode(text).unwrap_or_default(),
        Encoding::Base64 => BASE64_STANDARD.decode(text).unwrap_or_default(),
    }
}

/// SHA-256 of bytes in base64, as content security policies write it.
pub fn sha256_base64(bytes: &[u8]) -> String {
    use sha2::Digest;
    BASE64_STANDARD.encode(Sha256::digest(bytes))
}
