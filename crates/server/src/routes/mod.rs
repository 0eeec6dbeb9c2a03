//! The routes, one file each.

mod body;
mod graphiql;
pub mod graphql;
mod health;
mod identity;
mod media;
pub mod request_id;
mod schema;
mod webhooks;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{any, get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::hub::Shared;

/// All routes of the hub.
pub fn router(shared: Shared, own_metrics: Option<PrometheusHandle>) -> Router {
    let gateway = crosstie_graphql::gateway(shared.app.clone());
    let for_principals = Router::new()
        .route("/graphql", any(graphql::serve))
        .with_state(gateway)
        .route("/schema.graphql", get(schema::sdl))
        .layer(from_fn_with_state(shared.app.clone(), identity::identify));
    let mut router = Router::new()
        .merge(for_principals)
        .route("/graphiql", get(graphiql::page))
        .route("/webhooks/{connection}", post(webhooks::receive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(shared);
    if let Some(handle) = own_metrics {
        router = router.merge(metrics(handle));
    }
    router.layer(from_fn(request_id::assign))
}

/// `/metrics`, on the main listener or on one of its own.
pub fn metrics(handle: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(move || async move { handle.render() }))
}
