//! `POST /graphql`, strictly by the GraphQL-over-HTTP specification:
//! <https://graphql.github.io/graphql-over-http/draft/>

use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use domain::Code;
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::negotiation::{self, Media};
use super::{AppState, answer, authentication, layers, operation, params};
use crate::errors::{ApiError, mapping};
use crate::graphql::context::CorrelationId;

/// Bytes of a refused body that are read and thrown away, so that its sender gets to read the answer.
const MAX_DRAINED_BYTES: usize = 128 * 1024 * 1024;
/// How long that may take.
const MAX_DRAINING: Duration = Duration::from_secs(5);

/// `POST /graphql`.
pub async fn post(
    State(state): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Some(media) = negotiation::accepted(&head.headers) else {
        let message = "answers are application/graphql-response+json or application/json; accept one of them";
        let error = ApiError::new(Code::BadRequest, message);
        return answer::graphql_error(StatusCode::NOT_ACCEPTABLE, &error, Media::Json);
    };
    // Before the body is read: strangers do not get to send one.
    let caller = match authentication::by_headers(&state.keys, &head.headers).await {
        Ok(caller) => caller,
        Err(error) => {
            drain(&head.headers, body, state.limits.body_bytes).await;
            return answer::graphql_error(mapping::of(error.code()).status, &error, media);
        }
    };
    let bad = |status, message: &str| {
        answer::graphql_error(status, &ApiError::new(Code::BadRequest, message), media)
    };
    if !negotiation::is_json(&head.headers) {
        drain(&head.headers, body, state.limits.body_bytes).await;
        let message = "send application/json in UTF-8, without a content encoding";
        return bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    // Held to the end: what is made of a body takes room for as long as it is worked on.
    let mut room = Room::in_all(Arc::clone(&state.bodies));
    let bytes = match read(&head.headers, body, state.limits.body_bytes, &mut room).await {
        Ok(bytes) => bytes,
        Err(Unread::NoRoom) => {
            layers::count_overload("bodies_bytes");
            let error = ApiError::of(Code::Overloaded);
            return answer::graphql_error(mapping::of(error.code()).status, &error, media);
        }
        Err(Unread::TooLarge) => {
            let message = format!("the body may have {} bytes; send less at once", state.limits.body_bytes);
            return bad(StatusCode::PAYLOAD_TOO_LARGE, &message);
        }
        Err(Unread::Lost) => return bad(StatusCode::BAD_REQUEST, "the body did not arrive whole"),
    };
    let Ok(json) = serde_json::from_slice(&bytes) else {
        return bad(StatusCode::BAD_REQUEST, "the body is not JSON, or nests too deep");
    };
    drop(bytes);
    let request = match params::request(json) {
        Ok(request) => request,
        Err(error) => return answer::graphql_error(StatusCode::BAD_REQUEST, &error, media),
    };
    let response = match operation::prepare(&state.documents, request, caller.principal, correlation_id.0) {
        Err(error) => operation::failed(error),
        Ok((_, Some(OperationType::Subscription))) => {
            let message = "subscriptions are served over WebSocket: connect to /graphql with the subprotocol \
                           graphql-transport-ws";
            return bad(StatusCode::BAD_REQUEST, message);
        }
        Ok((request, _)) => operation::execute(&state.schema, request).await,
    };
    answer::graphql(response, media)
}

/// Any other method, and GET without an upgrade.
pub async fn wrong_method() -> Response {
    let message = "GraphQL requests are sent with POST; subscriptions over WebSocket";
    let error = ApiError::new(Code::BadRequest, message);
    let mut answer = answer::error_with(StatusCode::METHOD_NOT_ALLOWED, &error);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    answer
}

/// Why there is no body.
enum Unread {
    TooLarge,
    /// All bodies together take too much.
    NoRoom,
    Lost,
}

/// The room that a body takes among all that are worked on.
struct Room {
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn in_all(all: Arc<Semaphore>) -> Self {
        Self { all, taken: None }
    }

    /// Takes as much as makes so many bytes together, at once or not at all.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Unread> {
        let has = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(bytes.saturating_sub(has)).map_err(|_| Unread::NoRoom)?;
        if missing == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.all).try_acquire_many_owned(missing).map_err(|_| Unread::NoRoom)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

/// The whole body, if it has at most `max` bytes.
async fn read(headers: &HeaderMap, body: Body, max: usize, room: &mut Room) -> Result<Vec<u8>, Unread> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > max as u64) {
        drain(headers, body, MAX_DRAINED_BYTES).await;
        return Err(Unread::TooLarge);
    }
    if let Err(full) = room.grow_to(declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(0)) {
        drain(headers, body, MAX_DRAINED_BYTES).await;
        return Err(full);
    }
    let mut bytes = Vec::with_capacity(declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(0));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Unread::Lost)?;
        if bytes.len() + chunk.len() > max {
            drop(bytes);
            let rest = Body::from_stream(chunks);
            drain(headers, rest, MAX_DRAINED_BYTES).await;
            return Err(Unread::TooLarge);
        }
        room.grow_to(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads a body and forgets it: a connection that is closed on a sender in the middle of sending loses the answer.
async fn drain(headers: &HeaderMap, body: Body, max: usize) {
    let is_waiting_to_send = headers.contains_key(EXPECT);
    if is_waiting_to_send || declared_length(headers).is_some_and(|length| length > max as u64) {
        return;
    }
    let mut chunks = body.into_data_stream();
    let read = async {
        let mut seen = 0_usize;
        while let Some(Ok(chunk)) = chunks.next().await {
            seen = seen.saturating_add(chunk.len());
            if seen > max {
                break;
            }
        }
    };
    // A slow sender is not waited for.
    let _ = tokio::time::timeout(MAX_DRAINING, read).await;
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
