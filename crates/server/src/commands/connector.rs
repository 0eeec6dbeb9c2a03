//! `connector new`: a connector to begin with, which compiles and passes the conformance kit.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::CommandError;

#[derive(Debug, Subcommand)]
pub(super) enum ConnectorCommand {
    /// Make a crate for a new connector in a checkout of the hub, and add it to the registry
    New(NewArgs),
}

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What it is called, such as `acme`: small letters, digits and dashes
    #[arg(value_parser = name)]
    name: String,
    /// For a CRM: reads accounts and opportunities, sets names, hears of changes
    #[arg(long, required = true)]
    crm: bool,
    /// The checkout
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// The files of the connector that a new one begins as. It is a package of the workspace, and held to everything.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../../connectors/template/Cargo.toml")),
    ("README.md", include_str!("../../../../connectors/template/README.md")),
    ("src/accounts.rs", include_str!("../../../../connectors/template/src/accounts.rs")),
    ("src/deals.rs", include_str!("../../../../connectors/template/src/deals.rs")),
    ("src/fake.rs", include_str!("../../../../connectors/template/src/fake.rs")),
    ("src/lib.rs", include_str!("../../../../connectors/template/src/lib.rs")),
    ("src/mapping.rs", include_str!("../../../../connectors/template/src/mapping.rs")),
    ("src/paging.rs", include_str!("../../../../connectors/template/src/paging.rs")),
    ("src/webhook.rs", include_str!("../../../../connectors/template/src/webhook.rs")),
    ("src/wire.rs", include_str!("../../../../connectors/template/src/wire.rs")),
    ("src/writer.rs", include_str!("../../../../connectors/template/src/writer.rs")),
    ("tests/contract.rs", include_str!("../../../../connectors/template/tests/contract.rs")),
];

fn name(text: &str) -> Result<String, String> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (2..=40).contains(&text.len())
        && text.bytes().all(is_letter)
        && text.as_bytes()[0].is_ascii_lowercase()
        && !text.ends_with('-')
        && !text.contains("--");
    if is_name {
        return Ok(text.to_owned());
    }
    Err("a name has 2 to 40 small letters, digits and single dashes, and begins with a letter".to_owned())
}

/// The name as a type is called: `acme-crm` is `AcmeCrm`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(capital).collect()
}

fn renamed(text: &str, name: &str) -> String {
    let crate_name = format!("crosstie_{}", name.replace('-', "_"));
    text.replace("crosstie_template", &crate_name).replace("Template", &type_name(name)).replace("template", name)
}

/// The registry with one line more.
fn registered(registry: &str, manifest: &str, name: &str) -> Option<(String, String)> {
    let crate_name = format!("crosstie_{}", name.replace('-', "_"));
    let list = registry.find("static SHIPPED")?;
    let end = list + registry[list..].find("\n];")?;
    let line = format!("\n    Shipped {{ connector: &{crate_name}::{}, fake: {crate_name}::fake }},", type_name(name));
    let registry = format!("{}{line}{}", &registry[..end], &registry[end..]);
    let dependency = format!("[dependencies]\ncrosstie-{name} = {{ path = \"../{name}\" }}\n");
    let with_it = manifest.replacen("[dependencies]\n", &dependency, 1);
    (with_it != manifest).then_some((registry, with_it))
}

pub(super) fn run(command: ConnectorCommand) -> Result<ExitCode, CommandError> {
    let ConnectorCommand::New(NewArgs { name, folder, .. }) = command;
    make(&folder, &name)?;
    println!("connectors/{name} is there; it passes the conformance kit already:");
    println!("  cargo fmt && cargo test -p crosstie-{name}");
    println!("Its stand-in can be hosted and read:");
    println!("  cargo run -- fake {name}");
    println!("connectors/{name}/README.md says what to do from here on.");
    Ok(ExitCode::SUCCESS)
}

