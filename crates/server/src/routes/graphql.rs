//! `/graphql`: GraphQL over HTTP by POST and GET, and results as server-sent events in the mode of distinct connections.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use crosstie_domain::access::AuthContext;
use crosstie_graphql::{
    gateway::{DataState, Envelope, Gateway, Outcome, Streamed, Verb, refuse},
    request_guard::GuardError,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;

use super::{
    body::{self, BODY_BYTES, BodyFault},
    media::Media,
    request_id::RequestId,
};

const COMMENT_EVERY: Duration = Duration::from_secs(12);
/// Headers that no browser sends to another origin without asking it first.
pub(super) const PREFLIGHT_HEADERS: [&str; 3] =
    ["graphql-require-preflight", "apollo-require-preflight", "x-requested-with"];

/// The graph, and when its streams end.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The way in.
    pub gateway: Gateway,
    /// Set when the hub stops: every stream is completed then, and no request is begun.
    pub stopping: CancellationToken,
}

/// Answers `/graphql`. Mount it for every method: `any(serve).with_state(graph)`; it needs an [`AuthContext`] as an
/// extension of the request, and repeats the [`RequestId`] in errors if there is one.
pub async fn serve(State(graph): State<Graph>, Extension(auth): Extension<AuthContext>, request: Request) -> Response {
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    let allowed = if request.method() == Method::GET { "POST" } else { "GET, POST" };
    let mut response = answer(graph, auth, request, request_id).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

async fn answer(graph: Graph, auth: AuthContext, request: Request, request_id: Option<String>) -> Response {
    let Some(media) = Media::negotiate(request.headers()) else {
        let message = "Answers are application/graphql-response+json, application/json or text/event-stream.";
        return json(Media::Json, refuse(GuardError::new("NOT_ACCEPTABLE", message), request_id.as_deref()));
    };
    if graph.stopping.is_cancelled() {
        let message = "The hub is stopping; another one takes over, or this one is back soon.";
        return json(media, refuse(GuardError::new("SERVICE_UNAVAILABLE", message), request_id.as_deref()));
    }
    let [idempotency_key, last_event_id] = ["idempotency-key", "last-event-id"]
        .map(|name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned));
    let envelope = match open(request).await {
        Ok(envelope) => Envelope { request_id, idempotency_key, last_event_id, ..envelope },
        Err(refusal) => return json(media, refuse(refusal, request_id.as_deref())),
    };
    if media != Media::EventStream {
        return json(media, graph.gateway.execute(envelope, auth).await);
    }
    match graph.gateway.subscribe(envelope, auth).await {
        Ok(results) => events(results, graph.stopping),
        Err(outcome) => json(media, outcome),
    }
}

async fn open(request: Request) -> Result<Envelope, GuardError> {
    match *request.method() {
        Method::GET => open_get(&request),
        Method::POST => open_post(request).await,
        _ => Err(GuardError::new("METHOD_NOT_ALLOWED", "Use GET or POST.")),
    }
}

/// The parameters of a GET request, all but the document optional.
#[derive(Deserialize)]
struct Parameters {
    query: Option<String>,
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

fn open_get(request: &Request) -> Result<Envelope, GuardError> {
    if !is_deliberate(request.headers()) {
        let message = "Send the header GraphQL-Require-Preflight: 1 with GET requests.";
        return Err(GuardError::new("CSRF_PREFLIGHT_REQUIRED", message));
    }
    let Query(parameters) = Query::<Parameters>::try_from_uri(request.uri())
        .map_err(|_| bad_request("The parameters of the address cannot be read."))?;
    let read = |name: &str, text: Option<String>| match text.filter(|text| !text.is_empty()) {
        Some(text) => serde_json::from_str(&text).map_err(|_| bad_request(&format!("{name} is not JSON."))),
        None => Ok(Json::Null),
    };
    let mut object = Map::new();
    object.insert("query".to_owned(), parameters.query.map_or(Json::Null, Json::String));
    object.insert("operationName".to_owned(), parameters.operation_name.map_or(Json::Null, Json::String));
    object.insert("variables".to_owned(), read("variables", parameters.variables)?);
    object.insert("extensions".to_owned(), read("extensions", parameters.extensions)?);
    envelope(object, Verb::Get)
}

/// Whether a GET request was made on purpose and not by a page of another origin.
///
/// A link, an image, a form or a script without permission can send neither one of the named headers nor a bearer
/// token, which unlike a cookie is never attached by the browser; both make it ask the other origin first. The media
/// type of GraphQL counts because nothing but a GraphQL client names it. A script could, without asking, so this is
/// the weakest of the three; it is enough because GET changes nothing, its answer cannot be read across origins, and
/// no cookie identifies anybody here. `application/json` alone does not count: it says nothing of the intent.
fn is_deliberate(headers: &HeaderMap) -> bool {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().get(..7))
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    let named = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|accept| accept.to_ascii_lowercase().contains("application/graphql-response+json"));
    bearer || named || PREFLIGHT_HEADERS.iter().any(|name| headers.contains_key(*name))
}

