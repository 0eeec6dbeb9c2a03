//! Errors of fields as the GraphQL specification has them.
//!
//! The engine lets a failing nullable field null its whole parent and cuts off error paths at lists. This extension
//! sees each failure first: it keeps the error with its full path and answers null for a nullable position, or passes
//! the failure on to the nearest nullable parent. It is the only extension registered, since each one costs an
//! allocation per field; so it also counts what a request brings up, which no look at the document can foresee.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use async_graphql::{
    PathSegment, QueryPathNode, QueryPathSegment, Response, ServerError, ServerResult, Value,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, ResolveInfo},
};

use crate::error::coded;

/// Registers the extension: `Schema::build(..).extension(ErrorPropagation)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorPropagation;

impl ExtensionFactory for ErrorPropagation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Recorder::default())
    }
}

/// Items of lists in one response, at most.
const NODES: usize = 50_000;
/// Values in one response, at most: fields and items.
const VALUES: usize = 500_000;

/// Marks an error on its way up that has been recorded where it arose.
struct Recorded;

/// The errors of one request, or of one subscription; emptied into each response.
#[derive(Default)]
struct Recorder {
    errors: Mutex<Vec<ServerError>>,
    nodes: AtomicUsize,
    values: AtomicUsize,
}

impl Recorder {
    /// Counts one more value. Past a limit the first is refused with an error, and all others without: they stand in
    /// the same response.
    fn count(&self, node: &QueryPathNode<'_>) -> ServerResult<()> {
        let counted = |counter: &AtomicUsize, rule, limit: usize| {
            let count = counter.fetch_add(1, Ordering::Relaxed);
            if count < limit { Ok(()) } else { Err(over_limit(rule, limit, count == limit)) }
        };
        counted(&self.values, "values", VALUES)?;
        match node.segment {
            QueryPathSegment::Index(_) => counted(&self.nodes, "nodes", NODES),
            QueryPathSegment::Name(_) => Ok(()),
        }
    }

    fn record(&self, mut error: ServerError, node: &QueryPathNode<'_>) -> ServerError {
        let place = path_of(node);
        if !error.path.starts_with(&place) {
            error.path = place;
        }
        let mut marked = ServerError::new(error.message.clone(), None);
        marked.source = Some(Arc::new(Recorded));
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        marked
    }
}

#[async_trait::async_trait]
impl Extension for Recorder {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        self.nodes.store(0, Ordering::Relaxed);
        self.values.store(0, Ordering::Relaxed);
        let mut response = next.run(ctx, operation_name).await;
        let mut errors = std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        // The engine also keeps what reaches an `Option` or the root; those marked are in the record already.
        errors.extend(response.errors.drain(..).filter(|error| error.source::<Recorded>().is_none()));
        response.errors = errors;
        response
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let node = info.path_node;
        let nullable = !info.return_type.ends_with('!');
        let result = match self.count(node) {
            Ok(()) => next.run(ctx, info).await,
            Err(error) => Err(error),
        };
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) if error.source::<Recorded>().is_some() => error,
            Err(error) => self.record(error, node),
        };
        if nullable { Ok(Some(Value::Null)) } else { Err(error) }
    }
}

fn over_limit(rule: &str, limit: usize, first: bool) -> ServerError {
    let mut error = ServerError::new(format!("The response is too large: {rule} are limited to {limit}."), None);
    let mut extensions = coded("QUERY_TOO_COMPLEX", false);
    extensions.set("rule", rule);
    extensions.set("limit", limit);
    error.extensions = Some(extensions);
    if !first {
        error.source = Some(Arc::new(Recorded));
    }
    error
}

fn path_of(node: &QueryPathNode<'_>) -> Vec<PathSegment> {
    let mut path = Vec::new();
    let mut current = Some(node);
    while let Some(node) = current {
        path.push(match &node.segment {
            QueryPathSegment::Name(name) => PathSegment::Field((*name).to_owned()),
            QueryPathSegment::Index(index) => PathSegment::Index(*index),
        });
        current = node.parent;
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Error, Object, Result, Schema};
    use serde_json::{Value as Json, json};

    use super::ErrorPropagation;

    struct Query;
    struct Part(i32);

    #[Object]
    impl Query {
        async fn part(&self) -> Option<Part> {
            Some(Part(0))
        }
        async fn solid(&self) -> Part {
            Part(0)
        }
        async fn parts(&self) -> Option<Vec<Part>> {
            Some(vec![Part(0), Part(1)])
        }
        async fn loose(&self) -> Vec<Option<Part>> {
            vec![Some(Part(0)), Some(Part(1))]
        }
        async fn guarded(&self) -> Result<Option<i32>> {
            Err(Error::new("guarded"))
        }
    }

    #[Object]
    impl Part {
        async fn number(&self) -> i32 {
            self.0
        }
        async fn maybe(&self) -> Result<Option<i32>> {
            Err(Error::new("maybe"))
        }
        async fn must(&self) -> Result<i32> {
            if self.0 == 1 { Err(Error::new("must")) } else { Ok(7) }
        }
        async fn never(&self) -> Result<i32> {
            Err(Error::new("never"))
        }
        async fn inner(&self) -> Option<Part> {
            Some(Part(1))
        }
        async fn core(&self) -> Part {
            Part(1)
        }
    }

    async fn run(document: &str) -> (Json, Vec<Json>) {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription).extension(ErrorPropagation).finish();
        let response = schema.execute(document).await;
        let paths = response.errors.iter().map(|error| json!(error.path)).collect();
        (response.data.into_json().unwrap(), paths)
    }

    #[tokio::test]
    async fn a_failing_nullable_field_keeps_its_siblings_and_its_parent() {
        assert_eq!(
            run("{ part { number maybe } guarded }").await,
            (
                json!({"part": {"number": 0, "maybe": null}, "guarded": null}),
                vec![json!(["part", "maybe"]), json!(["guarded"])]
            )
        );
    }

    #[tokio::test]
    async fn a_failing_non_null_field_nulls_the_nearest_nullable_parent() {
        assert_eq!(
            run("{ part { number inner { core { never } } } }").await,
            (json!({"part": {"number": 0, "inner": null}}), vec![json!(["part", "inner", "core", "never"])])
        );
    }

    #[tokio::test]
    async fn paths_below_lists_are_complete() {
        assert_eq!(run("{ parts { must } }").await, (json!({"parts": null}), vec![json!(["parts", 1, "must"])]));
        assert_eq!(
            run("{ loose { must x: maybe } }").await,
            (
                json!({"loose": [{"must": 7, "x": null}, null]}),
                vec![json!(["loose", 0, "x"]), json!(["loose", 1, "must"])]
            )
        );
    }

    #[tokio::test]
    async fn a_failure_without_a_nullable_parent_nulls_the_data() {
        assert_eq!(run("{ solid { core { never } } }").await, (Json::Null, vec![json!(["solid", "core", "never"])]));
    }
}