fn make(folder: &Path, name: &str) -> Result<(), CommandError> {
    let connectors = folder.join("connectors");
    let (lib, manifest) = (connectors.join("registry/src/lib.rs"), connectors.join("registry/Cargo.toml"));
    let read = |path: &Path| {
        fs::read_to_string(path)
            .map_err(|error| format!("{} is no checkout of the hub: {}: {error}", folder.display(), path.display()))
    };
    let (registry, dependencies) = (read(&lib)?, read(&manifest)?);
    let place = connectors.join(name);
    if place.exists() {
        return Err(format!("{} is there already", place.display()).into());
    }
    let registered = registered(&registry, &dependencies, name);
    let (registry, dependencies) = registered.ok_or_else(|| format!("{} has no list of connectors", lib.display()))?;
    for (file, text) in FILES {
        let path = place.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, renamed(text, name))?;
    }
    fs::write(manifest, dependencies)?;
    fs::write(lib, registry)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = include_str!("../../../../connectors/registry/src/lib.rs");
    const MANIFEST: &str = include_str!("../../../../connectors/registry/Cargo.toml");

    /// A checkout, as far as it matters.
    fn checkout(what: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("crosstie new connector {what} {}", std::process::id()));
        fs::create_dir_all(folder.join("connectors/registry/src")).expect("a folder can be made");
        fs::write(folder.join("connectors/registry/src/lib.rs"), REGISTRY).expect("written");
        fs::write(folder.join("connectors/registry/Cargo.toml"), MANIFEST).expect("written");
        folder
    }

    #[test]
    fn a_new_connector_has_its_own_name_everywhere_and_a_line_in_the_registry() {
        let folder = checkout("named");
        make(&folder, "acme-crm").expect("it is made");
        for (file, _) in FILES {
            let text = fs::read_to_string(folder.join("connectors/acme-crm").join(file)).expect("it is there");
            assert!(!text.to_lowercase().contains("template"), "{file}");
        }
        let lib = fs::read_to_string(folder.join("connectors/acme-crm/src/lib.rs")).expect("it is there");
        assert!(lib.contains("pub struct AcmeCrm;") && lib.contains("id: \"acme-crm\""), "{lib}");
        let registry = fs::read_to_string(folder.join("connectors/registry/src/lib.rs")).expect("it is there");
        let line = "    Shipped { connector: &crosstie_acme_crm::AcmeCrm, fake: crosstie_acme_crm::fake },\n];";
        assert!(registry.contains(line), "{registry}");
        assert_eq!(registry.lines().count(), REGISTRY.lines().count() + 1);
        let manifest = fs::read_to_string(folder.join("connectors/registry/Cargo.toml")).expect("it is there");
        assert!(manifest.contains("crosstie-acme-crm = { path = \"../acme-crm\" }"), "{manifest}");

        let again = make(&folder, "acme-crm").expect_err("it is there").to_string();
        assert!(again.ends_with("is there already"), "{again}");
        fs::remove_dir_all(folder).expect("it is removed");
    }

    #[test]
    fn a_name_that_is_none_and_a_folder_that_is_no_checkout_are_refused() {
        for bad in ["", "a", "Acme", "1acme", "acme_crm", "acme-", "a--b", "../acme", &"a".repeat(41)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        for good in ["acme", "a1", "acme-crm-2"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        let nowhere = std::env::temp_dir().join("no checkout of the hub");
        let refused = make(&nowhere, "acme").expect_err("there is nothing").to_string();
        assert!(refused.contains("is no checkout of the hub"), "{refused}");
    }

    #[test]
    fn every_file_of_the_template_is_among_those_that_are_made() {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors/template");
        for folder in ["", "src", "tests"] {
            for entry in fs::read_dir(template.join(folder)).expect("it is there") {
                let entry = entry.expect("it can be read");
                let name = Path::new(folder).join(entry.file_name());
                let made = FILES.iter().any(|(file, _)| Path::new(file) == name);
                assert!(made || entry.path().is_dir(), "{} is not made", name.display());
            }
        }
    }
}
