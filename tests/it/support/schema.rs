//! The schema as it is published: its fields, where they lead and what their directives say.

use std::collections::BTreeSet;

use async_graphql::{
    Positioned, Value,
    parser::{
        parse_schema,
        types::{BaseType, ConstDirective, TypeDefinition, TypeKind, TypeSystemDefinition},
    },
};

/// A field of an object type.
#[derive(Debug)]
pub(crate) struct Field {
    /// The type that has it.
    pub(crate) of: String,
    pub(crate) name: String,
    /// The type that it leads to, taken out of its lists and pages.
    pub(crate) to: String,
    /// `@requires(permission: …)`
    pub(crate) permission: Option<String>,
    /// `@sensitivity(class: …)`
    pub(crate) class: Option<String>,
}

fn types() -> Vec<TypeDefinition> {
    let document = parse_schema(crosstie_graphql::sdl()).expect("the schema parses");
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(definition.node),
        TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
    });
    types.collect()
}

/// All fields of all object types.
pub(crate) fn fields() -> Vec<Field> {
    let mut found = Vec::new();
    for definition in types() {
        let TypeKind::Object(object) = definition.kind else { continue };
        found.extend(object.fields.into_iter().map(|field| Field {
            of: definition.name.node.to_string(),
            name: field.node.name.node.to_string(),
            to: base(&field.node.ty.node.base).trim_end_matches("Connection").to_owned(),
            permission: argument(&field.node.directives, "requires", "permission"),
            class: argument(&field.node.directives, "sensitivity", "class"),
        }));
    }
    found
}

/// The types of objects that have an identifier of their own.
pub(crate) fn node_types() -> BTreeSet<String> {
    let nodes = types().into_iter().filter(|definition| match &definition.kind {
        TypeKind::Object(object) => object.implements.iter().any(|interface| interface.node == "Node"),
        _ => false,
    });
    nodes.map(|definition| definition.name.node.to_string()).collect()
}

/// The values of an enum.
pub(crate) fn enum_values(name: &str) -> BTreeSet<String> {
    let found = types().into_iter().find(|definition| definition.name.node == name).expect("the enum is there");
    let TypeKind::Enum(choices) = found.kind else { panic!("{name} is no enum") };
    choices.values.into_iter().map(|value| value.node.value.node.to_string()).collect()
}

fn base(of: &BaseType) -> &str {
    match of {
        BaseType::Named(name) => name,
        BaseType::List(inner) => base(&inner.base),
    }
}

fn argument(directives: &[Positioned<ConstDirective>], name: &str, argument: &str) -> Option<String> {
    let directive = directives.iter().find(|directive| directive.node.name.node == name)?;
    match &directive.node.get_argument(argument)?.node {
        Value::String(text) => Some(text.clone()),
        Value::Enum(value) => Some(value.to_string()),
        _ => None,
    }
}
