#![doc = include_str!("../README.md")]

mod access;
mod billing;
mod contracts;
mod custom;
mod delivery;
mod document_scan;
mod edge;
pub mod error;
pub mod error_propagation;
mod filter;
pub mod gateway;
mod integration;
mod listing;
mod node;
mod pipeline;
pub mod request_guard;
mod request_headers;
mod schema;
mod sources;
mod subscription;

pub use schema::{GraphSchema, MutationRoot, QueryRoot, gateway, schema, sdl};
pub use subscription::SubscriptionRoot;
