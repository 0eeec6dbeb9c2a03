//! Journeys through the real server, and the rules that the workspace holds itself to.

mod access;
mod alerts;
mod api;
mod arrows;
mod authority;
mod command_line;
mod errors;
mod exchanges;
mod identity;
mod ingest;
mod kill;
mod mapping;
mod modes;
mod oauth;
mod orders;
mod paging;
mod pushed;
mod runs;
mod scope;
mod secrets;
mod store;
mod subscription;
mod support;
mod surface;
mod tidy;
mod webhooks;
