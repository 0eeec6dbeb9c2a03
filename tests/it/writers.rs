//! What connectors write, and by which promise: the READMEs say what the descriptors say, and nothing else.

use std::{collections::BTreeSet, path::Path};

use crosstie_connectors::connectors;
use crosstie_domain::integration::IntentKind;
use crosstie_sdk::Descriptor;

/// The first three cells of each operation, as a README has them.
fn declared(descriptor: &Descriptor) -> BTreeSet<String> {
    let rows = descriptor.writes.iter().map(|write| {
        let operation = match write.intent {
            IntentKind::UpdateRecord => format!("`update_record` of `{}`", write.entity.as_str()),
            intent => format!("`{}`", intent.as_str()),
        };
        format!("{operation} | `{}` | `{}`", write.remote, write.safety.class().name())
    });
    rows.collect()
}

/// The same as the README of a connector has them, in the section about what is written.
fn documented(id: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors").join(id).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sections = text.split("\n## ").filter(|section| section.starts_with("What is written"));
    let [section] = sections.collect::<Vec<_>>()[..] else { panic!("{id}: one section tells what is written") };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches(['|', ' ']).splitn(4, " | ").take(3).collect::<Vec<_>>().join(" | ")).collect()
}

#[test]
fn the_readme_of_each_connector_prints_the_class_of_every_operation() {
    for connector in connectors() {
        let descriptor = connector.descriptor();
        assert_eq!(documented(descriptor.id), declared(descriptor), "{}", descriptor.id);
    }
}
