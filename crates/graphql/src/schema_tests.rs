//! What every part of the schema must have.

use std::{collections::BTreeSet, fs, path::Path};

use async_graphql::parser::{
    parse_schema,
    types::{FieldDefinition, TypeDefinition, TypeKind, TypeSystemDefinition},
};

use crosstie_domain::{custom::built_in_fields, integration::Entity};
use futures::StreamExt;

use super::{builder, sdl};

/// The file that clients read.
const FILE: &str = include_str!("../../../graphql/schema.graphql");

/// Shared values, held as closely as the field that they stand in, and the engine's own type.
const WITHOUT_CLASS: [&str; 3] = ["Money", "PageInfo", "UserError"];
const ROOTS: [&str; 3] = ["Mutation", "Query", "Subscription"];

fn types() -> Vec<TypeDefinition> {
    let document = parse_schema(sdl()).expect("the schema parses");
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(definition.node),
        TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
    });
    types.collect()
}

fn has_directive(field: &FieldDefinition, name: &str) -> bool {
    field.directives.iter().any(|directive| directive.node.name.node == name)
}

#[test]
fn sdl_is_up_to_date() {
    assert_eq!(FILE, sdl(), "write graphql/schema.graphql again: `crosstie schema > graphql/schema.graphql`");
}

#[test]
fn every_root_field_names_its_permission_and_every_object_its_class() {
    let mut missing = Vec::new();
    for definition in types() {
        let name = definition.name.node.to_string();
        let TypeKind::Object(object) = &definition.kind else { continue };
        if ROOTS.contains(&name.as_str()) {
            let fields = object.fields.iter().filter(|field| !has_directive(&field.node, "requires"));
            missing.extend(fields.map(|field| format!("{name}.{} @requires", field.node.name.node)));
        } else if !WITHOUT_CLASS.contains(&name.as_str())
            && !definition.directives.iter().any(|directive| directive.node.name.node == "sensitivity")
        {
            missing.push(format!("{name} @sensitivity"));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_financial_field_may_be_null() {
    let mut found = 0;
    for definition in types() {
        let TypeKind::Object(object) = &definition.kind else { continue };
        for field in object.fields.iter().filter(|field| has_directive(&field.node, "sensitivity")) {
            found += 1;
            assert!(field.node.ty.node.nullable, "{}.{}", definition.name.node, field.node.name.node);
        }
    }
    assert_eq!(found, 32);
}

#[test]
fn everything_has_a_description() {
    let mut missing = Vec::new();
    for definition in types() {
        let name = definition.name.node.to_string();
        let mut note = |described: bool, part: &str| {
            if !described {
                missing.push(format!("{name} {part}"));
            }
        };
        let root = ROOTS.contains(&name.as_str());
        note(root || definition.description.is_some(), "");
        match &definition.kind {
            TypeKind::Object(object) => fields(&object.fields, &mut note),
            TypeKind::Interface(interface) => fields(&interface.fields, &mut note),
            TypeKind::InputObject(input) => {
                for field in &input.fields {
                    note(field.node.description.is_some(), &field.node.name.node);
                }
            }
            TypeKind::Enum(choices) => {
                for value in &choices.values {
                    note(value.node.description.is_some(), &value.node.value.node);
                }
            }
            TypeKind::Scalar | TypeKind::Union(_) => {}
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

fn fields(fields: &[async_graphql::Positioned<FieldDefinition>], note: &mut impl FnMut(bool, &str)) {
    for field in fields {
        let field = &field.node;
        note(field.description.is_some(), &field.name.node);
        for argument in &field.arguments {
            note(argument.node.description.is_some(), &format!("{}({})", field.name.node, argument.node.name.node));
        }
    }
}

#[tokio::test]
async fn every_root_field_has_an_operation_that_fits_the_schema() {
    let schema = builder().finish();
    let mut covered = BTreeSet::new();
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../graphql/operations");
    for subject in fs::read_dir(operations).expect("the operations are there") {
        for file in fs::read_dir(subject.expect("a folder").path()).expect("a folder") {
            let path = file.expect("a file").path();
            let document = fs::read_to_string(&path).expect("a document");
            let responses: Vec<_> = schema.execute_stream(document.as_str()).collect().await;
            for error in responses.iter().flat_map(|response| &response.errors) {
                // Nobody asks, so every resolver refuses; an error without a path would be about the document.
                assert!(!error.path.is_empty(), "{}: {}", path.display(), error.message);
            }
            covered.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    let mut fields = BTreeSet::new();
    for definition in types().iter().filter(|definition| ROOTS.contains(&definition.name.node.as_str())) {
        let TypeKind::Object(root) = &definition.kind else { continue };
        fields.extend(root.fields.iter().map(|field| field.node.name.node.to_string()));
    }
    assert_eq!(covered, fields);
}

#[test]
fn no_custom_field_can_go_by_the_name_of_a_field_that_every_record_has() {
    for (name, entity) in [("Account", Entity::Account), ("Opportunity", Entity::Opportunity)] {
        let found = types().into_iter().find(|definition| definition.name.node == name).expect("the type is there");
        let TypeKind::Object(object) = found.kind else { panic!("{name} is an object") };
        let mut fields: Vec<String> = object.fields.iter().map(|field| field.node.name.node.to_string()).collect();
        fields.sort();
        assert_eq!(fields, built_in_fields(entity), "{name}");
    }
}
