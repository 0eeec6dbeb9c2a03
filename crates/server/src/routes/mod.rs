//! The routes, one file each.

mod body;
mod graphiql;
pub mod graphql;
mod health;
mod identity;
mod media;
mod oauth;
pub mod request_id;
mod schema;
mod trace;
mod webhooks;

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method},
    middleware::{from_fn, from_fn_with_state},
    routing::{any, get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::cors::CorsLayer;

use crate::hub::Shared;

/// All routes of the hub.
pub fn router(shared: Shared, own_metrics: Option<PrometheusHandle>, cors_origins: &[String]) -> Router {
    let gateway = crosstie_graphql::gateway(shared.app.clone());
    let graph = graphql::Graph { gateway, stopping: shared.stopping.clone() };
    let for_principals = Router::new()
        .route("/graphql", any(graphql::serve))
        .with_state(graph)
        .route("/schema.graphql", get(schema::sdl))
        // Of these routes alone: a path that is none of ours is no secret.
        .route_layer(from_fn_with_state(shared.app.clone(), identity::identify));
    let mut router = Router::new()
        .merge(for_principals)
        .route("/graphiql", get(graphiql::page))
        .route("/webhooks/{connection}", post(webhooks::receive))
        .route("/oauth/callback/{connection}", get(oauth::callback))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(shared);
    if let Some(handle) = own_metrics {
        router = router.merge(metrics(handle));
    }
    router.layer(cors(cors_origins)).layer(trace::layer()).layer(from_fn(request_id::assign))
}

/// Lets pages of these origins, and of no others, read answers of the hub.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let names = ["authorization", "content-type", "accept", "idempotency-key", "last-event-id", "x-request-id"];
    let preflight = graphql::PREFLIGHT_HEADERS.iter().copied();
    let headers: Vec<HeaderName> = names.into_iter().chain(preflight).map(HeaderName::from_static).collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(headers)
        .expose_headers([HeaderName::from_static("x-request-id")])
        .max_age(Duration::from_secs(600))
}

/// `/metrics`, on the main listener or on one of its own.
pub fn metrics(handle: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(move || async move { handle.render() }))
}

#[cfg(test)]
mod tests {
    use crosstie_sdk::{HttpRequest, Method, ReqwestTransport, Transport};

    use super::*;
    use crate::{config::Config, database, hub::Hub};

    async fn status(hub: &Hub, path: &str) -> u16 {
        let url = format!("http://{}{path}", hub.address);
        let request = HttpRequest { method: Method::Get, url, headers: vec![], body: vec![] };
        let transport = ReqwestTransport::new().expect("the network can be used");
        transport.send(request).await.expect("the hub answers").status
    }

    #[tokio::test]
    async fn a_path_that_is_none_of_ours_is_not_found_wherever_metrics_are() {
        let folder = std::env::temp_dir().join(format!("crosstie routes {}", std::process::id()));
        let url = database::sqlite_url(&folder.join("hub.db"));
        database::migrate(&url).await.expect("migrated");
        for (metrics_listen, metrics) in [("", 200), ("metrics_listen = \"127.0.0.1:0\"\n", 404)] {
            let text = format!("listen = \"127.0.0.1:0\"\n{metrics_listen}[database]\nurl = {url:?}");
            let config = Config::parse(&text, "the test", |_| None).expect("the configuration is good");
            let hub = Hub::start(config).await.expect("the hub starts");
            for (path, expected) in
                [("/nothing", 404), ("/graphql/x", 404), ("/metrics", metrics), ("/healthz", 200), ("/graphql", 401)]
            {
                assert_eq!(status(&hub, path).await, expected, "{metrics_listen:?} {path}");
            }
            hub.stop(Duration::from_secs(5)).await;
        }
        std::fs::remove_dir_all(folder).expect("the folder is removed");
    }
}
