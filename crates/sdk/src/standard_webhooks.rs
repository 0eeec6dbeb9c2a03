//! Signatures of outgoing webhooks, as the specification Standard Webhooks (version 1) has them.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The headers of a message: `webhook-id`, `webhook-timestamp` in seconds since 1970, and `webhook-signature` with a
/// signature for each key, parted by spaces.
///
/// The example is the one that the reference libraries of the specification are tested with.
///
/// ```
/// use base64::{Engine, prelude::BASE64_STANDARD};
/// use crosstie_sdk::standard_webhooks::headers;
///
/// let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
/// let made = headers(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
/// assert_eq!(made[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
/// ```
pub fn headers(keys: &[Vec<u8>], id: &str, timestamp: i64, body: &[u8]) -> [(String, String); 3] {
    let signatures: Vec<String> = keys.iter().map(|key| signature(key, id, timestamp, body)).collect();
    [
        ("webhook-id".to_owned(), id.to_owned()),
        ("webhook-timestamp".to_owned(), timestamp.to_string()),
        ("webhook-signature".to_owned(), signatures.join(" ")),
    ]
}

fn signature(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
