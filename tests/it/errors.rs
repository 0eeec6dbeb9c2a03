//! `graphql/ERRORS.md` has a row for every code that the hub gives, and for no other.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::support::schema::enum_values;

/// What stands before and behind a code where it is given, spaces left out: fields, arguments and pairs, and SQL.
const GIVEN: &[(&str, &str)] = &[("code:\"", "\""), ("code:Some(\"", "\""), ("(\"", "\","), ("error_code='", "'")];
/// What only looks like the hub: its tests, the stand-ins of vendors, and the demo.
const NOT_THE_HUB: &[&str] = &["/tests", "_tests.rs", "/fake", "/demo/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The codes in the rows of a section, by what its heading begins with.
fn rows(heading: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("graphql/ERRORS.md")).expect("the file is there");
    let sections = text.split("\n## ").filter(|section| section.starts_with(heading));
    let [section] = sections.collect::<Vec<_>>()[..] else { panic!("one section is called {heading:?}") };
    let codes = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let codes: Vec<String> = codes.map(str::to_owned).collect();
    let once: BTreeSet<String> = codes.iter().cloned().collect();
    assert_eq!(once.len(), codes.len(), "a code has one row in {heading:?}: {codes:?}");
    once
}

/// The sources of the hub below these folders, without spaces and without their tests.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the folder can be read");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let name = path.strip_prefix(root()).expect("it is inside").display().to_string();
        if name.ends_with(".rs") && name.contains("/src/") && !NOT_THE_HUB.iter().any(|part| name.contains(part)) {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.push((name, code.split_whitespace().collect()));
        }
    }
    assert!(!found.is_empty(), "there are sources in {folders:?}");
    found
}

/// The codes that stand between these.
fn codes_between(text: &str, (before, behind): (&str, &str)) -> BTreeSet<String> {
    let is_code = |word: &&str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let begun = text.match_indices(before).filter_map(|(at, _)| text[at + before.len()..].split_once(behind));
    begun.map(|(word, _)| word).filter(is_code).map(str::to_owned).collect()
}

/// The codes that a source gives.
fn given(text: &str) -> BTreeSet<String> {
    let mut codes: BTreeSet<String> = GIVEN.iter().flat_map(|form| codes_between(text, *form)).collect();
    // A constant for a code is called like it.
    let constants = codes_between(text, (":&str=\"", "\";"));
    codes.extend(constants.into_iter().filter(|code| text.contains(&format!("const{code}:&str"))));
    // A type that says its own code does so in a function of that name.
    for (at, _) in text.match_indices("fncode(") {
        let body = text[at + 2..].split("fn").next().unwrap_or_default();
        codes.extend(codes_between(body, ("=>\"", "\",")));
    }
    codes
}

fn expect_rows(heading: &str, given: &BTreeSet<String>) {
    let rows = rows(heading);
    let missing: Vec<_> = given.difference(&rows).collect();
    let never: Vec<_> = rows.difference(given).collect();
    assert!(missing.is_empty() && never.is_empty(), "{heading}: without a row {missing:?}; never given {never:?}");
}

#[test]
fn the_codes_of_errors_are_those_that_the_api_gives_and_lets_through() {
    let found = sources(&["crates/graphql", "crates/server"]);
    expect_rows("In `errors`", &found.iter().flat_map(|(_, text)| given(text)).collect());
    // An error with another code than these would be shown under a wrong one.
    let (_, text) = found.iter().find(|(name, _)| name.ends_with("graphql/src/error.rs")).expect("the codes are there");
    let (_, list) =
        text.split_once("constCODES:").and_then(|(_, rest)| rest.split_once('=')).expect("the list is there");
    let (list, _) = list.split_once("];").expect("the list ends");
    expect_rows("In `errors`", &codes_between(list, ("\"", "\"")));
}

#[test]
fn the_codes_of_user_errors_are_those_of_the_schema_and_each_is_given() {
    let schema = enum_values("UserErrorCode");
    expect_rows("In `userErrors`", &schema);
    let sources = sources(&["crates", "connectors"]);
    let never: Vec<&String> = schema
        .iter()
        .filter(|code| {
            let words = code.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase()));
            let variant = format!("UserErrorCode::{}", words.collect::<String>());
            !sources.iter().any(|(_, text)| text.contains(&variant))
        })
        .collect();
    assert!(never.is_empty(), "in the schema, and never given: {never:?}");
}

#[test]
fn the_codes_of_runs_events_rows_and_orders_are_those_of_the_engine_and_the_connectors() {
    let mut found = sources(&["crates/app", "crates/sdk", "crates/store", "crates/sync", "connectors"]);
    let signatures = found.iter().position(|(name, _)| name.ends_with("sdk/src/signature.rs"));
    let (_, signatures) = found.swap_remove(signatures.expect("signatures are verified there"));
    let sign_ins = found.iter().position(|(name, _)| name.ends_with("sync/src/sign_in/codes.rs"));
    let (_, sign_ins) = found.swap_remove(sign_ins.expect("connections sign in there"));
    expect_rows("In runs", &found.iter().flat_map(|(_, text)| given(text)).collect());
    expect_rows("Refused webhooks", &given(&signatures));
    expect_rows("Signing in", &given(&sign_ins));
}
