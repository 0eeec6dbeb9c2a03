//! What tests of several subjects share.

mod clock;
mod databases;
mod hub;
mod organization;
mod vendor;

pub(crate) use clock::TestClock;
pub(crate) use databases::{Database, on_each_database};
pub(crate) use hub::{RunningHub, header};
pub(crate) use organization::{Sold, account, account_record, connection, opportunity_record, sell};
pub(crate) use vendor::HostedVendor;

/// What the environment says where a server or a binary is.
#[expect(clippy::disallowed_methods, reason = "tests are told where their servers are")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
