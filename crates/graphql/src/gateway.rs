//! The way into the graph for every transport: guard, permission, execution, masking, bytes.
//!
//! Transports name no type of the engine: they hand in an [`Envelope`] and send out JSON.

use std::{sync::Arc, time::Duration};

use async_graphql::{
    ObjectType, Positioned, Request, Response, Schema, ServerError, SubscriptionType, Value, Variables,
    parser::types::{OperationDefinition, OperationType, Selection},
};
use crosstie_domain::access::{AuthContext, Permission};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use tracing::Instrument;

use crate::{
    error::{ApiError, code_of, coded, is_retryable, mask},
    request_guard::{Checked, GuardError, OperationKind, check},
    request_headers::{HeaderKey, LastEventId},
};

/// How long a query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// How a request came in, as far as it decides what the request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Over a method that browsers send on their own: queries and subscriptions alone.
    Get,
    /// Over a method or socket that may change something.
    Post,
}

/// A request, its transport taken off.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The document.
    pub query: String,
    /// Which operation of the document to run; needed if it has several.
    pub operation_name: Option<String>,
    /// Values of the variables.
    pub variables: Map<String, Json>,
    /// What the client adds beside the specification; nothing is read from it yet.
    pub extensions: Map<String, Json>,
    /// How it came in.
    pub verb: Verb,
    /// Repeated in each error, so that the log can be searched for it.
    pub request_id: Option<String>,
    /// The idempotency key of the one mutation in the document, where its input has none.
    pub idempotency_key: Option<String>,
    /// The event that a subscriber saw last, where the document does not say so.
    pub last_event_id: Option<String>,
}

impl Envelope {
    /// A document alone, by a method that may change something.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            operation_name: None,
            variables: Map::new(),
            extensions: Map::new(),
            verb: Verb::Post,
            request_id: None,
            idempotency_key: None,
            last_event_id: None,
        }
    }
}

/// One response of a stream, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streamed {
    /// The response.
    pub text: String,
    /// The `eventId` in it, when the document asks for that: what a client that comes back names.
    pub event_id: Option<String>,
}

/// How much data a response has; together with the code it decides the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataState {
    /// Nothing was executed; the response has no `data` entry.
    Absent,
    /// Executed, and an error nulled everything.
    Null,
    /// Some or all of it is there.
    Present,
}

/// A response ready to be sent.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The JSON.
    pub body: Vec<u8>,
    /// How much data it has.
    pub data: DataState,
    /// The code of the first error.
    pub code: Option<&'static str>,
}

/// The schema behind an object-safe face, so that transports need no type parameters.
trait Engine: Send + Sync {
    fn execute(&self, request: Request) -> BoxFuture<'_, Response>;
    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response>;
}

impl<Q, M, S> Engine for Schema<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    fn execute(&self, request: Request) -> BoxFuture<'_, Response> {
        Schema::execute(self, request).boxed()
    }

    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response> {
        Schema::execute_stream(self, request)
    }
}

