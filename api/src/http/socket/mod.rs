//! `GET /graphql` as a WebSocket: GraphQL by the protocol `graphql-transport-ws`,
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>
//!
//! One task a connection: it reads, carries out and writes by itself, so a client that does not read holds up its own
//! operations and nobody else's, and nothing is queued for it. [`message`] is the protocol's messages, [`close`] its close
//! codes, [`operations`] what runs, [`connection`] the loop over them.
//!
//! Keys come in the payload of `connection_init` as `authorization` (or `Authorization`), or in the header of the upgrade.
//! Browsers say where a page comes from; only pages of this very server may connect. Other programs send no `Origin`.

mod close;
mod connection;
mod message;
mod operations;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use domain::Code;
use std::sync::Arc;
use tracing::Instrument as _;

use super::{AppState, answer, authentication, graphql, layers};
use crate::errors::ApiError;
use crate::graphql::context::CorrelationId;
use connection::Connection;

/// The protocol.
const SUBPROTOCOL: &str = "graphql-transport-ws";

/// `GET /graphql`
pub async fn upgrade(
    State(state): State<AppState>,
    Extension(request_id): Extension<CorrelationId>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(_) => return graphql::wrong_method().await.into_response(),
    };
    if !is_own_origin(&headers) {
        let message = "only pages of this server may open a WebSocket";
        return answer::error(&ApiError::new(Code::Forbidden, message));
    }
    let caller = if headers.contains_key(AUTHORIZATION) {
        match authentication::by_headers(&state.keys, &headers).await {
            Ok(caller) => Some(caller),
            Err(error) => return answer::error(&error),
        }
    } else {
        None
    };
    if state.shutdown.is_cancelled() {
        return answer::error(&ApiError::of(Code::Unavailable));
    }
    let Ok(place) = Arc::clone(&state.sockets).try_acquire_owned() else {
        layers::count_overload("sockets");
        let message = "too many WebSockets are open: try again in a moment";
        return answer::error(&ApiError::new(Code::Overloaded, message));
    };
    let max = state.limits.body_bytes;
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(max).max_frame_size(max);
    let speaks_ours = upgrade.selected_protocol().is_some();
    let span = tracing::info_span!("socket", correlation_id = %request_id.0);
    upgrade.on_upgrade(move |socket| {
        let connection = async move {
            metrics::gauge!("daybook_sockets").increment(1);
            let reason = Connection::new(socket, state, caller).run(speaks_ours).await;
            metrics::gauge!("daybook_sockets").decrement(1);
            tracing::debug!(code = reason.code(), reason = reason.reason(), "closed");
            drop(place);
        };
        connection.instrument(span)
    })
}

/// Whether the page that asks, if it is a page, was served by this host.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
    match (origin.as_ref().and_then(Uri::authority), host, origins.next()) {
        (Some(origin), Some(host), None) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://daybook.test:8080", true)]
    #[case("https://DAYBOOK.test:8080", true)]
    #[case("http://daybook.test", false)]
    #[case("http://daybook.test:8081", false)]
    #[case("http://elsewhere.test:8080", false)]
    #[case("http://daybook.test:8080.elsewhere.test", false)]
    #[case("null", false)]
    #[case("", false)]
    fn pages_of_other_hosts_are_refused(#[case] origin: &'static str, #[case] is_own: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("daybook.test:8080"));
        assert!(is_own_origin(&headers), "without an origin");
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        assert_eq!(is_own_origin(&headers), is_own);
    }
}
