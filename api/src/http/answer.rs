//! Answers as JSON: errors in GraphQL's shape on every route, GraphQL responses in the media type that was asked for.

use std::collections::BTreeMap;

use async_graphql::{ServerError, Value};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use domain::Code;
use serde::Serialize;

use super::negotiation::Media;
use crate::errors::{ApiError, mapping};

/// A GraphQL response as it is sent. A request that was refused before it ran has no `data` at all.
#[derive(Serialize)]
pub struct Outward {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ServerError>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, Value>,
}

impl Outward {
    /// Gives every error a code: those without one are the library's about the document or its variables.
    pub fn new(response: async_graphql::Response) -> Self {
        let async_graphql::Response { data, mut errors, extensions, .. } = response;
        for error in &mut errors {
            // Lines begin at 1: this is an error without a place.
            error.locations.retain(|place| place.line > 0);
            if code_of(error).is_none() {
                mapping::count(Code::BadRequest);
                mapping::extend(&mut error.extensions, Code::BadRequest);
            }
        }
        let was_refused =
            data == Value::Null && !errors.is_empty() && errors.iter().all(|error| error.path.is_empty());
        Self { data: (!was_refused).then_some(data), errors, extensions }
    }

    /// Whether nothing of it was carried out.
    pub fn was_refused(&self) -> bool {
        self.data.is_none()
    }

    /// Whether there is nothing but errors.
    pub fn has_errors_alone(&self) -> bool {
        !self.errors.is_empty() && self.data.as_ref().is_none_or(|data| *data == Value::Null)
    }

    /// Its errors.
    pub fn into_errors(self) -> Vec<ServerError> {
        self.errors
    }
}

fn code_of(error: &ServerError) -> Option<Code> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Code::ALL.iter().find(|known| known.as_str() == code).copied(),
        _ => None,
    }
}

/// A GraphQL response over HTTP, with the status that the specification wants for its media type.
pub fn graphql(response: async_graphql::Response, media: Media) -> Response {
    let outward = Outward::new(response);
    let mut code = None;
    let status = if outward.was_refused() {
        code = outward.errors.first().and_then(code_of);
        match (code.map(|code| mapping::of(code).status), media) {
            // In plain JSON, a status other than 200 could be an intermediary's: kept for rights and machinery.
            (Some(StatusCode::BAD_REQUEST) | None, Media::Json) => StatusCode::OK,
            (Some(StatusCode::OK) | None, _) => StatusCode::BAD_REQUEST,
            (Some(status), _) => status,
        }
    } else {
        StatusCode::OK
    };
    let mut answer = json(status, media, &outward);
    add_headers(answer.headers_mut(), code);
    answer
}

/// The errors of a request that was not even understood, in the media type that was asked for.
pub fn graphql_error(status: StatusCode, error: &ApiError, media: Media) -> Response {
    mapping::count(error.code());
    let mut answer = json(status, media, &ErrorBody::of(error));
    add_headers(answer.headers_mut(), Some(error.code()));
    answer
}

/// An error in the shape of GraphQL's, with its code's status.
pub fn error(error: &ApiError) -> Response {
    error_with(mapping::of(error.code()).status, error)
}

/// An error in the shape of GraphQL's.
pub fn error_with(status: StatusCode, error: &ApiError) -> Response {
    graphql_error(status, error, Media::Json)
}

/// Any value as JSON that nobody keeps.
pub fn json(status: StatusCode, media: Media, value: &impl Serialize) -> Response {
    let headers = [(CONTENT_TYPE, media.content_type()), (CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, headers, bytes).into_response(),
        Err(cause) => {
            let error = ErrorBody::of(&ApiError::internal("write an answer", &cause));
            let bytes = serde_json::to_vec(&error).unwrap_or_default();
            (StatusCode::INTERNAL_SERVER_ERROR, headers, Body::from(bytes)).into_response()
        }
    }
}

fn add_headers(headers: &mut HeaderMap, code: Option<Code>) {
    match code {
        Some(Code::Unauthenticated) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"daybook\""));
        }
        Some(Code::Overloaded | Code::Unavailable) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
}

/// One error in the shape of GraphQL's.
#[derive(Serialize)]
struct ErrorBody {
    errors: [ErrorOutward; 1],
}

/// An error without a place in a document.
#[derive(Serialize)]
pub struct ErrorOutward {
    message: String,
    extensions: CodeOutward,
}

#[derive(Serialize)]
struct CodeOutward {
    code: &'static str,
}

impl ErrorOutward {
    /// As it is sent.
    pub fn of(error: &ApiError) -> Self {
        Self { message: error.message().to_owned(), extensions: CodeOutward { code: error.code().as_str() } }
    }
}

impl ErrorBody {
    fn of(error: &ApiError) -> Self {
        Self { errors: [ErrorOutward::of(error)] }
    }
}
