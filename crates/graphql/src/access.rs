//! Who asks, what they may do, and how the schema shows it.

use async_graphql::{Context, Error, TypeDirective};
use crosstie_app::{App, AppError};
use crosstie_domain::access::{AuthContext, Permission, RowScope, Sensitivity};
use crosstie_store::{Store, StoreError};

use crate::error::{ApiError, coded};

/// How closely a field, or every field of an object, is held. A field that the asker may not see is null, with an
/// error `FORBIDDEN`.
#[TypeDirective(name = "sensitivity", location = "Object", location = "FieldDefinition")]
pub(crate) fn sensitivity(#[graphql(desc = "The class of the field.")] class: Sensitivity) {}

/// The permission that the asker needs; `*:read` stands for the reading permission of the type that is asked for.
#[TypeDirective(name = "requires", location = "FieldDefinition")]
pub(crate) fn requires(#[graphql(desc = "The permission, as it is written in tokens.")] permission: String) {}

/// How `@requires` writes the permission of fields that serve many types.
pub(crate) const READ_OF_TYPE: &str = "*:read";

/// What a resolver needs to read for its asker.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    /// Who asks.
    pub(crate) auth: &'a AuthContext,
    /// The rows that the asker may see.
    pub(crate) rows: &'a RowScope,
    /// Where the rows are.
    pub(crate) store: &'a Store,
}

/// Lets the asker pass who has the permission.
///
/// # Errors
/// `UNAUTHENTICATED`, `FORBIDDEN`.
pub(crate) fn access<'a>(ctx: &Context<'a>, permission: Permission) -> Result<Access<'a>, Error> {
    let auth = asker(ctx)?;
    if !auth.may(permission) {
        return Err(ApiError::Forbidden { permission: permission.as_str() }.into_graphql());
    }
    Ok(Access { auth, rows: &auth.rows, store: app(ctx)?.store() })
}

/// Who asks.
///
/// # Errors
/// `UNAUTHENTICATED`.
pub(crate) fn asker<'a>(ctx: &Context<'a>) -> Result<&'a AuthContext, Error> {
    ctx.data_opt::<AuthContext>().ok_or_else(|| {
        let mut error = Error::new("authentication is needed");
        error.extensions = Some(coded("UNAUTHENTICATED", false));
        error
    })
}

/// The use cases.
pub(crate) fn app<'a>(ctx: &Context<'a>) -> Result<&'a App, Error> {
    ctx.data_opt::<App>().ok_or_else(|| ApiError::Internal.into_graphql())
}

/// A financial value, for an asker who may see such values.
///
/// # Errors
/// `FORBIDDEN`.
pub(crate) fn financial<T>(ctx: &Context<'_>, value: T) -> Result<T, Error> {
    if asker(ctx)?.sees(Sensitivity::Financial) {
        Ok(value)
    } else {
        Err(ApiError::Forbidden { permission: "sensitivity:FINANCIAL" }.into_graphql())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Closed => {
                tracing::warn!(error = %causes(&error), "The database does not answer");
                Self::Unavailable
            }
            StoreError::Conflict | StoreError::Statement(_) | StoreError::Corrupt { .. } => {
                tracing::error!(error = %causes(&error), "A read or write of the API failed");
                Self::Internal
            }
        }
    }
}

/// An error and its causes in words: what a database says in detail may quote values, and does not belong into a log.
fn causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A failure of the store as a resolver returns it.
pub(crate) fn store_failed(error: StoreError) -> Error {
    ApiError::from(error).into_graphql()
}

/// A failure of a use case as a resolver returns it.
pub(crate) fn app_failed(error: AppError) -> Error {
    let AppError::Store(error) = error;
    store_failed(error)
}
