//! The connector against its stand-in in memory.

mod reading;
mod support;
mod updating;
