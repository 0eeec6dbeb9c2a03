//! Who comes: a bearer token becomes an `AuthContext`, or the request ends here. No token, no data.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use crosstie_app::{App, access::TokenRefused};
use crosstie_graphql::{gateway::refuse, request_guard::GuardError};

use super::{graphql::json, media::Media, request_id::RequestId};

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES: usize = 8 * 1024;

/// Finds out who comes and hands it on as an extension of the request.
pub(super) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let Some(token) = bearer(&request) else { return unauthenticated(&asked, "MISSING") };
    match app.authenticate(token).await {
        Ok(Ok(auth)) => {
            request.extensions_mut().insert(auth);
            next.run(request).await
        }
        Ok(Err(TokenRefused::Invalid)) => unauthenticated(&asked, "INVALID"),
        Ok(Err(TokenRefused::Expired)) => unauthenticated(&asked, "EXPIRED"),
        Err(error) => {
            tracing::error!(%error, "a token could not be looked up");
            let error = GuardError::new("SERVICE_UNAVAILABLE", "The hub cannot answer now.");
            asked.refuse(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && value.len() <= TOKEN_BYTES).then(|| token.trim())
}

fn unauthenticated(request: &Asked, reason: &str) -> Response {
    let mut error = GuardError::new("UNAUTHENTICATED", "Send a valid token: Authorization: Bearer xt_…");
    error.extensions.push(("reason", reason.into()));
    let mut response = request.refuse(StatusCode::UNAUTHORIZED, error);
    let challenge = HeaderValue::from_static("Bearer realm=\"crosstie\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// What a refusal needs of the request.
struct Asked {
    media: Media,
    id: Option<String>,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let media = Media::negotiate(request.headers()).unwrap_or(Media::Json);
        Self { media, id: request.extensions().get::<RequestId>().map(|id| id.0.clone()) }
    }

    fn refuse(&self, status: StatusCode, error: GuardError) -> Response {
        let mut response = json(self.media, refuse(error, self.id.as_deref()));
        *response.status_mut() = status;
        response
    }
}
