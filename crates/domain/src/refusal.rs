//! Refusals: what a person asked for and the business does not allow. They are data, not failures.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

/// Why an input was refused. The list grows; treat an unknown value as `INVALID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UserErrorCode {
    /// Something necessary is missing.
    Required,
    /// The value is not of the form, or not among the values, that the field takes.
    Invalid,
    /// The text is longer than the field takes.
    TooLong,
    /// The number is below the bound.
    TooSmall,
    /// The number is above the bound.
    TooLarge,
    /// No such record, or none that you may see.
    NotFound,
    /// The record changed since you read it: read it again, then repeat.
    Conflict,
    /// The lifecycle of the record has no such step from where it stands.
    InvalidTransition,
    /// The amounts are not all in one currency.
    CurrencyMismatch,
    /// More items than one request may carry.
    LimitExceeded,
    /// The idempotency key was used before with another input.
    IdempotencyKeyReused,
}

/// One reason why a mutation changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject, Serialize, Deserialize)]
#[graphql(name = "UserError")]
pub struct Refusal {
    /// The path of the input field, such as `["input", "milestones", "0", "amount"]`.
    pub field: Vec<String>,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// What is wrong, for a program.
    pub code: UserErrorCode,
    /// With `CONFLICT`: the version at which the record stands now, when it is known.
    pub current_version: Option<i32>,
}

/// All reasons why a mutation changed nothing; never empty when it is an error.
pub type Refusals = Vec<Refusal>;

impl Refusal {
    /// A refusal of one input field, named by its path below `input` with dots: `milestones.0.amount`.
    pub fn new(field: &str, code: UserErrorCode, message: impl Into<String>) -> Self {
        let path = std::iter::once("input").chain(field.split('.').filter(|part| !part.is_empty()));
        Self { field: path.map(str::to_owned).collect(), message: message.into(), code, current_version: None }
    }
}
