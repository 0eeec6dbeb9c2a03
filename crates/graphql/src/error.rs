//! What goes wrong in a resolver, as the user of the API is told.

use async_graphql::{Error, ErrorExtensionValues, ServerError, Value};

/// Errors past this many are left out of a response.
const MOST_ERRORS: usize = 20;

/// The codes of the API, as documented in `graphql/ERRORS.md`. An error with another code is masked.
pub(crate) const CODES: [&str; 17] = [
    "BAD_REQUEST",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "BAD_USER_INPUT",
    "OPERATION_RESOLUTION_FAILURE",
    "METHOD_NOT_ALLOWED",
    "NOT_ACCEPTABLE",
    "UNSUPPORTED_MEDIA_TYPE",
    "PAYLOAD_TOO_LARGE",
    "CSRF_PREFLIGHT_REQUIRED",
    "QUERY_TOO_COMPLEX",
    "UNAUTHENTICATED",
    "FORBIDDEN",
    "BAD_CURSOR",
    "TIMEOUT",
    "SERVICE_UNAVAILABLE",
    "INTERNAL",
];

/// Why a field has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The principal lacks a permission.
    #[error("this needs the permission {permission}")]
    Forbidden {
        /// The permission in its written form.
        permission: &'static str,
    },
    /// A cursor that this list did not give out.
    #[error("the cursor does not belong to this list")]
    BadCursor,
    /// An argument that cannot be used.
    #[error("{message}")]
    BadInput {
        /// The argument.
        argument: String,
        /// What is wrong with it; safe to be shown.
        message: String,
    },
    /// The token ended, was revoked, or allows something else by now.
    #[error("the token is not good any more, or allows something else by now")]
    TokenChanged,
    /// Something the hub needs is away; the same request may succeed later.
    #[error("the service is not available at the moment")]
    Unavailable,
    /// A fault of ours. The details are in the log under the request id.
    #[error("internal error")]
    Internal,
}

impl ApiError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "FORBIDDEN",
            Self::BadCursor => "BAD_CURSOR",
            Self::TokenChanged => "UNAUTHENTICATED",
            Self::BadInput { .. } => "BAD_USER_INPUT",
            Self::Unavailable => "SERVICE_UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        is_retryable(self.code())
    }

    /// The error as a resolver returns it, with its extensions.
    pub fn into_graphql(self) -> Error {
        let mut error = Error::new(self.to_string());
        let mut extensions = coded(self.code(), self.retryable());
        match self {
            Self::Forbidden { permission } => extensions.set("requiredScope", permission),
            Self::BadInput { argument, .. } => extensions.set("argument", argument),
            Self::BadCursor | Self::TokenChanged | Self::Unavailable | Self::Internal => {}
        }
        error.extensions = Some(extensions);
        error
    }
}

/// Whether the same request may succeed later, by the code of its refusal.
pub(crate) fn is_retryable(code: &str) -> bool {
    matches!(code, "TIMEOUT" | "SERVICE_UNAVAILABLE")
}

/// The extensions that every error has.
pub(crate) fn coded(code: &str, retryable: bool) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code);
    extensions.set("retryable", retryable);
    extensions
}

/// The code of ours that the error carries.
pub(crate) fn code_of(error: &ServerError) -> Option<&'static str> {
    let Some(Value::String(code)) = error.extensions.as_ref().and_then(|extensions| extensions.get("code")) else {
        return None;
    };
    CODES.into_iter().find(|known| known == code)
}

/// Makes the errors of a response fit to be shown: each gets a code, and the text of an error that no code vouches for
/// goes to the log alone. Returns whether errors were left out because there were too many.
pub fn mask(errors: &mut Vec<ServerError>) -> bool {
    let truncated = errors.len() > MOST_ERRORS;
    errors.truncate(MOST_ERRORS);
    for error in errors {
        if code_of(error).is_some() {
            continue;
        }
        // Only what arose while a field was resolved has a path; the rest are the engine's own words on the document.
        if let Some(argument) = refused_argument(error) {
            let mut extensions = coded("BAD_USER_INPUT", false);
            extensions.set("argument", argument);
            error.extensions = Some(extensions);
        } else if error.path.is_empty() {
            error.extensions = Some(coded("GRAPHQL_VALIDATION_FAILED", false));
        } else if is_input_coercion(error) {
            error.extensions = Some(coded("BAD_USER_INPUT", false));
        } else {
            tracing::error!(graphql.path = ?error.path, error = %error.message, "A resolver failed without a code");
            error.message = ApiError::Internal.to_string();
            error.extensions = Some(coded("INTERNAL", false));
        }
        error.source = None;
    }
    truncated
}

/// The argument whose value, written out or in a variable, the engine does not take before it executes anything.
fn refused_argument(error: &ServerError) -> Option<String> {
    let quoted = error.message.strip_prefix("Invalid value for argument \"").filter(|_| error.path.is_empty())?;
    quoted.split_once('"').map(|(argument, _)| argument.to_owned())
}

/// The engine coerces arguments inside resolvers and marks the errors by nothing but the form of their text.
fn is_input_coercion(error: &ServerError) -> bool {
    let quoted = error
        .message
        .strip_prefix("Failed to parse \"")
        .or_else(|| error.message.strip_prefix("Expected input type \""));
    error.source.is_none() && quoted.is_some_and(|rest| rest.contains('"'))
}

#[cfg(test)]
mod tests {
    use async_graphql::{PathSegment, Pos};

    use super::*;

    fn at_field(error: Error) -> ServerError {
        error.into_server_error(Pos::default()).with_path(vec![PathSegment::Field("a".into())])
    }

    fn masked(error: ServerError) -> (String, Option<&'static str>) {
        let mut errors = vec![error];
        assert!(!mask(&mut errors));
        (errors[0].message.clone(), code_of(&errors[0]))
    }

    #[test]
    fn hides_the_text_of_an_unknown_error() {
        let mut foreign = Error::new("column secret");
        foreign.extensions = Some(coded("SQLSTATE", false));
        for error in [Error::new("column secret"), foreign, Error::new_with_source("Failed to parse \"X\": secret")] {
            assert_eq!(masked(at_field(error)), ("internal error".into(), Some("INTERNAL")));
        }
    }

    #[test]
    fn keeps_our_errors_and_the_words_of_the_engine() {
        let forbidden = ApiError::Forbidden { permission: "billing:read" }.into_graphql();
        assert_eq!(masked(at_field(forbidden)), ("this needs the permission billing:read".into(), Some("FORBIDDEN")));
        let coercion = at_field(Error::new("Failed to parse \"Date\": bad"));
        assert_eq!(masked(coercion), ("Failed to parse \"Date\": bad".into(), Some("BAD_USER_INPUT")));
        let value = ServerError::new("Invalid value for argument \"filter.on\", expected type \"Date\"", None);
        assert_eq!(masked(value).1, Some("BAD_USER_INPUT"));
        let validation = ServerError::new("Unknown field", None);
        assert_eq!(masked(validation), ("Unknown field".into(), Some("GRAPHQL_VALIDATION_FAILED")));
    }

    #[test]
    fn says_when_errors_were_left_out() {
        let mut errors = vec![ServerError::new("x", None); 21];
        assert!(mask(&mut errors));
        assert_eq!(errors.len(), 20);
    }
}
