//! Whether the variables of a request are what its operation says they are, before anything of it runs.
//!
//! The library looks at a variable where it is used, and so would carry out the first of two mutations before it finds
//! the second one's variable missing.

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::registry::{MetaType, MetaTypeName, Registry};
use async_graphql::{Value, Variables};
use domain::Code;

use crate::errors::ApiError;

/// Checks every variable that the operation defines.
///
/// # Errors
/// [`Code::BadRequest`] names the variable and what was expected.
pub fn check(
    registry: &Registry,
    operation: &OperationDefinition,
    variables: &Variables,
) -> Result<(), ApiError> {
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let name = &definition.name.node;
        let ty = &definition.var_type.node;
        let problem = match variables.get(name) {
            None if definition.default_value.is_some() || ty.nullable => None,
            None => Some(format!("is missing, expected {ty}")),
            Some(value) => mismatch_of_type(registry, ty, value),
        };
        if let Some(problem) = problem {
            return Err(ApiError::new(Code::BadRequest, format!("variable ${name} {problem}")));
        }
    }
    Ok(())
}

fn mismatch_of_type(registry: &Registry, ty: &Type, value: &Value) -> Option<String> {
    if *value == Value::Null {
        return (!ty.nullable).then(|| format!("may not be null, expected {ty}"));
    }
    match &ty.base {
        BaseType::Named(name) => mismatch(registry, name, value),
        BaseType::List(item) => match value {
            Value::List(values) => values.iter().enumerate().find_map(|(place, value)| {
                mismatch_of_type(registry, item, value).map(|problem| format!("at {place} {problem}"))
            }),
            // A single value stands for a list of one.
            other => mismatch_of_type(registry, item, other),
        },
    }
}

/// As [`mismatch_of_type`], for a type as the registry writes it.
fn mismatch_of_name(registry: &Registry, ty: &str, value: &Value) -> Option<String> {
    match MetaTypeName::create(ty) {
        MetaTypeName::NonNull(_) if *value == Value::Null => Some(format!("may not be null, expected {ty}")),
        MetaTypeName::NonNull(inner) => mismatch_of_name(registry, inner, value),
        _ if *value == Value::Null => None,
        MetaTypeName::List(item) => match value {
            Value::List(values) => values.iter().enumerate().find_map(|(place, value)| {
                mismatch_of_name(registry, item, value).map(|problem| format!("at {place} {problem}"))
            }),
            other => mismatch_of_name(registry, item, other),
        },
        MetaTypeName::Named(name) => mismatch(registry, name, value),
    }
}

fn mismatch(registry: &Registry, name: &str, value: &Value) -> Option<String> {
    let expected = || Some(format!("is not of type {name}"));
    match registry.types.get(name) {
        Some(MetaType::Scalar { is_valid, .. }) => match is_valid {
            Some(is_valid) if !is_valid(value) => expected(),
            _ => None,
        },
        Some(MetaType::Enum { enum_values, .. }) => match value {
            Value::Enum(value) if enum_values.contains_key(value.as_str()) => None,
            Value::String(value) if enum_values.contains_key(value.as_str()) => None,
            _ => expected(),
        },
        Some(MetaType::InputObject { input_fields, oneof, .. }) => {
            let Value::Object(fields) = value else { return expected() };
            if let Some(unknown) = fields.keys().find(|field| !input_fields.contains_key(field.as_str())) {
                return Some(format!("has the field {unknown}, which {name} does not have"));
            }
            if *oneof && (fields.len() != 1 || fields.values().any(|value| *value == Value::Null)) {
                return Some(format!("must have exactly one of the fields of {name}"));
            }
            input_fields.values().find_map(|field| match fields.get(field.name.as_str()) {
                None if field.default_value.is_some() || !field.ty.ends_with('!') => None,
                None => Some(format!("lacks the field {}, expected {}", field.name, field.ty)),
                Some(value) => mismatch_of_name(registry, &field.ty, value)
                    .map(|problem| format!("in the field {} {problem}", field.name)),
            })
        }
        Some(_) => Some(format!("may not be of type {name}, which is no input")),
        // An unknown type is the validation's to report.
        None => None,
    }
}
