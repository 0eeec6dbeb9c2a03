//! Journeys through the real server, and the rules that the workspace holds itself to.

mod api;
mod arrows;
mod kill;
mod paging;
mod runs;
mod store;
mod support;
mod tidy;
mod webhooks;
