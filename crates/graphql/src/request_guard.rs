//! What a document must keep to before anything is executed: syntax, size, and one operation to run.
//!
//! The engine walks fragments again for every spread before it compares its own limits, so a document of a few hundred
//! bytes can hold a worker for minutes. Here each fragment is measured once and the measures are added with saturation,
//! which takes time in proportion to the document.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Pos, Positioned, Value,
    parser::{
        parse_query,
        types::{
            DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
        },
    },
};

use crate::document_scan::scan;

const OPERATIONS: u64 = 20;
const FRAGMENTS: u64 = 200;
const VARIABLES: u64 = 200;
const SELECTIONS: u64 = 2_000;
const DEPTH: u64 = 15;
/// The usual introspection query nests `ofType` to about fifteen levels.
const INTROSPECTION_DEPTH: u64 = 20;
const ALIASES: u64 = 60;
const ROOT_FIELDS: u64 = 50;
const MUTATION_ROOT_FIELDS: u64 = 10;
const DIRECTIVES: u64 = 60;
const DIRECTIVES_PER_FIELD: u64 = 5;
/// Selection sets inside one another, fragments included. Bounds our own recursion, and stays above any honest depth.
const NESTING: u64 = 64;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Reads.
    Query,
    /// Changes something.
    Mutation,
    /// Reads again whenever something changed.
    Subscription,
}

/// A document within the limits, and the operation of it that is to run.
#[derive(Debug)]
pub struct Checked {
    /// The parsed document.
    pub document: ExecutableDocument,
    /// What the chosen operation does.
    pub kind: OperationKind,
    /// The name of the chosen operation, if it has one.
    pub operation_name: Option<String>,
    /// Whether the chosen operation reads the schema.
    pub introspects: bool,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardError {
    code: &'static str,
    /// What is wrong, for the author of the document.
    pub message: String,
    /// Where, if there is one place.
    pub location: Option<Pos>,
    /// Further extensions of the error: `rule`, `limit` and `actual` of a limit.
    pub extensions: Vec<(&'static str, Value)>,
}

impl GuardError {
    /// An error without further extensions.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), location: None, extensions: Vec::new() }
    }

    /// A limit that was passed.
    pub fn over_limit(rule: &'static str, limit: u64, actual: u64) -> Self {
        let message = format!("The document is too complex: {rule} is limited to {limit}.");
        let extensions = vec![("rule", rule.into()), ("limit", limit.into()), ("actual", actual.into())];
        Self { code: "QUERY_TOO_COMPLEX", message, location: None, extensions }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    fn at(self, location: Pos) -> Self {
        Self { location: Some(location), ..self }
    }
}

/// Parses a document once and holds it against the limits.
///
/// # Errors
///
/// `GRAPHQL_PARSE_FAILED` for a syntax error, `QUERY_TOO_COMPLEX` for a limit that was passed,
/// `GRAPHQL_VALIDATION_FAILED` for fragments that spread themselves, `OPERATION_RESOLUTION_FAILURE` if the operation to
/// run is not known.
pub fn check(source: &str, operation_name: Option<&str>) -> Result<Checked, GuardError> {
    scan(source)?;
    let document = parse_query(source).map_err(|error| {
        let location = error.positions().next();
        let error = GuardError::new("GRAPHQL_PARSE_FAILED", error.to_string());
        location.map_or(error.clone(), |location| error.at(location))
    })?;
    within("operations", OPERATIONS, count(document.operations.iter().len()))?;
    within("fragments", FRAGMENTS, count(document.fragments.len()))?;

    let mut measurer = Measurer { document: &document, known: HashMap::new(), open: HashSet::new() };
    // Validation walks every fragment and every operation, used or not, so all of them are held to the limits.
    for name in document.fragments.keys() {
        within("selections", SELECTIONS, measurer.fragment(name, 0)?.selections)?;
    }
    for (_, operation) in document.operations.iter() {
        check_operation(&operation.node, &mut measurer)?;
    }
    let (name, operation) = choose(&document.operations, operation_name)?;
    let kind = match operation.ty {
        OperationType::Query => OperationKind::Query,
        OperationType::Mutation => OperationKind::Mutation,
        OperationType::Subscription => OperationKind::Subscription,
    };
    let introspects = measurer.set(&operation.selection_set, 0)?.schema_roots > 0;
    let operation_name = name.map(ToString::to_string);
    Ok(Checked { kind, operation_name, introspects, document })
}

fn check_operation<'d>(operation: &'d OperationDefinition, measurer: &mut Measurer<'d>) -> Result<(), GuardError> {
    within("variables", VARIABLES, count(operation.variable_definitions.len()))?;
    let measure = measurer.set(&operation.selection_set, 0)?;
    within("selections", SELECTIONS, measure.selections)?;
    let only_schema = measure.schema_roots > 0 && measure.roots == measure.schema_roots;
    within("depth", if only_schema { INTROSPECTION_DEPTH } else { DEPTH }, measure.depth)?;
    within("aliases", ALIASES, measure.aliases)?;
    let roots = if operation.ty == OperationType::Mutation { MUTATION_ROOT_FIELDS } else { ROOT_FIELDS };
    within("roots", roots, measure.roots.saturating_add(measure.type_names))?;
    let declared = operation.variable_definitions.iter().map(|variable| variable.node.directives.len()).sum::<usize>();
    let directives = measure.directives.saturating_add(count(operation.directives.len().saturating_add(declared)));
    within("directives", DIRECTIVES, directives)
}

fn choose<'d>(
    operations: &'d DocumentOperations,
    wanted: Option<&str>,
) -> Result<(Option<&'d Name>, &'d OperationDefinition), GuardError> {
    let refuse = |message: &str| Err(GuardError::new("OPERATION_RESOLUTION_FAILURE", message));
    match wanted {
        // The parser files a single named operation under `Multiple`, so the name is compared and not the variant.
        Some(wanted) => operations
            .iter()
            .find(|(name, _)| name.is_some_and(|name| name.as_str() == wanted))
            .map_or_else(|| refuse("The document has no operation of that name."), |(name, it)| Ok((name, &it.node))),
        None => {
            let mut all = operations.iter();
            match (all.next(), all.next()) {
                (Some((name, it)), None) => Ok((name, &it.node)),
                _ => refuse("The document has several operations: operationName says which to run."),
            }
        }
    }
}

