#![doc = include_str!("../README.md")]

pub mod access;
pub mod billing;
pub mod contracts;
pub mod custom;
pub mod delivery;
pub mod ids;
pub mod integration;
pub mod money;
pub mod pipeline;
pub mod refusal;
mod scalar;
pub mod secrets;
pub mod time;

pub use ids::Id;
pub use money::{Currency, Money};
pub use refusal::{Refusal, Refusals, UserErrorCode};
pub use time::{CivilDate, Clock, Instant};
