//! `/healthz` and `/readyz`.

use axum::{extract::State, http::StatusCode};

use crate::hub::Shared;

/// The process is alive. No input or output.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The hub takes work: it is not stopping, and the database answers.
pub(super) async fn ready(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match shared.app.store().ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
    }
}