fn within(rule: &'static str, limit: u64, actual: u64) -> Result<(), GuardError> {
    if actual > limit { Err(GuardError::over_limit(rule, limit, actual)) } else { Ok(()) }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The size of a selection set with its fragments expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Measure {
    selections: u64,
    depth: u64,
    aliases: u64,
    directives: u64,
    roots: u64,
    schema_roots: u64,
    type_names: u64,
}

impl Measure {
    fn add(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.depth = self.depth.max(other.depth);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.roots = self.roots.saturating_add(other.roots);
        self.schema_roots = self.schema_roots.saturating_add(other.schema_roots);
        self.type_names = self.type_names.saturating_add(other.type_names);
    }
}

struct Measurer<'d> {
    document: &'d ExecutableDocument,
    known: HashMap<&'d Name, Measure>,
    open: HashSet<&'d Name>,
}

impl<'d> Measurer<'d> {
    fn set(&mut self, set: &'d Positioned<SelectionSet>, nesting: u64) -> Result<Measure, GuardError> {
        within("depth", NESTING, nesting)?;
        let mut total = Measure::default();
        for selection in &set.node.items {
            let directives = count(selection.node.directives().len());
            within("directivesPerField", DIRECTIVES_PER_FIELD, directives)?;
            total.add(Measure { selections: 1, directives, ..Measure::default() });
            total.add(match &selection.node {
                Selection::Field(field) => self.field(&field.node, nesting)?,
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set, nesting + 1)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, nesting)?,
            });
        }
        Ok(total)
    }

    fn field(&mut self, field: &'d Field, nesting: u64) -> Result<Measure, GuardError> {
        let inner = self.set(&field.selection_set, nesting + 1)?;
        let name = field.name.node.as_str();
        let is_type_name = name == "__typename";
        let is_schema = matches!(name, "__schema" | "__type");
        Ok(Measure {
            depth: inner.depth.saturating_add(1),
            aliases: inner.aliases.saturating_add(u64::from(field.alias.is_some())),
            roots: u64::from(!is_type_name),
            schema_roots: u64::from(is_schema),
            type_names: u64::from(is_type_name),
            ..inner
        })
    }

    fn fragment(&mut self, name: &'d Name, nesting: u64) -> Result<Measure, GuardError> {
        if let Some(measure) = self.known.get(name) {
            return Ok(*measure);
        }
        // A fragment that does not exist is left to validation, which says so by name.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Measure::default()) };
        if !self.open.insert(name) {
            let message = format!("The fragment {name} spreads itself.");
            return Err(GuardError::new("GRAPHQL_VALIDATION_FAILED", message).at(fragment.pos));
        }
        let mut measure = self.set(&fragment.node.selection_set, nesting + 1)?;
        measure.directives = measure.directives.saturating_add(count(fragment.node.directives.len()));
        self.open.remove(name);
        self.known.insert(name, measure);
        Ok(measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source: &str) -> (&'static str, Option<String>) {
        let error = check(source, None).unwrap_err();
        let rule = error.extensions.iter().find(|(key, _)| *key == "rule").map(|(_, value)| match value {
            Value::String(rule) => rule.clone(),
            other => other.to_string(),
        });
        (error.code(), rule)
    }

    fn over(rule: &str) -> (&'static str, Option<String>) {
        ("QUERY_TOO_COMPLEX", Some(rule.to_owned()))
    }

    #[test]
    fn refuses_a_fragment_bomb_at_once() {
        let mut bomb = String::from("{ ...F0 }");
        for index in 0..12 {
            let next = index + 1;
            bomb.push_str(&format!(" fragment F{index} on Q {{ {} }}", format!("...F{next} ").repeat(4)));
        }
        bomb.push_str(" fragment F12 on Q { a }");
        let started = std::time::Instant::now();
        assert_eq!(rule(&bomb), over("selections"));
        assert!(started.elapsed().as_secs() < 1);
    }

    #[test]
    fn finds_a_single_named_operation_with_and_without_its_name() {
        for wanted in [None, Some("Only")] {
            assert_eq!(check("query Only { a }", wanted).unwrap().operation_name.as_deref(), Some("Only"));
        }
        for (source, wanted) in
            [("query Only { a }", Some("Other")), ("{ a }", Some("A")), ("query A{a} query B{a}", None)]
        {
            assert_eq!(check(source, wanted).unwrap_err().code(), "OPERATION_RESOLUTION_FAILURE");
        }
        assert_eq!(check("query A{a} mutation B{a}", Some("B")).unwrap().kind, OperationKind::Mutation);
    }

    #[test]
    fn refuses_what_passes_a_limit() {
        let nested = |levels: usize| format!("{}{}", "{ a ".repeat(levels), "}".repeat(levels));
        assert!(check(&nested(15), None).is_ok());
        assert_eq!(rule(&nested(16)), over("depth"));
        assert_eq!(rule(&format!("{{ {} }}", "a ".repeat(51))), over("roots"));
        assert_eq!(rule(&format!("mutation {{ {} }}", "a ".repeat(11))), over("roots"));
        assert_eq!(rule(&format!("{{ b {{ {} }} }}", "a ".repeat(2_000))), over("selections"));
        assert_eq!(rule(&format!("{{ b {{ {} }} }}", "x: a ".repeat(61))), over("aliases"));
        assert_eq!(rule(&format!("{{ a {} }}", "@d ".repeat(6))), over("directivesPerField"));
        assert_eq!(rule(&format!("{{ b {{ {} }} }}", "a @d @d ".repeat(31))), over("directives"));
        assert_eq!(rule(&(0..21).map(|i| format!("query Q{i} {{ a }} ")).collect::<String>()), over("operations"));
        let variables = (0..201).map(|i| format!("$v{i}: Int ")).collect::<String>();
        assert_eq!(rule(&format!("query ({variables}) {{ a }}")), over("variables"));
        let fragments = (0..201).map(|i| format!("fragment F{i} on Q {{ a }} ")).collect::<String>();
        assert_eq!(rule(&format!("{{ a }} {fragments}")), over("fragments"));
    }

    #[test]
    fn gives_introspection_its_own_depth() {
        let of_type = |levels: usize| format!("{}name{}", "ofType { ".repeat(levels), " }".repeat(levels));
        let schema = check(&format!("{{ __type(name: \"A\") {{ {} }} }}", of_type(18)), None).unwrap();
        assert!(schema.introspects);
        assert_eq!(rule(&format!("{{ __type(name: \"A\") {{ {} }} }}", of_type(19))), over("depth"));
        assert_eq!(rule(&format!("{{ a __type(name: \"A\") {{ {} }} }}", of_type(18))), over("depth"));
        assert!(check("{ ...F } fragment F on Q { s: __schema { a } }", None).unwrap().introspects);
        assert!(!check("{ __typename a }", None).unwrap().introspects);
    }

    #[test]
    fn refuses_syntax_errors_and_fragments_that_spread_themselves() {
        assert_eq!(rule("{"), ("GRAPHQL_PARSE_FAILED", None));
        assert_eq!(
            rule("{ ...A } fragment A on Q { ...B } fragment B on Q { ...A ...A }"),
            ("GRAPHQL_VALIDATION_FAILED", None)
        );
    }
}
