//! Journeys through the real server, and the rules that the workspace holds itself to.

mod arrows;
mod tidy;
