//! What headers of a request say that its document may leave out.

use async_graphql::Context;

/// The idempotency key of the header `Idempotency-Key`.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderKey(pub(crate) Option<String>);

/// Where a stream broke off, by the header `Last-Event-ID`.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastEventId(pub(crate) Option<String>);

/// The key of an input, or the header's.
pub(crate) fn idempotency_key(ctx: &Context<'_>, own: Option<String>) -> Option<String> {
    own.or_else(|| ctx.data_opt::<HeaderKey>()?.0.clone())
}

/// The event after which a subscription goes on: the argument's, or the header's.
pub(crate) fn resume_after(ctx: &Context<'_>, own: Option<String>) -> Option<String> {
    own.or_else(|| ctx.data_opt::<LastEventId>()?.0.clone())
}
