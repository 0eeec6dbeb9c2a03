//! What comes of an authorization: the code becomes tokens, which are kept before they are used.

use crosstie_app::secrets::SecretsError;
use crosstie_sdk::Secret;
use tracing::{info, warn};

use super::codes::AuthorizationOutcome;
use crate::Engine;

/// What an authorization server sends a person back with.
pub struct Callback {
    /// The word by which the authorization is known again.
    pub state: String,
    /// What tokens are asked for with.
    pub code: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

impl Engine {
    /// Finishes the authorization of the connection of this name. A word that was not given out changes nothing.
    ///
    /// # Errors
    /// [`AuthorizationOutcome`].
    pub async fn finish_authorization(&self, name: &str, callback: Callback) -> Result<(), AuthorizationOutcome> {
        let outcome = self.try_finish(name, callback).await;
        match outcome {
            Ok(()) => info!(connection.name = %name, "a person authorized the connection"),
            // Its name is not one of ours either, perhaps.
            Err(AuthorizationOutcome::Unknown) => info!("an authorization that is not known was refused"),
            Err(outcome) => warn!(connection.name = %name, code = outcome.code(), "an authorization brought no tokens"),
        }
        outcome
    }

    async fn try_finish(&self, name: &str, callback: Callback) -> Result<(), AuthorizationOutcome> {
        let connection = self.connections.named(name).ok_or(AuthorizationOutcome::Unknown)?;
        let taken = match self.app.take_authorization(name, &callback.state).await {
            Ok(taken) => taken.ok_or(AuthorizationOutcome::Unknown)?,
            Err(error) => {
                let error: &SecretsError = &error;
                warn!(connection.name = %name, %error, "an authorization cannot be looked up");
                return Err(AuthorizationOutcome::Unavailable);
            }
        };
        let code = match (callback.code, callback.error.as_deref()) {
            (_, Some("access_denied")) => return Err(AuthorizationOutcome::Denied),
            (Some(code), None) => code,
            _ => return Err(AuthorizationOutcome::Failed),
        };
        let verifier = Secret::new(taken.verifier.expose());
        let finished = connection.net.finish_authorization(Secret::new(code), verifier, &taken.redirect_url).await;
        finished.map_err(|refused| AuthorizationOutcome::of(&refused))
    }
}
