#![doc = include_str!("../README.md")]

mod alerts;
mod apply;
mod connections;
mod engine;
mod exchanges;
mod heartbeat;
mod inbox;
mod live;
mod outbox;
mod parked;
mod pull;
mod relay;
mod remap;
mod schedule;
mod sign_in;
mod subscriptions;
mod vendors;

pub use connections::{Connection, ConnectionSetup, Connections, SetupError};
pub use engine::{Engine, Running};
pub use exchanges::{ExchangeLog, ExchangeSettings, KeptBodies};
pub use inbox::Receipt;
pub use pull::RunSummary;
pub use sign_in::{AuthorizationOutcome, Callback, KeptSignIn};
