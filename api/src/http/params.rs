//! The parameters of a GraphQL request, checked: the same over HTTP and WebSocket.

use async_graphql::{Extensions, Name, Request, Value, Variables, indexmap::IndexMap};
use domain::Code;

use crate::errors::ApiError;

/// The request that the JSON says, which is read into the library's values at once: a request may have megabytes of them.
///
/// # Errors
/// [`Code::BadRequest`] names what is not of its type. A list, that is a batch, is not an object.
pub fn request(json: Value) -> Result<Request, ApiError> {
    let Value::Object(mut params) = json else {
        return Err(bad("the request must be one JSON object with `query`; batches are not served"));
    };
    let Some(Value::String(query)) = params.swap_remove("query") else {
        return Err(bad("`query` must be a text"));
    };
    let mut request = Request::new(query);
    request.operation_name = match params.swap_remove("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(bad("`operationName` must be a text or null")),
    };
    request.variables = Variables::from_value(Value::Object(object("variables", &mut params)?));
    let extensions = object("extensions", &mut params)?;
    request.extensions =
        Extensions(extensions.into_iter().map(|(name, value)| (name.to_string(), value)).collect());
    Ok(request)
}

fn object(name: &str, params: &mut IndexMap<Name, Value>) -> Result<IndexMap<Name, Value>, ApiError> {
    match params.swap_remove(name) {
        None | Some(Value::Null) => Ok(IndexMap::new()),
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(bad(format!("`{name}` must be an object or null"))),
    }
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(json: serde_json::Value) -> Value {
        Value::from_json(json).unwrap()
    }

    #[test]
    fn parameters_of_their_types_are_taken() {
        let read = request(of(json!({
            "query": "{ head }", "operationName": null, "variables": {"a": [1, {"b": null}]}, "extensions": {"c": 2}, "more": 1
        })));
        let read = read.unwrap();
        assert_eq!(read.query, "{ head }");
        assert_eq!(read.operation_name, None);
        assert_eq!(serde_json::to_value(&read.variables).unwrap(), json!({"a": [1, {"b": null}]}));
        assert_eq!(read.extensions.get("c"), Some(&Value::from(2)));
    }

    #[test]
    fn parameters_of_other_types_are_refused() {
        for params in [
            json!(null),
            json!("{ head }"),
            json!([]),
            json!([{"query": "{ head }"}]),
            json!({}),
            json!({"query": null}),
            json!({"query": 1}),
            json!({"query": ["{ head }"]}),
            json!({"query": "{ head }", "operationName": 1}),
            json!({"query": "{ head }", "operationName": {}}),
            json!({"query": "{ head }", "variables": []}),
            json!({"query": "{ head }", "variables": "{}"}),
            json!({"query": "{ head }", "extensions": 7}),
            json!({"query": "{ head }", "extensions": [1]}),
        ] {
            assert_eq!(request(of(params.clone())).unwrap_err().code(), Code::BadRequest, "{params}");
        }
    }
}
