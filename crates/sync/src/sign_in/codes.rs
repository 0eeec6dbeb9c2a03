//! Why a connection does not sign in, as a person is told.

use crosstie_sdk::{AuthorizationRefused, Refusal, TokenLease};

/// Why the authorization server gives no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignInCode {
    TokenRefused,
    TokenLost,
    ClientRefused,
    ScopeRefused,
    NotAuthorized,
    PrivateKeyUnreadable,
}

impl SignInCode {
    pub(super) fn of(refusal: Refusal, lease: &TokenLease) -> Self {
        match refusal {
            Refusal::Grant if lease.interrupted => Self::TokenLost,
            Refusal::Grant => Self::TokenRefused,
            Refusal::Client => Self::ClientRefused,
            Refusal::Scope => Self::ScopeRefused,
            Refusal::NotAuthorized => Self::NotAuthorized,
            Refusal::PrivateKey => Self::PrivateKeyUnreadable,
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::TokenRefused => "TOKEN_REFUSED",
            Self::TokenLost => "TOKEN_LOST",
            Self::ClientRefused => "CLIENT_REFUSED",
            Self::ScopeRefused => "SCOPE_REFUSED",
            Self::NotAuthorized => "NOT_AUTHORIZED",
            Self::PrivateKeyUnreadable => "PRIVATE_KEY_UNREADABLE",
        }
    }

    pub(super) fn message(self, connection: &str) -> String {
        let what = match self {
            Self::TokenRefused => "does not accept the credential of the hub any more. Authorize it again, or renew it",
            Self::TokenLost => {
                "does not accept the refresh token of the hub: an answer with a newer one was lost on its way. \
                 Authorize it again, or renew it"
            }
            Self::ClientRefused => "does not accept the client of the hub or its secret. Correct them",
            Self::ScopeRefused => "does not give the scopes that the hub asks for. Grant them, or ask for fewer",
            Self::NotAuthorized => "was never authorized. Run `crosstie connection authorize`",
            Self::PrivateKeyUnreadable => "has no private key in PEM that can be read. Give it one",
        };
        format!("{connection} {what}.")
    }
}

/// How an authorization ended that brought no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationOutcome {
    /// Nobody began it, it was finished before, it took too long, or it is for another connection.
    Unknown,
    /// The person did not allow it.
    Denied,
    /// The authorization server answered with another error.
    Failed,
    /// The token endpoint did not accept the code, or the client.
    CodeRefused,
    /// The token endpoint, or the database, did not answer.
    Unavailable,
}

impl AuthorizationOutcome {
    pub(super) fn of(refused: &AuthorizationRefused) -> Self {
        match refused {
            AuthorizationRefused::NotOffered => Self::Unknown,
            AuthorizationRefused::Refused(_) => Self::CodeRefused,
            AuthorizationRefused::Later(_) => Self::Unavailable,
        }
    }

    /// The stable code, which the person sees.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "AUTHORIZATION_UNKNOWN",
            Self::Denied => "AUTHORIZATION_DENIED",
            Self::Failed => "AUTHORIZATION_FAILED",
            Self::CodeRefused => "CODE_REFUSED",
            Self::Unavailable => "TOKEN_ENDPOINT_UNAVAILABLE",
        }
    }
}
