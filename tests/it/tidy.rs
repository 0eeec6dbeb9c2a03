//! What the tracked files may not hold.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

const MAX_LINES: usize = 600;
/// In pieces, so that this file passes its own test.
const FORBIDDEN_IN_RUST: &[&str] =
    &[concat!("TO", "DO"), concat!("to", "do!("), concat!("#[", "allow("), concat!("#[", "ignore")];
/// Folders beside the repository are not part of it.
const OUTSIDE: &str = concat!("..", "/shared");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every tracked or not ignored file that still exists and is text.
fn files() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let files: Vec<_> = names
        .split_terminator('\0')
        .filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(files.iter().any(|(name, _)| name == "Cargo.toml"), "the workspace's own manifest is among the files");
    files
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs"))
}

fn expect_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn no_rust_file_has_outgrown_its_subject() {
    let long: Vec<_> = rust_files()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    expect_none("files over 600 lines", &long);
}

#[test]
fn nothing_is_put_off_or_silenced() {
    let found: Vec<_> = rust_files().flat_map(|(name, text)| lines_with(&name, &text, FORBIDDEN_IN_RUST)).collect();
    expect_none("words that do not belong into the code", &found);
}

#[test]
fn nothing_refers_to_folders_outside_the_repository() {
    let found: Vec<_> = files()
        .into_iter()
        .filter(|(name, _)| name != "tests/run")
        .flat_map(|(name, text)| lines_with(&name, &text, &[OUTSIDE]))
        .collect();
    expect_none("references to the outside", &found);
}

fn lines_with(name: &str, text: &str, words: &[&str]) -> Vec<String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(index, line)| format!("{name}:{}: {}", index + 1, line.trim()))
        .collect()
}
