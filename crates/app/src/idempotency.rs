//! The same request twice under one idempotency key is one decision with one answer.

use crosstie_domain::{Refusal, UserErrorCode, access::AuthContext};
use crosstie_store::{StoreError, Tx, access::KeptAnswer};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{AppError, Decision};

/// A request under an idempotency key, or under none.
pub(crate) struct Request<'a> {
    operation: &'static str,
    key: Option<&'a str>,
    sha256: String,
}

const MAX_KEY: usize = 255;
/// How often a decision is tried while others change the same records.
const ATTEMPTS: usize = 5;

impl<'a> Request<'a> {
    /// A request: its operation, its key and all that was asked.
    pub(crate) fn new<T: Serialize>(operation: &'static str, key: Option<&'a str>, input: &T) -> Self {
        let text = serde_json::to_string(input).unwrap_or_default();
        Self { operation, key, sha256: hex::encode(Sha256::digest(text)) }
    }

    /// The record that an earlier request with this key came to; `Ok(None)` when this is the first.
    pub(crate) async fn earlier(&self, tx: &Tx, auth: &AuthContext) -> Result<Decision<Option<String>>, AppError> {
        let Some(key) = self.key else { return Ok(Ok(None)) };
        if key.is_empty() || key.len() > MAX_KEY || key.contains('\0') {
            let message = format!("An idempotency key has 1 to {MAX_KEY} bytes, none of them NUL.");
            return Ok(Err(vec![Refusal::new("idempotencyKey", UserErrorCode::Invalid, message)]));
        }
        match tx.kept_answer(auth.principal, key).await? {
            None => Ok(Ok(None)),
            Some(kept) if kept.operation == self.operation && kept.request_sha256 == self.sha256 => {
                Ok(Ok(Some(kept.result)))
            }
            Some(_) => {
                let message = "This key was used before with another input. Use a new key for a new request.";
                Ok(Err(vec![Refusal::new("idempotencyKey", UserErrorCode::IdempotencyKeyReused, message)]))
            }
        }
    }

    /// Keeps the answer, in the transaction of the decision.
    pub(crate) async fn keep(self, tx: &Tx, auth: &AuthContext, result: String) -> Result<(), StoreError> {
        let Some(key) = self.key else { return Ok(()) };
        let answer = KeptAnswer { operation: self.operation.to_owned(), request_sha256: self.sha256, result };
        tx.keep_answer(auth.principal, key, &answer).await
    }
}

/// The version that the asker read is not the one that is there now.
pub(crate) fn stale(current: i32) -> Refusal {
    let message = format!("The record changed since you read it; it is at version {current} now. Read it again.");
    Refusal { current_version: Some(current), ..Refusal::new("expectedVersion", UserErrorCode::Conflict, message) }
}

/// Decides again after a lost race: what the winner wrote then shows, be it the kept answer of the same request or a
/// newer version. Who loses every time is told to read again.
pub(crate) async fn decided<T, F>(attempt: impl Fn() -> F) -> Result<Decision<T>, AppError>
where
    F: Future<Output = Result<Decision<T>, AppError>>,
{
    for _ in 0..ATTEMPTS {
        match attempt().await {
            Err(AppError::Store(StoreError::Conflict)) => {}
            decision => return decision,
        }
    }
    let message = "Others change this at the same time. Read it again, then repeat.";
    Ok(Err(vec![Refusal::new("", UserErrorCode::Conflict, message)]))
}
