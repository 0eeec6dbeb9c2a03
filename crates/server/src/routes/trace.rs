//! A span around each request, so that every line of the log that it gives rise to carries its name.

use std::time::Duration;

use axum::{body::Body, extract::Request, http::Response};
use tower_http::{
    classify::{ServerErrorsAsFailures, SharedClassifier},
    trace::{MakeSpan, OnResponse, TraceLayer},
};
use tracing::{Span, debug, info, info_span, warn};

use super::request_id::RequestId;

/// Lays the span around a request and the body of its response. Mount it inside of
/// [`request_id::assign`](super::request_id::assign).
pub(super) fn layer() -> TraceLayer<SharedClassifier<ServerErrorsAsFailures>, Named, (), Answered, (), (), ()> {
    TraceLayer::new_for_http()
        .make_span_with(Named)
        .on_request(())
        .on_response(Answered)
        .on_body_chunk(())
        .on_eos(())
        .on_failure(())
}

/// The span has the name of the request; of the address the path alone, because a query may hold anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named;

impl MakeSpan<Body> for Named {
    fn make_span(&mut self, request: &Request) -> Span {
        let id = request.extensions().get::<RequestId>().map_or("", |id| id.0.as_str());
        info_span!("request", request.id = id, http.method = %request.method(), http.path = request.uri().path())
    }
}

/// A line for each request; with the usual filter, for those that were refused or failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered;

impl<B> OnResponse<B> for Answered {
    fn on_response(self, response: &Response<B>, latency: Duration, _: &Span) {
        let (status, ms) = (response.status(), latency.as_millis());
        let code = status.as_u16();
        if status.is_server_error() {
            warn!(http.status = code, ms, "a request failed");
        } else if status.is_client_error() {
            info!(http.status = code, ms, "a request was refused");
        } else {
            debug!(http.status = code, ms, "a request was answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use axum::{Router, http::StatusCode, middleware::from_fn, routing::get};
    use crosstie_sdk::{HttpRequest, Method, ReqwestTransport, Transport};
    use tokio::net::TcpListener;

    use super::*;
    use crate::routes::request_id::assign;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_log_is_searched_by_the_name_of_a_request() {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(logs);
        let fault = async || {
            tracing::error!("something broke");
            StatusCode::FORBIDDEN
        };
        let router = Router::new().route("/fault", get(fault)).layer(layer()).layer(from_fn(assign));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/fault?token=secret", listener.local_addr().expect("an address"));
        let served = tokio::spawn(async { axum::serve(listener, router).await });
        let headers = vec![("x-request-id".to_owned(), "req-42".to_owned())];
        let request = HttpRequest { method: Method::Get, url, headers, body: vec![] };
        let answer = ReqwestTransport::new().expect("the network can be used").send(request).await;
        assert_eq!(answer.expect("an answer").status, 403);
        served.abort();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).expect("text");
        let found: Vec<_> = text.lines().filter(|line| line.contains("request.id=\"req-42\"")).collect();
        assert!(found.iter().any(|line| line.contains("something broke")), "{text}");
        assert!(found.iter().any(|line| line.contains("a request was refused http.status=403")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