async fn open_post(request: Request) -> Result<Envelope, GuardError> {
    if !is_json(request.headers()) {
        return Err(GuardError::new("UNSUPPORTED_MEDIA_TYPE", "Send Content-Type: application/json, in UTF-8."));
    }
    let body = body::read(request.into_body()).await.map_err(refused)?;
    match serde_json::from_slice(&body) {
        Ok(Json::Object(object)) => envelope(object, Verb::Post),
        Ok(Json::Array(_)) => Err(bad_request("Several requests in one body are not supported.")),
        Ok(_) => Err(bad_request("The body is not a JSON object.")),
        Err(_) => Err(bad_request("The body is not JSON.")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    parts.next().is_some_and(|name| name == "application/json")
        && parts.all(|part| {
            part.strip_prefix("charset=").is_none_or(|set| matches!(set.trim_matches('"'), "utf-8" | "utf8"))
        })
}

fn refused(fault: BodyFault) -> GuardError {
    match fault {
        BodyFault::TooLarge => {
            let mut error = GuardError::new("PAYLOAD_TOO_LARGE", "The body is too large.");
            error.extensions.push(("limitBytes", BODY_BYTES.into()));
            error
        }
        BodyFault::TooSlow => GuardError::new("TIMEOUT", "The body took too long to arrive."),
        BodyFault::Broken => bad_request("The body ended early."),
    }
}

fn envelope(mut object: Map<String, Json>, verb: Verb) -> Result<Envelope, GuardError> {
    let mut take_object = |name: &str| match object.remove(name) {
        None | Some(Json::Null) => Ok(Map::new()),
        Some(Json::Object(map)) => Ok(map),
        Some(_) => Err(bad_request(&format!("{name} is not an object."))),
    };
    let variables = take_object("variables")?;
    let extensions = take_object("extensions")?;
    let operation_name = match object.remove("operationName") {
        None | Some(Json::Null) => None,
        Some(Json::String(name)) => Some(name),
        Some(_) => return Err(bad_request("operationName is not a string.")),
    };
    let Some(Json::String(query)) = object.remove("query") else {
        return Err(bad_request("query is missing or not a string."));
    };
    Ok(Envelope { operation_name, variables, extensions, verb, ..Envelope::new(query) })
}

fn bad_request(message: &str) -> GuardError {
    GuardError::new("BAD_REQUEST", message)
}

pub(super) fn json(media: Media, outcome: Outcome) -> Response {
    // A stream that is refused before it begins is answered in JSON, by the rules that show the status.
    let content = if media == Media::GraphqlResponse { Media::GraphqlResponse } else { Media::Json };
    let mut response = (status(media, &outcome), outcome.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content.content_type());
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization"));
    response
}

fn status(media: Media, outcome: &Outcome) -> StatusCode {
    let fault = match outcome.code {
        None => return StatusCode::OK,
        Some("BAD_REQUEST" | "CSRF_PREFLIGHT_REQUIRED" | "QUERY_TOO_COMPLEX") => StatusCode::BAD_REQUEST,
        Some("METHOD_NOT_ALLOWED") => StatusCode::METHOD_NOT_ALLOWED,
        Some("NOT_ACCEPTABLE") => StatusCode::NOT_ACCEPTABLE,
        Some("UNSUPPORTED_MEDIA_TYPE") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some("PAYLOAD_TOO_LARGE") => StatusCode::PAYLOAD_TOO_LARGE,
        Some("TIMEOUT") if outcome.data == DataState::Absent => StatusCode::REQUEST_TIMEOUT,
        Some("FORBIDDEN") => StatusCode::FORBIDDEN,
        Some("SERVICE_UNAVAILABLE") => StatusCode::SERVICE_UNAVAILABLE,
        Some("INTERNAL") => StatusCode::INTERNAL_SERVER_ERROR,
        Some(_) if outcome.data == DataState::Null => StatusCode::OK,
        // Of requests that can be read but not executed, plain JSON has always said 200.
        Some(_) if media == Media::Json => StatusCode::OK,
        Some(_) => StatusCode::BAD_REQUEST,
    };
    match outcome.data {
        DataState::Present => StatusCode::OK,
        DataState::Null if media == Media::Json => StatusCode::OK,
        DataState::Null | DataState::Absent => fault,
    }
}

fn events(results: BoxStream<'static, Streamed>, stopping: CancellationToken) -> Response {
    let next = results.take_until(stopping.cancelled_owned()).map(|result| {
        let event = Event::default().event("next").data(result.text);
        match result.event_id {
            Some(id) => event.id(id),
            None => event,
        }
    });
    // An event without a line of data is not handed to the page by a browser's own EventSource.
    let complete = stream::once(async { Event::default().event("complete").data("\n") });
    let all = next.chain(complete).map(Ok::<_, Infallible>);
    let mut response = Sse::new(all).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization"));
    // nginx would otherwise hold events back until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
