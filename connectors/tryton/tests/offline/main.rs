//! The connector without a network: mappings of fixtures, and reading and writing against its stand-in.

mod bench;
mod items;
mod mapping;
mod reading;
mod updating;
mod writing;
