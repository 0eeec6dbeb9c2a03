#![doc = include_str!("../README.md")]

pub mod access;
pub mod billing;
pub mod contracts;
pub mod custom;
pub mod delivery;
pub mod ids;
pub mod integration;
mod item_code;
pub mod money;
pub mod pipeline;
pub mod refusal;
mod scalar;
pub mod secrets;
pub mod time;

pub use ids::Id;
pub use item_code::{ItemCode, LONGEST_ITEM_CODE, NoItemCode};
pub use money::{Currency, Money};
pub use refusal::{Refusal, Refusals, UserErrorCode};
pub use time::{CivilDate, Clock, Instant};
