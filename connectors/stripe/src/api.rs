//! Calls as Stripe wants them, and its refusals by what can be done about them.

use crosstie_sdk::{Answer, Call, Fault, Net};
use serde::de::DeserializeOwned;

use crate::{
    API_VERSION,
    wire::{ErrorBody, StripeError},
};

/// A read.
pub(crate) fn get(path: impl Into<String>) -> Call {
    Call::get(path).header("stripe-version", API_VERSION).bucket("api")
}

/// A write under a key. Stripe keeps the key for at least a day, so the call may be repeated.
pub(crate) async fn post(
    net: &Net,
    path: impl Into<String>,
    idempotency_key: &str,
    form: &[(String, String)],
) -> Result<Answer, Fault> {
    let call = Call::post(path)
        .header("stripe-version", API_VERSION)
        .header("idempotency-key", idempotency_key)
        .form(form)
        .bucket("api")
        .repeatable();
    net.send(call).await
}

/// One object; `None` when Stripe has none of that id.
pub(crate) async fn fetch<T: DeserializeOwned>(net: &Net, collection: &str, id: &str) -> Result<Option<T>, Fault> {
    let Some(path) = object_path(collection, id) else { return Ok(None) };
    match net.send(get(path)).await {
        Ok(answer) => answer.json_or(refusal).map(Some),
        Err(Fault::Gone) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The path of one object. Stripe has let merchants choose ids, so they are encoded; dots alone would be read as
/// steps in the path.
pub(crate) fn object_path(collection: &str, id: &str) -> Option<String> {
    if id.bytes().all(|byte| byte == b'.') {
        return None;
    }
    let mut path = format!("/v1/{collection}/");
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    Some(path)
}

/// What Stripe says of a refusal; empty when the body is not in its shape.
pub(crate) fn error_of(answer: &Answer) -> StripeError {
    answer.json::<ErrorBody>().unwrap_or_default().error
}

/// A refusal as a fault.
pub(crate) fn refusal(answer: &Answer) -> Fault {
    let error = error_of(answer);
    // Another call holds the object or the key at this moment.
    let busy = ["lock_timeout", "idempotency_key_in_use"];
    if answer.status() == 409 && error.code.as_deref().is_some_and(|code| busy.contains(&code)) {
        return Fault::Transient { why: error.code.unwrap_or_default() };
    }
    let said = error.message.or(error.code).or(error.kind);
    let message = said.unwrap_or_else(|| format!("Stripe answered {}", answer.status()));
    Fault::rejected(error.param.unwrap_or_default(), message)
}

/// Whether Stripe refused because it has no e-mail address of the customer. No code is documented for that, so it is
/// told by the parameter or the words.
pub(crate) fn lacks_email(answer: &Answer) -> bool {
    if answer.status() != 400 {
        return false;
    }
    let StripeError { code, param, message, .. } = error_of(answer);
    [code, param, message].into_iter().flatten().any(|text| text.to_ascii_lowercase().contains("email"))
}

#[cfg(test)]
mod tests {
    use super::object_path;

    #[test]
    fn an_id_cannot_lead_out_of_its_collection() {
        let path = |id| object_path("customers", id);
        assert_eq!(path("cus_1").as_deref(), Some("/v1/customers/cus_1"));
        assert_eq!(path("../a?b#c").as_deref(), Some("/v1/customers/..%2Fa%3Fb%23c"));
        assert_eq!(path(".."), None);
        assert_eq!(path(""), None);
    }
}
