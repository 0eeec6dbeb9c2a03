//! Who may depend on whom, and who alone may name a heavy library; exact both ways.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Our packages and what of ours each depends on, but for connectors: each depends on the SDK alone, and the registry on
/// all of them, but for the template. Dev-dependencies are free, but for [`MIGRATION_USERS`].
const ARROWS: &[(&str, &[&str])] = &[
    ("crosstie-domain", &[]),
    ("crosstie-store", &["crosstie-domain"]),
    ("crosstie-sdk", &["crosstie-domain"]),
    ("crosstie-kit", &["crosstie-sdk"]),
    ("crosstie-app", &["crosstie-domain", "crosstie-store"]),
    ("crosstie-sync", &["crosstie-app", "crosstie-domain", "crosstie-sdk", "crosstie-store"]),
    ("crosstie-graphql", &["crosstie-app", "crosstie-domain", "crosstie-store"]),
    (
        "crosstie",
        &[
            "crosstie-app",
            "crosstie-connectors",
            "crosstie-domain",
            "crosstie-graphql",
            "crosstie-migrations",
            "crosstie-sdk",
            "crosstie-store",
            "crosstie-sync",
        ],
    ),
    ("crosstie-migrations", &[]),
    ("crosstie-tests", &[]),
];

/// Libraries that only these packages name; tests may name them too.
const OWNED: &[(&str, &[&str])] = &[
    ("sea-orm", &["crosstie-store"]),
    ("sea-orm-migration", &["crosstie-migrations"]),
    ("async-graphql", &["crosstie-domain", "crosstie-graphql"]),
    ("reqwest", &["crosstie-sdk"]),
    ("oauth2", &["crosstie-sdk"]),
    ("governor", &["crosstie-sdk"]),
    ("axum", &["crosstie"]),
    ("clap", &["crosstie"]),
];

/// Who may test against a migrated database.
const MIGRATION_USERS: &[&str] = &["crosstie-tests"];

/// A package, what it names, and whether only its tests need it.
type Arrow = (String, String, bool);

fn arrows(metadata: &Metadata) -> BTreeSet<Arrow> {
    metadata
        .workspace_packages()
        .into_iter()
        .flat_map(|package| {
            package.dependencies.iter().map(|dependency| {
                let for_tests = dependency.kind == DependencyKind::Development;
                (package.name.to_string(), dependency.name.clone(), for_tests)
            })
        })
        .collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes the workspace")
}

fn table(rows: &[(&str, &[&str])]) -> BTreeSet<(String, String)> {
    rows.iter().flat_map(|(from, to)| to.iter().map(|to| ((*from).to_owned(), (*to).to_owned()))).collect()
}

fn expect_same(found: &BTreeSet<(String, String)>, allowed: &BTreeSet<(String, String)>) {
    let forbidden: Vec<_> = found.difference(allowed).collect();
    let unused: Vec<_> = allowed.difference(found).collect();
    assert!(forbidden.is_empty() && unused.is_empty(), "not allowed: {forbidden:?}; in the table, unused: {unused:?}");
}

const REGISTRY: &str = "crosstie-connectors";
const TEMPLATE: &str = "crosstie-template";

/// The packages of connectors: those that lie in their folder.
fn connectors(metadata: &Metadata) -> BTreeSet<String> {
    let folder = metadata.workspace_root.join("connectors");
    let lies_there =
        metadata.workspace_packages().into_iter().filter(|package| package.manifest_path.starts_with(&folder));
    lies_there.map(|package| package.name.to_string()).filter(|name| name != REGISTRY).collect()
}

#[test]
fn packages_depend_on_each_other_exactly_as_drawn() {
    let metadata = metadata();
    let connectors = connectors(&metadata);
    let ours: BTreeSet<String> = metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let drawn = ARROWS.iter().map(|(package, _)| (*package).to_owned());
    let named: BTreeSet<String> = drawn.chain(connectors.clone()).chain([REGISTRY.to_owned()]).collect();
    assert_eq!(ours, named, "the packages of the workspace and those of the table");

    let found = arrows(&metadata)
        .into_iter()
        .filter(|(_, to, for_tests)| !for_tests && ours.contains(to))
        .map(|(from, to, _)| (from, to))
        .collect();
    let to_sdk = connectors.iter().map(String::as_str).chain([REGISTRY]).map(|from| (from, "crosstie-sdk"));
    let shipped = connectors.iter().filter(|name| *name != TEMPLATE).map(|name| (REGISTRY, name.as_str()));
    let of_connectors = to_sdk.chain(shipped).map(|(from, to)| (from.to_owned(), to.to_owned()));
    expect_same(&found, &table(ARROWS).into_iter().chain(of_connectors).collect());
}

#[test]
fn only_its_owner_names_a_heavy_library() {
    let owners = table(OWNED);
    let found = arrows(&metadata())
        .into_iter()
        .filter(|(_, to, for_tests)| !for_tests && OWNED.iter().any(|(library, _)| library == to))
        .map(|(from, to, _)| (to, from))
        .collect();
    expect_same(&found, &owners);
}

#[test]
fn only_the_server_and_tests_migrate() {
    for (from, _, for_tests) in arrows(&metadata()).into_iter().filter(|(_, to, _)| to == "crosstie-migrations") {
        let allowed = if for_tests { MIGRATION_USERS.contains(&from.as_str()) } else { from == "crosstie" };
        assert!(allowed, "{from} depends on the migrations");
    }
}
