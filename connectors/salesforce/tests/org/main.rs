//! The connector against its stand-in in memory.

mod mapping;
mod reading;
mod refusals;
mod signing_in;
mod stand_in;
mod support;
mod updating;
