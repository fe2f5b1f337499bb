//! How large a document may be, checked before and after it is parsed and before anything of it runs.
//!
//! The parser descends with the document, so nesting is limited on the text; fragments multiply, so what a document
//! comes to is counted over its fragments with a memory, never by expanding it.

use std::collections::HashMap;
use std::convert::Infallible;

use async_graphql::parser::types::{ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Value, Variables};
use domain::Code;

use crate::errors::ApiError;

/// Bytes a document may have; long lists belong into variables.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// How deep brackets may nest in a document's text.
pub const MAX_NESTING: usize = 60;
/// How deep fields may nest; introspection takes 13.
pub const MAX_DEPTH: usize = 20;
/// Selections a document may come to once its fragments are put in.
pub const MAX_SELECTIONS: usize = 5_000;
/// Bytes the arguments of all fields may come to: every field that names a variable gets a copy of it.
pub const MAX_ARGUMENT_BYTES: usize = 32 * 1024 * 1024;
/// The complexity an operation may have: one for each field it can answer with.
pub const MAX_COMPLEXITY: usize = 50_000;
/// Mutations one request may have.
pub const MAX_MUTATIONS: usize = 100;
/// Errors of a document that are told.
pub const MAX_VALIDATION_ERRORS: usize = 20;
/// Items a page may have.
pub const MAX_PAGE: usize = 200;
/// Levels of depth a side may have.
pub const MAX_LEVELS: usize = 1_000;
/// Candles an answer may have.
pub const MAX_CANDLES: usize = 1_500;
/// Transfers one request may have.
pub const MAX_TRANSFERS: usize = 8_190;

/// The error for what is too large.
pub fn too_complex(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::QueryTooComplex, message)
}

/// Refuses a text that is too long or nests too deep for the parser.
///
/// # Errors
/// [`Code::QueryTooComplex`].
pub fn check_text(document: &str) -> Result<(), ApiError> {
    if document.len() > MAX_DOCUMENT_BYTES {
        return Err(too_complex(format!(
            "the document has {} bytes, {MAX_DOCUMENT_BYTES} are allowed; put long values into variables",
            document.len()
        )));
    }
    if nesting(document) > MAX_NESTING {
        return Err(too_complex(format!("the document nests deeper than {MAX_NESTING} levels")));
    }
    Ok(())
}

/// The deepest nesting of brackets outside strings and comments.
fn nesting(document: &str) -> usize {
    let bytes = document.as_bytes();
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b'#' => {
                while at < bytes.len() && !matches!(bytes[at], b'\n' | b'\r') {
                    at += 1;
                }
            }
            b'"' => at = end_of_string(bytes, at),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// The place of the last quote of the string that begins at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let is_block = bytes[at..].starts_with(b"\"\"\"");
    let mut at = at + if is_block { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if !is_block => at += 1,
            b'\\' if bytes[at..].starts_with(b"\\\"\"\"") => at += 3,
            b'"' if !is_block => return at,
            b'"' if bytes[at..].starts_with(b"\"\"\"") => return at + 2,
            // An unclosed string ends with its line; the parser will say so.
            b'\n' if !is_block => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// What a selection set comes to with its fragments put in.
#[derive(Clone, Copy, Default)]
struct Size {
    selections: usize,
    depth: usize,
    argument_bytes: usize,
}

/// Refuses a document whose operation comes to too much.
///
/// # Errors
/// [`Code::QueryTooComplex`]; [`Code::BadRequest`] for fragments in a circle.
pub fn check_document(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    values: &Variables,
) -> Result<(), ApiError> {
    let variables = operation
        .variable_definitions
        .iter()
        .filter_map(|definition| {
            let definition = &definition.node;
            let default = definition.default_value.as_ref().map(|value| &value.node);
            let name = &definition.name.node;
            Some((name.as_str(), bytes_of(values.get(name).or(default)?)))
        })
        .collect();
    let mut sizes = Sizes { document, variables, known: HashMap::new() };
    let size = sizes.of(&operation.selection_set.node)?;
    if size.depth > MAX_DEPTH {
        return Err(too_complex(format!("the query is {} levels deep, {MAX_DEPTH} are allowed", size.depth)));
    }
    if size.selections > MAX_SELECTIONS {
        return Err(too_complex(format!("the query selects more than {MAX_SELECTIONS} fields")));
    }
    if size.argument_bytes > MAX_ARGUMENT_BYTES {
        return Err(too_complex(format!(
            "the arguments of all fields come to {} bytes, {MAX_ARGUMENT_BYTES} are allowed; send less at once",
            size.argument_bytes
        )));
    }
    Ok(())
}

/// About what a value takes as JSON.
fn bytes_of(value: &Value) -> usize {
    let inner: usize = match value {
        Value::String(text) => text.len(),
        Value::List(values) => values.iter().map(bytes_of).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes_of(value)).sum(),
        Value::Binary(bytes) => bytes.len(),
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::Enum(_) => 0,
    };
    // Quotes, a colon and a comma, or a short value.
    inner.saturating_add(8)
}

struct Sizes<'a> {
    document: &'a ExecutableDocument,
    /// Bytes of each variable.
    variables: HashMap<&'a str, usize>,
    /// `None` while a fragment is being counted.
    known: HashMap<&'a str, Option<Size>>,
}

