//! `/oauth/callback/{connection}`: a person comes back from the authorization server. Nothing that comes with the request
//! is shown again.

use axum::{
    extract::{Path, Query, State},
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use crosstie_sync::{AuthorizationOutcome, Callback};
use serde::Deserialize;

use crate::hub::Shared;

/// The page may load nothing and be shown in no frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What an authorization server sends a person back with.
#[derive(Deserialize)]
pub(super) struct Parameters {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// Takes the answer of an authorization server.
pub(super) async fn callback(
    State(shared): State<Shared>,
    Path(connection): Path<String>,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
) -> Response {
    // A parameter that is there twice is nobody's answer.
    let Ok(Query(Parameters { state, code, error })) = parameters else {
        return page(Err(AuthorizationOutcome::Unknown));
    };
    let callback = Callback { state: state.unwrap_or_default(), code, error };
    page(shared.engine.finish_authorization(&connection, callback).await)
}

fn page(outcome: Result<(), AuthorizationOutcome>) -> Response {
    let (status, heading, text) = match outcome {
        Ok(()) => (StatusCode::OK, "Connected", "The hub signs in now. You can close this page."),
        Err(outcome) => {
            let (status, text) = words(outcome);
            (status, outcome.code(), text)
        }
    };
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Crosstie</title>\n\
         <style>body {{ font: 1rem/1.5 sans-serif; margin: 4rem auto; max-width: 36rem }}</style>\n</head>\n<body>\n\
         <h1>{heading}</h1>\n<p>{text}</p>\n</body>\n</html>\n"
    );
    let headers =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (HeaderName::from_static("referrer-policy"), "no-referrer")];
    (status, headers, Html(html)).into_response()
}

fn words(outcome: AuthorizationOutcome) -> (StatusCode, &'static str) {
    match outcome {
        AuthorizationOutcome::Unknown => (
            StatusCode::BAD_REQUEST,
            "This authorization was not begun here, was used before, or took more than ten minutes. Begin again.",
        ),
        AuthorizationOutcome::Denied => {
            (StatusCode::FORBIDDEN, "You did not allow it. Nothing has changed. Begin again if you want to.")
        }
        AuthorizationOutcome::Failed => {
            (StatusCode::BAD_GATEWAY, "The authorization server could not do it. Nothing has changed. Begin again.")
        }
        AuthorizationOutcome::CodeRefused => (
            StatusCode::BAD_GATEWAY,
            "The token endpoint accepts neither the code nor perhaps the client. Check the client, then begin again.",
        ),
        AuthorizationOutcome::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The tokens could not be fetched or kept now. Begin again a little later.",
        ),
    }
}
