//! The connector against its stand-in in memory.

mod mapping;
mod reading;
mod refusals;
mod stand_in;
mod support;
