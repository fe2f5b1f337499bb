//! The parameters of a GraphQL request, checked: the same over HTTP and WebSocket.

use async_graphql::{Extensions, Request, Variables};
use domain::Code;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors::ApiError;

/// The request that the JSON says.
///
/// # Errors
/// [`Code::BadRequest`] names what is not of its type. A list, that is a batch, is not an object.
pub fn request(json: Value) -> Result<Request, ApiError> {
    let Value::Object(mut params) = json else {
        return Err(bad("the request must be one JSON object with `query`; batches are not served"));
    };
    let Some(Value::String(query)) = params.remove("query") else {
        return Err(bad("`query` must be a text"));
    };
    let mut request = Request::new(query);
    request.operation_name = match params.remove("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(bad("`operationName` must be a text or null")),
    };
    request.variables = object::<Variables>("variables", params.remove("variables"))?;
    request.extensions = object::<Extensions>("extensions", params.remove("extensions"))?;
    Ok(request)
}

fn object<T: DeserializeOwned + Default>(name: &str, value: Option<Value>) -> Result<T, ApiError> {
    let problem = || bad(format!("`{name}` must be an object or null"));
    match value {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value @ Value::Object(_)) => serde_json::from_value(value).map_err(|_| problem()),
        Some(_) => Err(problem()),
    }
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_of_their_types_are_taken() {
        let read = request(json!({
            "query": "{ head }", "operationName": null, "variables": {"a": [1, {"b": null}]}, "extensions": {}, "more": 1
        }));
        let read = read.unwrap();
        assert_eq!(read.query, "{ head }");
        assert_eq!(read.operation_name, None);
        assert_eq!(serde_json::to_value(&read.variables).unwrap(), json!({"a": [1, {"b": null}]}));
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
            assert_eq!(request(params.clone()).unwrap_err().code(), Code::BadRequest, "{params}");
        }
    }
}
