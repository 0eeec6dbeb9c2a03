//! Who comes: a bearer token becomes an `AuthContext`, or the request ends here. No token, no data.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use crosstie_app::{App, access::TokenRefused};
use serde_json::json;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES: usize = 8 * 1024;

/// Finds out who comes and hands it on as an extension of the request.
pub(super) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(token) = bearer(&request) else { return unauthenticated("MISSING") };
    match app.authenticate(token).await {
        Ok(Ok(auth)) => {
            request.extensions_mut().insert(auth);
            next.run(request).await
        }
        Ok(Err(TokenRefused::Invalid)) => unauthenticated("INVALID"),
        Ok(Err(TokenRefused::Expired)) => unauthenticated("EXPIRED"),
        Err(error) => {
            tracing::error!(%error, "a token could not be looked up");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "The hub cannot answer now.", "SERVICE_UNAVAILABLE", None)
        }
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && value.len() <= TOKEN_BYTES).then(|| token.trim())
}

fn unauthenticated(reason: &str) -> Response {
    let message = "Send a valid token: Authorization: Bearer xt_…";
    let mut response = refuse(StatusCode::UNAUTHORIZED, message, "UNAUTHENTICATED", Some(reason));
    let challenge = HeaderValue::from_static("Bearer realm=\"crosstie\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn refuse(status: StatusCode, message: &str, code: &str, reason: Option<&str>) -> Response {
    let retryable = status == StatusCode::SERVICE_UNAVAILABLE;
    let mut extensions = json!({ "code": code, "retryable": retryable });
    if let Some(reason) = reason {
        extensions["reason"] = json!(reason);
    }
    let body = json!({ "errors": [{ "message": message, "extensions": extensions }] });
    (status, axum::Json(body)).into_response()
}
