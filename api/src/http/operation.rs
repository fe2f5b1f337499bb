//! Carrying one operation out, over HTTP or WebSocket: who asks is added, a panic becomes an error.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response};
use commands::Principal;
use domain::Code;
use futures::FutureExt as _;
use uuid::Uuid;

use super::documents::Documents;
use crate::errors::ApiError;
use crate::graphql::context::CorrelationId;
use crate::graphql::{Schema, gate, limits};

/// Adds who asks, and tells which kind of operation it is; `None` if that is the schema's to complain about.
///
/// # Errors
/// [`Code::QueryTooComplex`] for a text that is not even parsed.
pub fn prepare(
    documents: &Documents,
    request: Request,
    principal: Principal,
    correlation_id: Uuid,
) -> Result<(Request, Option<OperationType>), ApiError> {
    limits::check_text(&request.query)?;
    let mut request = request.data(principal).data(CorrelationId(correlation_id));
    let name = request.operation_name.clone();
    let document = documents.parse(&mut request);
    let kind =
        document.and_then(|document| gate::selected(document, name.as_deref())).map(|operation| operation.ty);
    Ok((request, kind))
}

/// Carries a query or mutation out.
pub async fn execute(schema: &Schema, request: Request) -> Response {
    match AssertUnwindSafe(schema.execute(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => failed(panicked(panic.as_ref())),
    }
}

/// A response that is nothing but an error.
pub fn failed(error: ApiError) -> Response {
    Response::from_errors(vec![error.into()])
}

/// What the caller learns of a panic; the log learns the rest.
pub fn panicked(panic: &(dyn Any + Send)) -> ApiError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = message, "a request panicked");
    ApiError::of(Code::Internal)
}
