#![doc = include_str!("../README.md")]

pub mod access;
mod arrays;
pub mod billing;
mod codec;
pub mod contracts;
mod db;
pub mod delivery;
mod diagnosis;
mod error;
mod gate;
mod housekeeping;
pub mod integration;
mod page;
pub mod pipeline;
mod publish;
pub mod secrets;
mod statistics;
mod texts;
mod watch;

pub use db::{Reads, Store, Tx};
pub use diagnosis::{DatabaseFacts, WorkFacts};
pub use error::StoreError;
pub use page::{
    Condition, Direction, Expression, Keys, Listed, Operand, Operator, PageRequest, PageResult, Span, count, first_of,
    plan,
};
pub use publish::{Change, EffectRequest};
pub use watch::{CommitPoint, CommitWatch, Side};
