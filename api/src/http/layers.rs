//! What every request passes: its id, panics, shedding of load, time-outs, security headers, metrics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use domain::Code;
use futures::FutureExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{AppState, answer, operation};
use crate::errors::ApiError;
use crate::graphql::context::CorrelationId;

/// The id of a request: a UUID of the caller's, or one of ours. It becomes the correlation id of the events it causes.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a page may load: its own scripts, styles and data; nothing from elsewhere, nothing inline, no frames.
const STRICT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// As [`STRICT_POLICY`], but GraphiQL's editor writes `<style>` elements.
const GRAPHIQL_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

/// Gives the request its id, measures it, and turns a panic into an answer. The outermost layer.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request
        .headers()
        .get(&X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| Uuid::try_parse(value).ok())
        .unwrap_or_else(Uuid::now_v7);
    request.extensions_mut().insert(CorrelationId(id));
    // Only the routes there are and the methods there are: labels that a stranger cannot multiply.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        _ => "other",
    };
    let span = tracing::info_span!("request", correlation_id = %id, method, route);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let _entered = span.enter();
    let mut response = answered.unwrap_or_else(|panic| answer::error(&operation::panicked(panic.as_ref())));
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let took = began.elapsed();
    let status = response.status();
    tracing::debug!(status = status.as_u16(), took_us = took.as_micros(), "answered");
    let labels = [("route", route), ("method", method.to_owned()), ("status", status.as_str().to_owned())];
    metrics::counter!("daybook_http_requests_total", &labels).increment(1);
    metrics::histogram!("daybook_http_request_duration_seconds", &labels).record(took.as_secs_f64());
    response
}

/// Refuses work beyond what can be done at once, and ends what takes too long.
pub async fn limit_work(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Ok(_permit) = state.requests.try_acquire() else {
        count_overload("requests");
        return answer::error(&ApiError::of(Code::Overloaded));
    };
    let limit = state.limits.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => answer::error(&too_slow(limit)),
    }
}

/// Counts what was refused because it was over a limit, by the limit's name.
pub fn count_overload(limit: &'static str) {
    metrics::counter!("daybook_http_overloaded_total", "limit" => limit).increment(1);
}

/// The error of what took too long.
pub fn too_slow(limit: std::time::Duration) -> ApiError {
    ApiError::new(
        Code::Unavailable,
        format!(
            "not answered within {} s; a command may have been carried out or not: ask again with the same key",
            limit.as_secs_f32()
        ),
    )
}

/// Tells browsers to keep pages in their place.
pub async fn set_security_headers(request: Request, next: Next) -> Response {
    let policy = if request.uri().path() == "/graphiql" { GRAPHIQL_POLICY } else { STRICT_POLICY };
    let mut response = next.run(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    response
}