/// Executes requests. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    engine: Arc<dyn Engine>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway to the schema, which should have [`ErrorPropagation`](crate::error_propagation::ErrorPropagation)
    /// registered.
    pub fn new<Q, M, S>(schema: Schema<Q, M, S>) -> Self
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        Self { engine: Arc::new(schema) }
    }

    /// Runs a query or a mutation. A subscription is refused: it needs a transport that streams.
    ///
    /// A mutation goes on to its end even if the caller goes away meanwhile.
    pub async fn execute(&self, envelope: Envelope, auth: AuthContext) -> Outcome {
        let request_id = envelope.request_id.clone();
        let (request, kind) = match admit(envelope, auth) {
            Ok(admitted) => admitted,
            Err(refusal) => return refuse(refusal, request_id.as_deref()),
        };
        let response = match kind {
            OperationKind::Query => match tokio::time::timeout(QUERY_TIMEOUT, self.engine.execute(request)).await {
                Ok(response) => response,
                Err(_) => {
                    let message = format!("The query took longer than {} seconds.", QUERY_TIMEOUT.as_secs());
                    return refuse(GuardError::new("TIMEOUT", message), request_id.as_deref());
                }
            },
            OperationKind::Mutation => {
                let engine = Arc::clone(&self.engine);
                let run = async move { engine.execute(request).await }.in_current_span();
                tokio::spawn(run).await.unwrap_or_else(|_| Response::from_errors(vec![internal()]))
            }
            OperationKind::Subscription => {
                let error = GuardError::new("BAD_REQUEST", "A subscription needs Accept: text/event-stream.");
                return refuse(error, request_id.as_deref());
            }
        };
        conclude(response, request_id.as_deref())
    }

    /// Runs any operation as a stream of responses, each as JSON; a query or mutation gives one.
    ///
    /// # Errors
    ///
    /// The response to be sent instead, if the request fails before it is executed.
    pub async fn subscribe(
        &self,
        envelope: Envelope,
        auth: AuthContext,
    ) -> Result<BoxStream<'static, Streamed>, Outcome> {
        let request_id = envelope.request_id.clone();
        let (request, _) = admit(envelope, auth).map_err(|refusal| refuse(refusal, request_id.as_deref()))?;
        let mut responses = self.engine.execute_stream(request);
        // Validation happens at the first poll and without waiting, so a refusal is there now or never.
        let first = match responses.next().now_or_never() {
            Some(Some(response)) if is_refusal(&response) => return Err(conclude(response, request_id.as_deref())),
            Some(Some(response)) => Some(response),
            Some(None) => return Ok(stream::empty().boxed()),
            None => None,
        };
        let all = stream::iter(first).chain(responses).map(move |response| {
            let event_id = event_id(&response.data);
            let body = conclude(response, request_id.as_deref()).body;
            Streamed { text: String::from_utf8(body).unwrap_or_default(), event_id }
        });
        Ok(all.boxed())
    }
}

/// A response to a request that never reached the engine, in the form of the others.
pub fn refuse(refusal: GuardError, request_id: Option<&str>) -> Outcome {
    let mut error = ServerError::new(refusal.message.clone(), refusal.location);
    let mut extensions = coded(refusal.code(), is_retryable(refusal.code()));
    for (key, value) in refusal.extensions {
        extensions.set(key, value);
    }
    error.extensions = Some(extensions);
    conclude(Response::from_errors(vec![error]), request_id)
}

fn admit(envelope: Envelope, auth: AuthContext) -> Result<(Request, OperationKind), GuardError> {
    let Checked { document, kind, operation_name, introspects } =
        check(&envelope.query, envelope.operation_name.as_deref())?;
    if envelope.verb == Verb::Get && kind == OperationKind::Mutation {
        return Err(GuardError::new("METHOD_NOT_ALLOWED", "A mutation needs the method POST."));
    }
    if introspects && !auth.may(Permission::SchemaRead) {
        let mut error = GuardError::new("FORBIDDEN", "Reading the schema needs the permission schema:read.");
        error.extensions.push(("requiredScope", Permission::SchemaRead.as_str().into()));
        return Err(error);
    }
    let chosen = document
        .operations
        .iter()
        .find(|(name, _)| name.map(|name| name.as_str()) == operation_name.as_deref())
        .map(|(_, operation)| &operation.node);
    if let Some(operation) = chosen {
        check_subscription_root(operation)?;
        check_required_variables(operation, &envelope.variables)?;
        if envelope.idempotency_key.is_some() {
            check_one_mutation(operation)?;
        }
    }
    let mut request = Request::new(envelope.query)
        .variables(Variables::from_json(Json::Object(envelope.variables)))
        .data(auth)
        .data(HeaderKey(envelope.idempotency_key))
        .data(LastEventId(envelope.last_event_id));
    request.operation_name = operation_name;
    request.set_parsed_query(document);
    Ok((request, kind))
}

/// The engine would run several root fields as streams side by side, which the specification does not allow, and
/// passes over fragments at the root.
fn check_subscription_root(operation: &OperationDefinition) -> Result<(), GuardError> {
    let [root] = operation.selection_set.node.items.as_slice() else { return one_root_field(operation) };
    if matches!(root.node, Selection::Field(_)) { Ok(()) } else { one_root_field(operation) }
}

