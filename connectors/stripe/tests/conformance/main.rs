//! Whether the connector does what it says, against its stand-in in memory.

mod items;
mod kit;
mod mapping;
mod reading;
mod specification;
mod updating;
mod webhooks;
mod writing;
