//! `/webhooks/{connection}`: the raw request goes to the engine, which verifies and stores it before the answer.

use axum::{
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use crosstie_sdk::Delivery;
use crosstie_sync::Receipt;

use super::body::{self, BodyFault};
use crate::hub::Shared;

/// The largest address that is taken, in bytes.
const URL_BYTES: usize = 8 * 1024;

/// How long a sender waits while the database does not take anything, in seconds.
const UNAVAILABLE_SECONDS: u32 = 5;

/// Takes a webhook in. The body of every answer is empty.
pub(super) async fn receive(
    State(shared): State<Shared>,
    Path(connection): Path<String>,
    request: Request,
) -> Response {
    if shared.stopping.is_cancelled() {
        return come_again(UNAVAILABLE_SECONDS);
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.len() > URL_BYTES {
        return StatusCode::URI_TOO_LONG.into_response();
    }
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(BodyFault::TooLarge) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(BodyFault::TooSlow) => return StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(BodyFault::Broken) => return StatusCode::BAD_REQUEST.into_response(),
    };
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let delivery = Delivery {
        method: parts.method.as_str().to_owned(),
        url: format!("{}{path}", shared.public_url),
        headers: headers.collect(),
        body,
    };
    match shared.engine.receive(&connection, &delivery).await {
        Receipt::Accepted { status } => StatusCode::from_u16(status).unwrap_or(StatusCode::ACCEPTED).into_response(),
        Receipt::Refused => StatusCode::UNAUTHORIZED.into_response(),
        Receipt::TurnedAway { retry_after_seconds } => come_again(retry_after_seconds),
        Receipt::Unavailable => come_again(UNAVAILABLE_SECONDS),
    }
}

/// That nothing was stored, and after how many seconds it may come again.
fn come_again(seconds: u32) -> Response {
    let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
