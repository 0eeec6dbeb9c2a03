//! How connections sign in by OAuth 2.0, and the authorization of one by a person.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::StartConnectionAuthorization;
use crosstie_domain::{
    Instant, Refusal,
    access::{Permission, Sensitivity},
    integration::{SignInRecord, SignInState},
};

use super::ConnectedSystem;
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::read_id,
    edge::{Item, level},
    request_headers,
};

/// How a connection signs in.
#[derive(Clone)]
pub(crate) struct ConnectionSignIn(pub(crate) Item<SignInRecord>);

/// How a connection signs in by OAuth 2.0.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ConnectionSignIn {
    /// How it stands.
    async fn state(&self) -> SignInState {
        self.0.state
    }

    /// Why a person must act: a stable code.
    async fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// When it last changed how it stands.
    async fn changed_at(&self) -> Instant {
        self.0.changed_at
    }

    /// When its tokens were last renewed.
    async fn renewed_at(&self) -> Option<Instant> {
        self.0.renewed_at
    }

    /// When they are renewed next, if they are used then.
    async fn renew_at(&self) -> Option<Instant> {
        self.0.renew_at
    }
}

/// Which connection to authorize.
#[derive(InputObject)]
pub(crate) struct StartConnectionAuthorizationInput {
    /// The connection.
    connection_id: ID,
    /// The same key with the same input gives the same answer for as long as the authorization can be finished.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What to open in a browser.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct StartConnectionAuthorizationPayload {
    /// The address that a person opens to allow it, once. Null when it was refused.
    authorization_url: Option<String>,
    /// Until when it may be finished.
    expires_at: Option<Instant>,
    /// The connection.
    connection: Option<ConnectedSystem>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Authorizations of connections.
#[derive(Default)]
pub(crate) struct SignInMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SignInMutations {
    /// Begins the authorization of a connection by a person, in a browser; one that was begun before ends with it.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn start_connection_authorization(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection to authorize.")] input: StartConnectionAuthorizationInput,
    ) -> Result<Option<StartConnectionAuthorizationPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let StartConnectionAuthorizationInput { connection_id, idempotency_key, client_mutation_id } = input;
        let decision = match read_id(&connection_id, "connectionId") {
            Ok(connection_id) => {
                let idempotency_key = request_headers::idempotency_key(ctx, idempotency_key);
                let input = StartConnectionAuthorization { connection_id, idempotency_key };
                app(ctx)?.start_connection_authorization(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (started, user_errors) = match decision {
            Ok(started) => (Some(started), Vec::new()),
            Err(refusals) => (None, refusals),
        };
        let expires_at = started.as_ref().map(|started| started.expires_at);
        let (authorization_url, connection) = started.map(|started| (started.url, started.connection)).unzip();
        let connection = connection.and_then(|record| level(vec![record]).next()).map(ConnectedSystem);
        Ok(Some(StartConnectionAuthorizationPayload {
            authorization_url,
            expires_at,
            connection,
            user_errors,
            client_mutation_id,
        }))
    }
}