fn one_root_field(operation: &OperationDefinition) -> Result<(), GuardError> {
    if operation.ty != OperationType::Subscription {
        return Ok(());
    }
    let message = "A subscription selects exactly one root field, and not by a fragment.";
    Err(GuardError::new("GRAPHQL_VALIDATION_FAILED", message))
}

/// A key in a header names one decision.
fn check_one_mutation(operation: &OperationDefinition) -> Result<(), GuardError> {
    let one_field = |[root]: &[Positioned<Selection>; 1]| matches!(root.node, Selection::Field(_));
    let one = <&[_; 1]>::try_from(operation.selection_set.node.items.as_slice()).is_ok_and(one_field);
    if one || operation.ty != OperationType::Mutation {
        return Ok(());
    }
    let message =
        "The header Idempotency-Key belongs to one mutation: select one field, or give each input its own key.";
    Err(GuardError::new("BAD_REQUEST", message))
}

/// The `eventId` of the one root field of a subscription.
fn event_id(data: &Value) -> Option<String> {
    let Value::Object(roots) = data else { return None };
    let Some(Value::Object(event)) = roots.values().next() else { return None };
    match event.get("eventId") {
        Some(Value::String(id)) => Some(id.clone()),
        _ => None,
    }
}

/// The engine finds a missing variable only when a resolver asks for it; the specification wants the whole request
/// refused.
fn check_required_variables(operation: &OperationDefinition, given: &Map<String, Json>) -> Result<(), GuardError> {
    for variable in operation.variable_definitions.iter().map(|variable| &variable.node) {
        let name = variable.name.node.as_str();
        let missing = match given.get(name) {
            None => variable.default_value.is_none(),
            Some(value) => value.is_null(),
        };
        if missing && !variable.var_type.node.nullable {
            let message = format!("The variable ${name} of type {} needs a value.", variable.var_type.node);
            let mut error = GuardError::new("BAD_USER_INPUT", message);
            error.location = Some(variable.name.pos);
            error.extensions.push(("argument", name.into()));
            return Err(error);
        }
    }
    Ok(())
}

/// Errors without a path arose before any field was resolved.
fn is_refusal(response: &Response) -> bool {
    response.data == Value::Null
        && !response.errors.is_empty()
        && response.errors.iter().all(|error| error.path.is_empty() && code_of(error) != Some("INTERNAL"))
}

fn internal() -> ServerError {
    let mut error = ServerError::new(ApiError::Internal.to_string(), None);
    error.extensions = Some(coded(ApiError::Internal.code(), false));
    error
}

#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ServerError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    extensions: std::collections::BTreeMap<String, Value>,
}

fn conclude(mut response: Response, request_id: Option<&str>) -> Outcome {
    let data = match &response.data {
        _ if is_refusal(&response) => DataState::Absent,
        Value::Null => DataState::Null,
        _ => DataState::Present,
    };
    if mask(&mut response.errors) {
        response.extensions.insert("truncated".to_owned(), true.into());
    }
    if let Some(request_id) = request_id {
        for error in &mut response.errors {
            error.extensions.get_or_insert_default().set("requestId", request_id);
        }
    }
    let code = response.errors.first().and_then(code_of);
    if let Some(code) = code {
        tracing::info!(graphql.code = code, graphql.errors = response.errors.len(), "answered with errors");
    }
    let body = Body {
        errors: response.errors,
        data: (data != DataState::Absent).then_some(response.data),
        extensions: response.extensions,
    };
    match serde_json::to_vec(&body) {
        Ok(body) => Outcome { body, data, code },
        Err(error) => {
            tracing::error!(%error, "A response could not be written as JSON");
            let body = br#"{"errors":[{"message":"internal error","extensions":{"code":"INTERNAL"}}],"data":null}"#;
            Outcome { body: body.to_vec(), data: DataState::Null, code: Some("INTERNAL") }
        }
    }
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
