//! A name for each request, by which its lines in the log are found, and the headers that every response has.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use crosstie_app::SystemClock;
use crosstie_domain::Clock;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 64;

/// The name of a request, an extension of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Takes the name that the client or a proxy sent as `X-Request-Id`, if it is short and harmless in a log, or makes
/// one; and sets the headers of every response. Mount it with `axum::middleware::from_fn`, outermost.
pub async fn assign(mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| is_safe(text))
        .map_or_else(make, str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_safe(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

fn make() -> String {
    SystemClock::default().new_uuid().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_short_harmless_names_alone() {
        for (text, safe) in [("a-B_1.2:3", true), ("", false), ("a b", false), ("a\"", false)] {
            assert_eq!(is_safe(text), safe, "{text}");
        }
        assert!(is_safe(&"a".repeat(64)) && !is_safe(&"a".repeat(65)));
    }

    #[test]
    fn makes_a_new_name_each_time() {
        let (first, second) = (make(), make());
        assert_ne!(first, second);
        assert!(is_safe(&first));
    }
}
