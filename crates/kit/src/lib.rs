#![doc = include_str!("../README.md")]

mod bench;
mod descriptor;
mod faults;
mod inbound;
mod reading;
mod report;
pub mod requests;
mod shape;
mod writes;

use crosstie_sdk::{
    Connector, Credentials, FakeVendor, WriteRequest,
    domain::{Instant, integration::Entity},
};
use serde_json::Value;

pub use report::{Ended, Report};

use report::Recorder;

/// A connector, and what the kit needs to hold it to its word.
pub struct Subject<V> {
    /// The connector.
    pub connector: &'static dyn Connector,
    /// Settings with which it can be used.
    pub settings: Value,
    /// Where the vendor is, for one without a common address.
    pub base_url: Option<&'static str>,
    /// How it signs in.
    pub credentials: Credentials,
    /// The vendor's stand-in, without any records of the kinds below. Its webhooks, if it sends any, are addressed to
    /// `https://hub.example/hooks` and signed with [`WEBHOOK_SECRET`].
    pub vendor: fn() -> V,
    /// The kinds of record that it reads.
    pub kinds: Vec<Kind<V>>,
    /// What it writes.
    pub effects: Vec<Effect<V>>,
    /// Checks that it does not pass, and why that is right.
    pub bypasses: &'static [(&'static str, &'static str)],
}

/// What webhooks of a stand-in are signed with.
pub const WEBHOOK_SECRET: &str = "kit-webhook-secret";

/// How a person at the vendor works with one kind of record.
pub struct Kind<V> {
    /// The kind of record.
    pub entity: Entity,
    /// Makes a record, another one for each number; its id. It must be one that can be mapped whole.
    pub create: fn(&mut V, u32, Instant) -> String,
    /// Changes a record so that its claim says something else, other numbers other things.
    pub change: fn(&mut V, &str, u32, Instant),
    /// Deletes a record; none where nothing is ever deleted.
    pub delete: Option<fn(&mut V, &str, Instant)>,
}

/// One kind of write.
pub struct Effect<V> {
    /// The kind of record that comes of it or is changed.
    pub entity: Entity,
    /// Prepares the vendor, and says what is asked of it; see [`requests`].
    pub request: fn(&mut V, Instant) -> WriteRequest,
    /// How many of what was asked for stand at the vendor, whole and finished. Whatever is left half done counts, too.
    pub count: fn(&mut V, Instant) -> usize,
}

/// All checks, by name, in the order in which they are made.
pub const CHECKS: &[&str] = &[
    "descriptor.identity",
    "descriptor.reads",
    "descriptor.writes",
    "descriptor.settings",
    "reading.every_row",
    "reading.one_moment",
    "reading.goes_on_from_every_place",
    "reading.window",
    "reading.change_is_found",
    "reading.while_rows_change",
    "reading.one",
    "reading.deleted",
    "reading.mapping_alone",
    "reading.unknown_place",
    "shape.more_members",
    "shape.one_odd_row",
    "shape.no_page",
    "faults.unauthorized",
    "faults.slow_down",
    "faults.outage",
    "faults.lost_answer",
    "inbound.genuine",
    "inbound.forged",
    "inbound.same_key",
    "inbound.odd_body",
    "writes.shown",
    "writes.once",
    "writes.at_once",
    "writes.lost_answer",
    "writes.find",
];

/// Holds a connector to everything. Call it with a paused clock.
pub async fn check<V: FakeVendor + 'static>(subject: &Subject<V>) -> Report {
    let mut recorder = Recorder::new(subject.bypasses);
    descriptor::check(subject, &mut recorder).await;
    reading::check(subject, &mut recorder).await;
    shape::check(subject, &mut recorder).await;
    faults::check(subject, &mut recorder).await;
    inbound::check(subject, &mut recorder).await;
    writes::check(subject, &mut recorder).await;
    recorder.report()
}
