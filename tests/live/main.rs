//! The hub beside real servers. Each test runs when the environment says where its server is (`tryton.sh start` and
//! `localstripe.sh start` and `oidc.sh start` in this folder print it) and otherwise prints a line that begins with `NOT RUN:`.

mod localstripe;
mod oauth;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests in `it`, which use more of it")]
mod support;
mod tryton;

use crosstie_app::SystemClock;
use crosstie_domain::Clock;
use serde_json::Value as Json;
use support::until;

/// Where a server is; `None` and a line about it when one of these is not in the environment.
fn server<const N: usize>(names: [&str; N]) -> Option<[String; N]> {
    let values: Vec<String> = names.iter().filter_map(|name| support::variable(name)).collect();
    let found = values.try_into().ok();
    if found.is_none() {
        println!("NOT RUN: the environment lacks one of {}", names.join(", "));
    }
    found
}

/// A word that nothing else on the server has in its name.
fn new_tag() -> String {
    format!("live-{}", SystemClock::default().new_uuid().simple())
}

fn text(value: &Json) -> String {
    value.as_str().expect("a text").to_owned()
}

fn list(value: &Json) -> &[Json] {
    value.as_array().expect("a list")
}
