//! The gateway over a tiny schema.

use async_graphql::{Context, Error, Object, Result, Schema, Subscription};
use crosstie_domain::access::AuthContext;
use futures::{Stream, StreamExt, stream};
use serde_json::{Value as Json, json};

use super::{DataState, Envelope, Gateway, Outcome, Streamed, Verb};
use crate::error_propagation::ErrorPropagation;

struct Query;
struct Mutation;
struct Ticks;

#[Object]
impl Query {
    async fn who(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(ctx.data::<AuthContext>()?.principal.to_string())
    }
    async fn twice(&self, number: i32) -> i32 {
        number * 2
    }
    async fn broken(&self) -> Result<Option<i32>> {
        Err(Error::new("password=hunter2"))
    }
    async fn fatal(&self) -> Result<i32> {
        Err(Error::new("password=hunter2"))
    }
}

#[Object]
impl Mutation {
    async fn change(&self) -> bool {
        true
    }
}

#[Subscription]
impl Ticks {
    async fn ticks(&self) -> impl Stream<Item = i32> {
        stream::iter([1, 2])
    }
}

fn gateway() -> Gateway {
    Gateway::new(Schema::build(Query, Mutation, Ticks).extension(ErrorPropagation).finish())
}

fn envelope(query: &str) -> Envelope {
    Envelope { request_id: Some("r1".to_owned()), ..Envelope::new(query) }
}

async fn run(query: &str) -> (Outcome, Json) {
    read(gateway().execute(envelope(query), AuthContext::system()).await)
}

fn read(outcome: Outcome) -> (Outcome, Json) {
    let json = serde_json::from_slice(&outcome.body).unwrap();
    (outcome, json)
}

#[tokio::test]
async fn runs_queries_and_mutations_for_the_principal() {
    assert_eq!(run("{ who }").await.1, json!({"data": {"who": "system"}}));
    assert_eq!(run("mutation { change }").await.1, json!({"data": {"change": true}}));
    let (outcome, _) = run("query Named { who }").await;
    assert_eq!((outcome.data, outcome.code), (DataState::Present, None));
}

#[tokio::test]
async fn masks_unknown_errors_and_names_the_request() {
    let (outcome, json) = run("{ who broken }").await;
    assert_eq!((outcome.data, outcome.code), (DataState::Present, Some("INTERNAL")));
    assert_eq!(json["data"], json!({"who": "system", "broken": null}));
    assert_eq!(json["errors"][0]["extensions"], json!({"code": "INTERNAL", "requestId": "r1", "retryable": false}));
    assert!(!json.to_string().contains("hunter2"));
    let (outcome, json) = run("{ fatal }").await;
    assert_eq!((outcome.data, &json["data"], json.get("data").is_some()), (DataState::Null, &Json::Null, true));
}

#[tokio::test]
async fn leaves_the_data_out_of_a_refusal() {
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ absent }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { who } query B { who }", "OPERATION_RESOLUTION_FAILURE"),
        ("query ($n: Int!) { twice(number: $n) }", "BAD_USER_INPUT"),
        ("subscription { ticks }", "BAD_REQUEST"),
        ("subscription { ticks more: ticks }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let (outcome, json) = run(query).await;
        assert_eq!((outcome.data, outcome.code), (DataState::Absent, Some(code)), "{query}");
        assert_eq!(json.get("data"), None);
    }
}

#[tokio::test]
async fn refuses_mutations_over_get_and_the_schema_without_permission() {
    let get = Envelope { verb: Verb::Get, ..envelope("mutation { change }") };
    assert_eq!(gateway().execute(get, AuthContext::system()).await.code, Some("METHOD_NOT_ALLOWED"));
    let stranger = AuthContext { permissions: Vec::new(), ..AuthContext::system() };
    let schema = "{ ...F } fragment F on Query { x: __schema { queryType { name } } }";
    assert_eq!(gateway().execute(envelope(schema), stranger).await.code, Some("FORBIDDEN"));
    assert_eq!(run(schema).await.0.code, None);
}

#[tokio::test]
async fn streams_subscriptions_and_refuses_bad_ones_before_the_stream() {
    let auth = AuthContext::system;
    let ticks = gateway().subscribe(envelope("subscription { ticks }"), auth()).await.unwrap();
    let texts = |results: Vec<Streamed>| results.into_iter().map(|result| result.text).collect::<Vec<_>>();
    assert_eq!(texts(ticks.collect().await), [r#"{"data":{"ticks":1}}"#, r#"{"data":{"ticks":2}}"#]);
    let once = gateway().subscribe(envelope("{ who }"), auth()).await.unwrap();
    assert_eq!(texts(once.collect().await), [r#"{"data":{"who":"system"}}"#]);
    let refused = gateway().subscribe(envelope("subscription { absent }"), auth()).await.err().unwrap();
    assert_eq!((refused.data, refused.code), (DataState::Absent, Some("GRAPHQL_VALIDATION_FAILED")));
}
