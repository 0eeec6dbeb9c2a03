//! Assertions that a client signs with its own key (RFC 7523).

use std::fmt;

use crosstie_domain::Instant;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use oauth2::CsrfToken;
use serde::Serialize;

use super::{Secret, tokens::Refusal};

/// How long an assertion is good for, in seconds. It is used at once.
const GOOD_FOR_SECONDS: i64 = 240;
/// How far back it is dated, in seconds: clocks are never quite alike.
const DATED_BACK_SECONDS: i64 = 30;

/// What an assertion says beside the time.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) audience: String,
    pub(super) key_id: Option<String>,
    pub(super) scope: Option<String>,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({} for {})", self.issuer, self.audience)
    }
}

#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

/// Signs an assertion, with RS256 or ES256 as the key is.
pub(super) fn sign(claims: &Claims, private_key: &Secret, now: Instant) -> Result<Secret, Refusal> {
    let pem = private_key.expose().as_bytes();
    let elliptic = EncodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let (key, algorithm) = elliptic
        .or_else(|_| EncodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256)))
        .map_err(|_| Refusal::PrivateKey)?;
    let mut header = Header::new(algorithm);
    header.kid.clone_from(&claims.key_id);
    let seconds = now.micros().div_euclid(1_000_000);
    let written = Written {
        iss: &claims.issuer,
        sub: &claims.subject,
        aud: &claims.audience,
        iat: seconds - DATED_BACK_SECONDS,
        exp: seconds + GOOD_FOR_SECONDS,
        jti: &CsrfToken::new_random().into_secret(),
        scope: claims.scope.as_deref(),
    };
    encode(&header, &written, &key).map(Secret::new).map_err(|_| Refusal::PrivateKey)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::Value;

    use super::*;

    const EC_KEY: &str = include_str!("../../../tests/keys/ec.pem");
    const RSA_KEY: &str = include_str!("../../../tests/keys/rsa.pem");

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).expect("a part");
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    }

    #[test]
    fn an_assertion_says_who_for_whom_and_for_how_long() {
        let claims = Claims {
            issuer: "client".to_owned(),
            subject: "robot".to_owned(),
            audience: "https://acme.example/token".to_owned(),
            key_id: Some("key-1".to_owned()),
            scope: None,
        };
        let now: Instant = "2026-11-23T10:00:00Z".parse().expect("an instant");
        for (key, algorithm) in [(EC_KEY, "ES256"), (RSA_KEY, "RS256")] {
            let key = Secret::new(key);
            let (first, second) = (sign(&claims, &key, now), sign(&claims, &key, now));
            let (first, second) = (first.expect("signed"), second.expect("signed"));
            let (header, body) = (part(first.expose(), 0), part(first.expose(), 1));
            assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some(algorithm), Some("key-1")));
            assert_eq!((body["iss"].as_str(), body["sub"].as_str()), (Some("client"), Some("robot")));
            assert_eq!(body["aud"], "https://acme.example/token");
            let seconds = now.micros() / 1_000_000;
            assert_eq!((body["iat"].as_i64(), body["exp"].as_i64()), (Some(seconds - 30), Some(seconds + 240)));
            assert_ne!(body["jti"], part(second.expose(), 1)["jti"], "no two assertions are the same");
        }
        for text in ["", "hush", "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----"] {
            assert_eq!(sign(&claims, &Secret::new(text), now), Err(Refusal::PrivateKey));
        }
    }
}