impl<'a> Sizes<'a> {
    fn of(&mut self, set: &'a SelectionSet) -> Result<Size, ApiError> {
        let mut total = Size::default();
        for selection in &set.items {
            let (size, level) = match &selection.node {
                Selection::Field(field) => {
                    let mut size = self.of(&field.node.selection_set.node)?;
                    size.argument_bytes = size.argument_bytes.saturating_add(self.arguments(&field.node));
                    (size, 1)
                }
                Selection::InlineFragment(fragment) => (self.of(&fragment.node.selection_set.node)?, 0),
                Selection::FragmentSpread(spread) => (self.fragment(&spread.node.fragment_name.node)?, 0),
            };
            total.selections = total.selections.saturating_add(size.selections).saturating_add(1);
            total.depth = total.depth.max(size.depth + level);
            total.argument_bytes = total.argument_bytes.saturating_add(size.argument_bytes);
        }
        Ok(total)
    }

    /// What the field's own arguments take with their variables put in.
    fn arguments(&self, field: &Field) -> usize {
        let mut total = 0_usize;
        for (_, argument) in &field.arguments {
            let literal = argument.node.clone().into_const_with(|variable| {
                let bytes = self.variables.get(variable.as_str()).copied().unwrap_or_default();
                total = total.saturating_add(bytes);
                Ok::<_, Infallible>(Value::Null)
            });
            let Ok(literal) = literal;
            total = total.saturating_add(bytes_of(&literal));
        }
        total
    }

    fn fragment(&mut self, name: &'a str) -> Result<Size, ApiError> {
        match self.known.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                return Err(ApiError::new(Code::BadRequest, format!("the fragment {name} contains itself")));
            }
            None => {}
        }
        // An unknown fragment is the validation's to report.
        let Some(definition) = self.document.fragments.get(name) else { return Ok(Size::default()) };
        self.known.insert(name, None);
        let size = self.of(&definition.node.selection_set.node)?;
        self.known.insert(name, Some(size));
        Ok(size)
    }
}

/// The complexity of a page of `first` or `last` items; without either a full page.
pub fn page_cost(first: Option<i32>, last: Option<i32>, child: usize) -> usize {
    let asked = first.or(last).and_then(|count| usize::try_from(count).ok()).unwrap_or(MAX_PAGE);
    list_cost(asked.min(MAX_PAGE), child)
}

/// The complexity of a list. Bounded, so that sums of it never overflow.
pub fn list_cost(count: usize, child: usize) -> usize {
    count.saturating_mul(child).saturating_add(1).min(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn check(text: &str) -> Result<(), ApiError> {
        check_with(text, &Variables::default())
    }

    fn check_with(text: &str, values: &Variables) -> Result<(), ApiError> {
        check_text(text)?;
        let document = parse_query(text).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        check_document(&document, &operation.node, values)
    }

    #[test]
    fn nesting_is_counted_outside_strings_and_comments() {
        assert_eq!(nesting("{ a(b: \"{{{\") { c } # {{{{\n }"), 2);
        assert_eq!(nesting("{ a(b: \"\\\"{{{\") { c(d: [[1]]) } }"), 5);
        assert_eq!(nesting("{ a(b: \"\"\"{{ \\\"\"\" {{\"\"\") }"), 2);
        assert_eq!(nesting("\"unclosed {{{"), 0);
        assert_eq!(nesting("\"unclosed {{{\n{{"), 2);
    }

    #[test]
    fn a_text_that_nests_thousands_deep_never_meets_the_parser() {
        let text = format!("{}a{}", "{a".repeat(100_000), "}".repeat(100_000));
        assert_eq!(check_text(&text).unwrap_err().code(), Code::QueryTooComplex);
        let list = format!("{{a(b:{}{})}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(check_text(&list).unwrap_err().code(), Code::QueryTooComplex);
    }

    #[test]
    fn fragments_that_double_thirty_times_are_refused_at_once() {
        let mut text = "{ ...f0 } fragment f40 on Query { head }".to_owned();
        for n in 0..40 {
            text += &format!(" fragment f{n} on Query {{ ...f{} ...f{} }}", n + 1, n + 1);
        }
        assert_eq!(check(&text).unwrap_err().code(), Code::QueryTooComplex);
    }

    #[test]
    fn fragments_in_a_circle_are_refused() {
        let text = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }";
        assert_eq!(check(text).unwrap_err().code(), Code::BadRequest);
    }

    #[test]
    fn a_large_variable_may_be_used_once_but_not_by_a_thousand_fields() {
        let values = Variables::from_json(serde_json::json!({ "x": ["y".repeat(1_000_000)] }));
        assert!(check_with("query($x: [String]) { f(x: $x) }", &values).is_ok());
        let fields: String = (0..1_000).map(|n| format!(" a{n}: f(x: {{ y: [$x] }})")).collect();
        let refused = check_with(&format!("query($x: [String]) {{{fields} }}"), &values).unwrap_err();
        assert_eq!(refused.code(), Code::QueryTooComplex);
        assert!(check_with(&format!("query($x: [String]) {{{fields} }}"), &Variables::default()).is_ok());
    }

    #[test]
    fn a_long_text_in_a_fragment_counts_as_often_as_the_fragment_is_used() {
        let spreads = "...f ".repeat(100);
        let text = format!("{{ {spreads} }} fragment f on Query {{ f(x: \"{}\") }}", "y".repeat(900_000));
        assert_eq!(check(&text).unwrap_err().code(), Code::QueryTooComplex);
    }

    #[test]
    fn pages_cost_what_they_can_bring() {
        assert_eq!(page_cost(Some(10), None, 3), 31);
        assert_eq!(page_cost(None, None, 1), MAX_PAGE + 1);
        assert_eq!(page_cost(Some(i32::MAX), None, usize::MAX), 1_000_000_000);
        assert_eq!(page_cost(Some(-1), None, 1), MAX_PAGE + 1);
    }
}
