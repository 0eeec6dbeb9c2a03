//! `/schema.graphql`: the schema as text, for code generators.

use axum::{
    Extension,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use crosstie_domain::access::{AuthContext, Permission};

/// The schema, for whoever may read it.
pub(super) async fn sdl(Extension(auth): Extension<AuthContext>) -> Response {
    if !auth.may(Permission::SchemaRead) {
        return StatusCode::FORBIDDEN.into_response();
    }
    ([(header::CONTENT_TYPE, "application/graphql; charset=utf-8")], crosstie_graphql::sdl()).into_response()
}
