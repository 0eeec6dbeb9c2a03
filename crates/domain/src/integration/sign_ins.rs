//! How a connection stands with the authorization server of its system.

use async_graphql::Enum;
use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// How a connection stands that signs in by OAuth 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SignInState {
    /// It has tokens, or nobody has asked for any yet.
    Working,
    /// The system gives no token any more; a person must act.
    NeedsReauth,
}

/// How a connection signs in by OAuth 2.0. Its tokens are not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRecord {
    /// The name of the connection.
    pub connection: String,
    /// How it stands.
    pub state: SignInState,
    /// Why a person must act: a stable code.
    pub code: Option<String>,
    /// Whether the token endpoint may be asked: a person has acted, or none has to.
    pub may_try: bool,
    /// Rises with each renewal of the tokens.
    pub generation: i64,
    /// The fence of a renewal that was begun, and of which nobody has said what came of it.
    pub asking_fence: Option<i64>,
    /// When the access token is renewed.
    pub renew_at: Option<Instant>,
    /// A hash of the refresh token, as it was configured, from which the tokens come.
    pub origin_sha256: Option<String>,
    /// A hash of how the connection signs in, as it was configured when a hub started.
    pub configuration_sha256: Option<String>,
    /// Where a person authorizes the connection, but for what is new each time.
    pub authorization_page: Option<String>,
    /// Where the authorization server sends that person back to.
    pub redirect_url: Option<String>,
    /// When its state last changed.
    pub changed_at: Instant,
    /// When its tokens were last renewed.
    pub renewed_at: Option<Instant>,
}

impl SignInRecord {
    /// A connection of which nothing is known yet.
    pub fn new(connection: &str, now: Instant) -> Self {
        Self {
            connection: connection.to_owned(),
            state: SignInState::Working,
            code: None,
            may_try: true,
            generation: 0,
            asking_fence: None,
            renew_at: None,
            origin_sha256: None,
            configuration_sha256: None,
            authorization_page: None,
            redirect_url: None,
            changed_at: now,
            renewed_at: None,
        }
    }

    /// Whether nothing happens before a person acts.
    pub fn waits_for_a_person(&self) -> bool {
        self.state == SignInState::NeedsReauth && !self.may_try
    }
}

/// An authorization that a person has begun and not finished. What goes with it is kept sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationRecord {
    /// The name of the connection.
    pub connection: String,
    /// A hash of the word by which the person is known again.
    pub state_sha256: String,
    /// Where the person is sent back to.
    pub redirect_url: String,
    /// Who began it.
    pub begun_by: String,
    /// Until when it may be finished.
    pub expires_at: Instant,
}
